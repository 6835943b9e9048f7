# SPDX-License-Identifier: Apache-2.0
"""A library that is loaded with the program changes rounding, denormals and the decimal point, for the process and in every
thread: not one byte of a result changes, and what users write is read as ever."""
import os
import struct
import subprocess
import sys

import numpy as np

import harness
import recovery
import sweep_files

LIBRARY = sys.argv[1]
JOB = ["--modes", "fp32,fp16,2-1", "--noise", "1", "--threads", "2", "--percentile_alpha", "0.995"]


def make_comma(folder):
    """A locale "comma" for LOCPATH, whatever is installed: the file of its LC_NUMERIC, as glibc's localedef writes it.  False
    where the C library does not take it."""
    os.makedirs(os.path.join(folder, "comma"))
    parts = [b",\0", b".\0", b"\3\0", struct.pack("=I", ord(",")), struct.pack("=I", ord(".")), b"UTF-8\0"]
    head, body = 8 + 4 * len(parts), b""
    offsets = []
    for part in parts:
        body += b"\0" * (-len(body) % 4)
        offsets.append(head + len(body))
        body += part
    with open(os.path.join(folder, "comma", "LC_NUMERIC"), "wb") as f:
        f.write(struct.pack("=II%dI" % len(parts), 0x20031115 ^ 1, len(parts), *offsets) + body)
    say = "import locale; locale.setlocale(locale.LC_NUMERIC, 'comma'); print(locale.str(1.5))"
    said = subprocess.run([sys.executable, "-c", say], env=dict(os.environ, LOCPATH=folder), stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout
    return said == b"1,5\n"


def make_tiny(folder):
    """The model of recovery.py with denormals among its weights, as F32."""
    tensors = recovery.reference.random_model_tensors(1, 64, 2, 64)
    for name, values in tensors.items():
        if name.endswith("out_proj.weight"):
            values[::4] = values[::4] * np.float32(1e-40)    # so are a quarter of each layer's outputs
    recovery.reference.save_safetensors(os.path.join(folder, "model", "model.safetensors"), tensors)


def runs(checks, folder, workplace, spoil):
    """{name: bytes} of a sweep and of what compare and its gates print."""
    os.mkdir(folder)
    env = {"LD_PRELOAD": LIBRARY, "LOCPATH": os.path.join(workplace, "locales"), "SPOIL": spoil}
    job = recovery.job_without_modes(workplace, *JOB)
    found = {}
    for name, words in (("sweep", job), ("compare", ["compare", "--per-sample"]), ("csv", ["compare", "--format", "csv"]),
                        ("info", ["info", os.path.join(workplace, "model")]),
                        ("gate", ["compare", "--gate", "mode=2-1 mse<1.5e-1 correlation>=0.25"]),
                        ("resume", job + ["--resume"]), ("bad", ["--percentile_alpha", "0,995"])):
        done = harness.run(words, 1, folder, env)
        checks.check(done.status == (2 if name == "bad" else 0), "%s: %s" % (spoil, name), "%s\n%s" % (done.status, done.err))
        found[name] = "\n".join(line for line in done.out.splitlines() if "estimated time" not in line)
    if not os.path.exists(os.path.join(folder, "layer_outputs", "sweep.h5")):
        return found
    found.update(recovery.results(folder))
    for name in ("sweep.csv", "per_sample.csv"):
        path = os.path.join(folder, "comparisons", name)
        if checks.check(os.path.exists(path), "%s: %s" % (spoil, name)):
            found[name] = harness.read_bytes(path)
    return found


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        comma = make_comma(os.path.join(workplace, "locales"))
        if not comma:
            harness.skip_part("a decimal comma: this C library takes no LC_NUMERIC of ours")
        recovery.make_model(workplace)
        make_tiny(workplace)
        good = runs(checks, os.path.join(workplace, "good"), workplace, "nothing")
        for spoil in ["flush", "round"] + ["comma"] * comma:
            found = runs(checks, os.path.join(workplace, spoil), workplace, spoil)
            checks.check(not sweep_files.differences(found, good), spoil + ": the same bytes", sweep_files.differences(found, good)[:10])
    checks.finish()


main()
