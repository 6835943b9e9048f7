# SPDX-License-Identifier: Apache-2.0
"""Everything that --resume has to get right besides being killed: stops by signals in every phase, files of other jobs,
altered files, items that fail, numbers that are none.  About half of the cases write by MPI-IO."""
import concurrent.futures
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib

import h5py
import numpy as np

import harness
import recovery
import sweep_files

LIMIT = harness.LIMIT


class Case:
    """A folder of its own; every call may be made with or without a fault."""

    def __init__(self, good, workplace, name):
        self.good, self.folder = good, os.path.join(workplace, name.replace(" ", "-").replace("/", "-"))
        os.mkdir(self.folder)
        self.io = harness.IO[zlib.crc32(name.encode()) % 2]

    def run(self, *further, ranks=1, inject=None):
        program = recovery.INJECT if inject else harness.PROGRAM
        options = (["--inject", inject] if inject else []) + recovery.job(self.good.folder, "-v", "--io", self.io, *further)
        return harness.run(options, ranks, self.folder, program=program)

    def same(self):
        return not sweep_files.differences(recovery.results(self.folder), self.good.results)

    def file(self):
        return os.path.join(self.folder, "layer_outputs", "sweep.h5")

    def summary(self):
        return harness.report(self.folder, "summary.json")


def errors_of(result):
    """Lines that say how the program ended: without what -v and the log add."""
    known = ("model ", "result: ", "seconds: ", "--resume: ", "observes ", "groups heads by ", "computes ", " goes with run ", "compares", "writes the",
             "the sweep is incomplete", "no reports of the incomplete", "declared equalities", "MPI-IO hints:", " MiB own, ")
    return [line for line in result.lines() if not any(word in line for word in known)]


# ---------------------------------------------------------------- signals
# (point, the job is done all the same, other ranks than 0 come there)
STOPS = [("create", False, False), ("observe", False, True), ("scales", False, True), ("store", False, True),
         ("mark", False, True), ("compare", True, True), ("report", True, False)]


def check_stop(checks, good, workplace, ranks, rank):
    """SIGUSR1 on one rank, in every phase; what was computed is kept, and the same command goes on."""
    for point, done, others in STOPS:
        if rank != 0 and not others:
            continue
        what = "stopped at %s on rank %d of %d" % (point, rank, ranks)
        case = Case(good, workplace, what)
        result = case.run(ranks=ranks, inject="stop@%s:1/%d" % (point, rank))
        began = recovery.computed(result.err)
        # Where the others have begun all that was left when this rank comes to the point, there is nothing to leave undone.
        done = done or began == (recovery.SAMPLES * recovery.RUNS, recovery.SAMPLES)
        checks.check(result.status == (recovery.OK if done else recovery.STOPPED), what + ": status",
                     "%s\n%s" % (result.status, result.err))
        lines = errors_of(result)
        checks.check(done or (len(lines) == 1 and "SIGUSR1" in lines[0] and "--resume" in lines[0]),
                     what + ": one line that tells how to go on", result.err)
        resumed = case.run("--resume", ranks=4 - ranks)
        checks.check(resumed.status == recovery.OK and case.same(), what + ": resumes", resumed.err)
        again = [a + b for a, b in zip(began, recovery.computed(resumed.err))]
        checks.check(again == [recovery.SAMPLES * recovery.RUNS, recovery.SAMPLES], what + ": nothing is computed twice", again)


def check_stop_alone(checks, good, workplace):
    check_stop(checks, good, workplace, 1, 0)


def check_stop_leader(checks, good, workplace):
    check_stop(checks, good, workplace, 3, 0)


def check_stop_worker(checks, good, workplace):
    check_stop(checks, good, workplace, 3, 2)


def check_no_grace(checks, good, workplace):
    """--grace 0: the passes end between two layers; the sample at work is computed again, nothing else."""
    for ranks in (1, 3):
        what = "no grace, %d ranks" % ranks
        case = Case(good, workplace, what)
        result = case.run("--grace", "0", ranks=ranks, inject="stop@store:9/0")
        resumed = case.run("--resume", ranks=ranks)
        checks.check(result.status == recovery.STOPPED and len(errors_of(result)) == 1, what + ": status", result.err)
        checks.check(resumed.status == recovery.OK and case.same(), what + ": resumes", resumed.err)
        again = (recovery.computed(result.err)[0] + recovery.computed(resumed.err)[0] -
                 recovery.SAMPLES * recovery.RUNS)
        checks.check(1 <= again <= ranks * recovery.RUNS, what + ": only what was at work is computed again", again)


