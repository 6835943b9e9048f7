# SPDX-License-Identifier: Apache-2.0
"""The reader for Python, jobs/python/ssmsweep_results.py: what it gives is what the file, sweep.json and sweep.csv hold, what is not
there is said in one line with a remedy, and the examples of docs/python.md run."""
import csv
import importlib.util
import os
import sys

import h5py
import numpy as np

import documents
import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "jobs", "python"))
import ssmsweep_results    # noqa: E402

SMALL = ["--calib_seqlen", "24", "--layers", "0,23", "--components", "mixer_output,ssm_output"]


def check_arrays(checks, results, path):
    with h5py.File(path) as f:
        lengths = f["samples/length"][:]
        stored = f["outputs/2/2-4/layer_23/ssm_output"][:]
        ids, scales, sites = f["samples/token_ids"][:], f["calibration/4/scales"][:], f["calibration/4/scales"].attrs["sites"]
    valid = np.concatenate([stored[s, :n] for s, n in enumerate(lengths)])
    got = results.output("2-4", 23, "ssm_output", cell=2)
    checks.check(got.dtype == np.float32 and np.array_equal(got, valid), "outputs of all samples", got.shape)
    checks.check(np.array_equal(results.output("2-4", -1, "ssm_output", 2, sample=1), stored[1, :lengths[1]]), "of one sample")
    checks.check(np.array_equal(results.tokens(2), ids[2, :lengths[2]]), "token ids")
    by_site = results.scales(4)
    checks.check([by_site[site.decode()].tolist() for site in sites] == scales.T.tolist(), "scales by site")
    checks.check(results.modes == ["fp32", "2-1", "2-4"] and results.layers() == [0, 23] and
                 results.cells == ["2", "2_order1", "4", "4_order1", "float"], "what there is", (results.modes, results.cells))
    checks.check(results.complete("2-1", 2).all() and results.job["calib_data_num"] == [2, 4], "state and job")


def check_metrics(checks, results, path):
    def number(text):
        return float(text) if text else np.nan

    compared = 0
    with open(path, newline="", encoding="utf-8") as f:
        for row in csv.DictReader(f):
            if row["mode"] != "2-4" or row["metric"] not in ("mse", "correlation", "kl_mean"):
                continue
            got = results.metric(row["metric"], "2-4", row["component"] or None, row["cell"])
            got = got[got["layer"] == int(row["layer"] or -1)][0]
            for key in ("value", "low", "high"):
                checks.check(np.array_equal(got[key], number(row[key]), equal_nan=True) or not np.isfinite(got[key]),
                             "%s of %s" % (key, row), got)
            compared += 1
    checks.check(compared > 100, "metrics compared with sweep.csv", compared)


def check_errors(checks, results, folder):
    cases = ((lambda: results.output("2-9"), "no mode '2-9'"), (lambda: results.output("2-1"), "say which"),
             (lambda: results.output("fp32", 5), "--layers 5"), (lambda: results.output("fp32", component="ssm_B"), "--components ssm_B"),
             (lambda: results.metric("msee", "2-1", cell=2), "no metric 'msee'"), (lambda: results.scales(), "say which"),
             (lambda: ssmsweep_results.open_results(folder + "/none.h5"), "no such file"),
             (lambda: ssmsweep_results.open_results(__file__), "no HDF5 file"),
             (lambda: ssmsweep_results.open_results(results.path, folder + "/nowhere").metric("mse", "2-1", cell=2), "compare --all"))
    for call, words in cases:
        try:
            call()
        except ssmsweep_results.ResultsError as error:
            checks.check(words in str(error) and "\n" not in str(error), "an error with " + words, error)
        else:
            checks.check(False, "an error with " + words)


def check_examples(checks, folder):
    examples = [block for language, block in documents.blocks(documents.read("docs/python.md")) if language == "python"]
    checks.check(len(examples) == 3 and len([line for line in examples[0] if line]) <= 10, "three examples, the first of ten lines", examples)
    if not importlib.util.find_spec("xarray"):
        harness.skip_part("the example with xarray: python3-xarray is not installed")
        examples = examples[:2]
    try:
        import matplotlib
        matplotlib.use("Agg")
    except ImportError:
        harness.skip_part("the example with a plot: python3-matplotlib is not installed")
        examples = examples[1:]
    for example in examples:
        status, out, err = harness.execute([sys.executable, "-c", "\n".join(example)], folder,
                                           {"PYTHONPATH": os.path.join(harness.SOURCE, "jobs", "python"), "MPLBACKEND": "Agg"})
        checks.check(status == 0, "an example of docs/python.md", err)


def main():
    checks = harness.Checks()
    with harness.Workplace() as work:
        made = harness.run(["-q", "--modes", "fp32,2-1,2-4", "--calib_data_num", "2,4", "--shuffle-calib", "2"] + SMALL, 1, work)
        checks.check(made.status == 0, "a sweep", made.err)
        with ssmsweep_results.open_results(os.path.join(work, "layer_outputs")) as results:
            check_arrays(checks, results, os.path.join(work, "layer_outputs", "sweep.h5"))
            check_metrics(checks, results, os.path.join(work, "comparisons", "sweep.csv"))
            check_errors(checks, results, work)
            try:
                import pandas    # noqa: F401
                frame = results.frame()
                checks.check(len(frame) > 1000 and set(frame["mode"]) == {"2-1", "2-4"}, "as a DataFrame", len(frame))
            except ImportError:
                harness.skip_part("frame(): python3-pandas is not installed")
        plain = os.path.join(work, "plain")
        os.mkdir(plain)
        made = harness.run(["-q", "--modes", "fp32,2-1,2-4", "--calib_data_num", "2", "--calib_seqlen", "16"], 1, plain)
        checks.check(made.status == 0, "a sweep for the examples", made.err)
        check_examples(checks, plain)
    checks.finish()


main()
