#!/usr/bin/env python3
"""A small random model of every architecture gives in llama.cpp, through our GGUF file, the logits of transformers in float32

    gguf_architectures.py INGOT [ARCHITECTURE ...]

Finds wrong names, permutations, norms and hyperparameters. Needs torch, transformers, numpy and llama-cpp-python. Exit status 77: they are
missing.
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

import _support as support

try:
    import numpy as np
    import torch
    import transformers as tf
    import llama_cpp
except ImportError as error:
    support.skip(error)

COMMON = dict(vocab_size=1536, hidden_size=128, intermediate_size=256, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2,
              max_position_embeddings=256, bos_token_id=0, eos_token_id=1, pad_token_id=None)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=8192)
ARCHITECTURES = {
    "llama": lambda: tf.LlamaConfig(**COMMON, tie_word_embeddings=False),
    "llama_head_dim": lambda: tf.LlamaConfig(**COMMON, head_dim=64, tie_word_embeddings=True),
    "llama3_rope": lambda: tf.LlamaConfig(**{**COMMON, "hidden_size": 256}, rope_parameters=LLAMA3),
    "mistral": lambda: tf.MistralConfig(**COMMON, sliding_window=None),
    "qwen2": lambda: tf.Qwen2Config(**COMMON),
    "qwen3": lambda: tf.Qwen3Config(**COMMON, head_dim=64),
    "gemma2": lambda: tf.Gemma2Config(**COMMON, head_dim=32, query_pre_attn_scalar=32, sliding_window=128),
    "gemma3": lambda: tf.Gemma3TextConfig(**COMMON, head_dim=32, query_pre_attn_scalar=32, sliding_window=64),
    "phi3": lambda: tf.Phi3Config(**COMMON),
    "smollm3": lambda: tf.SmolLM3Config(**COMMON),
    "olmo2": lambda: tf.Olmo2Config(**COMMON),
    "gpt2": lambda: tf.GPT2Config(vocab_size=1536, n_embd=128, n_head=4, n_layer=3, n_positions=256, bos_token_id=0, eos_token_id=1),
}
IDS = [0, 487, 513, 262, 430, 15, 432, 292, 262, 428, 481, 662, 620, 17, 325, 627, 273, 390, 310, 266]


def make(name, tokenizer, directory):
    torch.manual_seed(1)
    model = tf.AutoModelForCausalLM.from_config(ARCHITECTURES[name](), attn_implementation="eager").float().eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if value.dim() == 1:  # norms and biases that do nothing would hide mistakes
                value.add_(torch.randn_like(value) * 0.2)
            else:
                value.copy_(torch.randn_like(value) * (1.5 / value.shape[-1] ** 0.5))
    model.save_pretrained(directory)
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(tokenizer / file, directory)
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].double().numpy()


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    ingot, tokenizer = sys.argv[1], support.TINY_LLAMA
    bad, largest = 0, 0.0
    names = sys.argv[2:] or list(ARCHITECTURES)
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
            try:
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
