# SPDX-License-Identifier: Apache-2.0
"""`save` adds modes to a result file: the contents are those of a file made in one go, what is there is kept, and an addition
that is killed or fails at any point is finished, or has changed nothing, when the next command comes.  Commands on one file
write by MPI-IO and by pwrite() in turn; where there is time, everything is done again with the other one first."""
import concurrent.futures
import json
import os
import re
import shutil
import sys
import zlib

import h5py

import harness
import recovery
import sweep_files

WHOLE = ["fp32", "fp16", "0", "2-1", "3"]
FIRST = [0]    # of harness.IO, of half of the files
SPLITS = [["fp32"], ["2-1"], ["3", "0"], ["fp16"]], [["2-1", "--reference", "2-1"], ["fp32", "0"], ["3", "fp16"]]


class Folder:
    def __init__(self, good, path, start=None):
        self.good, self.path = good, path
        self.turn = FIRST[0] + zlib.crc32(os.path.basename(path).encode())
        if start:
            shutil.copytree(start.path, path)
        else:
            os.mkdir(path)

    def call(self, command, *further, ranks=1, inject=None):
        program = recovery.INJECT if inject else harness.PROGRAM
        options = (["--inject", inject] if inject else []) + [command]
        if command != "compare":
            options += recovery.job_without_modes(self.good, "-v", "--io", harness.IO[self.turn % 2])
            self.turn += 1
        return harness.run(options + list(further), ranks, self.path, program=program)

    def save(self, *modes, ranks=1, inject=None):
        return self.call("save", *modes, ranks=ranks, inject=inject)

    def whole_bytes(self):
        with open(os.path.join(self.path, "layer_outputs", "sweep.h5"), "rb") as f:
            return f.read()

    def names(self):
        return sorted(name for name in os.listdir(os.path.join(self.path, "layer_outputs")) if not name.endswith(".json"))


def check_bits(checks, good, workplace, ranks):
    """Any order of additions gives the one file; each computes what is missing and nothing else.  The reference stays
    that of the first save."""
    wholes = []
    for number, split in enumerate(SPLITS):
        once = Folder(good, os.path.join(workplace, "once-%d-%d" % (number, ranks)))
        result = once.save(*WHOLE, *split[0][1:], ranks=ranks)
        checks.check(result.status == recovery.OK, "in one go %d, -n %d" % (number, ranks), result.err)
        wholes.append(once)
        what = "split %d, -n %d" % (number, ranks)
        folder = Folder(good, os.path.join(workplace, "split-%d-%d" % (number, ranks)))
        began = []
        for modes in split:
            result = folder.save(*modes, ranks=ranks)
            checks.check(result.status == recovery.OK, "%s: save %s" % (what, modes), result.err)
            began.append(recovery.computed(result.err))
        runs = 2 + 2 * 3    # fp32, fp16, and three modes with two sets of scales
        checks.check([sum(n) for n in zip(*began)] == [runs * recovery.SAMPLES, recovery.SAMPLES],
                     what + ": nothing is computed twice", began)
        differing = sweep_files.differences(recovery.results(folder.path), recovery.results(once.path))
        checks.check(not differing, what + ": the contents of one go", differing)
        checks.check(folder.names() == ["sweep.h5"], what + ": nothing else is left", folder.names())
        again = folder.save(*WHOLE, ranks=ranks)
        checks.check(again.status == recovery.OK and recovery.computed(again.err) == (0, 0) and "holds these modes" in again.err,
                     what + ": all of them again", again.err)
    return wholes[0]


def check_words(checks, good, workplace):
    folder = Folder(good, os.path.join(workplace, "words"))
    first = folder.save("fp32", "0")
    before = folder.whole_bytes()
    for what, command, words in (
            ("another percentile", ["save", "2-1", "--percentile_alpha", "0.99"], ["percentile_alpha is 0.9995 there, 0.99 here"]),
            ("one that differs late", ["save", "2-1", "--percentile_alpha", "0.99950000000001"],
             ["percentile_alpha is 0.99950000000000006 there, 0.99950000000001005 here"]),
            ("other layers", ["save", "2-1", "--layers", "1"], ["layers is 'all' there, '1' here"]),
            ("fewer samples", ["save", "2-1", "--calib_data_num", "3"], ["calib_data_num is 3,5 there, 3 here"]),
            ("run", ["run", "--modes", "2-1"], ["exists already", "`ssmsweep save` to add modes"]),
            ("run --resume", ["run", "--modes", "0,2-1", "--resume"], ["modes is fp32,0 there, fp32,0,2-1 here"])):
        for ranks in (1, 3):
            result = folder.call(*command, ranks=ranks)
            # Lines of other ranks may arrive later than the refusal.
            checks.check(result.status == recovery.INPUT and any(all(word in line for word in words) for line in result.lines()),
                         "%s, -n %d: refused" % (what, ranks), result.err)
    checks.check(first.status == recovery.OK and folder.whole_bytes() == before, "a refusal changes nothing")
    result = folder.call("run", "--modes", "0,fp32", "--resume")
    checks.check(result.status == recovery.OK, "the same modes in other words", result.err)
    result = folder.save("--mode", "2-1", "--quantize")
    checks.check("adds modes 2-1" in result.err, "what is added is said", result.err)
    dry = folder.save("2-4", "--dry-run")
    checks.check(dry.status == recovery.OK and all("mode %s" % mode in dry.out for mode in ("fp32", "0", "2-1", "2-4")),
                 "--dry-run shows all of them", dry.out + dry.err)


