# SPDX-License-Identifier: Apache-2.0
"""How far noisy re-runs (--noise) lie apart from the runs that they repeat, layer by layer and in the predictions: against
NumPy, on outputs of whole passes that know neither groups nor files; the same bytes for every schedule and after --resume.

    reruns.py PROBE"""
import hashlib
import os
import re
import subprocess
import sys

import h5py
import numpy as np

import harness
from numpy_metrics import wrong_moments

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import quamba_reference as reference  # noqa: E402

PROBE = sys.argv[1]
RERUNS = 2
JOB = ["-q", "--calib_data_num", "3", "--calib_seqlen", "40", "--modes", "2-1,2-2,2-4", "--noise", str(RERUNS), "--layers", "first",
       *harness.FEW]


class Passes:
    """Outputs of whole forward passes, by mode and re-run (0: none)."""

    def __init__(self, folder, path):
        self.folder, self.known = folder, {}
        with h5py.File(path, "r") as f:
            self.length, ids = f["samples/length"][:], f["samples/token_ids"][:]
            f["calibration/3/scales"][:].astype("<f4").tofile(os.path.join(folder, "scales"))
            self.width = dict(zip(reference.COMPONENTS, f["metrics/width"][:]))
            self.layers = f["metrics/3/2-1/moments"].shape[1]
        self.ids = [ids[s, :n] for s, n in enumerate(self.length)]
        np.concatenate([np.concatenate([[len(s)], s]) for s in self.ids]).astype("<i4").tofile(os.path.join(folder, "ids"))

    def of(self, mode, rerun):
        """Per sample [layer][component] float64 arrays, and logits."""
        if (mode, rerun) not in self.known:
            out = os.path.join(self.folder, "out")
            again = ["rerun", harness.DEMO, mode, str(rerun)] if rerun else ["forward", harness.DEMO, mode]
            subprocess.run([PROBE] + again + [os.path.join(self.folder, name) for name in ("scales", "ids", "out")], check=True)
            values, at, samples = np.fromfile(out, "<f4").astype(float), 0, []
            vocab = (values.size - sum(int(n) * self.layers * sum(self.width.values()) for n in self.length)) // sum(self.length)
            for n in self.length:
                shapes = [(n, self.width[c]) for _ in range(self.layers) for c in reference.COMPONENTS] + [(n, vocab)]
                ends = at + np.cumsum([a * b for a, b in shapes])
                arrays = [values[end - a * b:end].reshape(a, b) for end, (a, b) in zip(ends, shapes)]
                at, each = ends[-1], len(reference.COMPONENTS)
                samples.append(([arrays[l * each:(l + 1) * each] for l in range(self.layers)], arrays[-1]))
            self.known[mode, rerun] = samples
        return self.known[mode, rerun]


def wrong_end(row, run, again, following):
    """What of the predictions is not NumPy's; KL of the order of 1e-9 is all rounding of the logarithms."""
    p, q = (reference.log_softmax(x)[:-1] for x in (run, again))
    kl = (np.exp(p) * (p - q)).sum(axis=1)
    pairs = [("tokens", len(p)), ("top1_agree", (p.argmax(1) == q.argmax(1)).sum()),
             ("top1_correct", (q.argmax(1) == following).sum()), ("nonfinite", 0), ("nll", -q[np.arange(len(q)), following].sum()),
             ("kl", kl.sum()), ("kl_max", kl.max()), ("kl_squares", (kl ** 2).sum())]
    return [(name, row[name], want) for name, want in pairs if abs(float(row[name]) - want) > 1e-9 * abs(want) + 1e-12]


def digests(group):
    """Of each sample of a re-run, as docs/result_file.md has them."""
    rows = zip(*(group[name][:] for name in ("moments", "histogram", "position", "apart", "end_of_model", "end_of_model_apart")))
    return [hashlib.sha256(b"".join(part.tobytes() for part in row)).digest() for row in rows]


