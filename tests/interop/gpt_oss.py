#!/usr/bin/env python3
"""A tiny gpt-oss with MXFP4 experts: as BF16 for transformers, and as MLX, it gives the logits of transformers with the experts dequantized

    gpt_oss.py INGOT

Blocks and exponents are random; transformers' convert_moe_packed_tensors says what they mean. Needs torch, transformers, safetensors, numpy
and mlx-lm. Exit status 77: a package is missing.
"""
import json
import pathlib
import sys
import tempfile

import _support as support

try:
    import mlx.core as mx
    import mlx_lm
    import numpy as np
    import torch
    import transformers as tf
    from safetensors.torch import load_file, save_file
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors
except ImportError as error:
    support.skip(error)

IDS = [0, 487, 513, 262, 430, 15, 432, 292]
EXPERTS = ("experts.gate_up_proj", "experts.down_proj")
SIZES = dict(vocab_size=1536, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             head_dim=32, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=256, sliding_window=16, bos_token_id=0,
             eos_token_id=1, pad_token_id=None, layer_types=["sliding_attention", "full_attention"])
ROPE = dict(rope_type="default", rope_theta=150000.0)  # the scaling of mlx-lm is not that of transformers to the last digit


def make(directory):
    """The checkpoint, and the model with what its experts mean."""
    torch.manual_seed(2)
    config = tf.GptOssConfig(**SIZES, rope_parameters=ROPE)
    model = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").bfloat16().eval()
    state, stored = model.state_dict(), {}
    for name, value in state.items():
        if name.endswith(EXPERTS):
            experts, inputs, outputs = value.shape
            blocks = torch.randint(0, 256, (experts, outputs, inputs // 32, 16), dtype=torch.uint8)
            scales = torch.randint(119, 124, blocks.shape[:3], dtype=torch.uint8)
            stored |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
            value.copy_(convert_moe_packed_tensors(blocks, scales, dtype=torch.bfloat16))
        else:
            value.copy_(torch.randn(value.shape) * (0.2 if value.dim() < 2 else 1.5 / value.shape[-1] ** 0.5))
            stored[name] = value.contiguous()
    directory.mkdir()
    save_file(stored, directory / "model.safetensors", metadata={"format": "pt"})
    quantization = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router",
                                                                       "model.embed_tokens", "lm_head"]}
    written = config.to_dict() | {"architectures": ["GptOssForCausalLM"], "dtype": "bfloat16", "quantization_config": quantization}
    (directory / "config.json").write_text(json.dumps(written))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (directory / file).write_bytes((support.TINY_LLAMA / file).read_bytes())
    return model


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program, faults = sys.argv[1], []
    with tempfile.TemporaryDirectory() as scratch, torch.no_grad():
        scratch = pathlib.Path(scratch)
        model = make(scratch / "source")
        plain = support.convert(program, scratch / "source", scratch / "hf", "hf")
        tensors, state = load_file(plain / "model.safetensors"), model.state_dict()
        faults += [f"hf: {name} is {tensors[name].dtype} {tuple(tensors[name].shape)}" if name in tensors else f"hf: no {name}"
                   for name, value in state.items()
                   if name not in tensors or tensors[name].dtype != value.dtype or not torch.equal(tensors[name], value)]
        reference = tf.AutoModelForCausalLM.from_config(model.config, attn_implementation="eager").float().eval()
        reference.load_state_dict(state)  # not model.float(): its rotary frequencies were rounded
        wanted = reference(torch.tensor([IDS])).logits[0].double().numpy()
        loaded = tf.AutoModelForCausalLM.from_pretrained(plain, attn_implementation="eager").float().eval()
        worst_hf = np.abs(loaded(torch.tensor([IDS])).logits[0].double().numpy() - wanted).max() / wanted.std()
        back = support.convert(program, support.convert(program, scratch / "source", scratch / "model.ingot", "ingot"), scratch / "back", "mxfp4")
        again = load_file(back / "model.safetensors")
        faults += [f"mxfp4: {name} differs" for name, value in load_file(scratch / "source/model.safetensors").items()
                   if name not in again or not torch.equal(again[name], value)]
        mlx_model, _ = mlx_lm.load(str(support.convert(program, scratch / "source", scratch / "mlx", "mlx")))
        mlx_model.set_dtype(mx.float32)
        got = np.array(mlx_model(mx.array([IDS]))[0].astype(mx.float32), dtype=np.float64)
        worst_mlx = np.abs(got - wanted).max() / wanted.std()
    if worst_hf > 1e-6 or worst_mlx > 1e-3:
        faults.append(f"logits differ by {worst_hf:.2e} (hf) and {worst_mlx:.2e} (mlx) of their spread")
    for fault in faults:
        print("FAILED", fault)
    support.figure(f"every tensor of the BF16 checkpoint equal; logits within {worst_hf:.1e} (transformers) and {worst_mlx:.1e} (mlx-lm) of their spread")
    return 1 if faults else 0


sys.exit(main())
