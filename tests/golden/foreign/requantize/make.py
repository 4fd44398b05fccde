#!/usr/bin/env python3
"""What the libraries that own a scheme make of the same values: codes and parameters before packing.

    make.py [OUTPUT.safetensors]

Needs torch, numpy, safetensors, gguf, mlx, bitsandbytes, compressed-tensors. Every case stores
<case>.codes (uint8, low bits), <case>.scales (float32, the stored numbers) and, where there is one, <case>.offsets
(float32: zero point of the unsigned code, or bias) or <case>.scales_1 (the second level). <case>.blocks (uint8) are
whole blocks of GGUF. They all come from `values` (float32), cast first to the type in
the name of the case; `odd.values` and `cast.values` belong to the cases of those names."""

import sys
from pathlib import Path

import bitsandbytes.functional as bnb
import gguf
import mlx.core as mx
import numpy as np
import torch
from compressed_tensors.compressors.nvfp4 import NVFP4PackedCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import quantize
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from safetensors.numpy import save_file

ROWS, COLS = 20, 128
TORCH = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
MLX = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}
out = {}


def make_values():
    """Ordinary weights, and rows that hit ties, one-sided groups, constants, zeros and tiny or large numbers."""
    random = np.random.default_rng(20261122)
    values = (random.standard_normal((ROWS, COLS)) * 0.05).astype(np.float32)
    values[10] = np.abs(values[10])
    values[11] = -np.abs(values[11])
    values[12] = 0
    values[13] = 0.5
    values[14, :64] = np.arange(-32, 32) / 32
    values[14, 64:] = np.arange(64) / 64
    values[15] = np.round(values[15] * 100) / 64  # many ties
    values[16] *= 1e4
    values[17] *= 1e-4
    values[18, ::2] = 0
    values[18, 5] = -0.0
    values[19, 7] = 3.0  # an outlier
    return values


VALUES = make_values()
out["values"] = VALUES
out["odd.values"] = np.ascontiguousarray(VALUES[:5, :100])


def cast(values, kind):
    return torch.from_numpy(values).to(TORCH[kind])


def add(name, codes, scales, offsets=None):
    out[name + ".codes"] = np.ascontiguousarray(codes, dtype=np.uint8)
    out[name + ".scales"] = np.ascontiguousarray(scales, dtype=np.float32)
    if offsets is not None:
        out[name + ".offsets"] = np.ascontiguousarray(offsets, dtype=np.float32)


def halves(blocks):
    """16 bytes of nibbles: low ones first."""
    return np.concatenate([blocks & 15, blocks >> 4], axis=-1)


def add_gguf():
    kinds = gguf.GGMLQuantizationType
    blocks = VALUES.shape[1] // 32
    for name in ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]:
        raw = gguf.quants.quantize(VALUES, kinds[name]).reshape(ROWS, blocks, -1)
        half = lambda at: raw[..., at : at + 2].copy().view(np.float16).astype(np.float32)[..., 0]
        bias = name.endswith("_1")
        at = 4 if bias else 2
        if name == "Q8_0":
            codes = raw[..., 2:]
        elif name.startswith("Q4"):
            codes = halves(raw[..., at:])
        else:
            high = np.unpackbits(raw[..., at : at + 4], axis=-1, bitorder="little")
            codes = halves(raw[..., at + 4 :]) | high << 4
        add(name, codes.reshape(ROWS, COLS), half(0), half(2) if bias else None)
    out["MXFP4.blocks"] = gguf.quants.quantize(VALUES, kinds.MXFP4)


def dense(words, bits):
    """Codes of a dense little-endian bit stream, row by row."""
    stream = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")
    stream = stream[:, : COLS * bits].reshape(ROWS, COLS, bits)
    return (stream << np.arange(bits, dtype=np.uint8)).sum(axis=-1).astype(np.uint8)


def add_mlx():
    for bits in [2, 3, 4, 5, 6, 8]:
        for kind in ["f32", "f16", "bf16"]:
            group = 32 if kind == "f32" else 64
            weights = mx.array(VALUES).astype(MLX[kind])
            with mx.stream(mx.cpu):
                packed, scales, biases = mx.quantize(weights, group_size=group, bits=bits)
                numbers = [np.array(x.astype(mx.float32)) for x in (scales, biases)]
            add(f"mlx_{bits}_{kind}", dense(np.array(packed), bits), *numbers)


