# SPDX-License-Identifier: Apache-2.0
"""Recipe files: what they define, what is refused, and what the result file keeps of them.  The examples of docs/recipes.md
are run."""
import json
import os
import re
import shlex

import h5py
import jsonschema
import numpy as np

import documents
import harness

SHORT = ["-q", "--no-html", "--calib_data_num", "2", "--calib_seqlen", "24"] + harness.FEW
SCHEMA = os.path.join(harness.SOURCE, "docs", "schema", "recipe.schema.json")
FLOAT_SCAN = {"conv1d:output": "float", "scan:u": "float"}

# What is in the file, a part of the line, and whether the schema refuses it as well.
BROKEN = [
    ("", "JSON", None),
    ("{", "JSON", None),
    ('{"name": "a"} x', "JSON", None),
    ('{"name": "a", "name": "b"}', "name", None),
    ("7", "expected a recipe, an object with a name, got 7", True),
    ("[]", "expected a recipe, an object with a name, got an array", True),
    ({"recipes": []}, "recipes: expected a list of recipes, got an array", True),
    ({"recipes": {}}, "recipes: expected a list of recipes, got an object", True),
    ({"recipes": [{"name": "a"}], "sort": 1}, "'sort': no such key; expected one of $schema, recipes", True),
    ({"recipes": [{"name": "a"}, 5]}, "recipe 2: expected a recipe", True),
    ({"base": "2-1"}, "name: expected the recipe's name, got no such key", True),
    ({"name": 4}, "name: expected the recipe's name, got 4", True),
    ({"name": ""}, "expected up to 31 letters, digits", True),
    ({"name": "a/b"}, "got 'a/b'", True),
    ({"name": "../a"}, "got '../a'", True),
    ({"name": "-a"}, "got '-a'", True),
    ({"name": "a,b"}, "got 'a,b'", True),
    ({"name": "a@b"}, "got 'a@b'", True),
    ({"name": "\u00e4"}, "expected up to 31 letters", True),
    ({"name": "a" * 32}, "expected up to 31 letters", True),
    ({"name": "a_dither1"}, "marks noisy re-runs", True),
    ({"name": "2-1"}, "a mode has this name", False),
    ({"name": "all"}, "it is a set of modes", False),
    ({"recipes": [{"name": "a"}, {"name": "a"}]}, "another recipe has this name", False),
    ({"name": "a", "sets": {}}, "recipe 'a': 'sets': no such key; expected one of $schema, name", True),
    ({"name": "a", "summary": "two\nlines"}, "summary: expected one line of text", True),
    ({"name": "a\nb"}, "got '?'", True),
    ({"name": "a", "set": {"scan\n:u": "int8"}}, "set: the name of a unit is of one line", False),
    ({"name": "a", "base": 3}, "base: expected the name of a mode, got 3", True),
    ({"name": "a", "base": "9"}, "base: no mode '9', and no recipe before this one", False),
    ({"recipes": [{"name": "a", "base": "b"}, {"name": "b"}]}, "base: no mode 'b', and no recipe before this one", False),
    ({"name": "a", "base": "a"}, "base: no mode 'a'", False),
    ({"name": "a", "set": ["scan:u"]}, "set: expected an object, UNIT: FORMAT", True),
    ({"name": "a", "set": {"scan:u": "int9"}}, "set 'scan:u': expected the name of a format (float, int8, ...), got 'int9'", True),
    ({"name": "a", "set": {"scan:u": 8}}, "set 'scan:u': expected the name of a format (float, int8, ...), got 8", True),
    ({"name": "a", "set": {"scan:v": "int8"}}, "unit 'scan:v' with format 'int8': the model has no such unit", False),
    ({"name": "a", "set": {"scan:u": "blocked"}}, "unit 'scan:u': format 'blocked' is none of its: expected codes, int8, float", False),
    ({"name": "a", "set": {"weights:*": "float"}}, "unit 'weights:*' with format 'float': the model has no such unit", False),
    ({"name": "a", "layers": "0-3"}, "layers: expected a list of objects, got '0-3'", True),
    ({"name": "a", "layers": [3]}, "layers[0]: expected an object with layers, base, set, got 3", True),
    ({"name": "a", "layers": [{"set": FLOAT_SCAN}]}, "layers[0]: layers: expected a list as", True),
    ({"name": "a", "layers": [{"layers": 0, "set": FLOAT_SCAN}]}, "layers[0]: layers: expected a list as", True),
    ({"name": "a", "layers": [{"layers": "0"}]}, "layers[0]: neither base nor set", True),
    ({"name": "a", "layers": [{"layers": "0", "set": FLOAT_SCAN, "unit": 1}]}, "layers[0]: 'unit': no such key", True),
    ({"name": "a", "layers": [{"layers": "0", "base": "9"}]}, "layers[0]: base: no mode '9'", False),
    ({"name": "a", "layers": [{"layers": "24", "base": "2-4"}]}, "recipe 'a': layers: layer '24' does not exist; the model has layers 0 to 23", False),
    ({"name": "a", "layers": [{"layers": "x", "base": "2-4"}]}, "recipe 'a': layers: 'x' is no layer", False),
    ({"name": "a", "layers": [{"layers": "0", "set": {"embedding": "float"}}]}, "unit 'embedding' is the model's", False),
]


