# SPDX-License-Identifier: Apache-2.0
"""--device: what is refused, in one line; and, with a program whose GPUs are stand-ins (tests/standin_gpu), sweeps that are
calibrated and computed there many samples at a time: the bytes of a sweep on processors, whoever computes what, whatever fails on
the way; and which rank has which GPU.  And the rows of `ssmsweep bench` there, without a look at their times."""
import math
import os
import re
import sys

import h5py
import numpy as np

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import quamba_reference as reference  # noqa: E402

STANDIN = sys.argv[1]
JOB = ["--calib_data_num", "5", "--calib_seqlen", "60", "--layers", "0,last", "--components", "mixer_output,ssm_input"] + harness.FEW
OBSERVERS = ["--observer", "in_proj_input=mse,in_proj_output=entropy,x_proj_input=ema-percentile,x_proj_output=percentile,"
             "out_proj_input=entropy,ssm_state=mse", "--calib_data_num", "2,5", "--shuffle-calib", "2", "--modes", "fp32,2-4"]
MODES_2 = "fp32,0,2-1,3" + ("" if harness.SANITIZED else ",fp16,2-4,0-fp32,w4a16")
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


def sweep(checks, work, what, words, ranks, gpus, said=(), silent=(), status=0, program=STANDIN):
    folder = os.path.join(work, what)
    os.makedirs(folder, exist_ok=True)
    result = harness.run(JOB + words, ranks, folder, {"SSMSWEEP_STANDIN": gpus}, program=program)
    lines = "\n".join(result.lines())
    checks.check(result.status == status, what, result.err)
    checks.check(all(words in lines for words in said) and not any(words in lines for words in silent), what + ": says so", lines)
    return contents(folder) if status == 0 else None


def compare(checks, what, got, want):
    differ = [name for name in want if got.get(name) != want[name]]
    checks.check(got.keys() == want.keys() and len(want) > 10 and not differ, what + ": the same bytes", differ[:5])


def check_observers(checks, work):
    """Every observer, in two sizes and two orders; the device is lost behind its first pass of few tokens, and before."""
    want = sweep(checks, work, "observers on cpu", OBSERVERS + ["--device", "cpu"], 2, "1")
    for what, ranks, gpus, said in (("observers", 1, "1", ["observes up to 5 samples of 300 tokens"]), ("observers of three", 3, "1", []),
                                    ("observers, lost", 1, "1,memory=11200000,fail=2", ["launch failure", "observes up to 5 samples of 150"])):
        compare(checks, what, sweep(checks, work, what, OBSERVERS + ["-v"], ranks, gpus, said), want)


def check_units(checks, work):
    """`ssmsweep units`: samples that go together show what each shows by itself; ranks without a GPU leave the samples to the others."""
    words = ["units", "-v", "--calib_data_num", "4", "--eval_data_num", "5", "--calib_seqlen", "40"]
    for model in (harness.DEMO, "mamba2-demo"):
        want = None
        for what, ranks, gpus, said in (
                ("none", 2, "0", []), ("one", 1, "1", ["1 of 1 ranks computes on a GPU", "observes up to 5 samples of 200 tokens"]),
                ("two of three", 3, "2", ["2 of 3 ranks compute on a GPU"]), ("lost", 1, "1,fail=2", ["launch failure", "computed on processors"]),
                ("little memory", 1, "1,memory=11200000", ["observes up to 5 samples of "])):
            result = harness.run(words + ["--model", model, "--comparison-dir", what], ranks, work, {"SSMSWEEP_STANDIN": gpus}, program=STANDIN)
            lines = "\n".join(result.lines())
            got = [harness.read_bytes(os.path.join(work, what, "units." + kind)) for kind in ("json", "csv")] if result.status == 0 else result.err
            want = want or got
            checks.check(got == want, "units of %s, %s: the same bytes" % (model, what), result.err)
            checks.check(all(part in lines for part in said), "units of %s, %s: says so" % (model, what), lines)
    overflow = os.path.join(work, "overflow")
    harness.make_model(overflow, "--seed", "3", "--d-model", "48", "--n-layer", "2", "--vocab", "64", "--d-state", "8")
    path = os.path.join(overflow, "model.safetensors")
    tensors = reference.load_safetensors(path)
    ids = np.arange(40, dtype=np.int32).reshape(4, 10)
    tensors["backbone.embeddings.weight"][:, 0] = np.arange(64) == ids[2, 5]    # in_proj of this token alone overflows
    tensors["backbone.layers.0.mixer.in_proj.weight"][:, 0] = 3e38
    reference.save_safetensors(path, tensors)
    np.save(os.path.join(work, "ids.npy"), ids)
    got = []
    for device in ("cpu", "cuda"):
        result = harness.run(words[:2] + ["--model", overflow, "--calib-data", "ids.npy", "--calib_data_num", "4", "--comparison-dir", device,
                                          "--device", device], 1, work, {"SSMSWEEP_STANDIN": "1"}, program=STANDIN)
        got.append(result.status == 0 and harness.read_bytes(os.path.join(work, device, "units.json")))
        checks.check(result.status == 0 and ("sample 2 has what is not finite; processors observe it" in result.err) == (device == "cuda"),
                     "units of a model that overflows on %s" % device, result.err)
    checks.check(got[0] == got[1] and b"null" in got[0], "units of a model that overflows: the same bytes")
    result = harness.run(["units", "--device", "cuda:2", "--comparison-dir", "never"], 2, work, {"SSMSWEEP_STANDIN": "2"}, program=STANDIN)
    checks.check(result.status == 2 and len(result.lines()) == 1 and "below 2" in result.err and not os.path.exists(os.path.join(work, "never")),
                 "units: no such GPU", result.err)


