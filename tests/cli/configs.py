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


def tensors2(d_model=64, d_inner=128, groups=1, states=16, heads=8, d_conv=4, vocab=256, plural=True, lm_head=False, rows=0):
    """Of one layer of Mamba-2, with so many rows more in in_proj."""
    mixer, conv = "backbone.layers.0.mixer.", d_inner + 2 * groups * states
    shapes = {"backbone.embedding%s.weight" % ("s" if plural else ""): (vocab, d_model), mixer + "A_log": (heads,), mixer + "D": (heads,),
              mixer + "dt_bias": (heads,), mixer + "in_proj.weight": (d_inner + conv + heads + rows, d_model),
              mixer + "conv1d.weight": (conv, 1, d_conv), mixer + "conv1d.bias": (conv,), mixer + "norm.weight": (d_inner,),
              mixer + "out_proj.weight": (d_model, d_inner), "backbone.layers.0.norm.weight": (d_model,),
              "backbone.norm_f.weight": (d_model,)}
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
HF2 = {"architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", "hidden_size": 64, "num_hidden_layers": 1, "vocab_size": 256,
       "state_size": 16, "head_dim": 16, "num_heads": 8, "n_groups": 1, "conv_kernel": 4, "expand": 2, "chunk_size": 32,
       "layer_norm_epsilon": 1e-5, "use_bias": False, "use_conv_bias": True, "hidden_act": "silu", "rms_norm": True,
       "norm_before_gate": True, "time_step_limit": [0.0, float("inf")], "tie_word_embeddings": True, "time_step_rank": 4}
ORIGINAL2 = {"d_model": 64, "d_intermediate": 0, "n_layer": 1, "vocab_size": 250, "ssm_cfg": {"layer": "Mamba2", "headdim": 16, "d_state": 16},
             "attn_layer_idx": [], "attn_cfg": {}, "rms_norm": True, "residual_in_fp32": True, "pad_vocab_size_multiple": 16,
             "tie_embeddings": True}
STANDARD2 = dict(n_layer=1, d_model=64, d_inner=128, d_state=16, d_conv=4, vocab_size=256, n_heads=8, head_dim=16, n_groups=1,
                 chunk_size=256, norm_groups=1)
STANDARD = dict(n_layer=1, d_model=64, d_inner=128, d_state=16, d_conv=4, dt_rank=4, vocab_size=256)
REMOVED = object()


def changed(base, **changes):
    return {k: v for k, v in dict(base, **changes).items() if v is not REMOVED}


def loads(what, config, made=None, notes=(), **sizes):
    return what, config, made or tensors(), dict(STANDARD, **sizes), notes


def refused(what, config, *words, made=None):
    return what, config, made or tensors(), None, words


def loads2(what, config, made=None, notes=(), **sizes):
    return what, config, made or tensors2(), dict(STANDARD2, **sizes), notes


def refused2(what, config, *words, made=None):
    return what, config, made or tensors2(), None, words


def ssm(**changes):
    return changed(ORIGINAL2, ssm_cfg=changed(ORIGINAL2["ssm_cfg"], **changes))


