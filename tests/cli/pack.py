# SPDX-License-Identifier: Apache-2.0
"""`ssmsweep pack` and --pack: a finished file becomes smaller and holds the same, or with --store-dtype f16 outputs rounded to
halves; compare, info and export read it; it cannot be continued, and what cannot be packed stays as it was."""
import json
import os
import random
import shutil
import sys

import h5py
import numpy as np

import harness
import recovery
import sweep_files

FILE = os.path.join("layer_outputs", "sweep.h5")
BUSY = 6


class Case:
    """A finished sweep, copied for each case."""

    def __init__(self, workplace):
        self.workplace, self.good = workplace, os.path.join(workplace, "good")
        os.mkdir(self.good)
        recovery.make_model(self.good)
        self.job = recovery.job_without_modes(self.good, "--modes", "fp32,fp16,2-1", "--noise", "1", "-q")
        done = harness.run(self.job, 1, self.good)
        assert done.status == 0, done.err
        self.stored, self.results = recovery.stored(self.good), recovery.results(self.good)

    def copy(self, name):
        folder = os.path.join(self.workplace, name)
        shutil.copytree(self.good, folder)
        return folder


def filters_of(path):
    """{name: chunks or None} of every dataset."""
    found = {}
    with h5py.File(path, "r") as f:
        f.visititems(lambda name, thing: found.update({name: (thing.chunks, thing.compression, thing.shuffle)})
                     if isinstance(thing, h5py.Dataset) else None)
    return found


def check_packed(checks, case):
    folder = case.copy("packed")
    before = os.path.getsize(os.path.join(folder, FILE))
    done = harness.run(["pack", "--threads", "1"], 1, folder)
    after = os.path.getsize(os.path.join(folder, FILE))
    checks.check(done.status == 0 and "packed, " in done.err and after < 0.6 * before, "pack", "%s %s %s" % (done.err, before, after))
    stored = recovery.stored(folder)
    checks.check(stored.pop("@packed", None) and not sweep_files.differences(stored, case.stored), "pack: holds the same",
                 sweep_files.differences(stored, case.stored)[:10])
    how = filters_of(os.path.join(folder, FILE))
    checks.check(how["outputs/5/2-1/layer_1/mixer_output"] == ((1, 12, 64), "gzip", True), "a sample is a chunk of outputs", how)
    checks.check(how["metrics/5/2-1/histogram"] == ((5, 1, 6, 131), "gzip", True), "samples of a layer are a chunk of metrics", how)
    checks.check(how["items/5/2-1/state"][0] is None, "states stay as they are", how)
    other = case.copy("packed-by-three")
    harness.run(["pack", "--threads", "3", FILE], 1, other)
    checks.check(harness.read_bytes(os.path.join(folder, FILE)) == harness.read_bytes(os.path.join(other, FILE)),
                 "the same bytes for any number of threads")
    return folder


def check_readers(checks, case, folder):
    shutil.rmtree(os.path.join(folder, "comparisons"))
    for ranks in (1, 2):
        compared = harness.run(["compare", "-q"] + harness.FEW, ranks, folder)
        found = recovery.results(folder)
        found.pop("@packed")
        wrong = sweep_files.differences(found, case.results)
        checks.check(compared.status == 0 and not wrong, "compare, -n %d: the same reports" % ranks, "%s\n%s" % (wrong[:10], compared.err))
    info = harness.run(["info", os.path.join(folder, FILE)], 1, folder)
    checks.check(info.status == 0 and ", packed" in info.out.splitlines()[0], "info", info.out[:300] + info.err)
    arrays = []
    for at in (case.good, folder):
        out = harness.run(["export", "--npy", os.path.join(case.workplace, "npy"), "-q"], 1, at)
        checks.check(out.status == 0, "export", out.err)
        arrays.append({name: harness.read_bytes(os.path.join(case.workplace, "npy", name))
                       for name in os.listdir(os.path.join(case.workplace, "npy")) if name.endswith(".npy")})
        shutil.rmtree(os.path.join(case.workplace, "npy"))
    checks.check(len(arrays[0]) > 4 and arrays[0] == arrays[1], "export: the same arrays")


