# SPDX-License-Identifier: Apache-2.0
"""The same bits for every rank count, shard size and thread count: JSON byte for byte (timestamps aside), every dataset
and attribute of the result file.    identity.py [mamba2]: of the other demo model"""
import os
import sys

import h5py

import harness
import sweep_files

JOB = ["--all-modes", "--calib_data_num", "3,5", "--calib_seqlen", "64", "--layers", "first,7,last",
       "--components", "all"] + harness.FEW
VARIANTS = [(1, []),  # the first is what the others are compared with
            (1, ["--threads", "2", "--shard", "7"]),
            (2, ["--threads", "2", "--shard", "1"]),
            (3, []),
            (16, ["--shard", "1"])]
if sys.argv[1:] == ["mamba2"]:
    JOB[:0] = ["--model", "mamba2-demo"]
    del VARIANTS[3 if not harness.LONG else 5:]
if harness.LONG:
    VARIANTS += [(2, ["--shard", "1"]), (2, ["--threads", "2"]), (3, ["--shard", "7"]), (16, [])]


def seconds_of(path):
    with h5py.File(path, "r") as f:
        names = []
        f.visit(lambda name: names.append("/" + name) if name.endswith("/seconds") else None)
    return names


def h5diff(first, second, cwd):
    exclude = [word for name in seconds_of(os.path.join(cwd, first)) for word in ("--exclude-path", name)]
    return harness.execute(["h5diff"] + exclude + [first, second], cwd)


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        for number, (ranks, further) in enumerate(VARIANTS):
            what = "-n %d %s" % (ranks, " ".join(further))
            folder = os.path.join(workplace, str(number))
            os.mkdir(folder)
            result = harness.run(JOB + further, ranks, folder)
            if not checks.check(result.status == 0, what + ": runs", "status %s\n%s" % (result.status, result.err)):
                continue
            made = sweep_files.json_lines(folder)
            stored = sweep_files.contents(os.path.join(folder, "layer_outputs", "sweep.h5"))
            if number == 0:
                first_made, first_stored, first_out = made, stored, result.out
                checks.check(len(made) >= 18 and len(stored) > 300, "the first run made its files",
                             "%d JSON files, %d datasets and attributes" % (len(made), len(stored)))
                continue
            checks.check(sorted(made) == sorted(first_made), what + ": the same JSON files", sorted(made))
            differing = sweep_files.differences(made, first_made)
            checks.check(not differing, what + ": the same JSON", differing)
            differing = sweep_files.differences(stored, first_stored)
            checks.check(not differing, what + ": the same result file", differing[:20])
            checks.check(result.out == first_out and result.out, what + ": the same tables", result.out)
            status, out, err = h5diff("0/layer_outputs/sweep.h5", "%d/layer_outputs/sweep.h5" % number, workplace)
            checks.check(status == 0, what + ": h5diff", out + err)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
