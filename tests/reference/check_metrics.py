#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Recomputes every number of the reports from the stored outputs with NumPy.

    check_metrics.py RESULT.h5 COMPARISON_DIR [OUTPUT_DIR]

OUTPUT_DIR (the *_stats.json) is the folder of RESULT.h5 if not given.  Percentiles, minima and maxima must be equal, all
else within a relative difference of 1e-9.  Exit status 0 only if every captured mode, layer and component was checked."""
import glob
import json
import os
import sys

import h5py
import numpy as np

KEYS = ("fp_mean fp_std fp_min fp_max mode_mean mode_std mode_min mode_max diff_mean diff_std abs_diff_mean abs_diff_max "
        "mse rmse mae relative_mse relative_mae correlation abs_diff_p50 abs_diff_p90 abs_diff_p95 abs_diff_p99").split()
EXACT = {"fp_min", "fp_max", "mode_min", "mode_max", "abs_diff_max", "min", "max",
         "abs_diff_p50", "abs_diff_p90", "abs_diff_p95", "abs_diff_p99"}
TOLERANCE = 1e-9


def moments(v, wide):
    """mean, population std, min, max, mean |v|; all None where a value is NaN or Inf."""
    if v.size == 0 or not np.isfinite(v).all():
        return dict.fromkeys(("mean", "std", "min", "max", "abs_mean", "mean_square"))
    std = np.sqrt(np.mean((wide - wide.mean()) ** 2)) if v.min() != v.max() else wide.dtype.type(0)
    return {"mean": wide.mean(), "std": std, "min": v.min(), "max": v.max(), "abs_mean": np.abs(wide).mean(),
            "mean_square": np.mean(wide * wide)}


def expected_record(ref, mode):
    """docs/numerics.md, section 6, on two float32 vectors.  Sums in long double: what is left is the program's own error."""
    a, b = ref.astype(np.longdouble), mode.astype(np.longdouble)
    fp, out = moments(ref, a), moments(mode, b)
    record = {"fp_" + k: fp[k] for k in ("mean", "std", "min", "max")}
    record.update({"mode_" + k: out[k] for k in ("mean", "std", "min", "max")})
    if fp["mean"] is None or out["mean"] is None:
        record.update(dict.fromkeys(k for k in KEYS if k not in record))
        return record
    d = b - a
    ad = np.abs(mode.astype(np.float64) - ref.astype(np.float64))
    mse, mae = np.mean(d * d), np.mean(np.abs(d))
    diff_std = np.sqrt(np.mean((d - d.mean()) ** 2)) if d.min() != d.max() else np.longdouble(0)
    record.update(diff_mean=d.mean(), diff_std=diff_std, abs_diff_mean=mae, abs_diff_max=ad.max(), mse=mse,
                  rmse=np.sqrt(mse), mae=mae, relative_mse=mse / (fp["mean_square"] + np.longdouble("1e-8")),
                  relative_mae=mae / (fp["abs_mean"] + np.longdouble("1e-8")))
    covariance = np.mean((a - a.mean()) * (b - b.mean()))
    defined = fp["std"] > 0 and out["std"] > 0
    record["correlation"] = covariance / (fp["std"] * out["std"]) if defined else None
    for p in (50, 90, 95, 99):
        record["abs_diff_p%d" % p] = np.percentile(ad, p)
    return record


def scale_of(key, ref, mode):
    """Size of the terms of a sum that may cancel: below 1e-15 of it nobody can ask for digits."""
    sides = {"fp_mean": ref, "mode_mean": mode, "mean": mode, "fp_std": ref, "mode_std": mode, "std": mode}
    if key in sides:
        return float(np.abs(sides[key].astype(np.float64)).max(initial=0))
    if key in ("diff_mean", "diff_std"):
        finite = np.isfinite(mode) & np.isfinite(ref)
        return float(np.abs(mode[finite].astype(np.float64) - ref[finite]).max(initial=0))
    return 1.0 if key == "correlation" else 0.0


def differs(key, got, want, scale):
    """None if `got` is right, else what is wrong."""
    if want is None or got is None:
        return None if want is None and got is None else "%s: expected %s, got %s" % (key, want, got)
    wrong = got != float(want) if key in EXACT else abs(got - want) > TOLERANCE * abs(want) + 1e-15 * scale
    return "%s: expected %.17g, got %.17g" % (key, want, got) if wrong else None


def grade(value, limits):
    names = ("excellent", "good", "fair")
    return next((n for n, limit in zip(names, limits) if value is not None and value < limit), "poor")


def expected_grades(record):
    corr = record["correlation"]
    undefined = "excellent" if record["mse"] == 0 else "poor"
    grades = {"mse": grade(record["mse"], (1e-4, 1e-3, 1e-2)),
              "correlation": undefined if corr is None else grade(-corr, (-0.9999, -0.999, -0.99)),
              "relative_mae": grade(record["relative_mae"], (1e-3, 1e-2, 5e-2))}
    order = ("excellent", "good", "fair", "poor")
    grades["worst"] = max(grades.values(), key=order.index)
    return grades


class Result:
    def __init__(self, path):
        self.file = h5py.File(path, "r")
        self.lengths = self.file["samples/length"][...]

    def runs(self):
        return [(cell, mode) for cell in self.file["outputs"] for mode in self.file["outputs"][cell]]

    def captured(self, run):
        group = self.file["outputs/%s/%s" % run]
        return sorted((int(layer[len("layer_"):]), name) for layer in group for name in group[layer])

    def values(self, run, layer, component):
        data = self.file["outputs/%s/%s/layer_%d/%s" % (run + (layer, component))]
        return np.concatenate([data[s, :n].ravel() for s, n in enumerate(self.lengths)])

    def shape(self, run, layer, component):
        return list(self.file["outputs/%s/%s/layer_%d/%s" % (run + (layer, component))].shape)

    def reference(self, cell, mode):
        """The reference of the same scales, else the float one, else the one of the first scales."""
        cells = sorted((c for c, m in self.runs() if m == mode), key=lambda c: -1 if c == "float" else int(c))
        return next((c for c in (cell, "float") if c in cells), cells[0]), mode


