#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The C numerics against quamba_reference.py, by the checks of docs/numerics.md ("How close is close enough").

    check_numerics.py CHECK PROBE DEMO_DIR [WORK_DIR]
    CHECK: ties, float, half, falcon, layers, int8, hadamard, calibrate, demo, end_to_end
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

import quamba_reference as q

SITES = ("in_proj:input", "in_proj:output", "x_proj:input", "x_proj:output", "dt_proj:output", "out_proj:input",
         "ssm_state_act:input")  # the order of enum scale_site
SHAPES = ((64, 2), (96, 2), (160, 2), (256, 2))  # d_model (Hadamard bases 1, 12, 40, 1), n_layer
LENGTHS = (1, 2, 3, 5, 64, 129, 513)
LONG = os.environ.get("SSMSWEEP_LONG") == "1"
VOCAB = 61


class Probe:
    def __init__(self, binary, work):
        self.binary, self.work = binary, work

    def path(self, name):
        return os.path.join(self.work, name)

    def run(self, *arguments):
        subprocess.run([self.binary, *map(str, arguments)], check=True)
        return np.fromfile(arguments[-1], "<f4")

    def choose(self, isa):
        """From now on; False where the machine lacks it."""
        os.environ["SSMSWEEP_ISA"] = isa
        np.ones(1, "<f4").tofile(self.path("one"))
        return subprocess.run([self.binary, "hadamard", "1", self.path("one"), self.path("out")], stderr=subprocess.DEVNULL,
                              check=False).returncode == 0

    def ids(self, samples):
        np.concatenate([np.concatenate([[len(s)], s]) for s in samples]).astype("<i4").tofile(self.path("ids"))
        return self.path("ids")

    def scales(self, scales):
        if scales is None:
            return "-"
        scale_array(scales).astype("<f4").tofile(self.path("scales"))
        return self.path("scales")

    def forward(self, folder, model, mode, scales, samples):
        """Per sample ({(layer, component): array}, logits)."""
        out = self.run("forward", folder, mode, self.scales(scales), self.ids(samples), self.path("out"))
        reader, results = Reader(out), []
        for tokens in samples:
            cap = {(l, c): reader.take(len(tokens), width(model, c)) for l in range(len(model.layers)) for c in q.COMPONENTS}
            results.append((cap, reader.take(len(tokens), len(model.embedding))))
        reader.finish()
        return results

    def layers(self, folder, model, mode, scales, inputs):
        """inputs: (residual, h) per layer.  Per layer (captures, residual, h)."""
        np.concatenate([np.concatenate([r, h]).ravel() for r, h in inputs]).astype("<f4").tofile(self.path("in"))
        length = len(inputs[0][0])
        reader = Reader(self.run("layers", folder, mode, self.scales(scales), length, self.path("in"), self.path("out")))
        results = [({c: reader.take(length, width(model, c)) for c in q.COMPONENTS}, reader.take(length, model.D),
                    reader.take(length, model.D)) for _ in inputs]
        reader.finish()
        return results


class Reader:
    def __init__(self, values):
        self.values, self.at = values, 0

    def take(self, rows, columns):
        part = self.values[self.at:self.at + rows * columns].reshape(rows, columns)
        self.at += rows * columns
        return part

    def finish(self):
        assert self.at == len(self.values), "the probe wrote %d values, %d were expected" % (len(self.values), self.at)


def width(model, component):
    return model.D if component.startswith("mixer") else model.I


def scale_array(scales):
    return np.array([[s[site] for site in SITES] for s in scales], np.float32)


def check(condition, text):
    print(("ok    " if condition else "WRONG ") + text)
    if not condition:
        check.failed += 1


check.failed = 0


def save_model(probe, name, tensors, mixer_eps=None):
    model, folder = q.Model(tensors, mixer_eps=mixer_eps), probe.path(name)
    os.makedirs(folder, exist_ok=True)
    q.save_safetensors(os.path.join(folder, "model.safetensors"), tensors)
    config = dict(model_type="mamba", hidden_size=model.D, intermediate_size=model.I, num_hidden_layers=len(model.layers),
                  state_size=model.N, conv_kernel=model.K, expand=model.I // model.D, time_step_rank=model.R, vocab_size=VOCAB,
                  layer_norm_epsilon=1e-5, use_bias=False, use_conv_bias=True, hidden_act="silu")
    if mixer_eps:
        config.update(model_type="falcon_mamba", mixer_rms_eps=mixer_eps)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)
    return folder, model


