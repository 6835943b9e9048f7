# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as others wrote them, against outputs that were computed from the files alone: published.py PROBE

tests/data/quamba2-w8a8 holds one; with SSMSWEEP_CHECKPOINTS=FOLDER every folder that the tables below name is taken from
there as well, and its golden outputs from FOLDER/golden.  docs/numerics.md, "How it is checked"."""
import json
import os
import shutil
import sys
import types

import numpy as np

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import check_mamba2  # noqa: E402
import check_numerics  # noqa: E402
import quamba_reference as q  # noqa: E402
import torch_file  # noqa: E402
from check_checkpoint import SCALES  # noqa: E402

OWN = os.path.join(harness.SOURCE, "tests", "data", "quamba2-w8a8")
SHARED = os.environ.get("SSMSWEEP_CHECKPOINTS")
W8A8 = ["mamba1-w8a8", "mamba1-w8a8-resaved", "mamba1-w8a8-plain", "mamba1-w8a8-qembedding", "mamba1-w8a8-qhead"]
LOADS = {"demo-original-layout": "", "quamba-w8a8-alpha1": "",    # without golden outputs; what a note says
         "mamba1-2024-scales": "scales.pt is not read"}
REFUSED = {"mamba1-w8a8-2024-incomplete": ["2024", "selective_scan.output_scale"]}
FOUR_BITS = ["mamba1-w4a8", "mamba1-w4a16", "mamba1-w4a16-plain"] + ["mamba2-%s-%s" % (g, kind) for g in ("g1", "g2")
                                                                      for kind in ("w4a8", "w4a16", "w4ax")]


def describe(folder):
    config = harness.read_json(os.path.join(folder, "config.json"))
    return types.SimpleNamespace(D=config["d_model"], I=2 * config["d_model"], layers=range(config["n_layer"]),
                                 embedding=range(config["vocab_size"]))


def scales_of(folder, model):
    """0 where there is none, as in W4A16."""
    stored = torch_file.load(os.path.join(folder, "pytorch_model.bin"))
    return [{site: np.float32(np.ravel(stored.get("backbone.layers.%d.%s" % (l, key), 0))[0]) for site, key in SCALES.items()}
            for l in model.layers]


def samples_of(golden):
    return [golden[key] for key in sorted(k for k in golden if k.startswith("tokens_"))]


# ---- outputs and logits, value by value ----

def check_logits(checks, what, got, want):
    """FP16 numbers of a head of codes, FP32 of a float one."""
    if want.dtype == np.float16:
        share = (got == want.astype(np.float32)).mean()
        checks.check(share >= 0.999, "%s: logits of a head of codes" % what, "%.4f of the FP16 numbers are equal" % share)
    else:
        worst = np.abs(got - want).max() / np.abs(want).max()
        checks.check(worst <= 2e-5, "%s: logits of a float head" % what, "largest difference %.1e" % worst)


def check_w8a8(checks, probe, name, folder, golden):
    model, samples = describe(folder), samples_of(golden)
    for mode in ("0", "2-1"):
        for i, (captured, logits) in enumerate(probe.forward(folder, model, mode, scales_of(folder, model), samples)):
            what, want = "%s, mode %s, sample %d" % (name, mode, i), golden["rotated_h_%s_%d" % (mode, i)]
            got = np.stack([q.to_fp16(q.hadamard(captured[l, "mixer_output"])) for l in model.layers])
            share = (got == want.astype(np.float32)).mean()
            checks.check(share >= 0.999, what + ": outputs of every layer", "%.4f of the FP16 numbers are equal" % share)
            key = "logits_%s_%d" % (mode, i)
            if key in golden:
                check_logits(checks, what, logits, golden[key])


def modes_of(golden):
    return sorted({key.split("_")[2] for key in golden if key.startswith("rotated_h_")})


def check_by_layer(checks, probe, name, folder, golden, heads_at_least):
    """Each layer on the golden outputs of those in front of it: a code or an FP16 number that lies on a boundary reaches all later
    tokens of its layer, as the scan's state has it.  Logits where none did."""
    mamba2 = name.startswith("mamba2")
    model = (check_mamba2.describe if mamba2 else describe)(folder)
    scales = check_mamba2.stored_scales(folder) if mamba2 else scales_of(folder, model)
    equal, count, heads = 0, 0, 0
    for mode in modes_of(golden):
        whole = probe.forward(folder, model, mode, scales, samples_of(golden))
        for i, tokens in enumerate(samples_of(golden)):
            want = golden["rotated_h_%s_%d" % (mode, i)].astype(np.float32)
            inputs, residual, h = [], np.zeros(want.shape[1:], np.float32), check_mamba2.stored_embedding(folder)[tokens]
            for l in range(len(want)):
                inputs.append((residual, h))
                residual, h = (residual + h).astype(np.float32), want[l]
            for l, (_, _, h) in enumerate(probe.layers(folder, model, mode, scales, inputs)):
                off = np.sqrt(((h - want[l]) ** 2).mean() / (want[l] ** 2).mean())
                checks.check(off <= 1e-3, "%s, mode %s, sample %d, layer %d" % (name, mode, i, l), "off by %.1e" % off)
                equal, count = equal + (h == want[l]).sum(), count + h.size
            captured, logits = whole[i]
            key = "logits_%s_%d" % (mode, i)
            last = q.to_fp16(q.hadamard(captured[len(want) - 1, "mixer_output"]))
            if key in golden and (last == want[-1]).mean() >= 0.998:
                check_logits(checks, "%s, mode %s, sample %d" % (name, mode, i), logits, golden[key])
                heads += 1
    least = 0.98 if name in FOUR_BITS else 0.99
    checks.check(equal / count >= least and heads >= heads_at_least, "%s: outputs of all layers, and logits" % name, (equal / count, heads))


