# SPDX-License-Identifier: Apache-2.0
"""Bad inputs, one change each to a small good job: every one must end soon, at one rank and at four, with the documented
status on every rank, exactly one line that names what is wrong, and no file made or changed."""
import concurrent.futures
import hashlib
import json
import os
import shutil
import sys

import numpy as np

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import quamba_reference as reference  # noqa: E402

USAGE, INPUT, IO = 2, 3, 4
SECONDS = harness.LIMIT
SAMPLES = 4
CONFIG = {"architectures": ["MambaForCausalLM"], "model_type": "mamba", "hidden_size": 64, "intermediate_size": 128,
          "num_hidden_layers": 2, "vocab_size": 2048, "state_size": 16, "conv_kernel": 4, "expand": 2,
          "time_step_rank": 4, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "use_bias": False,
          "use_conv_bias": True, "hidden_act": "silu"}
X_PROJ = "backbone.layers.1.mixer.x_proj.weight"
CONV_BIAS = "backbone.layers.0.mixer.conv1d.bias"


# ---------------------------------------------------------------- the good job
def make_good(folder):
    """model/ (random weights, the demo tokenizer and text) and ids.npy."""
    model = os.path.join(folder, "model")
    os.mkdir(model)
    tensors = reference.random_model_tensors(1, CONFIG["hidden_size"], CONFIG["num_hidden_layers"], CONFIG["vocab_size"])
    reference.save_safetensors(os.path.join(model, "model.safetensors"), tensors)
    write_json(os.path.join(model, "config.json"), CONFIG)
    shutil.copy(os.path.join(harness.DEMO, "tokenizer.json"), model)
    with open(os.path.join(harness.DEMO, "calibration.jsonl"), "rb") as source:
        write(os.path.join(model, "calibration.jsonl"), b"".join(source.readline() for _ in range(SAMPLES)))
    np.save(os.path.join(folder, "ids.npy"), good_ids())


def good_ids():
    return np.arange(SAMPLES * 16, dtype=np.int32).reshape(SAMPLES, 16)


def write(path, data):
    if os.path.exists(path):
        os.unlink(path)     # it may be a link to the good file
    with open(path, "wb") as f:
        f.write(data)


def write_json(path, value):
    write(path, json.dumps(value).encode())


# ---------------------------------------------------------------- ways to spoil it (each takes the folder)
def cut(name, keep):
    return lambda d: write(os.path.join(d, name), harness.read_bytes(os.path.join(d, name))[:keep])


def put(name, data):
    return lambda d: write(os.path.join(d, name), data)


def remove(name):
    return lambda d: os.unlink(os.path.join(d, name))


def edit_json(name, **changes):
    def spoil(d):
        value = harness.read_json(os.path.join(d, name))
        value.update(changes)
        write_json(os.path.join(d, name), value)
    return spoil


def edit_tensors(change):
    def spoil(d):
        path = os.path.join(d, "model", "model.safetensors")
        tensors = reference.load_safetensors(path)
        change(tensors)
        os.unlink(path)
        reference.save_safetensors(path, tensors)
    return spoil


def set_element(name, value):
    def change(tensors):
        tensors[name] = tensors[name].copy()
        tensors[name].flat[5] = value
    return edit_tensors(change)


def replace_tensor(name, new):
    return edit_tensors(lambda tensors: tensors.update({name: new(tensors[name])}))


