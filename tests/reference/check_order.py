#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The order of heads and channels that a checkpoint with groups does not say, found by the float model: check_order.py PROBE

Random models whose heads and channels were moved are quantized by the Python; with the model as it was beside it, every component
of the file's modes must come in the model's order, and the float modes must be the model's."""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

import check_mamba2
import check_numerics as common
import four_bit_files as files
import mamba2_reference as m2
import quamba_reference as q
from check_numerics import check

VOCAB = 64
MOVED = ("conv1d_input", "conv1d_output", "ssm_input", "ssm_dt", "ssm_output", "norm_output")    # what another order changes
LEAST = 0.99    # of the codes and FP16 numbers of a layer are equal, on the model's own stream


class Shuffled(m2.Groups):
    """The same groups, of any heads and channels: inside each group of B and C, and inside each head."""

    def __init__(self, groups, shape, generator):
        self.head_range, self.dim_range = groups.head_range, groups.dim_range
        per = shape.H // shape.G
        self.heads = np.concatenate([g * per + generator.permutation(per) for g in range(shape.G)])
        self.channels = np.concatenate([h * shape.P + generator.permutation(shape.P) for h in self.heads])
        self.index = self._index(shape)


def save_float(folder, config, tensors, dtype):
    os.makedirs(folder, exist_ok=True)
    q.save_safetensors(os.path.join(folder, "model.safetensors"), {k: v.astype(dtype) for k, v in tensors.items()})
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)


def hugging_face(config, tensors, model):
    """The same model in the other layout, which has one part of the gated norm."""
    s = model.shape
    other = dict(model_type="mamba2", architectures=["Mamba2ForCausalLM"], hidden_size=s.D, num_hidden_layers=s.n_layer,
                 vocab_size=len(model.embedding), num_heads=s.H, head_dim=s.P, state_size=s.N, n_groups=s.G, expand=2, conv_kernel=s.K,
                 chunk_size=s.Q, layer_norm_epsilon=1e-5, tie_word_embeddings=config["tie_embeddings"], use_bias=False, use_conv_bias=True,
                 hidden_act="silu", rms_norm=True)
    return other, {k.replace("backbone.embedding.", "backbone.embeddings."): v for k, v in tensors.items()}


def indistinct(tensors, shape, what):
    """Heads and channels that only rows of in_proj tell apart."""
    for l in range(shape.n_layer):
        m = "backbone.layers.%d.mixer." % l
        if what == "channels":    # neighbours are the same
            for name in (m + "norm.weight", m + "conv1d.bias"):
                tensors[name] = np.repeat(tensors[name][::2], 2)
            tensors[m + "conv1d.weight"] = np.repeat(tensors[m + "conv1d.weight"][::2], 2, axis=0)
        if what == "all":
            tensors[m + "norm.weight"][:], tensors[m + "conv1d.bias"][:], tensors[m + "conv1d.weight"][:] = 1, 0.1, 0.3
            for name in ("dt_bias", "A_log", "D"):
                tensors[m + name][:] = 1


def make(probe, number, shuffle=None, what=None, dtype=np.float32, other_layout=False):
    """(folder of the file, folder of the float model, quantized reference, model, samples)"""
    kind = dict(check_mamba2.MODELS[number], hugging_face=False, tie=True)
    for key in ("gate_last", "limit", "time_step_limit"):
        kind.pop(key, None)
    config, tensors = m2.random_model(seed=7000 + number, vocab=VOCAB, **kind)
    tensors = {k: v.astype(dtype).astype(np.float32) for k, v in tensors.items()}
    indistinct(tensors, m2.Model(config, tensors).shape, what)
    model, g = m2.Model(config, tensors), np.random.Generator(np.random.PCG64(number))
    samples = [g.integers(0, VOCAB, n).astype(np.int32) for n in (1, 40)]
    plain = probe.path("float")
    save_float(plain, *(hugging_face(config, tensors, model) if other_layout else (config, tensors)), dtype)
    groups = [m2.Groups(v, model.shape) for v in m2.channel_statistics(model, samples)]
    if shuffle is not None:
        groups = [Shuffled(v, model.shape, np.random.default_rng(shuffle + l)) for l, v in enumerate(groups)]
    moved = m2.reorder(model, groups)
    qm = m2.QuantModel(moved, m2.calibrate(moved, samples, groups=groups), groups=groups)
    stored, _ = check_mamba2.state_dict(qm)
    folder = probe.path("w8a8")
    check_mamba2.save_checkpoint(folder, qm, stored)
    return folder, plain, qm, model, samples