def check_places(checks, work):
    """Each rank sees its own, some of them, or none: as a scheduler shows them, or a script in front of the program."""
    for what, shown, ranks, gpus, said in (
            ("each its own", "$rank", 3, "3", ["3 of 3 ranks compute", "cuda:0 is GPU-00", "cuda:0 is GPU-01", "cuda:0 is GPU-02"]),
            ("odd ranks see both", "$([ $((rank % 2)) = 1 ] && echo 0,1)", 4, "2", ["2 of 4 ranks compute", "is GPU-00", "is GPU-01"]),
            ("all see two", "2,0", 3, "3", ["2 of 3 ranks compute", "cuda:0 is GPU-02", "cuda:1 is GPU-00"]),
            ("none is seen", "", 2, "2", [])):
        script = os.path.join(work, "shown")
        with open(script, "w") as f:
            f.write("#!/bin/sh\nrank=${OMPI_COMM_WORLD_LOCAL_RANK:-$MPI_LOCALRANKID}\nCUDA_VISIBLE_DEVICES=%s exec '%s' \"$@\"\n"
                    % (shown, STANDIN))
        os.chmod(script, 0o755)
        result = harness.run(JOB + ["-v", "--model", "none"], ranks, work, {"SSMSWEEP_STANDIN": gpus}, program=script)    # ends behind that
        checks.check(result.status == 3 and all(words in result.err for words in said) and ("on a GPU" in result.err) == bool(said),
                     what, result.err)


BENCH = ["bench", "--model", harness.DEMO, "--seconds", "0.001", "--calib_seqlen", "16", "--threads", "1", "--modes", "fp32,0,2-1", "--json", "bench.json"]
PROJECTIONS = {"in_proj", "x_proj", "dt_proj", "out_proj"}
BENCH_ROWS = {"machine": {"peak_f32", "peak_s8", "exp", "copy", "copy_to_gpu", "copy_from_gpu"}, "gemm_f32": PROJECTIONS, "gemm_s8": PROJECTIONS,
              "scan": {"sequential", "sequential_int8", "blocked_int8"},
              "elementwise": {"norm", "norm_quantize", "conv1d_silu", "conv1d_silu_quantize", "hadamard", "quantize", "dequantize", "find_broken",
                              "break_rows"},
              "metrics": {"pairs", "lm_head", "end_of_model"}, "forward": {"fp32", "0", "2-1"}}


def check_bench(checks, work):
    """Every kernel and pass has a row beside its bound, passes also beside one core; processors are measured alone where it is told so."""
    result = harness.run(BENCH + ["--device", "cuda"], 1, work, {"SSMSWEEP_STANDIN": "1"}, program=STANDIN)
    if not checks.check(result.status == 0 and not result.lines(), "bench on a GPU", result.err):
        return
    found = harness.read_json(os.path.join(work, "bench.json"))
    rows = found["gpu"]["measurements"]
    groups = {group: {row["name"] for row in rows if row["group"] == group} for group in BENCH_ROWS}
    checks.check(groups == BENCH_ROWS and len(rows) == sum(map(len, groups.values())) + 2 * 3, "bench: the rows of the GPU", groups)
    checks.check({row["group"] for row in found["measurements"]} == {"forward"}, "bench: of processors only passes", found["measurements"])
    for row in rows:
        what = "bench: %s %s" % (row["group"], row["name"])
        checks.check(0 < row["best_seconds"] <= row["median_seconds"] and row["rate"] > 0, what, row)
        if row["group"] != "machine":
            checks.check(math.isclose(row["share"], row["bound_seconds"] / row["best_seconds"]), what + ": its share", row)
        if row["group"] == "forward":
            core, = [other["best_seconds"] for other in found["measurements"] if other["name"] == row["name"]]
            checks.check(math.isclose(row["to_one_core"], core * row["samples"] / row["best_seconds"]), what + ": to one core", row)
            checks.check(math.isclose(row["rate"] * row["best_seconds"], 16 * row["samples"]), what + ": its tokens", row)
    sweeps = [(row["on"], row["items"], row["ranks"]) for row in found["gpu_sweeps"]]
    checks.check(sweeps == [("gpu", 12, 1), ("processors", 12, 1)] and all(0 < row["calibrate_seconds"] < row["items_seconds"] for row in found["gpu_sweeps"]),
                 "bench: sweeps of three modes and few samples", found["gpu_sweeps"])
    checks.check(all("\n%s " % group in result.out for group in BENCH_ROWS) and "Sweep on the GPU" in result.out, "bench: its tables", result.out)
    result = harness.run(BENCH + ["--device", "cuda"], 1, work, {"SSMSWEEP_STANDIN": "0"}, program=STANDIN)
    checks.check(result.status == 2 and len(result.lines()) == 1 and "no GPU" in result.err, "bench without a GPU", result.err)


