# SPDX-License-Identifier: Apache-2.0
"""sweep.json and sweep.csv: every number recomputed with NumPy, valid by the schema, the same bytes for any number of ranks
and from `compare`, and the tables that show them."""
import copy
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time

import h5py
import jsonschema

import harness
import recovery

JOB = ["--all-modes", "--calib_data_num", "3,6", "--calib_seqlen", "32", "--layers", "0,12,-1",
       "--components", "mixer_output,ssm_output", "--bootstrap", "199", "--noise", "2"]
CHECK = os.path.join(harness.SOURCE, "tests", "reference", "check_sweep.py")
SCHEMA = os.path.join(harness.SOURCE, "docs", "schema", "sweep.schema.json")
FILES = ["sweep.json", "sweep.csv"]
LIMIT = harness.LIMIT


def read(folder, name):
    return harness.read_bytes(os.path.join(folder, "comparisons", name))


def recompute(folder):
    return harness.execute([sys.executable, CHECK, "layer_outputs/sweep.h5", "comparisons"], folder)


def check_numbers(checks, folder):
    status, out, err = recompute(folder)
    checks.check(status == 0, "the numbers are those of the stored outputs", out + err)

    # The checker itself: one number in each part that is wrong by 0.1 % is found.
    whole = read(folder, "sweep.json")
    report = json.loads(whole)
    entry = next(e for e in report["layers"] if e["mode"] == "2-1" and e["layer"] == 12)
    ranking = next(r for r in report["rankings"] if r.get("layer") == 12 and r["metric"] == "mse")
    text = report["end_of_model"][3]["metrics"]
    spoiled = ((entry["metrics"]["mae"], "value", ": mae: expected"), (entry["metrics"]["correlation"], "low", ": low of correlation: "),
               (entry["positions"][3], "mse", ": mse of tokens from 4: "), (entry["abs_diff_percentiles"]["p90"], "low", ": p90: "),
               (text["perplexity"], "value", ": perplexity: expected"), (text["kl_mean"], "high", ": high of kl_mean: "),
               (ranking["pairs"][9], "change", ": change: "), (ranking["pairs"][9], "p_adjusted", ": corrected p of "), (entry["metrics"]["mse"], "noise", ": noise of mse: "))
    for place, key, _ in spoiled:
        place[key] *= 1.001
    trend = next(t for t in report["trends"] if t["mode"] == "2-4" and t.get("layer") == 12 and t["metric"] == "mse")
    trend["still_improving"] = not trend["still_improving"]
    for place in (entry["metrics"]["mae"], trend["points"][1]):
        place["within_noise"] = not place["within_noise"]
    ranking["places"][2]["within_noise"].append("fp16")
    messages = [message for _, _, message in spoiled] + [": mae within noise", ": step to 6 within noise", ": noise around ", ": trend: stops"]
    harness.write_json(os.path.join(folder, "comparisons", "sweep.json"), report)
    status, out, _ = recompute(folder)
    for message in messages:
        checks.check(status == 1 and message in out, "a wrong number is found:" + message, out)
    with open(os.path.join(folder, "comparisons", "sweep.json"), "wb") as f:
        f.write(whole)


def check_same_values(checks, folder, report):
    """Point values are those of the other reports, to the last digit."""
    compared = 0
    for entry in report["layers"]:
        cell = "" if entry["calib_data_num"] is None else "_n%d" % entry["calib_data_num"]
        other = harness.report(folder, "mode_%s%s_vs_fp32.json" % (entry["mode"], cell))["layers"].get("layer_%d" % entry["layer"])
        if not other:
            continue
        other = other if other["component"] == entry["component"] else other["components"][entry["component"]]
        for name, estimate in entry["metrics"].items():
            compared += 1
            checks.check(estimate["value"] == other[name], "%s: the value of the other report" % name, "%s %s" % (estimate, other[name]))
        checks.check(entry["abs_diff_max"] == other["abs_diff_max"], "abs_diff_max: that of the other report")
    checks.check(compared >= 15 * 6 * 8, "all values were compared", compared)