def put(folder, name, recipe):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(recipe if isinstance(recipe, str) else json.dumps(recipe))
    return path


def check_broken(checks, folder):
    validator = jsonschema.Draft202012Validator(harness.read_json(SCHEMA))
    validator.check_schema(validator.schema)
    for number, (content, part, refused) in enumerate(BROKEN):
        name = "broken%d.json" % number
        put(folder, name, content)
        ranks = 2 if number == len(BROKEN) - 1 else 1    # all ranks read it; one of them says so
        result = harness.run(SHORT + ["--recipes", name, "--output_dir", "never"], ranks, folder)
        lines = result.lines()
        checks.check(result.status == 3 and len(lines) == 1 and part in lines[0] and (name in lines[0] or "recipe 'a'" in lines[0]),
                     "broken recipe file %s: %s" % (content, part), "status %s\n%s" % (result.status, result.err))
        if refused is not None:
            value = json.loads(content) if isinstance(content, str) else content
            checks.check(validator.is_valid(value) is not refused, "the schema on %s" % (content,))
    for name, part in (("absent.json", "absent.json"), (".", "folder")):
        result = harness.run(SHORT + ["--recipes", name, "--output_dir", "never"], 1, folder)
        checks.check(result.status == 3 and len(result.lines()) == 1 and part in result.err, "--recipes " + name, result.err)
    checks.check(not os.path.exists(os.path.join(folder, "never")), "nothing is made")
    put(folder, "a.json", {"name": "a"})
    result = harness.run(SHORT + ["--recipes", "a.json", "--recipes", "a.json"], 1, folder)
    checks.check(result.status == 3 and "another recipe has this name" in result.err, "one name in two files", result.err)


def sweep(folder, ranks, *arguments, output="layer_outputs"):
    """Returns the result; its file is in folder/output."""
    return harness.run(SHORT + ["--output_dir", output, "--comparison-dir", output + "-c"] + list(arguments), ranks, folder)


