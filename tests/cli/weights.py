# SPDX-License-Identifier: Apache-2.0
"""Formats of weights: --weights for all quantized modes, MODE@FORMAT for one beside others, w4a16."""
import json
import os

import h5py
import numpy

import harness
import sweep_files

JOB = ["--calib_data_num", "2", "--calib_seqlen", "24", "--layers", "0,last", "--components", "mixer_output", "-q"] + harness.FEW


def outputs(folder, mode):
    with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5"), "r") as f:
        cell = "float" if mode in f["outputs/float"] else "2"
        return [f["outputs/%s/%s/layer_%d/mixer_output" % (cell, mode, layer)][...] for layer in (0, 23)], json.loads(f.attrs["job"])


def same(a, b):
    return all(numpy.array_equal(x.view("i4"), y.view("i4")) for x, y in zip(a, b))


def check_axis(checks):
    """The name stays, the file says the format; beside other formats the name says it."""
    with harness.Workplace() as folder, harness.Workplace() as other:
        modes = "fp32,2-1,2-1@int4-g32,2-4@int8-channel,w4a16@int4-g32,2-1@int8"
        result = harness.run(["--modes", modes] + JOB, 2, folder)
        checks.check(result.status == 0, "several formats in one sweep", result.err)
        plain, _ = outputs(folder, "2-1")
        four, _ = outputs(folder, "2-1@int4-g32")
        checks.check(same(plain, outputs(folder, "2-1@int8")[0]) and not same(plain, four), "int8 is the mode itself, int4 is not", "")
        result = harness.run(["--weights", "int4-g32", "--modes", "fp32,2-1,w4a16@int4-g32"] + JOB, 1, other)
        axis, job = outputs(other, "2-1")
        checks.check(result.status == 0 and same(axis, four) and job["weights"] == "int4-g32", "--weights: the same bits, and the file says it", job)
        checks.check(same(outputs(folder, "w4a16@int4-g32")[0], outputs(other, "w4a16@int4-g32")[0]), "--weights leaves w4a16 alone", "")
        for given in (["--weights", "int8-channel"], []):
            result = harness.run(given + ["--modes", "fp32,2-1,w4a16@int4-g32", "--resume"] + JOB, 1, other)
            checks.check(result.status == 3 and "weights" in result.err, "--resume with other weights is refused", result.err)
        result = harness.run(["compare", "--modes", "2-1@int4-g32,2-1", "-q"], 1, folder)
        checks.check(result.status == 0, "compare knows the modes of the file", result.err)
        errors = [abs(x - y).mean() for x, y in zip(outputs(folder, "2-1@int4-g32")[0], plain)]
        checks.check(min(errors) > 0, "4 bits differ in every layer", errors)


def check_adopted(checks):
    """A recipe that the file keeps means the same without its recipe file, whatever --weights says."""
    with harness.Workplace() as folder:
        harness.write_json(os.path.join(folder, "r.json"), {"name": "r", "base": "2-1", "set": {"weight:out_proj": "int8"}})
        job = ["--weights", "int4-g32", "--modes", "fp32,2-1,r"] + JOB
        result = harness.run(["--recipes", "r.json"] + job, 1, folder)
        before = sweep_files.contents(os.path.join(folder, "layer_outputs", "sweep.h5"))
        checks.check(result.status == 0, "a recipe with --weights", result.err)
        with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5"), "r+") as f:
            f["items/2/r/state"][:] = 0
            for dataset in f["outputs/2/r"].values():
                dataset["mixer_output"][:] = 0
        result = harness.run(["--resume"] + job, 1, folder)
        after = sweep_files.contents(os.path.join(folder, "layer_outputs", "sweep.h5"))
        checks.check(result.status == 0 and not sweep_files.differences(after, before), "resumed without the recipe file", result.err)


# Settings that look at no scales, by name or not, and one that does in a single layer.
UNSCALED = [{"name": "four-bits", "base": "w4a16", "set": {"weight:%s" % name: "int4-g32" for name in ("in_proj", "x_proj", "out_proj")}, "layers": [{"layers": "5", "set": {"scan:y": "float"}}]},
            {"name": "weights", "base": "2-1", "set": {"*": "float", "weight:*": "int8"}},
            {"name": "by-token", "base": "weights", "set": {"in_proj:input": "dynamic-token", "conv1d:input": "dynamic"}}]
