#!/usr/bin/env python3
"""configs.json: config.json texts in the spellings of transformers 4 and 5, with what the configuration classes of transformers make of them.

Run: python3 make_configs.py        (transformers 5.23)
"""
import json
import pathlib
import tempfile

import transformers as t
from transformers import AutoConfig

HERE = pathlib.Path(__file__).parent


def facts(c):
    """The neutral hyperparameters, read from the attributes of a configuration object."""
    dtype = getattr(c, "dtype", None)  # a multimodal config states it outside
    c = getattr(c, "text_config", c)
    gpt2 = c.model_type == "gpt2"
    rope = dict(getattr(c, "rope_parameters", None) or {})
    full = rope.get("full_attention", rope)
    local = rope.get("sliding_attention", {})
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    kind = full.get("rope_type", "default")
    types = getattr(c, "layer_types", None)
    window = getattr(c, "sliding_window", None) or 0
    if getattr(c, "use_bidirectional_attention", None):
        window = 2 * (window - 1)  # the class keeps the reach to one side, files that to both
    sliding = []
    if types is not None and window:
        sliding = [x == "sliding_attention" for x in types]
        if not any(sliding):
            window = 0
        if not any(sliding) or all(sliding):
            sliding = []
    part = full.get("partial_rotary_factor", getattr(c, "partial_rotary_factor", None)) or 1.0
    gemma = c.model_type in ("gemma2", "gemma3_text")
    rotates = [bool(x) for x in getattr(c, "no_rope_layers", None) or []]
    act = getattr(c, "hidden_activation", None) or getattr(c, "hidden_act", None) or getattr(c, "activation_function", None)
    return {
        "architecture": {"gemma3_text": "gemma3"}.get(c.model_type, c.model_type),
        "vocab_size": c.vocab_size,
        "hidden_size": c.hidden_size,
        "intermediate_size": (c.n_inner or 4 * c.n_embd) if gpt2 else c.intermediate_size,
        "layer_count": c.num_hidden_layers,
        "head_count": c.num_attention_heads,
        "kv_head_count": getattr(c, "num_key_value_heads", None) or c.num_attention_heads,
        "head_dim": head_dim,
        "context_length": c.max_position_embeddings,
        "norm_epsilon": c.layer_norm_epsilon if gpt2 else c.rms_norm_eps,
        "rope_theta": full.get("rope_theta", 0),
        "rope_theta_local": local.get("rope_theta", 0),
        "rotary_dim": 0 if part == 1.0 else int(head_dim * part),
        "rope_type": "" if kind == "default" else kind,
        "rope_factor": 1 if kind == "default" else full.get("factor") or c.max_position_embeddings / full["original_max_position_embeddings"],
        "rope_original": 0 if kind == "default" else full.get("original_max_position_embeddings", 0),
        "low_freq_factor": full.get("low_freq_factor", 1),
        "high_freq_factor": full.get("high_freq_factor", 4),
        "truncate": bool(full.get("truncate", True)),
        "short_factor": full.get("short_factor", []),
        "sliding_window": window,
        "sliding_layers": sliding,
        "rope_layers": [] if all(rotates) else rotates,
        "attention_scale": c.query_pre_attn_scalar ** -0.5 if gemma else 0,
        "attention_softcap": getattr(c, "attn_logit_softcapping", None) or 0,
        "final_softcap": getattr(c, "final_logit_softcapping", None) or 0,
        "attention_scale_by_layer": bool(getattr(c, "scale_attn_by_inverse_layer_idx", False)),
        "bidirectional_attention": bool(getattr(c, "use_bidirectional_attention", None)),
        "activation": {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}.get(act, act),
        "tied_embeddings": bool(c.tie_word_embeddings),
        "torch_dtype": str(dtype).replace("torch.", "") if dtype else "",
    }


SIZES = dict(hidden_size=64, intermediate_size=160, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=4096, vocab_size=320)
HALF = 8  # rotary pairs of head_dim 16