def add_mlx_floats():
    for mode, group, bits in [("mxfp4", 32, 4), ("mxfp8", 32, 8), ("nvfp4", 16, 4)]:
        for kind in ["f32", "f16", "bf16"]:
            weights = mx.array(VALUES).astype(MLX[kind])
            with mx.stream(mx.cpu):
                packed, scales = mx.quantize(weights, group_size=group, bits=bits, mode=mode)
                codes, scales = np.array(packed), np.array(scales)
            e4m3 = torch.from_numpy(scales).view(torch.float8_e4m3fn).float().numpy()
            numbers = e4m3 if mode == "nvfp4" else np.ldexp(np.float32(1), scales.astype(np.int32) - 127)
            add(f"mlx_{mode}_{kind}", dense(codes, bits), numbers)


def add_nested():
    """Double quantization: a matrix, one with a long row of scales, a flat one, and one of many scales."""
    torch.set_num_threads(1)  # the mean of the scales is summed in the order of one thread
    random = np.random.default_rng(4)
    for name, shape, block in [("matrix", (32, 512), 64), ("long", (2, 16384), 32), ("flat", (37, 100), 64),
                               ("many", (64, 5120), 32)]:  # fmt: skip
        values = (random.standard_normal(shape) * random.uniform(0.5, 2, (shape[0], 1)) * 0.02).astype(np.float32)
        if name == "many":  # computed by the test, too
            at = np.arange(np.prod(shape), dtype=np.uint32)
            numbers = (at * np.uint32(2654435761) >> np.uint32(7)) % np.uint32(65521)
            values = ((numbers.astype(np.float32) - 32760) / 65536).astype(np.float32).reshape(shape)
        else:
            out[f"nested.{name}.values"] = values
        for kind in ["nf4", "fp4"]:
            packed, state = bnb.quantize_4bit(
                torch.from_numpy(values), blocksize=block, quant_type=kind, compress_statistics=True
            )
            prefix = f"nested.{name}.{kind}"
            if name != "many":
                out[prefix + ".codes"] = packed.numpy().reshape(-1)
            out[prefix + ".scales_0"] = state.absmax.numpy()
            out[prefix + ".scales_1"] = state.state2.absmax.numpy()
            out[prefix + ".offset"] = state.offset.numpy().reshape(1)
            out["nested.table"] = state.state2.code.numpy()


def add_bitsandbytes():
    for kind in ["nf4", "fp4"]:
        packed, state = bnb.quantize_4bit(torch.from_numpy(VALUES), blocksize=64, quant_type=kind)
        packed = packed.numpy().reshape(-1)
        codes = np.stack([packed >> 4, packed & 15], axis=-1).reshape(ROWS, COLS)
        add(f"bnb_{kind}", codes, state.absmax.numpy())
        odd = out["odd.values"]  # a last block of 52
        packed, state = bnb.quantize_4bit(torch.from_numpy(odd), blocksize=64, quant_type=kind)
        packed = packed.numpy().reshape(-1)
        codes = np.stack([packed >> 4, packed & 15], axis=-1).reshape(5, 100)
        add(f"bnb_{kind}_odd", codes, state.absmax.numpy())
    codes, scales, _ = bnb.int8_vectorwise_quant(cast(VALUES, "f16"))
    add("bnb_int8", codes.view(torch.uint8).numpy(), scales.numpy())
    out["bnb_int8.scales_1"] = np.array([1 / 127], dtype=np.float32)  # what its dequantization multiplies by


def extremes(weights, group):
    if group == 0:
        return weights.amin().reshape(1, 1), weights.amax().reshape(1, 1)
    grouped = weights.reshape(ROWS, -1, group)
    return grouped.amin(-1), grouped.amax(-1)


