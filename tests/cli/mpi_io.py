# SPDX-License-Identifier: Apache-2.0
"""How bytes get into the result file: with --io mpio all raw data by MPI_File_write_at(), and by nobody else; with --io posix by
none of MPI.  Whichever it is, no byte outside the raw data changes after the file was made, and the raw data are the same.
   mpi_io.py LIBRARY"""
import os
import re
import sys

import h5py

import harness
import recovery
import sweep_files

LIBRARY = sys.argv[1]
SUPERBLOCK = 96    # rank 0 tries to rewrite it before HDF5 does, when the file is closed
FILE = os.path.join("layer_outputs", "sweep.h5")
WRITTEN = re.compile(r"inject: (\d+) bytes by MPI_File_write_at, (\d+) by others")


def raw_data(path):
    """[(first byte, bytes)] of every dataset, ascending; how many bytes of them a sweep writes once the file is there."""
    found, written = [], 0
    with h5py.File(path, "r") as f:
        def visit(name, thing):
            nonlocal written
            if isinstance(thing, h5py.Dataset):
                found.append((thing.id.get_offset(), thing.id.get_storage_size()))
                if not name.startswith("samples/") and name != "metrics/width":
                    written += thing.id.get_storage_size()
        f.visititems(visit)
    return sorted(found), written


def structure(path):
    """The bytes of the file without its raw data."""
    data, at, parts = harness.read_bytes(path), 0, []
    for first, size in raw_data(path)[0]:
        parts.append(data[at:first])
        at = first + size
    return b"".join(parts) + data[at:]


def check_ways(checks, good, workplace, ranks, io):
    what = "%s, -n %d" % (io, ranks)
    folder = os.path.join(workplace, what.replace(", ", ""))
    os.mkdir(folder)
    done = harness.run(recovery.job(good.folder, "-q", "--io", io), ranks, folder, {"LD_PRELOAD": LIBRARY, "FILE_FAULT": "count"})
    said = WRITTEN.findall(done.err)
    by_mpi, by_others = (sum(int(pair[i]) for pair in said) for i in (0, 1))
    checks.check(done.status == recovery.OK and len(said) >= ranks, what + ": a sweep", "%s\n%s" % (done.status, done.err))
    # One sample is shorter than the others: what it does not have is not written.
    written = raw_data(os.path.join(folder, FILE))[1]
    outputs = sum(thing.id.get_storage_size() // recovery.SAMPLES * 5 // 12 for thing in outputs_of(os.path.join(folder, FILE)))
    expected = written - outputs + (SUPERBLOCK if io == "mpio" else 0)
    mine, others = (by_mpi, by_others) if io == "mpio" else (by_others, by_mpi)
    checks.check(mine == expected, what + ": who wrote the raw data", "%d bytes, expected %d" % (mine, expected))
    checks.check(others == (SUPERBLOCK if io == "mpio" else 0), what + ": nobody else did", others)
    checks.check(not sweep_files.differences(recovery.results(folder), good.results), what + ": the same results")


def outputs_of(path):
    with h5py.File(path, "r") as f:
        found = []
        f["outputs"].visititems(lambda name, thing: found.append(thing) if isinstance(thing, h5py.Dataset) else None)
        yield from found


def check_structure(checks, good, workplace, io):
    """The file is kept aside before anything is written to it, and compared when all is."""
    folder = os.path.join(workplace, "structure-" + io)
    os.mkdir(folder)
    done = harness.run(["--inject", "command@observe:1/0"] + recovery.job(good.folder, "-q", "--io", io), 1, folder,
                       {"INJECT_COMMAND": "cp %s before.h5" % FILE}, program=recovery.INJECT)
    before, after = os.path.join(folder, "before.h5"), os.path.join(folder, FILE)
    checks.check(done.status == recovery.OK and raw_data(before) == raw_data(after), io + ": nothing moves", done.err)
    checks.check(harness.read_bytes(before) != harness.read_bytes(after) and len(structure(before)) > 10000, io + ": there is something to compare")
    checks.check(structure(before) == structure(after), io + ": no byte outside raw data changes")
    return structure(after)


def check_hints(checks, good, workplace):
    folder = os.path.join(workplace, "hints")
    os.mkdir(folder)
    done = harness.run(recovery.job(good.folder, "-v", "--io-hint", "romio_ds_write=disable", "--io-hint", "ind_wr_buffer_size=65536"), 2, folder)
    said = [line for line in done.lines() if "MPI-IO hints: " in line]
    checks.check(done.status == recovery.OK and len(said) == 1 and " romio_ds_write=disable" in said[0] and " ind_wr_buffer_size=65536" in said[0],
                 "hints in force", "%s\n%s" % (done.status, done.err))
    for words in (["--io-hint", "romio_ds_write"], ["--io-hint", "=disable"], ["--io-hint", "a="], ["--io-hint", "a=b", "--io-hint", "x" * 300 + "=1"],
                  ["--io", "posix", "--io-hint", "a=b"], ["--alignment", "1000"], ["--alignment", "256"]):
        bad = harness.run(words + ["--dry-run"], 1, folder)
        checks.check(bad.status == 2 and len(bad.lines()) == 1 and words[-2] in bad.err, " ".join(words), bad.err)


def check_alignment(checks, good, workplace):
    """Large datasets begin where they should, a little more room is foretold and taken, and nothing else differs."""
    alignment, sizes = 4096, []
    for io in harness.IO:
        folder = os.path.join(workplace, "aligned-" + io)
        os.mkdir(folder)
        job = recovery.job(good.folder, "--io", io, "--alignment", str(alignment))
        foretold = harness.run(job + ["--dry-run"], 1, folder)
        done = harness.run(job + ["-q"], 2, folder)
        path = os.path.join(folder, FILE)
        large = [first for first, size in raw_data(path)[0] if size >= alignment]
        checks.check(done.status == recovery.OK and len(large) > 50 and all(first % alignment == 0 for first in large),
                     io + ": aligned", "%s\n%s" % (large[:10], done.err))
        checks.check(not sweep_files.differences(recovery.results(folder), good.results), io + ", aligned: the same results")
        said = re.search(r"result file: \S+, ([\d.]+) MiB", foretold.out)
        sizes.append(os.path.getsize(path))
        checks.check(said and sizes[-1] / 1048576 <= float(said.group(1)) + 0.05, io + ", aligned: room as foretold", (said, sizes))
    checks.check(sizes[0] == sizes[1] > os.path.getsize(os.path.join(good.folder, FILE)), "aligned: larger", sizes)


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        good = recovery.Reference(workplace)
        for ranks, io in ((1, "mpio"), (2, "mpio"), (2, "posix")):
            check_ways(checks, good, workplace, ranks, io)
        check_hints(checks, good, workplace)
        check_alignment(checks, good, workplace)
        checks.check(len({check_structure(checks, good, workplace, io) for io in harness.IO}) == 1, "the same structure")
    checks.finish()


main()
