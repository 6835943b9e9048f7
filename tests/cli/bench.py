# SPDX-License-Identifier: Apache-2.0
"""`ssmsweep bench` runs, writes every field that docs/bench.md names with numbers that can be, and leaves no files
behind.  No times are judged: the machine may be busy."""
import json
import math
import os
import shutil

import harness

USAGE, IO = 2, 4
TOKENS, SAMPLES = 32, 16
PROJECTIONS = ["in_proj", "x_proj", "dt_proj", "out_proj"]
EXPECTED = {
    "machine": ["peak_f32", "peak_s8", "exp", "triad"],
    "gemm_f32": PROJECTIONS, "gemm_s8": PROJECTIONS, "gemm_s8_plain": PROJECTIONS,
    "scan": ["sequential", "sequential_int8", "blocked_int8"],
    "elementwise": ["norm", "norm_quantize", "conv1d_silu", "conv1d_silu_quantize", "hadamard_quantize"],
    "metrics": ["pairs", "lm_head", "end_of_model"],
    "start": ["read_file", "open_model", "pack_model"],
}
OF_MAMBA2 = dict(EXPECTED, gemm_f32=["in_proj", "out_proj"], gemm_s8=["in_proj", "out_proj"], gemm_s8_plain=["in_proj", "out_proj"],
                 scan=["sequential", "chunked", "chunked_gpu"],
                 elementwise=["gated_norm", "gated_norm_half", "quantize_columns", "unpack_4bit"] + EXPECTED["elementwise"])
BOUNDED = ["gemm_f32", "gemm_s8", "gemm_s8_plain", "scan", "forward"]
BOUNDED_ROWS = [("metrics", "pairs"), ("metrics", "lm_head")]
ONE_THREAD = ["metrics", "start"]
SWEEP_FIELDS = ["items", "runs", "items_seconds", "whole_seconds", "items_per_second"]


def mode_names(folder):
    listed = harness.run(["modes", "--json"], 1, folder)
    return [mode["name"] for mode in json.loads(listed.out)["modes"] if mode["sets"]]


def positive(value):
    return isinstance(value, (int, float)) and math.isfinite(value) and value > 0


def bench(folder, ranks, threads, json_file="bench.json"):
    return harness.run(["bench", "--model", harness.DEMO, "--seconds", "0.001", "--calib_seqlen", str(TOKENS), "--threads",
                        str(threads), "--device", "cpu", "--json", json_file, "--output_dir", "out/here"], ranks, folder)


def load(checks, result, folder):
    lines = result.lines()
    if not checks.check(result.status == 0 and not lines, "the bench runs", result.err):
        return None
    return harness.read_json(os.path.join(folder, "bench.json"))


def check_measurement(checks, row):
    what = "%s %s, %s threads" % (row["group"], row["name"], row["threads"])
    for field in ("best_seconds", "median_seconds", "rate", "runs"):
        checks.check(positive(row[field]), what + ": " + field, row)
    checks.check(row["best_seconds"] <= row["median_seconds"], what + ": the best is not above the median", row)
    if row["group"] in BOUNDED or (row["group"], row["name"]) in BOUNDED_ROWS:
        share = row["bound_seconds"] / row["best_seconds"]
        checks.check(positive(share) and math.isclose(row["share"], share), what + ": its share", row)


def check_measurements(checks, rows, teams, modes, expected=EXPECTED):
    expected = dict(expected, forward=modes)
    for group, names in expected.items():
        for threads in [1] if group in ONE_THREAD else teams:
            found = [row["name"] for row in rows if row["group"] == group and row["threads"] == threads]
            checks.check(found == names or group == "forward" and sorted(found) == sorted(names),
                         "rows of %s on %d threads" % (group, threads), found)
    for row in rows:
        check_measurement(checks, row)


def check_work(checks, found):
    """The work that rates and rooflines stand on, from the model's own sizes."""
    config = harness.read_json(os.path.join(harness.DEMO, "config.json"))
    D, I, N = config["hidden_size"], config["intermediate_size"], config["state_size"]
    R, layers = config["time_step_rank"], config["num_hidden_layers"]
    per_token = 2 * layers * (2 * I * D + (R + 2 * N) * I + R * I + I * D)
    checks.check(found["model"]["gemm_operations"] == per_token * TOKENS, "operations of the GEMMs", found["model"])
    checks.check(found["model"]["exponentials"] == layers * I * N * TOKENS, "exponentials", found["model"])
    for row in found["measurements"]:
        if row["group"] == "forward":
            checks.check(math.isclose(row["rate"] * row["best_seconds"], TOKENS), "tokens of a pass", row)