def add_compressed_tensors():
    for bits, kind, group, symmetric in [
        (4, "f32", 32, True), (4, "bf16", 128, True), (4, "f16", 64, True), (8, "f32", COLS, True),
        (8, "bf16", COLS, True), (8, "f32", 0, True), (4, "f32", 32, False), (4, "bf16", 64, False),
        (4, "f16", 32, False), (8, "f32", COLS, False), (8, "bf16", 64, False)]:  # fmt: skip
        strategy = {0: "tensor", COLS: "channel"}.get(group, "group")
        if bits == 4 and group == COLS:
            strategy = "group"
        args = QuantizationArgs(num_bits=bits, type="int", symmetric=symmetric, strategy=strategy,
                                group_size=group if strategy == "group" else None)  # fmt: skip
        weights = cast(VALUES, kind)
        scales, zeros = calculate_qparams(*extremes(weights, group), args)
        codes = quantize(weights, scales, zeros, args).float().numpy().astype(np.int32)
        half = 2 ** (bits - 1)
        name = f"ct_{'symmetric' if symmetric else 'asymmetric'}_{bits}_{kind}_{group}"
        offsets = None if symmetric else zeros.float().numpy() + half
        add(name, codes + half, scales.float().numpy(), offsets)
    for kind, group in [("f32", 0), ("f32", COLS), ("bf16", COLS), ("f32", 32)]:
        strategy = {0: "tensor", COLS: "channel"}.get(group, "group")
        args = QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy=strategy,
                                group_size=group if strategy == "group" else None)  # fmt: skip
        weights = cast(VALUES, kind)
        scales, zeros = calculate_qparams(*extremes(weights, group), args)
        codes = quantize(weights, scales, zeros, args, dtype=torch.float8_e4m3fn)
        add(f"ct_e4m3_{kind}_{group}", codes.view(torch.uint8).numpy(), scales.float().numpy())


def add_mxfp4():
    args = QuantizationArgs(num_bits=4, type="float", symmetric=True, strategy="group", group_size=32,
                            scale_dtype=torch.uint8, zp_dtype=torch.uint8)  # fmt: skip
    weights = cast(VALUES, "f32")
    scales, zeros = calculate_qparams(*extremes(weights, 32), args)
    numbers = quantize(weights, scales, zeros, args).numpy()
    magnitudes = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=np.float32)
    codes = np.searchsorted(magnitudes, np.abs(numbers)) | np.signbit(numbers).astype(np.int64) << 3
    add("ct_mxfp4", codes, scales.numpy())


def add_compressed_floats():
    """mxfp8; nvfp4 as the library packs it, with the global scale of its observers."""
    args = QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy="group", group_size=32,
                            scale_dtype=torch.uint8, zp_dtype=torch.uint8)  # fmt: skip
    for kind in ["f32", "bf16"]:
        weights = cast(VALUES, kind)
        scales, zeros = calculate_qparams(*extremes(weights, 32), args)
        codes = quantize(weights, scales, zeros, args, dtype=torch.float8_e4m3fn)
        add(f"ct_mxfp8_{kind}", codes.view(torch.uint8).numpy(), scales.float().numpy())
    args = QuantizationArgs(num_bits=4, type="float", symmetric=True, strategy="tensor_group", group_size=16,
                            scale_dtype=torch.float8_e4m3fn, zp_dtype=torch.float8_e4m3fn)  # fmt: skip
    for kind in ["f32", "bf16"]:
        weights = cast(VALUES, kind)
        whole = generate_gparam(weights.amin(), weights.amax())
        scales, _ = calculate_qparams(*extremes(weights, 16), args, global_scale=whole)
        state = {"weight": weights, "weight_scale": scales, "weight_global_scale": whole}
        packed = NVFP4PackedCompressor.compress(state, QuantizationScheme(targets=["Linear"], weights=args))
        add(f"ct_nvfp4_{kind}", dense(packed["weight_packed"].numpy(), 4), packed["weight_scale"].float().numpy())
        out[f"ct_nvfp4_{kind}.scales_1"] = whole.numpy()


def add_casts():
    values = np.concatenate([VALUES, VALUES * 1e4, np.sign(VALUES) * 2.0 ** np.arange(-20, 12)[None, :].repeat(4, 1)])
    out["cast.values"] = values = values.astype(np.float32)
    for kind in ["e4m3fn", "e5m2"]:
        codes = torch.from_numpy(values).to(getattr(torch, "float8_" + kind)).view(torch.uint8).numpy()
        add("cast_" + kind, codes, np.ones((1,), dtype=np.float32))


def main():
    for make in [add_gguf, add_mlx, add_mlx_floats, add_bitsandbytes, add_nested, add_compressed_tensors, add_mxfp4,
                 add_compressed_floats, add_casts]:
        make()
    save_file(out, sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "cases.safetensors")


if __name__ == "__main__":
    main()
