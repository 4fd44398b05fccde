#!/usr/bin/env python3
"""Write a random GPT-2 checkpoint and what transformers computes with it in float32 (needs torch, transformers, tokenizers).

    python make.py

model.safetensors, config.json, tokenizer.json: the checkpoint as transformers saves it (Conv1D weights [in, out]).
expected_logits.safetensors: logits [vocab] at the last position of each prompt of expected.json; `greedy_ids`: 16 greedy tokens after it,
with their `margins` (../reference_generation.py).
"""
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from reference_generation import write_expected  # noqa: E402


def main():
    torch.manual_seed(7)
    config = GPT2Config(vocab_size=256, n_positions=96, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config).float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * (0.1 if p.dim() == 2 else 0.05) + (1.0 if "ln_" in name and name.endswith("weight") else 0.0))
    model.save_pretrained(HERE, safe_serialization=True)

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(HERE)

    prompts = [torch.randint(0, 256, (length,)).tolist() for length in [1, 5, 70]]
    write_expected(HERE, model, prompts, 16)


if __name__ == "__main__":
    main()
