# SPDX-License-Identifier: Apache-2.0
"""`ssmsweep report`: the page of a sweep.json has the numbers and tables of the page of its result file, digit by digit,
and says what it lacks; several results make a part each; what is broken ends in one line that says where."""
import copy
import json
import os
import random
import re

import numpy as np

import harness

LEFT_OUT = {"bins", "samples", "scales"}    # of the data; of the chapters the summary too
DATA = re.compile(r'<script type="application/json" id="data(?:-\d+)?">\n(.*?)</script>', re.S)
CHAPTER = re.compile(r'<section id="([a-z]+)">\n(.*?)</section>', re.S)


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def data_of(page):
    return [json.loads(text) for text in DATA.findall(page)]


def sweep(folder, name, *options):
    """Where its result file and its comparisons are."""
    result, reports = name + "_result", name + "_reports"
    done = harness.run(["-q", "--model", name, "--calib-data", "ids.npy", "--store", "none", "--output_dir",
                        result, "--comparison-dir", reports, *harness.FEW, *options], 1, folder)
    if done.status != 0:
        raise RuntimeError("the sweep of %s ends with %s: %s" % (name, done.status, done.err))
    return result, reports


def check_same(checks, folder, result, reports):
    made = [harness.run(["report", given, "--out", out, *harness.FEW], ranks, folder)
            for given, out, ranks in ((result, "file.html", 2), (os.path.join(reports, "sweep.json"), "json.html", 2), (reports, "folder.html", 1))]
    if not checks.check([r.status for r in made] == [0, 0, 0], "the pages are made", [r.err for r in made]):
        return
    file, other = read(os.path.join(folder, "file.html")), read(os.path.join(folder, "json.html"))
    checks.check(other == read(os.path.join(folder, "folder.html")), "a folder stands for its sweep.json")
    checks.check(file == read(os.path.join(folder, reports, "report.html")), "the page of the file is that of the run")
    of_file, of_json = data_of(file)[0], data_of(other)[0]
    for key in of_file:
        if key != "sections":
            checks.check(of_file[key] == of_json[key], "the same %s" % key, (of_file[key], of_json[key]))
    for key, section in of_file["sections"].items():
        if key in LEFT_OUT:
            checks.check(of_json["sections"][key]["tables"] == [], "%s is left out" % key)
        else:
            checks.check(section["tables"] != [] and section == of_json["sections"][key], "%s has the same digits" % key)
    chapters, others = (dict(CHAPTER.findall(page)) for page in (file, other))
    for name in set(chapters) - LEFT_OUT - {"numbers"}:
        checks.check(chapters[name] == others.get(name), "chapter %s is the same" % name)
    checks.check(not LEFT_OUT & set(others) and "numbers" in others, "chapters without numbers are not there", sorted(others))
    checks.check("Made from sweep.json, which does not hold" in other, "it says what it lacks")
    checks.check(read(os.path.join(folder, "file.html")).count("<h1>") == 1, "one heading")


def check_several(checks, folder, result, reports):
    again = harness.run(["report", result, os.path.join(reports, "sweep.json"), "--out", "both.html", "--title", "<b>&", *harness.FEW], 1, folder)
    if not checks.check(again.status == 0, "two results make a page", again.err):
        return
    page, parts = read(os.path.join(folder, "both.html")), []
    for name in ("file.html", "json.html"):
        parts += data_of(read(os.path.join(folder, name)))
    checks.check(data_of(page) == parts, "with the numbers of both")
    ids = re.findall(r' id="([^"]*)"', page)
    checks.check(len(ids) == len(set(ids)) and "fig-heat-2" in ids, "no id stands twice")
    checks.check("<h1>&lt;b&gt;&amp;</h1>" in page and page.count("<article") == 2, "a title, and a part for each")


