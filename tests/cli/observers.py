# SPDX-License-Identifier: Apache-2.0
"""--observer and --shuffle-calib: every prefix of every order has the bits of a run of its own, for any number of ranks
and after an interruption; and the scales are what NumPy makes of the stored observations, and nearly what it makes of
the activations themselves.

    observers.py prefixes|numbers|stops|bad"""
import os
import shutil
import sys

import h5py
import numpy as np

import harness
import recovery
import sweep_files

import observers as numpy_observers  # noqa: E402, of tests/reference, which recovery.py put on the path

USAGE = 2
SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
MIXED = "mse,x_proj_input=entropy,outputs=entropy,ssm_state=percentile,dt_proj-output=ema-percentile"
EVERY_KIND = ["mse", "entropy", "ema-percentile", "percentile", "minmax", "entropy", "mse"]
EVERY = ("in_proj_input=mse,in_proj_output=entropy,x_proj_input=ema-percentile,x_proj_output=percentile,"
         "dt_proj_output=minmax,out_proj_input=entropy,ssm_state=mse")
SEED = 5


def make_inputs(folder, samples, length=12):
    recovery.make_model(folder)
    rng = np.random.default_rng(3)
    ids = rng.integers(0, 64, (samples, length)).astype(np.int32)
    for s in range(samples):
        ids[s, 1 + rng.integers(0, length):] = -1
    np.save(os.path.join(folder, "ids.npy"), ids)
    return ids


def command(folder, sizes, *further, ids="ids.npy"):
    return ["--model", os.path.join(folder, "model"), "--calib-data", os.path.join(folder, ids), "--calib_data_num",
            ",".join(map(str, sizes)), "--modes", "2-4", "--layers", "last"] + list(further)


def run(checks, case, line, ranks=1, program=harness.PROGRAM):
    os.makedirs(case, exist_ok=True)
    result = harness.run(line, ranks, case, program=program)
    checks.check(result.status == 0, "%s runs" % os.path.basename(case), result.err)
    return os.path.join(case, "layer_outputs", "sweep.h5")


def scales(path):
    with h5py.File(path, "r") as f:
        return {name: f["calibration/%s/scales" % name][()] for name in f["calibration"]
                if isinstance(f["calibration"][name], h5py.Group)}


# ---------------------------------------------------------------- prefixes
def check_prefixes(checks, folder):
    ids = make_inputs(folder, max(SIZES))
    few = ["-q", "--eval_data_num", "1", "--seed", str(SEED)]
    orders = [numpy_observers.order(k, len(ids), SEED) for k in range(3)]
    checks.check(len({tuple(order) for order in orders}) == 3, "three orders")
    for k in (1, 2):
        np.save(os.path.join(folder, "order%d.npy" % k), ids[orders[k]])
    for name, option in (("reference", []), ("every", ["--observer", EVERY])):
        case = os.path.join(folder, name)
        joint = scales(run(checks, case + "-all", command(folder, SIZES, "--shuffle-calib", "3", *option, *few)))
        cells = {"%d%s" % (n, "_order%d" % k if k else "") for n in SIZES for k in range(3)}
        checks.check(set(joint) == cells, name + ": cells", sorted(joint))
        for n in SIZES:
            own = scales(run(checks, "%s-%d" % (case, n), command(folder, [n], *option, *few)))[str(n)]
            checks.check(own.tobytes() == joint[str(n)].tobytes(), "%s: %d samples, bit for bit" % (name, n))
        for k, n in ((1, 1), (1, 32), (2, 8), (2, 512)):
            line = command(folder, [n], *option, *few, ids="order%d.npy" % k)
            own = scales(run(checks, "%s-%d-%d" % (case, k, n), line))[str(n)]
            checks.check(own.tobytes() == joint["%d_order%d" % (n, k)].tobytes(),
                         "%s: %d samples in order %d, bit for bit" % (name, n, k))
        for s, kind in enumerate(numpy_observers.DEFAULT if name == "reference" else EVERY_KIND):
            same = [np.array_equal(joint["512_order%d" % k][:, s], joint["512"][:, s]) for k in (1, 2)]
            checks.check(all(same) if kind != "ema-percentile" else not any(same),
                         "%s, site %d: with all samples the order counts for the moving average alone" % (name, s))
            checks.check(any(not np.array_equal(joint["8_order%d" % k][:, s], joint["8"][:, s]) for k in (1, 2)),
                         "%s, site %d: other samples come first in another order" % (name, s))


