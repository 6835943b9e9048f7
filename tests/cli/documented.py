# SPDX-License-Identifier: Apache-2.0
"""Every command line of ssmsweep in docs/*.md: its command takes every option that the line has.  With SSMSWEEP_LONG=1 every one is
run as well, line by line in a folder for each document, on short texts and few of them, but for those in ELSEWHERE, which another test
runs or only a cluster can.  Python of result_file.md and texts.md runs as it stands there."""
import glob
import hashlib
import os
import re
import shlex
import shutil
import sys

import h5py

import documents
import harness

# Run by other tests, or not at all, and why.
ELSEWHERE = {
    "ssmsweep bench": "takes minutes; cli.bench",
    "mpirun -n 4 ssmsweep bench": "takes minutes; cli.bench",
    "mpirun -n 16 --bind-to none ssmsweep bench": "wants a GPU; cli.device",
}
GUIDE = ("Building and installing", "Commands", "Quick reference of the old scripts")    # cli.readme, cli.quick_reference
# Run otherwise: words that a reader replaces, and sizes that take long.
CHANGED = (
    (r"^mpirun -n \d+ (--oversubscribe )?", "mpirun -n 2 "),
    (r"--calib_data_num 1,2,4,8(,[\d,]+)?", "--calib_data_num 1,2,3"), (r"--(calib|eval)_data_num (?!1,2,3)\d+", r"--\1_data_num 3"),
    (r" --seed N --dtype F16\|BF16\|F32 --shard-bytes 5G --threads N", " --seed 1 --dtype BF16 --shard-bytes 5G --threads 1"),
    (r"--preset mamba-2.8b --out model", "--preset tiny --out synthetic"), (r"--preset mamba-2.8b", "--preset tiny"), (r"--tokenizer FILE", "--tokenizer model/tokenizer.json"),
    (r"info PATH --json --calib_seqlen N --threads N", "info model --json --calib_seqlen 8 --threads 1"),
    (r"--model \"\$PWD/mamba-130m\"", "--model model"), (r"--by unit,layer --noise 3", "--by unit,layer --layers 0,1 --noise 1"),
    (r"^(mpirun -n 2 )?ssmsweep mix (?!--cost-template)", r"\1ssmsweep mix --layers 0,1 "), (r"--layers 0,1 --layers 0,1", "--layers 0,1"),
    (r"mix --layers 0,1 (.*) --by unit,layer", r"mix --layers 0 \1 --by unit,layer"), (r"cost<=2500000", "cost<=1e12"),
    (r"attribute --bisect (.*) --limit 0.005", r"attribute --bisect \1 --limit 0.5"), (r"--modes fp32,2-1,mix-5", "--modes fp32,2-1,mix-0"),
    (r"given.json --mode given", "given.json --layers 0,1 --mode given"),
)
SWEEPS = {"run", "save", "attribute", "mix", "units"}


def lines(name):
    """Command lines of a document."""
    text = documents.read(name)
    for kind, block in documents.blocks(text):
        for line in block if kind == "indented" else ():
            command = re.split(r" {2,}", documents.command_of(line).strip())[0]
            if re.match(r"(mpirun |ssmsweep (?!.*: ))", command) and " ssmsweep" in " " + command:
                yield re.sub(r"[\[\]]", "", command)    # [--json]: may be left out


def help_of(command, known={}):
    if command not in known:
        known[command] = harness.run(["help", command]).out
    return known[command]


def fold(text):
    return text.replace("_", "-")


def words_of(line, commands):
    """(the command, its words)"""
    words = shlex.split(line.split(" > ")[0])
    words = words[words.index("ssmsweep") + 1:]
    return (words[0] if words and words[0] in commands else "run"), words


def prepare(folder):
    """What a reader has: a model, texts, recipes, results of before."""
    for name in ("model", "my-mamba", "mamba-130m"):
        shutil.copytree(harness.DEMO, os.path.join(folder, name))
    shutil.copytree(os.path.join(harness.SOURCE, "tests", "data", "quamba-w8a8"), os.path.join(folder, "pretrained_models", "quamba-130m-w8a8"))
    shutil.copy(os.path.join(harness.DEMO, "calibration.jsonl"), os.path.join(folder, "held_out.jsonl"))
    for path in glob.glob(os.path.join(harness.SOURCE, "docs", "examples", "*")):
        shutil.copy(path, folder)
    harness.write_json(os.path.join(folder, "given.json"), {"name": "given", "base": "2-1", "set": {"*": "int8-given"}})
    harness.write_json(os.path.join(folder, "scales.json"), {"layers": [{"out_proj:input": 0.01}] + [{}] * 23})
    return harness.run(["-q", "--modes", "fp32,2-1,2-4", "--calib_data_num", "10", "--calib_seqlen", "8"], 1, folder)


def spread(folder):
    """The results under the names of docs/report.md."""
    for name in ("results", "before"):
        shutil.copytree(os.path.join(folder, "layer_outputs"), os.path.join(folder, name))
    shutil.copytree(os.path.join(folder, "comparisons"), os.path.join(folder, "after"))