SCALED = {"name": "one-scale", "base": "four-bits", "layers": [{"layers": "7", "set": {"scan:B": "int8"}}]}


def check_once(checks):
    """What needs no scales runs once for all calibrations, as float modes do; where only such run, nobody calibrates."""
    names = ["w4a16@int4-g32"] + [recipe["name"] for recipe in UNSCALED]
    with harness.Workplace() as folder:
        harness.write_json(os.path.join(folder, "recipes.json"), {"recipes": UNSCALED + [SCALED]})
        job = ["--recipes", "recipes.json", "--calib_seqlen", "24", "--layers", "0,last", "--store", "none", "-q"] + harness.FEW
        kept = []
        for further in ([], ["--no-forks"]):
            result = harness.run(["--modes", "fp32,one-scale," + ",".join(names), "--calib_data_num", "2,3", "--overwrite"] + job + further, 2, folder)
            checks.check(result.status == 0, "two calibrations", result.err)
            with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5"), "r") as f:
                runs = {cell: sorted(f["items"][cell]) for cell in f["items"]}
                kept.append({name: f["metrics"][name][...].tobytes() for name in ["float/%s/moments" % mode for mode in names] +
                             ["%d/one-scale/moments" % cell for cell in (2, 3)]})
            checks.check(runs == {"float": sorted(["fp32"] + names), "2": ["one-scale"], "3": ["one-scale"]}, "once, or for each calibration", runs)
        checks.check(kept[0] == kept[1] and len(set(kept[0].values())) == len(kept[0]), "runs of two calibrations share what needs no scales", "")
        result = harness.run(["--modes", "fp32," + ",".join(names), "--calib_data_num", "2", "--output_dir", "few", "--comparison-dir", "few"] + job, 1, folder)
        with h5py.File(os.path.join(folder, "few", "sweep.h5"), "r") as f:
            checks.check(result.status == 0 and "calibration" not in f, "no calibration", result.err)
        harness.make_model(os.path.join(folder, "model"), "--d-model", "128", "--n-layer", "1", "--vocab", "64")
        numpy.save(os.path.join(folder, "ids.npy"), numpy.arange(24, dtype=numpy.int32).reshape(2, 12))
        lines = [["--model", "model", "--calib-data", "ids.npy", "--calib_data_num", "2", "--modes", "fp32,2-1,w4a16", "-q", "--output_dir", "w",
                  "--comparison-dir", "wc"] + harness.FEW, ["export", "--npy", "arrays", "--output_dir", "w", "-q"],
                 ["import-npy", "arrays", "--output_dir", "back", "-q"]]
        said = [harness.run(line, 1, folder) for line in lines]
        if checks.check(all(one.status == 0 for one in said), "arrays and back", [one.err for one in said]):
            with h5py.File(os.path.join(folder, "back", "sweep.h5"), "r") as f:
                checks.check(list(f["outputs/float"]) == ["fp32", "w4a16"] and list(f["outputs/2"]) == ["2-1"], "without scales there, too", list(f["outputs"]))


def main():
    checks = harness.Checks()
    check_axis(checks)
    check_adopted(checks)
    check_once(checks)
    with harness.Workplace() as folder:
        for words, said in ((["--weights", "int3"], "--weights: 'int3' is no format of weights"),
                            (["--modes", "2-1@codes"], "mode '2-1@codes': 'codes' is no format of weights"),
                            (["--modes", "fp16@float"], "'fp16' is no quantized mode"),
                            (["--modes", "2-9@float"], "'2-9' is no quantized mode")):
            result = harness.run(words, 1, folder)
            checks.check(result.status == 2 and said in result.err and len(result.lines()) == 1, " ".join(words), result.err)
        for words in (["--weights", "int4-g64"], ["--modes", "w4a16"]):
            result = harness.run(words + JOB, 2, folder)
            checks.check(result.status == 3 and "in_proj" in result.err and "got 96" in result.err, " ".join(words), result.err)
    checks.finish()


main()
