# SPDX-License-Identifier: Apache-2.0
"""Layer outputs as NumPy arrays: what is exported equals what NumPy reads from the result file; imported again it gives
the same reports; arrays of the original tool's shape can be imported; broken folders are told."""
import os
import shutil
import sys

import h5py
import numpy

import harness
import sweep_files

JOB = ["--modes", "essential", "--calib_data_num", "3", "--calib_seqlen", "40", "--layers", "2,last", "--components",
       "ssm_input,mixer_output"]
MODES = ["fp32", "0", "2-1", "2-2", "2-4"]


def valid_rows(path, mode, layer, component):
    with h5py.File(path, "r") as f:
        group = "float" if mode.startswith("fp") else "3"
        length = f["samples/length"][:]
        data = f["outputs/%s/%s/layer_%d/%s" % (group, mode, layer, component)][:]
        return data[numpy.arange(data.shape[1]) < length[:, None]]


def check_export(checks, result, folder):
    for mode in MODES:
        stats = harness.read_json(os.path.join(folder, "mode_%s_stats.json" % mode))
        for layer in (2, 23):
            for component in ("mixer_output", "ssm_input"):
                plain = component == "mixer_output"
                name = "mode_%s_layer_%d%s.npy" % (mode, layer, "" if plain else "_" + component)
                rows, expected = numpy.load(os.path.join(folder, name)), valid_rows(result, mode, layer, component)
                same = rows.dtype == numpy.float32 and rows.shape == expected.shape and rows.tobytes() == expected.tobytes()
                checks.check(same, name + " is what the result file holds", "%s %s" % (rows.dtype, rows.shape))
                told = stats["layers"]["layer_%d" % layer]
                told = told if plain else told["components"][component]
                wide = rows.astype(numpy.float64)
                for key, value in (("mean", wide.mean()), ("std", wide.std()), ("min", wide.min()), ("max", wide.max()),
                                   ("abs_mean", numpy.abs(wide).mean())):
                    close = abs(told[key] - value) <= 1e-9 * max(abs(value), wide.std())
                    checks.check(close, "%s: %s" % (name, key), "%r, NumPy %r" % (told[key], value))


def check_scales(checks, result, folder):
    """Those of the activations, and with groups of heads these and theirs, as the file has them."""
    sites = harness.read_json(os.path.join(folder, "export.json"))["sites"]
    with h5py.File(result, "r") as f:
        cell = [c for c in f["calibration"] if isinstance(f["calibration"][c], h5py.Group)][0]
        expected = {"scales_n%s" % cell: f["calibration/%s/scales" % cell][()]}
        if "groups" in f["calibration"]:
            rows, group_scales = f["calibration/groups"][()], f["calibration/%s/group_scales" % cell][()]
            inner = numpy.load(os.path.join(folder, "groups_channels.npy")).shape[1]
            count = (rows.shape[1] - inner) // 20    # of B and C
            expected.update({"group_scales_n%s" % cell: group_scales, "groups_channels": rows[:, :inner],
                             "groups_head_ends": rows[:, inner:inner + 4 * count].reshape(-1, count, 4),
                             "groups_channel_ends": rows[:, inner + 4 * count:].reshape(-1, count, 4, 4)})
    checks.check(len(sites) == expected["scales_n%s" % cell].shape[1], "export.json names the sites", sites)
    for name, values in expected.items():
        got = numpy.load(os.path.join(folder, name + ".npy"))
        checks.check(got.dtype == values.dtype and numpy.array_equal(got, values), name + " is what the result file holds", got.shape)
    if len(expected) > 1:
        channels = numpy.sort(numpy.load(os.path.join(folder, "groups_channels.npy")), axis=1)
        checks.check((channels == numpy.arange(inner)).all() and (expected["groups_channel_ends"] > 0).all(),
                     "each channel has a place", channels.shape)
    return len(expected)


def reports(folder):
    """The JSON files but for what must differ.  Imported arrays have no metrics of other layers, and so another sweep.json:
    sweep_report.py looks at that."""
    found = sweep_files.json_lines(folder, ('"timestamp"', '"output_dir"'))
    return {name: lines for name, lines in found.items() if not name.startswith("sweep.")}


def check_original_shape(checks, work):
    """As the original tool saves them: [samples, tokens, width], statistics with little in it, double or float."""
    folder = os.path.join(work, "original")
    os.mkdir(folder)
    values = numpy.random.default_rng(1).standard_normal((4, 6, 8))
    other = values + 0.25
    numpy.save(os.path.join(folder, "mode_fp32_layer_0.npy"), values)
    numpy.save(os.path.join(folder, "mode_2-1_layer_0.npy"), other.astype("f4"))
    result = harness.run(["import-npy", "original", "--output_dir", "theirs"], 1, work)
    checks.check(result.status == 0, "import of the original's shape", result.err)
    result = harness.run(["compare", "--output_dir", "theirs", "--comparison-dir", "c2", "-q"], 1, work)
    checks.check(result.status == 0, "and its comparison", result.err)
    report = harness.read_json(os.path.join(work, "c2", "mode_2-1_vs_fp32.json"))
    record = report["layers"]["layer_0"]
    checks.check(abs(record["mse"] - 0.0625) < 1e-6 and record["elements"] == 4 * 6 * 8, "mse", record)


