# SPDX-License-Identifier: Apache-2.0
"""The fences of the architecture (docs/design.md), held by looking at the source text."""
import glob
import os
import re
import subprocess
import sys
import tempfile

import harness

# Each may use those before it.
FOLDERS = ["base", "input", "recipe", "measure", "compute", "arch", "calibrate", "forward", "statistics", "plan", "comm", "store",
           "sweep", "report", "tools"]
MODE_NAME = re.compile(r'"(2-[0-9]|fp16)"')
COMMENT = re.compile(r"^\s*//.*$", re.M)
TOP = {".clang-format", ".gitattributes", ".gitignore", "CHANGELOG.md", "CITATION.cff", "CMakeLists.txt", "CMakePresets.json", "LICENSE",
       "README.md", "README.zh-CN.md"}
CATALOGUE = os.path.join(harness.SOURCE, "include", "ssmsweep", "measure", "metrics.def")


# What only a family knows; help and the default of an option, what modes do at each step, the caches of scales that Quamba
# writes, and models that are made up are of Mamba-1 or -2.
OF_MAMBA = re.compile(r"src/arch/mamba[12]\w*\.[ch]|src/recipe/mode\.c|src/input/(?:job|option|pickle_torch)\.c|src/tools/(?:synth_tensors|bench/\w+)\.c")


def family_names(found):
    """Names of components and sites, as the tables of the families have them."""
    names = {}
    for family in ("mamba1", "mamba2"):
        tables = re.findall(r"struct arch_(?:component|site) \w+\[\w+\] = \{(.*?)\n\};", found["src/arch/%s.c" % family], re.S)
        names[family] = {name for table in tables for name in re.findall(r"\] =\s*\{\s*\"([\w:]+)\"", table)}
    return names


def check_families(checks, found):
    """Nobody counts components and sites or knows them by name but their family; layers call steps, not kernels."""
    for path in ("src/arch/mamba1_float.c", "src/arch/mamba1_units.c", "src/arch/mamba2_float.c", "src/forward/forward.c"):
        checks.check(not re.search(r"kernels->|kernels_\w+\(", found[path]), path + ": calls steps of the backend, not kernels")
    names = family_names(found)
    checks.check(len(names["mamba1"]) == 13, "Mamba-1 has six components and seven sites", sorted(names["mamba1"]))
    checks.check(len(names["mamba2"]) == 21, "Mamba-2 has ten components and eleven sites", sorted(names["mamba2"]))
    names = names["mamba1"] | names["mamba2"]
    for path, text in found.items():
        if not OF_MAMBA.fullmatch(path):
            known = names & set(re.findall(r'"([\w:]+)"', COMMENT.sub("", text)))
            checks.check(not known and (not re.search(r"arch/mamba[12]\.h", text) or path in ("src/arch/arch.c", "include/ssmsweep/arch/mamba1.h", "include/ssmsweep/arch/mamba2.h")),
                         path + ": counts no components or sites and knows none by name", known)


def sources(patterns=("src/**/*.c", "src/**/*.h", "include/ssmsweep/*/*.h")):
    """{path from the root: text} of the program's own C files."""
    found = {}
    for pattern in patterns:
        for path in glob.glob(os.path.join(harness.SOURCE, pattern), recursive=True):
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
        return path.startswith("src/store/")
    if "cJSON" in header:
        return path == "src/base/json.c"
    if header == "mpi.h":
        return folder not in FOLDERS[:FOLDERS.index("comm")]
    if re.fullmatch(r"src/report/render_\w+\.[ch]", path):    # a renderer knows the report model alone
        return re.fullmatch(r"[a-z]+\.h|render_(?:parts|html)\.h|ssmsweep/(?:base/\w+|report/(?:render|report))\.h", header) is not None
    own = re.fullmatch(r"ssmsweep/(\w+)/\w+\.h", header)
    if own and folder in FOLDERS:
        return own.group(1) in FOLDERS[:FOLDERS.index(folder) + 1]
    if header.startswith("../"):
        return os.path.normpath(os.path.join(os.path.dirname(path), header)).split("/")[1] == folder
    return True


STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
FOR_PEOPLE = re.compile(r"\b(?:error_set|log_job|log_rank|bad_number)\((?:[^;\"]|\"(?:[^\"\\]|\\.)*\")*;")
# They print tables and sentences; a number in any other file is one of a result, an input or an identity.
PRINTS_FOR_PEOPLE = re.compile(r"src/tools/(?:bench/\w+|info\w*)\.c|src/tools/commands\.c|src/sweep/(?:progress|sweep|dry_run)\.c|src/store/identity\.c|src/report/(?:render_(?:text|markdown)|report|report_statistics|"
                               r"report_(?:layers|tables|trends)|attribution_(?:table|gate)|units_table|bisect_write|depth|mix_table|trials|gate|baseline)\.c")
