# SPDX-License-Identifier: Apache-2.0
"""Do two programs give the same bytes?  For changes of structure: builds nothing, runs the same jobs with both and compares
standard output, JSON, CSV, Markdown, NumPy exports, datasets and attributes.
   same_results.py OLD NEW [JOB...]      OLD, NEW: programs; JOB: names of jobs, all without; exits with 1 where they differ
Times, time stamps and nothing else are left out.  mpirun is $MPIEXEC, or mpirun."""
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.environ.setdefault("SSMSWEEP", os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else "ssmsweep")
os.environ.setdefault("MPIEXEC", "mpirun")
os.environ.setdefault("SSMSWEEP_SOURCE", SOURCE)
os.environ.setdefault("SSMSWEEP_INJECT", "")
sys.path.insert(0, os.path.join(SOURCE, "tests", "cli"))
import harness  # noqa: E402
import recovery  # noqa: E402
import sweep_files  # noqa: E402

# What no two runs share.
TIMES = re.compile(r"\b\d+(?:\.\d+)? (?:s|ms|min|h)\b|\d+(?:\.\d+)? [MG]B/s|\"timestamp\": \"[^\"]*\"|"
                   r"(?<=seconds_per_sample\": )[\d.e-]+")


class Job:
    """Commands in one folder: each is (ranks, words); {small} is a model of two layers, {ids} its five samples."""

    def __init__(self, *commands):
        self.commands = commands

    def run(self, program, folder, small, ids):
        said = []
        for ranks, words in self.commands:
            words = [word.format(small=small, ids=ids, source=SOURCE) for word in words]
            command = ([os.environ["MPIEXEC"], "-n", str(ranks)] if ranks > 1 else []) + [program] + words
            with harness.SessionFolder() as session:
                done = subprocess.run(command, cwd=folder, env=harness.environment({"SSMSWEEP_DEMO": harness.DEMO}, session),
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            said.append("$ %s\nstatus %d\n%s" % (" ".join(words), done.returncode, done.stdout.decode()))
            said += harness.lines_of(done.stderr.decode())
        return TIMES.sub("TIME", "\n".join(said))


SMALL = ["--model", "{small}", "--calib-data", "{ids}", "--calib_data_num", "5"]
JOBS = {
    "demo": Job((2, ["--calib_data_num", "10", "--calib_seqlen", "48", "--save_comparison", "whole.json"]),
                (1, ["info", "layer_outputs/sweep.h5"]), (1, ["info", "--json", "layer_outputs"]),
                (1, ["compare", "--format", "markdown"]), (1, ["compare", "--format", "csv"]),
                (1, ["compare", "--format", "json"])),
    "noise": Job((2, SMALL + ["--all-modes", "--calib_data_num", "3,5", "--shuffle-calib", "2", "--noise", "2", "--components",
                              "all", "--layers", "all", "--per-sample", "--junit", "junit.xml",
                              "--gate", "mode=2-4 layer=last correlation>=0.1; mode=0 mse<1e-30"]),
                 (2, ["compare", "--reference", "2-4", "--format", "markdown"]),
                 (1, ["compare", "--modes", "fp16,2-1", "--baseline", "comparisons/summary.json"])),
    "nothing-stored": Job((1, SMALL + ["--all-modes", "--store", "none", "--calib_data_num", "2,5", "--components", "all"]),
                          (1, ["compare", "--format", "csv"]),
                          (1, SMALL + ["--output_dir", "b", "--comparison-dir", "c", "--modes", "0,3", "--no-logits"])),
    "save": Job((1, ["save"] + SMALL + ["--modes", "fp32,2-1"]), (2, ["save"] + SMALL + ["--modes", "3,fp16"]),
                (1, ["compare"]), (1, ["export", "--npy", "arrays"]),
                (1, ["import-npy", "arrays", "--output_dir", "again"]),
                (1, ["compare", "--output_dir", "again", "--comparison-dir", "again-too"])),
    "observers": Job((2, SMALL + ["--modes", "0,2-1,2-4", "--observer", "percentile", "--eval-data", "{ids}",
                                  "--calib_data_num", "4"]),),
    "published": Job((1, ["--model", "{source}/tests/data/quamba2-w8a8", "--calib-data", "{ids}", "--calib_data_num", "5", "--all-modes"]),
                     (1, ["info", "{source}/tests/data/quamba2-w8a8", "--json"])),
    "words": Job((1, ["modes"]), (1, ["modes", "--json"]), (1, ["--help"]), (1, ["help", "compare"]), (1, ["--frob"]),
                 (1, SMALL + ["--modes", "7"]), (1, SMALL + ["--gate", "mse<"]), (1, ["compare", "--output_dir", "absent"])),
}


def exports(folder):
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            if name.endswith((".npy", ".md", ".xml")):
                with open(os.path.join(root, name), "rb") as f:
                    found[os.path.relpath(os.path.join(root, name), folder)] = TIMES.sub("TIME", repr(f.read()))
    return found


def results(folder):
    found = sweep_files.json_lines(folder, ('"timestamp"', '"seconds"', '"seconds_per'))
    found.update(exports(folder))
    for root, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".h5"):
                path = os.path.join(root, name)
                found.update((os.path.relpath(path, folder) + ":" + key, value)
                             for key, value in sweep_files.contents(path).items())
    return found


