#!/usr/bin/env python3
"""Writes architectures.json: tiny configurations of transformers and what convert_hf_to_gguf.py of llama.cpp makes of checkpoints in BF16

Usage: make_architectures.py LLAMA_CPP [OUTPUT]
Needs torch, transformers, numpy, libxxhash. LLAMA_CPP is a directory with its sources. The weights are a formula of name and index, so that
the test makes the same checkpoints: only names, shapes, hyperparameters and the hashes (XXH3-128) of the bytes are kept.
"""
import json
import pathlib
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
LLAMA_CPP, OUTPUT = sys.argv[1], pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else HERE / "architectures.json")
sys.path[:0] = [LLAMA_CPP, LLAMA_CPP + "/gguf-py", str(HERE.parents[3] / "spec/reference")]
import convert_hf_to_gguf as script
import gguf
import torch
import transformers as tf
from conversion.base import TextModel
from ingot_reader import hash128
from safetensors.torch import save_file

SIZES = dict(vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=64, bos_token_id=0, eos_token_id=1, pad_token_id=None)
LONGROPE = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0, 1.25, 1.5, 2.0], long_factor=[1.5, 2.0, 3.0, 4.5],
                original_max_position_embeddings=32)
CONFIGS = {
    "llama": tf.LlamaConfig(**SIZES, tie_word_embeddings=False, attention_bias=True),
    "mistral": tf.MistralConfig(**SIZES, sliding_window=None),
    "mixtral": tf.MixtralConfig(**SIZES, num_local_experts=3, num_experts_per_tok=2),
    "qwen2": tf.Qwen2Config(**SIZES),
    "qwen3": tf.Qwen3Config(**SIZES, head_dim=16),
    "gemma2": tf.Gemma2Config(**SIZES, head_dim=8, query_pre_attn_scalar=8, sliding_window=16),
    "gemma3": tf.Gemma3TextConfig(**SIZES, head_dim=8, query_pre_attn_scalar=8, sliding_window=16),
    "phi3": tf.Phi3Config(**SIZES, original_max_position_embeddings=32, rope_parameters=LONGROPE),
    "smollm3": tf.SmolLM3Config(**SIZES),
    "olmo2": tf.Olmo2Config(**SIZES),
    "gpt2": tf.GPT2Config(vocab_size=96, n_embd=32, n_head=4, n_layer=2, n_positions=64, n_ctx=64, bos_token_id=0, eos_token_id=1),
}
SKIPPED_KEYS = ("GGUF.", "general.", "tokenizer.")


def no_vocabulary(cls):
    """No class looks for a tokenizer: those have tests of their own."""
    for each in cls.__subclasses__():
        no_vocabulary(each)
    cls.set_vocab = lambda self: self._set_vocab_none()


def weights(name, shape):
    """BF16 numbers of magnitude 1/8 to 2: bits from a hash of the name (FNV-1a) and the index (splitmix64)."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    bits = ((z & np.uint64(0x80FF)) | ((np.uint64(124) + (z >> np.uint64(32)) % np.uint64(4)) << np.uint64(7))).astype(np.uint16)
    return torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).reshape(shape)


def checkpoint(config, directory):
    tf.AutoModelForCausalLM.from_config(config).bfloat16().save_pretrained(directory)
    from safetensors import safe_open
    with safe_open(directory / "model.safetensors", "pt") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in sorted(file.keys())}
    save_file({name: weights(name, shape) for name, shape in shapes.items()}, directory / "model.safetensors", metadata={"format": "pt"})
    return shapes


def case(config):
    with tempfile.TemporaryDirectory() as scratch:
        source, target = pathlib.Path(scratch) / "source", pathlib.Path(scratch) / "model.gguf"
        shapes = checkpoint(config, source)
        vocabulary = {"model": {"vocab": {f"t{i}": i for i in range(config.vocab_size)}}, "added_tokens": []}
        (source / "tokenizer.json").write_text(json.dumps(vocabulary))  # Gemma 3's embedding is cut to it
        sys.argv = ["convert_hf_to_gguf.py", str(source), "--outfile", str(target), "--outtype", "bf16"]
        script.main()
        reader = gguf.GGUFReader(target)
        keys = {key: field.contents() for key, field in reader.fields.items() if not key.startswith(SKIPPED_KEYS)}
        tensors = {t.name: [t.tensor_type.name, [int(n) for n in reversed(t.shape)], hash128(t.data.tobytes()).hex()] for t in reader.tensors}
        configuration = json.loads((source / "config.json").read_text())
    return {"config": configuration, "shapes": shapes, "keys": keys, "tensors": tensors}


def main():
    for module in ("llama", "qwen", "gemma", "phi", "smollm3", "olmo", "gpt2"):
        try:
            __import__(f"conversion.{module}")
        except ImportError:
            pass
    no_vocabulary(TextModel)
    cases = {name: case(config) for name, config in CONFIGS.items()}
    OUTPUT.write_text("{\n" + ",\n".join(f'"{name}": {json.dumps(entry)}' for name, entry in cases.items()) + "\n}\n")


main()
