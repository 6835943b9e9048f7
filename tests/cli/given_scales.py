# SPDX-License-Identifier: Apache-2.0
"""Scales that a file gives (--scales, format int8-given): they are what is computed with, those that are what the program computes
change no bit and cost no run of their own, one that is planted is found by `attribute` in whatever unit and layer it is, and files
that say nothing of the model are refused.

`given_scales.py TRIALS SEED [MODEL]` makes so many trials by hand and tells of each that did not find it."""
import hashlib
import json
import os
import random
import shutil
import sys

import h5py
import numpy as np

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import quamba_reference as reference  # noqa: E402

SHORT = ["--calib_data_num", "4", "--calib_seqlen", "32"] + harness.FEW
TRIALS = 6 if harness.LONG else 2
# What a scale is one of: pieces of mode 2-1.  Codes of conv1d's output go to x_proj and the scan as they are.
UNITS = {"in_proj:input": ["in_proj:input"], "in_proj:output": ["conv1d:input", "gate:input"], "x_proj:input": ["conv1d:output"],
         "x_proj:output": ["dt_proj:input", "scan:B", "scan:C"], "dt_proj:output": ["scan:dt"], "out_proj:input": ["out_proj:input"]}
WEIGHTS = {"weight:in_proj": "in_proj", "weight:conv1d": "conv_w", "weight:conv1d_bias": "conv_b", "weight:x_proj": "x_proj",
           "weight:dt_proj": "dt_proj", "weight:dt_bias": "dt_bias", "weight:A_log": "A_log", "weight:D": "Dskip", "weight:out_proj": "out_proj"}
GIVEN = {"name": "given", "base": "2-1", "set": {"*": "int8-given"}}


def own_scales(checks, folder, model, short):
    """What the program and NumPy compute: [layer] {name: scale}."""
    result = harness.run(["-q", "--no-html", "--store", "none", "--modes", "fp32,2-1", "--output_dir", "own", "--comparison-dir", "own-c"] +
                         short + (["--model", model] if model else []), 1, folder)
    checks.check(result.status == 0, "a sweep for its scales", result.err)
    with h5py.File(os.path.join(folder, "own", "sweep.h5")) as f:
        cell = next(name for name in f["calibration"] if "scales" in f["calibration/" + name])
        scales = f["calibration/%s/scales" % cell][:]
        sites = [name.decode() for name in f.attrs["sites"]]
    tensors = reference.load_safetensors(os.path.join(model or harness.DEMO, "model.safetensors"))
    quantized = reference.QuantModel(reference.Model(tensors), None)
    return [{**{s: float(v) for s, v in zip(sites, row) if s in UNITS},
             **{unit: float(layer[key + ":scale"]) for unit, key in WEIGHTS.items()}} for row, layer in zip(scales, quantized.layers)]


def attribute(folder, name, scales, *arguments, ranks=1, short=SHORT):
    harness.write_json(os.path.join(folder, "given.json"), GIVEN)
    harness.write_json(os.path.join(folder, name + ".json"), {"layers": scales})
    shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
    return harness.run(["attribute", "--recipes", "given.json", "--mode", "given", "--toward", "2-1", "--by", "unit,layer", "--scales", name + ".json",
                        "--output_dir", name, "--comparison-dir", name + "-c"] + short + list(arguments), ranks, folder)


def read(folder, name):
    return harness.read_json(os.path.join(folder, name + "-c", "attribution.json"))


def check_equal(checks, folder, scales):
    """Given what is computed anyway: nothing changes, and no piece is called significant."""
    result = attribute(folder, "same", scales)
    report = read(folder, "same")
    checks.check(result.status == 0 and len(report["pieces"]) == 24 * 19, "every unit of every layer", (result.err, len(report["pieces"])))
    checks.check(report["whole"] == report["none"] and all(p["without"]["change_interval"] == p["only"]["change_interval"] == "equal" and
                                                           not p["significant"] for p in report["pieces"]), "the same scales change no bit")


def plant(scales, rng, factor=2):
    """A copy in which one scale of one layer is wrong: (scales, its name, its layer)."""
    planted = [dict(layer) for layer in scales]
    layer, name = rng.randrange(len(scales)), rng.choice(sorted(scales[0]))
    planted[layer][name] *= factor
    return planted, name, layer


