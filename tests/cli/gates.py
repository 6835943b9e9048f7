# SPDX-License-Identifier: Apache-2.0
"""Gates, baselines and JUnit XML: what passes, what breaks, with which exit status and which lines."""
import math
import os
import xml.etree.ElementTree

import h5py
import numpy

import harness

SWEEP = ["-q", "--all-modes", "--calib_data_num", "2", "--calib_seqlen", "48"]


def expect(checks, folder, what, arguments, status, lines):
    """`lines`: a part of each line of stderr, in order."""
    result = harness.run(["compare", "-q"] + arguments, 1, folder)
    said = result.lines()
    good = result.status == status and len(said) == len(lines) and all(part in line for part, line in zip(lines, said))
    checks.check(good, what, "status %s, wanted %s\n%s" % (result.status, status, result.err))


def check_gates(checks, folder):
    expect(checks, folder, "gates that hold", ["--gate", "mode=2-4 layer=last correlation>=0.5 mse<1",
                                               "--gate", "mse<=1; mode=2-1,2-3 layer=0-23 sqnr_db>1"], 0, [])
    expect(checks, folder, "one line per broken gate",
           ["--gate", "mode=2-4 layer=last correlation>=0.99999999 mse<1e-9", "--gate", "mse<1", "--gate", "mae<1e-9"], 1,
           ["mode 2-4, layer 23, mixer_output: correlation is 0.", "gate broken: mae<1e-9: mode fp16", "2 of 3 checks"])
    for what, gate, part in [("unknown metric", "mse2<1", "unknown metric 'mse2'"),
                             ("unknown mode", "mode=9 mse<1", "unknown mode '9'"),
                             ("a layer that is not there", "layer=7 mse<1", "nothing in the comparison"),
                             ("no layer", "layer=x mse<1", "layer=x"), ("no number", "mse<x", "expected a number"),
                             ("no limit", "mode=2-1", "has no limit"), ("empty", " ", "no gate in it")]:
        expect(checks, folder, what, ["--gate", gate], 2, [part])
    # An error of usage shows before anything is swept.
    result = harness.run(["-q", "--output_dir", "never", "--gate", "mode=2-1 nothing<1"], 1, folder)
    checks.check(result.status == 2 and not os.path.exists(os.path.join(folder, "never")), "run: unknown metric", result.err)
    expect(checks, folder, "equal outputs: NaN only where nothing can differ", ["--gate", "mode=fp16 mse<1 psnr_db>20"], 0, [])

    with open(os.path.join(folder, "gates.txt"), "w") as f:
        f.write("# limits of the release\nmode=2-4 mse<1   # wide; mse<0\n\nmode=2-4 layer=first mse<1e-12\n")
    expect(checks, folder, "a gate file", ["--gate-file", "gates.txt"], 1, ["mode=2-4 layer=first mse<1e-12", "1 of 2"])
    with open(os.path.join(folder, "gates.txt"), "a") as f:
        f.write("mode=2-4 wrong<1\n")
    expect(checks, folder, "its line is named", ["--gate-file", "gates.txt"], 2, ["gates.txt: gate in line 5"])
    expect(checks, folder, "a missing gate file", ["--gate-file", "none.txt"], 3, ["none.txt"])
    harness.write_json(os.path.join(folder, "job.json"), {"gate": "mse<1; mse<1e-30"})
    expect(checks, folder, "gates of a job file", ["--job", "job.json"], 1, ["mse<1e-30", "1 of 2"])


def check_ranks(checks, folder):
    result = harness.run_each_status(["compare", "-q", "--gate", "mse<1e-30"], 3, folder)
    checks.check(result.status == 1 and len(result.lines()) == 2, "every rank ends with 1, one says why",
                 "%s\n%s" % (result.status, result.err))
    result = harness.run(["-q", "--modes", "fp32,2-1", "--calib_data_num", "1", "--calib_seqlen", "8", "--output_dir", "short",
                          "--comparison-dir", "short", "--gate", "mode=2-1 mse<1e-30"], 2, folder)
    checks.check(result.status == 1 and os.path.exists(os.path.join(folder, "short", "summary.json")),
                 "run: a broken gate, and the reports", result.err)


