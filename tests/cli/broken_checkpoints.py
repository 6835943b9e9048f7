# SPDX-License-Identifier: Apache-2.0
"""Broken and malicious checkpoints: each is refused soon, in one line that says what is wrong, with status 3 and without
much memory.  `info` reads a model as a sweep does, without MPI."""
import concurrent.futures
import json
import os
import resource
import shutil
import struct
import sys
import warnings
import zipfile
import zlib

import numpy as np

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import quamba_reference as reference  # noqa: E402
import torch_file  # noqa: E402
from torch_file import Raw, Storage  # noqa: E402

INPUT = 3
SECONDS = harness.LIMIT
CONFIG = {"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 1, "vocab_size": 64, "time_step_rank": 4}
NORM = "backbone.layers.0.norm.weight"
QUAMBA = os.path.join(harness.SOURCE, "tests", "data", "quamba-w8a8")
PUBLISHED = os.path.join(harness.SOURCE, "tests", "data", "quamba2-w8a8")
OWNED = "/tmp/ssmsweep-owned-%d" % os.getpid()    # what a pickle that runs would make


def good_tensors():
    return reference.random_model_tensors(1, 64, 1, 64)


# ---------------------------------------------------------------- safetensors
def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def st_raw(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    raw = struct.pack("<Q", len(text)) + text + data
    return lambda d: put(d, "model.safetensors", raw)


def one(dtype, shape, begin=0, end=4, data=b"\0" * 4):
    return st_raw({"a": entry(dtype, shape, begin, end)}, data)


def needed_as_f8(folder):
    """The good model, but a norm's weight is 64 bytes of a dtype that nobody reads."""
    header, data = {}, b""
    for name, a in good_tensors().items():
        part = bytes(64) if name == NORM else np.ascontiguousarray(a, np.float32).tobytes()
        header[name] = entry("F8_E4M3" if name == NORM else "F32", list(a.shape), len(data), len(data) + len(part))
        data += part
    st_raw(header, data)(folder)


def put(folder, name, data):
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def write_json(folder, name, value):
    harness.write_json(os.path.join(folder, name), value)


SAFETENSORS = [
    ("empty file", ["torn file", "8 bytes"], lambda d: put(d, "model.safetensors", b"")),
    ("header longer than the file", ["torn file", "header of 1000"],
     lambda d: put(d, "model.safetensors", struct.pack("<Q", 1000) + b"{}")),
    ("header of 2^60 bytes", ["header length", "100000000"], lambda d: put(d, "model.safetensors", struct.pack("<Q", 1 << 60) + b"{}")),
    ("header that is no JSON", ["JSON"], st_raw(b'{"a": ')),
    ("deep JSON", ["nest"], st_raw(b'{"a":' + b"[" * 100000)),
    ("duplicate keys", ["twice|duplicate", "a"], st_raw(b'{"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}, '
                                                        b'"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4)),
    ("name that is no UTF-8", ["UTF-8"], st_raw(b'{"\xff": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4)),
    ("overlapping tensors", ["overlap|'b'"], st_raw({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, b"\0" * 12)),
    ("bytes of no tensor", ["a", "b"], st_raw({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 8, 12)}, b"\0" * 12)),
    ("offsets past the end", ["torn file"], one("F32", [250], 0, 1000)),
    ("offsets that run backwards", ["backwards"], one("F32", [1], 4, 0)),
    ("shape of 2^63", ["2^53"], one("F32", [2 ** 63])),
    ("shape whose product overflows", ["overflows"], one("F32", [2 ** 40, 2 ** 40])),
    ("negative shape", ["whole numbers"], one("F32", [-1])),
    ("shape of a fraction", ["whole numbers"], one("F32", [1.5])),
    ("nine dimensions", ["8 dimensions"], one("F32", [1] * 9)),
    ("unknown dtype of what is needed", [NORM, "F8_E4M3", "F32, F16"], needed_as_f8),
    ("unknown dtype with more elements than bits", ["'a'", "a bit"], one("F0", [40])),
    ("bytes after the last tensor", ["bytes after the last tensor"], one("F32", [1], data=b"\0" * 9)),
]


# ---------------------------------------------------------------- PyTorch
def bin_file(d):
    return os.path.join(d, "pytorch_model.bin")


def torch_dict(change):
    """The good model with a change to its state dict."""
    def spoil(d):
        tensors = good_tensors()
        torch_file.save(bin_file(d), change(tensors) or tensors)
    return spoil


def replace(value):
    return torch_dict(lambda t: t.update({NORM: value}))


def pickled(data, storages=None):
    """A pickle of one's own in a good archive."""
    return lambda d: torch_file.write_zip(bin_file(d), torch_file.entries_of(data, storages or {}))


def entries(change):
    """The good model with a change to the entries of the archive."""
    def spoil(d):
        made = torch_file.entries_of(*torch_file.dumps(good_tensors()))
        torch_file.write_zip(bin_file(d), change(made) or made)
    return spoil


def raw_bytes(change):
    """The good model's file with a change to its bytes."""
    def spoil(d):
        torch_file.save(bin_file(d), good_tensors())
        with open(bin_file(d), "rb") as f:
            data = bytearray(f.read())
        put(d, "pytorch_model.bin", change(data) or data)
    return spoil


def compressed(d):
    torch_file.write_zip(bin_file(d), torch_file.entries_of(*torch_file.dumps(good_tensors())), zipfile.ZIP_DEFLATED)


def bomb(d):
    pickle, storages = torch_file.dumps({"a": Raw(Storage("ByteStorage", bytes(1 << 26)), 0, (1 << 26,), (1,))})
    torch_file.write_zip(bin_file(d), torch_file.entries_of(pickle, storages), zipfile.ZIP_DEFLATED)


def nested(d):
    """One storage, header and all, lies inside another."""
    inner = bytes(range(64))
    name = b"archive/data/1"
    header = struct.pack("<4s5HIIIHH", b"PK\3\4", 20, 0, 0, 0, 0x21, zlib.crc32(inner), len(inner), len(inner), len(name), 0)
    outer = b"\0" * 16 + header + name + inner + b"\0" * 2
    pickle, storages = torch_file.dumps({"a": Raw(Storage("ByteStorage", outer), 0, (len(outer),), (1,)),
                                         "b": Raw(Storage("ByteStorage", inner), 0, (len(inner),), (1,))})
    torch_file.write_zip(bin_file(d), torch_file.entries_of(pickle, storages))
    with open(bin_file(d), "rb") as f:
        data = bytearray(f.read())
    at = data.rindex(name) - 46
    data[at + 42:at + 46] = struct.pack("<I", data.index(outer) + 16)
    put(d, "pytorch_model.bin", data)


def flip_data(data):
    at = data.index(b"archive/data/3") + 60
    data[at] ^= 0x10


def claim_size(data):
    """The central directory claims 4 GiB of an entry."""
    at = data.rindex(b"archive/data/3") - 46
    data[at + 20:at + 28] = struct.pack("<II", 0xfffffff0, 0xfffffff0)


def move_entry(data):
    at = data.rindex(b"archive/data/3") - 46
    data[at + 42:at + 46] = struct.pack("<I", 0x7ffffff0)


def encrypt(data):
    for at, flags in ((data.index(b"archive/data/3") - 30, 6), (data.rindex(b"archive/data/3") - 46, 8)):
        data[at + flags] |= 1


def claim_entries(data):
    at = data.rindex(b"PK\5\6")
    data[at + 8:at + 12] = b"\xfe\xff\xfe\xff"


P2 = b"\x80\x02"
TOUCH = "touch " + OWNED


def text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


def with_key(key, value=b"K\x01"):
    return P2 + b"}" + key + value + b"s."


FLOATS = Storage("FloatStorage", bytes(256))
TORCH = [
    ("empty file", ["zip archive"], lambda d: put(d, "pytorch_model.bin", b"")),
    ("text file", ["zip archive"], lambda d: put(d, "pytorch_model.bin", b"version https://git-lfs.github.com/spec/v1\n")),
    ("legacy format", ["legacy", "1.6"],
     lambda d: put(d, "pytorch_model.bin", P2 + b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")),
    ("cut in the middle", ["zip archive"], raw_bytes(lambda b: b[:len(b) // 2])),
    ("cut at the end", ["zip archive"], raw_bytes(lambda b: b[:-10])),
    ("compressed entries", ["stored entry", "method 8"], compressed),
    ("zip bomb", ["stored entry"], bomb),
    ("an entry of 4 GiB", ["archive"], raw_bytes(claim_size)),
    ("an entry past the end", ["archive"], raw_bytes(move_entry)),
    ("encrypted entry", ["archive", "encrypted|damaged|data/3"], raw_bytes(encrypt)),
    ("65534 entries claimed", ["zip archive"], raw_bytes(claim_entries)),
    ("a flipped bit", ["data/3", "CRC"], raw_bytes(flip_data)),
    ("overlapping entries", ["data/0", "data/1", "overlap"], nested),
    ("entry twice", ["already exists"], entries(lambda e: e + [e[2]])),
    ("no data.pkl", ["data.pkl"], entries(lambda e: e[1:])),
    ("two data.pkl", ["data.pkl", "two"], entries(lambda e: e + [("other/data.pkl", b"x")])),
    ("big-endian", ["byteorder"], entries(lambda e: [(n, b"big" if n.endswith("byteorder") else v) for n, v in e])),
    ("storage missing", ["data/2", "missing"], entries(lambda e: [x for x in e if not x[0].endswith("data/2")])),
    ("storage of another size", ["storage '2'", "elements"],
     entries(lambda e: [(n, v[:-4] if n.endswith("data/2") else v) for n, v in e])),
    # pickles that would run something
    ("os.system", ["'os.system'", "nothing was executed"], pickled(P2 + b"cos\nsystem\n" + text(TOUCH) + b"\x85R.")),
    ("posix.system, protocol 4", ["'posix.system'"],
     pickled(b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + text(TOUCH) + b"\x85R.")),
    ("builtins.eval inside a dict", ["'builtins.eval'"],
     pickled(P2 + b"}" + text("a") + b"cbuiltins\neval\n" + text("1") + b"\x85Rs.")),
    ("torch.load of a tensor type", ["'torch.storage._load_from_bytes'"], pickled(P2 + b"ctorch.storage\n_load_from_bytes\n)R.")),
    ("INST", ["opcode INST"], pickled(P2 + b"(" + text(TOUCH) + b"ios\nsystem\n.")),
    ("OBJ", ["opcode OBJ"], pickled(P2 + b"(ccollections\nOrderedDict\no.")),
    ("NEWOBJ", ["opcode NEWOBJ"], pickled(P2 + b"ccollections\nOrderedDict\n)\x81.")),
    ("BUILD of something else", ["BUILD"], pickled(P2 + b"K\x01}b.")),
    ("EXT1", ["opcode EXT1"], pickled(P2 + b"\x82\x01.")),
    ("a storage type that is called", ["REDUCE"], pickled(P2 + b"ctorch\nFloatStorage\nK\x08\x85R.")),
    ("OrderedDict with arguments", ["REDUCE"], pickled(P2 + b"ccollections\nOrderedDict\n]\x85R.")),
    ("persistent id of another form", ["storage"], pickled(P2 + text("0") + b"Q.")),
    ("storage key that climbs", ["storage"], pickled(
        P2 + b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("../../../etc/passwd") + text("cpu") + b"K\x01tQ.")),
    # pickles that are torn or too much
    ("no STOP", ["no STOP"], pickled(P2 + b"}")),
    ("cut inside a text", ["torn pickle"], pickled(P2 + b"}X\x10\0\0\0abc")),
    ("bytes after STOP", ["STOP"], pickled(P2 + b"}.}")),
    ("unknown opcode", ["0xff"], pickled(P2 + b"\xff.")),
    ("protocol 9", ["protocol"], pickled(b"\x80\x09}.")),
    ("a list", ["dict of tensors"], pickled(P2 + b"].")),
    ("a dict inside a dict", ["dict of tensors"], pickled(P2 + b"}" + text("state_dict") + b"}s.")),
    ("deep nesting", ["nesting"], pickled(P2 + b")" + b"\x85" * 100000 + b".")),
    ("many marks", ["marks"], pickled(P2 + b"(" * 100000 + b".")),
    ("many values", ["at most"], pickled(P2 + b")" * 5000000 + b".")),
    ("memo 2^32 - 1", ["memo"], pickled(P2 + b"}r\xff\xff\xff\xff.")),
    ("memo that nobody filled", ["memo"], pickled(P2 + b"h\x05.")),
    ("text of 4 GiB", ["text"], pickled(P2 + b"X\xff\xff\xff\xffabc.")),
    ("number of 255 bytes", ["8 bytes"], pickled(P2 + b"\x8a\xff" + b"\1" * 255 + b".")),
    ("stack that is empty", ["stack is empty"], pickled(P2 + b"}s.")),
    ("stack below a mark", ["stack is empty"], pickled(P2 + b"K\1(\x85.")),
    ("key without a value", ["without a value"], pickled(P2 + b"}(" + text("a") + b"u.")),
    ("key that is a number", ["as keys"], pickled(with_key(b"K\x01"))),
    ("key with a NUL", ["as keys"], pickled(with_key(text("a\0b")))),
    ("key that is no UTF-8", ["as keys"], pickled(with_key(b"X\1\0\0\0\xff"))),
    ("dict that holds itself", ["nesting|dict of tensors"], pickled(P2 + b"}q\0" + text("a") + b"h\0s.")),
    # tensors
    ("negative offset", ["offset -1"], replace(Raw(FLOATS, -1, (64,), (1,)))),
    ("offset past the end", ["offset 1"], replace(Raw(FLOATS, 1, (64,), (1,)))),
    ("offset 2^63 - 1", ["offset 9223372036854775807"], replace(Raw(FLOATS, 2 ** 63 - 1, (64,), (1,)))),
    ("stride too long", ["strides [2]"], replace(Raw(FLOATS, 0, (64,), (2,)))),
    ("negative stride", ["strides"], replace(Raw(FLOATS, 63, (64,), (-1,)))),
    ("stride 0", ["strides [0]"], replace(Raw(FLOATS, 0, (2 ** 40,), (0,)))),
    ("shape of 2^62", ["4611686018427387904"], replace(Raw(FLOATS, 0, (2 ** 62, 4), (4, 1)))),
    ("shape without strides", ["shape and strides"], replace(Raw(FLOATS, 0, (64,), ()))),
    ("nine dimensions", ["at most 8"], replace(Raw(FLOATS, 0, (1,) * 9, (1,) * 9))),
    ("storage that claims too much", ["storage"], replace(Raw(Storage("FloatStorage", bytes(256), 2 ** 61), 0, (64,), (1,)))),
    ("wrong shape", ["[64]", "[32]"], replace(np.zeros(32, np.float32))),
    ("wrong dtype", ["I64"], replace(np.zeros(64, np.int64))),
    ("FP64 beyond FP32", ["NaN or Inf", "element 5"], replace(np.array([1e300 if i == 5 else 1 for i in range(64)]))),
    ("NaN behind a stride", ["NaN", "element 3"], replace(np.array([[0, 9]] * 3 + [[np.nan, 9]] + [[0, 9]] * 60, np.float32)[:, 0])),
    ("key twice", ["twice"], lambda d: torch_file.write_zip(bin_file(d), torch_file.entries_of(
        *(lambda p, s: (p[:-1] + b"(" + text("b") + b"K\1" + text("b") + b"K\2u.", s))(*torch_file.dumps(good_tensors()))))),
]


# ---------------------------------------------------------------- shards
def shards(change):
    """The good model in two shards; change(index, parts) before they are written."""
    def spoil(d):
        tensors = good_tensors()
        names = sorted(tensors)
        parts = {"a.safetensors": {n: tensors[n] for n in names[::2]}, "b.safetensors": {n: tensors[n] for n in names[1::2]}}
        index = {"weight_map": {n: file for file, part in parts.items() for n in part}}
        change(index["weight_map"], parts)
        for file, part in parts.items():
            reference.save_safetensors(os.path.join(d, file), part)
        write_json(d, "model.safetensors.index.json", index)
    return spoil


SHARDS = [
    ("index that is no JSON", ["index.json", "JSON"], lambda d: put(d, "model.safetensors.index.json", b"{")),
    ("index without weight_map", ["weight_map"], lambda d: put(d, "model.safetensors.index.json", b"{}")),
    ("shard that climbs", ["beside the index"], shards(lambda m, p: m.update({NORM: "../a.safetensors"}))),
    ("shard missing", ["b.safetensors", "no such file"], shards(lambda m, p: p.pop("b.safetensors"))),
    ("tensor missing from its shard", ["weight_map", NORM, "missing"],
     shards(lambda m, p: [part.pop(NORM, None) for part in p.values()])),
    ("tensor in two shards, differently", ["index.json", NORM, "a.safetensors", "b.safetensors", "others"],
     shards(lambda m, p: [part.setdefault(NORM, np.zeros(64, np.float32)) for part in p.values()])),
]


# ---------------------------------------------------------------- W8A8
def quamba(key, value=None, remove=False, base=QUAMBA):
    def spoil(d):
        stored = torch_file.load(os.path.join(base, "pytorch_model.bin"))
        if remove:
            del stored[key]
        else:
            stored[key] = value(stored[key]) if callable(value) else value
        torch_file.save(bin_file(d), {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in stored.items()})
        shutil.copy(os.path.join(base, "config.json"), d)
    return spoil


def published(key, value=None, remove=False):
    """With quantized embedding and lm_head."""
    return quamba(key, value, remove, PUBLISHED)


def last_output(codes):
    """A code in the last row of padding."""
    changed = codes.copy()
    changed[0, -1] = 1
    return changed


def scale_cache():
    """What the code of 2024 saves: a list of dicts."""
    layer = {"in_proj:input": Raw(Storage("FloatStorage", bytes(4)), 0, (), ())}
    return torch_file.entries_of(*torch_file.dumps([layer, layer]))


def quamba_config(**changes):
    def spoil(d):
        shutil.copy(os.path.join(QUAMBA, "pytorch_model.bin"), d)
        write_json(d, "config.json", dict(harness.read_json(os.path.join(QUAMBA, "config.json")), **changes))
    return spoil


L3 = "backbone.layers.3."
W8A8 = [
    ("scale missing", [L3 + "norm.output_scale", "missing"], quamba(L3 + "norm.output_scale", remove=True)),
    ("codes missing", [L3 + "mixer.out_proj.weight", "missing"], quamba(L3 + "mixer.out_proj.weight", remove=True)),
    ("scale 0", [L3 + "mixer.conv1d.input_scale", "above 0"], quamba(L3 + "mixer.conv1d.input_scale", 0.0)),
    ("scale NaN", [L3 + "mixer.had.x_H_scale"], quamba(L3 + "mixer.had.x_H_scale", float("nan"))),
    ("scale that is a vector", [L3 + "mixer.in_proj.b"], quamba(L3 + "mixer.in_proj.b", np.ones(2, np.float32))),
    ("scales that contradict", [L3 + "mixer.selective_scan.u_scale", "other scales"],
     quamba(L3 + "mixer.selective_scan.u_scale", np.float32(0.5).reshape(1))),
    ("an alpha for each channel", [L3 + "mixer.in_proj.alpha", "one number"],
     quamba(L3 + "mixer.in_proj.alpha", np.ones((1, 384), np.float32))),
    ("a scale for each channel", [L3 + "mixer.in_proj.b", "one number", "[1, 384]"],
     quamba(L3 + "mixer.in_proj.b", np.full((1, 384), 0.01, np.float32))),
    ("a check for each channel", [L3 + "mixer.in_proj.a", "one number", "[1, 384]"],
     quamba(L3 + "mixer.in_proj.a", np.full((1, 384), 0.01, np.float32))),
    ("codes in the padding", [L3 + "mixer.x_proj.weight", "behind output 38"], quamba(L3 + "mixer.x_proj.weight", last_output)),
    ("lm_head missing", ["lm_head.weight", "missing"], quamba("lm_head.weight", remove=True)),
    ("final norm that is not folded", ["backbone.norm_f.weight", "ones", "lm_head"],
     quamba("backbone.norm_f.weight", lambda a: a * np.float16(0.5))),
    ("no scales of the rows", ["backbone.embedding.scales", "missing"],
     published("backbone.embedding.scales", remove=True)),
    ("infinite row", ["backbone.embedding.scales", "element 7", "inf"],
     published("backbone.embedding.scales", lambda a: np.where(np.arange(len(a)) == 7, np.inf, a).astype(np.float16))),
    ("too few rows", ["backbone.embedding.scales", "[2048]", "[2047]"], published("backbone.embedding.scales", lambda a: a[:-1])),
    ("codes where config.json says float", ["lm_head.weight", "lm_head_cfg.layer", "float", "I8"], lambda d: (
        published(NORM, lambda a: a)(d), write_json(d, "config.json", dict(harness.read_json(os.path.join(PUBLISHED, "config.json")),
                                                                          lm_head_cfg={"layer": "Linear"})))),
    ("floats where config.json says codes", ["backbone.embedding.weight", "embedding_cfg.layer", "INT8", "F16"],
     published("backbone.embedding.weight", lambda a: a.astype(np.float16))),
    ("scales of lm_head that contradict", ["backbone.norm_f.output_scale", "other scales"],
     published("backbone.norm_f.output_scale", 0.5)),
    ("lm_head without a scale", ["lm_head.b", "missing"], published("lm_head.b", remove=True)),
    ("number of another lm_head", ["lm_head.zero_point", "unknown"], published("lm_head.zero_point", 3.0)),
    ("a model in memory of 2024", ["2024", "selective_scan.output_scale"], lambda d: torch_file.save(bin_file(d), {
        k: v for k, v in dict(torch_file.load(os.path.join(QUAMBA, "pytorch_model.bin")), **{
            "backbone.layers.0.mixer.selective_scan.output_scale": np.float32(0.1).reshape(1)}).items()
        if not k.endswith("norm.output_scale")}) or shutil.copy(os.path.join(QUAMBA, "config.json"), d)),
    ("float weights", [L3 + "mixer.in_proj.weight", "INT8", "F32"],
     quamba(L3 + "mixer.in_proj.weight", lambda a: a.astype(np.float32))),
    ("codes of another shape", [L3 + "mixer.x_proj.weight", "[192, 38]", "[192, 37]"],
     quamba(L3 + "mixer.x_proj.weight", lambda a: a[:, :37])),
    ("norm that is not folded", [L3 + "norm.weight", "ones"], quamba(L3 + "norm.weight", lambda a: a * np.float16(1.5))),
    ("number of another model", ["backbone.layers.3.mixer.in_proj.zero_point"], quamba(L3 + "mixer.in_proj.zero_point", 3)),
    ("tensor of another model", ["backbone.layers.24."], quamba("backbone.layers.24.norm.weight", np.ones(96, np.float16))),
    ("scales of 2024 as a model", ["data.pkl", "activation scales", "2024", "Quamba2"], lambda d: (
        torch_file.write_zip(bin_file(d), scale_cache()), shutil.copy(os.path.join(QUAMBA, "config.json"), d))),
    ("W4A8", ["mixer.in_proj", "96 inputs in 4 bits", "128"],
     quamba_config(ssm_cfg={"layer": "W4A8QMamba"})),
    ("W4A8 of Mamba-2", ["conv1d.weight", "config.json and weights differ"], quamba_config(ssm_cfg={"layer": "W4A8QMamba2"})),
    ("W8A8 of Mamba-2 by its config.json alone", ["in_proj.weight", "[96, 643]"], quamba_config(ssm_cfg={"layer": "W8A8QMamba2"})),
    ("W4AX", ["norm_cfg.norm", "expected 'RMSNorm'", "QRMSNorm"],
     quamba_config(ssm_cfg={"layer": [{"W4A16": "W4A16QMamba2"}, {"W4A8": "W4A8QMamba2"}]}, is_hybrid=True)),
    ("4-bit embedding", ["embedding_cfg.layer", "expected 4-bit codes", "F16"], quamba_config(embedding_cfg={"layer": "W4O16Embedding"})),
    ("quantized lm_head", ["lm_head_cfg.layer", "W8A16"], quamba_config(lm_head_cfg={"layer": "W8A16Linear"})),
    ("quantized embedding", ["embedding_cfg.layer"], quamba_config(embedding_cfg={"layer": "W8O16Embedding"})),
    ("more layers than there are", ["backbone.layers.24."], quamba_config(n_layer=25)),
]


# ---------------------------------------------------------------- running
def run_case(work, kind, number, case):
    name, words, spoil = case
    folder = os.path.join(work, "%s-%d" % (kind, number))
    os.makedirs(folder)
    write_json(folder, "config.json", CONFIG)
    spoil(folder)
    result = harness.run(["info", folder], 1, work, limit=SECONDS)
    wrong = []
    if result.status != INPUT:
        wrong.append("expected status %d, got %s" % (INPUT, result.status))
    lines = result.err.splitlines()
    if len(lines) != 1 or result.out:
        wrong.append("expected one line and nothing else")
    for word in words:
        if not any(w.lower() in result.err.lower() for w in word.split("|")):
            wrong.append("the line does not say '%s'" % word)
    shutil.rmtree(folder)
    return "%s: %s" % (kind, name), wrong, result


def check_good(checks, work):
    """What the cases start from is good."""
    for name, make in (("PyTorch", torch_dict(lambda t: None)), ("entries", entries(lambda e: None)),
                       ("shards", shards(lambda m, p: None)), ("W8A8", quamba(NORM, lambda a: a)), ("config", quamba_config())):
        folder = os.path.join(work, "good-" + name)
        os.makedirs(folder)
        write_json(folder, "config.json", CONFIG)
        make(folder)
        result = harness.run(["info", folder], 1, work)
        checks.check(result.status == 0 and not result.err, "the good model: " + name, result.err)


def check_usage(checks, work):
    """What only a sweep can refuse."""
    other = os.path.join(work, "other")
    os.makedirs(other)
    write_json(other, "config.json", CONFIG)
    reference.save_safetensors(os.path.join(other, "model.safetensors"), good_tensors())
    for what, status, words, arguments in (
            ("reference model of another size", INPUT, ["--reference-model", "n_layer"], ["--model", QUAMBA, "--reference-model", other]),
            ("reference model that is W8A8", INPUT, ["--reference-model", "float"], ["--model", QUAMBA, "--reference-model", QUAMBA]),
            ("reference model beside a float one", 2, ["--reference-model"], ["--reference-model", harness.DEMO]),
            ("two sets of scales", 2, ["--calib_data_num"], ["--model", QUAMBA, "--calib_data_num", "2,3"]),
            ("name and --model", 2, ["--model"], ["name", "--pretrained_dir", QUAMBA, "--model", QUAMBA]),
            ("name without --pretrained_dir", 2, ["quamba-130m"], ["quamba-130m"]),
            ("two names", 2, ["second"], ["--pretrained_dir", QUAMBA, "first", "second"])):
        for ranks in (1, 3):
            result = harness.run_each_status(["-q"] + arguments, ranks, work)
            checks.check(result.status == status and len(result.lines()) == 1 and all(w in result.err for w in words),
                         "%s, -n %d" % (what, ranks), "status %s\n%s" % (result.status, result.err))


def main():
    checks = harness.Checks()
    warnings.simplefilter("ignore")    # of a name that occurs twice, which is what is wanted
    if os.path.exists(OWNED):
        os.unlink(OWNED)
    with harness.Workplace() as work:
        check_good(checks, work)
        all_cases = [(kind, n, case) for kind, cases in (("safetensors", SAFETENSORS), ("PyTorch", TORCH), ("shards", SHARDS),
                                                         ("W8A8", W8A8)) for n, case in enumerate(cases)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(run_case, work, *case) for case in all_cases]:
                what, wrong, result = done.result()
                checks.check(not wrong, what, "\n".join(wrong) + "\n--- stderr\n" + result.err)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        checks.check(harness.SANITIZED or peak < 400000, "no case takes much memory", "%d KiB" % peak)
        checks.check(len(all_cases) >= 25 and not os.path.exists(OWNED), "nothing was executed")
        check_usage(checks, work)
    checks.finish()


main()
