# SPDX-License-Identifier: Apache-2.0
"""Medians over rounds and ratios, from the folder that run.sh filled: ours.N and {stock,tuned}-KIND.N."""
import glob
import json
import os
import statistics
import sys

KINDS = [("float", "fp32"), ("dynamic", "2-1"), ("w8a8", "2-1"), ("w8a8_onednn", "2-1")]    # and what each is compared with


def load(folder, name):
    found = {}
    for path in glob.glob(os.path.join(folder, name + ".*")):
        number = path.rsplit(".", 1)[1]
        if number.isdigit():
            with open(path) as f:
                found[int(number)] = json.load(f)
    return found


def passes(folder):
    """{mode: {round: the forward measurement}}"""
    out = {}
    for number, result in load(folder, "ours").items():
        for row in result["measurements"]:
            if row["group"] == "forward":
                out.setdefault(row["name"], {})[number] = row
    return out


def line(name, seconds, ratio=""):
    print("%-28s %9.3f %9.3f %9.3f  %s" % (name, statistics.median(seconds), min(seconds), max(seconds), ratio))


def main():
    folder, ours = sys.argv[1], passes(sys.argv[1])
    print("%-28s %9s %9s %9s  %s" % ("seconds per pass", "median", "least", "most", "times ssmsweep, median of the rounds"))
    for mode, rows in ours.items():
        line("ssmsweep " + mode, [row["median_seconds"] for row in rows.values()],
             "share of its roofline %.2f" % statistics.median(row["share"] for row in rows.values()))
    for allocator in ("stock", "tuned"):
        for kind, mode in KINDS:
            rows = load(folder, "%s-%s" % (allocator, kind))
            ratios = [rows[n]["median_seconds"] / ours[mode][n]["median_seconds"] for n in rows]
            line("torch %s, %s malloc" % (kind, allocator), [row["median_seconds"] for row in rows.values()],
                 "%.2f x %s" % (statistics.median(ratios), mode))
    print("torch %s, BLAS %s" % (rows[1]["torch"], ", ".join(rows[1]["blas"])))


main()
