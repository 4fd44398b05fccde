#!/usr/bin/env python3
"""Write expected.json: rotary frequencies as transformers computes them (needs torch, transformers).

    python make.py
"""
import json
from pathlib import Path

import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

ROWS = [
    {"type": "default", "theta": 10000.0, "factor": 1.0, "low": 1.0, "high": 4.0, "original": 2048, "dim": 64},
    {"type": "default", "theta": 130000.0, "factor": 1.0, "low": 1.0, "high": 4.0, "original": 2048, "dim": 16},
    {"type": "linear", "theta": 10000.0, "factor": 2.5, "low": 1.0, "high": 4.0, "original": 2048, "dim": 64},
    {"type": "llama3", "theta": 500000.0, "factor": 8.0, "low": 1.0, "high": 4.0, "original": 8192, "dim": 128},
    {"type": "llama3", "theta": 500000.0, "factor": 32.0, "low": 1.0, "high": 4.0, "original": 8192, "dim": 64},
    {"type": "yarn", "theta": 1000000.0, "factor": 4.0, "low": 1.0, "high": 4.0, "original": 1024, "dim": 128},
    {"type": "yarn", "theta": 10000.0, "factor": 16.0, "low": 1.0, "high": 4.0, "original": 256, "dim": 64},
    {"type": "yarn", "theta": 150000.0, "factor": 32.0, "low": 1.0, "high": 4.0, "original": 4096, "dim": 64, "truncate": False},
    {"type": "longrope", "theta": 10000.0, "factor": 4.0, "low": 1.0, "high": 4.0, "original": 1024, "dim": 16, "beyond": False},
    {"type": "longrope", "theta": 10000.0, "factor": 4.0, "low": 1.0, "high": 4.0, "original": 1024, "dim": 16, "beyond": True},
]
# What a type reads besides its base.
READS = {"default": [], "linear": ["factor"], "llama3": ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
         "yarn": ["factor", "original_max_position_embeddings", "truncate"],
         "longrope": ["factor", "original_max_position_embeddings", "short_factor", "long_factor"]}
FACTORS = {"short_factor": [1 + i / 16 for i in range(8)], "long_factor": [1 + i * i / 2 for i in range(8)]}


def main():
    for row in ROWS:
        parameters = {"factor": row["factor"], "low_freq_factor": row["low"], "high_freq_factor": row["high"],
                      "original_max_position_embeddings": row["original"],
                      "truncate": row.get("truncate", True), **FACTORS}
        parameters = {"rope_type": row["type"], "rope_theta": row["theta"], **{key: parameters[key] for key in READS[row["type"]]}}
        if row["type"] == "longrope":
            row.update(FACTORS)
        config = LlamaConfig(hidden_size=row["dim"] * 2, num_attention_heads=2, head_dim=row["dim"], max_position_embeddings=4096,
                             rope_parameters=parameters)
        rope = LlamaRotaryEmbedding(config)
        last = row["original"] if row.get("beyond") else 0  # transformers chooses by the greatest position
        rope(torch.zeros(1), torch.tensor([[last]]))
        row["frequencies"] = rope.inv_freq.tolist()
        row["magnitude"] = rope.attention_scaling
    Path(__file__).with_name("expected.json").write_text(json.dumps(ROWS).replace("}, {", "},\n{") + "\n")


if __name__ == "__main__":
    main()
