# SPDX-License-Identifier: Apache-2.0
"""What the result file keeps below /metrics: against NumPy in float64, of every layer, component, mode and cell; the same
bytes when no tensors are stored; the size of the file as --dry-run tells it."""
import json
import os
import re
import sys

import h5py
import jsonschema
import numpy as np

import harness
from numpy_metrics import wrong_moments, wrong_profile

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import quamba_reference as reference  # noqa: E402

JOB = ["-q", "--no-html", "--calib_data_num", "2,3", "--calib_seqlen", "24", "--layers", "all", "--components", "all"] + harness.FEW


def reference_of(mode_of_reference, cell, cells):
    if mode_of_reference.startswith("fp"):
        return "float/" + mode_of_reference
    return "%s/%s" % (cells[0] if cell == "float" else cell, mode_of_reference)


def check_tensors(checks, path, mode_of_reference, what):
    """Moments and profiles of what is stored."""
    wrong, rows = [], 0
    with h5py.File(path, "r") as f:
        length = f["samples/length"][:]
        cells = sorted((c for c in f["outputs"] if c != "float"), key=int)
        for cell, mode in ((c, m) for c in f["outputs"] for m in f["outputs"][c]):
            metrics, ref = f["metrics"][cell][mode], f["outputs/" + reference_of(mode_of_reference, cell, cells)]
            moments, histogram, position = (metrics[name][:] for name in ("moments", "histogram", "position"))
            for layer in f["outputs"][cell][mode]:
                for component in f["outputs"][cell][mode][layer]:
                    place = (int(layer[6:]), reference.COMPONENTS.index(component))
                    a, b = ref[layer][component][:].astype(float), f["outputs"][cell][mode][layer][component][:].astype(float)
                    for s, n in enumerate(length):
                        at, rows = (s,) + place, rows + 1
                        bad = wrong_moments(moments[at], a[s, :n], b[s, :n]) + \
                            wrong_profile(histogram[at], position[at], a[s, :n], b[s, :n])
                        wrong += ["%s/%s %s: %s" % (cell, mode, at, bad)] if bad else []
    checks.check(rows > 0 and not wrong, what + ": moments and profiles are NumPy's", "\n".join(wrong[:10]))
    print("%s: %d rows" % (what, rows))


def check_predictions(checks, path):
    """The residual stream is the embedding and the sum of what the mixers add, so that logits follow from tensors."""
    model = reference.Model(reference.load_safetensors(os.path.join(harness.DEMO, "model.safetensors")))
    worst = {"nll": 0, "kl": 0, "top1": 0}
    with h5py.File(path, "r") as f:
        ids, length = f["samples/token_ids"][:], f["samples/length"][:]

        def predictions(run, s):
            outputs = f["outputs"][run]
            tokens = ids[s, :length[s]]
            stream = model.embedding[tokens].astype(float)
            for layer in range(len(outputs)):
                stream = stream + outputs["layer_%d/mixer_output" % layer][s, :length[s]]
            unit = stream / np.sqrt((stream ** 2).mean(axis=1, keepdims=True) + model.eps)
            return reference.log_softmax((unit * model.norm_f) @ model.lm_head.T.astype(float))[:-1], tokens[1:]

        for s in range(len(length)):
            ref, following = predictions("float/fp32", s)
            for cell, mode in ((c, m) for c in f["metrics"] if c != "width" for m in f["metrics"][c]):
                row = f["metrics"][cell][mode]["end_of_model"][s]
                own, _ = predictions(cell + "/" + mode, s)
                kl = (np.exp(ref) * (ref - own)).sum(axis=1)
                nll = -own[np.arange(len(own)), following].sum()
                checks.check(row["tokens"] == len(own) == row["kl_bins"].sum() and row["nonfinite"] == 0,
                             "%s/%s: every prediction counts" % (cell, mode), row)
                worst["nll"] = max(worst["nll"], abs(row["nll"] - nll) / nll)
                if mode != "fp32" and mode != "fp16":
                    worst["kl"] = max(worst["kl"], abs(row["kl"] - kl.sum()) / kl.sum(), abs(row["kl_max"] - kl.max()) / kl.max(),
                                      abs(row["kl_squares"] - (kl ** 2).sum()) / (kl ** 2).sum())
                worst["top1"] = max(worst["top1"], abs(int(row["top1_agree"]) - (own.argmax(1) == ref.argmax(1)).sum()),
                                    abs(int(row["top1_correct"]) - (own.argmax(1) == following).sum()))
                if mode == "fp32":
                    checks.check(row["kl"] == 0 and row["kl_bins"][0] == len(own) and row["top1_agree"] == len(own),
                                 "the reference does not differ from itself", row)
    print("predictions: %s" % worst)
    checks.check(worst["nll"] < 1e-4 and worst["kl"] < 0.01 and worst["top1"] <= 1, "predictions are NumPy's", worst)


