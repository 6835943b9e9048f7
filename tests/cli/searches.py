# SPDX-License-Identifier: Apache-2.0
"""attribute, --bisect, mix and units on Mamba-2 and on a model that `synth` made: pieces are recipes, costs those of the shapes; and
searches that are killed with SIGKILL at random moments and resumed by other ranks, again and again: the bytes of a run that nobody
disturbed.
   searches.py [KILLED [SEED]]      3 killed searches of each kind, or 20 with SSMSWEEP_LONG=1; the seed is printed"""
import json
import os
import random
import struct
import subprocess
import sys
import time

import h5py
import jsonschema
import numpy as np

import harness

KILLED = int(sys.argv[1]) if len(sys.argv) > 1 else 20 if harness.LONG else 3
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 30)
SCHEMA = os.path.join(harness.SOURCE, "docs", "schema", "%s.schema.json")
DEMO2 = os.path.join(harness.SOURCE, "jobs", "demo-mamba2")
SHORT = ["--calib_data_num", "3", "--calib_seqlen", "12"] + harness.FEW


def run(folder, name, words, ranks=1):
    return harness.run(words + ["--output_dir", name, "--comparison-dir", name + "-c"], ranks, folder)


def read(checks, folder, name, kind):
    report = harness.read_json(os.path.join(folder, name + "-c", kind + ".json"))
    errors = [e.message[:200] for e in jsonschema.Draft202012Validator(harness.read_json(SCHEMA % kind)).iter_errors(report)]
    checks.check(not errors, "%s.json of %s is valid by its schema" % (kind, name), errors[:3])
    return report


# ---- Mamba-2 ----

def elements_of(path):
    """{name within a layer: elements}, and how many layers."""
    with open(os.path.join(path, "model.safetensors"), "rb") as f:
        shapes = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    first = "backbone.layers.0.mixer."
    found = {name[len(first):]: int(np.prod(entry["shape"])) for name, entry in shapes.items() if name.startswith(first)}
    return found, harness.read_json(os.path.join(path, "config.json"))["num_hidden_layers"]


def check_costs(checks, report, path):
    """Bytes and multiply-adds of the projections, conv1d and small tensors, from the shapes in the checkpoint."""
    elements, layers = elements_of(path)
    names = {"weight:in_proj": "in_proj.weight", "weight:conv1d": "conv1d.weight", "weight:conv1d_bias": "conv1d.bias", "weight:out_proj": "out_proj.weight",
             "weight:A_log": "A_log", "weight:D": "D", "weight:dt_bias": "dt_bias"}
    products = {"in_proj": elements["in_proj.weight"], "conv1d": elements["conv1d.weight"], "out_proj": elements["out_proj.weight"]}
    checks.check(report["cost"]["multiply_adds"] == report["cost"]["int8_multiply_adds"] == layers * sum(products.values()), "multiply-adds of Mamba-2", report["cost"])
    pieces = {p["unit"]: p for p in report["pieces"]}
    for unit, name in names.items():
        lost = -layers * products.get(unit[7:], 0)
        got = pieces[unit]["weight_bytes"], pieces[unit]["int8_multiply_adds"]
        checks.check(got[1] == lost and 3 * layers * elements[name] - 64 * layers <= got[0] <= 3 * layers * elements[name], "what %s takes" % unit, got)
    for name, count in products.items():
        checks.check(pieces[name + ":input"]["int8_multiply_adds"] == -layers * count, "what %s:input takes" % name, pieces[name + ":input"])


def sums(path, mode):
    with h5py.File(path) as f:
        return f["metrics/%s/%s/end_of_model" % ("3" if mode in f["metrics/3"] else "float", mode)][:]


def check_mamba2(checks, folder):
    result = run(folder, "a2", ["attribute", "2-1", "--model", "mamba2-demo"] + SHORT, 2)
    report = read(checks, folder, "a2", "attribution")
    checks.check(result.status == 0 and max(map(len, result.out.splitlines())) <= 100, "attribute on Mamba-2", result.err)
    checks.check(abs(sum(p["without"]["share"] for p in report["pieces"]) + report["interaction"]["without"] - 1) < 1e-9, "its shares and interaction make the whole")
    check_costs(checks, report, DEMO2)
    harness.write_json(os.path.join(folder, "direct.json"), {"recipes": [{"name": "w1", "base": "2-1", "set": {"gate:input": "float"}},
                                                                          {"name": "o1", "base": "fp32", "set": {"gate:input": "int8"}}]})
    result = run(folder, "d2", ["-q", "--no-html", "--store", "none", "--model", "mamba2-demo", "--recipes", "direct.json", "--modes", "fp32,2-1,w1,o1"] + SHORT)
    piece = next(p for p in report["pieces"] if p["unit"] == "gate:input")
    for side, name in (("without", "w1"), ("only", "o1")):
        checks.check(result.status == 0 and np.array_equal(sums(os.path.join(folder, "a2", "attribution.h5"), piece[side]["mode"]),
                                                           sums(os.path.join(folder, "d2", "sweep.h5"), name)), "%s is the run of its recipe, bit for bit" % side, result.err)
    # 4 bits in one layer of a float model: found, and mended first.
    fault = {"weight:in_proj": "int4-g32", "weight:out_proj": "int4-g32"}
    harness.write_json(os.path.join(folder, "fault.json"), {"name": "fault", "base": "fp32", "set": {"gate:input": "int8"}, "layers": [{"layers": "9", "set": fault}]})
    planted = ["--model", "mamba2-demo", "--recipes", "fault.json", "--by", "layer"]
    result = run(folder, "w2", ["attribute", "fault"] + planted + SHORT)
    values = read(checks, folder, "w2", "attribution")
    first = values["pieces"][0]
    checks.check(result.status == 0 and first["layer"] == 9 and first["without"]["share"] > 0.5, "the faulty layer is the first piece", (result.err, first))
    limit = (values["whole"]["value"] + first["without"]["value"]) / 2
    result = run(folder, "b2", ["attribute", "fault", "--bisect", "--limit", repr(limit)] + planted + SHORT)
    report = read(checks, folder, "b2", "bisect")
    checks.check(result.status == 0 and report["answer"] == "one" and report["mend"] == [{"unit": None, "layer": 9}] and report["sweeps"] <= 2 * np.log2(16) + 2,
                 "and the bisection finds it", (result.err, report["mend"]))
    result = run(folder, "m2", ["mix", "--budget", "bytes<=10M", "--modes", "fault,fp32", "--rounds", "1", "--eval_data_num", "12", "--layers", "2,9"] +
                 planted + SHORT)
    report = read(checks, folder, "m2", "mix")
    taken = report["rounds"][0]["changes"][report["rounds"][0]["taken"] or 0]
    checks.check(result.status == 0 and report["rounds"][0]["taken"] is not None and taken["layer"] in (9, None) and taken["as"] == "fp32", "and a mix mends it", (result.err, taken))


