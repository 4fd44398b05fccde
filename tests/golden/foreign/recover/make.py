#!/usr/bin/env python3
"""Weights as the libraries that own a scheme dequantize them, with the codes and parameters that they came from.

    make.py [OUTPUT.safetensors]

Needs torch, numpy, safetensors, gguf, mlx, bitsandbytes, compressed-tensors, autoawq. Every case stores <case>
(what the library gives, in its type), <case>.codes (uint8: the unsigned code, of signed ones the low 8 bits) and
<case>.scales (float32), and where there are any <case>.offsets (float32: zero point of the unsigned code, or bias)."""

import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
import bitsandbytes.functional as bnb
import gguf
import mlx.core as mx
import numpy as np
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file

ROWS, COLS = 32, 256
TORCH = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
MLX = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}
out = {}


def make_values():
    random = np.random.default_rng(20261122)
    values = (random.standard_normal((ROWS, COLS)) * 0.05).astype(np.float32)
    values[3] = 0  # blocks without any evidence
    values[4, :128] = np.abs(values[4, :128]) + 0.01  # one-sided
    values[5] *= 1e-3
    values[6, 7] = 3.0  # an outlier
    return values


VALUES = make_values()


def add(name, values, codes, scales, offsets=None):
    out[name] = values.contiguous()
    out[name + ".codes"] = torch.from_numpy(np.ascontiguousarray(np.asarray(codes).astype(np.uint8)))
    out[name + ".scales"] = torch.from_numpy(np.ascontiguousarray(np.asarray(scales).astype(np.float32)))
    if offsets is not None:
        out[name + ".offsets"] = torch.from_numpy(np.ascontiguousarray(np.asarray(offsets).astype(np.float32)))


