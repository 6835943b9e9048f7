#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mamba-2 against mamba2_reference.py, by the checks of docs/numerics.md ("How it is checked").

    check_mamba2.py CHECK PROBE
    CHECK: float, half, scan, calibrate, layers, groups, grouped_layers, checkpoint, broken
"""
import json
import os
import subprocess
import sys
import tempfile
import types

import numpy as np

import check_numerics as common
import mamba2_reference as m2
import quamba_reference as q
import torch_file
from check_numerics import check

COMPONENTS = ("mixer_input", "conv1d_input", "conv1d_output", "ssm_input", "ssm_B", "ssm_C", "ssm_dt", "ssm_output",
              "norm_output", "mixer_output")    # the order of enum mamba2_component
VOCAB = 61
# d_model, n_layer, then random_model()'s: head sizes, groups, states, chunks, limits of the step, both layouts.
MODELS = (
    dict(d_model=64, n_layer=2, headdim=16, d_state=16, chunk_size=16),
    dict(d_model=128, n_layer=2, headdim=32, d_state=32, ngroups=2, chunk_size=32, hugging_face=False),
    dict(d_model=192, n_layer=2, headdim=16, d_state=128, ngroups=2, chunk_size=64, tie=False),
    dict(d_model=128, n_layer=2, headdim=16, d_state=64, ngroups=2, chunk_size=64, hugging_face=False, gate_last=True,
         limit=[0.01, 0.03]),
    dict(d_model=64, n_layer=2, headdim=32, d_state=20, chunk_size=256, time_step_limit=[0.0, {"__float__": "Infinity"}]),
    dict(d_model=64, n_layer=2, headdim=8, d_state=16, ngroups=4, chunk_size=8, time_step_limit=[0.002, 0.05]),
)


def widths(shape):
    bc = shape.G * shape.N
    return {"mixer_input": shape.D, "conv1d_input": shape.channels, "conv1d_output": shape.channels, "ssm_input": shape.I,
            "ssm_B": bc, "ssm_C": bc, "ssm_dt": shape.H, "ssm_output": shape.I, "norm_output": shape.I, "mixer_output": shape.D}


def group_rows(groups):
    """The integers of each layer, as the program has them."""
    return np.array([np.concatenate([g.channels, g.head_range.ravel(), g.dim_range.ravel()]) for g in groups], "<i4")


GROUPED_SITES = ("x_conv_out", "B_conv_out", "C_conv_out", "ssm_state_act")    # in the order in which they lie behind the others


class Probe(common.Probe):
    def scales(self, scales, groups=None):
        if scales is None:
            return "-"
        numbers = [np.array([[np.max(s[site]) for site in m2.SCALE_SITES] for s in scales], "<f4").ravel()]
        if groups is not None:
            numbers += [np.ravel(s[site]).astype("<f4") for s in scales for site in GROUPED_SITES]
            group_rows(groups).tofile(self.path("groups"))
        np.concatenate(numbers).tofile(self.path("scales"))
        return self.path("scales") + (":" + self.path("groups") if groups is not None else "")

    def captured(self, reader, shape, length):
        return {c: reader.take(length, w) for c, w in widths(shape).items()}

    def forward(self, folder, model, mode, scales, samples):
        out = self.run("forward", folder, mode, self.scales(scales), self.ids(samples), self.path("out"))
        reader, results = common.Reader(out), []
        for tokens in samples:
            cap = {}
            for l in range(model.shape.n_layer):
                cap.update({(l, c): v for c, v in self.captured(reader, model.shape, len(tokens)).items()})
            results.append((cap, reader.take(len(tokens), len(model.embedding))))
        reader.finish()
        return results

    def layers(self, folder, model, mode, scales, inputs, groups=None):
        np.concatenate([np.concatenate([r, h]).ravel() for r, h in inputs]).astype("<f4").tofile(self.path("in"))
        length, D = len(inputs[0][0]), model.shape.D
        reader = common.Reader(self.run("layers", folder, mode, self.scales(scales, groups), length, self.path("in"), self.path("out")))
        results = [(self.captured(reader, model.shape, length), reader.take(length, D), reader.take(length, D)) for _ in inputs]
        reader.finish()
        return results


def describe(folder):
    """A stand-in for the model of a folder, of which the sizes are asked for."""
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    ssm = config.get("ssm_cfg", {})
    D, vocab = config.get("hidden_size") or config["d_model"], config["vocab_size"]
    N, G = config.get("state_size") or ssm.get("d_state", 128), config.get("n_groups") or ssm.get("ngroups", 1)
    shape = types.SimpleNamespace(D=D, I=2 * D, N=N, G=G, H=2 * D // (config.get("head_dim") or ssm.get("headdim", 64)),
                                  channels=2 * D + 2 * G * N, n_layer=config.get("num_hidden_layers") or config["n_layer"])
    return types.SimpleNamespace(shape=shape, embedding=range(vocab))


def stored_scales(folder):
    """Of the sites of a quantized checkpoint, as the program reports them: of many the largest, 0 in W4A16."""
    stored = torch_file.load(os.path.join(folder, "pytorch_model.bin"))
    keys = {"in_proj:input": "norm.output_scale", "z_act": "mixer.norm.z_scale", "x_conv_in": "mixer.conv1d.x_scale",
            "B_conv_in": "mixer.conv1d.B_scale", "C_conv_in": "mixer.conv1d.C_scale", "dt_act": "mixer.qchunk_scan.dt_scale",
            "x_conv_out": "mixer.conv1d.x_out_scales", "B_conv_out": "mixer.conv1d.B_out_scales",
            "C_conv_out": "mixer.conv1d.C_out_scales", "ssm_state_act": "mixer.qchunk_scan.ssm_state_scale",
            "out_proj:input": "mixer.had.x_H_scale"}

    def scale(layer, key):
        mixed = key.replace("mixer.", "mixers.W4A8.") if key.startswith("mixer.") else key.replace("norm.", "norms.W4A8.")
        found = [stored[name] for name in ("backbone.layers.%d.%s" % (layer, k) for k in (key, mixed)) if name in stored]
        return np.float32(np.max(found[0])) if found else np.float32(0)
    return [{site: scale(l, key) for site, key in keys.items()} for l in range(describe(folder).shape.n_layer)]


def stored_embedding(folder):
    stored = torch_file.load(os.path.join(folder, "pytorch_model.bin"))
    rows, scales = stored["backbone.embedding.weight"], stored.get("backbone.embedding.scales")
    levels = rows.astype(np.float32)
    if rows.dtype == np.int32:
        levels = m2.unpack_embedding4(rows).astype(np.float32) - 8
    return levels if scales is None else q.to_fp16(levels * scales.astype(np.float32)[:, None])


def random_case(probe, number):
    kind = dict(MODELS[number])
    gate_last, limit = kind.pop("gate_last", False), kind.pop("limit", None)
    config, tensors = m2.random_model(seed=3000 + number, vocab=VOCAB + 3, **kind)
    if gate_last:
        config["ssm_cfg"]["norm_before_gate"] = True
    if limit:
        config["ssm_cfg"]["dt_limit"] = limit
    if number == 0:    # what others are called, and what is left out
        config.pop("expand"), config.pop("num_heads")
    config["vocab_size"] = VOCAB + 3
    folder = probe.path("model%d" % number)
    os.makedirs(folder, exist_ok=True)
    q.save_safetensors(os.path.join(folder, "model.safetensors"), tensors)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)
    g = np.random.Generator(np.random.PCG64(number))
    Q = kind["chunk_size"]
    lengths = sorted({1, 2, 3, 5, min(Q, 300) - 1, min(Q, 299), min(Q, 299) + 1, 2 * Q if Q < 150 else 7, 300})
    return folder, m2.Model(config, tensors), [g.integers(0, VOCAB, n).astype(np.int32) for n in lengths]


# ---- float modes ----

def name_of(folder, model, tokens):
    s = model.shape
    return "%s D=%d P=%d G=%d N=%d L=%d" % (os.path.basename(folder), s.D, s.P, s.G, s.N, len(tokens))


def float_modes(probe):
    for number in range(len(MODELS)):
        folder, model, samples = random_case(probe, number)
        for (cap, logits), tokens in zip(probe.forward(folder, model, "fp32", None, samples), samples):
            for order in ("sequential", "chunked"):
                want, want_logits = m2.float_forward(model, tokens, order=order)
                worst = common.worst_difference(cap, want)
                check(worst <= 2e-5, "fp32 %s: %.1e of the largest value from the %s reference, at most 2e-5"
                      % (name_of(folder, model, tokens), worst, order))
                worst = np.abs(logits - want_logits).max() / np.abs(want_logits).max()
                check(worst <= 2e-5, "fp32 %s: logits %.1e, at most 2e-5" % (name_of(folder, model, tokens), worst))


def twin_layer(p, shape, residual):
    """The same fp16 layer with its norm and its matrix products summed in double: another legal order of the same sums."""
    wide = {k: v.view(common.WideProduct) if k in ("in_proj", "out_proj") else v for k, v in p.items()}
    r = residual.astype(np.float64)
    xhat = (r / np.sqrt((r * r).mean(-1, keepdims=True) + shape.eps)).astype(np.float32)
    return m2.float_layer(wide, shape, xhat, q.to_fp16)


# As for Mamba-1 (check_numerics.half_layers): no more than twice what the reference's own twin differs by.  The stream begins
# with random rows: few tokens, each many times, would make one value on a boundary of FP16 count many times.
def half_layers(probe):
    for number in range(len(MODELS)):
        folder, model, samples = random_case(probe, number)
        differ, twin_differ, count, off, twin_off, norm = 0, 0, 0, 0.0, 0.0, 0.0
        for tokens in samples:
            inputs, want, other = [], [], []
            h = q.to_fp16(model.embedding[tokens])
            residual = np.random.default_rng(len(tokens)).standard_normal(h.shape).astype(np.float32)
            for p in model.layers:
                inputs.append((residual, h))
                residual = (residual + h).astype(np.float32)
                other.append(twin_layer(p, model.shape, residual))
                want.append(m2.float_layer(p, model.shape, q.rmsnorm_unit(residual, model.shape.eps), q.to_fp16))
                h = want[-1]["mixer_output"].astype(np.float32)
            for (got, _, _), cap, cap2 in zip(probe.layers(folder, model, "fp16", None, inputs), want, other):
                for c in COMPONENTS[1:]:
                    differ += (got[c] != cap[c]).sum()
                    twin_differ += (np.asarray(cap2[c]) != cap[c]).sum()
                    count += got[c].size
                a, b, c = got["mixer_output"], cap["mixer_output"], np.asarray(cap2["mixer_output"])
                off += ((a - b) ** 2).sum()
                twin_off += ((c - b) ** 2).sum()
                norm += (b ** 2).sum()
        what = "fp16 %s: " % os.path.basename(folder)
        check(differ <= 2 * twin_differ, what + "%.4f %% of the FP16 values differ, %.4f %% between the reference and its twin with "
              "sums in double" % (100 * differ / count, 100 * twin_differ / count))
        check(off <= 2 * twin_off + 1e-12 * norm, what + "mixer_output %.1e from the reference, which is %.1e from its twin"
              % (np.sqrt(off / norm), np.sqrt(twin_off / norm)))


# ---- the scan alone, in every order ----

def scan(probe):
    """Each order on random operands; the tolerance is of the order of the sums, and of FP16 where operands are rounded: one that
    lies near a boundary may be the next one."""
    g = np.random.Generator(np.random.PCG64(8))
    for L, H, P, G, N, Q in ((1, 2, 16, 1, 16, 16), (37, 4, 8, 2, 16, 16), (64, 6, 16, 3, 32, 64), (65, 4, 32, 1, 128, 64),
                             (300, 8, 16, 1, 32, 64), (257, 8, 64, 4, 16, 256)):
        u, B, C = (g.standard_normal(s).astype(np.float32) for s in ((L, H, P), (L, G, N), (L, G, N)))
        dt, bias = g.uniform(-5, 1, (L, H)).astype(np.float32), g.uniform(-1, 1, H).astype(np.float32)
        A, D = -np.exp(g.uniform(0, 2.8, H)).astype(np.float32), g.standard_normal(H).astype(np.float32)
        np.concatenate([v.ravel() for v in (u, dt, bias, A, B, C, D)]).astype("<f4").tofile(probe.path("in"))
        delta = q.softplus(dt + bias).astype(np.float32)
        for number, (order, most) in enumerate((("sequential", 2e-6), ("chunked", 2e-6), ("chunked-fp16", 3e-4), ("chunked-gpu", 3e-4))):
            out = probe.run("ssd", number, L, H, P, G, N, Q, probe.path("in"), probe.path("out"))
            y, state = out[:u.size].reshape(u.shape), out[u.size:].reshape(H, N, P).transpose(0, 2, 1)
            want, want_state = m2.ssd(order, u, delta, A, B, C, D, chunk=Q)
            worst = max(m2._rel(y, want), m2._rel(state, want_state))
            check(worst <= most, "%s L %d H %d P %d G %d N %d Q %d: %.1e of the largest value, at most %.0e"
                  % (order, L, H, P, G, N, Q, worst, most))
            others = [m2.ssd(o, u, delta, A, B, C, D, chunk=Q)[0] for o in ("chunked", "chunked-fp16", "chunked-gpu") if o != order]
            if order.startswith("chunked-") and L > 1:
                far = min(np.sqrt(np.mean((want - o) ** 2)) for o in others)
                near = np.sqrt(np.mean((want - y) ** 2))
                check(near < 0.1 * far, "%s L %d: %.1e from it, %.1e from the nearest other order (rms)" % (order, L, near, far))


# ---- quantized, one scale for each site ----

def calibrate(probe):
    for number in range(len(MODELS)):
        folder, model, samples = random_case(probe, number)
        for alpha in (0.9995, 1.0):
            out = probe.run("observe", folder, alpha, probe.ids(samples), probe.path("out")).reshape(-1, model.shape.n_layer, len(m2.SCALE_SITES))
            want = np.array([[s[site] for site in m2.SCALE_SITES] for s in m2.calibrate(model, samples, alpha)])
            worst = np.abs(out[-1] / want - 1).max()
            check(worst < 2e-5, "%s alpha=%g: scales within %.1e" % (os.path.basename(folder), alpha, worst))


def steps_of(shape, s, component, dynamic, groups):
    """The step of each column of a component that may be codes, in the model's order; None: it is none."""
    I, gn = shape.I, shape.G * shape.N
    parts = np.repeat([0, 1, 2], [I, gn, gn])
    x_in = dynamic if dynamic is not None else np.array([s["x_conv_in"], s["B_conv_in"], s["C_conv_in"]])
    u = np.full(I, s["x_conv_out"]) if groups is None else groups.spread(s["x_conv_out"])[np.argsort(groups.channels)]
    B, C = (np.repeat(np.broadcast_to(np.atleast_1d(s[k + "_conv_out"]), shape.G), shape.N) for k in "BC")
    return {"conv1d_input": x_in[parts], "conv1d_output": np.concatenate([u, B, C]), "ssm_input": u, "ssm_B": B, "ssm_C": C,
            "ssm_dt": np.array([s["dt_act"]]), "mixer_input": np.array([s["in_proj:input"]])}.get(component)


