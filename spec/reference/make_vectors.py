#!/usr/bin/env python3
"""Writes spec/vectors: valid .ingot files with the values they must decode to, and invalid ones named <kind>__<what>.ingot. The members
of sets lie in set-members/ beside their manifests.

Values are computed from plain arrays with exact fractions before anything is packed; packing is bit by bit from planes.md. Deterministic.
    make_vectors.py OUTPUT_DIRECTORY
"""
import ctypes
import ctypes.util
import itertools
import json
import os
import random
import struct
import sys
from fractions import Fraction

import numpy as np

import ingot_reader as R

_zstd = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
_zstd.ZSTD_compress.restype = ctypes.c_size_t
_zstd.ZSTD_compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
CHUNK = 1 << 20


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def pack_bits(elements, bits):
    """Dense bit stream, lowest bits first, padded to a byte."""
    stream = 0
    for i, element in enumerate(elements):
        stream |= int(element) << (i * bits)
    return stream.to_bytes((len(elements) * bits + 7) // 8, "little")


def pack_codes(matrix, bits, tiles):
    """matrix: list of matrices of rows of codes -> list of planes."""
    if not tiles:
        return [b"".join(pack_bits(row, bits) for m in matrix for row in m)]
    low, planes, shift = R.SLICES[bits][0], [], 0
    for number, width in enumerate(R.SLICES[bits]):
        out = b""
        for m in matrix:
            for first in range(0, len(m), 16):
                tile = [list(row) for row in m[first:first + 16]]
                tile += [[0] * len(tile[0])] * (16 - len(tile))
                lines = R.ceil_div(len(tile[0]) * width, 32)
                for line in range(lines):
                    for row in tile:
                        word = 0
                        for j in range(32 // width):
                            column = line * (32 // width) + j
                            part = (row[column] >> shift) & ((1 << width) - 1) if column < len(row) else 0
                            word |= part << (j * width if number == 0 else high_bit(low, width, j))
                        out += struct.pack("<I", word)
        planes.append(out)
        shift += width
    return planes


def high_bit(low, width, j):
    """Bit position of input j of the run inside a high-slice word."""
    fields = 8 // low
    for f in range(8 // width):
        for b in range(4):
            if 4 * fields * (f // fields) + fields * b + f % fields == j:
                return 8 * b + width * f
    raise AssertionError


def pack_parameters(matrix, dtype, tiles):
    """matrix: list of matrices of rows of stored elements (sliced planes)."""
    bits, out = R.BITS[dtype], b""
    for m in matrix:
        if not tiles:
            out += b"".join(pack_bits(row, bits) for row in m)
            continue
        for first in range(0, len(m), 16):
            tile = m[first:first + 16]
            tile = tile + [[0] * len(tile[0])] * (16 - len(tile))
            out += pack_bits([tile[r][c] for c in range(len(tile[0])) for r in range(16)], bits)
    return out


class Writer:
    """Lays blobs out as container.md section 4 says and finishes the file."""

    def __init__(self, compress=False):
        self.data, self.rows, self.compress, self.zstd_used = bytearray(4096), [], compress, False
        self.data[:12] = b"\x89INGT\r\n\x1a" + struct.pack("<I", 1)

    def align(self, n):
        self.data += b"\0" * (-len(self.data) % n)

    def blob(self, raw, width=1):
        first, stored_chunks, rows = len(self.rows), [], []
        for at in range(0, len(raw), CHUNK):
            chunk, encoding = raw[at:at + CHUNK], 0
            if self.compress:
                source, n = chunk, len(chunk) // width
                if width > 1:
                    source = np.frombuffer(chunk[: n * width], np.uint8).reshape(n, width).T.tobytes() + chunk[n * width:]
                room = ctypes.create_string_buffer(len(chunk) + 1024)
                size = _zstd.ZSTD_compress(room, len(room), source, len(source), 1)
                if size < len(chunk):
                    chunk, encoding, self.zstd_used = room.raw[:size], 1 | (width if width > 1 else 0) << 8, True
            stored_chunks.append(chunk)
            rows.append(struct.pack("<II", len(chunk), encoding) + R.hash128(chunk))
        stored = b"".join(stored_chunks)
        entry = {"offset": 0, "size": len(raw), "first_chunk": first if raw else 0, "hash": R.hash128(b"".join(rows)).hex()}
        if raw:
            self.align(4096 if len(stored) >= 65536 else 64)
            entry["offset"] = len(self.data)
            self.data += stored
        if len(stored) != len(raw):
            entry["stored"] = len(stored)
        self.rows += rows
        return entry

    def finish(self, index, generation=1, **overrides):
        self.align(64)
        table = len(self.data)
        self.data += b"".join(self.rows)
        index = {"ingot": 1, "chunk_bytes": CHUNK, "chunk_table": {"offset": table if self.rows else 0, "rows": len(self.rows)},
                 "model": {}, "metadata": {}, "aliases": {}, "attachments": [], "layout": "hf", **index}
        text = overrides.pop("text", None) or canonical(index)
        self.align(64)
        at = len(self.data)
        self.data += text
        planes = b"".join(bytes.fromhex(p["hash"]) for t in index["tensors"] for p in t["planes"])
        fields = dict(generation=generation, read=1, write=1, required=1 if self.zstd_used else 0, optional=0, offset=at, size=len(text),
                      index_hash=R.hash128(text), root=R.hash128(planes), file_size=len(self.data))
        fields.update(overrides)
        self.data[512:640] = slot(**fields)
        return bytes(self.data)


def slot(generation, read, write, required, optional, offset, size, index_hash, root, file_size):
    raw = struct.pack("<QIIQQQQ", generation, read, write, required, optional, offset, size) + index_hash + root
    raw += struct.pack("<Q", file_size) + b"\0" * 32
    return raw + struct.pack("<Q", R._xxh.XXH3_64bits(raw, len(raw)))


def tensor_entry(writer, name, shape, scheme, packing, planes, bits, transforms=None):
    """planes: [(role, bytes, shuffle width)]; bits: expected logical binary32 patterns."""
    entry = {"name": name, "shape": list(shape), "scheme": scheme, "packing": packing,
             "planes": [{"role": role, **writer.blob(raw, width)} for role, raw, width in planes],
             "fingerprint": R.fingerprint(shape, np.array(bits, "<u4")).hex()}
    if transforms:
        entry["transforms"] = transforms
    return entry


def level(dtype, block, **more):
    return {"type": dtype, "block": block, **more}


class Quantized:
    """A random quantized tensor: plain codes and parameters, the scheme, and the exact values."""

    def __init__(self, rng, rows, cols, codes, scales=(), offset=None, matrices=1, extra=None, shift=0, table=None, tiles=True, order=None,
                 fixed=None):
        self.tiles, self.shape = tiles, [rows, cols] if matrices == 1 else [matrices, rows, cols]
        bits = R.BITS[codes["type"]]
        self.codes = [[[rng.randrange(1 << bits) for _ in range(cols)] for _ in range(rows)] for _ in range(matrices)]
        self.scheme = {"codes": codes, **(extra or {})}
        if scales:
            self.scheme["scales"] = list(scales)
        if offset:
            self.scheme["offset"] = offset
        if shift:
            self.scheme["shift"] = shift
        self.planes = list(zip(R.CODE_ROLES, pack_codes(self.codes, bits, tiles), [1] * 3))
        self.geometry = R.Geometry(self.shape, self.scheme, "tiles" if tiles else "rows")
        self.values, self.table, self.order, self.fixed = {}, table, order, {role: itertools.cycle(v) for role, v in (fixed or {}).items()}
        names = {"zero_points": ["zero_points"], "bias": ["biases"], "minimum": ["mins_0", "mins_1"]}
        for role, lv in list(zip([f"scales_{i}" for i in range(3)], scales)) + \
                list(zip(names.get((offset or {}).get("kind"), []), (offset or {}).get("levels", []))):
            self.parameter(rng, role, lv)
        if table:
            self.planes.append(("table", np.array(table, "<f4").tobytes(), 1))
        if order:
            self.planes.append((self.scheme["order"], np.array(order, "<u4").tobytes(), 1))
        self.bits = self.evaluate()

    def parameter(self, rng, role, lv):
        rows, cols = R.parameter_extent(self.geometry, lv["block"])
        width = R.BITS[lv["type"]]

        def draw():
            if role in self.fixed:
                return next(self.fixed[role])
            if lv["type"] in ("f16", "bf16", "f32"):
                value = np.float32(rng.choice([-1, 1]) * 2.0 ** rng.uniform(-9, 2))
                if lv["type"] == "f16":
                    return int(np.array([value], "<f2").view("<u2")[0])
                return int(np.array([value], "<f4").view("<u4")[0]) >> (16 if lv["type"] == "bf16" else 0)
            return rng.randrange(90, 140) if lv["type"] == "e8m0" else rng.randrange(1 << width)
        matrix = [[[draw() for _ in range(cols)] for _ in range(rows)] for _ in self.codes]
        flat = [x for m in matrix for row in m for x in row]
        raw = pack_parameters(matrix, lv["type"], self.tiles) if lv["block"][0] == 1 else pack_bits(flat, width)
        self.values[role] = (lv, matrix)
        self.planes.append((role, raw, width // 8 if lv["type"] in R.FLOATS and width in (16, 32, 64) else 1))

    def at(self, role, m, r, c):
        lv, matrix = self.values[role]
        rows, cols = lv["block"][0] or len(self.codes[0]), lv["block"][1] or len(self.codes[0][0])
        column = self.order[c] if self.scheme.get("order") == "group_index" and lv["block"][1] else c // cols
        value = R.number(matrix[m][r // rows][column], lv["type"])
        return value if lv["type"] in R.FLOATS else value * lv.get("multiply", 1) + lv.get("add", 0)

    def at32(self, role, m, r, c):
        """The same in binary32, with the sign of a stored zero."""
        lv, matrix = self.values[role]
        stored = matrix[m][r // (lv["block"][0] or len(self.codes[0]))][c // (lv["block"][1] or len(self.codes[0][0]))]
        value = float32(self.at(role, m, r, c))
        return -value if value == 0 and lv["type"] in R.FLOATS and stored >> (R.BITS[lv["type"]] - 1) else value

    def rounded_scale(self, m, r, c):
        scale = np.float32(1)
        for i, lv in enumerate(self.scheme["scales"]):
            number = self.at32(f"scales_{i}", m, r, c)
            scale = np.divide(scale, number) if lv.get("divide") else np.multiply(scale, number)
        return scale

    def stepped(self, value, offset, m, r, c):
        if offset["kind"] in ("zero", "zero_points"):
            value = value - (np.float32(offset["zero"]) if offset["kind"] == "zero" else self.at32("zero_points", m, r, c))
        for i in range(len(self.scheme["scales"])):
            value = value * self.at32(f"scales_{i}", m, r, c)
        if offset["kind"] == "bias":
            value = value + self.at32("biases", m, r, c)
        if offset["kind"] == "minimum":
            value = value - (self.at32("mins_0", m, r, c) * self.at32("mins_1", m, r, c) if "mins_1" in self.values else
                             self.at32("mins_0", m, r, c))
        return value

    def element(self, m, r, c):
        code, codes = self.codes[m][r][c], self.scheme["codes"]
        if codes["kind"] == "table":
            name = codes["table"]
            value = (R.of_float(np.float32(self.table[code])) if self.table else Fraction(R.INT_TABLE[name][code]) if name in R.INT_TABLE
                     else R.from_bits(int(R.F32_TABLE[name].split()[code], 16)))
        elif codes["kind"] == "grid":
            value = Fraction(code)
        else:
            value = R.number(code, codes["type"])
        offset = self.scheme.get("offset", {"kind": "none"})
        if self.scheme.get("rounded_steps"):
            return canonical_bits(self.stepped(float32(value), offset, m, r, c))
        if offset["kind"] == "zero":
            value = R.add(value, Fraction(-offset["zero"]))
        if offset["kind"] == "zero_points":
            value = R.add(value, R.multiply(Fraction(-1), self.at("zero_points", m, r, c)))
        if self.scheme.get("rounded_scale"):
            value = R.multiply(value, R.of_float(self.rounded_scale(m, r, c)))
        else:
            for i in range(len(self.scheme.get("scales", []))):
                value = R.multiply(value, self.at(f"scales_{i}", m, r, c))
        value = R.multiply(value, Fraction(2) ** self.scheme.get("shift", 0))
        if offset["kind"] == "bias":
            value = R.add(value, self.at("biases", m, r, c))
        if offset["kind"] == "minimum":
            low = self.at("mins_0", m, r, c)
            if "mins_1" in self.values:
                low = R.multiply(low, self.at("mins_1", m, r, c))
            value = R.add(value, R.multiply(Fraction(-1), low))
        return R.round32(value)

    def evaluate(self):
        cols = len(self.codes[0][0])
        logical = list(range(cols))
        if self.scheme.get("order") == "permutation":  # stored column k is logical column order[k]
            logical = np.argsort(self.order).tolist()
        return [self.element(m, r, logical[c]) for m in range(len(self.codes)) for r in range(len(self.codes[0])) for c in range(cols)]

    def entry(self, writer, name):
        return tensor_entry(writer, name, self.shape, self.scheme, "tiles" if self.tiles else "rows", self.planes, self.bits)


class Gridded(Quantized):
    """Grid codes: random indexes and signs; `codes` holds the signed entries that they stand for."""

    def __init__(self, rng, rows, cols, grid, scales, offset=None, matrices=1, shift=0):
        book = R.GRIDS[grid]
        bits, width, sign_bits, entries = book["entries"].bit_length() - 1, book["width"], book["sign_bits"], R.grid_entries(book)
        super().__init__(rng, rows, cols, number("u8"), scales, offset, matrices, shift=shift, tiles=False)
        self.scheme["codes"] = {"kind": "grid", "type": f"u{bits}", "table": grid}
        indexes, signs = b"", b""
        for m in self.codes:
            for row in m:
                picked = [rng.randrange(1 << bits) for _ in range(cols // width)]
                signed = [rng.randrange(1 << sign_bits) for _ in range(cols // 8)]
                indexes += pack_bits(picked, bits)
                signs += pack_bits(signed, sign_bits)
                for c in range(cols):
                    pattern = signed[c // 8]
                    ones = sum(pattern >> k & 1 for k in range(7))
                    negative = ones % 2 if sign_bits == 7 and c % 8 == 7 else pattern >> c % 8 & 1
                    entry = entries[picked[c // width]][c % width]
                    row[c] = -entry if negative else entry
        self.planes = [("codes", indexes, 1)] + ([("signs", signs, 1)] if sign_bits else []) + self.planes[1:]
        self.bits = self.evaluate()


def float32(exact):
    return np.array([R.round32(exact)], "<u4").view("<f4")[0]


def canonical_bits(value):
    return 0x7FC00000 if value != value else 0 if value == 0 else int(np.array([value], "<f4").view("<u4")[0])


def number(dtype):
    return {"kind": "number", "type": dtype}


def zero(value):
    return {"kind": "zero", "zero": value}


def quantized_vectors():
    rng = random.Random(20261121)

    def q(*args, **more):
        return Quantized(rng, *args, **more)
    g = lambda n: [1, n]
    two = {"kind": "minimum", "levels": [level("u8", g(32)), level("f16", g(256))]}
    four = {"kind": "minimum", "levels": [level("u4", g(16)), level("f16", g(256))]}
    points = {"kind": "zero_points", "levels": [level("u8", g(32))]}
    permutation = list(range(64))
    rng.shuffle(permutation)
    yield "affine", {
        **{f"u{b}_zero": q(17, 72, number(f"u{b}" if b < 8 else "u8"), [level("f16", g(32))], zero(1 << (b - 1))) for b in range(1, 9)},
        "i8": q(16, 64, number("i8"), [level("f16", g(32))]),
        "i8_row_f32": q(5, 33, number("i8"), [level("f32", [1, 0])], tiles=False),
        "i8_column": q(16, 24, number("i8"), [level("f32", [0, 1])]),
        "u4_bias": q(33, 64, number("u4"), [level("f32", g(32))], {"kind": "bias", "levels": [level("f32", g(32))]}),
        "u4_bias_bf16": q(16, 64, number("u4"), [level("bf16", g(64))], {"kind": "bias", "levels": [level("bf16", g(64))]}),
        "u4_zero_points": q(31, 100, number("u4"), [level("f16", g(32))], points),
        "u3_rows": q(3, 21, number("u3"), [level("f16", g(7))], zero(4), tiles=False),
        "u6_rows_points": q(2, 70, number("u6"), [level("f16", g(32))], points, tiles=False),
        "u4_experts": q(20, 40, number("u4"), [level("f16", g(8))], zero(8), matrices=3),
        "u4_permutation": q(16, 64, number("u4"), [level("f16", g(32))], points, extra={"order": "permutation"}, order=permutation),
        "u4_group_index": q(16, 64, number("u4"), [level("f16", g(16))], zero(8), extra={"order": "group_index"},
                            order=[rng.randrange(4) for _ in range(64)]),
    }
    yield "table", {
        "nf4": q(16, 64, {"kind": "table", "type": "u4", "table": "nf4"}, [level("f32", g(64))]),
        "fp4": q(4, 64, {"kind": "table", "type": "u4", "table": "fp4"}, [level("f32", g(64))], tiles=False),
        "iq4nl": q(16, 32, {"kind": "table", "type": "u4", "table": "iq4nl"}, [level("f16", g(32))]),
        "binary": q(16, 128, {"kind": "table", "type": "u1", "table": "binary"}, [level("f16", g(128))]),
        "custom": q(2, 9, {"kind": "table", "type": "u3", "table": "custom"}, [level("f16", [0, 0])], tiles=False,
                    table=[-3.5, -1, -0.25, 0, 0.125, 1, 2.5, 1e30]),
    }
    yield "two_level", {
        "q2_k": q(16, 256, number("u2"), [level("u4", g(16)), level("f16", g(256))], four),
        "q3_k": q(16, 256, number("u3"), [level("i8", g(16)), level("f16", g(256))], zero(4)),
        "q4_k": q(17, 512, number("u4"), [level("u8", g(32)), level("f16", g(256))], two),
        "q5_k": q(16, 256, number("u5"), [level("u8", g(32)), level("f16", g(256))], two),
        "q6_k": q(16, 256, number("u6"), [level("i8", g(16)), level("f16", g(256))], zero(32)),
        "coded_level": q(3, 32, number("i8"), [level("u4", g(8), multiply=2, add=1), level("f16", [1, 0])], shift=-3, tiles=False),
    }
    yield "microscaling", {
        "mxfp4": q(16, 64, number("e2m1"), [level("e8m0", g(32))]),
        "mxfp4_experts": q(17, 32, number("e2m1"), [level("e8m0", g(32))], matrices=2),
        "mxfp8": q(16, 32, number("e4m3"), [level("e8m0", g(32))]),
        "nvfp4": q(16, 48, number("e2m1"), [level("e4m3", g(16)), level("f32", [0, 0])]),
        "fp8_blocks": q(20, 12, number("e4m3"), [level("f32", [8, 8])], tiles=False),
        "fp8_blocks_tiles": q(40, 24, number("e4m3"), [level("f32", [16, 8])]),
        "fp8_tensor": q(2, 5, number("e5m2"), [level("bf16", [0, 0])], tiles=False),
    }
    odd = lambda n: level("u4", g(n), multiply=2, add=1)
    low = lambda n: level("u3", g(n), multiply=2, add=1)
    eighth = lambda n: {"kind": "zero_points", "levels": [level("u1", g(n), multiply=2, add=-1)]}
    half = level("f16", g(256))
    yield "grid", {
        "iq2_xxs": Gridded(rng, 3, 256, "iq2_xxs", [odd(32), half], shift=-3),
        "iq2_xs": Gridded(rng, 2, 512, "iq2_xs", [odd(16), half], shift=-3),
        "iq2_s": Gridded(rng, 2, 256, "iq2_s", [odd(16), half], shift=-3),
        "iq3_xxs": Gridded(rng, 2, 256, "iq3_xxs", [odd(32), half], shift=-2),
        "iq3_s": Gridded(rng, 2, 256, "iq3_s", [odd(32), half], matrices=2),
        "iq1_s": Gridded(rng, 2, 256, "iq1_s", [low(32), half], eighth(32), shift=-3),
        "iq1_m": Gridded(rng, 2, 256, "iq1_s", [low(16), half], eighth(8), shift=-3),
        "short_rows": Gridded(rng, 5, 24, "iq3_s", [level("f32", [1, 0])]),
        "padded_rows": Gridded(rng, 17, 40, "iq2_xs", [level("f16", g(8))]),
    }


CORNERS = [0x3F800000, 0x40400000, 0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x00000001, 0x80000001, 0x007FFFFF,
           0x7F7FFFFF, 0x3F7FFFFF, 0x44A066ED, 0x3A4C4962, 0x00800000, 0xC1234567]


def rounded_vectors():
    """Operations rounded to binary32, and zero points of float types."""
    rng = random.Random(127)

    def q(*args, flag=None, **more):
        return Quantized(rng, *args, extra={flag: True} if flag else None, **more)
    g = lambda n: [1, n]
    points = lambda dtype, block: {"kind": "zero_points", "levels": [level(dtype, block)]}
    row, whole = [1, 0], [0, 0]
    llm_int8 = [level("f32", row), level("f32", whole)]
    yield "rounded_scale", {
        "nvfp4_divisor": q(16, 48, number("e2m1"), [level("e4m3", g(16)), level("f32", whole, divide=True)], flag="rounded_scale"),
        "nvfp4_divisor_corners": q(16, 256, number("e2m1"), [level("e4m3", g(16)), level("f32", row, divide=True)], flag="rounded_scale",
                                   fixed={"scales_0": range(256), "scales_1": CORNERS}),
        "divisor_alone": q(16, 5, number("i8"), [level("f32", row, divide=True)], flag="rounded_scale", tiles=False, fixed={"scales_0": CORNERS}),
        "three_levels": q(17, 40, number("u4"), [level("f16", g(8)), level("bf16", row, divide=True), level("f32", [3, 16])], zero(8),
                          flag="rounded_scale", shift=-2),
        "wide_integers": q(3, 8, number("u4"), [level("u32", g(1)), level("f32", row, divide=True)], flag="rounded_scale", tiles=False),
    }
    yield "stepped", {
        "llm_int8": q(17, 33, number("i8"), llm_int8, flag="rounded_steps", fixed={"scales_1": [0x3C010204]}),
        "llm_int8_rows": q(3, 40, number("i8"), llm_int8, flag="rounded_steps", fixed={"scales_1": [0x3C010204]}, tiles=False),
        "corners": q(16, 64, number("i8"), [level("f32", g(4)), level("f32", row)], flag="rounded_steps",
                     fixed={"scales_0": CORNERS, "scales_1": CORNERS[5:] + CORNERS[:5]}),
        "bias": q(16, 32, number("u4"), [level("f16", g(8)), level("f32", g(16))], {"kind": "bias", "levels": [level("f32", g(32))]},
                  flag="rounded_steps"),
        "zero": q(16, 32, number("u4"), [level("f32", g(8))], zero(8), flag="rounded_steps"),
        "zero_points": q(16, 32, number("u8"), [level("f32", g(8)), level("f32", row)], points("u8", g(8)), flag="rounded_steps"),
        "float_zero_points": q(16, 32, number("i8"), [level("f16", g(8))], points("f16", g(8)), flag="rounded_steps"),
        "minimum": q(16, 64, number("u5"), [level("u8", g(16)), level("f16", g(64))],
                     {"kind": "minimum", "levels": [level("f32", g(16)), level("f16", g(64))]}, flag="rounded_steps"),
        "nf4": q(2, 64, {"kind": "table", "type": "u4", "table": "nf4"}, llm_int8, flag="rounded_steps", tiles=False),
    }
    ties = [0x3F800001, 0x3F800003, 0xBF800005, 0x3F7FFFFF]  # odd multiples of these lie in the middle of two binary32 numbers
    tiny = [0x0D800000, 0x8D800000, 0x00000001, 0x80000001, 0, 0x41000000, 0x40E00001, 0x7F800000, 0x7FC00000]
    yield "float_zero_points", {
        "f16": q(17, 128, number("u4"), [level("f16", g(64))], points("f16", g(64))),
        "bf16": q(16, 64, number("u3"), [level("bf16", g(32))], points("bf16", g(32))),
        "f32": q(3, 21, number("u2"), [level("f32", g(7))], points("f32", g(7)), tiles=False),
        "ties": q(16, 72, number("u4"), [level("f32", g(18))], points("f32", g(2)), fixed={"scales_0": ties, "zero_points": tiny}),
        "corners": q(16, 64, number("i8"), [level("f32", g(4))], points("f32", row), fixed={"scales_0": CORNERS, "zero_points": CORNERS}),
    }


def float_tensors(writer):
    rng = random.Random(7)
    out = []
    for dtype in ("f32", "f16", "bf16", "f64"):
        bits, code = R.BITS[dtype], {"f32": "<u4", "f16": "<u2", "bf16": "<u2", "f64": "<u8"}[dtype]
        specials = {"f16": [0, 0x8000, 1, 0x7C00, 0xFC00, 0x7E01], "bf16": [0, 0x8000, 1, 0x7F80, 0xFF80, 0xFFC1],
                    "f32": [0, 0x80000000, 1, 0x7F800000, 0x7F800001], "f64": [0, 1, 0x7FF0000000000000, 0x3FF0000010000000]}[dtype]
        elements = specials + [rng.randrange(1 << bits) for _ in range(60 - len(specials))]
        raw = np.array(elements, code).tobytes()
        out.append(tensor_entry(writer, dtype, [3, 4, 5], {"codes": number(dtype)}, "rows", [("codes", raw, bits // 8)],
                                [R.round32(R.number(e, dtype)) for e in elements]))
    for dtype in ("e4m3", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0", "e3m2", "e2m3", "e2m1"):
        count = 1 << R.BITS[dtype]
        raw = pack_bits(range(count), R.BITS[dtype])
        out.append(tensor_entry(writer, dtype, [count], {"codes": number(dtype)}, "rows", [("codes", raw, 1)],
                                [R.round32(R.number(e, dtype)) for e in range(count)]))
    for dtype in ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "bool"):
        elements = [0, 1] if dtype == "bool" else [0, 1, 2, (1 << R.BITS[dtype]) - 1, 1 << (R.BITS[dtype] - 1), (1 << R.BITS[dtype]) // 3]
        raw = b"".join(e.to_bytes(R.BITS[dtype] // 8, "little") for e in elements)
        out.append(tensor_entry(writer, dtype, [len(elements)], {"codes": number(dtype)}, "rows", [("codes", raw, 1)],
                                [R.round32(R.number(e, dtype)) for e in elements]))
    out.append(tensor_entry(writer, "scalar", [], {"codes": number("f32")}, "rows", [("codes", struct.pack("<f", 2.5), 4)], [0x40200000]))
    out.append(tensor_entry(writer, "empty", [0, 7], {"codes": number("f32")}, "rows", [("codes", b"", 4)], []))
    return out


def transform_tensors(writer):
    rng = np.random.default_rng(3)
    logical = rng.standard_normal((16, 6)).astype("<f4")
    bits = logical.view("<u4").reshape(-1)
    stored = logical.reshape(2, 2, 4, 6).transpose(0, 2, 1, 3).reshape(16, 6)
    scheme = {"codes": number("f32")}
    out = [tensor_entry(writer, "rope", [16, 6], scheme, "rows", [("codes", stored.tobytes(), 4)], bits,
                        [{"kind": "rope_interleave", "heads": 2}]),
           tensor_entry(writer, "transposed", [16, 6], scheme, "rows", [("codes", logical.T.tobytes(), 4)], bits, [{"kind": "transpose"}])]
    small = np.array([0.25, -0.5, 0.0, 0.75], "<f4")
    out.append(tensor_entry(writer, "norm", [4], scheme, "rows", [("codes", (small + 1).astype("<f4").tobytes(), 4)], small.view("<u4"),
                            [{"kind": "add_one"}]))
    bias = np.arange(8, dtype="<f4")
    out.append(tensor_entry(writer, "bias", [8], scheme, "rows", [("codes", bias[[0, 4, 1, 5, 2, 6, 3, 7]].tobytes(), 4)], bias.view("<u4"),
                            [{"kind": "rope_interleave", "heads": 1}]))
    rows, columns = rng.permutation(16), rng.permutation(6)
    row_order, column_order = {"kind": "row_order", "order": rows.tolist()}, {"kind": "column_order", "order": columns.tolist()}
    ordered = logical[rows]
    out.append(tensor_entry(writer, "rows", [16, 6], scheme, "rows", [("codes", ordered.tobytes(), 4)], bits, [row_order]))
    ordered = logical[:, columns].reshape(2, 2, 4, 6).transpose(0, 2, 1, 3).reshape(16, 6)
    out.append(tensor_entry(writer, "columns", [16, 6], scheme, "rows", [("codes", ordered.tobytes(), 4)], bits,
                            [column_order, {"kind": "rope_interleave", "heads": 2}]))
    stack = logical.reshape(2, 8, 6)
    out.append(tensor_entry(writer, "stack", [2, 8, 6], scheme, "rows", [("codes", stack.transpose(0, 2, 1).tobytes(), 4)], bits,
                            [{"kind": "transpose"}]))
    few = rng.permutation(8)
    out.append(tensor_entry(writer, "elements", [8], scheme, "rows", [("codes", bias[few].tobytes(), 4)], bias.view("<u4"),
                            [{"kind": "row_order", "order": few.tolist()}]))
    return out


def double_quantized(writer):
    """bitsandbytes: table code of the block scale, a scale per 4 blocks, offset; every step rounded to binary32."""
    rng = random.Random(11)
    n, table = 64, np.linspace(-1, 1, 256).astype("<f4")
    codes = [rng.randrange(16) for _ in range(10 * n)]
    inner = [rng.randrange(256) for _ in range(10)]
    outer = np.array([rng.uniform(0.1, 3) for _ in range(3)], "<f4")
    offset = np.float32(0.7123)
    nf4 = np.array([int(v, 16) for v in R.F32_TABLE["nf4"].split()], "<u4").view("<f4")
    bits = []
    for k, code in enumerate(codes):
        scale = np.float32(np.float32(table[inner[k // n]] * outer[k // n // 4]) + offset)
        bits.append(R.round32(R.of_float(nf4[code]) * R.of_float(scale)))
    scheme = {"codes": {"kind": "table", "type": "u4", "table": "nf4"}, "flat": n, "rounded_scale": True, "scale_offset": True,
              "scales": [level("u8", [1, 0], custom_table=True), level("f32", [4, 0])]}
    planes = [("codes", pack_bits(codes, 4), 1), ("scales_0", bytes(inner), 1), ("scales_1", outer.tobytes(), 4),
              ("scale_table", table.tobytes(), 4), ("scale_offset", offset.tobytes(), 4)]
    return tensor_entry(writer, "double_quantized", [20, 32], scheme, "rows", planes, bits)


def expected(tensors, bits):
    return {t["name"]: {"shape": t["shape"], "fingerprint": t["fingerprint"], "bits": bits[t["name"]]} for t in tensors}


def smallest():
    return Writer().finish({"tensors": []})


def one_float(**overrides):
    writer = Writer()
    entry = tensor_entry(writer, "w", [2], {"codes": number("f32")}, "rows", [("codes", struct.pack("<ff", 1, -2), 4)],
                         [0x3F800000, 0xC0000000])
    return writer, entry, overrides


def valid_vectors():
    yield "smallest", smallest(), {}
    for compress in (False, True):
        suffix = "_zstd" if compress else ""
        writer = Writer(compress)
        tensors = float_tensors(writer)
        if compress:  # two chunks and a tail, compressible
            ramp = (np.arange(700001) % 251).astype("<f2")
            tensors.append(tensor_entry(writer, "ramp", [700001], {"codes": number("f16")}, "rows", [("codes", ramp.tobytes(), 2)],
                                        ramp.astype("<f4").view("<u4")))
        yield "float" + suffix, writer.finish({"tensors": tensors}), tensors
    for name, group in itertools.chain(quantized_vectors(), rounded_vectors()):
        writer = Writer()
        tensors = [q.entry(writer, n) for n, q in group.items()]
        yield name, writer.finish({"tensors": tensors}), tensors
    writer = Writer()
    tensors = transform_tensors(writer) + [double_quantized(writer)]
    yield "transforms", writer.finish({"tensors": tensors}), tensors
    yield "everything", *everything()


def everything():
    """Every optional member: attachments, aliases, metadata, source, an edited generation in slot B, a dead tail."""
    writer = Writer()
    attachments = [{"name": n, **writer.blob(raw)} for n, raw in (("hf/config.json", b"{}\n"), ("source/0/header", b"HEAD"), ("empty", b""))]
    entry = tensor_entry(writer, "model.embed_tokens.weight", [2, 2], {"codes": number("f32")}, "rows",
                         [("codes", struct.pack("<ffff", 1, 2, 3, 4), 4)], [0x3F800000, 0x40000000, 0x40400000, 0x40800000])
    content = b"HEAD" + struct.pack("<ffff", 1, 2, 3, 4) + b"\0\0{}"
    source = {"layout": "hf", "files": [{"path": "model.safetensors", "size": len(content), "hash": R.hash128(R.hash128(content)).hex(),
              "segments": [{"kind": "literal", "attachment": "source/0/header", "begin": 0, "size": 4},
                           {"kind": "tensor", "tensor": "model.embed_tokens.weight", "part": "raw", "size": 16},
                           {"kind": "zeros", "size": 4}],
              "patches": [{"offset": 22, "attachment": "hf/config.json", "begin": 0, "size": 2}]}]}
    index = {"tensors": [entry], "attachments": attachments, "aliases": {"lm_head.weight": "model.embed_tokens.weight"},
             "model": {"architecture": "llama", "norm_epsilon": "1e-05", "tied_embeddings": True},
             "metadata": {"general.name": "caf\u00e9 \"1\"\\\n"}, "source": source}
    first = writer.finish(index)
    index = {"ingot": 1, "chunk_bytes": CHUNK, "chunk_table": json.loads(first[struct.unpack_from("<Q", first, 544)[0]:])["chunk_table"],
             "layout": "hf", **index, "metadata": {"general.name": "edited"}}
    text = canonical(index)
    data = bytearray(first + b"\0" * (-len(first) % 64))
    at = len(data)
    data += text
    root = first[512 + 64:512 + 80]
    data[1024:1152] = slot(2, 1, 1, 0, 0, at, len(text), R.hash128(text), root, len(data))
    return bytes(data) + b"torn tail", [entry]


class SetFile:
    """A file of a set: its bytes, and what a manifest says of it."""

    def __init__(self, data, tensors):
        self.data, self.tensors = data, tensors
        self.root = data[512 + 48:512 + 64].hex()

    def named(self, path, **changes):
        return {"path": path, "root": self.root, "tensors": len(self.tensors), **changes}


def plain(writer, name, values):
    return tensor_entry(writer, name, [len(values)], {"codes": number("f32")}, "rows", [("codes", struct.pack(f"<{len(values)}f", *values), 4)],
                        [int(b) for b in np.array(values, "<f4").view("<u4")])


def set_member(*names, compress=False, index=None):
    """A member with small tensors; with `compress` one more of several chunks."""
    writer = Writer(compress)
    tensors = [plain(writer, name, [i + 1.0, -2.5]) for i, name in enumerate(names)]
    if compress:
        ramp = (np.arange(600001) % 17).astype("<f2")
        tensors.append(tensor_entry(writer, "z.ramp", [600001], {"codes": number("f16")}, "rows", [("codes", ramp.tobytes(), 2)],
                                    ramp.astype("<f4").view("<u4")))
    return SetFile(writer.finish({"tensors": tensors, **(index or {})}), tensors)


def manifest(members, index=None, own=(), attachments=(), required=2, **more):
    writer = Writer()
    blobs = [{"name": name, **writer.blob(raw)} for name, raw in attachments]
    tensors = [plain(writer, name, [7.0]) for name in own]
    index = {"tensors": tensors, "attachments": blobs, "set": {"members": members, **more}, **(index or {})}
    return SetFile(writer.finish(index, required=required), tensors)


def set_of_two():
    """A manifest with a tensor of its own, aliases and a restore recipe that name tensors of its members, one of them in a folder."""
    first, second = set_member("m.b", "m.a"), set_member("k.c", compress=True)
    content = b"HEAD" + struct.pack("<ff", 1.0, -2.5)
    source = {"layout": "hf", "files": [{"path": "model.safetensors", "size": len(content), "hash": R.hash128(R.hash128(content)).hex(),
              "segments": [{"kind": "literal", "attachment": "source/0/header", "begin": 0, "size": 4},
                           {"kind": "tensor", "tensor": "m.b", "part": "raw", "size": 8}]}]}
    index = {"source": source, "aliases": {"lm_head.weight": "k.c"}, "metadata": {"general.name": "set"}}
    members = [first.named("set-members/first.ingot"), second.named("set-members/deeper/second.ingot")]
    return manifest(members, index, ["own"], [("source/0/header", b"HEAD")]), first, second


def edited(data):
    """The same file after a metadata edit: a new index in slot B."""
    old = slot_fields(data)
    index = json.loads(data[old["offset"]:old["offset"] + old["size"]])
    index["metadata"] = {"note": "edited"}
    text, out = canonical(index), bytearray(data + b"\0" * (-len(data) % 64))
    old.update(generation=2, offset=len(out), size=len(text), index_hash=R.hash128(text), file_size=len(out) + len(text))
    out += text
    out[1024:1152] = slot(**old)
    return bytes(out)


def slot_fields(data):
    names = ("generation", "read", "write", "required", "optional", "offset", "size")
    return {**dict(zip(names, struct.unpack_from("<QIIQQQQ", data, 512))), "index_hash": data[560:576], "root": data[576:592],
            "file_size": struct.unpack_from("<Q", data, 592)[0]}


def invalid_set_members():
    """Files beside the invalid manifests, by path."""
    first = set_member("m.b", "m.a")
    inner = set_member("x.inner")
    entry = first.tensors[0]
    recipe = {"layout": "hf", "files": [{"path": "f", "size": 8, "hash": "0" * 32,
              "segments": [{"kind": "tensor", "tensor": entry["name"], "part": "raw", "size": 8}]}]}
    flipped = bytearray(first.data)
    flipped[4096] ^= 1
    return {
        "first": first, "other": set_member("m.c"), "again": set_member("m.a"),
        "edited": SetFile(edited(first.data), first.tensors), "cut": SetFile(first.data[:-1], first.tensors),
        "flipped": SetFile(bytes(flipped), first.tensors), "foreign": SetFile(b"GGUF" + first.data[4:], first.tensors),
        "inner": inner, "nested": manifest([inner.named("inner.ingot")]),
        "aliases": set_member("m.d", index={"aliases": {"e": "m.d"}}), "source": set_member("m.b", index={"source": recipe}),
        "attachment": member_with_attachment(),
    }


def member_with_attachment():
    writer = Writer()
    blob = {"name": "hf/config.json", **writer.blob(b"{}")}
    return SetFile(writer.finish({"tensors": [], "attachments": [blob]}), [])


def invalid_sets(files):
    def named(name, **changes):
        return files[name].named(f"set-members/{name}.ingot", **changes)

    def of(*members, **more):
        return manifest(list(members), **more).data

    first = named("first")
    yield "io__set_member_missing", of(first, {**first, "path": "set-members/absent.ingot"})
    yield "io__set_member_is_a_directory", of({**first, "path": "set-members"})
    yield "mismatch__set_member_exchanged", of({**named("other"), "root": files["first"].root})
    yield "mismatch__set_member_edited", of(named("edited"))
    yield "truncated__set_member", of(named("cut"))
    yield "bad_magic__set_member", of(named("foreign"))
    yield "bad_checksum__set_member_chunk", of(named("flipped"))
    yield "invalid_value__set_tensor_count", of(named("first", tensors=3))
    yield "invalid_value__set_negative_count", of(named("first", tensors=-2))
    yield "invalid_value__set_tensor_twice", of(first, named("again"))
    yield "invalid_value__set_tensor_twice_in_manifest", of(first, own=["m.a"])
    yield "invalid_value__set_member_twice", of(first, first)
    yield "invalid_value__set_nested", of(first, named("nested"))
    yield "invalid_value__set_of_itself", of({**first, "path": "invalid_value__set_of_itself.ingot"})
    yield "invalid_value__set_without_members", of()
    yield "invalid_value__set_unknown_field", of(first, more=1)
    yield "invalid_value__set_member_unknown_field", of({**first, "size": len(files["first"].data)})
    yield "invalid_value__set_member_without_root", of({"path": first["path"], "tensors": 2})
    yield "invalid_value__set_root_in_upper_case", of(named("first", root="A" * 32))
    yield "invalid_value__set_short_root", of(named("first", root="0" * 31))
    yield "invalid_value__set_not_an_object", manifest([], {"set": [first]}).data
    yield "invalid_value__set_feature_bit_clear", of(first, required=0)
    yield "invalid_value__set_feature_bit_without_set", SetFile(Writer().finish({"tensors": []}, required=2), []).data
    for name, path in (("above", "../invalid/set-members/first.ingot"), ("absolute", "/set-members/first.ingot"), ("empty", ""),
                       ("dot", "./set-members/first.ingot"), ("twice_slash", "set-members//first.ingot"),
                       ("backslash", "set-members\\first.ingot"), ("nul", "set-members/first.ingot\0")):
        yield f"invalid_value__set_path_{name}", of({**first, "path": path})
    yield "limit_exceeded__set_path", of({**first, "path": "x" * 4097})
    yield "invalid_value__set_member_with_aliases", of(named("aliases"))
    yield "invalid_value__set_member_with_attachment", of(named("attachment"))
    yield "invalid_value__set_member_with_source", of(named("source"))
    yield "invalid_value__set_alias_to_nothing", of(first, index={"aliases": {"a": "m.z"}})
    yield "invalid_value__set_alias_of_tensor", of(first, index={"aliases": {"m.a": "m.b"}})
    yield "invalid_value__set_source_of_nothing", of(first, index={"source": {"layout": "hf", "files": [
        {"path": "f", "size": 8, "hash": "0" * 32, "segments": [{"kind": "tensor", "tensor": "m.z", "part": "raw", "size": 8}]}]}})


def invalid_vectors():
    base = next(data for name, data, _ in valid_vectors() if name == "affine")
    small = smallest()

    def patch(data, at, raw):
        data = bytearray(data)
        data[at:at + len(raw)] = raw
        return bytes(data)

    def build(index=None, change=None, **overrides):
        writer, entry, _ = one_float()
        if change:
            change(entry)
        return writer.finish({"tensors": [entry], **(index or {})}, **overrides)

    def of_bytes(shape, contract, codes=8, packing="rows", transforms=None, scales=0):
        """Nothing is wrong but the combination: the planes have the sizes that it asks for."""
        writer = Writer()
        planes = [("codes", bytes(codes), 0)] + ([("scales_0", bytes(scales), 0)] if scales else [])
        entry = tensor_entry(writer, "w", shape, contract, packing, planes, [0] * int(np.prod(shape)), transforms)
        return writer.finish({"tensors": [entry]})

    def scheme(**fields):
        return build(change=lambda e: e["scheme"].update(fields))

    yield "bad_magic__png", patch(small, 0, b"\x89PNG\r\n\x1a\n")
    yield "truncated__header_page", small[:4095]
    yield "truncated__empty", b""
    yield "truncated__last_byte", base[:-1]
    yield "unsupported_version__header", patch(small, 8, b"\2")
    yield "unsupported_version__read_version", build(read=2)
    yield "unsupported_version__feature", build(required=1 << 40)
    yield "bad_checksum__slot", patch(small, 520, b"\3")
    yield "bad_checksum__no_slot", patch(small, 512, b"\0" * 128)
    yield "bad_checksum__index", patch(small, len(small) - 1, b"]")
    yield "bad_checksum__chunk", patch(base, 4100, bytes([base[4100] ^ 1]))
    yield "bad_checksum__data_root", build(root=b"\0" * 16)
    yield "invalid_value__equal_generations", patch(small, 1024, small[512:640])
    yield "invalid_value__index_offset", build(offset=4097)
    yield "invalid_value__not_canonical", Writer().finish({"tensors": []}, text=b" " + small[4096:])
    yield "invalid_value__not_json", build(text=b'{"ingot":1')
    yield "invalid_value__not_an_object", build(text=b"[]")
    yield "invalid_value__duplicate_member", build(text=b'{"a":1,"a":1}')
    yield "invalid_value__float_number", build({"metadata": {"a": 1.5}})
    yield "invalid_value__null", build({"metadata": {"a": None}})
    yield "invalid_value__bad_utf8", build(text=b'{"a":"\xff"}')
    yield "limit_exceeded__depth", build(text=b'{"a":' + b"[" * 40 + b"]" * 40 + b"}")
    yield "invalid_value__tensor_twice", twice()
    yield "invalid_value__empty_name", build(change=lambda e: e.update(name=""))
    yield "limit_exceeded__long_name", build(change=lambda e: e.update(name="x" * 1025))
    yield "limit_exceeded__rank", build(change=lambda e: e.update(shape=[1] * 9))
    yield "limit_exceeded__elements", build(change=lambda e: e.update(shape=[1 << 30, 1 << 30]))
    yield "invalid_value__negative_extent", build(change=lambda e: e.update(shape=[-2]))
    yield "invalid_value__plane_size", build(change=lambda e: e.update(shape=[3]))
    yield "invalid_value__plane_role", build(change=lambda e: e["planes"][0].update(role="scales_0"))
    yield "invalid_value__plane_missing", build(change=lambda e: e.update(planes=[]))
    yield "invalid_value__unknown_member", build(change=lambda e: e.update(surprise=1))
    yield "invalid_value__unknown_packing", build(change=lambda e: e.update(packing="spiral"))
    yield "invalid_value__unknown_type", scheme(codes=number("f31"))
    yield "invalid_value__unknown_table", of_bytes([8], {"codes": {"kind": "table", "type": "u8", "table": "nope"}})
    yield "invalid_value__plain_tiles", of_bytes([1, 2], {"codes": number("u8")}, 64, "tiles")
    yield "invalid_value__transposed_blocks", of_bytes([2, 4], {"codes": number("i8"), "scales": [level("f16", [1, 0])]},
                                                       transforms=[{"kind": "transpose"}], scales=8)
    yield "invalid_value__add_one_of_integers", of_bytes([8], {"codes": number("i8")}, transforms=[{"kind": "add_one"}])
    yield "limit_exceeded__minimum_levels", scheme(offset={"kind": "minimum", "levels": [level("u8", [1, 0])] * 3})
    yield "invalid_value__zero_multiply", scheme(codes=number("u8"), scales=[level("u4", [1, 0], multiply=0)])
    yield "invalid_value__integer_bias", scheme(offset={"kind": "bias", "levels": [level("u8", [1, 0])]})
    yield "invalid_value__rounded_without_scales", scheme(rounded_scale=True)
    yield "invalid_value__steps_without_scales", scheme(rounded_steps=True)
    yield "invalid_value__steps_and_rounded_scale", misrounded(rounded_steps=True, rounded_scale=True)
    yield "invalid_value__steps_and_scale_offset", misrounded(rounded_steps=True, scale_offset=True)
    yield "invalid_value__steps_and_shift", misrounded(rounded_steps=True, shift=1)
    yield "invalid_value__divide_unrounded", misrounded(divide=True)
    yield "invalid_value__divide_in_steps", misrounded(divide=True, rounded_steps=True)
    yield "invalid_value__divide_integer", misrounded("u8", divide=True, rounded_scale=True)
    yield "invalid_value__divide_bias", misrounded(offset={"kind": "bias", "levels": [level("f32", [1, 0], divide=True)]}, rounded_scale=True)
    yield "invalid_value__small_float_zero_points", misrounded(offset={"kind": "zero_points", "levels": [level("e4m3", [1, 0])]})
    yield "invalid_value__unknown_transform", build(change=lambda e: e.update(transforms=[{"kind": "rotate"}]))
    yield "invalid_value__rope_heads", build(change=lambda e: e.update(transforms=[{"kind": "rope_interleave", "heads": 3}]))
    repeated, short = {"kind": "row_order", "order": [0, 0]}, {"kind": "row_order", "order": [0]}
    yield "invalid_value__row_order_twice_the_same", build(change=lambda e: e.update(transforms=[repeated]))
    yield "invalid_value__row_order_too_short", build(change=lambda e: e.update(transforms=[short]))
    yield "invalid_value__column_order_of_a_vector", build(change=lambda e: e.update(transforms=[{"kind": "column_order", "order": [1, 0]}]))
    yield "invalid_value__alias_to_nothing", build({"aliases": {"a": "b"}})
    yield "invalid_value__alias_of_tensor", build({"aliases": {"w": "w"}})
    yield "invalid_value__misaligned_plane", build(change=lambda e: e["planes"][0].update(offset=4100))
    yield "invalid_value__plane_in_header", build(change=lambda e: e["planes"][0].update(offset=1024))
    yield "invalid_value__plane_beyond_end", build(change=lambda e: e["planes"][0].update(offset=1 << 40))
    yield "invalid_value__chunk_rows", build(change=lambda e: e["planes"][0].update(first_chunk=5))
    yield "invalid_value__source_path", build({"source": {"layout": "hf", "files": [
        {"path": "../../etc/passwd", "size": 0, "hash": "0" * 32, "segments": []}]}})
    yield "invalid_value__source_absolute", build({"source": {"layout": "hf", "files": [
        {"path": "/etc/passwd", "size": 0, "hash": "0" * 32, "segments": []}]}})
    yield "invalid_value__source_sizes", build({"source": {"layout": "hf", "files": [
        {"path": "a", "size": 5, "hash": "0" * 32, "segments": [{"kind": "zeros", "size": 4}]}]}})


def twice():
    writer, entry, _ = one_float()
    return writer.finish({"tensors": [entry, entry]})


def misrounded(dtype="f32", divide=None, offset=None, **flags):
    """A file with the right planes whose only fault is a combination of flags."""
    writer = Writer()
    tensor = Quantized(random.Random(1), 2, 8, number("i8"), [level(dtype, [1, 0])], offset)
    if flags.get("scale_offset"):
        tensor.planes.append(("scale_offset", struct.pack("<f", 1), 4))
    entry = tensor.entry(writer, "w")
    entry["scheme"].update(flags)
    if divide:
        entry["scheme"]["scales"][0]["divide"] = True
    return writer.finish({"tensors": [entry]})


def main(directory):
    np.seterr(all="ignore")  # infinities and NaN are wanted
    for folder in ("valid", "invalid"):
        os.makedirs(os.path.join(directory, folder), exist_ok=True)
    bits = {}
    original = globals()["tensor_entry"]

    def recording(writer, name, shape, scheme, packing, planes, values, transforms=None):
        bits[name] = "".join(f"{int(v):08x}" for v in values) if len(values) < 20000 else ""
        return original(writer, name, shape, scheme, packing, planes, values, transforms)
    globals()["tensor_entry"] = recording

    def write(data, *path):
        os.makedirs(os.path.dirname(os.path.join(directory, *path)), exist_ok=True)
        with open(os.path.join(directory, *path), "wb") as out:
            out.write(data)

    def write_valid(name, data, tensors):
        write(data, "valid", name + ".ingot")
        with open(os.path.join(directory, "valid", name + ".json"), "w") as out:
            json.dump(expected(tensors or [], bits), out, indent=0)
    for name, data, tensors in valid_vectors():
        write_valid(name, data, tensors)
    whole, first, second = set_of_two()
    write_valid("set", whole.data, whole.tensors + first.tensors + second.tensors)
    write(first.data, "valid", "set-members", "first.ingot")
    write(second.data, "valid", "set-members", "deeper", "second.ingot")
    files = invalid_set_members()
    for name, file in files.items():
        write(file.data, "invalid", "set-members", name + ".ingot")
    for name, data in [*invalid_vectors(), *invalid_sets(files)]:
        write(data, "invalid", name + ".ingot")


if __name__ == "__main__":
    main(sys.argv[1])