def check_junit(checks, folder):
    harness.run(["compare", "-q", "--gate", "mse<1", "--gate", 'mode=2-4 mse<1e-30', "--junit", "gates.xml"], 1, folder)
    suite = xml.etree.ElementTree.parse(os.path.join(folder, "gates.xml")).getroot()
    cases = suite.findall("testcase")
    checks.check((suite.get("tests"), suite.get("failures")) == ("2", "1") and len(cases) == 2, "JUnit: the counts")
    checks.check(cases[0].get("name") == "mse<1" and cases[0].find("failure") is None, "JUnit: the good gate")
    checks.check("mode 2-4, layer 0" in cases[1].find("failure").get("message"), "JUnit: the broken gate")
    expect(checks, folder, "JUnit of nothing", ["--junit", "x.xml"], 2, ["nothing to report"])


def check_baseline(checks, folder):
    for name in ["summary.json", "mode_2-4_vs_fp32.json"]:
        old = harness.report(folder, name)
        summary = name == "summary.json"
        layer = next(m for m in old["modes"] if m["mode"] == "2-4")["last_layer"] if summary else old["layers"]["layer_23"]
        path = os.path.join(folder, "old.json")
        harness.write_json(path, old)
        expect(checks, folder, name + ": equal", ["--baseline", "old.json"], 0, [])
        mse = layer["mse"]
        layer["mse"] = mse * (1 + 1e-12)
        harness.write_json(path, old)
        expect(checks, folder, name + ": now better", ["--baseline", "old.json"], 0, [])
        layer["mse"] = mse * (1 - 1e-12)
        harness.write_json(path, old)
        expect(checks, folder, name + ": now worse", ["--baseline", "old.json"], 1,
               ["baseline broken: mode 2-4, calib_data_num 2, layer 23, mixer_output: worse: mse is", "1 of "])
        layer["mse"], layer["correlation"] = mse, 1
        harness.write_json(path, old)
        expect(checks, folder, name + ": correlation worse", ["--baseline", "old.json"], 1, ["correlation is 0.", "1 of "])
        old["reference_mode"] = "fp16"
        harness.write_json(path, old)
        expect(checks, folder, name + ": another reference", ["--baseline", "old.json"], 3, ["compares with 'fp16'"])
    harness.write_json(path, {"reference_mode": "fp32", "modes": []})
    expect(checks, folder, "nothing in common", ["--baseline", "old.json"], 3, ["in common"])
    harness.write_json(path, {})
    expect(checks, folder, "no comparison", ["--baseline", "old.json"], 3, ["no 'reference_mode'"])
    expect(checks, folder, "no file", ["--baseline", "none.json"], 3, ["none.json"])


def numpy_metrics(folder, mode):
    """Of the last layer, from the result file."""
    with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5")) as f:
        kept = numpy.arange(f["samples/token_ids"].shape[1]) < f["samples/length"][:][:, None]
        group = "float" if mode.startswith("fp") else "2"
        a, b = (f["outputs/%s/%s/layer_23/mixer_output" % name][:][kept].ravel() for name in
                [("float", "fp32"), (group, mode)])
    places = [numpy.where(v.view(numpy.int32) < 0, -(v.view(numpy.int32).astype(numpy.int64) & 0x7fffffff),
                          v.view(numpy.int32).astype(numpy.int64)) for v in (a, b)]
    a, b = a.astype(numpy.float64), b.astype(numpy.float64)
    mse = ((b - a) ** 2).mean()
    metrics = {"sqnr_db": 10 * math.log10((a ** 2).mean() / mse), "cosine_similarity": a @ b / math.sqrt((a @ a) * (b @ b)),
               "psnr_db": 10 * math.log10((a.max() - a.min()) ** 2 / mse)}
    if group == "float":
        metrics["max_ulp"] = float(abs(places[1] - places[0]).max())
    return metrics


def check_metrics(checks, folder):
    for mode in ["fp16", "0", "2-4"]:
        layer = harness.report(folder, "mode_%s_vs_fp32.json" % mode)["layers"]["layer_23"]
        want = numpy_metrics(folder, mode)
        for name, value in want.items():
            checks.check(name in layer and abs(layer[name] / value - 1) < 1e-9, "%s: %s as NumPy has it" % (mode, name),
                         "%s, NumPy %.17g" % (layer.get(name), value))
        checks.check(("max_ulp" in layer) == (mode == "fp16"), mode + ": max_ulp belongs to float modes")
    expect(checks, folder, "max_ulp has no value for a quantized mode", ["--gate", "mode=2-4 max_ulp<=1e30"], 1,
           ["max_ulp is nan", "1 of 1"])


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        result = harness.run(SWEEP, 1, folder)
        checks.check(result.status == 0, "the sweep runs", result.err)
        check_gates(checks, folder)
        check_ranks(checks, folder)
        check_junit(checks, folder)
        check_baseline(checks, folder)
        check_metrics(checks, folder)
    checks.finish()


main()
