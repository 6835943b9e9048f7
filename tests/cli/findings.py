# SPDX-License-Identifier: Apache-2.0
"""What attribute, mix and units found stands in the page of the same model, with the numbers of their files: beside a comparison, by
itself, in Markdown; what is of another model or broken is left out with a note, or refused where the user names it."""
import json
import os
import re
import shutil

import numpy as np

import harness
import report_pages

FILES = ("attribution.json", "depth.json", "bisect.json", "mix.json", "units.json")


def make(folder, model="model", seed="3"):
    """All findings of a random model of two layers, in comparisons/."""
    harness.make_model(os.path.join(folder, model), "--seed", seed, "--d-model", "32", "--n-layer", "2", "--vocab", "48", "--d-state", "8")
    draw = np.random.Generator(np.random.PCG64(1))
    np.save(os.path.join(folder, "ids.npy"), draw.integers(0, 48, (8, 12), np.int32))
    harness.write_json(os.path.join(folder, "costs.json"), {"weight:in_proj": {"int8": 1, "float": 4}})
    common = ["-q", "--model", model, "--calib-data", "ids.npy", "--calib_data_num", "3", "--eval_data_num", "8"]
    commands = (["attribute", "--mode", "2-1", "--by", "unit,layer", "--noise", "2", "--costs", "costs.json"],
                ["attribute", "--mode", "2-1", "--depth", "--output_dir", "d"],
                ["attribute", "--mode", "2-1", "--bisect", "--limit", "1e-9", "--by", "layer", "--output_dir", "b"],
                ["mix", "--budget", "int8>=0.5", "--noise", "2", "--output_dir", "m"])
    for words in commands:
        done = harness.run(words + common + harness.FEW, 1, folder)
        if done.status:
            raise RuntimeError("%s ends with %s: %s" % (words, done.status, done.err))
    done = harness.run(["units"] + common, 1, folder)
    if done.status:
        raise RuntimeError("units ends with %s: %s" % (done.status, done.err))
    return {name: harness.report(folder, name) for name in FILES}


def near(shown, value, digits=4):
    shown = shown[0] if isinstance(shown, list) else shown
    return shown is None if value is None else abs(shown - value) <= 0.51 * 10.0 ** (1 - digits) * abs(value)


def columns(section, table=0):
    found = section["tables"][table]
    keys = [column[0] for column in found["columns"]]
    return [dict(zip(["layer", "component", "name"] + keys, row)) for row in found["rows"]]


def check_numbers(checks, data, files):
    pieces = columns(data["sections"]["pieces"])
    known = files["attribution.json"]["pieces"]
    wrong = [(row, p) for row, p in zip(pieces, known) if (row["name"], row["layer"]) != (p["unit"], p["layer"]) or not (
        near(row["without_change"], p["without"]["change"]) and near(row["without_share"], p["without"]["share"]) and near(row["only_share"], p["only"]["share"]) and
        row["weight_bytes"] == p["weight_bytes"] and near(row["user_cost"], p["user_cost"]) and near(row["p_adjusted"], p["p_adjusted"]))]
    checks.check(len(pieces) == len(known) and not wrong, "every piece has its numbers", wrong[:2])
    bounded = [(row["without_change"], p["without"]) for row, p in zip(pieces, known) if p["without"]["change_interval"] == "ok"]
    checks.check(bounded and all(near(cell[1], p["change_low"], 3) and near(cell[2], p["change_high"], 3) for cell, p in bounded), "with intervals", bounded[:2])
    marks = [(row["without_change"][3] if isinstance(row["without_change"], list) and len(row["without_change"]) > 3 else 0, p) for row, p in zip(pieces, known)]
    checks.check(all((m & 2 != 0) == p["within_noise"] and (m & 32 != 0) == (p["significant"] and not p["within_noise"]) and
                     (m & 1 != 0) == (p["without"]["change_interval"] == "equal") for m, p in marks), "and marks", marks[:3])
    points = columns(data["sections"]["mix"])
    known = files["mix.json"]["points"]
    checks.check([p["name"] for p in points] == [p["name"] for p in known] and all(
        near(a["judging"], b["judging"]["value"]) and near(a["cost"], b["cost"]) and near(a["int8_share"], b["int8_share"]) and a["weight_bytes"] == b["weight_bytes"] and
        (a["on_front"] == "yes") == b["on_front"] for a, b in zip(points, known)), "every mix has its numbers", points[:2])
    rounds = columns(data["sections"]["mix"], 1)
    checks.check([r["changes"] for r in rounds] == [len(r["changes"]) for r in files["mix.json"]["rounds"]], "the rounds", rounds)
    units = columns(data["sections"]["units"])
    known = files["units.json"]["units"]
    checks.check([(u["name"], u["layer"]) for u in units] == [(u["unit"], u["layer"]) for u in known] and all(
        near(a["relative_error"], b["relative_error"]) and near(a["entropy_bits"], b["entropy_bits"]) and near(a["clipped_share"], b["clipped_share"]) and
        near(a["token"], b["error_instead"]["token"]) for a, b in zip(units, known)), "every unit has its numbers", units[:2])
    layers = columns(data["sections"]["amplification"])
    checks.check([l["layer"] for l in layers] == [0, 1] and all(near(a["by_itself"], b["by_itself"]["value"]) for a, b in zip(layers, files["depth.json"]["layers"])),
                 "every layer has its numbers", layers)


def read(folder, name):
    return report_pages.read(os.path.join(folder, name))


