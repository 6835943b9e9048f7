# SPDX-License-Identifier: Apache-2.0
"""sweep_test at several rank counts and shards: h5py reads what C wrote, all files are the same, and the reader refuses
torn files without crashing.   result_file.py MPIEXEC SWEEP_TEST RESULT_PROBE"""
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from sweep_files import contents  # noqa: E402

MPIEXEC, SWEEP_TEST, PROBE = sys.argv[1:]
VARIANTS = [(1, 0), (1, 7), (2, 1), (3, 4), (4, 0), (16, 1)]
LIMIT = 600    # seconds, only for what hangs


def sweep(path, ranks, shard):
    subprocess.run([MPIEXEC, "-n", str(ranks), SWEEP_TEST, path, str(shard)], check=True, timeout=LIMIT)


def check_failing_writes(folder):
    """The C side checks that all ranks end alike; here: as many samples are marked as were counted."""
    for ranks, shard, write in ((1, 0, 1), (1, 4, 40), (3, 0, 7), (16, 1, 3)):    # one failure each: tried again
        path = os.path.join(folder, "retry-n%d-s%d-k%d.h5" % (ranks, shard, write))
        subprocess.run([MPIEXEC, "-n", str(ranks), SWEEP_TEST, path, str(shard), str(-write)], check=True, timeout=LIMIT)
    for ranks, shard, writes in ((1, 0, 0), (1, 4, 260), (3, 0, 0), (3, 4, 113), (16, 1, 6)):
        path = os.path.join(folder, "failing-n%d-s%d-k%d.h5" % (ranks, shard, writes))
        out = subprocess.run([MPIEXEC, "-n", str(ranks), SWEEP_TEST, path, str(shard), str(writes)], check=True,
                             timeout=LIMIT, stdout=subprocess.PIPE, universal_newlines=True).stdout
        with h5py.File(path, "r") as f:
            done = sum(int((f["items"][cell][mode]["state"][:] == 1).sum()) for cell in f["items"] for mode in f["items"][cell])
        assert out.split() == [str(done), "stored"], (out, done)


def bytes_of(path):
    """The whole file, its seconds zeroed: nothing else may differ between two runs, times of objects included."""
    with open(path, "rb") as raw:
        data = bytearray(raw.read())
    with h5py.File(path, "r") as f:
        def blank(name, thing):
            if isinstance(thing, h5py.Dataset) and name.endswith("/seconds"):
                at, size = thing.id.get_offset(), thing.id.get_storage_size()
                data[at:at + size] = bytes(size)
        f.visititems(blank)
    return bytes(data)


def check_contents(path):
    """Shapes, padding and digests, without the reader under test."""
    with h5py.File(path, "r") as f:
        ids, length = f["samples/token_ids"][:], f["samples/length"][:]
        assert ids.dtype == np.int32 and ids.shape == (11, 29), ids.shape
        assert f.attrs["schema_version"] == 5
        assert f["calibration/4/scales"].shape == (5, 7) and len(f["calibration/4/scales"].attrs["sites"]) == 7
        assert sorted(f["outputs"]) == ["11", "4", "float"] and sorted(f["outputs/float"]) == ["fp16", "fp32"]
        assert (ids[np.arange(29) >= length[:, None]] == -1).all()
        for cell, mode in ((c, m) for c in f["outputs"] for m in f["outputs"][c]):
            layers = f["outputs"][cell][mode]
            assert sorted(layers) == ["layer_0", "layer_2", "layer_4"]
            items = f["items"][cell][mode]
            assert (items["state"][:] == 1).all() and items["state"].dtype == np.uint8
            assert (items["seconds"][:] >= 0).all()
            for s in range(11):
                digest = hashlib.sha256()
                for layer in ("layer_0", "layer_2", "layer_4"):
                    for component, width in (("conv1d_input", 12), ("mixer_output", 6)):
                        data = layers[layer][component]
                        assert data.shape == (11, 29, width) and data.dtype == np.float32 and data.chunks is None
                        sample = data[s]
                        assert (sample[:length[s]] != 0).any() and not sample[length[s]:].any(), "padding"
                        digest.update(sample[:length[s]].tobytes())
                metrics = f["metrics"][cell][mode]
                for name in ("moments", "histogram", "position", "end_of_model"):
                    digest.update(metrics[name][s].tobytes())
                assert items["digest"][s].tobytes() == digest.digest(), "digest"


