# SPDX-License-Identifier: Apache-2.0
"""What a user can ask for, end to end: files and tables of a sweep, job files, ids instead of text, other models, dry
runs, comparisons again.  Argument: number of ranks."""
import fcntl
import os
import re
import sys

import h5py
import numpy as np

import harness
import sweep_files

MODES = harness.MODES
ESSENTIAL = ["fp32", "0", "2-1", "2-2", "2-4"]
SMALL = ["--calib_data_num", "2", "--calib_seqlen", "64"]
RESULT = os.path.join("layer_outputs", "sweep.h5")


def names_in(folder, kind):
    return sorted(name for name in os.listdir(folder) if name.endswith(kind)) if os.path.isdir(folder) else []


class Sweeps:
    def __init__(self, checks, workplace, ranks):
        self.checks, self.workplace, self.ranks, self.count = checks, workplace, ranks, 0

    def run(self, what, arguments, folder=None, status=0):
        """Runs in a folder of its own; returns the folder and the result."""
        if folder is None:
            folder = os.path.join(self.workplace, str(self.count))
            os.mkdir(folder)
            self.count += 1
        result = harness.run(arguments, self.ranks, folder)
        self.checks.check(result.status == status, what, "status %s\n%s" % (result.status, result.err))
        return folder, result


def check_all_modes(checks, sweeps):
    folder, result = sweeps.run("all modes, all components", SMALL + ["--all-modes", "--components", "all"])
    compared = sorted("mode_%s_vs_fp32.json" % mode for mode in MODES if mode != "fp32")
    checks.check(names_in(folder + "/comparisons", ".json") == compared + ["summary.json", "sweep.json"], "comparison files",
                 names_in(folder + "/comparisons", ""))
    checks.check(names_in(folder + "/layer_outputs", "_stats.json") == sorted("mode_%s_stats.json" % m for m in MODES),
                 "statistics files", names_in(folder + "/layer_outputs", ""))
    checks.check(len(result.lines()) <= 2, "quiet where stderr is no terminal: the job and where it lies", result.err)
    rows = [line.split() for line in result.out.split("All modes against")[-1].splitlines()]
    checks.check([row[0] for row in rows if len(row) == 7 and row[0] in MODES] == MODES, "a line for each mode in the summary", result.out)
    stored = sweep_files.contents(os.path.join(folder, RESULT), ["outputs/"])
    datasets = [name for name in stored if "@" not in name]
    checks.check(len(datasets) == len(MODES) * 2 * 6, "a dataset for each mode, layer and component", len(datasets))
    for one, other in (("outputs/2/0", "outputs/2/2-0"), ("outputs/2/2-1", "outputs/2/2-2")):
        same = [stored[n] == stored[n.replace(one, other, 1)] for n in datasets if n.startswith(one + "/")]
        checks.check(len(same) == 2 * 6 and all(same), "%s and %s are the same bits" % (one, other), same)
    for one, other in (("2/0", "2/2-1"), ("2/2-3", "2/2-4"), ("2/2-4", "2/3"), ("float/fp32", "float/fp16")):
        name = "outputs/%s/layer_23/mixer_output"
        checks.check(stored[name % one] != stored[name % other], "%s and %s differ" % (one, other))
    return folder, stored


def check_same_outputs(checks, sweeps, stored, what, arguments):
    folder, _ = sweeps.run(what, arguments + ["--all-modes", "--components", "all"])
    path = os.path.join(folder, RESULT)
    checks.check(os.path.exists(path) and sweep_files.contents(path, ["outputs/"]) == stored, what + ": the same outputs")


def check_ways_to_ask(checks, sweeps, folder, stored):
    harness.write_json(os.path.join(sweeps.workplace, "job.json"), {"calib_data_num": 2, "calib-seqlen": 64, "layers": "all"})
    check_same_outputs(checks, sweeps, stored, "job file, the command line wins", ["--job", "../job.json", "--layers", "0,-1"])
    with h5py.File(os.path.join(folder, RESULT), "r") as f:
        np.save(os.path.join(sweeps.workplace, "ids.npy"), f["samples/token_ids"][:])
    check_same_outputs(checks, sweeps, stored, "ids instead of text", SMALL + ["--calib-data", "../ids.npy"])
    check_same_outputs(checks, sweeps, stored, "the demo model by its path", SMALL + [
        "--pretrained_dir", os.path.dirname(harness.DEMO), "--model", os.path.basename(harness.DEMO)])


