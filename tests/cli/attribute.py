# SPDX-License-Identifier: Apache-2.0
"""`ssmsweep attribute`: pieces are the recipes that they should be, shares and tests are those of their numbers, a planted fault
is found, a killed run goes on, and what cannot be attributed is refused."""
import csv
import hashlib
import json
import math
import os
import random
import re
import shlex
import subprocess
import time

import h5py
import jsonschema
import numpy as np

import documents
import harness
import recovery

SHORT = ["--calib_data_num", "4", "--calib_seqlen", "32"] + harness.FEW
SCHEMA = os.path.join(harness.SOURCE, "docs", "schema", "attribution.schema.json")
TRIALS = 20 if harness.LONG else 2


def attribute(folder, *arguments, ranks=1, name="a"):
    line = ["attribute", "--mode", "2-1", "--output_dir", name, "--comparison-dir", name + "-c"] + SHORT + list(arguments)
    return harness.run(line, ranks, folder)


def read(folder, name="a"):
    return harness.read_json(os.path.join(folder, name + "-c", "attribution.json"))


def sums(path, mode, cell="4"):
    """A piece that needs no scales stands where the float modes do."""
    with h5py.File(path) as f:
        return f["metrics/%s/%s/end_of_model" % (cell if mode in f["metrics/" + cell] else "float", mode)][:]


def check_numbers(checks, folder):
    """Shares, interaction, Holm, places, CSV: from the values that the report has; values from the file's sums."""
    harness.write_json(os.path.join(folder, "costs.json"), {"weight:in_proj": {"int8": 1, "float": 4.5}, "scan:u": {"int8": 2, "codes": 2, "float": 0}})
    result = attribute(folder, "--noise", "2", "--costs", "costs.json")
    checks.check(result.status == 0, "attribute", result.err)
    report = read(folder)
    errors = [e.message for e in jsonschema.Draft202012Validator(harness.read_json(SCHEMA)).iter_errors(report)]
    checks.check(not errors, "attribution.json is valid by its schema", errors[:3])
    units = json.loads(harness.run(["modes", "2-1", "--recipe"]).out)["set"]
    floats = json.loads(harness.run(["modes", "fp32", "--recipe"]).out)["set"]
    pieces = report["pieces"]
    checks.check(sorted(p["unit"] for p in pieces) == sorted(u for u in units if units[u] != floats[u]), "a piece for each unit that differs")
    path = os.path.join(folder, "a", "attribution.h5")
    whole = report["whole"]["value"] - report["none"]["value"]
    checks.check(math.isclose(whole, report["error"], rel_tol=1e-12), "the error", report["error"])
    for side, sign in (("without", -1), ("only", 1)):
        total = 0
        for p in pieces:
            found = sums(path, p[side]["mode"])
            checks.check(math.isclose(found["kl"].sum() / found["tokens"].sum(), p[side]["value"], rel_tol=1e-9),
                         "%s: %s, from the file's sums" % (p["unit"], side), p[side])
            share = (report["whole"]["value"] - p[side]["value"] if sign < 0 else p[side]["value"] - report["none"]["value"]) / whole
            checks.check(math.isclose(share, p[side]["share"], rel_tol=1e-9, abs_tol=1e-12), "%s: share %s" % (p["unit"], side), p[side])
            if p[side]["change_interval"] == "ok":
                checks.check(math.isclose(p[side]["change"], p[side]["value"] / report["whole"]["value"], rel_tol=1e-9) and
                             p[side]["change_low"] <= p[side]["change"] <= p[side]["change_high"], "%s: change %s" % (p["unit"], side), p[side])
            total += p[side]["share"]
        checks.check(abs(total + report["interaction"][side] - 1) < 1e-9, "shares and interaction make the whole: " + side, total)
    order = [(p["without"]["change_interval"] == "equal", -p["without"]["share"]) for p in pieces]
    checks.check(order == sorted(order) and [p["place"] for p in pieces] == list(range(1, len(pieces) + 1)), "places: equal pieces are the last", order)
    check_prices(checks, report)
    tested = sorted((p for p in pieces if p["p"] is not None), key=lambda p: p["p"])
    least = 0
    for i, p in enumerate(tested):
        least = max(least, min(1, p["p"] * (len(tested) - i)))
        checks.check(math.isclose(p["p_adjusted"], least, rel_tol=1e-12) and p["significant"] == (least <= 1 - 0.95), "Holm: " + p["unit"], p)
    with open(os.path.join(folder, "a-c", "attribution.csv"), newline="") as f:
        rows = list(csv.DictReader(f))
    checks.check(len(rows) == len(pieces) and all(
        row["unit"] == p["unit"] and row["layer"] == "all" and float(row["without"]) == p["without"]["value"] and
        float(row["only_share"]) == p["only"]["share"] and row["within_noise"] == str(p["within_noise"]).lower()
        for row, p in zip(rows, pieces)), "attribution.csv has the same numbers")
    checks.check(max(map(len, result.out.splitlines())) <= 100, "the table fits 100 columns", max(result.out.splitlines(), key=len))
    shown = re.findall(r"^ +\d+  (\S+) +all  x ", result.out, re.M)
    checks.check(shown == [p["unit"] for p in pieces], "the table has the pieces in their order", shown)
    # Without noise a piece that changes no bit is no change: conv1d's output, which the scan reads as codes in any case.
    equal = [p for p in pieces if p["without"]["change_interval"] == "equal"]
    checks.check(all(p["p"] == 1 and p["without"]["share"] == 0 and not p["significant"] for p in equal), "equal pieces are no findings", equal)


