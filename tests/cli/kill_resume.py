# SPDX-License-Identifier: Apache-2.0
"""Runs that are killed with SIGKILL, again and again, in every phase, and resumed until they are done: the results are the
bytes of the run that nobody disturbed, and no more is computed twice than was at work when the signal came: all
runs of a sample on each rank.  A third of the jobs has noisy re-runs, another third recipes, and each layer by itself; half of
the attempts write by MPI-IO, or nine of ten where there is time.
   kill_resume.py [mamba2] [RUNS [SEED]]      8 runs (of Mamba-2 3), or 32 with SSMSWEEP_LONG=1; the seed is printed"""
import collections
import concurrent.futures
import os
import random
import re
import subprocess
import sys
import time

import harness
import recovery
import sweep_files

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 32 if harness.LONG else 3 if recovery.MAMBA2 else 8
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 30)
LIMIT = harness.LIMIT
LINES = 100    # about what a whole run with -v says
# Where SIGKILL comes from within, and how often the point is passed in a run: first those of the four phases.
POINTS = [("observe", 2), ("mark", 20), ("compare", 10), ("report", 20), ("create", 100), ("scales", 1), ("store", 60),
          ("readback", 8)]
# Where every run passes first, whoever of its ranks does what: for phases that chance left out.
CERTAIN = {"calibration": "observe", "sweep": "mark", "compare": "compare", "report": "report"}
PHASES = [("report", "writes the reports"), ("compare", "compares"), ("sweep", "computes run"),
          ("calibration", "observes sample"), ("groups of heads", "groups heads by sample")]


def start(command, folder, err):
    return subprocess.Popen(command, cwd=folder, env=harness.environment(), stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=err, start_new_session=True)


def command(program, ranks, options):
    return ([harness.MPIEXEC, "-n", str(ranks)] if ranks > 1 else []) + [program] + options


def kill_somebody(process, ranks, chance):
    """One rank, or mpirun itself; True if it was mpirun: its ranks go on unheard until they miss it, with what they
    compute then kept in the file, to the very end of the job if that is near."""
    victim = chance.choice((harness.children(process.pid) if ranks > 1 else []) + [process.pid])
    if victim != process.pid or process.poll() is None:
        harness.kill(victim)
    return ranks > 1 and victim == process.pid


def read(path):
    return harness.read_bytes(path).decode("utf-8", "replace")


def kill_later(process, ranks, chance, said):
    """After a random number of lines and a random moment more: progress tells the time better than a clock on a busy
    machine."""
    lines = chance.randrange(LINES)
    while read(said).count("\n") < lines and process.poll() is None:
        time.sleep(0.003)
    time.sleep(chance.uniform(0, 0.05))
    return kill_somebody(process, ranks, chance)