def check_float(checks, probe, name, folder, golden, model=None):
    model, samples = model or describe(folder), samples_of(golden)
    for i, (captured, logits) in enumerate(probe.forward(folder, model, "fp32", None, samples)):
        want = golden["mixer_output_fp32_%d" % i]
        worst = max(np.abs(captured[l, "mixer_output"] - want[l]).max() / np.abs(want[l]).max() for l in range(len(want)))
        checks.check(worst <= 2e-5, "%s, sample %d" % (name, i), "largest difference %.1e" % worst)
        check_logits(checks, name, logits, golden["logits_fp32_%d" % i])


def dequantized(folder):
    """The float model that all codes of the file stand for, in its own basis."""
    stored, model = torch_file.load(os.path.join(folder, "pytorch_model.bin")), describe(folder)

    def floats(codes, scale, outputs=None, back=()):
        values = codes.astype(np.float32) * np.float32(np.ravel(scale)[0])
        values = values if outputs is None else np.ascontiguousarray(values.T[:outputs])
        for axis in back:
            values = q.hadamard(values, True) if axis else q.hadamard(values.T, True).T
        return np.ascontiguousarray(values)

    V, D, I = len(model.embedding), model.D, model.I
    rows = q.to_fp16(stored["backbone.embedding.weight"].astype(np.float32) *
                     stored["backbone.embedding.scales"].astype(np.float32)[:, None])
    tensors = {"backbone.embedding.weight": q.hadamard(rows, True), "backbone.norm_f.weight": stored["backbone.norm_f.weight"],
               "lm_head.weight": floats(stored["lm_head.weight"], stored["lm_head.b"], V, (1,))}
    for l in model.layers:
        p = "backbone.layers.%d." % l
        m, scan, conv = p + "mixer.", p + "mixer.selective_scan.", p + "mixer.conv1d."
        rank, states = stored[m + "dt_proj.weight"].shape[0], stored[scan + "A_log"].shape[1]
        tensors[p + "norm.weight"] = stored[p + "norm.weight"].astype(np.float32)
        for name, outputs, back in (("in_proj", 2 * I, (1,)), ("x_proj", rank + 2 * states, ()), ("dt_proj", I, ()),
                                    ("out_proj", D, (1, 0))):
            tensors[m + name + ".weight"] = floats(stored[m + name + ".weight"], stored[m + name + ".b"], outputs, back)
        for name, key, scale in (("conv1d.weight", conv + "weight", conv + "weight_scale"),
                                 ("conv1d.bias", conv + "bias", conv + "bias_scale"), ("A_log", scan + "A_log", scan + "A_scale"),
                                 ("dt_proj.bias", scan + "dt_bias", scan + "dt_bias_scale"), ("D", scan + "D", scan + "D_scale")):
            tensors[m + name] = floats(stored[key], stored[scale])
    return q.Model(tensors)


