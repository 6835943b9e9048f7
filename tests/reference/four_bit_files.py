# SPDX-License-Identifier: Apache-2.0
"""Checkpoints with weights in 4 bits, as Quamba2 writes them (docs/checkpoints.md), of random models: of Mamba-1 and Mamba-2 in
W4A8 and W4A16, of Mamba-2 in W4AX.  Each function gives (state dict, config.json)."""
import json
import os

import numpy as np

import check_mamba2
import checkpoint_reference as cr
import mamba2_reference as m2
import quamba_reference as q
import torch_file

VOCAB = 96
HALF = np.float16
QUANTIZED = {"w4a8": dict(embedding_cfg={"layer": "W4O16Embedding"}, lm_head_cfg={"layer": "W4A8B16O16Linear"}),
             "w4a16": dict(embedding_cfg={"layer": "W4O16Embedding"}, lm_head_cfg={"layer": "W4A16B16O16Linear"}, norm_cfg={"norm": "RMSNorm"})}


def save(folder, stored, config):
    os.makedirs(folder, exist_ok=True)
    torch_file.save(os.path.join(folder, "pytorch_model.bin"), stored)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)


def pad_outputs(a, multiple, value=0):
    """Behind the last output."""
    return np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, -a.shape[-1] % multiple)], constant_values=value)