def codes_of(component, values, steps):
    codes = (q.hadamard(values) if component == "mixer_input" else values) / steps
    return np.rint(codes) if np.abs(codes - np.rint(codes)).max() < 1e-2 else None


def dynamic_steps(shape, cap):
    gn = shape.G * shape.N
    parts = np.split(np.abs(cap), [shape.I, shape.I + gn], axis=1)
    return np.array([p.max() for p in parts]) / 127


class Tally(common.Tally):
    def add_halves(self, got, want):
        self.codes += want.size
        self.equal += (got == want).sum()


def put_back(out, groups, shape):
    """A layer's captures in the model's own order, as quant_forward() has them."""
    if groups is not None:
        ch, hd, rest = np.argsort(groups.channels), np.argsort(groups.heads), np.arange(shape.I, shape.channels)
        for k in ("conv1d_input", "conv1d_output"):
            out[k] = out[k][:, np.concatenate([ch, rest])]
        for k in ("ssm_input", "ssm_output", "norm_output"):
            out[k] = out[k][:, ch]
        out["ssm_dt"] = out["ssm_dt"][:, hd]
    return out


def compare_layer(tally, qm, l, residual, mode, got, want):
    """residual: that of the layer, h added, in the rotated basis."""
    shape, s, groups = qm.m.shape, qm.scales[l], qm.groups[l] if qm.groups is not None else None
    plain = m2.float_layer(qm.m.layers[l], shape, q.rmsnorm_unit(q.hadamard(residual, True), shape.eps))
    put_back(plain, groups, shape)
    dynamic = dynamic_steps(shape, want["conv1d_input"]) if mode == "3" else None
    for c in COMPONENTS:
        t = tally.setdefault((mode, c), Tally())
        steps = steps_of(shape, s, c, dynamic, groups)
        a, b = (None, None) if steps is None else (codes_of(c, v, steps) for v in (got[c], want[c]))
        if a is not None and b is not None:
            t.add_codes(a, b)
        elif c in ("ssm_output", "norm_output"):
            t.add_halves(got[c], want[c])
        t.add_values(got[c], want[c], plain[c])


