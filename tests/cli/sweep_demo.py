# SPDX-License-Identifier: Apache-2.0
"""What the sweep report says of the demo model: modes 0 and 2-1 are tied at each of the 24 layers, by every metric, 2-4 is better
than 2-1 at most layers, where it is in most samples, too, and modes that are equal by definition are equal.  Its perplexities
are in perplexities.py."""
import os

import h5py
import numpy as np

import harness


def smaller(folder, layer):
    """For each sample: has 2-4 a smaller MSE than 2-1?"""
    with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5"), "r") as f:
        length = f["samples/length"][...]
        ref, one, four = (f["outputs/%s/layer_%d/mixer_output" % (run, layer)][...].astype(float)
                          for run in ("float/fp32", "10/2-1", "10/2-4"))
    return [np.mean((four[s, :n] - ref[s, :n]) ** 2) < np.mean((one[s, :n] - ref[s, :n]) ** 2) for s, n in enumerate(length)]


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        result = harness.run(["-q", "--all-modes", "--layers", "all"], 4, folder)
        checks.check(result.status == 0, "the sweep runs", result.err)
        report = harness.report(folder, "sweep.json")
        for ranking in report["rankings"]:
            if "layer" in ranking:
                pair = next(p for p in ranking["pairs"] if (p["first"], p["second"]) == ("0", "2-1"))
                checks.check(pair["better"] == "tie", "layer %d, %s: 0 and 2-1 are tied" % (ranking["layer"], ranking["metric"]), pair)
        verdicts = {}
        for ranking in report["rankings"]:
            if ranking["metric"] == "mse" and "layer" in ranking:
                for pair in ranking["pairs"]:
                    verdicts[pair["first"], pair["second"], ranking["layer"]] = pair["better"], pair["change"]
        layers = sorted({layer for _, _, layer in verdicts})
        checks.check(layers == list(range(24)), "every layer is there", layers)
        for layer in layers:
            checks.check(verdicts["0", "2-1", layer][0] == "tie", "layer %d: 0 and 2-1 are tied" % layer, verdicts["0", "2-1", layer])
            for pair in (("0", "2-0"), ("2-1", "2-2")):
                checks.check(verdicts[pair + (layer,)][0] == "equal", "layer %d: %s and %s are equal" % ((layer,) + pair))
            better, change = verdicts["2-1", "2-4", layer]
            lower = sum(smaller(folder, layer))
            checks.check(better != "first", "layer %d: 2-1 is not better than 2-4" % layer, better)
            checks.check(better != "second" or (change > 1 and lower >= 8), "layer %d: 2-4 is better in most samples" % layer,
                         "MSE ratio %g, better in %d" % (change, lower))
        found = [layer for layer in layers if verdicts["2-1", "2-4", layer][0] == "second"]
        checks.check(len(found) >= 14 and {2, 11, 23} <= set(found), "2-4 is better than 2-1 at most layers", found)
        for mode in harness.QUANTIZED:
            checks.check(verdicts["fp16", mode, 23][0] == "first", "layer 23: fp16 is better than " + mode)
    checks.finish()


main()