def lengths(d_model):
    """The longest takes as long as all others: one model has it, and all where there is time."""
    return LENGTHS if LONG or d_model == 96 else LENGTHS[:-1]


def random_case(probe, d_model, n_layer):
    """A random model in a folder of its own, tokens of every length, scales of all of them."""
    folder, model = save_model(probe, "model%d" % d_model, q.random_model_tensors(1000 + d_model, d_model, n_layer, VOCAB))
    g = np.random.Generator(np.random.PCG64(d_model))
    samples = [g.integers(0, VOCAB, n).astype(np.int32) for n in lengths(d_model)]
    return folder, model, samples


def demo_case(demo, count):
    """The demo model and the ids of its first texts."""
    model = q.Model(q.load_safetensors(os.path.join(demo, "model.safetensors")))
    ids = np.load(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "demo_calibration_ids.npy"))
    return model, [row[row >= 0][:512].astype(np.int32) for row in ids[:count]]


# ---- 1. float modes, end to end ----

def worst_difference(got, want):
    return max(np.abs(got[k] - want[k]).max() / np.abs(want[k]).max() for k in want)


class DoubleSums:
    """The same fp16 model with its matrix products summed in double: another legal order of the same sums."""

    def __init__(self, model):
        self.__dict__.update(model.__dict__)
        wide = ("in_proj", "x_proj", "dt_proj", "out_proj")
        self.layers = [{k: (v.astype(np.float32).view(WideProduct) if k in wide else v) for k, v in p.items()}
                       for p in model.layers]


class WideProduct(np.ndarray):
    """A float32 matrix whose products are formed in double and rounded once."""

    def astype(self, dtype, *args, **kwargs):
        return np.asarray(self).astype(dtype, *args, **kwargs).view(WideProduct)

    def __rmatmul__(self, left):
        return (np.asarray(left, np.float64) @ np.asarray(self, np.float64)).astype(np.float32)

    __array_ufunc__ = None


def float_samples(probe, folder, model, samples, what):
    """FP32 of a model against the Python, sample by sample."""
    for (cap, logits), tokens in zip(probe.forward(folder, model, "fp32", None, samples), samples):
        want, want_logits = q.float_forward(model, tokens)
        text = "%s L=%d: " % (what, len(tokens))
        worst = worst_difference(cap, want)
        check(worst <= 2e-5, text + "largest difference %.1e of the largest value, at most 2e-5" % worst)
        worst = np.abs(logits - want_logits).max() / np.abs(want_logits).max()
        check(worst <= 2e-5, text + "logits %.1e, at most 2e-5" % worst)


def float_modes(probe, demo):
    cases = [(demo, *demo_case(demo, 2))] + [random_case(probe, d, n) for d, n in SHAPES]
    for folder, model, samples in cases:
        float_samples(probe, folder, model, samples, "fp32 D=%d" % model.D)


# FP16 rounds after every step, so that two legal orders of one sum may differ by a unit of FP16 (5e-4), which later layers
# amplify: 2e-5 cannot hold end to end for the reference against itself either.  Nor can a fixed share of equal values, one
# layer at a time: the wider the sums and the larger their terms, the more of them lie near enough to a boundary (0.1 % of
# the demo's values differ, 0.5 % at D = 768).  The reference's own twin with sums in double tells how many that is; two
# FP32 sums are apart by the errors of both, the reference and its twin by one.  So twice as many may differ, and twice as
# much in squares.
def half_layers(probe, demo):
    wide = random_case(probe, 768, 1)
    half_cases(probe, [(demo, *demo_case(demo, 2))] + [random_case(probe, d, n) for d, n in SHAPES] + [(*wide[:2], wide[2][:6])])