def check_subsets(checks, sweeps):
    folder, _ = sweeps.run("essential modes", SMALL + ["--modes", "essential", "-q"])
    checks.check(names_in(folder + "/layer_outputs", "_stats.json") == sorted("mode_%s_stats.json" % m for m in ESSENTIAL),
                 "essential modes only", names_in(folder + "/layer_outputs", ""))
    # Not asked for, the reference runs all the same.
    folder, result = sweeps.run("one mode", SMALL + ["--modes", "2-4", "-q"])
    checks.check(names_in(folder + "/comparisons", ".json") == ["mode_2-4_vs_fp32.json", "summary.json", "sweep.json"],
                 "one mode against the reference", names_in(folder + "/comparisons", ""))
    checks.check(result.out == "" and result.err == "", "-q says nothing", result.out + result.err)
    folder, _ = sweeps.run("more ranks than items, one token", ["--modes", "fp32,3", "--calib_data_num", "1", "--calib_seqlen", "1"])
    with h5py.File(os.path.join(folder, RESULT), "r") as f:
        checks.check(f["samples/length"][:].tolist() == [1], "one token", f["samples/length"][:])


def check_compare_again(checks, sweeps, folder):
    sweeps.run("compare with another reference", ["compare", "2-1", "--reference", "0"], folder)
    path = os.path.join(folder, "comparisons", "mode_2-1_vs_0.json")
    if checks.check(os.path.exists(path), "it makes its file", names_in(folder + "/comparisons", "")):
        report = harness.read_json(path)
        checks.check(report["reference_mode"] == "0" and report["compared_mode"] == "2-1", "it says what was compared")
        checks.check(0 < report["layers"]["layer_23"]["mse"] < 0.01, "the last layers differ, a little", report["layers"])
    _, result = sweeps.run("compare with a mode that is not there", ["compare", "-q", "--reference", "fp16", "--output_dir", "none"],
                           folder, status=3)
    checks.check(len(result.lines()) == 1, "one line", result.err)


def check_dry_run(checks, sweeps):
    folder, result = sweeps.run("dry run", SMALL + ["--dry-run"])
    checks.check(os.listdir(folder) == [], "a dry run makes no file", os.listdir(folder))
    checks.check("sweep.h5" in result.out, "a dry run names the result file", result.out)
    _, result = sweeps.run("dry run of many", SMALL + ["--modes", "fp32,2-1", "--calib_data_num", "1,2", "--shuffle-calib", "2", "--noise", "3",
                                                       "--dry-run"])
    want = ["runs: 17", "  mode fp32 (reference)", "  mode 2-1, calib_data_num 1", "  mode 2-1, calib_data_num 1, order 1",
            "  mode 2-1, calib_data_num 2", "  mode 2-1, calib_data_num 2, order 1", "  and 3 noisy re-runs of each W8A8 mode"]
    checks.check(result.out.splitlines()[:len(want)] == want, "a dry run lists the runs", result.out)
    ranks = re.search(r"^time: about \d[\d.]* (?:s|min|h) with (\d+) ranks x (\d+) threads, ", result.out, re.M)
    checks.check(ranks and int(ranks[1]) == sweeps.ranks, "a dry run tells the time", result.out)


