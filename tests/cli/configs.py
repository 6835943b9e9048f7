# SPDX-License-Identifier: Apache-2.0
"""config.json and names of tensors as people have them: each variant loads with the sizes and notes given here, or is
refused in one line with the words given here, and status 3."""
import json
import os
import sys

import h5py
import numpy as np

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "reference"))
import quamba_reference as reference  # noqa: E402

SIZES = ("n_layer", "d_model", "d_inner", "d_state", "d_conv", "dt_rank", "vocab_size")


def tensors(d_model=64, d_inner=128, d_state=16, d_conv=4, dt_rank=4, vocab=256, lm_head=False, plural=True):
    """Of one layer; values do not matter, but for an lm_head, which differs from the embedding."""
    mixer = "backbone.layers.0.mixer."
    shapes = {"backbone.embedding%s.weight" % ("s" if plural else ""): (vocab, d_model), mixer + "A_log": (d_inner, d_state),
              mixer + "D": (d_inner,), mixer + "in_proj.weight": (2 * d_inner, d_model),
              mixer + "conv1d.weight": (d_inner, 1, d_conv), mixer + "conv1d.bias": (d_inner,),
              mixer + "x_proj.weight": (dt_rank + 2 * d_state, d_inner), mixer + "dt_proj.weight": (d_inner, dt_rank),
              mixer + "dt_proj.bias": (d_inner,), mixer + "out_proj.weight": (d_model, d_inner),
              "backbone.layers.0.norm.weight": (d_model,), "backbone.norm_f.weight": (d_model,)}
    made = {name: np.full(shape, 0.01, np.float32) for name, shape in shapes.items()}
    if lm_head:
        made["lm_head.weight"] = np.full((vocab, d_model), lm_head, np.float32)
    return made


HF = {"architectures": ["MambaForCausalLM"], "model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 1, "vocab_size": 256,
      "state_size": 16, "conv_kernel": 4, "expand": 2, "intermediate_size": 128, "time_step_rank": 4,
      "layer_norm_epsilon": 1e-5, "use_bias": False, "use_conv_bias": True, "hidden_act": "silu", "residual_in_fp32": True}
ORIGINAL = {"d_model": 64, "n_layer": 1, "vocab_size": 253, "ssm_cfg": {}, "rms_norm": True, "residual_in_fp32": True,
            "fused_add_norm": True, "pad_vocab_size_multiple": 8}
# The same keys in the root, beside a model_type, as some published folders have them.
FLAT = {"architectures": ["MambaForCausalLM"], "auto_map": {"AutoConfig": "configuration_mamba.MambaConfig"}, "bias": False,
        "conv_bias": True, "d_conv": 4, "d_inner": 128, "d_model": 64, "d_state": 16, "dt_rank": 4, "expand": 2,
        "initializer_range": 0.02, "model_type": "mamba", "n_layer": 1, "pad_vocab_size_multiple": 8, "vocab_size": 256}
FALCON = dict(HF, model_type="falcon_mamba", architectures=["FalconMambaForCausalLM"], mixer_rms_eps=1e-6)
STANDARD = dict(n_layer=1, d_model=64, d_inner=128, d_state=16, d_conv=4, dt_rank=4, vocab_size=256)
REMOVED = object()


def changed(base, **changes):
    return {k: v for k, v in dict(base, **changes).items() if v is not REMOVED}


def loads(what, config, made=None, notes=(), **sizes):
    return what, config, made or tensors(), dict(STANDARD, **sizes), notes


def refused(what, config, *words, made=None):
    return what, config, made or tensors(), None, words


