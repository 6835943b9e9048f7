# SPDX-License-Identifier: Apache-2.0
"""The Mamba-2 demo model: the errors and perplexities that the reference in Python gives on its first ten texts."""
import json
import os

import harness
import sweep_files

# What mamba2_reference.py gave (512 tokens a text): mean squared error of mixer_output in layers 0, 7 and 15, perplexity,
# correlation in layer 15.
FLOAT = {"fp16": ((6.343e-7, 7.265e-7, 2.533e-6), 3.6531, 1.0)}
GROUPS = {"0": ((3.751e-03, 3.475e-03, 1.309e-02), 3.6694, 0.99790),
          "2-0": ((3.751e-03, 3.475e-03, 1.309e-02), 3.6694, 0.99790),
          "2-1": ((3.751e-03, 3.459e-03, 1.311e-02), 3.6686, 0.99789),
          "2-2": ((3.751e-03, 3.459e-03, 1.311e-02), 3.6686, 0.99789),
          "2-3": ((3.751e-03, 3.464e-03, 1.304e-02), 3.6712, 0.99790),
          "2-4": ((3.328e-03, 2.647e-03, 9.898e-03), 3.6604, 0.99841),
          "3": ((3.312e-03, 2.623e-03, 9.660e-03), 3.6618, 0.99845),
          "0-fp32": ((3.751e-03, 3.462e-03, 1.316e-02), 3.6691, 0.99788)}
ONE_SCALE = {"0": ((4.214e-3, 4.364e-3, 3.533e-2), 3.7054, 0.99432), "2-1": ((4.213e-3, 4.368e-3, 3.553e-2), 3.7094, 0.99429),
             "2-4": ((3.530e-3, 2.686e-3, 9.952e-3), 3.6583, 0.99840)}
FP32_PERPLEXITY = 3.6532
JOB = ["--model", "mamba2-demo", "--layers", "first,7,last"]


def sweep(checks, folder, modes, table, *words):
    """The numbers that the Python has; gives the errors by mode and layer."""
    done = harness.run(JOB + ["--modes", modes, "-q"] + list(words), 2, folder)
    if not checks.check(done.status == 0, "the demo model is swept" + " ".join(("",) + words), done.err):
        return {}
    report = harness.report(folder, "sweep.json")
    entries = {(e["mode"], e["layer"]): e["metrics"] for e in report["layers"]}
    errors = {key: metrics["mse"]["value"] for key, metrics in entries.items()}
    perplexity = {e["mode"]: e["metrics"]["perplexity"]["value"] for e in report["end_of_model"]}
    for mode, (expected, perplexities, correlation) in table.items():
        what = " ".join((mode,) + words)
        for layer, want in zip((0, 7, 15), expected):
            got = errors[mode, layer]
            checks.check(abs(got / want - 1) < 0.15, "%s, layer %d: the error that the Python has" % (what, layer), (got, want))
        got = entries[mode, 15]["correlation"]["value"]
        checks.check(abs(got - correlation) < 0.003, what + ", layer 15: correlation", (got, correlation))
        checks.check(abs(perplexity[mode] / perplexities - 1) < 0.003, "perplexity of " + what, (perplexity[mode], perplexities))
        ratio = [e["metrics"]["perplexity_ratio"]["value"] for e in report["end_of_model"] if e["mode"] == mode][0]
        checks.check(abs(perplexity[mode] / ratio / FP32_PERPLEXITY - 1) < 1e-4, "perplexity of fp32 beside " + what, perplexity[mode] / ratio)
    return errors


def check_table(checks, folder):
    errors = sweep(checks, folder, "all,0-fp32", dict(FLOAT, **GROUPS))
    if errors:
        checks.check(errors["0", 15] == errors["2-0", 15] and errors["2-1", 15] == errors["2-2", 15], "modes that are the same", errors)
        order = [abs(errors[mode, 0] / errors["2-1", 0] - 1) for mode in ("0-fp32", "0")]
        checks.check(0 < order[0] < order[1], "the order of sums makes a difference, the rounding of operands a larger one", order)
    sweep(checks, folder, "0,2-1,2-4", ONE_SCALE, "--group_heads", "off", "--overwrite")


def check_weights(checks, workplace):
    """Formats of weights by name: an error of their own, 4 bits more than INT8."""
    modes = ["2-1", "2-1@int8-channel", "2-1@int4-g64", "2-1@fp16", "w4a16", "w4a16-seq"]
    done = harness.run(["--model", "mamba2-demo", "-q", "--output_dir", "w", "--comparison-dir", "w", "--modes", ",".join(["fp32"] + modes),
                        "--calib_data_num", "2", "--calib_seqlen", "60"], 1, workplace)
    if checks.check(done.status == 0, "formats of weights", done.err):
        found = {(e["mode"], e["layer"]): e["metrics"]["mse"]["value"] for e in harness.read_json(os.path.join(workplace, "w", "sweep.json"))["layers"]}
        errors = [found[mode, 0] for mode in modes]
        checks.check(len(set(errors)) == len(modes) and errors[2] > 2 * errors[0] and errors[4] > errors[0] > errors[3], "errors at layer 0", errors)


def check_company(checks, workplace):
    """What a mode without scales gives does not depend on the modes beside it: alone, beside one that has scales, and added later."""
    outputs = []
    for name, runs in (("alone", ["fp32,w4a16"]), ("beside", ["fp32,2-1,w4a16"]), ("later", ["fp32,2-1", "w4a16"])):
        for modes in runs:
            done = harness.run(["save", modes, "--model", "mamba2-demo", "-q", "--output_dir", name, "--calib_data_num", "1", "--calib_seqlen", "24"],
                               1, workplace)
            checks.check(done.status == 0, "%s: %s" % (name, modes), done.err)
        found = sweep_files.contents(os.path.join(workplace, name, "sweep.h5"), ("outputs/",))
        outputs.append({key: value for key, value in found.items() if "/w4a16/" in key and "@" not in key})
    checks.check(len(outputs[0]) == 2 and outputs[0] == outputs[1] == outputs[2], "w4a16 in any company", [list(o) for o in outputs])


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        check_table(checks, workplace)
        check_weights(checks, workplace)
        check_company(checks, workplace)
        for words, said in ((["--model", "mamba2-demo", "--observer", "mse"], "say --group_heads off"), (["--group_heads", "on"], "one scale for each site"),
                            (["--modes", "0-fp32"], "no order 'chunked'")):
            done = harness.run(words + ["-q", "--output_dir", "no"], 1, workplace)
            checks.check(done.status == 2 and len(done.lines()) == 1 and said in done.err, " ".join(words) + " is refused", (done.status, done.err))
        done = harness.run(["--model", "mamba2-demo", "--modes", "fp32,2-1", "--calib_data_num", "1", "--calib_seqlen", "16", "-q", "--output_dir", "few",
                            "--comparison-dir", "few"], 1, workplace)
        info = harness.run(["info", "few", "--json"], 1, workplace)
        sizes = json.loads(info.out).get("groups", []) if done.status == 0 else []
        checks.check(len(sizes) == 16 and all(sum(k["heads"] for k in layer) == 8 and sum(k["channels"]) == 32 for layer in sizes for k in layer),
                     "info tells the groups of heads", (done.err, sizes[:1]))
        for words in (["info", "mamba2-demo"], ["info", "--model", "mamba2-demo"]):
            done = harness.run(words, 1, workplace)
            checks.check(done.status == 0 and "Mamba-2" in done.out and "demo-mamba2" in done.out, " ".join(words), done.out + done.err)
    checks.finish()


main()
