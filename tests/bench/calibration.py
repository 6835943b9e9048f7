#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What ten calibration sizes cost beside the largest alone: 1, 2, 4, ... 512 samples against 512.

    tests/bench/calibration.py [PROGRAM [ROUNDS [SAMPLES [TOKENS]]]]      (default: build/release/ssmsweep, 5, 512, 256)

Both are measured in turn, ROUNDS times, with the demo model on one core: the seconds of the pass and of the scales, which the
program tells with -v.  Prints the least seconds and the median of the ratios;
exit status 1 where a ratio is above 1.1."""
import os
import re
import statistics
import subprocess
import sys
import tempfile

import numpy as np

LIMIT = 1.1
MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "jobs", "demo")
OBSERVERS = [[], ["--observer", "mse"], ["--observer", "entropy"]]


def measure(program, folder, sizes, further):
    out = os.path.join(folder, "out")
    line = [program, "save", "fp32,0", "-v", "--model", MODEL, "--calib-data",
            os.path.join(folder, "ids.npy"), "--calib_data_num", sizes, "--eval_data_num", "1", "--layers", "last",
            "--threads", "1", "--output_dir", out] + further
    ended = subprocess.run(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, check=False)
    if ended.returncode != 0:
        sys.exit("%s\n%s" % (" ".join(line), ended.stderr))
    found = re.search(r"calibrate ([0-9.]+), scales ([0-9.]+)", ended.stderr)
    subprocess.run(["rm", "-r", out], check=True)
    return float(found.group(1)) + float(found.group(2))


def main():
    arguments = sys.argv[1:] + [None] * 4
    program = os.path.abspath(arguments[0] or "build/release/ssmsweep")
    rounds, samples, tokens = (int(a or d) for a, d in zip(arguments[1:4], (5, 512, 256)))
    sizes = ",".join(str(samples >> shift) for shift in range(9, -1, -1) if samples >> shift)
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        ids = np.random.default_rng(1).integers(0, 256, (samples, tokens)).astype(np.int32)
        np.save(os.path.join(folder, "ids.npy"), ids)
        print("%-22s %12s %12s %8s" % ("seconds, least", "%d samples" % samples, "%d sizes" % (sizes.count(",") + 1), "ratio"))
        for further in OBSERVERS:
            one, ten = [], []
            for _ in range(rounds):
                one.append(measure(program, folder, str(samples), further))
                ten.append(measure(program, folder, sizes, further))
            ratio = statistics.median(b / a for a, b in zip(one, ten))
            worst = max(worst, ratio)
            print("%-22s %12.2f %12.2f %8.3f" % (" ".join(further) or "default", min(one), min(ten), ratio), flush=True)
    sys.exit(1 if worst > LIMIT else 0)


main()
