# SPDX-License-Identifier: Apache-2.0
"""`ssmsweep modes` says of every mode what docs/numerics.md says of it."""
import json
import re

import harness

# mode: conv1d input, conv1d output, what the scan gets, scan order, equal to
EXPECTED = {
    "0": ("static", "INT8", "codes", "blocked", None),
    "2-0": ("static", "INT8", "requantized", "blocked", "0"),
    "2-1": ("static", "INT8", "codes", "sequential", None),
    "2-2": ("static", "INT8", "grid", "sequential", "2-1"),
    "2-3": ("static", "FP32", "requantized", "sequential", None),
    "2-4": ("static", "FP32", "^FP32$", "sequential", None),
    "3": ("per sample", "FP32", "^FP32$", "sequential", None),
    "fp32": ("FP32", "FP32", "^FP32$", "sequential", None),
    "fp16": ("FP16", "FP16", "^FP16$", "sequential", None),
}
STEPS = ["conv1d_input", "conv1d_output", "scan_input", "scan_order"]


def main():
    checks = harness.Checks()
    result = harness.run(["modes", "--json"])
    checks.check(result.status == 0, "modes --json", result.err)
    everything = json.loads(result.out)["modes"]
    modes = [mode for mode in everything if mode["sets"]]
    checks.check([mode["name"] for mode in modes] == harness.MODES, "all modes, in order", result.out)
    checks.check([mode["name"] for mode in everything[len(modes):]] == ["0-fp32", "w4a16", "w4a16-seq"], "modes of no set", result.out)
    for mode in modes:
        expected = EXPECTED[mode["name"]]
        for step, words in zip(STEPS, expected):
            checks.check(re.search(words, mode["steps"][step]), "%s: %s" % (mode["name"], step), mode["steps"])
        checks.check(mode["equals"] == expected[-1], mode["name"] + ": equals", mode["equals"])
        checks.check(mode["float"] == ("quant_only" not in mode["sets"]), mode["name"] + ": sets", mode["sets"])
    table = harness.run(["modes"]).out.splitlines()
    rows = {line.split()[0]: line for line in table[1:1 + len(everything)]}
    for mode in everything:
        row = re.split(r"\s{2,}", rows[mode["name"]])
        checks.check(row[1:] == list(mode["steps"].values()), mode["name"] + ": the table says the same", row)
    checks.finish()


main()
