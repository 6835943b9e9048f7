# SPDX-License-Identifier: Apache-2.0
"""toy_family.py TOY_PROGRAM: one more family of models, made as docs/design.md says ("Adding a model family"), runs through
sweep, file, gates and reports with NumPy's values; and the files that page lists are those that a family touches."""
import glob
import os
import re
import sys

import h5py
import numpy as np

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import quamba_reference as reference  # noqa: E402

TOY = sys.argv[1]
SWITCH = "SSMSWEEP_TOY_FAMILY"
D, LAYERS, VOCAB, SAMPLES, TOKENS, EPS = 48, 3, 64, 4, 12, 1e-5
CONFIG = {"model_type": "toy", "hidden_size": D, "num_hidden_layers": LAYERS, "vocab_size": VOCAB, "layer_norm_epsilon": EPS,
          "tie_word_embeddings": True}
COMPONENTS = ["linear_input", "linear_output"]
JOB = ["-q", "--model", "model", "--calib-data", "ids.npy", "--calib_data_num", "2,%d" % SAMPLES, "--components", "all", "--layers",
       "all", "--modes", "fp32,fp16,0,2-1", *harness.FEW]


def make_model(folder):
    """model/ and ids.npy; gives the tensors and the ids."""
    random = np.random.default_rng(5)
    tensors = {"backbone.embedding.weight": random.normal(0, 1, (VOCAB, D)), "backbone.norm_f.weight": np.ones(D)}
    for l in range(LAYERS):
        tensors["backbone.layers.%d.norm.weight" % l] = random.normal(1, 0.2, D)
        tensors["backbone.layers.%d.mixer.weight" % l] = random.normal(0, D ** -0.5, (D, D))
    tensors = {name: values.astype(np.float32) for name, values in tensors.items()}
    os.mkdir(os.path.join(folder, "model"))
    reference.save_safetensors(os.path.join(folder, "model", "model.safetensors"), tensors)
    harness.write_json(os.path.join(folder, "model", "config.json"), CONFIG)
    ids = random.integers(0, VOCAB, (SAMPLES, TOKENS)).astype(np.int32)
    np.save(os.path.join(folder, "ids.npy"), ids)
    return tensors, ids


def layer_of(tensors, l):
    return tensors["backbone.layers.%d.norm.weight" % l], tensors["backbone.layers.%d.mixer.weight" % l]


def float_pass(tensors, ids):
    """[(xhat, o) of each layer]"""
    residual, h, found = np.zeros((len(ids), D), np.float32), tensors["backbone.embedding.weight"][ids], []
    for l in range(LAYERS):
        norm, mixer = layer_of(tensors, l)
        residual = residual + h
        xhat = reference.rmsnorm_unit(residual, np.float32(EPS))
        h = (xhat * norm) @ mixer.T
        found.append((xhat, h))
    return found


def scales_of(tensors, samples):
    """The largest |had(xhat)| of the samples / 127, of each layer."""
    passes = [float_pass(tensors, ids) for ids in samples]
    return [max(np.max(np.abs(reference.hadamard(one[l][0]))) for one in passes) / np.float32(127) for l in range(LAYERS)]


def w8a8_pass(tensors, ids, scales):
    residual = np.zeros((len(ids), D), np.float32)
    h, found = reference.to_fp16(reference.hadamard(tensors["backbone.embedding.weight"][ids])), []
    for l in range(LAYERS):
        norm, mixer = layer_of(tensors, l)
        codes, step = reference.quantize_absmax(reference.hadamard(reference.hadamard(mixer * norm[None, :]).T).T)
        residual = residual + h
        taken = reference.sat8(np.rint(reference.rmsnorm_unit(residual, np.float32(EPS)) / scales[l]))
        h = reference.to_fp16(reference.int8_matmul(taken, codes) * step * scales[l])
        found.append((reference.hadamard(taken * scales[l], True), reference.hadamard(h, True)))
    return found


def check_outputs(checks, f, tensors, ids):
    checks.check(f.attrs["arch"] == b"toy", "the file names the family", f.attrs["arch"])
    checks.check([name.decode() for name in f.attrs["components"]] == COMPONENTS, "and its components", f.attrs["components"])
    checks.check(list(f["calibration/4/scales"].attrs["sites"]) == [b"linear:input"], "and its sites")
    for count in (2, SAMPLES):
        scales = scales_of(tensors, ids[:count])
        stored = f["calibration/%d/scales" % count][...]
        checks.check(stored.shape == (LAYERS, 1) and np.allclose(stored[:, 0], scales, rtol=1e-5), "scales of %d samples" % count)
        for mode in ("0", "2-1"):
            for s in range(SAMPLES):
                for l, values in enumerate(w8a8_pass(tensors, ids[s], stored[:, 0])):
                    check_layer(checks, f, "%d/%s" % (count, mode), s, l, values, 0.02)    # a code may be the next one
    for s in range(SAMPLES):
        for l, values in enumerate(float_pass(tensors, ids[s])):
            check_layer(checks, f, "float/fp32", s, l, values, 1e-5)
            check_layer(checks, f, "float/fp16", s, l, values, 0.01)


