# SPDX-License-Identifier: Apache-2.0
"""Random models: the same bytes for the same seed, the distributions that they promise, whole or not at all."""
import hashlib
import json
import os
import resource
import subprocess
import sys

import numpy as np

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import mamba2_reference  # noqa: E402
import quamba_reference as reference  # noqa: E402

# Of --preset tiny --seed 7: whoever changes the generator changes everybody's models.
TINY = {"F32": "e8b897602886cacd8023311d744fbb717d0d3719df5231f031f698fea03eed61",
        "F16": "d7a04d3e9416c958ccfe6e0c9be6860ddb7c5335da1b6766ab0bd05dd25f051f",
        "BF16": "3d48fac9e39a779b8266000be1c1dc03a23e49e742b0f31436980e32c39db41b"}
TINY_2 = "b35c95e63ed4dd372897860f4487c95701b1b11a7e68d3ce4d36a100936c40f5"
IDS = "5c394a5d01ff82497556bf7b7544cf7f9ce0f1be18bd06d64b8cc41dd163ebf6"
PARAMETERS = 129135360    # of mamba-130m


def read(folder, name):
    return harness.read_bytes(os.path.join(folder, name))


def synth(folder, *options):
    return harness.run(["synth", "--out", folder, *options], 1, os.path.dirname(folder))


