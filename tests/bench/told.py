# SPDX-License-Identifier: Apache-2.0
"""Is the time that --dry-run tells the time that it takes?  Both in seconds of the processor, by a clock put in front of the
system's, so that other work on the machine does not matter; one rank, one thread.  Of a sweep, of attributions and of a mix's first round.
   told.py PROGRAM [ROUNDS]      exits with 1 where what is told is off by more than a fifth"""
import os
import re
import statistics
import subprocess
import sys
import tempfile

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM, ROUNDS, MOST_OFF = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3, 0.2
os.environ.update(SSMSWEEP=PROGRAM, MPIEXEC=os.environ.get("MPIEXEC", "mpirun"), SSMSWEEP_SOURCE=SOURCE)
sys.path.insert(0, os.path.join(SOURCE, "tests", "cli"))
import harness  # noqa: E402

CLOCK = r"""
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *now)
{
    return (int)syscall(SYS_clock_gettime, id == CLOCK_MONOTONIC ? CLOCK_PROCESS_CPUTIME_ID : id, now);
}
"""
PIECES = ["attribute", "--mode", "2-1", "--calib_data_num", "4"]
JOBS = {"all modes": ["--all-modes", "--calib_data_num", "10", "--store", "none"],
        "attribute --by unit": PIECES + ["--calib_seqlen", "256"],
        "attribute --by unit,layer": PIECES + ["--by", "unit,layer", "--calib_seqlen", "96"],
        "mix, its first round": ["mix", "--budget", "int8>=0.8", "--eval_data_num", "40", "--calib_seqlen", "128", "--rounds", "1"]}
UNITS = {"s": 1, "min": 60, "h": 3600}


def seconds(pattern, text):
    number, unit = re.search(pattern + r"([\d.]+) (s|min|h)\b", text).groups()
    return float(number) * UNITS[unit]


def measure(words, folder, clock):
    env = dict(harness.environment(), LD_PRELOAD=clock)
    first = [PROGRAM] + words + ["--output_dir", "out", "--comparison-dir", "out-c", "--bootstrap", "199", "--overwrite"]
    told = subprocess.run(first + ["--dry-run"], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=True)
    done = subprocess.run(first + ["-v"], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          check=True)
    if words[0] == "mix":
        return seconds("time: about ", told.stdout), seconds(r"mix: round 1: \d+ changes in ", done.stderr)
    parts = re.search(r"seconds: (.*?);", done.stderr).group(1)
    return seconds("time: about ", told.stdout), sum(float(part.split()[-1]) for part in parts.split(","))


def main():
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="ssmsweep-bench-") as folder:
        clock = os.path.join(folder, "clock.so")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-x", "c", "-o", clock, "-"], input=CLOCK, text=True, check=True)
        for name, words in JOBS.items():
            pairs = [measure(words, folder, clock) for _ in range(ROUNDS)]
            told, seen = (statistics.median(pair[i] for pair in pairs) for i in range(2))
            print("%-28s told %5.1f s, seen %5.1f s: %.2f" % (name, told, seen, told / seen), flush=True)
            wrong += abs(told / seen - 1) > MOST_OFF
    sys.exit(wrong > 0)


main()
