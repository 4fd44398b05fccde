#!/usr/bin/env python3
"""Directories that we write load in transformers with the tensors, logits and tokens of the source, also after a detour through GGUF

    hf_transformers.py INGOT [WORK_DIRECTORY]

Needs torch, transformers, tokenizers. For every architecture a small random model is saved by transformers; then
  hf -> hf              state dict equal, config verbatim
  hf -> hf, 3 shards    state dict equal
  hf -> gguf -> hf      config.json made from neutral facts: state dict and logits equal
and for the tokenizer folders of tests/golden/foreign/hf: tokenizer.json rewritten through gguf gives the same ids.
Exit status 77: a package is missing.
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import _support as support

try:
    import torch
    import transformers as t
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
except ImportError as error:
    support.skip(error)

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIZES = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=512, vocab_size=300, bos_token_id=0, eos_token_id=1, pad_token_id=0)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 128}
CONFIGS = {
    "llama": lambda: t.LlamaConfig(**SIZES),
    "llama_tied": lambda: t.LlamaConfig(**SIZES, tie_word_embeddings=True),
    "llama_bias": lambda: t.LlamaConfig(**SIZES, attention_bias=True),
    "llama3": lambda: t.LlamaConfig(**SIZES, rope_parameters=LLAMA3),
    "mistral": lambda: t.MistralConfig(**SIZES, head_dim=32, sliding_window=None),
    "qwen2": lambda: t.Qwen2Config(**SIZES, tie_word_embeddings=True),
    "qwen3": lambda: t.Qwen3Config(**SIZES, head_dim=32),
    "gemma2": lambda: t.Gemma2Config(**SIZES, head_dim=16, query_pre_attn_scalar=16, sliding_window=64),
    "gemma3": lambda: t.Gemma3TextConfig(**SIZES, head_dim=16, query_pre_attn_scalar=16, sliding_window=64),
    "phi3": lambda: t.Phi3Config(**SIZES),
    "gpt2": lambda: t.GPT2Config(n_embd=64, n_layer=2, n_head=4, n_positions=128, vocab_size=300, bos_token_id=0, eos_token_id=1),
    "smollm3": lambda: t.SmolLM3Config(**SIZES),
    "olmo2": lambda: t.Olmo2Config(**SIZES),
}
TEXTS = ["Hello world", " Hello  World!\n\n\tI'm 12345 caf\u00e9", "the theme\n", "It's what they've said", "", "a", "  "]
failures = []


def ingot(*arguments):
    done = subprocess.run([INGOT, *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, (done.stderr or done.stdout).strip()


def expect(condition, message):
    if not condition:
        failures.append(message)
        print("  FAILED:", message)


def convert(source, target, layout, name, *more):
    status, text = ingot("convert", source, "-o", target, "--to", layout, *more)
    if status != 0:
        print(f"  {name} -> {layout}: {text.splitlines()[-1] if text else status}")
    return status == 0


def same_state(a, b, name):
    a, b = a.state_dict(), b.state_dict()
    expect(a.keys() == b.keys(), f"{name}: names differ: {sorted(a.keys() ^ b.keys())[:4]}")
    for key in a.keys() & b.keys():
        expect(a[key].shape == b[key].shape and torch.equal(a[key].float(), b[key].float()), f"{name}: {key} differs")


def same_logits(a, b, name):
    ids = torch.arange(24).reshape(1, -1) % 290 + 3
    with torch.no_grad():
        worst = (a.float().eval()(ids).logits - b.float().eval()(ids).logits).abs().max().item()
    expect(worst < 1e-4, f"{name}: logits differ by {worst}")
    return worst


def check_architecture(name, work):
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]()).to(torch.bfloat16)
    for parameter in model.parameters():  # norms start as ones or zeros: make every value distinct
        parameter.data += torch.randn_like(parameter.float()).to(torch.bfloat16) * 0.05
    source = work / name
    model.save_pretrained(source)
    tokenizer = ROOT / "tests/golden/foreign/hf/tokenizers/gpt2"
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / file, source)
    if convert(source, work / f"{name}-hf", "hf", name):
        again = AutoModelForCausalLM.from_pretrained(work / f"{name}-hf", dtype=torch.bfloat16)
        same_state(model, again, f"{name} hf")
        expect((source / "config.json").read_bytes() == (work / f"{name}-hf/config.json").read_bytes(), f"{name}: config changed")
    else:
        expect(False, f"{name}: hf -> hf failed")
    if convert(source, work / f"{name}-shards", "hf", name, "--shard-size", "100000"):
        expect((work / f"{name}-shards/model.safetensors.index.json").exists(), f"{name}: no index")
        same_state(model, AutoModelForCausalLM.from_pretrained(work / f"{name}-shards", dtype=torch.bfloat16), f"{name} shards")
    if convert(source, work / f"{name}.gguf", "gguf", name) and convert(work / f"{name}.gguf", work / f"{name}-back", "hf", name):
        back = AutoModelForCausalLM.from_pretrained(work / f"{name}-back")
        same_state(model, back, f"{name} gguf -> hf")
        fresh = AutoModelForCausalLM.from_pretrained(source)  # `model` was cast, and with it its rotary frequencies
        print(f"  {name}: logits differ by {same_logits(fresh, back, name):.2g}, dtype {back.config.dtype}")


def check_tokenizer(folder, work):
    """The tokenizer alone travels: a one-layer model carries it through gguf, where the original files are gone."""
    name = folder.name
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = t.LlamaConfig(**{**SIZES, "num_hidden_layers": 1, "vocab_size": max(len(tokenizer), 8)})
    source = work / f"tok-{name}"
    AutoModelForCausalLM.from_config(config).save_pretrained(source)
    for file in folder.iterdir():
        if file.name not in ("expected.json", "generation_config.json"):
            shutil.copy(file, source)
    if not (convert(source, work / f"tok-{name}.gguf", "gguf", name) and
            convert(work / f"tok-{name}.gguf", work / f"tok-{name}-back", "hf", name)):
        return
    back = AutoTokenizer.from_pretrained(work / f"tok-{name}-back")
    same = 0
    for text in TEXTS:
        a, b = tokenizer(text)["input_ids"], back(text)["input_ids"]
        expect(a == b, f"tokenizer {name}: {text!r}: {a} became {b}")
        same += a == b
    print(f"  tokenizer {name}: {same} of {len(TEXTS)} texts alike")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    INGOT = sys.argv[1]
    keep = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory() as temporary:
        work = keep or pathlib.Path(temporary)
        work.mkdir(exist_ok=True)
        for name in CONFIGS:
            print(name)
            check_architecture(name, work)
        for folder in sorted((ROOT / "tests/golden/foreign/hf/tokenizers").iterdir()):
            if (folder / "tokenizer.json").exists():
                check_tokenizer(folder, work)
    support.figure(f"{len(CONFIGS)} architectures: {', '.join(CONFIGS)}; {len(failures)} failures")
    sys.exit(1 if failures else 0)
