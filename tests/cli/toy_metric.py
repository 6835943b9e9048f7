# SPDX-License-Identifier: Apache-2.0
"""toy_metric.py TOY_PROGRAM: one more metric, made as docs/design.md says ("Adding a metric"), is in every file, gate and
table with its right value; and the files that page lists are those that a metric touches."""
import csv
import glob
import io
import math
import os
import re
import sys

import h5py
import jsonschema
import numpy

import harness

TOY = sys.argv[1]
NAME, SWITCH = "noise_ratio", "SSMSWEEP_TOY_METRIC"
JOB = ["-q", "--modes", "fp32,fp16,0,2-4", "--calib_data_num", "3,8", "--calib_seqlen", "48", "--layers", "0,-1",
       "--bootstrap", "199", "--noise", "2"]
CHECKER = os.path.join("tests", "reference", "check_sweep.py")
SCHEMA = os.path.join("docs", "schema", "sweep.schema.json")
TABLE = os.path.join("docs", "statistics.md")
# The lines that the metric adds to CHECKER.
PYTHON = """
import math, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import check_sweep
check_sweep.PHI["noise_ratio"] = lambda s: 0.5 * np.log(s["dd"] / s["aa"])
check_sweep.VALUES["noise_ratio"] = lambda a, b, d: math.sqrt(np.mean(d * d) / np.mean(a * a))
check_sweep.REACH["noise_ratio"] = math.log(10) / 2
sys.exit(check_sweep.main(sys.argv[1:]))
"""


def source(path):
    with open(os.path.join(harness.SOURCE, path), encoding="utf-8") as f:
        return f.read()


def outputs(folder):
    """{(mode, calib_data_num or None, layer): noise ratio} by NumPy."""
    found = {}
    with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5")) as f:
        lengths = f["samples/length"][...]

        def values(run, layer):
            data = f["outputs/%s/layer_%d/mixer_output" % (run, layer)]
            return numpy.concatenate([data[s, :n].ravel() for s, n in enumerate(lengths)]).astype(numpy.float64)
        for layer in (0, 23):
            reference = values("float/fp32", layer)
            for run in ("float/fp16", "3/0", "3/2-4", "8/0", "8/2-4"):
                cell, mode = run.split("/")
                ratio = math.sqrt(numpy.sum((values(run, layer) - reference) ** 2) / numpy.sum(reference ** 2))
                found[mode, None if cell == "float" else int(cell), layer] = ratio
    return found


def near(got, want):
    return got is not None and abs(float(got) - want) <= 1e-12 * want


def check_values(checks, folder, want):
    """In the JSON of each pair, the summary, sweep.json and sweep.csv, per sample, and in the comparison as CSV."""
    estimates = {(e["mode"], e["calib_data_num"], e["layer"]): e["metrics"][NAME]["value"]
                 for e in harness.report(folder, "sweep.json")["layers"]}
    summary = {(m["mode"], m["calib_data_num"]): m for m in harness.report(folder, "summary.json")["modes"]}
    rows = list(csv.DictReader(io.StringIO(harness.read_bytes(os.path.join(folder, "comparisons", "sweep.csv")).decode())))
    compared = list(csv.DictReader(io.StringIO(harness.run(["compare", "--format", "csv", "--bootstrap", "199"], 1, folder, program=TOY).out)))
    for (mode, cell, layer), ratio in want.items():
        number = str(cell or "")
        pair = harness.report(folder, "mode_%s%s_vs_fp32.json" % (mode, "_n%d" % cell if cell else ""))
        end = summary[mode, cell]["first_layer" if layer == 0 else "last_layer"]
        values = [pair["layers"]["layer_%d" % layer][NAME], estimates[mode, cell, layer], end[NAME]]
        values += [row["value"] for row in rows if (row["mode"], row["calib_data_num"], row["layer"], row["metric"]) ==
                   (mode, number, str(layer), NAME)]
        values += [row[NAME] for row in compared if (row["mode"], row["calib_data_num"], row["layer"]) == (mode, number, str(layer))]
        checks.check(len(values) == 5 and all(near(v, ratio) for v in values), "%s %s, layer %d: the value everywhere" % (mode, cell, layer),
                     "%s, by NumPy %.17g" % (values, ratio))
        mean = (want[mode, cell, 0] + want[mode, cell, 23]) / 2
        checks.check(near(summary[mode, cell]["avg_" + NAME], mean), "%s %s: the average over layers" % (mode, cell))


