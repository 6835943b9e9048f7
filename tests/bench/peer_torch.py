#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same forward passes in PyTorch, to compare speed with: FP32, FP32 with dynamic INT8 linear layers, and W8A8 mode 2-1
(docs/numerics.md).  A straightforward implementation: whole-tensor operations, a loop over time for the scan.

    peer_torch.py check PROBE            its numbers against those of build/.../probe, on a small model
    peer_torch.py time MODEL KIND ...    best and median seconds of a pass, as JSON

Needs PyTorch and a fast BLAS (without one its FP32 matrix products are 20 times slower):
    apt-get install -y python3-torch libopenblas0-pthread"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as functional

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "reference"))
import quamba_reference as reference  # noqa: E402

PROJECTIONS = ("in_proj", "x_proj", "dt_proj", "out_proj")
KINDS = ("float", "dynamic", "w8a8", "w8a8_onednn")
MODE = "2-1"


def tensor(array):
    return torch.from_numpy(np.array(array, np.float32))


def half(x):
    return x.half().float()


# ---------------------------------------------------------------- what both models share
def rmsnorm(x, eps):
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps)


def conv1d(x, weight, length):
    """Causal, depthwise: x [L, I], weight [I, 1, K]."""
    K = weight.shape[2]
    return functional.conv1d(x.t()[None], weight, padding=K - 1, groups=weight.shape[0])[0, :, :length].t()


def selective_scan(u, delta, A, B, C, D, z):
    """u, delta, z [L, I], A [I, N], B, C [L, N]."""
    decay = torch.exp(delta[:, :, None] * A)
    added = (delta * u)[:, :, None] * B[:, None, :]
    state = torch.zeros_like(A)
    y = torch.empty_like(u)
    for t in range(u.shape[0]):
        state = decay[t] * state + added[t]
        y[t] = torch.mv(state, C[t])
    return (y + D * u) * functional.silu(z)


class Hadamard:
    """x -> H x / sqrt(dim) along the last axis, H = base (kron) Sylvester, as two matrix products."""

    def __init__(self, dim):
        base, self.n = reference.hadamard_factors(dim)
        self.base = None if base is None else tensor(base)
        sylvester = np.ones((1, 1), np.float32)
        while sylvester.shape[0] < self.n:
            sylvester = np.block([[sylvester, sylvester], [sylvester, -sylvester]])
        self.sylvester = tensor(sylvester / np.sqrt(dim))

    def __call__(self, x):
        y = x.reshape(x.shape[0], -1, self.n) @ self.sylvester
        if self.base is not None:
            y = torch.matmul(self.base, y)
        return y.reshape(x.shape)


# ---------------------------------------------------------------- FP32, with FP32 or dynamic INT8 linear layers
def dynamic_linear(weight):
    """What torch.ao.quantization.quantize_dynamic makes of nn.Linear."""
    scale = float(weight.abs().max()) / 127
    packed = torch.ops.quantized.linear_prepack(torch.quantize_per_tensor(weight, scale, 0, torch.qint8), None)
    return lambda x: torch.ops.quantized.linear_dynamic(x.contiguous(), packed)


def float_linear(weight):
    return lambda x: functional.linear(x, weight)


class FloatModel:
    def __init__(self, model, dynamic):
        make = dynamic_linear if dynamic else float_linear
        self.R, self.N, self.I, self.eps = model.R, model.N, model.I, float(model.eps)
        self.embedding = tensor(model.embedding)
        self.layers = []
        for p in model.layers:
            layer = {name: tensor(value) for name, value in p.items() if name not in PROJECTIONS}
            layer["linear"] = {name: make(tensor(p[name])) for name in PROJECTIONS}
            layer["conv_w"] = layer["conv_w"][:, None, :].contiguous()
            layer["A"] = -torch.exp(layer["A_log"])
            self.layers.append(layer)

    def forward(self, ids):
        """Outputs of the mixers, one per layer."""
        out, h = [], self.embedding[ids]
        residual = torch.zeros_like(h)
        for p in self.layers:
            residual = residual + h
            xz = p["linear"]["in_proj"](rmsnorm(residual, self.eps) * p["norm"])
            x, z = xz[:, :self.I], xz[:, self.I:]
            c = functional.silu(conv1d(x, p["conv_w"], len(ids)) + p["conv_b"])
            dt, B, C = p["linear"]["x_proj"](c).split([self.R, self.N, self.N], -1)
            delta = functional.softplus(p["linear"]["dt_proj"](dt) + p["dt_bias"])
            h = p["linear"]["out_proj"](selective_scan(c, delta, p["A"], B, C, p["Dskip"], z))
            out.append(h)
        return out


