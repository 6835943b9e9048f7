# SPDX-License-Identifier: Apache-2.0
"""What a recipe computes: one quantized layer in which every tensor is on a grid or float, by itself.

The executable form of docs/numerics.md, section 5.  Slow and plain on purpose; it uses quamba_reference.py for what both share.
A *setting* of a layer is a dict {unit: format}; a *recipe* is one setting for each layer.  The seven quantized modes are
settings (MODE_SETTINGS), and under them `recipe_layer` gives the bits of `quant_layer`'s text in quamba_reference.py.
"""
import numpy as np
import quamba_reference as R

F32 = np.float32

# unit -> formats that it may have; the first is that of mode 2-1
WEIGHTS = ("in_proj", "conv1d", "conv1d_bias", "x_proj", "dt_proj", "dt_bias", "A_log", "D", "out_proj")
MATRICES = ("in_proj", "conv1d", "x_proj", "dt_proj", "out_proj")       # with a scale for each output
GROUPED = ("in_proj", "x_proj", "out_proj")                             # in 4 bits
INT4 = {"int4-g128": 128, "int4-g64": 64, "int4-g32": 32}
UNITS = {"weight:" + w: ("int8", "float", "fp16") + (("int8-channel",) if w in MATRICES else ()) + (tuple(INT4) if w in GROUPED else ())
         for w in WEIGHTS}
UNITS.update({
    "in_proj:input": ("int8", "float", "fp16", "dynamic-token"),
    "conv1d:input": ("int8", "dynamic", "float", "fp16", "dynamic-token"),      # the x half of in_proj's output
    "gate:input": ("int8", "float", "fp16"),                   # the z half
    "conv1d:output": ("int8", "float", "fp16"),
    "x_proj:input": ("int8", "float"),                 # int8 where conv1d:output is int8: the same codes
    "scan:u": ("codes", "int8", "float"),              # codes: those of x_proj; int8: quantized once more; float: as conv1d gives it
    "dt_proj:input": ("int8", "float", "fp16"), "scan:B": ("int8", "float", "fp16"), "scan:C": ("int8", "float", "fp16"),
    "scan:dt": ("int8", "float", "fp16"),
    "scan:y": ("fp16", "float"),
    "out_proj:input": ("int8", "float", "fp16", "dynamic-token"),
    "mixer:output": ("fp16", "float"),
    "scan:order": ("sequential", "blocked"),
})
BASE = {u: f[0] for u, f in UNITS.items()}
ALL_FLOAT = {u: ("float" if "float" in f else f[0]) for u, f in UNITS.items()}
MODE_SETTINGS = {
    "0": dict(BASE, **{"scan:order": "blocked"}),
    "2-0": dict(BASE, **{"scan:order": "blocked", "scan:u": "int8"}),
    "2-1": dict(BASE),
    "2-2": dict(BASE, **{"scan:u": "float"}),
    "2-3": dict(BASE, **{"conv1d:output": "float", "scan:u": "int8"}),
    "2-4": dict(BASE, **{"conv1d:output": "float", "scan:u": "float"}),
    "3": dict(BASE, **{"conv1d:input": "dynamic", "conv1d:output": "float", "scan:u": "float"}),
}


SEQ = dict(BASE, **{"weight:" + w: "int4-g128" for w in GROUPED}, **{u: "fp16" for u in (
    "weight:conv1d", "weight:conv1d_bias", "weight:dt_proj", "in_proj:input", "conv1d:input", "gate:input", "conv1d:output", "dt_proj:input",
    "scan:B", "scan:C", "scan:dt", "out_proj:input")}, **{u: "float" for u in ("weight:dt_bias", "weight:A_log", "weight:D", "x_proj:input", "scan:u")})
W4A16_SETTINGS = {"w4a16-seq": SEQ, "w4a16": dict(SEQ, **{"scan:order": "blocked"})}


