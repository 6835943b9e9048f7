# SPDX-License-Identifier: Apache-2.0
"""Metric, component, layer and mode of the page are chosen by mouse, by keyboard and by a link; hover and focus say the value;
tables are sorted and copied; nothing is asked of anybody, and the console stays silent."""
import os
import time

import browser
import harness

END_OF_FOCUS = "document.activeElement.blur()"


def state(page):
    return tuple(page.run("return [...document.querySelectorAll('#controls select')].map(s => s.selectedOptions[0].textContent)"))


def caption(page, figure):
    return page.find("#%s figcaption" % figure).text


def check_controls(checks, page):
    from selenium.webdriver.common.keys import Keys
    checks.check(state(page) == ("MSE", "mixer_output", "23"), "begins with MSE of the output of the last layer", state(page))
    page.choose("metric", "MAE")
    page.choose("component", "ssm_input")
    page.choose("layer", "11")
    checks.check(caption(page, "fig-heat").startswith("MAE of ssm_input"), "chosen by mouse", caption(page, "fig-heat"))
    checks.check(page.run("return location.hash") == "#metric=mae&component=ssm_input&layer=11", "the link follows", page.run("return location.hash"))
    page.find("#metric").send_keys(Keys.ARROW_DOWN)
    checks.check(state(page)[0] == "relative MSE" and caption(page, "fig-depth").startswith("relative MSE"), "metric by keyboard", state(page))
    page.find("#component").send_keys(Keys.ARROW_DOWN)
    checks.check(state(page)[1] == "ssm_output", "component by keyboard", state(page))
    page.find("#layer").send_keys(Keys.ARROW_UP)
    checks.check(state(page)[2] == "10", "layer by keyboard", state(page))


def check_heat(checks, page):
    from selenium.webdriver.common.keys import Keys
    cells = page.all("#fig-heat .cell")
    layers = len(page.all("#layer option"))
    page.click(cells[2 * layers + 5])
    checks.check(state(page)[2] == "5", "a click on a cell chooses its layer", state(page))
    page.run("document.querySelector('#fig-heat .cell[tabindex=\"0\"]').focus()")
    page.keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    told = page.find("#tip")
    label = page.run("return document.activeElement.getAttribute('aria-label')")
    checks.check(told.is_displayed() and told.text == label and ", layer 7," in label and "95 %:" in label and "n = 5 samples" in label,
                 "focus says value, interval and n", (told.text, label))
    page.keys(Keys.ENTER)
    checks.check(state(page)[2] == "7" and page.run("return document.activeElement.classList.contains('cell')"), "Enter chooses the layer", state(page))
    page.run(END_OF_FOCUS)
    cell = page.all("#fig-heat .cell")[layers + 3]
    page.hover(cell)
    checks.check(told.is_displayed() and told.text == cell.get_attribute("aria-label"), "the pointer says it too", told.text)
    page.hover(page.find("h2"))
    checks.check(not told.is_displayed(), "and it goes with the pointer")


def check_lines(checks, page):
    from selenium.webdriver.common.keys import Keys
    page.run("document.querySelector('#fig-depth .slider').focus()")
    page.keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    checks.check(state(page)[2] == "5", "arrow keys move the layer of the depth figure", state(page))
    page.keys(Keys.END)
    checks.check(state(page)[2] == "23", "End: the last layer", state(page))
    dots = page.all("#fig-depth .dot")
    page.hover(dots[4])
    checks.check(page.find("#tip").text == dots[4].get_attribute("aria-label"), "a point of a line says its value", page.find("#tip").text)
    page.run("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", dots[4])
    checks.check(state(page)[2] == "4", "a click on a point chooses the layer", state(page))
    checks.check("layer 4" in caption(page, "fig-layer") and len(page.all("#fig-layer .dot")) > 0, "which opens its components", caption(page, "fig-layer"))
    page.run("document.querySelectorAll('#fig-layer .dot')[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))")
    checks.check(state(page)[1] == browser.COMPONENTS[0], "a click on a component chooses it", state(page))
    page.run("document.querySelectorAll('#fig-depth .legend')[1].focus()")
    page.keys(Keys.ENTER)
    pressed = page.run("return [...document.querySelectorAll('#fig-depth .legend')].map(e => e.getAttribute('aria-pressed'))")
    checks.check(pressed[1] == "true" and pressed.count("true") == 1, "Enter on a name of the legend", pressed)
    page.keys(Keys.ENTER)
    pressed = page.run("return [...document.querySelectorAll('#fig-depth .legend')].map(e => e.getAttribute('aria-pressed'))")
    checks.check("true" not in pressed, "and again: all modes", pressed)