def entries(document):
    """(layer, component, object) of a report."""
    for name, layer in document["layers"].items():
        number = int(name[len("layer_"):])
        yield number, layer["component"], layer
        for component, other in layer.get("components", {}).items():
            yield number, component, other


def cell_name(calib_data_num):
    return "float" if calib_data_num is None else str(calib_data_num)


class Check:
    def __init__(self, result):
        self.result, self.failures, self.numbers = result, [], 0

    def fail(self, where, text):
        self.failures.append("%s: %s" % (where, text))

    def number(self, where, key, got, want, scale=0.0):
        self.numbers += 1
        text = differs(key, got, want, scale)
        if text:
            self.fail(where, text)

    def covered(self, path, run, document):
        got, want = sorted((l, c) for l, c, _ in entries(document)), self.result.captured(run)
        if got != want:
            self.fail(path, "holds layers and components %s, the result file %s" % (got, want))
            return False
        return True

    def comparison(self, path, document):
        run = (cell_name(document["provenance"]["calib_data_num"]), document["compared_mode"])
        reference = self.result.reference(run[0], document["reference_mode"])
        if not self.covered(path, run, document):
            return run
        for layer, component, entry in entries(document):
            where = "%s: layer_%d %s" % (path, layer, component)
            ref, mode = self.result.values(reference, layer, component), self.result.values(run, layer, component)
            want = expected_record(ref, mode)
            for key in KEYS:
                self.number(where, key, entry[key], want[key], scale_of(key, ref, mode))
            if entry["grades"] != expected_grades({k: entry[k] for k in KEYS}):
                self.fail(where, "grades %s do not fit the numbers" % entry["grades"])
        self.averages(path, document["summary"], list(document["layers"].values()))
        return run

    def averages(self, path, summary, layers):
        spoiled = any(layer["mse"] is None for layer in layers)    # by NaN or Inf
        for key in ("mse", "mae", "correlation"):
            values = [layer[key] for layer in layers if layer[key] is not None]
            want = None if spoiled or not values else float(np.mean(values))
            self.number(path + ": summary", "avg_" + key, summary["avg_" + key], want)

    def stats(self, path, document):
        run = (cell_name(document["calib_data_num"]), document["mode"])
        if not self.covered(path, run, document):
            return run
        for layer, component, entry in entries(document):
            where = "%s: layer_%d %s" % (path, layer, component)
            values = self.result.values(run, layer, component)
            want = moments(values, values.astype(np.longdouble))
            for key in ("mean", "std", "min", "max", "abs_mean"):
                self.number(where, key, entry[key], want[key], scale_of(key, values, values))
            if entry["shape"] != self.result.shape(run, layer, component) or entry["elements"] != values.size:
                self.fail(where, "shape %s with %s elements" % (entry["shape"], entry["elements"]))
        return run

    def summary(self, path, document, comparisons):
        """The rows of summary.json against the comparison files, which were checked against the data."""
        rows = {(cell_name(row["calib_data_num"]), row["mode"]): row for row in document["modes"]}
        if set(rows) != set(self.result.runs()):
            self.fail(path, "holds %s, the result file %s" % (sorted(rows), sorted(self.result.runs())))
        for run, other in comparisons.items():
            layers = sorted(other["layers"].items(), key=lambda item: int(item[0][len("layer_"):]))
            row = rows.get(run, {})
            for end, (name, layer) in (("first_layer", layers[0]), ("last_layer", layers[-1])):
                same = all(row[end][k] == layer[k] for k in ("mse", "mae", "correlation", "relative_mae"))
                if not same or name != "layer_%d" % row[end]["layer"]:
                    self.fail(path, "%s %s differs from its comparison file" % (run, end))
            if any(row[k] != other["summary"][k] for k in ("avg_mse", "avg_mae", "avg_correlation", "worst_grade")):
                self.fail(path, "%s averages differ from its comparison file" % (run,))


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def main(arguments):
    if len(arguments) not in (3, 4):
        sys.exit("usage: check_metrics.py RESULT.h5 COMPARISON_DIR [OUTPUT_DIR]")
    check = Check(Result(arguments[1]))
    output_dir = arguments[3] if len(arguments) == 4 else os.path.dirname(arguments[1]) or "."
    comparisons = {}
    for path in sorted(glob.glob(os.path.join(arguments[2], "mode_*_vs_*.json"))):
        document = load(path)
        comparisons[check.comparison(path, document)] = document
    stats = {check.stats(path, load(path)) for path in sorted(glob.glob(os.path.join(output_dir, "mode_*_stats.json")))}
    summary = load(os.path.join(arguments[2], "summary.json"))
    check.summary("summary.json", summary, comparisons)
    runs = set(check.result.runs())
    if stats != runs:
        check.fail(output_dir, "no statistics of %s" % sorted(runs - stats))
    compared = {run for run in runs if run[1] != summary["reference_mode"]}
    if set(comparisons) != compared:
        check.fail(arguments[2], "no comparison of %s" % sorted(compared - set(comparisons)))
    for text in check.failures:
        print(text)
    print("%d numbers of %d comparisons checked, %d wrong" % (check.numbers, len(comparisons), len(check.failures)))
    return 1 if check.failures or check.numbers == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