def check_broken(checks, work):
    def broken(what, word, change):
        shutil.rmtree(os.path.join(work, "broken"), ignore_errors=True)
        shutil.copytree(os.path.join(work, "arrays"), os.path.join(work, "broken"))
        change(lambda name: os.path.join(work, "broken", name))
        result = harness.run(["import-npy", "broken", "--output_dir", "never"], 1, work)
        good = result.status == 3 and len(result.lines()) == 1 and word in result.err
        checks.check(good, what, "status %s: %s" % (result.status, result.err))
        checks.check(not os.path.exists(os.path.join(work, "never", "sweep.h5")), what + ": no result file")

    def torn(at):
        with open(at("mode_2-1_layer_2.npy"), "r+b") as f:
            f.truncate(1000)

    def lengths(at):
        manifest = harness.read_json(at("export.json"))
        manifest["sample_lengths"][1] -= 1
        harness.write_json(at("export.json"), manifest)

    broken("a torn array", "mode_2-1_layer_2.npy", torn)
    broken("a missing array", "same layers", lambda at: os.remove(at("mode_2-1_layer_2.npy")))
    broken("an unknown mode", "mode_9-9", lambda at: os.rename(at("mode_2-4_layer_2.npy"), at("mode_9-9_layer_2.npy")))
    broken("an unknown component", "unknown component", lambda at: numpy.save(at("mode_2-4_layer_2_soup.npy"), [1.0]))
    broken("integers", "float32", lambda at: numpy.save(at("mode_2-4_layer_2.npy"), numpy.zeros((3, 4), "i4")))
    broken("another width", "mode_2-4_layer_2.npy", lambda at: numpy.save(at("mode_2-4_layer_2.npy"), numpy.zeros((9, 5), "f4")))
    broken("wrong lengths", "rows", lengths)
    broken("a torn manifest", "export.json", lambda at: open(at("export.json"), "w").close())
    os.mkdir(os.path.join(work, "empty"))
    for folder in ("empty", "missing"):
        result = harness.run(["import-npy", folder, "--output_dir", "never"], 1, work)
        checks.check(result.status == 3 and folder in result.err, "import of a folder that is " + folder, result.err)


def main():
    checks = harness.Checks()
    with harness.Workplace() as work:
        result = harness.run(JOB + ["-q"], 3, work)
        checks.check(result.status == 0, "a sweep", result.err)
        result = harness.run(["export", "--npy", "arrays"], 1, work)
        if not checks.check(result.status == 0, "export --npy", result.err):
            checks.finish()
        check_export(checks, os.path.join(work, "layer_outputs", "sweep.h5"), os.path.join(work, "arrays"))
        check_scales(checks, os.path.join(work, "layer_outputs", "sweep.h5"), os.path.join(work, "arrays"))
        result = harness.run(["export", "--npy"], 2, work)
        beside = os.path.exists(os.path.join(work, "layer_outputs", "mode_2-4_layer_23.npy"))
        checks.check(result.status == 0 and beside, "export beside the result file, two ranks", result.err)
        result = harness.run(["export"], 1, work)
        checks.check(result.status == 2 and "--npy" in result.err, "export without a format", result.err)

        for ranks, name in ((1, "again"), (2, "again2")):
            result = harness.run(["import-npy", "arrays", "--output_dir", name], ranks, work)
            checks.check(result.status == 0, "import-npy on %d ranks" % ranks, result.err)
            result = harness.run(["compare", "--output_dir", name, "--comparison-dir", "c-" + name, "-q"], 1, work)
            checks.check(result.status == 0, "compare of imported arrays", result.err)
            first, second = (reports(os.path.join(work, folder)) for folder in ("comparisons", "c-" + name))
            checks.check(len(first) == 5 and first == second, "the same reports", sorted(second))
        result = harness.run(["import-npy", "arrays", "--output_dir", "again"], 1, work)
        checks.check(result.status == 3 and "exists already; remove it" in result.err, "no result file is overwritten", result.err)
        check_original_shape(checks, work)
        check_broken(checks, work)
        os.mkdir(os.path.join(work, "grouped"))
        for words in (["save", "2-1", "--model", "mamba2-demo", "--calib_data_num", "2", "--calib_seqlen", "16", "-q"], ["export", "--npy", "arrays"]):
            result = harness.run(words, 1, os.path.join(work, "grouped"))
            checks.check(result.status == 0, "of Mamba-2: " + words[0], result.err)
        found = check_scales(checks, os.path.join(work, "grouped", "layer_outputs", "sweep.h5"), os.path.join(work, "grouped", "arrays"))
        checks.check(found == 5, "groups of heads and their scales are among them", found)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