def made_by_classes():
    """transformers 5 spelling: the classes write it."""
    llama3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 1024}
    longrope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0 + i / 8 for i in range(HALF)],
                "long_factor": [2.0 + i for i in range(HALF)], "original_max_position_embeddings": 1024}
    yield "llama", t.LlamaConfig(**SIZES, dtype="bfloat16")
    yield "llama3_scaling", t.LlamaConfig(**SIZES, rope_parameters=llama3, tie_word_embeddings=True, dtype="float16")
    yield "llama_linear", t.LlamaConfig(**SIZES, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0})
    yield "llama_yarn", t.LlamaConfig(**SIZES, rope_parameters={
        "rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 1024})
    yield "llama_yarn_fraction", t.LlamaConfig(**SIZES, rope_parameters={
        "rope_type": "yarn", "rope_theta": 15e4, "factor": 4.0, "original_max_position_embeddings": 1024, "truncate": False})
    yield "llama_head_dim", t.LlamaConfig(**SIZES, head_dim=32)
    yield "mistral", t.MistralConfig(**SIZES, sliding_window=1024)
    yield "mistral_without_window", t.MistralConfig(**SIZES, sliding_window=None, rope_parameters={"rope_type": "default", "rope_theta": 1e6})
    yield "qwen2", t.Qwen2Config(**SIZES, rope_parameters={"rope_type": "default", "rope_theta": 1e6}, tie_word_embeddings=True)
    yield "qwen2_window", t.Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=512, max_window_layers=4)
    yield "qwen3", t.Qwen3Config(**SIZES, head_dim=32)
    yield "gemma2", t.Gemma2Config(**SIZES, head_dim=32, query_pre_attn_scalar=144, sliding_window=512)
    yield "gemma3", t.Gemma3TextConfig(**{**SIZES, "num_hidden_layers": 8}, head_dim=32, query_pre_attn_scalar=256, sliding_window=512)
    yield "gemma3_embedding", t.Gemma3TextConfig(**SIZES, head_dim=32, sliding_window=512, use_bidirectional_attention=True)
    yield "phi3", t.Phi3Config(**SIZES, pad_token_id=0)
    yield "phi3_longrope", t.Phi3Config(**SIZES, pad_token_id=0, original_max_position_embeddings=1024, rope_parameters=longrope, sliding_window=2047)
    yield "gpt2", t.GPT2Config(n_embd=64, n_layer=3, n_head=4, n_positions=128, vocab_size=320)
    yield "gpt2_inner", t.GPT2Config(n_embd=64, n_layer=3, n_head=4, n_positions=128, vocab_size=320, n_inner=100)
    yield "gpt2_by_layer", t.GPT2Config(n_embd=64, n_layer=3, n_head=4, n_positions=128, vocab_size=320, scale_attn_by_inverse_layer_idx=True,
                                        reorder_and_upcast_attn=True)
    yield "smollm3", t.SmolLM3Config(**SIZES, pad_token_id=0)
    yield "smollm3_all_rotate", t.SmolLM3Config(**SIZES, pad_token_id=0, no_rope_layers=[1] * 6)
    yield "olmo2", t.Olmo2Config(**SIZES)


OLD = dict(SIZES, rms_norm_eps=1e-5, hidden_act="silu", bos_token_id=1, eos_token_id=2, torch_dtype="bfloat16")
BY_HAND = {  # transformers 4 spelling, keys as in published checkpoints
    "v4_llama": dict(OLD, model_type="llama", rope_theta=10000.0, rope_scaling=None, tie_word_embeddings=False),
    "v4_llama_bare": {k: v for k, v in dict(OLD, model_type="llama").items() if k not in ("num_key_value_heads", "torch_dtype")},
    "v4_llama31": dict(OLD, model_type="llama", rope_theta=500000.0, tie_word_embeddings=True, rope_scaling={
        "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 1024, "rope_type": "llama3"}),
    "v4_llama_old_type": dict(OLD, model_type="llama", rope_scaling={"type": "linear", "factor": 4.0}),
    "v4_mistral": dict(OLD, model_type="mistral", rope_theta=1e6, sliding_window=None),
    "v4_nemo": dict(OLD, model_type="mistral", rope_theta=1e6, sliding_window=None, head_dim=24),
    "v4_qwen2": dict(OLD, model_type="qwen2", rope_theta=1e6, sliding_window=512, use_sliding_window=False, max_window_layers=4),
    "v4_qwen3": dict(OLD, model_type="qwen3", rope_theta=1e6, head_dim=32, sliding_window=None, use_sliding_window=False),
    "v4_gemma2": {k: v for k, v in dict(OLD, model_type="gemma2", hidden_activation="gelu_pytorch_tanh", head_dim=32, sliding_window=512,
                                        query_pre_attn_scalar=224, attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
                                        rope_theta=10000.0).items() if k != "hidden_act"},
    "v4_gemma2_bare": {k: v for k, v in dict(OLD, model_type="gemma2", head_dim=32, sliding_window=512).items() if k != "hidden_act"},
    "v4_gemma2_uncapped": {k: v for k, v in dict(OLD, model_type="gemma2", head_dim=32, sliding_window=512, attn_logit_softcapping=None,
                                                 final_logit_softcapping=None).items() if k != "hidden_act"},
    "v4_gemma3": {k: v for k, v in dict(OLD, model_type="gemma3_text", hidden_activation="gelu_pytorch_tanh", head_dim=32,
                                        sliding_window=512, sliding_window_pattern=3, query_pre_attn_scalar=256, rope_theta=1e6,
                                        rope_local_base_freq=10000.0, rope_scaling={"rope_type": "linear", "factor": 8.0}).items()
                  if k != "hidden_act"},
    "v4_gemma3_nested": {"model_type": "gemma3", "torch_dtype": "bfloat16", "text_config": {
        "model_type": "gemma3_text", "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 8, "sliding_window": 1024,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0}}, "vision_config": {"hidden_size": 32, "num_hidden_layers": 1}},
    "v4_phi3": dict(OLD, model_type="phi3", rope_theta=10000.0, rope_scaling=None, sliding_window=2047, pad_token_id=0,
                    original_max_position_embeddings=4096),
    "v4_phi3_long": dict(OLD, model_type="phi3", rope_theta=10000.0, pad_token_id=0, original_max_position_embeddings=1024, rope_scaling={
        "type": "longrope", "short_factor": [1.0] * HALF, "long_factor": [1.5] * HALF}),
    "v4_phi4_mini": dict(OLD, model_type="phi3", rope_theta=10000.0, pad_token_id=0, partial_rotary_factor=0.75, tie_word_embeddings=True),
    "v4_gpt2": {"model_type": "gpt2", "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128, "n_ctx": 128, "vocab_size": 320,
                "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new"},
    "v4_smollm3": dict(OLD, model_type="smollm3", rope_theta=5e6, pad_token_id=0, no_rope_layer_interval=4, no_rope_layers=[1, 1, 1, 0, 1, 1]),
    "v4_olmo2": dict(OLD, model_type="olmo2", rope_theta=500000.0, attention_bias=False),
}


def load(config):
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "config.json").write_text(json.dumps(config))
        return AutoConfig.from_pretrained(folder)


if __name__ == "__main__":
    rows = []
    for name, config in made_by_classes():
        rows.append({"name": name, "config": json.loads(config.to_json_string())})
    rows += [{"name": name, "config": config} for name, config in BY_HAND.items()]
    for row in rows:
        row["expected"] = facts(load(row["config"]))
    (HERE / "configs.json").write_text(json.dumps(rows, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n")
