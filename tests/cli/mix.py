# SPDX-License-Identifier: Apache-2.0
"""`ssmsweep mix`: the choice follows from the numbers that the report has, costs are those of a count from config.json, runs are those
of their recipes, any ranks and a stopped run give the same bytes, and what makes no sense is refused."""
import csv
import json
import math
import os
import re
import shlex

import h5py
import jsonschema
import numpy as np

import documents
import harness

SAMPLES = 40
SHORT = ["--calib_data_num", "4", "--eval_data_num", str(SAMPLES), "--calib_seqlen", "32"] + harness.FEW
FEW_PIECES = ["--layers", "3,7,16,23"]
BUDGET = ["--budget", "bytes<=7.2M", "--recipes", "coarse.json", "--modes", "coarse,fp32"]
FAULT = {"weight:in_proj": "int4-g32", "weight:out_proj": "int4-g32", "weight:x_proj": "int4-g32"}
# A float model but for what three layers do badly and all do a little: the budget allows to mend two.
COARSE = {"name": "coarse", "base": "fp32", "set": {"gate:input": "int8"}, "layers": [{"layers": str(l), "set": FAULT} for l in (3, 7, 16)]}
SCHEMA = os.path.join(harness.SOURCE, "docs", "schema", "%s.schema.json")


def mix(folder, *arguments, ranks=1, name="m"):
    return harness.run(["mix", "--output_dir", name, "--comparison-dir", name + "-c"] + SHORT + list(arguments), ranks, folder)


def read(folder, name="m"):
    return harness.read_json(os.path.join(folder, name + "-c", "mix.json"))


def valid(value, schema):
    return [e.message[:300] for e in jsonschema.Draft202012Validator(harness.read_json(SCHEMA % schema)).iter_errors(value)][:3]


# ---- costs: counted from config.json ----

def shapes():
    c = harness.read_json(os.path.join(harness.DEMO, "config.json"))
    D = c.get("hidden_size") or c["d_model"]
    inner, n, k = c.get("intermediate_size") or 2 * D, c.get("state_size", 16), c.get("conv_kernel", 4)
    r = c.get("time_step_rank", "auto")
    r = math.ceil(D / 16) if r == "auto" else r
    vocab = c["vocab_size"]
    weights = {"in_proj": (2 * inner, D), "conv1d": (inner, k), "conv1d_bias": (inner,), "x_proj": (r + 2 * n, inner), "dt_proj": (inner, r),
               "dt_bias": (inner,), "A_log": (inner, n), "D": (inner,), "out_proj": (D, inner)}
    return weights, vocab * D, c.get("num_hidden_layers") or c["n_layer"]