def put4(out, prefix, w, kind, s_in=None, s_out=1):
    """A weight [outputs, inputs] rounded to nearest; s_out: what codes mean behind it, of all outputs or of each."""
    code, step = m2.rtn4(w)
    multiple = 64 if kind == "w4a8" else 256
    out[prefix + "weight"] = m2.pack4(np.pad(code, [(0, -len(code) % multiple), (0, 0)], constant_values=8), kind)
    out[prefix + "workspace"] = np.zeros(out[prefix + "weight"].shape[1] // 8, np.int32)
    if kind == "w4a16":
        out[prefix + "scale"] = m2.permute_group_steps(pad_outputs(step, multiple)).astype(HALF)
        return
    group, channel = m2.w4a8_scales(m2.values4(code, step), step)
    out[prefix + "s_group"] = m2.permute_group_steps(pad_outputs(group, multiple)).astype(HALF)
    channel = (channel / np.float32(s_out)).astype(np.float32)[None]
    out[prefix + "s_channel"] = m2.permute_channel_scales(pad_outputs(channel, multiple, np.float32(1e-6)))
    out[prefix + "input_scale"] = np.array(s_in, np.float32)


def put_ends(out, rows, head, kind):
    """Embedding and lm_head, rotated, in 4 bits."""
    code, scales = m2.quantize_embedding(q.to_fp16(q.hadamard(rows)), 4)
    out["backbone.embedding.weight"], out["backbone.embedding.scales"] = m2.pack_embedding4(code), scales.astype(HALF)
    out["backbone.norm_f.weight"] = np.ones(rows.shape[1], HALF)
    if kind == "w4a8":
        out["backbone.norm_f.output_scale"] = 0.03125
    put4(out, "lm_head.", q.hadamard(head), kind, 0.03125)


# ---- Mamba-2 ----

def projections4(out, qm, l):
    m, s, shape = "backbone.layers.%d.mixer." % l, qm.scales[l], qm.m.shape
    w_in, w_out = m2.fold(qm.m.layers[l])
    s_out = np.concatenate([np.full(n, s[site], np.float32) for n, site in zip(np.diff(shape.bounds()), ("z_act", "x_conv_in", "B_conv_in",
                                                                                                    "C_conv_in", "dt_act"))])
    put4(out, m + "in_proj.", w_in, "w4a8", s["in_proj:input"], s_out)
    put4(out, m + "out_proj.", w_out, "w4a8", s["out_proj:input"])


def w4a16_layer(out, qm, l):
    b, p = "backbone.layers.%d." % l, qm.m.layers[l]
    m = b + "mixer."
    w_in, w_out = m2.fold(p)
    out.update({b + "norm.weight": np.ones(qm.m.shape.D, HALF), m + "dt_bias": p["dt_bias"].astype(HALF), m + "A_log": p["A_log"].astype(HALF),
                m + "D": p["Dskip"].astype(np.float32), m + "conv1d.weight": p["conv_w"].astype(HALF)[:, None], m + "conv1d.bias": p["conv_b"].astype(HALF),
                m + "norm.weight": p["gnorm"].astype(HALF)})
    put4(out, m + "in_proj.", w_in, "w4a16")
    put4(out, m + "out_proj.", w_out, "w4a16")


def mix(stored, kinds):
    """The names of W4AX."""
    out = {}
    for key, value in stored.items():
        parts = key.split(".")
        if parts[:2] == ["backbone", "layers"]:
            parts[3:4] = [{"mixer": "mixers", "norm": "norms"}[parts[3]], kinds[int(parts[2])].upper()]
        out[".".join(parts)] = value
    return out


def random_mamba2(seed, **kind):
    sizes = dict(dict(d_model=256, n_layer=2, headdim=32, d_state=16, ngroups=2, chunk_size=16), **kind)
    config, tensors = m2.random_model(seed=seed, vocab=VOCAB, hugging_face=False, **sizes)
    model, g = m2.Model(config, tensors), np.random.Generator(np.random.PCG64(seed))
    return config, tensors, model, [g.integers(0, VOCAB, n).astype(np.int32) for n in (1, 17, 40)]


def mamba2(folder, kinds, seed=5000):
    """kinds: of each layer, w4a8 or w4a16; both: W4AX, of which all layers are moved."""
    _, _, model, samples = random_mamba2(seed)
    mixed = len(set(kinds)) > 1
    groups = None
    if "w4a8" in kinds:
        groups = [m2.Groups(v, model.shape) for v in m2.channel_statistics(model, samples)]
        model = m2.reorder(model, groups)
    qm = m2.QuantModel(model, m2.calibrate(model, samples, groups=groups), "w4a8", groups=groups)
    stored, around = {}, "w4a8" if "w4a8" in kinds else "w4a16"
    put_ends(stored, model.embedding, model.lm_head * model.norm_f, around)
    for l, kind in enumerate(kinds):
        if kind == "w4a8":
            check_mamba2.int8_layer(stored, qm, l, projections4)
        else:
            w4a16_layer(stored, qm, l)
    layers = [{k.upper(): k.upper() + "QMamba2"} for k in kinds] if mixed else kinds[0].upper() + "QMamba2"
    changes = dict(QUANTIZED[around], ssm_cfg={"layer": layers})
    if mixed:
        stored = mix(stored, kinds)
        changes.update(is_hybrid=True, norm_cfg={"norm": [{k.upper(): "QRMSNorm" if k == "w4a8" else "RMSNorm"} for k in kinds]})
    config = check_mamba2.save_checkpoint(folder, qm, stored, **changes)
    return stored, config, samples


# ---- Mamba-1 ----

def int8_layer1(out, p, s, m):
    """All of a W4A8 layer of Mamba-1 that is not in 4 bits."""
    scan, conv = m + "selective_scan.", m + "conv1d."
    for key, name, scale in ((conv + "weight", "conv_w", conv + "weight_scale"), (conv + "bias", "conv_b", conv + "bias_scale"),
                             (scan + "dt_bias", "dt_bias", scan + "dt_bias_scale"), (scan + "A_log", "A_log", scan + "A_scale"),
                             (scan + "D", "Dskip", scan + "D_scale")):
        out[key], step = q.quantize_absmax(p[name])
        out[scale] = float(step) if key.startswith(conv) else np.array(step, np.float32)
    codes, step = q.quantize_absmax(p["dt_proj"])
    check_mamba2.put_w8a8(out, m + "dt_proj.", codes, np.float32(step), np.float32(float(s["x_proj:output"]) / float(s["dt_proj:output"])))
    out[conv + "input_scale"], out[conv + "output_scale"] = float(s["in_proj:output"]), float(s["x_proj:input"])
    for key, site in (("u", "x_proj:input"), ("dt", "dt_proj:output"), ("B", "x_proj:output"), ("C", "x_proj:output"), ("z", "in_proj:output"),
                      ("ssm_state", "ssm_state_act:input")):
        out[scan + key + "_scale"] = np.array(s[site], np.float32)
    out[m + "had.x_H_scale"] = float(s["out_proj:input"])


def mamba1(folder, kind, seed=6000):
    tensors = q.random_model_tensors(seed, 256, 2, VOCAB)
    model, g = q.Model(tensors), np.random.Generator(np.random.PCG64(seed))
    samples = [g.integers(0, VOCAB, n).astype(np.int32) for n in (1, 17, 40)]
    scales, stored = q.calibrate(model, samples), {}
    put_ends(stored, model.embedding, model.lm_head * model.norm_f, kind)
    for l, (p, s) in enumerate(zip(model.layers, scales)):
        b = "backbone.layers.%d." % l
        m = b + "mixer."
        stored[b + "norm.weight"] = np.ones(model.D, HALF)
        w = {"in_proj": q.hadamard(p["in_proj"] * p["norm"]), "x_proj": p["x_proj"], "out_proj": q.hadamard(q.hadamard(p["out_proj"]).T).T}
        if kind == "w4a8":
            stored[b + "norm.output_scale"] = float(s["in_proj:input"])
            int8_layer1(stored, p, s, m)
        else:
            stored.update({m + "A_log": p["A_log"], m + "D": p["Dskip"], m + "dt_proj_bias": p["dt_bias"], m + "dt_proj.weight": p["dt_proj"].astype(HALF),
                           m + "conv1d.weight": p["conv_w"].astype(HALF)[:, None], m + "conv1d.bias": p["conv_b"].astype(HALF)})
        for name, site, behind in (("in_proj", "in_proj:input", "in_proj:output"), ("x_proj", "x_proj:input", "x_proj:output"),
                                   ("out_proj", "out_proj:input", None)):
            put4(stored, m + name + ".", w[name], kind, s[site], s[behind] if behind else 1)
    config = dict(d_model=model.D, d_intermediate=0, n_layer=len(model.layers), vocab_size=VOCAB - 3, ssm_cfg={"layer": kind.upper() + "QMamba"},
                  rms_norm=True, pad_vocab_size_multiple=8, tie_embeddings=False, norm_cfg={"norm": "QRMSNorm"})
    config.update(QUANTIZED[kind])
    save(folder, stored, config)
    return stored, config, samples


def make(folder, name):
    """By name, as the files that others have are called."""
    kinds = {"mamba2-w4a8": ("w4a8", "w4a8"), "mamba2-w4a16": ("w4a16", "w4a16"), "mamba2-w4ax": ("w4a8", "w4a16")}
    if name in kinds:
        return mamba2(folder, kinds[name])
    return mamba1(folder, name.split("-")[1])


NAMES = ("mamba1-w4a8", "mamba1-w4a16", "mamba2-w4a8", "mamba2-w4a16", "mamba2-w4ax")


def load(stored, config):
    model, left = cr.load(stored, config)
    assert not left, left
    return model