def probe(path, leaks=True):
    options = os.environ.get("ASAN_OPTIONS", "") + ("" if leaks else ":detect_leaks=0")
    done = subprocess.run([PROBE, path], timeout=LIMIT, stderr=subprocess.PIPE, universal_newlines=True,
                          env=dict(os.environ, ASAN_OPTIONS=options))
    return done.returncode, done.stderr


def check_torn(good, folder):
    assert probe(good) == (0, "")
    assert probe(os.path.join(folder, "nowhere.h5"))[0] == 3
    assert probe(folder)[0] == 3
    with open(good, "rb") as f:
        data = f.read()
    torn = os.path.join(folder, "torn.h5")

    def check(content, what, statuses=(3,), leaks=True):
        with open(torn, "wb") as f:
            f.write(content)
        status, line = probe(torn, leaks)
        assert status in statuses, "%s: status %s, %s" % (what, status, line)
        assert status == 0 or (line.count("\n") == 1 and torn in line), (what, line)

    for keep in (0, 1, 100, 1000, len(data) // 2, len(data) - 1):
        check(data[:keep], "cut to %d" % keep)
    check(b"\0" * len(data), "zeros")
    check(b"an earlier result\n", "text")
    chance = random.Random(5)
    for trial in range(60):  # raw data takes any bytes; structure must be refused or survive
        spoilt = bytearray(data)
        for _ in range(20):
            spoilt[chance.randrange(len(data))] = chance.randrange(256)
        # HDF5 itself loses memory where the type of a dataset is damaged.
        check(bytes(spoilt), "spoilt %d" % trial, (0, 3, 4), leaks=False)


def change(source, target, edit):
    with open(source, "rb") as a, open(target, "wb") as b:
        b.write(a.read())
    with h5py.File(target, "r+") as f:
        edit(f)
    return target


def check_foreign(good, folder):
    def replace(name, **kwargs):
        def edit(f):
            del f[name]
            f.create_dataset(name, **kwargs)
        return edit

    def set_length(value):
        def edit(f):
            f["samples/length"][2] = value
        return edit

    moments = "metrics/float/fp16/moments"
    with h5py.File(good, "r") as f:
        accumulator = f[moments].dtype
    output = "outputs/float/fp16/layer_0/mixer_output"
    edits = {
        "other schema": lambda f: f.attrs.modify("schema_version", np.int32(99)),
        "no schema": lambda f: f.attrs.__delitem__("schema_version"),
        "neither outputs nor metrics": lambda f: (f.__delitem__("outputs"), f.__delitem__("metrics")),
        "no items": lambda f: f.__delitem__("items"),
        "metrics missing in one mode": lambda f: f.__delitem__("metrics/4/0"),
        "moments missing": lambda f: f.__delitem__("metrics/float/fp32/moments"),
        "predictions missing in one mode": lambda f: f.__delitem__("metrics/4/0/end_of_model"),
        "no widths": lambda f: f.__delitem__("metrics/width"),
        "width 0": lambda f: f["metrics/width"].__setitem__(0, 0),
        "moments of other samples": replace(moments, data=np.zeros((10, 5, 6), accumulator)),
        "moments of other layers": replace(moments, data=np.zeros((11, 4, 6), accumulator)),
        "moments of other components": replace(moments, data=np.zeros((11, 5, 7), accumulator)),
        "moments of other fields": replace(moments, data=np.zeros((11, 5, 6), [(n, "<f8") for n in accumulator.names])),
        "moments of renamed fields": replace(moments, data=np.zeros((11, 5, 6), [("x" + n, accumulator[n]) for n in accumulator.names])),
        "moments that are numbers": replace(moments, data=np.zeros((11, 5, 6), np.float64)),
        "moments that are chunked": replace(moments, data=np.zeros((11, 5, 6), accumulator), chunks=(1, 5, 6)),
        "a histogram of 8 bytes": replace("metrics/4/0/histogram", data=np.zeros((11, 5, 6, 131), np.uint64)),
        "a histogram of signed numbers": replace("metrics/4/0/histogram", data=np.zeros((11, 5, 6, 131), np.int32)),
        "a histogram of fewer bins": replace("metrics/4/0/histogram", data=np.zeros((11, 5, 6, 130), np.uint32)),
        "positions without absolute sums": replace("metrics/4/0/position", data=np.zeros((11, 5, 6, 21, 1), np.float64)),
        "no states": lambda f: f.__delitem__("items/4/0/state"),
        "a layer missing in one mode": lambda f: f.__delitem__("outputs/4/0/layer_2"),
        "other width": replace(output, data=np.zeros((11, 29, 7), np.float32)),
        "other type": replace(output, data=np.zeros((11, 29, 6), np.int32)),
        "other rank": replace(output, data=np.zeros((11, 174), np.float32)),
        "chunked": replace(output, data=np.zeros((11, 29, 6), np.float32), chunks=(1, 29, 6)),
        "never allocated": replace(output, shape=(11, 29, 6), dtype=np.float32),
        "huge and not there": replace("samples/token_ids", shape=(1 << 40, 29), dtype=np.int32),
        "length 0": set_length(0),
        "length beyond L": set_length(30),
        "negative length": set_length(-1),
        "unknown component": lambda f: f.create_group("outputs/float/fp32/layer_0/whatever"),
        "no layer": lambda f: f.create_group("outputs/float/fp32/stratum"),
        "a re-run without a number": lambda f: f.create_group("items/4/0_dither"),
        "a re-run 0": lambda f: f.create_group("items/4/0_dither0"),
        "a re-run with a zero in front": lambda f: f.create_group("items/4/0_dither01"),
        "a re-run that is not there": lambda f: f.create_group("items/4/0_dither3"),
        "metrics missing in a re-run": lambda f: f.__delitem__("metrics/4/0_dither2/moments"),
        "unknown label": lambda f: f.create_group("items/12a/0"),
    }
    for what, edit in edits.items():
        status, line = probe(change(good, os.path.join(folder, "foreign.h5"), edit))
        assert status == 3 and line.count("\n") == 1, (what, status, line)

    def undo_one(f):
        f["items/4/0/state"][5] = 0
    assert probe(change(good, os.path.join(folder, "foreign.h5"), undo_one))[0] == 0    # incomplete is not torn
    for group in ("outputs", "metrics"):    # --store none; imported
        assert probe(change(good, os.path.join(folder, "foreign.h5"), lambda f: f.__delitem__(group))) == (0, ""), group


def main():
    with tempfile.TemporaryDirectory(prefix="ssmsweep-test-") as folder:
        first, started = None, time.time()
        for ranks, shard in VARIANTS:
            if (ranks, shard) == VARIANTS[-1]:
                time.sleep(max(0, started + 1.1 - time.time()))    # or times of day in the file might be the same
            path = os.path.join(folder, "n%d-s%d.h5" % (ranks, shard))
            sweep(path, ranks, shard)
            found = contents(path)
            if first is None:
                first, good = found, path
                check_contents(path)
            assert found == first, "%d ranks, shard %d: %s" % (ranks, shard, [n for n in found if found[n] != first.get(n)])
        assert bytes_of(path) == bytes_of(good)
        check_torn(good, folder)
        check_foreign(good, folder)
        check_failing_writes(folder)
    print("ok")


main()
