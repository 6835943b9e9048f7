# SPDX-License-Identifier: Apache-2.0
"""What writing costs: sweeps that keep all layers and components, by MPI-IO, by pwrite() and not at all, in turn.
   writing.py PROGRAM [RANKS [ROUNDS]]      seconds of the sweep and of closing, medians, and mpio : posix round by round"""
import os
import re
import statistics
import subprocess
import sys
import tempfile

PROGRAM = os.path.abspath(sys.argv[1])
RANKS = int(sys.argv[2]) if len(sys.argv) > 2 else 2
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 7
JOB = ["save", "--modes", "fp32,0,2-4", "--layers", "all", "--components", "all", "-v"]
WAYS = {"mpio": ["--io", "mpio"], "posix": ["--io", "posix"], "none": ["--store", "none"]}
SECONDS = re.compile(r"sweep ([\d.]+), close ([\d.]+);")


def sweep(options):
    with tempfile.TemporaryDirectory(prefix="ssmsweep-bench-") as folder:
        done = subprocess.run(["mpirun", "-n", str(RANKS), PROGRAM] + JOB + options, cwd=folder, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, universal_newlines=True)
        found = SECONDS.search(done.stderr)
        if done.returncode or not found:
            sys.exit(done.stderr)
        size = os.path.getsize(os.path.join(folder, "layer_outputs", "sweep.h5"))
        return float(found.group(1)), float(found.group(2)), size / 1048576


def main():
    rows = {name: [] for name in WAYS}
    for turn in range(ROUNDS):
        for name in sorted(WAYS, reverse=turn % 2 == 1):
            rows[name].append(sweep(WAYS[name]))
    print("%d ranks, %d rounds %10s %8s %8s %8s" % (RANKS, ROUNDS, "sweep s", "close s", "sum s", "MiB"))
    for name, seconds in rows.items():
        print("%-22s %10.2f %8.2f %8.2f %8.0f" % (
            name, statistics.median(s for s, _, _ in seconds), statistics.median(c for _, c, _ in seconds),
            statistics.median(s + c for s, c, _ in seconds), seconds[0][2]))
    ratios = sorted((a[0] + a[1]) / (b[0] + b[1]) for a, b in zip(rows["mpio"], rows["posix"]))
    print("mpio : posix, round by round: median %.3f (%.3f to %.3f)" % (statistics.median(ratios), ratios[0], ratios[-1]))


main()
