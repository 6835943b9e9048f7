# SPDX-License-Identifier: Apache-2.0
"""--isolated: each layer fed with the reference's own stream.  Its errors are NumPy's, at layer 0 those that have added up, and the
same bytes for all ranks, threads, forks and interruptions; without it a file is what it was."""
import json
import os
import subprocess
import sys

import h5py
import jsonschema
import numpy as np

import harness
import recovery
import sweep_files

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import mamba2_reference as m2       # noqa: E402
import quamba_reference as q        # noqa: E402
import recipe_reference as recipes  # noqa: E402

VOCAB, LENGTHS, LAYERS = 53, (33, 1, 20), 4
MIXED = {"name": "mixed", "base": "2-1", "layers": [{"layers": "1,last", "base": "2-4"}, {"layers": "2", "set": {"in_proj:input": "float"}}]}
LATE = {"name": "late", "base": "2-1", "layers": [{"layers": "2", "set": {"scan:y": "float"}}]}
SETTINGS = {name: [dict(setting)] * LAYERS for name, setting in recipes.MODE_SETTINGS.items()}
SETTINGS["mixed"] = [dict(recipes.BASE) for _ in range(LAYERS)]
for at in (1, LAYERS - 1):
    SETTINGS["mixed"][at] = dict(recipes.MODE_SETTINGS["2-4"])
SETTINGS["mixed"][2]["in_proj:input"] = "float"
SETTINGS["late"] = [dict(recipes.BASE, **({"scan:y": "float"} if at == 2 else {})) for at in range(LAYERS)]


def samples():
    g = np.random.Generator(np.random.PCG64(5))
    ids = np.full((len(LENGTHS), max(LENGTHS)), -1, np.int32)
    for row, length in zip(ids, LENGTHS):
        row[:length] = g.integers(0, VOCAB, length)
    return ids


def make_job(folder):
    """Options of a job of a small model of an odd shape."""
    harness.make_model(os.path.join(folder, "model"), "--seed", "11", "--d-model", "96", "--n-layer", str(LAYERS), "--vocab", str(VOCAB))
    np.save(os.path.join(folder, "ids.npy"), samples())
    harness.write_json(os.path.join(folder, "recipes.json"), {"recipes": [MIXED, LATE]})
    return ["--model", os.path.join(folder, "model"), "--calib-data", os.path.join(folder, "ids.npy"), "--calib_data_num", "2,3",
            "--calib_seqlen", "64", "--recipes", os.path.join(folder, "recipes.json"), "--layers", "last", *harness.FEW]


def sweep(checks, folder, what, words, ranks=1, further=None, program=harness.PROGRAM, status=0):
    out = os.path.join(folder, what.replace(" ", "-"))
    result = harness.run(words + ["--output_dir", out, "--comparison-dir", out], ranks, folder, further, program=program)
    checks.check(result.status == status, what, result.err)
    return out


def stored(out):
    """{name: bytes} of datasets and attributes; the folder's name is in no file."""
    found = sweep_files.contents(os.path.join(out, "sweep.h5"))
    found.update(sweep_files.json_lines(out, ('"timestamp"', '"output_dir"')))
    return found


def same(checks, what, got, want):
    checks.check(len(want) > 50 and not sweep_files.differences(got, want), what + ": the same bytes", sweep_files.differences(got, want)[:8])


# ---- against NumPy ----

def mse_of(rows):
    """Over samples: [layers, components]."""
    n = rows["count"].astype(float)
    mean = (rows["mode_sum_hi"] - rows["ref_sum_hi"]) / n
    return (rows["diff_squares_hi"] + n * mean ** 2).sum(0) / n.sum(0)


def wanted(layers, pairs):
    """[layers][component]: (root of the MSE, largest of the reference) of the pairs (reference, mode) of samples and layers."""
    total, count, most = ([{} for _ in range(layers)] for _ in range(3))
    for l, component, ref, mode in pairs:
        total[l][component] = total[l].get(component, 0) + ((mode.astype(float) - ref) ** 2).sum()
        count[l][component] = count[l].get(component, 0) + ref.size
        most[l][component] = max(most[l].get(component, 0), np.abs(ref).max())
    return [{c: (np.sqrt(total[l][c] / count[l][c]), most[l][c]) for c in total[l]} for l in range(layers)]