def check_refused(checks, case, packed):
    content = harness.read_bytes(os.path.join(packed, FILE))
    for words in (["pack"], case.job + ["--resume"], ["save"] + recovery.job_without_modes(case.good, "-q") + ["3"]):
        done = harness.run(words, 1, packed)
        checks.check(done.status == recovery.INPUT and len(done.lines()) == 1 and "packed" in done.err, "%s of a packed file" % words[0], done.err)
    checks.check(harness.read_bytes(os.path.join(packed, FILE)) == content, "refused: the file is as it was")

    stopped = os.path.join(case.workplace, "stopped")
    os.mkdir(stopped)
    harness.run(["--inject", "stop@mark:4/0"] + case.job, 1, stopped, program=recovery.INJECT)
    content = harness.read_bytes(os.path.join(stopped, FILE))
    done = harness.run(["pack"], 1, stopped)
    checks.check(done.status == recovery.INPUT and len(done.lines()) == 1 and "--resume" in done.err and
                 harness.read_bytes(os.path.join(stopped, FILE)) == content, "pack of what is not finished", done.err)
    nothing = harness.run(["pack", "nowhere"], 1, stopped)
    checks.check(nothing.status == recovery.INPUT and len(nothing.lines()) == 1, "pack of nothing", nothing.err)

    folder = case.copy("busy")
    content = harness.read_bytes(os.path.join(folder, FILE))
    with h5py.File(os.path.join(folder, FILE), "r", locking=True):
        done = harness.run(["pack"], 1, folder)
    checks.check(done.status == BUSY and len(done.lines()) == 1, "pack of what is open elsewhere", done.err)
    status, _, err = harness.execute(["sh", "-c", 'ulimit -f 100; exec "$0" pack', harness.PROGRAM], folder)
    checks.check(status == recovery.IO and len(harness.lines_of(err)) == 1, "pack without room: status and line", "%s\n%s" % (status, err))
    left = os.listdir(os.path.join(folder, "layer_outputs"))
    checks.check(harness.read_bytes(os.path.join(folder, FILE)) == content and not [name for name in left if name.endswith(".part")],
                 "pack without room: all is as it was", left)


# ---- halves ----

def outputs_of(path):
    found = {}
    with h5py.File(path, "r") as f:
        f["outputs"].visititems(lambda name, thing: found.update({name: thing[()]}) if isinstance(thing, h5py.Dataset) else None)
    return found


def bits(array):
    return array.dtype, array.tobytes()


def check_halves(checks, case):
    folder = case.copy("halves")
    done = harness.run(["pack", "--store-dtype", "f16", "--threads", "1"], 1, folder)
    checks.check(done.status == 0 and "packed with outputs as float16, " in done.err, "halves: pack", done.err)
    whole, halves = (outputs_of(os.path.join(at, FILE)) for at in (case.good, folder))
    wrong = [name for name in whole if bits(halves[name]) != bits(whole[name].astype(np.float16))]
    checks.check(len(whole) > 4 and set(whole) == set(halves) and not wrong, "halves: what NumPy rounds the outputs to", wrong)
    stored = recovery.stored(folder)
    marks = {stored.pop("@packed", None) and "packed", stored.pop("@outputs_dtype", None) and "outputs_dtype"}
    version = stored.pop("@schema_version")
    differing = sweep_files.differences(stored, {name: value for name, value in case.stored.items() if name != "@schema_version"})
    checks.check("7" in version, "halves: the version of the layout", version)
    checks.check(marks == {"packed", "outputs_dtype"} and differing and all("outputs/" in str(name) for name in differing),
                 "halves: nothing else differs", (marks, differing[:10]))
    other = case.copy("halves-by-three")
    harness.run(["pack", "--store-dtype", "f16", "--threads", "3", FILE], 1, other)
    at_end = os.path.join(case.workplace, "halves-at-the-end")
    os.mkdir(at_end)
    done = harness.run(case.job + ["--pack", "--store-dtype", "f16"], 2, at_end)
    checks.check(done.status == 0, "halves: at the end", done.err)
    found = recovery.stored(at_end)
    checks.check(not sweep_files.differences({n: v for n, v in found.items() if n not in ("@packed", "@outputs_dtype", "@schema_version")}, stored),
                 "halves at the end: the same")
    checks.check(harness.read_bytes(os.path.join(folder, FILE)) == harness.read_bytes(os.path.join(other, FILE)),
                 "halves: the same bytes for any number of threads")
    return folder


