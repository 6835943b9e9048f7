# SPDX-License-Identifier: Apache-2.0
"""Result files of earlier versions, kept in tests/data/results as NAME.h5 with their sweep.json: every later version reads them (compare,
report, info, export, the reader for Python) and gives the numbers of then.  One of an older schema is not continued."""
import glob
import json
import os
import shutil
import sys

import h5py
import numpy as np

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "jobs", "python"))
import ssmsweep_results    # noqa: E402

KEPT = os.path.join(harness.SOURCE, "tests", "data", "results")


def numbers(report):
    """{(mode, samples, layer, component, metric): value}"""
    return {(entry["mode"], entry["calib_data_num"], entry.get("layer"), entry.get("component"), name): metric["value"]
            for part in ("layers", "end_of_model") for entry in report[part] for name, metric in entry["metrics"].items()}


def check_file(checks, path, current, work):
    name = os.path.basename(path)[:-3]
    folder = os.path.join(work, name)
    os.makedirs(os.path.join(folder, "layer_outputs"))
    shutil.copy(path, os.path.join(folder, "layer_outputs", "sweep.h5"))
    compared = harness.run(["compare", "--all"], 1, folder)
    checks.check(compared.status == 0, name + ": compare", compared.err)
    with open(path[:-3] + ".json", encoding="utf-8") as f:
        then = numbers(json.load(f))
    now = numbers(harness.report(folder, "sweep.json"))
    checks.check(len(then) > 30 and all(now.get(key) == value for key, value in then.items()), name + ": the numbers of then",
                 [(key, value, now.get(key)) for key, value in then.items() if now.get(key) != value][:5])
    for words in (["info", "layer_outputs/sweep.h5"], ["report", "--out", "page.html"], ["export", "--npy", "arrays"]):
        result = harness.run(words, 1, folder)
        checks.check(result.status == 0, "%s: %s" % (name, words[0]), result.err)
    with ssmsweep_results.open_results(os.path.join(folder, "layer_outputs")) as results:
        arrays = np.load(os.path.join(folder, "arrays", "mode_fp32_layer_0.npy"))
        checks.check(np.array_equal(results.output("fp32", 0), arrays), name + ": in Python")
    with h5py.File(path, "r") as f:
        version = int(f.attrs["schema_version"])
    if version < current:
        result = harness.run(["save", "fp16", "-q"], 1, folder)
        checks.check(result.status == 3 and "schema_version: expected %d, got %d" % (current, version) in result.err and
                     len(result.lines()) == 1, name + ": not continued", result.err)
    return version


def main():
    checks = harness.Checks()
    with harness.Workplace() as work:
        made = harness.run(["-q", "--modes", "fp32", "--calib_data_num", "1", "--calib_seqlen", "4"], 1, work)
        checks.check(made.status == 0, "a file of this version", made.err)
        with h5py.File(os.path.join(work, "layer_outputs", "sweep.h5"), "r") as f:
            current = int(f.attrs["schema_version"])
        versions = {check_file(checks, path, current, work) for path in sorted(glob.glob(os.path.join(KEPT, "*.h5")))}
        checks.check(versions >= {current, current - 1}, "files of this version and of the one before are kept", versions)
    checks.finish()


main()