def mamba1_pairs(model, rw, mode):
    for ids, length in zip(samples(), LENGTHS):
        h = model.embedding[ids[:length]]
        residual = np.zeros_like(h)
        for l in range(LAYERS):
            if mode == "fp16":
                got, _, _ = q.float_layer(model, l, residual, q.to_fp16(h) if l == 0 else h, mode)
            else:    # in front of the first layer stands the recipe's own embedding
                turned = rw.q.embedding[ids[:length]] if l == 0 else q.hadamard(h)
                got, _, _ = recipes.recipe_layer(rw, l, SETTINGS[mode][l], q.hadamard(residual), turned)
            want, residual, h = q.float_layer(model, l, residual, h)
            yield from ((l, c, want[c], got[c]) for c in want)


def compare(checks, what, path, cell, mode, wants):
    """The distance between the two is at most 0.02 of the error (docs/numerics.md, How it is checked, point 2), so that is the most by
    which its root may differ; where nothing is quantized, the bound of the float modes (point 1)."""
    with h5py.File(path, "r") as f:
        names = [name.decode() for name in f.attrs["components"]]
        got = mse_of(f["metrics/%s/%s/isolated" % (cell, mode)][...])
    far, compared = [], 0
    for l, want in enumerate(wants):
        for c, (root, most) in want.items():
            found, compared = np.sqrt(got[l, names.index(c)]), compared + 1
            if abs(found - root) > 0.02 * root and max(found, root) > 2e-5 * most:
                far.append("layer %d %s: %.4e, NumPy %.4e" % (l, c, found, root))
    checks.check(compared >= 6 * len(wants) and not far, "%s %s: errors of layers by themselves are NumPy's" % (what, mode), far)


def against_numpy(checks, folder, out):
    model = q.Model(q.load_safetensors(os.path.join(folder, "model", "model.safetensors")))
    path = os.path.join(out, "sweep.h5")
    with h5py.File(path, "r") as f:
        data = f["calibration/3/scales"]
        sites = [name.decode() for name in data.attrs["sites"]]
        scales = [dict(zip(sites, row)) for row in data[...]]
    rw = recipes.RecipeWeights(model, scales)
    for mode in ("0", "2-1", "2-4", "3", "mixed", "late"):
        compare(checks, "Mamba-1", path, "3", mode, wanted(LAYERS, mamba1_pairs(model, rw, mode)))
    compare(checks, "Mamba-1", path, "float", "fp16", wanted(LAYERS, mamba1_pairs(model, rw, "fp16")))


def mamba2_pairs(model, qm, mode):
    for ids, length in zip(samples(), LENGTHS):
        h = model.embedding[ids[:length]]
        residual = np.zeros_like(h)
        for l, p in enumerate(model.layers):
            s = qm.scales[l]["in_proj:input"]
            turned = (q.hadamard(residual) + (qm.embedding[ids[:length]] if l == 0 else q.hadamard(h))).astype(np.float32)
            codes = q.sat8(np.rint(q.rmsnorm_unit(turned, model.shape.eps) / s))
            got = m2.quant_layer(qm, l, codes, mode)
            got["mixer_input"] = q.hadamard(codes.astype(np.float32) * s, transpose=True)
            got["mixer_output"] = q.hadamard(got["h"], transpose=True)
            residual = (residual + h).astype(np.float32)
            want = m2.float_layer(p, model.shape, q.rmsnorm_unit(residual, model.shape.eps))
            h = want["mixer_output"].astype(np.float32)
            yield from ((l, c, want[c], got[c]) for c in m2.COMPONENTS)


def mamba2(checks, folder):
    config, tensors = m2.random_model(seed=3, d_model=64, n_layer=3, vocab=VOCAB, headdim=16, d_state=16, chunk_size=16)
    os.mkdir(os.path.join(folder, "second"))
    q.save_safetensors(os.path.join(folder, "second", "model.safetensors"), tensors)
    harness.write_json(os.path.join(folder, "second", "config.json"), config)
    job = ["--model", os.path.join(folder, "second"), "--calib-data", os.path.join(folder, "ids.npy"), "--calib_data_num", "3", "--layers",
           "last", "--modes", "fp32,0,2-1,2-4,3", "--isolated", "--group_heads", "off", *harness.FEW]
    out = sweep(checks, folder, "mamba2", job)
    same(checks, "Mamba-2, two ranks and threads", stored(sweep(checks, folder, "mamba2 again", job + ["--threads", "2"], 2)), stored(out))
    path = os.path.join(out, "sweep.h5")
    with h5py.File(path, "r") as f:
        data = f["calibration/3/scales"]
        sites = [name.decode() for name in data.attrs["sites"]]
        scales = [dict(zip(sites, row)) for row in data[...]]
    model = m2.Model(config, tensors)
    qm = m2.QuantModel(model, scales)
    for mode in ("2-1", "2-4", "3"):
        compare(checks, "Mamba-2", path, "3", mode, wanted(3, mamba2_pairs(model, qm, mode)))
    first_layer(checks, "Mamba-2", path)


