# SPDX-License-Identifier: Apache-2.0
"""What forks save: 240 recipes on the demo model, each with one unit of one layer made float, with forks and with --no-forks in
turn; and whether the memory is what --dry-run said.
   forks.py PROGRAM [RANKS [ROUNDS [TOKENS]]]      exits with 1 where the ratio is above 0.6, or the memory off by more than 5 %"""
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.abspath(sys.argv[1])
RANKS, ROUNDS, TOKENS = ([int(word) for word in sys.argv[2:5]] + [2, 1, 48][len(sys.argv[2:5]):])
os.environ.update(SSMSWEEP=PROGRAM, MPIEXEC=os.environ.get("MPIEXEC", "mpirun"), SSMSWEEP_SOURCE=SOURCE)
sys.path.insert(0, os.path.join(SOURCE, "tests", "cli"))
import harness  # noqa: E402
import memory   # noqa: E402

UNITS = ["in_proj:input", "conv1d:input", "gate:input", "conv1d:output", "x_proj:input", "dt_proj:input", "scan:B", "scan:C", "scan:dt",
         "out_proj:input"]
LAYERS, MOST = 24, 0.6
SECONDS = re.compile(r"sweep ([\d.]+), close ([\d.]+);")


def sweep(job, options, folder):
    shutil.rmtree(os.path.join(folder, "out"), ignore_errors=True)
    done = subprocess.run([os.environ["MPIEXEC"], "-n", str(RANKS), PROGRAM, "save", "-v"] + job + options, cwd=folder,
                          env=harness.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    found = SECONDS.search(done.stderr)
    if done.returncode or not found:
        sys.exit(done.stderr)
    return float(found.group(1)), memory.told(done.stderr, RANKS)


def main():
    with tempfile.TemporaryDirectory(prefix="ssmsweep-bench-") as folder:
        recipes = [{"name": "%s-%d" % (unit.replace(":", "-"), layer), "base": "2-1",
                    "layers": [{"layers": str(layer), "set": {unit: "float"}}]} for layer in range(LAYERS) for unit in UNITS]
        harness.write_json(os.path.join(folder, "recipes.json"), {"recipes": recipes})
        job = ["--recipes", "recipes.json", "--modes", "fp32,2-1," + ",".join(recipe["name"] for recipe in recipes), "--store", "none",
               "--calib_data_num", "2", "--calib_seqlen", str(TOKENS), "--output_dir", "out"]
        told = memory.plan(["save"] + job, RANKS, folder)
        if not isinstance(told, tuple):
            sys.exit(told)
        rounds = [(sweep(job, [], folder), sweep(job, ["--no-forks"], folder)) for _ in range(ROUNDS)]
        with_forks, without = ([pair[i][0] for pair in rounds] for i in range(2))
        seen = max(pair[0][1] for pair in rounds)
        ratio = statistics.median(a / b for a, b in zip(with_forks, without))
        print("%d recipes, %d ranks: %.1f s with forks, %.1f s without: %.3f of it" %
              (len(recipes), RANKS, statistics.median(with_forks), statistics.median(without), ratio))
        print("memory: %.1f MiB told, %.1f seen: %+.1f %%" % (told[0], seen, 100 * (told[0] / seen - 1)))
        sys.exit(ratio > MOST or abs(told[0] / seen - 1) > memory.MOST_OFF)


main()
