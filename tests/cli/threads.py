# SPDX-License-Identifier: Apache-2.0
"""Ranks x threads from the binding: what is chosen, that one rank leaves the core to which mpirun bound it unasked, and
the warnings.  What SSMSWEEP_ISA says."""
import os
import re

import harness

LINE = re.compile(r"(\d+) ranks x (\d+) threads, (\d+) cores here(?: \(CPU quota [0-9.e+-]+\))?( \(unbound\))?$")
CORES = sorted(os.sched_getaffinity(0))
SHORT = ["--modes", "fp32", "--no-logits", "--calib_data_num", "1", "--calib_seqlen", "8"]    # the plan takes no long time to make
# The whole environment decides, so nothing of the harness's or the caller's own.
CLEAN = {name: None for name in os.environ if name.startswith(("OMP_", "OMPI_MCA_", "SLURM_"))}


def lines(launcher, arguments=(), environment=None):
    env = {name: value for name, value in dict(os.environ, **CLEAN).items() if value is not None}
    env.update({"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"})
    env.update(environment or {})
    command = ["env", "-i"] + ["%s=%s" % item for item in env.items()] + list(launcher) + [harness.PROGRAM, "--dry-run", *SHORT]
    with harness.Workplace() as folder:
        _, _, err = harness.execute(command + list(arguments), folder)
    return [line for line in err.splitlines() if line.startswith("ssmsweep: ")]


def check_instruction_sets(checks):
    for ranks in (1, 2):
        for command in [["--dry-run"], ["compare"], ["bench"]] + [["info", "--cpu"]] * (ranks == 1):
            with harness.Workplace() as folder:
                result = harness.run_each_status(command, ranks, folder, {"SSMSWEEP_ISA": "avx1024"})
                checks.check(result.status == 2 and len(result.lines()) == 1 and "SSMSWEEP_ISA=avx1024" in result.err
                             and not result.out, "%s, %d ranks: a wrong SSMSWEEP_ISA" % (command, ranks), result.err)
    for isa, said in (("scalar", True), ("", False)):
        found = lines([], environment={"SSMSWEEP_ISA": isa, "OMP_NUM_THREADS": "1"})
        checks.check(LINE.search(found[0]) and ("instruction set %s, as" % isa in found[-1]) == said,
                     "SSMSWEEP_ISA='%s' is told" % isa, found)


def main():
    checks = harness.Checks()
    cores = len(CORES)
    one = ["taskset", "-c", str(CORES[0])]

    def expect(what, launcher, chosen, arguments=(), environment=None, warning=None):
        found = lines(launcher, arguments, environment)
        match = LINE.search(found[0]) if found else None
        got = match and (int(match[1]), int(match[2]), int(match[3]), bool(match[4]))
        checks.check(got == chosen, what, "expected %s, got %s: %s" % (chosen, got, found))
        warned = len(found) == 2 and warning in found[1] if warning else len(found) == 1
        checks.check(warned, what + ": warning", found)

    mpirun = [harness.MPIEXEC, "-n"]
    expect("without mpirun", [], (1, cores, cores, False))
    expect("one core", one, (1, 1, 1, False))
    expect("--threads beyond the cores", one, (1, 3, 1, False), ["--threads", "3"], warning="oversubscribed")
    expect("OMP_NUM_THREADS", [], (1, 2, cores, False), environment={"OMP_NUM_THREADS": "2,1"},
           warning="oversubscribed" if cores < 2 else None)
    expect("-n 1", mpirun + ["1"], (1, cores, cores, cores > 1))
    expect("-n 1, mpirun on one core", one + mpirun + ["1"], (1, 1, 1, False))
    expect("-n 1 --bind-to core", mpirun + ["1", "--bind-to", "core"], (1, 1, 1, False))
    expect("-n 1 --bind-to none", mpirun + ["1", "--bind-to", "none"], (1, cores, cores, False))
    expect("Slurm gives two cores, mpirun binds to one", mpirun + ["1"], (1, 1, 1, False),
           environment={"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "2"}, warning="bound to 1 of the 2 cores")
    # mpirun itself would bind them to a socket, with cores of it that taskset does not allow.
    expect("more ranks than cores", mpirun + [str(cores + 1), "--oversubscribe", "--bind-to", "none"],
           (cores + 1, 1, cores, False), warning="oversubscribed")
    if cores < 2:
        harness.skip_part("several ranks on two cores: there is one")
    else:
        two = ["taskset", "-c", "%d,%d" % tuple(CORES[:2])] + mpirun
        expect("three ranks on two cores", two + ["3", "--oversubscribe", "--bind-to", "none"], (3, 1, 2, False),
               warning="oversubscribed")
        expect("two ranks of two threads on a core each", mpirun + ["2", "--bind-to", "core"], (2, 2, 2, False),
               ["--threads", "2"], warning="oversubscribed")
    check_instruction_sets(checks)
    if cores < 4:
        harness.skip_part("two ranks on cores of their own: that takes 4 cores, there are %d" % cores)
    else:
        expect("-n 2", mpirun + ["2"], (2, cores // 2, cores, True))
        expect("-n 2 --map-by slot:PE=2", mpirun + ["2", "--map-by", "slot:PE=2"], (2, 2, 4, False))
    checks.finish()


main()
