# SPDX-License-Identifier: Apache-2.0
"""On a terminal below mpirun: progress with the time left before any item is done, and Ctrl-C, after which the user is told
what happened and how to go on.  The terminal is a pty of our own; the ranks' standard error is mpirun's pipe."""
import os
import pty
import re
import select
import time

import harness

JOB = ["--all-modes", "--noise", "8", "--calib_data_num", "6", "--threads", "1", "--store", "none"]    # far longer than is waited for
SHOWN = re.compile(rb"\rssmsweep: (calibrate|sweep) (\d+) %, (\d+)/(\d+) items, (\d+ (?:s|min)|\d+\.\d h) left\x1b\[K")


class Terminal:
    def __init__(self, command, folder, session):
        self.said = b""
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(command[0], command, harness.environment({"TERM": "dumb"}, session))

    def read(self, until, limit=harness.LIMIT):
        """Until `until` of what was said holds; False where the program ends before."""
        deadline = time.monotonic() + limit
        while not until(self.said) and time.monotonic() < deadline:
            if not select.select([self.descriptor], [], [], 1)[0]:
                continue
            try:
                more = os.read(self.descriptor, 65536)
            except OSError:    # nobody has the other end any more
                return False
            if not more:
                return False
            self.said += more
        return until(self.said)

    def press(self, key):
        os.write(self.descriptor, key)

    def wait(self):
        self.read(lambda said: False)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def started(folder, session, *options):
    return Terminal([harness.MPIEXEC, "-n", "2", harness.PROGRAM] + JOB + list(options), folder, session)


def check_interrupt(checks, folder, session):
    terminal = started(folder, session)
    early = terminal.read(lambda said: any(m[1] == b"sweep" and m[3] == b"0" for m in SHOWN.finditer(said)))
    checks.check(early, "the time left is told before an item is done", terminal.said[-400:])
    terminal.press(b"\x03")
    status = terminal.wait()
    said = terminal.said.decode("utf-8", "replace")
    told = [line for line in said.replace("\r", "\n").splitlines() if "Ctrl-C" in line]
    checks.check(len(told) == 1 and "--resume" in told[0] and told[0].startswith("ssmsweep: "), "Ctrl-C: one line says what happened", said[-1000:])
    checks.check(status == 1, "Ctrl-C: mpirun's status", status)
    harness.wait_until_left(folder)
    checks.check(os.path.exists(os.path.join(folder, "layer_outputs", "sweep.h5")), "the result file stays")


def check_silence(checks, folder):
    """No terminal, or --progress never: nothing; seconds: whole lines."""
    quick = ["--modes", "fp32,2-1", "--calib_data_num", "1", "--store", "none", "--no-logits"]
    for word, lines in (("auto", 0), ("never", 0), ("0", 3), ("always", 2)):
        done = harness.run(quick + ["--progress", word, "--output_dir", word, "--comparison-dir", word], 1, folder)
        found = [line for line in re.split("[\r\n]", done.err) if re.match(r"ssmsweep: (calibrate|sweep) \d+ %, ", line)]
        ends = [line for line in found if "100 %, 1/1 items" in line and "left" not in line.rsplit(",", 1)[1]]
        checks.check(done.status == 0 and len(found) >= lines and (lines > 0 or not found), "--progress " + word, done.err)
        checks.check(lines == 0 or len(ends) == 2, "--progress %s: each phase ends with its time" % word, done.err)
    bad = harness.run(quick + ["--progress", "often"], 1, folder)
    checks.check(bad.status == 2 and "auto|always|never" in bad.err, "--progress often", bad.err)


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder, harness.SessionFolder() as session:
        os.mkdir(os.path.join(folder, "interrupted"))
        check_interrupt(checks, os.path.join(folder, "interrupted"), session)
        check_silence(checks, folder)
    checks.finish()


main()