def layers(probe, grouped=False):
    """Every layer of every mode on the inputs that the Python has there."""
    for number in range(len(MODELS)):
        folder, model, samples = random_case(probe, number)
        groups = [m2.Groups(v, model.shape) for v in m2.channel_statistics(model, samples)] if grouped else None
        moved, tally = m2.reorder(model, groups) if grouped else model, {}
        qm = m2.QuantModel(moved, m2.calibrate(moved, samples, groups=groups), groups=groups)
        for tokens in samples if os.environ.get("SSMSWEEP_LONG") == "1" else samples[::-3]:
            for mode in MODES:
                inputs, want = [], []
                h = qm.embedding[tokens]
                residual = np.zeros_like(h)
                for l in range(model.shape.n_layer):
                    inputs.append((residual, h))
                    residual = (residual + h).astype(np.float32)
                    s = qm.scales[l]["in_proj:input"]
                    nq = q.sat8(np.rint(q.rmsnorm_unit(residual, model.shape.eps) / s))
                    out = m2.quant_layer(qm, l, nq, mode)
                    out["mixer_input"], out["mixer_output"] = q.hadamard(nq.astype(np.float32) * s, True), q.hadamard(out["h"], True)
                    h = out["h"]
                    want.append((residual, put_back(out, groups[l] if grouped else None, model.shape)))
                for l, (got, _, _) in enumerate(probe.layers(folder, model, mode, qm.scales, inputs, groups)):
                    compare_layer(tally, qm, l, want[l][0], mode, got, want[l][1])
        for (mode, c), t in tally.items():
            least = 0.995 if c in ("ssm_output", "norm_output") else 0.999
            share = t.equal / t.codes if t.codes else 1.0
            distance = np.sqrt(t.off / t.quantization)
            check(share >= least and t.far == 0 and distance <= 0.02, "%s mode %s %s: %.4f %% of %d equal, %d off by more than 1, distance %.4f of the "
                  "quantization error, at most 0.02" % (os.path.basename(folder), mode, c, 100 * share, t.codes, t.far, distance))


