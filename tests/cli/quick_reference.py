# SPDX-License-Identifier: Apache-2.0
"""Runs the quick reference of docs/user_guide.md line by line, in one folder, and checks what each line does.  The lines come
from the document; the table below says what is to come of them."""
import json
import os
import shutil

import h5py

import documents
import harness
import sweep_files

LIMIT = harness.LIMIT
ESSENTIAL = {"fp32", "0", "2-1", "2-2", "2-4"}
ALL = set(harness.MODES)
QUANT = ALL - {"fp16"}    # with their reference


def saves(modes, folder="layer_outputs", **expected):
    return {"saves": modes, "folder": folder, "model": "demo", **expected}


def compares(modes, reference="fp32", **expected):
    return {"compares": modes, "reference": reference, **expected}


# Command: what the result file holds afterwards, or what is compared with what.
OUTCOMES = {
    "ssmsweep save --mode fp32": saves({"fp32"}),
    "ssmsweep save --mode 2-1 --quantize": saves({"fp32", "2-1"}),
    "ssmsweep save 0 2-1 2-4": saves({"fp32", "0", "2-1", "2-4"}),
    "ssmsweep save fp_only": saves({"fp32", "fp16", "0", "2-1", "2-4"}),
    "ssmsweep save essential": saves(ESSENTIAL | {"fp16"}),
    "ssmsweep save quant_only": saves(ALL),
    "ssmsweep save all": saves(ALL),
    "save_all_modes.sh 0 2-1 2-4 --output_dir few": saves({"fp32", "0", "2-1", "2-4"}, "few"),
    "save_all_modes.sh fp_only --output_dir floats": saves({"fp32", "fp16"}, "floats"),
    "save_all_modes.sh essential --output_dir essential": saves(ESSENTIAL, "essential"),
    "save_all_modes.sh quant_only --output_dir quantized": saves(QUANT, "quantized"),
    "save_all_modes.sh all --output_dir every": saves(ALL, "every"),
    "save_all_modes.sh": saves(ALL),
    "ssmsweep save --mode 2-4 --quantize --model my-mamba --pretrained_dir pretrained_models --output_dir mine":
        saves({"fp32", "2-4"}, "mine", model="pretrained_models/my-mamba"),
    "ssmsweep save --mode 0 --quantize --calib_data_num 4 --calib_seqlen 64 --percentile_alpha 0.999 --output_dir short":
        saves({"fp32", "0"}, "short", job={"calib_data_num": [4], "calib_seqlen": 64, "percentile_alpha": 0.999}),
    "ssmsweep compare 2-1": compares({"2-1"}),
    "ssmsweep compare 2-1 --reference fp32": compares({"2-1"}),
    "ssmsweep compare 2-4 --reference fp16": compares({"2-4"}, "fp16"),
    "ssmsweep compare 2-2 --reference 2-1": compares({"2-2"}, "2-1", equal=True),
    "ssmsweep compare 2-1 --save_comparison mine.json": compares({"2-1"}, file="mine.json"),
    "ssmsweep compare --all": compares(ALL - {"fp32"}),
    "ssmsweep compare 0 2-4 --output_dir few": compares({"0", "2-4"}),
    "comparewithfp 2-1": compares({"2-1"}),
    "comparewithfp 2-4 --reference fp16 --save_comparison half.json": compares({"2-4"}, "fp16", file="half.json"),
    "comparewithfp --all": compares(ALL - {"fp32"}),
    "compare_all_modes.sh": compares(ALL - {"fp32"}),
    "compare_all_modes.sh --output_dir essential --reference 2-1": compares(ESSENTIAL - {"2-1"}, "2-1"),
}


def check_saved(checks, work, command, expected):
    path = os.path.join(work, expected["folder"], "sweep.h5")
    modes = set(sweep_files.modes(path))
    with h5py.File(path, "r") as f:
        done = all(state.all() for group in f["items"].values() for state in (group[m]["state"][:] == 1 for m in group))
        job = json.loads(f.attrs["job"])
    checks.check(modes == expected["saves"] and done, command + ": the modes of the file", "%s, done %s" % (modes, done))
    checks.check(set(job["modes"].split(",")) == modes, command + ": the stored job names them", job)
    checks.check((job["model"] or "demo") == expected["model"] and all(job[k] == v for k, v in expected.get("job", {}).items()),
                 command + ": its options", job)
    stats = {name for name in os.listdir(os.path.join(work, expected["folder"])) if name.endswith("_stats.json")}
    checks.check(stats == {"mode_%s_stats.json" % mode for mode in modes}, command + ": statistics", stats)


def check_compared(checks, work, command, expected, out):
    folder = os.path.join(work, "comparisons")
    if "file" in expected:
        names = [os.path.join(work, expected["file"])]
    else:
        names = [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("mode_")]
    reports = [harness.read_json(name) for name in names]
    said = {(report["compared_mode"], report["reference_mode"]) for report in reports}
    checks.check(said == {(mode, expected["reference"]) for mode in expected["compares"]}, command + ": what was compared", said)
    worst = max(layer["mse"] for report in reports for layer in report["layers"].values())
    checks.check((worst == 0) == expected.get("equal", False), command + ": its errors", worst)
    rows = {line.split()[0] for line in out.split("All modes against")[-1].splitlines() if line.split()}
    one = len(expected["compares"]) == 1
    checks.check(expected["compares"] <= rows or (one and "mode " + list(expected["compares"])[0] in out.lower()),
                 command + ": the table", out)


def main():
    checks = harness.Checks()
    lines = [documents.command_of(line)
             for language, block in documents.blocks(documents.section(documents.read("docs/user_guide.md"),
                                                                      "Quick reference of the old scripts"))
             for line in block]
    checks.check(lines == list(OUTCOMES), "the lines of the document are those of this test",
                 "\n".join(sorted(set(lines) ^ set(OUTCOMES))))
    with harness.Workplace() as work:
        made = harness.run(["synth", "--preset", "tiny", "--out", "pretrained_models/my-mamba"], 1, work)
        checks.check(made.status == 0, "a model", made.err)
        path = ":".join([os.path.dirname(harness.PROGRAM), os.path.join(harness.SOURCE, "jobs", "compat"), os.environ["PATH"]])
        for command in lines:
            shutil.rmtree(os.path.join(work, "comparisons"), ignore_errors=True)
            status, out, err = harness.execute(["sh", "-c", command], work, {"PATH": path, "SSMSWEEP": harness.PROGRAM, "RANKS": "2"},
                                               LIMIT)
            if not checks.check(status == 0, command, err) or command not in OUTCOMES:
                continue
            expected = OUTCOMES[command]
            if "saves" in expected:
                checks.check(not os.path.exists(os.path.join(work, "comparisons", "summary.json")), command + ": only saves")
                check_saved(checks, work, command, expected)
            else:
                check_compared(checks, work, command, expected, out)
    checks.finish()


main()
