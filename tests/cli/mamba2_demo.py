# SPDX-License-Identifier: Apache-2.0
"""The Mamba-2 demo model: the errors and perplexities that the reference in Python gives on its first ten texts, and the same
bits for instruction sets, threads and ranks."""
import os

import harness
import sweep_files

# What mamba2_reference.py gave (512 tokens a text): mean squared error of mixer_output in layers 0, 7 and 15, perplexity.
TABLE = {"fp16": ((6.343e-7, 7.265e-7, 2.533e-6), 3.6531)}
FP32_PERPLEXITY = 3.6532
VARIANTS = (("avx512", 1, 2), ("avx2", 2, 1), ("scalar", 3, 2))
JOB = ["--model", "mamba2-demo", "--modes", "fp_only", "--layers", "first,7,last"]


def check_table(checks, folder):
    done = harness.run(JOB + ["-q"], 2, folder)
    if not checks.check(done.status == 0, "the demo model is swept", done.err):
        return
    report = harness.report(folder, "sweep.json")
    found = {(e["mode"], e["layer"]): e["metrics"]["mse"]["value"] for e in report["layers"]}
    perplexity = {e["mode"]: e["metrics"]["perplexity"]["value"] for e in report["end_of_model"]}
    perplexity["fp32"] = perplexity["fp16"] / report["end_of_model"][0]["metrics"]["perplexity_ratio"]["value"]
    checks.check(abs(perplexity["fp32"] / FP32_PERPLEXITY - 1) < 1e-4, "perplexity of fp32", perplexity)
    for mode, (errors, expected) in TABLE.items():
        for layer, want in zip((0, 7, 15), errors):
            got = found[mode, layer]
            checks.check(abs(got / want - 1) < 0.15, "%s, layer %d: the error that the Python has" % (mode, layer), (got, want))
        checks.check(abs(perplexity[mode] / expected - 1) < 0.003, "perplexity of " + mode, (perplexity[mode], expected))


def check_bits(checks, workplace):
    want = None
    for isa, threads, ranks in VARIANTS:
        what, out = "%s, %d threads, %d ranks" % (isa, threads, ranks), os.path.join(workplace, isa)
        done = harness.run(JOB + ["--components", "all", "--calib_data_num", "3", "--calib_seqlen", "90", "--threads", str(threads),
                                  "--output_dir", out, "--comparison-dir", out, "-q"] + harness.FEW, ranks, workplace, {"SSMSWEEP_ISA": isa})
        if done.status == 2 and "not on this machine" in done.err:
            harness.skip_part("instruction set %s is not on this machine" % isa)
            continue
        if not checks.check(done.status == 0, what, done.err):
            continue
        got = sweep_files.contents(os.path.join(out, "sweep.h5"), ["outputs/", "metrics/", "calibration/"])
        want = want or got
        checks.check(len(got) > 60 and not sweep_files.differences(got, want), what + ": the same bits", (len(got), sweep_files.differences(got, want)[:10]))


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        check_table(checks, workplace)
        check_bits(checks, workplace)
        for words in (["info", "mamba2-demo"], ["info", "--model", "mamba2-demo"]):
            done = harness.run(words, 1, workplace)
            checks.check(done.status == 0 and "Mamba-2" in done.out and "demo-mamba2" in done.out, " ".join(words), done.out + done.err)
    checks.finish()


main()
