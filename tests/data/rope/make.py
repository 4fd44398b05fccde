#!/usr/bin/env python3
"""Write expected.json: rotary frequencies as transformers computes them (needs torch, transformers).

    python make.py
"""
import json
from pathlib import Path

from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

ROWS = [
    {"type": "default", "theta": 10000.0, "factor": 1.0, "low": 1.0, "high": 4.0, "original": 2048, "dim": 64},
    {"type": "default", "theta": 130000.0, "factor": 1.0, "low": 1.0, "high": 4.0, "original": 2048, "dim": 16},
    {"type": "linear", "theta": 10000.0, "factor": 2.5, "low": 1.0, "high": 4.0, "original": 2048, "dim": 64},
    {"type": "llama3", "theta": 500000.0, "factor": 8.0, "low": 1.0, "high": 4.0, "original": 8192, "dim": 128},
    {"type": "llama3", "theta": 500000.0, "factor": 32.0, "low": 1.0, "high": 4.0, "original": 8192, "dim": 64},
]


def main():
    for row in ROWS:
        parameters = {"rope_type": row["type"], "rope_theta": row["theta"], "factor": row["factor"], "low_freq_factor": row["low"],
                      "high_freq_factor": row["high"], "original_max_position_embeddings": row["original"]}
        if row["type"] != "llama3":
            parameters = {k: v for k, v in parameters.items() if k in ("rope_type", "rope_theta", "factor")}
        config = LlamaConfig(hidden_size=row["dim"] * 2, num_attention_heads=2, head_dim=row["dim"], max_position_embeddings=4096,
                             rope_parameters=parameters)
        row["frequencies"] = LlamaRotaryEmbedding(config).inv_freq.tolist()
    Path(__file__).with_name("expected.json").write_text(json.dumps(ROWS) + "\n")


if __name__ == "__main__":
    main()
