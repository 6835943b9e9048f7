# SPDX-License-Identifier: Apache-2.0
"""What the result file keeps of a pair of outputs, recomputed in float64."""
import numpy as np

BINS, POSITIONS, LOWEST = 131, 21, -40


def bins_of(d):
    """Numbers of half octaves, as docs/result_file.md has them."""
    mantissa, exponent = np.frexp(d)
    half = 2 * (exponent - 1 - LOWEST) + (mantissa >= 0.75)
    return np.where(d == 0, 0, np.clip(half + 2, 1, BINS - 1))


def wide(row, name):
    return row[name + "_hi"] + row[name + "_lo"]


def side(row, name, v):
    return [(wide(row, name + "_sum"), v.sum(), np.abs(v).sum()), (wide(row, name + "_abs_sum"), np.abs(v).sum(), 0),
            (wide(row, name + "_squares"), ((v - v.mean()) ** 2).sum(), 0),
            (row[name + "_min"], v.min(), 0), (row[name + "_max"], v.max(), 0), (row[name + "_nonfinite"], 0, 0)]


def wrong_moments(row, a, b):
    """What is further from NumPy than 1e-12, relative to the value or to the third number."""
    d = b - a
    pairs = side(row, "ref", a) + side(row, "mode", b) + [
        (row["count"], a.size, 0), (wide(row, "abs_diff"), np.abs(d).sum(), 0),
        (wide(row, "diff_squares"), ((d - d.mean()) ** 2).sum(), 0), (row["diff_min"], d.min(), 0), (row["diff_max"], d.max(), 0),
        (wide(row, "products"), ((a - a.mean()) * (b - b.mean())).sum(), np.sqrt(((a - a.mean()) ** 2).sum() * ((b - b.mean()) ** 2).sum()))]
    return [(got, want) for got, want, scale in pairs if abs(got - want) > 1e-12 * max(abs(want), scale)]


def wrong_profile(histogram, position, a, b):
    d = np.abs(b - a)
    wrong = [] if (np.bincount(bins_of(d).ravel(), minlength=BINS) == histogram).all() else ["histogram"]
    bucket = np.minimum(np.where(np.arange(len(d)) == 0, 0, np.frexp(np.arange(len(d)))[1]), POSITIONS - 1)
    for place, values in enumerate((d * d, d)):
        want = np.bincount(bucket, values.sum(axis=1), minlength=POSITIONS)
        if (np.abs(position[:, place] - want) > 1e-12 * want).any():
            wrong.append("position")
    return wrong
