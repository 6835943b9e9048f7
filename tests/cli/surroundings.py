# SPDX-License-Identifier: Apache-2.0
"""What surrounds a run is not as it should be: streams that are closed or full, folders of somebody else, what a killed
run left, a link where the lock belongs; nor are its numbers, which are NaN."""
import json
import os
import shlex
import shutil
import subprocess

import h5py
import numpy as np

import harness
import recovery
import sweep_files

LIMIT = harness.LIMIT
RESULT = os.path.join("layer_outputs", "sweep.h5")


def shell(line, folder):
    """(status, stdout, stderr) of a shell line, in which $P is the program."""
    return harness.execute(["sh", "-c", line], folder, dict(harness.QUICK, P=harness.PROGRAM), LIMIT)


def check_full_output(checks, folder, job):
    """Standard output is all that these give, so a part of it is a failure."""
    for words in ("--help", "--version", "modes", "modes --json", "info " + RESULT, "info --json " + RESULT, "info --cpu",
                  "compare", "compare --format json", "compare --format csv", "--resume " + job, "--dry-run --output_dir planned " + job):
        status, _, err = shell("$P %s >/dev/full" % words, folder)
        lines = [line for line in err.splitlines() if "standard output: cannot write" in line]
        checks.check(status == recovery.IO and len(lines) == 1, "a full standard output: " + words.split(" --model")[0],
                     "%s\n%s" % (status, err))
    status, _, err = shell("$P compare -q >/dev/full", folder)
    checks.check(status == 0 and not err, "nothing is printed, nothing is lost", "%s\n%s" % (status, err))
    status, _, err = shell("$P compare --gate 'mode=2-4 mse<1e-30' >/dev/full", folder)
    checks.check(status == 1, "a broken gate is told all the same", "%s\n%s" % (status, err))


def check_closed_streams(checks, folder, good, job):
    """Whatever MPI opens first takes their numbers."""
    status, _, err = shell("exec $P -v %s <&- >&- 2>&-" % job, folder)
    differing = sweep_files.differences(recovery.results(folder), good)
    checks.check(status == 0 and not differing, "all streams closed", "%s\n%s\n%s" % (status, differing[:10], err))
    status, _, err = shell("exec $P --calib-data - --dry-run --output_dir planned <&-", folder)
    checks.check(status == recovery.INPUT and "got 0" in err, "standard input is closed: no text", "%s\n%s" % (status, err))


def check_lock_link(checks, folder, job):
    os.mkdir(os.path.join(folder, "layer_outputs"))
    precious = os.path.join(folder, "precious")
    with open(precious, "w") as f:
        f.write("precious\n")
    os.symlink(precious, os.path.join(folder, RESULT + ".lock"))
    status, _, err = shell("$P %s >/dev/null" % job, folder)
    checks.check(status == 0 and "sweep.h5.lock: cannot be locked" in err and harness.read_bytes(precious) == b"precious\n",
                 "a link where the lock belongs: what it points to is not touched", "%s\n%s" % (status, err))


def read_only(path):
    """The beginning of a shell line below which `path` is read-only: permissions bind nobody who is root."""
    if os.geteuid() != 0:
        os.chmod(path, 0o555)
        return ""
    mount = "mount --bind {0} {0} && mount -o remount,bind,ro {0}".format(shlex.quote(path))
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], stderr=subprocess.DEVNULL).returncode != 0:
        return None
    return "exec unshare -m sh -c '%s && exec \"$@\"' sh " % mount


def check_read_only(checks, folder, job):
    outputs, empty = os.path.join(folder, "layer_outputs"), os.path.join(folder, "empty")
    os.mkdir(empty)
    below = read_only(outputs)
    if below is None:
        harness.skip_part("a read-only folder: no right to mount")
        return
    status, out, err = shell(below + "$P compare --comparison-dir mine", folder)
    written = os.path.join(folder, "mine", "summary.json")
    checks.check(status == 0 and "All modes against" in out and "statistics of its modes are left out" in err and
                 os.path.exists(written), "compares what somebody else saved", "%s\n%s" % (status, err))
    status, _, err = shell(read_only(empty) + "$P -q --output_dir empty " + job, folder)
    checks.check(status == recovery.IO and "sweep.h5.part: cannot create" in err and "extension" not in err,
                 "a read-only folder: told of what could not be made", "%s\n%s" % (status, err))
    for path in (outputs, empty):
        os.chmod(path, 0o755)


