#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reference implementation of the Mamba-2 numerics of ssmsweep, in NumPy.

The executable form of docs/numerics.md, chapter "Mamba-2", written from its equations, and an oracle for tests.
What Mamba-1 and Mamba-2 share (Hadamard, observers, rounding, comparison, safetensors) is taken
from quamba_reference.py, which lies beside this file.

Symbols: L tokens, D = d_model, I = d_inner, P = headdim, H = I/P heads, G = groups of heads that share
B and C, N = d_state, K = d_conv, Q = chunk size, C = I + 2GN conv1d channels.
All arrays are row-major; one sample is one sequence (batch 1).

    python3 mamba2_reference.py            runs the self-checks
"""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from quamba_reference import (  # noqa: E402
    F32, Observer, compare, conv1d_causal, hadamard, int8_matmul, quantize_absmax, rmsnorm_unit,
    round_half_away, sat8, silu, softplus, to_fp16)

SEGMENTS = ("z", "x", "B", "C", "dt")           # the outputs of in_proj, in this order
CONV = ("x", "B", "C")                          # the segments that go through conv1d
COMPONENTS = ("mixer_input", "conv1d_input", "conv1d_output", "ssm_input", "ssm_output", "mixer_output",
              "ssm_B", "ssm_C", "ssm_dt", "norm_output")       # the last four exist for Mamba-2 alone
FLOAT_MODES = ("fp32", "fp16")


class Mode:
    """The switches of a quantized mode (docs/numerics.md, chapter "Mamba-2")."""

    def __init__(self, conv_in, conv_out, scan_in, order):
        self.conv_in, self.conv_out, self.scan_in, self.order = conv_in, conv_out, scan_in, order


MODES = {
    "0":   Mode("static", "int8", "codes", "chunked-gpu"),
    "2-0": Mode("static", "int8", "requant", "chunked-gpu"),
    "2-1": Mode("static", "int8", "codes", "sequential"),
    "2-2": Mode("static", "int8", "grid", "sequential"),
    "2-3": Mode("static", "fp32", "requant", "sequential"),
    "2-4": Mode("static", "fp32", "float", "sequential"),
    "3":   Mode("dynamic", "fp32", "float", "sequential"),
    # beyond the seven: chunked in FP32, which tells the order of sums from the rounding of operands
    "0-fp32": Mode("static", "int8", "codes", "chunked"),
}


# ---------------------------------------------------------------- the model
class Shape:
    """Sizes of a model, from config.json of either layout and from the tensors."""

    def __init__(self, config, tensors):
        ssm = config.get("ssm_cfg") or {}
        lay = "backbone.layers.0.mixer."
        self.n_layer = config.get("n_layer") or config["num_hidden_layers"]
        self.D = config.get("d_model") or config["hidden_size"]
        self.H = tensors[lay + "A_log"].shape[0]
        self.I = tensors[lay + "out_proj.weight"].shape[1]
        self.P = self.I // self.H
        self.G = config.get("n_groups") or ssm.get("ngroups", 1)
        self.channels = tensors[lay + "conv1d.weight"].shape[0]
        self.N = (self.channels - self.I) // (2 * self.G)
        self.K = tensors[lay + "conv1d.weight"].shape[-1]
        self.Q = config.get("chunk_size") or ssm.get("chunk_size", 256)
        self.eps = F32(config.get("layer_norm_epsilon", 1e-5))
        hugging_face = "hidden_size" in config
        # Hugging Face's module normalizes all of I together, the original one each of the G groups
        self.norm_groups = 1 if hugging_face else self.G
        self.norm_before_gate = False if hugging_face else bool(ssm.get("norm_before_gate", False))
        limit = config.get("time_step_limit") if hugging_face else ssm.get("dt_limit")
        limit = [x["__float__"] if isinstance(x, dict) else x for x in limit or (0.0, "inf")]
        self.dt_min, self.dt_max = F32(float(limit[0])), F32(float(limit[1]))
        rows = tensors[lay + "in_proj.weight"].shape[0]
        assert self.H * self.P == self.I and self.H % self.G == 0
        assert self.channels == self.I + 2 * self.G * self.N
        assert rows == 2 * self.I + 2 * self.G * self.N + self.H, "an MLP beside the SSM (d_ssm) is not supported"
        assert tensors[lay + "D"].shape[0] == self.H, "D per channel is not supported"

    def bounds(self):
        """First row of each segment of in_proj, and the end."""
        gn = self.G * self.N
        return np.cumsum([0, self.I, self.I, gn, gn, self.H])

    def split(self, zxbcdt):
        b = self.bounds()
        return {s: zxbcdt[..., b[i]:b[i + 1]] for i, s in enumerate(SEGMENTS)}

    def split_conv(self, xbc):
        gn = self.G * self.N
        return {"x": xbc[..., :self.I], "B": xbc[..., self.I:self.I + gn], "C": xbc[..., self.I + gn:]}


class Model:
    """A float Mamba-2 checkpoint.  `layers[l]` holds float32 arrays: norm[D] in_proj[2I+2GN+H,D]
    conv_w[C,K] conv_b[C] dt_bias[H] A_log[H] Dskip[H] gnorm[I] out_proj[D,I]."""

    def __init__(self, config, tensors):
        t = tensors
        self.shape = Shape(config, t)
        emb = "backbone.embedding.weight" if "backbone.embedding.weight" in t else "backbone.embeddings.weight"
        self.embedding = t[emb].astype(F32)
        self.norm_f = t["backbone.norm_f.weight"].astype(F32)
        self.lm_head = t.get("lm_head.weight", t[emb]).astype(F32)
        self.layers = []
        for l in range(self.shape.n_layer):
            m = "backbone.layers.%d.mixer." % l
            conv = t[m + "conv1d.weight"]
            self.layers.append({k: np.ascontiguousarray(v, F32) for k, v in dict(
                norm=t["backbone.layers.%d.norm.weight" % l], in_proj=t[m + "in_proj.weight"],
                conv_w=conv.reshape(conv.shape[0], -1), conv_b=t[m + "conv1d.bias"], dt_bias=t[m + "dt_bias"],
                A_log=t[m + "A_log"], Dskip=t[m + "D"], gnorm=t[m + "norm.weight"],
                out_proj=t[m + "out_proj.weight"]).items()})


def random_model(seed, d_model, n_layer, vocab, headdim=64, d_state=128, ngroups=1, d_conv=4, expand=2,
                 chunk_size=256, outliers=True, tie=True, hugging_face=True, **extra):
    """(config, tensors): random weights with Mamba-2's own initialisation ranges and, optionally, a few
    large channels, so that quantizers have outliers.  Names and config in either layout."""
    g = np.random.Generator(np.random.PCG64(seed))
    D, I = d_model, expand * d_model
    H, gn = I // headdim, ngroups * d_state

    def n(*s, std):
        return (g.standard_normal(s) * std).astype(F32)
    t = {"backbone.embeddings.weight" if hugging_face else "backbone.embedding.weight": n(vocab, D, std=0.3)}
    for l in range(n_layer):
        p = "backbone.layers.%d." % l
        m = p + "mixer."
        t[p + "norm.weight"] = (1 + 0.2 * g.standard_normal(D)).astype(F32)
        t[m + "in_proj.weight"] = n(2 * I + 2 * gn + H, D, std=1.0 / np.sqrt(D))
        t[m + "conv1d.weight"] = n(I + 2 * gn, 1, d_conv, std=0.5)
        t[m + "conv1d.bias"] = n(I + 2 * gn, std=0.1)
        dt = np.exp(g.uniform(np.log(1e-3), np.log(1e-1), H))
        t[m + "dt_bias"] = (dt + np.log(-np.expm1(-dt))).astype(F32)
        t[m + "A_log"] = np.log(g.uniform(1, 16, H)).astype(F32)
        t[m + "D"] = (1 + 0.1 * g.standard_normal(H)).astype(F32)
        t[m + "norm.weight"] = (1 + 0.2 * g.standard_normal(I)).astype(F32)
        t[m + "out_proj.weight"] = n(D, I, std=1.0 / np.sqrt(I * 2 * n_layer))
        if outliers:
            hot = I + g.choice(I, max(1, I // 64), replace=False)          # rows of x
            t[m + "in_proj.weight"][hot] *= 6
    t["backbone.norm_f.weight"] = (1 + 0.1 * g.standard_normal(D)).astype(F32)
    if not tie:
        t["lm_head.weight"] = n(vocab, D, std=1.0 / np.sqrt(D))
    if hugging_face:
        config = dict(architectures=["Mamba2ForCausalLM"], model_type="mamba2", hidden_size=D, num_hidden_layers=n_layer,
                      vocab_size=vocab, num_heads=H, head_dim=headdim, state_size=d_state, n_groups=ngroups,
                      expand=expand, conv_kernel=d_conv, chunk_size=chunk_size, layer_norm_epsilon=1e-5,
                      tie_word_embeddings=tie, residual_in_fp32=True, use_bias=False, use_conv_bias=True,
                      hidden_act="silu", rms_norm=True)
    else:
        config = dict(d_model=D, d_intermediate=0, n_layer=n_layer, vocab_size=vocab, rms_norm=True,
                      ssm_cfg=dict(layer="Mamba2", headdim=headdim, d_state=d_state, ngroups=ngroups,
                                   chunk_size=chunk_size), attn_layer_idx=[], attn_cfg={}, residual_in_fp32=True,
                      fused_add_norm=True, pad_vocab_size_multiple=16, tie_embeddings=tie)
    config.update(extra)
    return config, t


# ---------------------------------------------------------------- the state space part
def time_steps(dt, dt_bias, shape):
    """delta[L,H] = softplus(dt + bias), clamped."""
    return np.clip(softplus(dt + dt_bias), shape.dt_min, shape.dt_max).astype(F32)


def ssd_sequential(u, delta, A, B, C, Dskip, dtype=F32):
    """u[L,H,P], delta[L,H], A[H] < 0, B[L,G,N], C[L,G,N], Dskip[H].  Token after token:
    s = exp(delta A) s + (delta u) B;  y = C.s + D u.  Returns (y[L,H,P], state[H,P,N])."""
    L, H, P = u.shape
    G, N = B.shape[1:]
    u, delta, A, B, C, Dskip = (v.astype(dtype) for v in (u, delta, A, B, C, Dskip))
    head = np.arange(H) // (H // G)                      # the group of each head
    s = np.zeros((H, P, N), dtype)
    y = np.empty((L, H, P), dtype)
    for t in range(L):
        a = np.exp(delta[t] * A)
        s = a[:, None, None] * s + (delta[t][:, None] * u[t])[:, :, None] * B[t][head][:, None, :]
        y[t] = np.einsum("hpn,hn->hp", s, C[t][head])
    return y + u * Dskip[:, None], s


def cut_to_tf32(v):
    return (np.ascontiguousarray(v, F32).view(np.uint32) & np.uint32(0xFFFFE000)).view(F32)


def ssd_chunked(u, delta, A, B, C, Dskip, chunk, operands="fp32", dtype=F32):
    """The same function, chunk by chunk, as matrix products.  With c_t the running sum of delta A inside
    a chunk and S the state before it:
        y_t = exp(c_t) C_t.S + sum_{s<=t} (C_t.B_s exp(c_t - c_s) delta_s) u_s + D u_t
        S' = exp(c_last) S + sum_t u_t (delta_t exp(c_last - c_t) B_t)
    operands="fp16": the factors of the products over tokens and over the state (u; delta exp() B; C; S as it
    is read; the weights of u_s) are rounded to FP16 first; C_t.B_s, the running sums and S itself stay FP32.
    operands="gpu": as that, and the factors of C_t.B_s are cut to TF32 (10 bits of mantissa, towards zero):
    what the published INT8 kernels compute."""
    L, H, P = u.shape
    G, N = B.shape[1:]
    r = to_fp16 if operands in ("fp16", "gpu") else (lambda v: v)
    cut = cut_to_tf32 if operands == "gpu" else (lambda v: v)
    u, delta, A, B, C, Dskip = (v.astype(dtype) for v in (u, delta, A, B, C, Dskip))
    y = np.empty((L, H, P), dtype)
    S = np.zeros((H, P, N), dtype)
    head = np.arange(H) // (H // G)
    for t0 in range(0, L, chunk):
        t1 = min(L, t0 + chunk)
        c = np.cumsum(delta[t0:t1] * A, axis=0, dtype=dtype)                         # [q,H]
        ub, Bb, Cb, db = r(u[t0:t1]), B[t0:t1], C[t0:t1], delta[t0:t1]
        causal = np.tril(np.ones((t1 - t0, t1 - t0), bool))
        CB = np.einsum("tgn,sgn->gts", cut(Cb), cut(Bb), optimize=True)              # shared by a group
        for h in range(H):
            g = head[h]
            with np.errstate(over="ignore"):
                w = np.where(causal, CB[g] * np.exp(np.where(causal, c[:, None, h] - c[None, :, h], 0)), 0)
            w = r((w * db[None, :, h]).astype(dtype))
            y[t0:t1, h] = (r(Cb[:, g]) @ r(S[h]).T) * np.exp(c[:, None, h]) + w @ ub[:, h]
            k = r((Bb[:, g] * (np.exp(c[-1, h] - c[:, h]) * db[:, h])[:, None]).astype(dtype))
            S[h] = np.exp(c[-1, h]) * S[h] + ub[:, h].T @ k
    return y + u * Dskip[:, None], S


def ssd(order, *args, chunk):
    """order: sequential, chunked, chunked-fp16 or chunked-gpu."""
    if order == "sequential":
        return ssd_sequential(*args)
    return ssd_chunked(*args, chunk=chunk, operands=order[8:] or "fp32")


def gated_norm(y, z, w, shape):
    """RMSNorm of y silu(z) in norm_groups parts of I, times w (gate first); or of y, then the gate."""
    v = y if shape.norm_before_gate else (y * silu(z)).astype(F32)
    parts = v.reshape(v.shape[0], shape.norm_groups, -1)
    v = rmsnorm_unit(parts, shape.eps).reshape(v.shape) * w
    return (v * silu(z) if shape.norm_before_gate else v).astype(F32)


# ---------------------------------------------------------------- float forward
def float_layer(p, shape, xhat, r=lambda v: v, order="sequential"):
    """One mixer on the normalized residual: the named intermediates, by name."""
    out = {"mixer_input": xhat}
    zxbcdt = r(r(xhat * p["norm"]) @ r(p["in_proj"]).T)
    s = shape.split(zxbcdt)
    out["z"] = s["z"]
    out["conv1d_input"] = xbc = np.concatenate([s[k] for k in CONV], axis=1)
    out["conv1d_output"] = c = r(silu(conv1d_causal(xbc, r(p["conv_w"]), r(p["conv_b"]))))
    v = shape.split_conv(c)
    out["ssm_input"], out["ssm_B"], out["ssm_C"], out["ssm_dt"] = v["x"], v["B"], v["C"], s["dt"]
    L = len(xhat)
    y, state = ssd(order, v["x"].reshape(L, shape.H, shape.P), time_steps(s["dt"], p["dt_bias"], shape),
                   -np.exp(p["A_log"]), v["B"].reshape(L, shape.G, shape.N), v["C"].reshape(L, shape.G, shape.N),
                   p["Dskip"], chunk=shape.Q)
    out["ssm_output"] = y = r(y.reshape(L, shape.I))
    out["state"] = state
    out["norm_output"] = n = r(gated_norm(y, s["z"], r(p["gnorm"]), shape))
    out["mixer_output"] = r(n @ r(p["out_proj"]).T)
    return out


def float_forward(model, tokens, mode="fp32", order="sequential"):
    """(captures {(layer, component): [L, width]}, logits).  'fp16': embedding, weights and every
    intermediate of float_layer are rounded to FP16; sums, the scan and the residual stay FP32."""
    r = to_fp16 if mode == "fp16" else (lambda v: v)
    cap = {}
    h = r(model.embedding[tokens])
    residual = np.zeros_like(h)
    for l, p in enumerate(model.layers):
        residual = (residual + h).astype(F32)
        out = float_layer(p, model.shape, rmsnorm_unit(residual, model.shape.eps), r, order)
        for k in COMPONENTS:
            cap[l, k] = out[k]
        h = out["mixer_output"].astype(F32)
    residual = (residual + h).astype(F32)
    logits = (rmsnorm_unit(residual, model.shape.eps) * model.norm_f) @ model.lm_head.T
    return cap, logits.astype(F32)


# ---------------------------------------------------------------- grouping of heads and channels
def ward(points, clusters):
    """Agglomerative clustering: join the two clusters whose union raises the sum of squares least.
    Returns a label per point; clusters are numbered by their first point."""
    members = [[i] for i in range(len(points))]
    centres = [points[i].astype(np.float64) for i in range(len(points))]
    while len(members) > clusters:
        best = None
        for i in range(len(members)):
            for j in range(i + 1, len(members)):
                a, b = len(members[i]), len(members[j])
                cost = a * b / (a + b) * np.sum((centres[i] - centres[j]) ** 2)
                if best is None or cost < best[0]:
                    best = (cost, i, j)
        _, i, j = best
        a, b = len(members[i]), len(members[j])
        centres[i] = (a * centres[i] + b * centres[j]) / (a + b)
        members[i] += members[j]
        del members[j], centres[j]
    labels = np.empty(len(points), int)
    for k, m in enumerate(sorted(members, key=min)):
        labels[m] = k
    return labels


def kmeans_ordered(points, clusters):
    """K-means of channels that are sorted already; centres start at every (count/clusters)-th of them.
    Returns the sizes of the runs of equal labels."""
    centres = points[::len(points) // clusters].astype(np.float64)
    labels = None
    for _ in range(300):
        d = ((points[:, None, :] - centres[None]) ** 2).sum(-1)
        new = d.argmin(1)
        if labels is not None and np.array_equal(new, labels):
            break
        labels = new
        centres = np.stack([points[labels == k].mean(0) if np.any(labels == k) else centres[k]
                            for k in range(clusters)])
    if np.any(np.diff(labels) < 0) or len(np.unique(labels)) != clusters:
        raise ValueError("channels of a head group do not fall into %d runs" % clusters)
    return np.bincount(labels, minlength=clusters)


class Groups:
    """Where the x scales of a layer change: head groups inside each of the G groups, and channel groups
    inside a head.  `channels` and `heads` say which channel and head of the model stands at each place."""

    def __init__(self, stat, shape, head_groups=4, dim_groups=4):
        G, per, P = shape.G, shape.H // shape.G, shape.P
        v = stat.reshape(G, per, P)
        order = np.argsort(v, axis=-1, kind="stable")
        ranked = np.take_along_axis(v, order, -1)
        ranked = ranked / np.sqrt((ranked * ranked).sum(-1, keepdims=True))
        channels, heads = [], []
        self.head_range = np.zeros((G, head_groups), np.int32)
        self.dim_range = np.zeros((G, head_groups, dim_groups), np.int32)
        for g in range(G):
            labels = ward(ranked[g], head_groups)
            for k in range(head_groups):
                mine = np.flatnonzero(labels == k)
                self.dim_range[g, k] = np.cumsum(kmeans_ordered(ranked[g][mine].T, dim_groups))
                for h in mine:
                    heads.append(g * per + h)
                    channels.extend((g * per + h) * P + order[g, h])
                self.head_range[g, k] = np.sum(labels <= k)
        self.channels, self.heads = np.array(channels), np.array(heads)
        self.index = self._index(shape)

    def _index(self, shape):
        """For each place of I: (group, head group, channel group)."""
        out = np.empty((shape.I, 3), int)
        per = shape.H // shape.G
        for h in range(shape.H):
            g = h // per
            k = int(np.sum(h % per >= self.head_range[g]))
            for p in range(shape.P):
                out[h * shape.P + p] = g, k, int(np.sum(p >= self.dim_range[g, k]))
        return out

    def spread(self, scales):
        """[G, head groups, channel groups] -> one number per place of I."""
        return scales[self.index[:, 0], self.index[:, 1], self.index[:, 2]]


def channel_statistics(model, samples):
    """What groups are formed by: per layer and channel of x after conv1d, the maximum over the samples
    of the mean of |x| over a sample's tokens."""
    stat = [np.zeros(model.shape.I, F32) for _ in model.layers]
    for tokens in samples:
        cap, _ = float_forward(model, tokens)
        for l in range(len(model.layers)):
            stat[l] = np.maximum(stat[l], np.mean(np.abs(cap[l, "ssm_input"]), axis=0, dtype=F32))
    return stat