# ---------------------------------------------------------------- W8A8, mode 2-1
def sat8(x):
    return x.clamp_(-128, 127)


def away(x):
    return torch.sign(x) * torch.floor(x.abs() + 0.5)


def codes_by_float(weight, first, second):
    """Codes as FP32 numbers: the sums are exact up to 2^24, and PyTorch has no faster INT8 product with INT32 sums here."""
    return lambda x: sat8(torch.round_(functional.linear(x, weight).mul_(first).mul_(second)))


def codes_by_onednn(weight, first, second):
    """quantized::linear, which rounds the sums to codes itself."""
    quantized = torch._make_per_tensor_quantized_tensor(weight.to(torch.int8), 1.0, 0)
    packed = torch.ops.quantized.linear_prepack(quantized, None)
    step = 1.0 / (first * second)

    def run(x):
        codes = torch._make_per_tensor_quantized_tensor(x.add(128).to(torch.uint8), 1.0, 128)
        return torch.ops.quantized.linear(codes, packed, step, 128).int_repr().float().sub_(128)
    return run


class QuantizedModel:
    def __init__(self, model, scales, onednn):
        make = codes_by_onednn if onednn else codes_by_float
        quantized = reference.QuantModel(model, scales)
        self.R, self.N, self.I, self.eps = model.R, model.N, model.I, float(model.eps)
        self.embedding = tensor(quantized.embedding)
        self.rotate = Hadamard(model.I)
        self.unrotate = lambda h: reference.hadamard(h.numpy(), transpose=True)
        self.layers = [self.make_layer(q, {k: float(v) for k, v in s.items()}, make)
                       for q, s in zip(quantized.layers, scales)]

    @staticmethod
    def make_layer(q, s, make):
        w = {name: tensor(q[name]) for name in q if not name.endswith(":scale")}
        of = {name: float(q[name + ":scale"]) for name in w}
        s_in, s_xz, s_u = s["in_proj:input"], s["in_proj:output"], s["x_proj:input"]
        s_dbl, s_dt = s["x_proj:output"], s["dt_proj:output"]
        return dict(s=s, taps=of["conv_w"] * s_xz, conv_w=w["conv_w"][:, None, :].contiguous(),
                    conv_b=w["conv_b"] * of["conv_b"], dt_bias=w["dt_bias"] * of["dt_bias"],
                    A=-torch.exp(w["A_log"] * of["A_log"]), D=w["Dskip"] * of["Dskip"],
                    in_proj=make(w["in_proj"], s_in / s_xz, of["in_proj"]),
                    x_proj=make(w["x_proj"], of["x_proj"], s_u / s_dbl),
                    dt_proj=make(w["dt_proj"], s_dbl / s_dt, of["dt_proj"]),
                    out_proj=w["out_proj"], out_scale=of["out_proj"])

    def forward(self, ids):
        """Outputs of the mixers in the rotated basis, one per layer."""
        out, h = [], self.embedding[ids]
        residual = torch.zeros_like(h)
        for p in self.layers:
            s = p["s"]
            residual = residual + h
            xz = p["in_proj"](sat8(torch.round(rmsnorm(residual, self.eps) / s["in_proj:input"])))
            v = functional.silu(p["taps"] * conv1d(xz[:, :self.I], p["conv_w"], len(ids)) + p["conv_b"])
            u = sat8(away(v / s["x_proj:input"]))
            dbl = p["x_proj"](u)
            dt = p["dt_proj"](dbl[:, :self.R].contiguous())
            B, C = (dbl[:, self.R:] * s["x_proj:output"]).split([self.N, self.N], -1)
            delta = functional.softplus(dt * s["dt_proj:output"] + p["dt_bias"])
            y = half(selective_scan(u * s["x_proj:input"], delta, p["A"], B, C, p["D"],
                                    xz[:, self.I:] * s["in_proj:output"]))
            y = sat8(away(self.rotate(y) / s["out_proj:input"]))
            h = half(functional.linear(y, p["out_proj"]) * p["out_scale"] * s["out_proj:input"])
            out.append(h)
        return out