def check_gates(checks, folder, want):
    largest = max(want.values())
    for limit, status in ((1.001 * largest, 0), (0.999 * largest, 1)):
        result = harness.run(["compare", "-q", "--bootstrap", "199", "--gate", "%s<%.9g" % (NAME, limit)], 1, folder, program=TOY)
        checks.check(result.status == status and (status == 0 or "%s is %.6g" % (NAME, largest) in result.err),
                     "a gate on it: %g" % limit, "%s: %s" % (result.status, result.err))
    old = os.path.join(folder, "comparisons", "summary.json")
    report = harness.read_json(old)
    for factor, status in ((1.001, 0), (0.999, 1)):
        for mode in report["modes"]:
            mode["last_layer"][NAME] *= factor
        harness.write_json(os.path.join(folder, "old.json"), report)
        result = harness.run(["compare", "-q", "--bootstrap", "199", "--baseline", "old.json"], 1, folder, program=TOY)
        checks.check(result.status == status and ("worse: %s is" % NAME in result.err) == (status == 1), "a baseline with it: %g" % factor,
                     "%s: %s" % (result.status, result.err))
        report = harness.read_json(old)


def check_tables(checks, folder, want):
    result = harness.run(["compare", "-v", "--per-sample", "--bootstrap", "199"], 1, folder, program=TOY)
    for (mode, cell, layer), ratio in want.items():
        title = r"^Mode %s(?: \(n=%s\))? against fp32, layer %d, mixer_output, \d+ values$" % (re.escape(mode), cell, layer)
        place = re.search(title, result.out, re.M)
        block = result.out[place.end():].split("\nMode ")[0] if place else result.out
        checks.check(re.search(r"^    noise ratio +%s[ ~#]*$" % re.escape("%.8g" % ratio), block, re.M), "the table has it: " + title, block)
    samples = harness.report(folder, "per_sample.json")["entries"]
    checks.check(samples and all(0 <= s[NAME] < 1 for e in samples for s in e["samples"]), "every sample has it")
    head = harness.read_bytes(os.path.join(folder, "comparisons", "per_sample.csv")).decode().split("\n")[0]
    checks.check(head.endswith("," + NAME), "per_sample.csv has it", head)
    ranked = {r["metric"] for r in harness.report(folder, "sweep.json")["rankings"]}
    trends = {t["metric"] for t in harness.report(folder, "sweep.json")["trends"]}
    checks.check(NAME in ranked and NAME in trends, "modes are ranked by it, and trends judged", "%s %s" % (ranked, trends))


def check_intervals(checks, folder):
    """All of sweep.json and sweep.csv, recomputed with NumPy."""
    tests = os.path.join(harness.SOURCE, "tests", "reference")
    status, out, err = harness.execute([sys.executable, "-c", PYTHON, tests, "layer_outputs/sweep.h5", "comparisons"], folder)
    checks.check(status == 0, "intervals, ranks and noise of it are right", out + err)


def with_interval(report):
    return {name for part in ("layers", "end_of_model") for entry in report[part] for name in entry["metrics"]}


def documented():
    """The metrics in the table of the page of statistics."""
    section = source(TABLE).split("## Metrics as functions of sums")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, re.M))


def schema_lists(schema):
    """(metrics with an interval, those by which modes are ranked) by the schema."""
    named = set()
    for part in ("layers", "end_of_model"):
        metrics = schema["properties"][part]["items"]["properties"]["metrics"]
        named |= set(metrics["properties"]) & set(metrics["required"])
    return named, set(schema["$defs"]["ranked"]["enum"])


