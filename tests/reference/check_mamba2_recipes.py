#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Recipes of Mamba-2 against mamba2_recipe.py, one layer at a time, by the checks of check_recipes.py.

    check_mamba2_recipes.py CHECK PROBE
    CHECK: units (every unit in every format, alone), named (w4a16), random (seeded recipes, other settings in each layer)
"""
import json
import os
import sys
import tempfile

import numpy as np

import check_mamba2
import check_numerics as n
import check_recipes as recipes
import mamba2_recipe as r
import mamba2_reference as m2
import quamba_reference as q
from check_mamba2 import COMPONENTS
from recipe_reference import INT4

LONG = os.environ.get("SSMSWEEP_LONG") == "1"
MODELS = (dict(d_model=96, headdim=16, d_state=20, ngroups=2, chunk_size=16), dict(d_model=128, headdim=32, d_state=32, chunk_size=32),
          dict(d_model=160, headdim=16, d_state=16, ngroups=2, chunk_size=64))
LENGTHS = (1, 2, 5, 33, 64, 130)
RECIPES = 120 if LONG else 9


def scale_of(component, setting, scales, want):
    """As check_recipes.scale_of: of the grid behind a captured component, [rows or 1, columns or 1]; None: it is float."""
    sites = {"mixer_input": ["in_proj:input"], "conv1d_input": ["x_conv_in", "B_conv_in", "C_conv_in"],
             "conv1d_output": ["x_conv_out", "B_conv_out", "C_conv_out"], "ssm_input": ["x_conv_out"], "ssm_B": ["B_conv_out"],
             "ssm_C": ["C_conv_out"], "ssm_dt": ["dt_act"]}.get(component)
    unit = {"mixer_input": "in_proj:input", "conv1d_input": "conv1d:input", "conv1d_output": "conv1d:output", "ssm_dt": "scan:dt"}.get(component, "scan:u")
    if sites is None:
        return None
    fmt = setting[unit]
    if unit == "scan:u" and fmt == "float":
        fmt = setting["conv1d:output"]
    if len(sites) == 1:
        columns, parts = [slice(None)], [want]
    else:
        ends = [0, scale_of.shape.I, scale_of.shape.I + scale_of.shape.G * scale_of.shape.N, want.shape[1]]
        columns = [slice(a, b) for a, b in zip(ends, ends[1:])]
        parts = [want[:, c] for c in columns]
    out = np.empty((len(want) if fmt == "dynamic-token" else 1, want.shape[1]), np.float32)
    for c, part, site in zip(columns, parts, sites):
        if fmt in ("int8", "codes"):
            out[:, c] = scales[site]
        elif fmt == "dynamic":
            out[:, c] = np.abs(part).max() / np.float32(127)
        elif fmt == "dynamic-token":
            values = q.hadamard(part) if component == "mixer_input" else part
            out[:, c] = np.abs(values).max(1, keepdims=True) / np.float32(127)
        else:
            return None
    return out


recipes.scale_of = scale_of


def fits(model, unit, fmt):
    """Do groups of this format divide the inputs of the weight?"""
    return fmt not in INT4 or (model.shape.D if unit == "weight:in_proj" else model.shape.I) % INT4[fmt] == 0


def check_recipe(probe, folder, rw, samples, settings, what, mode=None):
    """Every layer on the inputs that the Python has there."""
    mode, sums, scale_of.shape = mode or recipes.write_recipe(probe, settings), {c: recipes.Sums() for c in COMPONENTS}, rw.m.shape
    for tokens in samples:
        inputs, wants = [], []
        h = rw.q.embedding[tokens]
        residual = np.zeros_like(h)
        for l, setting in enumerate(settings):
            inputs.append((residual, h))
            with recipes.Twin():
                twin, _, _ = r.recipe_layer(rw, l, setting, residual, h)
            want, residual, h = r.recipe_layer(rw, l, setting, residual, h)
            plain = m2.float_layer(rw.m.layers[l], rw.m.shape, q.rmsnorm_unit(q.hadamard(residual, True), rw.m.shape.eps))
            wants.append((want, twin, plain))
        for l, (got, _, _) in enumerate(probe.layers(folder, rw.m, mode, rw.scales, inputs)):
            want, twin, plain = wants[l]
            same = np.ones(len(tokens), bool)
            for c in COMPONENTS:
                equal = sums[c].add(c, settings[l], rw.scales[l], got[c], want[c], twin[c], plain[c], same)
                same = same & ~recipes.spread(~equal, rw.m.shape.K)
    only_half = all(f in ("float", "fp16") or u == "scan:order" for setting in settings for u, f in setting.items())
    bad = ["%s: %s" % (c, sums[c].text()) for c in COMPONENTS if not sums[c].verdict(only_half)]
    n.check(not bad, "%s: %s" % (what, "; ".join(bad) if bad else sums["mixer_output"].text()))


def case(probe, number):
    kind = dict(MODELS[number])
    config, tensors = m2.random_model(seed=5000 + number, n_layer=2, vocab=sum(LENGTHS), **kind)
    config["vocab_size"] = sum(LENGTHS)
    folder = probe.path("recipes%d" % number)
    os.makedirs(folder, exist_ok=True)
    q.save_safetensors(os.path.join(folder, "model.safetensors"), tensors)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    model, g = m2.Model(config, tensors), np.random.Generator(np.random.PCG64(number))
    # No token stands twice: its values in layer 0 that lie on a boundary between two codes would count as often.
    samples = np.split(g.permutation(sum(LENGTHS)).astype(np.int32), np.cumsum(LENGTHS)[:-1])
    return folder, r.RecipeWeights(model, m2.calibrate(model, samples)), samples


def units(probe):
    """Every unit in every format: alone on the setting of mode 2-1, and against one where all else is float."""
    for number in range(len(MODELS)) if LONG else (1,):
        folder, rw, samples = case(probe, number)
        samples = samples[1::2] if LONG else samples[1:4:2]
        for base, name in ((r.BASE, "2-1"), (r.ALL_FLOAT, "float")):
            for unit, formats in r.UNITS.items():
                for fmt in formats:
                    if fmt != base[unit] and fits(rw.m, unit, fmt):
                        check_recipe(probe, folder, rw, samples, [dict(base, **{unit: fmt})] * 2,
                                     "D=%d %s with %s %s" % (rw.m.shape.D, name, unit, fmt))


def named(probe):
    """The modes with 4-bit weights, by their names."""
    folder, rw, samples = case(probe, 1)
    for mode in ("w4a16", "w4a16-seq"):
        check_recipe(probe, folder, rw, samples[1::2], [r.MODE_SETTINGS[mode]] * 2, mode, mode)


def random_recipes(probe):
    cases = [case(probe, number) for number in range(len(MODELS))]
    for seed in range(RECIPES):
        g = np.random.Generator(np.random.PCG64(seed))
        folder, rw, samples = cases[seed % len(cases)]
        settings = [{unit: g.choice([f for f in formats if fits(rw.m, unit, f)]) for unit, formats in r.UNITS.items()} for _ in range(2)]
        some = samples[seed % 2::2] if LONG else [samples[seed % len(samples)]]
        check_recipe(probe, folder, rw, some, settings, "D=%d random recipe %d" % (rw.m.shape.D, seed))
        if seed < len(cases) or LONG and seed % 3 == 0:
            recipes.same_bits(probe, folder, rw, samples[3], settings, "D=%d random recipe %d" % (rw.m.shape.D, seed))


CHECKS = {"units": units, "named": named, "random": random_recipes}


def main():
    name, binary = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as work:
        CHECKS[name](check_mamba2.Probe(binary, work))
    print("%s: %s" % (name, "%d WRONG" % n.check.failed if n.check.failed else "all ok"))
    return 1 if n.check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
