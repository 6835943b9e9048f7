# SPDX-License-Identifier: Apache-2.0
"""Modes that the mode table declares equal are checked against each other by every run, and by every comparison."""
import os

import h5py
import numpy

import harness

JOB = ["--modes", "essential,2-0", "--calib_data_num", "2", "--calib_seqlen", "24", "--layers", "3,last",
       "--components", "conv1d_output,mixer_output"]
LAYERS, COMPONENTS = 24, 6
ALTERED = [("2-2", "2-1", 3, "conv1d_output", 1, 5), ("2-0", "0", 23, "mixer_output", 0, 17)]


def alter(path):
    """A last bit, at one place and at a later one, of two tensors."""
    with h5py.File(path, "r+") as f:
        for mode, _, layer, component, sample, token in ALTERED:
            data = f["outputs/2/%s/layer_%d/%s" % (mode, layer, component)]
            for where in ((sample, token, 3), (sample, token + 1, 0)):
                bits = numpy.int32(data[where].view("i4") ^ 1)
                data[where] = bits.view("f4")


def alter_metrics(path):
    """A last bit of a sum of one sample and a later one, of a layer that is not stored."""
    with h5py.File(path, "r+") as f:
        data = f["metrics/2/2-2/moments"]
        rows = data[...]
        for sample in (0, 1):
            for layer, component in ((7, 2), (23, COMPONENTS - 1)):
                value = rows[sample, layer, component]
                value["diff_max"] = numpy.nextafter(value["diff_max"], numpy.inf)
        data[...] = rows


def check_metrics(checks):
    """Without tensors, the metrics of each sample are compared."""
    with harness.Workplace() as folder:
        result = harness.run(JOB + ["-v", "--store", "none"], 3, folder)
        checks.check(result.status == 0 and "%d declared equalities hold" % (2 * LAYERS * COMPONENTS) in result.err,
                     "--store none", result.err)
        alter_metrics(os.path.join(folder, "layer_outputs", "sweep.h5"))
        said = []
        for ranks in (1, 3):
            result = harness.run(["compare", "-q"], ranks, folder)
            checks.check(result.status == 1 and len(result.lines()) == 3, "--store none, %d ranks" % ranks, result.err)
            said.append(result.lines())
            for layer in (7, 23):
                checks.check(sum("modes 2-2 and 2-1" in line and "layer %d," % layer in line and
                                 line.endswith("sample 0 (by its metrics)") for line in said[-1]) == 1,
                             "--store none, layer %d" % layer, said[-1])
        checks.check(said[0] == said[1], "--store none: the same words on any number of ranks", said)


def main():
    checks = harness.Checks()
    check_metrics(checks)
    with harness.Workplace() as folder:
        result = harness.run(JOB + ["-v"], 2, folder)
        checks.check(result.status == 0, "a run", result.err)
        checks.check("%d declared equalities hold" % (2 * LAYERS * COMPONENTS) in result.err, "the run checks them",
                     result.err)
        alter(os.path.join(folder, "layer_outputs", "sweep.h5"))
        said = []
        for ranks in (1, 3):
            result = harness.run(["compare", "-q"], ranks, folder)
            checks.check(result.status == 1, "status on %d ranks" % ranks, result.err)
            said.append(result.lines())
            checks.check(len(said[-1]) == 3, "a line for each, and the verdict", said[-1])
            for mode, other, layer, component, sample, token in ALTERED:
                words = ["modes %s and %s" % (mode, other), "layer %d," % layer, "component %s," % component,
                         "sample %d," % sample, "token %d" % token]
                checks.check(sum(all(word in line for word in words) for line in said[-1]) == 1, mode, said[-1])
        checks.check(said[0] == said[1], "the same words on any number of ranks", said)
        checks.check(os.path.exists(os.path.join(folder, "comparisons", "summary.json")), "the reports are there")
    checks.finish()


main()