MAMBA2 = [
    loads2("Mamba-2, hf", HF2, chunk_size=32),
    loads2("Mamba-2, hf, no heads", changed(HF2, num_heads=REMOVED, expand=REMOVED, chunk_size=REMOVED)),
    loads2("Mamba-2, hf, no model_type but a class", changed(HF2, model_type=REMOVED), chunk_size=32),
    loads2("Mamba-2, hf, intermediate_size", changed(HF2, intermediate_size=128), chunk_size=32),
    loads2("Mamba-2, hf, expand 1.5", changed(HF2, expand=1.5, num_heads=6), tensors2(d_inner=96, heads=6), d_inner=96, n_heads=6,
           chunk_size=32),
    loads2("Mamba-2, hf, groups not named", changed(HF2, n_groups=REMOVED), tensors2(groups=8), n_groups=8, chunk_size=32),
    loads2("Mamba-2, hf, two groups are normalized together", changed(HF2, n_groups=2), tensors2(groups=2), n_groups=2, chunk_size=32),
    loads2("Mamba-2, hf, limits as newer writers have them", changed(HF2, time_step_limit=[0.0, {"__float__": "Infinity"}]), chunk_size=32),
    loads2("Mamba-2, hf, limits", changed(HF2, time_step_limit=[0.01, 0.1]), chunk_size=32),
    loads2("Mamba-2, hf, untied", changed(HF2, tie_word_embeddings=False), tensors2(lm_head=0.02), chunk_size=32),
    loads2("Mamba-2, original", ORIGINAL2, tensors2(plural=False)),
    loads2("Mamba-2, original, two groups", ssm(ngroups=2), tensors2(groups=2, plural=False), n_groups=2, norm_groups=2),
    loads2("Mamba-2, original, gate last", ssm(norm_before_gate=True), tensors2(plural=False), gate_last=1),
    loads2("Mamba-2, original, what has no effect", ssm(d_ssm=128, D_has_hdim=False, rmsnorm=True, dt_limit=[0.0, float("inf")],
                                                        A_init_range=[1, 16], use_mem_eff_path=True), tensors2(plural=False)),
    loads2("Mamba-2, original, only the layer named", changed(ORIGINAL2, ssm_cfg={"layer": "Mamba2"}),
           tensors2(states=128, heads=2, plural=False), d_state=128, n_heads=2, head_dim=64),
    loads2("Mamba-2, original, conv kernel 3", ssm(d_conv=3), tensors2(d_conv=3, plural=False), d_conv=3),
    refused2("Mamba-2, heads that do not fit", changed(HF2, num_heads=7), "128 inner channels", "7 of head_dim 16"),
    refused2("Mamba-2, head_dim that does not divide", ssm(headdim=48), "128 inner channels", "head_dim 48"),
    refused2("Mamba-2, groups that do not divide", changed(HF2, n_groups=3), "n_groups", "8 heads", "got 3"),
    refused2("Mamba-2, no limits", changed(HF2, time_step_limit=[0.1]), "time_step_limit", "two numbers"),
    refused2("Mamba-2, limits the wrong way", changed(HF2, time_step_limit=[0.1, 0.01]), "time_step_limit", "smaller one first"),
    refused2("Mamba-2, limits of text", changed(HF2, time_step_limit=[0.0, "much"]), "time_step_limit"),
    refused2("Mamba-2, an MLP beside the scan", ssm(d_ssm=64), "d_ssm", "MLP"),
    refused2("Mamba-2, the same by its weights", ORIGINAL2, "in_proj.weight", "[296, 64]", "[312, 64]", made=tensors2(plural=False, rows=16)),
    refused2("Mamba-2, a D for each channel", ssm(D_has_hdim=True), "D_has_hdim"),
    refused2("Mamba-2, no norm behind the scan", ssm(rmsnorm=False), "rmsnorm"),
    refused2("Mamba-2, LayerNorm", changed(ORIGINAL2, rms_norm=False), "rms_norm"),
    refused2("Mamba-2, bias", changed(HF2, use_bias=True), "use_bias"),
    refused2("Mamba-2, no bias of conv1d", ssm(conv_bias=False), "conv_bias"),
    refused2("Mamba-2, layers of attention", changed(ORIGINAL2, attn_layer_idx=[3]), "attn_layer_idx", "hybrid"),
    refused2("Mamba-2, MLPs between the layers", changed(ORIGINAL2, d_intermediate=128), "d_intermediate"),
    refused2("Mamba-2, MLPs by Hugging Face's type", changed(HF2, d_intermediate=128), "d_intermediate"),
    refused2("Mamba-3 by its layers", ssm(layer="Mamba3"), "ssm_cfg.layer", "'Mamba3'", "not supported"),
    refused2("Mamba-3 by its type", changed(HF2, model_type="mamba3"), "model_type", "Mamba-3", "not supported"),
    refused2("Mamba-2, quantized, without its keys", ssm(layer="W8A8QMamba2"), "norm.weight", "expected 64 ones", made=tensors2(plural=False)),
    refused2("Mamba-2, 2 bits", ssm(layer="W2A8QMamba2"), "ssm_cfg.layer", "W2A8QMamba2", "W4A16QMamba2"),
    refused2("Mamba-2, an INT8 layer in a list", ssm(layer=[{"W4A8": "W8A8QMamba2"}]), "ssm_cfg.layer", "layer 0", "W4AX", "W8A8QMamba2"),
    refused2("Mamba-2, two precisions in a layer", ssm(layer=[{"W4AW4A8": "W4A8QMamba2", "W4AW4A16": "W4A16QMamba2"}]), "ssm_cfg.layer",
             "two precisions in one layer"),
    refused2("Mamba-2, too many layers in a list", ssm(layer=[{"W4A8": "W4A8QMamba2"}] * 9), "ssm_cfg.layer", "n_layer", "got 9"),
    refused2("Mamba-2 that says it is Mamba-1", changed(ORIGINAL2, model_type="mamba"), "ssm_cfg.layer", "'Mamba2'"),
    refused2("Mamba-2 whose layers are Mamba-1's", changed(ORIGINAL2, model_type="mamba2", ssm_cfg={"layer": "Mamba1"}), "ssm_cfg.layer", "'Mamba1'"),
    refused2("Mamba-2 with Mamba-1's class", changed(HF2, architectures=["MambaForCausalLM"]), "architectures", "Mamba-2", "Mamba-1"),
    refused2("Mamba-2, no such dimension of Hadamard", changed(HF2, expand=1.375, num_heads=REMOVED, head_dim=8), "Hadamard", "d_inner = 88"),
]
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
    *(refused("hf, " + name, changed(HF, model_type=kind), "model_type", name, "hybrid") for kind, name in
      (("zamba", "Zamba,"), ("zamba2", "Zamba2"), ("bamba", "Bamba"), ("nemotron_h", "Nemotron-H"), ("falcon_h1", "Falcon-H1"), ("plamo2", "PLaMo 2"),
       ("granitemoehybrid", "Granite 4"))),
    refused("hf, Mamba-3", changed(HF, model_type="mamba3"), "model_type", "'mamba3'", "Mamba-3", "not supported"),
    refused("hf, Mamba-3's class", changed(HF, model_type=REMOVED, architectures=["Mamba3ForCausalLM"]), "architectures", "Mamba-3"),
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
    refused("original, Mamba2 without its tensors", changed(ORIGINAL, ssm_cfg={"layer": "Mamba2"}), "in_proj.weight", "[514, 64]"),
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
    checks.check({k: v for k, v in facts["sizes"].items() if k != "norm_eps"} == sizes, what + ": sizes", facts["sizes"])
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