# ---- groups of heads and channels ----

def form_groups(probe, folder, means, layers):
    np.array(means, "<f4").tofile(probe.path("means"))
    return probe.run("groups", folder, probe.path("means"), probe.path("out")).astype(np.int64).reshape(layers, -1)


def check_groups(probe, folder, model, samples):
    """Formed of the reference's means and of the samples; then the scales."""
    shape, what = model.shape, "%s D=%d P=%d G=%d H=%d" % (os.path.basename(folder), model.shape.D, model.shape.P, model.shape.G, model.shape.H)
    means = m2.channel_statistics(model, samples)
    groups = [m2.Groups(v, shape) for v in means]
    want = group_rows(groups)
    check(np.array_equal(form_groups(probe, folder, means, shape.n_layer), want), what + ": groups of the same means")
    out = probe.run("observe_groups", folder, probe.ids(samples), probe.path("out"))
    got_means, got, scales = np.split(out, np.cumsum([shape.n_layer * shape.I, want.size]))
    worst = np.abs(got_means - np.ravel(means)).max() / np.max(means)
    check(worst <= 2e-5, what + ": means within %.1e of the largest" % worst)
    check(np.array_equal(got.astype(np.int64).reshape(want.shape), want), what + ": groups of the same samples")
    s = m2.calibrate(m2.reorder(model, groups), samples, groups=groups)
    reference = np.concatenate([np.ravel([[np.max(v[site]) for site in m2.SCALE_SITES] for v in s])] +
                               [np.ravel(v[site]) for v in s for site in GROUPED_SITES])
    check(len(scales) == len(reference) and np.abs(scales / reference - 1).max() < 2e-5, what + ": %d scales within %.1e"
          % (len(reference), np.abs(scales / reference - 1).max() if len(scales) == len(reference) else np.inf))
    check_maxima(probe, folder, model, samples, groups, scales, what)


