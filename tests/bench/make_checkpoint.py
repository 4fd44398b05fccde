#!/usr/bin/env python3
"""Makes a synthetic Llama-shaped BF16 checkpoint directory for benchmarks and memory tests (standard library only).

    make_checkpoint.py DIRECTORY --gigabytes 8 --shard-gigabytes 2 [--sparse]
    make_checkpoint.py DIRECTORY --gigabytes 2 --gguf q4_k     one GGUF file model.gguf of that many gigabytes of BF16, in blocks
    make_checkpoint.py DIRECTORY --gigabytes 4 --gptq          the layers as GPTQ, 4 bits in groups of 128, random codes and zero points;
                                                               with --symmetric every zero point is 8

--sparse leaves the weights as holes (zeros, no disk space), but for the first --filled layers: right for memory, useless for speed. Without
it every tensor is filled with pseudo-random BF16 numbers of a normal-like spread, so that hashing and compression see realistic bytes.
Deterministic.
"""
import argparse
import json
import os
import random
import struct

BLOCK = 8 << 20


def random_block():
    """BF16 values with signs, exponents around 2^-6 and random mantissas, as little-endian bytes."""
    rng = random.Random(1)
    raw = bytearray(rng.randbytes(BLOCK))
    high = bytes((0x3C if b & 7 else 0x3B) | (b & 0x80) for b in raw[1::2])
    raw[1::2] = high
    return bytes(raw)


def tensor_list(total_bytes, hidden, intermediate, vocabulary):
    kv = hidden // 4
    layer = [("input_layernorm.weight", [hidden]), ("mlp.down_proj.weight", [hidden, intermediate]),
             ("mlp.gate_proj.weight", [intermediate, hidden]), ("mlp.up_proj.weight", [intermediate, hidden]),
             ("post_attention_layernorm.weight", [hidden]), ("self_attn.k_proj.weight", [kv, hidden]),
             ("self_attn.o_proj.weight", [hidden, hidden]), ("self_attn.q_proj.weight", [hidden, hidden]),
             ("self_attn.v_proj.weight", [kv, hidden])]

    def size(shape):
        return 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
    layers = max(1, round((total_bytes - 4 * vocabulary * hidden) / sum(size(s) for _, s in layer)))
    tensors = [("model.embed_tokens.weight", [vocabulary, hidden])]
    for n in range(layers):
        tensors += [(f"model.layers.{n}.{name}", shape) for name, shape in layer]
    return layers, tensors + [("model.norm.weight", [hidden]), ("lm_head.weight", [vocabulary, hidden])], size


ITEM_BYTES = {"BF16": 2, "F16": 2, "I32": 4}


def item_size(item):
    _, dtype, shape = item
    return ITEM_BYTES[dtype] * shape[0] * (shape[1] if len(shape) > 1 else 1)