def add_gguf():
    kinds = gguf.GGMLQuantizationType
    for name in ["Q8_0", "Q4_0", "Q4_1", "MXFP4"]:
        raw = gguf.quants.quantize(VALUES, kinds[name])
        values = gguf.quants.dequantize(raw, kinds[name])
        blocks = raw.reshape(ROWS, COLS // 32, -1)
        half = lambda at: blocks[..., at : at + 2].copy().view(np.float16).astype(np.float32)[..., 0]
        nibbles = lambda b: np.concatenate([b & 15, b >> 4], axis=-1).reshape(ROWS, COLS)
        if name == "Q8_0":
            codes, scales, offsets = blocks[..., 2:].reshape(ROWS, COLS), half(0), None
        elif name == "MXFP4":
            codes, scales, offsets = nibbles(blocks[..., 1:]), np.exp2(blocks[..., 0].astype(np.float64) - 127), None
        else:
            bias = name == "Q4_1"
            codes, scales = nibbles(blocks[..., 4 if bias else 2 :]), half(0)
            offsets = half(2) if bias else None
        for kind in ["f32", "bf16"] if name in ["MXFP4", "Q4_0"] else ["f32"]:
            add(f"{name.lower()}.{kind}", torch.from_numpy(values).to(TORCH[kind]), codes, scales, offsets)


def add_bitsandbytes():
    for name, block, kind in [("nf4", 64, "f32"), ("nf4", 64, "bf16"), ("fp4", 128, "f16")]:
        values = torch.from_numpy(VALUES).to(TORCH[kind])
        packed, state = bnb.quantize_4bit(values, blocksize=block, quant_type=name)
        flat = packed.flatten().numpy()
        codes = np.stack([flat >> 4, flat & 15], -1).reshape(ROWS, COLS)
        add(f"{name}_{block}.{kind}", bnb.dequantize_4bit(packed, state), codes, state.absmax.numpy())


def add_mlx():
    for bits, group, kind in [(4, 64, "f16"), (4, 32, "bf16"), (8, 64, "f32")]:
        weights = mx.array(VALUES).astype(MLX[kind])
        packed, scales, biases = mx.quantize(weights, group_size=group, bits=bits)
        values = mx.dequantize(packed, scales, biases, group_size=group, bits=bits)
        words = np.array(packed)
        codes = np.stack([(words >> (bits * i)) & ((1 << bits) - 1) for i in range(32 // bits)], -1).reshape(ROWS, COLS)
        as_f32 = lambda array: np.array(array.astype(mx.float32))
        tensor = torch.from_numpy(as_f32(values)).to(TORCH[kind])
        add(f"mlx{bits}_{group}.{kind}", tensor, codes, as_f32(scales), as_f32(biases))


def add_compressed_tensors():
    cases = [
        ("ct4_128_sym.f16", "f16", QuantizationArgs(num_bits=4, group_size=128, strategy="group", symmetric=True)),
        ("ct4_64_asym.bf16", "bf16", QuantizationArgs(num_bits=4, group_size=64, strategy="group", symmetric=False)),
        ("ct8_row.f32", "f32", QuantizationArgs(num_bits=8, strategy="channel", symmetric=True)),
        ("ct8_row.bf16", "bf16", QuantizationArgs(num_bits=8, strategy="channel", symmetric=True)),
        ("fp8_row.bf16", "bf16", QuantizationArgs(num_bits=8, type="float", strategy="channel", symmetric=True)),
        ("fp8_tensor.f32", "f32", QuantizationArgs(num_bits=8, type="float", strategy="tensor", symmetric=True)),
    ]
    for name, kind, arguments in cases:
        values = torch.from_numpy(VALUES).to(TORCH[kind])
        grouped = values
        if arguments.strategy == "group":
            grouped = values.reshape(ROWS, COLS // arguments.group_size, arguments.group_size)
        axes = None if arguments.strategy == "tensor" else -1
        least = grouped.amin() if axes is None else grouped.amin(axes, keepdim=arguments.strategy == "channel")
        most = grouped.amax() if axes is None else grouped.amax(axes, keepdim=arguments.strategy == "channel")
        scale, zero = calculate_qparams(least.reshape(-1) if axes is None else least, most.reshape(-1) if axes is None else most, arguments)
        is_float = arguments.type == "float"
        dtype = torch.float8_e4m3fn if is_float else torch.int8
        codes = quantize(values, scale, zero, arguments, dtype=dtype)
        made = dequantize(codes, scale, zero, arguments, dtype=TORCH[kind])
        raw = codes.view(torch.uint8).numpy()
        shift = 0 if is_float or arguments.num_bits == 8 else 8
        stored = raw if shift == 0 else codes.to(torch.int32).numpy() + shift
        zeros = None if arguments.symmetric else zero.to(torch.float32).numpy() + shift
        add(name, made, stored, scale.to(torch.float32).numpy(), zeros)


def add_awq():
    sys.path.insert(0, str(Path(__file__).parent.parent / "awq"))
    import awq_packages  # noqa: F401, before anything of awq
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.utils.packing_utils import dequantize_gemm

    linear = torch.nn.Linear(COLS, ROWS, bias=False)
    group = 128
    values = torch.from_numpy(VALUES).half()
    grouped = values.float().reshape(ROWS, COLS // group, group)
    most, least = grouped.amax(-1).clamp(min=0), grouped.amin(-1).clamp(max=0)
    scales = ((most - least).clamp(min=1e-5) / 15).half()
    zeros = (-torch.round(least / scales.float())).clamp(0, 15)
    wide = lambda p: p.repeat_interleave(group, 1)
    codes = (torch.round(values.float() / wide(scales).float()) + wide(zeros)).clamp(0, 15)
    linear.weight.data = (codes - wide(zeros)) * wide(scales).float()
    packed = WQLinear_GEMM.from_linear(linear, 4, group, scales=scales.float().t().contiguous(), zeros=zeros.t().contiguous())
    made = dequantize_gemm(packed.qweight, packed.qzeros, packed.scales, 4, group)
    add("awq_128.f16", made.t(), codes.numpy(), scales.float().numpy(), zeros.numpy())


add_gguf()
add_bitsandbytes()
add_mlx()
add_compressed_tensors()
add_awq()
target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "cases.safetensors"
save_file(out, str(target))
print(f"{target.name}: {len(out)} tensors, {target.stat().st_size} bytes")