def without(record):
    """What FP32 outputs alone tell is left out, at any depth."""
    if not isinstance(record, dict):
        return record
    return {name: without(value) for name, value in record.items() if not name.startswith(("max_ulp", "abs_diff_p"))}


def check_halves_compared(checks, case, folder):
    """Metrics are those of FP32, or they are left out."""
    shutil.rmtree(os.path.join(folder, "comparisons"))
    before = harness.run(["compare", "--format", "markdown"] + harness.FEW, 2, case.good)
    compared = harness.run(["compare", "--format", "markdown"] + harness.FEW, 2, folder)
    # The same lines, but for the column of a percentile.
    firsts = [[line.split("|")[1] for line in out.splitlines() if line.count("|") > 3] for out in (before.out, compared.out)]
    checks.check(len(firsts[0]) > 10 and firsts[0] == firsts[1], "halves: the same tables", firsts)
    checks.check(compared.status == 0 and "keeps its tensors as halves (--store-dtype f16): compares by its metrics" in compared.err,
                 "halves: compare says what it reads", compared.err)
    lines = [sweep_files.json_lines(os.path.join(at, "comparisons")) for at in (case.good, folder)]
    same = [name for name in lines[0] if lines[0][name] == lines[1].get(name)]
    checks.check("sweep.json" in same, "halves: the same sweep.json", same)
    for mode in ("fp16", "2-1_n5"):
        whole, halves = (harness.report(at, "mode_%s_vs_fp32.json" % mode)["layers"] for at in (case.good, folder))
        checks.check(set(whole) == set(halves), "halves: the same layers", sorted(halves))
        for layer in whole:
            checks.check(without(whole[layer]) == halves[layer] != whole[layer], "halves: mode %s, %s: the same metrics, but for "
                         "what FP32 outputs alone tell" % (mode, layer), set(whole[layer]) ^ set(halves[layer]))
    refused = harness.run(["compare", "-q", "--reference", "fp16"], 1, folder)
    checks.check(refused.status == recovery.INPUT and len(refused.lines()) == 1 and "as halves, and" in refused.err and "'fp32'" in refused.err,
                 "halves: another reference is refused", refused.err)
    gate = harness.run(["compare", "-q", "--gate", "mode=fp16 max_ulp<1e9"], 1, folder)
    checks.check(gate.status == 2 and "f16" in gate.err, "halves: a gate that needs outputs is refused", gate.err)


def check_halves_read(checks, case, folder):
    info = harness.run(["info", os.path.join(folder, FILE)], 1, folder)
    about = json.loads(harness.run(["info", "--json", os.path.join(folder, FILE)], 1, folder).out)
    checks.check(", packed, outputs as float16" in info.out.splitlines()[0] and about["packed"] and about["outputs_dtype"] == "float16",
                 "halves: info", info.out[:300] + info.err)
    arrays = os.path.join(case.workplace, "halves-npy")
    out = harness.run(["export", "--npy", arrays], 2, folder)
    checks.check(out.status == 0 and "float16" in out.err, "halves: export", out.err)
    got = np.load(os.path.join(arrays, "mode_2-1_n5_layer_1.npy"))
    with h5py.File(os.path.join(folder, FILE), "r") as f:
        lengths, expected = f["samples/length"][:], f["outputs/5/2-1/layer_1/mixer_output"][()]
    expected = np.concatenate([expected[s, :n] for s, n in enumerate(lengths)])
    checks.check(bits(got) == bits(expected), "halves: export: the halves of the file", (got.dtype, got.shape, expected.shape))
    back = harness.run(["import-npy", arrays, "--output_dir", os.path.join(case.workplace, "back")], 1, folder)
    checks.check(back.status == recovery.INPUT and "<f2" in back.err and len(back.lines()) == 1, "halves: no import of them", back.err)