def check_sweeps(checks, sweeps, ranks, modes):
    expected = [(model, layers, n) for model in ("demo", "given")
                for layers, n in [("first,last", n) for n in ranks] + [("none", ranks[-1]), ("all", ranks[-1])]]
    found = [(s["model"], s["captured_layers"], s["ranks"]) for s in sweeps]
    checks.check(found == expected, "the sweeps", found)
    for sweep in sweeps:
        what = "sweep %s, %s, %d ranks: " % (sweep["model"], sweep["captured_layers"], sweep["ranks"])
        for field in SWEEP_FIELDS:
            checks.check(positive(sweep[field]), what + field, sweep)
        checks.check(sweep["items"] == len(modes) * SAMPLES, what + "items", sweep)
        checks.check(0 <= sweep["tail_share"] < 1, what + "tail", sweep)
        checks.check(sweep["whole_seconds"] > sweep["items_seconds"], what + "the whole takes longer", sweep)
        if sweep["captured_layers"] == "first,last":
            checks.check(positive(sweep["speed_up"]), what + "speed-up", sweep)


def check_hand_outs(checks, rows, ranks):
    """With one item a message, and rank 0 holding one, the messages are known: the others, and each rank's first."""
    found = [(row["rank_0"], row["batch"], row["ranks"]) for row in rows]
    checks.check(found == [(who, batch, ranks) for who in ("hands out", "works") for batch in ("chosen", "one")],
                 "the hand-outs", found)
    for row in rows:
        what = "hand-out, rank 0 %s, batch %s: " % (row["rank_0"], row["batch"])
        for field in ("items", "runs", "messages", "seconds", "items_per_second", "rank_0_processor_seconds"):
            checks.check(positive(row[field]), what + field, row)
        if row["batch"] == "chosen":
            checks.check(row["messages"] < row["items"] / 10, what + "few messages", row)
        elif row["rank_0"] == "hands out":
            checks.check(row["messages"] == row["items"] - 1 + ranks - 1, what + "a message for each item", row)


def check_writing(checks, rows, ranks):
    """Who keeps more writes more, in the same file whichever way."""
    found = [(row["captured"], row["io"], row["ranks"]) for row in rows]
    expected = [("none", None), ("layers", "mpio"), ("layers", "posix"), ("everything", "mpio"), ("everything", "posix")]
    checks.check(found == [(*pair, ranks) for pair in expected], "writing: rows", found)
    sizes = [row["file_bytes"] for row in rows]
    checks.check(0 < sizes[0] < sizes[1] == sizes[2] < sizes[3] == sizes[4], "writing: sizes of the files", sizes)
    for row in rows:
        for field in ["items_seconds", "close_seconds", "seconds"] + (["items_to_posix", "to_posix"] if row["io"] == "mpio" else []):
            spread = row[field]
            checks.check(positive(spread["least"]) and spread["least"] <= spread["median"] <= spread["most"], "writing: " + field, row)
        checks.check(row["seconds"]["most"] > row["items_seconds"]["least"] and row["rounds"] == 1, "writing: the sum", row)


def check_writing_alone(checks, folder):
    result = harness.run(["bench", "--writing", "--seconds", "0.001", "--calib_seqlen", str(TOKENS), "--json", "writing.json"], 1, folder)
    if checks.check(result.status == 0 and "mpio : posix" in result.out, "--writing", result.err):
        found = harness.read_json(os.path.join(folder, "writing.json"))
        checks.check(not any(found[name] for name in ("measurements", "sweeps", "start_up", "hand_outs")) and found["model"] is None,
                     "nothing else is measured", found)
        check_writing(checks, found["writing"], 1)


def check_null_items(checks, folder, ranks):
    command = ["bench", "--null-items", "--seconds", "0.001", "--json", "null.json"]
    result = harness.run(command, ranks, folder)
    if checks.check(result.status == 0 and "Hand-out" in result.out, "--null-items", result.err):
        found = harness.read_json(os.path.join(folder, "null.json"))
        checks.check(not any(found[name] for name in ("measurements", "sweeps", "start_up", "writing")) and found["model"] is None,
                     "nothing else is measured", found)
        check_hand_outs(checks, found["hand_outs"], ranks)
    result = harness.run(command, 1, folder)
    checks.check(result.status == USAGE and "mpirun" in result.err, "null items need several ranks", result.err)