def check_half_made(checks, folder, good, job):
    """What a killed run left while it made the file; under the lock nobody else makes one."""
    part = os.path.join(folder, RESULT + ".part")
    for what, program, words, status in (
            ("run", harness.PROGRAM, "", recovery.INPUT),
            ("save, where nothing can be locked", recovery.INJECT + " --inject nolocks:1", "save ", recovery.INPUT),
            ("save", harness.PROGRAM, "save ", recovery.OK)):
        os.makedirs(os.path.dirname(part), exist_ok=True)
        with open(part, "w") as f:
            f.write("half made")
        got, _, err = shell("%s %s%s >/dev/null" % (program, words, job), folder)
        checks.check(got == status, "half made: " + what, "%s\n%s" % (got, err))
    checks.check("an earlier run was interrupted" in err, "half made: save says so", err)
    checks.check(not sweep_files.differences(recovery.stored(folder), recovery.stored(good)), "half made: the same file")
    os.mkdir(os.path.join(folder, "back"))
    os.rename(os.path.join(folder, RESULT), os.path.join(folder, "back", "sweep.h5.part"))
    got, _, err = shell("cd %s && $P export --npy %s/arrays && cd - && $P import-npy arrays --output_dir back" %
                        (shlex.quote(good), shlex.quote(folder)), folder)
    checks.check(got == recovery.OK and os.listdir(os.path.join(folder, "back")) == ["sweep.h5"], "half made: import-npy", err)


def same_but_for_time(a, b):
    return [line for line in a.splitlines() if "timestamp" not in line] == [line for line in b.splitlines() if "timestamp" not in line]


def check_late_speaker(checks, folder):
    """Rank 0, which says what is wrong with the command line of all, comes last: the others wait for it, or the launcher
    would end it before it speaks."""
    late = "test $OMPI_COMM_WORLD_RANK != 0 || sleep 3; exec %s \"$@\"" % shlex.quote(harness.PROGRAM)
    for words in (["compare", "--reference", "nonsense"], ["--job", "nonsense.json"]):
        command = [harness.MPIEXEC, "-n", "3", "sh", "-c", late, "sh"] + words
        status, _, err = harness.execute(command, folder)
        said = harness.lines_of(err)
        checks.check(status in (2, 3) and len(said) == 1, "rank 0 comes last: " + " ".join(words), "%s\n%s" % (status, err))


def has_unnamed_files(folder):
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY))
        return os.path.exists("/proc/self/fd")
    except OSError:
        return False


def check_killed_report(checks, folder):
    """Killed while it writes a report: the old ones are there, and nothing else where a file needs no name to be written."""
    def listing():
        return {path: sorted(names) for path, _, names in os.walk(folder)}

    before, reports = listing(), recovery.results(folder)
    for command, at in (("compare", 1), ("compare", 3), ("export --npy comparisons", 1)):
        status, _, err = shell("%s --inject die@sync:%d %s -q" % (recovery.INJECT, at, command), folder)
        what = "killed in front of sync %d of %s" % (at, command)
        checks.check("inject: die@sync" in err and status != 0, what, "%s\n%s" % (status, err))
        checks.check(recovery.results(folder) == reports, what + ": the reports are as they were")
        if has_unnamed_files(folder):
            checks.check(listing() == before, what + ": nothing is left behind", listing())
    left = listing()
    status, _, err = shell(recovery.INJECT + " --inject named:1 compare -q", folder)
    checks.check(status == 0 and recovery.results(folder) == reports and listing() == left,
                 "reports where every file has a name", "%s\n%s\n%s" % (status, err, listing()))


