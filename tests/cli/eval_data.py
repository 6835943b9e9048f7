# SPDX-License-Identifier: Apache-2.0
"""Calibration text and evaluation text apart: --eval-data, --eval_data_num.  A text of its own changes what is evaluated
and nothing about the scales; the same text gives the same bits as none."""
import os
import shutil
import sys

import h5py
import numpy as np

import harness
import recovery
import sweep_files

USAGE = 2
OTHERS = 4
CASES = {  # name: further options; {folder} holds the texts
    "default": [],
    "same text": ["--eval-data", "{folder}/ids.npy"],
    "others": ["--eval-data", "{folder}/others.npy", "--eval_data_num", str(OTHERS)],
    "others, -n 4": ["--eval-data", "{folder}/others.npy", "--eval_data_num", str(OTHERS)],
    "more": ["--calib-data", "{folder}/both.npy", "--eval_data_num", str(recovery.SAMPLES + OTHERS)],
    "fewer": ["--eval_data_num", "2"],
    "fewer, -n 4": ["--eval_data_num", "2"],
}


def make_texts(folder):
    """others.npy has longer and shorter samples than ids.npy; both.npy is the one behind the other."""
    recovery.make_model(folder)
    ids = np.load(os.path.join(folder, "ids.npy"))
    others = np.full((OTHERS, 19), -1, np.int32)
    for s, length in enumerate((19, 3, 11, 1)):
        others[s, :length] = (np.arange(length) * 7 + s) % 64
    np.save(os.path.join(folder, "others.npy"), others)
    both = np.full((len(ids) + OTHERS, 19), -1, np.int32)
    both[:len(ids), :ids.shape[1]] = ids
    both[len(ids):] = others
    np.save(os.path.join(folder, "both.npy"), both)


class Run:
    def __init__(self, folder, name):
        self.folder = os.path.join(folder, name.replace(" ", "-").replace(",", ""))
        os.mkdir(self.folder)
        self.job = recovery.job(folder, "-v", *[word.format(folder=folder) for word in CASES[name]])
        self.result = harness.run(self.job, 4 if name.endswith("-n 4") else 1, self.folder)
        self.found = recovery.results(self.folder) if self.result.status == 0 else {}
        if self.found:
            with h5py.File(self.path()) as f:
                self.attributes = {key: f.attrs[key].decode() for key in ("evaluation_text", "ids_sha256",
                                                                          "calibration_ids_sha256")}
                self.length = f["samples/length"][()]

    def path(self):
        return os.path.join(self.folder, "layer_outputs", "sweep.h5")

    def outputs(self, samples):
        """{name: valid rows of these samples} of every output"""
        taken = {}
        with h5py.File(self.path()) as f:
            def visit(name, thing):
                if isinstance(thing, h5py.Dataset) and name.startswith("outputs/"):
                    taken[name] = b"".join(thing[s, :self.length[s]].tobytes() for s in samples)
            f.visititems(visit)
        return taken

    def calibration(self):
        return {name: value for name, value in self.found.items() if name.startswith("calibration/")}

    def json(self, name):
        return harness.read_json(os.path.join(self.folder, name))


def check_numbers(checks, runs):
    base, others, more = runs["default"], runs["others"], runs["more"]
    first, last = range(recovery.SAMPLES), range(recovery.SAMPLES, recovery.SAMPLES + OTHERS)
    checks.check(len(base.outputs(first)) == recovery.RUNS * 4, "outputs were stored", len(base.outputs(first)))
    for name, run in runs.items():
        checks.check(run.calibration() == base.calibration() and len(run.calibration()) >= 5,
                     name + ": observations and scales as of the calibration text alone")
    checks.check(runs["same text"].outputs(first) == base.outputs(first), "the same text as both: the same outputs")
    checks.check(more.outputs(first) == base.outputs(first), "more samples: the first are the same")
    checks.check(more.outputs(last) == others.outputs(range(OTHERS)), "a text of its own: as behind the other")
    checks.check(runs["fewer"].outputs(range(2)) == base.outputs(range(2)), "fewer samples: the same")
    for name in ("others", "fewer"):
        differing = sweep_files.differences(runs[name].found, runs[name + ", -n 4"].found)
        checks.check(not differing, name + ": -n 1 and -n 4", differing)
    rows = {name: len(run.length) for name, run in runs.items()}
    checks.check((rows["others"], rows["more"], rows["fewer"]) == (OTHERS, recovery.SAMPLES + OTHERS, 2),
                 "samples of the file are those evaluated", rows)


