# SPDX-License-Identifier: Apache-2.0
"""Gates, baselines and JUnit XML: what passes, what breaks, with which exit status and which lines."""
import math
import os
import re
import shutil
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
                             ("one layer of two that is not there", "layer=0,7 mse<1", "nothing in the comparison for layer=7"),
                             ("a component that is not there", "component=mixer_output,ssm_output mse<1", "for component=ssm_output"),
                             ("the reference among the modes", "mode=fp32,2-4 mse<1", "for mode=fp32"),
                             ("scales that are not there", "calib_data_num=3 mse<1", "for calib_data_num=3"),
                             ("no layer", "layer=x mse<1", "layer=x"), ("no number", "mse<x", "expected a number"),
                             ("no limit", "mode=2-1", "has no limit"), ("empty", " ", "no gate in it")]:
        expect(checks, folder, what, ["--gate", gate], 2, [part])
    result = harness.run(["compare", "-q", "2-4", "--gate", "mode=2-1,2-4 mse<1"], 1, folder)
    checks.check(result.status == 2 and "for mode=2-1;" in result.err, "one mode of two that is not compared", result.err)
    # An error of usage shows before anything is swept.
    result = harness.run(["-q", "--modes", "fp32,2-4", "--output_dir", "never", "--gate", "mode=2-1,2-4 mse<1"], 1, folder)
    checks.check(result.status == 2 and "for mode=2-1;" in result.err and not os.path.exists(os.path.join(folder, "never")),
                 "run: one mode of two that is not swept", result.err)
    expect(checks, folder, "a set of modes, a range of layers", ["--gate", "mode=essential,2-4 layer=0-23,last component=all mse<1"], 0, [])
    result = harness.run(["-q", "--output_dir", "never", "--gate", "mode=2-1 nothing<1"], 1, folder)
    checks.check(result.status == 2 and not os.path.exists(os.path.join(folder, "never")), "run: unknown metric", result.err)
    expect(checks, folder, "equal outputs: NaN only where nothing can differ", ["--gate", "mode=fp16 mse<1 psnr_db>20"], 0, [])

    with open(os.path.join(folder, "gates.txt"), "w") as f:
        f.write("# limits of the release\nmode=2-4 mse<1   # wide; mse<0\n\nmode=2-4 layer=first mse<1e-12\n")
    expect(checks, folder, "a gate file", ["--gate-file", "gates.txt"], 1, ["mode=2-4 layer=first mse<1e-12", "1 of 2"])
    with open(os.path.join(folder, "marked.txt"), "wb") as f:
        f.write(b"\xef\xbb\xbf# from Windows\r\nmode=2-4 mse<1\r\nmode=2-4 mse<0\r\n")
    expect(checks, folder, "a byte order mark and CRLF", ["--gate-file", "marked.txt"], 1, ["mode=2-4 mse<0", "1 of 2"])
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


def check_closed_output(checks, folder):
    """Whoever reads standard output may leave, and a disk be full: neither costs a verdict."""
    gates = " compare --gate '%s' --junit closed.xml "
    path = os.path.join(folder, "closed.xml")
    for what, gate, output, status, lines in [
            ("a reader that leaves", "mse<1e-30", "| true", 1, 3), ("a full disk", "mse<1e-30", ">/dev/full", 1, 3),
            ("a reader that leaves, gates that hold", "mse<1", "| true", 0, 2), ("a full disk, gates that hold", "mse<1", ">/dev/full", 4, 3)]:
        # The reader is gone for sure before the first byte: it ends at once, and the program starts later.
        script = "set -o pipefail; { sleep 0.3; %s%s; echo $? >status; } %s" % (harness.PROGRAM, gates % gate, output)
        _, _, err = harness.execute(["bash", "-c", script], folder, harness.QUICK)
        with open(os.path.join(folder, "status")) as f:
            ended = int(f.read())
        said = harness.lines_of(err)
        checks.check(ended == status and len(said) == lines and os.path.exists(path), "gates with " + what, "%s\n%s" % (ended, err))
        os.remove(path)


def check_links(checks, folder):
    """A report that is a link is written through it, whether the file is there already or not."""
    reports, archive = os.path.join(folder, "comparisons"), os.path.join(folder, "archive")
    link, target = os.path.join(reports, "summary.json"), os.path.join(archive, "kept.json")
    os.makedirs(archive)
    os.remove(link)
    os.symlink("../archive/kept.json", link)
    for what in ("to nothing yet", "to a file"):
        expect(checks, folder, "a link " + what, [], 0, [])
        checks.check(os.path.islink(link) and os.path.isfile(target) and not os.path.islink(target) and
                     os.listdir(archive) == ["kept.json"], "a report through a link " + what, os.listdir(archive))
        checks.check(harness.read_json(target)["reference_mode"] == "fp32", "its content")
        with open(target, "w") as f:
            f.write("old\n")
    os.remove(link)
    os.symlink("summary.json", link)
    expect(checks, folder, "a link to itself", [], 4, ["summary.json: cannot create"])
    os.remove(link)
    expect(checks, folder, "no link any more", [], 0, [])


