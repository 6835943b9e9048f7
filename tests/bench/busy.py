# SPDX-License-Identifier: Apache-2.0
"""What threads cost on a machine that others use too: a sweep of the demo model with the default number of threads
against --threads 1, in turn, while twice as many processes as there are cores do nothing but compute.

  tests/bench/busy.py [--program FILE]... [--load N] [--rounds N] [-- ssmsweep options]

Prints the median seconds of each, and for each program the ratio of the two: 1.2 at most is the goal.  --load 0 is the
machine as it is.  Several programs are measured in the same rounds."""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
JOB = ["-q", "--modes", "fp32,2-1,2-4", "--calib_data_num", "2", "--calib_seqlen", "256"]


def seconds(program, options, environment):
    folder = tempfile.mkdtemp(prefix="ssmsweep-busy.")
    started = time.monotonic()
    subprocess.run([program] + options, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    taken = time.monotonic() - started
    shutil.rmtree(folder)
    return taken


def measure(programs, options, rounds):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    variants = [(program, more) for program in programs for more in ([], ["--threads", "1"])]
    taken = {(program, len(more)): [] for program, more in variants}
    for turn in range(rounds):
        for program, more in variants[::-1] if turn % 2 else variants:
            taken[program, len(more)].append(seconds(program, JOB + more + options, environment))
    return taken


def main():
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--program", action="append")
    parser.add_argument("--load", type=int, default=2 * cores)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("options", nargs="*")
    asked = parser.parse_args()
    programs = asked.program or [os.path.join(SOURCE, "build/release/ssmsweep")]
    load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(asked.load)]
    try:
        taken = measure(programs, asked.options, asked.rounds)
    finally:
        for process in load:
            process.kill()
            process.wait()
    print("%d cores, %d busy processes beside it, %d rounds" % (cores, asked.load, asked.rounds))
    for program in programs:
        default, alone = (taken[program, count] for count in (0, 2))
        ratios = [a / b for a, b in zip(default, alone)]
        print("%s: default %.2f s, --threads 1 %.2f s, ratio %.2f (of the rounds: %s)"
              % (program, statistics.median(default), statistics.median(alone),
                 statistics.median(default) / statistics.median(alone), " ".join("%.2f" % r for r in sorted(ratios))))


main()
