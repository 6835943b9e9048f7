# SPDX-License-Identifier: Apache-2.0
"""What the ranks of a node take together at their worst moment is what --dry-run said, within 5 %, or 0.6 MiB a rank where that is
more: by so much differs, from run to run, what MPI and HDF5 themselves touch, which is nearly all of a tiny job.  And it is no
more than 1.2 times the weights once and the workspaces, where these are more than libraries.
Counted is what nobody can take from them: Pss_Anon and Pss_Shmem.  Of a page that several processes share, Linux counts
a part for each."""
import os
import re
import subprocess
import sys
import time

import numpy as np

import harness

MOST_OFF = 0.05
LIBRARIES = 0.6    # MiB of a rank
MOST_BESIDE = 1.2    # of the weights once and what each rank adds to what it had before the sweep
DEMO = os.path.join(harness.SOURCE, "jobs", "demo")

# In the tiny model the libraries are nearly all of it; in the middle one it is the weights.
MODELS = {"tiny": ["--d-model", "64", "--n-layer", "2", "--vocab", "256"],
          "middle": ["--d-model", "640", "--n-layer", "24", "--vocab", "8000", "--dtype", "F16"]}
# (samples, tokens of each): what a rank holds grows with the tokens of one sample, not with the samples.
TEXTS = {"short": (10, 16), "some": (8, 320), "long": (2, 512)}
EVERYTHING = ["--modes", "all", "--layers", "all", "--components", "all"]
SIZES = ",".join(map(str, range(1, 11 if harness.LONG else 4)))    # of calibration
# (ranks, model, text, options)
CASES = [
    (1, "tiny", "short", ["--modes", "fp32,2-1", "--no-logits"]),
    (2, "tiny", "short", EVERYTHING),
    (4, "tiny", "short", ["--modes", "fp32,2-1"]),
    (1, DEMO, "long", ["--modes", "fp32,2-1"]),
    (2, DEMO, "long", ["--modes", "all", "--layers", "all", "--store", "none", "--calib_data_num", "1,2"]),
    # The report is the largest.
    (2, DEMO, "short", EVERYTHING + ["--store", "none", "--calib_data_num", SIZES, "--no-logits"] + harness.FEW),
    (1, "middle", "short", ["--modes", "fp32,3", "--no-logits"]),    # it is while packing that most is held
    (8, "middle", "some", ["--modes", "fp32,3"]),
]
if harness.LONG:
    CASES += [(1, DEMO, "long", ["--modes", "fp32,2-1,2-4", "--isolated"]),
              (2, DEMO, "short", EVERYTHING + ["--store", "none", "--noise", "16"] + harness.FEW),
              (2, DEMO, "long", ["--modes", "all", "--noise", "2"])]


def mebibytes(pid):
    try:
        with open("/proc/%d/smaps_rollup" % pid) as f:
            return sum(map(int, re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+) kB", f.read(), re.M))) / 1024
    except OSError:
        return 0.0


def told(err, ranks):
    """The largest sum over the ranks of what -v tells at the worst moment of each phase: that may last a millisecond, so
    looks from outside miss it or not.  They are for what the program does not tell."""
    phases = {}
    for own, shared, phase in re.findall(r"memory: ([\d.]+) MiB own, ([\d.]+) MiB of shared, (.*)", err):
        phases.setdefault(phase, []).append(float(own) + float(shared))
    assert phases and all(len(sums) == ranks for sums in phases.values()), phases
    return max(map(sum, phases.values()))


def watch(job, ranks, folder):
    """(status, largest sum over the ranks)"""
    env = harness.environment()
    largest = 0.0
    with open(os.path.join(folder, "log"), "w+") as log:
        process = subprocess.Popen([harness.MPIEXEC, "-n", str(ranks), harness.PROGRAM, "-v"] + job, cwd=folder, env=env,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        while process.poll() is None:
            largest = max(largest, sum(mebibytes(pid) for pid in harness.children(process.pid)))
            time.sleep(0.05)    # a look takes a millisecond for each rank
        log.seek(0)
        return process.returncode, max(largest, told(log.read(), ranks)) if process.returncode == 0 else largest


def plan(job, ranks, folder):
    """MiB: (of the node, weights, of a rank, of a rank before the sweep), or what was printed"""
    env = harness.environment()
    done = subprocess.run([harness.MPIEXEC, "-n", str(ranks), harness.PROGRAM, "--dry-run"] + job, cwd=folder, env=env,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=harness.LIMIT)
    found = re.search(r"^memory: ([\d.]+) MiB on a node with %d ranks?: ([\d.]+) MiB of weights, up to ([\d.]+) MiB in a rank "
                      r"\(([\d.]+) MiB before the sweep\)$" % ranks, done.stdout, re.M)
    return tuple(map(float, found.groups())) if found else done.stdout + done.stderr


def check(checks, case, folder):
    ranks, model, ids, options = case
    what = "%d ranks, %s" % (ranks, " ".join([os.path.basename(model), ids] + options))
    job = ["--model", model, "--calib-data", ids + ".npy", "--output_dir", "out", "--comparison-dir", "comparisons"] + options
    if "--calib_data_num" not in options:
        job += ["--calib_data_num", str(min(8, TEXTS[ids][0]))]
    answer = plan(job, ranks, folder)
    if not checks.check(isinstance(answer, tuple), what + ": the plan tells the memory", answer):
        return
    expected, weights, rank, before = answer
    status, seen = watch(job, ranks, folder)
    said = "%.1f MiB were told, %.1f seen: %+.1f %%" % (expected, seen, 100 * (expected / max(seen, 1) - 1))
    print(what + ": " + said)
    checks.check(status == 0, what + ": the sweep runs", status)
    checks.check(abs(expected - seen) <= max(MOST_OFF * seen, LIBRARIES * ranks), what + ": as told", said)
    if model == "middle":
        least = weights + ranks * (rank - before)
        checks.check(seen <= MOST_BESIDE * least, what + ": weights once", "%.1f MiB seen, %.1f of weights and workspaces" % (seen, least))
    subprocess.run(["rm", "-rf", "out", "comparisons"], cwd=folder, check=True)


def main():
    checks = harness.Checks()
    if not os.path.exists("/proc/self/smaps_rollup"):
        harness.skip("no /proc/self/smaps_rollup")
    with harness.Workplace() as folder:
        for name, sizes in MODELS.items():
            subprocess.run([sys.executable, os.path.join(harness.SOURCE, "tests", "reference", "make_model.py"), "--out",
                            os.path.join(folder, name)] + sizes, check=True)
        random = np.random.default_rng(1)
        for name, shape in TEXTS.items():
            np.save(os.path.join(folder, name + ".npy"), random.integers(0, 256, shape, dtype=np.int32))
        for case in CASES:
            check(checks, case, folder)
    checks.finish()


if __name__ == "__main__":
    main()
