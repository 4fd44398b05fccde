#!/usr/bin/env python3
"""Gemma-3-270M from its GGUF file, decoded to float32 by the `gguf` package and run by transformers.

    python make.py gemma-3-270m-q4_k_m.gguf       (needs torch, transformers, gguf, safetensors)

expected_logits.safetensors: every 256th logit at the last position of each prompt of expected.json; `greedy_ids`: 16 greedy tokens after
it, with their `margins` (../reference_generation.py). The last prompt is longer than the sliding window. The model is not part of the
repository; the tests look for it in the directory INGOT_TEST_MODELS.
"""
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from reference_generation import write_expected  # noqa: E402

# Token ids, so that no tokenizer takes part.
WORDS = [2, 818, 2544, 5279, 573, 236743, 236770, 236828, 236778, 8832, 576, 506, 1902, 236761]
PROMPTS = [[2, 818, 5279, 529, 7001, 563], [2, 10979, 3278, 496, 990, 236764], WORDS[:9], WORDS * 40]
NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
}


def neutral(name):
    parts = name.split(".")
    return f"model.layers.{parts[1]}.{NAMES[parts[2]]}.{parts[3]}" if parts[0] == "blk" else f"{NAMES[parts[0]]}.{parts[1]}"


def load(path):
    reader = gguf.GGUFReader(path)
    field = lambda key: reader.fields["gemma3." + key].contents()
    state = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name.endswith("norm.weight"):
            values = values - np.float32(1)  # GGUF keeps 1 + weight
        state[neutral(tensor.name)] = torch.from_numpy(np.ascontiguousarray(values))
    embedding = state["model.embed_tokens.weight"]
    config = Gemma3TextConfig(
        vocab_size=embedding.shape[0], hidden_size=embedding.shape[1], intermediate_size=field("feed_forward_length"),
        num_hidden_layers=field("block_count"), num_attention_heads=field("attention.head_count"),
        num_key_value_heads=field("attention.head_count_kv"), head_dim=field("attention.key_length"),
        rms_norm_eps=field("attention.layer_norm_rms_epsilon"), max_position_embeddings=field("context_length"),
        sliding_window=field("attention.sliding_window"), query_pre_attn_scalar=field("attention.key_length"),
        rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": field("rope.freq_base")},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}})
    model = Gemma3ForCausalLM._from_config(config, attn_implementation="eager").float().eval()
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and set(missing.missing_keys) <= {"lm_head.weight"}, missing
    model.tie_weights()
    return model


def main():
    write_expected(HERE, load(Path(sys.argv[1]).resolve()), PROMPTS, 16, use_cache=True, stride=256)


if __name__ == "__main__":
    main()
