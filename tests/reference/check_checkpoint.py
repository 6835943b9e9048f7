#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A W8A8 checkpoint (made of the demo model with percentile 0.9999 over its first 10 texts): the same bits as quantizing
the demo model with the checkpoint's scales, and docs/numerics.md, "How close is close enough", against the Python.

    check_checkpoint.py PROBE DEMO_DIR CHECKPOINT_DIR
"""
import os
import sys
import tempfile

import numpy as np

import quamba_reference as q
import torch_file
from check_numerics import SITES, Probe, check, demo_case, float_samples, one_layer_at_a_time, same_errors

SCALES = {"in_proj:input": "norm.output_scale", "in_proj:output": "mixer.conv1d.input_scale",
          "x_proj:input": "mixer.conv1d.output_scale", "x_proj:output": "mixer.selective_scan.B_scale",
          "dt_proj:output": "mixer.selective_scan.dt_scale", "out_proj:input": "mixer.had.x_H_scale",
          "ssm_state_act:input": "mixer.selective_scan.ssm_state_scale"}
# Name in the reference: (codes, scale, stored by input).
WEIGHTS = {"in_proj": ("in_proj.weight", "in_proj.b", True), "conv_w": ("conv1d.weight", "conv1d.weight_scale", False),
           "conv_b": ("conv1d.bias", "conv1d.bias_scale", False), "x_proj": ("x_proj.weight", "x_proj.b", True),
           "dt_proj": ("dt_proj.weight", "dt_proj.b", True),
           "dt_bias": ("selective_scan.dt_bias", "selective_scan.dt_bias_scale", False),
           "A_log": ("selective_scan.A_log", "selective_scan.A_scale", False),
           "Dskip": ("selective_scan.D", "selective_scan.D_scale", False),
           "out_proj": ("out_proj.weight", "out_proj.b", True)}


def number(value):
    return np.float32(np.ravel(value)[0])


class CheckpointModel:
    """What QuantModel is, read from a checkpoint; `m` is the float model that the codes stand for."""

    def __init__(self, stored, float_model):
        self.embedding = stored["backbone.embedding.weight"].astype(np.float32)
        self.scales, self.layers = [], []
        for l, shapes in enumerate(float_model.layers):
            p = "backbone.layers.%d." % l
            self.scales.append({site: number(stored[p + key]) for site, key in SCALES.items()})
            layer = {}
            for name, (codes, scale, by_input) in WEIGHTS.items():
                a = stored[p + "mixer." + codes]
                a = a.T if by_input else a
                layer[name] = np.ascontiguousarray(a[:shapes[name].shape[0]])    # without the padding
                layer[name + ":scale"] = number(stored[p + "mixer." + scale])
            self.layers.append(layer)
        self.m = self.dequantized(stored, float_model)

    def dequantized(self, stored, float_model):
        tensors = {"backbone.embedding.weight": q.hadamard(self.embedding, True),
                   "backbone.norm_f.weight": stored["backbone.norm_f.weight"],
                   "lm_head.weight": q.hadamard(stored["lm_head.weight"].astype(np.float32), True)}
        model = q.Model.__new__(q.Model)
        model.__dict__.update(float_model.__dict__)
        model.embedding, model.lm_head = tensors["backbone.embedding.weight"], tensors["lm_head.weight"]
        model.norm_f = tensors["backbone.norm_f.weight"].astype(np.float32)
        model.layers = []
        for codes in self.layers:
            p = {name: codes[name].astype(np.float32) * codes[name + ":scale"] for name in WEIGHTS}
            p["norm"] = np.ones(model.D, np.float32)
            p["in_proj"] = q.hadamard(p["in_proj"], True)
            p["out_proj"] = q.hadamard(q.hadamard(p["out_proj"].T, True).T, True)
            model.layers.append(p)
        return model


def same_bits(probe, demo, folder, model, qm, samples):
    for mode in q.QUANT_MODES:
        ours = probe.forward(folder, model, mode, qm.scales, samples)
        theirs = probe.forward(demo, model, mode, qm.scales, samples)
        unequal = sum((a[k].view(np.uint32) != b[k].view(np.uint32)).sum() for (a, _), (b, _) in zip(ours, theirs) for k in b)
        count = sum(b[k].size for b, _ in theirs for k in b)
        check(unequal == 0, "mode %s: %d of %d values differ from the demo model, quantized with these scales" % (mode, unequal, count))


def end_to_end(probe, folder, qm, samples):
    reference = [q.float_forward(qm.m, tokens) for tokens in samples]
    wants = {mode: [q.quant_forward(qm, tokens, mode) for tokens in samples] for mode in q.QUANT_MODES if mode not in q.TWINS}
    for mode in q.QUANT_MODES:
        got = probe.forward(folder, qm.m, mode, qm.scales, samples)
        same_errors("mode " + mode, reference, got, wants[q.TWINS.get(mode, mode)])


def main():
    binary, demo, folder = sys.argv[1:4]
    model, samples = demo_case(demo, 8)
    qm = CheckpointModel(torch_file.load(os.path.join(folder, "pytorch_model.bin")), model)
    with tempfile.TemporaryDirectory() as work:
        probe = Probe(binary, work)
        check([s for s in SITES if s not in SCALES] == [], "every site has a scale")
        same_bits(probe, demo, folder, model, qm, samples[:3])
        float_samples(probe, folder, qm.m, samples[:2], "fp32 of the dequantized weights,")
        one_layer_at_a_time(probe, folder, qm, [samples[0][:128]], "checkpoint,")
        end_to_end(probe, folder, qm, [s[:96] for s in samples])
    print("checkpoint: %s" % ("%d WRONG" % check.failed if check.failed else "all ok"))
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