def check_halves_refused(checks, case):
    folder = case.copy("beyond")
    path = os.path.join(folder, FILE)

    def put(value):
        with h5py.File(path, "r+") as f:
            f["outputs/5/2-1/layer_0/mixer_output"][1, 3, 5] = value

    for value in (65520, -1e30):
        put(value)
        content = harness.read_bytes(path)
        done = harness.run(["pack", "--store-dtype", "f16"], 1, folder)
        checks.check(done.status == recovery.INPUT and len(done.lines()) == 1 and "/outputs/5/2-1/layer_0/mixer_output: " in done.err and
                     "65504" in done.err, "%g: no half" % value, done.err)
        checks.check(harness.read_bytes(path) == content and os.listdir(os.path.dirname(path)).count("sweep.h5.part") == 0,
                     "%g: the file is as it was" % value)
    put(np.float32(65519.996))
    done = harness.run(["pack", "--store-dtype", "f16", "-q"], 1, folder)
    with h5py.File(path, "r") as f:
        checks.check(done.status == 0 and f["outputs/5/2-1/layer_0/mixer_output"][1, 3, 5] == 65504, "just a half", done.err)
    imported = os.path.join(case.workplace, "imported")
    os.mkdir(imported)
    for words, status, told in ((["export", "--npy", "arrays", "-q", "--output_dir", os.path.dirname(os.path.join(case.good, FILE))], 0, ""),
                                (["import-npy", "arrays", "-q"], 0, ""),
                                (["pack", "--store-dtype", "f16"], recovery.INPUT, "holds no metrics"),
                                (case.job + ["--store-dtype", "f16"], 2, "--pack"),
                                (case.job + ["--store-dtype", "f16", "--pack", "--store", "none"], 2, "--store none"),
                                (["save", "--store-dtype", "f16"], 2, "--store-dtype")):
        done = harness.run(words, 1, imported)
        checks.check(done.status == status and told in done.err and len(done.lines()) == (status != 0), "halves: " + " ".join(words[-4:]), done.err)


def check_torn(checks, case, packed):
    """A packed file that is damaged is refused or survives, as any other."""
    good, chance = harness.read_bytes(os.path.join(packed, FILE)), random.Random(3)
    folder = case.copy("torn")
    path = os.path.join(folder, FILE)
    without_leaks = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}    # HDF5 itself leaks there
    for n in range(24):
        spoilt = bytearray(good[:len(good) * 3 // 4] if n == 0 else good)
        for _ in range(0 if n == 0 else 20):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        with open(path, "wb") as f:
            f.write(spoilt)
        done = harness.run(["compare", "-q", "--overwrite"] + harness.FEW, 1, folder, environment=without_leaks)
        checks.check(done.status in (0, 3, 4) and len(done.lines()) == (done.status != 0), "damaged, %d" % n, "%s\n%s" % (done.status, done.err))
        checks.check(n > 0 or done.status == 3, "cut", done.err)


def check_at_the_end(checks, case):
    for ranks in (1, 2):
        folder = os.path.join(case.workplace, "at-the-end-%d" % ranks)
        os.mkdir(folder)
        done = harness.run(case.job + ["--pack"], ranks, folder)
        found = recovery.results(folder) if done.status == 0 else {}
        checks.check(found.pop("@packed", None) and not sweep_files.differences(found, case.results), "--pack, -n %d" % ranks,
                     "%s\n%s" % (done.status, done.err))


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        case = Case(workplace)
        packed = check_packed(checks, case)
        check_readers(checks, case, packed)
        check_refused(checks, case, packed)
        check_torn(checks, case, packed)
        check_at_the_end(checks, case)
        halves = check_halves(checks, case)
        check_halves_compared(checks, case, halves)
        check_halves_read(checks, case, halves)
        check_halves_refused(checks, case)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