def check_reports(checks, runs):
    ids = runs["default"].attributes["ids_sha256"]
    for name, text, same_ids in (("default", "calibration samples", True), ("same text", "separate text", True),
                                 ("others", "separate text", False), ("more", "calibration text", False),
                                 ("fewer", "calibration text", False)):
        run = runs[name]
        checks.check(run.attributes["evaluation_text"] == text and (run.attributes["ids_sha256"] == ids) == same_ids and
                     run.attributes["calibration_ids_sha256"] == ids, name + ": attributes", run.attributes)
        expected = {"text": text, "file": None, "samples": len(run.length), "tokens": int(run.length.sum()),
                    "ids_sha256": run.attributes["ids_sha256"]}
        if text == "separate text":
            expected["file"] = run.job[run.job.index("--eval-data") + 1]
        for file, path in (("comparisons/summary.json", ["provenance"]),
                           ("comparisons/mode_2-1_n5_vs_fp32.json", ["provenance"]),
                           ("layer_outputs/mode_2-1_n5_stats.json", [])):
            part = run.json(file)
            for key in path:
                part = part[key]
            checks.check(part["evaluation"] == expected, "%s: %s" % (name, file), part.get("evaluation"))
        checks.check("Compared on: %s." % text in run.result.out, name + ": the table says so", run.result.out[-900:])


def check_resume(checks, folder, runs):
    """Stopped at every third observation or output and continued; a file of another text is refused."""
    for point in ("observe:2", "store:9", "mark:30"):
        case = os.path.join(folder, "stopped-" + point.replace(":", "-"))
        os.mkdir(case)
        job = runs["others"].job
        stopped = harness.run(["--inject", "stop@" + point] + job, 1, case, program=recovery.INJECT)
        resumed = harness.run(job + ["--resume"], 3, case)
        differing = sweep_files.differences(recovery.results(case), runs["others"].found)
        checks.check(stopped.status == recovery.STOPPED and resumed.status == 0 and not differing,
                     "stopped at %s, and continued" % point, "%s\n%s" % (differing, resumed.err))
    other = os.path.join(folder, "changed.npy")
    ids = np.load(os.path.join(folder, "others.npy"))
    ids[0, 0] += 1
    np.save(other, ids)
    for what, options, key in (("text", ["--eval-data", other], " ids_sha256"),
                               ("number", ["--eval_data_num", "3"], "eval_data_num is 4 there, 3 here"),
                               ("calibration text", ["--calib-data", os.path.join(folder, "others.npy"),
                                                     "--calib_data_num", "2,4"], "calibration_ids_sha256")):
        job = [word for word in runs["others"].job if word != "-v"] + ["--resume", "-q"] + options
        result = harness.run(job, 1, runs["others"].folder)
        checks.check(result.status == recovery.INPUT and len(result.lines()) == 1 and key in result.err,
                     "--resume with another %s: refused" % what, result.err)
    moved = os.path.join(folder, "moved.npy")
    shutil.copy(os.path.join(folder, "others.npy"), moved)
    result = harness.run(runs["others"].job + ["--resume", "--eval-data", moved], 1, runs["others"].folder)
    checks.check(result.status == 0 and recovery.computed(result.err) == (0, 0), "the same text elsewhere: nothing to do",
                 result.err)


def check_bad(checks, folder):
    empty, no_rows = os.path.join(folder, "empty.npy"), os.path.join(folder, "no_rows.npy")
    open(empty, "w").close()
    np.save(no_rows, np.zeros((0, 4), np.int32))
    job = recovery.job(folder, "-q")
    missing = os.path.join(folder, "missing.npy")
    others = os.path.join(folder, "others.npy")
    for what, options, status, words in (
            ("missing", ["--eval-data", missing], recovery.INPUT, missing),
            ("empty", ["--eval-data", empty], recovery.INPUT, empty),
            ("no samples", ["--eval-data", no_rows], recovery.INPUT, no_rows),
            ("a folder without text", ["--eval-data", os.path.join(folder, "model")], recovery.INPUT, "model"),
            ("too few", ["--eval-data", others], recovery.INPUT, "lower eval_data_num"),
            ("too few in one text", ["--eval_data_num", "6"], recovery.INPUT, "lower eval_data_num"),
            ("too few to calibrate", ["--eval_data_num", "2", "--calib_data_num", "6"], recovery.INPUT,
             "lower calib_data_num"),
            ("none", ["--eval_data_num", "0"], USAGE, "--eval_data_num"),
            ("no number", ["--eval_data_num", "x"], USAGE, "--eval_data_num"),
            ("empty name", ["--eval-data", ""], USAGE, "--eval-data"),
            ("standard input twice", ["--calib-data", "-", "--eval-data", "-"], USAGE, "--eval-data"),
            ("not of compare", None, USAGE, "--eval-data")):
        for ranks in (1, 3):
            case = os.path.join(folder, "bad")
            shutil.rmtree(case, ignore_errors=True)
            os.mkdir(case)
            line = job + options if options else ["compare", "--eval-data", others]
            result = harness.run_each_status(line, ranks, case)
            checks.check(result.status == status and len(result.lines()) == 1 and words in result.lines()[0] and
                         not os.path.exists(os.path.join(case, "layer_outputs", "sweep.h5")),
                         "%s, -n %d" % (what, ranks), "%s\n%s" % (result.status, result.err))


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        make_texts(folder)
        runs = {name: Run(folder, name) for name in CASES}
        for name, run in runs.items():
            checks.check(run.result.status == 0, name + ": runs", run.result.err)
        if checks.failed == 0:
            check_numbers(checks, runs)
            check_reports(checks, runs)
            check_resume(checks, folder, runs)
        check_bad(checks, folder)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
