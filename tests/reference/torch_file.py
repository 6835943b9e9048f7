# SPDX-License-Identifier: Apache-2.0
"""Writes and reads PyTorch's zip format without PyTorch.

save() takes {name: value}; a value is a NumPy array (whose strides are kept when it is a transposed or sliced view),
Bf16, Raw, or anything that pickle knows.  Tests pass their own pickle or entries to make broken files."""
import collections
import io
import pickle
import sys
import types
import zipfile

import numpy as np

STORAGES = {"<f4": "FloatStorage", "<f2": "HalfStorage", "<f8": "DoubleStorage", "|i1": "CharStorage",
            "<i2": "ShortStorage", "<i4": "IntStorage", "<i8": "LongStorage", "|u1": "ByteStorage", "|b1": "BoolStorage",
            "<c8": "ComplexFloatStorage", "bf16": "BFloat16Storage", "untyped": "UntypedStorage"}
SIZES = {"FloatStorage": 4, "HalfStorage": 2, "DoubleStorage": 8, "CharStorage": 1, "ShortStorage": 2, "IntStorage": 4,
         "LongStorage": 8, "ByteStorage": 1, "BoolStorage": 1, "BFloat16Storage": 2, "ComplexFloatStorage": 8, "UntypedStorage": 1}
DTYPES = ["float32", "uint16", "float8_e4m3fn"]    # what _rebuild_tensor_v3 may name here

torch, utils, storage = types.ModuleType("torch"), types.ModuleType("torch._utils"), types.ModuleType("torch.storage")
sys.modules.update({"torch": torch, "torch._utils": utils, "torch.storage": storage})
for _name in STORAGES.values():
    setattr(torch, _name, type(_name, (), {"__module__": "torch"}))
torch.UntypedStorage.__module__ = "torch.storage"
storage.UntypedStorage = torch.UntypedStorage


class Dtype:
    """Pickled as its name in torch."""
    __module__ = "torch"

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return self.name


for _name in DTYPES:
    setattr(torch, _name, Dtype(_name))


def _rebuild_tensor_v2():
    raise RuntimeError("for its name alone")


def _rebuild_parameter():
    raise RuntimeError("for its name alone")


def _rebuild_tensor_v3():
    raise RuntimeError("for its name alone")


def _rebuild_parameter_with_state():
    raise RuntimeError("for its name alone")


for _function in (_rebuild_tensor_v2, _rebuild_tensor_v3, _rebuild_parameter, _rebuild_parameter_with_state):
    _function.__module__ = "torch._utils"
    setattr(utils, _function.__name__, _function)


class Storage:
    """Bytes under a key; `elements` is what the pickle says of them."""

    def __init__(self, kind, data, elements=None):
        self.kind, self.data = kind, data
        self.elements = len(data) // SIZES[kind] if elements is None else elements
        self.key = None


class Raw:
    """A tensor as the pickle describes it; `state`: attributes of a parameter; `dtype`: named beside the storage."""

    def __init__(self, storage, offset, shape, stride, parameter=False, state=None, dtype=None):
        self.storage, self.offset, self.shape, self.stride, self.parameter = storage, offset, shape, stride, parameter
        self.state, self.dtype = state, dtype

    def __reduce__(self):
        arguments = (self.storage, self.offset, tuple(self.shape), tuple(self.stride), False, collections.OrderedDict())
        if self.state is not None:
            inner = Raw(self.storage, self.offset, self.shape, self.stride)
            return _rebuild_parameter_with_state, (inner, True, collections.OrderedDict(), self.state)
        if self.dtype:
            return _rebuild_tensor_v3, arguments + (getattr(torch, self.dtype), None)
        if self.parameter:
            inner = Raw(self.storage, self.offset, self.shape, self.stride)
            return _rebuild_parameter, (inner, True, collections.OrderedDict())
        return _rebuild_tensor_v2, arguments


class Bf16:
    """The upper halves of float32, as uint16."""

    def __init__(self, bits):
        self.bits = np.ascontiguousarray(bits, np.uint16)


def as_raw(value, stores):
    if isinstance(value, Bf16):
        shape = value.bits.shape
        strides = [s // 2 for s in value.bits.strides]
        return Raw(Storage("BFloat16Storage", value.bits.tobytes()), 0, shape, strides)
    if not isinstance(value, np.ndarray):
        return value
    base = value
    while isinstance(base.base, np.ndarray):
        base = base.base
    if not base.flags.c_contiguous or base.dtype != value.dtype:
        base = value = np.ascontiguousarray(value)
    storage = stores.setdefault(id(base), (base, Storage(STORAGES[base.dtype.str], base.tobytes())))[1]
    offset = (value.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // base.itemsize
    return Raw(storage, offset, value.shape, [s // value.itemsize for s in value.strides])


class Pickler(pickle._Pickler):    # the one in Python: the other would check that the globals are real
    def __init__(self, out, protocol):
        super().__init__(out, protocol)
        self.storages = {}

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        if value.key is None or value.key not in self.storages:
            if value.key is None:
                value.key = str(len(self.storages))
            self.storages[value.key] = value
        return ("storage", getattr(torch, value.kind), value.key, "cpu", value.elements)


def dumps(values, protocol=2):
    """(pickle, {key: bytes}) of a state dict."""
    stores, out = {}, io.BytesIO()
    if isinstance(values, dict):
        values = type(values)((k, as_raw(v, stores)) for k, v in values.items())
    pickler = Pickler(out, protocol)
    pickler.dump(values)
    return out.getvalue(), {k: s.data for k, s in pickler.storages.items()}


def write_zip(path, entries, compress=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compress, allowZip64=True) as z:
        for name, data in entries:
            z.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, compress)


def entries_of(pickled, storages, root="archive"):
    return ([(root + "/data.pkl", pickled), (root + "/byteorder", b"little")] +
            [("%s/data/%s" % (root, key), data) for key, data in storages.items()] + [(root + "/version", b"3\n")])


def save(path, values, protocol=2, root="archive"):
    write_zip(path, entries_of(*dumps(collections.OrderedDict(values), protocol), root=root))


class Unpickler(pickle.Unpickler):
    def __init__(self, archive, root):
        super().__init__(io.BytesIO(archive.read(root + "data.pkl")))
        self.archive, self.root = archive, root

    def find_class(self, module, name):
        if name == "OrderedDict":
            return collections.OrderedDict
        if name == "_rebuild_tensor_v2":
            return lambda storage, offset, shape, stride, *_: np.lib.stride_tricks.as_strided(
                storage[offset:], shape, [s * storage.itemsize for s in stride])
        return {v: k for k, v in STORAGES.items()}[name]

    def persistent_load(self, pid):
        return np.frombuffer(self.archive.read(self.root + "data/" + pid[2]), pid[1])


def load(path):
    """{name: array or number}; bfloat16 is not read."""
    with zipfile.ZipFile(path) as archive:
        name = [n for n in archive.namelist() if n.endswith("/data.pkl")][0]
        return Unpickler(archive, name[:-len("data.pkl")]).load()