# ---------------------------------------------------------------- numbers
def check_site(checks, what, kind, numbers, counts, got):
    """One scale against the stored numbers and the stored histogram of its samples."""
    top = float(numpy_observers.running("minmax", numbers))
    if kind not in ("mse", "entropy"):
        expected = numpy_observers.scale_of(numpy_observers.running(kind, numbers))
        checks.check(expected == got, what, "%r, expected %r" % (got, expected))
        return
    threshold = float(got) * 127
    costs = [numpy_observers.cost(kind, counts, top, t) for t in numpy_observers.offered(kind, counts, top)]
    if kind == "entropy":    # one of those that are tried
        tried = numpy_observers.offered(kind, counts, top)
        nearest = int(np.argmin(np.abs(tried / threshold - 1)))
        good = abs(tried[nearest] / threshold - 1) < 1e-6 and costs[nearest] <= min(costs) * (1 + 1e-9)
    else:    # those and some between them
        good = threshold <= top * (1 + 1e-6) and numpy_observers.squared_error(counts, top, threshold) <= min(costs) * (1 + 1e-6)
    checks.check(good, what, "threshold %g of %g" % (threshold, top))


def check_activations(checks, what, kind, raw, threshold):
    """The costs of the activations themselves: no dearer than one bin beside their optimum."""
    top, near = float(np.abs(raw).max()), 1 + 1 / 16
    if kind == "mse":
        tried = top * np.linspace(0.05, 1, 400)
        costs = np.array([numpy_observers.quantization_error(raw, t) for t in tried])
        best = int(np.argmin(costs))
        allowed = costs[(tried > tried[best] / near) & (tried < tried[best] * near)].max()
        cost = numpy_observers.quantization_error(raw, threshold)
    else:
        bins = numpy_observers.make_edges(64)
        counts = numpy_observers.histogram(raw, bins)
        tried = np.append(bins[(bins >= top / 16) & (bins < top)], top)
        costs = np.array([numpy_observers.divergence(counts, top, t, bins) for t in tried])
        allowed = 1.2 * costs.min()
        cost = costs[(tried >= threshold / near) & (tried <= threshold * near)].min()
    checks.check(cost <= allowed, what, "%g, at most %g" % (cost, allowed))


def check_numbers(checks, folder):
    sizes, length = [1, 5, 16], 48
    ids = make_inputs(folder, max(sizes), length)
    samples = [row[row >= 0] for row in ids]
    tensors = recovery.reference.random_model_tensors(1, 64, 2, 64)
    activations = numpy_observers.activations(recovery.reference.Model(tensors), samples)
    pure = {}
    for observer in (None,) + numpy_observers.KINDS + (MIXED,):
        option = ["--observer", observer] if observer else []
        path = run(checks, os.path.join(folder, str(observer)), command(folder, sizes, "-q", *option))
        with h5py.File(path, "r") as f:
            kinds = [kind.decode() for kind in f["calibration/16/scales"].attrs["observers"]]
            names = [site.decode() for site in f["calibration/16/scales"].attrs["sites"]]
            observed, made = f["calibration/observed"][()], {n: f["calibration/%d/scales" % n][()] for n in sizes}
            counts = f["calibration/histogram"][()] if "histogram" in f["calibration"] else None
        expected = {None: numpy_observers.DEFAULT,
                    MIXED: ["mse", "entropy", "entropy", "entropy", "ema-percentile", "mse", "percentile"]}
        checks.check(kinds == expected.get(observer, [observer] * 7) and names == numpy_observers.SITES,
                     "%s: observers of the sites" % observer, kinds)
        pure[observer] = made[16]
        takes = any(kind in ("mse", "entropy") for kind in kinds)
        checks.check((counts is not None) == takes, "%s: histograms only where they are asked for" % observer)
        for s, kind in enumerate(kinds if observer == MIXED else ()):
            checks.check(np.array_equal(made[16][:, s], pure[kind][:, s]), "each site has the observer that it was given")
        for l in range(2 if observer != MIXED else 0):
            for s, kind in enumerate(kinds):
                where = "%s: layer %d, %s" % (observer, l, names[s])
                of_sample = [activations[l][s][i] for i in range(len(samples))]
                quantile = kind in ("percentile", "ema-percentile")
                shown = [recovery.reference.quantile(v, 0.9995) if quantile else np.abs(v).max() for v in of_sample]
                checks.check(np.allclose(observed[:, l, s], shown, rtol=1e-4), where + ": what samples showed")
                if kind in ("mse", "entropy"):
                    own = np.array([numpy_observers.histogram(v) for v in of_sample])
                    checks.check(counts[:, l, s].sum() == own.sum() and
                                 np.abs(counts[:, l, s] - own).sum() <= 2e-3 * own.sum(), where + ": its histogram")
                for n in sizes:
                    check_site(checks, where + ", %d samples" % n, kind, observed[:n, l, s],
                               counts[:n, l, s].sum(0) if counts is not None else None, made[n][l, s])
                if kind in ("mse", "entropy"):
                    check_activations(checks, where + ": against the activations", kind,
                                      np.concatenate(of_sample).astype(float), float(made[16][l, s]) * 127)


