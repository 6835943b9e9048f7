# SPDX-License-Identifier: Apache-2.0
"""The fences of the architecture (docs/design.md), held by looking at the source text."""
import glob
import os
import re
import subprocess
import sys
import tempfile

import harness

FOLDERS = ["base", "input", "numerics", "statistics", "sweep", "compare", "bench"]    # each may use those before it
MODE_NAME = re.compile(r'"(2-[0-9]|fp16)"')
COMMENT = re.compile(r"^\s*//.*$", re.M)


def sources():
    """{path from the root: text} of the program's own C files."""
    found = {}
    for pattern in ("src/*.c", "src/*/*.c", "src/*/*.h", "include/ssmsweep/*/*.h"):
        for path in glob.glob(os.path.join(harness.SOURCE, pattern)):
            with open(path, encoding="utf-8") as f:
                found[os.path.relpath(path, harness.SOURCE)] = f.read()
    return found


def folder_of(path):
    parts = path.split("/")
    return parts[2] if parts[0] == "include" else parts[1]    # main.c is above all folders


def includes(text):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.M)


def may_include(path, header):
    folder = folder_of(path)
    if header == "hdf5.h":
        return bool(re.fullmatch(r"src/sweep/store\w*\.[ch]", path))
    if "cJSON" in header:
        return path == "src/base/json.c"
    if header == "mpi.h":
        return folder not in ("base", "input", "numerics", "statistics")
    own = re.fullmatch(r"ssmsweep/(\w+)/\w+\.h", header)
    if own and folder in FOLDERS:
        return own.group(1) in FOLDERS[:FOLDERS.index(folder) + 1]
    return True


STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
FOR_PEOPLE = re.compile(r"\b(?:error_set|log_job|log_rank|bad_number)\((?:[^;\"]|\"(?:[^\"\\]|\\.)*\")*;")
# They print tables and sentences; a number in any other file is one of a result, an input or an identity.
PRINTS_FOR_PEOPLE = re.compile(r"src/bench/\w+\.c|src/main\.c|src/sweep/(?:progress|sweep_open|store_resume)\.c|src/compare/(?:table\w*|present|info\w*|"
                               r"format_markdown|memory_plan|scales|gate|baseline)\.c")
FLOATS = re.compile(r"%(?!\.0f)[-+ #0]*[\d.*]*l?[eEfFgGaA]")    # %.0f has no decimal point
THREADS = re.compile(r"#pragma omp parallel[^\n]*\n|pthread_create\([^,]+,[^,]+,\s*(\w+)")


def number_breaches(path, text):
    """Where numbers become text or text numbers without base/number.h."""
    if path == "src/base/number.c":
        return []
    code = COMMENT.sub("", text)
    found = re.findall(r"\b(?:strto(?:d|f|ld)|atof|localeconv)\b", code)
    scanned = re.findall(r"\bs?f?scanf\([^;]*;", code)
    found += [call for call in scanned if any(FLOATS.search(s) for s in STRING.findall(call))]
    if not PRINTS_FOR_PEOPLE.fullmatch(path):
        found += [s for s in STRING.findall(FOR_PEOPLE.sub("", code)) if FLOATS.search(re.sub("%%", "", s))]
    return found


def unsettled_threads(path, text):
    """Starts of threads whose code does not begin with thread_settle()."""
    if path in ("src/base/thread.c", "include/ssmsweep/base/thread.h"):
        return []
    found = re.findall(r"\b(?:setlocale|uselocale|fesetround|fesetenv|_mm_setcsr)\b", text)
    for start in THREADS.finditer(text):
        begin = start.end()
        if start.group(1):
            begin = re.search(r"^static void \*%s\(" % start.group(1), text, re.M).end()
        body = text[begin:].split("\n", 8)[:8]
        called = re.match(r"\s*(\w+)\(", body[0])    # the region is one call
        if called and not start.group(1):
            body = text[re.search(r"^static \w+ %s\(" % called.group(1), text, re.M).end():].split("\n", 12)[:12]
        if "thread_settle();" not in "".join(body):
            found.append(start.group(0))
    return found


def compiles_alone(compiler, header):
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-D_POSIX_C_SOURCE=200809L", "-xc",
             "-I" + os.path.join(harness.SOURCE, "include")]
    flags += ["-I" + folder for folder in os.environ["MPI_INCLUDES"].split(":") if folder]
    with tempfile.NamedTemporaryFile("w", suffix=".c") as f:
        f.write('#include "%s"\n#include "%s"\ntypedef int not_empty;\n' % (header, header))
        f.flush()
        done = subprocess.run([compiler] + flags + [f.name], stderr=subprocess.PIPE)
    return done.stderr.decode() if done.returncode else ""


def main():
    checks = harness.Checks()
    found = sources()
    checks.check(len(found) > 30, "the source is there", len(found))
    for path, text in found.items():
        bad = [header for header in includes(text) if not may_include(path, header)]
        checks.check(not bad, path + ": includes only what its place allows", bad)
        checks.check(text.startswith("// SPDX-License-Identifier: Apache-2.0\n"), path + ": begins with the licence")
        if path != "src/numerics/mode.c":
            names = MODE_NAME.findall(COMMENT.sub("", text))
            checks.check(not names, path + ": knows no mode by name", names)
        breaches = number_breaches(path, text)
        checks.check(not breaches, path + ": numbers become text, and text numbers, by base/number.h", breaches)
        unsettled = unsettled_threads(path, text)
        checks.check(not unsettled, path + ": every thread begins with thread_settle()", unsettled)
        checks.check(text.count("\n") <= 700, path + ": at most 700 lines")
    for path in found:
        if path.startswith("include/"):
            wrong = compiles_alone(sys.argv[1], path[len("include/"):])
            checks.check(not wrong, path + ": compiles alone", wrong)
    for path in glob.glob(os.path.join(harness.SOURCE, "**", "CMakeLists.txt"), recursive=True):
        with open(path) as f:
            commands = re.sub(r"#.*", "", f.read())
        checks.check(not re.search(r"-ffast-math|-Ofast|-funsafe-math|GLOB", commands), path + ": exact maths, listed sources")
    checks.finish()


main()