def check_dequantized(checks, probe, name, folder, samples):
    """The float modes undo every code, those of embedding and lm_head too."""
    model = dequantized(folder)
    for (captured, logits), tokens in zip(probe.forward(folder, model, "fp32", None, samples), samples):
        want, want_logits = q.float_forward(model, tokens)
        worst = max(check_numerics.worst_difference(captured, want), np.abs(logits - want_logits).max() / np.abs(want_logits).max())
        checks.check(worst <= 2e-5, "%s: fp32 of the dequantized weights" % name, "largest difference %.1e" % worst)


def check_padded(checks, work, probe, golden):
    """A vocabulary that is no multiple of 16: lm_head has rows of padding, the embedding has none."""
    rows = 2040
    folder = os.path.join(work, "padded")
    os.makedirs(folder)
    stored = torch_file.load(os.path.join(OWN, "pytorch_model.bin"))
    head = stored["lm_head.weight"].T.copy()
    head[rows:] = 0
    stored.update({"lm_head.weight": head.T, "backbone.embedding.weight": stored["backbone.embedding.weight"][:rows].copy(),
                   "backbone.embedding.scales": stored["backbone.embedding.scales"][:rows].copy()})
    torch_file.save(os.path.join(folder, "pytorch_model.bin"), stored)
    harness.write_json(os.path.join(folder, "config.json"), dict(harness.read_json(os.path.join(OWN, "config.json")),
                                                                vocab_size=rows - 3))
    model, tokens = describe(folder), golden["tokens_0"]
    model.embedding = range(rows)
    (_, logits), = probe.forward(folder, model, "0", scales_of(folder, model), [tokens])
    checks.check((logits == golden["logits_0_0"][:, :rows].astype(np.float32)).all(), "logits of a padded vocabulary")


def check_instruction_sets(checks, work, probe, folder, golden):
    """The same bits by every set of kernels that this machine has, and by several threads."""
    model, found = describe(folder), {}
    known = harness.run(["info", "--cpu", "--json"], 1, work)
    sets = json.loads(known.out)["instruction_sets"]
    for isa, threads in [(isa, "1") for isa in sets] + [(sets[0], "3")]:
        os.environ.update(SSMSWEEP_ISA=isa, PROBE_THREADS=threads)
        results = probe.forward(folder, model, "2-4", scales_of(folder, model), samples_of(golden))
        found[isa, threads] = b"".join(logits.tobytes() for _, logits in results)
    del os.environ["SSMSWEEP_ISA"], os.environ["PROBE_THREADS"]
    checks.check(len(set(found.values())) == 1 and "naive" in sets, "logits of codes by every instruction set", list(found))


# ---- what a sweep makes of the logits ----

def predictions(reference, logits, tokens):
    """(nll, [KL], top-1 agreement), over what predicts a next token."""
    a, b = q.log_softmax(reference[:-1].astype(np.float64)), q.log_softmax(logits[:-1].astype(np.float64))
    return (-b[np.arange(len(b)), tokens[1:]].sum(), (np.exp(a) * (a - b)).sum(1),
            (reference[:-1].argmax(1) == logits[:-1].argmax(1)).sum())


def check_sweep(checks, work, name, folder, golden):
    """Perplexity, KL and top-1 of mode 0 against 2-1."""
    chosen = [i for i in range(len(samples_of(golden))) if "logits_0_%d" % i in golden]
    samples = [golden["tokens_%d" % i] for i in chosen]
    ids = np.full((len(samples), max(map(len, samples))), -1, np.int32)
    for row, tokens in zip(ids, samples):
        row[:len(tokens)] = tokens
    run = os.path.join(work, name)
    os.makedirs(run)
    np.save(os.path.join(run, "ids.npy"), ids)
    result = harness.run(["-q", "--model", folder, "--calib-data", "ids.npy", "--calib_data_num", str(len(samples)), "--modes",
                          "0,2-1", "--reference", "2-1", "--store", "none"], 1, run)
    if not checks.check(result.status == 0, name + ": a sweep", result.err):
        return
    entry = [e for e in harness.report(run, "sweep.json")["end_of_model"] if e["mode"] == "0"][0]
    want = [predictions(golden["logits_2-1_%d" % i].astype(np.float32), golden["logits_0_%d" % i].astype(np.float32),
                        golden["tokens_%d" % i]) for i in chosen]
    count = sum(len(s) - 1 for s in samples)
    expected = {"perplexity": np.exp(sum(w[0] for w in want) / count), "kl_mean": np.concatenate([w[1] for w in want]).mean(),
                "top1_agreement": sum(w[2] for w in want) / count}
    for key, value in expected.items():
        got = entry["metrics"][key]["value"]
        checks.check(abs(got - value) <= 1e-4 * abs(value), "%s: %s" % (name, key), "%r, from the golden logits %r" % (got, value))


