#!/usr/bin/env python3
"""Tiny checkpoints saved by transformers and safetensors, with their values as binary32 in the orientation of a linear layer.

gpt2/          GPT2LMHeadModel (Conv1D weights, tied head), single file
gpt2_base/     the same weights as GPT2Model: names without "transformer."
sharded/       LlamaForCausalLM in BF16, untied, several shards and an index, files in a sub-directory, an empty file
tied_head/     the tied matrix stored only as lm_head.weight (safetensors.torch.save_model does that)
*.expected.safetensors: neutral name -> F32 values, logical orientation

Run: python3 make_checkpoints.py        (transformers 5.23, torch 2.13)
"""
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model, LlamaConfig, LlamaForCausalLM

HERE = pathlib.Path(__file__).parent
torch.manual_seed(7)


def fresh(name):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def save_expected(name, state):
    save_file({k: v.to(torch.float32).contiguous().clone() for k, v in state.items()}, HERE / f"{name}.expected.safetensors")


def make_gpt2():
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=24, vocab_size=40, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config)
    model.save_pretrained(fresh("gpt2"))
    conv1d = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    state = {k: v.T if k.endswith(conv1d) else v for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_expected("gpt2", state)
    base = GPT2Model(config)
    base.load_state_dict(model.transformer.state_dict())
    base.save_pretrained(fresh("gpt2_base"))


def make_sharded():
    config = LlamaConfig(hidden_size=16, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=48,
                         max_position_embeddings=64, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, dtype="bfloat16")
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    folder = fresh("sharded")
    model.save_pretrained(folder, max_shard_size="6KB")
    (folder / "README.md").write_text("# A test\n")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "original").mkdir()
    (folder / "original" / "params.json").write_text('{"dim": 16}\n')
    save_expected("sharded", model.state_dict())


def make_tied_head():
    folder = fresh("tied_head")
    config = LlamaConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, vocab_size=32,
                         max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
    state = LlamaForCausalLM(config).state_dict()
    expected = {k: v for k, v in state.items() if k != "lm_head.weight"}
    stored = {k: v.clone() for k, v in state.items() if k != "model.embed_tokens.weight"}
    save_file(stored, folder / "model.safetensors", {"format": "pt", "model.embed_tokens.weight": "lm_head.weight"})
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], **json.loads(config.to_json_string())}, indent=2) + "\n")
    save_expected("tied_head", expected)


if __name__ == "__main__":
    make_gpt2()
    make_sharded()
    make_tied_head()
