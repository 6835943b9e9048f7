#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Recomputes comparisons/sweep.json with NumPy, from the stored outputs and the sums of the predictions, and compares
sweep.csv with it.

    check_sweep.py RESULT.h5 COMPARISON_DIR

Values: float64, relative difference at most 1e-12 (atanh and dB: absolute).  Intervals: an own bootstrap, from the documented
generator, with derivatives by complex steps; relative difference at most 1e-7 of the width.  Exit status 0 only if every
number of the stored layers was checked."""
import csv
import json
import math
import os
import sys

import h5py
import numpy as np

from generator import random_bits, random_stream
from quamba_reference import COMPONENTS, TWINS

FLOOR = 1e-6    # no p-value is claimed below
TAIL = 10       # replicates left to Student's t, fewer where these are not below a fortieth
PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "p99.9": 99.9}


# ---- the documented generator ----

def weights(seed, replicates, samples):
    """[replicates, samples]: how often each sample was drawn."""
    stream = random_stream(seed, "bootstrap")
    drawn = np.zeros((replicates, samples))
    for b in range(replicates):
        for i in range(samples):
            drawn[b, (random_bits(stream, (b << 32) + i) >> 32) * samples >> 32] += 1
    return drawn


# ---- metrics of sums: phi and the way back ----

def log_ratio(top, below):
    return lambda s: np.log(s[top] / s[below])


def fisher(s, centred):
    """atanh of a correlation; written so that it is exact near 1, where 1 - r is what counts."""
    n = s["count"]
    shift = {k: s[k] * s[k] / n if centred else 0 for k in "abd"}
    a, b, d = s["aa"] - shift["a"], s["bb"] - shift["b"], s["dd"] - shift["d"]
    scale = np.sqrt(a * b)
    step = (a - b) / (np.sqrt(a) + np.sqrt(b))
    rest = (d - step * step) / (2 * scale)
    return 0.5 * np.log((2 - rest) / rest)


PHI = {
    "mse": log_ratio("dd", "count"),
    "rmse": lambda s: 0.5 * np.log(s["dd"] / s["count"]),
    "mae": log_ratio("abs", "count"),
    "relative_mse": lambda s: np.log(s["dd"] / (s["aa"] + 1e-8 * s["count"])),
    "relative_mae": lambda s: np.log(s["abs"] / (s["ref_abs"] + 1e-8 * s["count"])),
    "correlation": lambda s: fisher(s, True),
    "sqnr_db": lambda s: 10 / math.log(10) * np.log(s["aa"] / s["dd"]),
    "cosine_similarity": lambda s: fisher(s, False),
    "isolated_mse": log_ratio("own", "count"),
    "amplification": log_ratio("dd", "own"),
    "perplexity": lambda s: s["nll"] / s["tokens"],
    "perplexity_ratio": lambda s: (s["nll"] - s["ref_nll"]) / s["tokens"],
    "perplexity_change": lambda s: np.exp(s["nll"] / s["tokens"]) - np.exp(s["ref_nll"] / s["tokens"]),
    "kl_mean": log_ratio("kl", "tokens"),
    "top1_agreement": lambda s: np.log(s["agree"] / (s["tokens"] - s["agree"])),
}
SCALES = {"correlation": "fisher", "cosine_similarity": "fisher", "sqnr_db": "identity", "perplexity_change": "identity",
          "top1_agreement": "logit"}    # all others: log
# Half the width, on the metric's scale, of the widest interval: ten times an error; what is equivalent for the others.
REACH = {"rmse": math.log(10) / 2, "correlation": math.log(10) / 2, "cosine_similarity": math.log(10) / 2, "sqnr_db": 10,
         "perplexity_change": math.inf}    # all others: log 10
OWN = ("isolated_mse", "amplification")    # of layers by themselves: re-runs have none
LARGER_IS_BETTER = {"correlation", "cosine_similarity", "sqnr_db", "top1_agreement"}    # all others: smaller


def correlation(a, b):
    x, y = a - a.mean(), b - b.mean()
    return np.mean(x * y) / math.sqrt(np.mean(x * x) * np.mean(y * y))


# Of outputs, from all values of the reference, of the mode, and their differences.
VALUES = {
    "mse": lambda a, b, d: np.mean(d * d),
    "rmse": lambda a, b, d: math.sqrt(np.mean(d * d)),
    "mae": lambda a, b, d: np.mean(np.abs(d)),
    "relative_mse": lambda a, b, d: np.mean(d * d) / (np.mean(a * a) + 1e-8),
    "relative_mae": lambda a, b, d: np.mean(np.abs(d)) / (np.mean(np.abs(a)) + 1e-8),
    "correlation": lambda a, b, d: correlation(a, b),
    "sqnr_db": lambda a, b, d: 10 * math.log10(np.mean(a * a) / np.mean(d * d)),
    "cosine_similarity": lambda a, b, d: np.mean(a * b) / math.sqrt(np.mean(a * a) * np.mean(b * b)),
}


def value_of(metric, phi):
    scale = SCALES.get(metric, "log")
    with np.errstate(over="ignore"):
        return {"log": np.exp, "fisher": np.tanh, "identity": np.array, "logit": lambda x: 1 / (1 + np.exp(-x))}[scale](phi)


def change_of(metric, phi):
    with np.errstate(over="ignore"):
        return np.exp(phi) if SCALES.get(metric, "log") in ("log", "logit") else phi


def sums_of(pairs):
    """{column: [samples]} of [(reference, mode)], float64.  Means are taken out first where only spreads matter."""
    wide = [(a.astype(np.float64), b.astype(np.float64)) for a, b in pairs]
    all_a, all_b = np.concatenate([a for a, _ in wide]), np.concatenate([b for _, b in wide])
    centre = (all_a.mean(), all_b.mean())
    raw, centred = {}, {}
    for name, (ca, cb), target in (("raw", (0.0, 0.0), raw), ("centred", centre, centred)):
        rows = []
        for a, b in wide:
            x, y = a - ca, b - cb
            d = y - x
            rows.append((x.size, x.sum(), y.sum(), d.sum(), (x * x).sum(), (y * y).sum(), (d * d).sum(), np.abs(b - a).sum(),
                         np.abs(a).sum()))
        target.update(zip(("count", "a", "b", "d", "aa", "bb", "dd", "abs", "ref_abs"), np.array(rows).T))
    return raw, centred


class Resampled:
    """phi, standard error, influences of the samples as they are, and of every replicate."""

    def __init__(self, metric, table, drawn):
        function, columns = PHI[metric], list(table)
        data = np.array([table[c] for c in columns])    # [columns, samples]
        n = data.shape[1]
        ones = np.ones((1, n))
        with np.errstate(all="ignore"):
            both = np.concatenate([ones, drawn])
            sums = both @ data.T    # [1 + replicates, columns]
            phi = function(dict(zip(columns, sums.T)))
            influence = np.zeros((both.shape[0], n))
            for c in range(len(columns)):
                step = sums.astype(complex)
                size = 1e-20 * np.maximum(np.abs(sums[:, c]), 1e-30)
                step[:, c] += 1j * size
                slope = np.imag(function(dict(zip(columns, step.T)))) / size
                influence += slope[:, None] * data[c][None, :]
        self.n, self.weights, self.phi, self.influence = n, both, phi, influence

    def minus(self, other):
        out = object.__new__(Resampled)
        out.n, out.weights = self.n, self.weights
        out.phi, out.influence = self.phi - other.phi, self.influence - other.influence
        return out

    def studentized(self):
        """phi, se, |t| of the replicates"""
        se = np.sqrt((self.weights * self.influence ** 2).sum(axis=1) * self.n / (self.n - 1))
        distance = np.abs(self.phi[1:] - self.phi[0])
        with np.errstate(all="ignore"):
            t = np.where(distance == 0, 0, distance / se[1:])
        return self.phi[0], se[0], np.where(t < 1e6, t, np.inf)


def interval(metric, phi, se, t, of_change=False):
    k = math.ceil((t.size + 1) * 0.95 - 1e-9) - 1
    width = np.sort(t)[k] * se
    apart = of_change and abs(phi) > width    # keeps its interval
    if width > REACH.get(metric, math.log(10)) and not apart:
        width = math.inf
    return phi - width, phi + width


def student(t, freedom):
    """P(|T| > t) by integrating the density; slow and simple."""
    x = np.linspace(0, math.atan(t / math.sqrt(freedom)), 20001)    # t = sqrt(freedom) tan x
    y = np.cos(x) ** (freedom - 1)
    area = (x[1] - x[0]) / 3 * (y[0] + y[-1] + 4 * y[1:-1:2].sum() + 2 * y[2:-1:2].sum())
    return 1 - 2 * area * math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(math.pi)


def quantile(p, freedom):
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if student(middle, freedom) > p else (low, middle)
    return low


class Tests:
    """p-values of one number of samples and replicates."""

    def __init__(self, samples, replicates):
        self.freedom = samples - 1
        self.tail = min(TAIL, (replicates + 1) // 40)
        self.anchor = quantile((1 + self.tail) / (replicates + 1), self.freedom)

    def p(self, observed, t):
        beyond = int((t >= observed).sum())
        p = (1 + beyond) / (t.size + 1)
        largest = np.sort(t)[t.size - self.tail]
        if beyond >= self.tail or math.isinf(largest):
            return p
        return max(FLOOR, student(observed * self.anchor / largest, self.freedom))


def holm(p):
    """{key: p} -> {key: corrected}"""
    out, largest = {}, 0.0
    for i, key in enumerate(sorted(p, key=p.get)):
        largest = max(largest, min(1.0, p[key] * (len(p) - i)))
        out[key] = largest
    return out


def half_octave(v):
    """Bounds of the bin that holds v, between 2^-40 and 2^24."""
    if v == 0:
        return 0.0, 0.0
    mantissa, exponent = math.frexp(v)    # 0.5 <= mantissa < 1
    edges = [0.5, 0.75, 1.0]
    i = 1 if mantissa >= 0.75 else 0
    low, high = math.ldexp(edges[i], exponent), math.ldexp(edges[i + 1], exponent)
    return (0.0, 2.0 ** -40) if v < 2.0 ** -40 else (low, high)


# ---- what is checked ----

class Check:
    def __init__(self, path, report):
        self.file, self.report = h5py.File(path, "r"), report
        self.lengths = self.file["samples/length"][...]
        stats = report["statistics"]
        self.drawn = weights(stats["seed"], stats["resamples"], len(self.lengths))
        self.tests = Tests(len(self.lengths), stats["resamples"])
        self.failures, self.numbers, self.tables, self.floors = [], 0, {}, {}
        self.near, self.trends = {}, 0    # what only noise divides from another mode; trends checked
        self.estimates = {(e["mode"], e["calib_data_num"], e.get("layer"), e.get("component"), name): estimate
                          for e in report["layers"] + report["end_of_model"] for name, estimate in e["metrics"].items()}

    def close(self, where, got, want, relative=0.0, absolute=0.0):
        self.numbers += 1
        if math.isinf(want):
            good = got is None
        else:
            good = got is not None and abs(got - want) <= relative * abs(want) + absolute
        if not good:
            self.failures.append("%s: expected %.17g, got %s" % (where, want, got))

    def same(self, where, got, want):
        self.numbers += 1
        if got != want:
            self.failures.append("%s: expected %s, got %s" % (where, want, got))

    def values(self, mode, cell, layer, component):
        data = self.file["outputs/%s/%s/layer_%d/%s" % ("float" if cell is None else cell, mode, layer, component)]
        return [data[s, :n] for s, n in enumerate(self.lengths)]

    def stored(self, layer, component):
        first = next(iter(self.file["outputs/float"].values()))
        return "layer_%d/%s" % (layer, component) in first

    def pairs(self, entry):
        key = entry["layer"], entry["component"]
        return list(zip(self.values(self.report["reference_mode"], None, *key),
                        self.values(entry["mode"], entry["calib_data_num"], *key)))

    # ---- of one mode ----

    def entry(self, entry):
        where = "%s %s layer %d %s" % (entry["mode"], entry["calib_data_num"], entry["layer"], entry["component"])
        pairs = self.pairs(entry)
        flat = [(a.ravel(), b.ravel()) for a, b in pairs]
        raw, centred = sums_of(flat)
        a = np.concatenate([x for x, _ in flat]).astype(np.float64)
        b = np.concatenate([y for _, y in flat]).astype(np.float64)
        d = b - a
        self.same(where + ": elements", entry["elements"], d.size)
        self.close(where + ": abs_diff_max", entry["abs_diff_max"], np.abs(d).max())
        own = self.own(entry)
        if own is not None:
            raw["own"] = own
        self.moments(where, entry["metrics"], a, b, d, own)
        self.percentiles(where, entry["abs_diff_percentiles"], np.abs(d))
        self.positions(where, entry["positions"], pairs)
        for metric, estimate in entry["metrics"].items():
            table = centred if metric == "correlation" else raw
            self.interval(where, entry, metric, estimate, Resampled(metric, table, self.drawn))
        self.noise(where, entry, d)
        self.within_apart(where, entry)

    def own(self, entry):
        """[samples]: sums of squares of the layer by itself, of which the file has sums alone; None: there are none."""
        group = self.file["metrics/%s/%s" % ("float" if entry["calib_data_num"] is None else entry["calib_data_num"], entry["mode"])]
        if "isolated" not in group:
            return None
        m = group["isolated"][:, entry["layer"], COMPONENTS.index(entry["component"])]
        shift = (m["mode_sum_hi"] - m["ref_sum_hi"]) + (m["mode_sum_lo"] - m["ref_sum_lo"])
        return m["diff_squares_hi"] + shift * shift / m["count"]

    def within_apart(self, where, entry):
        """Not above what its own re-runs are apart from it, but not the reference itself."""
        for metric, estimate in entry["metrics"].items():
            if "apart" not in estimate:
                self.same("%s: %s knows nothing of itself" % (where, metric), "within_apart" in estimate, False)
                continue
            value, apart = (float(estimate.get(key + "_flag", estimate[key])) for key in ("value", "apart"))
            near = value >= apart if metric in LARGER_IS_BETTER else value <= apart
            self.same("%s: %s within apart" % (where, metric), estimate["within_apart"], near and estimate["interval"] != "exact")

    def noise(self, where, entry, d):
        """What the re-runs change; of them the file has sums alone."""
        group = self.file["metrics/%s" % ("float" if entry["calib_data_num"] is None else entry["calib_data_num"])]
        names = [name for name in group if name.startswith(entry["mode"] + "_dither")]
        for metric, estimate in entry["metrics"].items():
            self.same("%s: has noise of %s" % (where, metric), "noise" in estimate, bool(names) and metric not in OWN)
        changes = {"mse": [], "mae": []}
        for name in names:
            m = group[name]["moments"][:, entry["layer"], COMPONENTS.index(entry["component"])]
            n, shift = m["count"].astype(float), (m["mode_sum_hi"] - m["ref_sum_hi"]) + (m["mode_sum_lo"] - m["ref_sum_lo"])
            changes["mse"].append(((m["diff_squares_hi"] + shift * shift / n).sum() / n.sum()) / np.mean(d * d))
            changes["mae"].append((m["abs_diff_hi"].sum() / n.sum()) / np.mean(np.abs(d)))
        for metric, values in changes.items():
            largest = float(np.abs(np.log(values)).max()) if values else 0.0
            self.floors[entry["mode"], entry["calib_data_num"], entry["layer"], entry["component"], metric] = largest
            if values:
                self.close("%s: noise of %s" % (where, metric), entry["metrics"][metric]["noise"], math.exp(largest), 1e-9)

    def is_noise(self, where, pair, cell, layer, component, metric):
        floors = [self.floors.get((m, c, layer, component, metric), 0.0) for m in (pair["first"], pair["second"]) for c in (cell, None)]
        want = 0 < sum(floors) and abs(math.log(pair["change"])) <= sum(floors)
        self.same(where + ": is noise", pair["is_noise"], want)
        if pair["better"] == "tie":
            self.same(where + ": samples needed", pair["samples_needed"] is None, want or pair["interval"] == "unbounded")

    def moments(self, where, metrics, a, b, d, own):
        want = {name: value(a, b, d) for name, value in VALUES.items()}
        if own is not None:
            want.update(isolated_mse=own.sum() / d.size, amplification=(d * d).sum() / own.sum())
        self.same(where + ": metrics", sorted(metrics), sorted(want))
        for name, v in want.items():
            self.close("%s: %s" % (where, name), metrics[name]["value"], v, 1e-12)

    def percentiles(self, where, bounds, ad):
        self.same(where + ": percentiles", sorted(bounds), sorted(PERCENTILES))
        for name, p in PERCENTILES.items():
            low, high = bounds[name]["low"], bounds[name]["high"]
            below, above = (float(np.percentile(ad, p, method=m)) for m in ("lower", "higher"))
            self.same("%s: %s" % (where, name), (low, high), (half_octave(below)[0], half_octave(above)[1]))
            exact = float(np.percentile(ad, p))
            self.same("%s: %s %g is within its bounds" % (where, name, exact), low <= exact <= high, True)

    def positions(self, where, positions, pairs):
        at = 0
        for bucket in positions:
            first, last = bucket["first_token"], bucket["last_token"]
            self.same(where + ": positions", (first, last), (at, max(2 * at - 1, at)))
            at = last + 1
            d = np.concatenate([(b[first:last + 1].astype(np.float64) - a[first:last + 1]).ravel() for a, b in pairs])
            self.same(where + ": elements of tokens from %d" % first, bucket["elements"], d.size)
            self.close("%s: mse of tokens from %d" % (where, first), bucket["mse"], np.mean(d * d), 1e-12)
            self.close("%s: mae of tokens from %d" % (where, first), bucket["mae"], np.mean(np.abs(d)), 1e-12)
        self.same(where + ": positions end", at >= max(self.lengths), True)

    def interval(self, where, entry, metric, estimate, resampled):
        key = entry["mode"], entry["calib_data_num"], entry.get("layer"), entry.get("component"), metric
        self.tables[key] = resampled
        if math.isinf(resampled.phi[0]):    # agreement 1
            self.same("%s: interval of %s" % (where, metric), (estimate["interval"], estimate["low"]), ("exact", estimate["value"]))
            return
        phi, se, t = resampled.studentized()
        low, high = interval(metric, phi, se, t)
        self.same("%s: interval of %s" % (where, metric), estimate["interval"], "unbounded" if math.isinf(high) else "ok")
        if math.isinf(high):
            return
        ends = sorted(value_of(metric, np.array([low, high])))
        for name, v in zip(("low", "high"), ends):
            self.close("%s: %s of %s" % (where, name, metric), estimate[name], v, 0, 1e-7 * (ends[1] - ends[0]))

    # ---- the whole model ----

    def sums(self, mode, cell):
        return self.file["metrics/%s/%s/end_of_model" % ("float" if cell is None else cell, mode)][...]

    def predictions(self, entry):
        where = "%s %s, predictions" % (entry["mode"], entry["calib_data_num"])
        ref, mode = self.sums(self.report["reference_mode"], None), self.sums(entry["mode"], entry["calib_data_num"])
        table = {"tokens": mode["tokens"].astype(float), "nll": mode["nll"], "ref_nll": ref["nll"], "kl": mode["kl"],
                 "agree": mode["top1_agree"].astype(float)}
        total = {k: v.sum() for k, v in table.items()}
        perplexity, before = (math.exp(total[k] / total["tokens"]) for k in ("nll", "ref_nll"))
        want = {"perplexity": perplexity, "perplexity_ratio": perplexity / before, "perplexity_change": perplexity - before,
                "kl_mean": total["kl"] / total["tokens"], "top1_agreement": total["agree"] / total["tokens"]}
        self.same(where + ": predictions", entry["predictions"], int(self.lengths.sum() - len(self.lengths)))
        self.same(where + ": metrics", sorted(entry["metrics"]), sorted(want))
        for name, v in want.items():
            self.close("%s: %s" % (where, name), entry["metrics"][name]["value"], v, 1e-12, 1e-13)
            self.interval(where, entry, name, entry["metrics"][name], Resampled(name, table, self.drawn))
        self.within_apart(where, entry)
        self.close(where + ": top1_correct", entry["top1_correct"], mode["top1_correct"].sum() / total["tokens"], 1e-15)
        self.close(where + ": kl_max", entry["kl_max"], mode["kl_max"].max())
        for name, p in PERCENTILES.items():
            self.kl_bounds("%s: %s" % (where, name), entry["kl_percentiles"][name], mode["kl_bins"].sum(axis=0), p)

    def kl_bounds(self, where, bounds, bins, p):
        """Half octaves from 2^-40, behind a bin of zeros and one of what is smaller."""
        starts = [0.0, 0.0] + [2.0 ** (-40 + i // 2) * (1.5 if i % 2 else 1) for i in range(len(bins) - 2)] + [math.inf]
        starts_of = lambda i: (0.0, 0.0) if i == 0 else (starts[i], starts[i + 1])
        position, ends = p / 100 * (int(bins.sum()) - 1), np.cumsum(bins)
        lower, upper = (int(np.searchsorted(ends, rank, side="right")) for rank in (math.floor(position), math.ceil(position)))
        self.same(where, (bounds["low"], bounds["high"]), (starts_of(lower)[0], starts_of(upper)[1]))

    # ---- of pairs ----

    def ranking(self, ranking):
        cell, layer, component, metric = (ranking.get(k) for k in ("calib_data_num", "layer", "component", "metric"))
        where = "%s layer %s %s by %s" % (cell, layer, component, metric)
        modes = [place["mode"] for place in ranking["places"]]
        p, real = {}, lambda mode: TWINS[mode] if TWINS.get(mode) in modes else mode
        for pair in ranking["pairs"]:
            self.pair(where, pair, self.family(modes, cell, layer, component, metric), metric)
            a, b = pair["first"], pair["second"]
            if metric in ("mse", "mae") and "is_noise" in pair:
                self.is_noise("%s: %s and %s" % (where, a, b), pair, cell, layer, component, metric)
            if real(a) == a and real(b) == b and pair["p"] is not None:
                p[a, b] = pair["p"]
        corrected = holm(p)
        better = {m: set() for m in modes}
        for pair in ranking["pairs"]:
            a, b = pair["first"], pair["second"]
            ends = real(a), real(b)
            want = 1.0 if ends[0] == ends[1] else corrected[ends if ends in corrected else ends[::-1]]
            self.close("%s: corrected p of %s and %s" % (where, a, b), pair["p_adjusted"], want, 1e-12)
            if want <= 0.05:
                smaller = metric not in LARGER_IS_BETTER
                improves = (pair["change"] < (0 if SCALES.get(metric) in ("fisher", "identity") else 1)) == smaller
                better[b if improves else a].add(a if improves else b)
                self.same("%s: %s and %s" % (where, a, b), pair["better"], "first" if improves else "second")
            else:
                self.same("%s: %s and %s" % (where, a, b), pair["better"] in ("tie", "equal"), True)
        noisy = {m: [p["second" if p["first"] == m else "first"] for p in ranking["pairs"]
                     if m in (p["first"], p["second"]) and p.get("is_noise") and p["change"] != change_of(metric, 0.0)] for m in modes}
        for place in ranking["places"]:
            m = place["mode"]
            if "within_noise" in place:
                self.same("%s: noise around %s" % (where, m), place["within_noise"], [o for o in modes if o in noisy[m]])
            for c in (cell, None):    # a float mode is near where it is so under some scales
                if (m, c, layer, component, metric) in self.estimates:
                    self.near.setdefault((m, c, layer, component, metric), []).append(bool(noisy[m]))
            worse = sum(m in others for others in better.values())
            self.same("%s: place of %s" % (where, m), (place["best"], place["worst"]), (1 + len(better[m]), len(modes) - worse))

    def signs(self):
        """What the rankings say of noise is what the values say."""
        for key, near in self.near.items():
            estimate = self.estimates[key]
            if "within_noise" in estimate:
                self.same("%s %s layer %s %s: %s within noise" % key, estimate["within_noise"], any(near))

    # ---- against calib_data_num ----

    def trend(self, trend):
        """Where nothing larger is better: a bootstrap of the pairs of sizes, Holm, and noise."""
        mode, layer, component, metric = (trend.get(k) for k in ("mode", "layer", "component", "metric"))
        where = "%s layer %s %s by %s: trend" % (mode, layer, component, metric)
        cells = [point["calib_data_num"] for point in trend["points"]]
        tables = [self.tables[mode, cell, layer, component, metric] for cell in cells]
        floors = [self.estimates[mode, cell, layer, component, metric].get("noise", change_of(metric, 0.0)) for cell in cells]
        floors = [math.log(v) if SCALES.get(metric, "log") in ("log", "logit") else v for v in floors]
        known = all("noise" in self.estimates[mode, cell, layer, component, metric] for cell in cells)
        self.same(where + ": noise known", trend["noise_known"], known)
        p, better = {}, {}
        for a in range(len(cells)):
            for b in range(a + 1, len(cells)):
                phi, se, t = tables[a].minus(tables[b]).studentized()
                if phi == 0 or math.isinf(phi):
                    return    # equal bits; the table of modes has the same rule
                p[a, b] = self.tests.p(abs(phi) / se, t)
                smaller = metric not in LARGER_IS_BETTER
                better[a, b] = (phi > 0) == smaller and abs(phi) > floors[a] + floors[b]
                if b == a + 1 and known:
                    self.same("%s: step to %s within noise" % (where, cells[b]), trend["points"][b]["within_noise"], abs(phi) <= floors[a] + floors[b])
        corrected = holm(p)
        if any(0.045 < v < 0.055 for v in corrected.values()):
            return    # a replicate at the very edge may fall to either side
        at = 0
        while at < len(cells) - 1 and any(corrected[at, b] <= 0.05 and better[at, b] for b in range(at + 1, len(cells))):
            at += 1
        last = at == len(cells) - 1
        self.same(where + ": stops", (trend["stops_improving_at"], trend["still_improving"]), (None if last else cells[at], last))
        self.trends += 1

    def family(self, modes, cell, layer, component, metric):
        found = {}
        for mode in modes:
            for c in (cell, None):
                key = mode, c, layer, component, metric
                if key in self.tables:
                    found[mode] = self.tables[key]
        return found

    def pair(self, where, pair, tables, metric):
        a, b = pair["first"], pair["second"]
        where = "%s: %s against %s" % (where, a, b)
        if pair["interval"] == "exact":    # one of the two agrees with the reference everywhere: a sign test
            self.same(where + ": exact", sorted(math.isinf(tables[m].phi[0]) for m in (a, b)), [False, True])
            return
        if pair["interval"] == "equal":
            same = all(np.array_equal(x, y, equal_nan=True) for x, y in ((tables[a].influence, tables[b].influence),
                                                                         (tables[a].phi, tables[b].phi)))
            self.same(where + ": equal", (same, pair["p"]), (True, 1))
            return
        phi, se, t = tables[a].minus(tables[b]).studentized()
        low, high = interval(metric, phi, se, t, True)
        self.same(where + ": interval", pair["interval"], "unbounded" if math.isinf(high) else "ok")
        ends = change_of(metric, np.array([low, high]))
        width = 0 if math.isinf(high) else abs(ends[1] - ends[0])
        self.close(where + ": change", pair["change"], change_of(metric, phi), 1e-12, 1e-13 + 1e-6 * width)
        self.close(where + ": low", pair["low"], ends[0], 0, 1e-5 * width)
        self.close(where + ": high", pair["high"], ends[1], 0, 1e-5 * width)
        # A replicate at the very edge may fall to either side.
        self.close(where + ": p", pair["p"], self.tests.p(abs(phi) / se, t), 1e-5, 1.0 / t.size if pair["p"] > 0.02 else 0)

    # ---- the other file ----

    def csv(self, path):
        want, signs = {}, {}
        for entry in self.report["layers"] + self.report["end_of_model"]:
            cell = "" if entry["calib_data_num"] is None else str(entry["calib_data_num"])
            key = (cell or "float", cell, entry["mode"], str(entry.get("layer", "")), entry.get("component", ""))
            for name, e in entry["metrics"].items():
                want[key + (name,)] = (e["value"], e["low"], e["high"])
                signs[key + (name,)] = [{True: "1", False: "0", None: ""}[e.get("within_" + what)] for what in ("noise", "apart")]
                if "noise" in e:
                    want[key + (name + "_noise",)] = (e["noise"], None, None)
                if "apart" in e:
                    want[key + (name + "_apart",)] = (e["apart"], None, None)
            for kind in ("abs_diff", "kl"):
                for p, bounds in entry.get(kind + "_percentiles", {}).items():
                    want[key + ("%s_%s_bounds" % (kind, p),)] = (None, bounds["low"], bounds["high"])
            for name in ("abs_diff_max", "kl_max", "top1_correct"):
                if name in entry:
                    want[key + (name,)] = (entry[name], None, None)
            for bucket in entry.get("positions", []):
                for name in ("mse", "mae"):
                    tokens = "%d_%d" % (bucket["first_token"], bucket["last_token"])
                    want[key + ("%s_tokens_%s" % (name, tokens),)] = (bucket[name], None, None)
        got = {}
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            for row in rows:
                key = tuple(row[k] for k in ("cell", "calib_data_num", "mode", "layer", "component", "metric"))
                self.same(path + ": a row for each metric", key in got, False)
                got[key] = tuple(float(row[k]) if row[k] else None for k in ("value", "low", "high"))
                self.same(path + ": n", row["n"], str(self.report["statistics"]["samples"]))
                self.same("%s: %s: within noise, apart" % (path, key), [row["within_noise"], row["within_apart"]], signs.get(key, ["", ""]))
        self.same(path + ": rows", sorted(got), sorted(want))
        for key in want:
            finite = tuple(None if v is None or math.isinf(v) else v for v in got.get(key, ()))
            self.same("%s: %s" % (path, key), finite, want[key])


def main(arguments):
    if len(arguments) != 3:
        sys.exit("usage: check_sweep.py RESULT.h5 COMPARISON_DIR")
    with open(os.path.join(arguments[2], "sweep.json"), encoding="utf-8") as file:
        report = json.load(file)
    check = Check(arguments[1], report)
    entries = [e for e in report["layers"] if check.stored(e["layer"], e["component"])]
    for entry in entries:
        check.entry(entry)
    for entry in report["end_of_model"]:
        check.predictions(entry)
    for ranking in report["rankings"]:
        if "layer" not in ranking or check.stored(ranking["layer"], ranking["component"]):
            check.ranking(ranking)
    check.signs()
    for trend in report["trends"]:
        if "layer" not in trend or check.stored(trend["layer"], trend["component"]):
            check.trend(trend)
    check.same("trends checked", check.trends > 0 or not report["trends"], True)
    check.csv(os.path.join(arguments[2], "sweep.csv"))
    for text in check.failures[:40]:
        print(text)
    print("%d numbers of %d entries checked, %d wrong" % (check.numbers, len(entries), len(check.failures)))
    return 1 if check.failures or not entries else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
