# SPDX-License-Identifier: Apache-2.0
"""Runs every command line of README.md, README.zh-CN.md and the first sections of docs/user_guide.md, and looks for the output
that they show.  Each chapter starts in an empty folder with the scripts of the checkout, but for the guide's commands, which
go on where the README's last chapter ends.  Both languages must have the same commands and the same output."""
import os
import re
import shutil
import sys

import documents
import harness

LIMIT = harness.LIMIT
NAMES = ["README.md", "README.zh-CN.md"]
GUIDE = "docs/user_guide.md"
FOLDERS = ["jobs", "slurm"]    # of the checkout, which commands start
STARTERS = ("ssmsweep", "mpirun", "sbatch", "srun", "cmake", "ctest", "jobs/", "./", "slurm/", "tests/", "pip", "apt")

# Not run, and why.
LEFT_OUT = {
    "./tests/run.sh": "it is the test run that this is part of",
    "jobs/setup.sh && cmake --preset release -DSSMSWEEP_TESTS=OFF && cmake --build --preset release":
        "installs packages and builds for a minute; cli.setup has the first, tests/run.sh does the second",
    "ssmsweep bench": "takes minutes; cli.bench runs it",
    "sbatch slurm/sweep.sbatch": "needs a cluster; tests/slurm makes one for it",
}
# Run otherwise, and why.
CHANGED = {
    "ssmsweep attribute --mode 2-1 --noise 3":
        ("ssmsweep attribute --mode 2-1 --noise 3 --calib_seqlen 24 --calib_data_num 3", "half a minute; cli.attribute has its numbers"),
    "ssmsweep units": ("ssmsweep units --calib_seqlen 24 --calib_data_num 3", "a pass over all texts; cli.units has its numbers"),
    "ssmsweep mix --budget 'int8>=0.9'":
        ("ssmsweep mix --budget 'int8>=0.9' --layers 0,23 --calib_seqlen 24 --calib_data_num 2 --eval_data_num 6", "a minute; cli.mix has its numbers"),
    "ssmsweep synth --preset mamba-2.8b --out big":
        ("ssmsweep synth --preset tiny --out big", "5.6 GB of weights; cli.synth makes other shapes"),
}
# What demo.sh asks of the system, answered without installing or building: dpkg-query knows every package, and cmake
# puts the program that is being tested where its build would put it.
STAND_INS = {
    "dpkg-query": "printf 'installed '",
    "cmake": 'case "$1" in\n--install) exec "$REAL_CMAKE" --install "$REAL_BUILD" --prefix "$4" ;;\n'
             '--build) ln -sf "$SSMSWEEP" build/release/ssmsweep ;;\n'
             '*) mkdir -p build/release && touch build/release/CMakeCache.txt ;;\nesac',
}


MENTIONED = {"mpirun", "mpirun -n RANKS"}    # words of sentences, no whole commands


def chapters(text):
    """The lines of indented blocks, chapter by chapter."""
    found = []
    for chapter in re.split(r"^## ", text, flags=re.M):
        lines = [documents.command_of(line) for kind, block in documents.blocks(chapter) if kind == "indented" for line in block]
        if lines:
            found.append(lines)
    return found


def outputs(text):
    return ["\n".join(block) for kind, block in documents.blocks(text) if kind == ""]


def guide():
    """(lines of its chapter about building, lines that go on with the README's commands, outputs)"""
    text = documents.read(GUIDE)
    building, commands = (sum(chapters(documents.section(text, title)), []) for title in ("Building and installing", "Commands"))
    return building, commands, outputs(text)


def spans(text):
    """Commands inside of sentences."""
    return {span for span in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
            if span.startswith(STARTERS) and span not in MENTIONED and not span.endswith((".py", "/"))}


def check_texts(checks):
    """Returns the commands of each folder, and the outputs that they are to print."""
    english, chinese = (documents.read(name) for name in NAMES)
    checks.check(chapters(english) == chapters(chinese) and sum(map(len, chapters(english))) > 10, "the same commands",
                 "%s\n%s" % (chapters(english), chapters(chinese)))
    checks.check(outputs(english) == outputs(chinese) and outputs(english), "the same output")
    checks.check(spans(english) == spans(chinese), "the same commands in sentences", spans(english) ^ spans(chinese))
    building, commands, shown = guide()
    checks.check(len(building) > 1 and len(commands) > 5 and shown, "commands and output of " + GUIDE)
    run = {line for lines in chapters(english) + [building, commands] for line in lines}
    checks.check(spans(english) <= run, "commands in sentences are among those that are run", spans(english) - run)
    checks.check(set(LEFT_OUT) | set(CHANGED) <= run, "no exception for a command that is not there", set(LEFT_OUT) - run)
    for name, text in zip(NAMES, (english, chinese)):
        links = re.findall(r"\]\(([^)#]+)\)", text)
        missing = [link for link in links if not os.path.exists(os.path.join(harness.SOURCE, link))]
        checks.check(links and not missing, name + ": links", missing)
        checks.check(set(NAMES) - {name} <= set(links), name + ": leads to the other")
    heads = [len(re.findall(r"^#+ ", text, re.M)) for text in (english, chinese)]
    checks.check(heads[0] == heads[1], "the same chapters", heads)
    options = [sorted(set(re.findall(r"--[a-z][a-z_-]+", text))) for text in (english, chinese)]
    checks.check(options[0] == options[1], "the same options are named", set(options[0]) ^ set(options[1]))
    return chapters(english)[:-1] + [building, chapters(english)[-1] + commands], outputs(english) + shown


def prepare(folder):
    """What a reader has before the chapter begins."""
    os.mkdir(folder)
    for name in FOLDERS:
        shutil.copytree(os.path.join(harness.SOURCE, name), os.path.join(folder, name))
    shutil.copytree(harness.DEMO, os.path.join(folder, "path", "to", "mamba-130m-hf"))
    shutil.copy(os.path.join(harness.DEMO, "calibration.jsonl"), os.path.join(folder, "texts.jsonl"))
    os.makedirs(os.path.join(folder, "build", "release"))
    os.symlink(harness.PROGRAM, os.path.join(folder, "build", "release", "ssmsweep"))


def environment(work):
    tools = os.path.join(work, "tools")
    os.mkdir(tools)
    for name, body in STAND_INS.items():
        path = os.path.join(tools, name)
        with open(path, "w") as f:
            f.write("#!/bin/sh\n%s\n" % body)
        os.chmod(path, 0o755)
    os.symlink(harness.PROGRAM, os.path.join(tools, "ssmsweep"))
    return {"PATH": tools + ":" + os.environ["PATH"], "SSMSWEEP": harness.PROGRAM, "REAL_CMAKE": sys.argv[1],
            "REAL_BUILD": sys.argv[2]}


def main():
    checks = harness.Checks()
    (runs, shown), printed = check_texts(checks), ""
    with harness.Workplace() as work:
        surroundings = environment(work)
        for number, lines in enumerate(runs):
            folder = os.path.join(work, str(number))
            prepare(folder)
            for line in lines:
                if line in LEFT_OUT:
                    continue
                command = CHANGED[line][0] if line in CHANGED else line
                status, out, err = harness.execute(["sh", "-c", command], folder, surroundings, LIMIT)
                checks.check(status == 0, command, out[-1000:] + err)
                printed += out
        checks.check(os.path.exists(os.path.join(folder, "gates.xml")), "JUnit XML")
    for output in shown:
        checks.check(output in printed, "the output that is shown", output)
    checks.finish()


main()
