#!/usr/bin/env python3
"""Write small random checkpoints that use the less common features, and what transformers computes with them (needs torch, transformers).

    python make.py

mistral: sliding window 8, head size that is not hidden/heads, grouped queries, untied head, float16 weights.
bias: Llama with biases on all projections, llama3 rope scaling, tied head, bfloat16 weights.
linear: Llama with linear rope scaling, float32 weights.
Each directory holds a checkpoint, expected.json and expected_logits.safetensors in the form of tests/data/tiny-gpt2.
"""
import sys
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from reference_generation import write_expected  # noqa: E402
COMMON = {"vocab_size": 80, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "max_position_embeddings": 128}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}


def mistral():
    config = MistralConfig(**COMMON, num_attention_heads=4, num_key_value_heads=2, head_dim=12, sliding_window=8, rms_norm_eps=1e-6,
                           tie_word_embeddings=False, attn_implementation="eager")
    return MistralForCausalLM(config), torch.float16


def bias():
    config = LlamaConfig(**COMMON, num_attention_heads=4, num_key_value_heads=4, attention_bias=True, mlp_bias=True, rope_parameters=LLAMA3,
                         tie_word_embeddings=True, attn_implementation="eager")
    return LlamaForCausalLM(config), torch.bfloat16


def linear():
    config = LlamaConfig(**COMMON, num_attention_heads=2, num_key_value_heads=1, rope_parameters={"rope_type": "linear", "rope_theta": 5000.0, "factor": 2.0},
                         tie_word_embeddings=False, attn_implementation="eager")
    return LlamaForCausalLM(config), torch.float32


@torch.no_grad()
def write(name, model, dtype):
    torch.manual_seed(len(name))
    for parameter_name, p in model.named_parameters():
        p.copy_(torch.randn_like(p) * 0.2 + (1.0 if "norm" in parameter_name else 0.0))
    directory = HERE / name
    model.to(dtype).save_pretrained(directory, safe_serialization=True)
    # Read back: casting the model itself would also round its rotary frequencies.
    model = type(model).from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    prompts = [torch.randint(0, COMMON["vocab_size"], (length,)).tolist() for length in [1, 7, 60]]
    write_expected(directory, model, prompts, 24)


if __name__ == "__main__":
    for make in (mistral, bias, linear):
        write(make.__name__, *make())
