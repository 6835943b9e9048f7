# SPDX-License-Identifier: Apache-2.0
"""Runs share the layers in which they are the same; results are those of runs that go through every layer by themselves."""
import json
import os
import re
import shutil
import sys

import h5py
import numpy

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import quamba_reference  # noqa: E402

RECIPES = [{"name": "layer-%d" % layer, "base": "2-1", "layers": [{"layers": str(layer), "set": {"conv1d:output": "float", "scan:u": "float"}}]}
           for layer in (0, 5, 5 + 9, 23)] + [
    {"name": "late", "base": "layer-14", "layers": [{"layers": "20-last", "set": {"in_proj:input": "float"}}]},
    {"name": "same", "base": "2-1", "set": {"scan:u": "int8"}},                                            # rule 1
    {"name": "grid", "base": "2-1", "layers": [{"layers": "3-9", "set": {"scan:u": "float"}}]},            # rule 2
    {"name": "values", "base": "2-1", "set": {"weight:x_proj": "float"}},
    {"name": "values-2", "base": "values", "set": {"x_proj:input": "float"}},                              # rule 3
    {"name": "of-24", "base": "2-4", "layers": [{"layers": "12", "set": {"scan:u": "codes"}}]},
    {"name": "of-24-2", "base": "2-4", "layers": [{"layers": "12", "set": {"scan:u": "int8"}}]}]
SAME = [("2-1", "same"), ("2-1", "grid"), ("2-1", "2-2"), ("values", "values-2"), ("of-24", "of-24-2")]
NAMED_SAME = [("0", "2-0"), ("2-1", "2-2")]
NAMES = "fp32,2-1,2-2,2-4," + ",".join(recipe["name"] for recipe in RECIPES)
JOB = ["save", "--recipes", "recipes.json", "--calib_data_num", "2", "--calib_seqlen", "20", "--layers", "0,6,last", "--components",
       "mixer_output,ssm_input", "-q"]


def contents(path):
    """{dataset: bytes} but for the seconds."""
    found = {}

    def take(name, item):
        if isinstance(item, h5py.Dataset) and not name.endswith("seconds"):
            found[name] = item[...].tobytes()
    with h5py.File(path, "r") as f:
        f.visititems(take)
    return found


def run(checks, folder, what, words, ranks=1, job=JOB, said=None):
    result = harness.run(job + words + ["--output_dir", what], ranks, folder)
    checks.check(result.status == 0, what, result.err)
    if said is not None:
        said.append(result.err)
    return contents(os.path.join(folder, what, "sweep.h5"))


def compare(checks, what, got, want):
    differ = [name for name in want if got.get(name) != want[name]]
    checks.check(got.keys() == want.keys() and not differ, what + ": the same bytes", differ[:5])


def overflowing(folder, demo, factor):
    """A demo model of which some tokens overflow FP16 in layer 3, and are NaN behind it in the quantized modes; some do not."""
    made = os.path.join(folder, "overflowing-" + os.path.basename(demo))
    shutil.copytree(demo, made)
    path = os.path.join(made, "model.safetensors")
    tensors = quamba_reference.load_safetensors(path)
    name = "backbone.layers.3.mixer.out_proj.weight"
    tensors[name] = tensors[name] * numpy.float32(factor)
    quamba_reference.save_safetensors(path, tensors)
    return made


def check_all_modes(checks, folder, demo, factor):
    """The named modes of a family, re-runs too, with every component; which go with which."""
    what = os.path.basename(demo)
    job = ["save", "--model", overflowing(folder, demo, factor), "--calib_data_num", "2", "--calib_seqlen", "20", "--noise", "1", "--layers",
           "0,4,last", "--components", "all", "-v"]
    whole, said = run(checks, folder, what + "-whole", ["--modes", "all", "--no-forks"], job=job), []
    with h5py.File(os.path.join(folder, what + "-whole", "sweep.h5"), "r") as f:
        broken = numpy.isnan(f["outputs/2/2-1/layer_4/mixer_output"][...]).all(axis=2)
    checks.check(broken.any() and not broken.all(), what + ": some tokens are NaN", broken.mean())
    compare(checks, what + ": all modes", run(checks, folder, what + "-forks", ["--modes", "all"], job=job, said=said), whole)
    for a, b in NAMED_SAME:
        names = [name for name in whole if "/%s/" % a in name]
        checks.check(names and all(whole[name] == whole[name.replace("/%s/" % a, "/%s/" % b)] for name in names),
                     "%s: %s and %s, each computed, are the same" % (what, a, b), "")
        for rerun in ("", "_dither1"):
            checks.check(re.search(r"run \d+ \(mode %s%s\) goes with run \d+ \(mode %s%s\) in all layers" % (b, rerun, a, rerun), said[0]),
                         "%s: %s%s goes with %s%s" % (what, b, rerun, a, rerun), said[0])
    checks.check(said[0].count(" goes with run ") == 2 * 2 * 2, what + ": no others do", said[0])
    if demo == harness.DEMO:
        # One of a pair is finished, the other is not: it is computed by itself, to the same bytes.
        run(checks, folder, "half", ["--modes", "fp32,0,2-2"], job=job)
        compare(checks, "the other of each pair later", run(checks, folder, "half", ["--modes", "all"], job=job), whole)


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        with open(os.path.join(folder, "recipes.json"), "w", encoding="utf-8") as f:
            json.dump({"recipes": RECIPES}, f)
        whole = run(checks, folder, "whole", ["--modes", NAMES, "--no-forks"])
        compare(checks, "forks", run(checks, folder, "forks", ["--modes", NAMES]), whole)
        compare(checks, "three ranks", run(checks, folder, "ranks", ["--modes", NAMES], 3), whole)
        compare(checks, "two threads", run(checks, folder, "threads", ["--modes", NAMES, "--threads", "2"]), whole)
        # A run finds others beside it, or none, that it could follow.
        first = NAMES.split(",")
        run(checks, folder, "later", ["--modes", ",".join(first[:4] + first[6:9])])
        compare(checks, "added later", run(checks, folder, "later", ["--modes", ",".join(first[4:6] + first[9:])]), whole)
        for a, b in SAME:
            names = [name for name in whole if "/%s/" % a in name]
            checks.check(names and all(whole[name] == whole[name.replace("/%s/" % a, "/%s/" % b)] for name in names),
                         "%s and %s, each computed, are the same" % (a, b), "")
        noisy = [run(checks, folder, "noise%d" % i, ["--modes", "fp32,2-1,2-2,layer-14,late,grid", "--noise", "2"] + words)
                 for i, words in enumerate((["--no-forks"], []))]
        compare(checks, "noisy re-runs", noisy[1], noisy[0])
        reference = [run(checks, folder, "reference%d" % i, ["--modes", "2-1,layer-14,late,grid", "--reference", "2-1"] + words)
                     for i, words in enumerate((["--no-forks"], []))]
        compare(checks, "a reference that others follow", reference[1], reference[0])
        check_all_modes(checks, folder, harness.DEMO, 1e5)
        check_all_modes(checks, folder, harness.DEMO + "-mamba2", 2e4)
    checks.finish()


main()
