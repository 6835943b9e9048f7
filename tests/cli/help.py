# SPDX-License-Identifier: Apache-2.0
"""Help, version, the list of modes and bad options never start MPI: they work where MPI_Init cannot."""
import os
import re

import harness

NO_MPI = {"OMPI_MCA_pml": "none-such"}    # MPI_Init dies of that
OPTIONS = ["--all-modes", "--modes", "--model", "--reference", "--calib_data_num", "--calib_seqlen", "--calib-data",
           "--percentile_alpha", "--layers", "--components", "--output_dir", "--comparison-dir", "--save_comparison",
           "--job", "--threads", "--progress", "--dry-run", "--help", "--version"]


def check_commands(checks, run, whole):
    """Each command has a page of its own: the options that it takes, no others, as the whole text has them."""
    section = whole[whole.index("Commands:"):].split("\n\n")[0]
    commands = re.findall(r"^  ([\w-]+)", section, re.M)
    checks.check(len(commands) > 8, "commands", commands)
    seen = set()
    for command in commands:
        page = run("help", command)
        checks.check(page.status == 0 and page.out.startswith("Usage: ssmsweep %s " % command) and page.out != whole,
                     "help " + command, page.err + page.out)
        checks.check(run(command, "--help").out == page.out, command + " --help is the same")
        seen |= set(re.findall(r"^  .*?(--[\w-]+)", page.out, re.M))
    named = set(re.findall(r"^  (?:-\w, |    )(--[\w-]+)", whole, re.M))
    checks.check(named == seen and len(named) > 40, "every option is on some page", named ^ seen)
    compare, bench = run("help", "compare").out, run("help", "bench").out
    checks.check("--baseline" in compare and "--calib-data" not in compare, "help compare", compare)
    checks.check("--seconds" in bench and "--baseline" not in bench, "help bench", bench)
    bad = run("help", "compaer")
    checks.check(bad.status == 2 and len(bad.lines()) == 1 and "did you mean 'compare'" in bad.err, "help compaer", bad.err)
    zero = run("bench", "--seconds", "0")
    checks.check(zero.status == 2 and len(zero.lines()) == 1 and "above 0" in zero.err, "bench --seconds 0", zero.err)


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        def run(*arguments):
            return harness.run(arguments, 1, folder, NO_MPI)

        # If this succeeded, the checks below would show nothing.
        checks.check(run("run", "-q").status != 0, "without MPI nothing can be swept")

        shown = run("--help")
        checks.check(shown.status == 0 and not shown.err, "--help", shown.err)
        whole = run("help", "all").out
        for option in OPTIONS:
            checks.check(option.replace("_", "-") in whole.replace("_", "-"), "help all names " + option, whole)
        with open(os.path.join(harness.SOURCE, "docs", "errors.md"), encoding="utf-8") as f:
            statuses = re.findall(r"^\| (\d+) \|", f.read(), re.M)
        said = re.findall(r"(?:: |, )(\d+) ", shown.out[shown.out.index("Exit status"):].replace("\n", " "))
        checks.check(statuses == said and len(said) > 6, "--help names each exit status of docs/errors.md", said)
        checks.check(run("-h").out == shown.out and run("help").out == shown.out, "-h is --help")
        checks.check(len(shown.out.splitlines()) <= 48 and max(map(len, shown.out.splitlines())) <= 110, "--help fits a screen", shown.out)
        check_commands(checks, run, run("help", "all").out)
        shown = run("--version")
        checks.check(run("-V").out == shown.out, "-V is --version")
        checks.check(shown.status == 0 and re.match(r"ssmsweep \d+\.\d+\.\d+\n", shown.out) and
                     all(word in shown.out for word in ("commit ", "MPI ", "HDF5 ", "instruction sets", "CUDA")), "--version", shown.out)
        shown = run("modes")
        checks.check(shown.status == 0 and not shown.err, "modes", shown.err)
        first_words = list(dict.fromkeys(line.split()[0] for line in shown.out.splitlines() if line.strip()))
        checks.check([word for word in first_words if word in harness.MODES] == harness.MODES, "modes lists them all", shown.out)
        for bad, word in ((["--no-such-option"], "--no-such-option"), (["--modes", "2-9"], "2-9"), (["frob"], "frob")):
            shown = run(*bad)
            checks.check(shown.status == 2 and len(shown.lines()) == 1 and word in shown.err, " ".join(bad), shown.err)
    checks.finish()


main()
