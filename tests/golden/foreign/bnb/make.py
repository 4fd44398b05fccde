#!/usr/bin/env python3
"""Makes the fixtures of this directory with bitsandbytes: the state dicts of its layers, and the values that it gives in float32.

    python make.py        (needs torch and bitsandbytes; tested with 0.50 on a CPU)

four_bit/: nf4 and fp4, with and without double quantization, block sizes, storage types, rows that do not divide into blocks, an odd
number of elements. eight_bit/: LLM.int8. expected.safetensors beside them.
"""
import json
import pathlib

import bitsandbytes as bnb
import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
# name: (out, in), quant_type, block size, double quantization, storage, dtype
FOUR_BIT = {
    "grouped": ((20, 128), "nf4", 64, False, torch.uint8, torch.float16),
    "fp4": ((17, 64), "fp4", 64, False, torch.uint8, torch.bfloat16),
    "large_blocks": ((6, 256), "nf4", 256, False, torch.uint8, torch.float32),
    "straddling": ((17, 100), "nf4", 64, False, torch.uint8, torch.float16),
    "odd": ((5, 33), "fp4", 64, False, torch.uint8, torch.float32),
    "odd_short": ((3, 7), "nf4", 128, False, torch.uint8, torch.float32),
    "nested_rows": ((130, 128), "nf4", 64, True, torch.uint8, torch.bfloat16),
    "nested_straddling": ((19, 192), "fp4", 64, True, torch.uint8, torch.float16),
    "nested_in_row": ((2, 8192), "nf4", 32, True, torch.uint8, torch.bfloat16),
    "in_bf16": ((16, 96), "nf4", 32, False, torch.bfloat16, torch.bfloat16),
    "in_f16": ((16, 64), "fp4", 64, False, torch.float16, torch.float16),
    "in_f32": ((24, 64), "nf4", 64, True, torch.float32, torch.float16),
}
EIGHT_BIT = {"rows": (20, 64), "odd": (5, 33), "tiled_odd": (17, 50)}


def weights(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.05


def save(name, tensors, expected, quantization):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({key: value.contiguous() for key, value in expected.items()}, HERE / f"{name}.expected.safetensors")
    config = {"model_type": "fixture", "quantization_config": {"quant_method": "bitsandbytes", **quantization}}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def four_bit():
    tensors, expected = {}, {}
    for seed, (name, (shape, quant_type, block_size, nested, storage, dtype)) in enumerate(FOUR_BIT.items()):
        layer = bnb.nn.Linear4bit(shape[1], shape[0], bias=seed % 2 == 0, quant_type=quant_type, compress_statistics=nested,
                                  quant_storage=storage)
        layer.weight = bnb.nn.Params4bit(weights(shape, seed).to(dtype), requires_grad=False, quant_type=quant_type,
                                         blocksize=block_size, compress_statistics=nested, quant_storage=storage)
        layer = layer.to("cpu")
        state = layer.weight.quant_state
        assert state is not None and state.blocksize == block_size and state.nested == nested
        tensors.update({f"{name}.{key}": value for key, value in layer.state_dict().items()})
        state.dtype = torch.bfloat16 if name == "nested_in_row" else torch.float32
        expected[f"{name}.weight"] = bnb.functional.dequantize_4bit(layer.weight.data, state).reshape(shape)
        if layer.bias is not None:
            expected[f"{name}.bias"] = layer.bias.data
    save("four_bit", tensors, expected, {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": False})


def eight_bit():
    tensors, expected = {}, {}
    for seed, (name, shape) in enumerate(EIGHT_BIT.items()):
        layer = bnb.nn.Linear8bitLt(shape[1], shape[0], bias=False, has_fp16_weights=False)
        codes, scales, _ = bnb.functional.int8_vectorwise_quant(weights(shape, 50 + seed).half())
        layer.weight = bnb.nn.Int8Params(codes, requires_grad=False, has_fp16_weights=False, CB=codes, SCB=scales)
        tensors.update({f"{name}.{key}": value for key, value in layer.state_dict().items()})
        expected[f"{name}.weight"] = bnb.functional.int8_vectorwise_dequant(codes, scales)
    save("eight_bit", tensors, expected, {"load_in_8bit": True})


four_bit()
eight_bit()
