# SPDX-License-Identifier: Apache-2.0
"""Every number of the page is that of sweep.json, to the digits shown: heat map, lines, tables, CSV and SVG."""
import csv
import io
import os
import re
import xml.etree.ElementTree

import browser
import harness
from browser import same

TITLES = {"mse": "MSE", "rmse": "RMSE", "mae": "MAE", "relative_mse": "relative MSE", "relative_mae": "relative MAE",
          "correlation": "correlation", "sqnr_db": "SQNR (dB)", "cosine_similarity": "cosine similarity"}
CELL = re.compile(r"(.+), layer (\d+), (\w+)\n([\w ()]+?) (\S+)( %)?\n95 %: (.+)\nn = (\d+) samples, (\d+) elements")
LAYERS = (0, 11, 23)


def name_of(entry, several):
    number, order = entry["calib_data_num"], entry.get("order", 0)
    if not several or number is None:
        return entry["mode"]
    return "%s (n=%d%s)" % (entry["mode"], number, " order %d" % order if order else "")


def entries_of(sweep):
    """{(name of the run, layer, component): entry}"""
    several = len({(e["calib_data_num"], e.get("order", 0)) for e in sweep["layers"] if e["calib_data_num"]}) > 1
    return {(name_of(e, several), e["layer"], e["component"]): e for e in sweep["layers"]}


def check_label(checks, what, label, entries, metric, samples):
    match = CELL.match(label or "")
    if not match:
        checks.check(False, what + ": says what it is", label)
        return None
    name, layer, component, title, shown, percent, interval, n, elements = match.groups()
    entry = entries[name, int(layer), component]
    number = entry["metrics"][metric]
    wrong = []
    if title != TITLES[metric] or int(n) != samples or int(elements) != entry["elements"]:
        wrong.append("title, n or elements")
    if not same(shown, number["value"], bool(percent)):
        wrong.append("value %r" % number["value"])
    ends = re.findall(r"[^\s%]+", interval.replace(" .. ", " "))
    if number["interval"] in ("ok", "exact"):
        if len(ends) != 2 or not all(same(end, number[key], bool(percent), 3) for end, key in zip(ends, ("low", "high"))):
            wrong.append("interval %r" % number)
    elif interval != "no interval":
        wrong.append("an interval where there is none: %r" % number)
    if ("~" in signs_of(label)) != (number.get("within_noise", False) and not number.get("within_apart", False)):
        wrong.append("~")
    if ("#" in signs_of(label)) != number.get("within_apart", False):
        wrong.append("#")
    if wrong:
        checks.check(False, "%s of %s: %s" % (what, metric, ", ".join(wrong)), label)
    return name, int(layer), component


def signs_of(label):
    return {line[0] for line in label.split("\n")[4:]}


def check_figures(checks, page, sweep):
    entries, samples = entries_of(sweep), sweep["statistics"]["samples"]
    names, layers = {key[0] for key in entries}, {key[1] for key in entries}
    for component in ("mixer_output", "ssm_input"):
        page.choose("component", component)
        for metric, title in TITLES.items():
            page.choose("metric", title)
            before = checks.failed
            for what, selector, drawn_all in (("heat map", "#fig-heat .cell", True), ("depth", "#fig-depth .dot", False)):
                got = {check_label(checks, what, label, entries, metric, samples) for label in page.labels(selector)}
                wanted = {(name, layer, component) for name in names for layer in layers}
                if not drawn_all:    # what is 0 has no place on a log axis
                    wanted = {key for key in wanted if entries[key]["metrics"][metric]["value"] not in (None, 0, 1)}
                checks.check(got >= wanted, "%s: %s of %s: everything is there" % (what, metric, component), sorted(wanted - got)[:4])
            checks.check(checks.failed == before, "%s of %s: all numbers" % (metric, component))
    page.choose("metric", "MSE")
    for layer in LAYERS:
        page.choose("layer", str(layer))
        got = {check_label(checks, "inside a layer", label, entries, "mse", samples) for label in page.labels("#fig-layer .dot")}
        checks.check(len({key[2] for key in got}) == 6, "inside layer %d: six components" % layer, got)
    page.choose("component", "mixer_output")


def table(page, selector):
    return page.run("""return [...document.querySelector(arguments[0]).rows].map(row => [...row.cells].map(c => c.textContent.trim()))""",
                    selector)


def check_tables(checks, page, sweep):
    entries = entries_of(sweep)
    for layer in LAYERS:
        page.choose("layer", str(layer))
        rows = table(page, "#all-metrics table")
        checks.check(len(rows) == 1 + len({key[0] for key in entries}), "all metrics: a row for each run", len(rows))
        for row in rows[1:]:
            entry = entries[row[0], layer, "mixer_output"]
            for metric, cell in zip(TITLES, row[1:]):
                shown = re.match(r"(\S+)( %)? \(", cell)
                number = entry["metrics"][metric]
                if not shown or not same(shown.group(1), number["value"], bool(shown.group(2))):
                    checks.check(False, "all metrics: %s of %s" % (metric, row[0]), (cell, number))
        ranking = [r for r in sweep["rankings"] if (r.get("layer"), r.get("component"), r["metric"]) == (layer, "mixer_output", "mse") and
                   r["calib_data_num"] == 5 and not r.get("order")][0]
        pairs = {(p["first"], p["second"]): p for p in ranking["pairs"]}
        rows = table(page, "#all-pairs table")[1:]
        checks.check(len(rows) == len(pairs), "pairs of layer %d" % layer, len(rows))
        for row in rows:
            first, second = (re.sub(r" \(.*", "", name) for name in row[0].split(" : "))
            pair = pairs[first, second]
            numbers = (row[1].rstrip("=~#"), row[2], row[3], row[4])
            good = all(same(shown, pair[key], least=3) for shown, key in zip(numbers, ("change", "low", "high", "p_adjusted")))
            better = re.sub(r" \(.*", "", row[5])
            wanted = {"first": first, "second": second, "tie": "not told apart", "equal": "equal"}.get(pair["better"])
            checks.check(good and better in (wanted, "only rounding noise" if pair.get("is_noise") else wanted), "pair %s" % row[0], (row, pair))
        places = {p["mode"]: p for p in ranking["places"]}
        labels = page.labels("#fig-places .row")
        found = [re.match(r"(\S+).*: place (\d+)(?:-(\d+))?", label) for label in labels]
        checks.check({m.group(1): (int(m.group(2)), int(m.group(3) or m.group(2))) for m in found} ==
                     {mode: (p["best"], p["worst"]) for mode, p in places.items()}, "places at layer %d" % layer, labels)
    check_predictions(checks, page, sweep)


