# SPDX-License-Identifier: Apache-2.0
"""What the ranks of a node take together, at its worst moment: the weights once and a workspace each, and little more.
Linux counts a page that several processes map as a part for each (Pss)."""
import os
import re
import subprocess
import sys
import time

import numpy as np

import harness

RANKS = 8
# Of a middle size, so that the program itself and its libraries weigh little beside it.
MODEL = ["--d-model", "640", "--n-layer", "24", "--vocab", "8000", "--dtype", "F16"]
MOST = 1.2
SKIPPED = 77


def own_ranks(launcher):
    try:
        with open("/proc/%d/task/%d/children" % (launcher, launcher)) as f:
            return [int(word) for word in f.read().split()]
    except OSError:
        return []


def mebibytes(pid):
    try:
        with open("/proc/%d/smaps_rollup" % pid) as f:
            return int(re.search(r"^Pss:\s+(\d+) kB", f.read(), re.M)[1]) / 1024
    except (OSError, TypeError):
        return 0.0


def watch(command, folder):
    """(status, largest sum over the ranks)"""
    env = dict(os.environ, **harness.OPEN_MPI)
    env["OMP_NUM_THREADS"] = "1"
    process = subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    largest = 0.0
    while process.poll() is None:
        largest = max(largest, sum(mebibytes(pid) for pid in own_ranks(process.pid)))
        time.sleep(0.02)
    return process.returncode, largest


def main():
    checks = harness.Checks()
    if not os.path.exists("/proc/self/smaps_rollup"):
        print("skipped, no smaps_rollup here")
        sys.exit(SKIPPED)
    with harness.Workplace() as folder:
        harness.make_model(os.path.join(folder, "model"), *MODEL)
        np.save(os.path.join(folder, "ids.npy"), np.random.default_rng(1).integers(0, 8000, (16, 512), dtype=np.int32))
        job = ["--model", "model", "--calib-data", "ids.npy", "--calib_data_num", "16", "--modes", "fp32,3"]
        plan = harness.run(job + ["--dry-run"], 1, folder)
        found = re.search(r"memory: ([\d.]+) MiB of weights per node, ([\d.]+) MiB per rank", plan.out)
        if checks.check(found, "the plan tells the memory", plan.out + plan.err):
            weights, workspace = float(found[1]), float(found[2])
            status, largest = watch([harness.MPIEXEC, "-n", str(RANKS), harness.PROGRAM, "-q"] + job, folder)
            expected = weights + RANKS * workspace
            said = "%d ranks took %.0f MiB, weights and workspaces are %.0f MiB: %.3f" % (RANKS, largest, expected,
                                                                                         largest / expected)
            print(said)
            checks.check(status == 0, "the sweep runs", status)
            checks.check(largest < MOST * expected, "no more than %.1f times that" % MOST, said)
            checks.check(largest > 0.5 * expected, "it was measured", said)
    checks.finish()


main()
