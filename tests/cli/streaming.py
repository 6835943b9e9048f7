# SPDX-License-Identifier: Apache-2.0
"""Neither the memory of `compare`, with every output it can write, nor that of a sweep that stores no tensors grows with
the samples."""
import os
import subprocess
import sys

import numpy

import harness

FEW, MANY, TOKENS = 20, 800, 40
SWEEP_FEW, SWEEP_MANY, SWEEP_TOKENS = 10, 2000, 256    # MANY have token ids of 2 MB
OUTPUTS = ["--per-sample", "--format", "csv", "--gate", "mse<1"]


# A process begins with the peak of the one that starts it: this one has NumPy.
SMALL = """import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
_, status, usage = os.wait4(child, 0)
print(status, usage.ru_maxrss)"""


def peak_bytes(folder, options):
    done = subprocess.run([sys.executable, "-I", "-S", "-c", SMALL, harness.PROGRAM] + options, cwd=folder, stdout=subprocess.PIPE,
                          env=harness.environment(), check=True)
    status, kibibytes = map(int, done.stdout.split())
    return status, kibibytes * 1024


def make_tiny(checks, folder):
    made = harness.run(["synth", "--preset", "tiny", "--out", "tiny"], 1, folder)
    checks.check(made.status == 0, "a model", made.err)


def check_sweep(checks):
    peaks = {}
    with harness.Workplace() as folder:
        make_tiny(checks, folder)
        ids = numpy.random.default_rng(1).integers(3, 250, (SWEEP_MANY, SWEEP_TOKENS), dtype=numpy.int32)
        numpy.save(os.path.join(folder, "ids.npy"), ids)
        for samples in (SWEEP_FEW, SWEEP_MANY):
            status, peaks[samples] = peak_bytes(folder, [
                "-q", "--model", "tiny", "--modes", "fp32,2-1", "--calib-data", "ids.npy", "--calib_data_num", str(samples),
                "--calib_seqlen", str(SWEEP_TOKENS), "--store", "none", "--layers", "all", "--threads", "1",
                "--output_dir", "of-%d" % samples, "--comparison-dir", "of-%d" % samples])
            checks.check(status == 0, "%d samples: the sweep runs" % samples)
    ratio = peaks[SWEEP_MANY] / peaks[SWEEP_FEW]
    print("sweeps of %d and %d samples: %.1f and %.1f MiB" % (SWEEP_FEW, SWEEP_MANY, peaks[SWEEP_FEW] / 2**20, peaks[SWEEP_MANY] / 2**20))
    checks.check(ratio < 1.05, "the peak of a sweep stays within 5 %", ratio)


def main():
    checks = harness.Checks()
    check_sweep(checks)
    peaks = {}
    for samples in [FEW, MANY]:
        with harness.Workplace() as folder:
            make_tiny(checks, folder)
            ids = numpy.random.default_rng(1).integers(3, 250, (samples, TOKENS), dtype=numpy.int32)
            numpy.save(os.path.join(folder, "ids.npy"), ids)
            result = harness.run(["-q", "--model", "tiny", "--modes", "fp32,2-1", "--calib-data", "ids.npy", "--calib_data_num", str(samples),
                                  "--calib_seqlen", str(TOKENS), "--layers", "all"], 2, folder)
            checks.check(result.status == 0, "%d samples: the sweep runs" % samples, result.err)
            status, peaks[samples] = peak_bytes(folder, ["compare", "-q"] + OUTPUTS)
            checks.check(status == 0, "%d samples: compare runs" % samples)
            size = os.path.getsize(os.path.join(folder, "layer_outputs", "sweep.h5"))
    growth = peaks[MANY] - peaks[FEW]
    checks.check(growth < 8 << 20 and size > 48 << 20, "the peak stays",
                 "%d samples take %.1f MiB more than %d, the file has %.1f MiB" % (MANY, growth / 2**20, FEW, size / 2**20))
    print("peak %.1f MiB, growth %.1f MiB, for a file of %.1f MiB" % (peaks[MANY] / 2**20, growth / 2**20, size / 2**20))
    checks.finish()


main()