def check_start_up(checks, rows, ranks):
    checks.check([row["cached"] for row in rows] == [False, True], "start-up from disk and from the page cache", rows)
    size = os.path.getsize(os.path.join(harness.DEMO, "model.safetensors"))
    for row in rows:
        checks.check(row["file_bytes"] == size and row["ranks"] == ranks, "start-up: file and ranks", row)
        checks.check(positive(row["read_seconds"]) and positive(row["start_seconds"]), "start-up: seconds", row)
        checks.check(math.isclose(row["ratio"], row["start_seconds"] / row["read_seconds"]), "start-up: ratio", row)


def check_run(checks, folder, ranks, threads, modes):
    result = bench(folder, ranks, threads)
    found = load(checks, result, folder)
    if found is None:
        return
    checks.check(found["gpu"] is None and found["gpu_sweeps"] == [], "no GPU is measured", found["gpu"])
    checks.check(found["schema"] == "ssmsweep-bench-1", "schema", found["schema"])
    checks.check(found["machine"]["ranks"] == ranks and found["machine"]["threads"] == threads, "machine", found["machine"])
    check_measurements(checks, found["measurements"], sorted({1, threads}), modes)
    check_work(checks, found)
    if ranks > 1:
        check_sweeps(checks, found["sweeps"], [1, ranks], modes)
        check_hand_outs(checks, found["hand_outs"], ranks)
        check_start_up(checks, found["start_up"], ranks)
        check_writing(checks, found["writing"], ranks)
    else:
        checks.check(found["start_up"] == [], "no start-up on one rank", found["start_up"])
        checks.check(found["sweeps"] == found["hand_outs"] == found["writing"] == [], "no sweeps, writing or hand-outs on one rank", found)
    for name in list(EXPECTED) + ["forward"]:
        checks.check("\n" + name + " " in result.out, "the tables show " + name)
    left = sorted(os.listdir(folder))
    checks.check(left == ["bench.json"], "no other file is left, and no folder", left)


def check_mamba2(checks, folder):
    """Its kernels, its passes, and the work that these stand on."""
    model = os.path.join(folder, "model")
    made = harness.run(["synth", "--preset", "mamba2-tiny", "--out", model, "-q"], 1, folder)
    checks.check(made.status == 0, "a Mamba-2 model", made.err)
    modes = ["fp32", "0", "2-1", "0-fp32"]
    result = harness.run(["bench", "--model", model, "--seconds", "0.001", "--calib_seqlen", str(TOKENS), "--threads", "1", "--modes", ",".join(modes),
                          "--json", "bench.json"], 1, folder)
    found = load(checks, result, folder)
    if found:
        check_measurements(checks, found["measurements"], [1], modes, OF_MAMBA2)
        layers, D, I, N, H = 2, 64, 128, 16, 8    # one group of B and C
        checks.check(found["model"]["gemm_operations"] == 2 * layers * (2 * I + 2 * N + H + I) * D * TOKENS, "Mamba-2: operations", found["model"])
        checks.check(found["model"]["scan_operations"] == 6 * layers * I * N * TOKENS, "Mamba-2: operations of the scan", found["model"])
        checks.check(found["model"]["exponentials"] == layers * H * TOKENS, "Mamba-2: exponentials", found["model"])
    shutil.rmtree(model)
    os.remove(os.path.join(folder, "bench.json"))


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        modes = mode_names(folder)
        checks.check(len(modes) > 1, "there are modes", modes)
        check_mamba2(checks, folder)
        check_run(checks, folder, 1, 2, modes)
        check_run(checks, folder, 2, 1, modes)
        check_null_items(checks, folder, 3)
        check_writing_alone(checks, folder)
        result = harness.run(["bench", "--seconds", "-1"], 1, folder)
        checks.check(result.status == USAGE and "seconds" in result.err, "negative seconds are refused", result.err)
        result = harness.run(["bench", "--modes", "no-such-mode"], 1, folder)
        checks.check(result.status == USAGE and "no-such-mode" in result.err, "an unknown mode is refused", result.err)
        result = bench(folder, 1, 1, os.path.join("nowhere", "bench.json"))
        checks.check(result.status == IO and len(result.lines()) == 1, "a file that cannot be written", result.err)
    checks.finish()


main()
