#!/usr/bin/env python3
"""Writes expected_perplexity.json: the windows of `ingot eval` over sample.txt of tiny-llama, scored by transformers in float32.

    make_perplexity.py        (needs torch and transformers; see tests/interop/requirements.txt)

Each window is read from an empty context, its first token replaced by the beginning-of-text token; the second half counts.
"""
import json
import math
import pathlib

import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE.parent / "tiny-llama"
WINDOW = 64

torch.set_grad_enabled(False)
tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
tokens = tokenizer((MODEL / "sample.txt").read_text())["input_ids"]
adds_beginning = tokens[0] == tokenizer.bos_token_id
windows = len(tokens) // WINDOW
first = WINDOW // 2
surprises, likeliest = [], []
for index in range(windows):
    window = torch.tensor([tokens[index * WINDOW : (index + 1) * WINDOW]])
    if adds_beginning:
        window[0, 0] = tokenizer.bos_token_id
    log_probabilities = model(window).logits[0].double().log_softmax(-1)
    for position in range(first, WINDOW - 1):
        surprises.append(-log_probabilities[position, window[0, position + 1]].item())
        likeliest.append(log_probabilities[position].argmax().item())
mean = sum(surprises) / len(surprises)
squares = sum(s * s for s in surprises) / len(surprises)
perplexity = math.exp(mean)
document = {"tokens": len(tokens), "window": WINDOW, "windows": windows, "scored": len(surprises), "perplexity": perplexity,
            "perplexity_error": perplexity * math.sqrt((squares - mean * mean) / (len(surprises) - 1)), "likeliest": likeliest[:64]}
(HERE / "expected_perplexity.json").write_text(json.dumps(document) + "\n")
print(document["perplexity"], document["perplexity_error"], windows, adds_beginning)