def check_prices(checks, report):
    """Bytes and multiply-adds, from the sizes of the demo model: 24 layers, d_model 96."""
    D, I, N, R, K, layers = 96, 192, 16, 6, 4, 24
    elements = {"weight:in_proj": 2 * I * D, "weight:conv1d": I * K, "weight:conv1d_bias": I, "weight:x_proj": (R + 2 * N) * I, "weight:dt_proj": I * R,
                "weight:dt_bias": I, "weight:A_log": I * N, "weight:D": I, "weight:out_proj": D * I}
    products = {"in_proj": 2 * I * D, "conv1d": I * K, "x_proj": (R + 2 * N) * I, "dt_proj": I * R, "out_proj": D * I}
    total = layers * sum(products.values())
    cost = {"weight_bytes": layers * (sum(elements.values()) + 4 * len(elements)) + 2 * 2048 * D, "int8_multiply_adds": total, "multiply_adds": total,
            "user_cost": 3 * layers}
    checks.check(report["cost"] == cost, "what the mode takes", report["cost"])
    for p in report["pieces"]:
        unit = p["unit"]
        bytes = layers * (3 * elements[unit] - 4) if unit in elements else 2 * 2048 * D if unit == "embedding" else 0
        # x_proj takes codes of a float conv1d's output, too; dt_proj none of a float dt_low
        lost = products.get(unit[7:] if unit in elements else unit[:-6] if unit.endswith(":input") else "", 0)
        checks.check((p["weight_bytes"], p["int8_multiply_adds"]) == (bytes, -layers * lost), "what %s takes" % unit, p)
        checks.check(p["user_cost"] == {"weight:in_proj": 3.5, "scan:u": -2}.get(unit, 0) * layers, "what %s costs by the table" % unit, p)


def check_gates(checks, folder):
    """On a piece: the error of the target with only it; without a piece, that of the mode."""
    pieces = {p["unit"]: p["only"]["value"] for p in read(folder)["pieces"]}
    whole = read(folder)["whole"]["value"]
    again = ["--resume", "--noise", "2"]
    limits = ["--gate", "piece=gate:input kl_mean<%r" % (1.01 * pieces["gate:input"]), "--gate", "kl_mean<=%r" % whole]
    result = attribute(folder, *again, *limits, "--junit", "gates.xml")
    checks.check(result.status == 0 and "2 checks passed" in result.err, "gates that hold", result.err)
    result = attribute(folder, *again, *limits, "--gate", "piece=scan:B kl_mean<%r" % (0.99 * pieces["scan:B"]), "--junit", "gates.xml")
    checks.check(result.status == 1 and "gate broken: piece=scan:B kl_mean<" in result.err and "only scan:B: kl_mean is" in result.err and
                 "1 of 3 checks failed" in result.err, "a gate that is broken", result.err)
    checks.check(harness.read_bytes(os.path.join(folder, "gates.xml")).count(b"<failure") == 1, "as JUnit")
    for gate, part in (("piece=scan:v kl_mean<1", "there is no such piece"), ("piece=scan:B layer=3 kl_mean<1", "there is no such piece"),
                       ("piece=scan:B mse<1", "mse is not measured"), ("mode=2-1 kl_mean<1", "attribute has gates on piece= and layer="),
                       ("piece=scan:B", "has no limit")):
        result = attribute(folder, *again, "--gate", gate)
        checks.check(result.status == 2 and len(result.lines()) == 1 and part in result.err, "%s: %s" % (gate, part), result.err)
    result = harness.run(["--gate", "piece=scan:B mse<1", "--output_dir", "never"], 1, folder)
    checks.check(result.status == 2 and "attribute has gates on piece=" in result.err, "a sweep has no pieces", result.err)