def datasets(path, group):
    found = {}
    with h5py.File(path, "r") as f:
        f[group].visititems(lambda name, d: found.update({name: (d.dtype, d.shape, d[()].tobytes())})
                            if isinstance(d, h5py.Dataset) and not name.endswith("seconds") else None)
    return found


def run(checks, what, folder, options, ranks=1):
    result = harness.run(JOB + options + ["--output_dir", what, "--comparison-dir", what + "/reports"], ranks, folder)
    checks.check(result.status == 0, what + " runs", result.err)
    return os.path.join(folder, what, "sweep.h5")


def check_size(checks, folder, what, options):
    """The plan of a job against the file that it makes."""
    plan = harness.run(JOB[1:] + options + ["--output_dir", what + "-planned", "--dry-run"], 1, folder)
    told = re.search(r"result file: .*, ([\d.]+) MiB", plan.out)
    size = os.path.getsize(os.path.join(folder, what, "sweep.h5")) / (1 << 20)
    checks.check(told and abs(float(told[1]) - size) < 0.05 * size + 0.05, what + ": the plan tells the size", (plan.out, size))


def moments_of(value):
    """A report less what outputs alone tell, and what is of the run."""
    gone = ("shape", "dtype", "max_ulp", "timestamp", "output_dir")
    if isinstance(value, dict):
        return {k: moments_of(v) for k, v in value.items() if k not in gone and not k.startswith("abs_diff_p")}
    return [moments_of(v) for v in value] if isinstance(value, list) else value


def check_reports_of_metrics(checks, folder):
    """Without outputs every report has the numbers that it has with them, bit by bit."""
    for what in ("whole", "none"):
        again = harness.run(["compare", "-q", "--output_dir", what, "--comparison-dir", what + "/again", "--per-sample"] + harness.FEW, 2,
                            folder)
        checks.check(again.status == 0, what + ": compare", again.err)
    for place in ("", "again"):
        names = [sorted(n for n in os.listdir(os.path.join(folder, what, place)) if n.endswith((".json", ".csv"))) for what in ("whole", "none")]
        checks.check(names[0] == names[1] and len(names[0]) >= 16, "--store none: the same reports", names)
        for name in names[0]:
            paths = [os.path.join(folder, what, place, name) for what in ("whole", "none")]
            same = (moments_of(harness.read_json(paths[0])) == moments_of(harness.read_json(paths[1])) if name.endswith(".json")
                    else harness.read_bytes(paths[0]) == harness.read_bytes(paths[1]))
            checks.check(same, "--store none: the same numbers in " + name)
    layer = harness.read_json(os.path.join(folder, "none", "again", "mode_2-1_n3_vs_fp32.json"))["layers"]["layer_1"]
    checks.check("mse" in layer and "abs_diff_p99" not in layer, "--store none: percentiles are left out", sorted(layer))
    for gate, status in (("mode=2-1 mse<1", 0), ("mode=2-1 mse<1e-30", 1)):
        judged = harness.run(["compare", "-q", "--output_dir", "none", "--comparison-dir", "judged", "--gate", gate,
                              "--baseline", "whole/again/summary.json"] + harness.FEW, 1, folder)
        checks.check(judged.status == status, "--store none: gate %s, and the other's baseline" % gate, judged.err)


def check_store_none(checks, folder, whole):
    options = ["--store", "none", "--shard", "1"]
    none = run(checks, "none", folder, options, 3)
    with h5py.File(none, "r") as f:
        checks.check("outputs" not in f, "--store none: no tensors", list(f))
    same = datasets(none, "metrics")
    checks.check(len(same) == 1 + harness.runs_of(2) * 4 and same == datasets(whole, "metrics"), "--store none: the same metrics",
                 [name for name, content in datasets(whole, "metrics").items() if same.get(name) != content][:10])
    checks.check(all(content[2] == bytes([1]) * 3 for name, content in datasets(none, "items").items() if name.endswith("state")),
                 "--store none: every sample is done")
    check_size(checks, folder, "none", options)
    again = harness.run(["compare", "2-1", "--output_dir", "none"] + harness.FEW, 2, folder)
    checks.check(again.status == 0 and any("keeps no tensors" in line for line in again.lines()), "compare says where it comes from",
                 again.err)
    exported = harness.run(["export", "--npy", "arrays", "--output_dir", "none"], 2, folder)
    checks.check(exported.status == 3 and "nothing to export" in exported.err and not os.path.exists(os.path.join(folder, "arrays")),
                 "--store none: export says that there is nothing", exported.err)
    resumed = harness.run(JOB + options + ["--output_dir", "none", "--resume"], 2, folder)
    checks.check(resumed.status == 0 and datasets(none, "metrics") == same, "--store none: resumes", resumed.err)
    other = harness.run(JOB + ["--output_dir", "none", "--resume"], 1, folder)
    checks.check(other.status == 3 and "store is 'none' there" in other.err, "another --store is another job", other.err)
    for arguments in (JOB + options + ["--output_dir", "gated"], ["compare", "2-1", "--output_dir", "none"] + harness.FEW):
        for metric in ("abs_diff_p99", "max_ulp"):
            refused = harness.run(arguments + ["--gate", metric + "<1"], 1, folder)
            checks.check(refused.status == 2 and metric + " needs layer outputs" in refused.err and
                         not os.path.exists(os.path.join(folder, "gated")), "--store none: a gate on %s is refused" % metric, refused.err)


