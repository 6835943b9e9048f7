# SPDX-License-Identifier: Apache-2.0
"""The same bits on every instruction set: every captured component of all layers in all modes, and all metrics, for
instruction sets x threads x ranks, on the demo model and on a random model of odd shape.  Nine of the 27, so that each
pair of the three meets; all with SSMSWEEP_LONG=1."""
import os
import sys

import numpy as np

import harness
import sweep_files

ISAS = ("avx512", "avx2", "scalar")
THREADS = (1, 2, 3)
RANKS = (1, 2, 5)


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


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        per_layer, further = len(harness.MODES) * 6, len(harness.MODES) * 4 + 1
        cases = {"demo": (["--calib_data_num", "2", "--calib_seqlen", "24"], 24 * per_layer + further),
                 "odd": (odd_model(workplace), 3 * per_layer + further)}
        missing = set()
        for case, (arguments, datasets) in cases.items():
            want = None
            for isa in ISAS:
                for threads in THREADS:
                    for ranks in RANKS:
                        if not harness.LONG and (THREADS.index(threads) + RANKS.index(ranks)) % 3 != ISAS.index(isa):
                            continue
                        what = "%s %s, %d threads, %d ranks" % (case, isa, threads, ranks)
                        out = os.path.join(workplace, what.replace(" ", "_").replace(",", ""))
                        result = harness.run(["save", "all", "--layers", "all", "--components", "all", "--threads", str(threads),
                                              "--output_dir", out, "-q"] + arguments, ranks, workplace, {"SSMSWEEP_ISA": isa})
                        if isa != "scalar" and result.status == 2 and "not on this machine" in result.err:
                            missing.add(isa)
                            continue
                        if not checks.check(result.status == 0, what + ": runs", result.err):
                            continue
                        got = sweep_files.contents(os.path.join(out, "sweep.h5"), ["outputs/", "metrics/", "calibration/"])
                        want = want or got
                        differing = sweep_files.differences(got, want)
                        checks.check(len(got) == datasets + 7 and not differing, what + ": the same bits", "%d datasets and attributes, differing: %s"
                                     % (len(got), differing[:10]))
        for isa in sorted(missing):
            harness.skip_part("instruction set %s is not on this machine" % isa)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
