#!/usr/bin/env python3
"""Asks llama.cpp about the GGUF files that `ingot convert` writes: does it load them, tokenize and continue text as the source does?

    gguf_llama_cpp.py INGOT MODEL [MODEL ...]

INGOT is the program. MODEL is a Hugging Face directory with `expected.json` or `expected_greedy.json` (prompts with the token ids and the
greedy continuation of an independent implementation), or a .gguf file (then the source itself, in llama.cpp, is the reference).
Every model is written as f32, with its own types, and as q8_0. Where the arithmetic is the reference's, greedy tokens must be the same (a
difference counts only where the two best logits are more than 0.01 apart) and perplexities on the same text must agree within 0.1 %.
Elsewhere they must agree within 2 %: q8_0 has other weights, and llama.cpp rounds activations to 8 bits when weights are quantized, so
that the f32 form of a quantized source is another computation.
Needs the Python packages llama-cpp-python and numpy. Exit status 77: they are missing.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import llama_cpp
except ImportError as error:
    print(f"SKIPPED: {error}")
    sys.exit(77)

TEXT = ("Once upon a time there was a little girl who lived in a small house near the forest. Every day she went out to play with "
        "her friends, and every evening her mother told her a story about a brave dog and a clever cat. ") * 2
GREEDY_TOKENS = 64
MARGIN = 0.01


def load(path):
    return llama_cpp.Llama(str(path), n_ctx=512, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False)


def logits_of(model, ids):
    model.reset()
    model.eval(ids)
    return np.array(model.scores[:len(ids)], dtype=np.float64)


def greedy(model, ids, count):
    """Token ids, and the gap between the two best logits at each step."""
    ids, out, gaps = list(ids), [], []
    model.reset()
    model.eval(ids)
    for _ in range(count):
        scores = np.array(model.scores[model.n_tokens - 1], dtype=np.float64)
        second, best = np.argsort(scores)[-2:]
        out.append(int(best))
        gaps.append(float(scores[best] - scores[second]))
        model.eval([int(best)])
    return out, gaps


def perplexity(model, text=TEXT):
    ids = model.tokenize(text.encode(), add_bos=True)[:400]
    scores = logits_of(model, ids)[:-1]
    scores -= scores.max(axis=1, keepdims=True)
    logp = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return float(np.exp(-logp[np.arange(len(ids) - 1), ids[1:]].mean()))


def tokens_of(model, prompt):
    ids = model.tokenize(prompt.encode(), add_bos=True, special=True)
    return ids[1:] if len(ids) > 1 and ids[0] == ids[1] == model.token_bos() else ids  # the prompt names it itself


def references(model_path):
    """Prompts, ids and greedy continuation from files beside the checkpoint; for a GGUF from llama.cpp itself."""
    for name in ("expected.json", "expected_greedy.json"):
        file = model_path / name
        if model_path.is_dir() and file.exists():
            cases = json.loads(file.read_text())
            cases = cases["generation"] if isinstance(cases, dict) else cases
            return [(c["prompt"], c["prompt_ids"], c.get("greedy_ids") or c["new_ids"]) for c in cases]
    model = load(model_path)
    prompts = ["Once upon a time", "The capital of France is", "def add(a, b):"]
    cases = []
    for prompt in prompts:
        ids = tokens_of(model, prompt)
        cases.append((prompt, ids, greedy(model, ids, GREEDY_TOKENS // 2)[0]))
    return cases


def same_continuation(got, gaps, wanted):
    for step, (a, b) in enumerate(zip(got, wanted)):
        if a != b:
            return gaps[step] <= MARGIN, step
    return True, None


def check(ingot, source, cases, scheme, allow, same_arithmetic, directory):
    target = directory / f"{scheme or 'kept'}.gguf"
    command = [ingot, "convert", str(source), "-o", str(target), "--to", "gguf"]
    command += ["--scheme", scheme] if scheme else []
    command += ["--allow", allow] if allow else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return [f"convert failed: {done.stderr.strip()}"], None
    model, faults = load(target), []
    for prompt, ids, wanted in cases:
        if tokens_of(model, prompt) != list(ids):
            faults.append(f"{prompt!r} becomes other tokens: {tokens_of(model, prompt)}, expected {ids}")
        got, gaps = greedy(model, ids, min(GREEDY_TOKENS, len(wanted)))
        equal, step = same_continuation(got, gaps, wanted)
        if not equal and same_arithmetic:
            faults.append(f"{prompt!r}: token {step} is {got[step]}, expected {wanted[step]} (gap {gaps[step]:.3g})")
    return faults, perplexity(model)


def main():
    ingot, bad = sys.argv[1], 0
    for name in sys.argv[2:]:
        source = pathlib.Path(name)
        cases = references(source)
        reference = perplexity(load(source)) if source.is_file() else None
        with tempfile.TemporaryDirectory() as directory:
            for scheme, allow in (("f32", None), ("", None), ("q8_0", "requantize")):
                same_arithmetic = not allow and (scheme == "" or source.is_dir())
                faults, value = check(ingot, source, cases, scheme, allow, same_arithmetic, pathlib.Path(directory))
                if value is not None and reference is None:
                    reference = value  # of the f32 file
                limit = 0.001 if same_arithmetic else 0.02
                if value is not None and abs(value / reference - 1) > limit:
                    faults.append(f"perplexity {value:.5f}, of the source {reference:.5f}")
                print(f"{source.name:40} {scheme or 'kept':6} {'ok' if not faults else 'FAILED':7} perplexity {value}")
                for fault in faults:
                    print("   ", fault)
                bad += bool(faults)
    return 1 if bad else 0


sys.exit(main())