def outputs(path, mode):
    with h5py.File(path) as f:
        return {name: f["outputs/2/%s/%s/mixer_output" % (mode, name)][:] for name in f["outputs/2/" + mode]}


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def check_meaning(checks, folder):
    """Recipes that are modes by another name have their bits; what differs in a layer differs from there on."""
    put(folder, "same.json", {"recipes": [
        {"name": "as-2-4", "base": "2-4"}, {"name": "set-2-4", "set": FLOAT_SCAN},
        {"name": "by-layer", "base": "0", "layers": [{"layers": "all", "base": "2-4"}]},
        {"name": "wide", "base": "2-4", "layers": [{"layers": "-1", "base": "2-1"}]},
        {"name": "as-2-0", "set": {"scan:order": "blocked", "scan:u": "int8"}}]})
    modes = ["--recipes", "same.json", "--modes", "fp32,2-0,2-1,2-4,as-2-4,set-2-4,by-layer,wide,as-2-0", "--layers", "0,22,23"]
    for ranks in (1, 3):
        result = sweep(folder, ranks, *modes, output="same%d" % ranks)
        checks.check(result.status == 0 and not result.lines(), "recipes at -n %d" % ranks, result.err)
    path = os.path.join(folder, "same1", "sweep.h5")
    checks.check(harness.read_bytes(os.path.join(folder, "same1-c", "sweep.json")) ==
                 harness.read_bytes(os.path.join(folder, "same3-c", "sweep.json")), "the same bytes of sweep.json for 1 and 3 ranks")
    for mode, recipe in (("2-4", "as-2-4"), ("2-4", "set-2-4"), ("2-4", "by-layer"), ("2-0", "as-2-0")):
        checks.check(equal(outputs(path, mode), outputs(path, recipe)), "%s has the bits of %s" % (recipe, mode))
    wide, whole = outputs(path, "wide"), outputs(path, "2-4")
    checks.check(np.array_equal(wide["layer_22"], whole["layer_22"]) and not np.array_equal(wide["layer_23"], whole["layer_23"]),
                 "a recipe that differs in the last layer")
    with h5py.File(path) as f:
        kept = {name: json.loads(text) for name, text in f["recipes"].attrs.items()}
    all_float = [{"layers": "0-23", "set": FLOAT_SCAN}]
    checks.check(kept == {"as-2-4": {"layers": all_float}, "set-2-4": {"layers": all_float}, "by-layer": {"layers": all_float},
                          "wide": {"layers": [{"layers": "0-22", "set": FLOAT_SCAN}]},
                          "as-2-0": {"layers": [{"layers": "0-23", "set": {"scan:u": "int8", "scan:order": "blocked"}}]}},
                 "what the file keeps", kept)
    report = harness.read_json(os.path.join(folder, "same1-c", "sweep.json"))
    checks.check({name: json.loads(text) for name, text in report["recipes"].items()} == kept, "sweep.json repeats it")
    checks.check(not list(jsonschema.Draft202012Validator(harness.read_json(os.path.join(os.path.dirname(SCHEMA), "sweep.schema.json")))
                          .iter_errors(report)), "sweep.json is valid by its schema")
    validator = jsonschema.Draft202012Validator(harness.read_json(SCHEMA))
    for name, recipe in kept.items():
        checks.check(validator.is_valid(dict(recipe, name=name)), "what is kept of %s is a recipe" % name)