def find(checks, folder, scales, rng, short=SHORT, model=None):
    """A trial: is the planted scale's piece the first, and none significant that has another scale?  (good, what)"""
    planted, name, layer = plant(scales, rng)
    result = attribute(folder, "planted", planted, *(["--model", model] if model else []), ranks=1, short=short)
    if result.status != 0:
        checks.check(False, "a trial", result.err)
        return False, name
    report = read(folder, "planted")
    units = UNITS.get(name, [name])
    first = report["pieces"][0]
    others = [p for p in report["pieces"] if (p["unit"], p["layer"]) not in {(u, layer) for u in units}]
    checks.check(all(p["without"]["change_interval"] == "equal" and not p["significant"] for p in others), "other pieces change nothing: %s of layer %d" % (name, layer))
    found = first["unit"] in units and first["layer"] == layer and first["without"]["change_interval"] != "equal"
    return found, "%s of layer %d: KL %.3e, %.3e without it" % (name, layer, report["whole"]["value"], report["none"]["value"])


def check_planted(checks, folder, scales):
    rng = random.Random(20)
    for _ in range(TRIALS):
        found, what = find(checks, folder, scales, rng)
        checks.check(found, "a doubled scale is the first piece: " + what)


def check_shares(checks, folder, scales, trials=3):
    """What docs/attribution.md says of the other shape of the question: by its share toward fp32 a doubled scale is not found, toward
    the mode itself the same one is."""
    rng, places = random.Random(4), []
    for _ in range(trials):
        planted, name, layer = plant(scales, rng)
        units = UNITS.get(name, [name])
        for toward in ("fp32", "2-1"):
            result = attribute(folder, "shares", planted, "--toward", toward)
            pieces = read(folder, "shares")["pieces"]
            place = min(p["place"] for p in pieces if p["unit"] in units and p["layer"] == layer)
            checks.check(result.status == 0 and (toward == "fp32" or place == 1), "toward the mode itself it is the first: %s of layer %d" % (name, layer), (place, result.err))
            places += [place] if toward == "fp32" else []
    print("places of a doubled scale by its share toward fp32: %s" % places)
    checks.check(sum(place == 1 for place in places) < trials, "by its share toward fp32 it is not", places)


def check_other_shape(checks, folder, trials=5):
    """A random model of two layers and another width."""
    path = os.path.join(folder, "other")
    harness.make_model(path, "--seed", "9", "--d-model", "48", "--n-layer", "2", "--vocab", "64", "--d-state", "8")
    np.save(os.path.join(folder, "other.npy"), np.random.Generator(np.random.PCG64(9)).integers(0, 64, (4, 32)).astype(np.int32))
    short = SHORT + ["--calib-data", "other.npy"]
    for name in ("own", "own-c"):
        shutil.rmtree(os.path.join(folder, name))
    scales = own_scales(checks, folder, path, short)
    rng = random.Random(9)
    for _ in range(trials):
        found, what = find(checks, folder, scales, rng, short, path)
        checks.check(found, "a random model: a doubled scale is the first piece: " + what)


def sums(path, mode):
    with h5py.File(path) as f:
        return f["metrics/4/%s/end_of_model" % mode][:]


def check_values(checks, folder, scales):
    """They are computed with: the run at given scales is that of a file in which calibration saw twice as much there, and of the
    layers' weights that NumPy makes; without forks and with more ranks the same bytes."""
    planted = [dict(layer) for layer in scales]
    for layer, site in ((0, "out_proj:input"), (5, "x_proj:output"), (11, "in_proj:output"), (23, "x_proj:input")):
        planted[layer][site] *= 2
    result = attribute(folder, "some", planted, "--units", "out_proj:input,scan:B", "--layers", "0,5")
    checks.check(result.status == 0, "scales of some sites", result.err)
    with h5py.File(os.path.join(folder, "own", "sweep.h5"), "r+") as f:
        sites = [name.decode() for name in f.attrs["sites"]]
        observed = f["calibration/observed"][:]
        for layer, site in ((0, "out_proj:input"), (5, "x_proj:output"), (11, "in_proj:output"), (23, "x_proj:input")):
            observed[:, layer, sites.index(site)] *= np.float32(2)
        f["calibration/observed"][:] = observed
        for sample in range(len(observed)):
            f["calibration/digest"][sample] = np.frombuffer(hashlib.sha256(observed[sample].tobytes()).digest(), np.uint8)
        for mode in f["items/4"]:
            f["items/4/%s/state" % mode][:] = 0
    result = harness.run(["-q", "--no-html", "--store", "none", "--modes", "fp32,2-1", "--resume", "--output_dir", "own", "--comparison-dir", "own-c"] + SHORT, 1, folder)
    checks.check(result.status == 0 and np.array_equal(sums(os.path.join(folder, "own", "sweep.h5"), "2-1"), sums(os.path.join(folder, "some", "attribution.h5"), "given")),
                 "given scales are computed with, bit for bit", result.err)
    report = harness.read_bytes(os.path.join(folder, "some-c", "attribution.json"))
    for further, ranks in ((["--no-forks"], 1), ([], 3)):
        result = attribute(folder, "some", planted, "--units", "out_proj:input,scan:B", "--layers", "0,5", *further, ranks=ranks)
        checks.check(result.status == 0 and harness.read_bytes(os.path.join(folder, "some-c", "attribution.json")) == report, "the same bytes: %s, -n %d" % (further, ranks), result.err)
    # What mends a piece is the scale that is computed here.
    pieces = {(p["unit"], p["layer"]): p for p in json.loads(report)["pieces"]}
    checks.check(pieces["out_proj:input", 0]["without"]["change_interval"] != "equal" and pieces["out_proj:input", 5]["without"]["change_interval"] == "equal",
                 "a piece is one scale", sorted(pieces))


