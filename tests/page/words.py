# SPDX-License-Identifier: Apache-2.0
"""Pages as files: valid HTML, the same bytes for the same results, small enough; names that would do harm are mere text; the
commands and options that make pages."""
import os
import shutil
import time

import browser
import harness

MOST_BYTES = 2_000_000


def check_valid(checks, path, what):
    said = browser.tidy(path)
    checks.check(not said, what + ": valid HTML", said[:600])


def check_commands(checks, folder):
    """run, compare and report make the page; the same bytes but for the title."""
    page = os.path.join(folder, "comparisons", "report.html")
    first = harness.read_bytes(page)
    check_valid(checks, page, "the page of a sweep")
    checks.check(b"1 of 2" not in first and first.count(b">fail<") == 1 and first.count(b">pass<") == 1,
                 "gates with pass and fail")
    gates = ["--gate", "mode=fp16 mse<1; mode=0 mse<1e-30", "--bootstrap", "199"]
    for ranks in (1, 3):
        os.remove(page)
        done = harness.run(["compare", "-q", *gates], ranks, folder)
        checks.check(done.status == 1 and os.path.exists(page) and harness.read_bytes(page) == first, "compare with %d ranks: the same bytes" % ranks, done.err)
    os.remove(page)
    done = harness.run(["compare", "-q", "--no-html", *gates], 1, folder)
    checks.check(done.status == 1 and not os.path.exists(page), "--no-html", done.err)
    for words, made in ((["report"], "comparisons/report.html"), (["report", "layer_outputs", "--out", "a.html"], "a.html"),
                        (["report", "layer_outputs/sweep.h5", "--out", "b.html", "--title", "<i>Mine</i>"], "b.html")):
        done = harness.run(words + ["--bootstrap", "199"], 1, folder)
        path = os.path.join(folder, made)
        checks.check(done.status == 0 and os.path.exists(path) and ("page: " + made) in done.err and not done.out, " ".join(words), (done.out, done.err))
        check_valid(checks, path, " ".join(words))
    text = {name: harness.read_bytes(os.path.join(folder, name)) for name in ("comparisons/report.html", "a.html", "b.html")}
    checks.check(text["a.html"] == text["comparisons/report.html"], "report: the same bytes wherever they go")
    checks.check(text["b.html"].count(b"&lt;i&gt;Mine&lt;/i&gt;") == 2 and text["b.html"].replace(b"&lt;i&gt;Mine&lt;/i&gt;", b"8") != text["a.html"],
                 "--title is the title and the headline")
    for words, status, part in ((["report", "absent"], 3, "absent"), (["report", "--out", "layer_outputs/sweep.h5"], 2, "--out"),
                                (["report", "layer_outputs", "absent"], 3, "absent"), (["report", "--out", "no/such/folder.html"], 4, "folder")):
        done = harness.run(words, 1, folder)
        checks.check(done.status == status and part in done.err, " ".join(words) + ": refused", (done.status, done.err))
    shutil.copy(os.path.join(folder, "a.html"), page)
    done = harness.run(["-q", "--overwrite", "--modes", "fp32,0", "--calib_data_num", "1", "--calib_seqlen", "8", "--no-html"], 1, folder)
    checks.check(done.status == 0 and not os.path.exists(page), "--overwrite removes a page of before", done.err)
    with open(page, "w") as out:
        out.write("<p>mine</p>")
    done = harness.run(["-q", "--overwrite", "--modes", "fp32,0", "--calib_data_num", "1", "--calib_seqlen", "8", "--no-html"], 1, folder)
    checks.check(done.status == 0 and os.path.exists(page), "--overwrite leaves a page that is somebody else's", done.err)


def check_hostile(checks, page, path):
    check_valid(checks, path, "hostile names")
    page.open(path)
    said = page.said()
    checks.check(not said, "hostile names: nothing on the console", said)
    checks.check(page.run("return window.hacked === undefined"), "hostile names: nothing is executed")
    checks.check(page.run("return document.querySelectorAll('img, i, iframe').length") == 0, "hostile names: no element is made")
    checks.check(page.find("h1").text == "</script><script>window.hacked=1</script>", "hostile names: they are text", page.find("h1").text)
    names = page.run("return [...document.querySelectorAll('#fig-heat svg text')].map(e => e.textContent)")
    checks.check("\"><img src=x onerror=window.hacked=2>" in names and any("[U+202E]right to left" in name for name in names),
                 "hostile names: in figures too", names[:6])
    checks.check(not any("\u202e" in name for name in names) and "\u202e" not in page.run("return document.body.textContent"),
                 "hostile names: nothing turns the direction")
    for figure in ("heat", "depth", "position", "samples", "places", "pairs"):
        checks.check(len(page.all("#fig-%s svg text" % figure)) > 3, "hostile names: figure " + figure)


def check_big(checks, page, folder):
    began = time.monotonic()
    path = browser.made("big", folder)
    took = time.monotonic() - began
    size = os.path.getsize(path)
    checks.check(size < MOST_BYTES, "64 layers, 9 modes, 6 components, 2,000 samples: %d bytes" % size, size)
    checks.check(took < 2, "made in %.2f s" % took, took)
    check_valid(checks, path, "the big page")
    page.open(path)
    checks.check(len(page.all("#fig-heat .cell")) == 8 * 64 and not page.said(), "the big page opens")


def main():
    browser.need()
    checks = harness.Checks()
    with harness.Workplace() as folder:
        browser.sweep(folder)
        check_commands(checks, folder)
        with browser.Browser(folder) as page:
            check_hostile(checks, page, browser.made("hostile", folder))
            check_big(checks, page, folder)
    checks.finish()


main()