class Tensor:
    """Values on an INT8 grid (codes and a scale, or one for each row) or float values."""

    def __init__(self, codes=None, scale=None, values=None, int4=False):
        self.codes, self.scale, self._values, self.int4 = codes, scale, values, int4

    @property
    def coded(self):
        return self.codes is not None

    @property
    def by_row(self):
        return np.ndim(self.scale) > 0

    @property
    def values(self):
        if not self.coded:
            return self._values
        return (self.codes.astype(F32) * (self.scale[:, None] if self.by_row else self.scale)).astype(F32)

    def columns(self, a, b):
        return Tensor(self.codes[:, a:b], self.scale) if self.coded else Tensor(values=self._values[:, a:b])

    def rows(self, a, b):
        if not self.coded:
            return Tensor(values=self._values[a:b])
        return Tensor(self.codes[a:b], self.scale[a:b] if self.by_row else self.scale, int4=self.int4)


def quotient(a, b):
    """Of scales: in double, then FP32."""
    return (np.asarray(a, np.float64) / np.float64(b)).astype(F32)


def along(scale, of_outputs):
    """A factor of acc[L, M]: a number, one for each output, one for each row."""
    scale = np.asarray(scale, F32)
    return scale if scale.ndim == 0 else scale[None, :] if of_outputs else scale[:, None]


matrix_product = lambda a, w: (a @ w.T).astype(F32)    # FP32 sums, k in order; a check may put others here


def project(a, w, fmt, s_out, weight_first=False):
    """a[L,K] w[M,K]: the exact integer sums where both are codes, else the FP32 product of the values; on the grid s_out or float."""
    if not (a.coded and w.coded):
        acc = matrix_product(a.values, w.values)
        if fmt == "int8":
            return Tensor(R.sat8(np.rint(acc / s_out)), s_out)
        return Tensor(values=R.to_fp16(acc) if fmt == "fp16" else acc)
    acc, s_W = R.int8_matmul(a.codes, w.codes), along(w.scale, True)
    if fmt != "int8":
        first, second = s_W, along(a.scale, False)
    elif w.int4:
        first, second = along((w.scale / s_out).astype(F32), True), along(a.scale, False)
    elif weight_first:
        first, second = s_W, along(quotient(a.scale, s_out), False)
    else:
        first, second = along(quotient(a.scale, s_out), False), s_W
    v = ((acc * first).astype(F32) * second).astype(F32)
    if fmt == "int8":
        return Tensor(R.sat8(np.rint(v)), s_out)
    return Tensor(values=R.to_fp16(v) if fmt == "fp16" else v)


# ---------------------------------------------------------------- weights
def int8_channel(w):
    """A scale for each output: max|row|/127, at least 1e-5/127."""
    s = (np.maximum(np.abs(w).max(1), F32(1e-5)) / F32(127)).astype(F32)
    return Tensor(R.sat8(np.rint(w / s[:, None])), s)