def check_special_files(checks, folder):
    """Pipes and devices are written to and stay what they are."""
    reports = "compare -q --save-comparison %s --junit %s --gate 'mode=2-4 mse<1'"
    status, _, err = shell("$P " + reports % ("plain.json", "plain.xml"), folder)
    with open(os.path.join(folder, "plain.json")) as a, open(os.path.join(folder, "plain.xml")) as b:
        plain = a.read(), b.read()
    checks.check(status == 0 and all(plain), "reports into files", err)
    status, _, err = shell("mkfifo pipe && { cat pipe >piped & $P %s && wait; } && test -p pipe" % (reports % ("pipe", "other.xml")), folder)
    with open(os.path.join(folder, "piped")) as f:
        piped = f.read()
    checks.check(status == 0 and same_but_for_time(piped, plain[0]), "a report into a pipe", "%s\n%s" % (status, err))
    for redirection in ("| cat", ">out && cat out"):
        status, out, err = shell("$P %s %s" % (reports % ("other.json", "/dev/stdout"), redirection), folder)
        still = os.path.islink("/dev/stdout")
        if not still:    # not even a failing test leaves the machine so
            os.remove("/dev/stdout")
            os.symlink("/proc/self/fd/1", "/dev/stdout")
        checks.check(plain[1].strip() in out and still, "a report to /dev/stdout %s" % redirection, "%s\n%s\n%s" % (status, out, err))
    for name in ("plain.json", "plain.xml", "other.json", "other.xml", "pipe", "piped", "out"):
        os.remove(os.path.join(folder, name))


def check_size_limit(checks, folder, job):
    status, _, err = shell("ulimit -f 100; exec $P -q " + job, folder)
    checks.check(status == recovery.IO and "cannot reserve" in err and "cannot reserve 0.0 " not in err and " 0 MiB" not in err,
                 "a limit of file sizes: the size is told", "%s\n%s" % (status, err))


def check_one_token(checks, folder, job):
    status, out, err = shell("$P %s --calib_seqlen 1" % job, folder)
    checks.check(status == 0 and "No predictions" in out and "nan" not in out.lower(), "samples of one token predict nothing",
                 "%s\n%s\n%s" % (status, err, out))


def check_ignored_signal(checks, folder, job):
    """nohup has SIGHUP ignored; what is ignored at the start stays so."""
    for before, expected in (("", recovery.STOPPED), ("trap '' USR1; ", 0)):
        command = before + "exec %s --inject stop@store -q --output_dir o%d %s" % (recovery.INJECT, expected, job)
        status, _, err = shell(command, folder)
        checks.check("inject: stop@store" in err and status == expected, "a signal, %signored" % ("" if before else "not "),
                     "%s\n%s" % (status, err))


def check_start_of_mpi(checks, folder):
    """1 would say that a gate failed."""
    gate = "$P compare -q --gate 'mode=2-4 mse<1'"
    status, _, err = shell("PATH=/nonexistent OMPI_MCA_orte_tmpdir_base=/dev/null/no OMPI_MCA_ess_singleton_isolated=0 " + gate, folder)
    lines = harness.lines_of(err)
    checks.check(status == recovery.IO and len(lines) == 1 and "MPI: cannot start" in lines[0], "MPI cannot start", "%s\n%s" % (status, err))
    for variables, said in (("PMI_RANK=0 PMI_SIZE=2", "2 processes (PMI_SIZE), MPI sees 1"), ("PMI_RANK=1 PMI_SIZE=2", ""),
                            ("SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=3", "3 processes (SLURM_STEP_NUM_TASKS), MPI sees 1")):
        status, _, err = shell(variables + " " + gate, folder)
        lines = harness.lines_of(err)
        checks.check(status == 2 and len(lines) == bool(said) and said in err, "another MPI's launcher: " + variables, "%s\n%s" % (status, err))
    for words in ("SLURM_PROCID=0 SLURM_NTASKS=3 " + gate, "PMI_RANK=0 PMI_SIZE=1 " + gate,
                  "PMI_RANK=0 PMI_SIZE=2 %s -n 1 %s" % (shlex.quote(harness.MPIEXEC), gate)):
        status, _, err = shell(words, folder)
        checks.check(status == 0, "one process is meant: " + words, "%s\n%s" % (status, err))