# ---------------------------------------------------------------- ranks, stops, other jobs
def check_stops(checks, folder):
    make_inputs(folder, 12)
    line = command(folder, [1, 3, 12], "-v", "--observer", MIXED, "--shuffle-calib", "3", "--seed", str(SEED), "--shard", "2")
    good = os.path.join(folder, "good")
    os.mkdir(good)
    first = harness.run(line, 1, good)
    checks.check(first.status == 0, "runs", first.err)
    check_report(checks, good, first)
    path, results = os.path.join(good, "layer_outputs", "sweep.h5"), recovery.results(good)
    checks.check(len(scales(path)) == 9, "cells", sorted(scales(path)))
    for ranks in (2, 4, 7):
        case = os.path.join(folder, "n%d" % ranks)
        run(checks, case, line, ranks)
        differing = sweep_files.differences(recovery.results(case), results)
        checks.check(not differing, "-n %d: the same bytes" % ranks, differing)
    for point, ranks, io in (("observe:1", 1, 0), ("observe:7", 1, 1), ("observe:1/0", 3, 1), ("store:20", 1, 0)):
        case = os.path.join(folder, point.replace(":", "-").replace("/", "-"))
        os.mkdir(case)
        stopped = harness.run(["--inject", "stop@" + point] + line + ["--io", harness.IO[io]], ranks, case, program=recovery.INJECT)
        checks.check(stopped.status == recovery.STOPPED, point + ": stops", stopped.err)
        resumed = harness.run(line + ["--resume", "--io", harness.IO[1 - io]], 4 - ranks, case)
        differing = sweep_files.differences(recovery.results(case), results)
        checks.check(resumed.status == 0 and not differing, point + ": goes on to the same bytes",
                     "%s\n%s" % (differing, resumed.err))
        observed = recovery.computed(stopped.err)[1] + recovery.computed(resumed.err)[1]
        checks.check(observed == 12, point + ": no sample is observed twice", observed)
    torn = os.path.join(folder, "torn")
    shutil.copytree(good, torn)
    with h5py.File(os.path.join(torn, "layer_outputs", "sweep.h5"), "r+") as f:
        f["calibration/histogram"][4, 1, 0, 300] += 1
    result = harness.run(line + ["--resume"], 2, torn)
    checks.check("calibration: 11 of 12 kept, 1 torn" in result.err and
                 not sweep_files.differences(recovery.results(torn), results), "an altered histogram is made again", result.err)
    quiet = [word for word in line if word != "-v"] + ["-q", "--resume"]
    other = MIXED.rsplit("=", 1)[0] + "=minmax"    # differs at its end alone
    for option, value, words in (("--observer", "mse", "observer is '%s... there, 'mse' here" % MIXED[:71]),
                                 ("--observer", other, "observer is ...,dt_proj-output=ema-percentile' there, ...,dt_proj-output=minmax' here"),
                                 ("--shuffle-calib", "2", "shuffle_calib is 3 there, 2 here"),
                                 ("--seed", "6", "seed is 5 there, 6 here")):
        result = harness.run(quiet + [option, value], 2, good)
        checks.check(result.status == recovery.INPUT and len(result.lines()) == 1 and words in result.err,
                     "--resume with another %s: refused" % option, result.err)
    exported = os.path.join(folder, "exported")
    checks.check(harness.run(["export", "--npy", exported, "-q"], 1, good).status == 0 and
                 os.path.exists(os.path.join(exported, "mode_2-4_n3_order2_layer_1.npy")), "orders are exported",
                 os.listdir(exported))
    again = os.path.join(folder, "again")
    os.mkdir(again)
    imported = harness.run(["import-npy", exported, "-q"], 1, again)
    compared = harness.run(["compare", "-q", "--format", "csv"], 1, again)
    reported = harness.run(["compare", "-q", "--format", "csv"], 1, good)
    checks.check(imported.status == 0 and compared.out == reported.out and "2-4,3_order2," in compared.out,
                 "and imported", imported.err + compared.err)