def int4(w, group, coded):
    """Round to nearest, `group` inputs of an output share a scale; rounded to FP16 after each step.  For a product with values
    FP16((q - 8) s), with codes the INT8 form rint((q - 8) g), g = FP16(s / s_ch), and a scale s_ch for each output."""
    h = R.to_fp16
    out, k = w.shape
    w = h(w).reshape(out, k // group, group)
    s = h(np.abs(w).max(-1) * F32(2.0 / 15))
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.where(s[..., None] > 0, np.clip(np.rint(h(w / s[..., None])) + 8, 0, 15), 8).astype(F32)
    values = h((q - 8) * s[..., None]).reshape(out, k)
    if not coded:
        return Tensor(values=values)
    channel = h((np.abs(values).max(1) / F32(127)).astype(F32))
    with np.errstate(divide="ignore", invalid="ignore"):
        g = np.where(channel[:, None] > 0, h(s / channel[:, None]), 0).astype(F32)
    return Tensor(np.rint((q - 8) * g[..., None]).reshape(out, k).astype(np.int8), channel, int4=True)


class RecipeWeights:
    """Codes of QuantModel, and the float tensors in the same (rotated) basis."""

    def __init__(self, model, scales):
        self.q = R.QuantModel(model, scales)
        self.m, self.scales = model, scales
        self.float_layers, self.made = [], {}
        for p in model.layers:
            self.float_layers.append(dict(
                in_proj=R.hadamard(p["in_proj"] * p["norm"][None, :]), conv_w=p["conv_w"], conv_b=p["conv_b"],
                x_proj=p["x_proj"], dt_proj=p["dt_proj"], dt_bias=p["dt_bias"], A_log=p["A_log"], Dskip=p["Dskip"],
                out_proj=R.hadamard(R.hadamard(p["out_proj"]).T).T))
        self.float_embedding = R.hadamard(model.embedding)

    def weight(self, l, name, fmt, coded):
        """coded: what it is multiplied with is codes."""
        if (l, name, fmt, coded) not in self.made:
            self.made[l, name, fmt, coded] = self._make(l, name, fmt, coded)
        return self.made[l, name, fmt, coded]

    def _make(self, l, name, fmt, coded):
        key = {"conv1d": "conv_w", "conv1d_bias": "conv_b", "D": "Dskip"}.get(name, name)
        q, w = self.q.layers[l], self.float_layers[l][key]
        if fmt == "int8":
            return Tensor(q[key], q[key + ":scale"])
        if fmt == "int8-channel":
            return int8_channel(w)
        if fmt in INT4:
            return int4(w, INT4[fmt], coded)
        return Tensor(values=R.to_fp16(w) if fmt == "fp16" else w)


def by_token(x, rounding):
    """On a grid of its own for each token: max|row|/127, 1 where the row is 0."""
    most = np.abs(x).max(1)
    s = np.where(most > 0, (most / F32(127)).astype(F32), F32(1))
    return Tensor(R.sat8(rounding(x / s[:, None])), s)


def activation(x, fmt, scale, rounding=np.rint):
    if fmt == "dynamic-token":
        return by_token(x, rounding)
    if fmt == "int8":
        return Tensor(R.sat8(rounding(x / scale)), scale)
    return Tensor(values=R.to_fp16(x) if fmt == "fp16" else x)


def recipe_layer(rw, l, setting, residual, h):
    """Layer l on a rotated residual stream and the last mixer's rotated output: (captures, residual, h)."""
    m, s, cap = rw.m, rw.scales[l], {}
    W = lambda name, coded=False: rw.weight(l, name, setting["weight:" + name], coded)
    I, N, Rk = m.I, m.N, m.R
    residual = (residual + h).astype(F32)
    xhat = R.rmsnorm_unit(residual, m.eps)
    s_in, s_xz, s_u = s["in_proj:input"], s["in_proj:output"], s["x_proj:input"]
    s_dbl, s_dt, s_y = s["x_proj:output"], s["dt_proj:output"], s["out_proj:input"]

    n = activation(xhat, setting["in_proj:input"], s_in)
    cap["mixer_input"] = R.hadamard(n.values, transpose=True)

    W_in, x_format = W("in_proj", n.coded), setting["conv1d:input"]
    x = project(n, W_in.rows(0, I), "float" if x_format.startswith("dynamic") else x_format, s_xz)
    z = project(n, W_in.rows(I, 2 * I), setting["gate:input"], s_xz)
    if x_format == "dynamic":
        most = F32(np.max(np.abs(x.values)))
        s_x = F32(most / F32(127)) if most > 0 else F32(1)
        x = Tensor(R.sat8(np.rint(x.values / s_x)), s_x)
    elif x_format == "dynamic-token":
        x = by_token(x.values, np.rint)
    cap["conv1d_input"] = x.values

    bias, taps_w = W("conv1d_bias").values, W("conv1d")
    if x.coded and not x.by_row and taps_w.coded:    # a tap of each token: with scales of their own they are values
        taps = R.conv1d_causal(x.codes.astype(F32), taps_w.codes.astype(F32), F32(0))
        v = R.silu(((taps_w.scale * x.scale).astype(F32) * taps + bias).astype(F32))
    else:
        v = R.silu(R.conv1d_causal(x.values, taps_w.values, bias))
    if setting["conv1d:output"] == "int8":
        c = Tensor(R.sat8(R.round_half_away(v / s_u)), s_u)
        coded = c                                   # what x_proj and `codes` take
    else:
        c = activation(v, setting["conv1d:output"], None)
        coded = Tensor(R.sat8(np.rint(c.values / s_u)), s_u)
    cap["conv1d_output"] = c.values
    to_x = coded if setting["x_proj:input"] == "int8" else Tensor(values=c.values)
    if setting["scan:u"] == "codes":
        u = coded.values
    elif setting["scan:u"] == "int8":
        u = (R.sat8(np.rint(c.values / s_u)).astype(F32) * s_u).astype(F32)
    else:
        u = c.values
    cap["ssm_input"] = u

    W_x = W("x_proj", to_x.coded)
    dt_low, B, C = (project(to_x, W_x.rows(a, b), setting[unit], s_dbl, weight_first=True)
                    for a, b, unit in ((0, Rk, "dt_proj:input"), (Rk, Rk + N, "scan:B"), (Rk + N, Rk + 2 * N, "scan:C")))
    dt = project(dt_low, W("dt_proj", dt_low.coded), setting["scan:dt"], s_dt)

    delta = R.softplus(dt.values + W("dt_bias").values).astype(F32)
    A = -np.exp(W("A_log").values)
    scan = R.scan_blocked if setting["scan:order"] == "blocked" else R.scan_sequential
    y, _ = scan(u, delta, A.astype(F32), B.values, C.values, W("D").values, z.values)
    y = activation(y, setting["scan:y"], None).values
    cap["ssm_output"] = y

    yq = activation(R.hadamard(y), setting["out_proj:input"], s_y, R.round_half_away)
    h = project(yq, W("out_proj", yq.coded), setting["mixer:output"], None).values
    cap["mixer_output"] = R.hadamard(h, transpose=True)
    return cap, residual, h.astype(F32)


def recipe_forward(rw, tokens, settings, embedding="fp16"):
    """settings: one for each layer.  Returns (captures {(layer, component): [L, width]}, logits[L, vocab])."""
    m, cap = rw.m, {}
    h = (rw.q.embedding if embedding == "fp16" else rw.float_embedding)[tokens]
    residual = np.zeros_like(h)
    for l, setting in enumerate(settings):
        layer, residual, h = recipe_layer(rw, l, setting, residual, h)
        cap.update({(l, name): value for name, value in layer.items()})
    residual = (residual + h).astype(F32)
    xhat = R.hadamard(R.rmsnorm_unit(residual, m.eps), transpose=True)
    return cap, ((xhat * m.norm_f) @ m.lm_head.T).astype(F32)


def isolated(rw, float_model, tokens, setting):
    """Every layer by itself: fed with the float model's own stream, so that no error comes from the layers before.
    Returns {(layer, component): (float value, this setting's value)}."""
    out = {}
    h = float_model.embedding[tokens]
    residual = np.zeros_like(h)
    for l in range(len(float_model.layers)):
        cap_q, _, _ = recipe_layer(rw, l, setting, R.hadamard(residual), R.hadamard(h))
        cap_f, residual, h = R.float_layer(float_model, l, residual, h)
        out.update({(l, k): (cap_f[k], cap_q[k]) for k in cap_q})
    return out


def self_check():
    t = R.random_model_tensors(5, 96, 3, 300)
    m = R.Model(t)
    g = np.random.default_rng(1)
    S = [g.integers(0, 300, n) for n in (40, 17, 64)]
    sc = R.calibrate(m, S)
    rw, qm = RecipeWeights(m, sc), R.QuantModel(m, sc)
    for mode, setting in MODE_SETTINGS.items():
        for tokens in S:
            a, la = R.quant_forward(qm, tokens, mode)
            b, lb = recipe_forward(rw, tokens, [setting] * 3)
            bad = [k for k in a if not np.array_equal(a[k], b[k])]
            assert not bad and np.array_equal(la, lb), (mode, bad)
    a, la = R.float_forward(m, S[2])
    b, lb = recipe_forward(rw, S[2], [ALL_FLOAT] * 3, embedding="float")
    worst = max(float(np.abs(a[k] - b[k]).max() / np.abs(a[k]).max()) for k in a)
    print("modes equal bit for bit; all float against fp32: %.1e relative, logits %.1e" % (worst, np.abs(la - lb).max() / np.abs(la).max()))
    for unit, formats in UNITS.items():          # every unit, by itself, changes something
        if len(formats) < 2:
            continue
        one = dict(BASE, **{unit: "float" if "float" in formats else formats[1]})
        c, lc = recipe_forward(rw, S[2], [one] * 3)
        base, lbase = recipe_forward(rw, S[2], [BASE] * 3)
        e = np.mean((c[2, "mixer_output"] - a[2, "mixer_output"]) ** 2) / np.mean((base[2, "mixer_output"] - a[2, "mixer_output"]) ** 2)
        print("  %-20s alone float: MSE of the last layer x %.3f" % (unit, e))


if __name__ == "__main__":
    self_check()
