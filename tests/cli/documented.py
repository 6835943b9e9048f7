# SPDX-License-Identifier: Apache-2.0
"""Every command line of ssmsweep in docs/*.md: its command takes every option that the line has.  With SSMSWEEP_LONG=1 sweeps of the demo
models are tried as well, with --dry-run.  Commands that README, the guide, recipes.md and the manual pages show are run by cli.readme,
cli.quick_reference, cli.recipes and cli.manual."""
import glob
import os
import re
import shlex

import documents
import harness

SWEEPS = {"run", "attribute", "mix"}
FILES = re.compile(r"(?<!comparisons/)\b[\w/-]+\.(jsonl?|txt|h5|bin|npy)\b|--model \"?\$|--pretrained_dir|--resume|--oversubscribe|num 1000")    # that a reader brings


def lines():
    """(document, command line)"""
    for path in sorted(glob.glob(os.path.join(harness.SOURCE, "docs", "*.md"))):
        name = "docs/" + os.path.basename(path)
        for kind, block in documents.blocks(documents.read(name)):
            for line in block if kind == "indented" else ():
                command = re.split(r" {2,}", documents.command_of(line).strip())[0]
                if re.match(r"(mpirun |ssmsweep (?!.*: ))", command) and " ssmsweep" in " " + command:
                    yield name, re.sub(r"[\[\]]", "", command)    # [--json]: may be left out


def help_of(command, known={}):
    if command not in known:
        known[command] = harness.run(["help", command]).out
    return known[command]


def fold(text):
    return text.replace("_", "-")


def main():
    checks, seen, tried = harness.Checks(), 0, 0
    commands = set(re.findall(r"^  ([\w-]+)", harness.run(["--help"]).out.split("Commands:")[1].split("\n\n")[0], re.M))
    with harness.Workplace() as work:
        for name, line in lines():
            words = [word.split("=")[0] if word.startswith("--") else word for word in shlex.split(line.split(" > ")[0])]
            words = words[words.index("ssmsweep") + 1:]
            command = words[0] if words and words[0] in commands else "run"
            options = {fold(word) for word in words if word.startswith("--") and word not in ("--help", "--version")}
            known = set(re.findall(r"--[a-z][\w-]*", fold(help_of(command))))
            checks.check(options <= known, "%s: %s: options of %s" % (name, line, command), options - known)
            seen += 1
            if harness.LONG and command in SWEEPS and not FILES.search(line) and "--cost-template" not in options:
                status, out, err = harness.execute(["sh", "-c", re.sub(r"\bssmsweep\b", harness.PROGRAM, re.sub(r"^mpirun -n \d+ ", "", line), 1) +
                                                    " --dry-run"], work)
                checks.check(status == 0, "%s: %s" % (name, line), out[-300:] + err)
                tried += 1
    checks.check(seen > 60 and (tried > 15 or not harness.LONG), "command lines", (seen, tried))
    checks.finish()


main()
