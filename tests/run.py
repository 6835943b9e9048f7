# SPDX-License-Identifier: Apache-2.0
"""What tests/run.sh does once the packages are there and the environment is set: builds each preset and runs its tests.
Says a line for each stage, shows the output of tests that fail as they fail, and ends with a summary: what failed, what
was skipped and why, and, alone on the last line, `N passed, N failed, N skipped` over all stages.
   run.py CORES [LABEL...]"""
import os
import re
import resource
import shlex
import subprocess
import sys
import time
import xml.etree.ElementTree

CORES, LABELS = sys.argv[1], sys.argv[2:]
ASKED = os.environ.get
AT_ONCE = str(2 * int(CORES))    # tests: most wait for mpirun for a third of their time, or more
LATELY = 60    # seconds between two lines about the progress of a stage
TAIL = 40      # lines of the log of a build that fails

DONE = re.compile(r" *\d+/(\d+) Test +#\d+: (\S+) \.*(.*?) +[\d.]+ sec *$")
QUIET = re.compile(r" *Start +\d+: |Test project |\d+% tests passed|Total Test time|Label Time Summary|\S+ *= .* sec\*proc|"
                   r"The following tests (FAILED|did not run)|\t *\d+ - |Errors while running CTest|"
                   r"Internal ctest changing into directory|Output from these tests are in: |Use \"--rerun-failed|$")
SKIP = re.compile(r"^SKIP: (.*)", re.M)    # as harness.skip and harness.skip_part say it

started = time.monotonic()


