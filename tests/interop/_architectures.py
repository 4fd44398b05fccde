"""Small random models of the architectures that GGUF has names for, made by transformers."""
import json
import shutil

import torch
import transformers as tf

COMMON = dict(vocab_size=1536, hidden_size=128, intermediate_size=256, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2,
              max_position_embeddings=256, bos_token_id=0, eos_token_id=1, pad_token_id=None)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=8192)
LINEAR = dict(rope_type="linear", rope_theta=10000.0, factor=2.0)
LONGROPE = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0 + 0.01 * i for i in range(16)],
                long_factor=[1.5 + 0.25 * i for i in range(16)], original_max_position_embeddings=256)
EXPERTS = dict(num_local_experts=4, num_experts_per_tok=2)
ARCHITECTURES = {
    "llama": lambda: tf.LlamaConfig(**COMMON, tie_word_embeddings=False),
    "llama_head_dim": lambda: tf.LlamaConfig(**COMMON, head_dim=64, tie_word_embeddings=True),
    "llama_bias": lambda: tf.LlamaConfig(**COMMON, attention_bias=True, mlp_bias=True),
    "llama3_rope": lambda: tf.LlamaConfig(**{**COMMON, "hidden_size": 256}, rope_parameters=LLAMA3),
    "llama_linear": lambda: tf.LlamaConfig(**COMMON, rope_parameters=LINEAR),
    "mistral": lambda: tf.MistralConfig(**COMMON, sliding_window=None),
    "mixtral": lambda: tf.MixtralConfig(**COMMON, **EXPERTS),
    "qwen2": lambda: tf.Qwen2Config(**COMMON),
    "qwen3": lambda: tf.Qwen3Config(**COMMON, head_dim=64),
    "gemma2": lambda: tf.Gemma2Config(**COMMON, head_dim=32, query_pre_attn_scalar=32, sliding_window=128),
    "gemma3": lambda: tf.Gemma3TextConfig(**COMMON, head_dim=32, query_pre_attn_scalar=32, sliding_window=64),
    "phi3": lambda: tf.Phi3Config(**COMMON),
    "phi3_longrope": lambda: tf.Phi3Config(**{**COMMON, "max_position_embeddings": 512}, original_max_position_embeddings=256, rope_parameters=LONGROPE),
    "smollm3": lambda: tf.SmolLM3Config(**COMMON),
    "olmo2": lambda: tf.Olmo2Config(**COMMON),
    "gpt2": lambda: tf.GPT2Config(vocab_size=1536, n_embd=128, n_head=4, n_layer=3, n_positions=256, n_ctx=256, bos_token_id=0, eos_token_id=1),
}
IDS = [0, 487, 513, 262, 430, 15, 432, 292, 262, 428, 481, 662, 620, 17, 325, 627, 273, 390, 310, 266]


def make(name, tokenizer, directory, dtype=torch.float32):
    """Writes the checkpoint and returns its model."""
    torch.manual_seed(1)
    model = tf.AutoModelForCausalLM.from_config(ARCHITECTURES[name](), attn_implementation="eager").float().eval()
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() == 1:  # norms and biases that do nothing would hide mistakes
                value.add_(torch.randn_like(value) * 0.2)
            else:
                value.copy_(torch.randn_like(value) * (1.5 / value.shape[-1] ** 0.5))
    model = model.to(dtype)
    model.save_pretrained(directory)
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(tokenizer / file, directory)
    return model


def config_of(directory):
    return json.loads((directory / "config.json").read_text())
