# SPDX-License-Identifier: Apache-2.0
"""A disk that fills up midway, is read-only, or loses the result file: status 4 on every rank, no hang, and a file that
resumes once there is room.  Needs the right to mount a small tmpfs in a name space of its own; skipped without it."""
import os
import subprocess
import sys

import harness
import recovery
import sweep_files

LIMIT = harness.LIMIT


def mount(folder, options):
    status, _, err = harness.execute(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], ".")
    assert status == 0, err


def remount(folder, options):
    status, _, err = harness.execute(["mount", "-o", "remount," + options, folder], ".")
    assert status == 0, err


def run(good, folder, ranks, *further, inject=None, environment=None, each=False):
    program = recovery.INJECT if inject else harness.PROGRAM
    options = (["--inject", inject] if inject else []) + recovery.job(good.folder, *(further or ["-q"]))
    if each:
        return harness.run_each_status(options, ranks, folder, environment, LIMIT, program=program)
    return harness.run(options, ranks, folder, environment, LIMIT, program=program)


def check_full(checks, good, workplace):
    # With several ranks as many samples are under way, each with all its runs.
    for ranks, sizes in ((1, ("1m", "1300k", "1700k", "2100k")), (4, ("1900k", "2100k", "2200k", "2300k"))):
        for size, io in ((size, io) for n, size in enumerate(sizes) for io in harness.ios(n)):
            what = "disk of %s, -n %d, %s" % (size, ranks, io)
            folder = os.path.join(workplace, "full-%s-%d-%s" % (size, ranks, io))
            os.mkdir(folder)
            mount(folder, "size=" + size)
            result = run(good, folder, ranks, "-q", "--io", io, inject="sparse:1", each=True)
            checks.check(result.status == recovery.IO and len(result.lines()) == 1 and "sweep.h5" in result.lines()[0],
                         what + ": status and line", "%s\n%s" % (result.status, result.err))
            remount(folder, "size=20m")
            resumed = run(good, folder, ranks, "--resume", "--io", io)
            kept = recovery.kept(resumed.err) or {"kept": 0}
            checks.check(resumed.status == recovery.OK and not sweep_files.differences(recovery.results(folder), good.results),
                         what + ": resumes once there is room", resumed.err)
            checks.check("%d of %d samples" % (kept["kept"], recovery.ALL) in result.err and 0 < kept["kept"] < recovery.ALL, what + ": midway", kept)
            harness.execute(["umount", folder], ".")


def check_adding(checks, good, workplace):
    """`save` adds modes, and there is no room for them: the file stays as it is."""
    for ranks in (1, 4):
        for inject in (None, "sparse:1"):    # room is refused at once, or ends midway
            what = "adding modes, -n %d, %s" % (ranks, inject)
            folder = os.path.join(workplace, what.replace(" ", "-").replace(":", "-"))
            os.mkdir(folder)
            mount(folder, "size=600k")
            options = ["save", "-q"] + recovery.job_without_modes(good.folder, "--io", harness.IO[ranks % 3 % 2])
            made = harness.run(options + ["fp32"], ranks, folder)
            before = recovery.stored(folder)
            program, fault = (recovery.INJECT, ["--inject", inject]) if inject else (harness.PROGRAM, [])
            full = harness.run_each_status(fault + options + ["all"], ranks, folder, None, LIMIT, program=program)
            checks.check(made.status == recovery.OK and full.status == recovery.IO and len(full.lines()) == 1,
                         what + ": status and line", "%s\n%s" % (full.status, full.err))
            left = os.listdir(os.path.join(folder, "layer_outputs"))
            checks.check(sorted(n for n in left if not n.endswith(".json")) == ["sweep.h5"], what + ": nothing beside it", left)
            after = recovery.stored(folder)
            checks.check(all(after[name] == before[name] for name in before if inject is None or name != "@job"),
                         what + ": what was there is there", sweep_files.differences(after, before))
            checks.check(inject or set(after) == set(before), what + ": as it was")
            remount(folder, "size=20m")
            again = harness.run(options + ["all"], ranks, folder)
            checks.check(again.status == recovery.OK and not sweep_files.differences(recovery.stored(folder), recovery.stored(good.folder)),
                         what + ": goes on once there is room", again.err)
            harness.execute(["umount", folder], ".")


