# SPDX-License-Identifier: Apache-2.0
"""The page at 390, 1280 and 2560 px, light and dark: no two texts overlap, nothing is cut off, every text has a contrast of 4.5;
without scripts headline, tables and heat map are there."""
import os

import browser
import harness

# Boxes of all texts: {text, box, svg: index of its drawing, scroll: in a box that scrolls, color, under}.
TEXTS = r"""
const drawings = [...document.querySelectorAll("svg")];
const background = element => {
  for (let e = element; e; e = e.parentElement) {
    const color = getComputedStyle(e).backgroundColor;
    if (!/, 0\)$|transparent/.test(color)) return color;
  }
  return "rgb(255, 255, 255)";
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const text = node.textContent.trim(), element = node.parentElement;
  if (!text || element.closest("script, style, select, [hidden]") || !element.checkVisibility()) continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  const svg = element.closest("svg");
  let under = background(element), color = getComputedStyle(element)[svg ? "fill" : "color"];
  if (svg && element.getAttribute("pointer-events") === "none") {
    const box = element.getBoundingClientRect(), x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
    const cell = [...svg.querySelectorAll(".cell")].find(c => { const b = c.getBoundingClientRect();
      return b.left <= x && x <= b.right && b.top <= y && y <= b.bottom; });
    if (cell) under = cell.getAttribute("fill");
  }
  for (const r of svg ? [element.getBoundingClientRect()] : range.getClientRects()) {
    if (r.width < 1) continue;
    found.push({ text, svg: drawings.indexOf(svg), scroll: Boolean(element.closest(".scroll")), sticky: Boolean(element.closest("#controls")), color, under,
      box: [r.left, r.top + scrollY, r.right, r.bottom + scrollY] });
  }
}
const edges = drawings.map(s => { const r = s.getBoundingClientRect(); return [r.left, r.top + scrollY, r.right, r.bottom + scrollY]; });
return { found, edges, width: innerWidth, wide: document.documentElement.scrollWidth };
"""


def numbers(color):
    """Red, green and blue of "rgb(1, 2, 3)" or "#010203"."""
    if color.startswith("#"):
        color = color[1:] if len(color) == 7 else "".join(2 * c for c in color[1:])
        return [int(color[i:i + 2], 16) for i in (0, 2, 4)]
    return [float(part) for part in color[color.index("(") + 1:-1].split(",")[:3]]


def luminance(color):
    parts = [c / 255 for c in numbers(color)]
    parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def overlaps(texts):
    """Pairs of texts that lie on each other by more than a pixel each way."""
    bad, texts = [], sorted(texts, key=lambda t: t["box"][1])
    for i, a in enumerate(texts):
        for b in texts[i + 1:]:
            if b["box"][1] > a["box"][3]:
                break
            across = min(a["box"][2], b["box"][2]) - max(a["box"][0], b["box"][0])
            down = min(a["box"][3], b["box"][3]) - max(a["box"][1], b["box"][1])
            if across > 1 and down > (1 if a["svg"] < 0 else 3) and a["scroll"] == b["scroll"] and not (a["sticky"] or b["sticky"]):
                bad.append((a["text"][:60], b["text"][:60], round(across), round(down)))
    return bad


def check_layout(checks, page, what):
    seen = page.run(TEXTS)
    texts = seen["found"]
    checks.check(len(texts) > 60, what + ": there are texts", len(texts))
    bad = overlaps(texts)
    checks.check(not bad, what + ": no texts overlap", bad[:8])
    checks.check(seen["wide"] <= seen["width"], what + ": nothing is wider than the window", seen["wide"])
    cut = [t["text"][:60] for t in texts if not t["scroll"] and (t["box"][0] < -0.5 or t["box"][2] > seen["width"] + 0.5)]
    for t in texts:
        if t["svg"] >= 0:
            edge = seen["edges"][t["svg"]]
            if t["box"][0] < edge[0] - 1 or t["box"][2] > edge[2] + 1 or t["box"][1] < edge[1] - 2 or t["box"][3] > edge[3] + 2:
                cut.append(t["text"][:60])
    checks.check(not cut, what + ": no text is cut off", cut[:8])
    pale = {(t["text"][:40], t["color"], t["under"]) for t in texts if contrast(t["color"], t["under"]) < 4.5}
    checks.check(not pale, what + ": contrast", sorted(pale)[:6])


def check_without_scripts(checks, page, path):
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.open(path)
    shown = {name: len([e for e in page.all(selector) if e.is_displayed()]) for name, selector in (
        ("headline", "h1"), ("answer", ".answer li"), ("heat map", "table.heat td"), ("table", "main table"), ("note", ".notes li"),
        ("control", "#controls"), ("figure", "figure"))}
    page.call("Emulation.setScriptExecutionDisabled", value=False)
    checks.check(shown["headline"] == 1 and shown["answer"] == 3 and shown["heat map"] > 100 and shown["table"] >= 5 and shown["note"] > 3,
                 "without scripts: headline, answer, heat map, tables and notes", shown)
    checks.check(shown["control"] == shown["figure"] == 0, "and nothing that does nothing", shown)


def main():
    browser.need()
    checks = harness.Checks()
    with harness.Workplace() as folder:
        browser.sweep(folder)
        path = os.path.join(folder, "comparisons", "report.html")
        big = browser.made("big", folder)
        with browser.Browser(folder) as page:
            for width in browser.WIDTHS:
                page.resize(width)
                for dark in (False, True):
                    page.dark(dark)
                    page.open(path)
                    page.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
                    check_layout(checks, page, "%d px, %s" % (width, "dark" if dark else "light"))
                for metric in ("correlation", "relative MAE", "SQNR (dB)"):
                    page.choose("metric", metric)
                    check_layout(checks, page, "%d px, %s" % (width, metric))
                page.open(big)
                check_layout(checks, page, "%d px, 64 layers" % width)
            page.resize(1280)
            page.call("Emulation.setEmulatedMedia", media="print")
            page.open(path)
            checks.check(not page.find("#controls").is_displayed() and page.find("#fig-heat svg").is_displayed(), "on paper: figures, no controls")
            page.call("Emulation.setEmulatedMedia", media="")
            check_without_scripts(checks, page, path)
            said = page.said()
            checks.check(not said, "nothing on the console", said)
    checks.finish()


main()
