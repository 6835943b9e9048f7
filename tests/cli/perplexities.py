# SPDX-License-Identifier: Apache-2.0
"""What every mode does to the predictions of the demo model is what the Python reference says, but for rounding noise.

The reference calibrates and runs here, with scales of its own: a wrong calibration shows as well.  How far apart two right
programs may lie both say themselves, and docs/statistics.md has the rule: |phi_A - phi_B| <= floor_A + floor_B.  The floor of
a program is the most that it differs from itself when it sums in another order.  ssmsweep reports that of W8A8 modes
(--noise); that of the reference, and of ssmsweep's float modes, comes from relabelled models: the same function with its
channels in another order, and so its sums too."""
import math
import os
import shutil
import sys

import numpy as np

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import quamba_reference as reference  # noqa: E402

TEXTS, TOKENS = (10, 512) if harness.LONG else (3, 200)
RERUNS = 16             # of ssmsweep
REFERENCE_RERUNS = 2    # with 16: were all noise normal, a right number would be outside once in 2,000 (by simulation)
TWINS = reference.TWINS
RUN = ["-q", "--calib_data_num", str(TEXTS), "--calib_seqlen", str(TOKENS), "--store", "none"] + harness.FEW
PHI = {"perplexity": math.log, "kl_mean": math.log, "top1_agreement": lambda v: math.log(v / (1 - v))}
METRICS = {"fp32": ["perplexity"], "fp16": ["perplexity", "kl_mean"]}    # fp16: hardly a token disagrees


def metrics_of(mode):
    return METRICS.get(mode, list(PHI))


# ---- other names for the channels ----

def other_order(size, g):
    """An order of d_model or d_inner that the Hadamard transform keeps: places in its power of two with their bits exchanged."""
    bits = reference.hadamard_factors(size)[1].bit_length() - 1
    return np.arange(size).reshape((-1,) + (2,) * bits).transpose(np.append(0, 1 + g.permutation(bits))).ravel()


def relabelled(tensors, seed):
    """The same model with d_model, d_inner, d_state and dt_rank in another order."""
    model, g = reference.Model(tensors), np.random.default_rng(seed)
    width, inner, state, rank = other_order(model.D, g), other_order(model.I, g), g.permutation(model.N), g.permutation(model.R)
    rows_of_x = np.concatenate([rank, model.R + state, model.R + model.N + state])
    order = {"norm.weight": [width], "in_proj.weight": [np.concatenate([inner, model.I + inner]), width], "conv1d.weight": [inner],
             "conv1d.bias": [inner], "x_proj.weight": [rows_of_x, inner], "dt_proj.weight": [inner, rank], "dt_proj.bias": [inner],
             "A_log": [inner, state], "D": [inner], "out_proj.weight": [width, inner]}
    out = {}
    for name, values in tensors.items():
        key = next((k for k in order if name.endswith("." + k)), None)
        index = order[key] if key else [np.arange(len(values)), width] if values.ndim == 2 else [width]
        out[name] = values[index[0]][:, index[1]] if len(index) == 2 else values[index[0]]
    return out


# ---- the reference ----

class Sums:
    """Over all predictions of a next token."""

    def __init__(self):
        self.tokens = self.agree = 0
        self.nll = self.kl = 0.0

    def add(self, of_reference, of_mode, tokens):
        self.tokens += len(tokens) - 1
        self.nll -= of_mode[np.arange(len(tokens) - 1), tokens[1:]].sum()
        self.kl += (np.exp(of_reference) * (of_reference - of_mode))[:-1].sum()
        self.agree += int((of_reference.argmax(axis=1) == of_mode.argmax(axis=1))[:-1].sum())

    def metrics(self):
        return {"perplexity": math.exp(self.nll / self.tokens), "kl_mean": self.kl / self.tokens,
                "top1_agreement": self.agree / self.tokens}


def reference_metrics(tensors, texts, modes):
    """{mode: {metric: value}}"""
    model = reference.Model(tensors)
    quantized = reference.QuantModel(model, reference.calibrate(model, texts))
    sums = {mode: Sums() for mode in modes}
    for tokens in texts:
        plain = reference.log_softmax(reference.float_forward(model, tokens)[1])
        for mode in modes:
            own = plain if mode == "fp32" else reference.log_softmax(reference.forward(model, quantized, tokens, mode)[1])
            sums[mode].add(plain, own, tokens)
    return {mode: sums[mode].metrics() for mode in modes}


# ---- ssmsweep ----