def check_sources(checks, workplace, report):
    """Without tensors the same bytes; from tensors alone (imported arrays) the same numbers."""
    none = os.path.join(workplace, "none")
    os.mkdir(none)
    result = harness.run(JOB + ["-q", "--store", "none"], 2, none)
    got = harness.report(none, "sweep.json") if result.status == 0 else None
    checks.check(got == report, "--store none: the same report", result.err)

    source, target = os.path.join(workplace, "4"), os.path.join(workplace, "imported")
    os.mkdir(target)
    arrays = os.path.join(target, "npy")
    for arguments, folder in ((["export", "--npy", arrays], source),
                              (["import-npy", "npy", "--output_dir", "layer_outputs"], target),
                              (["compare", "-q", "--bootstrap", "199"], target)):
        result = harness.run(arguments, 1, folder)
        checks.check(result.status == 0, " ".join(arguments[:2]), result.err)
    imported = harness.report(target, "sweep.json")
    report = copy.deepcopy(report)
    layers = [e for e in report["layers"] if e["layer"] in (0, 12, 23)]
    rankings = [r for r in report["rankings"] if r.get("layer") in (0, 12, 23)]
    for entry in layers:    # re-runs have no tensors
        for estimate in entry["metrics"].values():
            for key in ("noise", "apart", "apart_flag", "within_apart"):
                estimate.pop(key, None)
            estimate.pop("within_noise")
    for ranking in rankings + imported["rankings"]:    # nor noise, which nothing can tell apart
        for place in ranking["places"]:
            place.pop("within_noise", None)
        for pair in ranking["pairs"]:
            for key in ("is_noise", "samples_needed", "samples_needed_flag"):
                pair.pop(key, None)
    checks.check(imported["layers"] == layers, "from stored outputs: the same numbers")
    checks.check(imported["rankings"] == rankings and imported["end_of_model"] == [], "from stored outputs: the same rankings")


def check_orders(checks, workplace, report):
    """Cells of several orders of the calibration samples: what cell 3 gave stands in for another order of cell 6."""
    folder = os.path.join(workplace, "orders")
    shutil.copytree(os.path.join(workplace, "4"), folder)
    with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5"), "r+") as f:
        for part in ("outputs", "metrics", "items", "calibration"):
            f.create_group(part + "/6_order1")
            for name in f[part + "/3"]:
                if name.split("_")[0] not in ("2-0", "2-2"):
                    f.copy("%s/3/%s" % (part, name), "%s/6_order1/%s" % (part, name))
    result = harness.run(["compare", "--bootstrap", "199"], 2, folder)
    checks.check(result.status == 0, "orders: compare", result.err)
    orders = harness.report(folder, "sweep.json")

    def value(cell, row):
        return next(e for e in report["layers"] if e["mode"] == row["mode"] and e["calib_data_num"] == cell and
                    e["layer"] == row["layer"] and e["component"] == row["component"])["metrics"][row["metric"]]["value"]
    rows = [row for row in orders["orders"] if "layer" in row]
    checks.check(len(rows) == 5 * 24 * 2 * 4 and len(orders["orders"]) == len(rows) + 5 * 3, "orders: all are there", len(rows))
    wrong = [row for row in rows if row["orders"] != 2 or row["calib_data_num"] != 6 or
             [row["least"], row["most"]] != sorted((value(3, row), value(6, row)))]
    checks.check(not wrong, "orders: the range of the values", wrong[:3])
    shown = next(row for row in rows if (row["mode"], row["layer"], row["component"], row["metric"]) == ("2-4", 23, "mixer_output", "mse"))
    checks.check("  2-4   %.3e..%.3e" % (shown["least"], shown["most"]) in result.out, "orders: the table", result.out[-3000:])
    cells = {(e["calib_data_num"], e.get("order")) for e in orders["layers"]}
    checks.check(cells == {(None, None), (3, None), (6, None), (6, 1)}, "orders: cells", cells)
    checks.check(all(len(t["points"]) == 2 for t in orders["trends"]), "orders: trends are of the text's order")
    check_valid(checks, orders)