def check_maxima(probe, folder, model, samples, groups, scales, what):
    """Given the program's own u, B and C, to the bit."""
    shape = model.shape
    captured = probe.forward(folder, model, "fp32", None, samples)
    per_layer = 16 * shape.G * (1 + shape.N) + 2 * shape.G
    for l, g in enumerate(groups):
        at = shape.n_layer * len(m2.SCALE_SITES) + l * per_layer
        most = [np.zeros(n, np.float32) for n in (16 * shape.G, shape.G, shape.G)]
        for cap, _ in captured:
            np.maximum.at(most[0], np.ravel_multi_index(tuple(g.index.T), (shape.G, 4, 4)), np.abs(cap[l, "ssm_input"]).max(0)[g.channels])
            for i, c in ((1, "ssm_B"), (2, "ssm_C")):
                most[i] = np.maximum(most[i], np.abs(cap[l, c]).reshape(-1, shape.G, shape.N).max((0, 2)))
        want = np.maximum(np.maximum(np.concatenate(most), np.float32(1e-5)) / np.float32(127), np.float32(1e-6))
        check(np.array_equal(want, scales[at:at + len(want)]), what + ": scales of layer %d to the bit" % l)


def groups(probe):
    for number in range(len(MODELS)):
        folder, model, samples = random_case(probe, number)
        check_groups(probe, folder, model, samples)
    for number in range(len(MODELS)) if os.environ.get("SSMSWEEP_LONG") == "1" else (0,):
        groups_of_means(probe, number)


