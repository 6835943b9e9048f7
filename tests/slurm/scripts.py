# SPDX-License-Identifier: Apache-2.0
"""The batch scripts on the cluster of cluster.sh (inside it): where ranks and threads run, where results go, and that
they are those of a run without Slurm, byte for byte, also after jobs were stopped, preempted and requeued."""
import json
import os
import re
import shutil
import stat
import sys
import time

import h5py
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "cli"))
import harness  # noqa: E402
import identity  # noqa: E402
import sweep_files  # noqa: E402

STANDIN = sys.argv[1]    # the program with stand-ins for GPUs
SCRIPTS = os.path.join(harness.SOURCE, "slurm")
NODES = ["n1", "n2"]
LIMIT = harness.LIMIT     # for any one job
SHORT = ["-q", "--calib_seqlen", "64", "--calib_data_num", "3"]
LONG = ["-q", "--calib_seqlen", "256", "--layers", "last", "--shard", "1", "--calib_data_num"]   # and how many
LONG_SECONDS = 6    # enough to be interrupted three times
MOST_SAMPLES = 512  # of the demo text
ENDED = ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"]

# Stands in front of the program and notes where each rank runs.
NOTE_PLACE = """#!/bin/sh
echo "$(hostname) $OMP_NUM_THREADS $(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)" >>'%s'
exec '%s' "$@"
"""
# A Slurm that was built without PMIx.
NO_PMIX = """#!/bin/sh
case "$*" in
*--mpi=list*) printf 'MPI plugin types are...\\n\\tnone\\n\\tpmi2\\n' ;;
*) exec '%s' "$@" ;;
esac
"""
# A Slurm that lists PMIx and does not find its library.
BROKEN_PMIX = """#!/bin/sh
case "$*" in
*--mpi=pmix*) echo 'srun: error: cannot load the plugin mpi/pmix' >&2; exit 1 ;;
*) exec '%s' "$@" ;;
esac
"""


def write_program(path, text):
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)


def wait_until(what, condition):
    deadline = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("waited %d s in vain until %s" % (LIMIT, what))
        time.sleep(0.1)


