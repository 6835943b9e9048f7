# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in every layout give the same comparison: checkpoints.py"""
import hashlib
import json
import os
import shutil
import sys

import h5py
import numpy as np

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import quamba_reference as reference  # noqa: E402
import torch_file  # noqa: E402
from make_model import to_bf16  # noqa: E402

QUAMBA = os.path.join(harness.SOURCE, "tests", "data", "quamba-w8a8")
PUBLISHED = os.path.join(harness.SOURCE, "tests", "data", "quamba2-w8a8")
SMALL = ["-q", "--calib_data_num", "2", "--calib_seqlen", "24", "--layers", "0,11,23", "--components", "all"]
FLOAT_MODES = ("fp32", "fp16")


def demo_tensors():
    """As stored: float16 and float32."""
    path = os.path.join(harness.DEMO, "model.safetensors")
    with open(path, "rb") as f:
        raw = f.read()
    start = 8 + int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, entry in json.loads(raw[8:start]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            kind = {"F16": "<f2", "F32": "<f4"}[entry["dtype"]]
            tensors[name] = np.frombuffer(raw[start + begin:start + end], kind).reshape(entry["shape"])
    return tensors


def original_names(tensors):
    return {("backbone.embedding.weight" if k == "backbone.embeddings.weight" else k): v for k, v in tensors.items()}


def make_folder(path, config=None):
    os.makedirs(path)
    shutil.copy(os.path.join(harness.DEMO, "tokenizer.json"), path)
    if config:
        harness.write_json(os.path.join(path, "config.json"), config)
    else:
        shutil.copy(os.path.join(harness.DEMO, "config.json"), path)
    return path


def original_config(**changes):
    return dict({"d_model": 96, "n_layer": 24, "vocab_size": 2045, "ssm_cfg": {}, "rms_norm": True,
                 "residual_in_fp32": True, "fused_add_norm": True, "pad_vocab_size_multiple": 8}, **changes)


def save_bf16(path, tensors):
    """safetensors of BF16."""
    header, data = {}, b""
    for name, a in tensors.items():
        part = to_bf16(a).tobytes()
        header[name] = {"dtype": "BF16", "shape": list(a.shape), "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + data)


def shard(folder, tensors, parts, save, ending, copied=(), listed=None):
    """Files of every parts-th tensor, and their index; `copied` names are in all of them, `listed` {name: part} in none."""
    names, weight_map = sorted(tensors), {}
    stem = "model" if ending == "safetensors" else "pytorch_model"
    for part in range(parts):
        file = "%s-%05d-of-%05d.%s" % (stem, part + 1, parts, ending)
        save(os.path.join(folder, file), {n: tensors[n] for n in names if n in names[part::parts] or n in copied})
        weight_map.update({n: file for n in names[part::parts]})
        weight_map.update({n: file for n, at in (listed or {}).items() if at == part})
    harness.write_json(os.path.join(folder, "%s.%s.index.json" % (stem, ending)),
               {"metadata": {"total_size": 1}, "weight_map": {n: weight_map[n] for n in sorted(weight_map)}})


# ---- views and shared storages, as state dicts have them ----

def one_storage(tensors):
    """Every float16 tensor is a part of one storage."""
    flat = np.concatenate([a.ravel() for a in tensors.values() if a.dtype == np.float16])
    out, at = {}, 0
    for name, a in tensors.items():
        if a.dtype == np.float16:
            out[name] = flat[at:at + a.size].reshape(a.shape)
            at += a.size
        else:
            out[name] = a
    return out


def transposed(tensors):
    """Matrices are stored by columns, and every second element of a longer storage."""
    def view(a):
        if a.ndim < 2:
            wide = np.zeros(2 * a.size, a.dtype)
            wide[1::2] = a
            return wide[1::2]
        return np.ascontiguousarray(a.T).T
    return {name: view(a) for name, a in tensors.items()}


def with_attributes(tensors):
    """As a module's own parameters are pickled, of which some carry attributes."""
    def parameter(name, a):
        raw = torch_file.as_raw(a, {})
        attributes = {"_no_weight_decay": True, "note": ("x", [1, 2.5])} if name.endswith(("A_log", "mixer.D")) else None
        return torch_file.Raw(raw.storage, 0, raw.shape, raw.stride, True, attributes)
    return {name: parameter(name, a) for name, a in tensors.items()}


def odd_tensors():
    Raw, Storage = torch_file.Raw, torch_file.Storage
    untyped = Storage("UntypedStorage", bytes(32))
    return {"freqs": np.zeros(3, np.complex64), "ids": Raw(untyped, 0, (4, 4), (4, 1), dtype="uint16"),
            "eight": Raw(untyped, 2, (3,), (1,), dtype="float8_e4m3fn"), "four": Raw(untyped, 1, (7,), (1,), dtype="float32")}


def save_odd(path, tensors):
    """The tensors, and four that no equation has."""
    reference.save_safetensors(path, tensors, {"format": "pt"})
    with open(path, "rb") as f:
        raw = f.read()
    start = 8 + int.from_bytes(raw[:8], "little")
    header, end = json.loads(raw[8:start]), len(raw) - start
    for name, dtype, shape, size in (("quant_state", "U32", [4], 16), ("some.f8", "F8_E4M3", [2, 4], 8), ("freqs", "C64", [], 8),
                                     ("lm_head.weight", "_", [0], 0)):
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + raw[start:] + bytes(end - len(raw) + start))


def variants(work, tensors):
    """(name, folder) of the demo model, stored in other ways with the same values."""
    def folder(name, config=None):
        return make_folder(os.path.join(work, name), config)
    original = original_names(tensors)
    with_head = dict(original, **{"lm_head.weight": original["backbone.embedding.weight"]})

    f = folder("pytorch", original_config())
    torch_file.save(os.path.join(f, "pytorch_model.bin"), with_head)
    yield "pytorch_model.bin with a tied lm_head", f
    f = folder("one_storage", original_config(tie_embeddings=False))
    torch_file.save(os.path.join(f, "pytorch_model.bin"), dict(one_storage(original), **{
        "lm_head.weight": original["backbone.embedding.weight"].copy()}), 4)
    yield "one storage, protocol 4, lm_head of its own", f
    f = folder("transposed", original_config())
    torch_file.save(os.path.join(f, "pytorch_model.bin"), transposed(original))
    yield "transposed and strided views", f
    f = folder("odd", original_config())
    torch_file.save(os.path.join(f, "pytorch_model.bin"), dict(with_attributes(original), **odd_tensors()), 4)
    yield "parameters with attributes, tensors of dtypes that nobody uses", f
    f = folder("odd_safetensors")
    save_odd(os.path.join(f, "model.safetensors"), tensors)
    yield "safetensors with dtypes that nobody uses, and the shell of a tied lm_head", f
    f = folder("fp32")
    reference.save_safetensors(os.path.join(f, "model.safetensors"), {n: a.astype(np.float32) for n, a in tensors.items()})
    yield "FP32 safetensors", f
    f = folder("torch_fp32")
    torch_file.save(os.path.join(f, "pytorch_model.bin"), {n: a.astype(np.float32) for n, a in tensors.items()})
    yield "FP32 pytorch_model.bin", f
    f = folder("shards")
    shard(f, tensors, 3, reference.save_safetensors, "safetensors")
    yield "3 shards of safetensors", f
    f = folder("wrapped")
    wrapped = {"module._orig_mod." + n: a for n, a in tensors.items()}
    shard(f, wrapped, 2, reference.save_safetensors, "safetensors", copied=["module._orig_mod.backbone.norm_f.weight"],
          listed={"module._orig_mod.lm_head.weight": 1})
    yield "wrapped names, a copy in each shard, a tied lm_head that the index alone has", f
    f = folder("doubles", original_config())
    torch_file.save(os.path.join(f, "pytorch_model.bin"), {n: a.astype(np.float64) for n, a in original.items()})
    yield "FP64 pytorch_model.bin", f
    f = folder("torch_shards", original_config())
    shard(f, with_head, 2, torch_file.save, "bin")
    yield "2 shards of PyTorch", f


def bf16_variants(work, tensors):
    """The same of the values rounded to BF16, which all but the first store in two bytes."""
    rounded = {n: (to_bf16(a).astype(np.uint32) << 16).view(np.float32) for n, a in tensors.items()}
    f = make_folder(os.path.join(work, "bf16_as_fp32"))
    reference.save_safetensors(os.path.join(f, "model.safetensors"), rounded)
    yield "BF16 values as FP32", f
    f = make_folder(os.path.join(work, "bf16"))
    save_bf16(os.path.join(f, "model.safetensors"), tensors)
    yield "BF16 safetensors", f
    f = make_folder(os.path.join(work, "torch_bf16"))
    torch_file.save(os.path.join(f, "pytorch_model.bin"), {n: torch_file.Bf16(to_bf16(a)) for n, a in tensors.items()})
    yield "BF16 pytorch_model.bin", f


# ---- running and comparing ----

def outputs(path):
    """{dataset name: array}, the scales among them."""
    found = {}
    with h5py.File(path, "r") as f:
        for group in ("outputs", "calibration"):
            f[group].visititems(lambda name, item, g=group: found.update({g + "/" + name: item[:]})
                                if isinstance(item, h5py.Dataset) else None)
        return found, {k: v if not isinstance(v, bytes) else v.decode() for k, v in f.attrs.items()}


def sweep(checks, what, folder, *arguments):
    """Runs in `folder`/run; (outputs, attributes) or None."""
    run = os.path.join(folder, "run")
    os.makedirs(run, exist_ok=True)
    result = harness.run(SMALL + list(arguments), 1, run)
    if not checks.check(result.status == 0, what + ": runs", result.err):
        return None
    return outputs(os.path.join(run, "layer_outputs", "sweep.h5"))


def same(a, b, keep=lambda name: True):
    names = [n for n in a if keep(n)]
    return len(names) > 0 and all(n in b and a[n].tobytes() == b[n].tobytes() for n in names)


def compare_variants(checks, work, made):
    first = None
    for what, folder in made:
        got = sweep(checks, what, folder, "--model", folder)
        if got and first is None:
            first = got[0]
        elif got:
            checks.check(same(first, got[0]), what + ": the same bits in every mode, layer and component")
    return first


def differs(a, b):
    return any(a[n].tobytes() != b[n].tobytes() for n in a)


# ---- W8A8 ----

def report(folder, name):
    return harness.read_json(os.path.join(folder, "run", name))


def check_quamba(checks, work, demo):
    """By name inside --pretrained_dir; float modes from the codes, and from another model."""
    folder = os.path.join(work, "named")
    pretrained = os.path.join(folder, "pretrained")
    shutil.copytree(QUAMBA, os.path.join(pretrained, "quamba-tiny-w8a8"))
    shutil.copy(os.path.join(harness.DEMO, "tokenizer.json"), pretrained)
    own = sweep(checks, "W8A8 by name", folder, "--pretrained_dir", pretrained, "--modes", "all", "quamba-tiny-w8a8")
    # DIR itself is the model where there is no DIR/NAME.
    again = os.path.join(work, "itself")
    itself = sweep(checks, "W8A8, DIR itself", again, "quamba-tiny-w8a8", "--pretrained_dir", QUAMBA, "--reference-model",
                   harness.DEMO)
    if not own or not itself:
        return
    scales = own[0]["calibration/2/scales"]
    stored = torch_file.load(os.path.join(QUAMBA, "pytorch_model.bin"))
    want = [[float(np.ravel(stored["backbone.layers.%d.%s" % (l, k)])[0]) for k in (
        "norm.output_scale", "mixer.conv1d.input_scale", "mixer.conv1d.output_scale", "mixer.selective_scan.B_scale",
        "mixer.selective_scan.dt_scale", "mixer.had.x_H_scale", "mixer.selective_scan.ssm_state_scale")] for l in range(24)]
    checks.check((scales == np.array(want, np.float32)).all(), "the scales are those of the checkpoint")
    checks.check(same(own[0], itself[0], lambda n: "/float/" not in n), "W8A8 modes do not depend on the reference model")
    checks.check(same(itself[0], demo, lambda n: "/float/" in n), "with --reference-model the float modes are that model's")
    checks.check(differs({n: a for n, a in own[0].items() if "/float/" in n}, demo), "without it they are the codes'")
    checks.check(own[1]["reference_weights"] == "dequantized-int8" and own[1]["scales_source"] == "checkpoint"
                 and own[1]["model_dtype"] == "W8A8", "attributes of the result", own[1])
    for name in ("comparisons/mode_2-1_vs_fp32.json", "comparisons/summary.json", "layer_outputs/mode_2-1_stats.json"):
        checks.check(report(folder, name)["reference_weights"] == "dequantized-int8", name + " says where it is from")
        checks.check(len(report(again, name)["reference_weights"]) == 64, name + " names the reference model")
    provenance = report(folder, "comparisons/summary.json")["provenance"]
    checks.check(provenance["scales_source"] == "checkpoint" and provenance["percentile_alpha"] is None,
                 "no percentile made these scales", provenance)
    shown = harness.run(["compare", "--output_dir", os.path.join(folder, "run", "layer_outputs"), "2-1"], 1, folder)
    checks.check("dequantized INT8 weights" in shown.out, "the tables say so too", shown.out)


# ---- a published W8A8 checkpoint, saved again by others ----

def as_arrays(stored):
    """Every number is a tensor, and every tensor row-major, as safetensors wants it."""
    return {k: np.ascontiguousarray(v) if isinstance(v, np.ndarray) else np.array([v], np.float32) for k, v in stored.items()}


def as_numbers(stored):
    """Tensors of one element are plain numbers, and numbers are tensors of every shape."""
    shapes = [(), (1,), (1, 1)]
    return {k: (float(v.ravel()[0]) if v.size == 1 else v) if isinstance(v, np.ndarray) else
            np.full(shapes[n % 3], v, (np.float32, np.float64)[n % 2]) for n, (k, v) in enumerate(stored.items())}


def float_rows(stored):
    """The embedding's rows as FP16 numbers, which is what the codes stand for."""
    rows = stored["backbone.embedding.weight"].astype(np.float32) * stored["backbone.embedding.scales"].astype(np.float32)[:, None]
    return dict({k: v for k, v in stored.items() if k != "backbone.embedding.scales"},
                **{"backbone.embedding.weight": rows.astype(np.float16)})


def published_variants(work, stored):
    """(name, folder) with the same values in another form."""
    config = harness.read_json(os.path.join(PUBLISHED, "config.json"))

    def folder(name, **changes):
        path = os.path.join(work, "published-" + name)
        os.makedirs(path)
        harness.write_json(os.path.join(path, "config.json"), dict(config, **changes))
        return path

    def saved(name, values, protocol=2, **changes):
        path = folder(name, **changes)
        torch_file.save(os.path.join(path, "pytorch_model.bin"), values, protocol)
        return "published, " + name, path
    for protocol in (2, 3, 4, 5):
        yield saved("protocol %d" % protocol, stored, protocol)
    yield saved("numbers as tensors, tensors as numbers", as_numbers(stored), is_hybrid=False)
    yield saved("row-major codes, alpha 1, no norm_f.output_scale", {k: 1.0 if k.endswith("alpha") else v for k, v in as_arrays(
        stored).items() if k != "backbone.norm_f.output_scale"})
    yield saved("no alpha, nothing said of the parts", {k: v for k, v in stored.items() if not k.endswith("alpha")}, norm_cfg=None,
                embedding_cfg=None, lm_head_cfg={})
    yield saved("float rows", float_rows(stored), embedding_cfg={"layer": "Embedding"})
    path = folder("safetensors")
    reference.save_safetensors(os.path.join(path, "model.safetensors"), as_arrays(stored))
    yield "published, as safetensors", path
    path = folder("shards")
    shard(path, as_arrays(stored), 3, reference.save_safetensors, "safetensors")
    yield "published, 3 shards of safetensors", path
    path = folder("torch shards")
    shard(path, stored, 2, torch_file.save, "bin")
    yield "published, 2 shards of PyTorch", path


def saved_with_alpha(work, stored):
    path = os.path.join(work, "odd-alpha")
    os.makedirs(path)
    shutil.copy(os.path.join(PUBLISHED, "config.json"), path)
    torch_file.save(os.path.join(path, "pytorch_model.bin"), dict(stored, **{"backbone.layers.2.mixer.x_proj.alpha": 3.0,
                                                                            "lm_head.alpha": 4.0}))
    return path


def check_overflow(checks, work, stored):
    """A scan output beyond FP16 in the last layer: the codes of the final norm do not make predictions of it."""
    folder, run = os.path.join(work, "overflow"), os.path.join(work, "run-overflow")
    os.makedirs(folder)
    os.makedirs(run)
    shutil.copy(os.path.join(PUBLISHED, "config.json"), folder)
    last = max(k for k in stored if k.endswith("selective_scan.D_scale"))
    torch_file.save(os.path.join(folder, "pytorch_model.bin"), dict(stored, **{last: np.array(stored[last] * 1e7, np.float32)}))
    result = harness.run(["--model", folder, "--tokenizer", harness.DEMO, "--calib_data_num", "1", "--calib_seqlen", "24", "--modes", "fp32,0",
                          *harness.FEW], 1, run)
    if not checks.check(result.status == 0, "overflow: runs", result.err):
        return
    entry = harness.report(run, "sweep.json")["end_of_model"][0]
    checks.check(entry.get("mode_nonfinite", 0) > 0 and entry["metrics"]["perplexity"]["value"] is None,
                 "overflow: predictions by a head of codes", "%s\n%s" % (result.err, entry))


def check_published(checks, work):
    """Its golden outputs are in cli.published."""
    stored = torch_file.load(os.path.join(PUBLISHED, "pytorch_model.bin"))
    with open(os.path.join(harness.DEMO, "tokenizer.json"), "rb") as f:
        sha256 = hashlib.sha256(f.read()).hexdigest()
    first = None
    for what, folder in [("published, as it is", PUBLISHED)] + list(published_variants(work, stored)):
        run = os.path.join(work, "run-" + os.path.basename(folder))
        os.makedirs(run)
        tokenizer = os.path.join(harness.DEMO, "tokenizer.json") if first else harness.DEMO    # a file, or the folder of one
        result = harness.run(["-q", "--model", folder, "--tokenizer", tokenizer, "--calib_data_num", "1", "--calib_seqlen", "24",
                              "--layers", "all", "--modes", "fp32,0"], 1, run)
        if not checks.check(result.status == 0, what + ": runs", result.err):
            continue
        found, attributes = outputs(os.path.join(run, "layer_outputs", "sweep.h5"))
        now = found, harness.report(run, "sweep.json")["end_of_model"]
        checks.check(attributes["tokenizer_sha256"] == sha256, what + ": the tokenizer is known by its content")
        first = first or now
        checks.check(same(first[0], now[0]) and first[1] == now[1], what + ": the same bits, and predictions")
    check_overflow(checks, work, stored)
    odd = saved_with_alpha(work, stored)
    result = harness.run(["info", odd], 1, work)
    checks.check(result.status == 0 and "backbone.layers.2.mixer.x_proj.alpha" in result.out and "2 such keys" in
                 result.out and "no mode uses it" in result.out, "an alpha that contradicts is said", result.out + result.err)
    missing = harness.run(["-q", "--model", PUBLISHED], 1, work)
    checks.check(missing.status == 3 and len(missing.lines()) == 1 and "--tokenizer" in missing.err and "gpt-neox-20b" in
                 missing.err and ".npy" in missing.err, "a folder without a tokenizer", missing.err)


def weights_digest(folder):
    """As docs/result_file.md defines it."""
    whole, names = hashlib.sha256(), ["model.safetensors"]
    index = os.path.join(folder, "model.safetensors.index.json")
    if os.path.exists(index):
        with open(index, encoding="utf-8") as f:
            names = list(dict.fromkeys(json.load(f)["weight_map"].values()))
    for name in names:
        with open(os.path.join(folder, name), "rb") as f:
            while True:
                piece = f.read(4 << 20)
                if not piece:
                    break
                whole.update(hashlib.sha256(piece).digest())
    return whole.hexdigest()


def check_digests(checks, work):
    """However many ranks and threads share the reading."""
    def found(path):
        with h5py.File(path, "r") as f:
            return f.attrs["weights_digest"].decode()
    for name in ("fp32", "shards"):  # the first takes two pieces
        folder, expected = os.path.join(work, name), weights_digest(os.path.join(work, name))
        stored = found(os.path.join(folder, "run", "layer_outputs", "sweep.h5"))
        checks.check(stored == expected, name + ": digest of the weights", stored)
        shown = harness.run(["info", folder, "--json"], 1, work)
        checks.check(json.loads(shown.out)["weights_digest"] == expected, name + ": digest in info", shown.out)
        for ranks, threads in ((1, 3), (3, 1), (3, 2)):
            run = os.path.join(folder, "run%d_%d" % (ranks, threads))
            done = harness.run(["save", "fp32", "-q", "--model", folder, "--calib_data_num", "1", "--calib_seqlen", "8",
                                "--no-logits", "--layers", "0", "--threads", str(threads), "--output_dir", run], ranks, work)
            if checks.check(done.status == 0, "%s: %d ranks x %d threads" % (name, ranks, threads), done.err):
                stored = found(os.path.join(run, "sweep.h5"))
                checks.check(stored == expected, "%s: digest by %d ranks x %d threads" % (name, ranks, threads), stored)


def check_info(checks, work):
    def info(*arguments):
        shown = harness.run(["info", *arguments], 1, work)
        checks.check(shown.status == 0, "info " + " ".join(arguments), shown.err)
        return shown.out
    model = json.loads(info(QUAMBA, "--json"))
    checks.check(model["architecture"] == "Mamba-1, W8A8" and len(model["scales"]) == 24 and len(model["tensors"]) == 651
                 and model["elements"]["I8"] == 1681920 and model["sizes"]["d_inner"] == 192, "info of a W8A8 model", model["sizes"])
    head, layer = 2 * 2048 * 96 + 96, 96 + 384 * 96 + 192 * 4 + 192 + (6 + 32) * 192 + 192 * 6 + 192 + 192 * 16 + 192 + 96 * 192
    checks.check(model["parameters"] == head + 24 * layer, "rows that pad are no parameters", model["parameters"])
    demo = json.loads(info("--json"))
    checks.check(demo["parameters"] == sum(a.size for a in demo_tensors().values()) and demo["tied_lm_head"],
                 "info counts parameters", demo["parameters"])
    checks.check(demo["estimates"]["fp32_seconds_per_sample"] > 0, "info estimates a time")
    shards = json.loads(info(os.path.join(work, "shards"), "--json"))
    checks.check(shards["files"] == 3 and shards["parameters"] == demo["parameters"], "info of shards")
    result = json.loads(info(os.path.join(work, "named", "run", "layer_outputs"), "--json"))
    checks.check(result["complete"] and result["samples"] == 2 and len(result["runs"]) == len(harness.MODES) and result["reference_weights"] ==
                 "dequantized-int8", "info of a result", result["runs"])
    checks.check("W8A8" in info(QUAMBA) and "runs " in info(os.path.join(work, "named", "run", "layer_outputs", "sweep.h5")),
                 "info as text")
    cpu = json.loads(info("--cpu", "--json"))
    checks.check(cpu["chosen"] in cpu["instruction_sets"] and
                 cpu["cores"] >= cpu["usable_cores"] == len(os.sched_getaffinity(0)), "info --cpu", cpu)


def main():
    checks = harness.Checks()
    with harness.Workplace() as work:
        tensors = demo_tensors()
        demo = sweep(checks, "the demo model", os.path.join(work, "demo"))
        stored = compare_variants(checks, work, variants(work, tensors))
        checks.check(demo and stored and same(demo[0], stored), "as the demo model itself")
        rounded = compare_variants(checks, work, bf16_variants(work, tensors))
        checks.check(stored and rounded and differs(stored, rounded), "BF16 rounding is seen")
        check_quamba(checks, work, demo[0])
        check_published(checks, work)
        check_info(checks, work)
        check_digests(checks, work)
    checks.finish()


main()