def check_long_job(checks, good, workplace):
    """More options than an attribute of the oldest format of HDF5 holds."""
    folder = Folder(good, os.path.join(workplace, "long-job"))
    layers = ["--layers", ",".join(["0"] * 33000)]
    made, added = folder.save("fp32", "0", *layers), folder.save("2-1", *layers)
    with h5py.File(os.path.join(folder.path, "layer_outputs", "sweep.h5"), "r") as f:
        job = json.loads(f.attrs["job"])
    checks.check(made.status == recovery.OK and added.status == recovery.OK and job["layers"] == layers[1],
                 "options of 66 KB are stored", made.err + added.err)
    other = folder.save("3", "--layers", layers[1] + ",1")
    compared = folder.call("compare", "-q")
    checks.check(other.status == recovery.INPUT and "0' there" in other.lines()[-1] and ",1' here" in other.lines()[-1] and
                 compared.status == recovery.OK, "and read back", other.err + compared.err)
    harness.write_json(os.path.join(folder.path, "job.json"), {"observer": ",".join(["minmax"] * 150000)})
    result = folder.save("3", "--job", "job.json", "--output_dir", "more")
    checks.check(result.status == 2 and "expected options of up to 1048575 bytes" in result.lines()[-1] and
                 not os.path.exists(os.path.join(folder.path, "more")), "1 MB: refused", result.err)


def finish(checks, what, folder, once, ranks, compares):
    """The next command may be any."""
    if compares:
        result = folder.call("compare", "fp32", "-q")
        checks.check(result.status == recovery.OK, what + ": compare", result.err)
    result = folder.save("2-1", "3", "0", "fp16", ranks=ranks)
    differing = sweep_files.differences(recovery.stored(folder.path), recovery.stored(once.path))
    checks.check(result.status == recovery.OK and not differing, what + ": the next save ends with the contents of one go",
                 "%s\n%s\n%s" % (result.status, differing, result.err))
    checks.check(folder.names() == ["sweep.h5"], what + ": nothing else is left", folder.names())


def walk(start, workplace, point, ranks, step=1):
    """Folders in which adding modes met its K-th fault, until it meets none."""
    if not harness.LONG and step == 1:    # odd, so that the next command is now one, now the other
        step = 9 if point == "write" else 5
    for at in range(1, 100, step):
        folder = Folder(start.good, os.path.join(workplace, "%s-%d-%d" % (point, at, ranks)), start)
        result = folder.save("2-1", "3", ranks=ranks, inject="%s:%d/0" % (point, at))
        if "inject: " not in result.err or "observes sample" in result.err.split("inject: ")[0]:
            return    # the addition is over
        yield at, folder, result


POINTS = [("create", 1, 9), ("pwrite", 1, 1), ("pwrite", 3, 5), ("sync", 1, 1), ("sync", 3, 1), ("rename", 1, 1),
          ("rename", 3, 1), ("unlink", 1, 1), ("unlink", 3, 1)]


def check_killed(checks, once, start, workplace, where):
    point, ranks, step = where
    killed = 0
    for at, folder, result in walk(start, workplace, "die@" + point, ranks, step):
        what = "killed at %s %d, -n %d" % (point, at, ranks)
        killed += 1
        checks.check(result.status in (-9, 137, 1), what, result.err)
        finish(checks, what, folder, once, ranks, at % 2 == ranks % 2)
    checks.check(killed > 0, "killed at %s, -n %d" % (point, ranks))


def check_failing(checks, once, start, workplace):
    """Every call that writes fails once."""
    failed = 0
    before = start.whole_bytes()
    for at, folder, result in walk(start, workplace, "write", 1):
        what = "write %d fails" % at
        if result.status == recovery.OK:
            continue    # a line of the log was lost
        failed += 1
        good = result.status == recovery.IO and re.match("ssmsweep: layer_outputs/sweep.h5", result.lines()[-1])
        checks.check(good, what + ": status and line", "%s\n%s" % (result.status, result.err))
        if folder.names() == ["sweep.h5"]:
            checks.check(folder.whole_bytes() == before or "2-1" in recovery.stored(folder.path)["@job"],
                         what + ": the file is as it was, or has the modes")
        finish(checks, what, folder, once, 1, at % 2 == 0)
    checks.check(failed > (10 if harness.LONG else 3), "writes that failed", failed)


