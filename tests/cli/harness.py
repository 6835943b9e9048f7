# SPDX-License-Identifier: Apache-2.0
"""Runs ssmsweep as a user would, and counts what was checked.  The environment names the program (SSMSWEEP), the
launcher (MPIEXEC) and the source tree (SSMSWEEP_SOURCE)."""
import atexit
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PROGRAM = os.environ["SSMSWEEP"]
MPIEXEC = os.environ["MPIEXEC"]
SOURCE = os.environ["SSMSWEEP_SOURCE"]
DEMO = os.path.join(SOURCE, "jobs", "demo")
TIMED_OUT = "timed out"
SKIPPED = 77    # as SKIP_RETURN_CODE in CMakeLists.txt
LIMIT = 600    # seconds, far above what any run takes on a busy machine: it only ends what hangs
LONG = os.environ.get("SSMSWEEP_LONG") == "1"    # continuous integration has the time for all variants
SANITIZED = os.path.basename(os.path.dirname(PROGRAM)) == "asan"    # the preset's folder
# Ranks, where a failure must end all of them: sanitizers make a start five times as dear, and the third does as the second.
SEVERAL = 2 if SANITIZED else 4
MODES = ["fp32", "fp16", "0", "2-0", "2-1", "2-2", "2-3", "2-4", "3"]    # in the order of the table
QUANTIZED = MODES[2:]
IO = ["mpio", "posix"]    # how ranks write to the result file; either way gives the same


def ios(number):
    """The ways of writing that a variant of a test takes: one by its number, and all where there is time."""
    return IO if LONG else IO[number % 2:number % 2 + 1]


FEW = ["--bootstrap", "199"]    # as few resamples as may be, where nothing that is checked depends on their number


def runs_of(cells):
    """How many runs all modes make under so many sets of scales."""
    return len(MODES) - len(QUANTIZED) + cells * len(QUANTIZED)


# mpirun waits for twice the timeout after a rank that fails, always.
OPEN_MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
            "OMPI_MCA_odls_base_sigkill_timeout": "1"}
# Spares half a second for each start: no daemon beside a single process, no search for networks.
QUICK = {"OMPI_MCA_ess_singleton_isolated": "1", "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,vader"}

# Each rank leaves its exit status in a file; the wrapper itself succeeds, else mpirun would kill the other ranks first.
KEEP_STATUS = 'd=$1; shift; "$@"; echo $? >"$d/$OMPI_COMM_WORLD_RANK"'


ABOUT_CORES = re.compile(r"ssmsweep: (\[rank \d+\] )?oversubscribed: ")    # said where a test's ranks share cores


class Result:
    def __init__(self, status, out, err, statuses):
        self.status, self.out, self.err = status, out, err
        self.statuses = statuses    # of each rank that ended by itself

    def lines(self):
        """What ssmsweep itself said on stderr (mpirun and Open MPI talk there too), but for what depends on the cores of
        this machine; cli.threads has that."""
        return lines_of(self.err)


def lines_of(err):
    return [line for line in err.splitlines() if line.startswith("ssmsweep: ") and not ABOUT_CORES.match(line)]


