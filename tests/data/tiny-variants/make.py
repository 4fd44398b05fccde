#!/usr/bin/env python3
"""Write small random checkpoints of every architecture and of the less common features, and what transformers computes with them in float32.

    python make.py [NAME ...]        (needs torch, transformers; all without names)

The features of each are in MODELS. Each directory holds a checkpoint, expected.json and expected_logits.safetensors in the form of
tests/data/tiny-gpt2. Sequences go beyond windows and original context lengths; with LongRoPE one crosses it while it is generated.
"""
import sys
from pathlib import Path

import torch
import transformers as tf

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from reference_generation import write_expected  # noqa: E402
COMMON = {"vocab_size": 80, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "max_position_embeddings": 128,
          "pad_token_id": None, "bos_token_id": 0, "eos_token_id": 1}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "beta_fast": 8.0, "beta_slow": 1.0, "original_max_position_embeddings": 32}
LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
            "short_factor": [1.0, 1.05, 1.1, 1.3, 1.6, 2.0], "long_factor": [1.0, 1.4, 2.0, 4.0, 7.5, 9.0]}
GEMMA3_ROPE = {"full_attention": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 2.0},
               "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}
MODELS = {
    # Sliding window, head size that is not hidden/heads, grouped queries, untied head.
    "mistral": (torch.float16, lambda: tf.MistralConfig(**COMMON, **HEADS, head_dim=12, sliding_window=8, rms_norm_eps=1e-6,
                                                        tie_word_embeddings=False)),
    # Llama with biases on all projections and llama3 scaling; tied.
    "bias": (torch.bfloat16, lambda: tf.LlamaConfig(**COMMON, num_attention_heads=4, num_key_value_heads=4, attention_bias=True, mlp_bias=True,
                                                    rope_parameters=LLAMA3, tie_word_embeddings=True)),
    "linear": (torch.float32, lambda: tf.LlamaConfig(**COMMON, num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=False,
                                                     rope_parameters={"rope_type": "linear", "rope_theta": 5000.0, "factor": 2.0})),
    "yarn": (torch.bfloat16, lambda: tf.LlamaConfig(**COMMON, **HEADS, rope_parameters=YARN, tie_word_embeddings=True)),
    # Biases on queries, keys and values; the second layer with a window.
    "qwen2": (torch.bfloat16, lambda: tf.Qwen2Config(**COMMON, **HEADS, use_sliding_window=True, sliding_window=8, max_window_layers=1,
                                                     tie_word_embeddings=True)),
    "qwen3": (torch.bfloat16, lambda: tf.Qwen3Config(**COMMON, **HEADS, head_dim=12, tie_word_embeddings=False)),
    # Caps and a scale that bite, a window in the first layer.
    "gemma2": (torch.bfloat16, lambda: tf.Gemma2Config(**COMMON, **HEADS, head_dim=12, query_pre_attn_scalar=20, attn_logit_softcapping=1.0,
                                                       final_logit_softcapping=2.0, sliding_window=8)),
    # Windows and frequencies of their own in two layers, linear scaling in the one between.
    "gemma3": (torch.bfloat16, lambda: tf.Gemma3TextConfig(**{**COMMON, "num_hidden_layers": 3}, **HEADS, head_dim=12, sliding_window=8,
                                                           query_pre_attn_scalar=20, rope_parameters=GEMMA3_ROPE,
                                                           layer_types=["sliding_attention", "full_attention", "sliding_attention"])),
    # LongRoPE on three quarters of each head, fused matrices, a window.
    "phi3": (torch.bfloat16, lambda: tf.Phi3Config(**{**COMMON, "hidden_size": 64}, **HEADS, rope_parameters=LONGROPE, sliding_window=24,
                                                   original_max_position_embeddings=32, tie_word_embeddings=True)),
    # The second of three layers does not rotate.
    "smollm3": (torch.bfloat16, lambda: tf.SmolLM3Config(**{**COMMON, "num_hidden_layers": 3}, **HEADS, no_rope_layers=[1, 0, 1])),
    "olmo2": (torch.bfloat16, lambda: tf.Olmo2Config(**COMMON, **HEADS, tie_word_embeddings=False)),
    # The exact GELU.
    "gpt2": (torch.bfloat16, lambda: tf.GPT2Config(vocab_size=80, n_embd=32, n_layer=3, n_head=4, n_inner=48, n_positions=128, bos_token_id=0,
                                                   eos_token_id=1, activation_function="gelu")),
    # Scores divided by the number of the layer too.
    "gpt2-by-layer": (torch.bfloat16, lambda: tf.GPT2Config(vocab_size=80, n_embd=32, n_layer=3, n_head=4, n_inner=48, n_positions=128,
                                                            bos_token_id=0, eos_token_id=1, scale_attn_by_inverse_layer_idx=True,
                                                            reorder_and_upcast_attn=True)),
}
LENGTHS = [1, 7, 20, 60]


@torch.no_grad()
def write(name):
    dtype, make_config = MODELS[name]
    torch.manual_seed(len(name))
    model = tf.AutoModelForCausalLM.from_config(make_config(), attn_implementation="eager")
    gemma = name.startswith("gemma")  # its norms are relative to 1, and its embeddings are scaled up
    for parameter_name, p in model.named_parameters():
        is_norm = ("norm" in parameter_name or ".ln_" in parameter_name) and not parameter_name.endswith("bias")
        spread = 0.08 if gemma and "embed" in parameter_name else 0.2
        p.copy_(torch.randn_like(p) * spread + (1.0 if is_norm and not gemma else 0.0))
    directory = HERE / name
    model.to(dtype).save_pretrained(directory, safe_serialization=True)
    # Read back: casting the model itself would also round its rotary frequencies.
    model = type(model).from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    prompts = [torch.randint(0, COMMON["vocab_size"], (length,)).tolist() for length in LENGTHS]
    write_expected(directory, model, prompts, 24)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or MODELS:
        write(chosen)
