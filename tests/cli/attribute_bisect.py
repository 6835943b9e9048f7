# SPDX-License-Identifier: Apache-2.0
"""`ssmsweep attribute --bisect`: a planted layer is found in few sweeps, two that need mending together are both named, runs are
those of their recipes, any ranks and a stopped run give the same bytes, and what makes no sense is refused."""
import math
import os
import random
import re

import h5py
import jsonschema
import numpy as np

import harness

SHORT = ["--calib_data_num", "3", "--calib_seqlen", "24"] + harness.FEW
SCHEMA = os.path.join(harness.SOURCE, "docs", "schema", "bisect.schema.json")
FAULT = {"weight:in_proj": "int4-g32", "weight:out_proj": "int4-g32", "weight:x_proj": "int4-g32"}
LAYERS = 24


def bisect(folder, *arguments, ranks=1, name="b"):
    line = ["attribute", "--bisect", "--output_dir", name, "--comparison-dir", name + "-c"] + SHORT + list(arguments)
    return harness.run(line, ranks, folder)


def read(folder, name="b"):
    return harness.read_json(os.path.join(folder, name + "-c", "bisect.json"))


def plant(folder, faults):
    """A float model but for 4-bit weights in these layers."""
    path = os.path.join(folder, "planted-%s.json" % "-".join(map(str, faults)))
    harness.write_json(path, {"name": "planted", "base": "fp32", "layers": [{"layers": str(l), "set": FAULT} for l in faults] +
                              [{"layers": "0-%d" % (LAYERS - 1), "set": {"gate:input": "int8"}}]})
    return ["--recipes", path, "--mode", "planted", "--by", "layer"]


def layers_of(pieces):
    return [p["layer"] for p in pieces]


def value_of(folder, name, mended):
    """What the report says of the mode with these layers mended."""
    return next(s["result"]["value"] for s in read(folder, name)["steps"] if layers_of(s["mended"]) == mended)


def check_one(checks, folder):
    """A limit in the middle between one fault and none."""
    draw = random.Random(7)
    bound = 2 * math.log2(LAYERS) + 2
    for layer in draw.sample(range(LAYERS), 8 if harness.LONG else 2):
        name = "one-%d" % layer
        options = plant(folder, [layer])
        limit = "1e-3"
        result = bisect(folder, *options, "--limit", limit, name=name)
        report = read(folder, name)
        errors = [e.message for e in jsonschema.Draft202012Validator(harness.read_json(SCHEMA)).iter_errors(report)]
        checks.check(result.status == 0 and not errors, "bisect.json is valid by its schema", (result.err, errors[:3]))
        checks.check(value_of(folder, name, []) > float(limit) > value_of(folder, name, list(range(LAYERS))), "the limit is between", report["steps"][:2])
        checks.check(report["answer"] == "one" and layers_of(report["mend"]) == [layer], "layer %d is found" % layer, report["mend"])
        checks.check(report["sweeps"] <= bound and len(report["steps"]) == 2 * report["sweeps"], "in few sweeps", report["sweeps"])
        checks.check("Enough alone: layer %d." % layer in result.out and max(map(len, result.out.splitlines())) <= 100, "the table", result.out)
        checks.check(all((s["result"]["value"] <= float(limit)) == s["enough"] for s in report["steps"]), "what is enough is at the limit", report["steps"])
    return layer, name


def check_together(checks, folder):
    faults = [5, 17]
    options = plant(folder, faults)
    result = bisect(folder, *options, "--limit", "1e-3", name="two")
    report = read(folder, "two")
    checks.check(result.status == 0 and report["answer"] == "together" and layers_of(report["mend"]) == faults, "two faults, none alone", report["mend"])
    checks.check("None alone" in result.out and "layer 5 + layer 17" in result.out, "it says so", result.out)
    alone = {tuple(layers_of(s["mended"])): s["enough"] for s in report["steps"]}
    checks.check(not alone[(5,)] and not alone[(17,)] and alone[(5, 17)], "each was tried alone, and both", alone)
    return options


def check_ends(checks, folder, options):
    result = bisect(folder, *options, "--limit", "10", name="easy")
    checks.check(result.status == 0 and read(folder, "easy")["answer"] == "nothing" and "Nothing to mend" in result.out, "a mode that is at the limit", result.out)
    result = bisect(folder, *options, "--limit", "1e-3", "--layers", "0-3", name="hard")
    report = read(folder, "hard")
    checks.check(result.status == 0 and report["answer"] == "unreachable" and report["pieces"] == 4 and report["mend"] == [] and report["sweeps"] == 1,
                 "a limit that these pieces cannot reach", result.out)


