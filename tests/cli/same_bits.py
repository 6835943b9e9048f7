# SPDX-License-Identifier: Apache-2.0
"""The same bits on every instruction set: every captured component of all layers in all modes and a recipe of many formats, and all
metrics, for instruction sets x threads x ranks, on the demo model and on a random model of odd shape.  Nine of the 27, so that each
pair of the three meets; all with SSMSWEEP_LONG=1.
    same_bits.py [mamba2]: of the other demo model, and three of the 27 unless LONG"""
import os
import sys

import numpy as np

import harness
import sweep_files

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import mamba2_reference  # noqa: E402
import quamba_reference  # noqa: E402

MAMBA2 = sys.argv[1:] == ["mamba2"]
ISAS = ("avx512", "avx2", "scalar", "avxvnni")
THREADS = (1, 2, 3)
RANKS = (1, 2, 5)
COMMON = {"weight:in_proj": "int8-channel", "weight:D": "float", "gate:input": "fp16", "scan:dt": "float"}
MAMBA1 = {"weight:x_proj": "float", "conv1d:input": "dynamic-token", "scan:u": "float", "dt_proj:input": "fp16"}


def odd_model(folder):
    """d_model 80 (Hadamard base 40), d_inner 160, and ids for it."""
    model = os.path.join(folder, "odd-model")
    harness.make_model(model, "--seed", "7", "--d-model", "80", "--n-layer", "3", "--vocab", "53", "--d-state", "5", "--d-conv", "3",
                       "--dtype", "F32")
    ids = np.full((2, 33), -1, np.int32)
    generator = np.random.Generator(np.random.PCG64(3))
    ids[0], ids[1, :5] = generator.integers(0, 53, 33), generator.integers(0, 53, 5)
    np.save(os.path.join(folder, "odd.npy"), ids)
    return ["--model", model, "--calib-data", os.path.join(folder, "odd.npy"), "--calib_data_num", "2"]


def odd_mamba2(folder):
    """d_model 80, heads of 20 channels, two groups of them, 12 states, conv1d of 3 taps, chunks of 8."""
    model, generator = os.path.join(folder, "odd-model"), np.random.Generator(np.random.PCG64(3))
    config, tensors = mamba2_reference.random_model(7, 80, 3, 53, headdim=20, d_state=12, ngroups=2, d_conv=3, chunk_size=8)
    os.mkdir(model)
    quamba_reference.save_safetensors(os.path.join(model, "model.safetensors"), tensors)
    harness.write_json(os.path.join(model, "config.json"), config)
    ids = np.full((2, 33), -1, np.int32)
    ids[0], ids[1, :5] = generator.integers(0, 53, 33), generator.integers(0, 53, 5)
    np.save(os.path.join(folder, "odd.npy"), ids)
    return ["--model", model, "--calib-data", os.path.join(folder, "odd.npy"), "--calib_data_num", "2"]


def is_left_out(isa, threads, ranks):
    """Each pair of the three meets once; of Mamba-2 each of the nine is there once; avxvnni, which is avx2 but for its product, once."""
    if isa == "avxvnni":
        return (threads, ranks) != (3, 2)
    isa, threads, ranks = ISAS.index(isa), THREADS.index(threads), RANKS.index(ranks)
    return not harness.LONG and ((threads, ranks) != (isa, 2 - isa) if MAMBA2 else (threads + ranks) % 3 != isa)


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        modes = len(harness.MODES) + 1
        per_layer, further = modes * (10 if MAMBA2 else 6), modes * 4 + 1 + (8 if MAMBA2 else 4)
        harness.write_json(os.path.join(workplace, "mixed.json"), {
            "name": "mixed", "base": "2-1", "set": dict(COMMON, **({} if MAMBA2 else MAMBA1)),
            "layers": [{"layers": "1", "set": {"weight:out_proj": "int4-g32", "out_proj:input": "dynamic-token", "conv1d:output": "float"}}]})
        cases = {"demo": (["--model", "mamba2-demo", "--calib_data_num", "2", "--calib_seqlen", "70"], 16 * per_layer + further),
                 "odd": (odd_mamba2(workplace), 3 * per_layer + further)} if MAMBA2 else \
            {"demo": (["--calib_data_num", "2", "--calib_seqlen", "24"], 24 * per_layer + further),
                 "odd": (odd_model(workplace), 3 * per_layer + further)}
        missing = set()
        for case, (arguments, datasets) in cases.items():
            want = None
            for isa in ISAS:
                for threads in THREADS:
                    for ranks in RANKS:
                        if is_left_out(isa, threads, ranks):
                            continue
                        what = "%s %s, %d threads, %d ranks" % (case, isa, threads, ranks)
                        out = os.path.join(workplace, what.replace(" ", "_").replace(",", ""))
                        result = harness.run(["save", "all", "--layers", "all", "--components", "all", "--recipes", "mixed.json", "--threads", str(threads),
                                              "--output_dir", out, "-q"] + arguments, ranks, workplace, {"SSMSWEEP_ISA": isa})
                        if isa != "scalar" and result.status == 2 and "not on this machine" in result.err:
                            missing.add(isa)
                            continue
                        if not checks.check(result.status == 0, what + ": runs", result.err):
                            continue
                        got = sweep_files.contents(os.path.join(out, "sweep.h5"), ["outputs/", "metrics/", "calibration/"])
                        want = want or got
                        differing = sweep_files.differences(got, want)
                        found = sum("@" not in name for name in got)
                        checks.check(found == datasets and not differing, what + ": the same bits", "%d datasets, differing: %s"
                                     % (found, differing[:10]))
        for isa in sorted(missing):
            harness.skip_part("instruction set %s is not on this machine" % isa)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