def check_killed(checks, folder):
    """SIGKILL in calibration, in the sweep, of a rank, and while the report is written: resumed, the same bytes."""
    by = ["--by", "unit,layer", "--units", "out_proj:input,gate:input", "--layers", "0,7,last"]
    report = harness.read_bytes(os.path.join(folder, "one-c", "attribution.json"))
    line = ["attribute", "--mode", "2-1", "--output_dir", "killed", "--comparison-dir", "killed-c", "--resume"] + by + SHORT
    for point in ("observe:2/0", "mark:3/0", "mark:9/0", "readback:4/0"):
        result = harness.run(["--inject", "die@" + point] + line, 1, folder, program=recovery.INJECT)
        checks.check(result.status == -9, "killed at " + point, (result.status, result.err))
    with open(os.path.join(folder, "said"), "wb") as said:
        process = subprocess.Popen([harness.MPIEXEC, "-n", "2", harness.PROGRAM, "-v"] + line, cwd=folder, env=harness.environment(),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)
        while b"computes run" not in harness.read_bytes(os.path.join(folder, "said")) and process.poll() is None:
            time.sleep(0.003)
        for child in harness.children(process.pid)[-1:]:
            harness.kill(child)
        process.wait(timeout=harness.LIMIT)
    harness.wait_until_left(folder)
    result = harness.run(line, 2, folder)
    checks.check(result.status == 0 and harness.read_bytes(os.path.join(folder, "killed-c", "attribution.json")) == report,
                 "killed and resumed: the same bytes", (process.returncode, result.err))


def check_direct(checks, folder):
    """The runs are those of recipes that say the same."""
    recipes = {"without": {"name": "w1", "base": "2-1", "set": {"gate:input": "float"}},
               "only": {"name": "o1", "base": "fp32", "set": {"gate:input": "int8"}},
               "none": {"name": "n1", "base": "fp32"}}
    harness.write_json(os.path.join(folder, "direct.json"), {"recipes": list(recipes.values())})
    result = harness.run(["-q", "--no-html", "--store", "none", "--recipes", "direct.json", "--modes", "fp32,2-1,w1,o1,n1", "--output_dir", "d",
                          "--comparison-dir", "d-c"] + SHORT, 1, folder)
    checks.check(result.status == 0, "direct recipes", result.err)
    piece = next(p for p in read(folder)["pieces"] if p["unit"] == "gate:input")
    for side, name in (("without", "w1"), ("only", "o1"), ("none", "n1")):
        mode = "none" if side == "none" else piece[side]["mode"]
        checks.check(np.array_equal(sums(os.path.join(folder, "a", "attribution.h5"), mode), sums(os.path.join(folder, "d", "sweep.h5"), name)),
                     "%s is the run of its recipe, bit for bit" % side)


def check_ranks(checks, folder):
    """Any ranks, and stopped and resumed: the same bytes."""
    by = ["--by", "unit,layer", "--units", "out_proj:input,gate:input", "--layers", "0,7,last"]
    result = attribute(folder, *by, name="one")
    report = harness.read_bytes(os.path.join(folder, "one-c", "attribution.json"))
    places = {(p["unit"], p["layer"]) for p in read(folder, "one")["pieces"]}
    checks.check(result.status == 0 and places == {(u, l) for u in ("out_proj:input", "gate:input") for l in (0, 7, 23)}, "units of layers", places)
    result = attribute(folder, *by, ranks=3, name="three")
    checks.check(result.status == 0 and harness.read_bytes(os.path.join(folder, "three-c", "attribution.json")) == report, "the same bytes at -n 3", result.err)
    with h5py.File(os.path.join(folder, "three", "attribution.h5"), "r+") as f:    # as a run that was stopped leaves it
        for mode in list(f["items/4"])[::2]:
            f["items/4/%s/state" % mode][1:] = 0
    os.remove(os.path.join(folder, "three-c", "attribution.json"))
    result = attribute(folder, *by, ranks=2, name="three")
    checks.check(result.status == 3 and "--resume" in result.err, "a result that is there is not overwritten", result.err)
    result = attribute(folder, "--resume", *by, ranks=2, name="three")
    checks.check(result.status == 0 and harness.read_bytes(os.path.join(folder, "three-c", "attribution.json")) == report, "--resume", result.err)
    result = attribute(folder, "--resume", "--by", "unit", name="three")
    checks.check(result.status == 3, "--resume with other pieces", result.err)
    result = attribute(folder, "--overwrite", *by, name="three")
    checks.check(result.status == 0 and "--overwrite: removed three/attribution.h5" in result.err and
                 harness.read_bytes(os.path.join(folder, "three-c", "attribution.json")) == report, "--overwrite", result.err)


