# SPDX-License-Identifier: Apache-2.0
"""Every number of the JSON reports, recomputed with NumPy from the result file: two sets of scales, all components."""
import glob
import os
import shutil
import sys

import h5py

import harness
import sweep_files

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import check_metrics  # noqa: E402

JOB = ["-q", "--all-modes", "--calib_data_num", "2,4", "--calib_seqlen", "72", "--layers", "0,12-13,-1",
       "--components", "all"] + harness.FEW
CHECK = os.path.join(harness.SOURCE, "tests", "reference", "check_metrics.py")


def check_reports(checks, folder, what):
    status, out, err = harness.execute([sys.executable, CHECK, "layer_outputs/sweep.h5", "comparisons"], folder)
    return checks.check(status == 0, what, out + err)


def check_spoiled(checks, folder):
    """The checker itself: the last digits of one metric of one layer, in one report."""
    path = sorted(glob.glob(os.path.join(folder, "comparisons", "mode_2-4*.json")))[0]
    report = harness.read_json(path)
    for factor, wrong in ((1, False), (1 + 1e-7, True)):
        report["layers"]["layer_12"]["mse"] *= factor
        check = check_metrics.Check(check_metrics.Result(os.path.join(folder, "layer_outputs", "sweep.h5")))
        check.comparison(path, report)
        found = any("layer_12 mixer_output: mse: expected" in line for line in check.failures)
        checks.check(check.numbers > 0 and (found if wrong else not check.failures), "wrong by %g: found or not" % (factor - 1),
                     check.failures)


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        result = harness.run(JOB, 3, folder)
        checks.check(result.status == 0, "the sweep runs", result.err)
        with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5")) as f:
            layers = {run: sorted(int(name[6:]) for name in f["outputs"][run]) for run in ("float/fp32", "2/2-1", "4/3")}
        checks.check(all(found == [0, 12, 13, 23] for found in layers.values()), "--layers: number, range, negative", layers)
        check_reports(checks, folder, "the reports say what the result file holds")

        comparisons = os.path.join(folder, "comparisons")
        made = sweep_files.json_lines(comparisons)
        shutil.rmtree(comparisons)
        result = harness.run(["compare", "-q"] + harness.FEW, 2, folder)
        differing = sweep_files.differences(sweep_files.json_lines(comparisons), made)
        checks.check(result.status == 0 and len(made) > 14 and not differing, "`compare` makes the same reports",
                     "%s\n%s" % (differing, result.err))

        check_spoiled(checks, folder)
    checks.finish()


main()