def check_refused(checks, folder, scales):
    harness.write_json(os.path.join(folder, "given.json"), GIVEN)
    for name, value in (("list", [1]), ("few", {"layers": scales[:-1]}), ("name", {"layers": [{"in_proj:inptu": 1}] + scales[1:]}),
                        ("zero", {"layers": [{"in_proj:input": 0}] + scales[1:]}), ("text", {"layers": [{"in_proj:input": "1"}] + scales[1:]}),
                        ("good", {"layers": scales})):
        harness.write_json(os.path.join(folder, "refused-%s.json" % name), value)
    run = ["--recipes", "given.json", "--modes", "fp32,given"]
    for arguments, status, part in (
            (run, 2, "mode 'given' has units of format int8-given, whose scales come from a file: give --scales FILE.json"),
            (run + ["--scales", "absent.json"], 3, "absent.json: no such file"),
            (run + ["--scales", "refused-list.json"], 3, "'layers': expected a list of 24 objects"),
            (run + ["--scales", "refused-few.json"], 3, "'layers': expected a list of 24 objects, one for each layer of the model, got a list of 23"),
            (run + ["--scales", "refused-name.json"], 3, "layer 0: 'in_proj:inptu' is no site and no weight of Mamba-1"),
            (run + ["--scales", "refused-zero.json"], 3, "layer 0: 'in_proj:input': expected one finite number above 0, got 0"),
            (run + ["--scales", "refused-text.json"], 3, "expected one finite number above 0, got '1'"),
            (["--model", "mamba2-demo", "--modes", "fp32,2-1", "--scales", "refused-good.json"], 2, "--scales: Mamba-2 has no units of format int8-given")):
        result = harness.run(arguments + ["--output_dir", "never"] + SHORT, 1, folder)
        checks.check(result.status == status and len(result.lines()) == 1 and part in result.err and not os.path.exists(os.path.join(folder, "never")),
                     "%s: %s" % (arguments, part), "status %s\n%s" % (result.status, result.err))
    # Another file is another job.
    short = SHORT + ["--store", "none", "-q", "--no-html"]
    result = harness.run(run + ["--scales", "refused-good.json", "--output_dir", "job", "--comparison-dir", "job-c"] + short, 1, folder)
    checks.check(result.status == 0, "a sweep at given scales", result.err)
    harness.write_json(os.path.join(folder, "refused-good.json"), {"layers": [{**scales[0], "in_proj:input": 1.0}] + scales[1:]})
    result = harness.run(run + ["--scales", "refused-good.json", "--output_dir", "job", "--comparison-dir", "job-c", "--resume"] + short, 1, folder)
    checks.check(result.status == 3 and "given_scales" in result.err, "another file of scales is another job", result.err)


def by_hand(trials, seed, model):
    checks = harness.Checks()
    with harness.Workplace() as folder:
        short = SHORT
        if model:    # of random weights: random tokens
            vocab = harness.read_json(os.path.join(model, "config.json"))["vocab_size"]
            np.save(os.path.join(folder, "ids.npy"), np.random.Generator(np.random.PCG64(seed)).integers(0, vocab, (4, 32)).astype(np.int32))
            short = SHORT + ["--calib-data", "ids.npy"]
        scales = own_scales(checks, folder, model, short)
        rng = random.Random(seed)
        missed = 0
        for i in range(trials):
            found, what = find(checks, folder, scales, rng, short, model)
            missed += not found
            print("%d %s %s" % (i, "found" if found else "MISSED", what), flush=True)
        print("%d of %d found" % (trials - missed, trials))
    checks.finish()


def main():
    if len(sys.argv) > 1:
        by_hand(int(sys.argv[1]), int(sys.argv[2]), os.path.abspath(sys.argv[3]) if len(sys.argv) > 3 else None)
        return
    checks = harness.Checks()
    with harness.Workplace() as folder:
        scales = own_scales(checks, folder, None, SHORT)
        check_refused(checks, folder, scales)
        check_equal(checks, folder, scales)
        check_planted(checks, folder, scales)
        check_values(checks, folder, scales)
        if harness.LONG:
            check_shares(checks, folder, scales)
            check_other_shape(checks, folder)
    checks.finish()


main()
