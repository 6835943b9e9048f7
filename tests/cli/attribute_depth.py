# SPDX-License-Identifier: Apache-2.0
"""`ssmsweep attribute --depth`: values are those of the file's sums, layer 0 has its own error alone, a layer that is planted to be
bad is the one, what is said follows from the numbers, and any ranks give the same bytes."""
import math
import os
import re

import h5py
import jsonschema
import numpy as np

import harness

SHORT = ["--calib_data_num", "6", "--calib_seqlen", "48"] + harness.FEW
SCHEMA = os.path.join(harness.SOURCE, "docs", "schema", "depth.schema.json")
BAD = 9    # its weights have 4 bits, those of the others are float


def depth(folder, *arguments, ranks=1, name="p"):
    line = ["attribute", "--depth", "--output_dir", name, "--comparison-dir", name + "-c"] + SHORT + list(arguments)
    return harness.run(line, ranks, folder)


def check_numbers(checks, folder):
    harness.write_json(os.path.join(folder, "planted.json"), {"name": "planted", "base": "fp32", "set": {"gate:input": "int8"}, "layers": [
        {"layers": str(BAD), "set": {"weight:in_proj": "int4-g32", "weight:out_proj": "int4-g32"}}]})
    result = depth(folder, "--recipes", "planted.json", "--mode", "planted")
    report = harness.read_json(os.path.join(folder, "p-c", "depth.json"))
    wrong = [e.message for e in jsonschema.Draft202012Validator(harness.read_json(SCHEMA)).iter_errors(report)]
    checks.check(result.status == 0 and not wrong, "depth.json is valid by its schema", (result.err, wrong[:3]))
    layers = report["layers"]
    checks.check(len(layers) == 24 and report["metric"] == "relative_mse", "each layer is there", len(layers))
    first = layers[0]
    checks.check(first["in_model"] == first["by_itself"] and first["quotient"]["interval"] == "equal", "layer 0 has its own error alone", first)
    own = [l["by_itself"]["value"] for l in layers]
    checks.check(report["largest_own_error"] == int(np.argmax(own)) == BAD, "the planted layer has the largest error of its own", own)
    checks.check(own[BAD] > 10 * sorted(own)[-2], "by far", own)
    for l in layers:
        checks.check(math.isclose(l["quotient"]["value"], l["in_model"]["value"] / l["by_itself"]["value"], rel_tol=1e-9), "quotient of layer %d" % l["layer"], l)
    tests, least = sorted((l["quotient"]["p"], l["layer"]) for l in layers if l["quotient"]["p"] is not None), 0
    for k, (p, l) in enumerate(tests):
        least = max(least, min(1, p * (len(tests) - k)))
        checks.check(math.isclose(layers[l]["p_adjusted"], least, rel_tol=1e-12) and
                     layers[l]["surely_larger"] == (least <= 1 - 0.95 and layers[l]["quotient"]["value"] > 1), "Holm: layer %d" % l, layers[l])
    sure = [l["layer"] for l in layers if l["surely_larger"]]
    checks.check(report["amplification_begins"] == (sure[0] if sure else None), "amplification begins", sure)
    small = [l["layer"] for l in layers if l["quotient"]["value"] < 2]
    checks.check(report["mostly_inherited_from"] == (max(small) + 1 if max(small) < 23 else None), "mostly inherited", small)
    checks.check(report["mostly_inherited_from"] is not None and report["mostly_inherited_from"] > BAD, "behind the bad layer errors are inherited", small)
    checks.check("largest error of its own has layer %d." % BAD in result.out and max(map(len, result.out.splitlines())) <= 100, "the table", result.out)
    return report


def squares(rows):
    """Sum of the squares of the errors of each layer: the file has them around the mean error of each sample."""
    mean = (rows["mode_sum_hi"] - rows["ref_sum_hi"]) / rows["count"]
    return (rows["diff_squares_hi"] + rows["count"] * mean ** 2).sum(axis=0)


def check_isolated(checks, folder, report):
    """In the model and by itself, by the sums of the file."""
    with h5py.File(os.path.join(folder, "p", "depth-01.h5")) as f:
        whole, own = (f["metrics/6/planted/" + name][:, :, -1] for name in ("moments", "isolated"))
    power = whole["ref_squares_hi"].sum(axis=0)    # around the means as well, which are next to nothing
    for l in report["layers"]:
        at = l["layer"]
        checks.check(math.isclose(l["quotient"]["value"], squares(whole)[at] / squares(own)[at], rel_tol=1e-9), "quotient of layer %d, from the file's sums" % at, l)
        checks.check(math.isclose(l["by_itself"]["value"], squares(own)[at] / power[at], rel_tol=0.02), "its own error", l)


def check_rest(checks, folder):
    before = harness.read_bytes(os.path.join(folder, "p-c", "depth.json"))
    result = depth(folder, "--recipes", "planted.json", "--mode", "planted", ranks=3, name="q")
    checks.check(result.status == 0 and harness.read_bytes(os.path.join(folder, "q-c", "depth.json")) == before, "the same bytes at -n 3", result.err)
    result = depth(folder, "--resume", "--recipes", "planted.json", "--mode", "planted", ranks=2)
    checks.check(result.status == 0 and harness.read_bytes(os.path.join(folder, "p-c", "depth.json")) == before, "--resume", result.err)
    result = depth(folder, "--dry-run", "--mode", "2-1", name="never")
    checks.check(result.status == 0 and re.search(r"^depth: ", result.out, re.M) and not os.path.exists(os.path.join(folder, "never")), "--dry-run", result.err)
    for arguments, status, part in ((["--mode", "9"], 2, "--mode: expected the name of one mode"), ([], 2, "say which mode"),
                                    (["--mode", "2-1", "--bisect", "--limit", "1"], 2, "--bisect contradicts --depth"),
                                    (["--mode", "2-1", "--limit", "1"], 2, "--bisect and --limit go together")):
        result = depth(folder, *arguments, name="never")
        checks.check(result.status == status and len(result.lines()) == 1 and part in result.err, part, (result.status, result.err))


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        report = check_numbers(checks, folder)
        check_isolated(checks, folder, report)
        check_rest(checks, folder)
    checks.finish()


main()
