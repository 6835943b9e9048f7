# SPDX-License-Identifier: Apache-2.0
"""The program built by another compiler gives the same bytes, with every instruction set.  Builds it: continuous integration
only (SSMSWEEP_LONG=1), and where clang and its OpenMP are installed."""
import json
import os
import shutil
import subprocess
import sys

import harness
import recovery
import sweep_files

CMAKE, BUILD = sys.argv[1:3]
DEMO = ["--calib_data_num", "1", "--all-modes", "--noise", "1", "--layers", "first,last", "--components", "all"]


def build():
    """The path of the program; None where clang cannot build it for want of a library."""
    configure = [CMAKE, "-S", harness.SOURCE, "-B", BUILD, "-DCMAKE_C_COMPILER=clang", "-DSSMSWEEP_TESTS=OFF", "-DSSMSWEEP_CUDA=OFF", "-DSSMSWEEP_WERROR=ON",
                 "-DCMAKE_BUILD_TYPE=Release"]
    done = subprocess.run(configure, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        if b"OpenMP" not in done.stdout:
            raise RuntimeError(done.stdout.decode())
        harness.skip("clang finds no OpenMP (libomp-dev)")
    subprocess.run([CMAKE, "--build", BUILD, "--target", "ssmsweep", "-j", "2"], check=True, stdout=subprocess.DEVNULL)
    return os.path.join(BUILD, "ssmsweep")


def results(checks, workplace, program, isa, name, job):
    folder = os.path.join(workplace, "%s-%s-%s" % (os.path.basename(os.path.dirname(program)), isa, name))
    os.mkdir(folder)
    done = harness.run(["-q"] + job, 1, folder, {"SSMSWEEP_ISA": isa}, program=program)
    checks.check(done.status == 0, "%s, %s, %s" % (program, isa, name), done.err)
    found = recovery.results(folder)
    found.pop("@job", None)
    return found


def main():
    if not harness.LONG:
        harness.skip("builds the program anew; SSMSWEEP_LONG=1 does")
    if not shutil.which("clang"):
        harness.skip("no clang")
    checks = harness.Checks()
    program = build()
    with harness.Workplace() as workplace:
        recovery.make_model(workplace)
        jobs = {"demo": DEMO, "small": recovery.job(workplace, "--noise", "1")}
        for isa in json.loads(harness.run(["info", "--cpu", "--json"]).out)["instruction_sets"]:
            for name, job in jobs.items():
                if (name, isa) == ("demo", "naive"):    # takes minutes
                    continue
                found = [results(checks, workplace, p, isa, name, job) for p in (harness.PROGRAM, program)]
                differing = sweep_files.differences(*found)
                checks.check(not differing, "clang and %s, %s, %s: the same bytes" % (harness.PROGRAM, isa, name), differing[:10])
    checks.finish()


main()
