# SPDX-License-Identifier: Apache-2.0
"""Samples that cannot be brought to the disk when all is computed, on some ranks only: status 4 on every rank, one line, no
hang, and a file that resumes."""
import os
import sys

import harness
import recovery
import sweep_files

LIMIT = harness.LIMIT


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        good = recovery.Reference(workplace)
        variants = [(1, "/0"), (3, "/0"), (3, "/2"), (3, "")]
        for ranks, failing, io in ((*variant, io) for n, variant in enumerate(variants) for io in harness.ios(n + 1)):
            what = "sync fails on rank %s of %d, %s" % (failing[1:] or "each", ranks, io)
            folder = os.path.join(workplace, what.replace(" ", "-"))
            os.mkdir(folder)
            result = harness.run_each_status(["--inject", "sync:1" + failing] + recovery.job(good.folder, "-v", "--io", io), ranks, folder,
                                             None, LIMIT, program=recovery.INJECT)
            last = result.lines()[-1] if result.lines() else ""
            checks.check(result.status == recovery.IO and len(result.statuses) == ranks and "sweep.h5: cannot sync" in last and
                         "%d of %d samples" % (recovery.ALL, recovery.ALL) in last and "computes run" in result.err.split("inject: ")[0],
                         what + ": status and line", "%s\n%s" % (result.status, result.err))
            resumed = harness.run(recovery.job(good.folder, "--resume", "-q", "--io", io), ranks, folder)
            checks.check(resumed.status == recovery.OK and not sweep_files.differences(recovery.results(folder), good.results),
                         what + ": resumes", resumed.err)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