def program_metrics(folder, options, ranks=2):
    """{mode: {metric: value}}, and what the report says of the noise: {mode: {metric: change of phi}}."""
    os.makedirs(folder, exist_ok=True)
    result = harness.run(RUN + options, ranks, folder)
    if result.status != 0:
        sys.exit("the sweep fails: " + result.err)
    entries = {entry["mode"]: entry["metrics"] for entry in harness.report(folder, "sweep.json")["end_of_model"]}
    values = {mode: {name: metric["value"] for name, metric in metrics.items()} for mode, metrics in entries.items()}
    values["fp32"] = {"perplexity": values["fp16"]["perplexity"] / values["fp16"]["perplexity_ratio"]}
    noise = {mode: {name: math.log(metric["noise"]) for name, metric in metrics.items() if name in PHI}
             for mode, metrics in entries.items() if "noise" in metrics["perplexity"]}
    return values, noise


def program_on(folder, tensors):
    """The float modes of another model."""
    os.makedirs(folder, exist_ok=True)
    reference.save_safetensors(os.path.join(folder, "model.safetensors"), tensors)
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(os.path.join(harness.DEMO, name), folder)
    return program_metrics(folder, ["--model", folder, "--modes", "fp32,fp16"], 1)[0]


# ---- how far apart ----

def distance(metric, a, b):
    return abs(PHI[metric](a) - PHI[metric](b))


def floors(runs):
    """The most that the other runs differ from the first: {mode: {metric: change of phi}}."""
    return {mode: {metric: max(distance(metric, run[mode][metric], runs[0][mode][metric]) for run in runs[1:])
                   for metric in metrics_of(mode)} for mode in runs[0]}


def outside(program, program_floors, want, want_floors, tell=lambda line: None):
    """What of the program is further from the reference than noise, as lines."""
    wrong = []
    for mode in program:
        twin = TWINS.get(mode, mode)
        for metric in metrics_of(mode):
            off = distance(metric, program[mode][metric], want[twin][metric])
            floor = program_floors[mode][metric], want_floors[twin][metric]
            line = "%-4s %-14s %.6g, reference %.6g: off by %.1e, noise %.1e and %.1e" % (
                (mode, metric, program[mode][metric], want[twin][metric], off) + floor)
            tell(line)
            wrong += [line] if not off <= sum(floor) else []
    return wrong


def check_twins(checks, tensors, tokens):
    """That the reference need not run them."""
    model = reference.Model(tensors)
    quantized = reference.QuantModel(model, reference.calibrate(model, [tokens]))
    for mode, twin in TWINS.items():
        pair = [reference.forward(model, quantized, tokens, name)[1] for name in (mode, twin)]
        checks.check((pair[0] == pair[1]).all(), "the reference: %s gives the bits of %s" % (mode, twin))


def run_program(folder, tensors):
    """What it says, its noise, and what it says with wrong scales."""
    program, noise = program_metrics(os.path.join(folder, "plain"), ["--noise", str(RERUNS)])
    again = [program_on(os.path.join(folder, "relabelled%d" % seed), relabelled(tensors, seed)) for seed in range(RERUNS)]
    noise.update(floors([{mode: run[mode] for mode in ("fp32", "fp16")} for run in [program] + again]))
    return program, noise, program_metrics(os.path.join(folder, "wrong"), ["--percentile_alpha", "0.999"])[0]


def run_reference(tensors, texts):
    """What it says, and its noise."""
    modes = [mode for mode in harness.MODES if mode not in TWINS]
    runs = [reference_metrics(model, texts, modes) for model in [tensors] + [relabelled(tensors, seed) for seed in range(REFERENCE_RERUNS)]]
    return runs[0], floors(runs)


def main():
    checks = harness.Checks()
    tensors = reference.load_safetensors(os.path.join(harness.DEMO, "model.safetensors"))
    ids = np.load(os.path.join(harness.SOURCE, "tests", "golden", "demo_calibration_ids.npy"))[:TEXTS]
    texts = [row[row >= 0][:TOKENS].astype(np.int32) for row in ids]
    with harness.Workplace() as folder:
        program, noise, wrong_scales = run_program(folder, tensors)
    check_twins(checks, tensors, texts[0][:60])
    want, want_noise = run_reference(tensors, texts)
    checks.check(sorted(program) == sorted(harness.MODES), "every mode is there", sorted(program))
    wrong = outside(program, noise, want, want_noise, print)
    checks.check(not wrong, "the predictions are those of the reference within the noise of both", "\n".join(wrong))
    wrong = outside(wrong_scales, noise, want, want_noise)
    found = {line.split()[0] for line in wrong}
    checks.check(found >= set(harness.QUANTIZED), "with scales of another quantile every W8A8 mode is outside", "\n".join(wrong))
    checks.finish()


main()
