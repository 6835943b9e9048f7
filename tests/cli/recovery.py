# SPDX-License-Identifier: Apache-2.0
"""A small job that can be interrupted in many ways, and what its results must be like afterwards.  The environment names
the program with faults on demand (SSMSWEEP_INJECT) besides what harness.py wants."""
import os
import re
import sys

import numpy as np

import harness
import sweep_files

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import mamba2_reference  # noqa: E402
import quamba_reference as reference  # noqa: E402

INJECT = os.environ["SSMSWEEP_INJECT"]
# For INJECT_COMMAND: a rank waits until it is told to go on; the command ends with the rank, and with the test.
PAUSE = "touch reached; while [ ! -e go ] && kill -0 $PPID && kill -0 %d; do sleep 0.05; done" % os.getpid()
# The word `mamba2` on the command line of a test: the same with a Mamba-2 model.
MAMBA2 = "mamba2" in sys.argv
if MAMBA2:
    sys.argv.remove("mamba2")
SAMPLES, CELLS = 5, 2
RUNS, QUANTIZED = harness.runs_of(CELLS), CELLS * len(harness.QUANTIZED)
ALL = SAMPLES * RUNS    # samples of runs
OK, INPUT, IO, STOPPED = 0, 3, 4, 5
# The first follows mode 2-4 in no layer and 2-1 in the last, the second 2-1 in the first layer, the third both.
RECIPES = [{"name": "first", "base": "2-1", "layers": [{"layers": "0", "set": {"conv1d:output": "float", "scan:u": "float"}}]},
           {"name": "last", "base": "2-1", "layers": [{"layers": "last", "base": "2-4"}]},
           {"name": "both", "base": "last", "layers": [{"layers": "last", "set": dict({"scan:order": "chunked"} if MAMBA2 else {"scan:y": "float"},
                                                                                    **{"weight:out_proj": "int4-g32"})}]}]
CONFIG = {"architectures": ["MambaForCausalLM"], "model_type": "mamba", "hidden_size": 64, "intermediate_size": 128,
          "num_hidden_layers": 2, "vocab_size": 64, "state_size": 16, "conv_kernel": 4, "expand": 2,
          "time_step_rank": 4, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "use_bias": False,
          "use_conv_bias": True, "hidden_act": "silu"}
KEPT = re.compile(r"--resume: (\d+) of (\d+) samples of runs are kept, (\d+) torn, (\d+) failed before, (\d+) left; "
                  r"calibration: (\d+) of (\d+) kept, (\d+) torn")


def make_model(folder):
    """model/ and ids.npy."""
    model = os.path.join(folder, "model")
    os.mkdir(model)
    config, tensors = CONFIG, None
    if MAMBA2:
        config, tensors = mamba2_reference.random_model(1, 64, 2, 64, headdim=16, d_state=16, chunk_size=8)
    else:
        tensors = reference.random_model_tensors(1, CONFIG["hidden_size"], CONFIG["num_hidden_layers"], CONFIG["vocab_size"])
    reference.save_safetensors(os.path.join(model, "model.safetensors"), tensors)
    harness.write_json(os.path.join(model, "config.json"), config)
    ids = np.arange(SAMPLES * 12, dtype=np.int32).reshape(SAMPLES, 12) % 64
    ids[3, 7:] = -1
    np.save(os.path.join(folder, "ids.npy"), ids)


WAY = []    # --io of every job, where a test runs under both


def job_without_modes(folder, *further):
    return ["--model", os.path.join(folder, "model"), "--calib-data", os.path.join(folder, "ids.npy"),
            "--calib_data_num", "3,%d" % SAMPLES, "--components", "mixer_output,ssm_input", "--layers", "all",
            "--shard", "2", *harness.FEW] + WAY + list(further)


def job(folder, *further):
    """Options of the job; `folder` holds the model, results go to the current folder."""
    return job_without_modes(folder, "--all-modes", *further)


def stored(folder):
    return sweep_files.contents(os.path.join(folder, "layer_outputs", "sweep.h5"))


def results(folder):
    """{name: bytes} of everything that must be the same."""
    found = stored(folder)
    for part in ("layer_outputs", "comparisons"):
        found.update(("%s/%s" % (part, name), lines)
                     for name, lines in sweep_files.json_lines(os.path.join(folder, part)).items())
    return found


def kept(err):
    """What a resumed run said it found: a dictionary, or None."""
    match = KEPT.search(err)
    names = ("kept", "of", "torn", "failed", "left", "observed", "of_observed", "torn_observed")
    return dict(zip(names, map(int, match.groups()))) if match else None


def computed(err):
    """(samples of runs, samples of the calibration) that a run with -v began."""
    return len(re.findall(r"computes run \d+", err)), len(re.findall(r"observes sample \d+", err))


class Reference:
    """The uninterrupted run, and the folder of the model; with noisy re-runs of the W8A8 modes, with recipes and each layer by
    itself, or without."""

    def __init__(self, workplace, noise=0, recipes=False):
        self.folder = os.path.join(workplace, "noisy" if noise else "recipes" if recipes else "good")
        self.noise, self.runs = noise, RUNS + noise * QUANTIZED + CELLS * len(RECIPES) * recipes
        self.recipes = ["--recipes", os.path.join(self.folder, "recipes.json"), "--isolated"] if recipes else []
        os.mkdir(self.folder)
        make_model(self.folder)
        harness.write_json(os.path.join(self.folder, "recipes.json"), {"recipes": RECIPES})
        done = harness.run(self.job("-v"), 2, self.folder)
        if done.status != OK:
            sys.exit("the uninterrupted run fails: %s\n%s" % (done.status, done.err))
        self.results = results(self.folder)
        assert computed(done.err) == (SAMPLES * self.runs, SAMPLES), computed(done.err)
        assert len(self.results) > 100, len(self.results)

    def job(self, *further):
        return job(self.folder, *(["--noise", str(self.noise)] if self.noise else []), *self.recipes, *further)
