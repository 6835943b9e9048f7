#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""FP32 passes of a Mamba-1 model in PyTorch on a GPU, written from docs/numerics.md, section 1, to compare speed with: random
weights of a published shape, 512 tokens a sample, many samples in a batch, without lm_head, as the forward rows of `ssmsweep bench
--device cuda`.  Whole-tensor operations in full FP32 (no TF32).  The scan is a loop over time as one writes it down ("loop"), a
loop of one fused operation a step with one product behind it ("fused loop"), or a scan by doubling, nine steps of whole tensors
("doubling"); each is started operation by operation ("eager") and as one CUDA graph ("graph").  Prints milliseconds a sample, the best of
some runs.

    pytorch_forward.py                 mamba-130m, batches of 1, 8, 32
    pytorch_forward.py --check         its numbers against tests/reference, on the CPU, on a small model

Needs PyTorch, but for --check with CUDA."""
import argparse
import os
import sys
import time

import torch
import torch.nn.functional as functional

# layers, d_model, d_state, d_conv, dt_rank, vocabulary; d_inner is twice d_model
SHAPES = {"mamba-130m": (24, 768, 16, 4, 48, 50280), "mamba-2.8b": (64, 2560, 16, 4, 160, 50280)}


def random_layer(make, D, I, N, K, R):
    """Sizes of values as an untrained model has them."""
    return dict(norm=1 + 0.1 * make(D), in_proj=make(2 * I, D) / D ** 0.5, conv_w=make(I, 1, K) / K ** 0.5, conv_b=0.1 * make(I),
                x_proj=make(R + 2 * N, I) / I ** 0.5, dt_proj=make(I, R) / R ** 0.5, dt_bias=make(I) - 4,
                A=-torch.exp(0.5 * make(I, N)), D=make(I), out_proj=make(D, I) / I ** 0.5)


class Model:
    def __init__(self, embedding, layers, eps):
        self.embedding, self.layers, self.eps = embedding, layers, eps

    @classmethod
    def random(cls, shape, device):
        n_layer, D, N, K, R, vocab = shape
        generator = torch.Generator(device=device).manual_seed(1)

        def make(*size):
            return torch.randn(*size, generator=generator, device=device)
        return cls(make(vocab, D), [random_layer(make, D, 2 * D, N, K, R) for _ in range(n_layer)], 1e-5)


# s[t] = decay[t] s[t-1] + added[t], y[t] = s[t] out[t]; decay and added [L, B, I, N], out [L, B, N], y [L, B, I].
def scan_by_loop(decay, added, out):
    state, y = torch.zeros_like(added[0]), []
    for t in range(decay.shape[0]):
        state = decay[t] * state + added[t]
        y.append((state @ out[t][..., None])[..., 0])
    return torch.stack(y)


def scan_by_fused_loop(decay, added, out):
    for t in range(1, decay.shape[0]):
        torch.addcmul(added[t], decay[t], added[t - 1], out=added[t])
    return (added @ out[..., None])[..., 0]


def scan_by_doubling(decay, added, out):
    """Step d joins each map with that of d steps before it."""
    d = 1
    while d < decay.shape[0]:
        added[d:] = torch.addcmul(added[d:], decay[d:], added[:-d])
        decay[d:] = decay[d:] * decay[:-d]
        d *= 2
    return (added @ out[..., None])[..., 0]


SCANS = {"loop": scan_by_loop, "fused loop": scan_by_fused_loop, "doubling": scan_by_doubling}


def layer_forward(p, residual, eps, scan):
    """What a layer adds to the residual stream, [B, L, D]."""
    B, L, _ = residual.shape
    I, N = p["A"].shape
    R, K = p["dt_proj"].shape[1], p["conv_w"].shape[2]
    n = residual * torch.rsqrt(residual.square().mean(-1, keepdim=True) + eps) * p["norm"]
    x, z = functional.linear(n, p["in_proj"]).split([I, I], -1)
    c = functional.conv1d(x.transpose(1, 2), p["conv_w"], p["conv_b"], padding=K - 1, groups=I)[:, :, :L]
    c = functional.silu(c).transpose(1, 2)
    dt, b, out = functional.linear(c, p["x_proj"]).split([R, N, N], -1)
    delta = functional.softplus(functional.linear(dt, p["dt_proj"], p["dt_bias"]))
    over_time = delta.transpose(0, 1).contiguous()
    decay = torch.exp(over_time[..., None] * p["A"])
    added = (over_time * c.transpose(0, 1))[..., None] * b.transpose(0, 1)[:, :, None, :]
    y = scan(decay, added, out.transpose(0, 1)).transpose(0, 1)
    y = (y + p["D"] * c) * functional.silu(z)
    return functional.linear(y, p["out_proj"])


def forward(model, ids, scan):
    """The outputs of the last layer's mixer and the residual stream behind it."""
    residual = model.embedding[ids]
    for p in model.layers:
        h = layer_forward(p, residual, model.eps, scan)
        residual = residual + h
    return h, residual


# ---------------------------------------------------------------- times
def best_ms(run, seconds):
    run()
    torch.cuda.synchronize()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 1e3 * min(times)


def as_graph(run):
    """One launch for the whole of it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def measure(args):
    model = Model.random(SHAPES[args.shape], "cuda")
    print("PyTorch %s, %s; %s, %d tokens a sample, FP32: ms a sample" % (torch.__version__, torch.cuda.get_device_name(), args.shape,
                                                                       args.tokens), flush=True)
    for batch in args.batches:
        ids = (torch.arange(batch * args.tokens, device="cuda") * 7919 % model.embedding.shape[0]).view(batch, args.tokens)
        found = []
        for scan in SCANS:
            def run():
                return forward(model, ids, SCANS[scan])
            found.append(("eager " + scan, best_ms(run, args.seconds) / batch))
            try:
                found.append(("graph " + scan, best_ms(as_graph(run), args.seconds) / batch))
            except torch.cuda.OutOfMemoryError:
                found.append(("graph " + scan, float("inf")))
            torch.cuda.empty_cache()
        found.sort(key=lambda pair: pair[1])
        print("batch %3d: %s" % (batch, ", ".join("%s %.2f" % pair for pair in found)), flush=True)


def check():
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "reference"))
    import numpy as np
    import quamba_reference as reference
    model = reference.Model(reference.random_model_tensors(3, 64, 3, 256))
    layers = []
    for p in model.layers:
        layer = {name: torch.from_numpy(np.array(value, np.float32)) for name, value in p.items()}
        layers.append(dict(layer, conv_w=layer["conv_w"][:, None, :], A=-torch.exp(layer["A_log"]), D=layer["Dskip"]))
    peer = Model(torch.from_numpy(np.array(model.embedding, np.float32)), layers, float(model.eps))
    ids = np.arange(2 * 96).reshape(2, 96) * 7919 % 256
    good = True
    for name, scan in SCANS.items():
        h, _ = forward(peer, torch.from_numpy(ids), scan)
        for row in range(2):
            want = reference.float_forward(model, ids[row])[0][(2, "mixer_output")]
            found = float(np.linalg.norm(h[row].numpy() - want) / np.linalg.norm(want))
            good = good and found < 1e-4
            print("%s, sample %d: relative L2 distance %.2g: %s" % (name, row, found, "ok" if found < 1e-4 else "BAD"))
    sys.exit(0 if good else 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--shape", choices=SHAPES, default="mamba-130m")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=1, help="of each measurement")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if args.check:
        check()
    measure(args)


main()
