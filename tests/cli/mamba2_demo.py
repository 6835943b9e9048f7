# SPDX-License-Identifier: Apache-2.0
"""The Mamba-2 demo model: the errors and perplexities that the reference in Python gives on its first ten texts, and the same
bits for instruction sets, threads and ranks."""
import os

import harness
import sweep_files

# What mamba2_reference.py gave (512 tokens a text): mean squared error of mixer_output in layers 0, 7 and 15, perplexity.
TABLE = {"fp16": ((6.343e-7, 7.265e-7, 2.533e-6), 3.6531), "0": ((4.214e-3, 4.364e-3, 3.533e-2), 3.7054),
         "2-0": ((4.214e-3, 4.364e-3, 3.533e-2), 3.7054), "2-1": ((4.213e-3, 4.368e-3, 3.553e-2), 3.7094),
         "2-2": ((4.213e-3, 4.368e-3, 3.553e-2), 3.7094), "2-3": ((4.213e-3, 4.367e-3, 3.569e-2), 3.7099),
         "2-4": ((3.530e-3, 2.686e-3, 9.952e-3), 3.6583), "3": ((3.516e-3, 2.622e-3, 9.610e-3), 3.6622)}
CORRELATION = {"0": 0.99432, "2-1": 0.99429, "2-3": 0.99426, "2-4": 0.99840, "3": 0.99846}    # of layer 15
FP32_PERPLEXITY = 3.6532
VARIANTS = (("avx512", 1, 2), ("avx2", 2, 1), ("scalar", 3, 2))
JOB = ["--model", "mamba2-demo", "--all-modes", "--layers", "first,7,last"]


def check_table(checks, folder):
    harness.write_json(os.path.join(folder, "r.json"), {"recipes": [{"name": "chunked", "base": "2-1", "set": {"scan:order": "chunked"}}]})
    done = harness.run(JOB + ["-q"], 2, folder)
    if not checks.check(done.status == 0, "the demo model is swept", done.err):
        return
    report = harness.report(folder, "sweep.json")
    found = {(e["mode"], e["layer"]): e["metrics"]["mse"]["value"] for e in report["layers"]}
    for mode, want in CORRELATION.items():
        got = [e["metrics"]["correlation"]["value"] for e in report["layers"] if (e["mode"], e["layer"]) == (mode, 15)][0]
        checks.check(abs(got - want) < 0.003, "%s, layer 15: correlation" % mode, (got, want))
    checks.check(found["0", 15] != found["2-1", 15] and found["0", 15] == found["2-0", 15], "the order of the scan makes a difference", found)
    perplexity = {e["mode"]: e["metrics"]["perplexity"]["value"] for e in report["end_of_model"]}
    perplexity["fp32"] = perplexity["fp16"] / [e for e in report["end_of_model"] if e["mode"] == "fp16"][0]["metrics"]["perplexity_ratio"]["value"]
    chunked = harness.run(["--model", "mamba2-demo", "--recipes", "r.json", "--modes", "fp32,2-1,chunked", "--calib_data_num", "2", "-q",
                           "--output_dir", "c", "--comparison-dir", "c"], 1, folder)
    errors = {(e["mode"], e["layer"]): e["metrics"]["mse"]["value"] for e in harness.read_json(os.path.join(folder, "c", "sweep.json"))["layers"]}
    checks.check(chunked.status == 0 and errors["chunked", 0] != errors["2-1", 0] and abs(errors["chunked", 0] / errors["2-1", 0] - 1) < 1e-3,
                 "a recipe with the chunked scan in FP32", chunked.err)
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
        done = harness.run(JOB + ["--components", "all", "--calib_data_num", "3", "--calib_seqlen", "90", "--noise", "1", "--threads", str(threads),
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
        for words, said in ((["--modes", "w4a16"], "'int4-g128'"), (["--modes", "2-1@int8-channel"], "'int8-channel'"),
                            (["--modes", "2-1", "--weights", "int4-g64"], "'int4-g64'")):
            done = harness.run(["--model", "mamba2-demo", "-q", "--output_dir", "no"] + words, 1, workplace)
            checks.check(done.status == 2 and "Mamba-2" in done.err and said in done.err, " ".join(words) + " is refused", (done.status, done.err))
        for words in (["info", "mamba2-demo"], ["info", "--model", "mamba2-demo"]):
            done = harness.run(words, 1, workplace)
            checks.check(done.status == 0 and "Mamba-2" in done.out and "demo-mamba2" in done.out, " ".join(words), done.out + done.err)
    checks.finish()


main()