def half_cases(probe, cases):
    for folder, model, samples in cases:
        twin = DoubleSums(model)
        differ, twin_differ, count, off, twin_off, norm = 0, 0, 0, 0.0, 0.0, 0.0
        for tokens in samples:
            inputs, want, other = [], [], []
            h = q.to_fp16(model.embedding[tokens])
            residual = np.zeros_like(h)
            for l in range(len(model.layers)):
                inputs.append((residual, h))
                other.append(q.float_layer(twin, l, residual, h, "fp16")[0])
                cap, residual, h = q.float_layer(model, l, residual, h, "fp16")
                want.append(cap)
            for (got, _, _), cap, cap2 in zip(probe.layers(folder, model, "fp16", None, inputs), want, other):
                for c in q.COMPONENTS[1:]:
                    differ += (got[c] != cap[c]).sum()
                    twin_differ += (np.asarray(cap2[c]) != cap[c]).sum()
                    count += got[c].size
                a, b, c = got["mixer_output"], cap["mixer_output"], np.asarray(cap2["mixer_output"])
                off += ((a - b) ** 2).sum()
                twin_off += ((c - b) ** 2).sum()
                norm += (b ** 2).sum()
        check(differ <= 2 * twin_differ, "fp16 D=%d: %.4f %% of the FP16 values differ, %.4f %% between the reference and its twin with sums in double"
              % (model.D, 100 * differ / count, 100 * twin_differ / count))
        check(off <= 2 * twin_off + 1e-12 * norm, "fp16 D=%d: mixer_output %.1e from the reference, which is %.1e from its twin with sums in double"
              % (model.D, np.sqrt(off / norm), np.sqrt(twin_off / norm)))


# ---- Falcon-Mamba: the same layer with three norms; float modes alone ----

def falcon(probe, _demo):
    """The second eps is so large that it shows."""
    cases = []
    for d_model, eps in ((64, 1e-6), (96, 0.1), (160, 1e-6)):
        tensors = q.random_model_tensors(2000 + d_model, d_model, 2, VOCAB)
        folder, model = save_model(probe, "falcon%d" % d_model, tensors, eps)
        g = np.random.Generator(np.random.PCG64(d_model))
        cases.append((folder, model, [g.integers(0, VOCAB, n).astype(np.int32) for n in lengths(d_model)]))
        float_samples(probe, *cases[-1], "Falcon-Mamba, fp32 D=%d eps=%g" % (d_model, eps))
        want = q.float_forward(model, cases[-1][2][3])[0]
        for other in (None, 0.1 if eps < 0.1 else 1e-6):
            far = worst_difference(q.float_forward(q.Model(tensors, mixer_eps=other), cases[-1][2][3])[0], want)
            check(far > 1e-2, "Falcon-Mamba D=%d: with %s it would be off by %.1e" % (d_model, "eps %g" % other if other else "no norms", far))
    half_cases(probe, cases)


# ---- 2. one layer at a time ----

class Tally:
    """Of one (mode, component): equal codes, codes off by more than one, squared distances."""

    def __init__(self):
        self.codes = self.equal = self.far = 0
        self.off = self.quantization = 0.0

    def add_codes(self, got, want):
        step = np.abs(got.astype(int) - want.astype(int))
        self.codes += step.size
        self.equal += (step == 0).sum()
        self.far += (step > 1).sum()

    def add_values(self, got, want, float_layer):
        self.off += ((got.astype(np.float64) - want) ** 2).sum()
        self.quantization += ((want.astype(np.float64) - float_layer) ** 2).sum()


def codes_of(component, values, model, scales, dynamic_scale):
    """The INT8 codes behind a captured component, or None where it is float."""
    scale = {"mixer_input": scales["in_proj:input"], "conv1d_input": dynamic_scale or scales["in_proj:output"],
             "conv1d_output": scales["x_proj:input"], "ssm_input": scales["x_proj:input"]}.get(component)
    if scale is None:
        return None
    codes = (q.hadamard(values) if component == "mixer_input" else values) / scale
    rounded = np.rint(codes)
    return rounded if np.abs(codes - rounded).max() < 1e-2 else None


def compare_layer(tally, qm, l, residual, h, mode, got, want):
    model, scales = qm.m, qm.scales[l]
    plain, _, _ = q.float_layer(model, l, q.hadamard(residual, True), q.hadamard(h, True))
    dynamic = np.abs(want["conv1d_input"]).max() / 127 if mode == "3" else None
    for c in q.COMPONENTS:
        t = tally.setdefault((mode, c), Tally())
        a, b = codes_of(c, got[c], model, scales, dynamic), codes_of(c, want[c], model, scales, dynamic)
        if a is not None and b is not None:
            t.add_codes(a, b)
        t.add_values(got[c], want[c], plain[c])


