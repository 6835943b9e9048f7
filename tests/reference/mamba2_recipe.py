# SPDX-License-Identifier: Apache-2.0
"""What a recipe computes for Mamba-2: one quantized layer in which every tensor is on a grid or float, by itself.

The executable form of docs/numerics.md, section 8.  As recipe_reference.py, of which it takes tensors, activations and weights' formats;
under the settings of the modes it gives the bits of mamba2_reference.quant_layer.
"""
import numpy as np
import mamba2_reference as M
import quamba_reference as R
import recipe_reference as recipes
from recipe_reference import F32, INT4, Tensor, activation, along, by_token, int4, int8_channel, quotient

GROUPED = ("in_proj", "out_proj")
WEIGHTS = {"in_proj": "int8", "conv1d": "int8", "conv1d_bias": "int8", "dt_bias": "fp16", "A_log": "int8", "D": "int8", "norm": "fp16",
           "out_proj": "int8"}
UNITS = {"weight:" + w: (first, "float") + (("fp16",) if first == "int8" else ()) +
         (("int8-channel",) if w in GROUPED + ("conv1d",) else ()) + (tuple(INT4) if w in GROUPED else ()) for w, first in WEIGHTS.items()}
UNITS.update({
    "in_proj:input": ("int8", "float", "fp16", "dynamic-token"),
    "conv1d:input": ("int8", "dynamic", "float", "fp16", "dynamic-token"),     # x, B and C, each with scales of its own
    "gate:input": ("int8", "float", "fp16"),
    "conv1d:output": ("int8", "float", "fp16"),
    "scan:u": ("codes", "int8", "float"),                                       # and B and C
    "scan:dt": ("int8", "float", "fp16"),
    "scan:y": ("fp16", "float"),
    "norm:output": ("fp16", "float"),
    "out_proj:input": ("int8", "float", "fp16", "dynamic-token"),
    "mixer:output": ("fp16", "float"),
    "scan:order": ("sequential", "chunked", "chunked-gpu", "chunked-fp16"),
})
BASE = {u: f[0] for u, f in UNITS.items()}
ALL_FLOAT = {u: "float" if "float" in f else f[0] for u, f in UNITS.items()}
W4A16 = dict(ALL_FLOAT, **{"weight:" + w: "int4-g128" for w in GROUPED}, **{u: "fp16" for u in (
    "weight:conv1d", "weight:conv1d_bias", "weight:dt_bias", "weight:A_log", "weight:D", "weight:norm", "in_proj:input", "conv1d:input",
    "gate:input", "conv1d:output", "scan:dt", "scan:y", "norm:output", "out_proj:input", "mixer:output")}, **{"scan:order": "chunked-fp16"})
MODE_SETTINGS = {
    "0": dict(BASE, **{"scan:order": "chunked-gpu"}),
    "2-0": dict(BASE, **{"scan:order": "chunked-gpu", "scan:u": "int8"}),
    "2-1": dict(BASE),
    "2-2": dict(BASE, **{"scan:u": "float"}),
    "2-3": dict(BASE, **{"conv1d:output": "float", "scan:u": "int8"}),
    "2-4": dict(BASE, **{"conv1d:output": "float", "scan:u": "float"}),
    "3": dict(BASE, **{"conv1d:input": "dynamic", "conv1d:output": "float", "scan:u": "float"}),
    "w4a16": W4A16, "w4a16-seq": dict(W4A16, **{"scan:order": "sequential"}),
}


def project(a, w, fmt, s_out):
    """As recipe_reference.project; on a grid (acc (s_W / s_out)) s_a, the quotient in double, of 4 bits in FP32."""
    if not (a.coded and w.coded) or fmt != "int8":
        return recipes.project(a, w, fmt, s_out)
    first = (np.asarray(w.scale, F32) / F32(s_out)).astype(F32) if w.int4 else quotient(w.scale, s_out)
    acc = R.int8_matmul(a.codes, w.codes)
    return Tensor(R.sat8(np.rint((acc * along(first, True)).astype(F32) * along(a.scale, False))), s_out)