def check_partial_reports(checks, good, workplace):
    case = Case(good, workplace, "partial")
    result = case.run("--shard", "1", ranks=1, inject="stop@mark:12")
    summary = case.summary()
    done = {run["mode"]: run for run in summary["incomplete_runs"]}
    checks.check(result.status == recovery.STOPPED and summary["complete"] is False, "partial reports: marked", summary)
    checks.check("INCOMPLETE" in result.out, "partial reports: the table says so", result.out)
    checks.check(len(done) == len(harness.MODES) and "missing_samples" in done["2-4"], "partial reports: what is missing", sorted(done))
    modes = {run["mode"] for run in summary["modes"]}
    checks.check(len(modes) == len(harness.MODES), "partial reports: what is there is compared", modes)    # a sample has all its runs or none
    mode = "2-4"
    names = [n for n in os.listdir(os.path.join(case.folder, "comparisons")) if n.startswith("mode_%s_" % mode)]
    report = harness.report(case.folder, names[0])
    with h5py.File(case.file(), "r") as f:
        cell = "float" if report["provenance"]["calib_data_num"] is None else str(report["provenance"]["calib_data_num"])
        state = f["items/%s/%s/state" % (cell, mode)][:] & f["items/float/fp32/state"][:]
        length = f["samples/length"][:]
        valid = np.concatenate([np.arange(12) < length[s] for s in range(recovery.SAMPLES) if state[s]])
        take = [f["outputs/%s/layer_0/mixer_output" % run][:][state == 1].reshape(-1, 64)[valid].astype(float)
                for run in ("float/fp32", cell + "/" + mode)]
    mse = np.mean((take[1] - take[0]) ** 2)
    checks.check(report["complete"] is False and report["samples_compared"] == state.sum() and
                 abs(report["layers"]["layer_0"]["mse"] - mse) <= 1e-12 * mse,
                 "partial reports: over the samples that both have", (report["samples_compared"], state, mse))
    compared = harness.run(["compare", "-q"], 1, case.folder)
    checks.check(compared.status == recovery.INPUT and "make it with: ssmsweep save" in compared.err, "compare refuses an incomplete file",
                 compared.err)


def check_mpirun_signals(checks, good, workplace):
    """Signals as they come from outside; mpirun forwards USR1 and USR2 and ends the job by itself after the others."""
    for name in ("SIGUSR1", "SIGUSR2", "SIGTERM", "SIGINT", "SIGHUP"):
        case = Case(good, workplace, name)
        said = os.path.join(case.folder, "said")
        env = harness.environment()
        with open(said, "wb") as err:
            process = subprocess.Popen([harness.MPIEXEC, "-n", "3", harness.PROGRAM] + recovery.job(good.folder, "-v"),
                                       cwd=case.folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=err, start_new_session=True)
        deadline = time.time() + LIMIT
        while time.time() < deadline and process.poll() is None and b"computes" not in harness.read_bytes(said):
            time.sleep(0.002)
        process.send_signal(getattr(signal, name))
        status = process.wait(timeout=LIMIT)
        forwarded = name in ("SIGUSR1", "SIGUSR2")
        checks.check(status in ((recovery.STOPPED, recovery.OK) if forwarded else (0, 1, 5)), name + " at mpirun: status",
                     "%s\n%s" % (status, harness.read_bytes(said).decode()))
        resumed = case.run("--resume", ranks=2)
        checks.check(resumed.status == recovery.OK and case.same(), name + " at mpirun: resumes", resumed.err)
    case = Case(good, workplace, "SIGTERM alone")
    result = case.run(inject="stop@mark:3")
    checks.check(result.status == recovery.STOPPED, "a program without mpirun stops", result.err)


