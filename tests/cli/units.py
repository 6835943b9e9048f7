# SPDX-License-Identifier: Apache-2.0
"""`ssmsweep units`: its numbers are those that NumPy makes of the same values (the program's own outputs of the float model, the
checkpoint's weights) and, where no output shows the values, of those of the reference; schema, CSV and table; the same bytes for any
ranks and threads; Mamba-2 and other observers; what is refused."""
import csv
import math
import os
import sys

import h5py
import jsonschema
import numpy as np

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import quamba_reference as reference  # noqa: E402

F32, SCHEMA = np.float32, os.path.join(harness.SOURCE, "docs", "schema", "units.schema.json")
LENGTHS = [24, 7, 13, 24, 18]
CALIBRATED = 3
SITES = {"in_proj:input": "in_proj:input", "conv1d:input": "in_proj:output", "gate:input": "in_proj:output", "conv1d:output": "x_proj:input",
         "dt_proj:input": "x_proj:output", "scan:B": "x_proj:output", "scan:C": "x_proj:output", "scan:dt": "dt_proj:output",
         "out_proj:input": "out_proj:input"}
WEIGHTS = {"weight:conv1d": "conv_w", "weight:conv1d_bias": "conv_b", "weight:x_proj": "x_proj", "weight:dt_proj": "dt_proj",
           "weight:dt_bias": "dt_bias", "weight:A_log": "A_log", "weight:D": "Dskip", "weight:in_proj": "in_proj", "weight:out_proj": "out_proj"}


def codes(v, scale):
    return np.clip(np.rint((v / np.asarray(scale, F32)).astype(F32)), -128, 127)


def error(v, scale):
    scale = np.asarray(scale, F32)
    return float(np.sum((codes(v, scale).astype(np.float64) * scale.astype(np.float64) - v.astype(np.float64)) ** 2))


def grid_scale(most):
    return np.maximum(np.asarray(most, F32), F32(1e-5)) / F32(127)


def entropy(v, scale):
    share = np.unique(codes(v, scale), return_counts=True)[1] / v.size
    return float(-np.sum(share * np.log2(share)))


def check_place(checks, p, samples, axis, scale, exact, calibration=None):
    """samples: the values of each sample [rows, columns], of a weight one; axis: that over which a channel runs; exact: they are
    the very values that the program had."""
    v = np.concatenate(samples)
    rounded = np.rint((v / F32(scale)).astype(F32))
    outside = int(((rounded > 127) | (rounded < -128)).sum())
    wrong = []

    def near(a, b):
        return math.isclose(a, b, rel_tol=1e-9) if exact else math.isclose(a, b, rel_tol=5e-3, abs_tol=1e-4)

    def hold(name, good, detail):
        if not good:
            wrong.append((name, detail))
    hold("values", p["values"] == v.size, (p["values"], v.size))
    hold("scale", p["scale"] == float(F32(scale)) if exact else near(p["scale"], float(scale)), (p["scale"], scale))
    hold("clipped", abs(p["clipped"] - outside) <= (0 if exact else 1 + 1e-3 * v.size), (p["clipped"], outside))
    hold("bits", near(p["entropy_bits"], entropy(v, scale)), (p["entropy_bits"], entropy(v, scale)))
    own = sum(error(s, scale) for s in samples)
    relative = math.sqrt(own / float(np.sum(v.astype(np.float64) ** 2)))
    hold("error", near(p["relative_error"], relative), (p["relative_error"], relative))
    largest = np.max(np.abs(v), axis=axis).astype(np.float64)
    order = np.argsort(-largest, kind="stable")[:3]
    said = p["largest_channels"]
    hold("channels", not exact or [c["channel"] for c in said] == list(order), (said, order))
    hold("their values", all(near(c["value"], largest[k]) and near(c["over_median"], largest[k] / np.median(largest)) for c, k in zip(said, order)),
         (said, largest[order]))
    if calibration is None:
        expected = {"channel": error(v, grid_scale(np.max(np.abs(v), axis=1))[:, None])}
        hold("no tokens", all(p["error_instead"][name] is None for name in p["error_instead"] if name != "channel" and not name.endswith("_flag")), p["error_instead"])
    else:
        channel = grid_scale(np.max(np.abs(np.concatenate(calibration)), axis=0))
        rows = [np.max(np.abs(s), axis=1, keepdims=True) for s in samples]
        expected = {"channel": sum(error(s, channel) for s in samples),
                    "token": sum(error(s, np.where(m > 0, m / F32(127), F32(1))) for s, m in zip(samples, rows))}
    for name, value in expected.items():
        hold("a scale for each " + name, near(p["error_instead"][name], value / own), (p["error_instead"][name], value / own))
    checks.check(not wrong, "as NumPy: %s of layer %d" % (p["unit"], p["layer"]), wrong)