class RecipeWeights:
    """Codes of QuantModel, and the float tensors in the same (rotated) basis."""

    def __init__(self, model, scales):
        self.q, self.m, self.scales, self.made = M.QuantModel(model, scales), model, scales, {}
        self.parts = []
        for p in model.layers:
            w_in, w_out = M.fold(p)
            self.parts.append({"in_proj": w_in, "conv1d": p["conv_w"], "conv1d_bias": p["conv_b"], "dt_bias": p["dt_bias"],
                               "A_log": p["A_log"], "D": p["Dskip"], "norm": p["gnorm"], "out_proj": w_out})

    def weight(self, l, name, fmt, coded=False):
        if (l, name, fmt, coded) not in self.made:
            self.made[l, name, fmt, coded] = self._make(l, name, fmt, coded)
        return self.made[l, name, fmt, coded]

    def _make(self, l, name, fmt, coded):
        w, sh = self.parts[l][name], self.m.shape
        if fmt in INT4:
            return int4(w, INT4[fmt], coded)
        if fmt == "int8-channel":
            return int8_channel(w)
        if fmt != "int8":
            return Tensor(values=R.to_fp16(w) if fmt == "fp16" else w)
        gn = sh.G * sh.N
        ends = {"in_proj": sh.bounds(), "conv1d": (0, sh.I, sh.I + gn, sh.channels), "conv1d_bias": (0, sh.I, sh.I + gn, sh.channels)}.get(name)
        if ends is None:
            codes, s = R.quantize_absmax(w)
            return Tensor(codes, s)
        made = [R.quantize_absmax(w[a:b]) for a, b in zip(ends, ends[1:])]
        rows = np.concatenate([np.full(b - a, s, F32) for (_, s), a, b in zip(made, ends, ends[1:])])
        codes = np.concatenate([c for c, _ in made])
        return Tensor(codes, rows) if codes.ndim > 1 else Tensor(values=(codes.astype(F32) * rows).astype(F32))


def recipe_layer(rw, l, setting, residual, h):
    """Layer l on a rotated residual stream and the last mixer's rotated output: (captures, residual, h)."""
    sh, s, cap = rw.m.shape, rw.scales[l], {}
    W = lambda name, coded=False: rw.weight(l, name, setting["weight:" + name], coded)
    residual = (residual + h).astype(F32)
    n = activation(R.rmsnorm_unit(residual, sh.eps), setting["in_proj:input"], s["in_proj:input"])
    cap["mixer_input"] = R.hadamard(n.values, transpose=True)

    W_in, b, x_format = W("in_proj", n.coded), sh.bounds(), setting["conv1d:input"]
    formats = {"z": setting["gate:input"], "dt": setting["scan:dt"]}
    site = {"z": "z_act", "x": "x_conv_in", "B": "B_conv_in", "C": "C_conv_in", "dt": "dt_act"}
    out = {}
    for i, seg in enumerate(M.SEGMENTS):
        fmt = formats.get(seg, "float" if x_format.startswith("dynamic") else x_format)
        out[seg] = project(n, W_in.rows(b[i], b[i + 1]), fmt, s[site[seg]])
        if seg in M.CONV and x_format == "dynamic":
            most = F32(np.max(np.abs(out[seg].values)))
            step = F32(most / F32(127)) if most > 0 else F32(1)
            out[seg] = Tensor(R.sat8(np.rint(out[seg].values / step)), step)
        elif seg in M.CONV and x_format == "dynamic-token":
            out[seg] = by_token(out[seg].values, np.rint)
    cap["conv1d_input"] = np.concatenate([out[k].values for k in M.CONV], axis=1)

    gn = sh.G * sh.N
    at = {"x": (0, sh.I), "B": (sh.I, sh.I + gn), "C": (sh.I + gn, sh.channels)}
    conv, scan, taps_w, bias = {}, {}, W("conv1d"), W("conv1d_bias").values
    for seg in M.CONV:
        lo, hi = at[seg]
        x, w, step = out[seg], taps_w.rows(lo, hi), F32(s[seg + "_conv_out"])
        if x.coded and not x.by_row and w.coded:
            taps = R.conv1d_causal(x.codes.astype(F32), w.codes.astype(F32), F32(0))
            v = R.silu(((w.scale * x.scale).astype(F32) * taps + bias[lo:hi]).astype(F32))
        else:
            v = R.silu(R.conv1d_causal(x.values, w.values, bias[lo:hi]))
        if setting["conv1d:output"] == "int8":
            conv[seg] = scan[seg] = (R.sat8(R.round_half_away(v / step)).astype(F32) * step).astype(F32)
        else:
            conv[seg] = activation(v, setting["conv1d:output"], None).values
            scan[seg] = conv[seg] if setting["scan:u"] == "float" else (R.sat8(np.rint(conv[seg] / step)).astype(F32) * step).astype(F32)
    cap["conv1d_output"] = np.concatenate([conv[k] for k in M.CONV], axis=1)
    cap["ssm_input"], cap["ssm_B"], cap["ssm_C"], cap["ssm_dt"] = scan["x"], scan["B"], scan["C"], out["dt"].values

    L = len(residual)
    y, _ = M.ssd(setting["scan:order"], scan["x"].reshape(L, sh.H, sh.P), M.time_steps(out["dt"].values, W("dt_bias").values, sh),
                 (-np.exp(W("A_log").values)).astype(F32), scan["B"].reshape(L, sh.G, sh.N), scan["C"].reshape(L, sh.G, sh.N), W("D").values,
                 chunk=sh.Q)
    cap["ssm_output"] = y = activation(y.reshape(L, sh.I).astype(F32), setting["scan:y"], None).values
    cap["norm_output"] = v = activation(M.gated_norm(y, out["z"].values, W("norm").values, sh), setting["norm:output"], None).values
    yq = activation(R.hadamard(v), setting["out_proj:input"], s["out_proj:input"], R.round_half_away)
    h = project(yq, W("out_proj", yq.coded), setting["mixer:output"], None).values
    cap["mixer_output"] = R.hadamard(h, transpose=True)
    return cap, residual, h.astype(F32)


