#!/usr/bin/env python3
"""ingot eval gives the perplexity of llama.cpp at the same weights, over the same windows

    eval_llama_cpp.py INGOT [MODEL.gguf ...]

The windows are those of llama-perplexity: 512 tokens from an empty context, the first replaced by the beginning-of-text token where the
model adds one, the second half scored. The text is wikitext-2 of the shared texts. Limit: 0.5 % at 4 windows, by default (int8 inputs)
and with --exact. llama.cpp reads the weights as F32, from a copy that ingot makes (gguf_grid_types and the tests of blocks prove its
values against the gguf library): from the file as it is llama.cpp rounds 256 inputs at once to int8, which alone moves Gemma-3-270M in
Q4_K_M by 0.6 %. That figure is printed, not judged. Needs llama-cpp-python and numpy. Exit status 77: something is missing.
"""
import json
import pathlib
import sys
import tempfile

import _support as support

try:
    import llama_cpp
    import numpy as np
except ImportError as error:
    support.skip(error)

TEXT = support.SHARED / "text/wikitext2-raw/wiki.test.raw"
WINDOW, WINDOWS, LIMIT = 512, 4, 0.005


def reference(path, text):
    model = support.LlamaCpp(path)
    raw = model.model
    ids = raw.tokenize(text.encode(), add_bos=True)
    beginning = raw.token_bos() if llama_cpp.llama_vocab_get_add_bos(llama_cpp.llama_model_get_vocab(raw._model.model)) else None
    surprises = []
    for index in range(WINDOWS):
        window = ids[index * WINDOW : (index + 1) * WINDOW]
        if beginning is not None:
            window[0] = beginning
        logits = np.asarray(model.logits(window), dtype=np.float64)
        for position in range(WINDOW // 2, WINDOW - 1):
            row = logits[position] - logits[position].max()
            surprises.append(np.log(np.exp(row).sum()) - row[window[position + 1]])
    return float(np.exp(np.mean(surprises))), len(surprises)


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    models = [pathlib.Path(argument) for argument in sys.argv[2:]] or support.gguf_files()
    if not models or not TEXT.exists():
        support.skip("no GGUF model (INGOT_TEST_MODELS) or no wikitext-2 (INGOT_SHARED)")
    text = TEXT.read_text()[:40_000]
    worst = 0
    with tempfile.TemporaryDirectory() as work:
        file = pathlib.Path(work) / "text.txt"
        file.write_text(text)
        for path in models:
            floats = support.convert(program, path, pathlib.Path(work) / f"{path.stem}-f32.gguf", "gguf", "--scheme", "f32")
            expected, scored = reference(floats, text)
            rounded, _ = reference(path, text)
            support.figure(f"{path.name}: llama.cpp on the file as it is {rounded:.4f} ({rounded / expected - 1:+.3%} from its F32)")
            for mode in ([], ["--exact"]):
                status, out, error = support.ingot(program, "eval", path, "--text", file, "--windows", WINDOWS, "--json", *mode)
                if status != 0:
                    raise RuntimeError(error)
                got = json.loads(out)["perplexity"]
                off = got / expected - 1
                worst = max(worst, abs(off))
                support.figure(f"{path.name} {' '.join(mode) or 'default'}: {got:.4f}, llama.cpp F32 {expected:.4f} ({off:+.3%}, {scored} tokens)")
    sys.exit(worst > LIMIT)


main()