def takes(text):
    """(INT8 multiply-adds, all, bytes) of a recipe."""
    weights, embedding, layers = shapes()
    recipe = json.loads(text)
    settings = [dict() for _ in range(layers)]
    for part in recipe["layers"]:
        first, _, last = part["layers"].partition("-")
        for l in range(int(first), int(last or first) + 1):
            settings[l] = part["set"]
    int8 = every = size = 0
    for s in settings:
        for name, shape in weights.items():
            elements, fmt = int(np.prod(shape)), s.get("weight:" + name, "int8")
            size += {"float": elements * 4, "int8": elements + 4, "int4-g32": elements // 2 + elements // 32 * 2}[fmt]
            if name in ("in_proj", "conv1d", "x_proj", "dt_proj", "out_proj"):
                every += elements
                int8 += elements if fmt != "float" and s.get(name + ":input", "int8") == "int8" else 0
    return int8, every, size + embedding * (4 if recipe.get("set", {}).get("embedding") == "float" else 2)


def check_costs(checks, report):
    for p in report["points"]:
        found = (p["int8_multiply_adds"], p["multiply_adds"], p["weight_bytes"])
        checks.check(found == takes(report["recipes"][p["mode"]]), p["name"] + ": what it takes", (found, takes(report["recipes"][p["mode"]])))
        cost = {"int8": 1 - found[0] / found[1], "bytes": found[2], "cost": p.get("user_cost")}[report["budget"]["kind"]]
        fits = p["int8_share"] >= report["budget"]["limit"] if report["budget"]["kind"] == "int8" else cost <= report["budget"]["limit"]
        checks.check(math.isclose(p["int8_share"], found[0] / found[1]) and math.isclose(p["cost"], cost, abs_tol=1e-12) and p["fits"] == fits,
                     p["name"] + ": share, cost, budget", p)


# ---- the choice ----

def holm(changes):
    tests, least, adjusted = sorted((c["change"]["p"], i) for i, c in enumerate(changes) if c["change"]["p"] is not None), 0, {}
    for k, (p, i) in enumerate(tests):
        least = max(least, min(1, p * (len(tests) - k)))
        adjusted[i] = least
    return adjusted


def expected(changes, base):
    """Which change is taken, by the rule of docs/mix.md."""
    def score(c):
        more = c["cost"] - base["cost"]
        return (1, c["gain"]) if more <= 0 else (0, c["gain"] / more)
    eligible = [i for i, c in enumerate(changes) if c["significant"] and not c["within_noise"] and c["gain"] > 0]
    return max(eligible, key=lambda i: (score(changes[i]), -i)) if eligible else None


def check_rounds(checks, report):
    points = [p for p in report["points"] if p["kind"] == "mix"]
    for number, r in enumerate(report["rounds"]):
        base, changes = points[number], r["changes"]
        adjusted = holm(changes)
        for i, c in enumerate(changes):
            checks.check(math.isclose(c["gain"], base["choosing"]["value"] - c["choosing"]["value"], rel_tol=1e-12) and c["fits"] and
                         math.isclose(c["p_adjusted"], adjusted[i], rel_tol=1e-12) and c["significant"] == (adjusted[i] <= 1 - 0.95),
                         "round %d, change %d: gain, Holm, budget" % (number, i), c)
        checks.check(r["taken"] == expected(changes, base), "round %d takes the best" % number, (r["taken"], expected(changes, base)))
        if r["taken"] is not None:
            checks.check(changes[r["taken"]]["choosing"] == points[number + 1]["choosing"], "round %d: what is taken is the next mix" % number)
    checks.check(len(points) == 1 + sum(r["taken"] is not None for r in report["rounds"]) and len(points) > 2, "rounds that took something", len(points))
    checks.check([r["taken"] for r in report["rounds"]].count(None) <= 1, "the search ends where nothing is taken")


def check_points(checks, report):
    points = report["points"]
    values = {p["name"]: p["judging"]["value"] for p in points}
    for p in points:
        beaten = any(q["cost"] <= p["cost"] and q["judging"]["value"] <= p["judging"]["value"] and
                     (q["cost"] < p["cost"] or q["judging"]["value"] < p["judging"]["value"]) for q in points)
        checks.check(p["on_front"] == (not beaten), p["name"] + ": the front", p)
        if p["kind"] == "mix":
            continue
        rival = [q["name"] for q in points if q["kind"] == "mix" and q["cost"] <= p["cost"]][-1]
        checks.check(p["at_equal_cost"]["mix"] == rival, p["name"] + ": the mix of its cost", p)
        for duel in (p["at_equal_cost"], p["within_budget"]):
            checks.check(math.isclose(duel["change"]["value"], values[duel["mix"]] / values[p["name"]], rel_tol=1e-9), p["name"] + ": change", duel)
            sure = duel["p_adjusted"] is not None and duel["p_adjusted"] <= 1 - 0.95
            checks.check((duel["mix_is"] != "tied") == sure, p["name"] + ": verdict", duel)
    kinds = [p["kind"] for p in points]
    checks.check(kinds.count("uniform") == len(report["modes"]) and kinds.count("random") == 3, "rivals", kinds)
    last = [p for p in points if p["kind"] == "mix"][-1]
    checks.check(all(p["cost"] <= last["cost"] for p in points if p["kind"] == "random"), "mixes by chance cost no more")
    unbeaten = [p["name"] for p in points if p["kind"] == "uniform" and p["fits"] and p["within_budget"]["mix_is"] != "better"]
    checks.check(report["answer"]["not_better_than"] == unbeaten and report["answer"]["surely_better"] == (not unbeaten) and
                 report["answer"]["mix"] == last["name"], "the answer", report["answer"])


def check_numbers(checks, folder):
    harness.write_json(os.path.join(folder, "coarse.json"), COARSE)
    result = mix(folder, *BUDGET, *FEW_PIECES)
    report = read(folder)
    checks.check(result.status == 0 and not valid(report, "mix"), "mix.json is valid by its schema", (result.err, valid(report, "mix")))
    halves = [report["statistics"][part]["samples"] for part in ("choosing", "judging")]
    checks.check(sorted(halves[0] + halves[1]) == list(range(SAMPLES)) and len(halves[0]) == SAMPLES // 2 and halves[0] != list(range(SAMPLES // 2)),
                 "the texts are split by chance", halves)
    taken = [r["changes"][r["taken"]]["layer"] for r in report["rounds"] if r["taken"] is not None]
    checks.check(len(taken) >= 2 and set(taken[:2]) < {3, 7, 16} and report["stopped"] == "budget", "two of the three bad layers are mended", taken)
    check_costs(checks, report)
    check_rounds(checks, report)
    check_points(checks, report)
    with open(os.path.join(folder, "m-c", "mix.csv"), newline="") as f:
        rows = list(csv.DictReader(f))
    checks.check([(r["name"], float(r["value"]), float(r["cost"])) for r in rows] == [(p["name"], p["judging"]["value"], p["cost"]) for p in report["points"]],
                 "mix.csv has the same numbers")
    checks.check(max(map(len, result.out.splitlines())) <= 100, "the tables fit 100 columns", max(result.out.splitlines(), key=len))
    shown = re.findall(r"^[ >](\S+) +[\d.]+%", result.out, re.M)
    checks.check(shown == [p["name"] for p in report["points"]], "the table has every point", shown)
    said = "surely better than every one" if report["answer"]["surely_better"] else "no mix is surely better than " + ", ".join(report["answer"]["not_better_than"])
    checks.check(said in result.out, "it says what is sure", result.out[-400:])
    return report


def sums(folder, path, mode):
    with h5py.File(os.path.join(folder, path)) as f:
        return f["metrics/4/%s/end_of_model" % mode][:]


def check_direct(checks, folder, report):
    """mix-recipes.json is a file that --recipes takes, and its runs are those of the search, on either half of the texts."""
    modes = [p["name"] for p in report["points"] if p["kind"] == "mix"]
    result = harness.run(["-q", "--no-html", "--store", "none", "--recipes", "m-c/mix-recipes.json", "--modes", ",".join(["fp32"] + modes),
                          "--output_dir", "d", "--comparison-dir", "d-c"] + SHORT, 1, folder)
    checks.check(result.status == 0, "mix-recipes.json", result.err)
    last = len(report["rounds"]) + 2
    for number, name in enumerate(modes):
        whole = sums(folder, "d/sweep.h5", name)
        judged = sums(folder, "m/mix-%02d.h5" % last, name)
        checks.check(np.array_equal(judged, whole[report["statistics"]["judging"]["samples"]]), name + " is the run of its recipe where it is judged")
        if number == 0:
            continue
        taken = report["rounds"][number - 1]
        chosen = sums(folder, "m/mix-%02d.h5" % taken["sweep"], taken["changes"][taken["taken"]]["mode"])
        checks.check(np.array_equal(chosen, whole[report["statistics"]["choosing"]["samples"]]), name + " is the run of its recipe where it is chosen")
        checks.check(math.isclose(chosen["kl"].sum() / chosen["tokens"].sum(), report["points"][number]["choosing"]["value"], rel_tol=1e-12),
                     name + ": the value, from the file's sums")


def check_resume(checks, folder):
    """Stopped in the middle and gone on with by other ranks: the same bytes."""
    names = ("mix.json", "mix.csv", "mix-recipes.json")
    before = [harness.read_bytes(os.path.join(folder, "m-c", n)) for n in names]
    files = sorted(n for n in os.listdir(os.path.join(folder, "m")) if n.endswith(".h5"))
    for n in files[2:]:
        os.remove(os.path.join(folder, "m", n))
    with h5py.File(os.path.join(folder, "m", files[1]), "r+") as f:    # as a run that was stopped leaves it
        for mode in list(f["items/4"])[::2]:
            f["items/4/%s/state" % mode][1:] = 0
    result = mix(folder, *BUDGET, *FEW_PIECES)
    checks.check(result.status == 3 and "--resume" in result.err, "what is there is not overwritten", result.err)
    result = mix(folder, "--resume", *BUDGET, *FEW_PIECES, ranks=3)
    checks.check(result.status == 0 and [harness.read_bytes(os.path.join(folder, "m-c", n)) for n in names] == before, "--resume at -n 3: the same bytes", result.err)
    if harness.LONG:
        result = mix(folder, *BUDGET, *FEW_PIECES, ranks=4, name="n4")
        checks.check(harness.read_bytes(os.path.join(folder, "n4-c", "mix.json")) == before[0], "-n 4: the same bytes", result.err)


def check_table(checks, folder):
    """A cost of one's own: a float projection costs 1, and its budget is 2 of them."""
    template = harness.run(["mix", "--cost-template"], 1, folder)
    units = json.loads(harness.run(["modes", "2-1", "--recipe"]).out)["set"]
    checks.check(template.status == 0 and set(json.loads(template.out)) == set(units) and not valid(json.loads(template.out), "costs"), "--cost-template", template.err)
    checks.check(json.loads(template.out)["weight:in_proj"]["float"] == 4 * np.prod(shapes()[0]["in_proj"]), "it has the bytes of weights")
    harness.write_json(os.path.join(folder, "costs.json"), {"weight:in_proj": {"int8": 0, "float": 1}})
    result = mix(folder, "--budget", "cost<=2", "--costs", "costs.json", "--rounds", "1", "--modes", "2-1,fp32", *FEW_PIECES, "--noise", "2", name="t")
    report = read(folder, "t")
    check_costs(checks, report)
    checks.check(result.status == 0 and not valid(report, "mix") and len(report["rounds"]) == 1 and all("noise" in p for p in report["points"]), "--costs", (result.err, valid(report, "mix")))
    for p in report["points"]:
        floats = sum(len(range(int(a), int(b or a) + 1)) for part in json.loads(report["recipes"][p["mode"]])["layers"] if part["set"].get("weight:in_proj") == "float"
                     for a, _, b in [part["layers"].partition("-")])
        checks.check(p["user_cost"] == p["cost"] == floats and p["fits"] == (floats <= 2), p["name"] + ": cost by the table", p)
    broken = (([], "an object, UNIT"), ({"scan:v": {"int8": 1}}, "the name of a unit"), ({"scan:u": 3}, "an object, FORMAT"),
              ({"scan:u": {"int4-g64": 3}}, "'scan:u': 'int4-g64'"), ({"scan:u": {"float": -1}}, "a cost, a number from 0"),
              ({"scan:u": {"float": "x"}}, "a cost, a number from 0"), ({"weight:in_proj": {"int8": 1}}, "has no cost of 'float'"))
    for table, part in broken:
        harness.write_json(os.path.join(folder, "broken.json"), table)
        result = mix(folder, "--budget", "cost<=2", "--costs", "broken.json", name="never")
        checks.check(result.status == 3 and len(result.lines()) == 1 and part in result.err, "a broken table: %s" % part, (result.status, result.err))


def check_noise(checks, folder):
    """The floor is measured anew in every round, of the mix so far, and where all are judged."""
    result = mix(folder, *BUDGET, *FEW_PIECES, "--noise", "2", "--rounds", "2", name="z")
    report = read(folder, "z")
    checks.check(result.status == 0 and not valid(report, "mix") and len(report["rounds"]) == 2, "two rounds with noise", (result.err, valid(report, "mix")))

    def floor(sweep, mode):
        value, *reruns = [t["kl"].sum() / t["tokens"].sum() for t in (sums(folder, "z/mix-%02d.h5" % sweep, mode + end) for end in ("", "_dither1", "_dither2"))]
        return max(abs(math.log(r / value)) for r in reruns)
    mode = "r0"
    for number, r in enumerate(report["rounds"]):
        checks.check(math.isclose(r["noise"], floor(r["sweep"] - 1, mode), rel_tol=1e-9), "round %d: re-runs of the mix so far" % number, r["noise"])
        checks.check(all(c["within_noise"] == (c["change"]["value"] is None or abs(math.log(c["change"]["value"])) <= 2 * r["noise"]) for c in r["changes"]),
                     "round %d: what is within the noise" % number, r["noise"])
        mode = r["changes"][r["taken"]]["mode"]
    last = report["rounds"][-1]["sweep"] + 1
    for p in report["points"]:
        if p["mode"] != "all-fp32":
            checks.check(math.isclose(p["noise"], floor(last, p["mode"]), rel_tol=1e-9), p["name"] + ": its re-runs where it is judged", p["noise"])
    noise = {p["name"]: p["noise"] or 0 for p in report["points"]}
    for p in report["points"]:
        for duel in (p[key] for key in ("at_equal_cost", "within_budget") if key in p):
            sure = duel["p_adjusted"] is not None and duel["p_adjusted"] <= 1 - 0.95 and abs(math.log(duel["change"]["value"])) > noise[duel["mix"]] + noise[p["name"]]
            checks.check((duel["mix_is"] != "tied") == sure, p["name"] + ": sure is what is more than the noise of both", duel)


def check_gates(checks, folder):
    """On the last mix, where it is judged."""
    value = [p for p in read(folder)["points"] if p["kind"] == "mix"][-1]["judging"]["value"]
    for limit, status in ((1.01 * value, 0), (0.99 * value, 1)):
        result = mix(folder, "--resume", *BUDGET, *FEW_PIECES, "--gate", "kl_mean<%r" % limit, "--junit", "gates.xml")
        said = "1 check passed" if status == 0 else "gate broken: kl_mean<"
        checks.check(result.status == status and said in result.err and harness.read_bytes(os.path.join(folder, "gates.xml")).count(b"<failure") == status,
                     "a gate: status %d" % status, (result.status, result.err))
    for gate, part in (("mse<1", "mse is not measured"), ("layer=3 kl_mean<1", "it is the last mix that is judged"), ("piece=all kl_mean<1", "it is the last mix")):
        result = mix(folder, "--resume", *BUDGET, *FEW_PIECES, "--gate", gate)
        checks.check(result.status == 2 and len(result.lines()) == 1 and part in result.err, "%s: %s" % (gate, part), result.err)


def check_share(checks, folder):
    """A budget of the share of INT8: the layers' formats of three modes; what costs nothing comes first."""
    result = mix(folder, "--budget", "int8>=0.9", *FEW_PIECES, "--by", "unit,layer", "--units", "scan:u,conv1d:output,weight:in_proj", name="s")
    report = read(folder, "s")
    checks.check(result.status == 0 and not valid(report, "mix"), "int8>=0.9", (result.err, valid(report, "mix")))
    check_costs(checks, report)
    pieces = {(c["unit"], c["layer"]) for c in report["rounds"][0]["changes"]}
    checks.check(("weight:in_proj", 7) in pieces and (None, None) in pieces, "a unit of a layer is a piece, and all together", pieces)


def check_refused(checks, folder):
    os.mkdir(os.path.join(folder, "kept"))
    harness.write_json(os.path.join(folder, "kept", "mix-recipes.json"), COARSE)
    for arguments, status, part in (
            ([], 2, "say what it may cost"),
            (["--budget", "fast"], 2, "--budget: expected int8>=SHARE"),
            (["--budget", "int8>=1.5"], 2, "--budget: expected int8>=SHARE"),
            (["--budget", "bytes<=1.2X"], 2, "--budget: expected int8>=SHARE"),
            (["--budget", "cost<=3"], 2, "needs a table of costs"),
            (["--budget", "cost<=3", "--costs", "absent.json"], 3, "absent.json"),
            (["--budget", "bytes<=1K"], 2, "the cheapest mode, '2-1', is beyond it"),
            (["--budget", "int8>=0.9", "--modes", "2-1"], 2, "two modes or more"),
            (["--budget", "int8>=0.9", "--modes", "2-1,9"], 2, "unknown mode '9'"),
            (["--budget", "int8>=0.9", "--eval_data_num", "5"], 2, "expected 6 evaluated samples or more"),
            (["--budget", "int8>=0.9", "--layers", "24"], 2, "layer '24' does not exist"),
            (["--budget", "int8>=0.9", "--metric", "psnr_db"], 2, "--metric: expected an error that is 0"),
            (["--budget", "int8>=0.9", "--mode", "2-1"], 2, "--mode"),
            (["--budget", "int8>=0.9", "--recipes", "kept/mix-recipes.json", "--comparison-dir", "kept"], 2, "is also a file that --comparison-dir (its reports) writes"),
            (["--budget", "int8>=0.9", "--calib_data_num", "2,6"], 2, "expected one set of scales")):
        result = harness.run(["mix", "--output_dir", "never"] + arguments, 1, folder)
        checks.check(result.status == status and len(result.lines()) == 1 and part in result.err and
                     not os.path.exists(os.path.join(folder, "never")), "%s: %s" % (arguments, part), "status %s\n%s" % (result.status, result.err))
    result = mix(folder, "--dry-run", "--budget", "int8>=0.9", *FEW_PIECES, name="never")
    checks.check(result.status == 0 and re.search(r"^mix: .* at most \d+ sweeps, \d+ runs in all, .*: an upper bound$", result.out, re.M) and
                 not os.path.exists(os.path.join(folder, "never")), "--dry-run", result.out[-300:] + result.err)


def check_document(checks, folder):
    """docs/mix.md: its commands are taken, and (in the long run) its output is one that the program really made."""
    text = documents.read("docs/mix.md")
    for line in sum((block for kind, block in documents.blocks(text) if kind == "indented"), []):
        words = shlex.split(documents.command_of(line).replace("mpirun -n 4 ", ""))
        if "--cost-template" in words or words[1] != "mix" or "--costs" in words:
            continue
        result = harness.run(words[1:] + ["--dry-run"], 1, folder)
        checks.check(words[0] == "ssmsweep" and result.status == 0, "docs/mix.md: " + line, result.err)
    if harness.LONG:
        shown = "\n".join(next(block for kind, block in documents.blocks(text) if kind == ""))
        command = re.search(r"`(ssmsweep mix [^`]*)`", text.split("## The demo model")[1]).group(1)
        result = harness.run(shlex.split(command)[1:] + ["--output_dir", "shown", "--comparison-dir", "shown-c"], 2, folder)
        checks.check(shown in result.out, "docs/mix.md: the output", result.out)


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        check_refused(checks, folder)
        report = check_numbers(checks, folder)
        check_direct(checks, folder, report)
        check_resume(checks, folder)
        check_gates(checks, folder)
        check_table(checks, folder)
        check_noise(checks, folder)
        check_share(checks, folder)
        check_document(checks, folder)
    checks.finish()


main()