def check_no_logits(checks, folder, whole):
    options = ["--store", "none", "--no-logits"]
    without = datasets(run(checks, "without", folder, options, 2), "metrics")
    expected = {name: content for name, content in datasets(whole, "metrics").items() if "end_of_model" not in name}
    checks.check(without == expected, "--no-logits: the other metrics", sorted(without)[:10])
    check_size(checks, folder, "without", options)


def check_noise(checks, folder, whole):
    """Re-runs differ from their mode, are the same for every schedule and choice of modes, and store no tensors."""
    runs = {}
    for what, modes, further, ranks in (("alone", "2-1", ["--shard", "7"], 1), ("shared", "2-1,2-2,3", ["--shard", "1"], 3)):
        options = ["--modes", modes, "--noise", "2", "--layers", "1,last"] + further
        path = run(checks, what, folder, options, ranks)
        runs[what] = datasets(path, "metrics")
        check_size(checks, folder, what, options)
        with h5py.File(path, "r") as f:
            checks.check(not [m for cell in f["outputs"] for m in f["outputs"][cell] if "dither" in m], what + ": no tensors of re-runs")
            checks.check(all((f["items/3/2-1_dither%d/state" % k][:] == 1).all() for k in (1, 2)), what + ": re-runs are done")
    alone, shared = runs["alone"], runs["shared"]
    differing = [name for name in alone if shared.get(name) != alone[name]]
    checks.check(len(alone) == 1 + 4 + 2 * (4 + 2 * 6) and not differing, "--noise: the same beside other modes", differing)
    plain = datasets(whole, "metrics")
    checks.check(all(plain[name] == alone[name] for name in alone if "dither" not in name), "--noise: modes are as without it")
    for name in ("3/%s/moments", "2/%s/position"):
        variants = [shared[name % ("2-1" + end)] for end in ("", "_dither1", "_dither2")]
        checks.check(len(set(variants)) == 3, "--noise: re-runs differ", name)
        checks.check(shared[name % "2-2_dither1"] == variants[1], "--noise: modes that are equal have equal re-runs", name)
    other = harness.run(JOB + ["--modes", "2-1", "--noise", "1", "--layers", "1,last", "--output_dir", "alone", "--resume"], 1,
                        folder)
    checks.check(other.status == 3 and "noise is 2 there, 1 here" in other.err, "another --noise is another job", other.err)
    check_unfinished_noise(checks, folder)


def check_unfinished_noise(checks, folder):
    """Modes that are whole do not hide re-runs that are not."""
    path = os.path.join(folder, "alone", "sweep.h5")
    command = ["compare", "--all", "--output_dir", "alone", "--comparison-dir", "partial"] + harness.FEW
    before = harness.run(command, 1, folder)
    with h5py.File(path, "r+") as f:
        f["items/3/2-1_dither2/state"][1] = 0
    after = harness.run(command, 2, folder)
    reports = [harness.read_json(os.path.join(folder, "partial", name)) for name in ("summary.json", "sweep.json")]
    checks.check(before.status == 0 and "INCOMPLETE" not in before.out and after.status == 0 and
                 "mode 2-1, noisy re-run 2 (n=3): 2 of 3 samples" in after.out, "unfinished re-runs: said", after.out + after.err)
    for report in reports:
        unfinished = report.get("incomplete_runs", [{}])
        checks.check(report["complete"] is False and len(unfinished) == 1 and unfinished[0].get("noise") == 2 and
                     unfinished[0].get("missing_samples") == ["1"], "unfinished re-runs: in the reports", unfinished)
    schema = harness.read_json(os.path.join(harness.SOURCE, "docs", "schema", "sweep.schema.json"))
    errors = [e.message for e in jsonschema.Draft202012Validator(schema).iter_errors(reports[1])]
    checks.check(not errors, "unfinished re-runs: sweep.json is valid by its schema", errors)
    about = harness.run(["info", "--json", path], 1, folder)
    checks.check(json.loads(about.out)["complete"] is False, "unfinished re-runs: info", about.out)


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        whole = run(checks, "whole", folder, [], 2)
        check_tensors(checks, whole, "fp32", "against fp32")
        check_predictions(checks, whole)
        check_size(checks, folder, "whole", [])
        check_store_none(checks, folder, whole)
        check_reports_of_metrics(checks, folder)
        check_no_logits(checks, folder, whole)
        check_noise(checks, folder, whole)
        against = ["--reference", "3", "--layers", "1,last"]
        check_tensors(checks, run(checks, "against", folder, against, 3), "3", "against 3")
        check_size(checks, folder, "against", against)
    checks.finish()


main()