def check_alone(checks, folder, files):
    done = harness.run(["report"], 2, folder)
    if not checks.check(done.status == 0, "a page without a comparison", done.err):
        return
    page = read(folder, "comparisons/report.html")
    chapters = dict(report_pages.CHAPTER.findall(page))
    checks.check(sorted(chapters) == ["amplification", "attribution", "bisect", "mix", "units"], "its chapters", sorted(chapters))
    check_numbers(checks, report_pages.data_of(page)[0], files)
    cost = files["attribution.json"]["cost"]
    checks.check("%d bytes of weights, a cost of %g" % (cost["weight_bytes"], cost["user_cost"]) in chapters["attribution"], "what the mode takes is said")
    checks.check("Interaction: " in chapters["attribution"] and "surely better than" in chapters["mix"], "interaction and answer are said")
    checks.check(page.count('<form id="controls"') == 0 and page.count("<h1>") == 1, "no controls of modes that are not there")
    again = harness.run(["report"], 1, folder)
    checks.check(again.status == 2 and "--overwrite" in again.err and len(again.lines()) == 1, "a page that is there is not replaced", again.err)
    for name in FILES:
        done = harness.run(["report", "comparisons/" + name, "--out", "one.html"], 1, folder)
        one = dict(report_pages.CHAPTER.findall(read(folder, "one.html")))
        checks.check(done.status == 0 and len(one) == 1 and chapters[next(iter(one))] == next(iter(one.values())), name + " by itself", (done.err, list(one)))


def check_beside(checks, folder, files):
    words = ["--model", "model", "--calib-data", "ids.npy", "--calib_data_num", "3", *harness.FEW]
    done = harness.run(["-q", "--modes", "fp32,2-1", "--overwrite"] + words, 1, folder)
    page = read(folder, "comparisons/report.html")
    chapters = dict(report_pages.CHAPTER.findall(page))
    checks.check(done.status == 0 and {"heat", "attribution", "mix", "units"} < set(chapters), "a sweep's page has them too", (done.err, sorted(chapters)))
    check_numbers(checks, report_pages.data_of(page)[0], files)
    for ranks in (1, 2):
        done = harness.run(["report", *harness.FEW, "--out", "again.html"], ranks, folder)
        checks.check(done.status == 0 and read(folder, "again.html") == page, "report at -n %d: the same bytes" % ranks, done.err)
    done = harness.run(["compare", "--format", "markdown", "--no-html", *harness.FEW], 1, folder)
    first = files["attribution.json"]["pieces"][0]
    row = re.search(r"^\| %s \| %s \| (\S+)" % (re.escape(first["unit"]), first["layer"]), done.out, re.M)
    checks.check(row and near(float(row.group(1)), first["without"]["change"]) and "## Mixes under int8 >= 0.5" in done.out, "in Markdown", done.out[-800:])


def check_refused(checks, folder):
    kept = harness.read_bytes(os.path.join(folder, "comparisons", "mix.json"))
    whole = json.loads(kept)
    broken = (({**whole, "schema_version": 99}, "schema_version: expected 2"), ({**whole, "points": 3}, "points: expected an array"),
              ({k: v for k, v in whole.items() if k != "answer"}, "answer: expected an object"), ({**whole, "stopped": "bored"}, "stopped: expected why"))
    for value, part in broken:
        harness.write_json(os.path.join(folder, "comparisons", "mix.json"), value)
        done = harness.run(["report", "comparisons/mix.json", "--out", "broken.html"], 1, folder)
        checks.check(done.status == 3 and len(done.lines()) == 1 and part in done.err and "ssmsweep mix" in done.err, "broken: " + part, (done.status, done.err))
        done = harness.run(["report", *harness.FEW, "--out", "broken.html"], 1, folder)
        page = read(folder, "broken.html")
        checks.check(done.status == 0 and 'id="mix"' not in page and "Left out: " in page and 'id="attribution"' in page, "beside a result it is left out: " + part, done.err)
    with open(os.path.join(folder, "comparisons", "mix.json"), "wb") as f:
        f.write(kept)
    for words, part in ((["--modes", "2-1"], "want the result file"), (["--reference", "2-1"], "want the result file")):
        done = harness.run(["report", "comparisons/mix.json", "--out", "broken.html"] + words, 1, folder)
        checks.check(done.status == 2 and part in done.err, "mix.json %s" % words, done.err)
    other = json.loads(kept)
    other["provenance"]["weights_digest"] = "0" * 64
    harness.write_json(os.path.join(folder, "comparisons", "mix.json"), other)
    done = harness.run(["report", *harness.FEW, "--out", "other.html"], 1, folder)
    checks.check(done.status == 0 and 'id="mix"' not in read(folder, "other.html") and "of another model" in read(folder, "other.html"), "another model's is left out", done.err)
    done = harness.run(["report", "comparisons/mix.json", "layer_outputs", *harness.FEW, "--out", "other.html"], 1, folder)
    checks.check(done.status == 3 and "different models" in done.err, "and refused where it is named", done.err)
    shutil.rmtree(os.path.join(folder, "comparisons"))
    shutil.rmtree(os.path.join(folder, "layer_outputs"))
    done = harness.run(["report"], 1, folder)
    checks.check(done.status == 3 and len(done.lines()) == 1, "nothing to show", done.err)


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        files = make(folder)
        check_alone(checks, folder, files)
        check_beside(checks, folder, files)
        check_refused(checks, folder)
    checks.finish()


if __name__ == "__main__":
    main()