def check_order(checks, probe, name, folder, plain):
    """A file with groups beside the float model that it was made of: every component of a mode near it, in its order."""
    model, mode = check_mamba2.describe(folder), "2-4"
    tokens = np.arange(1, 60, dtype=np.int32) * 31 % len(model.embedding)
    os.environ["PROBE_REFERENCE"] = plain
    (quantized, _), = probe.forward(folder, model, mode, check_mamba2.stored_scales(folder), [tokens])
    (reference, _), = probe.forward(folder, model, "fp32", None, [tokens])
    del os.environ["PROBE_REFERENCE"]
    near = {key: np.corrcoef(quantized[key].ravel(), reference[key].ravel())[0, 1] for key in reference if key[0] == 0}
    checks.check(len(near) == 10 and min(near.values()) > 0.95, "%s beside %s: layer 0 in its order" % (name, os.path.basename(plain)), near)


# ---- running ----

def check_shared(checks, work, probe):
    def golden(name):
        return np.load(os.path.join(SHARED, "golden", name + ".npz"))
    for name in W8A8:
        check_w8a8(checks, probe, name, os.path.join(SHARED, name), golden(name))
        check_sweep(checks, work, name, os.path.join(SHARED, name), golden(name))
    check_float(checks, probe, "mamba1-float", os.path.join(SHARED, "mamba1-float"), golden("mamba1-float"))
    mamba2 = check_mamba2.Probe(sys.argv[1], work)
    for name in ("mamba2-g1-float", "mamba2-g1-float-hf", "mamba2-g2-float", "mamba2-g2-float-hf"):
        folder = os.path.join(SHARED, name)
        check_float(checks, mamba2, name, folder, golden(name), check_mamba2.describe(folder))
    for name in ("mamba2-%s-w8a8%s" % (g, kind) for g in ("g1", "g2") for kind in ("", "-one-scale", "-plain")):
        folder = os.path.join(SHARED, name)
        check_by_layer(checks, mamba2, name, folder, golden(name), 3)
    for name in FOUR_BITS:
        check_by_layer(checks, mamba2 if name.startswith("mamba2") else probe, name, os.path.join(SHARED, name), golden(name), 1)
    for name in ("mamba2-g1-w8a8", "mamba2-g2-w8a8"):
        check_sweep(checks, work, name, os.path.join(SHARED, name), golden(name))
    for group in ("g1", "g2"):
        for kind in ("w8a8", "w8a8-one-scale", "w8a8-plain"):    # the others have no float model
            for layout in ("float", "float-hf"):
                name = "mamba2-%s-" % group
                check_order(checks, mamba2, name + kind, os.path.join(SHARED, name + kind), os.path.join(SHARED, name + layout))
    for name, note in LOADS.items():
        result = harness.run(["info", "--json", os.path.join(SHARED, name)], 1, work)
        checks.check(result.status == 0 and note in "".join(json.loads(result.out)["notes"]), name + " loads", result.err + result.out)
    for name, words in REFUSED.items():
        result = harness.run(["info", os.path.join(SHARED, name)], 1, work)
        said = all(any(w in result.err for w in word.split("|")) for word in words)
        checks.check(result.status == 3 and len(result.err.splitlines()) == 1 and said, name + " is refused by name", result.err)


def main():
    checks = harness.Checks()
    with harness.Workplace() as work:
        probe = check_numerics.Probe(sys.argv[1], work)
        golden = np.load(os.path.join(OWN, "golden.npz"))
        folder = shutil.copytree(OWN, os.path.join(work, "own"))    # golden.npz is no part of a model
        check_w8a8(checks, probe, "quamba2-w8a8", folder, golden)
        check_sweep(checks, work, "quamba2-w8a8", folder, golden)
        check_instruction_sets(checks, work, probe, folder, golden)
        check_dequantized(checks, probe, "quamba2-w8a8", folder, samples_of(golden))
        check_padded(checks, work, probe, golden)
        if SHARED:
            check_shared(checks, work, probe)
        else:
            harness.skip_part("checkpoints of others beside tests/data/quamba2-w8a8: SSMSWEEP_CHECKPOINTS is not set")
    checks.finish()


main()