def reorder(model, groups):
    """The same model with heads, and channels inside heads, in the order of `groups`: rows of z, x and dt
    of in_proj, conv1d of x, dt_bias, A_log, D, the gated norm and the columns of out_proj move."""
    import copy
    other = copy.copy(model)
    other.layers = []
    b = model.shape.bounds()
    for p, q in zip(model.layers, groups):
        rows = np.arange(b[-1])
        rows[b[0]:b[1]] = q.channels
        rows[b[1]:b[2]] = b[1] + q.channels
        rows[b[4]:b[5]] = b[4] + q.heads
        conv = np.arange(model.shape.channels)
        conv[:model.shape.I] = q.channels
        other.layers.append(dict(p, in_proj=p["in_proj"][rows], conv_w=p["conv_w"][conv], conv_b=p["conv_b"][conv],
                                 dt_bias=p["dt_bias"][q.heads], A_log=p["A_log"][q.heads], Dskip=p["Dskip"][q.heads],
                                 gnorm=p["gnorm"][q.channels], out_proj=p["out_proj"][:, q.channels]))
    return other


# ---------------------------------------------------------------- calibration
SCALE_SITES = ("in_proj:input", "z_act", "x_conv_in", "B_conv_in", "C_conv_in", "dt_act", "x_conv_out",
               "B_conv_out", "C_conv_out", "ssm_state_act", "out_proj:input")