def check_noise_decides(checks, workplace, report):
    """A re-run that is another mode's: as much noise as makes every improvement one that means nothing."""
    folder = os.path.join(workplace, "orders")
    with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5"), "r+") as f:
        f["metrics/6/0_dither1/moments"][...] = f["metrics/3/2-4/moments"][...]
    result = harness.run(["compare", "-q", "--bootstrap", "199"], 2, folder)
    checks.check(result.status == 0, "noise: compare", result.err)

    def still(report, mode):
        return [t for t in report["trends"] if t["mode"] == mode and "layer" in t and t["still_improving"]]
    loud = json.loads(read(folder, "sweep.json"))
    checks.check(still(report, "0") and not still(loud, "0"), "what improves by less than noise does not improve", still(loud, "0")[:2])
    checks.check(still(loud, "2-0") == still(report, "2-0"), "that of another mode is its own")


def check_valid(checks, report):
    validator = jsonschema.Draft202012Validator(harness.read_json(SCHEMA))
    errors = [e.message for e in validator.iter_errors(report)]
    checks.check(not errors, "sweep.json is valid by its schema", "\n".join(errors[:5]))
    return validator


def check_schema(checks, report):
    validator = check_valid(checks, report)
    validator.check_schema(validator.schema)
    report = dict(report, **{part: report[part][:2] for part in ("layers", "end_of_model", "rankings", "trends")})
    checks.check(validator.is_valid(report), "a part of it is valid as well")
    for what, spoil in (("a missing part", lambda r: r.pop("rankings")),
                        ("an unknown key", lambda r: r["layers"][0].update(surprise=1)),
                        ("a text for a number", lambda r: r["layers"][0]["metrics"]["mse"].update(value="0.1")),
                        ("another version", lambda r: r.update(schema_version=0)),
                        ("an unknown origin", lambda r: r["provenance"].update(surprise=1)),
                        ("an unknown verdict", lambda r: r["rankings"][0]["pairs"][0].update(better="maybe")),
                        ("a missing metric", lambda r: r["layers"][-1]["metrics"].pop("mae"))):
        broken = copy.deepcopy(report)
        spoil(broken)
        checks.check(not validator.is_valid(broken), "the schema refuses " + what)


def check_noise_rows(checks, report, out):
    """Each row `noise` has the largest noise of the numbers above it."""
    def percent(metrics):
        return "+-%.2g %%" % (100 * (max(m["noise"] for m in metrics if "noise" in m) - 1))

    def moved(name, scale):
        found = [e["metrics"][name] for e in report["end_of_model"] if e["calib_data_num"] == 6 and "noise" in e["metrics"][name]]
        return "+-%.2g" % (scale * max(m["value"] * max(m["noise"] - 1, 1 - 1 / m["noise"]) for m in found))

    def of(layer, **where):
        return [e["metrics"]["mse"] for e in report["layers"] if e["layer"] == layer and e["component"] == "mixer_output" and
                all(e[key] == value for key, value in where.items())]

    ranking, sizes, predictions = (out[out.index(title):] for title in
                                   ("Which modes can be told apart?", "against calib_data_num:", "Predictions of the whole"))
    rows = [re.search(r"^ *noise .*$", table, re.M).group(0) for table in (ranking, sizes, predictions)]
    want = [[percent(of(layer, calib_data_num=6)) for layer in (0, 12, 23)],
            [percent(of(23, mode=mode)) for mode in ("0", "2-1", "2-3")],
            [moved("perplexity", 1), moved("perplexity_ratio", 100)]]
    for row, cells in zip(rows, want):
        found = re.findall(r"\+-\S+(?: %)?", row)
        checks.check(found[:len(cells)] == cells, "the row of noise has %s" % cells, row)