def one_layer_at_a_time(probe, folder, qm, samples, what):
    """Every layer of every mode on the inputs that the Python has there."""
    tally = {}
    for tokens in samples:
        for mode in q.QUANT_MODES:
            inputs, want = [], []
            h = qm.embedding[tokens]
            residual = np.zeros_like(h)
            for l in range(len(qm.layers)):
                inputs.append((residual, h))
                cap, residual, h = q.quant_layer(qm, l, residual, h, mode)
                want.append(cap)
            for l, (got, _, _) in enumerate(probe.layers(folder, qm.m, mode, qm.scales, inputs)):
                compare_layer(tally, qm, l, *inputs[l], mode, got, want[l])
    for (mode, c), t in tally.items():
        share = t.equal / t.codes if t.codes else 1.0
        distance = np.sqrt(t.off / t.quantization)
        check(share >= 0.999 and t.far == 0 and distance <= 0.02, "%s mode %s %s: %s, distance %.4f of the quantization error, at most 0.02"
              % (what, mode, c, "%.4f %% of %d codes equal, %d off by more than 1" % (100 * share, t.codes, t.far) if t.codes else "float", distance))


def layers(probe, demo):
    model, samples = demo_case(demo, 4)
    cases = [(demo, model, samples[:1], samples)] + [(*random_case(probe, d, n), None) for d, n in SHAPES]
    for folder, model, samples, calibration in cases:
        qm = q.QuantModel(model, q.calibrate(model, calibration or samples))
        one_layer_at_a_time(probe, folder, qm, samples, "D=%d" % model.D)


# ---- 3. end to end, on the demo model ----

# What quamba_reference.py gave for this model on its first 10 texts (512 tokens, alpha 0.9995): layer -> MSE of mixer_output, then correlation at the last layer, perplexity.
DEMO_TABLE = {
    "fp16": ({0: 2.246e-9, 11: 9.595e-9, 23: 5.983e-8}, 1.00000, 5.2410),
    "0": ({0: 6.564e-5, 11: 9.263e-5, 23: 5.977e-4}, 0.99640, 5.2830),
    "2-0": ({0: 6.564e-5, 11: 9.263e-5, 23: 5.977e-4}, 0.99640, 5.2830),
    "2-1": ({0: 6.564e-5, 11: 9.277e-5, 23: 6.020e-4}, 0.99637, 5.2854),
    "2-2": ({0: 6.564e-5, 11: 9.277e-5, 23: 6.020e-4}, 0.99637, 5.2854),
    "2-3": ({0: 6.564e-5, 11: 9.201e-5, 23: 5.972e-4}, 0.99640, 5.2820),
    "2-4": ({0: 6.039e-5, 11: 5.144e-5, 23: 4.503e-4}, 0.99729, 5.2652),
    "3": ({0: 6.039e-5, 11: 5.087e-5, 23: 4.366e-4}, 0.99737, 5.2572),
}


def perplexity(results, samples):
    loss, count = 0.0, 0
    for (_, logits), tokens in zip(results, samples):
        own = q.log_softmax(logits[:-1])
        loss -= own[np.arange(len(own)), tokens[1:]].sum()
        count += len(own)
    return float(np.exp(loss / count))


def joined(results, layer):
    return np.concatenate([cap[layer, "mixer_output"] for cap, _ in results])


def statistics(reference, results, layer):
    record = q.compare(joined(reference, layer), joined(results, layer))
    return record["mse"], record["correlation"]


def demo_table(probe, demo):
    model, samples = demo_case(demo, 10)
    # Our own calibration, as a user gets it.
    out = probe.run("observe", demo, 0.9995, probe.ids(samples), probe.path("observed"))
    ours = [dict(zip(SITES, row)) for row in out.reshape(-1, len(model.layers), len(SITES))[-1]]
    reference = probe.forward(demo, model, "fp32", None, samples)
    check(abs(perplexity(reference, samples) / 5.2409 - 1) < 1e-4, "fp32 perplexity %.4f, table 5.2409" % perplexity(reference, samples))
    for mode, (mses, correlation, table_perplexity) in DEMO_TABLE.items():
        results = probe.forward(demo, model, mode, None if mode in q.FLOAT_MODES else ours, samples)
        for layer, want in mses.items():
            mse, r = statistics(reference, results, layer)
            check(abs(mse / want - 1) <= 0.15, "%s layer %d: MSE %.3e, table %.3e, within 15 %%" % (mode, layer, mse, want))
        check(abs(r - correlation) <= 0.003, "%s layer 23: correlation %.5f, table %.5f, within 0.003" % (mode, r, correlation))
        value = perplexity(results, samples)
        check(abs(value / table_perplexity - 1) <= 0.01, "%s perplexity %.4f, table %.4f, within 1 %%" % (mode, value, table_perplexity))


