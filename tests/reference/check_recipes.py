#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Recipes against recipe_reference.py, one layer at a time, by the checks of docs/numerics.md ("How close is close enough").

    check_recipes.py CHECK PROBE DEMO_DIR
    CHECK: units (every unit in every format, alone), named (w4a16), random (seeded recipes, other settings in each layer)
"""
import os
import sys
import tempfile

import numpy as np

import check_numerics as n
import quamba_reference as q
import recipe_reference as r

LONG = os.environ.get("SSMSWEEP_LONG") == "1"
SHAPES = ((96, 2), (128, 2), (160, 2))    # d_model (Hadamard bases 12, 1, 40), n_layer
RECIPES = 200 if LONG else 12             # random ones
LENGTHS = (1, 2, 5, 33, 64, 130)


def inputs_of(unit):
    """Of a weight that may have groups: which size they are cut from."""
    return "D" if unit == "weight:in_proj" else "I"


def fits(model, unit, fmt):
    """Do groups of this format divide the inputs of the weight?"""
    return fmt not in r.INT4 or getattr(model, inputs_of(unit)) % r.INT4[fmt] == 0


def write_recipe(probe, settings):
    path = probe.path("recipe")
    with open(path, "w", encoding="utf-8") as f:
        for l, setting in enumerate(settings):
            f.write("%d %s\n" % (l, " ".join("%s=%s" % item for item in setting.items())))
    return "@" + path


# ---- how close ----

def scale_of(component, setting, scales, want):
    """Of the grid behind a captured component, [rows or 1, 1]; None: it is float."""
    unit, site = {"mixer_input": ("in_proj:input", "in_proj:input"), "conv1d_input": ("conv1d:input", "in_proj:output"),
                  "conv1d_output": ("conv1d:output", "x_proj:input"), "ssm_input": ("scan:u", "x_proj:input")}.get(component, (None, None))
    fmt = setting.get(unit)
    if component == "ssm_input" and fmt == "float":
        fmt = setting["conv1d:output"]
    if fmt in ("int8", "codes"):
        return np.float32(scales[site]).reshape(1, 1)
    if fmt == "dynamic":
        return (np.abs(want).max() / np.float32(127)).reshape(1, 1)
    if fmt == "dynamic-token":
        values = q.hadamard(want) if component == "mixer_input" else want
        return np.abs(values).max(1, keepdims=True) / np.float32(127)
    return None


def codes_of(component, values, scale):
    turned = q.hadamard(values) if component == "mixer_input" else values
    return np.rint(turned / np.where(scale > 0, scale, 1))


class Twin:
    """The reference with its FP32 products summed in double: another legal order of the same sums."""

    def __enter__(self):
        self.kept = r.matrix_product
        r.matrix_product = lambda a, w: (a.astype(np.float64) @ w.astype(np.float64).T).astype(np.float32)

    def __exit__(self, *_):
        r.matrix_product = self.kept


def distance(a, b):
    return float(np.sqrt(((a.astype(np.float64) - b) ** 2).sum()))


def half_steps(component, got, want):
    """By how many steps of FP16 they differ, of FP16 values; None: they are none."""
    if component == "mixer_output":
        return None
    if component == "mixer_input":
        got, want = q.hadamard(got), q.hadamard(want)
        rounded = q.to_fp16(want)
        if np.abs(want - rounded).max() > 2e-6 * np.abs(want).max():    # turned back and forth
            return None
        got, want = q.to_fp16(got), rounded
    elif not np.array_equal(want, q.to_fp16(want)):
        return None
    step = np.spacing(np.abs(want).astype(np.float16)).astype(np.float32)
    return np.rint(np.abs(got - want) / step)


class Sums:
    """Of a recipe and a component, over its layers and samples."""

    def __init__(self):
        self.codes = self.equal = self.far = self.tokens = 0
        self.halves = self.odd = self.odder = 0
        self.off = self.twin = self.quantization = self.largest = self.most = 0.0

    def add(self, component, setting, scales, got, want, twin, plain, same):
        """same: rows of which all that they are made of in this layer is the same: there no code is off by more than 1.  Gives the rows
        in which this component is the same."""
        scale, steps = scale_of(component, setting, scales, want), half_steps(component, got, want)
        equal = np.ones(len(want), bool)
        if scale is not None:
            step = np.abs(codes_of(component, got, scale) - codes_of(component, want, scale))
            self.codes += step.size
            self.equal += int((step == 0).sum())
            self.far += int((step[same] > 1).sum())
            equal = (step == 0).all(1)
            self.tokens += int((~equal).sum())
        elif steps is not None:
            self.halves += want.size
            self.odd += int((steps > 0).sum())
            self.odder += int((steps[same] > 1).sum())
            equal = (steps == 0).all(1)
        if component not in ("ssm_output", "norm_output", "mixer_output"):    # codes that differ are counted; the scan carries them on
            got, want, twin, plain = (v[same & equal] for v in (got, want, twin, plain))
        if want.size == 0:
            return equal
        self.off += distance(got, want) ** 2
        self.twin += distance(twin, want) ** 2
        self.quantization += distance(want, plain) ** 2
        self.largest = max(self.largest, float(np.abs(got - want).max()))
        self.most = max(self.most, float(np.abs(want).max()))
        return equal

    def verdict(self, only_half):
        """Point 2: codes, and 0.02 of the quantization error.  Codes may differ in one token where these are few: one code of the input of
        in_proj, which no component shows, that lies on a boundary moves several of that token's.  Where nothing is quantized but by FP16 or FP32 that is no error to
        speak of: point 1, the float modes' bound or twice the reference's own distance from its twin; of FP16 values 99.5 % equal.
        Of a tensor that is rounded to FP16 on the way (only_half: nothing is on another grid), 99.5 % equal values, the others
        off by one step, are a distance of sqrt(0.005) steps, where rounding itself is one of sqrt(1 / 12)."""
        share = self.equal / self.codes if self.codes else 1.0
        limit = 0.005 * 12 if only_half else 0.02 ** 2
        close = self.off <= limit * self.quantization or self.largest <= 2e-5 * self.most or self.off <= 4 * self.twin
        close = close or self.halves > 0 and self.odd <= 0.005 * self.halves and self.odder == 0
        return (share >= 0.999 or self.tokens <= 1) and self.far == 0 and close

    def text(self):
        return "%d of %d codes differ, %d by more than 1, distance %.4f of the quantization error (twin %.4f), largest %.1e of %.1e" % (
            self.codes - self.equal, self.codes, self.far, np.sqrt(self.off / (self.quantization or 1)),
            np.sqrt(self.twin / (self.quantization or 1)), self.largest, self.most)


def spread(rows, taps):
    """With the rows behind them that conv1d takes them into."""
    return np.array([rows[max(0, t - taps + 1):t + 1].any() for t in range(len(rows))])


def check_recipe(probe, folder, rw, samples, settings, what, mode=None):
    """Every layer on the inputs that the Python has there."""
    mode, sums = mode or write_recipe(probe, settings), {c: Sums() for c in q.COMPONENTS}
    for tokens in samples:
        inputs, wants = [], []
        h = rw.q.embedding[tokens]
        residual = np.zeros_like(h)
        for l, setting in enumerate(settings):
            inputs.append((residual, h))
            with Twin():
                twin, _, _ = r.recipe_layer(rw, l, setting, residual, h)
            want, residual, h = r.recipe_layer(rw, l, setting, residual, h)
            wants.append((want, twin))
        for l, (got, _, _) in enumerate(probe.layers(folder, rw.m, mode, rw.scales, inputs)):
            want, twin = wants[l]
            plain, _, _ = q.float_layer(rw.m, l, q.hadamard(inputs[l][0], True), q.hadamard(inputs[l][1], True))
            same = np.ones(len(tokens), bool)
            for c in q.COMPONENTS:
                equal = sums[c].add(c, settings[l], rw.scales[l], got[c], want[c], twin[c], plain[c], same)
                same = same & ~spread(~equal, rw.m.K)
    only_half = all(f in ("float", "fp16", "sequential", "blocked", "chunked", "chunked-fp16", "chunked-gpu") for setting in settings for f in setting.values())
    bad = ["%s: %s" % (c, sums[c].text()) for c in q.COMPONENTS if not sums[c].verdict(only_half)]
    n.check(not bad, "%s: %s" % (what, "; ".join(bad) if bad else sums["mixer_output"].text()))


def case(probe, d_model, n_layer):
    folder, model, samples = n.random_case(probe, d_model, n_layer)
    g = np.random.Generator(np.random.PCG64(d_model))
    samples = [g.integers(0, n.VOCAB, length).astype(np.int32) for length in LENGTHS]
    return folder, r.RecipeWeights(model, q.calibrate(model, samples)), samples


def units(probe):
    """Every unit in every format: alone on the setting of mode 2-1, and against one where all else is float."""
    for d_model, n_layer in SHAPES if LONG else SHAPES[:1] + SHAPES[2:]:
        folder, rw, samples = case(probe, d_model, n_layer)
        samples = samples[1::2] if LONG else samples[1:4:2]
        for base, name in ((r.BASE, "2-1"), (r.ALL_FLOAT, "float")):
            for unit, formats in r.UNITS.items():
                for fmt in formats:
                    if fmt != base[unit] and fits(rw.m, unit, fmt):
                        check_recipe(probe, folder, rw, samples, [dict(base, **{unit: fmt})] * n_layer,
                                     "D=%d %s with %s %s" % (d_model, name, unit, fmt))


def named(probe):
    """The modes with 4-bit weights, by their names."""
    folder, rw, samples = case(probe, 128, 2)
    for mode, setting in r.W4A16_SETTINGS.items():
        check_recipe(probe, folder, rw, samples[1::2], [setting] * 2, mode, mode)


def random_recipes(probe):
    cases = [case(probe, d, layers) for d, layers in SHAPES]
    for seed in range(RECIPES):
        g = np.random.Generator(np.random.PCG64(seed))
        folder, rw, samples = cases[seed % len(cases)]
        settings = [{unit: g.choice([f for f in formats if fits(rw.m, unit, f)]) for unit, formats in r.UNITS.items()}
                    for _ in rw.m.layers]
        some = samples[seed % 2::2] if LONG else [samples[seed % len(samples)]]
        check_recipe(probe, folder, rw, some, settings, "D=%d random recipe %d" % (rw.m.D, seed))
        if seed < len(cases) or LONG and seed % 3 == 0:
            same_bits(probe, folder, rw, samples[3], settings, "D=%d random recipe %d" % (rw.m.D, seed))


def same_bits(probe, folder, rw, tokens, settings, what):
    """On every instruction set, and with three threads."""
    mode, h = write_recipe(probe, settings), rw.q.embedding[tokens]
    results = {}
    for isa, threads in [(isa, 1) for isa in n.INSTRUCTION_SETS] + [("scalar", 3)]:
        os.environ["PROBE_THREADS"] = str(threads)
        if probe.choose(isa):
            probe.layers(folder, rw.m, mode, rw.scales, [(np.zeros_like(h), h)] * len(settings))
            with open(probe.path("out"), "rb") as f:
                results[isa, threads] = f.read()
    del os.environ["PROBE_THREADS"], os.environ["SSMSWEEP_ISA"]
    n.check(len(set(results.values())) == 1, "%s: the same bits with %s" % (what, ", ".join("%s x %d" % key for key in results)))


def canonical(setting):
    """docs/recipes.md, "Runs that are the same"."""
    made, int8 = dict(setting), setting["conv1d:output"] == "int8"
    if made["scan:u"] == "int8" or int8 and made["scan:u"] == "float":
        made["scan:u"] = "codes"
    if int8 and made["weight:x_proj"] in ("float", "fp16"):
        made["x_proj:input"] = "int8"
    return made


def same_settings(probe):
    """Settings that the rules make the same, each computed, give the same bits."""
    folder, rw, samples = case(probe, 96, 2)
    h, told = rw.q.embedding[samples[4]], 0
    for seed in range(400 if LONG else 60):
        g = np.random.Generator(np.random.PCG64(10000 + seed))
        settings = [{unit: g.choice([f for f in formats if fits(rw.m, unit, f)]) for unit, formats in r.UNITS.items()} for _ in range(2)]
        if all(canonical(s) == s for s in settings):
            continue
        results = []
        for some in (settings, [canonical(s) for s in settings]):
            probe.layers(folder, rw.m, write_recipe(probe, some), rw.scales, [(np.zeros_like(h), h)] * 2)
            with open(probe.path("out"), "rb") as f:
                results.append(f.read())
        told += 1
        n.check(results[0] == results[1], "recipe %d and its canonical form" % seed)
    n.check(told >= 10, "%d recipes that are not canonical" % told)


CHECKS = {"units": units, "named": named, "random": random_recipes, "same": same_settings}


def main():
    name, binary, _ = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as work:
        CHECKS[name](n.Probe(binary, work))
    print("%s: %s" % (name, "%d WRONG" % n.check.failed if n.check.failed else "all ok"))
    return 1 if n.check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