# ---------------------------------------------------------------- how scales differ
def check_report(checks, folder, result):
    """calibration.json, and the table, from the scales of the file."""
    made = scales(os.path.join(folder, "layer_outputs", "sweep.h5"))
    told = harness.report(folder, "calibration.json")
    kinds = ["mse", "entropy", "entropy", "entropy", "ema-percentile", "mse", "percentile"]
    checks.check(harness.report(folder, "summary.json")["provenance"]["observer"] == MIXED and
                 "Scales by --observer %.70s...\n" % MIXED in result.out, "the reports name the observers", result.out)
    checks.check([told["observers"][site] for site in numpy_observers.SITES] == kinds and told["orders"] == 3 and
                 told["n_layer"] == 2 and told["reference_calib_data_num"] == 12, "calibration.json: what it is about", told)
    checks.check([(cell["calib_data_num"], cell["order"]) for cell in told["cells"]] ==
                 [(n, k) for n in (1, 3, 12) for k in range(3)], "calibration.json: its cells")
    numbers = 0
    for cell in told["cells"]:
        n, k = cell["calib_data_num"], cell["order"]
        own = made["%d%s" % (n, "_order%d" % k if k else "")].astype(float)
        orders = np.array([made["%d%s" % (n, end)].astype(float) for end in ("", "_order1", "_order2")])
        checks.check(("spread_over_orders" in cell) == (k == 0), "spread is told once", cell)
        for part, expected in (("ratio", own / made["12"].astype(float)),
                               ("spread_over_orders", (orders.max(0) - orders.min(0)) / orders[0])):
            for s, site in enumerate(numpy_observers.SITES if part in cell else ()):
                for name, function in (("min", np.min), ("median", np.median), ("max", np.max)):
                    numbers += 1
                    checks.check(abs(cell[part][site][name] - function(expected[:, s])) < 1e-14, "%s %s %s" % (part, site, name),
                                 cell[part][site])
    checks.check(numbers == (9 + 3) * 7 * 3, "calibration.json: numbers", numbers)
    lines = result.out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Scales as parts of those of 12 calibration samples"))
    rows = [line for line in lines[start + 5:start + 17]]
    first = told["cells"][0]
    checks.check(rows[0].split() == ["1", "min"] + ["%.4f" % first["ratio"][site]["min"] for site in numpy_observers.SITES] and
                 rows[3].replace(" %", "").split() == ["orders"] + ["%.2f" % (100 * first["spread_over_orders"][site]["max"])
                                                                   for site in numpy_observers.SITES], "the table", rows)
    checks.check(max(map(len, lines)) <= 100, "at most 100 columns", max(lines, key=len))


# ---------------------------------------------------------------- bad usage
def check_bad(checks, folder):
    make_inputs(folder, 3)
    checkpoint = os.path.join(harness.SOURCE, "tests", "data", "quamba-w8a8")
    for what, options, status, words in (
            ("unknown observer", ["--observer", "median"], USAGE, ["median", "minmax", "entropy"]),
            ("unknown observer of a site", ["--observer", "in_proj_input=median"], USAGE, ["median", "minmax"]),
            ("unknown site", ["--observer", "in_proj=mse"], USAGE, ["in_proj'", "in_proj_input", "outputs"]),
            ("no site", ["--observer", "=mse"], USAGE, ["unknown site"]),
            ("no observer", ["--observer", "in_proj_input="], USAGE, ["unknown observer"]),
            ("empty word", ["--observer", "mse,,minmax"], USAGE, ["unknown observer"]),
            ("empty", ["--observer", ""], USAGE, ["--observer"]),
            ("no order", ["--shuffle-calib", "0"], USAGE, ["--shuffle-calib", "1 to"]),
            ("negative", ["--shuffle-calib", "-1"], USAGE, ["--shuffle-calib"]),
            ("no number", ["--shuffle-calib", "many"], USAGE, ["--shuffle-calib"]),
            ("too many runs", ["--shuffle-calib", "1000", "--noise", "3", "--modes", "all"], USAGE, ["runs", "32768"]),
            ("observer of a checkpoint", ["--observer", "mse", "--model", checkpoint], USAGE, ["--observer", "checkpoint"]),
            ("order of a checkpoint", ["--shuffle-calib", "2", "--model", checkpoint], USAGE,
             ["--shuffle-calib", "checkpoint"])):
        for ranks in (1, 3):
            case = os.path.join(folder, "bad")
            shutil.rmtree(case, ignore_errors=True)
            os.mkdir(case)
            line = [word for word in command(folder, [1, 3], "-q")]
            result = harness.run_each_status(line + options, ranks, case)
            checks.check(result.status == status and len(result.lines()) == 1 and
                         all(word in result.lines()[0] for word in words) and
                         not os.path.exists(os.path.join(case, "layer_outputs", "sweep.h5")),
                         "%s, -n %d" % (what, ranks), "%s\n%s" % (result.status, result.err))


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        {"prefixes": check_prefixes, "numbers": check_numbers, "stops": check_stops, "bad": check_bad}[sys.argv[1]](
            checks, folder)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
