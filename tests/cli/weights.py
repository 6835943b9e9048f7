# SPDX-License-Identifier: Apache-2.0
"""Formats of weights: --weights for all quantized modes, MODE@FORMAT for one beside others, w4a16."""
import json
import os

import h5py
import numpy

import harness

JOB = ["--calib_data_num", "2", "--calib_seqlen", "24", "--layers", "0,last", "--components", "mixer_output", "-q"] + harness.FEW


def outputs(folder, mode):
    with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5"), "r") as f:
        return [f["outputs/2/%s/layer_%d/mixer_output" % (mode, layer)][...] for layer in (0, 23)], json.loads(f.attrs["job"])


def same(a, b):
    return all(numpy.array_equal(x.view("i4"), y.view("i4")) for x, y in zip(a, b))


def check_axis(checks):
    """The name stays, the file says the format; beside other formats the name says it."""
    with harness.Workplace() as folder, harness.Workplace() as other:
        modes = "fp32,2-1,2-1@int4-g32,2-4@int8-channel,w4a16@int4-g32,2-1@int8"
        result = harness.run(["--modes", modes] + JOB, 2, folder)
        checks.check(result.status == 0, "several formats in one sweep", result.err)
        plain, _ = outputs(folder, "2-1")
        four, _ = outputs(folder, "2-1@int4-g32")
        checks.check(same(plain, outputs(folder, "2-1@int8")[0]) and not same(plain, four), "int8 is the mode itself, int4 is not", "")
        result = harness.run(["--weights", "int4-g32", "--modes", "fp32,2-1,w4a16@int4-g32"] + JOB, 1, other)
        axis, job = outputs(other, "2-1")
        checks.check(result.status == 0 and same(axis, four) and job["weights"] == "int4-g32", "--weights: the same bits, and the file says it", job)
        checks.check(same(outputs(folder, "w4a16@int4-g32")[0], outputs(other, "w4a16@int4-g32")[0]), "--weights leaves w4a16 alone", "")
        for given in (["--weights", "int8-channel"], []):
            result = harness.run(given + ["--modes", "fp32,2-1,w4a16@int4-g32", "--resume"] + JOB, 1, other)
            checks.check(result.status == 3 and "weights" in result.err, "--resume with other weights is refused", result.err)
        result = harness.run(["compare", "--modes", "2-1@int4-g32,2-1", "-q"], 1, folder)
        checks.check(result.status == 0, "compare knows the modes of the file", result.err)
        errors = [abs(x - y).mean() for x, y in zip(outputs(folder, "2-1@int4-g32")[0], plain)]
        checks.check(min(errors) > 0, "4 bits differ in every layer", errors)


def main():
    checks = harness.Checks()
    check_axis(checks)
    with harness.Workplace() as folder:
        for words, said in ((["--weights", "int3"], "--weights: 'int3' is no format of weights"),
                            (["--modes", "2-1@codes"], "mode '2-1@codes': 'codes' is no format of weights"),
                            (["--modes", "fp16@float"], "'fp16' is no quantized mode"),
                            (["--modes", "2-9@float"], "'2-9' is no quantized mode")):
            result = harness.run(words, 1, folder)
            checks.check(result.status == 2 and said in result.err and len(result.lines()) == 1, " ".join(words), result.err)
        for words in (["--weights", "int4-g64"], ["--modes", "w4a16"]):
            result = harness.run(words + JOB, 2, folder)
            checks.check(result.status == 3 and "in_proj" in result.err and "got 96" in result.err, " ".join(words), result.err)
    checks.finish()


main()
