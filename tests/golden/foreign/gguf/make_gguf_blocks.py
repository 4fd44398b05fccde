#!/usr/bin/env python3
"""Writes blocks.gguf: blocks of every type that the `gguf` package can dequantize, and the values it gives.

For each type one tensor `<type>` with random and adversarial blocks (every special scale, every code value) and one F32 tensor
`<type>.expected` with gguf.quants.dequantize of it. Made with gguf 0.19.0 and numpy 2.4; deterministic.
Usage: make_gguf_blocks.py [output]
"""
import sys
import warnings

import numpy as np
import gguf
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize

# type: (rows, blocks per row, byte offsets of its f16 scale fields)
TYPES = {
    T.Q4_0: (20, 3, [0]), T.Q4_1: (20, 3, [0, 2]), T.Q5_0: (20, 3, [0]), T.Q5_1: (20, 3, [0, 2]), T.Q8_0: (20, 3, [0]),
    T.IQ4_NL: (20, 3, [0]), T.MXFP4: (20, 3, []), T.NVFP4: (18, 1, []),
    T.Q2_K: (18, 1, [80, 82]), T.Q3_K: (18, 1, [108]), T.Q4_K: (18, 1, [0, 2]), T.Q5_K: (18, 1, [0, 2]), T.Q6_K: (18, 1, [208]),
    T.IQ4_XS: (18, 1, [0]), T.TQ1_0: (18, 1, [52]), T.TQ2_0: (18, 1, [64]),
    T.F16: (18, 64, []), T.BF16: (18, 64, []),
}
# zeros, least and greatest subnormals, least and greatest normals, infinities, NaN, plain numbers; both signs
SPECIAL = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x8400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x3C00, 0xBC00, 0x2E66]


def blocks_of(kind, rng):
    rows, per_row, scale_offsets = TYPES[kind]
    _, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (rows * per_row, size), dtype=np.uint8)
    blocks[0] = np.arange(size) * 17 & 255  # each nibble value beside each other
    blocks[1] = np.arange(size) * 37 + 11 & 255
    for number, block in enumerate(blocks):
        for place, offset in enumerate(scale_offsets):
            # later blocks: ordinary scales (exponent field 8..20), so that sums of products are rounded
            ordinary = int(rng.integers(8, 21)) << 10 | int(rng.integers(0, 1 << 10)) | int(rng.integers(0, 2)) << 15
            special = SPECIAL[(number + 5 * place) % len(SPECIAL)]
            block[offset:offset + 2] = np.frombuffer(np.uint16(special if number < len(SPECIAL) else ordinary).tobytes(), np.uint8)
    if kind == T.MXFP4:  # 255 is no scale
        blocks[:, 0] = [(0, 1, 2, 3, 253, 254)[n] if n < 6 else 100 + n for n in range(len(blocks))]
    if kind == T.NVFP4:  # 255 is no scale; 0x7F and a set sign bit have meanings of their own
        blocks[:, :4] = np.where(blocks[:, :4] == 255, 0x7F, blocks[:, :4])
        blocks[0, :4] = (0x00, 0x7F, 0x80, 0x01)
        blocks[1, :4] = (0x7E, 0xFE, 0x07, 0x08)
    return blocks.reshape(rows, per_row * size)


def main():
    warnings.simplefilter("ignore", RuntimeWarning)  # infinities and NaN are meant
    rng = np.random.default_rng(20251121)
    writer = gguf.GGUFWriter(sys.argv[1] if len(sys.argv) > 1 else "blocks.gguf", "blocks")
    for kind in TYPES:
        blocks = blocks_of(kind, rng)
        values = dequantize(blocks.view(np.float16) if kind == T.F16 else blocks, kind).astype(np.float32)
        writer.add_tensor(kind.name, blocks, raw_dtype=kind)
        writer.add_tensor(kind.name + ".expected", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