def sign_of(metric):
    return "#" if metric.get("within_apart") else "~" if metric["within_noise"] else " "


def check_apart_marks(checks, workplace, report):
    """A re-run that is a tenth further from its mode than the reference is: every table and file says so of that mode alone."""
    folder = os.path.join(workplace, "apart")
    shutil.copytree(os.path.join(workplace, "4"), folder)
    with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5"), "r+") as f:
        run, rerun = f["metrics/6/2-4"], f["metrics/6/2-4_dither2"]
        moments, end = run["moments"][...], run["end_of_model"][...]
        for rows, names in ((moments, ("diff_squares_hi", "diff_squares_lo", "abs_diff_hi", "abs_diff_lo")), (end, ("kl",))):
            for name in names:
                rows[name] *= 1.1
        end["top1_agree"] -= 1
        rerun["apart"][...], rerun["end_of_model_apart"][...] = moments, end
    result = harness.run(["compare", "--all", "--bootstrap", "199"], 2, folder)
    checks.check(result.status == 0, "apart: compare", result.err)
    marked = json.loads(read(folder, "sweep.json"))
    for before, after in zip(report["layers"] + report["end_of_model"], marked["layers"] + marked["end_of_model"]):
        mine = (after["mode"], after["calib_data_num"]) == ("2-4", 6)
        wrong = [name for name, metric in after["metrics"].items() if metric.get("within_apart") !=
                 (True if mine and "apart" in metric else before["metrics"][name].get("within_apart"))]
        checks.check(not wrong, "apart: marks of %s %s" % (after["mode"], after["calib_data_num"]), wrong)
    counts = [{}, {}]    # of marked values, by (mode, calib_data_num)
    for entry in marked["layers"] + marked["end_of_model"]:
        key = entry["mode"], str(entry["calib_data_num"] or "")
        counts[0][key] = counts[0].get(key, 0) + sum(metric.get("within_apart", False) for metric in entry["metrics"].values())
    for row in csv.DictReader(io.StringIO(read(folder, "sweep.csv").decode())):
        key = row["mode"], row["calib_data_num"]
        counts[1][key] = counts[1].get(key, 0) + (row["within_apart"] == "1")
    checks.check(counts[0] == counts[1] and counts[0]["2-4", "6"] > 0, "apart: sweep.csv marks the same", counts)
    check_valid(checks, marked)
    check_tables(checks, marked, result.out)
    check_formats(checks, folder, marked)


def check_legends(checks, out):
    """Every sign is explained under the tables in which it stands, and nowhere else."""
    heads = [0] + [out.index(head) for head in ("Which modes can be told apart?", " against calib_data_num:", "Predictions of the whole")]
    others = ("another mode", "another mode", "the line above", "another mode")
    for which, (begin, end) in enumerate(zip(heads, heads[1:] + [len(out)])):
        lines = out[begin:end].split("\nMSE of layer 23 over ")[0].splitlines()    # a section of its own
        legends = ("~: mere rounding noise lies between it and %s: another order of sums makes as much." % others[which],
                   "#: no further from fp32 than from its own re-run with another order of sums.")
        for legend in legends:
            stands = any(legend[0] in line for line in lines if line[:3] not in ("~: ", "#: "))
            checks.check(lines.count(legend) == stands, "section %d: the sign %s is explained where it stands" % (which, legend[0]), lines[-12:])
    checks.check(len(re.findall("^noise: the most", out, re.M)) == 3, "the row of noise is explained")


