#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Weights in 4 bits against the Python: check_four_bits.py CHECK PROBE

unpack: codes, steps and packing order of both kernels' layouts, exact; dequantized: the float modes on what the codes stand for;
layers: files of every kind, each layer on the Python's inputs; broken: files that contradict themselves are refused by name."""
import hashlib
import os
import subprocess
import sys
import tempfile
import types

import numpy as np

import check_mamba2
import check_numerics as common
import four_bit_files as files
import mamba2_reference as m2
import quamba_reference as q
from check_numerics import check

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "four-bits.npz")


# ---- unpacking ----

def read_weight(probe, folder, prefix, outputs, depth, kind, s_in=1):
    out = probe.run("four_bits", folder, prefix, outputs, depth, kind, s_in, probe.path("out"))
    parts = np.split(out, np.cumsum([outputs * depth] * 3))
    return [p.reshape(outputs, depth) for p in parts[:3]] + [parts[3]]


def expected(code, step, channel, kind):
    """(levels, INT8 codes, values, scales of the codes); step: in units of `channel` in W4A8."""
    if kind == "w4a8":
        int8 = m2.w4a8_int8(code, step)
        return code.astype(np.float32) - 8, int8, int8.astype(np.float32) * channel[:, None], channel
    values = m2.values4(code, step)
    group, scale = m2.w4a8_scales(values, step)
    return code.astype(np.float32) - 8, m2.w4a8_int8(code, group), values, scale


def compare(probe, folder, what, outputs, depth, kind, want, s_in=1):
    got = read_weight(probe, folder, "w", outputs, depth, kind, s_in)
    for name, a, b in zip(("codes", "INT8 codes", "values", "scales"), got, want):
        check(np.array_equal(a, b), "%s: %s, %d differ" % (what, name, (a != b).sum()))


def save_weight(folder, stored):
    files.save(folder, stored, {})


