# SPDX-License-Identifier: Apache-2.0
"""Manual pages and completion: each command has a page with the options that its help has and no others, every example of a page
runs, and shells complete commands, options and values."""
import os
import re
import shutil
import sys

import documents
import harness

PAGES = os.path.join(harness.SOURCE, "docs", "man")
WITHOUT_PAGE = {"help", "version"}
# Run otherwise, and why.
CHANGED = {
    "ssmsweep bench --seconds 0.01 --modes fp32,2-1 --json bench.json": None,    # takes minutes with the built-in model; cli.bench
}
QUICK = " --calib_seqlen 16 --calib_data_num 2"    # makes sweeps of examples short; numbers are checked elsewhere
BASH = r"""
source "$1"
shift
for line in "$@"; do
    COMP_LINE=$line COMP_POINT=${#line} COMP_WORDS=($line) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    case $line in *' ') COMP_WORDS+=(''); COMP_CWORD=$((COMP_CWORD + 1)) ;; esac
    compopt() { :; }
    _ssmsweep
    printf '%s\n' "$line: ${COMPREPLY[*]}"
done
"""
COMPLETED = {    # line: (all of these words, none of those)
    "ssmsweep ": (["run", "compare", "attribute", "modes"], ["--modes"]),
    "ssmsweep com": (["compare"], ["run"]),
    "ssmsweep compare --ga": (["--gate", "--gate-file"], ["--grace"]),
    "ssmsweep compare --calib-da": ([], ["--calib-data"]),
    "ssmsweep --modes 2-": (["2-0", "2-1", "2-4"], ["fp32"]),
    "ssmsweep --modes fp32,2-": (["fp32,2-1"], ["2-1"]),
    "ssmsweep --reference f": (["fp32", "fp16"], ["2-1"]),
    "ssmsweep --components=mixer_output,ssm_": (["mixer_output,ssm_input", "mixer_output,ssm_dt"], []),
    "ssmsweep save --layers ": (["first", "last", "all"], []),
    "ssmsweep compare --layers ": (["first", "last", "all"], []),
    "ssmsweep compare --components ssm_": (["ssm_input", "ssm_output"], ["mixer_output"]),
    "ssmsweep attribute --units conv1d": (["conv1d:output"], ["scan:u"]),
    "ssmsweep attribute --units conv1d:o": (["output"], ["conv1d:output"]),    # bash has cut the word at the colon
    "ssmsweep attribute --metric ": (["kl_mean"], []),
    "ssmsweep run --store ": (["selected", "none"], []),
    "ssmsweep help com": (["compare"], []),
    "ssmsweep info --model mod": (["models"], ["model.json"]),
    "ssmsweep --job mod": (["model.json", "models"], []),
    "ssmsweep compare --gate m": (["mode=", "mse"], []),
}


def options_of(text):
    return set(re.findall(r"--[a-z][a-z_-]+", text))


def listed(text):
    """The options that a help text lists, not those that a sentence mentions."""
    return set(re.findall(r"^  (?:-\w, |    )(--[\w-]+)", text, re.M))


def check_pages(checks, build):
    whole = harness.run(["help"]).out
    commands = set(re.findall(r"^  ([\w-]+)", whole[whole.index("Commands:"):].split("\n\n")[0], re.M)) - WITHOUT_PAGE
    sources = {name[:-4] for name in os.listdir(PAGES)}
    checks.check(sources == commands | {"ssmsweep", "ssmsweep.json"}, "a page for each command", sources ^ commands)
    made = os.path.join(build, "manual", "man1")
    if not os.path.isdir(made):
        harness.skip_part("manual pages: scdoc was not there when ssmsweep was built (jobs/setup.sh)")
        return
    for command in sorted(commands):
        with open(os.path.join(made, "ssmsweep-%s.1" % command), encoding="utf-8") as f:
            page = re.sub(r"\\f[BIR]|\\&", "", f.read()).replace("\\-", "-").replace("\\(aq", "'")
        wanted = listed(harness.run(["help", command]).out)
        found = set(re.findall(r"^(?:-\w, )?(--[\w-]+)(?: |$)", page, re.M))
        checks.check(found == wanted and wanted, "options of ssmsweep-%s(1)" % command, found ^ wanted)
    with open(os.path.join(made, "ssmsweep.1"), encoding="utf-8") as f:
        page = f.read()
    checks.check(all("ssmsweep-%s" % command in page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "") for command in commands),
                 "ssmsweep(1) leads to each")
    statuses = re.findall(r"^\| (\d+) \|", documents.read("docs/errors.md"), re.M)
    checks.check(all(re.search(r"^\\fB%s\\fR$" % status, page, re.M) for status in statuses), "its exit statuses", statuses)
    checks.check(os.path.exists(os.path.join(build, "manual", "man5", "ssmsweep.json.5")), "ssmsweep.json(5)")