def check_tables(checks, report, out):
    """The last cell is shown, with the places of the report, and what is noise has its sign in every table."""
    sign = {True: "~", False: " "}
    estimates = {(e["mode"], e["calib_data_num"], e["layer"], e["component"]): e["metrics"] for e in report["layers"]}
    ranking = next(r for r in report["rankings"] if r["calib_data_num"] == 6 and r["layer"] == 12 and
                   r["component"] == "mixer_output" and r["metric"] == "mse")
    for place in ranking["places"]:
        shown = "%d" % place["best"] if place["best"] == place["worst"] else "%d-%d" % (place["best"], place["worst"])
        shown += "=" if place["equal"] else " "
        own = estimates.get((place["mode"], 6, 12, "mixer_output"), {"mse": {}})["mse"]    # a float mode has none
        pattern = r"^%s +\S+(?: [~#])? +\S+ +%s%s +(?:\S+\.\.\S+|unbounded) +\S+(?: [~#])? +\S+$" % (
            re.escape(place["mode"]), re.escape(shown), "#" if own.get("within_apart") else sign[bool(place["within_noise"])])
        checks.check(re.search(pattern, out, re.M), "the table has %s at %s" % (place["mode"], shown), out[-6000:])
    modes = ["fp16", "0", "2-0", "2-1", "2-2", "2-3", "2-4", "3"]
    rows = re.findall(r"^(\S+) +\d[\d-]*[= ~#]", out[out.index("Which modes can be told apart?"):out.index("Place 4-8")], re.M)
    checks.check([p["mode"] for p in ranking["places"]] == modes and rows == modes, "modes stand in the order of the mode table", rows)
    chain = re.search(r"^  layer 12 +(.*)$", out, re.M).group(1).split()
    checks.check(sorted(chain[::2]) == sorted(p["mode"] for p in ranking["places"]), "every mode is in the line of neighbours", chain)
    for first, relation, second in zip(chain[::2], chain[1::2], chain[2::2]):
        pair = next(p for p in ranking["pairs"] if {p["first"], p["second"]} == {first, second})
        want = "=" if pair["better"] == "equal" else "~" if pair["is_noise"] else "?" if pair["better"] == "tie" else "<"
        checks.check(relation[0] == want, "neighbours %s and %s" % (first, second), "%s, %s" % (relation, pair))
        if want == "?" and pair["samples_needed"]:
            asked = max(pair["samples_needed"], report["statistics"]["samples"] + 1)
            checks.check(asked <= float(relation[1:]) <= 1.1 * asked + 1, "samples that would tell", "%s, %s" % (relation, pair))

    for mode in ("0", "2-4"):    # a table of one mode, and the one of all
        found = {e["layer"]: e["metrics"] for e in report["layers"] if
                 (e["mode"], e["calib_data_num"], e["component"]) == (mode, 6, "mixer_output")}
        table = out[out.index("Mode %s (n=6) against fp32, mixer_output" % mode):][:900]
        for layer in (0, 12, 23):
            cells = tuple(sign_of(found[layer][name]) for name in ("mse", "correlation", "relative_mae", "mae"))
            pattern = r"^ +%d +%.3e%s\w+ +0\.\d+%s\w+ +\S+ %%%s\w+ +\S+%s +\S+ +\S+$" % ((layer, found[layer]["mse"]["value"]) + cells)
            checks.check(re.search(pattern, table, re.M), "mode %s, layer %d: what is noise" % (mode, layer), table)
        cells = [sign_of(found[layer][name]) for layer in (0, 23) for name in ("mse", "mae")]
        pattern = r"^%s \(n=6\) +%s" % (re.escape(mode), " +".join(r"[\d.e-]+" + cell for cell in cells))
        checks.check(re.search(pattern, out, re.M), "all modes: what is noise of " + mode, out[-9000:])

    trend = next(t for t in report["trends"] if t["mode"] == "2-4" and t["layer"] == 23 and t["component"] == "mixer_output" and
                 t["metric"] == "mse")
    for point in trend["points"]:
        cell = "%.2e %.1e..%.1e" % (point["value"], point["low"], point["high"]) if point["high"] is not None else \
            "%.2e        unbounded" % point["value"]
        own = estimates["2-4", point["calib_data_num"], 23, "mixer_output"]["mse"]["within_apart"]
        later = [p for p in trend["points"] if p["calib_data_num"] > point["calib_data_num"] and p["value"] < 0.95 * point["value"]]
        mark = " " if trend["stops_improving_at"] != point["calib_data_num"] else "?" if later else "*"
        cell += mark + ("#" if own else sign[point.get("within_noise", False)])
        line = re.search(r"^ +%d .*%s" % (point["calib_data_num"], re.escape(cell)), out, re.M)
        checks.check(line, "the table has 2-4 at %d: %s" % (point["calib_data_num"], cell), out[-3000:])
    for entry in report["end_of_model"]:
        if entry["calib_data_num"] in (None, 6):
            change, perplexity = entry["metrics"]["perplexity_ratio"], entry["metrics"]["perplexity"]
            shown = [100 * (change[name] - 1) for name in ("value", "low", "high")][:3 if change["interval"] == "ok" else 1]
            small = 0 < abs(shown[0]) < 0.005    # two digits would show nothing
            texts = ["%+.2f %+.2f..%+.2f"] if not small else ["%+.3g %+.3g..%+.3g", "%+.0e %+.0e..%+.0e"]
            texts = [(text if len(shown) == 3 else text.split()[0]) % tuple(shown) for text in texts]
            texts = [text + " unbounded" for text in texts] if change["interval"] == "unbounded" else texts
            cell = next((text for text in texts if len(text) <= 21), texts[-1])
            kl, same = (sign_of(entry["metrics"][name]) for name in ("kl_mean", "top1_agreement"))
            line = r"^%s +%.2f (?:[\d.]+|unbounded)%s .* %s%s +[\d.e-]+ (?:\S+[\de]-\d+|unbounded)%s +[\d.]+(?: [\d.]+| unbounded)?%s$" % (
                re.escape(entry["mode"]), perplexity["value"], sign_of(perplexity), re.escape(cell), sign_of(change), kl, same.strip())
            checks.check(re.search(line, out, re.M), "the table has the perplexity of " + entry["mode"], out[-2000:])
    check_noise_rows(checks, report, out)
    check_legends(checks, out)
    checks.check(all(len(line) <= 100 for line in out.splitlines()), "no table is wider than 100 columns",
                 [line for line in out.splitlines() if len(line) > 100])