def check_predictions(checks, page, sweep):
    known = {e["mode"]: e["metrics"] for e in sweep["end_of_model"] if e["calib_data_num"] in (None, 5) and not e.get("order")}
    labels = page.labels("#fig-predictions .row")
    names = page.run("return [...document.querySelectorAll('#predictions tbody th')].map(e => e.textContent)")
    checks.check(len(labels) == len(known), "predictions: a row for each mode", labels)
    for name, label in zip(names, labels):
        numbers = dict(re.findall(r"^(.*?): (\S+) \(", label, re.M))
        number = known[re.sub(r" \(.*", "", name)]
        good = same(numbers["perplexity"], number["perplexity"]["value"]) and same(numbers["KL, nats"], number["kl_mean"]["value"]) and \
            same(numbers["same top token, %"], 100 * number["top1_agreement"]["value"]) and \
            abs(float(numbers["change of it, %"]) - 100 * (number["perplexity_ratio"]["value"] - 1)) < 1e-3
        checks.check(good, "predictions of " + name, (label, number))


def check_files(checks, page, sweep):
    entries = entries_of(sweep)
    figures = page.run("return [...document.querySelectorAll('figure')].filter(f => !f.hidden).map(f => f.id)")
    checks.check(len(figures) >= 10, "figures of the page", figures)
    for figure in figures:
        page.again()    # a page may give ten files and no more
        name = figure.replace("fig-", "")
        rows = list(csv.reader(io.StringIO(page.download("#%s .csv" % figure, name + ".csv").decode())))
        checks.check(len(rows) > 2 and len({len(row) for row in rows}) == 1, figure + ": CSV parses", rows[:3])
        svg = xml.etree.ElementTree.fromstring(page.download("#%s .svg" % figure, name + ".svg").decode())
        texts = ["".join(e.itertext()) for e in svg.iter("{http://www.w3.org/2000/svg}text")]
        shown = page.run("return [...document.querySelectorAll('#%s svg text')].map(e => e.textContent)" % figure)
        checks.check(texts == shown and len(texts) > 3, figure + ": SVG parses, and says the same", texts[:5])
    with open(os.path.join(page.folder, "heat.csv"), encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    wrong = []
    for row in rows:
        number = entries[row["mode"], int(row["layer"]), row["component"]]["metrics"]["mse"]
        bounded = number["interval"] in ("ok", "exact")
        if not (same(row["mse"], number["value"]) and same(row["mse_low"], number["low"] if bounded else None, least=3) and
                same(row["mse_high"], number["high"] if bounded else None, least=3)):
            wrong.append(row)
    checks.check(len(rows) > 100 and not wrong, "CSV of the heat map: the numbers of sweep.json", wrong[:2])
    with open(os.path.join(page.folder, "position.csv"), encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    wrong = []
    for row in rows:
        positions = entries[row["mode"], int(row["layer"]), row["component"]]["positions"]
        first = int(row["tokens"].split("-")[0])
        if not same(row["mse"], [p["mse"] for p in positions if p["first_token"] == first][0]):
            wrong.append(row)
    checks.check(len(rows) > 20 and not wrong, "CSV of positions", wrong[:2])
    with open(os.path.join(page.folder, "bins.csv"), encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    counts = {}
    for row in rows:
        counts[row["mode"]] = counts.get(row["mode"], 0) + int(row["elements"])
    checks.check(all(counts[name] == entries[name, int(rows[0]["layer"]), "mixer_output"]["elements"] for name in counts) and counts,
                 "CSV of the distribution: all elements", counts)


def check_samples(checks, page, folder):
    """Every sample, against per_sample.json."""
    with open(os.path.join(page.folder, "samples.csv"), encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    known = {}
    for entry in harness.report(folder, "per_sample.json")["entries"]:
        if entry["layer"] == 23 and entry["component"] == "mixer_output":
            for sample in entry["samples"]:
                known[name_of(entry, True), sample["sample"]] = sample
    wrong = [(row, key) for row in rows for key in row if key not in ("sample", "tokens") and
             not same(row[key], known[key, int(row["sample"])]["mse"])]
    tokens = all(int(row["tokens"]) == sample["tokens"] for row in rows for (_, index), sample in known.items() if index == int(row["sample"]))
    checks.check(len(rows) == 5 and not wrong and tokens, "every sample: the numbers of per_sample.json", wrong[:2])


def main():
    browser.need()
    checks = harness.Checks()
    with harness.Workplace() as folder:
        sweep = browser.sweep(folder, "--per-sample")
        with browser.Browser(folder) as page:
            page.open(os.path.join(folder, "comparisons", "report.html"))
            check_figures(checks, page, sweep)
            check_tables(checks, page, sweep)
            check_files(checks, page, sweep)
            check_samples(checks, page, folder)
            said = page.said()
            checks.check(not said, "nothing on the console", said)
    checks.finish()


main()
