# SPDX-License-Identifier: Apache-2.0
"""Whole sweeps on a GPU: sweep.json and every array are the bytes of a sweep on processors, with one rank on the GPU and the
others beside it, with re-runs, forks and layers by themselves, and where a sweep was killed on the one and resumed on the other.
Without a GPU it is skipped.
   sweeps.py [OPTIONS OF THE JOB]      another model and text, say"""
import hashlib
import json
import os
import sys

sys.path.insert(0, os.path.join(os.environ["SSMSWEEP_SOURCE"], "tests", "cli"))
import harness    # noqa: E402

JOB = sys.argv[1:] or ["--calib_data_num", "12", "--layers", "0,last", "--components", "mixer_output,ssm_input"]
JOBS = [("plain", []), ("noise", ["--noise", "2", "--isolated", "--modes", "fp32,2-1,2-4"]),
        ("recipes", ["--no-forks", "--calib_data_num", "3,5"]),
        ("observers", ["--observer", "mse,x_proj_input=percentile,in_proj_output=entropy,ssm_state=ema-percentile", "--modes", "fp32,2-4",
                       "--calib_data_num", "3,12", "--shuffle-calib", "2"])] + \
    ([] if sys.argv[1:] else [("mamba2", ["--model", "mamba2-demo"])])


def needed():
    """Why there is nothing to test, or None."""
    machine = json.loads(harness.run(["info", "--machine", "--json"]).out)
    if not machine["cuda"]:
        return "built without CUDA"
    return None if machine["gpus"] else "no GPU on this machine"


def digests(folder):
    """{file: SHA-256} of the reports and of every stored array."""
    found = {"sweep.json": hashlib.sha256(harness.read_bytes(os.path.join(folder, "comparisons", "sweep.json"))).hexdigest()}
    arrays = os.path.join(folder, "layer_outputs", "arrays")
    for place, _, names in os.walk(arrays):
        for name in names:
            if name.endswith(".npy"):
                path = os.path.join(place, name)
                found[os.path.relpath(path, arrays)] = hashlib.sha256(harness.read_bytes(path)).hexdigest()
    return found


def sweep(checks, work, what, options, ranks, program=harness.PROGRAM, status=0):
    """A sweep in a folder of its own; what it said."""
    folder = os.path.join(work, what)
    os.makedirs(folder, exist_ok=True)
    fault = options[-2:] if "--inject" in options else []    # which stands first
    result = harness.run(fault + JOB + harness.FEW + options[:len(options) - len(fault)], ranks, folder, program=program)
    checks.check(result.status == status, what, result.err)
    return result


def finish(checks, work, what):
    folder = os.path.join(work, what)
    result = harness.run(["export", "--npy", "--npy-dir", os.path.join("layer_outputs", "arrays")], 1, folder)
    checks.check(result.status == 0, what + ": export", result.err)
    return digests(folder)


def compare(checks, what, got, want):
    differ = [name for name in want if got.get(name) != want[name]]
    checks.check(got.keys() == want.keys() and len(want) > 1 and not differ, what + ": the same bytes", differ[:5])


def main():
    reason = needed()
    if reason:
        harness.skip(reason)
    checks = harness.Checks()
    with harness.Workplace() as work:
        for job, options in JOBS:
            sweep(checks, work, job + "-cpu", options + ["--device", "cpu"], 4)
            want = finish(checks, work, job + "-cpu")
            for what, ranks in (("gpu", 1), ("gpu-and-cpu", 4)):
                said = sweep(checks, work, job + "-" + what, options + ["--device", "cuda", "-v"], ranks)
                checks.check("compute" in said.err and "at once" in said.err and "processors;" not in said.err, what, said.err[-3000:])
                compare(checks, job + ", " + what, finish(checks, work, job + "-" + what), want)
        # Killed where some samples are stored, and resumed without the GPU; and the other way round.
        want = digests(os.path.join(work, "plain-cpu"))
        inject = os.environ["SSMSWEEP_INJECT"]
        for first, second in (("cuda", "cpu"), ("cpu", "cuda")):
            what = "killed-on-" + first
            sweep(checks, work, what, ["--device", first, "--inject", "die@store:30"], 1, inject, -9)
            sweep(checks, work, what, ["--device", second, "--resume"], 1)
            compare(checks, what, finish(checks, work, what), want)
        # Where the memory of the device is out less is taken at once, or nothing; a device that is lost is done without.
        for what, fault, words in (("memory-in-calibration", "device-memory:6", "out of memory on the device"),
                                   ("memory", "device-memory:8", "out of memory on the device"),
                                   ("lost-in-calibration", "device:60", "processors"), ("lost", "device:200", "processors")):
            said = sweep(checks, work, what, ["--device", "cuda", "--inject", fault], 1, inject)
            checks.check("inject: " in said.err and words in said.err, what, said.err[-3000:])
            compare(checks, what, finish(checks, work, what), want)
    checks.finish()


main()