def check_observers(checks, p, samples):
    """Under the scale that each observer makes of the first samples."""
    own = sum(error(s, p["scale"]) for s in samples)
    seen = samples[:CALIBRATED]
    quantiles = [reference.quantile(s, 0.9995) for s in seen]
    average = quantiles[0]
    for q in quantiles[1:]:
        average = F32(average + F32(0.01) * F32(q - average))
    names = [name for name in p["error_instead"] if name not in ("channel", "token") and not name.endswith("_flag")]
    values = [max(np.max(np.abs(s)) for s in seen), F32(np.mean(np.asarray(quantiles, np.float64))), average]
    for name, value in zip(names, values):
        expected = sum(error(s, F32(value) / F32(127)) for s in samples) / own
        checks.check(math.isclose(p["error_instead"][name], expected, rel_tol=1e-9), "%s at %s" % (name, p["unit"]), (p["error_instead"][name], expected))
    checks.check(len(names) == 5 and p["error_instead"][names[2]] == 1 and all(p["error_instead"][name] > 0 for name in names[3:]),
                 "the observer that it has", p["error_instead"])
    return names


def values_of(model, samples):
    """What the reference has: {(layer, unit): [values of each sample]}."""
    found = {}
    for tokens in samples:
        h = model.embedding[tokens]
        residual = np.zeros_like(h)
        for l, p in enumerate(model.layers):
            residual = (residual + h).astype(F32)
            xhat = reference.rmsnorm_unit(residual, model.eps)
            xz = (xhat * p["norm"]) @ p["in_proj"].T
            x, z = xz[:, :model.I], xz[:, model.I:]
            c = reference.silu(reference.conv1d_causal(x, p["conv_w"], p["conv_b"]))
            low, B, C = np.split(c @ p["x_proj"].T, [model.R, model.R + model.N], axis=1)
            dt = low @ p["dt_proj"].T
            y, _ = reference.scan_sequential(c, reference.softplus(dt + p["dt_bias"]), -np.exp(p["A_log"]), B, C, p["Dskip"], z)
            values = (reference.hadamard(xhat), x, z, c, low, B, C, dt, reference.hadamard(y))
            for unit, v in zip(SITES, values):
                found.setdefault((l, unit), []).append(np.ascontiguousarray(v, F32))
            h = (y @ p["out_proj"].T).astype(F32)
    return found


def check_activations(checks, folder, places, shown):
    with h5py.File(os.path.join(folder, "out", "sweep.h5")) as f:
        scales = f["calibration/%d/scales" % CALIBRATED][:]
        sites = [name.decode() for name in f.attrs["sites"]]
        for (layer, unit), values in shown.items():
            component = {"conv1d:input": "conv1d_input", "conv1d:output": "conv1d_output"}.get(unit)
            if component:
                data = f["outputs/float/fp32/layer_%d/%s" % (layer, component)]
                values = [data[s, :n] for s, n in enumerate(LENGTHS)]
            check_place(checks, places[layer, unit], values, 0, scales[layer, sites.index(SITES[unit])], component is not None, values[:CALIBRATED])
            if unit == "conv1d:output":
                names = check_observers(checks, places[layer, unit], values)
    return names


def check_weights(checks, places, model):
    quantized = reference.QuantModel(model, None)
    for l, layer in enumerate(model.layers):
        for unit, key in WEIGHTS.items():
            v = layer[key]
            if key == "in_proj":
                v = reference.hadamard(v * layer["norm"][None, :])
            if key == "out_proj":
                v = reference.hadamard(reference.hadamard(v).T).T
            v = np.ascontiguousarray(v, F32)
            check_place(checks, places[l, unit], [v.reshape(len(v), -1)], 1, quantized.layers[l][key + ":scale"], key not in ("in_proj", "out_proj"))


