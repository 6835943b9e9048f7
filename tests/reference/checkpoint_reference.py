#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reference for quantized checkpoints: embedding and lm_head codes, 4-bit Mamba-1 layers, W4AX mixtures, and a
NumPy loader that rebuilds a quantized model from the keys of a Quamba2 state dict alone (docs/checkpoints.md).

What existed is taken from quamba_reference.py (Mamba-1 W8A8) and mamba2_reference.py (Mamba-2, 4-bit packing).
Nothing here needs torch; `state dict` below means {name: numpy array, Python float or None}.
"""
import os
import sys
import types

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mamba2_reference as M2R  # noqa: E402
import quamba_reference as R  # noqa: E402
from quamba_reference import F32, hadamard, int8_matmul, requantize, rmsnorm_unit, round_half_away, sat8, silu, softplus, to_fp16  # noqa: E402


# ---------------------------------------------------------------- quantizers as the public code does them
def quantize_fp16(w):
    """INT8 per tensor in FP16 arithmetic: the largest magnitude, its 127th and w / scale are each rounded to FP16."""
    w = to_fp16(np.asarray(w, F32))
    top = to_fp16(np.maximum(np.max(np.abs(w)), F32(1e-5)))
    s = to_fp16(F32(top) * F32(1.0 / 127))
    return sat8(np.rint(to_fp16(w / s))), F32(s)


def quantize_fp32_noclamp(w):
    """What the Mamba-1 scan does with A_log, D and dt_bias: FP32, no clamp needed."""
    s = F32(F32(max(np.max(np.abs(w)), F32(1e-5))) * F32(1.0 / 127))
    return np.rint(w / s).astype(np.int8), s


# ---------------------------------------------------------------- embedding
class Embedding:
    """kind float: rows[V,D] FP16 values; w8: codes int8 [V,D]; w4: codes 0..15 [V,D]; scales FP16 values [V]."""

    def __init__(self, kind, table, scales=None):
        self.kind, self.table, self.scales = kind, table, scales

    def rows(self, tokens):
        if self.kind == "float":
            return to_fp16(self.table[tokens])
        return M2R.embedding_values(self.table[tokens], self.scales[tokens], 8 if self.kind == "w8" else 4)

    @classmethod
    def quantize(cls, rows, bits):
        codes, s = M2R.quantize_embedding(rows, bits)
        return cls("w%d" % bits, codes, s)


# ---------------------------------------------------------------- lm_head
class Head:
    """linear: w FP16 values [V,D];  w8a8: w int8, b (scale of w), a (scale of the input);
    w4a8: w int8 (the INT8 form of the 4-bit weights), s_ch[V], a;  w4a16: w FP16 values."""

    def __init__(self, kind, w, b=None, a=None):
        self.kind, self.w, self.b, self.a = kind, w, b, a

    def logits(self, xhat, norm_scale):
        """xhat: the normalized residual in the rotated basis, FP32; norm_scale: norm_f.output_scale or None."""
        if self.kind in ("w8a8", "w4a8"):
            q = sat8(np.rint(xhat / F32(norm_scale)))
            return to_fp16(((int8_matmul(q, self.w) * self.b).astype(F32) * F32(self.a)).astype(F32))
        if self.kind == "w4a16":
            return to_fp16(to_fp16(xhat) @ self.w.T)
        return (xhat @ self.w.T).astype(F32)             # float head: nothing rounded (the tool's own rule)

    def logits_half(self, xhat):
        """float head as Quamba-SE runs it: FP16 in, FP16 out."""
        return to_fp16(to_fp16(xhat) @ self.w.T)


# ---------------------------------------------------------------- 4-bit linear layers
class W4:
    """codes[out,in] 0..15 and FP16 steps: made from a float weight, or read from a file."""

    def __init__(self, code, step):
        self.code, self.step = code, step                     # step [in/128, out], FP16 values

    @classmethod
    def nearest(cls, w):
        return cls(*M2R.rtn4(w))

    def values(self):
        return M2R.values4(self.code, self.step)

    def a8(self):
        """(INT8 weights, FP32 channel scale, FP16 group steps in units of it)"""
        group, channel = M2R.w4a8_scales(self.values(), self.step)
        return M2R.w4a8_int8(self.code, group), channel.astype(F32), group


# ---------------------------------------------------------------- Mamba-1
class Mamba1:
    """A quantized Mamba-1 model: precision w8a8, w4a8 or w4a16; layers[l] is a dict (see forward)."""

    def __init__(self, precision, D, I, N, R_, K, eps, layers, embedding, head, norm_f_scale):
        self.precision, self.D, self.I, self.N, self.R, self.K, self.eps = precision, D, I, N, R_, K, F32(eps)
        self.layers, self.embedding, self.head, self.norm_f_scale = layers, embedding, head, norm_f_scale

    def _a8_layer(self, p, nq, mode):
        I, R_, N = self.I, self.R, self.N
        if self.precision == "w8a8":
            xz = requantize(int8_matmul(nq, p["in_proj"]), p["in_proj.a"], p["in_proj.b"])
        else:
            xz = sat8(np.rint((int8_matmul(nq, p["in_proj"]) * p["in_proj.s"][None]).astype(F32) * F32(p["in_proj.in"])))
        taps = R.conv1d_causal(xz[:, :I].astype(F32), p["conv_w"].astype(F32), F32(0))
        v = (F32(F32(p["conv_w.s"]) * F32(p["conv.in"])) * taps + p["conv_b"].astype(F32) * F32(p["conv_b.s"])).astype(F32)
        uq = sat8(round_half_away(silu(v) / F32(p["conv.out"])))
        u = (uq.astype(F32) * F32(p["u"])).astype(F32)
        if self.precision == "w8a8":
            dbl = requantize(int8_matmul(uq, p["x_proj"]), p["x_proj.b"], p["x_proj.a"])
        else:
            dbl = sat8(np.rint((int8_matmul(uq, p["x_proj"]) * p["x_proj.s"][None]).astype(F32) * F32(p["x_proj.in"])))
        dtq = requantize(int8_matmul(dbl[:, :R_], p["dt_proj"]), p["dt_proj.a"], p["dt_proj.b"])
        B, C = dbl[:, R_:R_ + N].astype(F32) * F32(p["B"]), dbl[:, R_ + N:].astype(F32) * F32(p["C"])
        delta = softplus(dtq.astype(F32) * F32(p["dt"]) + p["dt_bias"].astype(F32) * F32(p["dt_bias.s"]))
        A = (-np.exp(p["A_log"].astype(F32) * F32(p["A_log.s"]))).astype(F32)
        scan = R.scan_blocked if mode == "0" else R.scan_sequential
        y, _ = scan(u, delta.astype(F32), A, B, C, p["D"].astype(F32) * F32(p["D.s"]), xz[:, I:].astype(F32) * F32(p["z"]))
        yq = sat8(round_half_away(hadamard(to_fp16(y)) / F32(p["had"])))
        w, s, a = (p["out_proj"], p["out_proj.b"], p["out_proj.a"]) if self.precision == "w8a8" else \
            (p["out_proj"], p["out_proj.s"][None], p["out_proj.in"])
        return to_fp16(((int8_matmul(yq, w) * s).astype(F32) * F32(a)).astype(F32))

    def _a16_layer(self, p, n, mode):
        I, R_, N = self.I, self.R, self.N
        xz = to_fp16(n @ p["in_proj"].T)
        c = to_fp16(silu(R.conv1d_causal(xz[:, :I], p["conv_w"], p["conv_b"])))
        dbl = to_fp16(c @ p["x_proj"].T)
        dt = to_fp16(dbl[:, :R_] @ p["dt_proj"].T)
        scan = R.scan_blocked if mode == "w4a16" else R.scan_sequential
        y, _ = scan(c, softplus(dt + p["dt_bias"]), (-np.exp(p["A_log"])).astype(F32), dbl[:, R_:R_ + N], dbl[:, R_ + N:], p["D"], xz[:, I:])
        return to_fp16(to_fp16(hadamard(to_fp16(y))) @ p["out_proj"].T)

    def modes(self):
        return ("w4a16", "w4a16-seq") if self.precision == "w4a16" else ("0", "2-1")

    def forward(self, tokens, mode):
        """(mixer_output [layers, L, D] in the model's own basis, logits, rotated h [layers, L, D])"""
        h = self.embedding.rows(tokens)
        r = np.zeros_like(h)
        out, rot = [], []
        for p in self.layers:
            r = (r + h).astype(F32)
            xhat = rmsnorm_unit(r, self.eps)
            if self.precision == "w4a16":
                h = self._a16_layer(p, to_fp16(xhat), mode)
            else:
                h = self._a8_layer(p, sat8(np.rint(xhat / F32(p["norm"]))), mode)
            rot.append(h)
            out.append(hadamard(h, transpose=True))
        r = (r + h).astype(F32)
        xhat = rmsnorm_unit(r, self.eps)
        self.last_xhat = xhat
        return np.stack(out), self.head.logits(xhat, self.norm_f_scale), np.stack(rot)


# ---------------------------------------------------------------- Mamba-2
class Mamba2:
    """A quantized Mamba-2 model, each layer with its own precision (W4AX).  layers[l] = (precision, q, scales, groups)
    with q and scales as mamba2_reference.QuantModel has them."""

    def __init__(self, shape, layers, embedding, head, norm_f_scale):
        self.shape, self.layers, self.embedding, self.head, self.norm_f_scale = shape, layers, embedding, head, norm_f_scale

    def modes(self):
        return ("w4a16",) if all(l[0] == "w4a16" for l in self.layers) else ("0", "2-1")

    def forward(self, tokens, mode):
        sh = self.shape
        h = self.embedding.rows(tokens)
        r = np.zeros_like(h)
        out, rot = [], []
        for precision, q, scales, groups in self.layers:
            shim = types.SimpleNamespace(m=types.SimpleNamespace(shape=sh), layers=[q], scales=[scales], groups=None if groups is None else [groups])
            r = (r + h).astype(F32)
            xhat = rmsnorm_unit(r, sh.eps)
            if precision == "w4a16":
                h = M2R.w4a16_layer(shim, 0, to_fp16(xhat))["h"]
            else:
                h = M2R.quant_layer(shim, 0, sat8(np.rint(xhat / F32(scales["in_proj:input"]))), mode)["h"]
            rot.append(h)
            out.append(hadamard(h, transpose=True))
        r = (r + h).astype(F32)
        xhat = rmsnorm_unit(r, sh.eps)
        self.last_xhat = xhat
        return np.stack(out), self.head.logits(xhat, self.norm_f_scale), np.stack(rot)


def make_shape(D, I, H, G, N, K, Q, n_layer, eps=1e-5, norm_groups=None, norm_before_gate=False, dt_limit=(0.0, float("inf"))):
    s = object.__new__(M2R.Shape)
    s.n_layer, s.D, s.I, s.H, s.P, s.G, s.N, s.K, s.Q = n_layer, D, I, H, I // H, G, N, K, Q
    s.channels, s.eps, s.norm_groups, s.norm_before_gate = I + 2 * G * N, F32(eps), norm_groups or G, norm_before_gate
    s.dt_min, s.dt_max = F32(dt_limit[0]), F32(dt_limit[1])
    return s


class Ranges(M2R.Groups):
    """Groups as a file has them: running ends; heads and channels stay where they stand."""

    def __init__(self, head_range, dim_range, shape):
        self.head_range, self.dim_range = head_range, dim_range
        self.heads, self.channels = np.arange(shape.H), np.arange(shape.I)
        self.index = self._index(shape)


# ---------------------------------------------------------------- the loader
class BadCheckpoint(Exception):
    pass


class Reader:
    """Takes keys out of a state dict and knows which were never asked for."""

    def __init__(self, sd):
        self.sd, self.used = sd, set()

    def get(self, key, dtype=None, shape=None, optional=False):
        if key not in self.sd:
            if optional:
                return None
            raise BadCheckpoint("key '%s' is missing" % key)
        self.used.add(key)
        v = self.sd[key]
        if dtype is not None:
            if not isinstance(v, np.ndarray):
                raise BadCheckpoint("key '%s' is no tensor" % key)
            if v.dtype != np.dtype(dtype):
                raise BadCheckpoint("key '%s' has dtype %s, expected %s" % (key, v.dtype, np.dtype(dtype)))
        if shape is not None and tuple(v.shape) != tuple(shape):
            raise BadCheckpoint("key '%s' has shape %s, expected %s" % (key, v.shape, shape))
        return v

    def number(self, key, optional=False):
        """A Python float, or a tensor of one element."""
        v = self.get(key, optional=optional)
        if v is None:
            return None
        return F32(np.asarray(v, np.float64).reshape(-1)[0]) if np.size(v) == 1 else v

    def same(self, key, value, rel=1e-6):
        v = self.number(key, optional=True)
        if v is not None and not np.all(np.abs(np.float64(v) - np.float64(value)) <= rel * np.abs(np.float64(value))):
            raise BadCheckpoint("key '%s' is %r, by the other keys it must be %r" % (key, v, value))

    def left(self):
        return [k for k in self.sd if k not in self.used]


def pad(n, m):
    return -(-n // m) * m


def read_w8a8(t, p, out, k, per_output=False):
    n = pad(out, 16)
    w = t.get(p + "weight", np.int8, (k, n))
    if np.any(w[:, out:]):
        raise BadCheckpoint("'%sweight': codes in the padding" % p)
    a = t.get(p + "a", np.float32, (1, 1))[0, 0]
    b = t.get(p + "b", np.float32, (1, n) if per_output else (1, 1))
    b = b[0, :out] if per_output else b[0, 0]
    if not per_output:
        t.same(p + "alpha", np.float64(a) * np.float64(b))
    return np.ascontiguousarray(w[:, :out].T), F32(a), b.astype(F32)


def read_w4a8(t, p, out, k):
    n = pad(out, 64)
    code = M2R.unpack4(t.get(p + "weight", np.int32, (k // 16, 2 * n)), "w4a8")[:out]
    group = M2R.permute_group_steps(t.get(p + "s_group", np.float16, (k // 128, n)).astype(F32), back=True)[:, :out]
    ch = M2R.permute_channel_scales(t.get(p + "s_channel", np.float32, (1, n)), back=True)[0, :out]
    t.get(p + "workspace", np.int32, optional=True)
    return M2R.w4a8_int8(code, group), ch.astype(F32), F32(t.get(p + "input_scale", np.float32, ()))


def read_w4a16(t, p, out, k):
    n = pad(out, 256)
    code = M2R.unpack4(t.get(p + "weight", np.int32, (k // 16, 2 * n)), "w4a16")[:out]
    step = M2R.permute_group_steps(t.get(p + "scale", np.float16, (k // 128, n)).astype(F32), back=True)[:, :out]
    t.get(p + "workspace", np.int32, optional=True)
    return M2R.values4(code, step)


def vocabulary(config):
    return pad(config["vocab_size"], config.get("pad_vocab_size_multiple", 8))


def load_around(t, config, D):
    """embedding, head, norm_f scale"""
    V = vocabulary(config)
    kind = (config.get("embedding_cfg") or {}).get("layer", "Embedding")
    if kind == "Embedding":
        emb = Embedding("float", t.get("backbone.embedding.weight", shape=(V, D)).astype(F32))
    elif kind == "W8O16Embedding":
        emb = Embedding("w8", t.get("backbone.embedding.weight", np.int8, (V, D)), t.get("backbone.embedding.scales", np.float16, (V,)).astype(F32))
    elif kind == "W4O16Embedding":
        emb = Embedding("w4", M2R.unpack_embedding4(t.get("backbone.embedding.weight", np.int32, (V, D // 8))),
                        t.get("backbone.embedding.scales", np.float16, (V,)).astype(F32))
    else:
        raise BadCheckpoint("embedding_cfg.layer %s" % kind)
    w = t.get("backbone.norm_f.weight", shape=(D,))
    if np.any(w != 1):
        raise BadCheckpoint("backbone.norm_f.weight is not all ones")
    kind = (config.get("lm_head_cfg") or {}).get("layer", "Linear")
    scale = t.number("backbone.norm_f.output_scale", optional=kind not in ("W8A8B16O16Linear", "W4A8B16O16Linear"))
    if kind == "Linear":
        head = Head("linear", t.get("lm_head.weight", shape=(V, D)).astype(F32))
    elif kind == "W8A8B16O16Linear":
        w, a, b = read_w8a8(t, "lm_head.", V, D)
        head = Head("w8a8", w, b, a)
    elif kind == "W4A8B16O16Linear":
        w, b, a = read_w4a8(t, "lm_head.", V, D)
        head = Head("w4a8", w, b[None], a)
    elif kind == "W4A16B16O16Linear":
        head = Head("w4a16", read_w4a16(t, "lm_head.", V, D))
    else:
        raise BadCheckpoint("lm_head_cfg.layer %s" % kind)
    if head.a is not None and not abs(float(head.a) - float(scale)) <= 1e-6 * float(scale):
        raise BadCheckpoint("lm_head's input scale is not backbone.norm_f.output_scale")
    return emb, head, scale


def load_mamba1(sd, config):
    t = Reader(sd)
    precision = {"W8A8QMamba": "w8a8", "W4A8QMamba": "w4a8", "W4A16QMamba": "w4a16"}[config["ssm_cfg"]["layer"]]
    c = config["ssm_cfg"]
    D, N, K = config["d_model"], c.get("d_state", 16), c.get("d_conv", 4)
    I = int(c.get("expand", 2) * D)
    rank = c.get("dt_rank", "auto")
    rank = -(-D // 16) if rank == "auto" else rank
    layers = []
    for l in range(config["n_layer"]):
        b, p = "backbone.layers.%d." % l, {}
        m = b + "mixer."
        w = t.get(b + "norm.weight", shape=(D,))
        if np.any(w != 1):
            raise BadCheckpoint("%snorm.weight is not all ones" % b)
        if precision == "w4a16":
            p["in_proj"], p["x_proj"], p["out_proj"] = (read_w4a16(t, m + n + ".", o, k) for n, o, k in
                                                        (("in_proj", 2 * I, D), ("x_proj", rank + 2 * N, I), ("out_proj", D, I)))
            p["conv_w"] = t.get(m + "conv1d.weight", np.float16, (I, 1, K)).reshape(I, K).astype(F32)
            p["conv_b"] = t.get(m + "conv1d.bias", np.float16, (I,)).astype(F32)
            p["dt_proj"] = t.get(m + "dt_proj.weight", np.float16, (I, rank)).astype(F32)
            p["dt_bias"] = t.get(m + "dt_proj_bias", np.float32, (I,))
            p["A_log"], p["D"] = t.get(m + "A_log", shape=(I, N)).astype(F32), t.get(m + "D", shape=(I,)).astype(F32)
            layers.append(p)
            continue
        p["norm"] = t.number(b + "norm.output_scale")
        for n, o, k in (("in_proj", 2 * I, D), ("x_proj", rank + 2 * N, I), ("dt_proj", I, rank), ("out_proj", D, I)):
            if precision == "w8a8" or n == "dt_proj":
                p[n], p[n + ".a"], p[n + ".b"] = read_w8a8(t, m + n + ".", o, k)
            else:
                p[n], p[n + ".s"], p[n + ".in"] = read_w4a8(t, m + n + ".", o, k)
        p["conv_w"], p["conv_b"] = t.get(m + "conv1d.weight", np.int8, (I, K)), t.get(m + "conv1d.bias", np.int8, (I,))
        for n, k in (("conv_w.s", "weight_scale"), ("conv_b.s", "bias_scale"), ("conv.in", "input_scale"), ("conv.out", "output_scale")):
            p[n] = t.number(m + "conv1d." + k)
        g = m + "selective_scan."
        p["dt_bias"], p["A_log"], p["D"] = t.get(g + "dt_bias", np.int8, (I,)), t.get(g + "A_log", np.int8, (I, N)), t.get(g + "D", np.int8, (I,))
        for n, k in (("dt_bias.s", "dt_bias_scale"), ("A_log.s", "A_scale"), ("D.s", "D_scale"), ("u", "u_scale"), ("dt", "dt_scale"),
                     ("B", "B_scale"), ("C", "C_scale"), ("z", "z_scale"), ("state", "ssm_state_scale")):
            p[n] = t.number(g + k)
        p["had"] = t.number(m + "had.x_H_scale")
        # identities
        t.same(g + "u_scale", p["conv.out"])
        t.same(g + "z_scale", p["conv.in"])
        t.same(g + "C_scale", p["B"])
        if precision == "w8a8":
            t.same(m + "in_proj.a", np.float64(p["norm"]) / np.float64(p["conv.in"]))
            t.same(m + "x_proj.a", np.float64(p["conv.out"]) / np.float64(p["B"]))
            t.same(m + "out_proj.a", p["had"])
        else:
            t.same(m + "in_proj.input_scale", p["norm"])
            t.same(m + "x_proj.input_scale", p["conv.out"])
            t.same(m + "out_proj.input_scale", p["had"])
        t.same(m + "dt_proj.a", np.float64(p["B"]) / np.float64(p["dt"]))
        layers.append(p)
    emb, head, scale = load_around(t, config, D)
    return Mamba1(precision, D, I, N, rank, K, config.get("norm_epsilon", 1e-5), layers, emb, head, scale), t.left()


def load_mamba2(sd, config):
    t = Reader(sd)
    c = config["ssm_cfg"]
    hybrid = config.get("is_hybrid", False)
    D, G, N, P, K = config["d_model"], c.get("ngroups", 1), c.get("d_state", 128), c.get("headdim", 64), c.get("d_conv", 4)
    I = int(c.get("expand", 2) * D)
    H = I // P
    sh = make_shape(D, I, H, G, N, K, c.get("chunk_size", 256), config["n_layer"], norm_before_gate=c.get("norm_before_gate", False),
                    dt_limit=c.get("dt_limit", (0.0, float("inf"))))
    names = {"W8A8QMamba2": "w8a8", "W4A8QMamba2": "w4a8", "W4A16QMamba2": "w4a16"}
    gn, rows = G * N, 2 * I + 2 * G * N + H
    layers = []
    for l in range(sh.n_layer):
        if hybrid:
            (key, kind), = c["layer"][l].items()              # one precision per layer
            m, b = "backbone.layers.%d.mixers.%s." % (l, key), "backbone.layers.%d.norms.%s." % (l, key)
        else:
            kind, m, b = c["layer"], "backbone.layers.%d.mixer." % l, "backbone.layers.%d.norm." % l
        precision = names[kind]
        if np.any(t.get(b + "weight", shape=(D,)) != 1):
            raise BadCheckpoint("%sweight is not all ones" % b)
        if precision == "w4a16":
            q = {"in_proj": read_w4a16(t, m + "in_proj.", rows, D), "out_proj": read_w4a16(t, m + "out_proj.", D, I),
                 "conv_w": t.get(m + "conv1d.weight", np.float16, (sh.channels, 1, K)).reshape(-1, K).astype(F32),
                 "conv_b": t.get(m + "conv1d.bias", np.float16, (sh.channels,)).astype(F32),
                 "dt_bias": t.get(m + "dt_bias", shape=(H,)).astype(F32), "A_log": t.get(m + "A_log", shape=(H,)).astype(F32),
                 "Dskip": t.get(m + "D", shape=(H,)).astype(F32), "gnorm": t.get(m + "norm.weight", np.float16, (I,)).astype(F32)}
            layers.append((precision, q, None, None))
            continue
        s, q = {"in_proj:input": t.number(b + "output_scale")}, {}
        if precision == "w8a8":
            q["in_proj"], a, q["in_proj:scale"] = read_w8a8(t, m + "in_proj.", rows, D, per_output=True)
            q["out_proj"], oa, q["out_proj:scale"] = read_w8a8(t, m + "out_proj.", D, I)
        else:
            q["in_proj"], q["in_proj:scale"], a = read_w4a8(t, m + "in_proj.", rows, D)
            q["out_proj"], ch, oa = read_w4a8(t, m + "out_proj.", D, I)
            q["out_proj:scale"] = ch
        conv = m + "conv1d."
        w, bias = t.get(conv + "weight", np.int8, (sh.channels, K)), t.get(conv + "bias", np.int8, (sh.channels,))
        for seg, lo, hi in (("x", 0, I), ("B", I, I + gn), ("C", I + gn, I + 2 * gn)):
            q["conv_w:" + seg], q["conv_b:" + seg] = w[lo:hi], bias[lo:hi]
            q["conv_w:scale:" + seg], q["conv_b:scale:" + seg] = t.number(conv + "w%s_scale" % seg), t.number(conv + "b%s_scale" % seg)
            s[seg + "_conv_in"] = t.number(conv + seg + "_scale")
        scan = m + "qchunk_scan."
        hr = t.get(conv + "x_head_group_range", optional=True)
        if hr is not None:
            dr = t.get(conv + "x_dim_group_range", np.int32, hr.shape + (4,))
            if np.any(hr[:, -1] != H // G) or np.any(dr[:, :, -1] != P) or np.any(np.diff(hr) <= 0) or np.any(np.diff(dr) <= 0):
                raise BadCheckpoint("ranges of groups")
            for k, v in (("x_head_group_range", hr), ("x_dim_group_range", dr)):
                if not np.array_equal(t.get(scan + k), v):
                    raise BadCheckpoint("ranges of conv1d and scan differ")
            groups, shape = Ranges(hr, dr, sh), (G, 4, 4)
            s["x_conv_out"] = t.get(conv + "x_out_scales", np.float32, shape)
            s["ssm_state_act"] = t.get(scan + "ssm_state_scale", np.float32, shape + (N,))
            s["B_conv_out"], s["C_conv_out"] = (t.get(conv + k + "_out_scales", np.float32, (G,)) for k in "BC")
        else:
            groups = None
            s["x_conv_out"], s["ssm_state_act"] = t.number(conv + "x_out_scales"), t.number(scan + "ssm_state_scale")
            s["B_conv_out"], s["C_conv_out"] = (t.number(conv + k + "_out_scales") for k in "BC")
        for k, v in (("x_scales", s["x_conv_out"]), ("B_scale", s["B_conv_out"]), ("C_scale", s["C_conv_out"])):
            if not np.array_equal(np.ravel(t.get(scan + k)), np.ravel(v)):
                raise BadCheckpoint("%s%s differs from conv1d's" % (scan, k))
        s["z_act"], s["dt_act"], s["out_proj:input"] = t.number(m + "norm.z_scale"), t.number(scan + "dt_scale"), t.number(m + "had.x_H_scale")
        t.get(m + "norm.output_scale", optional=True)                     # None
        if abs(float(a) / float(s["in_proj:input"]) - 1) > 1e-6 or abs(float(oa) / float(s["out_proj:input"]) - 1) > 1e-6:
            raise BadCheckpoint("input scales of in_proj or out_proj")
        q["dt_bias"] = t.get(scan + "dt_bias", np.float16, (H,)).astype(F32)
        q["A_log"], q["A_log:scale"] = t.get(scan + "A_log", np.int8, (H,)), t.number(scan + "A_log_scale")
        q["Dskip"], q["Dskip:scale"] = t.get(scan + "D", np.int8, (H,)), t.number(scan + "D_scale")
        q["gnorm"] = t.get(m + "norm.weight", np.float16, (I,)).astype(F32)
        layers.append((precision, q, s, groups))
    emb, head, scale = load_around(t, config, D)
    return Mamba2(sh, layers, emb, head, scale), t.left()


def load(sd, config):
    layer = config["ssm_cfg"]["layer"]
    first = layer if isinstance(layer, str) else next(iter(layer[0].values()))
    return (load_mamba2 if first.endswith("2") else load_mamba1)(sd, config)