# ---------------------------------------------------------------- commands
def read_scales(path, n_layer):
    flat = np.fromfile(path, np.float32)[-n_layer * len(reference.SCALE_SITES):].reshape(n_layer, -1)
    return [dict(zip(reference.SCALE_SITES, row)) for row in flat]


def make_peer(model, kind, scales_path):
    if kind.startswith("w8a8"):
        return QuantizedModel(model, read_scales(scales_path, len(model.layers)), kind == "w8a8_onednn")
    return FloatModel(model, kind == "dynamic")


def blas_name():
    with open("/proc/self/maps") as f:
        libraries = {line.split("/", 1)[1].strip() for line in f if "/" in line and "blas" in line}
    return sorted("/" + name for name in libraries)


def time_passes(args):
    model = reference.Model(reference.load_safetensors(os.path.join(args.model, "model.safetensors")))
    peer = make_peer(model, args.kind, args.scales)
    ids = torch.arange(args.tokens) * 7919 % model.embedding.shape[0]
    seconds = []
    peer.forward(ids)
    end = time.perf_counter() + args.seconds
    while len(seconds) < 2 or time.perf_counter() < end:
        started = time.process_time()   # as ssmsweep bench: without the time of other processes
        peer.forward(ids)
        seconds.append(time.process_time() - started)
    json.dump({"kind": args.kind, "best_seconds": min(seconds), "median_seconds": sorted(seconds)[len(seconds) // 2],
               "runs": len(seconds), "torch": torch.__version__, "blas": blas_name()}, sys.stdout)
    print()


def distance(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def probe_outputs(probe, folder, mode, scales, L, n_layer, D, I):
    """mixer_output of every layer."""
    path = os.path.join(folder, "out")
    subprocess.run([probe, "forward", folder, mode, scales, os.path.join(folder, "ids"), path], check=True)
    per_layer = L * (2 * D + 4 * I)     # the six components
    flat = np.fromfile(path, np.float32)[:n_layer * per_layer].reshape(n_layer, per_layer)
    return flat[:, -L * D:].reshape(n_layer, L, D)


def check(args):
    D, n_layer, vocab, L = 64, 3, 256, 96
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, os.path.join(os.path.dirname(reference.__file__), "make_model.py"), "--out", folder,
                        "--d-model", str(D), "--n-layer", str(n_layer), "--vocab", str(vocab)], check=True)
        ids = np.arange(L, dtype=np.int32) * 7919 % vocab
        np.concatenate([[L], ids]).astype(np.int32).tofile(os.path.join(folder, "ids"))
        scales = os.path.join(folder, "observed")
        subprocess.run([args.probe, "observe", folder, "0.9995", os.path.join(folder, "ids"), scales], check=True)
        only = os.path.join(folder, "scales")
        np.fromfile(scales, np.float32)[-n_layer * len(reference.SCALE_SITES):].tofile(only)
        model = reference.Model(reference.load_safetensors(os.path.join(folder, "model.safetensors")))
        ours = probe_outputs(args.probe, folder, "fp32", "-", L, n_layer, D, model.I)
        quantized = probe_outputs(args.probe, folder, MODE, only, L, n_layer, D, model.I)
        good = True
        for kind in KINDS:
            peer = make_peer(model, kind, only)
            outputs = peer.forward(torch.from_numpy(ids.astype(np.int64)))
            if kind.startswith("w8a8"):
                found, limit = distance(peer.unrotate(outputs[0]), quantized[0]), 0.02    # deeper layers are chaotic
            else:
                found = max(distance(o.numpy(), r) for o, r in zip(outputs, ours))
                limit = 1e-5 if kind == "float" else 0.1
            good = good and found <= limit
            print("%-12s relative L2 distance %.3g, at most %g: %s" % (kind, found, limit, "ok" if found <= limit else "BAD"))
    sys.exit(0 if good else 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    p = commands.add_parser("check")
    p.add_argument("probe")
    p.set_defaults(run=check)
    p = commands.add_parser("time")
    p.add_argument("model")
    p.add_argument("kind", choices=KINDS)
    p.add_argument("--scales", help="output of `probe observe`, for W8A8")
    p.add_argument("--tokens", type=int, default=512)
    p.add_argument("--seconds", type=float, default=5)
    p.set_defaults(run=time_passes)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    torch.backends.quantized.engine = "onednn"
    args.run(args)


main()
