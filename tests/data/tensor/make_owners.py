#!/usr/bin/env python3
"""Writes owners.json: quantized tensors as planes of packing `rows`, with the binary32 values that the library owning the layout gives.

Needs torch, numpy, bitsandbytes, compressed-tensors, hqq.
  llm_int8      bitsandbytes.functional.int8_vectorwise_quant and int8_vectorwise_dequant
  nvfp4_divisor compressed_tensors' dequantize() in float32; its decompress() must give the same, cast to bfloat16
  hqq_*         hqq's Quantizer.quantize and dequantize, the latter in float64 (exact for 16-bit parameters), rounded to binary32 here
"""
import json
import pathlib

import bitsandbytes.functional
import numpy as np
import torch
from compressed_tensors.compressors.nvfp4.base import NVFP4PackedCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.quantization import QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize
from compressed_tensors.quantization.quant_scheme import preset_name_to_scheme
from hqq.core.quantize import Quantizer

torch.manual_seed(127)
cases = {}


def raw(tensor):
    return tensor.detach().contiguous().view(torch.uint8).numpy().tobytes().hex()


def level(dtype, block, **more):
    return {"type": dtype, "block": block, **more}


def emit(name, scheme, planes, values):
    assert values.dtype == torch.float32 and values.isfinite().all()
    bits = (values + 0.0).numpy().view("<u4").reshape(-1)  # -0 counts as 0
    cases[name] = {"scheme": scheme, "shape": list(values.shape), "planes": planes, "bits": "".join(f"{b:08x}" for b in bits)}


# --- bitsandbytes LLM.int8
weight = torch.randn(16, 48)
codes, absmax, _ = bitsandbytes.functional.int8_vectorwise_quant(weight.half())
emit("llm_int8", {"codes": {"kind": "number", "type": "i8"}, "rounded_steps": True, "scales": [level("f32", [1, 0]), level("f32", [0, 0])]},
     [raw(codes), raw(absmax.float()), "0402013c"], bitsandbytes.functional.int8_vectorwise_dequant(codes, absmax.float()))

# --- compressed-tensors NVFP4
packed = torch.randint(0, 256, (16, 48), dtype=torch.uint8)
scale = torch.randint(1, 126, (16, 6), dtype=torch.uint8).view(torch.float8_e4m3fn)
divisor = torch.tensor([2688.0 / 0.7371])
preset: QuantizationScheme = preset_name_to_scheme("NVFP4A16", ["Linear"])
values = dequantize(unpack_fp4_from_uint8(packed, 16, 96, dtype=torch.float32), scale.float(), args=preset.weights, global_scale=divisor,
                    dtype=torch.float32)
state = {"weight_packed": packed, "weight_scale": scale, "weight_global_scale": divisor}
assert (NVFP4PackedCompressor.decompress(state, preset)["weight"] == values.bfloat16()).all()
emit("nvfp4_divisor", {"codes": {"kind": "number", "type": "e2m1"}, "rounded_scale": True,
                       "scales": [level("e4m3", [1, 16]), level("f32", [0, 0], divide=True)]},
     [raw(packed), raw(scale), raw(divisor)], values)

# --- hqq
for name, dtype, bits in (("f16", torch.float16, 4), ("bf16", torch.bfloat16, 4), ("f32", torch.float32, 8)):
    weight = torch.randn(16, 128, dtype=dtype)
    q, meta = Quantizer.quantize(weight, nbits=bits, group_size=64, axis=1, device="cpu", compute_dtype=dtype, bitpack=False)
    meta = {**meta, "packing": None, "unpack_view_dtype": None, "compute_dtype": torch.float64}
    meta["scale"], meta["zero"] = meta["scale"].to(dtype), meta["zero"].to(dtype)
    values = Quantizer.dequantize(q, {**meta, "scale": meta["scale"].double(), "zero": meta["zero"].double()})
    codes = q.reshape(16, 128).to(torch.uint8)
    stored = codes[:, ::2] | codes[:, 1::2] << 4 if bits == 4 else codes
    zeros = meta["zero"].reshape(16, 2)
    assert (zeros != zeros.round()).any()
    emit(f"hqq_{name}", {"codes": {"kind": "number", "type": f"u{bits}"}, "scales": [level(name, [1, 64])],
                         "offset": {"kind": "zero_points", "levels": [level(name, [1, 64])]}},
         [raw(stored), raw(meta["scale"].reshape(16, 2)), raw(zeros)], values.float())

pathlib.Path(__file__).with_name("owners.json").write_text(json.dumps(cases, indent=0) + "\n")
