# SPDX-License-Identifier: Apache-2.0
"""The program built with MPICH and its HDF5 gives the bytes that it gives with Open MPI, goes on with its files,
and passes further tests.  Builds it:
continuous integration only (SSMSWEEP_LONG=1), and where these are installed (jobs/setup.sh mpich)."""
import os
import shutil
import subprocess
import sys

import harness
import recovery
import sweep_files

CMAKE, BUILD = sys.argv[1:3]


def build():
    configure = [CMAKE, "--preset", "mpich", "-S", harness.SOURCE, "-B", BUILD, "-DSSMSWEEP_CUDA=OFF", "-DSSMSWEEP_WERROR=ON"]
    subprocess.run(configure, check=True, cwd=harness.SOURCE, stdout=subprocess.DEVNULL)
    subprocess.run([CMAKE, "--build", BUILD, "--target", "ssmsweep", "-j", "2"], check=True, stdout=subprocess.DEVNULL)
    return os.path.join(BUILD, "ssmsweep")


def run(program, ranks, folder, job):
    launcher = ["mpiexec.mpich", "-n", str(ranks)] if ranks > 1 else []
    status, _, err = harness.execute(launcher + [program] + job, folder)
    return status, err


# Tests that need neither faults nor Open MPI's own words.
OTHERS = (["sweep", "3"], ["npy_files"], ["forks"], ["recipes"], ["mamba2_demo"])


def check_others(checks, program):
    """Further tests of the program, with MPICH's and its launcher."""
    environment = dict(os.environ, SSMSWEEP=program, MPIEXEC=shutil.which("mpiexec.mpich"), SSMSWEEP_LONG="0")
    for script, *arguments in OTHERS:
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), script + ".py")
        done = subprocess.run([sys.executable, path] + arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        checks.check(done.returncode == 0, "cli.%s with MPICH" % script, done.stdout[-2000:])


def main():
    if not harness.LONG:
        harness.skip("builds the program anew; SSMSWEEP_LONG=1 does")
    if not shutil.which("mpicc.mpich") or not shutil.which("h5pcc.mpich"):
        harness.skip("no MPICH, or no HDF5 of it")
    checks = harness.Checks()
    program = build()
    with harness.Workplace() as workplace:
        good = recovery.Reference(workplace, 1)
        for ranks, io in ((1, "mpio"), (3, "mpio"), (2, "posix")):
            what = "MPICH, -n %d, %s" % (ranks, io)
            folder = os.path.join(workplace, "%d-%s" % (ranks, io))
            os.mkdir(folder)
            status, err = run(program, ranks, folder, good.job("-q", "--io", io))
            differing = sweep_files.differences(recovery.results(folder), good.results) if status == 0 else status
            checks.check(not differing, what + ": the same bytes as Open MPI", "%s\n%s" % (differing, err))
        folder = os.path.join(workplace, "goes-on")
        os.mkdir(folder)
        stopped = harness.run(["--inject", "stop@mark:9/0"] + good.job("-q"), 2, folder, program=recovery.INJECT)
        status, err = run(program, 2, folder, good.job("-q", "--resume"))
        checks.check(stopped.status == recovery.STOPPED and status == 0 and
                     not sweep_files.differences(recovery.results(folder), good.results), "MPICH goes on where Open MPI was stopped", err)
    check_others(checks, program)
    checks.finish()


main()
