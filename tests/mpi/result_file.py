# SPDX-License-Identifier: Apache-2.0
"""sweep_test at several rank counts and shards: h5py reads what C wrote, all files are the same whichever --io, and the reader refuses
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
# Ranks of the widest sweep, and of the widest with faults: each takes half a second, with sanitizers five times as much.
SANITIZED = os.sep + "asan" + os.sep in SWEEP_TEST    # the preset's folder
WIDE = 5 if SANITIZED else 16
WIDE_FAULTS = 16 if os.environ.get("SSMSWEEP_LONG") == "1" and not SANITIZED else 5
VARIANTS = [(1, 0, "posix"), (1, 7, "mpio"), (2, 1, "posix"), (2, 4, "mpio"), (3, 4, "posix"), (4, 0, "mpio"), (WIDE, 1, "mpio")]
COMPONENTS = [b"mixer_input", b"conv1d_input", b"conv1d_output", b"ssm_input", b"ssm_output", b"mixer_output"]
LIMIT = 600    # seconds, only for what hangs


def sweep(path, ranks, shard, io):
    subprocess.run([MPIEXEC, "-n", str(ranks), SWEEP_TEST, path, str(shard), io], check=True, timeout=LIMIT)


def check_failing_writes(folder):
    """The C side checks that all ranks end alike; here: as many samples are marked as were counted."""
    for ranks, shard, io, write in ((1, 0, "mpio", 1), (1, 4, "posix", 40), (3, 0, "mpio", 7), (WIDE_FAULTS, 1, "posix", 3)):    # one failure each: tried again
        path = os.path.join(folder, "retry-n%d-s%d-k%d.h5" % (ranks, shard, write))
        subprocess.run([MPIEXEC, "-n", str(ranks), SWEEP_TEST, path, str(shard), io, str(-write)], check=True, timeout=LIMIT)
    for ranks, shard, io, writes in ((1, 0, "posix", 0), (1, 4, "mpio", 260), (3, 0, "posix", 0), (3, 4, "mpio", 113),
                                     (WIDE_FAULTS, 1, "mpio", 6)):
        path = os.path.join(folder, "failing-n%d-s%d-k%d.h5" % (ranks, shard, writes))
        out = subprocess.run([MPIEXEC, "-n", str(ranks), SWEEP_TEST, path, str(shard), io, str(writes)], check=True,
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


def check_descriptions(file):
    """Each group and dataset says what it is; a dataset, what its axes are called and its unit."""
    def look(name, item):
        assert len(item.attrs.get("description", b"")) > 10, name
        if isinstance(item, h5py.Dataset):
            assert len(item.attrs["_ARRAY_DIMENSIONS"]) == item.ndim and item.attrs["units"], name
    look("/", file)
    file.visititems(look)
    assert list(file["metrics/float/fp32/position"].attrs["_ARRAY_DIMENSIONS"]) == [
        b"sample", b"layer", b"component", b"position_bucket", b"squared_absolute"]
    assert file["items/float/fp32/seconds"].attrs["units"] == b"s"


def check_contents(path):
    """Shapes, padding and digests, without the reader under test."""
    with h5py.File(path, "r") as f:
        ids, length = f["samples/token_ids"][:], f["samples/length"][:]
        assert ids.dtype == np.int32 and ids.shape == (11, 29), ids.shape
        assert f.attrs["schema_version"] == 7 and f.attrs["arch"] == b"mamba1", f.attrs["arch"]
        assert list(f.attrs["components"]) == COMPONENTS and list(f.attrs["sites"]) == list(f["calibration/4/scales"].attrs["sites"])
        check_descriptions(f)
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


def probe(paths, leaks=True):
    """(status, line) of each file, read one after the other by one process."""
    options = os.environ.get("ASAN_OPTIONS", "") + ("" if leaks else ":detect_leaks=0")
    done = subprocess.run([PROBE] + paths, timeout=LIMIT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                          env=dict(os.environ, ASAN_OPTIONS=options))
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and done.stderr == "" and len(lines) == len(paths), \
        "%s: the file after these: %s\n%s" % (done.returncode, lines, done.stderr)
    return [(int(status), line) for status, line in lines]


def check_torn(good, folder):
    assert probe([good]) == [(0, "")]
    assert [status for status, _ in probe([os.path.join(folder, "nowhere.h5"), folder])] == [3, 3]
    with open(good, "rb") as f:
        data = f.read()

    def check(contents, statuses, leaks):
        paths = [os.path.join(folder, "torn %s.h5" % what) for what in contents]
        for path, content in zip(paths, contents.values()):
            with open(path, "wb") as f:
                f.write(content)
        for path, (status, line) in zip(paths, probe(paths, leaks)):
            assert status in statuses, "%s: status %s, %s" % (path, status, line)
            assert status == 0 or path in line, (path, line)
            os.remove(path)

    contents = {"cut to %d" % keep: data[:keep] for keep in (0, 1, 100, 1000, len(data) // 2, len(data) - 1)}
    check({**contents, "zeros": b"\0" * len(data), "text": b"an earlier result\n"}, (3,), True)
    chance, contents = random.Random(5), {}
    for trial in range(60 if os.environ.get("SSMSWEEP_LONG") == "1" else 20):  # raw data takes any bytes; structure must be refused or survive
        spoilt = bytearray(data)
        for _ in range(20):
            spoilt[chance.randrange(len(data))] = chance.randrange(256)
        contents["spoilt %d" % trial] = bytes(spoilt)
    check(contents, (0, 3, 4), False)    # HDF5 itself loses memory where the type of a dataset is damaged


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
        "schema before the oldest": lambda f: f.attrs.modify("schema_version", np.int32(4)),
        "no family": lambda f: f.attrs.__delitem__("arch"),
        "an unknown family": lambda f: f.attrs.modify("arch", np.bytes_("mamba9")),
        "no components": lambda f: f.attrs.__delitem__("components"),
        "components in another order": lambda f: f.attrs.modify("components", np.array(COMPONENTS[::-1], "S32")),
        "more components": lambda f: f.attrs.create("components", np.array(COMPONENTS + [b"gate"], "S32")),
        "components of shorter strings": lambda f: f.attrs.create("components", np.array(COMPONENTS, "S16")),
        "components that are numbers": lambda f: f.attrs.create("components", np.arange(6)),
        "another site": lambda f: f.attrs.modify("sites", np.array(list(f.attrs["sites"][:6]) + [b"gate:input"], "S32")),
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
    def undo_one(f):
        f["items/4/0/state"][5] = 0
    fine = {"incomplete is not torn": undo_one, "--store none": lambda f: f.__delitem__("outputs"),
            "imported": lambda f: f.__delitem__("metrics")}
    cases = [(what, edit, 3) for what, edit in edits.items()] + [(what, edit, 0) for what, edit in fine.items()]
    paths = [change(good, os.path.join(folder, "foreign%d.h5" % n), edit) for n, (_, edit, _) in enumerate(cases)]
    for path, (what, _, expected), (status, line) in zip(paths, cases, probe(paths)):
        assert status == expected and (line == "") == (status == 0), (what, status, line)
        os.remove(path)


def main():
    with tempfile.TemporaryDirectory(prefix="ssmsweep-test-") as folder:
        first, started = None, time.time()
        for ranks, shard, io in VARIANTS:
            if (ranks, shard, io) == VARIANTS[-1]:
                time.sleep(max(0, started + 1.1 - time.time()))    # or times of day in the file might be the same
            path = os.path.join(folder, "n%d-s%d-%s.h5" % (ranks, shard, io))
            sweep(path, ranks, shard, io)
            found = contents(path)
            if first is None:
                first, good = found, path
                check_contents(path)
            assert found == first, "%d ranks, shard %d, %s: %s" % (ranks, shard, io, [n for n in found if found[n] != first.get(n)])
            assert bytes_of(path) == bytes_of(good), "%d ranks, shard %d, %s: bytes" % (ranks, shard, io)
        check_torn(good, folder)
        check_foreign(good, folder)
        check_failing_writes(folder)
    print("ok")


main()