# ---- what must hold inside a file ----

def first_layer(checks, what, path):
    """At layer 0 bit for bit what has added up; everywhere where a mode is its own reference."""
    with h5py.File(path, "r") as f:
        reference, wrong, runs = f.attrs["reference_mode"].decode(), [], 0
        for cell in f["metrics"]:
            for mode in f["metrics"][cell] if cell != "width" else ():
                group, runs = f["metrics"][cell][mode], runs + 1
                if "_dither" in mode:
                    wrong += ["isolated of a re-run"] if "isolated" in group else []
                    continue
                whole, alone = group["moments"][...], group["isolated"][...]
                upto = None if mode == reference else 1
                differs = whole["diff_squares_hi"].any()    # a mode may equal a quantized reference
                if whole[:, :upto].tobytes() != alone[:, :upto].tobytes() or differs and whole.tobytes() == alone.tobytes():
                    wrong.append((cell, mode))
    checks.check(runs > 3 and not wrong, what + ": at layer 0 as what has added up", wrong)


# ---- the reports ----

def reports(checks, folder, out):
    """Every output has both, with the same numbers; a gate can ask for them."""
    where = ["--output_dir", out, "--comparison-dir", os.path.join(folder, "compared"), "--no-html", *harness.FEW]
    compare_it = lambda *words: harness.run(["compare", "--modes", "2-1"] + list(words) + where, 1, folder)    # noqa: E731
    with open(os.path.join(out, "sweep.json"), encoding="utf-8") as f:
        sweep_json = json.load(f)
        schema = harness.read_json(os.path.join(harness.SOURCE, "docs", "schema", "sweep.schema.json"))
        wrong = [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(sweep_json)]
        checks.check(not wrong, "sweep.json is what its schema says", wrong[:3])
        entry = next(e for e in sweep_json["layers"] if (e["mode"], e["calib_data_num"], e["layer"]) == ("2-1", 3, LAYERS - 1))
    own, amplified = (entry["metrics"][name]["value"] for name in ("isolated_mse", "amplification"))
    checks.check(own > 0 and abs(amplified * own / entry["metrics"]["mse"]["value"] - 1) < 1e-12, "the quotient", entry["metrics"])
    with open(os.path.join(out, "mode_2-1_n3_vs_fp32.json"), encoding="utf-8") as f:
        layer = json.load(f)["layers"]["layer_%d" % (LAYERS - 1)]
    checks.check(layer["isolated_mse"] == own and layer["amplification"] == amplified, "JSON of a mode", layer)
    rows = [dict(zip(lines[0].split(","), line.split(","))) for lines in [compare_it("--format", "csv").out.splitlines()] for line in lines[1:]]
    checks.check([float(row["isolated_mse"]) for row in rows if row["calib_data_num"] == "3" and row["layer"] == str(LAYERS - 1)] == [own], "CSV", rows)
    with open(os.path.join(out, "sweep.csv"), encoding="utf-8") as f:
        checks.check("3,3,2-1,%d,mixer_output,amplification," % (LAYERS - 1) in f.read(), "sweep.csv", "")
    text, markdown = compare_it("--format", "table").out, compare_it("--format", "markdown").out
    checks.check("own MSE  amplified" in text and "%.3e" % own in text and "%.3e" % amplified in text, "the table", text)
    checks.check(all(len(line) <= 100 for line in text.splitlines()), "the table fits 100 columns", text)
    checks.check("| own MSE | amplification |" in markdown and "| %.3e | %.3e |" % (own, amplified) in markdown, "Markdown", markdown)
    good, bad = (compare_it("--gate", "layer=last amplification<%.17g" % limit).status for limit in (2 * amplified, amplified / 2))
    checks.check((good, bad) == (0, 1), "gates", (good, bad))
    other = harness.run(["compare", "--reference", "2-1", "--modes", "2-4", "--gate", "isolated_mse<1"] + where, 1, folder)
    checks.check(other.status == 2 and "needs a sweep with --isolated, against the same reference" in other.err, "of another reference", other.err)
    page = harness.run(["report", "--result", os.path.join(out, "sweep.json"), "--out", "page.html"], 1, folder)
    checks.check(page.status == 0 and '"amplification"' in harness.read_bytes(os.path.join(folder, "page.html")).decode(), "the page", page.err)


