# SPDX-License-Identifier: Apache-2.0
"""System calls on the result file fail, whoever makes them: ssmsweep, HDF5 or MPI-IO behind it (file_faults.c is loaded with the
program).  The k-th open, seek, read, write (of the superblock, too), sync or close on one of two ranks, k through the whole run: a documented status
within --grace and ten seconds more, one line, and a file that resumes with all that was acknowledged.
   file_faults.py LIBRARY      every other k, with SSMSWEEP_LONG=1 every one; for reads and writes they grow like the
                               Fibonacci numbers, with SSMSWEEP_LONG=1 from the twentieth on"""
import concurrent.futures
import os
import re
import shutil
import sys
import time

import harness
import recovery
import sweep_files

LIBRARY = sys.argv[1]
RANKS = 2
GRACE = 5    # the least that counts where HDF5 does something on all ranks
CALLS = ["open", "seek", "sync", "close", "superblock", "write", "read"]
MANY = ("write", "read")
STORED = re.compile(r"; (\d+) of (\d+) samples of runs are stored")


def job(good, io, *further):
    return recovery.job_without_modes(good, "--modes", "fp32,2-4", "--io", io, "--grace", str(GRACE), *further)


def walk(call):
    a, b = 1, 2
    while True:
        yield a
        if call in MANY and (a >= 20 or not harness.LONG):
            a, b = b, a + b
        else:
            a, b = a + (1 if harness.LONG else 2), a + 3


def environment(fault):
    return {"LD_PRELOAD": LIBRARY, "FILE_FAULT": fault} if fault else None


def resume(good, folder, io, acknowledged):
    done = harness.run(job(good.folder, io, "--resume"), RANKS, folder)
    kept = recovery.kept(done.err) or {"kept": 0, "torn": 0}
    wrong = []
    if done.status != recovery.OK:
        wrong.append("resuming: status %s\n%s" % (done.status, done.err))
    elif sweep_files.differences(recovery.results(folder), good.results):
        wrong.append("resumed, but not the same: %s" % sweep_files.differences(recovery.results(folder), good.results)[:5])
    if kept["torn"] or kept["kept"] < acknowledged:
        wrong.append("%d samples were acknowledged, %d are kept, %d torn" % (acknowledged, kept["kept"], kept["torn"]))
    return wrong


def one(good, folder, fault, io):
    """(did it fire, seconds, what is wrong)"""
    os.makedirs(folder)
    started = time.monotonic()
    done = harness.run(job(good.folder, io, "-q"), RANKS, folder, environment(fault))
    seconds = time.monotonic() - started
    fired = "inject: " in done.err
    wrong = []
    if done.status not in ((recovery.OK, recovery.INPUT, recovery.IO) if fired else (recovery.OK,)):
        wrong.append("status %s" % done.status)
    if seconds > GRACE + 10:
        wrong.append("%.0f seconds" % seconds)
    if len(done.lines()) != (done.status != recovery.OK):
        wrong.append("%d lines" % len(done.lines()))
    if done.status == recovery.OK and sweep_files.differences(recovery.results(folder), good.results):
        wrong.append("status 0, but other results")
    if done.status != recovery.OK:
        stored = STORED.search(done.err)
        wrong += resume(good, folder, io, int(stored.group(1)) if stored else 0)
    if not wrong:
        shutil.rmtree(folder)
    return fired, seconds, ["%s, %s: %s\n%s" % (fault, io, what, done.err) for what in wrong]


def walk_call(good, workplace, call, rank, io):
    problems, tried, waited = [], 0, 0
    for k in walk(call):
        fired, seconds, wrong = one(good, os.path.join(workplace, "%s-%s-%d-%d" % (io, call, rank, k)), "%s:%d/%d" % (call, k, rank), io)
        problems += wrong
        if not fired:
            break
        tried += 1
        waited += seconds > GRACE
    return call, rank, io, tried, waited, problems


class Good:
    def __init__(self, workplace):
        self.folder = os.path.join(workplace, "good")
        os.mkdir(self.folder)
        recovery.make_model(self.folder)
        done = harness.run(job(self.folder, "posix", "-q"), RANKS, self.folder)
        assert done.status == recovery.OK, done.err
        self.results = recovery.results(self.folder)


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        good = Good(workplace)
        ways = [("mpio", 0), ("mpio", 1)] + [("posix", 0), ("posix", 1)] * harness.LONG
        faults = [(call, rank, io) for io, rank in ways for call in CALLS]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for call, rank, io, tried, waited, problems in pool.map(lambda a: walk_call(good, workplace, *a), faults):
                print("%s on rank %d, %s: %d faults, %d ended by the watch" % (call, rank, io, tried, waited), flush=True)
                least = 0 if call in ("seek", "superblock") and (rank or io == "posix") else 1
                checks.check(tried >= least, "%s on rank %d, %s: faults happen" % (call, rank, io), tried)
                checks.check(not problems, "%s on rank %d, %s" % (call, rank, io), "\n".join(problems[:10]))
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