def same_errors(mode, reference, got, want):
    """Two runs of a mode are as far from the reference as each other, at every layer."""
    ratios, distances = [], []
    for layer in sorted({layer for layer, _ in got[0][0]}):
        (a, ra), (b, rb) = statistics(reference, got, layer), statistics(reference, want, layer)
        ratios.append(abs(a / b - 1))
        distances.append(abs(ra - rb))
    check(max(ratios) <= 0.15 and max(distances) <= 0.003, "%s: MSE within %.1f %% (15 %%), correlation within %.5f (0.003) at every layer"
          % (mode, 100 * max(ratios), max(distances)))


def end_to_end(probe, demo):
    """Every layer against the Python run of the same model, scales and tokens."""
    model, samples = demo_case(demo, 8 if LONG else 6)
    samples = [s[:256] for s in samples]
    qm = q.QuantModel(model, q.calibrate(model, samples))
    reference = [q.float_forward(model, tokens) for tokens in samples]
    wants = {}
    for mode in ("fp16",) + q.QUANT_MODES:
        if mode not in q.TWINS:
            wants[mode] = [q.forward(model, qm, tokens, mode) for tokens in samples]
        want = wants[q.TWINS.get(mode, mode)]
        same_errors(mode, reference, probe.forward(demo, model, mode, None if mode == "fp16" else qm.scales, samples), want)


# ---- 4. exact parts ----

def int8(probe, _demo):
    g = np.random.Generator(np.random.PCG64(4))
    for rows, depth, outputs in ((1, 1, 1), (7, 48, 33), (13, 1536, 80), (33, 95, 100)):
        a = g.integers(-128, 128, (rows, depth)).astype(np.int8)
        w = g.integers(-128, 128, (outputs, depth)).astype(np.int8)
        a.tofile(probe.path("a"))
        w.tofile(probe.path("w"))
        got = probe.run("int8", rows, depth, outputs, probe.path("a"), probe.path("w"), probe.path("out")).reshape(rows, outputs)
        check((got == q.int8_matmul(a, w)).all(), "INT8 GEMM %d x %d x %d: equal" % (rows, depth, outputs))


def hadamard(probe, _demo):
    g = np.random.Generator(np.random.PCG64(5))
    for dim in (1, 2, 12, 24, 40, 64, 80, 96, 160, 192, 320, 512, 768, 1536, 2048, 2560, 5120):
        x = g.standard_normal((3, dim)).astype(np.float32)
        x.tofile(probe.path("in"))
        got = probe.run("hadamard", dim, probe.path("in"), probe.path("out")).reshape(3, 2, dim)
        for way, name in ((0, "forward"), (1, "inverse")):
            worst = np.abs(got[:, way] - q.hadamard(x, transpose=bool(way))).max()
            check(worst < 3e-6, "Hadamard %d %s: largest difference %.1e" % (dim, name, worst))
        check(np.abs((got[:, 0] ** 2).sum(1) / (x ** 2).sum(1) - 1).max() < 1e-5, "Hadamard %d keeps lengths" % dim)


def calibrate(probe, demo):
    cases = [(demo, *demo_case(demo, 3))] + [random_case(probe, d, n) for d, n in SHAPES]
    for folder, model, samples in cases:
        for alpha in (0.9995, 0.99, 1.0):
            out = probe.run("observe", folder, alpha, probe.ids(samples), probe.path("out")).reshape(-1, len(model.layers), len(SITES))
            want = scale_array(q.calibrate(model, samples, alpha))
            worst = np.abs(out[-1] / want - 1).max()
            check(worst < 2e-5, "D=%d alpha=%g: scales within %.1e" % (model.D, alpha, worst))


# ---- 5. halves, exactly ----

TIES = dict(zip(SITES, np.array([0.5, 4, 1, 1, 1, 16, 1], np.float32)))    # scales
INSTRUCTION_SETS = ("naive", "scalar", "avx2", "avx512")


