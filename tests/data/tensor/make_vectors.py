#!/usr/bin/env python3
"""Writes vectors.txt: what torch and ml_dtypes say about small floats, and fingerprints computed from spec/fingerprint.md with xxhash.

Needs torch, numpy, ml_dtypes, gguf, xxhash. Every line is `kind name hash`, the hash being XXH3-128 of little-endian numbers:
  float_table  the binary32 values of all codes of a type, NaN as 7fc00000
  f32_to       16-bit codes of the inputs below, NaN as 7e00 (f16) or 7fc0 (bf16)
  grid         the entries of a ggml code book (package gguf) as signed bytes, IQ1 in eighths
  fingerprint  of the tensors that format_tensor_fingerprint_test.cpp builds by the same formulas
"""
import pathlib
import struct

import gguf.quants
import ml_dtypes
import numpy as np
import torch
import xxhash

lines = []


def emit(kind, name, digest):
    lines.append(f"{kind} {name} {digest.hex()}\n")


def canonical_nan(values):
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).copy()
    bits[(bits & 0x7FFFFFFF) > 0x7F800000] = 0x7FC00000
    return bits


def hash128(array):
    return xxhash.xxh3_128(array.tobytes()).digest()


# --- float tables: torch where it has the type, and ml_dtypes must agree
codes8 = torch.arange(256, dtype=torch.int32).to(torch.uint8)
codes16 = torch.arange(65536, dtype=torch.int32).to(torch.uint16)
TORCH = {"f16": codes16.view(torch.float16), "bf16": codes16.view(torch.bfloat16), "e4m3": codes8.view(torch.float8_e4m3fn),
         "e5m2": codes8.view(torch.float8_e5m2), "e4m3fnuz": codes8.view(torch.float8_e4m3fnuz),
         "e5m2fnuz": codes8.view(torch.float8_e5m2fnuz), "e8m0": codes8.view(torch.float8_e8m0fnu)}
ML = {"e4m3": (256, ml_dtypes.float8_e4m3fn), "e5m2": (256, ml_dtypes.float8_e5m2), "e4m3fnuz": (256, ml_dtypes.float8_e4m3fnuz),
      "e5m2fnuz": (256, ml_dtypes.float8_e5m2fnuz), "e8m0": (256, ml_dtypes.float8_e8m0fnu), "e3m2": (64, ml_dtypes.float6_e3m2fn),
      "e2m3": (64, ml_dtypes.float6_e2m3fn), "e2m1": (16, ml_dtypes.float4_e2m1fn)}
for name in [*TORCH, "e3m2", "e2m3", "e2m1"]:
    tables = []
    if name in TORCH:
        tables.append(canonical_nan(TORCH[name].to(torch.float32).numpy()))
    if name in ML:
        count, dtype = ML[name]
        tables.append(canonical_nan(np.arange(count, dtype=np.uint8).view(dtype).astype(np.float32)))
    assert all((table == tables[0]).all() for table in tables), name
    emit("float_table", name, hash128(tables[0]))

# --- binary32 to 16 bits: pseudo-random patterns, then both sides of every rounding boundary of either type
index = np.arange(1 << 20, dtype=np.uint64)
inputs = ((index * 2654435761 + 12345) & 0xFFFFFFFF).astype(np.uint32)
half = canonical_nan(TORCH["f16"].to(torch.float32).numpy())
brain = np.arange(65536, dtype=np.uint32) << 16
steps = [half + np.uint32(step) for step in (0, 0x0FFF, 0x1000, 0x1001)] + [brain + np.uint32(step) for step in (0, 0x7FFF, 0x8000, 0x8001)]
inputs = np.concatenate([inputs, *steps])
for name, dtype, magnitude_of_infinity, nan in (("f16", torch.float16, 0x7C00, 0x7E00), ("bf16", torch.bfloat16, 0x7F80, 0x7FC0)):
    out = torch.from_numpy(inputs.view(np.float32).copy()).to(dtype).view(torch.uint16).numpy().copy()
    out[(out & 0x7FFF) > magnitude_of_infinity] = nan
    emit("f32_to", name, hash128(out))


# --- grids
for name, owner in (("iq2_xxs", "IQ2_XXS"), ("iq2_xs", "IQ2_XS"), ("iq2_s", "IQ2_S"), ("iq3_xxs", "IQ3_XXS"), ("iq3_s", "IQ3_S"), ("iq1_s", "IQ1_S")):
    book = getattr(gguf.quants, owner)
    book.init_grid()
    emit("grid", name, hash128((book.grid * (8 if name == "iq1_s" else 1)).astype(np.int8)))


# --- fingerprints
def fingerprint(shape, values):
    bits = canonical_nan(values).reshape(-1)
    bits[bits == 0x80000000] = 0
    return combine(b"ingot-fp1\0", shape, bits.tobytes(), 65536 * 4)


def combine(domain, shape, data, block_bytes):
    head = domain + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", extent) for extent in shape)
    return xxhash.xxh3_128(head + b"".join(xxhash.xxh3_128(data[i:i + block_bytes]).digest() for i in range(0, len(data), block_bytes))).digest()


def f32_bits(count):
    i = np.arange(count, dtype=np.uint64)
    bits = ((i * 2654435761) & 0xFFFFFFFF).astype(np.uint32)
    bits[i % 1000 == 0] = 0x80000000
    bits[i % 1001 == 0] = 0xFF800001
    return bits


def codes16_of(count):
    return ((np.arange(count, dtype=np.uint64) * 40503) & 0xFFFF).astype(np.uint16)


prints = {
    "f32_3x50001": fingerprint([3, 50001], f32_bits(150003).view(np.float32)),
    "f16_70000": fingerprint([70000], codes16_of(70000).view(np.float16).astype(np.float32)),
    "bf16_1000x131": fingerprint([1000, 131], (codes16_of(131000).astype(np.uint32) << 16).view(np.float32)),
    "f32_scalar": fingerprint([], np.array([-0.0], dtype=np.float32)),
    "f32_0x5": fingerprint([0, 5], np.zeros(0, dtype=np.float32)),
    "c64_100": combine(b"ingot-fp0\0", [100], bytes((7 * i) & 255 for i in range(800)), 65536),
}
row, col = np.meshgrid(np.arange(37), np.arange(64), indexing="ij")
scale = (0x2C00 + (row * 2 + col // 32) * 37).astype(np.uint16).view(np.float16).astype(np.float64)
code = ((row * 64 + col) * 7) % 16
prints["u4_37x64"] = fingerprint([37, 64], (scale * (code - 8)).astype(np.float32))
for name, digest in prints.items():
    emit("fingerprint", name, digest)
named = sorted((name.encode(), digest) for name, digest in prints.items())
emit("fingerprint", "model", xxhash.xxh3_128(b"".join(struct.pack("<I", len(name)) + name + digest for name, digest in named)).digest())

pathlib.Path(__file__).with_name("vectors.txt").write_text("".join(lines))