def forget_schema(found):
    """Where the two write result files of different versions, the version and what came with it differ; are there any?"""
    forgotten = False
    for key in [key for key in found[0] if key.endswith(":@schema_version")]:
        if found[0][key] != found[1].get(key):
            forgotten = True
            for name in ("schema_version", "arch", "components", "sites"):
                for one in found:
                    one.pop(key.replace("schema_version", name), None)
            for one in found:    # version 7 explains itself
                for other in [other for other in one if other.endswith((":@description", "@description", "@units", "@_ARRAY_DIMENSIONS"))]:
                    one.pop(other)
    return forgotten


def compare(name, programs, workplace, small, ids):
    said, found = [], []
    for which, program in enumerate(programs):
        folder = os.path.join(workplace, name)    # the same for both: paths stand in messages
        os.mkdir(folder)
        said.append(JOBS[name].run(program, folder, small, ids))
        found.append(results(folder))
        shutil.rmtree(folder)
    if forget_schema(found):
        said = [re.sub(r'"bytes": \d+', '"bytes": N', one) for one in said]
    differing = sweep_files.differences(found[1], found[0])
    for line in difflib.unified_diff(said[0].splitlines(), said[1].splitlines(), "old", "new", lineterm="", n=1):
        print("    " + line)
    for key in differing[:20]:
        old, new = (f.get(key) for f in found)
        if isinstance(old, bytes) and isinstance(new, bytes):
            lines = list(difflib.unified_diff(old.decode().splitlines(), new.decode().splitlines(), lineterm="", n=0))
            print("    %s:\n        %s" % (key, "\n        ".join(line[:160] for line in lines[2:8])))
        else:
            print("    %s: %s" % (key, "missing in the new" if new is None else "new" if old is None else "differs"))
    same = said[0] == said[1] and not differing
    print("%s: %s (%d lines, %d files and datasets)" % (name, "same" if same else "DIFFERENT", said[0].count("\n"), len(found[0])),
          flush=True)
    return same


def main():
    if len(sys.argv) < 3 or not set(sys.argv[3:]) <= set(JOBS):
        sys.exit(__doc__ + "\nJOBs: " + " ".join(JOBS))
    programs = [os.path.abspath(path) for path in sys.argv[1:3]]
    with tempfile.TemporaryDirectory() as workplace:
        recovery.make_model(workplace)
        small, ids = (os.path.join(workplace, name) for name in ("model", "ids.npy"))
        same = [compare(name, programs, workplace, small, ids) for name in sys.argv[3:] or JOBS]
    sys.exit(0 if all(same) else 1)


if __name__ == "__main__":
    main()
