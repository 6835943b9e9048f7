#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A W4A8 checkpoint of Mamba-2 of a published size and no sense, all layers of which share what one holds:
    four_bit_model.py FOLDER D_MODEL LAYERS [VOCABULARY]"""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "reference"))
import four_bit_files as files  # noqa: E402

P, N, K = 64, 128, 4


def put_words(out, prefix, outputs, inputs, s_in, s_out, generator):
    padded = -(-outputs // 64) * 64
    steps, channel = np.zeros((inputs // 128, padded), np.float16), np.full((1, padded), 1e-6, np.float32)
    steps[:, :outputs // 64 * 64], channel[0, :] = 8, 0.028 / np.sqrt(inputs) / s_out    # an output is about 1
    out.update({prefix + "weight": generator.integers(-2 ** 31, 2 ** 31, (inputs // 16, 2 * padded), dtype=np.int32), prefix + "s_group": steps,
                prefix + "s_channel": channel, prefix + "input_scale": np.array(s_in, np.float32)})


def layer(D, I, H, g):
    out, half, conv = {}, np.float16, I + 2 * N
    put_words(out, "mixer.in_proj.", 2 * I + 2 * N + H, D, 0.04, 0.04, g)
    put_words(out, "mixer.out_proj.", D, I, 0.04, 1, g)
    out.update({"norm.weight": np.ones(D, half), "norm.output_scale": 0.04, "mixer.norm.weight": np.ones(I, half), "mixer.norm.z_scale": 0.04,
                "mixer.had.x_H_scale": 0.04, "mixer.conv1d.weight": g.integers(-127, 128, (conv, K), dtype=np.int8),
                "mixer.conv1d.bias": g.integers(-127, 128, conv, dtype=np.int8), "mixer.qchunk_scan.dt_bias": np.full(H, -4, half),
                "mixer.qchunk_scan.A_log": g.integers(0, 128, H, dtype=np.int8), "mixer.qchunk_scan.A_log_scale": np.array(0.02, np.float32),
                "mixer.qchunk_scan.D": np.full(H, 127, np.int8), "mixer.qchunk_scan.D_scale": np.array(1 / 127, np.float32),
                "mixer.qchunk_scan.dt_scale": np.array(0.04, np.float32), "mixer.qchunk_scan.ssm_state_scale": np.full((1, 4, 4, N), 0.1, np.float32)})
    for k in "xBC":
        scales = np.full((1, 4, 4) if k == "x" else 1, 0.02, np.float32)
        out.update({"mixer.conv1d.%s_scale" % k: 0.04, "mixer.conv1d.w%s_scale" % k: 0.007, "mixer.conv1d.b%s_scale" % k: 0.001,
                    "mixer.conv1d.%s_out_scales" % k: scales, "mixer.qchunk_scan." + ("x_scales" if k == "x" else k + "_scale"): scales})
    for at in ("mixer.conv1d.", "mixer.qchunk_scan."):
        out[at + "x_head_group_range"] = np.array([[H * k // 4 for k in (1, 2, 3, 4)]], np.int32)
        out[at + "x_dim_group_range"] = np.tile(np.array([P * k // 4 for k in (1, 2, 3, 4)], np.int32), (1, 4, 1))
    return out


def main():
    folder, D, layers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    V, I, g = int(sys.argv[4]) if len(sys.argv) > 4 else 50288, 2 * D, np.random.default_rng(1)
    stored = {"backbone.embedding.weight": g.integers(-2 ** 31, 2 ** 31, (V, D // 8), dtype=np.int32),
              "backbone.embedding.scales": np.full(V, 0.06, np.float16), "backbone.norm_f.weight": np.ones(D, np.float16),
              "backbone.norm_f.output_scale": 0.04}
    put_words(stored, "lm_head.", V, D, 0.04, 1, g)
    one = layer(D, I, I // P, g)
    for l in range(layers):
        stored.update({"backbone.layers.%d.%s" % (l, key): value for key, value in one.items()})
    config = dict(d_model=D, d_intermediate=0, n_layer=layers, vocab_size=V, ssm_cfg={"layer": "W4A8QMamba2"}, rms_norm=True, attn_layer_idx=[],
                  attn_cfg={}, pad_vocab_size_multiple=16, tie_embeddings=False, norm_cfg={"norm": "QRMSNorm"}, **files.QUANTIZED["w4a8"])
    files.save(folder, stored, config)
    np.save(os.path.join(folder, "calibration.npy"), g.integers(0, V, (4, 16)).astype(np.int32))


if __name__ == "__main__":
    main()