def check_values(checks, path, passes, what):
    wrong, rows, largest = [], 0, 0.0
    with h5py.File(path, "r") as f:
        for mode in ("2-1", "2-2", "2-4"):
            for k in range(1, RERUNS + 1):
                group = f["metrics/3/%s_dither%d" % (mode, k)]
                apart, end = group["apart"][:], group["end_of_model_apart"][:]
                for s, (run, again) in enumerate(zip(passes.of(mode, 0), passes.of(mode, k))):
                    for layer in range(passes.layers):
                        for c in range(len(reference.COMPONENTS)):
                            a, b = run[0][layer][c], again[0][layer][c]
                            bad, rows = wrong_moments(apart[s, layer, c], a, b) if (a != b).any() else [], rows + 1
                            bad += [("count", apart[s, layer, c]["count"])] if apart[s, layer, c]["count"] != a.size else []
                            largest = max(largest, ((a - b) ** 2).mean() / (a ** 2).mean())
                            wrong += ["%s %d, sample %d, layer %d, component %d: %s" % (mode, k, s, layer, c, bad)] if bad else []
                    bad = wrong_end(end[s], run[1], again[1], passes.ids[s][1:])
                    wrong += ["%s %d, sample %d: %s" % (mode, k, s, bad)] if bad else []
                checks.check(digests(group) == [bytes(row) for row in f["items/3/%s_dither%d/digest" % (mode, k)][:]],
                             what + ": digests of %s %d are as documented" % (mode, k))
            checks.check("apart" not in f["metrics/3"][mode], what + ": only re-runs lie apart from something")
    checks.check(rows > 0 and not wrong, what + ": distances are NumPy's", "\n".join(wrong[:10]))
    checks.check(largest > 1e-6, what + ": re-runs do differ", largest)
    print("%s: %d distances, the largest %.2g of the outputs" % (what, rows, largest))


def contents(path, group="metrics"):
    found = {}
    with h5py.File(path, "r") as f:
        f[group].visititems(lambda name, d: found.update({name: d[()].tobytes()})
                            if isinstance(d, h5py.Dataset) and not name.endswith("seconds") else None)
    return found


def run(checks, what, folder, options, ranks=1):
    result = harness.run(JOB + options + ["--output_dir", what, "--comparison-dir", what + "/reports"], ranks, folder)
    checks.check(result.status == 0, what + " runs", result.err)
    return os.path.join(folder, what, "sweep.h5")


def check_schedules(checks, folder, path):
    """Groups with some of the runs, several threads, and items of which a part was done before."""
    same = contents(path)
    for what, options, ranks in (("ranks", ["--shard", "1"], 5), ("threads", ["--threads", "2"], 2)):
        checks.check(contents(run(checks, what, folder, options, ranks)) == same, what + ": the same bytes")
    report = harness.read_bytes(os.path.join(folder, "plain", "reports", "sweep.json"))
    for what, gone in (("runs", ["2-1", "2-4"]), ("re-runs", ["2-1_dither2", "2-2_dither1", "2-4_dither1", "2-4_dither2"])):
        with h5py.File(path, "r+") as f:
            for name in gone:
                f["items/3/%s/state" % name][1] = 0
                for metric in f["metrics/3"][name].values():
                    metric[1] = np.zeros((), metric.dtype)
        result = harness.run(["-v"] + JOB[1:] + ["--resume", "--output_dir", "plain", "--comparison-dir", "plain/reports"], 2, folder)
        computed = [line for line in result.lines() if "computes run" in line]
        checks.check(result.status == 0 and len(computed) == len(gone), "--resume after lost %s: computes these alone" % what, result.err)
        checks.check(contents(path) == same, "--resume after lost %s: the same bytes" % what,
                     [name for name, content in contents(path).items() if content != same[name]][:10])
        checks.check(harness.read_bytes(os.path.join(folder, "plain", "reports", "sweep.json")) == report,
                     "--resume after lost %s: the same report" % what)


def check_parts(checks, folder):
    """One mode and many re-runs on many ranks: these are divided, and each part computes the mode once more."""
    options = ["--modes", "2-1", "--noise", "9"]
    plan = harness.run(JOB[1:] + options + ["--output_dir", "parts", "--dry-run"], 6, folder)
    items = re.search(r"items: (\d+) over 3 samples", plan.out)
    checks.check(items and int(items[1]) > 3, "parts: more items than samples", plan.out + plan.err)
    told = harness.run(["-v"] + JOB[1:] + options + ["--output_dir", "parts", "--comparison-dir", "parts"], 6, folder)
    computed = sorted(re.findall(r"computes run (\d+) .*, sample (\d+)", told.err))
    checks.check(told.status == 0 and len(computed) == len(set(computed)) == 3 * 11, "parts: nothing is stored twice", told.err)
    parts = contents(os.path.join(folder, "parts", "sweep.h5"))
    checks.check(parts == contents(run(checks, "one", folder, options)), "parts: the same bytes")


