#!/usr/bin/env python3
"""Write expected_repetition.json: greedy tokens of transformers with a repetition penalty (needs torch, transformers).

    python make_repetition.py

Prompts and penalties whose two best scores come closer than 1e-3 at some step are left out: another order of additions may choose otherwise.
"""
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).resolve().parent
PROMPTS = ["Once upon a time", "The dog and the cat", "One day, Tim said: \"Look!\""]
TOKENS = 40


@torch.no_grad()
def main():
    model = AutoModelForCausalLM.from_pretrained(HERE, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(HERE)
    rows = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        for penalty in (1.1, 1.3, 2.0, 0.9):
            out = model.generate(ids, do_sample=False, repetition_penalty=penalty, max_new_tokens=TOKENS, min_new_tokens=TOKENS,
                                 eos_token_id=None, output_scores=True, return_dict_in_generate=True)
            margin = min(float((best := score[0].topk(2).values)[0] - best[1]) for score in out.scores)
            if margin >= 1e-3:
                rows.append({"repetition_penalty": penalty, "prompt": ids[0].tolist(), "margin": round(margin, 4),
                             "tokens": out.sequences[0, ids.shape[1]:].tolist()})
    (HERE / "expected_repetition.json").write_text(json.dumps(rows).replace("}, {", "},\n {") + "\n")


if __name__ == "__main__":
    main()