def check_formats(checks, folder, report):
    """Markdown and CSV mark the same numbers as noise."""
    shown = ("mse", "mae", "relative_mae", "correlation", "sqnr_db")
    text = harness.run(["compare", "--all", "--bootstrap", "199", "--format", "markdown"], 1, folder).out
    rows = list(csv.DictReader(io.StringIO(harness.run(["compare", "--all", "--bootstrap", "199", "--format", "csv"], 1, folder).out)))
    want = {}
    for entry in report["layers"]:
        if entry["layer"] in (0, 12, 23):
            run = entry["mode"] if entry["calib_data_num"] is None else "%s (n=%d)" % (entry["mode"], entry["calib_data_num"])
            want[run, entry["layer"], entry["component"]] = entry["metrics"]
    cells = {"~": 0, "": 0, "#": 0}
    for (run, layer, component), metrics in want.items():
        table = text[text.index("## Mode %s against fp32" % run):]
        row = re.search(r"^\| %d \| %s \| (.*) \|$" % (layer, component), table, re.M).group(1).split(" | ")
        signs = [sign_of(metrics[name]).strip() for name in shown]
        checks.check([cell[len(cell.rstrip("~#")):] for cell in row] == signs + ["", "", ""], "Markdown: noise of %s, layer %d" % (run, layer), row)
        for sign in signs:
            cells[sign] += 1
        mode, _, number = run.rstrip(")").partition(" (n=")
        row = next(r for r in rows if (r["mode"], r["calib_data_num"], r["layer"], r["component"]) == (mode, number, str(layer), component))
        for column in ("within_noise", "within_apart"):
            names = sorted(name for name, metric in metrics.items() if metric.get(column))
            checks.check(sorted(row[column].split()) == names, "CSV: %s of %s, layer %d" % (column, run, layer), row)
        if layer == 0 and component == "mixer_output":
            row = re.search(r"^\| %s \| ([^|]*) \| ([^|]*) \|.*$" % re.escape(run), text[text.index("## All modes"):], re.M).groups()
            signs = [sign_of(want[run, end, component]["mse"]).strip() for end in (0, 23)]
            checks.check([cell[len(cell.rstrip("~#")):] for cell in row] == signs, "Markdown: all modes: noise of " + run, row)
    checks.check(len(rows) == len(want) and min(cells["~"], cells[""]) > 0, "there is noise, and there is what is none", cells)
    checks.check(text.count("~: mere rounding noise lies between it and another mode:") == 1, "Markdown: the sign is explained", text[-500:])
    checks.check(text.count("#: no further from fp32 than from its own re-run") == (cells["#"] > 0), "Markdown: what is near itself is explained", text[-500:])


