# SPDX-License-Identifier: Apache-2.0
"""The command lines of the scripts that ssmsweep replaces: save, compare, and the scripts of the old names."""
import json
import os
import sys

import h5py

import harness

SMALL = ["--calib_data_num", "2", "--calib_seqlen", "16"]
COMPAT = os.path.join(harness.SOURCE, "jobs", "compat")
SETS = {"all": harness.MODES, "fp_only": ["fp32", "fp16"], "quant_only": ["fp32"] + harness.MODES[2:],
        "essential": ["fp32", "0", "2-1", "2-2", "2-4"], "0 2-1 2-4": ["fp32", "0", "2-1", "2-4"]}
LIMIT = 120


def saved_modes(folder):
    with h5py.File(os.path.join(folder, "sweep.h5"), "r") as f:
        return sorted(mode for group in f["outputs"].values() for mode in group)


def check_save(checks, work, arguments, expected, ranks=1):
    name = "-".join(word.strip("-") for word in arguments)
    result = harness.run(["save"] + arguments + SMALL + ["--output_dir", name], ranks, work, limit=LIMIT)
    folder = os.path.join(work, name)
    if checks.check(result.status == 0, "save " + name, result.err):
        checks.check(saved_modes(folder) == sorted(expected), "save %s: its modes" % name, saved_modes(folder))
        stats = sorted(file for file in os.listdir(folder) if file.endswith(".json"))
        checks.check(stats == sorted("mode_%s_stats.json" % mode for mode in expected), "save %s: stats" % name, stats)
    compared = os.path.join(work, "comparisons")
    checks.check(not os.path.exists(compared) or not os.listdir(compared), "save does not compare")


def check_compare(checks, work):
    def compare(*arguments, status=0):
        result = harness.run(["compare", "--output_dir", "all"] + list(arguments), 1, work, limit=LIMIT)
        checks.check(result.status == status, "compare " + " ".join(arguments), result.err)
        return result

    def content(*path):
        with open(os.path.join(work, *path)) as f:
            return json.load(f)

    compare("2-1", "--comparison-dir", "one")
    checks.check(sorted(os.listdir(os.path.join(work, "one"))) == ["mode_2-1_vs_fp32.json", "summary.json", "sweep.csv", "sweep.json"], "one mode",
                 os.listdir(os.path.join(work, "one")))
    compare("2-4", "--reference", "2-1", "--save_comparison", "mine.json")
    checks.check(content("mine.json")["compared_mode"] == "2-4", "--save_comparison")
    checks.check(content("mine.json")["reference_mode"] == "2-1", "--reference")
    compare("2-4", "--reference", "fp16", "--comparison-dir", "half")
    checks.check(content("half", "mode_2-4_vs_fp16.json")["reference_mode"] == "fp16", "--reference fp16")
    table = compare("--all", "--comparison-dir", "every").out
    checks.check(all(mode in table for mode in harness.MODES), "compare --all: a table of all modes", table)
    modes = [entry["mode"] for entry in content("every", "summary.json")["modes"]]
    checks.check(sorted(modes) == sorted(harness.MODES), "compare --all: all modes", modes)
    result = harness.run(["compare", "2-1", "--reference", "fp16", "--output_dir", "essential"], 1, work, limit=LIMIT)
    checks.check(result.status == 3 and "ssmsweep run --modes fp16" in result.err, "a missing reference", result.err)
    checks.check(compare("--all", "--modes", "0", status=2).status == 2, "--all contradicts --modes")


def check_scripts(checks, work):
    def script(name, *arguments):
        status, out, err = harness.execute([os.path.join(COMPAT, name)] + list(arguments), work, {"RANKS": "2"}, LIMIT)
        checks.check(status == 0, " ".join((name,) + arguments), out + err)
        return out

    script("save_all_modes.sh", "essential", *SMALL)
    checks.check(saved_modes(os.path.join(work, "layer_outputs")) == sorted(SETS["essential"]), "save_all_modes.sh")
    table = script("compare_all_modes.sh")
    checks.check(all(mode in table for mode in SETS["essential"]), "compare_all_modes.sh: a table", table)
    script("comparewithfp", "2-4", "--save_comparison", "old.json")
    with open(os.path.join(work, "old.json")) as f:
        checks.check(json.load(f)["compared_mode"] == "2-4", "comparewithfp")
    status, _, err = harness.execute([os.path.join(COMPAT, "comparewithfp"), "9-9"], work, limit=LIMIT)
    checks.check(status == 2 and "9-9" in err, "a script hands the exit status on", err)


def main():
    checks = harness.Checks()
    with harness.Workplace() as work:
        for words, expected in SETS.items():
            check_save(checks, work, words.split(), expected, ranks=2 if words == "all" else 1)
        check_save(checks, work, ["--mode", "2-1", "--quantize"], ["fp32", "2-1"])
        check_save(checks, work, ["--mode", "fp32"], ["fp32"])
        result = harness.run(["save", "2-1", "--mode", "0"], 1, work, limit=LIMIT)
        checks.check(result.status == 2 and "contradicts" in result.err, "two ways to say the mode", result.err)
        check_compare(checks, work)
        check_scripts(checks, work)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