def check_stale(checks, once, start, workplace):
    """What an addition left of a file that is no more does not come over the next."""
    folder = Folder(start.good, os.path.join(workplace, "stale"), start)
    folder.save("2-1", inject="die@sync:2/0")
    left = folder.names()
    os.remove(os.path.join(folder.path, "layer_outputs", "sweep.h5"))
    result = folder.save(*WHOLE)
    checks.check(left == ["sweep.h5", "sweep.h5.extension", "sweep.h5.lock"] and result.status == recovery.OK and
                 not sweep_files.differences(recovery.stored(folder.path), recovery.stored(once.path)) and
                 folder.names() == ["sweep.h5"], "a new file beside an old extension", "%s\n%s" % (left, result.err))


def check_foreign(checks, once, start, workplace):
    """An addition that was interrupted is for one file; another that took its place is not touched."""
    for what, point in (("untouched", "sync:2"), ("partly changed", "pwrite:%d")):
        folder = Folder(start.good, os.path.join(workplace, "foreign-" + what.replace(" ", "-")), start)
        file = os.path.join(folder.path, "layer_outputs", "sweep.h5")
        before = folder.whole_bytes()
        for at in range(1, 100):    # the first write that changes the file, but does not end the change
            folder.save("2-1", "3", inject="die@%s/0" % (point % at if "%" in point else point))
            if "%" not in point or folder.whole_bytes() != before:
                break
        left = "sweep.h5.extension" in folder.names()
        os.rename(file, file + ".aside")
        other = Folder(start.good, os.path.join(workplace, "other-" + what.replace(" ", "-")), start)
        for name, grown in (("of the same modes", other.save("2-4")), ("of other modes", None)):
            if not grown:
                shutil.rmtree(os.path.join(other.path, "layer_outputs"))
                grown = other.save("fp16")
            shutil.copy(os.path.join(other.path, "layer_outputs", "sweep.h5"), file)
            for command, modes in (("save", ["2-1", "3"]), ("compare", ["fp32", "-q"])):
                result = folder.call(command, *modes)
                checks.check(left and grown.status == recovery.OK and result.status == recovery.INPUT and
                             "another file than" in result.lines()[-1] and ".extension" in result.lines()[-1] and
                             folder.whole_bytes() == other.whole_bytes(),
                             "%s, beside it another %s: %s" % (what, name, command), "%s\n%s" % (result.status, result.err))
        os.rename(file + ".aside", file)
        finish(checks, what + ", back again", folder, once, 1, False)


def check_small(checks, workplace):
    """What is prepared beside the file takes no room for outputs, old or new."""
    folder = os.path.join(workplace, "small")
    os.mkdir(folder)
    options = ["--calib_data_num", "4", "--calib_seqlen", "200", "--layers", "0-3", "-q"]
    made = harness.run(["save", "fp_only"] + options, 1, folder)
    harness.run(["--inject", "die@sync:2", "save", "2-1"] + options, 1, folder, program=recovery.INJECT)
    file, left = (os.stat(os.path.join(folder, "layer_outputs", "sweep.h5" + end)) for end in ("", ".extension"))
    checks.check(made.status == recovery.OK and file.st_size > 2 << 20 and left.st_blocks * 512 < 300 << 10,
                 "the extension is small", "%d bytes for a file of %d" % (left.st_blocks * 512, file.st_size))


def check_all(checks, good, workplace):
    once = check_bits(checks, good, workplace, 1)
    check_bits(checks, good, workplace, 3)
    check_words(checks, good, workplace)
    start = Folder(good, os.path.join(workplace, "start"))
    result = start.save("fp32")
    checks.check(result.status == recovery.OK, "the file to start from", result.err)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        parts = [pool.submit(check_failing, checks, once, start, workplace),
                 pool.submit(check_stale, checks, once, start, workplace),
                 pool.submit(check_foreign, checks, once, start, workplace)]
        parts += [pool.submit(check_killed, checks, once, start, workplace, where) for where in POINTS]
        for part in parts:
            part.result()


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        good = os.path.join(workplace, "good")
        os.mkdir(good)
        recovery.make_model(good)
        check_long_job(checks, good, workplace)
        check_small(checks, workplace)
        for first in range(2 if harness.LONG else 1):
            FIRST[0] = first
            folder = os.path.join(workplace, harness.IO[first])
            os.mkdir(folder)
            check_all(checks, good, folder)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
