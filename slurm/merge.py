#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""merge.py TARGET FOLDER...: puts FOLDER/comparisons/summary.json of several sweeps into TARGET/summary.json and, as a
table, into TARGET/summary.txt and on standard output.  They must be of one model, text and reference."""
import json
import os
import sys

# Of the same name in the provenance of every sweep that may stand in one table.
COMMON = ["weights_sha256", "tokenizer_sha256", "model_dtype", "percentile_alpha"]
COLUMNS = "%14s  %-6s %-14s %-14s %-12s %s"


def fail(message):
    sys.exit("merge.py: " + message)


def read(folder):
    path = os.path.join(folder, "comparisons", "summary.json")
    try:
        with open(path) as f:
            summary = json.load(f)
    except (OSError, ValueError) as error:
        fail("%s: %s; run ssmsweep compare in that folder" % (path, error))
    return {"folder": folder, "num_samples": summary["provenance"]["num_samples"], "summary": summary}


def check_common(results):
    first = results[0]
    for result in results[1:]:
        pairs = [(key, r["summary"]["provenance"][key], f["summary"]["provenance"][key])
                 for key in COMMON for r, f in [(result, first)]]
        pairs.append(("reference_mode", result["summary"]["reference_mode"], first["summary"]["reference_mode"]))
        for key, got, expected in pairs:
            if got != expected:
                fail("%s: %s: expected %s as in %s, got %s; merge sweeps of one job only"
                     % (result["folder"], key, expected, first["folder"], got))


def number(value):
    return "-" if value is None else "%.6g" % value


def table(results):
    lines = [COLUMNS % ("calib_data_num", "mode", "avg_mse", "avg_mae", "avg_corr", "worst_grade")]
    for result in results:
        for mode in result["summary"]["modes"]:
            if not mode["is_reference"]:
                samples = mode["calib_data_num"] or result["num_samples"]  # float modes have no scales
                lines.append(COLUMNS % (samples, mode["mode"], number(mode["avg_mse"]), number(mode["avg_mae"]),
                                        number(mode["avg_correlation"]), mode["worst_grade"]))
    return "\n".join(lines) + "\n"


def write(path, text):
    with open(path + ".tmp", "w") as f:
        f.write(text)
    os.replace(path + ".tmp", path)


def main():
    target, folders = sys.argv[1], sys.argv[2:]
    results = sorted((read(folder) for folder in folders), key=lambda result: result["num_samples"])
    check_common(results)
    text = table(results)
    write(os.path.join(target, "summary.json"), json.dumps({"results": results}, indent=2) + "\n")
    write(os.path.join(target, "summary.txt"), text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
