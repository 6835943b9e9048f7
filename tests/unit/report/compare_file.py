#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compare_file.py MPIEXEC PROGRAM CHECK_METRICS: `PROGRAM compare` on result files written by h5py.

Every number against NumPy, the same bytes for any number of ranks, and one clear line for each thing that is missing."""
import json
import os
import re
import subprocess
import sys
import tempfile

import h5py
import jsonschema
import numpy as np

MPIEXEC, PROGRAM, CHECK = sys.argv[1:4]
SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "docs", "schema", "sweep.schema.json")
LENGTHS = [37, 1, 64, 5, 513]
WIDTHS = {"mixer_input": 96, "conv1d_input": 192, "conv1d_output": 192, "ssm_input": 192, "ssm_output": 192,
          "mixer_output": 96}
ERRORS = {"fp32": 0, "fp16": 1e-4, "0": 0.01, "2-1": 0.011, "2-4": 0.003}

ATTRIBUTES = {"tool_version": "0.1.0", "weights_digest": "a" * 64, "tokenizer_sha256": "b" * 64, "ids_sha256": "c" * 64,
              "model_dtype": "F16", "scales_source": "calibration", "reference_weights": "model",
              "calibration_ids_sha256": "d" * 64, "evaluation_text": "separate text",
              "job": '{"percentile_alpha": 0.9995, "eval_data": "e.npy"}'}
SPOILT = {"0": np.nan, "2-4": -np.inf}  # where asked for: one value of a mode


def write_result(path, cells, modes, layers, components, reference="fp32", spoil=False):
    """cells: calib_data_num values; float modes are stored once."""
    rng = np.random.default_rng(len(cells) * 100 + len(components))
    shape = (len(LENGTHS), max(LENGTHS))
    base = {(l, c): rng.standard_normal(shape + (WIDTHS[c],)) * (1 + l) for l in layers for c in components}
    with h5py.File(path, "w") as file:
        file.attrs["schema_version"] = np.int32(5)
        for name, text in {**ATTRIBUTES, "reference_mode": reference}.items():
            file.attrs[name] = np.bytes_(text)
        file["samples/length"] = np.array(LENGTHS, np.int32)
        file["samples/token_ids"] = np.full(shape, -1, np.int32)
        for mode in modes:
            for cell in ["float"] if mode.startswith("fp") else [str(n) for n in cells]:
                write_run(file, cell + "/" + mode, base, ERRORS[mode], rng)
                if spoil and mode in SPOILT:
                    file["outputs/%s/%s/layer_%d/%s" % (cell, mode, layers[0], components[0])][2, 63, 5] = SPOILT[mode]
        for cell in cells:
            file["calibration/%d/scales" % cell] = np.ones((max(layers) + 1, 7), np.float32)


def write_run(file, run, base, error, rng):
    samples = len(LENGTHS)
    for (layer, component), value in base.items():
        data = (value + error * rng.standard_normal(value.shape)).astype(np.float32)
        for s, n in enumerate(LENGTHS):
            data[s, n:] = np.nan  # padding that must never count
        file["outputs/%s/layer_%d/%s" % (run, layer, component)] = data
    file["items/%s/state" % run] = np.ones(samples, np.uint8)
    file["items/%s/digest" % run] = np.zeros((samples, 32), np.uint8)
    file["items/%s/seconds" % run] = np.zeros(samples, np.float32)


def compare(output_dir, comparison_dir, ranks, *options):
    command = [MPIEXEC, "-n", str(ranks), PROGRAM, "compare", "--output_dir", output_dir, "--comparison-dir",
               comparison_dir] + list(options)
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600, text=True, check=False)


def texts(*folders):
    """Content of every report, without the timestamp and the folder."""
    found = {}
    for folder in folders:
        for name in sorted(os.listdir(folder)):
            if name.endswith(".json"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    found[name] = re.sub(r'"(timestamp|output_dir)": "[^"]*"', "", file.read())
    return found


def need(condition, what):
    if not condition:
        print("FAILED: " + what)
        need.failures += 1


need.failures = 0


def check_schema(name, comparison_dir):
    """Also of what is constant, NaN, infinite or alone."""
    with open(SCHEMA, encoding="utf-8") as schema, open(os.path.join(comparison_dir, "sweep.json"), encoding="utf-8") as file:
        errors = list(jsonschema.Draft202012Validator(json.load(schema)).iter_errors(json.load(file)))
    need(not errors, "%s: sweep.json: %s" % (name, [(list(e.absolute_path), e.message) for e in errors[:3]]))


def check_numbers(root, name, expected_files, **result):
    """One result file under 1, 2, 3 and 7 ranks."""
    output_dir = os.path.join(root, name)
    os.mkdir(output_dir)
    write_result(os.path.join(output_dir, "sweep.h5"), **result)
    first = None
    for ranks in (1, 2, 3, 7):
        comparison_dir = os.path.join(root, "%s_n%d" % (name, ranks))
        run = compare(output_dir, comparison_dir, ranks, "--reference", result.get("reference", "fp32"))
        told = "ssmsweep: result: %s/sweep.h5; reports: %s\n" % (output_dir, comparison_dir)
        need(run.returncode == 0 and run.stderr == told, "%s -n %d: %s" % (name, ranks, run.stderr))
        need(run.stdout and max(map(len, run.stdout.splitlines())) <= 100, "%s: table wider than 100 columns" % name)
        now = (texts(output_dir, comparison_dir), run.stdout)
        first = first or now
        need(now == first, "%s: -n %d gives other bytes than -n 1" % (name, ranks))
    need(sorted(texts(comparison_dir)) == sorted(expected_files + ["sweep.json"]), "%s: files %s" % (name, sorted(texts(comparison_dir))))
    check = subprocess.run([sys.executable, CHECK, os.path.join(output_dir, "sweep.h5"), comparison_dir],
                           stdout=subprocess.PIPE, text=True, check=False)
    need(check.returncode == 0, "%s: %s" % (name, check.stdout))
    check_schema(name, comparison_dir)
    return output_dir, comparison_dir


def check_detects(output_dir, comparison_dir):
    """The check of numbers goes red when a number is wrong in the tenth digit."""
    path = os.path.join(comparison_dir, "mode_2-1_vs_fp32.json")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    value = re.search(r'"fp_std": (\S+),', text).group(1)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace(value, repr(float(value) * (1 + 3e-9)), 1))
    check = subprocess.run([sys.executable, CHECK, os.path.join(output_dir, "sweep.h5"), comparison_dir],
                           stdout=subprocess.PIPE, text=True, check=False)
    need(check.returncode == 1 and "fp_std" in check.stdout, "check_metrics.py did not see a wrong number")


def check_provenance(comparison_dir):
    with open(os.path.join(comparison_dir, "mode_2-1_vs_fp32.json"), encoding="utf-8") as file:
        provenance = json.load(file)["provenance"]
    want = {k: v for k, v in ATTRIBUTES.items() if k not in ("job", "evaluation_text")}
    want["evaluation"] = {"text": ATTRIBUTES["evaluation_text"], "file": "e.npy", "samples": len(LENGTHS),
                          "tokens": sum(LENGTHS), "ids_sha256": ATTRIBUTES["ids_sha256"]}
    want.update(calib_data_num=10, percentile_alpha=0.9995, observer=None, num_samples=len(LENGTHS), tokens=sum(LENGTHS))
    need(provenance == want, "provenance %s" % provenance)


def check_selection(root, output_dir):
    chosen, saved = os.path.join(root, "chosen"), os.path.join(root, "saved.json")
    run = compare(output_dir, chosen, 2, "--modes", "2-1", "--save_comparison", saved)
    need(run.returncode == 0, "--modes 2-1: " + run.stderr)
    need(sorted(texts(chosen)) == ["summary.json", "sweep.json"] and os.path.exists(saved), "--save_comparison: no file of its own")
    whole = os.path.join(root, "single_n1", "mode_2-1_vs_fp32.json")
    with open(saved, encoding="utf-8") as a, open(whole, encoding="utf-8") as b:
        need(a.read().splitlines()[2:] == b.read().splitlines()[2:], "--modes changes the numbers of a mode")


def check_refusals(root, output_dir):
    none = os.path.join(root, "none")
    torn = os.path.join(root, "torn")
    os.mkdir(torn)
    path = os.path.join(torn, "sweep.h5")
    write_result(path, [10], ["fp32", "2-1"], [0], ["mixer_output"])
    with h5py.File(path, "r+") as file:
        file["items/10/2-1/state"][3] = 0
    cases = [(output_dir, ["--modes", "2-3"], 3, "mode '2-3' is not in it; make it with: ssmsweep save 2-3 --eval-data e.npy --output_dir "),
             (output_dir, ["--reference", "3"], 3, "reference mode '3' is not in it; make it with: ssmsweep save 3 --eval-data e.npy --output_dir "),
             (output_dir, ["--reference", "nonsense"], 2, "nonsense"),
             (torn, [], 3, "is not complete; make it with: ssmsweep save 2-1"),
             (os.path.join(root, "absent"), [], 3, "no such result file")]
    for folder, options, status, text in cases:
        for ranks in (1, 3):
            run = compare(folder, none, ranks, *options)
            lines = [line for line in run.stderr.splitlines() if line.startswith("ssmsweep: ")]
            need(run.returncode == status, "%s: status %d, not %d" % (options, run.returncode, status))
            need(len(lines) == 1 and text in lines[0], "%s: %s" % (options, run.stderr))
            need(not os.path.exists(none), "%s: left reports behind" % options)
    run = compare(output_dir, "/proc/version/none", 3)
    need(run.returncode == 4 and "/proc/version" in run.stderr, "folder that cannot be made: %s" % run.stderr)


def main():
    with tempfile.TemporaryDirectory() as root:
        default = {"cells": [10], "modes": list(ERRORS), "layers": [0, 23], "components": ["mixer_output"]}
        names = ["mode_%s_vs_fp32.json" % m for m in ERRORS if m != "fp32"] + ["summary.json"]
        single, single_comparisons = check_numbers(root, "single", names, **default)
        check_provenance(single_comparisons)
        check_selection(root, single)
        check_detects(single, single_comparisons)
        check_refusals(root, single)
        _, spoilt = check_numbers(root, "spoilt", names, spoil=True, **default)
        for mode, in_mode in (("0", 1), ("2-4", 1), ("2-1", None)):
            with open(os.path.join(spoilt, "mode_%s_vs_fp32.json" % mode), encoding="utf-8") as file:
                report = json.load(file)
            layer, averages = report["layers"]["layer_0"], [report["summary"]["avg_" + key] for key in ("mse", "mae", "correlation")]
            need([v is None for v in averages] == [bool(in_mode)] * 3, "spoilt %s: averages %s" % (mode, averages))
            flags = [layer.get("mode_nonfinite"), layer["fp_mean"] is None, layer.get("mse_flag"), layer["grades"]["mse"] == "poor"]
            need(flags == ([1, False, "nan", True] if in_mode else [None, False, None, False]), "spoilt %s: %s" % (mode, flags))
        names = ["calibration.json", "mode_fp16_vs_fp32.json", "mode_2-1_n5_vs_fp32.json", "mode_2-1_n64_vs_fp32.json",
                 "summary.json"]
        check_numbers(root, "cells", names, cells=[5, 64], modes=["fp32", "fp16", "2-1"], layers=[0, 1, 10],
                      components=list(WIDTHS))
        names = ["calibration.json", "mode_fp32_vs_2-1.json", "mode_2-4_n5_vs_2-1.json", "mode_2-4_n64_vs_2-1.json",
                 "summary.json"]
        check_numbers(root, "quantized", names, cells=[5, 64], modes=["fp32", "2-1", "2-4"], layers=[3],
                      components=["conv1d_output", "ssm_input"], reference="2-1")
    return 1 if need.failures else 0


if __name__ == "__main__":
    sys.exit(main())