def say(what):
    seconds = int(time.monotonic() - started)
    print("[%2d:%02d] %s" % (seconds // 60, seconds % 60, what), flush=True)


def processor_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def follow(command, take, far):
    """Runs a command: take() gets each line that it prints, far() tells each minute how far it has come; returns its status."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors="replace")
    told = time.monotonic()
    for line in process.stdout:
        take(line.rstrip("\n"))
        if time.monotonic() - told > LATELY:
            told = time.monotonic()
            say(far())
    return process.wait()


class Cost:
    """Of one stage: seconds that passed, and those of all processors in it."""

    def __init__(self):
        self.began, self.used = time.monotonic(), processor_seconds()

    def __str__(self):
        return "%.0f s (%.0f s of processor time)" % (time.monotonic() - self.began, processor_seconds() - self.used)


class Build:
    """The build of a preset: begun in the background, behind the tests of the one before, and waited for when it is its turn."""

    def __init__(self, preset):
        self.preset, self.log, self.process = preset, "build/%s.log" % preset, None

    def begin(self, behind):
        configure = ["cmake", "--preset", self.preset, "-DSSMSWEEP_TESTS=ON", "-DSSMSWEEP_WERROR=" + ASKED("SSMSWEEP_WERROR", "OFF")]
        build = ["cmake", "--build", "--preset", self.preset, "-j", CORES]
        steps = " && ".join(shlex.join(step) for step in (configure, build))
        say("%s: building%s (log: %s)" % (self.preset, ", behind these tests" if behind else "", self.log))
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(["nice", "-n", "10" if behind else "0", "sh", "-c", steps], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=subprocess.STDOUT)

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read().splitlines() or [""]

    def finish(self):
        if not self.process:
            self.begin(behind=False)
        while True:
            try:
                status = self.process.wait(LATELY)
                break
            except subprocess.TimeoutExpired:
                say("%s: building, %s" % (self.preset, self.said()[-1]))
        for line in self.said():
            if "warning:" in line:
                print(line, flush=True)
        if status != 0:
            print("\n".join(self.said()[-TAIL:]))
            sys.exit("run.sh: the build of %s failed; the end of %s is above" % (self.preset, self.log))
        say("%s: built" % self.preset)


class Stage:
    """The tests of one build."""

    def __init__(self, preset):
        self.preset, self.passed, self.failed, self.skipped, self.total = preset, [], [], [], 0
        self.junit = os.path.abspath("build/%s-tests.xml" % preset)

    def count(self):
        return "%d passed, %d failed, %d skipped" % (len(self.passed), len(self.failed), len(self.skipped))

    def take(self, line):
        """Sorts a line of ctest: ends of tests are counted, what tests that failed had to say is shown."""
        match = DONE.match(line)
        if not match:
            if not QUIET.match(line):
                print(line, flush=True)
            return
        self.total, name, verdict = int(match.group(1)), match.group(2), match.group(3)
        kind = self.passed if verdict.endswith("Passed") else self.skipped if "***Skipped" in verdict else self.failed
        kind.append(name)
        if kind is self.failed:
            say("%s: FAILED %s: %s" % (self.preset, name, verdict.strip(" *.")))

    def far(self):
        return "%s: %d of %d tests, %d failed" % (self.preset, len(self.passed + self.failed + self.skipped), self.total,
                                                  len(self.failed))

    def run(self, further):
        """Returns whether all went well."""
        command = ["ctest", "--preset", self.preset, "-j", AT_ONCE, "--output-junit", self.junit,
                   "--test-output-size-passed", "65536"]    # the reasons of skips are in there
        if LABELS:
            command += ["-L", "^(%s)$" % "|".join(LABELS)]
        cost = Cost()
        say("%s: testing" % self.preset)
        status = follow(command + further, self.take, self.far)
        say("%s: tested in %s: %s" % (self.preset, cost, self.count()))
        return status == 0 and not self.failed

    def reasons(self):
        """[(test, reason)] of what was skipped, also of parts of tests that passed."""
        told = []
        if not os.path.exists(self.junit):
            return told
        for case in xml.etree.ElementTree.parse(self.junit).iter("testcase"):
            name, lines = case.get("name"), SKIP.findall(case.findtext("system-out") or "")
            if name in self.skipped:
                told.append((name, lines[0] if lines else "gave no reason"))
            elif name in self.passed:
                told += [(name + ", in part", line) for line in lines]
        return told


def known_labels():
    lines = subprocess.run(["ctest", "--preset", "release", "--print-labels"], stdout=subprocess.PIPE, text=True,
                           check=False).stdout.splitlines()
    return [line.strip() for line in lines if line.startswith("  ")]


def stages():
    """[(preset, further arguments of ctest)] of what was asked for."""
    wanted = []
    if LABELS != ["fuzz"]:
        wanted.append(("release", ["--no-tests=error"]))
    # Left out: tests that show a sanitizer nothing (label plain), and the Python reference, which would take it too long.
    if ASKED("SSMSWEEP_SANITIZERS", "ON") != "OFF" and (not LABELS or set(LABELS) - {"slurm", "reference", "fuzz"}):
        wanted.append(("asan", ["-LE", "^(plain|reference)$"]))
    if ASKED("SSMSWEEP_FUZZ", "OFF") != "OFF" and not LABELS or "fuzz" in LABELS:
        wanted.append(("fuzz", ["--no-tests=error"]))
    return wanted


def refuse_unknown_labels():
    known = known_labels()
    unknown = [label for label in LABELS if label not in known + ["fuzz"]]
    if unknown:
        sys.exit("run.sh: no test has the label '%s'; there are: %s" % (unknown[0], " ".join(known)))


def main():
    cost, done, good = Cost(), [], True
    wanted = stages()
    builds = [Build(preset) for preset, _ in wanted]
    for at, (preset, further) in enumerate(wanted):
        builds[at].finish()
        if preset == "release":
            refuse_unknown_labels()
        if at + 1 < len(wanted):
            builds[at + 1].begin(behind=True)    # tests leave a fifth of the cores idle
        stage = Stage(preset)
        good = stage.run(further) and good
        done.append(stage)
    skips = {}
    for stage in done:
        for name, reason in stage.reasons():
            skips.setdefault((name, reason), []).append(stage.preset)
    for stage in done:
        for name in stage.failed:
            print("failed: %s (%s)" % (name, stage.preset))
    for (name, reason), presets in skips.items():
        print("skipped: %s (%s): %s" % (name, ", ".join(presets), reason))
    say("all in %s" % cost)
    print("%d passed, %d failed, %d skipped" % tuple(sum(len(getattr(stage, kind)) for stage in done)
                                                     for kind in ("passed", "failed", "skipped")))
    sys.exit(0 if good else 1)


try:
    main()
except KeyboardInterrupt:
    sys.exit(130)
