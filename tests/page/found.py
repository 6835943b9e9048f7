# SPDX-License-Identifier: Apache-2.0
"""Pieces, mixes, units and the depth as figures: every number under the pointer and in the CSV is that of its file."""
import csv
import io
import os
import re
import sys

PAGES = sys.path[0]    # its numbers.py is not the library's, which NumPy takes
sys.path[0] = os.path.join(os.environ["SSMSWEEP_SOURCE"], "tests", "cli")
import findings  # noqa: E402
import harness  # noqa: E402

sys.path.insert(0, PAGES)
import browser  # noqa: E402


def main():
    browser.need()
    checks = harness.Checks()
    with harness.Workplace() as folder:
        files = findings.make(folder)
        done = harness.run(["report"], 1, folder)
        checks.check(done.status == 0, "the page", done.err)
        path = os.path.join(folder, "comparisons", "report.html")
        checks.check(not browser.tidy(path), "valid HTML", browser.tidy(path)[:600])
        with browser.Browser(folder) as page:
            page.open(path)
            checks.check(not page.said() and page.run("return document.documentElement.classList.contains('scripted')"), "scripts run", page.said())
            pieces = {(p["unit"], "all" if p["layer"] is None else str(p["layer"])): p for p in files["attribution.json"]["pieces"]}
            for figure in ("pieces", "alone"):
                labels = page.labels("#fig-%s .cell" % figure)
                found = [re.match(r"(\S+?)(?:, layer (\d+))?\nerror without it x (\S+) \(.*\)\nshare (\S+)(?: %)?, alone (\S+)", label) for label in labels]
                wrong = [label for label, m in zip(labels, found) if not m or not (
                    browser.same(m.group(3), pieces[m.group(1), m.group(2) or "all"]["without"]["change"]) and
                    browser.same(m.group(4), pieces[m.group(1), m.group(2) or "all"]["without"]["share"], True) and
                    browser.same(m.group(5), pieces[m.group(1), m.group(2) or "all"]["only"]["share"], True))]
                checks.check(len(labels) == len(pieces) and not wrong, "%s: every piece" % figure, wrong[:2])
            rows = list(csv.DictReader(io.StringIO(page.download("#fig-pieces .csv", "pieces.csv").decode())))
            checks.check(len(rows) == len(pieces) and all(browser.same(r["without_share"], pieces[r["unit"], r["layer"]]["without"]["share"]) for r in rows), "pieces as CSV", rows[:1])
            points = {p["name"]: p for p in files["mix.json"]["points"]}
            labels = page.labels("#fig-mix .dot")
            found = {re.match(r"(\S+) \(", label).group(1): re.search(r"^error (\S+),", label, re.M).group(1) for label in labels}
            far = re.findall(r"(\S+) is not drawn", page.find("#fig-mix figcaption").text)
            checks.check(found.keys() | set(far) == points.keys() and all(browser.same(v, points[k]["judging"]["value"]) for k, v in found.items()), "every mix", (found, far))
            layers = page.labels("#fig-amplification .dot")
            checks.check(len(layers) == 4 and all(l.startswith("layer ") for l in layers), "the error over the depth", layers)
            units = {(u["unit"], u["layer"]): u for u in files["units.json"]["units"]}
            for key, title in (("relative_error", "error"), ("entropy_bits", "bits used, of 8")):
                page.choose("unit-number", title)
                labels = page.labels("#fig-units .cell")
                wrong = [label for label in labels if not browser.same(re.search(r"^%s: (\S+)" % title, label, re.M).group(1),
                                                               units[re.match(r"(\S+), layer", label).group(1), int(re.search(r"layer (\d+)", label).group(1))][key],
                                                               key == "relative_error")]
                checks.check(len(labels) == len(units) and not wrong, "every unit: " + key, wrong[:2])
            checks.check(page.find("#fig-units figcaption").text.startswith("bits used"), "the number is chosen")
            page.find("#fig-pieces .cell[tabindex='0']").send_keys("\ue014")    # right
            checks.check(page.run("return document.activeElement.getAttribute('aria-label')").split("\n")[0].endswith("layer 1"), "arrows move between cells")
            page.resize(390)
            page.again()
            wide = page.run("return document.documentElement.scrollWidth")
            checks.check(wide <= 390 and not page.said(), "on a phone nothing is cut", (wide, page.said()))
    checks.finish()


main()