# ---- the file ----

def refused(checks, folder, job, out):
    """A file is with it or without, and so is what goes on with it."""
    without = sweep(checks, folder, "without", job + ["--modes", "fp32,2-1"])
    for what, words, where in (("resumed without", ["--resume"], out), ("resumed with", ["--resume", "--isolated"], without)):
        words = job + words + ["--modes", "fp32,2-1"]
        result = harness.run(words + ["-q", "--output_dir", where, "--comparison-dir", where], 2, folder)
        checks.check(result.status == recovery.INPUT and len(result.lines()) == 1 and "isolated is" in result.err, what + ": refused", result.err)
    with h5py.File(os.path.join(out, "sweep.h5"), "r") as with_it, h5py.File(os.path.join(without, "sweep.h5"), "r") as f:
        checks.check(with_it.attrs["schema_version"] == f.attrs["schema_version"] == 7, "the schema's number", "")
        checks.check(json.loads(with_it.attrs["job"])["isolated"] is True and "isolated" not in json.loads(f.attrs["job"]), "the jobs", "")
    whole, part = stored(out), stored(without)
    names = [name for name in part if name.startswith(("outputs/", "metrics/")) and "@" not in name]
    checks.check(len(names) > 8 and all(whole[name] == part[name] for name in names), "all else is as without it", "")


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        job = make_job(folder)
        all_modes = job + ["--isolated", "--modes", "all,mixed,late", "--noise", "1"]
        whole = sweep(checks, folder, "no forks", all_modes + ["--no-forks"])
        want = stored(whole)
        same(checks, "forks", stored(sweep(checks, folder, "forks", all_modes)), want)
        same(checks, "two ranks", stored(sweep(checks, folder, "two ranks", all_modes, 2)), want)
        same(checks, "four ranks, two threads", stored(sweep(checks, folder, "four ranks", all_modes + ["--threads", "2"], 4)), want)
        first_layer(checks, "fp32", os.path.join(whole, "sweep.h5"))
        against_numpy(checks, folder, whole)
        plain = sweep(checks, folder, "plain", job + ["--isolated", "--modes", "fp32,fp16,2-1,2-4,mixed"])
        numbers = subprocess.run([sys.executable, os.path.join(harness.SOURCE, "tests", "reference", "check_sweep.py"),
                                  os.path.join(plain, "sweep.h5"), plain], capture_output=True, text=True)
        checks.check(numbers.returncode == 0, "values and intervals are NumPy's", numbers.stdout[-2000:] + numbers.stderr)
        reports(checks, folder, plain)
        # Killed, and resumed by others; modes added later.
        part = os.path.join(folder, "killed")
        for at in (3, 11):
            words = all_modes + (["--resume"] if at > 3 else []) + ["--output_dir", part, "--comparison-dir", part]
            harness.run(["--inject", "die@mark:%d/0" % at] + words, 1, folder, program=recovery.INJECT)
        same(checks, "killed and resumed", stored(sweep(checks, folder, "killed", all_modes + ["--resume"], 2)), want)
        later = job + ["--isolated", "--noise", "1"]
        sweep(checks, folder, "later", ["save"] + later + ["--modes", "fp32,2-1"])
        sweep(checks, folder, "later", ["save"] + later + ["--modes", "all,mixed,late"], 2)
        found = sweep_files.contents(os.path.join(folder, "later", "sweep.h5"))
        differing = [name for name in sweep_files.differences(found, {k: v for k, v in want.items() if "." not in k}) if "@job" not in name]
        checks.check(not [name for name in differing if name in found], "modes added later: the same bytes", differing[:8])
        # A reference that is quantized: its stream is rotated, and others follow it.
        other = job + ["--isolated", "--reference", "2-1", "--modes", "fp32,2-1,2-2,2-4,late"]
        reference = sweep(checks, folder, "reference", other + ["--no-forks"])
        same(checks, "a quantized reference", stored(sweep(checks, folder, "reference again", other, 2)), stored(reference))
        first_layer(checks, "2-1", os.path.join(reference, "sweep.h5"))
        refused(checks, folder, job, whole)
        mamba2(checks, folder)
    checks.finish()


main()
