#!/usr/bin/env python3
"""llama3_divisors.json: by what transformers divides the frequencies of RoPE under llama3 scaling

    make_llama3_divisors.py        needs torch and transformers (made with 2.13.0 and 5.23)
"""
import json
import pathlib

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

CASES = [  # head_dim, rope_theta, factor, low, high, original length
    (16, 10000.0, 5.5, 1.5, 7.0, 1234),
    (64, 10000.0, 3.3, 1.0, 4.0, 8191),
    (64, 10000.0, 16.0, 0.5, 32.0, 4096),
    (64, 500000.0, 32.0, 1.0, 4.0, 8192),
    (128, 500000.0, 8.0, 1.0, 4.0, 8192),
]


def divisors(head_dim, theta, factor, low, high, original):
    config = LlamaConfig(
        hidden_size=4 * head_dim,
        num_attention_heads=4,
        head_dim=head_dim,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": theta,
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": original,
        },
    )
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim)
    return (plain / scaled).tolist()


names = ("head_dim", "rope_theta", "factor", "low_freq_factor", "high_freq_factor", "original_context_length")
rows = [dict(zip(names, case)) | {"divisors": divisors(*case)} for case in CASES]
path = pathlib.Path(__file__).with_name("llama3_divisors.json")
path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