def groups_of_means(probe, number):
    """Of random means, some of which the reference refuses."""
    folder, model, _ = random_case(probe, number)
    g = np.random.Generator(np.random.PCG64(17 + number))
    refused = 0
    for i in range(24):
        means = np.asarray(g.lognormal(0, 0.25 * (1 + i % 8), (2, model.shape.I)), np.float32)
        if i % 4 == 1:
            means = np.round(means, 2)    # equal ones stay in their order
        if i % 4 == 2:
            means = np.float32(1) + (means > 1)
        if i % 4 == 3:
            means[g.uniform(size=means.shape) < 0.02] = np.inf
        np.asarray(means, "<f4").tofile(probe.path("means"))
        done = subprocess.run([probe.binary, "groups", folder, probe.path("means"), probe.path("out")], stderr=subprocess.PIPE, text=True, check=False)
        try:
            want = group_rows([m2.Groups(np.where(np.isfinite(v), v, 0).astype(np.float32), model.shape) for v in means])
        except ValueError:
            refused += 1
            check(done.returncode == 1 and "do not fall into 4 groups" in done.stderr and "--group_heads off" in done.stderr,
                  "means %d: %s" % (i, done.stderr.strip()))
            continue
        got = np.fromfile(probe.path("out"), "<f4").astype(np.int64) if done.returncode == 0 else []
        check(np.array_equal(got, want.ravel()), "means %d: groups" % i)
    check(0 < refused < 12 or number > 0, "%d of 24 are refused, as the reference does" % refused)


def grouped_layers(probe):
    layers(probe, True)


# ---- W8A8 checkpoints ----

def put_w8a8(out, prefix, codes, steps, s_in):
    """A projection: codes by input, outputs padded to a multiple of 16; steps: s_W / s_o of each output, or s_W."""
    rows, depth = codes.shape
    padded = -(-rows // 16) * 16
    weight, b = np.zeros((depth, padded), np.int8), np.full((1, 1), steps, np.float32) if np.ndim(steps) == 0 else np.zeros((1, padded), np.float32)
    weight[:, :rows] = codes.T
    if np.ndim(steps):
        b[0, :rows] = steps
    else:
        out[prefix + "alpha"] = float(s_in * steps)
    out[prefix + "weight"], out[prefix + "a"], out[prefix + "b"] = weight, np.full((1, 1), s_in, np.float32), b


def w8a8_projections(out, qm, l):
    m, p, s = "backbone.layers.%d.mixer." % l, qm.layers[l], qm.scales[l]
    put_w8a8(out, m + "in_proj.", p["in_proj"], p["in_proj:scale"], np.float32(s["in_proj:input"]))
    put_w8a8(out, m + "out_proj.", p["out_proj"], np.float32(p["out_proj:scale"]), np.float32(s["out_proj:input"]))


def int8_layer(out, qm, l, projections=w8a8_projections):
    """The keys of a layer of W8A8, or of W4A8 with other projections: with groups where the reference has them."""
    shape, half, p, s = qm.m.shape, np.float16, qm.layers[l], {k: np.asarray(v, np.float32) for k, v in qm.scales[l].items()}
    b = "backbone.layers.%d." % l
    m, g = b + "mixer.", b + "mixer.qchunk_scan."
    out.update({b + "norm.weight": np.ones(shape.D, half), b + "norm.output_scale": float(s["in_proj:input"]),
                m + "norm.weight": p["gnorm"].astype(half), m + "norm.z_scale": float(s["z_act"]),
                m + "had.x_H_scale": float(s["out_proj:input"])})
    projections(out, qm, l)
    out[m + "conv1d.weight"] = np.concatenate([p["conv_w:" + k] for k in m2.CONV])
    out[m + "conv1d.bias"] = np.concatenate([p["conv_b:" + k] for k in m2.CONV])
    for k in m2.CONV:
        out[m + "conv1d.%s_scale" % k] = float(s[k + "_conv_in"])
        out[m + "conv1d.w%s_scale" % k], out[m + "conv1d.b%s_scale" % k] = float(p["conv_w:scale:" + k]), float(p["conv_b:scale:" + k])
        out[m + "conv1d.%s_out_scales" % k] = s[k + "_conv_out"]
        out[g + ("x_scales" if k == "x" else k + "_scale")] = s[k + "_conv_out"]
    out.update({g + "dt_bias": p["dt_bias"].astype(half), g + "A_log": p["A_log"], g + "A_log_scale": np.asarray(p["A_log:scale"], np.float32),
                g + "D": p["Dskip"], g + "D_scale": np.asarray(p["Dskip:scale"], np.float32), g + "dt_scale": s["dt_act"],
                g + "ssm_state_scale": s["ssm_state_act"]})
    if qm.groups is not None:
        for at in (m + "conv1d.", g):
            out[at + "x_head_group_range"] = qm.groups[l].head_range
            out[at + "x_dim_group_range"] = qm.groups[l].dim_range


def state_dict(qm):
    """The keys of Quamba2's layout, of a quantized reference; float embedding and lm_head."""
    shape, half = qm.m.shape, np.float16
    out = {"backbone.embedding.weight": qm.embedding.astype(half), "backbone.norm_f.weight": np.ones(shape.D, half),
           "lm_head.weight": q.hadamard(qm.m.lm_head * qm.m.norm_f).astype(half)}
    for l in range(shape.n_layer):
        int8_layer(out, qm, l)
    return out, len(qm.m.embedding)


def save_checkpoint(folder, qm, stored, **changes):
    shape = qm.m.shape
    os.makedirs(folder, exist_ok=True)
    torch_file.save(os.path.join(folder, "pytorch_model.bin"), stored)
    limits = [float(shape.dt_min), float(shape.dt_max)]
    config = dict(d_model=shape.D, d_intermediate=0, n_layer=shape.n_layer, vocab_size=len(qm.m.embedding) - 1, rms_norm=True,
                  ssm_cfg=dict(layer="W8A8QMamba2", headdim=shape.P, d_state=shape.N, ngroups=shape.G, chunk_size=shape.Q, dt_limit=limits,
                               norm_before_gate=shape.norm_before_gate), attn_layer_idx=[], attn_cfg={},
                  pad_vocab_size_multiple=16, tie_embeddings=False, norm_cfg={"norm": "QRMSNorm"},
                  embedding_cfg={"layer": "Embedding"}, lm_head_cfg={"layer": "Linear"})
    config["ssm_cfg"].update(changes.pop("ssm_cfg", {}))
    config.update(changes)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)
    return config