class GroupMax:
    """Running maximum of |v|, at least 1e-5, for each group of a partition."""

    def __init__(self):
        self.value = None

    def update(self, maxima):
        m = np.maximum(np.asarray(maxima, F32), F32(1e-5))
        self.value = m if self.value is None else np.maximum(self.value, m)

    def scale(self):
        return np.maximum(self.value / F32(127), F32(1e-6)).astype(F32)


def calibrate(model, samples, alpha=0.9995, groups=None):
    """FP32 forward over the samples, in order -> scales[layer][site].  groups=None: a scalar each, x_conv_out
    and ssm_state_act by the ema-percentile alpha, the rest by minmax.  With groups (of a model that was
    reordered by them): x_conv_out [G,4,4], B and C [G], ssm_state_act [G,4,4,N], all by minmax."""
    sh = model.shape
    grouped = ("x_conv_out", "B_conv_out", "C_conv_out", "ssm_state_act")
    obs = []
    for _ in model.layers:
        o = {s: Observer(alpha if s in ("x_conv_out", "ssm_state_act") else None) for s in SCALE_SITES}
        if groups is not None:
            o.update({s: GroupMax() for s in grouped})
        obs.append(o)
    for tokens in samples:
        h = model.embedding[tokens]
        residual = np.zeros_like(h)
        for l, p in enumerate(model.layers):
            residual = (residual + h).astype(F32)
            xhat = rmsnorm_unit(residual, sh.eps)
            out = float_layer(p, sh, xhat)
            o = obs[l]
            conv_in = sh.split_conv(out["conv1d_input"])
            o["in_proj:input"].update(hadamard(xhat))
            o["z_act"].update(out["z"])
            o["dt_act"].update(out["ssm_dt"])
            for s in CONV:
                o[s + "_conv_in"].update(conv_in[s])
            o["out_proj:input"].update(hadamard(out["norm_output"]))
            if groups is None:
                o["x_conv_out"].update(out["ssm_input"])
                o["B_conv_out"].update(out["ssm_B"])
                o["C_conv_out"].update(out["ssm_C"])
                o["ssm_state_act"].update(out["state"])
            else:
                q = groups[l]
                index = tuple(q.index.T)
                x = np.zeros(q.dim_range.shape, F32)
                np.maximum.at(x, index, np.abs(out["ssm_input"]).max(0))
                o["x_conv_out"].update(x)
                state = np.zeros(q.dim_range.shape + (sh.N,), F32)
                np.maximum.at(state, index, np.abs(out["state"]).reshape(sh.I, sh.N))
                o["ssm_state_act"].update(state)
                for s, name in (("B_conv_out", "ssm_B"), ("C_conv_out", "ssm_C")):
                    o[s].update(np.abs(out[name]).reshape(len(tokens), sh.G, sh.N).max((0, 2)))
            h = out["mixer_output"].astype(F32)
    return [{s: o[s].scale() for s in SCALE_SITES} for o in obs]