# ---------------------------------------------------------------- whose file it is
def check_other_jobs(checks, good, workplace):
    finished = Case(good, workplace, "finished")
    shutil.copytree(os.path.join(good.folder, "layer_outputs"), os.path.join(finished.folder, "layer_outputs"))
    before = recovery.results(good.folder)
    other = os.path.join(workplace, "other")
    os.mkdir(other)
    recovery.make_model(other)
    tensors = recovery.reference.random_model_tensors(2, 64, 2, 64)
    recovery.reference.save_safetensors(os.path.join(other, "model", "model.safetensors"), tensors)
    ids = np.load(os.path.join(other, "ids.npy"))
    ids[0, 0] += 1
    np.save(os.path.join(other, "ids.npy"), ids)
    weights, text = ["--model", os.path.join(other, "model")], ["--calib-data", os.path.join(other, "ids.npy")]
    for what, further, words in (
            ("alpha", ["--percentile_alpha", "0.99"], ["percentile_alpha", "0.9995", "0.99"]),
            ("two options", ["--layers", "1", "--components", "ssm_output"],
             ["layers", "'all'", "'1'", "components", "'mixer_output,ssm_input'", "'ssm_output'"]),
            ("number of samples", ["--calib_data_num", "2,3"], ["calib_data_num", "3,5", "2,3"]),
            ("weights", weights, ["weights_digest"]),
            ("text", text, ["ids_sha256"])):
        for ranks in (1, 3):
            result = harness.run(recovery.job(good.folder, "--resume", "-q", *further), ranks, finished.folder)
            checks.check(result.status == recovery.INPUT and len(result.lines()) == 1 and
                         all(word in result.lines()[0] for word in words), "other %s, -n %d" % (what, ranks), result.err)
    for name, value in (("numerics_version", np.string_("0")), ("schema_version", np.int32(1))):
        changed = Case(good, workplace, name)
        shutil.copytree(os.path.join(good.folder, "layer_outputs"), os.path.join(changed.folder, "layer_outputs"))
        with h5py.File(changed.file(), "r+") as f:
            f.attrs[name] = value
        result = changed.run("--resume")
        checks.check(result.status == recovery.INPUT and name in result.err, "other " + name, result.err)
    check_earlier_schema(checks, good, workplace)
    moved = os.path.join(workplace, "moved")
    shutil.copytree(os.path.join(good.folder, "model"), os.path.join(moved, "model"))
    shutil.copy(os.path.join(good.folder, "ids.npy"), moved)
    result = harness.run(recovery.job(moved, "--resume", "-v"), 1, finished.folder)
    checks.check(result.status == recovery.OK and recovery.computed(result.err) == (0, 0) and finished.same(),
                 "a finished sweep, its model elsewhere: only the reports are written", result.err)
    checks.check(recovery.results(good.folder) == before, "the good run is as it was")


def as_version_5(path):
    """A result file as it was before it named the family of its model."""
    with h5py.File(path, "r+") as f:
        f.attrs["schema_version"] = np.int32(5)
        for name in ("arch", "components", "sites"):
            del f.attrs[name]


def check_earlier_schema(checks, good, workplace):
    """Read as ever; not written to."""
    old = Case(good, workplace, "version 5")
    shutil.copytree(os.path.join(good.folder, "layer_outputs"), os.path.join(old.folder, "layer_outputs"))
    as_version_5(old.file())
    before = harness.read_bytes(old.file())
    said = [harness.run(["compare"] + harness.FEW, 2, folder).out for folder in (good.folder, old.folder)]
    checks.check(said[0] and said[0] == said[1], "a file of version 5 is compared as one of this version")
    for ranks, words in ((1, recovery.job(good.folder, "--resume")), (3, ["save"] + recovery.job(good.folder))):
        result = harness.run(words, ranks, old.folder)
        checks.check(result.status == recovery.INPUT and "schema_version: expected 7, got 5" in result.err,
                     "version 5, %s: nothing is added" % words[0], result.err)
    checks.check(harness.read_bytes(old.file()) == before, "a file of version 5 stays as it is")


def check_no_file(checks, good, workplace):
    case = Case(good, workplace, "no file")
    result = case.run("--resume")
    checks.check(result.status == recovery.OK and "starts anew" in result.err and case.same(), "--resume without a file",
                 result.err)
    for name, content, status in (("sweep.h5.part", b"half made", recovery.OK), ("sweep.h5", b"", recovery.INPUT),
                                  ("sweep.h5", b"an earlier result\n", recovery.INPUT)):
        case = Case(good, workplace, "%s-%d" % (name, len(content)))
        os.mkdir(os.path.join(case.folder, "layer_outputs"))
        path = os.path.join(case.folder, "layer_outputs", name)
        with open(path, "wb") as f:
            f.write(content)
        result = case.run("--resume", ranks=2)
        checks.check(result.status == status, "--resume with %s: status" % name, "%s\n%s" % (result.status, result.err))
        if status == recovery.OK:
            checks.check("nothing was stored" in result.err and case.same(), "--resume with %s starts anew" % name, result.err)
        else:
            checks.check(harness.read_bytes(path) == content, "--resume leaves a foreign %s alone" % name)
    case = Case(good, workplace, "part without resume")
    os.mkdir(os.path.join(case.folder, "layer_outputs"))
    open(os.path.join(case.folder, "layer_outputs", "sweep.h5.part"), "wb").close()
    result = case.run()
    checks.check(result.status == recovery.INPUT and "--resume" in result.err, "half made, without --resume", result.err)