def compare_layers(probe, folder, qm, model, samples, what):
    """Components of each layer on the Python's inputs, in the model's order."""
    shape, largest = model.shape, [{k: np.float32(np.max(v)) for k, v in s.items()} for s in qm.scales]
    for mode in ("0", "2-4"):
        equal, count = dict.fromkeys(MOVED, 0), dict.fromkeys(MOVED, 0)
        for tokens in samples:
            inputs, want, h = [], [], qm.embedding[tokens]
            residual = np.zeros_like(h)
            for l in range(shape.n_layer):
                inputs.append((residual, h))
                residual = (residual + h).astype(np.float32)
                s = qm.scales[l]["in_proj:input"]
                out = m2.quant_layer(qm, l, q.sat8(np.rint(q.rmsnorm_unit(residual, shape.eps) / s)), mode)
                h = out["h"]
                want.append(check_mamba2.put_back(out, qm.groups[l], shape))
            for l, (got, _, _) in enumerate(probe.layers(folder, qm.m, mode, largest, inputs)):
                for c in MOVED:
                    close = np.abs(got[c] - want[l][c]) <= 1e-5 * np.abs(want[l][c]).max()
                    equal[c], count[c] = equal[c] + close.sum(), count[c] + close.size
        for c in MOVED:
            check(equal[c] / count[c] >= LEAST, "%s mode %s %s: %.4f in the model's order" % (what, mode, c, equal[c] / count[c]))


def with_reference(probe, folder, plain, qm, model, samples, what):
    os.environ["PROBE_REFERENCE"] = plain
    try:
        compare_layers(probe, folder, qm, model, samples, what)
        for (captured, logits), tokens in zip(probe.forward(folder, qm.m, "fp32", None, samples), samples):
            want, want_logits = m2.float_forward(model, tokens)
            worst = max(common.worst_difference(captured, want), np.abs(logits - want_logits).max() / np.abs(want_logits).max())
            check(worst <= 2e-5, "%s fp32 L=%d: %.1e from the float model" % (what, len(tokens), worst))
    finally:
        del os.environ["PROBE_REFERENCE"]


def four_bits(probe):
    """W4A8, and W4AX, whose layers in W4A16 have no groups of their own and stand in their order all the same."""
    for kinds in (("w4a8", "w4a8"), ("w4a16", "w4a8")):
        folder, plain, what = probe.path("four"), probe.path("float4"), "-".join(kinds)
        config, tensors, model, samples = files.random_mamba2(5000)
        save_float(plain, config, tensors, np.float32)
        groups = [m2.Groups(v, model.shape) for v in m2.channel_statistics(model, samples)]
        stored, _, _ = files.mamba2(folder, kinds)
        scales = check_mamba2.stored_scales(folder)
        os.environ["PROBE_REFERENCE"] = plain
        results = probe.forward(folder, model, "2-1", scales, samples[-1:])
        del os.environ["PROBE_REFERENCE"]
        unordered = probe.forward(folder, model, "2-1", scales, samples[-1:])
        want, _ = m2.float_forward(model, samples[-1])
        for l, kind in enumerate(kinds):
            order = {"ssm_dt": groups[l].heads, "conv1d_input": np.concatenate([groups[l].channels, np.arange(model.shape.I, model.shape.channels)])}
            for c in MOVED:
                got, plainly = results[0][0][l, c], unordered[0][0][l, c]
                place = order.get(c, groups[l].channels if c != "conv1d_output" else order["conv1d_input"])
                back = np.empty_like(plainly)
                back[:, place] = plainly
                near = np.corrcoef(got.ravel(), want[l, c].ravel())[0, 1]
                check(np.array_equal(got, back) and near > 0.8, "%s layer %d (%s) %s: the file's values in the model's order, %.3f like the float's"
                      % (what, l, kind, c, near))


def refused(probe):
    """Another model, and one of which a head or a channel is another."""
    folder, plain, _, model, _ = make(probe, 1, shuffle=1)
    other = probe.path("other")
    for what, name, change in (("another model", None, None), ("another dt bias", "dt_bias", lambda v: v + 1), ("another gate", "norm.weight", lambda v: v * 1.01),
                               ("NaN", "conv1d.bias", lambda v: v * np.nan)):
        config, tensors = m2.random_model(seed=7001 if name else 1, vocab=VOCAB, **dict(check_mamba2.MODELS[1], tie=True))
        if name:
            key = "backbone.layers.1.mixer." + name
            tensors[key][3] = change(tensors[key][3])
        save_float(other, config, tensors, np.float32)
        done = subprocess.run([probe.binary, "forward", folder, "2-1", "-", "-", probe.path("out")], stderr=subprocess.PIPE, text=True, check=False,
                              env=dict(os.environ, PROBE_REFERENCE=other))
        said = ["--reference-model", "layer %d" % (1 if name else 0), "float model that was quantized"] if what != "NaN" else ["layers.1.mixer.conv1d.bias"]
        check(done.returncode == 1 and len(done.stderr.splitlines()) == 1 and all(w in done.stderr for w in said), "%s: %s" % (what, done.stderr.strip()))


def main():
    with tempfile.TemporaryDirectory() as work:
        probe = check_mamba2.Probe(sys.argv[1], work)
        for what, arguments in (("groups", dict(number=1)), ("one group of heads, FP16", dict(number=0, dtype=np.float16)),
                                ("any order", dict(number=2, shuffle=3)), ("the other layout", dict(number=1, shuffle=4, other_layout=True)),
                                ("neighbours alike", dict(number=0, shuffle=5, what="channels")), ("all alike", dict(number=1, shuffle=6, what="all"))):
            with_reference(probe, *make(probe, **arguments), what)
        four_bits(probe)
        refused(probe)
    print("%s" % ("%d WRONG" % check.failed if check.failed else "all ok"))
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
