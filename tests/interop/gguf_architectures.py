#!/usr/bin/env python3
"""A small random model of every architecture gives in llama.cpp, through our GGUF file, the logits of transformers in float32

    gguf_architectures.py INGOT [ARCHITECTURE ...]

Finds wrong names, permutations, norms and hyperparameters. Needs torch, transformers, numpy and llama-cpp-python. Exit status 77: they are
missing.
"""
import pathlib
import subprocess
import sys
import tempfile

import _support as support

try:
    import numpy as np
    import torch
    import llama_cpp
    import _architectures as architectures
except ImportError as error:
    support.skip(error)

IDS = architectures.IDS


def make(name, tokenizer, directory):
    model = architectures.make(name, tokenizer, directory)
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].double().numpy()


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    ingot, tokenizer = sys.argv[1], support.TINY_LLAMA
    bad, largest = 0, 0.0
    names = sys.argv[2:] or list(architectures.ARCHITECTURES)
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            source, target = pathlib.Path(scratch) / "source", pathlib.Path(scratch) / "model.gguf"
            wanted = make(name, tokenizer, source)
            done = subprocess.run([ingot, "convert", str(source), "-o", str(target), "--to", "gguf", "--scheme", "f32", "--allow", "requantize"],
                                  capture_output=True, text=True)
            if done.returncode != 0:
                print(f"{name:16} FAILED  {done.stderr.strip()}")
                bad += 1
                continue
            try:  # a context that llama.cpp does not round up, and not beyond what longrope takes its short factors for: it chooses once
                model = llama_cpp.Llama(str(target), n_ctx=256, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False)
            except Exception as error:
                print(f"{name:16} FAILED  llama.cpp does not load it: {error}")
                bad += 1
                continue
            model.eval(IDS)
            got = np.array(model.scores[:len(IDS)], dtype=np.float64)
            spread, worst = wanted.std(), np.abs(got - wanted).max()
            # llama.cpp keeps keys and values as float16: about three digits
            ok = worst < 0.02 * spread
            print(f"{name:16} {'ok' if ok else 'FAILED':7} worst logit difference {worst:.2e}, spread {spread:.2f}")
            bad += not ok
            largest = max(largest, worst / spread)
    support.figure(f"{len(names)} architectures: {', '.join(names)}")
    support.figure(f"largest logit difference {largest:.2%} of the spread of the logits")
    return 1 if bad else 0


sys.exit(main())