def gptq_items(name, shape):
    """What GPTQ stores in place of one tensor, 4 bits in groups of 128; norms, embedding and head stay as they are."""
    if ".layers." not in name or len(shape) < 2:
        return [(name, "BF16", shape)]
    module, (outputs, inputs) = name[: -len(".weight")], shape
    return [(module + ".qweight", "I32", [inputs // 8, outputs]), (module + ".qzeros", "I32", [inputs // 128, outputs // 8]),
            (module + ".scales", "F16", [inputs // 128, outputs]), (module + ".g_idx", "I32", [inputs])]


def contents(item, fill):
    """The bytes of a tensor in pieces. `fill`: by element type, or by the last word of the name."""
    name, dtype, shape = item
    if name.endswith(".g_idx"):
        yield struct.pack(f"<{shape[0]}i", *(i // 128 for i in range(shape[0])))
        return
    left = item_size(item)
    content = fill.get(name.rsplit(".", 1)[1], fill[dtype])
    while left:
        yield content[: min(left, BLOCK)]
        left -= min(left, BLOCK)


def write_shard(path, items, fill, is_hole):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for item in items:
        name, dtype, shape = item
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + item_size(item)]}
        at += item_size(item)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for item in items:
            if is_hole(item[0]):
                out.seek(item_size(item), os.SEEK_CUR)
                continue
            for piece in contents(item, fill):
                out.write(piece)
        out.truncate(8 + len(text) + at)


# ggml type: number, elements and bytes of a block, positions of its binary16 fields
BLOCK_TYPES = {"q4_0": (2, 32, 18, (0,)), "q8_0": (8, 32, 34, (0,)), "q4_k": (12, 256, 144, (0, 2)), "q6_k": (14, 256, 210, (208,))}
GGUF_NAMES = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight",
              "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "mlp.down_proj": "ffn_down", "mlp.gate_proj": "ffn_gate",
              "mlp.up_proj": "ffn_up", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
              "self_attn.o_proj": "attn_output"}


def gguf_name(name):
    if name in GGUF_NAMES:
        return GGUF_NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{GGUF_NAMES[rest[:-len('.weight')]]}.weight"


def random_blocks(block_bytes, half_positions):
    """Whole blocks of random codes whose binary16 fields are numbers around 2^-6."""
    rng = random.Random(2)
    raw = bytearray(rng.randbytes(BLOCK // block_bytes * block_bytes))
    for at in half_positions:
        raw[at + 1::block_bytes] = bytes(0x24 | b & 0x83 for b in raw[at + 1::block_bytes])
    return bytes(raw)


def write_gguf(path, tensors, type_name, options, layers, is_hole):
    number, block_elems, block_bytes, half_positions = BLOCK_TYPES[type_name]

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()
    keys = [("block_count", layers), ("context_length", 2048), ("embedding_length", options.hidden),
            ("feed_forward_length", options.hidden * 11 // 4), ("attention.head_count", options.hidden // 64),
            ("attention.head_count_kv", options.hidden // 256), ("vocab_size", options.vocabulary)]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys) + 2) + text("general.architecture") + struct.pack("<I", 8) + text("llama")
    for key, value in keys:
        head += text("llama." + key) + struct.pack("<II", 4, value)
    head += text("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, 1e-5)
    sizes, at = [], 0
    for name, shape in tensors:
        elements = shape[0] * (shape[1] if len(shape) > 1 else 1)
        coded = len(shape) > 1
        sizes.append((name, coded, elements // block_elems * block_bytes if coded else 4 * elements))
        head += text(gguf_name(name)) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", e) for e in reversed(shape))
        head += struct.pack("<IQ", number if coded else 0, at)
        at += -(-sizes[-1][2] // 32) * 32
    blocks, ones = random_blocks(block_bytes, half_positions), struct.pack("<f", 1) * (BLOCK // 4)
    with open(path, "wb") as out:
        out.write(head + b"\0" * (-len(head) % 32))
        for name, coded, size in sizes:
            fill = blocks if coded else ones
            if is_hole(name):
                out.seek(size, os.SEEK_CUR)
            for begin in range(0, 0 if is_hole(name) else size, len(fill)):
                out.write(fill[: min(len(fill), size - begin)])
            out.seek(-size % 32, os.SEEK_CUR)
        out.truncate()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--gigabytes", type=float, default=8)
    parser.add_argument("--shard-gigabytes", type=float, default=2)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--sparse", action="store_true")
    parser.add_argument("--filled", type=int, default=0)
    parser.add_argument("--gguf", choices=BLOCK_TYPES)
    parser.add_argument("--gptq", action="store_true")
    parser.add_argument("--symmetric", action="store_true")
    options = parser.parse_args()
    intermediate = options.hidden * 11 // 4
    layers, tensors, size = tensor_list(options.gigabytes * 1e9, options.hidden, intermediate, options.vocabulary)
    filled = tuple(f"model.layers.{n}." for n in range(options.filled))
    is_hole = lambda name: options.sparse and not name.startswith(filled) and not name.endswith(".g_idx")
    os.makedirs(options.directory, exist_ok=True)
    if options.gguf:
        write_gguf(os.path.join(options.directory, "model.gguf"), tensors, options.gguf, options, layers, is_hole)
        return
    items = [item for name, shape in tensors for item in (gptq_items(name, shape) if options.gptq else [(name, "BF16", shape)])]
    shards, room = [[]], options.shard_gigabytes * 1e9
    for item in items:
        if shards[-1] and sum(map(item_size, shards[-1])) + item_size(item) > room:
            shards.append([])
        shards[-1].append(item)
    names = ["model.safetensors"] if len(shards) == 1 else [
        f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    fill = {"BF16": random_block(), "F16": random_blocks(2, (0,)), "I32": random_blocks(4, ())}
    if options.symmetric:
        fill["qzeros"] = b"\x77" * BLOCK  # the zero point minus one
    for name, shard in zip(names, shards):
        write_shard(os.path.join(options.directory, name), shard, fill, is_hole)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(map(item_size, items))},
                 "weight_map": {item[0]: name for name, shard in zip(names, shards) for item in shard}}
        with open(os.path.join(options.directory, "model.safetensors.index.json"), "w") as out:
            json.dump(index, out, indent=2, sort_keys=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": options.hidden, "intermediate_size": intermediate,
              "num_hidden_layers": layers, "num_attention_heads": options.hidden // 64, "num_key_value_heads": options.hidden // 256,
              "vocab_size": options.vocabulary, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
              "tie_word_embeddings": False, "hidden_act": "silu", "torch_dtype": "bfloat16"}
    if options.gptq:
        config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": options.symmetric, "desc_act": False,
                                         "checkpoint_format": "gptq"}
    with open(os.path.join(options.directory, "config.json"), "w") as out:
        json.dump(config, out, indent=2)


if __name__ == "__main__":
    main()