def whole_model(d_model):
    def spoil(d):
        path = os.path.join(d, "model", "model.safetensors")
        os.unlink(path)
        reference.save_safetensors(path, reference.random_model_tensors(1, d_model, 2, CONFIG["vocab_size"]))
        edit_json("model/config.json", hidden_size=d_model, intermediate_size=2 * d_model,
                  time_step_rank=-(-d_model // 16))(d)
    return spoil


def save_ids(array):
    def spoil(d):
        os.unlink(os.path.join(d, "ids.npy"))
        np.save(os.path.join(d, "ids.npy"), array)
    return spoil


def ids_with(value):
    ids = good_ids()
    ids[1, 3] = value
    return save_ids(ids)


def text_line(number, line):
    def spoil(d):
        path = os.path.join(d, "model", "calibration.jsonl")
        lines = harness.read_bytes(path).splitlines()
        lines[number - 1] = line
        write(path, b"\n".join(lines) + b"\n")
    return spoil


def tokenizer_model(**changes):
    def spoil(d):
        path = os.path.join(d, "model", "tokenizer.json")
        value = harness.read_json(path)
        value["model"].update(changes)
        write_json(path, value)
    return spoil


def in_the_way(name):
    """A regular file where a folder should be made."""
    return put(name, b"in the way\n")


def result_exists(d):
    os.mkdir(os.path.join(d, "out"))
    write(os.path.join(d, "out", "sweep.h5"), b"an earlier result\n")


def nothing(_):
    pass


IDS = ["--calib-data", "ids.npy"]
MAMBA2 = dict(model_type="mamba2", architectures=["Mamba2ForCausalLM"])
JAMBA = dict(model_type="jamba", architectures=["JambaForCausalLM"])
HUGE_HEADER = (1 << 60).to_bytes(8, "little") + b"{}"

# name, status, what the one line must hold, change, further arguments
CASES = [
    # the model
    ("no model folder", INPUT, ["nowhere"], nothing, ["--model", "nowhere"]),
    ("no config.json", INPUT, ["config.json"], remove("model/config.json"), []),
    ("torn config.json", INPUT, ["config.json", "JSON"], cut("model/config.json", 40), []),
    ("config.json without hidden_size", INPUT, ["config.json", "hidden_size"],
     put("model/config.json", b'{"model_type": "mamba", "architectures": ["MambaForCausalLM"]}'), []),
    ("Mamba-2 by its config.json alone", INPUT, ["config.json", "n_groups"], edit_json("model/config.json", **MAMBA2), []),
    ("Jamba", INPUT, ["config.json", "Jamba"], edit_json("model/config.json", **JAMBA), []),
    ("dimension without Hadamard transform", INPUT, ["72", "Hadamard"], whole_model(72), []),
    ("no model.safetensors", INPUT, ["model.safetensors"], remove("model/model.safetensors"), []),
    ("empty model.safetensors", INPUT, ["model.safetensors"], put("model/model.safetensors", b""), []),
    ("torn header", INPUT, ["model.safetensors"], cut("model/model.safetensors", 100), []),
    ("torn data", INPUT, ["model.safetensors"], cut("model/model.safetensors", -1000), []),
    ("absurd header length", INPUT, ["model.safetensors"], put("model/model.safetensors", HUGE_HEADER), []),
    ("tensor missing", INPUT, ["model.safetensors", X_PROJ], edit_tensors(lambda t: t.pop(X_PROJ)), []),
    ("wrong shape", INPUT, ["model.safetensors", X_PROJ, "36", "128", "35"], replace_tensor(X_PROJ, lambda a: a[:-1]), []),
    ("wrong dtype", INPUT, ["model.safetensors", CONV_BIAS, "I8"],
     replace_tensor(CONV_BIAS, lambda a: a.astype(np.int8)), []),
    ("NaN in a weight", INPUT, ["model.safetensors", CONV_BIAS, "NaN"], set_element(CONV_BIAS, np.nan), []),
    ("Inf in a weight", INPUT, ["model.safetensors", X_PROJ, "Inf"], set_element(X_PROJ, -np.inf), []),
    # the text
    ("no text file", INPUT, ["nowhere.jsonl"], nothing, ["--calib-data", "nowhere.jsonl"]),
    ("invalid UTF-8", INPUT, ["calibration.jsonl", "2", "UTF-8"], text_line(2, b'{"text": "caf\xe9 au lait"}'), []),
    ("line without text", INPUT, ["calibration.jsonl", "2", "text"], text_line(2, b'{"txet": "hello"}'), []),
    ("text is no string", INPUT, ["calibration.jsonl", "2", "text"], text_line(2, b'{"text": 5}'), []),
    ("torn line", INPUT, ["calibration.jsonl", "2", "JSON"], text_line(2, b'{"text": "hel'), []),
    ("fewer documents than asked for", INPUT, ["calibration.jsonl", "4", "9"], nothing, ["--calib_data_num", "9"]),
    ("no tokenizer.json", INPUT, ["tokenizer.json"], remove("model/tokenizer.json"), []),
    ("torn tokenizer.json", INPUT, ["tokenizer.json", "JSON"], cut("model/tokenizer.json", 5000), []),
    ("tokenizer of another type", INPUT, ["tokenizer.json", "Unigram"], tokenizer_model(type="Unigram"), []),
    # ids
    ("id beyond the vocabulary", INPUT, ["ids.npy", "2048"], ids_with(2048), IDS),
    ("negative id", INPUT, ["ids.npy", "-7"], ids_with(-7), IDS),
    ("ids of another dtype", INPUT, ["ids.npy", "int32"], save_ids(good_ids().astype(np.float32)), IDS),
    ("ids of another shape", INPUT, ["ids.npy", "[samples"], save_ids(good_ids().ravel()), IDS),
    ("torn ids", INPUT, ["ids.npy"], cut("ids.npy", 150), IDS),
    ("no .npy at all", INPUT, ["ids.npy"], put("ids.npy", b"not an array\n"), IDS),
    # options
    ("unknown option", USAGE, ["--all-mode"], nothing, ["--all-mode"]),
    ("unknown word", USAGE, ["sweeep"], nothing, ["sweeep"]),
    ("option without value", USAGE, ["--layers"], nothing, ["--layers"]),
    ("no number", USAGE, ["calib", "ten"], nothing, ["--calib_data_num", "ten"]),
    ("no samples", USAGE, ["calib", "0"], nothing, ["--calib_data_num", "0"]),
    ("number too large", USAGE, ["calib", "99999999999999999999"], nothing, ["--calib_seqlen", "99999999999999999999"]),
    ("alpha above 1", USAGE, ["alpha", "1.5"], nothing, ["--percentile_alpha", "1.5"]),
    ("unknown mode", USAGE, ["2-9"], nothing, ["--modes", "fp32,2-9"]),
    ("unknown reference", USAGE, ["fp64"], nothing, ["--reference", "fp64"]),
    ("unknown component", USAGE, ["mixer_outptu"], nothing, ["--components", "mixer_outptu"]),
    ("layer outside the model", USAGE, ["99", "layer"], nothing, ["--layers", "99"]),
    ("no such layer word", USAGE, ["middle", "layer"], nothing, ["--layers", "middle"]),
    # the job file
    ("no job file", INPUT, ["nowhere.json"], nothing, ["--job", "nowhere.json"]),
    ("torn job file", INPUT, ["job.json", "JSON"], put("job.json", b'{"layers": "fir'), ["--job", "job.json"]),
    ("unknown job key", USAGE, ["job.json", "layres"], put("job.json", b'{"layres": "first"}'), ["--job", "job.json"]),
    ("job value of another type", INPUT, ["job.json", "calib_seqlen"],
     put("job.json", b'{"calib_seqlen": true}'), ["--job", "job.json"]),
    # results
    ("result exists", INPUT, ["sweep.h5", "exists"], result_exists, []),
    ("output folder under a file", IO, ["file", "folder"], in_the_way("file"), ["--output_dir", "file/out"]),
    ("output folder is a file", IO, ["file"], in_the_way("file"), ["--output_dir", "file"]),
    ("comparison folder under a file", IO, ["file", "folder"], in_the_way("file"), ["--comparison-dir", "file/cmp"]),
    ("compare without a result", INPUT, ["sweep.h5"], nothing, ["compare"]),
    ("compare with a foreign file", INPUT, ["sweep.h5"], result_exists, ["compare"]),
]


def arguments_of(further):
    common = ["-q", "--model", "model", "--calib_data_num", str(SAMPLES), "--calib_seqlen", "16", "--modes", "fp32,0",
              "--output_dir", "out", "--comparison-dir", "cmp"]
    if further[:1] == ["compare"]:
        return ["compare", "-q", "--output_dir", "out", "--comparison-dir", "cmp"]
    return common + further


def files_of(folder):
    """Folders too: after an error no empty one is to be left."""
    found = {}
    for root, folders, names in os.walk(folder):
        for name in folders:
            found[os.path.relpath(os.path.join(root, name), folder)] = "folder"
        for name in names:
            path = os.path.join(root, name)
            found[os.path.relpath(path, folder)] = hashlib.sha256(harness.read_bytes(path)).hexdigest()
    return found


def lay_out(good, folder):
    """The good job in a folder of its own; files are links, replaced where they are changed."""
    os.makedirs(os.path.join(folder, "model"))
    for name in os.listdir(os.path.join(good, "model")):
        os.symlink(os.path.join(good, "model", name), os.path.join(folder, "model", name))
    os.symlink(os.path.join(good, "ids.npy"), os.path.join(folder, "ids.npy"))


def run_case(good, workplace, number, ranks):
    name, status, words, spoil, further = CASES[number]
    folder = os.path.join(workplace, "%d-n%d" % (number, ranks))
    lay_out(good, folder)
    spoil(folder)
    before = files_of(folder)
    result = harness.run_each_status(arguments_of(further), ranks, folder, limit=SECONDS)
    wrong = []
    if result.status != status:
        wrong.append("expected status %d, got %s" % (status, result.status))
    lines = result.lines()
    if len(lines) != 1:
        wrong.append("expected one line of ssmsweep on stderr, got %d" % len(lines))
    for word in words:
        if not any(word.lower() in line.lower() for line in lines):
            wrong.append("the line does not say '%s'" % word)
    after = files_of(folder)
    if after != before:
        changed = [n for n in sorted(set(after) | set(before)) if after.get(n) != before.get(n)]
        wrong.append("files made or changed: " + ", ".join(changed))
    return "%s, -n %d" % (name, ranks), wrong, result


def check_good(checks, good, workplace):
    """Without this the cases below could fail for a reason of their own."""
    for ranks in (1, 4):
        for kind, further in (("text", []), ("ids", IDS)):
            folder = os.path.join(workplace, "good-%s-n%d" % (kind, ranks))
            lay_out(good, folder)
            result = harness.run_each_status(arguments_of(further), ranks, folder, limit=SECONDS)
            checks.check(result.status == 0 and not result.lines(), "the good job, %s, -n %d" % (kind, ranks),
                         "status %s\n%s" % (result.status, result.err))
            made = files_of(folder)
            for name in ("out/sweep.h5", "cmp/mode_0_vs_fp32.json", "cmp/summary.json"):
                checks.check(name in made, "the good job makes " + name, sorted(made))


def check_first_named(checks, workplace):
    """Several weights that are no numbers, in different pieces of the file, which ranks and threads read: the first on a
    token's way through the model is named, whoever reads it."""
    folder = os.path.join(workplace, "not-finite")
    os.mkdir(folder)
    harness.make_model(os.path.join(folder, "model"), "--d-model", "256", "--vocab", "12289")
    path = os.path.join(folder, "model", "model.safetensors")
    np.save(os.path.join(folder, "ids.npy"), good_ids())
    good = reference.load_safetensors(path)
    bad = [("backbone.embeddings.weight", 3 << 20), (X_PROJ, 7), (X_PROJ, 4000), ("backbone.norm_f.weight", 0)]
    while bad:
        tensors = {name: tensor.copy() for name, tensor in good.items()}
        for name, element in bad:
            tensors[name].flat[element] = np.nan
        reference.save_safetensors(path, tensors)
        words = "tensor '%s': expected finite weights, got NaN or Inf at element %d;" % bad[0]
        before = files_of(folder)
        for ranks, threads in ((1, 1), (1, 3), (2, 1), (4, 1), (4, 2)):
            result = harness.run_each_status(arguments_of(IDS) + ["--output_dir", "deep/out", "--threads", str(threads)],
                                             ranks, folder, limit=SECONDS)
            what = "%s, %d ranks x %d threads: " % (bad[0], ranks, threads)
            lines = result.lines()
            checks.check(result.status == INPUT and len(lines) == 1 and words in lines[0] and "rank" not in lines[0],
                         what + "is named", result.err)
            checks.check(files_of(folder) == before, what + "nothing is left behind", sorted(files_of(folder)))
        bad = [entry for entry in bad if entry[0] != bad[0][0]]


def main():
    checks = harness.Checks()
    chosen = [n for n in range(len(CASES)) if len(sys.argv) < 2 or sys.argv[1] in CASES[n][0]]
    with harness.Workplace() as workplace:
        good = os.path.join(workplace, "good")
        os.mkdir(good)
        make_good(good)
        check_good(checks, good, workplace)
        check_first_named(checks, workplace)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            pending = [pool.submit(run_case, good, workplace, n, ranks) for ranks in (1, harness.SEVERAL) for n in chosen]
            for done in pending:
                what, wrong, result = done.result()
                checks.check(not wrong, what, "\n".join(wrong) + "\n--- stderr\n" + result.err)
    checks.finish()


main()
