"""What the scripts that make expected.json share: greedy text of a transformers model, with how sure the model was of every token.

A test compares its tokens with `greedy_ids`; another token is a fault only where `margins`, the distance of the reference's two best
logits at that step, is above 1e-3: below it another order of summation may decide otherwise.
"""
import json
import re

import torch
from safetensors.torch import save_file


@torch.no_grad()
def greedy_case(model, ids, count, use_cache=False):
    """The case for expected.json, and the float32 logits [vocab] that follow the prompt."""
    greedy, margins, first, past = [], [], None, None
    for _ in range(count):
        new = ids + greedy if past is None else greedy[-1:]
        out = model(input_ids=torch.tensor([new]), past_key_values=past, use_cache=use_cache)
        past = out.past_key_values if use_cache else None
        logits = out.logits[0, -1].float()
        first = logits.contiguous() if first is None else first
        top = logits.topk(2)
        greedy.append(int(top.indices[0]))
        margins.append(float(f"{float(top.values[0] - top.values[1]):.6g}"))
    return {"prompt_ids": ids, "greedy_ids": greedy, "margins": margins}, first


def write_json(path, value):
    """Indented, arrays of numbers on one line."""
    text = json.dumps(value, indent=1, ensure_ascii=True)
    number = r"-?[\d.]+(?:e[+-]?\d+)?"
    text = re.sub(rf"\[\s+({number}(?:,\s+{number})*)\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m.group(1)) + "]", text)
    assert json.loads(text) == value
    path.write_text(text + "\n", encoding="utf-8")


def write_expected(directory, model, prompts, count, use_cache=False, stride=1, **more):
    """expected.json and expected_logits.safetensors (every `stride`-th logit of the vocabulary) for prompts of token ids."""
    cases, tensors = [], {}
    for i, ids in enumerate(prompts):
        case, logits = greedy_case(model, ids, count, use_cache)
        cases.append({**case, "logits": f"prompt{i}"})
        tensors[f"prompt{i}"] = logits[::stride].contiguous()
        print(directory.name, f"prompt {i}: smallest margin {min(case['margins']):.3g}")
    save_file(tensors, directory / "expected_logits.safetensors")
    write_json(directory / "expected.json", {"logits_stride": stride, "generation": cases, **more})