def quantized_case(probe, number, grouped):
    """A quantized reference of a random model in the original layout, and its file."""
    kind = dict(MODELS[number], hugging_face=False, tie=True)
    gate_last, limit = kind.pop("gate_last", False), kind.pop("limit", None)
    kind.pop("time_step_limit", None)
    config, tensors = m2.random_model(seed=4000 + number, vocab=VOCAB + 3, **kind)
    config["ssm_cfg"].update({"norm_before_gate": gate_last, "dt_limit": limit or [0.0, float("inf")]})
    model, g = m2.Model(config, tensors), np.random.Generator(np.random.PCG64(number))
    samples = [g.integers(0, VOCAB, n).astype(np.int32) for n in (1, 40, 130)]
    groups = None
    if grouped:
        groups = [m2.Groups(v, model.shape) for v in m2.channel_statistics(model, samples)]
        model = m2.reorder(model, groups)
    qm = m2.QuantModel(model, m2.calibrate(model, samples, groups=groups), groups=groups)
    folder = probe.path("w8a8-%d-%d" % (number, grouped))
    stored, _ = state_dict(qm)
    save_checkpoint(folder, qm, stored)
    return folder, qm, samples, stored


def checkpoint(probe):
    """Each layer of a file, in the order of its channels, on the Python's inputs; the float modes on its dequantized weights."""
    for number, grouped in ((1, False), (0, True), (1, True), (3, True)):
        folder, qm, samples, stored = quantized_case(probe, number, grouped)
        largest = [{k: np.float32(np.max(v)) for k, v in s.items()} for s in qm.scales]
        what = "%s, %s" % (os.path.basename(folder), "groups" if grouped else "one scale")
        for mode in ("0", "2-1", "2-4", "3"):
            off = quantization = 0.0
            for tokens in samples:
                inputs, want, plain = [], [], []
                h = qm.embedding[tokens]
                residual = np.zeros_like(h)
                for l in range(qm.m.shape.n_layer):
                    inputs.append((residual, h))
                    residual = (residual + h).astype(np.float32)
                    nq = q.sat8(np.rint(q.rmsnorm_unit(residual, qm.m.shape.eps) / qm.scales[l]["in_proj:input"]))
                    h = m2.quant_layer(qm, l, nq, mode)["h"]
                    want.append(h)
                    xhat = q.rmsnorm_unit(q.hadamard(residual, True), qm.m.shape.eps)
                    plain.append(q.hadamard(m2.float_layer(qm.m.layers[l], qm.m.shape, xhat)["mixer_output"]))
                for (_, _, got), w, f in zip(probe.layers(folder, qm.m, mode, largest, inputs), want, plain):
                    off, quantization = off + ((got - w) ** 2).sum(), quantization + ((w - f) ** 2).sum()
            distance = np.sqrt(off / quantization)
            check(distance <= 0.02, "%s mode %s: distance %.4f of the quantization error, at most 0.02" % (what, mode, distance))
        check_dequantized(probe, folder, qm, stored, samples, what)