def plant(path, layer, site, factor):
    """What the samples showed at a site, times `factor`; all items are to be done again."""
    with h5py.File(path, "r+") as f:
        observed = f["calibration/observed"][:]
        observed[:, layer, site] *= np.float32(factor)
        f["calibration/observed"][:] = observed
        for sample in range(len(observed)):
            f["calibration/digest"][sample] = np.frombuffer(hashlib.sha256(observed[sample].tobytes()).digest(), np.uint8)
        for mode in f["items/4"]:
            f["items/4/%s/state" % mode][:] = 0


def check_planted(checks, folder):
    """A scale of one layer 64 times too large.  Without the piece the fault is gone, bit for bit; other pieces alone never had
    it; and where it makes the error more than half as large again, the piece is the first."""
    layers = [0, 6, 12, 18, 23]
    by = ["--by", "unit,layer", "--units", "in_proj:input,scan:dt,out_proj:input", "--layers", ",".join(map(str, layers))]
    result = attribute(folder, *by, name="planted")
    checks.check(result.status == 0, "before the fault", result.err)
    before = read(folder, "planted")
    values = {(p["unit"], p["layer"]): p for p in before["pieces"]}
    path = os.path.join(folder, "planted", "attribution.h5")
    with h5py.File(path) as f:
        names = [name.decode() for name in f.attrs["sites"]]
        scales = f["calibration/4/scales"][:]
    units = {"in_proj:input": "in_proj:input", "dt_proj:output": "scan:dt", "out_proj:input": "out_proj:input"}
    draw = random.Random(20)
    grave = 0
    for _ in range(TRIALS):
        layer, site = draw.choice(layers), draw.choice(sorted(units))
        plant(path, layer, names.index(site), 64)
        result = attribute(folder, "--resume", *by, name="planted")
        with h5py.File(path) as f:
            ratio = f["calibration/4/scales"][:] / scales
        where = "%s of layer %d" % (units[site], layer)
        checks.check(result.status == 0 and np.isclose(ratio[layer, names.index(site)], 64) and np.isclose(ratio, 1).sum() == ratio.size - 1,
                     "one scale is planted: " + where, result.err)
        report = read(folder, "planted")
        for p in report["pieces"]:
            was = values[p["unit"], p["layer"]]
            if (p["unit"], p["layer"]) == (units[site], layer):
                checks.check(p["without"]["value"] == was["without"]["value"] and p["only"]["value"] > was["only"]["value"],
                             "without it the fault in %s is gone, alone it is there" % where, p)
            else:
                checks.check(p["only"]["value"] == was["only"]["value"], "%s of layer %s alone has not the fault in %s" % (p["unit"], p["layer"], where), p)
        if report["whole"]["value"] > 1.5 * before["whole"]["value"]:
            grave += 1
            first = report["pieces"][0]
            checks.check((first["unit"], first["layer"]) == (units[site], layer), "a grave fault in %s is the first piece" % where, first)
        plant(path, layer, names.index(site), 1 / 64)
    checks.check(grave >= TRIALS / 4, "grave faults", "%d of %d" % (grave, TRIALS))


def check_layer(checks, folder):
    result = attribute(folder, "--by", "layer", "--metric", "mse", "--at", "11", "--toward", "2-4", name="layer")
    report = read(folder, "layer")
    checks.check(result.status == 0 and report["layer"] == 11 and report["component"] == "mixer_output" and report["toward"] == "2-4" and
                 all(p["unit"] is None for p in report["pieces"]), "the layers of 2-1 toward 2-4", result.err)
    later = [p for p in report["pieces"] if p["layer"] > 11]
    checks.check(len(later) == 12 and all(p["without"]["change_interval"] == "equal" for p in later), "later layers change nothing at layer 11", later[:1])
    harness.write_json(os.path.join(folder, "job.json"), {"mode": "2-1", "layers": "0-2", "by": "layer"})
    jobs = [harness.run(["attribute", "--dry-run"] + words, 1, folder).out
            for words in (["--job", "job.json"], ["2-1", "--layers", "0-2", "--by", "layer"], ["--mode", "2-1", "--by", "layer"])]
    runs = [re.findall(r"^runs: (\d+)", out, re.M) for out in jobs]
    checks.check(runs[0] == runs[1] != runs[2] and runs[0], "mode and layers of a job file", runs)
    result = attribute(folder, "--dry-run", "--by", "unit,layer", name="dry")
    checks.check(result.status == 0 and re.search(r"^  and \d+ more$", result.out, re.M) and len(result.out.splitlines()) < 130,
                 "--dry-run of a thousand runs", result.out[-500:])
    told = float(re.search(r"up to ([\d.]+) MiB in a rank", result.out).group(1))
    checks.check(told < 600, "and its memory", told)