def check_read_only(checks, good, workplace):
    folder = os.path.join(workplace, "read-only")
    os.mkdir(folder)
    mount(folder, "size=20m")
    made = run(good, folder, 1)
    remount(folder, "ro")
    for ranks in (1, 4):
        again = run(good, folder, ranks, "-q", "--resume", "--io", "mpio", each=True)
        checks.check(made.status == recovery.OK and again.status == recovery.IO and len(again.lines()) == 1,
                     "read-only, --resume, -n %d" % ranks, again.err)
        other = run(good, folder, ranks, "-q", "--output_dir", "other", each=True)
        checks.check(other.status == recovery.IO and len(other.lines()) == 1, "read-only, -n %d" % ranks, other.err)
    harness.execute(["umount", folder], ".")


def shows_holes(folder):
    """Whether this file system reserves blocks, and tells when they are gone; on others but the usual ones blocks prove
    nothing to ssmsweep."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], stdout=subprocess.PIPE, check=True).stdout.strip()
    if kind not in (b"ext2/ext3", b"xfs", b"btrfs", b"tmpfs", b"overlayfs"):
        return False
    with open(os.path.join(folder, "probe"), "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 20)
        reserved = os.fstat(file.fileno()).st_blocks
        file.truncate(0)
        file.truncate(1 << 20)
        return os.fstat(file.fileno()).st_blocks * 512 < 1 << 20 <= reserved * 512


def check_lost(checks, good, workplace):
    file = "layer_outputs/sweep.h5"
    holes, variants = shows_holes(workplace), 0
    if not holes:
        harness.skip_part("a file cut and grown again: this file system does not tell holes")
    for what, command, resumes in (("unlinked", "rm " + file, recovery.OK),
                                   ("cut", "truncate -s 1000 " + file, recovery.INPUT),
                                   ("cut, its size restored",
                                    "size=$(stat -c %%s %s); truncate -s 1000 %s; truncate -s $size %s" % (file, file, file),
                                    recovery.INPUT),
                                   ("replaced", "cp %s x && mv x %s" % (file, file), None)):
        if "restored" in what and not holes:
            continue
        for ranks in (1, 4):
            variants += 1
            # Of five samples on four ranks, rank 0 observes one for certain, and has all runs of one or a part of them.
            points = ("observe:%d/0" % (2 if ranks == 1 else 1), "mark:2/0")
            for point, io in ((point, io) for n, point in enumerate(points) for io in harness.ios(variants // 2 + n)):
                name = "%s at %s, -n %d, %s" % (what, point, ranks, io)
                folder = os.path.join(workplace, name.replace("/", "-").replace(" ", "-"))
                os.mkdir(folder)
                result = run(good, folder, ranks, "-q", "--io", io, inject="command@" + point, environment={"INJECT_COMMAND": command},
                             each=True)
                checks.check(result.status == recovery.IO and len(result.lines()) == 1 and file in result.lines()[0],
                             name + ": status and line", "%s\n%s" % (result.status, result.err))
                checks.check("does the rest" not in result.err and "start anew" in result.err,
                             name + ": does not count on what was stored", result.err)
                resumed = run(good, folder, ranks, "--resume", "--io", io)
                anew = "starts anew" in resumed.err    # nothing was stored before: the file was taken away
                checks.check(resumed.status == (recovery.OK if resumes is None or anew else resumes), name + ": resuming",
                             "%s\n%s" % (resumed.status, resumed.err))
                if resumed.status == recovery.OK:
                    checks.check(not sweep_files.differences(recovery.results(folder), good.results), name + ": the same")


def main():
    if not os.environ.get("SSMSWEEP_OWN_MOUNTS"):
        if harness.execute(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], ".")[0] != 0:
            harness.skip("no right to mount a tmpfs")
        os.environ["SSMSWEEP_OWN_MOUNTS"] = "1"
        os.execvp("unshare", ["unshare", "-m", sys.executable] + sys.argv)
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        good = recovery.Reference(workplace)
        check_full(checks, good, workplace)
        check_adding(checks, good, workplace)
        check_read_only(checks, good, workplace)
        check_lost(checks, good, workplace)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