def check_own_files(checks, folder):
    """A file that the command reads is none that it writes."""
    os.makedirs(os.path.join(folder, "links"))
    os.symlink("../comparisons/summary.json", os.path.join(folder, "links", "old.json"))
    os.link(os.path.join(folder, "comparisons", "summary.json"), os.path.join(folder, "hard.json"))
    shutil.copy(os.path.join(folder, "comparisons", "summary.json"), os.path.join(folder, "good.json"))
    with open(os.path.join(folder, "good.txt"), "w") as f:
        f.write("mse<1\n")
    harness.write_json(os.path.join(folder, "good_job.json"), {"gate": "mse<1"})
    with open(os.path.join(folder, "text.txt"), "w") as f:
        f.write("some words\n")
    own, good = "is also a file that ", "good.json"
    before = {name: harness.read_bytes(os.path.join(folder, name)) for name in
              ("comparisons/summary.json", "layer_outputs/sweep.h5", "good.json", "good.txt", "good_job.json", "text.txt")}
    for what, arguments, part in [
            ("the summary", ["compare", "--baseline", "comparisons/summary.json"], own + "--comparison-dir"),
            ("the summary, otherwise written", ["compare", "--baseline", "./links/../comparisons/summary.json"], own + "--comparison-dir"),
            ("a link to the summary", ["compare", "--baseline", "links/old.json"], own + "--comparison-dir"),
            ("a comparison", ["compare", "--baseline", "comparisons/mode_2-4_vs_fp32.json"], own + "--comparison-dir"),
            ("a second name of the summary", ["compare", "--baseline", "hard.json"], own + "--comparison-dir"),
            ("the file of --junit", ["compare", "--baseline", good, "--junit", good], own + "--junit"),
            ("the file of --save_comparison", ["compare", "--gate-file", "good.txt", "--save_comparison", "good.txt"], own + "--save_comparison"),
            ("gates in the file of --junit", ["compare", "--gate-file", "good.txt", "--junit", "./good.txt"], own + "--junit"),
            ("the job", ["compare", "--job", "good_job.json", "--junit", "good_job.json"], own + "--junit"),
            ("a text", ["run", "--calib-data", "text.txt", "--gate", "mse<1", "--junit", "text.txt", "--output_dir", "never"], own + "--junit"),
            ("a text of a folder", ["run", "--calib-data", ".", "--gate", "mse<1", "--junit", "text.txt", "--output_dir", "never"], own + "--junit"),
            ("the result file", ["compare", "--save_comparison", "layer_outputs/sweep.h5"], own + "--save_comparison"),
            ("two reports in one", ["compare", "--gate", "mse<1", "--junit", "x.xml", "--save_comparison", "./x.xml"], own + "--junit"),
            ("a report of that name", ["compare", "--gate", "mse<1", "--junit", "comparisons/sweep.csv"], own + "--comparison-dir"),
            ("statistics", ["compare", "--gate", "mse<1", "--junit", "layer_outputs/mode_0_stats.json"], own + "--output_dir")]:
        result = harness.run(arguments + ["-q"], 1, folder)
        checks.check(result.status == 2 and part in result.err and len(result.lines()) == 1, "one file: " + what,
                     "%s %s" % (result.status, result.err))
    kept = all(harness.read_bytes(os.path.join(folder, name)) == content for name, content in before.items())
    checks.check(kept and not os.path.exists(os.path.join(folder, "never")), "one file: nothing was touched")
    result = harness.run(["-q", "--save_comparison", "none/x.json", "--output_dir", "never"], 1, folder)
    checks.check(result.status == 4 and "its folder is not there" in result.err and not os.path.exists(os.path.join(folder, "none"))
                 and not os.path.exists(os.path.join(folder, "never")), "a file in a folder that is not there", result.err)
    expect(checks, folder, "files of their own", ["2-4", "--baseline", good, "--junit", "fresh/comparisons/g.xml", "--comparison-dir",
                                                  "fresh/comparisons", "--save_comparison", "fresh/comparisons/mode_2-4_vs_fp32.json"], 0, [])
    checks.check(os.path.exists(os.path.join(folder, "fresh/comparisons/g.xml")), "JUnit in a folder that the command makes")