def check_refused(checks, folder):
    for arguments, status, part in (
            (["attribute"], 2, "say which mode: ssmsweep attribute --mode 2-1"),
            (["attribute", "--mode", "9"], 2, "--mode: expected the name of one mode, got '9'"),
            (["attribute", "--mode", "essential"], 2, "--mode: expected the name of one mode, got 'essential'"),
            (["attribute", "--mode", "fp32"], 2, "is a float mode"),
            (["attribute", "--mode", "2-1", "--toward", "9"], 2, "--toward: expected the name of one mode, got '9'"),
            (["attribute", "--mode", "2-1", "--toward", "2-1"], 2, "nothing to take apart"),
            (["attribute", "--mode", "2-1", "--units", "scan:v"], 2, "--units: 'scan:v': the model has no such unit"),
            (["attribute", "--mode", "2-1", "--layers", "24"], 2, "layer '24' does not exist"),
            (["attribute", "--mode", "2-1", "--metric", "psnr_db"], 2, "--metric: expected an error that is 0"),
            (["attribute", "--mode", "2-1", "--metric", "kl_mean", "--no-logits"], 2, "--no-logits contradicts"),
            (["attribute", "--mode", "2-1", "--metric", "mse", "--at", "0-1"], 2, "--at: expected one layer"),
            (["attribute", "--mode", "2-1", "--by", "kernel"], 2, "--by: expected one of unit|layer|unit,layer"),
            (["attribute", "--mode", "2-1", "--calib_data_num", "2,4"], 2, "expected one set of scales"),
            (["attribute", "--mode", "2-1", "--costs", "absent.json"], 3, "absent.json"),
            (["attribute", "--mode", "2-1", "--depth", "--costs", "absent.json"], 2, "--costs contradicts --depth"),
            (["attribute", "--mode", "2-1", "--model", "absent"], 3, "absent")):
        result = harness.run(arguments + ["--output_dir", "never"], 1, folder)
        checks.check(result.status == status and len(result.lines()) == 1 and part in result.err and
                     not os.path.exists(os.path.join(folder, "never")), "%s: %s" % (arguments, part), "status %s\n%s" % (result.status, result.err))


def check_document(checks, folder):
    """docs/attribution.md: the output is one that the program really made, and its commands are taken."""
    text = documents.read("docs/attribution.md")
    harness.write_json(os.path.join(folder, "given.json"), {"name": "given", "base": "2-1", "set": {"*": "int8-given"}})
    harness.write_json(os.path.join(folder, "scales.json"), {"layers": [{"out_proj:input": 0.01}] + [{}] * 23})
    for line in sum((block for kind, block in documents.blocks(text) if kind == "indented"), []):
        words = shlex.split(documents.command_of(line).replace("mpirun -n 4 ", ""))
        further = SHORT[:4] if words[1] == "units" else SHORT + ["--dry-run"]
        result = harness.run(words[1:] + further, 1, folder)
        checks.check(words[0] == "ssmsweep" and result.status == 0, "docs/attribution.md: " + line, result.err)
    shown = "\n".join(next(block for kind, block in documents.blocks(text) if kind == ""))
    command = documents.command_of(re.search(r"`(ssmsweep attribute [^`]*)`", text.split("## The demo model")[1]).group(1))
    if harness.LONG:
        result = harness.run(shlex.split(command)[1:] + ["--output_dir", "shown", "--comparison-dir", "shown-c"], 2, folder)
        checks.check(shown in result.out, "docs/attribution.md: the output", result.out)


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        check_refused(checks, folder)
        check_numbers(checks, folder)
        check_gates(checks, folder)
        check_direct(checks, folder)
        check_ranks(checks, folder)
        check_killed(checks, folder)
        check_planted(checks, folder)
        check_layer(checks, folder)
        check_document(checks, folder)
    checks.finish()


main()
