#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a random Mamba-1 model folder: config.json and model.safetensors.  The same arguments give the same bytes."""
import argparse
import json
import os

import numpy as np

import quamba_reference as reference


def to_bf16(a):
    """Upper halves of float32, ties to even."""
    bits = np.ascontiguousarray(a, np.float32).view(np.uint32)
    return ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


CAST = {"F32": lambda a: a.astype(np.float32), "F16": lambda a: a.astype(np.float16), "BF16": to_bf16}


def make_config(args):
    if args.layout == "original":
        return {"d_model": args.d_model, "n_layer": args.n_layer, "vocab_size": args.vocab - 3, "rms_norm": True,
                "residual_in_fp32": True, "fused_add_norm": True, "pad_vocab_size_multiple": 8,
                "ssm_cfg": {"d_state": args.d_state, "d_conv": args.d_conv, "expand": args.expand}}
    return {"architectures": ["MambaForCausalLM"], "model_type": "mamba", "hidden_size": args.d_model,
            "num_hidden_layers": args.n_layer, "vocab_size": args.vocab, "state_size": args.d_state,
            "conv_kernel": args.d_conv, "expand": args.expand, "intermediate_size": args.expand * args.d_model,
            "time_step_rank": -(-args.d_model // 16), "layer_norm_epsilon": 1e-5, "use_bias": False,
            "use_conv_bias": True, "hidden_act": "silu", "residual_in_fp32": True,
            "tie_word_embeddings": not args.lm_head}


def make_tensors(args):
    tensors = reference.random_model_tensors(args.seed, args.d_model, args.n_layer, args.vocab, args.d_state,
                                             args.d_conv, args.expand)
    if args.layout == "hf":
        tensors["backbone.embeddings.weight"] = tensors.pop("backbone.embedding.weight")
    if args.lm_head:
        generator = np.random.Generator(np.random.PCG64(args.seed + 1))
        tensors["lm_head.weight"] = (0.1 * generator.standard_normal((args.vocab, args.d_model))).astype(np.float32)
    return {name: CAST[args.dtype](a) for name, a in tensors.items()}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--out", required=True, help="folder, made if needed")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--d-model", type=int, default=64)
    p.add_argument("--n-layer", type=int, default=2)
    p.add_argument("--vocab", type=int, default=256)
    p.add_argument("--d-state", type=int, default=16)
    p.add_argument("--d-conv", type=int, default=4)
    p.add_argument("--expand", type=int, default=2)
    p.add_argument("--dtype", choices=CAST, default="F32")
    p.add_argument("--layout", choices=("hf", "original"), default="hf",
                   help="of config.json; 'original' has a vocabulary padded to a multiple of 8")
    p.add_argument("--lm-head", action="store_true", help="an lm_head of its own instead of the tied embedding")
    args = p.parse_args()
    os.makedirs(args.out, exist_ok=True)
    with open(os.path.join(args.out, "config.json"), "w", encoding="utf-8") as f:
        json.dump(make_config(args), f, indent=2, sort_keys=True)
        f.write("\n")
    reference.save_safetensors(os.path.join(args.out, "model.safetensors"), make_tensors(args), {"format": "pt"})


if __name__ == "__main__":
    main()