def tie_tensors(g):
    """One layer in which every rounding to INT8 meets many exact halves, and everything before it is exact: weights are small
    integers (with one that makes the scale a power of two, where nothing comes in), all values behind conv1d are so large
    that SiLU gives them back, and the state of the scan stays 0."""
    D, I, N = 64, 256, 16
    t = q.random_model_tensors(7, D, 1, VOCAB, expand=I // D)
    m = "backbone.layers.0.mixer."
    w_in = np.zeros((2 * I, D), np.float32)
    for row in range(3, I):
        w_in[row, g.choice(np.arange(1, D), 8, replace=False)] = g.choice([-1, 1], 8)
    w_in[I:, 0] = g.integers(20, 31, I)    # z, from the first element, is 80 to 120 in every token
    w_in[1, 1] = 127                       # conv1d ignores it
    conv_w, conv_b = g.choice([-1.0, 1.0], (I, 1, 4)), g.integers(80, 120, I).astype(float)
    conv_w[:3], conv_b[:3], conv_w[0, 0, 0], conv_b[2] = 0, 0, 127, 127
    w_out = np.zeros((D, I))
    for row in range(1, D):
        w_out[row, g.choice(I, 8, replace=False)] = g.choice([-1, 1], 8)
    w_out[0, 0] = 127
    skip = np.ones(I)
    skip[0] = 127 / 64    # conv1d gives 0 there
    x_proj = t[m + "x_proj.weight"]
    x_proj[4:4 + N] = 0    # B
    new = {"in_proj.weight": q.hadamard(2 * w_in, transpose=True), "conv1d.weight": conv_w / 8, "conv1d.bias": conv_b / 2,
           "out_proj.weight": q.hadamard(q.hadamard(w_out / 64, transpose=True).T, transpose=True).T, "D": skip}
    t.update((m + name, np.ascontiguousarray(value, np.float32)) for name, value in new.items())
    t["backbone.layers.0.norm.weight"][:] = 1
    return t


def tie_inputs(g, tokens, D):
    """Rows whose mean square is a power of four, so that the norm is exact; the first element is always the largest."""
    values = np.repeat([1, 3, 5, 7], [14, 30, 10, 9])
    rows = [np.concatenate([[7], g.permutation(values) * g.choice([-1, 1], D - 1)]) for _ in range(tokens)]
    return np.array(rows, np.float32) * 1024


def without(name, rounding, qm, residual, h, mode):
    """The layer of a reference in which one function rounds otherwise."""
    kept = getattr(q, name)
    setattr(q, name, rounding)
    try:
        return q.quant_layer(qm, 0, residual, h, mode)[0]
    finally:
        setattr(q, name, kept)


def requantize_away(acc, first, second):
    return q.sat8(q.round_half_away((acc * np.float32(first)).astype(np.float32) * np.float32(second)))


def ties(probe, _demo):
    g = np.random.Generator(np.random.PCG64(9))
    folder, model = save_model(probe, "ties", tie_tensors(g))
    qm = q.QuantModel(model, [TIES])
    residual = tie_inputs(g, 40, model.D)
    h = np.zeros_like(residual)
    for mode in ("0", "2-1", "2-2", "2-3", "2-4"):    # the scale of mode 3 is no power of two
        want = q.quant_layer(qm, 0, residual, h, mode)[0]
        int8 = mode in ("0", "2-1", "2-2")
        for what, component, other in (("requantize away from zero", "conv1d_input", without("requantize", requantize_away, qm, residual, h, mode)),
                                       ("halves away from zero to even", "conv1d_output" if int8 else "mixer_output",
                                        without("round_half_away", np.rint, qm, residual, h, mode))):
            changed = np.mean(other[component] != want[component])
            check(changed > 0.02, "mode %s would show %s: %.1f %% of %s would change" % (mode, what, 100 * changed, component))
        for isa in INSTRUCTION_SETS:
            if not probe.choose(isa):
                print("skipped: this machine has no " + isa)
                continue
            (got, _, _), = probe.layers(folder, model, mode, [TIES], [(residual, h)])
            for c in q.COMPONENTS:
                wrong = np.count_nonzero(got[c] != want[c])
                check(wrong == 0, "halves, mode %s, %s, %s: %d of %d values differ" % (mode, isa, c, wrong, want[c].size))


CHECKS = {"ties": ties, "float": float_modes, "half": half_layers, "falcon": falcon, "layers": layers, "int8": int8, "hadamard": hadamard, "calibrate": calibrate,
          "demo": demo_table, "end_to_end": end_to_end}


def main():
    name, binary, demo = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as work:
        CHECKS[name](Probe(binary, work), demo)
    print("%s: %s" % (name, "%d WRONG" % check.failed if check.failed else "all ok"))
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
