# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in 4 bits in whole sweeps: the same bits over instruction sets, threads and ranks and after a kill; a float model of
another order beside one; what `info` tells of the bytes of every kind of file."""
import json
import os
import sys

import numpy as np

import harness
import recovery
import sweep_files

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import check_mamba2  # noqa: E402
import check_order  # noqa: E402
import four_bit_files as files  # noqa: E402
import torch_file  # noqa: E402

WAYS = (("avx512", 1, 2), ("avx2", 2, 1), ("scalar", 3, 3))    # instruction set, threads, ranks
KILLED = "die@mark:1/0"
DATA = os.path.join(harness.SOURCE, "tests", "data")


def job(work, name, folder, *further):
    return ["--model", folder, "--calib-data", os.path.join(work, "ids.npy"), "--calib_data_num", "3", "--modes", "all", "--layers", "all",
            "--components", "all", "-q", *further]


def write_ids(folder, samples):
    ids = np.full((len(samples), max(map(len, samples))), -1, np.int32)
    for row, tokens in zip(ids, samples):
        row[:len(tokens)] = tokens
    np.save(os.path.join(folder, "ids.npy"), ids)


def place(work, what):
    folder = os.path.join(work, what.replace(" ", "_").replace(",", ""))
    os.mkdir(folder)
    return folder


def check_same_bits(checks, work, name, folder, ways):
    want = None
    for isa, threads, ranks in ways:
        what = "%s %s, %d threads, %d ranks" % (name, isa, threads, ranks)
        here = place(work, what)
        result = harness.run(job(work, name, folder, "--threads", str(threads)), ranks, here, {"SSMSWEEP_ISA": isa})
        if result.status == 2 and "not on this machine" in result.err:
            harness.skip_part("instruction set %s is not on this machine" % isa)
            continue
        if checks.check(result.status == 0, what, result.err):
            got = recovery.results(here)
            want = want or got
            differing = sweep_files.differences(got, want)
            checks.check(len(got) > 50 and not differing, what + ": the same bits", differing[:10])
    return want


def check_killed(checks, work, name, folder, want):
    here = place(work, name + "-killed")
    killed = harness.run(["--inject", KILLED] + job(work, name, folder), 1, here, program=recovery.INJECT)
    checks.check(killed.status not in (0, harness.TIMED_OUT), name + " is killed", killed.status)
    resumed = harness.run(job(work, name, folder, "--resume", "--threads", "1"), 2, here)
    if checks.check(resumed.status == 0, name + " goes on", resumed.err):
        differing = sweep_files.differences(recovery.results(here), want)
        checks.check(not differing, name + ": the same bits after a kill", differing[:10])


# ---- info ----

def told(work, folder):
    result = harness.run(["info", "--json", "--calib_seqlen", "1", folder], 1, work)
    return json.loads(result.out) if result.status == 0 else {"weight_bytes": result.err}


WEIGHTS = (".dt_bias", ".A_log", ".D", "dt_proj_bias", "conv1d.bias", ".weight")


def expected_bytes(stored):
    """({format: bytes of weights}, bytes of scales, of what is neither), each storage once."""
    weights, scales, others, seen = {}, 0, 0, set()
    for name, value in stored.items():
        if isinstance(value, float):
            scales += 4
        if not isinstance(value, np.ndarray) or (value.ctypes.data, value.dtype.str) in seen:
            continue
        seen.add((value.ctypes.data, value.dtype.str))
        if name.endswith(WEIGHTS):
            kind = {"int8": "INT8", "int32": "INT4", "float16": "F16", "float32": "F32"}[str(value.dtype)]
            weights[kind] = weights.get(kind, 0) + value.nbytes
        elif value.dtype.kind == "f":
            scales += value.nbytes
        else:
            others += value.nbytes
    return weights, scales, others


def check_bytes(checks, work, what, folder, stored):
    info = told(work, folder)
    got = info["weight_bytes"], info.get("scale_bytes"), info.get("other_bytes")
    checks.check(got == expected_bytes(stored), "info, bytes of " + what, (got, expected_bytes(stored)))


def check_info(checks, work, made):
    for name, (folder, stored) in made.items():
        check_bytes(checks, work, name, folder, stored)
    for name in ("quamba-w8a8", "quamba2-w8a8"):
        folder = os.path.join(DATA, name)
        stored = torch_file.load(os.path.join(folder, "pytorch_model.bin"))
        if name == "quamba2-w8a8":    # where B and C share what they have
            stored = {k: v for k, v in stored.items() if not k.endswith(".C_scale")}
        check_bytes(checks, work, name, folder, stored)
    demo = told(work, harness.DEMO)
    checks.check(list(demo["weight_bytes"]) == ["F16"] and demo["weight_bytes"]["F16"] == 2 * demo["parameters"] and demo["scale_bytes"] == 0 and
                 demo["other_bytes"] == 0, "info, bytes of the demo model", demo["weight_bytes"])
    text = harness.run(["info", made["mamba2-w4ax"][0]], 1, work).out
    checks.check(any(line.startswith("bytes ") and all(w in line for w in ("INT8", "INT4", "F16", "F32", "scales")) for line in text.splitlines()),
                 "info as text", text[:600])


# ---- the order of heads and channels ----

def check_reference(checks, work):
    """Of the moved model quantized, with the model as it was beside it: near it in every component, and far without the order."""
    probe = check_mamba2.Probe(None, work)
    folder, plain, _, _, samples = check_order.make(probe, 1, shuffle=2)
    write_ids(work, samples[1:])
    for ranks in (1, 2):
        what = "with a float model, %d ranks" % ranks
        here = place(work, what)
        result = harness.run(["--model", folder, "--reference-model", plain, "--calib-data", os.path.join(work, "ids.npy"), "--calib_data_num", "1",
                              "--modes", "fp32,2-4", "--layers", "all", "--components", "all", "-q"], ranks, here)
        if checks.check(result.status == 0, what, result.err):
            near = {(e["layer"], e["component"]): e["metrics"]["correlation"]["value"] for e in harness.report(here, "sweep.json")["layers"]
                    if e["mode"] == "2-4"}
            checks.check(len(near) == 20 and min(near.values()) > 0.9, what + ": near it in every component", near)
    result = harness.run(["--dry-run", "--model", folder, "--reference-model", harness.DEMO + "-mamba2"], 2, work)
    checks.check(result.status == 3 and len(result.lines()) == 1 and "--reference-model" in result.err, "another float model", result.err)


# ---- sets of modes ----

def check_sets(checks, work, folder):
    """Of a W4A16 checkpoint: words for several modes are those that it has, which a resumed job knows too; others are refused by name."""
    def modes(here):
        told = harness.report(here, "sweep.json")
        return [told["reference_mode"]] + list(dict.fromkeys(e["mode"] for e in told["layers"]))
    here = place(work, "sets")
    common = ["--model", folder, "--calib-data", os.path.join(work, "ids.npy"), "--calib_data_num", "2", "-q"]
    killed = harness.run(["--inject", KILLED] + common, 1, here, program=recovery.INJECT)
    resumed = harness.run(common + ["--resume"], 2, here)
    if checks.check(killed.status != 0 and resumed.status == 0, "all modes of W4A16, killed and resumed", resumed.err):
        checks.check(modes(here) == ["fp32", "fp16", "w4a16", "w4a16-seq"], "all modes of W4A16", modes(here))
    result = harness.run(common + ["--modes", "essential", "--overwrite"], 1, here)
    checks.check(result.status == 0 and modes(here) == ["fp32", "w4a16"], "essential modes of W4A16", result.err)
    result = harness.run(common + ["--modes", "fp32,2-1", "--overwrite"], 2, here)
    checks.check(result.status == 3 and len(result.lines()) == 1 and "expected w4a16" in result.err, "a mode that W4A16 lacks", result.err)


def main():
    checks = harness.Checks()
    with harness.Workplace() as work:
        made = {}
        for name in files.NAMES:
            folder = os.path.join(work, name)
            stored, _, samples = files.make(folder, name)
            made[name] = folder, stored
            write_ids(work, samples)
            if name == "mamba1-w4a16":
                check_sets(checks, work, folder)
            if name in ("mamba1-w4a8", "mamba2-w4ax") or harness.LONG:
                want = check_same_bits(checks, work, name, folder, WAYS if name == "mamba2-w4ax" or harness.LONG else WAYS[::2])
                if want and name.startswith("mamba2"):
                    check_killed(checks, work, name, folder, want)
        check_info(checks, work, made)
        check_reference(checks, work)
    checks.finish()


main()
