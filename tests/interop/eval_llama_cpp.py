#!/usr/bin/env python3
"""ingot eval gives the perplexity of llama.cpp at the same weights, over the same windows

    eval_llama_cpp.py INGOT [MODEL.gguf ...]

The windows are those of llama-perplexity: 512 tokens from an empty context, the first replaced by the beginning-of-text token where the
model adds one, the second half scored. The text is wikitext-2 of the shared texts. Limit: 0.5 % at 8 windows, in the default mode of both
(int8 inputs) and with --exact. Needs llama-cpp-python and numpy. Exit status 77: something is missing.
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
WINDOW, WINDOWS, LIMIT = 512, 8, 0.005


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
            expected, scored = reference(path, text)
            for mode in ([], ["--exact"]):
                status, out, error = support.ingot(program, "eval", path, "--text", file, "--windows", WINDOWS, "--json", *mode)
                if status != 0:
                    raise RuntimeError(error)
                got = json.loads(out)["perplexity"]
                off = got / expected - 1
                worst = max(worst, abs(off))
                support.figure(f"{path.name} {' '.join(mode) or 'default'}: {got:.4f}, llama.cpp {expected:.4f} ({off:+.3%}, {scored} tokens)")
    sys.exit(worst > LIMIT)


main()
