# SPDX-License-Identifier: Apache-2.0
"""Seeds for the fuzz targets of text, tokenizer and .npy: make_text_seeds.py OUT_FOLDER DEMO_FOLDER"""
import gzip
import json
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "cli"))
from packed import npy, npy_of, zstd  # noqa: E402


def texts(demo):
    with open(os.path.join(demo, "calibration.jsonl"), "rb") as f:
        lines = [json.dumps({"text": json.loads(f.readline())["text"][:300]}).encode() + b"\n" for _ in range(3)]
    lines += [b'{"id": [1, {"a": null}], "text": "\\u0000 \\ud83d\\ude00 caf\\u00e9", "x": 1e5}\n', b'{"text": ""}\n']
    plain = [b"".join(lines), b"one\n\ntwo\r\n\r\n \n\nthree", b"\xef\xbb\xbfbom\n", b'{"text": "a", "text": "b"}\n',
             b"{" * 300, b'{"text": "' + b"\xff" + b'"}', b'[{"text": "a ] \\\\"}, {"text": "b", "x": NaN}]',
             b'[\n {\n  "text": "a\\"b"\n },\n {"text": "c"}\n]\n', b'{\n"text": "a"\n}\n{\n"text": "b"}',
             b'\x1e{"text": "\\ud83d", "y": -Infinity}\n', b"<!doctype html>", b"PAR1", "a".encode("utf-16")]
    for data in plain:
        for packed in (data, gzip.compress(data), gzip.compress(data) + b"\0\0" + gzip.compress(data), zstd(data),
                       zstd(data) + b"\x50\x2a\x4d\x18\x02\0\0\0ab" + zstd(data, "--no-check"), zstd(data)[:-5]):
            for style in range(9):
                yield bytes([style]) + packed


def small_tokenizer(demo, **changes):
    """The demo tokenizer with the bytes and a few merges."""
    with open(os.path.join(demo, "tokenizer.json"), encoding="utf-8") as f:
        value = json.load(f)
    model = value["model"]
    merges = model["merges"][:12]
    pieces = {"".join(m) if isinstance(m, list) else m.replace(" ", "") for m in merges}
    vocab = {t: i for t, i in model["vocab"].items() if len(t) == 1 or t in pieces}
    added = [dict(t, id=i) for t, i in zip(value["added_tokens"], range(len(vocab), 10000))]
    for token in added:
        vocab.pop(token["content"], None)
    value.update(model=dict(model, vocab=vocab, merges=merges), added_tokens=added)
    value.update(changes)
    return json.dumps(value, ensure_ascii=False).encode()