def check_junit(checks, folder):
    harness.run(["compare", "-q", "--gate", "mse<1", "--gate", 'mode=2-4 mse<1e-30', "--junit", "gates.xml"], 1, folder)
    suite = xml.etree.ElementTree.parse(os.path.join(folder, "gates.xml")).getroot()
    cases = suite.findall("testcase")
    checks.check((suite.get("tests"), suite.get("failures")) == ("2", "1") and len(cases) == 2, "JUnit: the counts")
    checks.check(cases[0].get("name") == "mse<1" and cases[0].find("failure") is None, "JUnit: the good gate")
    checks.check("mode 2-4, layer 0" in cases[1].find("failure").get("message"), "JUnit: the broken gate")
    expect(checks, folder, "JUnit of nothing", ["--junit", "x.xml"], 2, ["nothing to report"])


def check_coverage(checks, folder):
    """What only one of baseline and comparison has."""
    path = os.path.join(folder, "old.json")
    for what, change, parts in [
            ("a mode that is gone", lambda old: old["modes"][3].update(mode="2-9"), ["nothing is compared for its mode 2-9", "(and 1 more)"]),
            ("a mode that is new", lambda old: old["modes"].pop(3), ["lacks mode 2-0, calib_data_num 2, layer 0", "(and 1 more)"]),
            ("a layer that is gone", lambda old: old["modes"][3]["last_layer"].update(layer=22), ["for its mode 2-0", "layer 22"]),
            ("other scales", lambda old: [m.update(calib_data_num=4) for m in old["modes"] if m["mode"] == "2-4"], ["calib_data_num 4"])]:
        old = harness.report(folder, "summary.json")
        change(old)
        harness.write_json(path, old)
        result = harness.run(["compare", "-q", "--baseline", "old.json"], 1, folder)
        checks.check(result.status == 2 and all(part in result.err for part in parts) and len(result.lines()) == 1,
                     "baseline: " + what, "%s %s" % (result.status, result.err))
    harness.write_json(path, harness.report(folder, "summary.json"))
    expect(checks, folder, "baseline: modes that nobody asked for", ["2-4", "--baseline", "old.json"], 0, [])
    old = harness.report(folder, "mode_2-4_vs_fp32.json")
    del old["layers"]["layer_0"]
    harness.write_json(path, old)
    expect(checks, folder, "baseline: a layer that is new", ["--baseline", "old.json"], 2, ["lacks mode 2-4, calib_data_num 2, layer 0"])
    for key, part in [("weights_digest", "another model"), ("ids_sha256", "another text")]:
        old = harness.report(folder, "summary.json")
        old["provenance"][key] = "0" * 64
        harness.write_json(path, old)
        expect(checks, folder, "baseline: of " + part, ["--baseline", "old.json"], 3, ["is of " + part])
    old["provenance"] = {}    # of arrays that were imported
    harness.write_json(path, old)
    expect(checks, folder, "baseline: without digests", ["--baseline", "old.json"], 0, [])
    # What can be known is known before anything is swept.
    never = ["-q", "--modes", "fp32,2-4", "--output_dir", "never", "--baseline", "old.json"]
    for what, text, status, part in [("modes that are not swept", None, 2, "has mode 'fp16', which is not swept"), ("no JSON", "{", 3, "old.json: ")]:
        if text:
            with open(path, "w") as f:
                f.write(text)
        result = harness.run(never, 1, folder)
        checks.check(result.status == status and part in result.err and not os.path.exists(os.path.join(folder, "never")),
                     "run: a baseline with " + what, "%s %s" % (result.status, result.err))


def check_digits(checks, folder):
    old = harness.report(folder, "mode_2-4_vs_fp32.json")
    layer = old["layers"]["layer_23"]
    layer["mse"] = numpy.nextafter(layer["mse"], 0)
    harness.write_json(os.path.join(folder, "old.json"), old)
    result = harness.run(["compare", "-q", "--baseline", "old.json"], 1, folder)
    told = re.search(r"mse is (\S+), was (\S+?)(,|$)", result.lines()[0])
    checks.check(told and float(told.group(1)) > float(told.group(2)), "two numbers that differ in the last bit", result.err)


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
        check_closed_output(checks, folder)
        check_links(checks, folder)
        check_own_files(checks, folder)
        check_junit(checks, folder)
        check_baseline(checks, folder)
        check_coverage(checks, folder)
        check_digits(checks, folder)
        check_metrics(checks, folder)
    checks.finish()


main()