def check_catalogue(checks, report):
    """Docs and schema list what the program has, but for the toy."""
    names = with_interval(report) - {NAME}
    own = {"isolated_mse", "amplification"}    # with --isolated alone, which cli.isolated looks at
    ranked = {r["metric"] for r in report["rankings"]} - {NAME}
    checks.check(len(names) > 12 and documented() == names | own, TABLE + ": the metrics of the program", documented() ^ names ^ own)
    rows = re.findall(r'^METRIC\(.*\.name = "(\w+)"', source("include/ssmsweep/measure/metrics.def"), re.M)
    text = "".join(source("docs/%s.md" % page) for page in ("numerics", "compare", "statistics"))
    unknown = [name for name in rows if name != NAME and not re.search(r"\b%s\b" % name, text)]
    checks.check(len(rows) > 30 and NAME in rows and not unknown, "docs: every metric of the catalogue", unknown)
    got = schema_lists(harness.read_json(os.path.join(harness.SOURCE, SCHEMA)))
    checks.check(got == (names, ranked), SCHEMA + ": the metrics of the program", got)


def check_list(checks, folder, report):
    """docs/design.md lists the files that had to know of the toy: those that do, and those in which it is missed."""
    touched = {os.path.relpath(path, harness.SOURCE) for pattern in ("src/**/*.*", "include/**/*.*")
               for path in glob.glob(os.path.join(harness.SOURCE, pattern), recursive=True) if SWITCH in source(path)}
    missed = set()
    status, out, err = harness.execute([sys.executable, os.path.join(harness.SOURCE, CHECKER), "layer_outputs/sweep.h5", "comparisons"], folder)
    if status != 0 and NAME in out + err:
        missed.add(CHECKER)
    validator = jsonschema.Draft202012Validator(harness.read_json(os.path.join(harness.SOURCE, SCHEMA)))
    if any(NAME in e.message for e in validator.iter_errors(report)):
        missed.add(SCHEMA)
    if NAME not in documented():
        missed.add(TABLE)
    section = source("docs/design.md").split("## Adding a metric")[1].split("\n## ")[0]
    listed = set(re.findall(r"^\d\. `([\w/.]+)`", section, re.M))
    checks.check(listed == touched | missed, "docs/design.md: the files that a metric touches", "listed %s, touched %s, missed in %s" % (
        sorted(listed), sorted(touched), sorted(missed)))


def reaches(path, wanted, seen):
    """Includes it, by whatever way."""
    for header in re.findall(r'^\s*#\s*include\s*"([^"]+)"', source(path), re.M):
        near_it = os.path.normpath(os.path.join(os.path.dirname(path), header))
        found = "include/" + header if header.startswith("ssmsweep/") else near_it
        if found == wanted or (found not in seen and (seen.add(found) or reaches(found, wanted, seen))):
            return True
    return False


def check_built(checks):
    """What knows the catalogue was compiled with the toy's row; see tests/toy/CMakeLists.txt."""
    knowing = {os.path.relpath(path, harness.SOURCE) for path in glob.glob(os.path.join(harness.SOURCE, "src", "**", "*.c"), recursive=True)}
    knowing = {path for path in knowing if reaches(path, "include/ssmsweep/measure/metrics.def", set())}
    knowing -= {"src/tools/manual/completion.c"}    # of a program by itself, which makes completion scripts of the catalogue
    built = re.compile(r"src/main\.c|src/(measure|statistics|report|tools)/\w+\.c")
    checks.check(len(knowing) > 20 and all(built.fullmatch(path) for path in knowing), "no other folder knows the catalogue",
                 sorted(path for path in knowing if not built.fullmatch(path)))


def main():
    checks = harness.Checks()
    check_built(checks)
    with harness.Workplace() as folder:
        result = harness.run(JOB, 2, folder, program=TOY)
        if checks.check(result.status == 0, "the sweep runs", result.err):
            report, want = harness.report(folder, "sweep.json"), outputs(folder)
            check_values(checks, folder, want)
            check_gates(checks, folder, want)
            check_tables(checks, folder, want)
            check_intervals(checks, folder)
            check_catalogue(checks, report)
            check_list(checks, folder, report)
    checks.finish()


main()