def column(page, selector, place):
    return page.run("return [...document.querySelector(arguments[0]).tBodies[0].rows].map(row => row.cells[arguments[1]].textContent.trim())",
                    selector, place)


def check_tables(checks, page):
    page.choose("layer", "23")
    for up in (True, False):
        page.click(page.all("#all-pairs th button")[1])
        values = [float(text.rstrip("=~#")) for text in column(page, "#all-pairs table", 1)]
        checks.check(len(values) > 5 and values == sorted(values, reverse=not up), "pairs sorted by change, %s" % ("up" if up else "down"), values)
    page.click(page.all("#predictions th button")[0])
    names = column(page, "#predictions table", 0)
    checks.check(len(names) > 5 and names[0] == "0" and names[-1] in ("fp16", "noise"), "predictions sorted by name", names)
    page.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.click(page.find("#all-pairs .copy"))
    deadline, text = time.monotonic() + 10, ""
    while "\t" not in text and time.monotonic() < deadline:
        text = page.driver.execute_async_script("const done = arguments[0]; navigator.clipboard.readText().then(done, e => done(String(e)))")
    lines = [line.split("\t") for line in text.rstrip("\n").split("\n")]
    checks.check(lines[0][0] == "pair" and [line[1] for line in lines[1:]] == column(page, "#all-pairs table", 1), "a table is copied", lines[:3])
    tables = page.run("return [...document.querySelectorAll('main table, #about table')].filter(t => !t.closest('.without-script')).length")
    checks.check(len(page.all(".copy")) == tables > 4, "every table can be copied", (len(page.all(".copy")), tables))


def check_parts(checks, page, folder):
    """Two results in one page: each part has figures and a choice of its own."""
    done = harness.run(["report", "layer_outputs", "comparisons/sweep.json", "--out", "two.html", "--bootstrap", "199"], 1, folder)
    path = os.path.join(folder, "two.html")
    checks.check(done.status == 0 and not browser.tidy(path), "two results: valid HTML", (done.err, browser.tidy(path)[:600]))
    page.open(path)
    cells = len(page.all("#fig-heat .cell"))
    checks.check(cells > 0 and cells == len(page.all("#fig-heat-2 .cell")), "both have their figures", cells)
    page.choose("metric-2", "MAE")
    checks.check(caption(page, "fig-heat").startswith("MSE of") and caption(page, "fig-heat-2").startswith("MAE of"), "each has its own choice")
    checks.check(page.labels("#fig-depth .slider") == page.labels("#fig-depth-2 .slider"), "and says the same of the same numbers")
    for width in browser.WIDTHS:
        page.resize(width)
        wide = page.run("return document.documentElement.scrollWidth")
        checks.check(wide <= width, "nothing is cut off at %d px" % width, wide)
    said = page.said()
    checks.check(not said, "two results: nothing on the console", said)


def main():
    browser.need()
    checks = harness.Checks()
    with harness.Workplace() as folder:
        browser.sweep(folder)
        path = os.path.join(folder, "comparisons", "report.html")
        with browser.Browser(folder) as page:
            page.open(path)
            for part in (check_controls, check_heat, check_lines, check_tables):
                part(checks, page)
            page.open(path, "#metric=correlation&component=conv1d_output&layer=3")
            checks.check(state(page) == ("correlation", "conv1d_output", "3"), "a link names metric, component and layer", state(page))
            page.open(path, "#metric=nothing&component=%3Cb%3E&layer=999")
            checks.check(state(page) == ("MSE", "mixer_output", "23"), "a link that names nothing", state(page))
            said, asked = page.said(), page.requests()
            checks.check(not said, "nothing on the console", said)
            others = [url for url in asked if not url.startswith(("file://" + path, "data:", "blob:", "about:"))]
            checks.check(any(url.startswith("file://" + path) for url in asked) and not others, "nothing is asked of anybody", others)
            check_parts(checks, page, folder)
    checks.finish()


main()