def check_synth(checks, folder):
    result = harness.run(["synth", "--preset", "tiny", "--out", "tiny", "-q"], 1, folder)
    checks.check(result.status == 0, "synth", result.err)
    model = ["--model", "tiny"]
    result = run(folder, "as", ["attribute", "2-1", "--by", "unit,layer"] + model + SHORT)
    report = read(checks, folder, "as", "attribution")
    checks.check(result.status == 0 and {p["layer"] for p in report["pieces"]} == {0, 1, None} and
                 abs(sum(p["only"]["share"] for p in report["pieces"]) + report["interaction"]["only"] - 1) < 1e-9, "attribute on a synthetic model", result.err)
    result = harness.run(["units", "--comparison-dir", "us-c"] + model + SHORT[:4], 1, folder)
    report = read(checks, folder, "us", "units")
    checks.check(result.status == 0 and {p["layer"] for p in report["units"]} == {0, 1}, "units on a synthetic model", result.err)


# ---- killed ----

# 4-bit weights in two layers of a float model need mending together; and a mix of two rounds with their noise.
SEARCHES = {
    "bisect": (["attribute", "two", "--bisect", "--limit", "3e-4", "--by", "unit,layer", "--units", "weight:in_proj,weight:out_proj", "--model", "tiny",
                "--recipes", "two.json"] + SHORT, ("bisect.json",)),
    "mix": (["mix", "--budget", "int8>=0.1", "--model", "tiny", "--noise", "1", "--rounds", "2", "--eval_data_num", "10"] + SHORT,
            ("mix.json", "mix.csv", "mix-recipes.json"))}


def results(folder, name, files):
    return [harness.read_bytes(os.path.join(folder, name + "-c", file)) for file in files]


def lines(path):
    return harness.read_bytes(path).count(b"\n")


def kill_once(folder, words, ranks, chance, most):
    """After a random number of lines: a rank, or mpirun itself.  Whether it was still at work."""
    said = os.path.join(folder, "said")
    command = ([harness.MPIEXEC, "-n", str(ranks)] if ranks > 1 else []) + [harness.PROGRAM, "-v"] + words
    with open(said, "wb") as err:
        process = subprocess.Popen(command, cwd=folder, env=harness.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err,
                                   start_new_session=True)
    wanted = chance.randrange(most)
    while lines(said) < wanted and process.poll() is None:
        time.sleep(0.002)
    hit = process.poll() is None
    if hit:
        harness.kill(chance.choice((harness.children(process.pid) if ranks > 1 else []) + [process.pid]))
    process.wait(timeout=harness.LIMIT)
    harness.wait_until_left(folder)
    return hit


def check_killed(checks, folder, kind):
    words, files = SEARCHES[kind]
    whole = run(folder, kind, words + ["-v"])
    if not checks.check(whole.status == 0, kind + ", undisturbed", whole.err):
        return
    good, most = results(folder, kind, files), whole.err.count("\n")
    sweeps = [name for name in os.listdir(os.path.join(folder, kind)) if name.endswith(".h5")]
    checks.check(len(sweeps) >= 3, kind + ": a search of several sweeps", sweeps)
    hits = 0
    for number in range(KILLED):
        chance, name = random.Random(SEED + number), "%s-%d" % (kind, number)
        again = words + ["--output_dir", name, "--comparison-dir", name + "-c", "--resume"]
        ranks = [chance.randint(1, 3) for _ in range(chance.randint(2, 3))]
        hits += sum(kill_once(folder, again, n, chance, most) for n in ranks[:-1])
        last = harness.run(again, ranks[-1], folder)
        checks.check(last.status == 0 and results(folder, name, files) == good, "%s killed at %s ranks, resumed at %d, seed %d: the same bytes" %
                     (kind, ranks[:-1], ranks[-1], SEED + number), last.err)
    checks.check(hits > 0, kind + ": some were killed at work", hits)
    print("%s: %d killed at work in %d searches" % (kind, hits, KILLED))


def main():
    checks = harness.Checks()
    print("seed %d" % SEED, flush=True)
    with harness.Workplace() as folder:
        check_mamba2(checks, folder)
        check_synth(checks, folder)
        fault = {"weight:in_proj": "int4-g32", "weight:out_proj": "int4-g32"}
        harness.write_json(os.path.join(folder, "two.json"), {"name": "two", "base": "fp32", "set": {"gate:input": "int8"},
                                                              "layers": [{"layers": "0-1", "set": fault}]})
        for kind in SEARCHES:
            check_killed(checks, folder, kind)
    checks.finish()


main()
