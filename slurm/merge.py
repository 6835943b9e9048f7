#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""merge.py TARGET FOLDER...: puts FOLDER/comparisons/summary.json of several sweeps into TARGET/summary.json and, as a
table, into TARGET/summary.txt and on standard output.  They must be of one model and reference."""
import json
import os
import sys

# Of the same name in the provenance of every sweep that may stand in one table.
COMMON = ["weights_digest", "tokenizer_sha256", "model_dtype", "percentile_alpha"]
COLUMNS = "%14s  %-6s %-14s %-14s %-12s %s"


def fail(message):
    sys.exit("merge.py: " + message)


def read(folder):
    path = os.path.join(folder, "comparisons", "summary.json")
    try:
        with open(path) as f:
            summary = json.load(f)
        common = {key: summary["provenance"][key] for key in COMMON}
        common["reference_mode"] = summary["reference_mode"]
        rows = [(mode["calib_data_num"] or summary["provenance"]["num_samples"],  # float modes have no scales
                 mode["mode"], number(mode["avg_mse"]), number(mode["avg_mae"]), number(mode["avg_correlation"]),
                 mode["worst_grade"]) for mode in summary["modes"] if not mode["is_reference"]]
    except (OSError, ValueError) as error:
        fail("%s: %s; run ssmsweep compare on that sweep" % (path, error))
    except (KeyError, TypeError) as error:
        fail("%s: not a summary of ssmsweep: key %s; run ssmsweep compare on that sweep" % (path, error))
    return {"folder": folder, "summary": summary, "common": common, "rows": rows}


def check_common(results):
    first = results[0]
    for result in results[1:]:
        for key, expected in first["common"].items():
            got = result["common"][key]
            if got != expected:
                fail("%s: %s: expected %s as in %s, got %s; merge sweeps of one job only"
                     % (result["folder"], key, expected, first["folder"], got))


def number(value):
    return "-" if value is None else "%.6g" % value


def table(results):
    lines = [COLUMNS % ("calib_data_num", "mode", "avg_mse", "avg_mae", "avg_corr", "worst_grade")]
    lines += [COLUMNS % row for result in results for row in result["rows"]]
    return "\n".join(lines) + "\n"


def write(path, text):
    with open(path + ".tmp", "w") as f:
        f.write(text)
    os.replace(path + ".tmp", path)


def main():
    target, folders = sys.argv[1], sys.argv[2:]
    results = [read(folder) for folder in folders]
    results.sort(key=lambda result: result["summary"]["provenance"]["num_samples"])
    check_common(results)
    text = table(results)
    parts = [{"folder": result["folder"], "summary": result["summary"]} for result in results]
    write(os.path.join(target, "summary.json"), json.dumps({"results": parts}, indent=2) + "\n")
    write(os.path.join(target, "summary.txt"), text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