def where(point, ranks, chance):
    name, passes = point
    alone = name in ("create", "scales", "report")    # rank 0
    return "%s:%d/%d" % (name, chance.randint(1, passes if alone else max(1, passes // ranks)),
                         0 if alone else chance.randrange(ranks))


def killed_run(good, folder, ranks, chance, point, further):
    """One attempt that does not reach its end, if all goes well; returns (status, stderr, whether ranks went on unheard)."""
    options, said = good.job("-v", *further), os.path.join(folder, "said")
    if point:
        line = command(recovery.INJECT, ranks, ["--inject", "die@" + where(point, ranks, chance)] + options)
    else:
        line = command(harness.PROGRAM, ranks, options)
    with open(said, "wb") as err:
        process = start(line, folder, err)
    unheard = not point and kill_later(process, ranks, chance, said)
    process.wait(timeout=LIMIT)
    harness.wait_until_left(folder)
    return process.returncode, read(said), unheard


def way(number, attempt):
    """How an attempt writes: the next one goes on with the file in the other way."""
    if harness.LONG:
        return ["--io", "posix" if number % 10 == 0 else "mpio"]
    return ["--io", harness.IO[(number + attempt) % 2]]


def phase_of(err):
    for phase, words in PHASES:
        if re.search(words, err):
            return phase
    return "start"


def one(good, workplace, number, point=None):
    chance = random.Random(SEED + number)
    folder = os.path.join(workplace, "run-%d" % number)
    os.mkdir(folder)
    wrong, phases = [], []
    computed, observed, at_work, torn, unheard = 0, 0, 0, 0, False    # at_work: ranks
    kills, most_ranks = (1, 1) if point else (chance.randint(1, 3), 4)
    if number % 2 == 0 and not point:
        point = POINTS[number // 2 % len(POINTS)]
    for attempt in range(kills):
        ranks = chance.randint(1, most_ranks)
        first = attempt == 0
        further = [] if first else ["--resume"]
        at = point if (attempt == kills - 1 if point and point[0] == "readback" else first) else None
        if at and at[0] == "readback" and first:
            at = None
        status, err, silent = killed_run(good, folder, ranks, chance, at, further + way(number, attempt))
        began = recovery.computed(err)
        computed, observed, at_work = computed + began[0], observed + began[1], at_work + ranks
        torn, unheard = torn + (recovery.kept(err) or {}).get("torn", 0), unheard or silent
        if status in (-9, 137, 1) or "signal 9" in err:
            phases.append(phase_of(err))
        elif status != recovery.OK:
            wrong.append("killed attempt %d (%d ranks): status %s\n%s" % (attempt, ranks, status, err))
    ranks = chance.randint(1, 4)
    last = harness.run(good.job("-v", "--resume", *way(number, kills)), ranks, folder)
    began = recovery.computed(last.err)
    computed, observed = computed + began[0], observed + began[1]
    torn += (recovery.kept(last.err) or {}).get("torn", 0)
    if last.status != recovery.OK:
        wrong.append("resuming: status %s\n%s" % (last.status, last.err))
    else:
        differing = sweep_files.differences(recovery.results(folder), good.results)
        if differing:
            wrong.append("other results: %s" % differing[:10])
    again = (computed - recovery.SAMPLES * good.runs, observed - recovery.SAMPLES)
    most = (at_work * good.runs, at_work)
    # The last words of a killed rank may be lost, all words after it of a killed mpirun.
    if any(n > m or (-n > m and not unheard) for n, m in zip(again, most)):
        wrong.append("computed again: %d samples of runs, %d of the calibration; at work were %d ranks" % (again + (at_work,)))
    if torn > at_work * good.runs:
        wrong.append("%d torn" % torn)
    return number, phases, again, at_work, wrong


def main():
    checks = harness.Checks()
    print("%d runs, seed %d" % (RUNS, SEED), flush=True)
    hit, again, at_work = collections.Counter(), 0, 0
    with harness.Workplace() as workplace:
        goods = [recovery.Reference(workplace), recovery.Reference(workplace, recipes=True), recovery.Reference(workplace, 1)]
        started = time.time()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            done = list(pool.map(lambda n: one(goods[n % 3], workplace, n), range(RUNS)))
        hit.update(phase for _, phases, _, _, _ in done for phase in phases)
        left_out = [phase for phase in CERTAIN if not hit[phase]]
        done += [one(goods[0], workplace, RUNS + n, (CERTAIN[phase], 1)) for n, phase in enumerate(left_out)]
        hit.update(phase for _, phases, _, _, _ in done[RUNS:] for phase in phases)
    for number, _, twice, working, wrong in done:
        again, at_work = again + max(0, sum(twice)), at_work + working
        checks.check(not wrong, "run %d of seed %d" % (number, SEED), "\n".join(wrong))
    print("killed in: %s; computed again: %d, at work then: at most %d; %.0f s" %
          (", ".join("%s %d" % pair for pair in sorted(hit.items())), again, at_work, time.time() - started))
    for phase in CERTAIN:
        checks.check(hit[phase] > 0, "killed in the phase: " + phase, hit)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
