#!/usr/bin/env python3
"""Weights quantized by torchao, as its flatten_tensor_state_dict() (what transformers calls) saves them in safetensors, and their values.

Needs torch, torchao, safetensors. All forms that torchao makes on a CPU: Int8Tensor, IntxUnpackedToInt8Tensor of 1 to 8 bits, Float8Tensor,
MXTensor and NVFP4Tensor. Expected values: torchao's own dequantize(); integers of bfloat16 models with the target type set to binary32, so that
torchao rounds once.
"""
import json
import pathlib

import torch
from safetensors.torch import save_file
from torchao.prototype.mx_formats.mx_tensor import MXTensor
from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor
from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
from torchao.quantization import (Float8WeightOnlyConfig, Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, IntxWeightOnlyConfig,
                                  quantize_)
from torchao.quantization.granularity import PerAxis, PerGroup, PerTensor
from torchao.quantization.quant_primitives import MappingType

HERE = pathlib.Path(__file__).resolve().parent


def widened(weight):
    """The values before the library's rounding to the type of the model."""
    kind = type(weight).__name__
    if kind in ("Int8Tensor", "Float8Tensor"):
        return weight.dequantize(torch.float32)
    if kind == "IntxUnpackedToInt8Tensor":
        return weight.to(torch.float32).dequantize()
    if kind == "NVFP4Tensor" and weight.per_tensor_scale is not None:  # the product of all three, rounded once
        local = type(weight)(weight.qdata, weight.scale, weight.block_size, weight.orig_dtype, None, None, weight.is_swizzled_scales)
        return (local.dequantize(torch.float32).double() * weight.per_tensor_scale.double()).float()
    return weight.dequantize(torch.float32)


def linear(shape, dtype, config):
    holder = torch.nn.Sequential(torch.nn.Linear(shape[1], shape[0], bias=False, dtype=dtype))
    quantize_(holder, config)
    return holder[0].weight.data


def write(name, weights):
    (HERE / name).mkdir(exist_ok=True)
    state = {f"{path}.weight": weight for path, weight in weights.items()}
    state["norm.weight"] = torch.ones(8)
    tensors, metadata = flatten_tensor_state_dict(state)
    save_file({key: value.contiguous() for key, value in tensors.items()}, HERE / name / "model.safetensors", metadata=metadata)
    save_file({f"{path}.weight": widened(weight).float().contiguous() for path, weight in weights.items()}, HERE / f"{name}.expected.safetensors")
    (HERE / name / "config.json").write_text('{"quantization_config": {"quant_method": "torchao"}}\n')


def main():
    torch.manual_seed(1)
    bf16, f32 = torch.bfloat16, torch.float32
    integers = {f"int{bits}": linear((18, 64), (bf16, f32)[bits % 2], IntxWeightOnlyConfig(weight_dtype=getattr(torch, f"int{bits}"),
                granularity=PerGroup(32), mapping_type=(MappingType.SYMMETRIC, MappingType.ASYMMETRIC)[bits // 2 % 2])) for bits in range(1, 9)}
    integers["int4_row"] = linear((5, 33), bf16, IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerAxis(0)))
    integers["w8"] = linear((17, 40), bf16, Int8WeightOnlyConfig())
    integers["w8a8"] = linear((17, 40), f32, Int8DynamicActivationInt8WeightConfig())
    integers["w8_tensor"] = linear((3, 9), bf16, Int8WeightOnlyConfig(granularity=PerTensor()))
    write("integers", integers)
    floats = {"f8": linear((17, 40), bf16, Float8WeightOnlyConfig()), "f8_odd": linear((3, 9), f32, Float8WeightOnlyConfig())}
    for swizzled in (False, True):
        for label, kind in (("e4m3", torch.float8_e4m3fn), ("e5m2", torch.float8_e5m2), ("e2m1", torch.float4_e2m1fn_x2)):
            shape = (18, 160) if swizzled else (5, 96)
            floats[f"mx_{label}_{int(swizzled)}"] = MXTensor.to_mx(torch.randn(shape, dtype=bf16), kind, 32, is_swizzled_scales=swizzled)
        weight = torch.randn((130, 80) if swizzled else (5, 32), dtype=bf16)
        floats[f"nv_{int(swizzled)}"] = NVFP4Tensor.to_nvfp4(weight, is_swizzled_scales=swizzled)
        floats[f"nv_global_{int(swizzled)}"] = NVFP4Tensor.to_nvfp4(weight[:18], per_tensor_scale=torch.tensor(0.0123), is_swizzled_scales=swizzled)
    write("floats", floats)


if __name__ == "__main__":
    main()
