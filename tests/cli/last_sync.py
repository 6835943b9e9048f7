# SPDX-License-Identifier: Apache-2.0
"""Samples that cannot be brought to the disk when all is computed, on some ranks only: status 4 on every rank, one line, no
hang, and a file that resumes."""
import os
import re
import sys

import harness
import recovery
import sweep_files

LIMIT = harness.LIMIT


def collective_calls():
    """Calls of HDF5 under MPI-IO are collective: a rank that fails in one leaves the others waiting."""
    found, folder = [], os.path.join(harness.SOURCE, "src")
    for name in os.listdir(os.path.join(folder, "sweep")):
        with open(os.path.join(folder, "sweep", name), encoding="utf-8") as f:
            found += ["%s: %s" % (name, line.strip()) for line in f if re.search(r"mpio|H5Fflush", line)]
    return found


def main():
    checks = harness.Checks()
    checks.check(not collective_calls(), "HDF5 is not used under MPI-IO", "\n".join(collective_calls()))
    with harness.Workplace() as workplace:
        good = recovery.Reference(workplace)
        for ranks, failing in ((1, "/0"), (3, "/0"), (3, "/2"), (3, "")):
            what = "sync fails on rank %s of %d" % (failing[1:] or "each", ranks)
            folder = os.path.join(workplace, what.replace(" ", "-"))
            os.mkdir(folder)
            result = harness.run_each_status(["--inject", "sync:1" + failing] + recovery.job(good.folder, "-v"), ranks, folder,
                                             None, LIMIT, program=recovery.INJECT)
            last = result.lines()[-1] if result.lines() else ""
            checks.check(result.status == recovery.IO and len(result.statuses) == ranks and "sweep.h5: cannot sync" in last and
                         "%d of %d samples" % (recovery.ALL, recovery.ALL) in last and "computes run" in result.err.split("inject: ")[0],
                         what + ": status and line", "%s\n%s" % (result.status, result.err))
            resumed = harness.run(recovery.job(good.folder, "--resume", "-q"), ranks, folder)
            checks.check(resumed.status == recovery.OK and not sweep_files.differences(recovery.results(folder), good.results),
                         what + ": resumes", resumed.err)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
