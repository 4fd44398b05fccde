#!/usr/bin/env python3
"""Writes blocks.gguf: blocks of every ggml type of weights, the values that its owners give, and ggml's list of types.

For each type one tensor `<type>` with random and adversarial blocks (every special scale, every code value, every index of a grid)
and one F32 tensor `<type>.expected` with gguf.quants.dequantize of it. libggml (of llama-cpp-python) dequantizes the same blocks and
must give the same bits; types that the package lacks have libggml's values alone.
Keys `ggml.names`, `ggml.block_elems`, `ggml.block_bytes`: all types that libggml knows, by id; withdrawn ones have 0 elements.
Made with gguf 0.19.0, llama-cpp-python 0.3.36 (ggml 0.25.3) and numpy 2.4; deterministic.
Usage: make_gguf_blocks.py [output]
"""
import ctypes
import pathlib
import sys
import warnings

import numpy as np
import gguf
import llama_cpp
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize

# type: (rows, blocks per row, byte offsets of its f16 scale fields)
TYPES = {
    T.Q4_0: (20, 3, [0]), T.Q4_1: (20, 3, [0, 2]), T.Q5_0: (20, 3, [0]), T.Q5_1: (20, 3, [0, 2]), T.Q8_0: (20, 3, [0]),
    T.IQ4_NL: (20, 3, [0]), T.MXFP4: (20, 3, []), T.NVFP4: (18, 1, []),
    T.Q2_K: (18, 1, [80, 82]), T.Q3_K: (18, 1, [108]), T.Q4_K: (18, 1, [0, 2]), T.Q5_K: (18, 1, [0, 2]), T.Q6_K: (18, 1, [208]),
    T.IQ4_XS: (18, 1, [0]), T.TQ1_0: (18, 1, [52]), T.TQ2_0: (18, 1, [64]),
    T.F16: (18, 64, []), T.BF16: (18, 64, []),
    T.IQ2_XXS: (26, 1, [0]), T.IQ2_XS: (18, 2, [0]), T.IQ2_S: (18, 3, [0]), T.IQ3_XXS: (22, 1, [0]), T.IQ3_S: (18, 2, [0]),
    T.IQ1_S: (41, 2, [0]), T.IQ1_M: (41, 2, []), T.Q1_0: (18, 2, [0]),
}
Q2_0 = 42  # not in the package yet
# type: (elements per index, bits of an index, where index i of a block lives: (byte, shift, bits) from the lowest bit up)
GRIDS = {
    T.IQ2_XXS: (8, 8, lambda i: [(2 + 8 * (i // 4) + i % 4, 0, 8)]),
    T.IQ2_XS: (8, 9, lambda i: [(2 + 2 * i, 0, 8), (3 + 2 * i, 0, 1)]),
    T.IQ2_S: (8, 10, lambda i: [(2 + i, 0, 8), (66 + i // 4, 2 * (i % 4), 2)]),
    T.IQ3_XXS: (4, 8, lambda i: [(2 + i, 0, 8)]),
    T.IQ3_S: (4, 9, lambda i: [(2 + i, 0, 8), (66 + i // 8, i % 8, 1)]),
    T.IQ1_S: (8, 11, lambda i: [(2 + i, 0, 8)] + [(34 + 2 * (i // 4) + (3 * (i % 4) + k) // 8, (3 * (i % 4) + k) % 8, 1) for k in range(3)]),
    T.IQ1_M: (8, 11, lambda i: [(i, 0, 8), (32 + i // 2, 4 * (i % 2), 3)]),
}
# zeros, least and greatest subnormals, least and greatest normals, infinities, NaN, plain numbers; both signs
SPECIAL = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x8400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x3C00, 0xBC00, 0x2E66]


class Traits(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("block_elems", ctypes.c_int64), ("interleave", ctypes.c_int64), ("block_bytes", ctypes.c_size_t),
                ("quantized", ctypes.c_bool), ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64))]


def libggml():
    library = ctypes.CDLL(str(pathlib.Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
    library.ggml_get_type_traits.restype = ctypes.POINTER(Traits)
    library.ggml_type_name.restype = ctypes.c_char_p
    library.ggml_blck_size.restype = ctypes.c_int64
    library.ggml_type_size.restype = ctypes.c_size_t
    return library


def values_of(kind, blocks):
    traits = libggml().ggml_get_type_traits(int(kind)).contents
    blocks = np.ascontiguousarray(blocks)
    rows, row_bytes = blocks.shape
    values = np.empty((rows, row_bytes // traits.block_bytes * traits.block_elems), np.float32)
    traits.to_float(blocks.ctypes.data, values.ctypes.data, values.size)
    if kind in gguf.quants._type_traits or kind == T.F16:
        package = dequantize(blocks.view(np.float16) if kind == T.F16 else blocks, kind).astype(np.float32)
        assert np.array_equal(values, package, equal_nan=True), kind  # -0 equals 0
    return values


def enumerate_indexes(kind, blocks):
    """Every index of the grid once, in the last blocks."""
    width, bits, places = GRIDS[kind]
    per_block = 256 // width
    for index in range(1 << bits):
        block, rest = blocks[len(blocks) - (1 << bits) // per_block + index // per_block], index
        for byte, shift, count in places(index % per_block):
            mask = (1 << count) - 1
            block[byte] = int(block[byte]) & ~(mask << shift) & 255 | (rest & mask) << shift
            rest >>= count


def set_scale(kind, block, offset, bits):
    if kind == T.IQ1_M:  # four bits in each of four words
        for k in range(4):
            block[49 + 2 * k] = int(block[49 + 2 * k]) & 15 | (bits >> 4 * k & 15) << 4
    else:
        block[offset:offset + 2] = np.frombuffer(np.uint16(bits).tobytes(), np.uint8)


def blocks_of(kind, rng):
    rows, per_row, scale_offsets = TYPES.get(kind, (18, 2, [0]))
    size = libggml().ggml_type_size(int(kind))
    blocks = rng.integers(0, 256, (rows * per_row, size), dtype=np.uint8)
    blocks[0] = np.arange(size) * 17 & 255  # each nibble value beside each other
    blocks[1] = np.arange(size) * 37 + 11 & 255
    for number, block in enumerate(blocks):
        for place, offset in enumerate([48] if kind == T.IQ1_M else scale_offsets):
            # later blocks: ordinary scales (exponent field 8..20), so that sums of products are rounded
            ordinary = int(rng.integers(8, 21)) << 10 | int(rng.integers(0, 1 << 10)) | int(rng.integers(0, 2)) << 15
            special = SPECIAL[(number + 5 * place) % len(SPECIAL)]
            set_scale(kind, block, offset, special if number < len(SPECIAL) else ordinary)
    if kind in GRIDS:
        enumerate_indexes(kind, blocks)
    if kind == T.MXFP4:  # 255 is no scale
        blocks[:, 0] = [(0, 1, 2, 3, 253, 254)[n] if n < 6 else 100 + n for n in range(len(blocks))]
    if kind == T.NVFP4:  # 255 is no scale; 0x7F and a set sign bit have meanings of their own
        blocks[:, :4] = np.where(blocks[:, :4] == 255, 0x7F, blocks[:, :4])
        blocks[0, :4] = (0x00, 0x7F, 0x80, 0x01)
        blocks[1, :4] = (0x7E, 0xFE, 0x07, 0x08)
    return blocks.reshape(rows, per_row * size)


def add(writer, name, blocks, kind):
    if kind == Q2_0:  # the package cannot name it: a plain array whose type and extents are set afterwards
        writer.add_tensor_info(name, [blocks.shape[0], blocks.shape[1] // 18 * 64], np.dtype(np.uint8), blocks.nbytes, raw_dtype=T.I8)
        writer.tensors[-1][name].dtype = kind
        writer.tensors[-1][name].tensor = blocks
    else:
        writer.add_tensor(name, blocks, raw_dtype=kind)


def main():
    warnings.simplefilter("ignore", RuntimeWarning)  # infinities and NaN are meant
    rng = np.random.default_rng(20251121)
    writer = gguf.GGUFWriter(sys.argv[1] if len(sys.argv) > 1 else "blocks.gguf", "blocks")
    library = libggml()
    ids = range(llama_cpp.GGML_TYPE_COUNT)
    writer.add_array("ggml.names", [library.ggml_type_name(i).decode() for i in ids])
    writer.add_array("ggml.block_elems", [library.ggml_blck_size(i) for i in ids])
    writer.add_array("ggml.block_bytes", [library.ggml_type_size(i) for i in ids])
    for kind in [*TYPES, Q2_0]:
        blocks = blocks_of(kind, rng)
        name = kind.name if kind in TYPES else "Q2_0"
        add(writer, name, blocks, kind)
        writer.add_tensor(name + ".expected", values_of(kind, blocks))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