def check_norm_groups(checks, work):
    """--norm-groups: of Mamba-2 alone, a divisor, part of what a result is known by."""
    folder = os.path.join(work, "groups")
    os.makedirs(folder)
    harness.write_json(os.path.join(folder, "config.json"), changed(HF2, n_groups=2))
    random = np.random.default_rng(3)
    made = {name: random.normal(0, 1, a.shape).astype(np.float32) for name, a in tensors2(groups=2).items()}
    reference.save_safetensors(os.path.join(folder, "model.safetensors"), made)
    np.save(os.path.join(folder, "ids.npy"), np.arange(32, dtype=np.int32).reshape(2, 16))
    job = ["-q", "--model", folder, "--calib_data_num", "2", "--calib-data", os.path.join(folder, "ids.npy"), "--modes", "fp32",
           "--components", "norm_output,ssm_output"]
    found = {}
    for groups in ("1", "2"):
        done = harness.run(job + ["--norm-groups", groups, "--output_dir", "out" + groups], 1, folder)
        checks.check(done.status == 0, "--norm-groups " + groups, done.err)
        with h5py.File(os.path.join(folder, "out" + groups, "sweep.h5")) as f:
            found[groups] = [f["outputs/float/fp32/layer_0/" + c][0, :16] for c in ("norm_output", "ssm_output")]
            checks.check(b"norm_groups " + groups.encode() in f.attrs["model_config"], "the result knows it", f.attrs["model_config"])
    gate = found["1"][0] / made["backbone.layers.0.mixer.norm.weight"], found["2"][0] / made["backbone.layers.0.mixer.norm.weight"]
    checks.check(np.array_equal(found["1"][1], found["2"][1]), "the scan does not depend on it")
    for which, parts in ((0, 1), (1, 2)):
        squares = (gate[which].reshape(16, parts, -1) ** 2).mean(-1)
        checks.check(np.allclose(squares, 1, atol=1e-3), "%d parts are normalized" % parts, squares)
    done = harness.run(job + ["--norm-groups", "2", "--output_dir", "out1", "--resume"], 1, folder)
    checks.check(done.status != 0 and "norm_groups" in done.err, "a result of another norm is not continued", (done.status, done.err))
    for groups, model, words in (("3", folder, "divisor"), ("2", os.path.join(work, "two"), "Mamba-1")):
        done = harness.run(["-q", "--model", model, "--norm-groups", groups, "--calib-data", os.path.join(folder, "ids.npy"),
                            "--output_dir", "other"], 1, folder)
        checks.check(done.status == 2 and "--norm-groups" in done.err and words in done.err, "--norm-groups %s is refused" % groups, done.err)


def main():
    checks = harness.Checks()
    with harness.Workplace() as work:
        for number, case in enumerate(CONFIGS + NAMES + MAMBA2):
            try_case(checks, work, number, case)
        check_two_files(checks, work)
        check_float_modes_alone(checks, work)
        check_norm_groups(checks, work)
    checks.check(len(CONFIGS) >= 60, "the table is long")
    checks.finish()


main()
