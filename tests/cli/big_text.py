# SPDX-License-Identifier: Apache-2.0
"""Of a compressed text of more than 1 GB only the beginning is inflated, and lines without end fill no memory."""
import os
import subprocess
import time

import harness

MIB = 1 << 20
GIGABYTE = 10 ** 9


def pack(command, path, piece, total):
    """`piece` again and again through a compressor into a file; returns the bytes that went in."""
    given = 0
    with open(path, "wb") as out:
        packer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out)
        while given < total:
            packer.stdin.write(piece)
            given += len(piece)
        packer.stdin.close()
        if packer.wait() != 0:
            raise RuntimeError("%s failed" % command)
    return given


def measure(folder, path, documents):
    """(status, stderr, seconds, peak bytes) of planning a sweep over so many documents."""
    command = [harness.PROGRAM, "--dry-run", "--calib-data", path, "--calib_data_num", str(documents)]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, env=harness.environment())
    err = process.stderr.read().decode("utf-8", "replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, err, time.monotonic() - started, usage.ru_maxrss * 1024


def main():
    checks = harness.Checks()
    demo = os.path.join(harness.DEMO, "calibration.jsonl")
    with open(demo, "rb") as f:
        lines = f.read()
    with harness.Workplace() as folder:
        # Without this the bounds below could be those of a program that reads nothing.
        status, err, seconds, small = measure(folder, demo, 100)
        checks.check(status == 0, "100 documents of the demo text", err)
        print("demo text: %.2f s, peak %.0f MiB" % (seconds, small / MIB))
        for name, command in (("big.jsonl.zst", ["zstd", "-q", "-3", "-c"]), ("big.jsonl.gz", ["gzip", "-1"])):
            path = os.path.join(folder, name)
            total = pack(command, path, lines * 8, GIGABYTE if name.endswith("zst") else GIGABYTE // 10)
            checks.check(name.endswith("gz") or total > GIGABYTE, name + " is large", total)
            status, err, seconds, peak = measure(folder, path, 100)
            print("%s: %.2f GB in %.1f MB on disk, first 100 documents: %.2f s, peak %.0f MiB" % (
                name, total / 1e9, os.path.getsize(path) / 1e6, seconds, peak / MIB))
            checks.check(status == 0, "100 documents of " + name, err)
            checks.check(peak < small + 32 * MIB, name + ": memory as for the demo text", "%d and %d" % (peak, small))
            os.unlink(path)
        for name, command in (("line.jsonl.zst", ["zstd", "-q", "-c"]), ("line.txt.gz", ["gzip", "-1"])):
            path = os.path.join(folder, name)
            pack(command, path, b"a" * MIB, 600 * MIB)
            status, err, seconds, peak = measure(folder, path, 100)
            print("%s: refused after %.2f s, peak %.0f MiB" % (name, seconds, peak / MIB))
            checks.check(status == 3 and "64 MiB" in err, name + " is refused", err)
            checks.check(peak < small + 160 * MIB, name + ": bounded memory", "%d and %d" % (peak, small))
    checks.finish()


main()
