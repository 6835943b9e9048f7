# SPDX-License-Identifier: Apache-2.0
"""Seeds for the fuzz targets of checkpoints: make_checkpoint_seeds.py OUT_FOLDER SOURCE_FOLDER"""
import collections
import json
import os
import struct
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.join(sys.argv[2], "tests", "reference"))
import torch_file  # noqa: E402


def state_dicts():
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    shared = np.arange(20, dtype=np.float16)
    yield {"a": a, "transposed": a.T, "slice": a[1:, ::2], "tied": a}
    yield {"codes": np.arange(24, dtype=np.int8).reshape(4, 6).T, "scale": 0.5, "count": 3, "flag": True, "none": None,
           "big": -2 ** 40, "text": "x", "tuple": (1, (2, 3)), "list": [1], "inner": {"a": 1}}
    yield {"bf16": torch_file.Bf16(np.arange(6).reshape(2, 3)), "head": shared[:8], "tail": shared[8:],
           "scalar": np.ones((), np.float32), "empty": np.zeros((0, 3), np.float32)}
    yield {"p": torch_file.Raw(torch_file.Storage("FloatStorage", bytes(16)), 0, (4,), (1,), parameter=True)}
    untyped = torch_file.Storage("UntypedStorage", bytes(16))
    yield {"w": torch_file.Raw(torch_file.Storage("FloatStorage", bytes(16)), 0, (4,), (1,), True, {"_no_weight_decay": True}),
           "c": np.zeros(2, np.complex64), "u16": torch_file.Raw(untyped, 0, (2, 4), (4, 1), dtype="uint16"),
           "f32": torch_file.Raw(untyped, 1, (3,), (1,), dtype="float32")}
    yield {"x.mixer.in_proj.weight": np.zeros((16, 6), np.int8).T, "x.mixer.in_proj.a": np.ones((1, 1), np.float32),
           "x.mixer.in_proj.alpha": 0.002, "x.mixer.selective_scan.u_scale": np.float32(0.5).reshape(())}
    yield [{"in_proj:input": torch_file.Raw(torch_file.Storage("FloatStorage", bytes(4)), 0, (), ())}]
    yield {"i": np.arange(4, dtype=np.int32), "l": np.arange(4, dtype=np.int64), "d": np.arange(4, dtype=np.float64),
           "s": np.arange(4, dtype=np.int16), "u": np.arange(4, dtype=np.uint8), "b": np.ones(4, np.bool_)}


def bytes_as_keys(values, protocol):
    """The pickle with storages named after their size, as the target has them."""
    pickled, storages = torch_file.dumps(values, protocol)
    for key, data in storages.items():
        for before, after in ((b"X", struct.pack("<I", len(key))), (b"\x8c", bytes([len(key)]))):
            name = str(len(data))
            new_length = struct.pack("<I", len(name)) if before == b"X" else bytes([len(name)])
            pickled = pickled.replace(before + after + key.encode() + (b"q" if protocol == 2 else b"\x94"),
                                      before + new_length + name.encode() + (b"q" if protocol == 2 else b"\x94"))
    return pickled


def pickles():
    for values in state_dicts():
        for protocol in (2, 4):
            yield bytes_as_keys(values, protocol)
            if isinstance(values, dict):
                yield bytes_as_keys(collections.OrderedDict(values), protocol)
    # An OrderedDict with an attribute, as state_dict() has `_metadata`.
    yield b"\x80\x02ccollections\nOrderedDict\n)R}X\x09\x00\x00\x00_metadata}X\x00\x00\x00\x00}X\x07\x00\x00\x00versionK\x01sssb."
    yield b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R."
    yield b"\x80\x02" + b"(" * 50 + b"t" * 50 + b"."
    yield b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s."


def archives():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x")
        for values in state_dicts():
            torch_file.write_zip(path, torch_file.entries_of(*torch_file.dumps(values)))
            with open(path, "rb") as f:
                yield f.read()
        pickled, storages = torch_file.dumps({"a": np.arange(300, dtype=np.float32)})
        for compress in (8, 14):
            torch_file.write_zip(path, torch_file.entries_of(pickled, storages), compress)
            with open(path, "rb") as f:
                yield f.read()


def safetensors(header, data):
    header = json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


def tensor_files():
    def entry(dtype, shape, begin, end):
        return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    yield safetensors({"a": entry("F32", [2, 2], 0, 16), "b": entry("F16", [3], 16, 22)}, bytes(22))
    yield safetensors({"__metadata__": {"format": "pt"}, "a": entry("BF16", [], 0, 2)}, bytes(2))
    yield safetensors({"a": entry("I8", [4, 1, 2], 0, 8), "e": entry("F64", [0], 8, 8)}, bytes(8))
    yield safetensors({"a": entry("F8_E4M3", [2, 2], 0, 4), "lm_head.weight": entry("_", [0], 4, 4), "u": entry("U32", [1], 4, 8)},
                      bytes(8))
    yield safetensors({"a": entry("F32", [2 ** 40, 2 ** 40], 0, 16)}, bytes(16))
    yield safetensors({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 2, 6)}, bytes(8))
    yield safetensors({}, b"")


def main():
    for name, make in (("pickle", pickles), ("torch_zip", archives), ("safetensors", tensor_files)):
        folder = os.path.join(sys.argv[1], name)
        os.makedirs(folder, exist_ok=True)
        made = 0
        for made, data in enumerate(make(), 1):
            with open(os.path.join(folder, "%03d" % made), "wb") as f:
                f.write(data)
        print("%s: %d seeds" % (name, made))


main()