def tokenizers(demo):
    yield small_tokenizer(demo)
    yield small_tokenizer(demo, normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}]})
    yield small_tokenizer(demo, normalizer=None, added_tokens=[])
    yield small_tokenizer(demo, pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "use_regex": False})
    yield small_tokenizer(demo, model={"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]})
    yield small_tokenizer(demo, model={"type": "BPE", "vocab": {}, "merges": []})
    text, special = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "a", "type_id": 0}}
    template = {"type": "TemplateProcessing", "single": [special, text, special], "pair": [],
                "special_tokens": {"a": {"id": "a", "ids": [1, 2], "tokens": ["a", "b"]}}}
    plain = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    split = {"type": "Split", "pattern": {"String": "e"}, "behavior": "Isolated", "invert": False}
    steps = [{"type": "Digits", "individual_digits": True}, {"type": "Punctuation", "behavior": "Contiguous"}, split, plain]
    flags = {"id": 0, "content": "<|endoftext|>", "special": True, "normalized": True, "single_word": True, "lstrip": True,
             "rstrip": True}
    yield small_tokenizer(demo, post_processor={"type": "Sequence", "processors": [plain, template]})
    yield small_tokenizer(demo, post_processor={"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]})
    yield small_tokenizer(demo, pre_tokenizer={"type": "Sequence", "pretokenizers": steps})
    yield small_tokenizer(demo, normalizer={"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "NFC"}]})
    yield small_tokenizer(demo, truncation={"max_length": 4}, padding={"pad_id": 0})
    yield small_tokenizer(demo, model={"ignore_merges": True, "vocab": {"a": 1, "aaaa": 2, "\u0120aaaa": 3}, "merges": []},
                          added_tokens=[dict(flags, id=3)])
    yield b"[" * 300


def arrays(_):
    ids = np.arange(12).reshape(3, 4)
    for array in (ids.astype(np.uint16), ids.astype(np.uint32), ids.astype(np.int32), ids.astype(np.int64), ids.astype(np.float32), ids.astype(">i4"), ids.ravel(),
                  np.asfortranarray(ids), np.full((2, 3), -1, np.int32), np.zeros((4, 0), np.int32), np.int64(5)):
        yield npy(array)
        yield gzip.compress(npy(array))
        yield zstd(npy(array))
    for header in ("{'descr': '<i4', 'fortran_order': False, 'shape': (9223372036854775808, 8), }",
                   "{'descr': '<i4', 'fortran_order': False, 'shape': (4611686018427387905, 4), }",
                   "{'descr': '|O', 'fortran_order': True, 'shape': (), }"):
        for version in (1, 2, 3):
            yield npy_of(header, bytes(16), version)


def configs(demo):
    with open(os.path.join(demo, "config.json"), encoding="utf-8") as f:
        own = json.load(f)
    original = {"d_model": 64, "n_layer": 2, "vocab_size": 256, "ssm_cfg": {"d_state": 16, "dt_rank": "auto"}, "rms_norm": True,
                "residual_in_fp32": True, "fused_add_norm": True, "pad_vocab_size_multiple": 8, "tie_embeddings": False}
    changes = [{}, {"expand": 1.5, "intermediate_size": 96}, {"torch_dtype": "float16", "tie_word_embeddings": False},
               {"architectures": ["FalconMambaForCausalLM"], "mixer_rms_eps": 1e-6}, {"model_type": "mamba2", "n_groups": 1},
               {"time_step_rank": "auto", "time_step_limit": [0.0, float("inf")]}, {"layer_norm_epsilon": float("nan")}]
    for change in changes:
        yield json.dumps(dict(own, **change)).encode()
        yield json.dumps(dict(original, **change)).encode()
    quantized = {"embedding": 8, "lm_head": 8, "w_bits": 8, "a_bits": 8}
    for ssm_cfg in (None, {}, {"layer": "Mamba1", "d_conv": 4}, {"layer": "Mamba2"}):
        yield json.dumps(dict(original, ssm_cfg=ssm_cfg, quant_config=quantized, is_quamba=True)).encode()
    yield json.dumps({"model_type": "mamba", "hidden_size": "\ud83d", "num_hidden_layers": 1e300}).encode()


def recipes(demo):
    del demo
    scan = {"conv1d:output": "float", "scan:u": "float"}
    for value in ({"name": "a"}, {"name": "first-four", "base": "2-1", "layers": [{"layers": "0-3", "set": scan}, {"layers": "last", "base": "2-4"}]},
                  {"recipes": [{"name": "a", "set": {"weight:*": "int8", "embedding": "float"}}, {"name": "b", "base": "a", "summary": "x",
                                                                                                 "layers": [{"layers": "-1,first", "base": "a"}]}]},
                  {"name": "c", "base": "fp16", "set": {"*": "float", "scan:order": "blocked", "conv1d:input": "dynamic"}}):
        yield json.dumps(value).encode()


def main():
    out, demo = sys.argv[1:3]
    for name, make in (("text", texts), ("tokenizer", tokenizers), ("npy", arrays), ("config", configs), ("recipe", recipes)):
        folder = os.path.join(out, name)
        os.makedirs(folder, exist_ok=True)
        made = 0
        for made, data in enumerate(make(demo), 1):
            with open(os.path.join(folder, "%03d" % made), "wb") as f:
                f.write(data)
        print("%s: %d seeds" % (name, made))


main()