def check_dry_refusals(checks, sweeps, done):
    """A dry run is refused as the run would be, and makes nothing."""
    folder = os.path.join(sweeps.workplace, "refused")
    os.makedirs(os.path.join(folder, "locked"))
    with open(os.path.join(folder, "file"), "w"), open(os.path.join(folder, "locked", "sweep.h5.lock"), "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        before = sorted(os.walk(folder))
        for what, options, status, said in (
                ("there is a result", ["--output_dir", os.path.join(done, "layer_outputs")], 3, "--resume"),
                ("another run writes", ["--output_dir", "locked"], 6, "another run writes to it"),
                ("a file in place of a folder", ["--output_dir", "file/sub"], 4, "expected a folder, got a file"),
                ("the same of the comparisons", ["--comparison-dir", "file"], 4, "--comparison-dir file")):
            _, result = sweeps.run("dry run: " + what, SMALL + ["--dry-run"] + options, folder, status=status)
            checks.check(len(result.lines()) == 1 and said in result.err and not result.out, "dry run: %s: one line" % what, result.err)
        checks.check(sorted(os.walk(folder)) == before, "a refused dry run makes nothing")


def check_no_tensors(checks, sweeps):
    _, result = sweeps.run("no tensors", SMALL + ["--store", "none"])
    checks.check(result.status == 0 and "All modes against fp32: mixer_output" in result.out and "layer 23" in result.out and
                 "Compared on: calibration samples." in result.out and "p99 |diff|" not in result.out,
                 "without tensors: the table of all modes, none by layer", result.out)
    ranking = result.out[result.out.index("Which modes can be told apart?"):].splitlines()[2]
    checks.check(ranking.split() == ["-" * 8, "layer", "0", "-" * 9, "-" * 8, "layer", "23", "-" * 8], "of many layers the first and the last", ranking)
    _, verbose = sweeps.run("no tensors, one mode", SMALL + ["--store", "none", "--modes", "fp32,2-1"])
    checks.check("p99 |diff|" in verbose.out and " n/a " in verbose.out, "without tensors: one mode by layer, without percentiles", verbose.out)
    _, one = sweeps.run("one layer", SMALL + ["--modes", "fp32,2-1", "--layers", "last"])
    table = one.out[one.out.index("All modes against"):].splitlines()
    checks.check(table[2].count("layer 23") == 1 and re.fullmatch(r"mode +MSE +MAE +correlation +grade", table[3]) and
                 len({len(table[1]), len(table[4])}) == 1, "one layer stands in the table of all modes once", table[:8])


def check_progress(checks, sweeps):
    _, result = sweeps.run("progress", SMALL + ["--modes", "fp32,0", "--progress", "0.001"])
    checks.check(len(result.lines()) > 1, "--progress speaks without a terminal", result.err)


def check_other_models(checks, sweeps):
    """Shapes, dtypes and layouts; ids, because these models have no tokenizer."""
    ids = np.full((3, 40), -1, np.int32)
    for sample, length in enumerate((40, 1, 17)):
        ids[sample, :length] = (np.arange(length) * 7 + sample) % 100
    np.save(os.path.join(sweeps.workplace, "other.npy"), ids)
    for name, options in (("bf16", ["--d-model", "160", "--dtype", "BF16"]),
                          ("f16", ["--d-model", "192", "--dtype", "F16", "--lm-head", "--n-layer", "1"]),
                          ("original", ["--d-model", "64", "--layout", "original", "--vocab", "136"])):
        model = os.path.join(sweeps.workplace, name)
        harness.make_model(model, *options)
        folder, _ = sweeps.run("model " + name, ["--model", model, "--calib-data", "../other.npy", "--calib_data_num", "3", "-q"])
        summary = os.path.join(folder, "comparisons", "summary.json")
        if checks.check(os.path.exists(summary), "it makes a summary"):
            worst = [mode["mode"] for mode in harness.read_json(summary)["modes"] if not mode["avg_correlation"] > 0.9]
            checks.check(not worst, "every mode resembles the reference", worst)


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        sweeps = Sweeps(checks, workplace, int(sys.argv[1]))
        folder, stored = check_all_modes(checks, sweeps)
        check_ways_to_ask(checks, sweeps, folder, stored)
        check_subsets(checks, sweeps)
        check_compare_again(checks, sweeps, folder)
        check_dry_run(checks, sweeps)
        if sweeps.ranks == 1:
            check_dry_refusals(checks, sweeps, folder)
        check_no_tensors(checks, sweeps)
        check_progress(checks, sweeps)
        check_other_models(checks, sweeps)
    checks.finish()


main()