def check_latin1(checks, folder, good):
    """Names that are no UTF-8 would make JSON that nobody reads: refused at the start, and a link helps."""
    model, out = b"mod\xe8le", b"r\xe9sultats"
    os.symlink(os.path.join(os.fsencode(os.path.dirname(folder)), b"model"), os.path.join(os.fsencode(folder), model))
    os.symlink(os.fsencode(good), os.path.join(os.fsencode(folder), out))
    names = dict(harness.QUICK, M=model, R=out)
    before = sorted(os.listdir(folder))
    for words in ("--model $M", "--output_dir $R", "--comparison-dir $R", "--calib-data $M/ids.npy", "save all --output_dir $R",
                  "compare --output_dir $R", "compare --baseline $R/summary.json", "compare --save-comparison $R.json",
                  "compare --junit $R.xml", "info $R/sweep.h5", "info --json $M", "export --npy $R", "import-npy $R",
                  "synth --out $R", "bench --json $R"):
        status, _, err = harness.execute(["sh", "-c", "$P " + words], folder, dict(names, P=harness.PROGRAM), LIMIT)
        lines = harness.lines_of(err)
        byte = "0xe8 at byte 3" if "$M" in words else "0xe9 at byte 1"
        checks.check(status == 2 and len(lines) == 1 and "expected UTF-8, got " + byte in err and "link" in err, "Latin-1: " + words,
                     "%s\n%s" % (status, err))
        checks.check(sorted(os.listdir(folder)) == before, "Latin-1: nothing is written: " + words, os.listdir(folder))
    os.symlink(model, os.path.join(os.fsencode(folder), b"model"))
    os.mkdir(os.path.join(os.fsencode(folder), b"\xe9t\xe9"))
    within = os.path.join(os.fsencode(folder), b"\xe9t\xe9")
    job = "-q --model ../model --calib-data ../model/../ids.npy --calib_data_num 1 "
    for words in (job + "--modes fp32,2-1", job + "--modes fp32,2-1 --resume", "save 2-4 " + job, "compare 2-4 -q"):
        status, _, err = harness.execute(["sh", "-c", "$P " + words], within, dict(names, P=harness.PROGRAM), LIMIT)
        checks.check(status == 0, "Latin-1: a link, in a folder that is no UTF-8: " + words, "%s\n%s" % (status, err))
    for root, _, files in os.walk(os.path.join(within, b"comparisons")):
        for name in files:
            if name.endswith(b".json"):
                harness.read_json(os.path.join(root, name))


def spoil_model(workplace, folder, factors):
    """The model with the tensors of layer 0 multiplied; returns a job for it."""
    path = os.path.join(folder, "model")
    os.makedirs(path)
    tensors = recovery.reference.load_safetensors(os.path.join(workplace, "model", "model.safetensors"))
    shutil.copy(os.path.join(workplace, "model", "config.json"), path)
    for name, factor in factors.items():
        tensors["backbone.layers.0.mixer.%s.weight" % name] *= factor
    recovery.reference.save_safetensors(os.path.join(path, "model.safetensors"), tensors)
    return ["--model", path, "--calib-data", os.path.join(workplace, "ids.npy"), "--calib_data_num", "4", "--modes", "fp16,2-1,3"]


