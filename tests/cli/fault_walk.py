# SPDX-License-Identifier: Apache-2.0
"""The k-th read, write, message or allocation of a small run fails, for k through the whole run, on one rank of one or
two (with SSMSWEEP_LONG=1 three, with sanitizers two), by MPI-IO and by pwrite() in turn: a documented status, one line from
whoever speaks, no hang, and a file that resumes (or none, or an untouched one).
SSMSWEEP_WALK=all takes every k on one rank; else k grows like the Fibonacci numbers, and by default only every second
of them is taken."""
import concurrent.futures
import os
import shutil
import sys

import harness
import recovery
import sweep_files

EVERY = os.environ.get("SSMSWEEP_WALK") == "all"
KINDS = ["read", "write", "message", "alloc"]
MOST = 20000  # no run has that many calls


def walk(ranks):
    """The k to try; the caller stops where nothing fails any more."""
    a, b = 1, 2
    while a < MOST:
        yield a
        if EVERY and ranks == 1:
            a += 1
        else:
            a, b = (b, a + b) if harness.LONG else (a + b, a + 2 * b)


def resume(good, folder, io):
    done = harness.run(recovery.job(good.folder, "--resume", "-q", "--io", io), 1, folder)
    wrong = []
    if done.status != recovery.OK:
        wrong.append("resuming: status %s\n%s" % (done.status, done.err))
    elif sweep_files.differences(recovery.results(folder), good.results):
        wrong.append("resumed, but not the same: %s" % sweep_files.differences(recovery.results(folder), good.results)[:5])
    return wrong


def one(good, folder, kind, k, ranks):
    """(did it fire, what is wrong)"""
    os.makedirs(folder)
    fault, io = "%s:%d/%d" % (kind, k, k % ranks), harness.IO[k % 2]
    done = harness.run(["--inject", fault] + recovery.job(good.folder, "-q", "--io", io, "--grace", "5"), ranks, folder,
                       program=recovery.INJECT)
    fired = "inject: " in done.err
    wrong = []
    if done.status not in ((recovery.OK, recovery.INPUT, recovery.IO) if fired else (recovery.OK,)):
        wrong.append("status %s" % done.status)
    if done.status == recovery.OK and sweep_files.differences(recovery.results(folder), good.results):
        wrong.append("status 0, but other results")
    # A rank that loses its messages says so and ends all; another one may add that the launcher ends it.
    lines = [line for line in done.lines() if kind != "message" or "mpirun ends this run" not in line]
    if done.status not in (recovery.OK, harness.TIMED_OUT) and len(lines) != 1:
        wrong.append("%d lines" % len(lines))
    if done.status == recovery.OK and done.lines():
        wrong.append("status 0 with words")
    if done.status != recovery.OK:
        wrong += resume(good, folder, harness.IO[(k + 1) % 2])
    if not wrong:
        shutil.rmtree(folder)
    return fired, ["--inject %s, -n %d, %s: %s\n%s" % (fault, ranks, io, what, done.err) for what in wrong]


def walk_kind(good, workplace, kind, ranks):
    problems, tried = [], 0
    for k in walk(ranks):
        # A rank of its own for each k: it is over when no rank comes so far.
        fired = False
        for turn in range(ranks if k > 1 else 1):
            at = os.path.join(workplace, "%s-n%d-%d-%d" % (kind, ranks, k, turn))
            happened, wrong = one(good, at, kind, k + turn, ranks)
            fired = fired or happened
            problems += wrong
            tried += happened
            if happened:
                break
        if not fired:
            break
    return kind, ranks, tried, problems


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        good = recovery.Reference(workplace)
        several = 3 if harness.LONG and not harness.SANITIZED else 2
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for kind, ranks, tried, problems in pool.map(lambda a: walk_kind(good, workplace, *a),
                                                         [(kind, ranks) for ranks in (several, 1) for kind in KINDS]):
                print("%s, -n %d: %d faults" % (kind, ranks, tried), flush=True)
                checks.check(tried >= (8 if harness.LONG else 4), "%s, -n %d: faults happen" % (kind, ranks), tried)
                checks.check(not problems, "%s, -n %d" % (kind, ranks), "\n".join(problems[:10]))
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