def changes(whole):
    """[(what, text of a file, what the line names)]"""
    def changed(change):
        value = copy.deepcopy(whole)
        change(value)
        return json.dumps(value)

    def estimate(value):
        return value["layers"][3]["metrics"]["mse"]
    text = json.dumps(whole)
    return [
        ("nothing", "", "empty"),
        ("no JSON", "mode,layer\n", "not valid JSON"),
        ("cut off", text[:len(text) // 2], "got the text's end"),
        ("an array", "[1]", "schema_version"),
        ("another JSON", '{"a": 1}', "schema_version"),
        ("another schema", changed(lambda v: v.update(schema_version=2)), "schema_version: expected 1, got 2"),
        ("no statistics", changed(lambda v: v.pop("statistics")), "statistics"),
        ("no modes", changed(lambda v: v.update(layers=[], end_of_model=[])), "no mode"),
        ("a number is a text", changed(lambda v: estimate(v).update(value="1")), "layers[3]: mse: value: expected a number, got '1'"),
        ("a number is missing", changed(lambda v: estimate(v).pop("low")), "layers[3]: mse: low"),
        ("a null without its word", changed(lambda v: estimate(v).update(value=None)), "mse: value"),
        ("no such interval", changed(lambda v: estimate(v).update(interval="sure")), "interval"),
        ("a metric is missing", changed(lambda v: v["layers"][0]["metrics"].pop("mae")), "mae"),
        ("a layer is missing", changed(lambda v: v["layers"].pop()), "layer 1, mixer_output: there are no numbers"),
        ("predictions are missing", changed(lambda v: v["end_of_model"].pop()), "predictions: there are no numbers"),
        ("no such component", changed(lambda v: [e.update(component="<script>") for e in v["layers"]]), "<script>"),
        ("a mode with a long name", changed(lambda v: v["layers"][0].update(mode="m" * 99)), "31 characters"),
        ("a ranking is missing", changed(lambda v: v["rankings"].pop()), "rankings: there is not one"),
        ("a pair is missing", changed(lambda v: v["rankings"][1]["pairs"].pop()), "rankings[1]: pairs"),
        ("places that the pairs deny", changed(lambda v: v["rankings"][0]["places"][0].update(worst=7)), "worst"),
        ("a mode of nowhere", changed(lambda v: v["rankings"][0]["places"][0].update(mode="9")), "mode"),
    ]


def check_broken(checks, folder, reports):
    whole = harness.read_json(os.path.join(folder, reports, "sweep.json"))
    path = os.path.join(folder, "broken.json")
    for what, text, named in changes(whole):
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        done = harness.run(["report", "broken.json", "--out", "broken.html"], 1, folder)
        good = done.status == 3 and len(done.lines()) == 1 and done.lines()[0].startswith("ssmsweep: broken.json: ") and named in done.lines()[0]
        checks.check(good and not os.path.exists(os.path.join(folder, "broken.html")), what + ": one line says where", (done.status, done.err))
    # Whatever else is wrong: a page or one line.
    draw = random.Random(17)
    for turn in range(200 if harness.LONG else 20):
        value = copy.deepcopy(whole)
        at = value
        while True:
            keys = list(at) if isinstance(at, dict) else range(len(at))
            key = draw.choice(list(keys))
            if not isinstance(at[key], (dict, list)) or not at[key] or draw.random() < 0.15:
                break
            at = at[key]
        at[key] = draw.choice([None, -1, 1e300, "x", [], {}, [[]], True])
        harness.write_json(path, value)
        done = harness.run(["report", "broken.json", "--out", "any.html"], 1, folder)
        checks.check(done.status in (0, 3) and len(done.lines()) == 1, "change %d of %r: a page or a line" % (turn, key), (done.status, done.err))


def check_refused(checks, folder, reports, other):
    one, two = (os.path.join(r, "sweep.json") for r in (reports, other))
    for arguments, status, named in (
            ([one, two, "--out", "x.html"], 3, "are of different models"),
            (["absent.json", "--out", "x.html"], 3, "absent.json"),
            ([one, "--comparison-dir", reports], 2, "is there already"),
            ([one, "--out", one], 2, "also a file that --out writes"),
            ([one, "--reference", "0", "--out", "x.html"], 2, "want the result file"),
            ([one, "--result", two], 2, "contradicts")):
        done = harness.run(["report", *arguments], 1, folder)
        checks.check(done.status == status and len(done.lines()) == 1 and named in done.lines()[0], "refused: " + named,
                     (done.status, done.err))
    whole = read(os.path.join(folder, one))
    checks.check(json.loads(whole)["schema_version"] == 1, "the input is as it was")


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        if "was built without the page" in harness.run(["report"], 1, folder).err:
            harness.skip("built without the page (SSMSWEEP_HTML=OFF)")
        np.save(os.path.join(folder, "ids.npy"), np.random.default_rng(1).integers(0, 256, (5, 17), dtype=np.int32))
        harness.make_model(os.path.join(folder, "tiny"))
        harness.make_model(os.path.join(folder, "other"), "--seed", "5")
        result, reports = sweep(folder, "tiny", "--modes", "all", "--components", "all", "--calib_data_num", "3,5", "--shuffle-calib", "2",
                                "--noise", "2")
        _, other = sweep(folder, "other", "--modes", "fp32,0,3", "--calib_data_num", "3", "--layers", "all")
        check_same(checks, folder, result, reports)
        check_several(checks, folder, result, reports)
        check_broken(checks, folder, other)
        check_refused(checks, folder, reports, other)
    checks.finish()


if __name__ == "__main__":
    main()