# ---------------------------------------------------------------- four-bit weights
GROUP4 = 128


def _h(v):
    """Round to FP16, keep float32."""
    return to_fp16(np.asarray(v, F32))


def rtn4(w):
    """Round to nearest, groups of 128 inputs.  w[out,in] -> (codes 0..15 [out,in], FP16 step [in/128,out]).
    Every step is rounded to FP16, as torch does on half tensors."""
    out, k = w.shape
    if k % GROUP4:
        raise ValueError("4-bit weights need a multiple of %d inputs, got %d" % (GROUP4, k))
    w = _h(w).reshape(out, k // GROUP4, GROUP4)
    s = _h(np.abs(w).max(-1) * F32(2.0 / 15))
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.rint(_h(w / s[..., None]))
    q = np.clip(np.nan_to_num(q) + 8, 0, 15).astype(np.uint8)
    return q.reshape(out, k), np.ascontiguousarray(s.T)


def rtn4_from_steps(w, s):
    """Codes of weights that lie on the grid of given FP16 steps already (GPTQ's result)."""
    out, k = w.shape
    s = _h(s)
    with np.errstate(divide="ignore", invalid="ignore"):
        v = _h(_h(_h(w).reshape(out, k // GROUP4, GROUP4) / s.T[..., None]) + 8)
    return np.clip(np.rint(np.nan_to_num(v, nan=8.0)), 0, 15).astype(np.uint8).reshape(out, k)


def values4(q, s):
    """FP16 values of 4-bit weights: (code - 8) step."""
    out, k = q.shape
    v = (q.astype(F32) - 8).reshape(out, k // GROUP4, GROUP4) * _h(s).T[..., None]
    return _h(v).reshape(out, k)


def w4a8_scales(values, s):
    """FP16 values and steps -> (FP16 step in units of the channel scale [in/128,out], FP32 channel scale [out])."""
    channel = _h(np.abs(values).max(1) / F32(127))
    with np.errstate(divide="ignore", invalid="ignore"):
        group = _h(_h(s) / channel[None, :])
    return np.nan_to_num(group), channel


def w4a8_int8(q, group):
    """The INT8 weights that the W4A8 product uses: rint((code - 8) group step)."""
    out, k = q.shape
    v = (q.astype(F32) - 8).reshape(out, k // GROUP4, GROUP4) * group.T[..., None]
    return np.rint(v).astype(np.int32).astype(np.int8).reshape(out, k)


def gptq4(w, x, damp=0.01):
    """GPTQ without reordering: w[out,in], x[tokens,in] the inputs.  Float64.  Returns (values on the grid, steps):
    column after column is rounded, and its error, weighed by the inverse of x^T x, is taken from the columns
    to its right; the step of 128 columns is fixed from what they are when their turn comes."""
    out, k = w.shape
    hess = 2.0 / len(x) * (x.astype(np.float64).T @ x.astype(np.float64))
    w = w.astype(np.float64).copy()
    dead = np.diag(hess) == 0
    hess[dead, dead] = 1
    w[:, dead] = 0
    hess[np.diag_indices(k)] += damp * np.mean(np.diag(hess))
    upper = np.linalg.cholesky(np.linalg.inv(hess)).T
    values, steps = np.zeros_like(w), np.zeros((k // GROUP4, out))
    for i in range(k):
        if i % GROUP4 == 0:
            steps[i // GROUP4] = np.abs(w[:, i:i + GROUP4]).max(1) * 2 / 15
        s = np.maximum(steps[i // GROUP4], 1e-30)
        q = np.clip(np.rint(w[:, i] / s) + 8, 0, 15) - 8
        values[:, i] = q * s
        w[:, i:] -= np.outer((w[:, i] - values[:, i]) / upper[i, i], upper[i, i:])
    return values.astype(F32), steps.astype(F32)


_NIBBLE = np.array([0, 2, 4, 6, 1, 3, 5, 7])         # nibble t of a word holds element _NIBBLE[t] of its eight


def _tile_places(kind):
    """(row, column) inside a tile of 16 inputs x 64 outputs of each nibble [128 words, 8]."""
    i, j, t = np.meshgrid(np.arange(32), np.arange(4), np.arange(8), indexing="ij")
    block, r = _NIBBLE[t] // 4, _NIBBLE[t] % 4
    row = 4 * (i % 4) + r if kind == "w4a8" else 2 * (i % 4) + 8 * (r // 2) + r % 2
    return row.reshape(128, 8), (16 * j + i // 4 + 8 * block).reshape(128, 8)


def pack4(q, kind):
    """codes [out,in] -> int32 [in/16, 2 out], the layout of checkpoints ('w4a8' or 'w4a16')."""
    n, k = q.shape
    row, col = _tile_places(kind)
    tiles = q.T.reshape(k // 16, 16, n // 64, 64).transpose(0, 2, 1, 3)[:, :, row, col].astype(np.uint32)
    words = (tiles << (4 * np.arange(8, dtype=np.uint32))).sum(-1, dtype=np.uint32)
    return words.reshape(k // 16, 2 * n).view(np.int32)


def unpack4(words, kind):
    """The inverse of pack4."""
    kt, n2 = words.shape
    n = n2 // 2
    row, col = _tile_places(kind)
    nib = (np.ascontiguousarray(words).view(np.uint32).reshape(kt, n // 64, 128, 1) >>
           (4 * np.arange(8, dtype=np.uint32))) & 15
    tiles = np.empty((kt, n // 64, 16, 64), np.uint8)
    tiles[:, :, row, col] = nib
    return np.ascontiguousarray(tiles.transpose(0, 2, 1, 3).reshape(kt * 16, n).T)


_SCALE64 = np.arange(64).reshape(8, 8).T.ravel()      # place 8i + j holds column i + 8j
_SCALE32 = (2 * np.arange(4)[:, None] + np.array([0, 1, 8, 9, 16, 17, 24, 25])).ravel()


def _permute(v, perm, back):
    w = v.reshape(v.shape[0], -1, len(perm))
    out = np.empty_like(w)
    if back:
        out[:, :, perm] = w
    else:
        out = w[:, :, perm]
    return np.ascontiguousarray(out.reshape(v.shape))


def permute_group_steps(s, back=False):
    """[in/128, out] between plain order and that of checkpoints (blocks of 64 outputs)."""
    return _permute(s, _SCALE64, back)


def permute_channel_scales(s, back=False):
    """[1, out], likewise (blocks of 32)."""
    return _permute(s, _SCALE32, back)


def quantize_embedding(rows, bits):
    """Rows of the (rotated, FP16) embedding as Quamba stores them: (codes, FP16 scale per row).  The scale
    comes from the largest value, not the largest magnitude: rows whose minimum is larger are cut off."""
    rows = _h(rows)
    top = rows.max(1)
    if bits == 8:
        s = _h(top / F32(127))
        return sat8(np.rint(_h(rows / s[:, None]))), s
    s = _h(top / F32(8))
    return np.clip(np.rint(_h(_h(rows / s[:, None]) + 8)), 0, 15).astype(np.uint8), s


def embedding_values(codes, s, bits):
    return _h((codes.astype(F32) - (8 if bits == 4 else 0)) * s[:, None])


def pack_embedding4(codes):
    """[V,D] -> int32 [V,D/8]."""
    w = codes.reshape(codes.shape[0], -1, 8)[:, :, _NIBBLE].astype(np.uint32)
    return (w << (4 * np.arange(8, dtype=np.uint32))).sum(-1, dtype=np.uint32).view(np.int32)


def unpack_embedding4(words):
    nib = (np.ascontiguousarray(words).view(np.uint32)[:, :, None] >> (4 * np.arange(8, dtype=np.uint32))) & 15
    out = np.empty(nib.shape, np.uint8)
    out[:, :, _NIBBLE] = nib
    return out.reshape(words.shape[0], -1)


# ---------------------------------------------------------------- quantized model
def fold(p):
    """in_proj and out_proj in the rotated basis."""
    return hadamard(p["in_proj"] * p["norm"][None, :]), hadamard(hadamard(p["out_proj"]).T).T


class QuantModel:
    """Weights of `model` under `scales` ('w8a8', 'w4a8' or 'w4a16').  With groups, model and scales are those of
    the reordered model; captures are put back into the original order of heads and channels."""

    def __init__(self, model, scales, precision="w8a8", groups=None, inputs=None):
        self.m, self.scales, self.precision, self.groups = model, scales, precision, groups
        self.embedding = to_fp16(hadamard(model.embedding))
        sh = model.shape
        b = sh.bounds()
        self.layers = []
        for l, p in enumerate(model.layers):
            w_in, w_out = fold(p)
            q = {"gnorm": to_fp16(p["gnorm"])}
            if precision == "w4a16":
                for name, w in (("in_proj", w_in), ("out_proj", w_out)):
                    q[name] = values4(*rtn4(w))
                for name in ("conv_w", "conv_b", "dt_bias", "A_log", "Dskip"):
                    q[name] = to_fp16(p[name])
                self.layers.append(q)
                continue
            s = scales[l]
            out_scale = {"z": s["z_act"], "x": s["x_conv_in"], "B": s["B_conv_in"], "C": s["C_conv_in"], "dt": s["dt_act"]}
            if precision == "w8a8":
                codes, steps = [], []
                for i, seg in enumerate(SEGMENTS):
                    c, ws = quantize_absmax(w_in[b[i]:b[i + 1]])
                    codes.append(c)
                    steps.append(np.full(b[i + 1] - b[i], F32(float(ws) / float(out_scale[seg])), F32))
                    q["in_proj:" + seg] = ws
                q["in_proj"], q["in_proj:scale"] = np.concatenate(codes), np.concatenate(steps)
                q["out_proj"], q["out_proj:scale"] = quantize_absmax(w_out)
            else:                                                                        # w4a8
                for name, w in (("in_proj", w_in), ("out_proj", w_out)):
                    if inputs is None:
                        code, step = rtn4(w)
                        grid = values4(code, step)
                    else:                                                                # GPTQ on given inputs
                        grid, step = gptq4(w, inputs[l][name])
                        code, grid = rtn4_from_steps(grid, step), _h(grid)
                    group, channel = w4a8_scales(grid, step)
                    q[name], q[name + ":scale"] = w4a8_int8(code, group), channel
                per = np.concatenate([np.full(b[i + 1] - b[i], out_scale[seg], F32) for i, seg in enumerate(SEGMENTS)])
                q["in_proj:channel"] = q["in_proj:scale"]
                q["in_proj:scale"] = (q["in_proj:scale"] / per).astype(F32)
            gn = sh.G * sh.N
            at = {"x": (0, sh.I), "B": (sh.I, sh.I + gn), "C": (sh.I + gn, sh.channels)}
            for seg in CONV:
                lo, hi = at[seg]
                q["conv_w:" + seg], q["conv_w:scale:" + seg] = quantize_absmax(p["conv_w"][lo:hi])
                q["conv_b:" + seg], q["conv_b:scale:" + seg] = quantize_absmax(p["conv_b"][lo:hi])
            for name in ("A_log", "Dskip"):
                q[name], q[name + ":scale"] = quantize_absmax(p[name])
            q["dt_bias"] = to_fp16(p["dt_bias"])                                          # not quantized
            self.layers.append(q)


def in_proj_codes(acc, step, s_in):
    """rint((acc step) s_in), saturated."""
    return sat8(np.rint((acc * step).astype(F32) * F32(s_in)))


def quant_layer(qm, l, nq, mode):
    """One quantized mixer on the codes nq[L,D]: named intermediates (dequantized), h' under 'h'."""
    sh, q, s = qm.m.shape, qm.layers[l], qm.scales[l]
    gr = qm.groups[l] if qm.groups is not None else None
    m = MODES[mode] if isinstance(mode, str) else mode
    b = sh.bounds()
    L = len(nq)
    out = {}
    acc = int8_matmul(nq, q["in_proj"])
    codes = sh.split(in_proj_codes(acc, q["in_proj:scale"][None, :], s["in_proj:input"]))
    s_in = {"x": s["x_conv_in"], "B": s["B_conv_in"], "C": s["C_conv_in"]}
    if m.conv_in == "dynamic":               # x, B and C leave in_proj as floats, one scale per sample and segment
        unit = q["in_proj:channel"] if "in_proj:channel" in q else \
            np.concatenate([np.full(b[i + 1] - b[i], q["in_proj:" + seg], F32) for i, seg in enumerate(SEGMENTS)])
        floats = sh.split(((acc * unit[None, :]).astype(F32) * s["in_proj:input"]).astype(F32))
        for seg in CONV:
            top = F32(np.max(np.abs(floats[seg])))
            s_in[seg] = F32(top / F32(127)) if top > 0 else F32(1)
            codes[seg] = sat8(np.rint(floats[seg] / s_in[seg]))
    out["conv1d_input"] = np.concatenate([codes[seg].astype(F32) * s_in[seg] for seg in CONV], axis=1)

    s_out = {"x": np.full(sh.I, s["x_conv_out"], F32) if gr is None else gr.spread(s["x_conv_out"]).astype(F32),
             "B": np.repeat(np.broadcast_to(np.atleast_1d(s["B_conv_out"]), sh.G), sh.N).astype(F32),
             "C": np.repeat(np.broadcast_to(np.atleast_1d(s["C_conv_out"]), sh.G), sh.N).astype(F32)}
    conv, scan = {}, {}
    for seg in CONV:
        taps = conv1d_causal(codes[seg].astype(F32), q["conv_w:" + seg].astype(F32), F32(0))
        v = silu((F32(q["conv_w:scale:" + seg] * s_in[seg]) * taps +
                  q["conv_b:" + seg].astype(F32) * q["conv_b:scale:" + seg]).astype(F32))
        if m.conv_out == "int8":
            c = sat8(round_half_away(v / s_out[seg]))
            conv[seg] = scan[seg] = (c.astype(F32) * s_out[seg]).astype(F32)
        else:
            conv[seg] = v
            scan[seg] = v if m.scan_in == "float" else (sat8(np.rint(v / s_out[seg])).astype(F32) * s_out[seg]).astype(F32)
    out["conv1d_output"] = np.concatenate([conv[seg] for seg in CONV], axis=1)
    out["ssm_input"], out["ssm_B"], out["ssm_C"] = scan["x"], scan["B"], scan["C"]
    out["ssm_dt"] = dt = codes["dt"].astype(F32) * s["dt_act"]
    A = -np.exp(q["A_log"].astype(F32) * q["A_log:scale"])
    y, out["state"] = ssd(m.order, scan["x"].reshape(L, sh.H, sh.P), time_steps(dt, q["dt_bias"], sh), A.astype(F32),
                          scan["B"].reshape(L, sh.G, sh.N), scan["C"].reshape(L, sh.G, sh.N),
                          q["Dskip"].astype(F32) * q["Dskip:scale"], chunk=sh.Q)
    out["ssm_output"] = y = to_fp16(y.reshape(L, sh.I).astype(F32))
    out["norm_output"] = n = to_fp16(gated_norm(y, codes["z"].astype(F32) * s["z_act"], q["gnorm"], sh))
    yq = sat8(round_half_away(hadamard(n) / s["out_proj:input"]))
    out["h"] = to_fp16(((int8_matmul(yq, q["out_proj"]) * q["out_proj:scale"]).astype(F32) *
                        s["out_proj:input"]).astype(F32))
    return out


def w4a16_layer(qm, l, n):
    """One W4A16 mixer on n[L,D] (FP16): four-bit projections, FP16 values between the steps."""
    p = dict(qm.layers[l], norm=np.ones(qm.m.shape.D, F32))
    sh = qm.m.shape
    s = sh.split(to_fp16(n @ p["in_proj"].T))
    xbc = np.concatenate([s[k] for k in CONV], axis=1)
    c = to_fp16(silu(conv1d_causal(xbc, p["conv_w"], p["conv_b"])))
    v, L = sh.split_conv(c), len(n)
    y, state = ssd("chunked-fp16", v["x"].reshape(L, sh.H, sh.P), time_steps(s["dt"], p["dt_bias"], sh), -np.exp(p["A_log"]),
                   v["B"].reshape(L, sh.G, sh.N), v["C"].reshape(L, sh.G, sh.N), p["Dskip"], chunk=sh.Q)
    y = to_fp16(y.reshape(L, sh.I).astype(F32))
    norm = to_fp16(gated_norm(y, s["z"], p["gnorm"], sh))
    return {"conv1d_input": xbc, "conv1d_output": c, "ssm_input": v["x"], "ssm_B": v["B"], "ssm_C": v["C"],
            "ssm_dt": s["dt"], "state": state, "ssm_output": y, "norm_output": norm,
            "h": to_fp16(to_fp16(hadamard(norm)) @ p["out_proj"].T)}


def quant_forward(qm, tokens, mode):
    """One quantized pass.  mixer_input and mixer_output are rotated back, and with groups the captures
    between them are put back into the model's own order of channels."""
    m, sh = qm.m, qm.m.shape
    cap = {}
    h = qm.embedding[tokens]
    residual = np.zeros_like(h)
    for l in range(sh.n_layer):
        residual = (residual + h).astype(F32)
        xhat = rmsnorm_unit(residual, sh.eps)
        if qm.precision == "w4a16":
            n = to_fp16(xhat)
            out = w4a16_layer(qm, l, n)
        else:
            s = qm.scales[l]["in_proj:input"]
            nq = sat8(np.rint(xhat / s))
            n = nq.astype(F32) * s
            out = quant_layer(qm, l, nq, mode)
        out["mixer_input"] = hadamard(n, transpose=True)
        h = out["h"]
        out["mixer_output"] = hadamard(h, transpose=True)
        if qm.groups is not None:
            g = qm.groups[l]
            ch, hd = np.argsort(g.channels), np.argsort(g.heads)
            rest = np.arange(sh.I, sh.channels)
            for k in ("conv1d_input", "conv1d_output"):
                out[k] = out[k][:, np.concatenate([ch, rest])]
            for k in ("ssm_input", "ssm_output", "norm_output"):
                out[k] = out[k][:, ch]
            out["ssm_dt"] = out["ssm_dt"][:, hd]
        for k in COMPONENTS:
            cap[l, k] = out[k]
    residual = (residual + h).astype(F32)
    xhat = hadamard(rmsnorm_unit(residual, sh.eps), transpose=True)
    return cap, ((xhat * m.norm_f) @ m.lm_head.T).astype(F32)


# ---------------------------------------------------------------- self-checks
def _rel(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-30))


def check_ssd():
    g = np.random.Generator(np.random.PCG64(1))
    worst = 0.0
    for L, H, P, G, N, Q in ((1, 2, 4, 1, 8, 16), (37, 4, 8, 2, 16, 16), (64, 6, 16, 3, 32, 64), (300, 8, 16, 1, 32, 64),
                             (257, 8, 8, 4, 16, 256)):
        u, B, C = g.standard_normal((L, H, P)), g.standard_normal((L, G, N)), g.standard_normal((L, G, N))
        delta, A, D = np.exp(g.uniform(-7, 0.5, (L, H))), -np.exp(g.uniform(0, 2.8, H)), g.standard_normal(H)
        ys, ss = ssd_sequential(u, delta, A, B, C, D, dtype=np.float64)
        yc, sc = ssd_chunked(u, delta, A, B, C, D, Q, dtype=np.float64)
        worst = max(worst, _rel(yc, ys), _rel(sc, ss))
        y32, _ = ssd_chunked(*(v.astype(F32) for v in (u, delta, A, B, C, D)), Q)
        q32, _ = ssd_sequential(*(v.astype(F32) for v in (u, delta, A, B, C, D)))
        y16, yg = (ssd_chunked(*(v.astype(F32) for v in (u, delta, A, B, C, D)), Q, operands=o)[0] for o in ("fp16", "gpu"))
        print("  L %3d H %d G %d N %2d Q %3d: chunked from sequential, float64 %.1e; from that, chunked %.1e, sequential %.1e "
              "in float32, with FP16 operands %.1e, as on GPUs %.1e"
              % (L, H, G, N, Q, _rel(yc, ys), _rel(y32, ys), _rel(q32, ys), _rel(y16, ys), _rel(yg, ys)))
    assert worst < 1e-12, worst


def check_packing():
    g = np.random.Generator(np.random.PCG64(2))
    q = g.integers(0, 16, (192, 256)).astype(np.uint8)
    for kind in ("w4a8", "w4a16"):
        w = pack4(q, kind)
        assert w.shape == (16, 384) and w.dtype == np.int32
        assert np.array_equal(unpack4(w, kind), q), kind
    assert not np.array_equal(pack4(q, "w4a8"), pack4(q, "w4a16"))
    e = g.integers(0, 16, (5, 64)).astype(np.uint8)
    assert np.array_equal(unpack_embedding4(pack_embedding4(e)), e)
    s = g.standard_normal((2, 192)).astype(F32)
    assert np.array_equal(permute_group_steps(permute_group_steps(s), back=True), s)
    assert np.array_equal(permute_channel_scales(permute_channel_scales(s[:1]), back=True), s[:1])
    print("  4-bit packing, two layouts of weights, embedding, steps and scales: there and back again")


def check_models():
    g = np.random.Generator(np.random.PCG64(3))
    for name, kw in (("G 1", dict(seed=11, d_model=128, n_layer=4, vocab=96, headdim=16, d_state=32, chunk_size=32)),
                     ("G 2", dict(seed=12, d_model=256, n_layer=3, vocab=96, headdim=32, d_state=16, ngroups=2, chunk_size=16,
                                  hugging_face=False))):
        config, t = random_model(**kw)
        model = Model(config, t)
        samples = [g.integers(0, 96, n) for n in (70, 33, 1, 55)]
        ref, logits = float_forward(model, samples[0])
        other, logits2 = float_forward(model, samples[0], order="chunked")
        last = model.shape.n_layer - 1
        e = max(_rel(other[k], ref[k]) for k in ref)
        print("  %s: float forward, chunked against sequential %.1e, logits %.1e" % (name, e, _rel(logits2, logits)))
        assert e < 2e-5
        half, _ = float_forward(model, samples[0], mode="fp16")
        print("     fp16: %.1e at the last layer" % _rel(half[last, "mixer_output"], ref[last, "mixer_output"]))

        per_tensor = QuantModel(model, calibrate(model, samples))
        stat = channel_statistics(model, samples)
        groups = [Groups(v, model.shape) for v in stat]
        moved = reorder(model, groups)
        same, _ = float_forward(moved, samples[0])
        assert _rel(same[last, "mixer_output"], ref[last, "mixer_output"]) < 1e-5
        scales = calibrate(moved, samples, groups=groups)
        models = {"w8a8, one scale": per_tensor, "w8a8, groups": QuantModel(moved, scales, groups=groups),
                  "w4a8, groups": QuantModel(moved, scales, "w4a8", groups)}
        for kind, qm in models.items():
            outs = {mode: quant_forward(qm, samples[0], mode) for mode in MODES}
            row = ["%s %.4f" % (mode, compare(ref[last, "mixer_output"], o[0][last, "mixer_output"])["correlation"])
                   for mode, o in outs.items()]
            print("     %-16s correlation of the last layer: %s" % (kind, ", ".join(row)))
            assert all(np.array_equal(outs["0"][0][k], outs["2-0"][0][k]) for k in ref)
            assert all(np.array_equal(outs["2-1"][0][k], outs["2-2"][0][k]) for k in ref)
            a, c = outs["2-1"][0][0, "ssm_input"], outs["2-3"][0][0, "ssm_input"]
            assert np.mean(a != c) < 1e-3
            for k in ("conv1d_input", "ssm_input", "ssm_dt", "norm_output"):          # captures stand in the model's order
                assert compare(ref[0, k], outs["2-1"][0][0, k])["correlation"] > 0.98, (kind, k)
            quant_forward(qm, samples[2], "0")                                        # one token
        w = QuantModel(model, None, "w4a16")
        o, _ = quant_forward(w, samples[0], None)
        print("     w4a16            correlation of the last layer: %.4f"
              % compare(ref[last, "mixer_output"], o[last, "mixer_output"])["correlation"])


def check_gptq():
    g = np.random.Generator(np.random.PCG64(4))
    x = (g.standard_normal((600, 256)) @ g.standard_normal((256, 256)) / 16).astype(F32)
    w = (g.standard_normal((64, 256)) / 16).astype(F32)
    y = x @ w.T
    near = np.mean((x @ values4(*rtn4(w)).T - y) ** 2)
    values, steps = gptq4(w, x)
    grid = np.mean((x @ values.T - y) ** 2)
    code = rtn4_from_steps(values, steps)
    back = np.mean((x @ values4(code, steps).T - y) ** 2)
    print("  GPTQ: output error %.2f of round-to-nearest's, %.2f after its steps went to FP16" % (grid / near, back / near))
    assert grid < 0.7 * near
    code, step = rtn4(w)
    group, channel = w4a8_scales(values4(code, step), step)
    w8 = w4a8_int8(code, group)
    e = _rel(w8.astype(F32) * channel[:, None], values4(code, step))
    print("  INT8 form of 4-bit weights: off by %.1e of the largest" % e)
    assert e < 0.51 / 127 + 1e-3


if __name__ == "__main__":
    for check in (check_ssd, check_packing, check_models, check_gptq):
        print(check.__name__)
        check()
    print("all checks passed")