def check_options(checks, folder):
    """Another seed moves intervals, no value; a single sample has values and no intervals."""
    def metrics(report):
        return [e["metrics"]["mse"] for e in report["layers"]]
    before = harness.report(folder, "sweep.json")
    checks.check(harness.run(["compare", "-q", "--bootstrap", "199", "--seed", "1"], 1, folder).status == 0, "--seed")
    after = harness.report(folder, "sweep.json")
    checks.check(after["statistics"]["seed"] == 1, "--seed is in the report", after["statistics"])
    checks.check([m["value"] for m in metrics(before)] == [m["value"] for m in metrics(after)], "--seed: the same values")
    checks.check([m["low"] for m in metrics(before)] != [m["low"] for m in metrics(after)], "--seed: other intervals")
    result = harness.run(["--bootstrap", "10"], 1, folder)
    checks.check(result.status == 2 and len(result.lines()) == 1 and "--bootstrap" in result.err, "--bootstrap 10", result.err)
    alone = os.path.join(folder, "alone")
    os.mkdir(alone)
    result = harness.run(["--modes", "0,2-4", "--calib_data_num", "1", "--calib_seqlen", "16"], 1, alone)
    report = harness.report(alone, "sweep.json")
    checks.check(result.status == 0 and {m["interval"] for m in metrics(report)} == {"too_few"}, "one sample: no intervals",
                 result.err)
    checks.check(all(m["value"] > 0 and m["low"] is None for m in metrics(report)), "one sample: values", metrics(report))
    checks.check("noise is not known; --noise K" in result.out and "~" not in result.out, "without re-runs noise is not known", result.out[-3000:])
    text = harness.run(["compare", "--format", "markdown"], 1, alone).out
    checks.check("noise is not known; --noise K" in text and "~" not in text, "Markdown: without re-runs noise is not known", text)
    verdicts = {p["better"] for r in report["rankings"] for p in r["pairs"]}
    checks.check(verdicts <= {"unknown", "equal"} and "unknown" in result.out, "one sample: nothing can be told apart", verdicts)


def check_reference_of_equal_bits(checks, workplace):
    """2-2 is 2-1 in every bit: infinitely far from its own re-runs on the scale of the logarithm, which is no noise of others."""
    folder = os.path.join(workplace, "equal")
    os.mkdir(folder)
    result = harness.run(["--modes", "2-1,2-2,2-4", "--reference", "2-1", "--noise", "1", "--calib_data_num", "4", "--calib_seqlen", "32",
                          "--layers", "-1", "--store", "none", "--bootstrap", "199"], 1, folder)
    checks.check(result.status == 0 and "inf" not in result.out and "nan" not in result.out, "a mode equal to the reference: runs", result.out)
    report = harness.report(folder, "sweep.json")
    last = {e["mode"]: e["metrics"] for e in report["layers"] if e["layer"] == 23}
    checks.check(last["2-2"]["mse"]["interval"] == "exact" and last["2-2"]["mse"]["apart"] > 0 and last["2-2"]["mse"]["noise"] is None,
                 "a mode equal to the reference: its noise is not known", last["2-2"]["mse"])
    for ranking in report["rankings"]:
        pairs = [p for p in ranking["pairs"] if "2-2" in (p["first"], p["second"])]
        if ranking["metric"] in ("mse", "mae", "kl_mean"):
            checks.check(not any(p["is_noise"] for p in pairs), "a mode equal to the reference: no other is near it", ranking)
            checks.check(not any("2-2" in place["within_noise"] for place in ranking["places"]), "nor marked so", ranking["places"])
    check_valid(checks, report)