def self_check():
    """The modes' settings give quant_layer's bits, all float the fp32 model."""
    g = np.random.Generator(np.random.PCG64(3))
    config, t = M.random_model(5, 256, 2, 96, headdim=32, d_state=16, ngroups=2, chunk_size=16, hugging_face=False)
    model = M.Model(config, t)
    samples = [g.integers(0, 96, n) for n in (40, 17)]
    scales = M.calibrate(model, samples)
    rw = RecipeWeights(model, scales)
    for mode, setting in MODE_SETTINGS.items():
        precision = "w4a16" if mode.startswith("w4a16") else "w8a8"
        qm = M.QuantModel(model, scales, precision)
        if mode == "w4a16-seq":
            continue
        cap, _ = M.quant_forward(qm, samples[0], mode)
        h = qm.embedding[samples[0]]
        residual = np.zeros_like(h)
        for l in range(2):
            got, residual, h = recipe_layer(rw, l, setting, residual, h)
            bad = [c for c in M.COMPONENTS if not np.array_equal(got[c], cap[l, c])]
            assert not bad, (mode, l, bad)
    qm = M.QuantModel(model, scales, "w4a8")
    setting = dict(BASE, **{"weight:" + w: "int4-g128" for w in GROUPED})
    cap, _ = M.quant_forward(qm, samples[0], "2-1")
    got, _, _ = recipe_layer(rw, 0, setting, np.zeros_like(qm.embedding[samples[0]]), qm.embedding[samples[0]])
    assert all(np.array_equal(got[c], cap[0, c]) for c in M.COMPONENTS)
    ref, _ = M.float_forward(model, samples[1])
    got, _, _ = recipe_layer(rw, 0, ALL_FLOAT, np.zeros((17, 256), F32), R.hadamard(model.embedding)[samples[1]])
    print("modes equal bit for bit; all float against fp32: %.1e" % max(
        float(np.abs(got[c] - ref[0, c]).max() / np.abs(ref[0, c]).max()) for c in M.COMPONENTS))


if __name__ == "__main__":
    self_check()