def check_bytes(checks, workplace):
    models = {}
    for dtype in ("F32", "F16", "BF16"):
        for threads in ("1", "4"):
            folder = os.path.join(workplace, "tiny-%s-%s" % (dtype, threads))
            made = synth(folder, "--seed", "7", "--dtype", dtype, "--threads", threads)
            checks.check(made.status == 0, "synth " + dtype, made.err)
            digest = hashlib.sha256(read(folder, "model.safetensors")).hexdigest()
            checks.check(digest == TINY[dtype], "%s, %s threads: the bytes are known" % (dtype, threads), digest)
        models[dtype] = folder
    digest = hashlib.sha256(read(folder, "calibration.npy")).hexdigest()
    checks.check(digest == IDS, "the ids are known", digest)
    wide = reference.load_safetensors(os.path.join(models["F32"], "model.safetensors"))
    half = reference.load_safetensors(os.path.join(models["F16"], "model.safetensors"))
    for name, values in wide.items():
        same = np.array_equal(half[name].astype(np.float16).view(np.uint16), values.astype(np.float16).view(np.uint16))
        checks.check(same, name + ": F16 is F32 rounded")
    with open(os.path.join(models["BF16"], "model.safetensors"), "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = f.read()
    for name, values in wide.items():
        first, last = header[name]["data_offsets"]
        bits = np.frombuffer(data[first:last], np.uint16).astype(np.int64)
        exact = values.ravel().view(np.uint32).astype(np.int64)
        checks.check(np.all(np.abs((bits << 16) - exact) <= 0x8000), name + ": BF16 is F32 rounded")
    other = os.path.join(workplace, "other")
    synth(other, "--seed", "8", "--dtype", "F32")
    checks.check(read(other, "model.safetensors") != read(models["F32"], "model.safetensors"), "another seed, other bytes")


def near(checks, what, values, mean, std):
    error = std / np.sqrt(values.size)
    checks.check(abs(values.mean() - mean) < 5 * error, what + ": mean", "%g, not %g" % (values.mean(), mean))
    checks.check(abs(values.std() / std - 1) < 5 / np.sqrt(values.size), what + ": deviation",
                 "%g, not %g" % (values.std(), std))


def check_shape(checks, workplace):
    """The 130m model, in shards."""
    folder = os.path.join(workplace, "130m")
    made = synth(folder, "--preset", "mamba-130m", "--shard-bytes", "100M", "--dtype", "f16", "--threads", "3")
    if not checks.check(made.status == 0, "synth mamba-130m", made.err):
        return
    whole = os.path.join(workplace, "130m-whole")
    synth(whole, "--preset", "mamba-130m", "--threads", "1")
    index = json.loads(read(folder, "model.safetensors.index.json"))
    shards = sorted(set(index["weight_map"].values()))
    tensors = {}
    for shard in shards:
        part = reference.load_safetensors(os.path.join(folder, shard))
        checks.check(all(index["weight_map"][name] == shard for name in part), shard + ": as the index says")
        checks.check(sum(2 * t.size for t in part.values()) <= 100e6, shard + ": at most 100 MB")
        tensors.update(part)
    one = reference.load_safetensors(os.path.join(whole, "model.safetensors"))
    same = sorted(one) == sorted(tensors) and all(np.array_equal(one[n], tensors[n]) for n in one)
    checks.check(same, "the same model in one file and by one thread")
    checks.check(len(shards) == 3 and sorted(tensors) == sorted(index["weight_map"]), "every tensor is in a shard", shards)
    checks.check(sum(t.size for t in tensors.values()) == PARAMETERS, "parameters")
    checks.check(index["metadata"]["total_size"] == 2 * PARAMETERS, "total_size")
    wanted = reference.random_model_tensors(1, 768, 1, 50280)
    names = {n.replace("embedding.", "embeddings."): t.shape for n, t in wanted.items()}
    checks.check(all(tensors[n].shape == shape for n, shape in names.items()), "shapes of the reference")
    layer = {n[len("backbone.layers.5.mixer."):]: t.astype(np.float64) for n, t in tensors.items() if ".layers.5.mixer" in n}
    near(checks, "embedding", tensors["backbone.embeddings.weight"].astype(np.float64), 0, 0.3)
    near(checks, "x_proj", layer["x_proj.weight"], 0, 1 / np.sqrt(1536))
    near(checks, "out_proj", layer["out_proj.weight"], 0, 1 / np.sqrt(1536 * 48))
    near(checks, "dt_proj", layer["dt_proj.weight"], 0, 1 / np.sqrt(48))
    near(checks, "A_log", layer["A_log"] - np.log(np.arange(1, 17)), 0, 0.05)
    near(checks, "D", layer["D"], 1, 0.1)
    step = np.log(np.log1p(np.exp(layer["dt_proj.bias"])))
    near(checks, "dt", step, np.log(1e-2), np.log(100) / np.sqrt(12))
    checks.check(step.min() > np.log(0.99e-3) and step.max() < np.log(0.101), "dt is in its range", (step.min(), step.max()))
    rows = layer["in_proj.weight"].std(axis=1) * np.sqrt(768)
    hot = np.flatnonzero(rows > 3)
    checks.check(len(hot) == 1536 // 64 and hot.max() < 1536, "one row in 64 is an outlier", hot)
    near(checks, "in_proj", np.delete(layer["in_proj.weight"], hot, 0), 0, 1 / np.sqrt(768))
    x = tensors["backbone.embeddings.weight"].astype(np.float64).ravel() / 0.3
    checks.check(abs((x ** 4).mean() - 3) < 0.05 and np.abs(x).max() > 5, "nearly normal", ((x ** 4).mean(), np.abs(x).max()))
    ids = np.load(os.path.join(folder, "calibration.npy"))
    checks.check(ids.shape == (64, 512) and ids.dtype == np.int32 and ids.min() >= 0 and 50000 < ids.max() < 50277, "ids",
                 (ids.shape, ids.min(), ids.max()))


def check_mamba2(checks, workplace):
    """The same bytes by any number of threads; the shapes and distributions of the reference's random models; sizes of all."""
    digests = set()
    for threads in ("1", "3"):
        folder = os.path.join(workplace, "second-" + threads)
        made = synth(folder, "--preset", "mamba2-tiny", "--seed", "7", "--threads", threads, "--dtype", "F32")
        checks.check(made.status == 0, "synth mamba2-tiny", made.err)
        digests.add(hashlib.sha256(read(folder, "model.safetensors")).hexdigest())
    checks.check(digests == {TINY_2}, "mamba2-tiny: the bytes are known", digests)
    tensors = reference.load_safetensors(os.path.join(folder, "model.safetensors"))
    _, wanted = mamba2_reference.random_model(1, 64, 2, 512, headdim=16, d_state=16)
    checks.check({n: t.shape for n, t in tensors.items()} == {n: t.shape for n, t in wanted.items()}, "shapes of the reference")
    A = np.exp(tensors["backbone.layers.0.mixer.A_log"])
    checks.check(A.min() > 1 and A.max() < 16, "A is in its range", A)
    hot = np.flatnonzero(tensors["backbone.layers.1.mixer.in_proj.weight"].std(axis=1) * 8 > 3)
    checks.check(len(hot) == 2 and hot.min() >= 128 and hot.max() < 256, "two rows of x are outliers", hot)
    done = harness.run(["--model", "second-3", "--modes", "fp_only", "--calib_seqlen", "40", "--components", "all", "--output_dir", "two",
                        "--comparison-dir", "two"], 1, workplace)
    checks.check(done.status == 0, "a sweep over it", done.err)


def check_run(checks, workplace):
    """A model is ready to be swept, over its own ids."""
    done = harness.run(["--model", "tiny-F16-4", "--modes", "fp32,0", "--calib_seqlen", "16"], 1, workplace)
    checks.check(done.status == 0 and "10 samples of up to 16 tokens" in done.err, "sweep over a random model", done.err)


def check_failures(checks, workplace):
    folder = os.path.join(workplace, "full")
    os.mkdir(folder)
    with open(os.path.join(folder, "mine"), "w"):
        pass
    for what, status, options, word in (
            ("folder in use", 2, ["--out", folder], "mine"), ("no folder", 2, [], "--out"),
            ("unknown preset", 2, ["--out", "x", "--preset", "mamba-7b"], "mamba-2.8b"),
            ("unknown dtype", 2, ["--out", "x", "--dtype", "I8"], "BF16"),
            ("shards of nothing", 2, ["--out", "x", "--shard-bytes", "5"], "shard-bytes"),
            ("not an option of synth", 2, ["--out", "x", "--layers", "0"], "--layers")):
        result = harness.run(["synth", *options], 1, workplace)
        good = result.status == status and len(result.lines()) == 1 and word in result.lines()[0]
        checks.check(good, what, result.err)
    checks.check(not os.path.exists(os.path.join(workplace, "x")), "nothing was made")

    out = os.path.join(workplace, "limited")
    done = subprocess.run([harness.PROGRAM, "synth", "--out", out, "--preset", "mamba-130m", "--shard-bytes", "60M"],
                          stderr=subprocess.PIPE, check=False,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (70 << 20, 70 << 20)))
    err = done.stderr.decode()
    checks.check(done.returncode == 4 and "cannot write" in err, "a file that cannot be written", err)
    checks.check(os.listdir(out) == [], "nothing is left of a model that could not be written", os.listdir(out))


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        check_bytes(checks, workplace)
        check_shape(checks, workplace)
        check_mamba2(checks, workplace)
        check_run(checks, workplace)
        check_failures(checks, workplace)
    checks.finish()


main()