# ---------------------------------------------------------------- altered files
def alter(path, name, index):
    with h5py.File(path, "r+") as f:
        data = f[name]
        data[index] = data[index] + 1


def check_altered(checks, good, workplace):
    whole = recovery.ALL
    changes = {
        "one value of an output": ([("outputs/5/2-1/layer_1/ssm_input", (2, 4, 7))], (whole - 1, 1, 5, 0)),
        "two outputs of a sample and one of another": (
            [("outputs/float/fp32/layer_0/mixer_output", (0, 0, 0)), ("outputs/float/fp32/layer_1/mixer_output", (0, 0, 0)),
             ("outputs/3/3/layer_0/mixer_output", (4, 11, 63))], (whole - 2, 2, 5, 0)),
        "moments": ([("metrics/5/2-1/position", (2, 1, 3, 2, 1))], (whole - 1, 1, 5, 0)),
        "metrics of all kinds": (
            [("metrics/float/fp32/histogram", (0, 1, 5, 130)), ("metrics/3/3/position", (1, 0, 0, 0, 0)),
             ("metrics/3/2-1/position", (4, 1, 5, 20, 1))], (whole - 3, 3, 5, 0)),
        "a digest": ([("items/3/0/digest", (1, 31))], (whole - 1, 1, 5, 0)),
        "a state": ([("items/3/0/state", 1)], (whole - 1, 0, 5, 0)),
        "a state that means nothing": ([("items/3/0/state", 1)] * 6, (whole - 1, 1, 5, 0)),
        "an observation": ([("calibration/observed", (3, 1, 6))], (whole, 0, 4, 1)),
        "scales": ([("calibration/3/scales", (0, 0))], (whole, 0, 5, 0)),
        "token ids": ([("samples/token_ids", (0, 0))], (whole, 0, 5, 0)),
        "padding": ([("outputs/float/fp32/layer_0/mixer_output", (3, 9, 0))], (whole, 0, 5, 0)),
    }
    if recovery.MAMBA2:
        changes = {key: changes[key] for key in ("one value of an output", "an observation")}
        changes.update({"an observation of a group": ([("calibration/observed_groups", (3, 1, 40))], (whole, 0, 4, 1)),
                        "groups of heads": ([("calibration/groups", (1, 5))], (whole, 0, 5, 0)),
                        "groups and an output": ([("calibration/groups", (0, 140)), ("outputs/5/2-1/layer_1/ssm_input", (2, 4, 7))],
                                                 (whole - 1, 1, 5, 0)),
                        "scales of groups": ([("calibration/3/group_scales", (0, 0))], (whole, 0, 5, 0))})
    for what, (edits, expected) in changes.items():
        case = Case(good, workplace, "altered " + what)
        shutil.copytree(os.path.join(good.folder, "layer_outputs"), os.path.join(case.folder, "layer_outputs"))
        for name, index in edits:
            alter(case.file(), name, index)
        result = case.run("--resume", ranks=2)
        kept = recovery.kept(result.err) or {}
        found = tuple(kept.get(key) for key in ("kept", "torn", "observed", "torn_observed"))
        # State 2 says that the sample failed; it is tried again and counted elsewhere.
        checks.check(result.status == recovery.OK and found == expected, "altered %s: found" % what, "%s\n%s" % (found, result.err))
        checks.check(recovery.computed(result.err) == (recovery.ALL - expected[0], recovery.SAMPLES - expected[2]), "altered %s: redone" % what,
                     recovery.computed(result.err))
        checks.check(case.same() or what == "padding", "altered %s: mended" % what,
                     sweep_files.differences(recovery.results(case.folder), good.results))