CONFIGS = [
    # Hugging Face's names
    loads("hf", HF),
    loads("hf, only what is required", {k: HF[k] for k in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")}),
    loads("hf, no model_type but a class", changed(HF, model_type=REMOVED)),
    loads("hf, base model's class", changed(HF, architectures=["MambaModel"])),
    loads("hf, a class of one's own", changed(HF, architectures=["MyMambaLM"])),
    loads("hf, no classes", changed(HF, architectures=REMOVED)),
    loads("hf, null for what has a default", changed(HF, time_step_rank=None, state_size=None, intermediate_size=None, expand=None)),
    loads("hf, dt_rank auto", changed(HF, time_step_rank="auto")),
    loads("hf, swish", changed(HF, hidden_act="swish")),
    loads("hf, state 8", changed(HF, state_size=8), tensors(d_state=8), d_state=8),
    loads("hf, kernel 3", changed(HF, conv_kernel=3), tensors(d_conv=3), d_conv=3),
    loads("hf, rank 7", changed(HF, time_step_rank=7), tensors(dt_rank=7), dt_rank=7),
    loads("hf, expand 4", changed(HF, expand=4, intermediate_size=REMOVED), tensors(d_inner=256), d_inner=256),
    loads("hf, expand 1.5", changed(HF, expand=1.5, intermediate_size=REMOVED), tensors(d_inner=96), d_inner=96),
    loads("hf, expand 1.51, rounded down", changed(HF, expand=1.51, intermediate_size=REMOVED), tensors(d_inner=96), d_inner=96),
    loads("hf, expand 0.5", changed(HF, expand=0.5, intermediate_size=32), tensors(d_inner=32), d_inner=32),
    loads("hf, intermediate_size wins", changed(HF, expand=16), notes=["'intermediate_size'", "'expand'", "contradict"]),
    loads("hf, intermediate_size alone", changed(HF, expand=REMOVED, intermediate_size=192), tensors(d_inner=192), d_inner=192),
    loads("hf, vocabulary is no multiple of 8", changed(HF, vocab_size=253, pad_vocab_size_multiple=8), tensors(vocab=253),
          vocab_size=253),
    loads("hf, keys of no effect", changed(HF, use_mambapy=True, use_associative_scan=True, time_step_scale=1.0, use_cache=True,
                                           quantization_config=None, time_step_floor=1e-4, rescale_prenorm_residual=False)),
    loads("hf, another converter's quantization of float weights", changed(HF, quantization={"group_size": 64, "bits": 4})),
    loads("hf, d_model left over", changed(HF, d_model=96), notes=["'hidden_size'", "'d_model'", "'hidden_size' is taken"]),
    loads("hf, the original's keys beside it agree", changed(HF, d_model=64, n_layer=1, ssm_cfg={"d_state": 16})),
    loads("hf, ssm_cfg contradicts", changed(HF, ssm_cfg={"d_state": 32}), notes=["'state_size'", "'d_state'"]),
    loads("hf, tied", changed(HF, tie_word_embeddings=True)),
    loads("hf, tied, lm_head alike", changed(HF, tie_word_embeddings=True), tensors(lm_head=0.01)),
    loads("hf, untied", changed(HF, tie_word_embeddings=False), tensors(lm_head=0.02)),
    loads("hf, not said, lm_head of its own", HF, tensors(lm_head=0.02), notes=["does not say", "lm_head.weight"]),
    loads("hf, empty lists of attention", changed(HF, attn_layer_idx=[], attn_cfg={})),
    refused("hf, hidden_size missing", changed(HF, hidden_size=REMOVED), "'hidden_size' is missing", "'d_model'"),
    refused("hf, no layers named", changed(HF, num_hidden_layers=REMOVED), "'num_hidden_layers' is missing", "'n_layer'"),
    refused("hf, no vocabulary named", changed(HF, vocab_size=REMOVED), "'vocab_size' is missing"),
    refused("hf, nothing tells the architecture", changed(HF, model_type=REMOVED, architectures=REMOVED), "'model_type' is missing"),
    refused("hf, tied but another lm_head", changed(HF, tie_word_embeddings=True), "lm_head.weight", "differs",
            "'tie_word_embeddings': true", "set it to false", made=tensors(lm_head=0.02)),
    refused("hf, untied without lm_head", changed(HF, tie_word_embeddings=False), "'lm_head.weight' is missing"),
    refused("hf, tied is no switch", changed(HF, tie_word_embeddings="yes"), "tie_word_embeddings", "true or false"),
    refused("hf, expand 0", changed(HF, expand=0), "expand", "above 0"),
    refused("hf, expand of nothing", changed(HF, expand=0.001, intermediate_size=REMOVED), "expand", "inner channels"),
    refused("hf, expand is text", changed(HF, expand="2"), "expand"),
    refused("hf, intermediate_size is a fraction", changed(HF, intermediate_size=128.5), "intermediate_size", "128.5"),
    refused("hf, sizes of another model", changed(HF, intermediate_size=192), "in_proj.weight", "[384, 64]", "[256, 64]"),
    refused("hf, a layer more", changed(HF, num_hidden_layers=2), "'backbone.layers.1.norm.weight' is missing", "nearest of"),
    loads("hf, Falcon-Mamba", FALCON),
    loads("hf, Falcon-Mamba, eps not named", changed(FALCON, mixer_rms_eps=REMOVED)),
    refused("hf, Falcon-Mamba, eps 0", changed(FALCON, mixer_rms_eps=0), "mixer_rms_eps", "above 0"),
    refused("hf, Falcon-Mamba, quantized", changed(FALCON, ssm_cfg={"layer": "W8A8QMamba"}), "ssm_cfg.layer", "float model"),
    refused("hf, Falcon-Mamba with Mamba-1's class", changed(FALCON, architectures=["MambaForCausalLM"]), "architectures",
            "Falcon-Mamba", "Mamba-1"),
    refused("hf, Falcon-Mamba's class", changed(HF, architectures=["FalconMambaForCausalLM"]), "architectures", "Falcon-Mamba",
            "model_type"),
    refused("hf, Falcon-Mamba's norms", changed(HF, mixer_rms_eps=1e-6), "mixer_rms_eps", "Falcon-Mamba"),
    refused("hf, Mamba-2's class", changed(HF, architectures=["Mamba2ForCausalLM"]), "architectures", "Mamba-2"),
    refused("hf, Jamba", changed(HF, model_type="jamba"), "model_type", "hybrid"),
    refused("hf, Zamba2's class", changed(HF, architectures=["Zamba2ForCausalLM"]), "architectures", "Zamba2"),
    refused("hf, unknown type", changed(HF, model_type="rwkv"), "'rwkv'", "another architecture"),
    refused("hf, bitsandbytes", changed(HF, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}),
            "quantization_config"),
    refused("hf, bias", changed(HF, use_bias=True), "use_bias", "expected false"),
    refused("hf, no bias of conv1d", changed(HF, use_conv_bias=False), "use_conv_bias", "expected true"),
    refused("hf, gelu", changed(HF, hidden_act="gelu"), "hidden_act", "'gelu'"),
    refused("hf, eps 0", changed(HF, layer_norm_epsilon=0), "layer_norm_epsilon"),
    refused("hf, no Hadamard transform", changed(HF, hidden_size=88), "Hadamard", "d_model = 88"),
    # the original's names
    loads("original", ORIGINAL, tensors(plural=False)),
    loads("original, whole ssm_cfg", changed(ORIGINAL, ssm_cfg={
        "layer": "Mamba1", "d_state": 16, "d_conv": 4, "expand": 2, "dt_rank": "auto", "dt_min": 0.001, "dt_max": 0.1,
        "dt_init": "random", "dt_scale": 1.0, "dt_init_floor": 1e-4, "conv_bias": True, "bias": False, "use_fast_path": True})),
    loads("original, ssm_cfg null", changed(ORIGINAL, ssm_cfg=None)),
    loads("original, no ssm_cfg", changed(ORIGINAL, ssm_cfg=REMOVED)),
    loads("original, model_type beside it", changed(ORIGINAL, model_type="mamba")),
    loads("original, keys of ssm_cfg in the root", FLAT),
    loads("original, the same without model_type", changed(FLAT, model_type=REMOVED)),
    loads("original, root's state of 8", changed(FLAT, d_state=8), tensors(d_state=8), d_state=8),
    loads("original, padded to 16", changed(ORIGINAL, vocab_size=250, pad_vocab_size_multiple=16)),
    loads("original, multiple not named", changed(ORIGINAL, pad_vocab_size_multiple=REMOVED)),
    loads("original, attn_cfg without layers of attention", changed(ORIGINAL, attn_layer_idx=[], attn_cfg={"causal": True, "num_heads": 4})),
    loads("original, expand 1.5", changed(ORIGINAL, ssm_cfg={"expand": 1.5}), tensors(d_inner=96), d_inner=96),
    loads("original, untied", changed(ORIGINAL, tie_embeddings=False), tensors(lm_head=0.02)),
    refused("original, tied but another lm_head", changed(ORIGINAL, tie_embeddings=True), "'tie_embeddings': true",
            made=tensors(lm_head=0.02)),
    refused("original, vocabulary grown", changed(ORIGINAL, vocab_size=260), "[264, 64]", "[256, 64]"),
    refused("original, layers of attention", changed(ORIGINAL, attn_layer_idx=[0], attn_cfg={"num_heads": 4}), "attn_layer_idx", "hybrid"),
    refused("original, Mamba2", changed(ORIGINAL, ssm_cfg={"layer": "Mamba2"}), "ssm_cfg.layer", "Mamba2"),
    refused("original, Mamba3", changed(ORIGINAL, ssm_cfg={"layer": "Mamba3"}), "ssm_cfg.layer", "Mamba3"),
    refused("original, LayerNorm", changed(ORIGINAL, rms_norm=False), "rms_norm"),
    refused("original, MLP", changed(ORIGINAL, d_intermediate=128), "d_intermediate"),
    refused("original, bias", changed(ORIGINAL, ssm_cfg={"bias": True}), "bias"),
    refused("original, no layers named", changed(ORIGINAL, n_layer=REMOVED), "'num_hidden_layers' is missing", "'n_layer'"),
]


def renamed(rule, **kind):
    return {rule(name): a for name, a in tensors(**kind).items()}


UNTIED = changed(HF, tie_word_embeddings=False)
NAMES = [
    loads("names without backbone", HF, renamed(lambda n: n[len("backbone."):]), notes=["begin with ''"]),
    loads("names of torch.compile", HF, renamed(lambda n: "_orig_mod." + n), notes=["begin with '_orig_mod.backbone.'"]),
    loads("names of DataParallel", UNTIED, renamed(lambda n: "module." + n, lm_head=0.02), notes=["'module.backbone.'"]),
    loads("names of both", UNTIED, renamed(lambda n: "module._orig_mod." + n, lm_head=0.02), notes=["'module._orig_mod.backbone.'"]),
    loads("names inside model", UNTIED, renamed(lambda n: "model." + n, lm_head=0.02), notes=["'model.backbone.'"]),
    loads("names with model for backbone", UNTIED, renamed(lambda n: n.replace("backbone.", "model."), lm_head=0.02),
          notes=["begin with 'model.'"]),
    refused("names of an adapter", HF, "in_proj.base_layer.weight", "adapter", "merge",
            made=renamed(lambda n: "base_model.model." + n.replace("in_proj.weight", "in_proj.base_layer.weight"))),
    refused("names of two models", HF, "got two", "'student.backbone.'", "'teacher.backbone.'",
            made=dict(renamed(lambda n: "student." + n), **renamed(lambda n: "teacher." + n))),
    refused("names of another kind", HF, "'backbone.embedding.weight' is missing", "nearest of 12 names", "transformer.embeddings.weight",
            made=renamed(lambda n: n.replace("backbone.layers", "transformer.h").replace("backbone", "transformer"))),
    refused("a stranger behind a prefix", HF, "unknown tensor", "backbone.layers.0.mixer.dt_bias", "Mamba-2",
            made=dict(renamed(lambda n: "module." + n), **{"module.backbone.layers.0.mixer.dt_bias": np.zeros(4, np.float32)})),
]


def info(folder):
    return harness.run(["info", "--json", "--calib_seqlen", "1", folder], 1, folder)


def try_case(checks, work, number, case):
    what, config, made, sizes, words = case
    folder = os.path.join(work, str(number))
    os.makedirs(folder)
    harness.write_json(os.path.join(folder, "config.json"), config)
    reference.save_safetensors(os.path.join(folder, "model.safetensors"), made)
    shown = info(folder)
    if sizes is None:
        lines = shown.lines()
        checks.check(shown.status == 3 and len(lines) == 1 and all(w in lines[0] for w in words), what + ": is refused",
                     "status %s\n%s" % (shown.status, shown.err))
        return
    if not checks.check(shown.status == 0, what + ": loads", shown.err):
        return
    facts = json.loads(shown.out)
    checks.check({k: facts["sizes"][k] for k in SIZES} == sizes, what + ": sizes", facts["sizes"])
    notes = " ".join(facts["notes"])
    checks.check(bool(notes) == bool(words) and all(w in notes for w in words), what + ": notes", notes)


def check_two_files(checks, work):
    """What is beside the weights that are read may hold others; a sweep says so, once."""
    folder = os.path.join(work, "two")
    os.makedirs(folder)
    harness.write_json(os.path.join(folder, "config.json"), HF)
    reference.save_safetensors(os.path.join(folder, "model.safetensors"), tensors())
    with open(os.path.join(folder, "pytorch_model.bin"), "wb") as f:
        f.write(b"old")
    np.save(os.path.join(folder, "ids.npy"), np.arange(16, dtype=np.int32).reshape(1, 16))
    done = harness.run(["--model", folder, "--modes", "fp32,fp16", "--calib_data_num", "1", "--calib-data",
                        os.path.join(folder, "ids.npy")], 2, folder)
    said = [line for line in done.lines() if "pytorch_model.bin beside it is not" in line]
    checks.check(done.status == 0 and len(said) == 1, "a sweep says which file it reads", done.err)


def check_float_modes_alone(checks, work):
    """A family without quantized modes refuses them, and sweeps the others."""
    folder = os.path.join(work, "falcon")
    os.makedirs(folder)
    harness.write_json(os.path.join(folder, "config.json"), FALCON)
    reference.save_safetensors(os.path.join(folder, "model.safetensors"), tensors())
    np.save(os.path.join(folder, "ids.npy"), np.arange(32, dtype=np.int32).reshape(2, 16))
    job = ["-q", "--model", folder, "--calib_data_num", "2", "--calib-data", os.path.join(folder, "ids.npy"), "--components", "all"]
    done = harness.run(job + ["--modes", "fp32,2-1"], 2, folder)
    checks.check(done.status == 2 and all(w in done.err for w in ("'2-1'", "Falcon-Mamba", "fp_only")), "a quantized mode is refused",
                 (done.status, done.err))
    done = harness.run(job + ["--modes", "fp_only"], 2, folder)
    checks.check(done.status == 0 and not done.err, "the float modes are swept", done.err)
    with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5")) as f:
        checks.check(f.attrs["arch"] == b"falcon_mamba", "the result names the family", f.attrs["arch"])
        checks.check(b"mixer_eps 9.99999997e-07" in f.attrs["model_config"], "and knows the second eps", f.attrs["model_config"])


def main():
    checks = harness.Checks()
    with harness.Workplace() as work:
        for number, case in enumerate(CONFIGS + NAMES):
            try_case(checks, work, number, case)
        check_two_files(checks, work)
        check_float_modes_alone(checks, work)
    checks.check(len(CONFIGS) >= 60, "the table is long")
    checks.finish()


main()