def run_line(checks, name, line, command, folder, number):
    """Sweeps leave their results in folders of their own, unless they name one."""
    changed = line
    for pattern, by in CHANGED:
        changed = re.sub(pattern, by, changed)
    if command in SWEEPS:
        changed += " --calib_seqlen 8" * ("calib_seqlen" not in changed) + " --calib_data_num 2" * ("calib_data_num" not in changed)
        changed += " --eval_data_num 6" * (command == "mix")
        changed += " --output_dir o%d" % number * ("--output_dir" not in changed and command != "units")
        changed += " --comparison-dir c%d" % number * (command in ("run", "attribute"))
    changed += " > costs.json" * ("> costs" in line and "> costs" not in changed)
    status, out, err = harness.execute(["sh", "-c", changed], folder, {"PATH": os.path.join(folder, "bin") + ":" + os.environ["PATH"]})
    # So short texts may break a limit.
    checks.check(status == 0 or status == 1 and "--gate" in line and "checks failed" in err, "%s: %s" % (name, changed), out[-300:] + err)


def run_lines(checks, name, commands):
    """Of one document; returns how many."""
    run, text = 0, documents.read(name)
    apart = [line for title in GUIDE for kind, block in documents.blocks(documents.section(text, title)) for line in map(documents.command_of, block)
             ] if name == "docs/user_guide.md" else []
    with harness.Workplace() as folder:
        checks.check(prepare(folder).status == 0, name + ": a sweep of before")
        spread(folder)
        if "comparisons/attribution.json" in text:
            checks.check(harness.run(["attribute", "2-1", "-q", "--by", "layer", "--layers", "0", "--calib_data_num", "2", "--calib_seqlen", "8"],
                                     1, folder).status == 0, name + ": an attribution of before")
        os.mkdir(os.path.join(folder, "bin"))
        os.symlink(harness.PROGRAM, os.path.join(folder, "bin", "ssmsweep"))
        for line in lines(name):
            if line in apart or any(line.startswith(begin) for begin in ELSEWHERE):
                continue
            run_line(checks, name, line, words_of(line, commands)[0], folder, run)
            run += 1
    return run


def check_digest(checks):
    """docs/result_file.md: Python that reads a result, and two ways to a digest."""
    text = documents.read("docs/result_file.md")
    with harness.Workplace() as folder:
        checks.check(harness.run(["-q", "--modes", "fp32,0", "--calib_data_num", "10", "--calib_seqlen", "4"], 1, folder).status == 0, "a sweep")
        example = "\n".join(next(block for kind, block in documents.blocks(text) if kind == "python"))
        status, out, err = harness.execute([sys.executable, "-c", example], folder)
        checks.check(status == 0 and "largest error per layer" in out, "result_file.md: Python", out + err)
        with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5")) as f:
            digest = f.attrs["weights_digest"]
            digest = digest.decode() if isinstance(digest, bytes) else digest
        shell, python = ("\n".join(block) for kind, block in documents.blocks(text) if kind == "indented" and "sha256" in block[-1] + block[0])
        found = {"hashlib": hashlib, "files": [os.path.join(harness.DEMO, "model.safetensors")]}
        exec(python, found)    # noqa: S102
        checks.check(found["whole"].hexdigest() == digest, "weights_digest by Python", digest)
        if shutil.which("xxd"):
            status, out, err = harness.execute(["sh", "-c", shell], harness.DEMO)
            checks.check(out.split()[:1] == [digest], "weights_digest by the shell", out + err)


def check_ids(checks):
    """docs/texts.md: ids of any tokenizer, here one of bytes, make texts that a sweep takes."""
    example = next("\n".join(block) for kind, block in documents.blocks(documents.read("docs/texts.md")) if "tokenizer(text)" in "".join(block))
    with harness.Workplace() as folder:
        script = "import numpy\ntokenizer, texts = lambda text: {'input_ids': list(text.encode())}, ['abc', 'a longer text' * 99]\n" + example
        status, out, err = harness.execute([sys.executable, "-c", script], folder)
        result = harness.run(["--dry-run", "--calib-data", "ids.npy", "--calib_data_num", "2"], 1, folder)
        checks.check(status == 0 and result.status == 0 and "2 samples of up to 512 tokens" in result.err, "texts.md: ids.npy", err + result.err)


def main():
    checks, seen, run = harness.Checks(), 0, 0
    commands = set(re.findall(r"^  ([\w-]+)", harness.run(["--help"]).out.split("Commands:")[1].split("\n\n")[0], re.M))
    check_digest(checks)
    check_ids(checks)
    for path in sorted(glob.glob(os.path.join(harness.SOURCE, "docs", "*.md"))):
        name = "docs/" + os.path.basename(path)
        for line in lines(name):
            command, words = words_of(line, commands)
            options = {fold(word.split("=")[0]) for word in words if word.startswith("--") and word not in ("--help", "--version")}
            known = set(re.findall(r"--[a-z][\w-]*", fold(help_of(command))))
            checks.check(options <= known, "%s: %s: options of %s" % (name, line, command), options - known)
            seen += 1
        run += run_lines(checks, name, commands) if harness.LONG and any(True for _ in lines(name)) else 0
    checks.check(seen > 60 and (run > 40 or not harness.LONG), "command lines", (seen, run))
    checks.finish()


main()