def check_layer(checks, f, run, s, l, values, tolerance):
    for name, expected in zip(COMPONENTS, values):
        got = f["outputs/%s/layer_%d/%s" % (run, l, name)][s, :TOKENS]
        error = np.sqrt(np.mean((got - expected) ** 2) / np.mean(expected ** 2))
        checks.check(error < tolerance, "%s, layer %d, %s, sample %d as NumPy has it" % (run, l, name, s), error)


def check_reports(checks, folder, f, table):
    """Mean squares of the differences that are stored, as the JSON and the table have them."""
    found = {(e["mode"], e["calib_data_num"], e["layer"], e["component"]): e["metrics"]["mse"]["value"]
             for e in harness.report(folder, "sweep.json")["layers"]}
    checks.check(len(found) == (1 + 2 * 2) * LAYERS * len(COMPONENTS), "sweep.json has each layer and component", sorted(found))
    for (mode, count, layer, component), value in found.items():
        run = "float/" + mode if count is None else "%d/%s" % (count, mode)
        difference = f["outputs/%s/layer_%d/%s" % (run, layer, component)][...].astype(np.float64)
        difference -= f["outputs/float/fp32/layer_%d/%s" % (layer, component)][...]
        mse = np.mean(difference ** 2)
        checks.check(abs(value / mse - 1) < 1e-9, "sweep.json: mse of %s, layer %d, %s" % (run, layer, component), (value, mse))
        checks.check("%.3e" % mse in table, "the table: mse of %s, layer %d, %s" % (run, layer, component), mse)
    for name in COMPONENTS:
        checks.check("against fp32, %s\n" % name in table, "the table has a part for " + name)
    checks.check("mixer_" not in table, "no other family's component is in it")


def check_list(checks):
    """docs/design.md lists the files that know of a family: its own, and those that the switch is in."""
    touched = {os.path.relpath(path, harness.SOURCE) for pattern in ("src/**/*.*", "include/**/*.*")
               for path in glob.glob(os.path.join(harness.SOURCE, pattern), recursive=True)
               if SWITCH.encode() in harness.read_bytes(path)}
    section = harness.read_bytes(os.path.join(harness.SOURCE, "docs", "design.md")).decode()
    section = section.split("## Adding a model family")[1].split("\n## ")[0]
    listed = set(re.findall(r"^\d\. `([\w/.<>]+)`", section, re.M))
    code = {path for path in listed if path.endswith((".c", ".h")) and "<name>" not in path}
    checks.check(code == touched and len(listed) >= 3, "docs/design.md: the files that a family touches", "listed %s, touched %s" % (
        sorted(listed), sorted(touched)))


def main():
    checks = harness.Checks()
    check_list(checks)
    with harness.Workplace() as folder:
        tensors, ids = make_model(folder)
        result = harness.run(JOB + ["--gate", "mode=2-1 layer=last component=linear_output correlation>=0.9; mode=fp16 mse<1e-30"], 2,
                             folder, program=TOY)
        checks.check(result.status == 1, "the second gate is broken, the first is kept", (result.status, result.err))
        checks.check("linear_output: mse is" in result.out + result.err, "which is said with the component's name", result.out)
        with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5")) as f:
            check_outputs(checks, f, tensors, ids)
            check_reports(checks, folder, f, harness.run(["compare"], 1, folder, program=TOY).out)
        result = harness.run(JOB + ["--resume"], 3, folder, program=TOY)
        checks.check(result.status == 0, "a second run finds all of it there", result.err)
        for command, words in ((["info", "layer_outputs"], COMPONENTS), (["info", "--model", "model"], ["Toy"])):
            result = harness.run(command, 1, folder, program=TOY)
            checks.check(result.status == 0 and all(word in result.out for word in words), " ".join(command), result.out + result.err)
        result = harness.run(JOB + ["--components", "mixer_output", "--output_dir", "other"], 1, folder, program=TOY)
        checks.check(result.status == 2 and "expected linear_input, linear_output or all" in result.err,
                     "another family's component is refused", result.err)
        result = harness.run(["info", "layer_outputs"], 1, folder)
        checks.check(result.status == 3 and "'toy'" in result.err, "the program without the family says which one it lacks", result.err)
        result = harness.run(["info", "--model", "model"], 1, folder)
        checks.check(result.status == 3 and "expected 'mamba' (Mamba-1), got 'toy'" in result.err, "and refuses its models", result.err)
    checks.finish()


main()
