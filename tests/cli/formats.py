# SPDX-License-Identifier: Apache-2.0
"""What a comparison looks like: tables, colours, JSON, CSV, Markdown, and the samples one by one."""
import csv
import importlib.util
import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys

import h5py
import numpy

import harness

SWEEP = ["-q", "--modes", "fp32,fp16,2-1,2-4", "--calib-data", "ids.npy", "--calib_data_num", "6", "--calib_seqlen", "48"]
LENGTHS = [48, 7, 48, 1, 30, 48]
BLOCKS = ["Reference statistics", "Mode statistics", "Difference (mode - reference)", "Error metrics", "Relative metrics",
          "Percentiles of |diff|"]


def show(folder, arguments, environment=None):
    return harness.run(["compare"] + arguments, 1, folder, environment).out


def on_terminal(folder, arguments, **environment):
    """What the program writes to a terminal."""
    ours, theirs = pty.openpty()
    env = harness.environment({"TERM": "xterm"})
    env.pop("NO_COLOR", None)
    env.update(environment)
    process = subprocess.Popen([harness.PROGRAM, "compare"] + arguments, cwd=folder, env=env, stdout=theirs,
                               stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:     # what Linux says when the other end is closed
            part = b""
        if not part:
            break
        text += part
    process.wait()
    os.close(ours)
    return text.decode()


def check_tables(checks, folder):
    text = show(folder, ["2-4"])
    for layer in ["0", "23"]:
        part = re.search(r"Mode 2-4 against fp32, layer %s, mixer_output.*?(?=\nMode|\Z)" % layer, text, re.S)
        titles = re.findall(r"^  (\S.*)$", part.group(0), re.M)
        checks.check(titles == BLOCKS, "layer %s: the six blocks" % layer, titles)
        want = harness.report(folder, "mode_2-4_vs_fp32.json")["layers"]["layer_" + layer]
        got = [float(line.split()[-1]) for line in re.findall(r"^    (?:mean|std|min|max) .*$", part.group(0), re.M)]
        names = ["fp_mean", "fp_std", "fp_min", "fp_max", "mode_mean", "mode_std", "mode_min", "mode_max", "diff_mean",
                 "diff_std"]
        close = all(abs(g / want[n] - 1) < 1e-6 for g, n in zip(got, names))
        checks.check(close and len(got) >= len(names), "layer %s: their numbers" % layer, got)
    average = re.search(r"^  avg +(\S+) +(\S+)", text, re.M)
    summary = harness.report(folder, "mode_2-4_vs_fp32.json")["summary"]
    checks.check(average and abs(float(average.group(1)) / summary["avg_mse"] - 1) < 1e-3 and
                 abs(float(average.group(2)) - summary["avg_correlation"]) < 2e-6, "the averages", average)
    text = show(folder, [])
    checks.check("Error metrics" not in text and "All modes against fp32" in text, "all modes: without blocks")
    checks.check("Error metrics" in show(folder, ["-v"]), "all modes, --verbose: with blocks")


def check_colors(checks, folder):
    color = "\033["
    checks.check(color not in show(folder, ["2-4"]), "no colour in a pipe")
    launched = harness.run(["compare", "2-4"], 2, folder).out
    checks.check(launched and color not in launched, "no colour below mpirun, whose terminal is none", launched)
    always = show(folder, ["2-4", "--color", "always"])
    checks.check(color in always, "--color always")
    checks.check(re.sub("\033\\[[0-9]*m", "", always) == show(folder, ["2-4"]), "colours change nothing else")
    checks.check(color in on_terminal(folder, ["2-4"]), "colour on a terminal")
    checks.check(color not in on_terminal(folder, ["2-4"], NO_COLOR="1"), "NO_COLOR")
    checks.check(color not in on_terminal(folder, ["2-4", "--color", "never"]), "--color never")
    checks.check(color not in on_terminal(folder, ["2-4"], TERM="dumb"), "a dumb terminal")


def check_formats(checks, folder):
    document = json.loads(show(folder, ["--format", "json"]))
    modes = [c["compared_mode"] for c in document["comparisons"]]
    checks.check(document["reference_mode"] == "fp32" and modes == ["fp16", "2-1", "2-4"], "JSON: the modes", modes)
    for comparison in document["comparisons"]:
        want = harness.report(folder, "mode_%s_vs_fp32.json" % comparison["compared_mode"])
        checks.check(comparison["layers"] == want["layers"], "JSON: %s as in its file" % comparison["compared_mode"])

    rows = list(csv.DictReader(io.StringIO(show(folder, ["--format", "csv"]))))
    checks.check(len(rows) == 6, "CSV: a row for each mode and layer", rows)
    for row in rows:
        want = harness.report(folder, "mode_%s_vs_fp32.json" % row["mode"])["layers"]["layer_" + row["layer"]]
        wrong = [k for k, v in row.items() if k in want and isinstance(want[k], float) and float(v) != want[k]]
        checks.check(not wrong and "mse" in row and "sqnr_db" in row, "CSV: %s layer %s" % (row["mode"], row["layer"]), wrong)
        checks.check((row["max_ulp"] == "") == (row["mode"] != "fp16"), "CSV: max_ulp", row["max_ulp"])

    text = show(folder, ["--format", "markdown"])
    tables = [re.findall(r"^\|.*\|$", part, re.M) for part in text.split("## ")[1:]]
    same = all(len({line.count("|") for line in table}) == 1 for table in tables)
    checks.check([len(t) for t in tables] == [4, 4, 4, 5] and same, "Markdown: whole tables", text)
    checks.check(show(folder, ["-q"]) == "" and show(folder, ["-q", "--format", "csv"]) != "", "--quiet and formats")
    result = harness.run(["compare", "--format", "xml"], 1, folder)
    checks.check(result.status == 2 and "expected one of table|json|csv|markdown" in result.err, "an unknown format", result.err)


def check_samples(checks, folder):
    show(folder, ["-q", "--per-sample"])
    entries = harness.report(folder, "per_sample.json")["entries"]
    with open(os.path.join(folder, "comparisons", "per_sample.csv")) as f:
        rows = list(csv.DictReader(f))
    checks.check(len(entries) == 6 and len(rows) == sum(len(e["samples"]) for e in entries), "samples: all there")
    with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5")) as f:
        lengths = f["samples/length"][:]
        at = 0
        for e in entries:
            group = "6" if e["calib_data_num"] else "float"
            place = "layer_%d/%s" % (e["layer"], e["component"])
            a, b = f["outputs/float/fp32/" + place][:].astype(float), f["outputs/%s/%s/%s" % (group, e["mode"], place)][:]
            want = [((b[s, :n] - a[s, :n]) ** 2).mean() for s, n in enumerate(lengths)]
            got = [s["mse"] for s in e["samples"]]
            what = "samples: %s layer %d: " % (e["mode"], e["layer"])
            checks.check(got == sorted(want, reverse=True) or numpy.allclose(got, sorted(want, reverse=True), rtol=1e-9),
                         what + "the worst first", got)
            checks.check([s["sample"] for s in e["samples"]] == list(numpy.argsort(want)[::-1]), what + "their numbers")
            part = rows[at:at + len(got)]
            checks.check([float(r["mse"]) for r in part] == got and all(r["mode"] == e["mode"] for r in part), what + "CSV")
            at += len(got)


def check_recipes(checks, folder):
    """What docs/compare.md says of reading sweep.csv: run as it stands there, with pandas where it is at hand: its names
    are those of the file, and what it shall take as text needs it."""
    with open(os.path.join(harness.SOURCE, "docs", "compare.md"), encoding="utf-8") as f:
        pandas, plain = re.findall(r"```python\n(.*?)```", f.read(), re.S)
    out = subprocess.run([sys.executable, "-c", plain], cwd=folder, stdout=subprocess.PIPE, check=False, text=True).stdout
    want = harness.report(folder, "mode_2-1_vs_fp32.json")["layers"]["layer_23"]["mse"]
    checks.check(out.split() == ["6", repr(want)], "sweep.csv by the csv module", (out, want))
    if importlib.util.find_spec("pandas"):
        out = subprocess.run([sys.executable, "-c", pandas], cwd=folder, stdout=subprocess.PIPE, check=False, text=True).stdout
        want = harness.report(folder, "mode_2-4_vs_fp32.json")["layers"]["layer_23"]["mse"]
        checks.check(re.search(r" 6(\.0)? +%s" % re.escape("%.6f" % want), out), "sweep.csv by pandas", (out, want))
    else:
        harness.skip_part("sweep.csv by pandas: python3-pandas is not installed (jobs/setup.sh package)")
    with open(os.path.join(folder, "comparisons", "sweep.csv"), newline="", encoding="utf-8") as f:
        reader = csv.DictReader(f)
        rows, columns = list(reader), set(reader.fieldnames)
    texts = re.search(r"dtype=(\{.*?\})", pandas)
    names = set(re.findall(r"t\.(\w+) ==|t\[\"(\w+)\"\]", pandas)) | {("calib_data_num",), ("value",), ("low",), ("high",)}
    checks.check({name for pair in names for name in pair if name} <= columns, "sweep.csv: pandas finds its columns", names)
    typed = {key for key in columns if any(re.fullmatch(r"\d+|\d+-\d+", row[key]) for row in rows)
             and any(not re.fullmatch(r"[\d.e+-]*|-?inf", row[key]) for row in rows)}    # of bounds that are none
    checks.check(set(json.loads(texts.group(1).replace(": str", ": 1"))) == typed, "sweep.csv: names that look like numbers", typed)


def check_choice(checks, folder):
    """compare --layers, --components: from the metrics, the numbers that a sweep has which kept those outputs."""
    work = os.path.join(folder, "choice")
    os.mkdir(work)
    short = ["-q", "--modes", "fp32,fp16,2-4", "--calib_data_num", "2", "--calib_seqlen", "9", "--no-html"]
    wide = ["--layers", "all", "--components", "ssm_output,mixer_output", "--output_dir", "wide", "--comparison-dir", "wide"]
    made = [harness.run(short + more, 1, work) for more in ([], wide)]
    checks.check([m.status for m in made] == [0, 0], "choice: sweeps", made[-1].err)
    with open(os.path.join(work, "wide", "sweep.csv"), newline="", encoding="utf-8") as f:
        want = {tuple(row.values()) for row in csv.DictReader(f)}
    checks.check({row[4] for row in want} == {"ssm_output", "mixer_output", ""}, "choice: sweep.csv has the components that a sweep was asked for")

    def run(*arguments, status=0, err=None):
        result = harness.run(["compare", "--no-html"] + list(arguments), 1, work)
        checks.check(result.status == status and (err is None or (err in result.err and len(result.lines()) == 1)), "compare %s" % (arguments,),
                     "%s %s" % (result.status, result.err))
        return result

    stats = harness.read_bytes(os.path.join(work, "layer_outputs", "mode_2-4_stats.json"))
    told = run("--layers", "3,5-6", "--components", "ssm_output,mixer_output", "--gate", "layer=5 component=ssm_output mse<1e6 mse>0")
    table = re.search(r"^MSE of each layer against fp32: ssm_output.*?\n(.*?)^  avg", told.out, re.M | re.S).group(1)
    checks.check(re.findall(r"^ +(\d+) ", table, re.M) == ["3", "5", "6"] and "fp16" in table and "Error metrics" not in told.out and
                 "Mode 2-4 against" not in told.out, "choice: layers by modes", told.out)
    checks.check("by their metrics" in told.err, "choice: where the numbers come from", told.err)
    with open(os.path.join(work, "comparisons", "sweep.csv"), newline="", encoding="utf-8") as f:
        got = {tuple(row.values()) for row in csv.DictReader(f)}
    alone = harness.read_bytes(os.path.join(work, "comparisons", "sweep.csv"))
    harness.run(["compare", "-q", "--no-html", "--layers", "3,5-6", "--components", "ssm_output,mixer_output"], 2, work)
    checks.check(alone == harness.read_bytes(os.path.join(work, "comparisons", "sweep.csv")), "choice: the same under mpirun")
    chosen = {row for row in want if row[3] in ("3", "5", "6", "")}
    checks.check(got == chosen and len(got) > 200, "choice: sweep.csv as of the sweep that kept them", list(got ^ chosen)[:4])
    ours, theirs = (json.loads(harness.read_bytes(os.path.join(work, where, "mode_2-4_vs_fp32.json")))["layers"] for where in ("comparisons", "wide"))
    same = [ours[layer]["components"]["ssm_output"][key] == theirs[layer]["components"]["ssm_output"][key]
            for layer in ours for key in ("mse", "correlation", "elements", "grades")]
    checks.check(sorted(ours) == ["layer_3", "layer_5", "layer_6"] and all(same) and "abs_diff_p99" not in ours["layer_3"],
                 "choice: JSON, and no percentiles", ours)
    checks.check(stats == harness.read_bytes(os.path.join(work, "layer_outputs", "mode_2-4_stats.json")), "choice: statistics of outputs stay")
    rows = list(csv.DictReader(io.StringIO(run("--layers", "last", "--format", "csv").out)))
    checks.check([(r["mode"], r["layer"], r["component"]) for r in rows] == [("fp16", "23", "mixer_output"), ("2-4", "23", "mixer_output")] and
                 rows[0]["max_ulp"] and rows[1]["abs_diff_p99"], "choice: of what was kept, from the outputs", rows)
    rows = list(csv.DictReader(io.StringIO(run("--components", "ssm_output", "--format", "csv").out)))
    checks.check([r["layer"] for r in rows] == ["0", "23"] * 2, "choice: a component, of the layers that were kept", rows)
    text = run("2-4", "--layers", "4,6", "--format", "markdown").out
    checks.check("| 4 | mixer_output" in text and "| 0 |" not in text and "MSE of each layer" not in text, "choice: Markdown of one mode", text)
    run("-q", "--layers", "5", "--gate", "layer=0 mse<1", status=2, err="nothing in the comparison for layer=0")
    run("-q", "--layers", "5", "--gate", "abs_diff_p99<1", status=2, err="abs_diff_p99 needs layer outputs")
    run("-q", "--layers", "24", status=2, err="--layers: layer '24' does not exist; the model has layers 0 to 23")
    run("-q", "--components", "ssm_x", status=2, err="unknown component 'ssm_x'")
    run("-q", "--layers", "0,3,5-7", "--reference", "fp16", status=3, err="--layers: the result file lacks layers 3,5-7: it has outputs of 0,23 alone")
    run("-q", "--components", "ssm_output", "--reference", "fp16", status=3, err="lacks ssm_output of layer 0")
    # A baseline is judged by what was asked for.
    run("-q", "--layers", "4,6", "2-4", "--save_comparison", "old.json")
    run("2-4", "--layers", "6", "--baseline", "old.json")
    run("-q", "2-4", "--layers", "5", "--baseline", "old.json", status=3, err="no mode, layer and component in common")


def check_stored_job(checks, folder):
    """The job that a result file holds is one that can be run."""
    os.symlink(harness.DEMO, os.path.join(folder, "a_model"))
    first = ["-q", "--modes", "fp32,2-1", "--calib_data_num", "1", "--calib_seqlen", "9", "--no-logits", "--pretrained_dir", ".", "--model",
             "a_model", "--observer", "mse", "--output_dir", "first", "--comparison-dir", "first"]
    again = ["-q", "--job", "stored.json", "--output_dir", "again", "--comparison-dir", "again"]
    results = [harness.run(first, 1, folder)]
    stored = json.loads(harness.run(["info", "--json", "first/sweep.h5"], 1, folder).out)["job"]
    with open(os.path.join(folder, "stored.json"), "w") as f:
        f.write(stored)
    results.append(harness.run(again, 1, folder))
    checks.check([r.status for r in results] == [0, 0], "a stored job runs", results[-1].err)
    if results[-1].status == 0:
        checks.check(harness.read_bytes(os.path.join(folder, "first", "sweep.json")) ==
                     harness.read_bytes(os.path.join(folder, "again", "sweep.json")), "a stored job: the same report")
        job = json.loads(harness.run(["info", "--json", "again/sweep.h5"], 1, folder).out)["job"]
        checks.check(job == stored, "a stored job: the same job", list(set(job.split("\n")) ^ set(stored.split("\n"))))
    harness.write_json(os.path.join(folder, "stored.json"), {"logits": 1})
    result = harness.run(again, 1, folder)
    checks.check(result.status == 2 and "unknown key 'logits'" in result.err, "logits: neither true nor false", result.err)


def check_owner(checks, folder):
    """Reports of one result are not mixed with those of another, and --overwrite removes what it says."""
    work = os.path.join(folder, "owner")
    os.mkdir(work)
    short = ["--calib_data_num", "1", "--calib_seqlen", "9"]

    def run(arguments, status, *parts):
        result = harness.run(arguments, 1, work)
        good = result.status == status and all(part in result.err for part in parts)
        checks.check(good, " ".join(arguments), "status %s, wanted %s with %s\n%s" % (result.status, status, parts, result.err))

    def reports():
        return {name: harness.read_bytes(os.path.join(work, "comparisons", name)) for name in os.listdir(os.path.join(work, "comparisons"))}

    def files():
        return sorted(os.path.join(os.path.relpath(where, work), name) for where, _, names in os.walk(work) for name in names)

    run(["--modes", "fp32,fp16,2-4", "--per-sample"] + short, 0)
    mine = os.path.join(work, "comparisons", "mode_of_mine.txt")
    for path in (mine, os.path.join(work, "comparisons", "mode_notes.json"), os.path.join(work, "layer_outputs", "notes.txt")):
        with open(path, "w") as f:
            f.write("mine\n")
    before, there = reports(), files()
    # Another text, another calibration, fewer modes; each before anything is made.
    others = [(["--modes", "fp32,2-4", "--calib_data_num", "1", "--calib_seqlen", "8"], "ids_sha256"),
              (["--modes", "fp32,2-4", "--observer", "mse"] + short, "observer"),
              (["--modes", "fp32,2-4", "--percentile_alpha", "0.9"] + short, "percentile_alpha"),
              (["--modes", "fp32,2-4"] + short, "a mode that this result lacks")]
    for arguments, part in others:
        run(["-q", "--output_dir", "other"] + arguments, 3, "is a report of another result (" + part, "--comparison-dir", "--overwrite")
        checks.check(reports() == before and files() == there, part + ": nothing was touched", files())
    run(["-q", "--output_dir", "other", "--comparison-dir", "other"] + others[0][0], 0)
    run(["compare", "-q", "--output_dir", "other"], 3, "ids_sha256")
    run(["-q", "--modes", "fp32,fp16,2-4"] + short, 3, "exists already", "--overwrite")
    run(["-q", "--overwrite", "--resume"], 2, "--overwrite contradicts --resume")
    run(["-q", "--overwrite", "--gate", "nothing<1"], 2)
    run(["-q", "--overwrite", "--calib-data", "none.txt"], 3)
    run(["-q", "--overwrite", "--baseline", "comparisons/summary.json"], 2)
    checks.check(reports() == before, "a bad input: nothing was removed")
    # The same result again, and what compare writes of it.
    run(["compare", "-q", "2-4"], 0)
    run(["--overwrite", "--modes", "fp32,2-4", "--calib_data_num", "1", "--calib_seqlen", "8"], 0, "removed layer_outputs/sweep.h5",
        "removed the statistics of 3 modes in layer_outputs", "removed 8 reports in comparisons")
    left = sorted(reports())
    checks.check(left == ["mode_2-4_vs_fp32.json", "mode_notes.json", "mode_of_mine.txt", "report.html", "summary.json", "sweep.csv",
                          "sweep.json"],
                 "--overwrite removed the reports of before, and these alone", left)
    checks.check(os.path.exists(os.path.join(work, "layer_outputs", "notes.txt")) and "layer_outputs/mode_fp16_stats.json" not in files(),
                 "--overwrite beside the result file")
    run(["compare", "--overwrite", "--output_dir", "other"], 0)
    with open(os.path.join(work, "layer_outputs", "sweep.h5"), "w") as f:
        f.write("mine\n")
    run(["-q", "--overwrite"] + short, 3, "result files of ssmsweep alone")
    checks.check(harness.read_bytes(os.path.join(work, "layer_outputs", "sweep.h5")) == b"mine\n", "a file of somebody else stays")


def check_last_lines(checks, folder):
    """Each command ends with where things lie and, where there is more to do, with a command that works."""
    work = os.path.join(folder, "lines")
    os.mkdir(work)

    def last(arguments):
        result = harness.run(arguments, 1, work)
        said = result.lines()
        checks.check(result.status == 0 and said, " ".join(arguments), result.err)
        return said[-1] if said else ""

    told = last(["save", "fp16", "--calib_data_num", "1", "--calib_seqlen", "9", "--output_dir", "it's saved"])
    checks.check(told.startswith("ssmsweep: saved it's saved/sweep.h5; "), "save: where it lies", told)
    command = shlex.split(told.split("with: ssmsweep ")[1])
    checks.check(last(command) == "ssmsweep: result: it's saved/sweep.h5; reports: comparisons", "compare: where it lies", command)
    checks.check(last(command + ["--gate", "mse<1", "--save_comparison", "x.json"]) == "ssmsweep: 1 check passed", "a gate that holds")
    told = last(["export", "--npy", "arrays", "--output_dir", "it's saved"])
    checks.check("exported 4 arrays to arrays" in told, "export: where it lies", told)
    told = last(["import-npy", "arrays", "--output_dir", "back"])
    checks.check("imported into back/sweep.h5; " in told, "import-npy: where it lies", told)
    last(shlex.split(told.split("with: ssmsweep ")[1]))
    text = harness.run(["compare", "--output_dir", "back"], 1, work).out
    checks.check("=: equal" not in text and "Place 4-8" not in text and "Neighbours" not in text and "compared text by text" not in text,
                 "legends of marks that are there", text)


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        ids = numpy.random.default_rng(2).integers(3, 250, (len(LENGTHS), max(LENGTHS)), dtype=numpy.int32)
        for sample, length in enumerate(LENGTHS):
            ids[sample, length:] = -1
        numpy.save(os.path.join(folder, "ids.npy"), ids)
        result = harness.run(SWEEP, 1, folder)
        checks.check(result.status == 0, "the sweep runs", result.err)
        check_tables(checks, folder)
        check_colors(checks, folder)
        check_formats(checks, folder)
        check_samples(checks, folder)
        check_recipes(checks, folder)
        check_stored_job(checks, folder)
        check_choice(checks, folder)
        check_owner(checks, folder)
        check_last_lines(checks, folder)
    checks.finish()


main()