def unpack(probe):
    """Random codes and steps, some of them 0, subnormal or large; then weights of a published layout."""
    g = np.random.Generator(np.random.PCG64(4))
    for outputs, depth, kind in ((64, 256, "w4a8"), (100, 384, "w4a8"), (643, 256, "w4a8"), (256, 256, "w4a16"), (300, 512, "w4a16")):
        multiple = 64 if kind == "w4a8" else 256
        code = g.integers(0, 16, (outputs, depth)).astype(np.uint8)
        step = q.to_fp16(g.lognormal(-3 if kind == "w4a16" else 1.5, 1, (depth // 128, outputs))).astype(np.float32)
        step[0, 1::19], step[:, ::17] = 2.0 ** -24, 0
        if kind == "w4a8":
            step = np.minimum(step, np.float32(15.875))    # w8 is a byte
        channel = np.abs(g.standard_normal(outputs)).astype(np.float32) * np.float32(1e-3)
        padded = np.pad(code, [(0, -outputs % multiple), (0, 0)], constant_values=8)
        stored = {"w.weight": m2.pack4(padded, kind)}
        steps = m2.permute_group_steps(files.pad_outputs(step, multiple)).astype(np.float16)
        if kind == "w4a8":
            stored.update({"w.s_group": steps, "w.s_channel": m2.permute_channel_scales(files.pad_outputs(channel[None], 64, np.float32(1e-6))),
                           "w.input_scale": np.array(0.5, np.float32)})
        else:
            stored["w.scale"] = steps
        folder = probe.path("%s-%d" % (kind, outputs))
        save_weight(folder, stored)
        compare(probe, folder, "%s %d x %d" % (kind, outputs, depth), outputs, depth, kind, expected(code, step, channel, kind), 0.5)
    golden = np.load(DATA)
    for kind in ("w4a8", "w4a16"):
        stored = {key[len(kind) + 1:].replace("w_", "w."): golden[key] for key in golden if key.startswith(kind + ".w_")}
        folder = probe.path("published-" + kind)
        save_weight(folder, stored)
        outputs, depth = golden[kind + ".codes"].shape
        levels, int8, values, scales = read_weight(probe, folder, "w", outputs, depth, kind, stored.get("w.input_scale", 1))
        for name, got, want in (("codes", levels + 8, golden[kind + ".codes"]), ("INT8 codes", int8, golden[kind + ".int8"]),
                                ("scales", scales, golden[kind + ".scales"]),
                                ("values", np.frombuffer(hashlib.sha256(values.astype("<f4").tobytes()).digest(), np.uint8), golden[kind + ".values_sha256"])):
            check(np.array_equal(got, want), "a published file, %s: %s" % (kind, name))


# ---- files of every kind ----

def describe(name, config, reference):
    """What probes ask of a model."""
    rows = range(len(reference.embedding.table))
    if name.startswith("mamba2"):
        return types.SimpleNamespace(shape=reference.shape, embedding=rows)
    return types.SimpleNamespace(D=reference.D, I=reference.I, layers=range(config["n_layer"]), embedding=rows)


def scales_of(name, folder, stored, config):
    if name.startswith("mamba2"):
        return check_mamba2.stored_scales(folder)
    from check_checkpoint import SCALES, number
    return [{site: number(stored.get("backbone.layers.%d.%s" % (l, key), 0)) for site, key in SCALES.items()} for l in range(config["n_layer"])]


def probe_for(name, probe):
    return check_mamba2.Probe(probe.binary, probe.work) if name.startswith("mamba2") else probe


def twin_layer(name, reference, l, residual, mode):
    """A layer in W4A16 with its products summed in double: another legal order of the same sums.  None: INT8 products are exact."""
    wide = ("in_proj", "x_proj", "dt_proj", "out_proj")
    n = q.to_fp16(q.rmsnorm_unit(residual, np.float32(1e-5)))
    kind, p = (reference.layers[l][:2] if name.startswith("mamba2") else (reference.precision, reference.layers[l]))
    if kind != "w4a16":
        return None
    p = {k: v.view(common.WideProduct) if k in wide else v for k, v in p.items()}
    if not name.startswith("mamba2"):
        return np.asarray(reference._a16_layer(p, n, mode))
    shim = types.SimpleNamespace(m=types.SimpleNamespace(shape=reference.shape), layers=[p])
    return np.asarray(m2.w4a16_layer(shim, 0, n)["h"])


def layers(probe):
    """As published.py has it for files that others wrote: a number on a boundary reaches all later tokens of its layer.  Of W4A16,
    where every value between two steps is FP16, no more may differ than between the Python and its twin."""
    for name in files.NAMES:
        folder, used = probe.path(name), probe_for(name, probe)
        stored, config, samples = files.make(folder, name)
        reference, heads = files.load(stored, config), 0
        model, scales = describe(name, config, reference), scales_of(name, folder, stored, config)
        for mode in reference.modes():
            differ, count, twin_differ, halves = 0, 0, 0, 0
            logits = used.forward(folder, model, mode, scales, samples)
            for tokens, (captured, got_logits) in zip(samples, logits):
                _, want_logits, rotated = reference.forward(tokens, mode)
                inputs, residual, h = [], np.zeros_like(rotated[0]), reference.embedding.rows(tokens)
                for l in range(len(rotated)):
                    inputs.append((residual, h))
                    residual, h = (residual + h).astype(np.float32), rotated[l]
                for l, (_, _, h) in enumerate(used.layers(folder, model, mode, scales, inputs)):
                    off = np.sqrt(((h - rotated[l]) ** 2).mean() / (rotated[l] ** 2).mean())
                    check(off <= 2e-3, "%s mode %s L=%d layer %d: off by %.1e" % (name, mode, len(tokens), l, off))
                    twin = twin_layer(name, reference, l, (inputs[l][0] + inputs[l][1]).astype(np.float32), mode)
                    if twin is None:
                        differ, count = differ + (h != rotated[l]).sum(), count + h.size
                    else:
                        halves, twin_differ = halves + (h != rotated[l]).sum(), twin_differ + (twin != rotated[l]).sum()
                last = q.to_fp16(q.hadamard(captured[len(rotated) - 1, "mixer_output"]))
                if (last == rotated[-1]).mean() >= 0.998:
                    share = (got_logits == want_logits).mean()
                    check(share >= 0.99, "%s mode %s L=%d: %.4f of the logits are equal" % (name, mode, len(tokens), share))
                    heads += 1
            check(differ <= 0.02 * count and halves <= twin_differ, "%s mode %s: of %d FP16 outputs behind INT8 %d differ; of the others %d, and %d of the "
                  "Python's twin" % (name, mode, count, differ, halves, twin_differ))
        check(heads > 0, "%s: logits of %d samples" % (name, heads))


def weight4(stored, prefix, outputs):
    """(values [outputs, inputs]) of a weight in 4 bits; of W4A8 in units of what its scales of outputs are in."""
    words = stored[prefix + "weight"]
    kind = "w4a8" if prefix + "s_channel" in stored else "w4a16"
    code = m2.unpack4(words, kind)[:outputs]
    step = m2.permute_group_steps(stored[prefix + ("s_group" if kind == "w4a8" else "scale")].astype(np.float32), back=True)[:, :outputs]
    if kind == "w4a16":
        return m2.values4(code, step)
    return m2.w4a8_int8(code, step).astype(np.float32) * m2.permute_channel_scales(stored[prefix + "s_channel"], back=True)[0, :outputs, None]


def back(values, axes):
    for axis in axes:
        values = q.hadamard(values, True) if axis else q.hadamard(values.T, True).T
    return np.ascontiguousarray(values)


def float_ends(stored, rows, D):
    table = m2.embedding_values(m2.unpack_embedding4(stored["backbone.embedding.weight"]), stored["backbone.embedding.scales"].astype(np.float32), 4)
    return q.hadamard(table, True), q.hadamard(weight4(stored, "lm_head.", rows), True), np.ones(D, np.float32)


def dequantized1(stored, config):
    """The float model of Mamba-1 that a file stands for."""
    D, I = config["d_model"], 2 * config["d_model"]
    embedding, head, ones = float_ends(stored, files.VOCAB, D)
    tensors = {"backbone.embedding.weight": embedding, "lm_head.weight": head, "backbone.norm_f.weight": ones}
    for l in range(config["n_layer"]):
        p = "backbone.layers.%d." % l
        m, scan, conv = p + "mixer.", p + "mixer.selective_scan.", p + "mixer.conv1d."
        R, N, a8 = -(-D // 16), 16, p + "norm.output_scale" in stored
        s = {k: np.float32(np.ravel(stored[key])[0]) if a8 else np.float32(1) for k, key in (("xz", conv + "input_scale"), ("dbl", scan + "B_scale"))}
        tensors[p + "norm.weight"] = ones
        tensors[m + "in_proj.weight"] = back(weight4(stored, m + "in_proj.", 2 * I) * s["xz"], (1,))
        tensors[m + "x_proj.weight"] = weight4(stored, m + "x_proj.", R + 2 * N) * s["dbl"]
        tensors[m + "out_proj.weight"] = back(weight4(stored, m + "out_proj.", D), (0, 1))
        if not a8:
            for name, key in (("conv1d.weight", conv + "weight"), ("conv1d.bias", conv + "bias"), ("A_log", m + "A_log"), ("D", m + "D"),
                              ("dt_proj.weight", m + "dt_proj.weight"), ("dt_proj.bias", m + "dt_proj_bias")):
                tensors[m + name] = stored[key].astype(np.float32)
            continue
        tensors[m + "dt_proj.weight"] = stored[m + "dt_proj.weight"].T[:I].astype(np.float32) * stored[m + "dt_proj.b"][0, 0]
        for name, key, scale in (("conv1d.weight", conv + "weight", conv + "weight_scale"), ("conv1d.bias", conv + "bias", conv + "bias_scale"),
                                 ("A_log", scan + "A_log", scan + "A_scale"), ("dt_proj.bias", scan + "dt_bias", scan + "dt_bias_scale"),
                                 ("D", scan + "D", scan + "D_scale")):
            tensors[m + name] = stored[key].astype(np.float32) * np.float32(stored[scale])
    return q.Model(tensors)


def dequantized2(reference, stored):
    """The same of Mamba-2, of what the Python's loader made of it."""
    shape, D, I = reference.shape, reference.shape.D, reference.shape.I
    rows = shape.bounds()[-1]
    embedding, head, ones = float_ends(stored, files.VOCAB, D)
    model = types.SimpleNamespace(shape=shape, embedding=embedding, lm_head=head, norm_f=ones, layers=[])
    for l, (kind, p, s, _) in enumerate(reference.layers):
        m = "backbone.layers.%d.mixer." % l
        m = m if m + "in_proj.weight" in stored else "backbone.layers.%d.mixers.%s." % (l, kind.upper())
        a8 = kind == "w4a8"
        behind = np.concatenate([np.full(n, s[site], np.float32) for n, site in zip(np.diff(shape.bounds()), ("z_act", "x_conv_in", "B_conv_in",
                                                                                                    "C_conv_in", "dt_act"))]) if a8 else None
        w_in = weight4(stored, m + "in_proj.", rows)
        if a8:    # the scale of an output is one number, rounded
            channel = m2.permute_channel_scales(stored[m + "in_proj.s_channel"], back=True)[0, :rows]
            w_in = p["in_proj"].astype(np.float32) * (channel * behind).astype(np.float32)[:, None]
        layer = {"norm": ones, "in_proj": back(w_in, (1,)), "out_proj": back(weight4(stored, m + "out_proj.", D), (0, 1)),
                 "gnorm": p["gnorm"], "dt_bias": p["dt_bias"]}
        if a8:
            for k in ("conv_w", "conv_b"):
                layer[k] = np.concatenate([p[k + ":" + c].astype(np.float32) * p[k + ":scale:" + c] for c in m2.CONV])
            layer["A_log"], layer["Dskip"] = (p[k].astype(np.float32) * p[k + ":scale"] for k in ("A_log", "Dskip"))
        else:
            layer.update({k: p[k] for k in ("conv_w", "conv_b", "A_log", "Dskip")})
        model.layers.append(layer)
    return model


def dequantized(probe):
    """fp32 of a file: the float model whose weights are its codes, rotations undone."""
    for name in files.NAMES:
        folder, used = probe.path(name), probe_for(name, probe)
        stored, config, samples = files.make(folder, name)
        reference = files.load(stored, config)
        model = dequantized2(reference, stored) if name.startswith("mamba2") else dequantized1(stored, config)
        forward = m2.float_forward if name.startswith("mamba2") else q.float_forward
        for (captured, logits), tokens in zip(used.forward(folder, describe(name, config, reference), "fp32", None, samples), samples):
            want, want_logits = forward(model, tokens)
            worst = max(common.worst_difference(captured, want), np.abs(logits - want_logits).max() / np.abs(want_logits).max())
            check(worst <= 2e-5, "%s fp32 L=%d: %.1e of the largest value, at most 2e-5" % (name, len(tokens), worst))


# ---- files that are broken ----

def refused(probe, folder, what, words):
    done = subprocess.run([probe.binary, "forward", folder, "fp32", "-", "-", probe.path("out")], stderr=subprocess.PIPE, text=True, check=False)
    check(done.returncode == 1 and len(done.stderr.splitlines()) == 1 and all(w in done.stderr for w in words),
          "%s: %s" % (what, done.stderr.strip()[-180:]))


def cases(stored, prefix, kind):
    """(what, key, its value or None, words)"""
    steps, words = prefix + ("s_group" if kind == "w4a8" else "scale"), stored[prefix + "weight"]
    step = stored[steps]
    last = step.copy()
    last[0, -1] = 1    # a place of padding: the last output of the last 64
    out = [("no codes", prefix + "weight", None, ("missing",)), ("codes of another dtype", prefix + "weight", words.astype(np.int64), ("shape",) if "lm_head" in prefix else ("I32", "I64")),
           ("codes as bytes", prefix + "weight", words.astype(np.int8), ("4-bit" if "lm_head" in prefix else "I32", "I8")), ("a tile too few", prefix + "weight", words[:-1], ("shape", "[")),
           ("64 outputs too few", prefix + "weight", words[:, :-128], ("shape", "[")), ("codes in one row", prefix + "weight", words.ravel(), ("shape",)),
           ("no steps", steps, None, ("missing",)), ("steps in F32", steps, step.astype(np.float32), ("F16", "F32")),
           ("groups of 64", steps, np.repeat(step, 2, axis=0), ("shape", "[%d, " % len(step))), ("one group", steps, step[:1], ("shape", "[%d, " % len(step))),
           ("steps by output", steps, np.ascontiguousarray(step.T), ("shape",)), ("a step that is NaN", steps, step * np.float16(np.nan), ("finite step",)),
           ("a step that is infinite", steps, step + np.float16(np.inf), ("finite step",)), ("a negative step", steps, -np.abs(step) - 1, ("0 or above",)),
           ("a step in the padding", steps, last, ("padding",))]
    if kind == "w4a8":
        channel = stored[prefix + "s_channel"]
        out += [("no scales of outputs", prefix + "s_channel", None, ("missing",)),
                ("scales of outputs in F16", prefix + "s_channel", channel.astype(np.float16), ("F32", "F16")),
                ("too few scales of outputs", prefix + "s_channel", channel[:, :-32], ("shape",)),
                ("a scale of an output that is NaN", prefix + "s_channel", channel * np.float32(np.nan), ("finite scale",)),
                ("another input scale", prefix + "input_scale", np.array(stored[prefix + "input_scale"] * 2), ("other scales",))]
    return out


def broken(probe):
    for name, prefix, kind in (("mamba2-w4a8", "backbone.layers.1.mixer.in_proj.", "w4a8"), ("mamba2-w4a16", "backbone.layers.0.mixer.out_proj.", "w4a16"),
                               ("mamba2-w4a16", "lm_head.", "w4a16"), ("mamba1-w4a8", "backbone.layers.0.mixer.x_proj.", "w4a8"),
                               ("mamba1-w4a16", "backbone.layers.1.mixer.in_proj.", "w4a16")):
        folder = probe.path("broken")
        stored, config, _ = files.make(folder, name)
        for what, key, value, words in cases(stored, prefix, kind):
            if what == "a step in the padding" and stored[key][:, -1].any():
                continue    # there is no padding
            changed = {k: v for k, v in stored.items() if k != key}
            if value is not None:
                changed[key] = value
            files.save(folder, changed, config)
            refused(probe, folder, "%s, %s%s" % (name, prefix.split(".")[-2], ": " + what), [prefix.rstrip("."), *words])
    shallow(probe)


def shallow(probe):
    """Inputs that are one group of 128, or no multiple."""
    folder = probe.path("shallow")
    files.save(folder, {"w.weight": np.zeros((8, 128), np.int32)}, {})
    for depth in (128, 192, 64):
        done = subprocess.run([probe.binary, "four_bits", folder, "w", "64", str(depth), "w4a8", "1", probe.path("out")], stderr=subprocess.PIPE,
                              text=True, check=False)
        check(done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "%d inputs" % depth in done.stderr and "multiple of 128" in done.stderr,
              done.stderr.strip())


CHECKS = {"unpack": unpack, "layers": layers, "dequantized": dequantized, "broken": broken}


def main():
    name, binary = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as work:
        CHECKS[name](common.Probe(binary, work))
    print("%s: %s" % (name, "%d WRONG" % check.failed if check.failed else "all ok"))
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
