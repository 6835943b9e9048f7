# SPDX-License-Identifier: Apache-2.0
"""--device: what is refused, in one line; and, with a program whose GPUs are stand-ins (tests/standin_gpu), sweeps that are
computed there many samples at a time: the bytes of a sweep on processors, whoever computes what, whatever fails on the way."""
import os
import sys

import h5py

import harness

STANDIN = sys.argv[1]
JOB = ["--calib_data_num", "5", "--calib_seqlen", "60", "--layers", "0,last", "--components", "mixer_output,ssm_input"] + harness.FEW
NOISE = ["--noise", "1", "--isolated", "--modes", "fp32,2-1,2-4,3"]


def refused(checks, work, what, words, expected, ranks=1, program=harness.PROGRAM, gpus="1"):
    result = harness.run_each_status(JOB + words, ranks, work, {"SSMSWEEP_STANDIN": gpus}, program=program)
    said = result.lines()
    checks.check(result.status == 2 and len(said) == 1 and all(word in said[0] for word in expected), what, result.err)
    checks.check(not os.path.exists(os.path.join(work, "layer_outputs")), what + ": nothing is made")


def contents(folder):
    """{dataset: bytes} but for the seconds, and sweep.json."""
    found = {"sweep.json": harness.read_bytes(os.path.join(folder, "comparisons", "sweep.json"))}

    def take(name, item):
        if isinstance(item, h5py.Dataset) and not name.endswith("seconds"):
            found[name] = item[...].tobytes()
    with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5"), "r") as f:
        f.visititems(take)
    return found


def sweep(checks, work, what, words, ranks, gpus, said=(), silent=(), status=0):
    folder = os.path.join(work, what)
    os.makedirs(folder, exist_ok=True)
    result = harness.run(JOB + words, ranks, folder, {"SSMSWEEP_STANDIN": gpus}, program=STANDIN)
    lines = "\n".join(result.lines())
    checks.check(result.status == status, what, result.err)
    checks.check(all(words in lines for words in said) and not any(words in lines for words in silent), what + ": says so", lines)
    return contents(folder) if status == 0 else None


def compare(checks, what, got, want):
    differ = [name for name in want if got.get(name) != want[name]]
    checks.check(got.keys() == want.keys() and len(want) > 10 and not differ, what + ": the same bytes", differ[:5])


def main():
    checks = harness.Checks()
    with harness.Workplace() as work:
        refused(checks, work, "another word", ["--device", "gpu"], ["--device", "auto, cpu, cuda or cuda:INDEX", "'gpu'"])
        refused(checks, work, "no number", ["--device", "cuda:x"], ["cuda:INDEX", "'cuda:x'"])
        if not harness.run(["info", "--machine"]).out.count("\ncuda:"):
            for ranks in (1, 3):
                refused(checks, work, "no GPU", ["--device", "cuda"], ["--device cuda: "], ranks)
        refused(checks, work, "no such GPU", ["--device", "cuda:2"], ["--device cuda:2", "below 2"], 2, STANDIN, "2")

        want = sweep(checks, work, "cpu", ["--device", "cpu"], 2, "1", silent=["GPU"])
        for what, words, ranks, gpus, said in (
                ("one", ["--device", "cuda", "-v"], 1, "1", ["1 of 1 ranks computes on a GPU", "5 samples of 300 tokens"]),
                ("auto", [], 1, "1", ["1 of 1 ranks computes on a GPU"]),
                ("one of three", ["--device", "cuda:0"], 3, "1", ["1 of 3 ranks computes on a GPU"]),
                ("two of three", [], 3, "2", ["2 of 3 ranks compute on a GPU"]),
                ("no memory", [], 1, "1,memory=1000000", ["out of memory on the device", "computes on processors"]),
                ("lost", ["--shard", "2"], 2, "1,fail=1", ["launch failure", "computed on processors"]),
                ("none", [], 1, "0", [])):
            if not harness.SANITIZED or what in ("two of three", "no memory", "lost"):    # each is five times as dear there
                compare(checks, what, sweep(checks, work, what, words, ranks, gpus, said), want)
        little = sweep(checks, work, "little memory", ["-v"], 1, "1,memory=4500000", ["up to 5 samples of "], ["of 300 tokens", "processors"])
        compare(checks, "little memory", little, want)
        # Begun on the one, and continued on the other, for which a part is there.
        part = ["save", "--modes", "fp32,2-1"]
        for first, second in (("cuda", "cpu"),) if harness.SANITIZED else (("cuda", "cpu"), ("cpu", "cuda")):
            what = "begun on " + first
            folder = os.path.join(work, what)
            os.makedirs(folder)
            for words in (part, ["save", "--modes", "all"]):
                device = first if words is part else second
                result = harness.run(words + JOB[:-len(harness.FEW)] + ["--device", device], 1, folder, {"SSMSWEEP_STANDIN": "1"},
                                     program=STANDIN)
                checks.check(result.status == 0, what, result.err)
            harness.run(["compare"] + harness.FEW, 1, folder)
            got = contents(folder)
            checks.check(got["sweep.json"] == want["sweep.json"], what + ": the same sweep.json")
        compare(checks, "re-runs", sweep(checks, work, "noisy", NOISE + ["--device", "cuda"], 1, "1"),
                sweep(checks, work, "noisy on cpu", NOISE + ["--device", "cpu"], 2, "1"))
        lines = harness.run(JOB + ["--model", "mamba2-demo", "--modes", "fp32", "--dry-run"], 1, work, {"SSMSWEEP_STANDIN": "1"},
                            program=STANDIN)
        checks.check(lines.status == 0 and "not computed on GPUs yet" in lines.err, "Mamba-2", lines.err)
    checks.finish()


main()