class SessionFolder:
    """Where Open MPI keeps the files of one run; a daemon may still be removing its own when the run has ended."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="ssmsweep-mpi-", dir="/tmp")    # holds sockets, whose paths must be short
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


def environment(further=None, session=None):
    """Of a program under test.  Open MPI keeps its files in `session`; without, in a folder that goes when the test ends.
    A folder for each run: all isolated single processes of a user take one folder of the same name otherwise, and one that
    ends removes it while another one starts (1 of 100 starts fails, 8 at a time)."""
    env = dict(os.environ, **OPEN_MPI)
    env.setdefault("OMP_NUM_THREADS", "1")
    env.setdefault("OMP_WAIT_POLICY", "passive")    # threads that spin on shared cores take ten times the time
    if session is None:
        folder = SessionFolder()
        session = folder.__enter__()
        atexit.register(folder.__exit__)
    env["OMPI_MCA_orte_tmpdir_base"] = session
    env.update(further or {})
    return env


def execute(command, cwd, further=None, limit=LIMIT):
    """(status or TIMED_OUT, stdout, stderr); ends the whole process group when time is up."""
    with SessionFolder() as session:
        process = subprocess.Popen(command, cwd=cwd, env=environment(further, session), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        try:
            out, err = process.communicate(timeout=limit)
            status = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            status = TIMED_OUT
    return status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def run(arguments, ranks=1, cwd=".", environment=None, limit=LIMIT, program=PROGRAM):
    """ranks 1 starts the program by itself, more start it under mpirun."""
    command = [program] + list(arguments)
    if ranks > 1:
        command = [MPIEXEC, "-n", str(ranks)] + command
    status, out, err = execute(command, cwd, dict(QUICK, **(environment or {})), limit)
    return Result(status, out, err, [status])


def run_each_status(arguments, ranks, cwd, environment=None, limit=LIMIT, program=PROGRAM):
    """As run(), but `status` is the set of statuses of the ranks if it has one element."""
    if ranks == 1:
        return run(arguments, 1, cwd, environment, limit, program)
    with tempfile.TemporaryDirectory() as kept:
        command = [MPIEXEC, "-n", str(ranks), "sh", "-c", KEEP_STATUS, "sh", kept, program] + list(arguments)
        status, out, err = execute(command, cwd, dict(QUICK, **(environment or {})), limit)
        statuses = []
        for name in sorted(os.listdir(kept)):
            with open(os.path.join(kept, name)) as f:
                statuses += map(int, f.read().split())    # none where the wrapper was ended between opening and writing
    if status == 0:
        status = statuses[0] if len(statuses) == ranks and len(set(statuses)) == 1 else "ranks differ: %s" % statuses
    return Result(status, out, err, statuses)


def read_bytes(path):
    with open(path, "rb") as f:
        return f.read()


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            return [int(word) for word in f.read().split()]
    except OSError:
        return []


def works_in(pid, folder):
    try:
        return os.path.samefile("/proc/%s/cwd" % pid, folder)
    except OSError:
        return False    # it is gone, or waits to be collected


def wait_until_left(folder):
    """Until no process has `folder` as its own: ranks outlive mpirun by a moment when that is killed."""
    deadline = time.monotonic() + LIMIT
    while any(name.isdigit() and works_in(name, folder) for name in os.listdir("/proc")):
        if time.monotonic() > deadline:
            raise RuntimeError("processes stay in " + folder)
        time.sleep(0.02)


def kill(pid):
    """SIGKILL, if it is not gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def read_json(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f)


def report(folder, name):
    """A file of the comparison, as a sweep in `folder` leaves it."""
    return read_json(os.path.join(folder, "comparisons", name))


def make_model(path, *options):
    """A random model folder, see tests/reference/make_model.py."""
    make = os.path.join(SOURCE, "tests", "reference", "make_model.py")
    subprocess.run([sys.executable, make, "--out", path] + list(options), check=True, stdout=subprocess.DEVNULL)


def skip_part(what):
    """A part of this test cannot be made here, for this reason; tests/run.sh shows it."""
    print("SKIP: " + " ".join(str(what).split()), flush=True)


def skip(reason):
    """Ends the test: it cannot be made here, for this reason."""
    skip_part(reason)
    sys.exit(SKIPPED)


class Checks:
    """A test is a script that makes checks; none made is a failure too."""

    def __init__(self):
        self.made, self.failed = 0, 0

    def check(self, good, what, detail=""):
        self.made += 1
        if not good:
            self.failed += 1
            print("FAIL %s\n%s" % (what, "\n".join("     " + line for line in str(detail).splitlines())), flush=True)
        return good

    def finish(self):
        print("%d checks, %d failed" % (self.made, self.failed))
        sys.exit(0 if self.made > 0 and self.failed == 0 else 1)


class Workplace:
    """A temporary folder; kept for a look when SSMSWEEP_KEEP is set."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="ssmsweep-test-")
        return self.path

    def __exit__(self, *_):
        if os.environ.get("SSMSWEEP_KEEP"):
            print("kept: " + self.path)
        else:
            shutil.rmtree(self.path)
