# SPDX-License-Identifier: Apache-2.0
"""docs/design.md lists the files that one more component, observer, mode or renderer touches: they are those in which each
that is there stands, no more and no fewer.  (cli.toy_metric and cli.toy_family do the two other exercises.)"""
import glob
import os
import re

import harness

COMMENT = re.compile(r"//[^\n]*")
PATH = re.compile(r"`((?:src|include|docs|tests)/[\w/.<>-]+\.\w+)`")
OPTIONS = "src/input/option.c"


def read(path):
    with open(os.path.join(harness.SOURCE, path), encoding="utf-8") as f:
        return f.read()


def sources():
    """Without comments."""
    paths = [os.path.relpath(path, harness.SOURCE) for folder in ("src", "include")
             for path in glob.glob(os.path.join(harness.SOURCE, folder, "**", "*.[chd]*"), recursive=True)
             if os.path.isfile(path) and path.endswith((".c", ".h", ".def"))]
    return {path: COMMENT.sub("", read(path)) for path in paths}


FOUND = sources()
DESIGN = read("docs/design.md")


def holding(pattern, *, but=r"$^"):
    return {path for path, text in FOUND.items() if re.search(pattern, text) and not re.search(but, path)}


def steps(title, part=""):
    """The steps of an exercise, as lists of the files that each names."""
    section = DESIGN.split("\n## %s\n" % title)[1].split("\n## ")[0]
    if part:
        section = re.search(r"^%s: (.*?)(?:\n\n|\Z)" % part, section, re.S | re.M).group(1)
    return [PATH.findall(step) for step in re.split(r"(?:^|[\s;])\d\. ", section)[1:]]


def in_help(name):
    """The word stands in the help of an option."""
    return {OPTIONS} if re.search(r'"[^"\n]*(?<![\w-])%s(?![\w-])[^"\n]*"' % re.escape(name), FOUND[OPTIONS]) else set()


def same(checks, what, listed, touched):
    checks.check(listed == touched, what + ": the files that design.md lists", "listed, and not touched: %s\ntouched, and not listed: %s" % (
        sorted(listed - touched), sorted(touched - listed)))


def check_paths(checks):
    """Each file that an exercise names is there; <name> stands for any."""
    named = {path for section in re.findall(r"\n## (Adding [^\n]*)\n", DESIGN) for step in steps(section) for path in step}
    for path in sorted(named):
        checks.check(glob.glob(os.path.join(harness.SOURCE, path.replace("<name>", "*"))), "design.md: %s is there" % path)
    checks.check(len(named) > 20, "the exercises name files", sorted(named))


def check_components(checks):
    names = dict(re.findall(r'\[(COMPONENT_\w+)\] = \{"(\w+)"', FOUND["src/arch/mamba1.c"]))
    listed = {path for step in steps("Adding a component or an observer", "A component") for path in step}
    checks.check(len(names) == len(set(re.findall(r"\bCOMPONENT_[A-Z0-9]+_\w+", FOUND["include/ssmsweep/arch/mamba1.h"]))), "every component has a name",
                 names)
    for number, name in names.items():
        same(checks, "component " + name, listed, holding(r"\b%s\b" % number) | in_help(name))


def check_observers(checks):
    names = dict(re.findall(r'\[(OBSERVER_\w+)\] = "([a-z-]+)"', FOUND["src/calibrate/observer.c"]))
    listed = {path for step in steps("Adding a component or an observer", "An observer") for path in step}
    beside = {os.path.relpath(path, harness.SOURCE) for pattern in ("docs/*.md", "tests/cli/*.py", "tests/reference/*.py")
              for path in glob.glob(os.path.join(harness.SOURCE, pattern))}
    beside = {path for path in beside if all(re.search(r"(?<![\w-])%s(?![\w-])" % name, read(path)) for name in names.values())}
    for number, name in names.items():
        # What is left when an observer takes nothing but the maximum.
        needless = {"src/calibrate/calibrate.c"} if name == "minmax" else set()
        same(checks, "observer " + name, listed - needless, holding(r"\b%s\b" % number) | in_help(name) | beside)
    checks.check(len(names) == len(re.findall(r"\bOBSERVER_(?!COUNT)\w+", FOUND["include/ssmsweep/calibrate/observer.h"])) >= 5,
                 "every observer has a name", names)


def check_modes(checks):
    first, *others = steps("Adding a mode")
    listed = {first[0]} | {path for step in others for path in step if path.startswith("tests/")}
    for mode in [name for name in harness.QUANTIZED if "-" in name]:    # others are also numbers
        touched = holding('"%s"' % mode) | {path for path in listed if path.startswith("tests/") and '"%s"' % mode in read(path)}
        same(checks, "mode " + mode, listed, touched)
        checks.check("`%s`" % mode in read("docs/numerics.md"), "numerics.md describes mode " + mode)


def check_renderers(checks):
    names = set(re.findall(r"\brender_([a-z]+)(?:_\w+)?\(", FOUND["include/ssmsweep/report/render.h"]))
    listed = {path.replace("<name>", "csv") for step in steps("Adding a renderer") for path in step if path.startswith(("src/", "include/"))}
    listed -= {"include/ssmsweep/report/report.h"}    # the model, which the text before the steps names
    built = {"src/report/CMakeLists.txt"}

    def touched(name):
        words = {path for path in ("src/report/job_files.c", OPTIONS) if re.search(r'"[^"]*\b%s\b[^"]*"' % name, FOUND[path])}
        return holding(r"\brender_%s(?:_\w+)?\b" % name) | words | (built if "render_%s.c" % name in read(*built) else set())
    same(checks, "renderer csv, a file and a word of --format", listed, touched("csv"))
    for name, word_alone in (("text", False), ("markdown", True), ("junit", False)):
        own = {"src/report/render_%s.c" % name}
        checks.check(own <= touched(name) <= listed | own, "renderer %s touches no other file" % name, sorted(touched(name) - listed - own))
    checks.check({"text", "markdown", "csv", "json", "junit", "html"} <= names, "the renderers are found", sorted(names))


def main():
    checks = harness.Checks()
    check_paths(checks)
    check_components(checks)
    check_observers(checks)
    check_modes(checks)
    check_renderers(checks)
    checks.finish()


main()