FLOATS = re.compile(r"%(?!\.0f)[-+ #0]*[\d.*]*l?[eEfFgGaA]")    # %.0f has no decimal point
THREADS = re.compile(r"pthread_create\([^,]+,[^,]+,\s*(\w+)")


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


# Other C libraries have other last bits; what is left is exact or rounded correctly.  The C library's are good enough for sizes.
LIBM = re.compile(r"(?<![\w.>])(?:exp|exp2|expm1|log|log2|log10|log1p|pow|cbrt|hypot|sin|cos|tan|sinh|cosh|tanh|erf|erfc|tgamma|lgamma)f?"
                  r"\([^)]")


def unsettled_threads(path, text):
    """Starts of threads whose code does not begin with thread_settle()."""
    if path in ("src/base/team.c", "include/ssmsweep/base/team.h"):
        return []
    found = re.findall(r"#pragma omp\b", text)    # nobody settles the threads of OpenMP, and they spin
    found += re.findall(r"\b(?:setlocale|uselocale|fesetround|fesetenv|_mm_setcsr)\b", text)
    for start in THREADS.finditer(text):
        begin = re.search(r"^static void \*%s\(" % start.group(1), text, re.M).end()
        body = text[begin:].split("\n", 8)[:8]
        if "thread_settle();" not in "".join(body):
            found.append(start.group(0))
    return found


# Opens or makes a file for writing; each place is reached behind main()'s command_check() alone.
MAKES_FILES = re.compile(r'O_CREAT|\bfopen\([^;]*"[wa]|\bfdopen\([^;]*"[wa]|\bH5Fcreate\(|\bmkdir\(|\bfreopen\(|\btmpfile\(')
MAKERS = ["src/base/file.c", "src/tools/synth.c", "src/store/claim.c", "src/comm/comm.c", "src/store/create.c", "src/store/pack.c",
          "src/store/extend.c"]
# What the user's options name beside model and texts: read in one place, which command_check() calls.
READ_AT_START = {"gates": "src/report/verdict.c", "gate_file": "src/report/verdict.c", "baseline": "src/report/verdict.c"}


def function(text, name):
    """The body of a function, from its opening brace."""
    found = re.search(r"^[\w *]*\b%s\([^;{]*\)\n\{\n(.*?)^\}" % name, text, re.M | re.S)
    return found.group(1) if found else ""


MOST_LINES, MOST_FUNCTION, MEAN_LINES = 700, 60, 180


def long_functions(text):
    """Functions of more than MOST_FUNCTION lines, from the line of the name to the closing brace."""
    found = []
    for begin in re.finditer(r"^(?!static const|typedef|struct [\w ]+\{|enum)[\w][^\n;={}]*\([^;{}]*\)\n\{$", text, re.M):
        lines = text[begin.start():text.index("\n}", begin.end()) + 2].count("\n") + 1
        if lines > MOST_FUNCTION:
            found.append((begin.group(0).split("(")[0], lines))
    return found


def check_sizes(checks, found):
    for path, text in found.items():
        checks.check(text.count("\n") <= MOST_LINES, path + ": at most %d lines" % MOST_LINES, text.count("\n"))
        checks.check(not long_functions(text), path + ": no function over %d lines" % MOST_FUNCTION, long_functions(text))
    mean = sum(text.count("\n") for text in found.values()) / len(found)
    checks.check(mean >= MEAN_LINES, "files have %d lines and more on average" % MEAN_LINES, mean)


def check_inputs_first(checks, found):
    """No output is opened before every input was read and compared with the outputs."""
    for path, text in found.items():
        made = MAKES_FILES.findall(COMMENT.sub("", text))
        checks.check(not made or path in MAKERS, path + ": makes files by base/file.h", made)
        for member, reader in READ_AT_START.items():
            used = re.findall(r"\bjob->%s\b" % member, text)
            checks.check(not used or path in (reader, "src/report/job_files.c"), path + ": leaves reading %s to the start" % member)
    verdict, main_c, commands, files = (found["src/" + name] for name in ("report/verdict.c", "main.c", "tools/commands.c",
                                                                                "report/job_files.c"))
    late = [name for name in ("verdict_judge", "verdict_tell") if re.search("gates_parse|gates_read|baseline_open|_map|read_file",
                                                                           function(verdict, name))]
    checks.check(function(verdict, "verdict_judge") and not late, "verdict.c: judging reads nothing", late)
    checked = function(commands, "command_check")
    checks.check(0 < checked.find("verdict_open(") < checked.find("job_files_check("), "commands.c: command_check() reads, then compares")
    order = [function(main_c, "main").find(call) for call in ("job_parse(", "command_check(", "command_alone(", "run_under_mpi(")]
    checks.check(main_c.count("\n") <= 150, "main.c: the commands, in order, and nothing else")
    checks.check(-1 not in order and order == sorted(order), "main.c: command_check() comes before all work", order)
    # Every option that names a file is in the list of inputs and outputs.
    rows = re.findall(r'\{"([\w-]+)", (?:0|\'\w\'), OPTION_(?:TEXT|FILE),[^{}]*?OFFSET\((\w+)\),\s*\.argument = "([^"]*)"',
                      found["src/input/option.c"], re.S)
    named = {member for _, member, argument in rows if re.search(r"FILE|DIR|json|xml", argument)}
    missing = named - set(re.findall(r"job->(\w+)", files)) - {"pretrained_dir", "npy_dir", "out"}
    checks.check(len(named) > 10 and not missing, "job_files.c: knows every option that names a file", missing)