def check_dequantized(probe, folder, qm, stored, samples, what):
    """fp32 of a file: the float model whose weights are its codes, the rotations undone."""
    import copy
    other, b = copy.copy(qm.m), qm.m.shape.bounds()
    other.embedding, other.norm_f = q.hadamard(qm.embedding, True), np.ones(qm.m.shape.D, np.float32)
    other.lm_head = q.hadamard(stored["lm_head.weight"].astype(np.float32), True)
    other.layers = []
    for p in qm.layers:
        rows = np.concatenate([p["in_proj"][b[i]:b[i + 1]].astype(np.float32) * p["in_proj:" + s] for i, s in enumerate(m2.SEGMENTS)])
        conv = {k: np.concatenate([p[k + ":" + s].astype(np.float32) * p[k + ":scale:" + s] for s in m2.CONV]) for k in ("conv_w", "conv_b")}
        out = q.hadamard(q.hadamard((p["out_proj"].astype(np.float32) * p["out_proj:scale"]).T, True).T, True)
        other.layers.append(dict(conv, norm=np.ones(qm.m.shape.D, np.float32), in_proj=q.hadamard(rows, True), out_proj=out,
                                 dt_bias=p["dt_bias"], gnorm=p["gnorm"], A_log=p["A_log"].astype(np.float32) * p["A_log:scale"],
                                 Dskip=p["Dskip"].astype(np.float32) * p["Dskip:scale"]))
    for (cap, logits), tokens in zip(probe.forward(folder, other, "fp32", None, samples), samples):
        want, want_logits = m2.float_forward(other, tokens)
        worst = max(common.worst_difference(cap, want), np.abs(logits - want_logits).max() / np.abs(want_logits).max())
        check(worst <= 2e-5, "%s fp32 L=%d: %.1e of the largest value, at most 2e-5" % (what, len(tokens), worst))


def broken(probe):
    """Files that contradict themselves are refused by key."""
    folder, qm, _, stored = quantized_case(probe, 1, True)
    m = "backbone.layers.1.mixer."
    ends, lanes = stored[m + "conv1d.x_head_group_range"], stored[m + "conv1d.x_dim_group_range"]
    backwards, short = ends.copy(), lanes.copy()
    backwards[0, :2] = backwards[0, 1::-1]
    short[1, 3, 3] -= 1
    for what, key, value, words in (
            ("no steps of in_proj", "in_proj.b", None, "missing"), ("no groups in the scan", "qchunk_scan.x_head_group_range", None, "missing"),
            ("groups backwards", "conv1d.x_head_group_range", backwards, "ascending"), ("groups that end early", "conv1d.x_dim_group_range", short, "up to"),
            ("other groups in the scan", "qchunk_scan.x_dim_group_range", np.roll(lanes, 1, axis=1) if not np.array_equal(np.roll(lanes, 1, axis=1), lanes)
             else short, "groups"), ("other scales in the scan", "qchunk_scan.x_scales", stored[m + "conv1d.x_out_scales"] * 2, "conv1d"),
            ("a scale of 0", "conv1d.B_out_scales", stored[m + "conv1d.B_out_scales"] * 0, "above 0"), ("a scale too few", "conv1d.C_out_scales",
             stored[m + "conv1d.C_out_scales"][:1], "2 finite"), ("another input scale", "in_proj.a", stored[m + "in_proj.a"] * 2, "other scales"),
            ("floats for codes", "qchunk_scan.A_log", stored[m + "qchunk_scan.A_log"].astype(np.float32), "INT8"),
            ("NaN in the gate's weight", "norm.weight", stored[m + "norm.weight"] * np.float16(np.nan), "finite"),
            ("a stranger", "selective_scan.u_scale", 0.5, "unknown")):
        changed = {k: v for k, v in stored.items() if k != m + key}
        if value is not None:
            changed[m + key] = value
        save_checkpoint(folder, qm, changed)
        done = subprocess.run([probe.binary, "forward", folder, "2-1", "-", "-", probe.path("out")], stderr=subprocess.PIPE, text=True, check=False)
        check(done.returncode == 1 and len(done.stderr.splitlines()) == 1 and key in done.stderr and words in done.stderr,
              "%s: %s" % (what, done.stderr.strip()[-160:]))


MODES = tuple(m2.MODES)    # 0, 2-0 ... 2-4, 3, 0-fp32
CHECKS = {"float": float_modes, "half": half_layers, "scan": scan, "calibrate": calibrate, "layers": layers, "groups": groups,
          "grouped_layers": grouped_layers, "checkpoint": checkpoint, "broken": broken}


def main():
    name, binary = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as work:
        CHECKS[name](Probe(binary, work))
    print("%s: %s" % (name, "%d WRONG" % check.failed if check.failed else "all ok"))
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