def check_overflow(checks, workplace):
    """The scan's output of layer 0 is beyond FP16, in FP32 all is finite: no later layer of a mode looks so, whatever is kept."""
    folder = os.path.join(workplace, "overflow")
    job = spoil_model(workplace, folder, {"in_proj": np.float32(300), "conv1d": np.float32(300), "out_proj": np.float32(1e-6)})
    for layers in ("all", "last"):
        result = harness.run(job + ["--layers", layers, "--output_dir", layers, "--comparison-dir", layers], 1, folder)
        checks.check(result.status == 0, "overflow: runs", result.err)
        with open(os.path.join(folder, layers, "sweep.json"), encoding="utf-8") as f:
            report = json.load(f)
        for entry in report["layers"]:
            mse = entry["metrics"]["mse"]
            if entry["layer"] > 0:
                checks.check(entry.get("mode_nonfinite", 0) > 0 and mse["value"] is None and mse["interval"] == "nonfinite",
                             "overflow: layer %d of %s is not finite" % (entry["layer"], entry["mode"]), mse)
        checks.check(all(place["best"] == 0 for r in report["rankings"] if r.get("layer", 0) > 0 for place in r["places"]),
                     "overflow: no place", report["rankings"])
        checks.check("No predictions of the whole model to compare: NaN or Inf in all" in result.out and "one token" not in result.out,
                     "overflow: why there are no predictions", result.out[-500:])
    with h5py.File(os.path.join(folder, "all", "sweep.h5"), "r") as f:
        for mode in ("2-1", "3"):
            for name, length in zip(range(4), f["samples/length"][:]):
                rows = f["outputs/4/%s/layer_1/mixer_output" % mode][name, :length]
                whole = np.isfinite(rows).all(axis=1)
                first = int(np.argmin(whole)) if not whole.all() else length
                checks.check(first < length and np.isnan(rows[first:]).all(), "overflow: %s: NaN from its first token on" % mode, rows)


def check_lost_predictions(checks, workplace):
    """In fp16 alone something is not finite: the predictions of the others are shown."""
    folder = os.path.join(workplace, "lost")
    only_x = np.repeat(np.float32([1e5, 1]), 2 * recovery.CONFIG["hidden_size"])[:, None]
    job = spoil_model(workplace, folder, {"in_proj": only_x, "conv1d": np.float32(1e-5)})
    result = harness.run(job, 1, folder)
    rows = {line.split()[0]: line.split()[1:] for line in result.out[result.out.find("Predictions of the whole"):].splitlines() if line}
    checks.check(result.status == 0 and rows.get("fp16") == ["n/a"] * 4 and rows.get("2-1", ["n/a"])[0] != "n/a" and rows.get("3", ["n/a"])[0] != "n/a",
                 "predictions of the modes that have them", result.out[-1500:])
    checks.check("fp16: 39 predictions not compared: NaN or Inf in them or in the reference's." in result.out and "one token" not in result.out,
                 "predictions that are not finite are counted", result.out[-1500:])


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        folders = {}
        if recovery.MAMBA2:    # what depends on the family
            recovery.make_model(workplace)
            check_overflow(checks, workplace)
            checks.finish()
        for name in ("good", "closed", "link", "half", "limit", "token", "signal", "latin"):
            folders[name] = os.path.join(workplace, name)
            os.mkdir(folders[name])
        recovery.make_model(workplace)
        job = " ".join(map(shlex.quote, recovery.job_without_modes(workplace, "--modes", "fp32,2-1,2-4")))
        status, _, err = shell("$P -q " + job, folders["good"])
        checks.check(status == 0, "the sweep runs", err)
        good = recovery.results(folders["good"])
        check_full_output(checks, folders["good"], job)
        check_killed_report(checks, folders["good"])
        check_special_files(checks, folders["good"])
        check_late_speaker(checks, folders["good"])
        check_closed_streams(checks, folders["closed"], good, job)
        check_lock_link(checks, folders["link"], job)
        check_half_made(checks, folders["half"], folders["good"], job)
        check_read_only(checks, folders["good"], job)
        check_size_limit(checks, folders["limit"], job)
        check_one_token(checks, folders["token"], job)
        check_ignored_signal(checks, folders["signal"], job)
        check_start_of_mpi(checks, folders["good"])
        check_latin1(checks, folders["latin"], folders["good"])
        check_overflow(checks, workplace)
        check_lost_predictions(checks, workplace)
    checks.finish()


main()