def read(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except OSError as error:
        return str(error)


class Cluster:
    """Submits from `folder`.  Variables of the environment that the scripts are to set themselves are not handed on."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {"SSMSWEEP_HOME": harness.SOURCE, "OMP_NUM_THREADS": "",
                            "OMPI_MCA_rmaps_base_oversubscribe": "0", "OMPI_MCA_odls_base_sigkill_timeout": "",
                            "SSMSWEEP_LAUNCHER": ""}

    def command(self, words, **further):
        status, out, err = harness.execute(words, self.folder, dict(self.environment, **further), LIMIT)
        if status != 0:
            raise RuntimeError("%s: status %s: %s" % (" ".join(words), status, out + err))
        return out

    def submit(self, script, arguments, options, **further):
        words = ["sbatch", "--parsable"] + options + [os.path.join(SCRIPTS, script)] + arguments
        return self.command(words, **further).strip()

    def job(self, number):
        """{key: value} as scontrol has them"""
        words = self.command(["scontrol", "--oneliner", "show", "job", number]).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def is_back(self, number, restarts):
        """In the queue after so many restarts, and nothing of it runs any more."""
        job = self.job(number)
        if job["JobState"] in ENDED or int(job["Restarts"]) > restarts:
            raise RuntimeError("job %s: expected in the queue, got %s" % (number, job))
        return job["JobState"] == "PENDING" and int(job["Restarts"]) == restarts

    def wait_for_end(self, number):
        """'STATE EXITSTATUS:SIGNAL'"""
        wait_until("job %s ends" % number, lambda: self.job(number)["JobState"] in ENDED)
        job = self.job(number)
        return "%s %s" % (job["JobState"], job["ExitCode"])


class Bench:
    """Direct runs, jobs, and the comparison of both: jobs write where a direct run wrote before, as the paths are part of
    some results.  Direct runs are kept in the folder `direct`."""

    def __init__(self, checks, folder):
        self.checks, self.folder, self.cluster = checks, folder, Cluster(folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def direct(self, name):
        return self.path(os.path.join("direct", name))

    def run_directly(self, name, arguments):
        """A run in `name`, then moved away."""
        result = harness.run(["--output_dir", self.path(name) + "/layer_outputs", "--comparison-dir",
                              self.path(name) + "/comparisons"] + arguments, 4, self.folder, limit=LIMIT)
        self.checks.check(result.status == 0, "direct run: %s" % name, result.err)
        os.renames(self.path(name), self.direct(name))

    def compare(self, name, what):
        """`name` with the direct run; `name` is removed, for the next job."""
        got, expected = self.path(name), self.direct(name)
        if not self.checks.check(os.path.isdir(got), what + ": results where --output says", os.listdir(self.folder)):
            return
        json_got, json_expected = sweep_files.json_lines(got), sweep_files.json_lines(expected)
        differing = sorted(n for n in set(json_got) | set(json_expected) if json_got.get(n) != json_expected.get(n))
        self.checks.check(json_expected and not differing, what + ": the same JSON", differing)
        files = [os.path.join(folder, "layer_outputs", "sweep.h5") for folder in (got, expected)]
        stored = [sweep_files.contents(f) for f in files]
        differing = sorted(n for n in set(stored[0]) | set(stored[1]) if stored[0].get(n) != stored[1].get(n))
        self.checks.check(not differing, what + ": the same result file", differing[:20])
        status, out, err = identity.h5diff(files[0], files[1], self.folder)
        self.checks.check(status == 0, what + ": h5diff", out + err)
        shutil.rmtree(got)

    def finished(self, number, what, expected="COMPLETED 0:0", log=None):
        end = self.cluster.wait_for_end(number)
        log = log or self.cluster.job(number)["StdOut"]
        self.checks.check(end == expected, "%s: ends with %s" % (what, expected), end + "\n" + read(log))
        return read(log)


# ---- sweep.sbatch: launchers, places, statuses ----

def cores(text):
    """{0, 1, 5} of '0-1,5'"""
    found = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def check_places(bench, places, ranks_per_node, threads, what):
    lines = [line.split() for line in read(places).splitlines()]
    os.remove(places)
    hosts = sorted(line[0] for line in lines)
    bench.checks.check(hosts == sorted(NODES * ranks_per_node), what + ": ranks on both nodes", lines)
    bench.checks.check({line[1] for line in lines} == {str(threads)}, what + ": threads of Slurm's share", lines)
    if len(os.sched_getaffinity(0)) < ranks_per_node * threads:
        return      # the nodes claim cores that do not exist: nothing is bound
    for node in NODES:
        sets = [cores(line[2]) for line in lines if line[0] == node]
        bench.checks.check(all(len(s) == threads for s in sets) and len(set.union(*sets)) == threads * len(sets),
                           "%s: each rank on %s has %d cores of its own" % (what, node, threads), lines)


def test_sweep(bench):
    places, program, bin_folder, broken = map(bench.path, ("places", "program", "bin", "broken"))
    write_program(program, NOTE_PLACE % (places, harness.PROGRAM))
    os.mkdir(bin_folder)
    write_program(os.path.join(bin_folder, "srun"), NO_PMIX % shutil.which("srun"))
    os.mkdir(broken)
    write_program(os.path.join(broken, "srun"), BROKEN_PMIX % shutil.which("srun"))
    none = ["--export=SSMSWEEP_HOME,SSMSWEEP,PATH,SLURM_CONF"]    # not what the script sets
    without = bin_folder + ":" + os.environ["PATH"]
    for launcher, ranks, threads, path, further, io in [
            ("srun-pmix", 2, 1, os.environ["PATH"], none, "mpio"), ("srun-pmix", 1, 2, os.environ["PATH"], [], "posix"),
            ("mpirun", 1, 2, without, [], "mpio"), ("mpirun", 1, 2, broken + ":" + os.environ["PATH"], [], "posix")]:
        what = "sweep.sbatch, %s, %d ranks of %d threads on each node, %s" % (launcher, ranks, threads, io)
        job = bench.cluster.submit("sweep.sbatch", SHORT + ["--io", io],
                                   ["--output=" + bench.path("sweep.out"), "--ntasks-per-node=%d" % ranks,
                                    "--cpus-per-task=%d" % threads] + further, SSMSWEEP=program, PATH=path)
        log = bench.finished(job, what)
        bench.checks.check(": %s," % launcher in log, what + ": is chosen", log)
        check_places(bench, places, ranks, threads, what)
        bench.compare("sweep", what)
        os.remove(bench.path("sweep.out"))


# ---- GPUs: those of the stand-in, which Slurm shows to ranks ----

def test_gpus(bench):
    """With --gpus-per-task each rank sees one GPU, each another one; with --gpus-per-node all ranks see all of their node."""
    words = [word for word in SHORT if word != "-q"] + ["-v", "--no-html", "--device"]
    for launcher, shown, ranks, said in (("", "--gpus-per-task=1", 2, "4 of 4 ranks compute on a GPU"),
                                         ("mpirun", "--gpus-per-node=2", 2, "4 of 4 ranks compute on a GPU"),
                                         ("", "--gpus-per-node=1", 2, "2 of 4 ranks compute on a GPU")):
        what = "sweep.sbatch %s, %s" % (shown, launcher or "srun where it can")
        job = bench.cluster.submit("sweep.sbatch", words + ["cuda"], ["--output=" + bench.path("sweep.out"), "--ntasks-per-node=%d" % ranks, shown],
                                   SSMSWEEP=STANDIN, SSMSWEEP_STANDIN="2", SSMSWEEP_LAUNCHER=launcher)
        log = bench.finished(job, what)
        bench.checks.check(said in log, what + ": " + said, log)
        seen = sorted(re.findall(r"cuda:\d is GPU-0([01])", log))
        bench.checks.check(seen == sorted(2 * "01"[:int(said[0]) // 2]), what + ": one rank on each GPU of each node", seen)
        bench.compare("sweep", what)
        os.remove(bench.path("sweep.out"))


def test_errors(bench):
    for script in ["sweep.sbatch", "preemptible.sbatch"]:
        job = bench.cluster.submit(script, ["--layers", "99"], ["--ntasks-per-node=1"])
        log = bench.finished(job, script + " with a layer too many", "FAILED 2:0")
        bench.checks.check("--layers" in log, script + ": the message is in the log", log)
        bench.checks.check(bench.cluster.job(job)["Restarts"] == "0", script + ": no second try", log)


# ---- sweep-array.sbatch and merge.sbatch ----

def test_array(bench):
    words = [os.path.join(SCRIPTS, "submit-array.sh"), "array", "--array=2,3", "--ntasks-per-node=2", "--"] + SHORT[:-2]
    out = bench.cluster.command(words)
    merge = out.split("merge job ")[1].split(",")[0]
    log = bench.finished(merge, "merge.sbatch")
    merged = json.loads(read(bench.path("array/merge/summary.json")) or "{}")
    expected = []
    for n in ["2", "3"]:
        name = "array/calib_data_num-" + n
        expected.append(harness.report(bench.direct(name), "summary.json"))
        bench.compare(name, "sweep-array.sbatch, task " + n)
    got = [result["summary"] for result in merged["results"]]
    for summary in got + expected:
        del summary["timestamp"]
    bench.checks.check(got == expected, "merge.sbatch: all comparisons, in order", merged)
    modes = sum(len(summary["modes"]) - 1 for summary in expected)
    table = read(bench.path("array/merge/summary.txt"))
    bench.checks.check(len(table.splitlines()) == modes + 1 and modes > 10 and table in log,
                       "merge.sbatch: a table of all modes, also in the log", table)


def test_merge_refuses(bench):
    """What must not stand in one table; a folder without sweeps."""
    folders = [bench.path("refused/%d" % i) for i in range(2)]
    for folder in folders:
        shutil.copytree(bench.direct("sweep/comparisons"), os.path.join(folder, "comparisons"))
    path = os.path.join(folders[1], "comparisons", "summary.json")
    merge = [sys.executable, os.path.join(SCRIPTS, "merge.py"), bench.path("refused")] + folders
    for key, change in [("weights_digest", lambda s: s["provenance"].update(weights_digest="other")),
                        ("reference_mode", lambda s: s.update(reference_mode="fp16")),
                        ("modes", lambda s: s.pop("modes"))]:
        summary = harness.report(folders[0], "summary.json")
        change(summary)
        harness.write_json(path, summary)
        status, out, err = harness.execute(merge, bench.folder)
        bench.checks.check(status == 1 and key in err and len(err.splitlines()) == 1 and folders[1] in err,
                           "merge.py: refuses another " + key, out + err)
    job = bench.cluster.submit("merge.sbatch", [bench.path("bin")], ["--output=" + bench.path("merge.out")])
    log = bench.finished(job, "merge.sbatch without sweeps", "FAILED 3:0")
    bench.checks.check("got none" in log, "merge.sbatch without sweeps: says so", log)


# ---- stopping and going on ----

def items(path):
    """{mode: (done, seconds)} of a result file, which may be being written; {} if there is none yet."""
    found = {}
    try:
        with h5py.File(path, "r") as f:
            for cell in f["items"].values():
                for mode, group in cell.items():
                    found[cell.name + "/" + mode] = (group["state"][:] == 1, group["seconds"][:])
    except (OSError, KeyError):
        pass
    return found


def count_done(path):
    return sum(int(done.sum()) for done, _ in items(path).values())


def wait_until_under_way(bench, file, beyond):
    """More samples than `beyond` are done."""
    wait_until("the sweep is under way", lambda: count_done(file) > beyond)


def check_stopped(bench, file, what):
    """The items of a file that nobody writes any more: some, but not all, are done."""
    found = items(file)
    done, total = sum(int(d.sum()) for d, _ in found.values()), sum(len(d) for d, _ in found.values())
    bench.checks.check(0 < done < total, what + ": was stopped midway", "%d of %d" % (done, total))
    print("%s: %d of %d done" % (what, done, total), flush=True)
    return found


def check_kept(bench, file, before, what):
    """Samples that were done keep the time that they took: they were not done again."""
    after = items(file)
    again = {name: int(np.sum(seconds[done] != after[name][1][done])) for name, (done, seconds) in before.items()}
    bench.checks.check(not any(again.values()), what + ": what was done is not done again", again)


def run_long_directly(bench):
    """The arguments of a sweep that takes this machine long enough."""
    samples = 64
    while True:
        arguments, started = LONG + [str(samples)], time.monotonic()
        bench.run_directly("long", ["--all-modes"] + arguments)
        seconds = time.monotonic() - started
        if seconds >= LONG_SECONDS or samples == MOST_SAMPLES:
            return arguments
        shutil.rmtree(bench.direct("long"))
        samples = min(MOST_SAMPLES, int(1.2 * samples * LONG_SECONDS / seconds))


def test_stop_and_resubmit(bench, arguments):
    """What one --io stored, the other goes on with."""
    for io in harness.ios(0):
        stop_and_resubmit(bench, arguments, io, harness.IO[io == harness.IO[0]])


def stop_and_resubmit(bench, arguments, io, other):
    file, options = bench.path("long/layer_outputs/sweep.h5"), ["--output=" + bench.path("long.out"),
                                                                "--ntasks-per-node=2"]
    job = bench.cluster.submit("sweep.sbatch", arguments + ["--io", io], options, SSMSWEEP_LAUNCHER="mpirun",
                               OMPI_MCA_odls_base_sigkill_timeout="1")
    wait_until_under_way(bench, file, 0)
    signal_batch(bench, job)
    log = bench.finished(job, "sweep.sbatch, signalled", "FAILED 5:0")
    bench.checks.check("--resume" in log, "sweep.sbatch, signalled: says how to go on", log)
    before = check_stopped(bench, file, "sweep.sbatch, signalled")
    job = bench.cluster.submit("sweep.sbatch", arguments + ["--io", other], options)
    bench.finished(job, "sweep.sbatch, submitted again")
    check_kept(bench, file, before, "sweep.sbatch, submitted again")
    bench.compare("long", "sweep.sbatch, submitted again")
    os.remove(bench.path("long.out"))


def signal_batch(bench, job):
    """As the time limit would; Slurm itself does not put the job back."""
    bench.cluster.command(["scancel", "--batch", "--signal=USR1", job])


def preempt(bench, _):
    """The job has all cores: one of the better partition takes them away.  The ranks get SIGTERM, the batch shell does
    not."""
    bench.cluster.command(["sbatch", "--partition=high", "--nodes=2", "--exclusive",
                           "--output=" + bench.path("better.out"), "--wrap", "sleep 2"])


def requeue(bench, job):
    """SIGTERM at once, SIGKILL after KillWait."""
    bench.cluster.command(["scontrol", "requeue", job])


def test_preemptible(bench, arguments):
    for io in harness.ios(1):
        preemptible(bench, arguments + ["--io", io])


def preemptible(bench, arguments):
    file = bench.path("long/layer_outputs/sweep.h5")
    job = bench.cluster.submit("preemptible.sbatch", arguments, ["--output=" + bench.path("long.out"),
                                                                 "--partition=low", "--ntasks-per-node=2"])
    stops = [signal_batch, preempt, requeue]
    kept = {}
    for restarts, stop in enumerate(stops, 1):
        what = "preemptible.sbatch, stopped by " + stop.__name__
        wait_until_under_way(bench, file, sum(int(done.sum()) for done, _ in kept.values()))
        stop(bench, job)
        # It stays in the queue for some seconds, until its old credential has expired.
        wait_until("job %s is in the queue again" % job, lambda: bench.cluster.is_back(job, restarts))
        check_kept(bench, file, kept, what)
        kept = check_stopped(bench, file, what)
    log = bench.finished(job, "preemptible.sbatch")
    check_kept(bench, file, kept, "preemptible.sbatch, at its end")
    bench.checks.check(bench.cluster.job(job)["Restarts"] == "3" and all("run %d:" % n in log for n in (1, 2, 3, 4)),
                       "preemptible.sbatch: was started four times", log)
    bench.compare("long", "preemptible.sbatch")
    os.remove(bench.path("long.out"))


def main():
    checks = harness.Checks()
    started = time.monotonic()
    with harness.Workplace() as folder:
        bench = Bench(checks, folder)
        bench.run_directly("sweep", ["--all-modes"] + SHORT)
        bench.run_directly("array/calib_data_num-2", ["--all-modes"] + SHORT[:-1] + ["2"])
        bench.run_directly("array/calib_data_num-3", ["--all-modes"] + SHORT)
        arguments = run_long_directly(bench)
        for test, further in [(test_sweep, []), (test_gpus, []), (test_errors, []), (test_array, []), (test_merge_refuses, []),
                              (test_stop_and_resubmit, [arguments]), (test_preemptible, [arguments])]:
            try:
                test(bench, *further)
            except (RuntimeError, OSError, KeyError, ValueError, IndexError) as error:
                checks.check(False, test.__name__, repr(error))
            print("%5.1f s %s" % (time.monotonic() - started, test.__name__), flush=True)
        if checks.failed:
            print(harness.execute(["sh", "-c", "squeue; sinfo -N -l; tail -n 30 $SSMSWEEP_CLUSTER_LOGS/*.log"],
                                  folder)[1])
        bench.cluster.command(["scancel", "--user=root"])   # before the folder is removed under a job
        wait_until("all jobs have ended", lambda: not bench.cluster.command(["squeue", "--noheader"]))
    checks.finish()


main()