def check_memory(checks, work):
    """--dry-run tells what a sweep takes of the device's memory, but for the staging, which stand-ins have none of."""
    words = JOB + ["--device", "cuda", "--threads", "1"]
    told = harness.run(words + ["--dry-run"], 1, work, {"SSMSWEEP_STANDIN": "1"}, program=STANDIN)
    numbers = re.search(r"^GPU: ([\d.]+) MiB on each of 1: ([\d.]+) MiB of weights, ([\d.]+) MiB for up to 5 samples at once \(300 tokens\), "
                        r"([\d.]+) MiB of staging$", told.out, re.M)
    if checks.check(numbers is not None and re.search(r"^time: about .* 1 on GPUs", told.out, re.M), "--dry-run tells the GPU", told.out + told.err):
        whole, weights, batch, staging = map(float, numbers.groups())
        checks.check(abs(weights + batch + staging - whole) < 0.2 and min(weights, batch, staging) > 0, "--dry-run: the sum", numbers.group(0))
        result = harness.run(words + ["-v", "--output_dir", "v", "--comparison-dir", "v-c"], 1, work, {"SSMSWEEP_STANDIN": "1"}, program=STANDIN)
        took = re.search(r"cuda:0: took up to ([\d.]+) MiB", result.err)
        checks.check(took is not None and abs(float(took.group(1)) - weights - batch) < 0.2, "-v: the memory that it took", result.err[-2000:])
    told = harness.run(words + ["--dry-run"], 1, work, {"SSMSWEEP_STANDIN": "1,memory=1000000"}, program=STANDIN)
    checks.check("\nGPU: no room" in told.out and " on GPUs" not in told.out, "--dry-run: too little memory", told.out + told.err)


def main():
    checks = harness.Checks()
    with harness.Workplace() as work:
        refused(checks, work, "another word", ["--device", "gpu"], ["--device", "auto, cpu, cuda or cuda:INDEX", "'gpu'"])
        refused(checks, work, "no number", ["--device", "cuda:x"], ["cuda:INDEX", "'cuda:x'"])
        if not harness.run(["info", "--machine"]).out.count("\ncuda:"):
            for ranks in (1, 3):
                refused(checks, work, "no GPU", ["--device", "cuda"], ["--device cuda: "], ranks)
        refused(checks, work, "no such GPU", ["--device", "cuda:2"], ["--device cuda:2", "below 2"], 2, STANDIN, "2")
        check_bench(checks, work)
        check_memory(checks, work)

        want = sweep(checks, work, "cpu", ["--device", "cpu"], 2, "1", silent=["GPU"])
        for what, words, ranks, gpus, said in (
                ("one", ["--device", "cuda", "-v"], 1, "1", ["1 of 1 ranks computes on a GPU", ": up to 5 samples of 300 tokens",
                                                             "observes up to 5 samples of 300 tokens"]),
                ("auto", ["--threads", "3"], 1, "1", ["1 of 1 ranks computes on a GPU"]),
                ("one of three", ["--device", "cuda:0"], 3, "1", ["1 of 3 ranks computes on a GPU"]),
                ("two of three", [], 3, "2", ["2 of 3 ranks compute on a GPU"]),
                ("no memory", [], 1, "1,memory=1000000", ["out of memory on the device", "computes on processors"]),
                ("lost at once", [], 1, "1,fail=1", ["launch failure", "computed on processors"]),
                ("lost", ["--shard", "2"], 2, "1,fail=2", ["launch failure", "computed on processors"]),
                ("none", [], 1, "0", [])):
            if not harness.SANITIZED or what in ("two of three", "no memory", "lost"):    # each is five times as dear there
                compare(checks, what, sweep(checks, work, what, words, ranks, gpus, said), want)
        little = sweep(checks, work, "little memory", ["-v"], 1, "1,memory=14200000", [": up to 5 samples of "], [": up to 5 samples of 300", "processors"])
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
        check_observers(checks, work)
        check_places(checks, work)
        check_units(checks, work)
        mamba2 = ["--model", "mamba2-demo", "--components", "all", "--modes", MODES_2]
        compare(checks, "Mamba-2", sweep(checks, work, "mamba2", mamba2 + ["--device", "cuda", "-v"], 1, "1", [": up to 5 samples of 300 tokens"]),
                want := sweep(checks, work, "mamba2 on cpu", mamba2 + ["--device", "cpu"], 2, "1"))
        for fails in (1, 2):    # in the pass that forms groups of heads, and behind it
            what = "Mamba-2, lost at %d" % fails
            compare(checks, what, sweep(checks, work, what, mamba2, 1, "1,fail=%d" % fails, ["launch failure", "computed on processors"]), want)
    checks.finish()


main()
