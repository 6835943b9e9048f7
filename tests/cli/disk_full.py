# SPDX-License-Identifier: Apache-2.0
"""A file system without room for the result: status 4, one line, no file left behind.  Needs the right to mount a small
tmpfs in a name space of its own; skipped without it."""
import os

import harness

MOUNT = 'mount -t tmpfs -o size=1m none "$1" && shift && "$@"; status=$?; find full -type f; exit $status'
JOB = ["-q", "--all-modes", "--layers", "all", "--calib_data_num", "4", "--output_dir", "full/out",
       "--comparison-dir", "full/cmp"]


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        os.mkdir(os.path.join(folder, "full"))
        small = ["unshare", "-m", "sh", "-c", MOUNT, "sh", "full"]
        status, _, err = harness.execute(small + ["true"], folder)
        if status != 0:
            harness.skip("no right to mount a tmpfs: " + err)
        for launcher, io in (([], "posix"), ([harness.MPIEXEC, "-n", "4"], "mpio")):
            what = "full disk, %s, %s" % (" ".join(launcher[1:]) or "-n 1", io)
            status, out, err = harness.execute(small + launcher + [harness.PROGRAM] + JOB + ["--io", io], folder)
            lines = harness.lines_of(err)
            checks.check(status == 4, what + ": status", "%s\n%s" % (status, err))
            checks.check(len(lines) == 1 and "full/out/sweep.h5" in lines[0], what + ": one line", err)
            checks.check(out == "", what + ": nothing left behind", out)
    checks.finish()


main()