def check_examples(checks):
    """Those of a page one after the other, in a folder of its own."""
    run = 0
    for name in sorted(os.listdir(PAGES)):
        text = documents.read("docs/man/" + name)
        if "# EXAMPLES" not in text:
            continue
        with harness.Workplace() as work:
            os.mkdir(os.path.join(work, "bin"))
            os.symlink(harness.PROGRAM, os.path.join(work, "bin", "ssmsweep"))
            path = os.path.join(work, "bin") + ":" + os.environ["PATH"]
            for command in re.findall(r"^(?:ssmsweep|mpirun) .*", text[text.index("# EXAMPLES"):], re.M):
                if command in CHANGED:
                    continue
                sweeps = re.search(r"ssmsweep (--|save|attribute)", command) and "--calib_seqlen" not in command
                status, out, err = harness.execute(["sh", "-c", command + (QUICK if sweeps else "")], work, {"PATH": path}, harness.LIMIT)
                checks.check(status == 0, "%s: %s" % (name, command), out[-500:] + err)
                run += 1
    checks.check(run > 20, "examples were run", run)


def check_json_page(checks):
    """The job, the recipe and the gates of ssmsweep.json(5), and docs/examples, are taken."""
    blocks = re.findall(r"^```\n(.*?)^```", documents.read("docs/man/ssmsweep.json.scd"), re.M | re.S)
    checks.check(len(blocks) == 3, "three examples", blocks)
    examples = os.path.join(harness.SOURCE, "docs", "examples")
    names = {"job.json": "--job", "gates.txt": "--gate-file"}
    with harness.Workplace() as work:
        shutil.copytree(examples, os.path.join(work, "examples"))
        for name, block in zip(("page-job.json", "page-recipe.json", "page-gates.txt"), blocks):
            with open(os.path.join(work, "examples", name), "w") as f:
                f.write(block)
        for name in sorted(os.listdir(os.path.join(work, "examples"))):
            option = names.get(name.replace("page-", ""), "--recipes")
            result = harness.run([option, name, "--dry-run"], 1, os.path.join(work, "examples"))
            checks.check(result.status == 0, "%s %s" % (option, name), result.err)
    for name in os.listdir(examples):
        if name.endswith(".json") and name != "job.json":
            with open(os.path.join(examples, name)) as f:
                checks.check(f.read() in documents.read("docs/recipes.md"), name + " is that of docs/recipes.md")


def check_bash(checks, build, work):
    script = os.path.join(build, "manual", "bash", "ssmsweep")
    os.mkdir(os.path.join(work, "models"))
    open(os.path.join(work, "model.json"), "w").close()
    status, out, err = harness.execute(["bash", "-c", BASH, "bash", script] + list(COMPLETED), work)
    checks.check(status == 0 and not err, "bash", err)
    answers = dict(zip(COMPLETED, out.splitlines()))
    for line, (wanted, unwanted) in COMPLETED.items():
        words = answers.get(line, "")[len(line) + 1:].split()
        checks.check(set(wanted) <= set(words) and not set(unwanted) & set(words), "bash: " + line, words)
    help_text = harness.run(["help", "compare"]).out
    status, out, err = harness.execute(["bash", "-c", BASH, "bash", script, "ssmsweep compare --"], work)
    words = set(out[len("ssmsweep compare --:"):].split())
    checks.check(words == listed(help_text), "bash: all options of compare", words ^ listed(help_text))


def check_others(checks, build, work):
    if shutil.which("fish"):
        script = os.path.join(build, "manual", "fish", "ssmsweep.fish")
        for line, wanted in (("ssmsweep compare --ga", "--gate"), ("ssmsweep com", "compare"), ("ssmsweep --modes fp32,2-", "fp32,2-1"),
                             ("ssmsweep save --store ", "none")):
            status, out, err = harness.execute(["fish", "-c", 'source %s; complete -C "%s"' % (script, line)], work, {"HOME": work})
            words = [answer.split("\t")[0] for answer in out.splitlines()]
            checks.check(status == 0 and wanted in words and "--calib-data" not in words, "fish: " + line, out + err)
    else:
        harness.skip_part("completion in fish: it is not installed")
    if shutil.which("zsh"):
        # A terminal of zsh's own, in which a line is typed and completed.
        typed = r"""
zmodload zsh/zpty
zpty s zsh -f -i
zpty -w s "PROMPT=; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -d $2/dump; print REA''DY"
until_there() { # a loaded machine takes its time
    local seen= rest i
    for i in {1..120}; do
        while zpty -r -t s rest; do seen+=$rest; done
        [[ $seen == *$1* ]] && break
        sleep 0.25
    done
    print -r -- $seen
}
until_there READY
zpty -w -n s "$3"$'\t\t'
until_there $4
"""
        folder = os.path.join(build, "manual", "zsh")
        for line, wanted in (("ssmsweep compare --ga", "gate-file"), ("ssmsweep im", "port-npy")):
            status, out, err = harness.execute(["zsh", "-f", "-c", typed, "zsh", folder, work, line, wanted], work, {"HOME": work, "TERM": "dumb"})
            checks.check(wanted in out, "zsh: " + line, out + err)
    else:
        harness.skip_part("completion in zsh: it is not installed")


def main():
    checks = harness.Checks()
    build = sys.argv[1]
    check_pages(checks, build)
    check_json_page(checks)
    check_examples(checks)
    with harness.Workplace() as work:
        check_bash(checks, build, work)
        check_others(checks, build, work)
    checks.finish()


main()
