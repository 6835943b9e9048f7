# SPDX-License-Identifier: Apache-2.0
"""Two runs on one result file: the second is refused with status 6 and one line that names the first, which is not
disturbed; a run that died refuses nobody; and who only reads is told that results are partial.  The same with h5py in
place of the first: its lock is respected, and ours keeps it from writing.  By pwrite() on one rank, by MPI-IO on two; by both
where there is time.
   two_runs.py RANKS"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

os.environ.pop("HDF5_USE_FILE_LOCKING", None)    # h5py, too, shall lock
import h5py  # noqa: E402

import harness
import recovery
import sweep_files

RANKS = int(sys.argv[1])
BUSY = 6
LIMIT = harness.LIMIT
FILE = os.path.join("layer_outputs", "sweep.h5")
LOCK = FILE + ".lock"
HOLDER = re.compile(r"host (\S+), process (\d+), Slurm job 42, restart 1, since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class Paused:
    """A sweep in the middle of its work: it has stored some samples."""

    def __init__(self, good, folder):
        self.folder = folder
        os.mkdir(folder)
        launcher = [harness.MPIEXEC, "-n", str(RANKS)] if RANKS > 1 else []
        # Rank 0 has work for certain, its first item; the others may have been too slow.
        inject = ["--inject", "command@mark:%d/0" % (40 if RANKS == 1 else 2)]
        environment = harness.environment({"INJECT_COMMAND": recovery.PAUSE, "SLURM_JOB_ID": "42", "SLURM_RESTART_COUNT": "1"})
        self.said = os.path.join(folder, "said")
        with open(self.said, "wb") as said:
            self.process = subprocess.Popen(launcher + [recovery.INJECT] + inject + recovery.job(good.folder), cwd=folder,
                                            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                            stderr=said, start_new_session=True)
        deadline = time.time() + LIMIT
        while not os.path.exists(os.path.join(folder, "reached")):
            if self.process.poll() is not None or time.time() > deadline:
                sys.exit("the first run does not come to its point: " + self.words())
            time.sleep(0.02)

    def words(self):
        with open(self.said, "rb") as f:
            return f.read().decode("utf-8", "replace")

    def pid(self):
        """Of its rank 0, as its lock names it."""
        with open(os.path.join(self.folder, LOCK), encoding="utf-8") as f:
            return int(HOLDER.match(f.read()).group(2))

    def end(self):
        with open(os.path.join(self.folder, "go"), "w"):
            pass
        return self.process.wait(timeout=LIMIT)


def check_refused(checks, good, first):
    """Whatever would write."""
    named = "process %d," % first.pid()
    for what, arguments in (("--resume", recovery.job(good.folder, "--resume")), ("run", recovery.job(good.folder)),
                            ("save", ["save"] + recovery.job_without_modes(good.folder) + ["fp32"]),
                            ("import-npy", ["import-npy", "nowhere"])):
        result = harness.run_each_status(arguments, RANKS, first.folder)
        checks.check(result.status == BUSY and len(result.lines()) == 1 and "another run writes to it" in result.err and
                     named in result.err and HOLDER.search(result.err), what + ": refused by a line that names the other",
                     "%s\n%s" % (result.status, result.err))


def check_readers(checks, first, workplace):
    told = "a run is under way (host "
    comparisons = os.path.join(workplace, "comparisons")
    result = harness.run(["compare", "--all", "--comparison-dir", comparisons], RANKS, first.folder)
    summary = harness.read_json(os.path.join(comparisons, "summary.json")) if result.status == 0 else {}
    checks.check(result.status == recovery.OK and told in result.err and "INCOMPLETE" in result.out and
                 summary.get("complete") is False and summary["incomplete_runs"], "compare: partial",
                 "%s\n%s" % (result.status, result.err))
    file = os.path.join("layer_outputs", "sweep.h5")
    text, as_json = harness.run(["info", file], 1, first.folder), harness.run(["info", "--json", file], 1, first.folder)
    about = json.loads(as_json.out or "{}")
    checks.check("results are partial" in text.out and HOLDER.search(about.get("under_way") or "") and
                 about["complete"] is False, "info", text.out + as_json.out + as_json.err)
    if RANKS > 1:
        return    # some modes are complete by now
    arrays = os.path.join(workplace, "arrays")
    result = harness.run(["export", "--npy", arrays], 1, first.folder)
    checks.check(result.status == BUSY and told in result.err and "no mode is complete yet" in result.lines()[-1],
                 "export before a mode is complete", result.err)


def check_under_way(checks, good, workplace):
    first = Paused(good, os.path.join(workplace, "under-way"))
    check_refused(checks, good, first)
    check_readers(checks, first, workplace)
    with h5py.File(os.path.join(first.folder, FILE), "r") as f:
        checks.check(1 in f["items/float/fp32/state"][:], "h5py reads what is there", f["items/float/fp32/state"][:])
    try:
        h5py.File(os.path.join(first.folder, FILE), "r+").close()
        checks.check(False, "h5py opens it for writing")
    except OSError as refused:
        checks.check("unable to lock file" in str(refused), "h5py does not open it for writing", refused)
    status = first.end()
    differing = sweep_files.differences(recovery.results(first.folder), good.results)
    checks.check(status == recovery.OK and not differing, "the first run is not disturbed",
                 "%s\n%s\n%s" % (status, differing[:10], first.words()))
    checks.check(not os.path.exists(os.path.join(first.folder, LOCK)), "and takes its lock away")
    result = harness.run(["info", "--json", os.path.join("layer_outputs", "sweep.h5")], 1, first.folder)
    checks.check(json.loads(result.out)["under_way"] is None, "then nothing is under way", result.out)


def check_added_modes(checks, good, workplace):
    """What is complete can be exported while `save` adds to it."""
    folder = os.path.join(workplace, "exports")
    os.mkdir(folder)
    options = ["save"] + recovery.job_without_modes(good.folder)
    made = harness.run(options + ["fp32"], 1, folder)
    environment = harness.environment({"INJECT_COMMAND": recovery.PAUSE})
    adding = subprocess.Popen([recovery.INJECT, "--inject", "command@mark:2"] + options + ["0", "-q"], cwd=folder,
                              env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    deadline = time.time() + LIMIT
    while not os.path.exists(os.path.join(folder, "reached")) and time.time() < deadline:
        time.sleep(0.02)
    result = harness.run(["export", "--npy", "arrays"], RANKS, folder)
    arrays = os.listdir(os.path.join(folder, "arrays")) if result.status == 0 else []
    checks.check(made.status == recovery.OK and "a run is under way" in result.err and
                 any(name.startswith("mode_fp32_") for name in arrays) and
                 not any(name.startswith("mode_0_") for name in arrays), "export of what is complete",
                 "%s\n%s" % (arrays, result.err))
    with open(os.path.join(folder, "go"), "w"):
        pass
    checks.check(adding.wait(timeout=LIMIT) == recovery.OK, "the addition ends")


def check_open_elsewhere(checks, good, workplace):
    """A notebook has the file open, for writing or to read it."""
    folder = os.path.join(workplace, "notebook")
    os.mkdir(folder)
    file, job = os.path.join(folder, FILE), recovery.job_without_modes(good.folder, "-q")
    save, resume, compare = ["save"] + job, ["--resume", "--modes", "fp32,0"] + job, ["compare", "-q"]

    def call(arguments, ranks=RANKS, **further):
        return harness.run_each_status(arguments, ranks, folder, **further)

    def check(what, arguments, status, words="", **further):
        result = call(arguments, **further)
        checks.check(result.status == status and len(result.lines()) == (status != recovery.OK) and words in result.err, what,
                     "%s\n%s" % (result.status, result.err))

    check("made", save + ["fp32", "0"], recovery.OK)
    before = harness.read_bytes(file)
    for mode, resumes in (("r+", BUSY), ("r", recovery.OK)):
        what = "open elsewhere (%s): " % mode
        with h5py.File(file, mode):
            check(what + "save adds nothing", save + ["2-1"], BUSY, "sweep.h5: another program has it open")
            check(what + "--resume", resume, resumes, "open for writing (HDF5's lock)" if resumes else "")
            check(what + "compare", compare, recovery.OK)
        names = sorted(name for name in os.listdir(os.path.join(folder, "layer_outputs")) if ".h5" in name)
        checks.check(harness.read_bytes(file) == before and names == ["sweep.h5"], what + "nothing has changed", names)
    died = call(["--inject", "die@unlink"] + save + ["2-1"], ranks=1, program=recovery.INJECT)
    with h5py.File(file, "r"):
        check("open elsewhere: an addition is not finished", compare, BUSY, "sweep.h5: another program has it open")
    checks.check(died.status == -9 and os.path.exists(file + ".extension"), "an addition is interrupted", died.err)
    # A new one for each: every command meets HDF5's lock of its own library at every open.
    for locking, mode in (("TRUE", "2-1"), ("FALSE", "2-4"), ("BEST_EFFORT", "3")):
        environment = {"HDF5_USE_FILE_LOCKING": locking}
        check("HDF5_USE_FILE_LOCKING=%s: save" % locking, save + [mode], recovery.OK, environment=environment)
        with h5py.File(file, "r+"):
            check("HDF5_USE_FILE_LOCKING=%s: respects locks" % locking, save + ["fp16"], BUSY, environment=environment)
    check("compare at the end", compare + ["--all"], recovery.OK, environment={"HDF5_USE_FILE_LOCKING": "TRUE"})


def check_killed(checks, good, workplace):
    first = Paused(good, os.path.join(workplace, "killed"))
    os.kill(first.pid(), signal.SIGKILL)
    resumed = harness.run(recovery.job(good.folder, "--resume"), RANKS, first.folder)
    kept = recovery.kept(resumed.err) or {"kept": 0}
    differing = sweep_files.differences(recovery.results(first.folder), good.results)
    checks.check(resumed.status == recovery.OK and kept["kept"] > 0 and not differing, "resumes as soon as the first is dead",
                 "%s\n%s\n%s" % (resumed.status, differing[:10], resumed.err))
    first.end()


def check_stale(checks, good, workplace):
    folder = os.path.join(workplace, "stale")
    shutil.copytree(os.path.join(good.folder, "layer_outputs"), os.path.join(folder, "layer_outputs"))
    host = os.uname().nodename
    for what, text in (("of another host", "host elsewhere, process 1, since 2020-01-01T00:00:00Z\n"),
                       ("of a process that lives, but does not hold it", "host %s, process %d, since x\n" % (host, os.getpid()))):
        with open(os.path.join(folder, LOCK), "w") as f:
            f.write(text)
        info = harness.run(["info", "--json", os.path.join("layer_outputs", "sweep.h5")], 1, folder)
        result = harness.run(recovery.job(good.folder, "--resume"), RANKS, folder)
        checks.check(json.loads(info.out)["under_way"] is None and result.status == recovery.OK and
                     not os.path.exists(os.path.join(folder, LOCK)), "a lock file %s refuses nobody" % what, result.err)


def check_no_locks(checks, good, workplace):
    folder = os.path.join(workplace, "no-locks")
    os.mkdir(folder)
    result = harness.run(["--inject", "nolocks:1"] + recovery.job(good.folder), RANKS, folder,
                         program=recovery.INJECT)
    lines = [line for line in result.err.splitlines() if "cannot be locked (No locks available)" in line]
    checks.check(result.status == recovery.OK and len(lines) == 1, "without locks: one warning", result.err)
    checks.check(not sweep_files.differences(recovery.results(folder), good.results), "without locks: the same")
    checks.check(not os.path.exists(os.path.join(folder, LOCK)), "without locks: no file")


def check_together(checks, good, workplace):
    """Several begin at the same moment, where there is no folder yet."""
    folder = os.path.join(workplace, "together")
    os.mkdir(folder)
    launcher = [harness.MPIEXEC, "-n", str(RANKS)] if RANKS > 1 else []
    runs = [subprocess.Popen(launcher + [harness.PROGRAM] + recovery.job(good.folder, "--resume", "-q"), cwd=folder,
                             env=harness.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL) for _ in range(4)]
    statuses = [run.wait(timeout=LIMIT) for run in runs]
    checks.check(recovery.OK in statuses and set(statuses) <= {recovery.OK, BUSY}, "together: one at least, others refused",
                 statuses)
    checks.check(not sweep_files.differences(recovery.stored(folder), recovery.stored(good.folder)), "together: the same")


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        good = recovery.Reference(workplace)
        for io in harness.ios(RANKS):
            recovery.WAY[:] = ["--io", io]
            folder = os.path.join(workplace, io)
            os.mkdir(folder)
            for check in (check_under_way, check_added_modes, check_open_elsewhere, check_killed, check_stale, check_no_locks, check_together):
                check(checks, good, folder)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