def check_identity(checks, folder):
    """The file of check_meaning() knows its recipes, and no others of their names."""
    result = harness.run(["compare", "-q", "--no-html", "--output_dir", "same1", "wide", "--gate", "mode=wide layer=last mse<1"], 1, folder)
    checks.check(result.status == 0 and not result.err, "compare knows the modes of the file", result.err)
    result = harness.run(["compare", "--no-html", "--output_dir", "same1", "--reference", "wide", "2-4"], 2, folder)
    checks.check(result.status == 0 and re.search(r"^wide .*\(reference\)", result.out, re.M), "a recipe as the reference", result.err)
    put(folder, "other.json", {"name": "wide", "base": "2-4", "layers": [{"layers": "22-23", "base": "2-1"}]})
    resume = ["--modes", "fp32,2-0,2-1,2-4,as-2-4,set-2-4,by-layer,wide,as-2-0", "--layers", "0,22,23"]
    for what, line in (("--resume", SHORT + ["--resume"] + resume), ("save", ["save", "wide", "-q"] + SHORT[2:]), ("compare", ["compare", "-q"])):
        result = harness.run(line + ["--output_dir", "same1", "--recipes", "other.json"], 1, folder)
        checks.check(result.status == 3 and len(result.lines()) == 1 and "recipe 'wide' is another one" in result.err and '"0-22"' in result.err,
                     what + " refuses another recipe of the name", result.err)
    # The same meaning in other words is the same recipe; the file's own need not be given.
    put(folder, "again.json", {"name": "wide", "layers": [{"layers": "0-22", "base": "2-4"}]})
    before = harness.read_bytes(os.path.join(folder, "same1", "sweep.h5"))
    for further in (["--recipes", "again.json"], []):
        result = harness.run(SHORT + ["--resume", "--output_dir", "same1", "--comparison-dir", "same1-c"] + resume + further, 1, folder)
        checks.check(result.status == 0 and harness.read_bytes(os.path.join(folder, "same1", "sweep.h5")) == before,
                     "--resume %s" % further, result.err)
    # save adds one, by itself and based on one of the file's.
    put(folder, "more.json", {"recipes": [{"name": "wide", "layers": [{"layers": "0-22", "base": "2-4"}]},
                                          {"name": "wider", "base": "wide", "set": {"scan:order": "blocked"}}]})
    result = harness.run(["save", "wider", "--recipes", "more.json", "--output_dir", "same1", "--layers", "0,22,23"] + SHORT[2:], 2, folder)
    with h5py.File(os.path.join(folder, "same1", "sweep.h5")) as f:
        checks.check(result.status == 0 and "wider" in f["recipes"].attrs and len(f["recipes"].attrs) == 6, "save adds a recipe", result.err)
    result = harness.run(["info", "same1/sweep.h5"], 1, folder)
    checks.check(re.search(r"^recipe +wide \{", result.out, re.M) and re.search(r"^  wider +n=2", result.out, re.M), "info tells them", result.out)
    result = harness.run(["compare", "-q", "--no-html", "--output_dir", "same1", "wider"], 1, folder)
    checks.check(result.status == 0, "compare has the new one", result.err)


def check_many(checks, folder):
    """More modes than are ranked: each has its intervals."""
    recipes = [{"name": "l%d-%s" % (layer, name), "layers": [{"layers": str(layer), "set": units}]} for layer in range(24)
               for name, units in (("float", FLOAT_SCAN), ("blocked", {"scan:order": "blocked"}), ("dynamic", {"conv1d:input": "dynamic"}))]
    put(folder, "many.json", {"recipes": recipes})
    result = harness.run(["--no-html", "--calib_data_num", "3", "--calib_seqlen", "16", "--store", "none", "--recipes", "many.json",
                          "--modes", "all", "--output_dir", "many", "--comparison-dir", "many-c"] + harness.FEW, 2, folder)
    checks.check(result.status == 0 and "80 modes are too many to be ranked" in result.out, "80 modes", result.err + result.out[-3000:])
    report = harness.read_json(os.path.join(folder, "many-c", "sweep.json"))
    checks.check(len(report["end_of_model"]) == 80 and not report["rankings"], "all are reported, none is ranked")
    for entry in report["end_of_model"]:
        metrics = entry["metrics"]
        checks.check(metrics["perplexity"]["value"] > 1 and (metrics["perplexity"]["low"] or 0) <= metrics["perplexity"]["value"],
                     "%s has its interval" % entry["mode"], metrics["perplexity"])
    told = [e["mode"] for e in report["layers"] if e["layer"] == 23 and e["component"] == "mixer_output" and
            (e["metrics"]["mse"]["interval"] != "ok" or e["metrics"]["mse"]["high"] > 0)]
    checks.check(len(told) == 80, "intervals of all modes", told)


