# SPDX-License-Identifier: Apache-2.0
"""The command lines of the scripts that ssmsweep replaces: save, compare, and the scripts of the old names."""
import os
import shutil
import sys

import h5py

import harness
import sweep_files

SMALL = ["--calib_data_num", "2", "--calib_seqlen", "16"]
COMPAT = os.path.join(harness.SOURCE, "jobs", "compat")
SETS = {"all": harness.MODES, "fp_only": ["fp32", "fp16"], "quant_only": ["fp32"] + harness.QUANTIZED,
        "essential": ["fp32", "0", "2-1", "2-2", "2-4"], "0 2-1 2-4": ["fp32", "0", "2-1", "2-4"]}
LIMIT = harness.LIMIT


def saved_modes(folder):
    return sweep_files.modes(os.path.join(folder, "sweep.h5"))


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
        return harness.read_json(os.path.join(work, *path))

    compare("2-1", "--comparison-dir", "one")
    checks.check(sorted(os.listdir(os.path.join(work, "one"))) == ["mode_2-1_vs_fp32.json", "report.html", "summary.json", "sweep.csv", "sweep.json"], "one mode",
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
    checks.check(compare("--all", "--modes", "0", status=2).status == 2, "--all contradicts --modes")


def check_remedy(checks, work, what, arguments, words, added):
    """What is missing is named with the command that makes it: exactly that command, and the comparison works."""
    arguments = arguments + ["--comparison-dir", arguments[-1] + " compared"]    # reports of several results do not mix
    result = harness.run(["compare"] + arguments, 1, work, limit=LIMIT)
    said = result.err.strip().split("make it with: ")
    if not checks.check(result.status == 3 and len(said) == 2 and all(word in said[0] for word in words), what, result.err):
        return
    path = os.path.dirname(harness.PROGRAM) + ":" + os.environ["PATH"]
    status, _, err = harness.execute(["sh", "-c", said[1]], work, {"PATH": path}, LIMIT)
    checks.check(status == 0 and "adds modes " + added in err, what + ": " + said[1], err)
    result = harness.run(["compare"] + arguments, 1, work, limit=LIMIT)
    checks.check(result.status == 0, what + ": now it is there", result.err)


def check_remedies(checks, work):
    check_remedy(checks, work, "a missing reference", ["2-1", "--reference", "fp16", "--output_dir", "essential"],
                 ["essential/sweep.h5: reference mode 'fp16' is not in it"], "fp16")
    check_remedy(checks, work, "a missing mode", ["2-3", "--output_dir", "essential"], ["mode '2-3' is not in it"], "2-3")
    check_remedy(checks, work, "both", ["3", "--reference", "2-0", "--output_dir", "essential"], ["modes '2-0 3' are not in it"], "2-0,3")
    odd = "a folder's \"name\""
    shutil.copytree(harness.DEMO, os.path.join(work, odd, "model $1"))
    options = ["--model", os.path.join(odd, "model $1"), "--calib_data_num", "1,2", "--calib_seqlen", "8", "--layers", "-1,0-2",
               "--components", "all", "--percentile_alpha", "0.99", "--text-format", "jsonl", "--output_dir", odd]
    saved = harness.run(["save", "fp32"] + options, 1, work, limit=LIMIT)
    checks.check(saved.status == 0, "save with every option", saved.err)
    check_remedy(checks, work, "every option", ["2-4", "--output_dir", odd], ["mode '2-4' is not in it"], "2-4")
    with h5py.File(os.path.join(work, odd, "sweep.h5"), "r+") as f:
        f["items/1/2-4/state"][1] = 0
    result = harness.run(["compare", "2-4", "--output_dir", odd, "--comparison-dir", odd + " compared"], 1, work, limit=LIMIT)
    command = result.err.strip().split("make it with: ")[-1]
    path = os.path.dirname(harness.PROGRAM) + ":" + os.environ["PATH"]
    status, _, err = harness.execute(["sh", "-c", command], work, {"PATH": path}, LIMIT)
    again = harness.run(["compare", "2-4", "--output_dir", odd, "--comparison-dir", odd + " compared"], 1, work, limit=LIMIT)
    checks.check((result.status, status, again.status) == (3, 0, 0) and "'2-4' (calib_data_num 1) is not complete" in result.err,
                 "a mode that is not complete", result.err + err + again.err)


def check_pretrained(checks, work):
    """--pretrained_dir says where the model lies, and, for one that has none, the tokenizer."""
    small = ["--calib_data_num", "1", "--calib_seqlen", "8", "--output_dir"]
    shelf = os.path.join(work, "shelf")
    shutil.copytree(harness.DEMO, os.path.join(shelf, "model"))
    saved = [harness.run(["save", "fp32", "--pretrained_dir", "shelf", "--model", "model"] + small + ["p1"], 1, work),
             harness.run(["save", "fp32", "--pretrained_dir", "shelf/model"] + small + ["p2"], 1, work)]
    quamba = os.path.join(harness.SOURCE, "tests", "data", "quamba-w8a8")
    saved.append(harness.run(["save", "fp32", "--pretrained_dir", harness.DEMO, "--model", quamba] + small + ["p3"], 1, work))
    checks.check([result.status for result in saved] == [0] * 3, "save with --pretrained_dir", "".join(r.err for r in saved))
    for folder in ("p1", "p2", "p3"):
        check_remedy(checks, work, "--pretrained_dir, " + folder, ["2-1", "--output_dir", folder], ["'2-1' is not in it"], "2-1")


def check_imported(checks, work):
    """Modes of the original tool, without a job: nothing here could make one more."""
    exported = harness.run(["export", "--npy", "arrays", "--output_dir", "0-2-1-2-4"], 1, work, limit=LIMIT)
    os.remove(os.path.join(work, "arrays", "export.json"))
    imported = harness.run(["import-npy", "arrays", "--output_dir", "imported"], 1, work, limit=LIMIT)
    result = harness.run(["compare", "3", "--output_dir", "imported"], 1, work, limit=LIMIT)
    checks.check(exported.status == imported.status == 0 and result.status == 3 and "was imported" in result.err and
                 "save" not in result.err, "a mode that an imported file lacks", exported.err + imported.err + result.err)
    result = harness.run(["save", "3", "--output_dir", "imported"], 1, work, limit=LIMIT)
    checks.check(result.status == 3 and "weights_digest" in result.err, "save to an imported file", result.err)


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
    checks.check(harness.read_json(os.path.join(work, "old.json"))["compared_mode"] == "2-4", "comparewithfp")
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
        check_remedies(checks, work)
        check_pretrained(checks, work)
        check_imported(checks, work)
        check_scripts(checks, work)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