def check_direct(checks, folder, layer, name):
    """The run that answers is that of a recipe that says the same."""
    step = next(s for s in read(folder, name)["steps"] if layers_of(s["mended"]) == [layer])
    harness.write_json(os.path.join(folder, "mended.json"), {"recipes": [
        harness.read_json(os.path.join(folder, "planted-%d.json" % layer)),
        {"name": "mended", "base": "planted", "layers": [{"layers": str(layer), "base": "fp32"}]}]})
    result = harness.run(["-q", "--no-html", "--store", "none", "--recipes", "mended.json", "--modes", "fp32,mended", "--output_dir", "d",
                          "--comparison-dir", "d-c"] + SHORT, 1, folder)
    sums = []
    for path, mode in ((os.path.join(name, "bisect-%02d.h5" % step["sweep"]), step["mode"]), (os.path.join("d", "sweep.h5"), "mended")):
        with h5py.File(os.path.join(folder, path)) as f:
            sums.append(f["metrics/3/%s/end_of_model" % mode][:])
    checks.check(result.status == 0 and np.array_equal(*sums), "a run is that of its recipe, bit for bit", result.err)
    checks.check(math.isclose(sums[0]["kl"].sum() / sums[0]["tokens"].sum(), step["result"]["value"], rel_tol=1e-12), "and its value", step)


def check_resume(checks, folder, options):
    """Stopped in the middle and gone on with by other ranks: the same bytes."""
    report = harness.read_bytes(os.path.join(folder, "two-c", "bisect.json"))
    files = sorted(n for n in os.listdir(os.path.join(folder, "two")) if n.endswith(".h5"))
    for n in files[len(files) // 2:]:
        os.remove(os.path.join(folder, "two", n))
    with h5py.File(os.path.join(folder, "two", files[0]), "r+") as f:    # as a run that was stopped leaves it
        for mode in f["items/3"]:
            f["items/3/%s/state" % mode][1:] = 0
    os.remove(os.path.join(folder, "two-c", "bisect.json"))
    result = bisect(folder, *options, "--limit", "1e-3", name="two")
    checks.check(result.status == 3 and "--resume" in result.err, "what is there is not overwritten", result.err)
    result = bisect(folder, "--resume", *options, "--limit", "1e-3", ranks=2, name="two")
    checks.check(result.status == 0 and harness.read_bytes(os.path.join(folder, "two-c", "bisect.json")) == report, "--resume at -n 2: the same bytes", result.err)
    result = bisect(folder, "--overwrite", *options, "--limit", "10", name="two")
    left = [n for n in os.listdir(os.path.join(folder, "two")) if n.endswith(".h5")]
    checks.check(result.status == 0 and left == ["bisect-01.h5"], "--overwrite takes all result files of before away", (result.err, left))


def check_dry_run(checks, folder, options):
    result = bisect(folder, "--dry-run", *options, "--limit", "1e-3", name="never")
    checks.check(result.status == 0 and re.search(r"^bisect: .* at most 6 sweeps, 12 runs in all", result.out, re.M) and
                 not os.path.exists(os.path.join(folder, "never")), "--dry-run", result.out[-400:] + result.err)


def check_refused(checks, folder):
    for arguments, status, part in (
            (["--mode", "2-1"], 2, "--bisect and --limit go together"),
            (["--limit", "1"], 2, "say which mode"),
            (["--mode", "2-1", "--limit", "-1"], 2, "--limit"),
            (["--mode", "9", "--limit", "1"], 2, "--mode: expected the name of one mode, got '9'"),
            (["--mode", "fp32", "--limit", "1"], 2, "is a float mode"),
            (["--mode", "2-1", "--toward", "2-1", "--limit", "1"], 2, "nothing to take apart"),
            (["--mode", "2-1", "--limit", "1", "--units", "scan:v"], 2, "--units: 'scan:v': the model has no such unit"),
            (["--mode", "2-1", "--limit", "1", "--metric", "psnr_db"], 2, "--metric: expected an error that is 0"),
            (["--mode", "2-1", "--limit", "1", "--model", "absent"], 3, "absent")):
        result = harness.run(["attribute", "--bisect", "--output_dir", "never"] + arguments, 1, folder)
        checks.check(result.status == status and len(result.lines()) == 1 and part in result.err and
                     not os.path.exists(os.path.join(folder, "never")), "%s: %s" % (arguments, part), "status %s\n%s" % (result.status, result.err))


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        check_refused(checks, folder)
        layer, name = check_one(checks, folder)
        check_direct(checks, folder, layer, name)
        options = check_together(checks, folder)
        check_ends(checks, folder, options)
        check_dry_run(checks, folder, options)
        check_resume(checks, folder, options)
    checks.finish()


main()