def check_numbers(checks, folder):
    path = os.path.join(folder, "model")
    harness.make_model(path, "--seed", "5", "--d-model", "48", "--n-layer", "2", "--vocab", "64", "--d-state", "8")
    ids = np.full((len(LENGTHS), max(LENGTHS)), -1, np.int32)
    draw = np.random.Generator(np.random.PCG64(1))
    for row, n in zip(ids, LENGTHS):
        row[:n] = draw.integers(0, 64, n)
    np.save(os.path.join(folder, "ids.npy"), ids)
    texts = ["--model", "model", "--calib-data", "ids.npy", "--calib_data_num", str(CALIBRATED), "--eval_data_num", str(len(LENGTHS))]
    result = harness.run(["units"] + texts, 1, folder)
    checks.check(result.status == 0, "units", result.err)
    report = harness.read_json(os.path.join(folder, "comparisons", "units.json"))
    errors = [e.message for e in jsonschema.Draft202012Validator(harness.read_json(SCHEMA)).iter_errors(report)]
    checks.check(not errors, "units.json is valid by its schema", errors[:3])
    places = {(p["layer"], p["unit"]): p for p in report["units"]}
    checks.check(len(places) == len(report["units"]) == 2 * (len(SITES) + len(WEIGHTS)) and
                 (report["samples"], report["tokens"], report["calibration_samples"]) == (len(LENGTHS), sum(LENGTHS), CALIBRATED),
                 "each unit of each layer", sorted(places))
    sweep = harness.run(["-q", "--no-html", "--modes", "fp32,2-1", "--layers", "all", "--components", "conv1d_input,conv1d_output", "--output_dir", "out",
                         "--comparison-dir", "out-c"] + texts + harness.FEW, 1, folder)
    checks.check(sweep.status == 0, "a sweep for outputs and scales", sweep.err)
    model = reference.Model(reference.load_safetensors(os.path.join(path, "model.safetensors")))
    names = check_activations(checks, folder, places, values_of(model, [row[:n] for row, n in zip(ids, LENGTHS)]))
    check_weights(checks, places, model)
    check_files(checks, folder, report, result, texts)
    return names


def check_files(checks, folder, report, result, texts):
    with open(os.path.join(folder, "comparisons", "units.csv"), newline="") as f:
        rows = list(csv.DictReader(f))
    checks.check(len(rows) == len(report["units"]) and all(
        row["unit"] == p["unit"] and int(row["layer"]) == p["layer"] and int(row["clipped"]) == p["clipped"] and float(row["entropy_bits"]) == p["entropy_bits"] and
        (row["error_token"] == "") == (p["error_instead"]["token"] is None) and float(row["largest"]) == p["largest_channels"][0]["value"]
        for row, p in zip(rows, report["units"])), "units.csv has the same numbers")
    checks.check(max(map(len, result.out.splitlines())) <= 100, "the table fits 100 columns", max(result.out.splitlines(), key=len))
    shown = [line.split()[:2] for line in result.out.splitlines()[4:28]]
    order = sorted(report["units"], key=lambda p: -p["relative_error"])
    checks.check(shown == [[p["unit"], str(p["layer"])] for p in order[:24]], "the table has those with the largest error", shown)
    kept = {name: harness.read_bytes(os.path.join(folder, "comparisons", name)) for name in ("units.json", "units.csv")}
    for ranks, threads in ((1, 3), (3, 1), (6, 1)):    # more ranks than samples
        again = harness.run(["units", "-q", "--threads", str(threads), "--comparison-dir", "again"] + texts, ranks, folder)
        checks.check(again.status == 0 and again.out == "" and all(harness.read_bytes(os.path.join(folder, "again", name)) == kept[name] for name in kept),
                     "the same bytes with %d ranks x %d threads" % (ranks, threads), again.err)


def check_others(checks, folder, names):
    short = ["--calib_data_num", "2", "--calib_seqlen", "16", "-q"]
    result = harness.run(["units", "--model", "mamba2-demo", "--comparison-dir", "m2"] + short, 1, folder)
    report = harness.read_json(os.path.join(folder, "m2", "units.json"))
    errors = [e.message for e in jsonschema.Draft202012Validator(harness.read_json(SCHEMA)).iter_errors(report)]
    checks.check(result.status == 0 and not errors and {p["kind"] for p in report["units"]} == {"activation"} and
                 "x_conv_in" in {p["unit"] for p in report["units"]}, "Mamba-2, by its sites", (result.err, errors[:2]))
    wrong = [(p["unit"], p["channels"], p["values"]) for p in report["units"]
             if p["unit"] != "ssm_state_act" and p["values"] != p["channels"] * report["tokens"]]
    checks.check(not wrong and report["tokens"] == 32, "Mamba-2: every token of each sample", wrong[:3])
    result = harness.run(["units", "--observer", names[3], "--comparison-dir", "other"] + short, 1, folder)
    report = harness.read_json(os.path.join(folder, "other", "units.json"))
    checks.check(result.status == 0 and all(p["error_instead"][names[3]] == 1 for p in report["units"] if p["kind"] == "activation" and p["relative_error"]),
                 "--observer is the one that units have", result.err)
    for arguments, status, part in ((["--model", "absent"], 3, "absent"), (["--modes", "2-1"], 2, "--modes"), (["--observer", "best"], 2, "best")):
        result = harness.run(["units", "--comparison-dir", "never"] + arguments, 1, folder)
        checks.check(result.status == status and len(result.lines()) == 1 and part in result.err and not os.path.exists(os.path.join(folder, "never")),
                     "%s: %s" % (arguments, part), "status %s\n%s" % (result.status, result.err))


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        check_others(checks, folder, check_numbers(checks, folder))
    checks.finish()


main()