def count_stored(folder):
    """Samples of runs that are complete in a file that is being written."""
    try:
        with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5"), "r") as file:
            return sum(int((run["state"][:] == 1).sum()) for cell in file["items"].values() for run in cell.values())
    except (OSError, KeyError):
        return 0


def check_killed(checks, workplace, whole):
    """SIGKILL for every rank in the middle of the sweep, where one waits; another number of ranks goes on, and gives the
    same bytes."""
    folder = os.path.join(workplace, "killed")
    os.mkdir(folder)
    process = subprocess.Popen([harness.MPIEXEC, "-n", "4", recovery.INJECT, "--inject", "command@mark:1/0", "-q"] + JOB, cwd=folder,
                               env=harness.environment({"INJECT_COMMAND": recovery.PAUSE}), stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not (os.path.exists(os.path.join(folder, "reached")) and count_stored(folder) > 0):
        time.sleep(0.01)
    for victim in harness.children(process.pid) + [process.pid]:
        harness.kill(victim)
    process.wait(timeout=LIMIT)
    harness.wait_until_left(folder)
    checks.check(process.returncode != 0 and not os.path.exists(os.path.join(folder, "comparisons", "sweep.json")), "killed before the report",
                 process.returncode)
    result = harness.run(JOB + ["-v", "--resume"], 3, folder)
    kept = recovery.kept(result.err)
    checks.check(result.status == 0 and kept and 0 < kept["kept"] < kept["of"], "killed in the middle and resumed", "%s\n%s" % (kept, result.err[-3000:]))
    checks.check({name: read(folder, name) for name in FILES} == whole, "killed and resumed: the same bytes")


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        for ranks in (1, 4, 16) if harness.LONG else (1, 4):
            folder = os.path.join(workplace, str(ranks))
            os.mkdir(folder)
            result = harness.run(JOB, ranks, folder)
            if not checks.check(result.status == 0, "-n %d: runs" % ranks, result.err):
                continue
            made = {name: read(folder, name) for name in FILES}
            if ranks == 1:
                first, out = made, result.out
                ragged = [line for line in out.splitlines() if line != line.rstrip()]
                checks.check("Predictions" in out and not ragged, "no line of a table ends in a blank", ragged)
            checks.check(made == first, "-n %d: the same bytes" % ranks)
        folder = os.path.join(workplace, "4")
        for name in FILES:
            os.remove(os.path.join(folder, "comparisons", name))
        result = harness.run(["compare", "--all", "-q", "--bootstrap", "199"], 3, folder)
        checks.check(result.status == 0 and {n: read(folder, n) for n in FILES} == first, "`compare --all`: the same bytes", result.err)

        check_killed(checks, workplace, first)

        report = json.loads(first["sweep.json"])
        checks.check(b"/" not in first["sweep.json"] and b"timestamp" not in first["sweep.json"], "neither paths nor times in it")
        check_numbers(checks, folder)
        check_same_values(checks, folder, report)
        check_sources(checks, workplace, report)
        check_orders(checks, workplace, report)
        check_noise_decides(checks, workplace, report)
        check_schema(checks, report)
        check_tables(checks, report, out)
        check_formats(checks, folder, report)
        check_apart_marks(checks, workplace, report)
        check_options(checks, folder)
        check_reference_of_equal_bits(checks, workplace)
    checks.finish()


main()