def check_report(checks, folder, path):
    """The worst of the re-runs, in sweep.json; perplexities are no distances."""
    report = harness.read_json(os.path.join(folder, "plain", "reports", "sweep.json"))
    with h5py.File(path, "r") as f:
        for entry in report["layers"] + report["end_of_model"]:
            known = {name for name, metric in entry["metrics"].items() if "apart" in metric}
            quantized = entry["calib_data_num"] is not None
            want = {name for name in entry["metrics"] if quantized and not name.startswith("perplexity")}
            checks.check(known == want, "sweep.json: distances of re-runs alone", (entry["mode"], known))
            if not quantized:
                continue
            groups = [f["metrics/3/%s_dither%d" % (entry["mode"], k)] for k in range(1, RERUNS + 1)]
            if "layer" in entry:
                at = (slice(None), entry["layer"], reference.COMPONENTS.index(entry["component"]))
                rows = [g["apart"][at] for g in groups]
                means = [(r["mode_sum_hi"] - r["ref_sum_hi"]) + (r["mode_sum_lo"] - r["ref_sum_lo"]) for r in rows]
                want = {"mse": max((r["diff_squares_hi"] + m * m / r["count"]).sum() / r["count"].sum() for r, m in zip(rows, means)),
                        "mae": max(r["abs_diff_hi"].sum() / r["count"].sum() for r in rows)}
            else:
                rows = [g["end_of_model_apart"][:] for g in groups]
                want = {"kl_mean": max(r["kl"].sum() / r["tokens"].sum() for r in rows),
                        "top1_agreement": min(r["top1_agree"].sum() / r["tokens"].sum() for r in rows)}
            for name, value in want.items():
                got = entry["metrics"][name]["apart"]
                checks.check(abs(got - value) <= 1e-12 * value, "sweep.json: %s apart" % name, (entry["mode"], got, value))


def check_marks(checks, folder):
    """Marked is what is no further from 2-1 than from itself, but for what differs from 2-1 in nothing (2-2)."""
    run(checks, "marks", folder, ["--reference", "2-1", "--modes", "0,2-1,2-2,2-4"], 2)
    report = harness.read_json(os.path.join(folder, "marks", "reports", "sweep.json"))
    found = {mode: set() for mode in ("0", "2-2", "2-4")}
    for entry in report["layers"] + report["end_of_model"]:
        for name, metric in entry["metrics"].items():
            if entry["mode"] not in found or "apart" not in metric:
                continue
            value, apart = (float(metric.get(key + "_flag", metric[key])) for key in ("value", "apart"))
            larger = name in ("correlation", "cosine_similarity", "sqnr_db", "top1_agreement")
            near = value >= apart if larger else value <= apart
            found[entry["mode"]].add(metric["within_apart"])
            checks.check(metric["within_apart"] == (near and metric["interval"] != "exact"), "against 2-1: %s within apart" % name, entry)
    checks.check(found == {"0": {False, True}, "2-2": {False}, "2-4": {False}}, "against 2-1: what is marked", found)


def check_nonfinite(checks, folder, path):
    """A NaN among the logits of the reference says nothing of runs and their re-runs."""
    def predictions():
        done = harness.run(["compare", "-q", *harness.FEW, "--output_dir", "plain", "--comparison-dir", "judged"], 1, folder)
        checks.check(done.status == 0, "compare runs", done.err)
        report = harness.read_json(os.path.join(folder, "judged", "sweep.json"))
        return {e["mode"]: e["metrics"]["kl_mean"] for e in report["end_of_model"] if e["calib_data_num"] is not None}

    before = predictions()
    with h5py.File(path, "r+") as f:
        for name in ["float/fp32"] + ["3/" + name for name in f["metrics/3"]]:
            rows = f["metrics"][name]["end_of_model"][:]
            rows["nonfinite"][0] = 1
            f["metrics"][name]["end_of_model"][:] = rows
    after = predictions()
    for mode in before:
        checks.check(after[mode]["value"] is None and after[mode]["apart"] == before[mode]["apart"] > 0,
                     "a NaN in the reference: how far re-runs are apart is still known", (mode, before[mode], after[mode]))


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        path = run(checks, "plain", folder, [], 2)
        passes = Passes(folder, path)
        check_values(checks, path, passes, "against fp32")
        check_values(checks, run(checks, "quantized", folder, ["--reference", "2-1"], 2), passes, "against 2-1")
        check_report(checks, folder, path)
        check_marks(checks, folder)
        check_schedules(checks, folder, path)
        check_parts(checks, folder)
        check_nonfinite(checks, folder, path)
    checks.finish()


main()