def compiles_alone(compiler, header):
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-D_POSIX_C_SOURCE=200809L", "-xc",
             "-I" + os.path.join(harness.SOURCE, "include")]
    flags += ["-I" + folder for folder in os.environ["MPI_INCLUDES"].split(":") if folder]
    with tempfile.NamedTemporaryFile("w", suffix=".c") as f:
        f.write('#include "%s"\n#include "%s"\ntypedef int not_empty;\n' % (header, header))
        f.flush()
        done = subprocess.run([compiler] + flags + [f.name], stderr=subprocess.PIPE)
    return done.stderr.decode() if done.returncode else ""


def metric_names():
    with open(CATALOGUE, encoding="utf-8") as f:
        return re.findall(r'^METRIC\(.*\.name = "(\w+)"', f.read(), re.M)


def main():
    checks = harness.Checks()
    found = sources()
    metrics = metric_names()
    checks.check(len(metrics) > 30 and len(set(metrics)) == len(metrics), "the catalogue of metrics is there", metrics)
    by_name = re.compile(r'(?:\b(?:str\w*cmp|metric_find)\([^;]*|==\s*)"(?:%s)"' % "|".join(metrics))
    checks.check(len(found) > 30, "the source is there", len(found))
    for path, text in found.items():
        bad = [header for header in includes(text) if not may_include(path, header)]
        checks.check(not bad, path + ": includes only what its place allows", bad)
        checks.check(not re.search(r"^\s*// Of ", text, re.M),
                     path + ": comments start with a verb or a subject")
        checks.check(text.startswith("// SPDX-License-Identifier: Apache-2.0\n"), path + ": begins with the licence")
        if path != "src/recipe/mode.c":
            names = set(MODE_NAME.findall(COMMENT.sub("", text)))
            if path == "src/recipe/recipe.c":    # the name of a format
                names.discard("fp16")
            checks.check(not names, path + ": knows no mode by name", names)
        decided = by_name.findall(COMMENT.sub("", text))
        checks.check(not decided, path + ": decides nothing by the name of a metric", decided)
        breaches = number_breaches(path, text)
        checks.check(not breaches, path + ": numbers become text, and text numbers, by base/number.h", breaches)
        if not path.startswith("src/tools/bench/"):
            libm = LIBM.findall(re.sub(r"//.*", "", text))
            checks.check(not libm, path + ": no function of libm whose last bit is left to it", libm)
        unsettled = unsettled_threads(path, text)
        checks.check(not unsettled, path + ": every thread begins with thread_settle()", unsettled)
    check_inputs_first(checks, found)
    check_sizes(checks, {**found, **sources(("src/**/*.cu",))})
    check_families(checks, found)
    structs = [name for path, text in found.items() if path.startswith("include/") for name in re.findall(r"^struct (\w+) \{", text, re.M)]
    twice = {name for name in structs if structs.count(name) > 1}
    checks.check(len(structs) > 50 and not twice, "no name of a public struct has two meanings", twice)
    for path in found:
        if path.startswith("include/"):
            wrong = compiles_alone(sys.argv[1], path[len("include/"):])
            checks.check(not wrong, path + ": compiles alone", wrong)
    with open(os.path.join(harness.SOURCE, "tests", "lsan.supp")) as f:
        named = re.findall(r"^leak:(.*)$", f.read(), re.M)
    checks.check(named and all(re.match(r"lib|/", name) for name in named),
                 "leaks are told apart by libraries: names of static functions come from packages of debug symbols", named)
    for path in sum((glob.glob(os.path.join(harness.SOURCE, *way), recursive=True) for way in (("**", "CMakeLists.txt"), ("cmake", "*.cmake"))), []):
        with open(path) as f:
            commands = re.sub(r"#.*", "", f.read())
        checks.check(not re.search(r"-ffast-math|-Ofast|-funsafe-math|use_fast_math|fmad=true|GLOB", commands), path + ": exact maths, listed sources")
    tracked = subprocess.run(["git", "-C", harness.SOURCE, "ls-files"], capture_output=True, text=True)
    if tracked.returncode == 0 and tracked.stdout:    # not so in a source archive
        stray = {path for path in tracked.stdout.splitlines() if "/" not in path} - TOP
        checks.check(not stray, "no file that a trial left stands at the top", stray)
    checks.finish()


main()
