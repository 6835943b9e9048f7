# SPDX-License-Identifier: Apache-2.0
"""Once through what only tests of label plain look at closely, so that a sanitizer sees it too: status 0, not a word, and
the same bytes from one rank and from three."""
import gzip
import json
import os

import harness
import recovery
import sweep_files

OBSERVERS = "mse,x_proj_input=entropy,outputs=entropy,ssm_state=percentile,dt_proj-output=ema-percentile"
JOBS = {
    "observers and orders": ["--observer", OBSERVERS, "--shuffle-calib", "2", "--seed", "5"],
    "noise, without tensors": ["--noise", "1", "--store", "none", "--shard", "1"],
    "other evaluation samples": ["--eval-data", "{folder}/ids.npy", "--eval_data_num", "4", "--threads", "2"],
}


def check_jobs(checks, workplace):
    for what, options in JOBS.items():
        found = {}
        for ranks in (1, 3):
            folder = os.path.join(workplace, "%s-%d" % (what.replace(" ", "-"), ranks))
            os.mkdir(folder)
            line = recovery.job(workplace, "-q", *[word.format(folder=workplace) for word in options])
            result = harness.run(line, ranks, folder)
            if checks.check(result.status == 0 and not result.lines(), "%s, -n %d" % (what, ranks), result.err):
                found[ranks] = recovery.results(folder)
        differing = sweep_files.differences(found[1], found[3]) if len(found) == 2 else "no results"
        checks.check(not differing, what + ": the same bytes", differing)


def check_additions(checks, workplace):
    """An addition that was killed, and the next that finishes it; then compare."""
    folder = os.path.join(workplace, "additions")
    os.mkdir(folder)
    job = recovery.job_without_modes(workplace, "-q")
    for what, program, words, status in (
            ("save", harness.PROGRAM, ["save", "fp32"], 0), ("killed", recovery.INJECT, ["--inject", "die@sync:2", "save", "2-1"], -9),
            ("save again", harness.PROGRAM, ["save", "0", "2-1"], 0)):
        result = harness.run(words + job, 1, folder, program=program)
        checks.check(result.status == status and not result.lines(), "additions: " + what, "%s\n%s" % (result.status, result.err))
    modes = sweep_files.modes(os.path.join(folder, "layer_outputs", "sweep.h5"))
    checks.check(modes == ["0", "0", "2-1", "2-1", "fp32"], "additions: the modes of the file", modes)
    result = harness.run(["compare", "-q", "--per-sample"] + harness.FEW, 3, folder)
    checks.check(result.status == 0, "compare", result.err)


def check_verdicts(checks, workplace):
    """Gates that pass and fail, against a kept report as well; texts from each kind of file, one of them packed."""
    folder = os.path.join(workplace, "verdicts")
    os.mkdir(folder)
    texts = ["The first text of these.", "A second one, also short."]
    with gzip.open(os.path.join(folder, "a.jsonl.gz"), "wt") as f:
        f.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    with open(os.path.join(folder, "b.txt"), "w") as f:
        f.write("\n\n".join(texts))
    for name in ("a.jsonl.gz", "b.txt"):
        result = harness.run(["-q", "--modes", "fp16,2-1", "--layers", "0", "--calib_data_num", "2", "--calib-data", name, "--output_dir", name[0]] + harness.FEW, 1, folder)
        checks.check(result.status == 0, "texts of " + name, result.err)
    with open(os.path.join(folder, "gates"), "w") as f:
        f.write("mode=fp16 mse<1\nmode=2-1 layer=all mse<1e-30 correlation>=0.5\n")
    compare = ["compare", "--output_dir", "b"] + harness.FEW
    kept = harness.run(compare + ["--save_comparison", "kept.json"], 1, folder)
    failed = harness.run(compare + ["--gate-file", "gates", "--baseline", "kept.json", "--junit", "gates.xml"], 2, folder)
    checks.check(kept.status == 0 and failed.status == 1 and os.path.exists(os.path.join(folder, "gates.xml")), "gates", kept.err + failed.err)


def check_searches(checks, workplace):
    """A bisection and a mix, some sweeps each in one process."""
    few = ["-q", "--calib_data_num", "2", "--eval_data_num", "6", "--calib_seqlen", "8", "--layers", "0,1"] + harness.FEW
    for ranks, words, name in ((2, ["attribute", "--bisect", "--mode", "2-1", "--by", "layer", "--limit", "1e-9"], "bisect.json"),
                               (1, ["mix", "--budget", "int8>=0.95", "--rounds", "1", "--noise", "1"], "mix.json")):
        result = harness.run(words + few + ["--output_dir", "searches", "--comparison-dir", "searches"], ranks, workplace)
        checks.check(result.status == 0 and os.path.exists(os.path.join(workplace, "searches", name)), name, result.err)


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        recovery.make_model(workplace)
        check_jobs(checks, workplace)
        check_additions(checks, workplace)
        check_verdicts(checks, workplace)
        check_searches(checks, workplace)
        made = harness.run(["synth", "--preset", "tiny", "--out", "made"], 1, workplace)
        checks.check(made.status == 0 and os.path.exists(os.path.join(workplace, "made", "config.json")), "synth", made.err)
        for line in (["--model", "made", "--modes", "2-1"], ["--null-items"]):
            result = harness.run(["bench", "--seconds", "0.0001", "--calib_seqlen", "8"] + line, 1 if "made" in line else 2, workplace)
            checks.check(result.status == 0 and not result.lines(), "bench", result.err)
    checks.finish()


main()