def check_table(checks, folder):
    for mode in harness.MODES:
        result = harness.run(["modes", mode, "--recipe"])
        recipe = json.loads(result.out)
        put(folder, "printed.json", recipe)
        table = json.loads(harness.run(["modes", "--json", "--recipes", "printed.json"], 1, folder).out)["modes"]
        steps = {row["name"]: row["steps"] for row in table}
        checks.check(recipe["name"] == "my-" + mode and len(recipe["set"]) > 20, "modes %s --recipe" % mode, recipe)
        if mode not in ("fp32", "fp16"):    # those as recipes are rotated
            checks.check(steps["my-" + mode] == steps[mode], "my-%s is what %s is" % (mode, mode), steps)
    put(folder, "one.json", {"name": "one", "base": "2-1", "layers": [{"layers": "0-3", "set": FLOAT_SCAN}]})
    table = harness.run(["modes", "one", "--recipes", "one.json"], 1, folder)
    checks.check(len(table.out.splitlines()) == 4 and "by layer" in table.out and
                 "2-1 with conv1d:output float, scan:u float in layers 0-3" not in table.out.splitlines()[0] and
                 table.out.splitlines()[3].strip().endswith("in layers 0-3"), "one recipe in the table", table.out)
    printed = json.loads(harness.run(["modes", "one", "--recipe", "--recipes", "one.json"], 1, folder).out)
    printed.pop("summary")
    checks.check(printed == harness.read_json(os.path.join(folder, "one.json")), "a recipe is printed as it was", printed)
    for line in (["modes", "9"], ["modes", "--recipe"]):
        result = harness.run(line, 1, folder)
        checks.check(result.status == 2 and len(result.lines()) == 1, " ".join(line), result.err)


def check_examples(checks, folder):
    """docs/recipes.md: each file, then the command behind it."""
    text = documents.read("docs/recipes.md").split("## The file")[0]
    examples = re.findall(r"`([\w-]+\.json)`:\n\n```json\n(.*?)```\n\n    (.*?)\n", text, re.S)
    checks.check(len(examples) == 3, "three examples", examples)
    own = re.search(r"## Add your own mode\n.*?```json\n(.*?)```", documents.read("README.md"), re.S).group(1)
    checks.check(json.loads(own) == json.loads(examples[0][1]), "README's recipe is the first of them", own)
    for name, content, command in examples:
        put(folder, name, content)
        ranks = 2 if command.startswith("mpirun -n 2 ") else 1
        words = shlex.split(command.replace("mpirun -n 2 ", ""))[1:]
        result = harness.run(words + SHORT + ["--output_dir", name[:-5], "--comparison-dir", name[:-5] + "-c"], ranks, folder)
        checks.check(result.status == 0, "docs/recipes.md: " + command, result.err)


def check_units(checks):
    """docs/recipes.md has the units and formats of the program."""
    recipe = json.loads(harness.run(["modes", "2-1", "--recipe"]).out)
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", documents.read("docs/recipes.md").split("## Units and formats")[1].split("| format |")[0], re.M)
    told = {}
    for units, formats in rows:
        for unit in re.findall(r"`([^`]+)`", units):
            told[unit] = re.findall(r"`([^`]+)`", formats)
    checks.check(told.keys() == recipe["set"].keys(), "the units of docs/recipes.md", told.keys() ^ recipe["set"].keys())
    for unit, formats in told.items():
        checks.check(formats[0] == recipe["set"][unit], "docs/recipes.md: %s begins with its first format" % unit, formats)
        wrong = next(f for f in ("blocked", "codes") if f not in formats)
        with harness.Workplace() as folder:
            put(folder, "x.json", {"name": "x", "set": {unit: wrong}})
            said = harness.run(SHORT + ["--recipes", "x.json"], 1, folder).err
        checks.check("expected %s\n" % ", ".join(formats) in said, "docs/recipes.md: formats of " + unit, said)


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        check_broken(checks, folder)
        check_meaning(checks, folder)
        check_identity(checks, folder)
        check_table(checks, folder)
        check_many(checks, folder)
        check_examples(checks, folder)
        check_units(checks)
    checks.finish()


main()
