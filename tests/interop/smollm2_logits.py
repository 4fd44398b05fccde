#!/usr/bin/env python3
"""SmolLM2-135M from its GGUF file, decoded to float32 by the `gguf` package and run by transformers (needs torch, transformers, gguf).

    python smollm2_logits.py MODEL.gguf DIRECTORY

Fills DIRECTORY/smollm2 with model.gguf (a link), expected.json and expected_logits.safetensors in the form of tests/data/tiny-llama. The test
"SmolLM2-135M gives the logits and greedy tokens of transformers" reads them when INGOT_TEST_MODELS=DIRECTORY.
"""
import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

GREEDY = 64
# Prompts as token ids, so that no tokenizer takes part: text encoded by the model's own vocabulary would be another test.
PROMPTS = [
    [504, 2365, 6354, 2534, 282, 260, 905, 327, 411, 3075, 281, 260, 2430, 28],
    [1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 2, 198, 1, 4093, 198, 19556, 2, 198, 1, 520, 9531, 198],
    [28120, 655, 253, 655],
    [44, 1195, 3593, 17, 37, 216, 33, 32, 33, 25],
    [788, 327, 1, 3000, 41, 25, 600] * 12,
]
NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}


def neutral(name):
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{NAMES[parts[2]]}.{parts[3]}"
    return f"{NAMES[parts[0]]}.{parts[1]}"


def unpermuted(weight, heads):
    """GGUF keeps rotary pairs as neighbours; Hugging Face keeps them half a head apart."""
    rows, cols = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def load(path):
    reader = gguf.GGUFReader(path)
    field = lambda key: reader.fields["llama." + key].contents()
    heads, kv_heads = field("attention.head_count"), field("attention.head_count_kv")
    state = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name.endswith("attn_q.weight"):
            values = unpermuted(values, heads)
        if tensor.name.endswith("attn_k.weight"):
            values = unpermuted(values, kv_heads)
        state[neutral(tensor.name)] = torch.from_numpy(np.ascontiguousarray(values))
    embedding = state["model.embed_tokens.weight"]
    tied = "lm_head.weight" not in state
    config = LlamaConfig(vocab_size=embedding.shape[0], hidden_size=embedding.shape[1], intermediate_size=field("feed_forward_length"),
                         num_hidden_layers=field("block_count"), num_attention_heads=heads, num_key_value_heads=kv_heads,
                         rms_norm_eps=field("attention.layer_norm_rms_epsilon"), max_position_embeddings=field("context_length"),
                         rope_parameters={"rope_type": "default", "rope_theta": field("rope.freq_base")}, tie_word_embeddings=tied)
    model = LlamaForCausalLM._from_config(config, attn_implementation="eager").float().eval()
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and set(missing.missing_keys) <= {"lm_head.weight"}, missing
    if tied:
        model.tie_weights()
    return model


@torch.no_grad()
def main():
    source, directory = Path(sys.argv[1]).resolve(), Path(sys.argv[2]) / "smollm2"
    directory.mkdir(parents=True, exist_ok=True)
    model = load(source)
    cases, tensors = [], {}
    for i, ids in enumerate(PROMPTS):
        out = model(input_ids=torch.tensor([ids]), use_cache=True)
        tensors[f"prompt{i}"] = out.logits[0, -1].float().contiguous()
        greedy, margins = [], []
        for _ in range(GREEDY):
            top = out.logits[0, -1].topk(2)
            greedy.append(int(top.indices[0]))
            margins.append(float(top.values[0] - top.values[1]))
            out = model(input_ids=torch.tensor([[greedy[-1]]]), past_key_values=out.past_key_values, use_cache=True)
        cases.append({"prompt_ids": ids, "greedy_ids": greedy, "logits": f"prompt{i}", "min_margin": min(margins)})
    save_file(tensors, directory / "expected_logits.safetensors")
    (directory / "expected.json").write_text(json.dumps({"generation": cases}, indent=1) + "\n")
    link = directory / "model.gguf"
    link.unlink(missing_ok=True)
    link.symlink_to(source)


if __name__ == "__main__":
    main()