def check_cut(checks, good, workplace):
    for keep in (0, 100, 5000, 0.5, 0.9):
        case = Case(good, workplace, "cut to %s" % keep)
        shutil.copytree(os.path.join(good.folder, "layer_outputs"), os.path.join(case.folder, "layer_outputs"))
        size = os.path.getsize(case.file())
        os.truncate(case.file(), int(keep * size) if isinstance(keep, float) else keep)
        result = case.run("--resume", ranks=2)
        checks.check(result.status == recovery.INPUT and len(errors_of(result)) == 1, "cut to %s" % keep, result.err)


# ---------------------------------------------------------------- failing items
def check_failing_item(checks, good, workplace):
    for ranks in (1, 3):
        what = "a sample that cannot be stored, -n %d" % ranks
        case = Case(good, workplace, what)
        result = case.run(ranks=ranks, inject="item:2003")    # the third run, sample 3
        lines = errors_of(result)
        checks.check(result.status == recovery.IO and
                     any("sample 3" in line and "a bad place" in line and "%d of %d" % (recovery.ALL - 1, recovery.ALL) in line for line in lines), what + ": named", "%s\n%s" % (result.status, result.err))
        checks.check(result.err.count("inject: item") == 3, what + ": tried three times", result.err)
        with h5py.File(case.file(), "r") as f:
            states = sorted(int(s) for cell in f["items"] for mode in f["items"][cell] for s in f["items"][cell][mode]["state"])
        checks.check(states == [1] * (recovery.ALL - 1) + [2], what + ": everything else is stored", states)
        summary = case.summary()
        failed = [run["failed_samples"] for run in summary.get("incomplete_runs", [])]
        checks.check(summary["complete"] is False and failed == [["3"]], what + ": the report names it", summary)
        resumed = case.run("--resume", ranks=ranks)
        kept = recovery.kept(resumed.err) or {}
        checks.check(resumed.status == recovery.OK and kept.get("failed") == 1 and case.same(), what + ": tried again", resumed.err)
    case = Case(good, workplace, "one bad rank")
    result = case.run(ranks=3, inject="item:2003/1")
    checks.check(result.status == recovery.OK and case.same(), "a sample that one rank cannot store", result.err)


def check_not_finite(checks, good, workplace):
    """Weights so large that the float model overflows: data, not an error."""
    folder = os.path.join(workplace, "overflow")
    os.mkdir(folder)
    recovery.make_model(folder)
    path = os.path.join(folder, "model", "model.safetensors")
    tensors = recovery.reference.load_safetensors(path)
    for name in tensors:
        if name.endswith("layers.1.mixer.out_proj.weight"):
            tensors[name] = np.full_like(tensors[name], 3e38)
    recovery.reference.save_safetensors(path, tensors)
    result = harness.run(recovery.job(folder, "--resume"), 2, folder)
    checks.check(result.status == recovery.OK, "outputs that are not finite: status", "%s\n%s" % (result.status, result.err))
    stats = harness.read_json(os.path.join(folder, "layer_outputs", "mode_fp32_stats.json"))["layers"]["layer_1"]
    record = harness.report(folder, "mode_fp16_vs_fp32.json")["layers"]["layer_1"]
    with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5"), "r") as f:
        valid = np.arange(12) < f["samples/length"][:][:, None]
        count = int((~np.isfinite(f["outputs/float/fp32/layer_1/mixer_output"][:][valid])).sum())
    checks.check(count > 0 and stats["nonfinite"] == count and record["fp_nonfinite"] == count,
                 "outputs that are not finite are counted", (count, stats, record))
    checks.check(record["mse"] is None and "mse_flag" in record, "... and spoil the metrics", record)
    checks.check("holds NaN or Inf" in result.out, "... and are shown", result.out[:2000])


PARTS = [check_stop_alone, check_stop_leader, check_stop_worker, check_mpirun_signals, check_other_jobs, check_cut,
         check_altered, check_no_file, check_failing_item, check_no_grace, check_partial_reports, check_not_finite]


def main():
    """resume.py [mamba2] [PART...]"""
    parts = [part for part in PARTS if len(sys.argv) < 2 or part.__name__ in sys.argv[1:]]
    total = harness.Checks()

    def one(part):
        checks, started = harness.Checks(), time.time()
        part(checks, good, workplace)
        print("%s: %d checks, %.0f s" % (part.__name__, checks.made, time.time() - started), flush=True)
        return checks

    with harness.Workplace() as workplace:
        good = recovery.Reference(workplace)
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            for checks in pool.map(one, parts):
                total.made, total.failed = total.made + checks.made, total.failed + checks.failed
    total.finish()


if __name__ == "__main__":
    sys.exit(main())
