#!/usr/bin/env python3
"""What transformers computes in float32 with tinystories-656k, a real Llama checkpoint that is not part of the repository.

    python make.py CHECKPOINT_DIRECTORY       (needs torch, transformers, safetensors)

expected_logits.safetensors: logits [vocab] at the last position of each prompt of expected.json; `greedy_ids`: 64 greedy tokens after it,
with their `margins` (../reference_generation.py).
"""
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from reference_generation import write_expected  # noqa: E402

PROMPTS = ["Once upon a time", "One day, Lily went to the park with her", "The dog", "Tom was sad because", ""]


def main():
    directory = Path(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model, report = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not report["mismatched_keys"] and not report["unexpected_keys"], report
    head = load_file(directory / "model.safetensors")["lm_head.weight"]  # the embedding is not stored: they are one
    assert torch.equal(model.get_input_embeddings().weight, head) and torch.equal(model.get_output_embeddings().weight, head)
    texts = [{"text": text, "ids": tokenizer(text)["input_ids"]} for text in PROMPTS]
    write_expected(HERE, model.eval(), [text["ids"] or [tokenizer.bos_token_id] for text in texts], 64, texts=texts)


if __name__ == "__main__":
    main()
