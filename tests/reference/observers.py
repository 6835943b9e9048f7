# SPDX-License-Identifier: Apache-2.0
"""The observers of docs/calibration.md in NumPy, from what a result file keeps of each sample or from the activations
themselves, and the orders of --shuffle-calib."""
import numpy as np

import quamba_reference as reference
from generator import random_bits, random_stream

KINDS = ("minmax", "percentile", "ema-percentile", "mse", "entropy")
DEFAULT = ["minmax", "minmax", "ema-percentile", "minmax", "minmax", "minmax", "ema-percentile"]
SITES = ["in_proj:input", "in_proj:output", "x_proj:input", "x_proj:output", "dt_proj:output", "out_proj:input",
         "ssm_state_act:input"]
LEVELS = 127


def make_edges(per_octave):
    inside = 2.0 ** np.arange(-24, 16)[:, None] * (1 + np.arange(per_octave) / per_octave)
    return np.concatenate([[0.0], inside.ravel(), [2.0 ** 16, np.inf]])


EDGES = make_edges(16)


def histogram(values, edges=EDGES):
    """Counts of |values| between edges."""
    return np.histogram(np.abs(np.asarray(values, np.float64)).ravel(), edges)[0]


# ---------------------------------------------------------------- costs of a threshold
def quantization_error(values, threshold):
    """Sum of squares over the values themselves."""
    scale = threshold / LEVELS
    codes = np.minimum(np.rint(np.abs(values) / scale), LEVELS)
    return float(np.sum((np.abs(values) - codes * scale) ** 2))


def bounds(counts, top):
    """(low, high, count) of the bins that hold something and are not the first; `top` ends the last one."""
    filled = np.nonzero(counts)[0]
    filled = filled[filled > 0]
    low, high = EDGES[filled], np.minimum(EDGES[filled + 1], top)
    return low, np.where(high > low, high, low * (1 + 2.0 ** -20)), counts[filled].astype(float)


def squared_error(counts, top, threshold):
    """Expected sum of squares for values spread evenly inside each bin, by cutting every bin where codes change."""
    scale = threshold / LEVELS
    low, high, count = bounds(counts, top)
    changes = (np.arange(LEVELS) + 0.5) * scale
    cuts = np.unique(np.concatenate([low, high, changes[(changes > low[0]) & (changes < high[-1])]]))
    middle = (cuts[1:] + cuts[:-1]) / 2
    bin_of = np.searchsorted(low, middle) - 1
    density = np.where(middle < high[bin_of], (count / (high - low))[bin_of], 0)    # 0 between bins that hold something
    codes = np.minimum(np.rint(middle / scale), LEVELS) * scale
    return float(np.sum(density * ((cuts[1:] - codes) ** 3 - (cuts[:-1] - codes) ** 3)) / 3)


def divergence(counts, top, threshold, bins=EDGES):
    """KL divergence of the quantized distribution from that of the values; below top/2048 all is one."""
    last = np.nonzero(counts)[0][-1]
    ends, below = bins[:last + 2].copy(), np.concatenate([[0.0], np.cumsum(counts[:last + 1])])
    if bins[last] >= top:    # the maximum is the lower bound of its bin
        ends, below = np.delete(ends, -1), np.delete(below, -2)
    ends[-1] = top
    edges = np.concatenate([[0.0, top / 2048], bins[(bins > top / 2048) & (bins < top)], [top]])
    mass = np.diff(np.interp(edges, ends, below))
    total, inside = mass.sum(), mass[edges[1:] <= threshold].sum()
    if inside <= 0:
        return np.inf
    scale = threshold / LEVELS
    cells = np.concatenate([[0.0], (np.arange(LEVELS) + 0.5) * scale, [threshold]])
    cuts = np.unique(np.concatenate([edges[edges <= threshold], cells]))
    middle = (cuts[1:] + cuts[:-1]) / 2
    segment, code = np.searchsorted(edges, middle) - 1, np.searchsorted(cells, middle) - 1
    width = np.diff(cuts)
    pieces = mass[segment] * (width / np.diff(edges)[segment])
    kept = pieces > 0
    pieces, width, code = pieces[kept], width[kept], code[kept]
    per_code, width_of = np.bincount(code, pieces, LEVELS + 1), np.bincount(code, width, LEVELS + 1)
    q = per_code[code] * width / width_of[code] / inside
    p = pieces / total
    if total > inside:
        if per_code[LEVELS] == 0:
            return np.inf
        p[-1] += (total - inside) / total
    return float(np.sum(p * np.log(p / q)))


def offered(kind, counts, top):
    """Thresholds that are tried on the bounds of bins."""
    least = top / (4096 if kind == "mse" else 16)
    return np.concatenate([EDGES[(EDGES >= least) & (EDGES < top)], [top]])


def cost(kind, counts, top, threshold):
    return (squared_error if kind == "mse" else divergence)(counts, top, threshold)


# ---------------------------------------------------------------- scales
def running(kind, numbers):
    """The value of an observer after these samples; float32 as the program has it."""
    numbers = np.asarray(numbers, np.float32)
    if kind == "percentile":
        return np.float32(np.sum(numbers.astype(np.float64)) / len(numbers))
    if kind == "ema-percentile":
        value = numbers[0]
        for x in numbers[1:]:
            value = np.float32(value + np.float32(np.float32(0.01) * np.float32(x - value)))
        return value
    return np.max(np.maximum(numbers, np.float32(1e-5)))


def scale_of(value):
    return np.maximum(np.float32(value) / np.float32(127), np.float32(1e-6))


# ---------------------------------------------------------------- activations
class Recorder:
    """In place of the reference's observer: keeps what it is shown."""
    made = []

    def __init__(self, alpha=None):
        self.values = []
        Recorder.made.append(self)

    def update(self, values):
        self.values.append(np.array(values, np.float32).ravel())

    def scale(self):
        return np.float32(0)


def activations(model, samples):
    """[layer][site] -> list of one array per sample, from the reference's float pass."""
    kept, reference.Observer, Recorder.made = reference.Observer, Recorder, []
    try:
        reference.calibrate(model, samples)
    finally:
        reference.Observer = kept
    names = list(reference.SCALE_SITES)
    found = []
    for l in range(len(model.layers)):
        of_layer = dict(zip(names, Recorder.made[l * len(names):(l + 1) * len(names)]))
        found.append([of_layer[site].values for site in SITES])
    return found


# ---------------------------------------------------------------- orders
def order(k, samples, seed):
    """Order k of so many samples."""
    found, stream = list(range(samples)), random_stream(seed, "calibration order %d" % k)
    for i in range(samples - 1, 0, -1) if k else ():
        other = (random_bits(stream, i) >> 32) * (i + 1) >> 32
        found[i], found[other] = found[other], found[i]
    return found
