#!/usr/bin/env python3
"""Independent reader of .ingot files, written from spec/*.md alone (Python 3, numpy; libxxhash and libzstd through ctypes).

It checks everything a verifying reader must and decodes with exact rational arithmetic: slow, short, and nothing like the C++ code.
    ingot_reader.py FILE            prints one line per tensor: name, shape, fingerprint
Exit code 0, or 1 with "<kind>: <message>" on standard error.
"""
import ctypes
import ctypes.util
import json
import os
import struct
import sys
from fractions import Fraction

import numpy as np


class IngotError(Exception):
    def __init__(self, kind, message):
        super().__init__(f"{kind}: {message}")
        self.kind = kind


def check(condition, kind, message):
    if not condition:
        raise IngotError(kind, message)


# --- hashes and zstd -------------------------------------------------------------------------------------------------------------
class _Hash(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


_xxh = ctypes.CDLL(ctypes.util.find_library("xxhash") or "libxxhash.so.0")
_xxh.XXH3_128bits.restype, _xxh.XXH3_128bits.argtypes = _Hash, [ctypes.c_char_p, ctypes.c_size_t]
_xxh.XXH3_64bits.restype, _xxh.XXH3_64bits.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]
_zstd = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
_zstd.ZSTD_decompress.restype = ctypes.c_size_t
_zstd.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]


def hash128(data):
    h = _xxh.XXH3_128bits(bytes(data), len(data))
    return struct.pack(">QQ", h.high, h.low)


def unzstd(data, raw_size):
    out = ctypes.create_string_buffer(max(raw_size, 1))
    got = _zstd.ZSTD_decompress(out, raw_size, bytes(data), len(data))
    check(got == raw_size, "invalid_value", "a zstd chunk does not decompress to its raw size")
    return out.raw[:raw_size]


# --- element types (schemes/README.md section 3) ------------------------------------------------------------------------------------
def small_float(exponent_bits, mantissa_bits, bias, nan, inf=()):
    """All values of a small float format as Fractions (None = NaN, 'inf'/'-inf')."""
    width = 1 + exponent_bits + mantissa_bits
    values = []
    for code in range(1 << width):
        sign = -1 if code >> (width - 1) else 1
        e, m = (code >> mantissa_bits) & ((1 << exponent_bits) - 1), code & ((1 << mantissa_bits) - 1)
        if code in nan:
            values.append(None)
        elif code in inf:
            values.append("inf" if sign > 0 else "-inf")
        elif e == 0:
            values.append(sign * Fraction(m, 1 << mantissa_bits) * Fraction(2) ** (1 - bias))
        else:
            values.append(sign * (1 + Fraction(m, 1 << mantissa_bits)) * Fraction(2) ** (e - bias))
    return values


SMALL = {
    "e4m3": small_float(4, 3, 7, {0x7F, 0xFF}),
    "e5m2": small_float(5, 2, 15, {0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF}, {0x7C, 0xFC}),
    "e4m3fnuz": small_float(4, 3, 8, {0x80}),
    "e5m2fnuz": small_float(5, 2, 16, {0x80}),
    "e3m2": small_float(3, 2, 3, set()),
    "e2m3": small_float(2, 3, 1, set()),
    "e2m1": small_float(2, 1, 1, set()),
    "e8m0": [Fraction(2) ** (s - 127) for s in range(255)] + [None],
}
WIDE = {"f64": "<f8", "f32": "<f4", "f16": "<f2", "i64": "<i8", "i32": "<i4", "i16": "<i2", "i8": "i1",
        "u64": "<u8", "u32": "<u4", "u16": "<u2", "u8": "u1", "bool": "u1", "bf16": "<u2", "c64": "<u8"}
BITS = {"f64": 64, "f32": 32, "f16": 16, "bf16": 16, "e4m3": 8, "e5m2": 8, "e4m3fnuz": 8, "e5m2fnuz": 8, "e3m2": 6, "e2m3": 6,
        "e2m1": 4, "e8m0": 8, "i64": 64, "i32": 32, "i16": 16, "i8": 8, "u64": 64, "u32": 32, "u16": 16, "u8": 8, "bool": 8,
        "u1": 1, "u2": 2, "u3": 3, "u4": 4, "u5": 5, "u6": 6, "u7": 7,
        "u9": 9, "u10": 10, "u11": 11, "c64": 64}
FLOATS = {"f64", "f32", "f16", "bf16"} | set(SMALL)
F32_TABLE = {
    "nf4": "bf800000 bf3239b1 bf066b30 beca32a0 be91a24d be3d353f bdba7871 00000000 "
           "3da2faff 3e24cae3 3e7c04dd 3ead033a 3ee1a4b8 3f1007ab 3f3913b3 3f800000",
    "fp4": "00000000 3baaaaab 3f2aaaab 3f800000 3eaaaaab 3f000000 3e2aaaab 3e800000 "
           "80000000 bbaaaaab bf2aaaab bf800000 beaaaaab bf000000 be2aaaab be800000",
}
INT_TABLE = {"iq4nl": [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], "binary": [-1, 1]}


def of_float(value):
    value = float(value)
    if value != value:
        return None
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    return Fraction(value)


def number(code, dtype):
    """Stored element (an unsigned integer of the type's width) -> Fraction, 'inf', '-inf' or None (NaN)."""
    if dtype in SMALL:
        return SMALL[dtype][code]
    if dtype == "bf16":
        return of_float(np.array([code << 16], "<u4").view("<f4")[0])
    if dtype in ("f16", "f32", "f64"):
        return of_float(np.array([code], "<u%d" % (BITS[dtype] // 8)).view(WIDE[dtype])[0])
    if dtype.startswith("i"):
        return Fraction(code - (1 << BITS[dtype]) if code >> (BITS[dtype] - 1) else code)
    return Fraction(code)


def multiply(a, b):
    if a is None or b is None:
        return None
    if isinstance(a, str) or isinstance(b, str):
        sign = 1
        for x in (a, b):
            if x == 0:
                return None
            sign = -sign if (x == "-inf" or (not isinstance(x, str) and x < 0)) else sign
        return "inf" if sign > 0 else "-inf"
    return a * b


def add(a, b):
    if a is None or b is None or (isinstance(a, str) and isinstance(b, str) and a != b):
        return None
    return a if isinstance(a, str) else b if isinstance(b, str) else a + b


def round32(x):
    """Exact value -> binary32 bits, rounded once to nearest even; -0 never arises, NaN is canonical."""
    if x is None:
        return 0x7FC00000
    if isinstance(x, str):
        return 0x7F800000 if x == "inf" else 0xFF800000
    if x == 0:
        return 0
    sign, x = (0x80000000, -x) if x < 0 else (0, x)
    exponent = x.numerator.bit_length() - x.denominator.bit_length()
    exponent = max(exponent - (Fraction(2) ** exponent > x), -126)
    steps = round(x / Fraction(2) ** (exponent - 23))  # Fraction rounds halves to even
    if steps == 0:
        return 0
    return sign | min(((exponent + 126) << 23) + steps, 0x7F800000)  # the implicit bit and a carry add themselves to the exponent


def from_bits(bits):
    return of_float(np.array([bits], "<u4").view("<f4")[0])


def to32(x):
    """Exact value -> numpy's binary32, rounded once: the operands of rounded_scale and rounded_steps."""
    return np.array([round32(x)], "<u4").view("<f4")[0]


def element32(code, dtype):
    """A stored element in binary32. Unlike number() it keeps the sign of a stored zero, which counts in a division."""
    value = to32(number(code, dtype))
    signed = dtype in FLOATS and dtype not in ("e8m0", "e4m3fnuz", "e5m2fnuz")
    return -value if value == 0 and signed and code >> (BITS[dtype] - 1) else value


# --- planes (planes.md) ---------------------------------------------------------------------------------------------------------------
SLICES = {1: [1], 2: [2], 3: [2, 1], 4: [4], 5: [4, 1], 6: [4, 2], 7: [4, 2, 1], 8: [8]}
WHOLE_ROLES = {"table", "scale_table", "scale_offset", "permutation", "group_index"}
CODE_ROLES = ["codes", "codes_high", "codes_top"]
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "schemes", "grids.json")) as _file:
    GRIDS = json.load(_file)


def ceil_div(a, b):
    return -(-a // b)


def bitstream(data, bits, count):
    """`count` elements of `bits` bits, lowest bits first."""
    if bits % 8 == 0:
        return np.frombuffer(bytes(data), "<u%d" % (bits // 8), count).astype(object)
    stream = np.unpackbits(np.frombuffer(bytes(data), np.uint8), bitorder="little")[: count * bits].reshape(count, bits)
    return (stream.astype(np.int64) << np.arange(bits)).sum(1).astype(object)


class Geometry:
    def __init__(self, shape, scheme, packing):
        self.elements = int(np.prod([int(x) for x in shape], dtype=object)) if shape else 1
        flat = scheme.get("flat", 0)
        if flat:
            self.matrices, self.rows, self.cols = 1, ceil_div(self.elements, flat), flat
        else:
            self.cols = shape[-1] if shape else 1
            self.rows = shape[-2] if len(shape) > 1 else 1
            self.matrices = int(np.prod([int(x) for x in shape[:-2]], dtype=object)) if len(shape) > 2 else 1
        self.tiles = packing == "tiles"
        self.height = 16 if self.tiles else 1
        self.units = self.matrices * ceil_div(self.rows, self.height)
        check(not self.tiles or may_be_tiles(scheme), "invalid_value", "packing tiles of this scheme")


def is_plain(scheme):
    """Nothing but number codes."""
    return scheme["codes"]["kind"] == "number" and not any(
        scheme.get(name) for name in ("scales", "offset", "flat", "shift")) and "order" not in scheme


def may_be_tiles(scheme):
    codes = scheme["codes"]
    return codes["kind"] in ("number", "table") and BITS[codes["type"]] <= 8 and not scheme.get("flat") and not is_plain(scheme)


def parameter_extent(geometry, block):
    rows, cols = (ceil_div(extent, size) if size else 1 for extent, size in zip((geometry.rows, geometry.cols), block))
    return rows, cols


def grid_of(codes):
    check(codes["table"] in GRIDS, "unsupported", f"grid {codes['table']}")
    grid = GRIDS[codes["table"]]
    check(grid["entries"] == 1 << BITS[codes["type"]], "invalid_value", f"codes of type {codes['type']} for grid {codes['table']}")
    return grid


def grid_entries(grid):
    """schemes/grid.md: the set of numbers whose digits select the values of an entry."""
    bitmap, values = bytes.fromhex("".join(grid["bitmap"])), grid["values"]
    chosen = (p for p in range(len(values) ** grid["width"]) if bitmap[p >> 3] >> (p & 7) & 1)
    return [[values[p // len(values) ** k % len(values)] for k in range(grid["width"])] for p in chosen]


def grid_matrix(geometry, scheme, planes):
    """(matrices*rows, cols) array of signed grid entries."""
    g, grid, bits = geometry, grid_of(scheme["codes"]), BITS[scheme["codes"]["type"]]
    entries, rows = grid_entries(grid), g.matrices * g.rows

    def row_elements(plane, row, width, count):
        stride = ceil_div(count * width, 8)
        return [int(x) for x in bitstream(planes[plane][row * stride:(row + 1) * stride], width, count)]

    out = np.zeros((rows, g.cols), object)
    for row in range(rows):
        indexes = row_elements("codes", row, bits, g.cols // grid["width"])
        signs = row_elements("signs", row, grid["sign_bits"], g.cols // 8) if grid["sign_bits"] else [0] * (g.cols // 8)
        if grid["sign_bits"] == 7:
            signs = [s | (bin(s).count("1") & 1) << 7 for s in signs]
        values = [v for index in indexes for v in entries[index]]
        out[row] = [-v if signs[c // 8] >> (c % 8) & 1 else v for c, v in enumerate(values)]
    return out


def plane_sizes(geometry, scheme):
    """The derived plane list: [(role, bytes)]."""
    g, codes = geometry, scheme["codes"]
    bits, planes = BITS[codes["type"]], []
    if codes["kind"] == "grid":
        grid = grid_of(codes)
        check(g.cols % 8 == 0, "invalid_value", "grid codes need a multiple of 8 columns")
        planes.append(("codes", g.matrices * g.rows * ceil_div(g.cols // grid["width"] * bits, 8)))
        if grid["sign_bits"]:
            planes.append(("signs", g.matrices * g.rows * ceil_div(g.cols // 8 * grid["sign_bits"], 8)))
    elif g.tiles:
        for role, width in zip(CODE_ROLES, SLICES[bits]):
            planes.append((role, g.units * ceil_div(g.cols, 32 // width) * 64))
    else:
        planes.append(("codes", g.units * ceil_div(g.cols * bits, 8)))

    def parameter(role, level):
        rows, cols = parameter_extent(g, level["block"])
        width = BITS[level["type"]]
        if level["block"][0] != 1:
            planes.append((role, ceil_div(g.matrices * rows * cols * width, 8)))
        else:
            planes.append((role, g.units * ceil_div(cols * g.height * width, 8)))

    for i, level in enumerate(scheme.get("scales", [])):
        parameter(f"scales_{i}", level)
    offset = scheme.get("offset", {})
    names = {"zero_points": ["zero_points"], "bias": ["biases"], "minimum": ["mins_0", "mins_1"]}
    for role, level in zip(names.get(offset.get("kind"), []), offset.get("levels", [])):
        parameter(role, level)
    if codes.get("table") == "custom":
        planes.append(("table", 4 << bits))
    for level in scheme.get("scales", []):
        if level.get("custom_table"):
            planes.append(("scale_table", 4 << BITS[level["type"]]))
    if scheme.get("scale_offset"):
        planes.append(("scale_offset", 4))
    if scheme.get("order") == "permutation":
        check(g.cols <= 1 << 32, "invalid_value", "a permutation of more than 2^32 columns")
        planes.append(("permutation", 4 * g.cols))
    if scheme.get("order") == "group_index":
        planes.append(("group_index", 4 * g.cols))
    for role, size in planes:
        check(size <= MAX, "limit_exceeded", f"bytes of plane {role}")
    return planes


def code_matrix(geometry, scheme, planes):
    """(matrices*rows, cols) array of stored codes."""
    g, bits = geometry, BITS[scheme["codes"]["type"]]
    if not g.tiles:
        stride = ceil_div(g.cols * bits, 8)
        rows = [bitstream(planes["codes"][r * stride:(r + 1) * stride], bits, g.cols) for r in range(g.units)]
        return np.array(rows, object).reshape(g.units, g.cols)
    out = np.zeros((g.units * 16, g.cols), object)
    low, shift = SLICES[bits][0], 0
    for role, width in zip(CODE_ROLES, SLICES[bits]):
        words = np.frombuffer(planes[role], "<u4").reshape(g.units, -1, 16)
        per_word, fields_low = 32 // width, 8 // low
        for column in range(g.cols):
            word, inside = divmod(column, per_word)
            if role == "codes":
                at = inside * width
            else:  # field f of byte b holds input 4*F*(f div F) + F*b + f mod F
                f, b = next((f, b) for f in range(8 // width) for b in range(4)
                            if 4 * fields_low * (f // fields_low) + fields_low * b + f % fields_low == inside)
                at = 8 * b + width * f
            values = (words[:, word, :] >> np.uint32(at)) & np.uint32((1 << width) - 1)
            out[:, column] += values.reshape(-1).astype(object) << shift
        shift += width
    per_matrix = ceil_div(g.rows, 16) * 16
    return out.reshape(g.matrices, per_matrix, g.cols)[:, : g.rows].reshape(-1, g.cols)


def parameter_matrix(geometry, level, data):
    """(matrices, parameter rows, parameter cols) array of stored elements."""
    g, width = geometry, BITS[level["type"]]
    rows, cols = parameter_extent(g, level["block"])
    if level["block"][0] != 1:
        return bitstream(data, width, g.matrices * rows * cols).reshape(g.matrices, rows, cols)
    stride = ceil_div(cols * g.height * width, 8)
    units = [bitstream(data[u * stride:(u + 1) * stride], width, cols * g.height) for u in range(g.units)]
    if not g.tiles:
        return np.array(units, object).reshape(g.matrices, g.rows, cols)
    tiles = np.array(units, object).reshape(g.matrices, -1, cols, 16).transpose(0, 1, 3, 2)
    return tiles.reshape(g.matrices, -1, cols)[:, : g.rows]


def decode_stored(shape, scheme, packing, planes):
    """binary32 bits of the stored tensor, flat, row-major."""
    g, codes = Geometry(shape, scheme, packing), scheme["codes"]
    check(codes["kind"] != "opaque", "unsupported", f"codes of kind {codes['kind']}")
    if codes["kind"] == "number" and not scheme.get("scales") and not scheme.get("offset") and codes["type"] in ("f32", "f16", "bf16") \
            and not g.tiles:
        raw = np.frombuffer(planes["codes"], WIDE[codes["type"]])
        bits = raw.astype("<u4") << 16 if codes["type"] == "bf16" else raw.astype("<f4").view("<u4").copy()
        bits[(bits & 0x7FFFFFFF) == 0] = 0
        bits[(bits & 0x7FFFFFFF) > 0x7F800000] = 0x7FC00000
        return bits[: g.elements]
    order = scheme.get("order", "identity")
    if not g.elements and order == "identity":
        return np.zeros(0, "<u4")
    stored = grid_matrix(g, scheme, planes) if codes["kind"] == "grid" else code_matrix(g, scheme, planes)
    table = None
    if codes["kind"] == "table":
        name = codes["table"]
        table = ([Fraction(v) for v in INT_TABLE[name]] if name in INT_TABLE else
                 [from_bits(int(v, 16)) for v in F32_TABLE[name].split()] if name in F32_TABLE else
                 [of_float(v) for v in np.frombuffer(planes["table"], "<f4")])
    position = list(range(g.cols))
    if order == "permutation":
        permutation = np.frombuffer(planes["permutation"], "<u4")
        check(sorted(permutation.tolist()) == position, "invalid_value", "the permutation is not one")
        position = np.argsort(permutation).tolist()  # logical column -> stored column
    group = np.frombuffer(planes["group_index"], "<u4").tolist() if order == "group_index" else None

    def level_value(level, element):
        if level.get("custom_table"):
            return of_float(np.frombuffer(planes["scale_table"], "<f4")[element])
        value = number(element, level["type"])
        return value if level["type"] in FLOATS else value * level.get("multiply", 1) + level.get("add", 0)

    def level32(level, element):
        if level.get("custom_table"):
            return np.frombuffer(planes["scale_table"], "<f4")[element]
        return element32(element, level["type"]) if level["type"] in FLOATS else to32(level_value(level, element))

    def lookup(level, role, value=level_value):
        matrix = parameter_matrix(g, level, planes[role])
        rows, cols = level["block"][0] or max(g.rows, 1), level["block"][1] or max(g.cols, 1)

        def at(m, r, c):
            column = group[c] if group is not None and level["block"][1] else position[c] // cols
            check(column < matrix.shape[2], "invalid_value", "group_index points outside the parameters")
            return value(level, matrix[m, r // rows, column])
        return at

    rounded, steps = scheme.get("rounded_scale"), scheme.get("rounded_steps")
    scales = [lookup(level, f"scales_{i}", level32 if rounded or steps else level_value) for i, level in enumerate(scheme.get("scales", []))]
    offset = scheme.get("offset", {"kind": "none"})
    roles = {"zero_points": ["zero_points"], "bias": ["biases"], "minimum": ["mins_0", "mins_1"]}.get(offset["kind"], [])
    offsets = [lookup(level, role, level32 if steps else level_value) for level, role in zip(offset.get("levels", []), roles)]

    def rounded_scale(m, r, c):
        scale = np.float32(1)
        for level, at in zip(scheme["scales"], scales):
            scale = scale / at(m, r, c) if level.get("divide") else scale * at(m, r, c)
        return scale + np.frombuffer(planes["scale_offset"], "<f4")[0] if scheme.get("scale_offset") else scale

    def stepped(code, m, r, c):
        value = to32(code) - (offsets[0](m, r, c) if offset["kind"] == "zero_points" else np.float32(offset.get("zero", 0)))
        for at in scales:
            value = value * at(m, r, c)
        if offset["kind"] == "bias":
            value = value + offsets[0](m, r, c)
        if offset["kind"] == "minimum":
            low = offsets[0](m, r, c)
            for at in offsets[1:]:
                low = low * at(m, r, c)
            value = value - low
        return value

    def exact(value, m, r, c):
        if offset["kind"] == "zero":
            value = add(value, Fraction(-offset["zero"]))
        if offset["kind"] == "zero_points":
            value = add(value, multiply(Fraction(-1), offsets[0](m, r, c)))
        if rounded:
            value = multiply(value, of_float(rounded_scale(m, r, c)))
        else:
            scale = Fraction(1)
            for at in scales:
                scale = multiply(scale, at(m, r, c))
            value = multiply(value, scale)
        value = multiply(value, Fraction(2) ** scheme.get("shift", 0))
        if offset["kind"] == "bias":
            value = add(value, offsets[0](m, r, c))
        if offset["kind"] == "minimum":
            low = Fraction(1)
            for at in offsets:
                low = multiply(low, at(m, r, c))
            value = add(value, multiply(Fraction(-1), low))
        return value

    out = np.zeros(g.matrices * g.rows * g.cols, "<u4")
    for index in range(out.size):
        row, c = divmod(index, g.cols)
        m, r = divmod(row, g.rows)
        code = stored[row, position[c]]
        value = Fraction(code) if codes["kind"] == "grid" else table[code] if table else number(code, codes["type"])
        with np.errstate(all="ignore"):
            value = of_float(stepped(value, m, r, c)) if steps else exact(value, m, r, c)
        out[index] = round32(value)
    return out[: g.elements]


def undo_transforms(bits, logical_shape, transforms):
    shapes = [list(logical_shape)]  # before each transform
    for t in transforms:
        shape = shapes[-1]
        shapes.append(shape[:-2] + [shape[-1], shape[-2]] if t["kind"] == "transpose" else shape)
    for t, shape in reversed(list(zip(transforms, shapes))):
        if t["kind"] == "transpose":
            bits = bits.reshape(-1, shape[-1], shape[-2]).transpose(0, 2, 1).reshape(-1)
        elif t["kind"] == "row_order":
            bits = bits.reshape(shape[0], -1)[np.argsort(t["order"])].reshape(-1)
        elif t["kind"] == "column_order":
            bits = bits.reshape(shape)[:, np.argsort(t["order"])].reshape(-1)
        elif t["kind"] == "rope_interleave":
            rows, heads = shape[0], t["heads"]
            d = rows // heads
            view = bits.reshape(heads, d // 2, 2, -1)  # stored row 2*i + j
            bits = view.transpose(0, 2, 1, 3).reshape(-1)
        else:
            bits = np.array([round32(add(from_bits(int(b)), Fraction(-1))) for b in bits], "<u4")
    return bits


def fingerprint(shape, bits):
    head = b"ingot-fp1\0" + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", x) for x in shape)
    blocks = [hash128(bits[i:i + 65536].astype("<u4").tobytes()) for i in range(0, bits.size, 65536)]
    return hash128(head + b"".join(blocks))


# --- container (container.md, index.md, integrity.md, limits.md) -----------------------------------------------------------------------
MAX = 2 ** 53 - 1
TRANSFORM_MEMBERS = {"rope_interleave": ["heads"], "transpose": [], "add_one": [], "row_order": ["order"], "column_order": ["order"]}


def parse_index(text):
    def pairs(members):
        check(len({k for k, _ in members}) == len(members), "invalid_value", "duplicate member name")
        return dict(members)

    def no(_):
        raise IngotError("invalid_value", "floating-point number in the index")

    try:
        index = json.loads(text.decode("utf-8"), object_pairs_hook=pairs, parse_float=no, parse_constant=no)
    except (ValueError, RecursionError) as error:
        raise IngotError("invalid_value", f"index: {error}") from None

    def walk(value, depth):
        check(depth <= 16, "limit_exceeded", "index too deep")
        check(value is not None, "invalid_value", "null in the index")
        if isinstance(value, dict):
            return "{" + ",".join(quote(k) + ":" + walk(value[k], depth + 1) for k in sorted(value, key=lambda k: k.encode())) + "}"
        if isinstance(value, list):
            return "[" + ",".join(walk(v, depth + 1) for v in value) + "]"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            check(abs(value) <= MAX, "invalid_value", "number above 2^53-1")
            return str(value)
        return quote(value)

    def quote(text):
        return json.dumps(text, ensure_ascii=False)

    check(isinstance(index, dict), "invalid_value", "the index is not an object")
    check(walk(index, 1).encode() == text, "invalid_value", "the index is not in canonical form")
    return index


TOP = {"ingot": int, "chunk_bytes": int, "chunk_table": dict, "model": dict, "metadata": dict, "tensors": list, "aliases": dict,
       "attachments": list, "layout": str}
KNOWN_TYPES = set(BITS)
GRID_INDEXES = ("u9", "u10", "u11")
CODE_INDEXES = ("u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8")
NOT_LEVELS = ("f64", "i64", "u64", "bool", "c64", *GRID_INDEXES)
ROPE_SCALING = {"type": "text", "original_context_length": "natural", "short_factor": ["float"], "long_factor": ["float"],
                "truncate": "boolean"} | dict.fromkeys(
    ("factor", "low_freq_factor", "high_freq_factor", "attention_factor", "beta_fast", "beta_slow"), "float")
MODEL = {"rope_scaling": ROPE_SCALING, "sliding_layers": ["boolean"], "rope_layers": ["boolean"]} | dict.fromkeys(
    ("tied_embeddings", "attention_scale_by_layer", "bidirectional_attention"), "boolean") | dict.fromkeys(
    ("architecture", "activation", "torch_dtype"), "text") | dict.fromkeys(
    ("vocab_size", "hidden_size", "intermediate_size", "layer_count", "head_count", "kv_head_count", "head_dim", "context_length",
     "expert_count", "experts_per_token", "rotary_dim", "sliding_window"), "natural") | dict.fromkeys(
    ("norm_epsilon", "rope_theta", "rope_theta_local", "attention_scale", "attention_softcap", "final_softcap"), "float")


def members(value, required, optional, where):
    check(isinstance(value, dict), "invalid_value", f"{where}: not an object")
    for name in required:
        check(name in value, "invalid_value", f"{where}: member {name} is missing")
    for name in value:
        check(name in required or name in optional, "invalid_value", f"{where}: unknown member {name}")


def natural(value, where):
    check(isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX, "invalid_value", f"{where}: not a natural number")
    return value


def text(value, where, limit=1 << 24):
    check(isinstance(value, str), "invalid_value", f"{where}: not a string")
    check(len(value.encode()) <= limit, "limit_exceeded", f"{where}: too long")
    return value


def name_text(value, where, limit=1024):
    check(text(value, where, limit), "invalid_value", f"{where}: empty")
    return value


def boolean(value, where):
    check(isinstance(value, bool), "invalid_value", f"{where}: not a boolean")
    return value


def hash_text(value, where):
    check(isinstance(value, str) and len(value) == 32 and set(value) <= set("0123456789abcdef"), "invalid_value", f"{where}: not a hash")
    return value


def entries(value, limit, where):
    check(isinstance(value, list), "invalid_value", f"{where}: not an array")
    check(len(value) <= limit, "limit_exceeded", f"{where}: {len(value)} entries")
    return value


def integer(value, limit, where):
    check(isinstance(value, int) and not isinstance(value, bool) and abs(value) <= limit, "invalid_value", f"{where}: {value}")
    return value


def check_fields(value, kind, where):
    """A value against its description: a kind, [kind] for arrays, {member: kind} for objects whose members may be absent."""
    if isinstance(kind, dict):
        members(value, [], kind, where)
        for name in value:
            check_fields(value[name], kind[name], f"{where}.{name}")
    elif isinstance(kind, list):
        for element in entries(value, MAX, where):
            check_fields(element, kind[0], where)
    elif kind == "float":
        try:
            check(abs(float(text(value, where))) < float("inf"), "invalid_value", f"{where}: not finite")
        except ValueError:
            raise IngotError("invalid_value", f"{where}: not a decimal number") from None
    else:
        {"text": text, "natural": natural, "boolean": boolean}[kind](value, where)


def check_level(level, where, in_scales):
    members(level, ["type", "block"], ["multiply", "add", "custom_table", "divide"], where)
    dtype, block = level["type"], level["block"]
    check(dtype in KNOWN_TYPES and dtype not in NOT_LEVELS, "invalid_value", f"{where}: a level of type {dtype}")
    check(isinstance(block, list) and len(block) == 2 and all(natural(extent, where) < 1 << 32 for extent in block), "invalid_value", f"{where}: block")
    changed = integer(level.get("multiply", 1), 32767, where) != 1 or integer(level.get("add", 0), 32767, where) != 0
    check(level.get("multiply", 1) != 0, "invalid_value", f"{where}: multiply is zero")
    table, divide = boolean(level.get("custom_table", False), where), boolean(level.get("divide", False), where)
    check(not changed or not (dtype in FLOATS or table or BITS[dtype] > 16), "invalid_value", f"{where}: multiply or add of type {dtype}")
    check(not table or dtype in CODE_INDEXES, "invalid_value", f"{where}: custom_table of type {dtype}")
    check(in_scales or not (table or divide), "invalid_value", f"{where}: custom_table or divide in an offset")


def check_codes(scheme, where):
    codes = scheme["codes"]
    members(codes, ["kind", "type"], ["table"], where)
    kind, dtype = codes["kind"], codes["type"]
    check(kind in ("number", "table", "grid", "opaque") and dtype in KNOWN_TYPES, "invalid_value", f"{where}: codes")
    check(("table" in codes) == (kind in ("table", "grid")), "invalid_value", f"{where}: table name")
    check("table" not in codes or (isinstance(codes["table"], str) and 0 < len(codes["table"].encode()) <= 64), "invalid_value", f"{where}: table name")
    if kind == "table":
        check(dtype in CODE_INDEXES, "invalid_value", f"{where}: table codes of type {dtype}")
        name = codes["table"]
        check(name in ("custom", *F32_TABLE, *INT_TABLE), "invalid_value", f"{where}: unknown table")
        entry_count = len(F32_TABLE[name].split()) if name in F32_TABLE else len(INT_TABLE.get(name, range(1 << BITS[dtype])))
        check(entry_count == 1 << BITS[dtype], "invalid_value", f"{where}: codes of type {dtype} for table {name}")
    check(dtype in (*GRID_INDEXES, "u8") if kind == "grid" else dtype not in GRID_INDEXES, "invalid_value", f"{where}: codes of type {dtype}")
    check(kind != "number" or dtype != "c64", "invalid_value", f"{where}: number codes of type c64")
    bare = not any(scheme.get(name) for name in ("scales", "offset", "shift", "flat")) and "order" not in scheme
    check(bare or not (kind == "opaque" or BITS[dtype] > 32), "invalid_value", f"{where}: codes of kind {kind} and type {dtype} stand alone")
    check(kind != "grid" or not (scheme.get("flat") or "order" in scheme), "invalid_value", f"{where}: grid codes with order or flat")


def check_offset(offset, where):
    members(offset, ["kind"], ["zero", "levels"], where)
    kind = offset["kind"]
    check(kind in ("zero", "zero_points", "bias", "minimum"), "invalid_value", f"{where}: offset kind")
    check(("zero" in offset) == (kind == "zero"), "invalid_value", f"{where}: zero of kind {kind}")
    integer(offset.get("zero", 0), 128, f"{where}: zero")
    levels = entries(offset.get("levels", []), 3, f"{where}: offset levels")
    for level in levels:
        check_level(level, where, False)
        is_float = level["type"] in FLOATS
        check(kind != "zero_points" or not is_float or level["type"] in ("f16", "bf16", "f32"), "invalid_value",
              f"{where}: zero points of type {level['type']}")
        check(kind != "bias" or is_float, "invalid_value", f"{where}: integer bias")
    check(kind != "minimum" or len(levels) <= 2, "limit_exceeded", f"{where}: minimum levels")
    check(len(levels) == 0 if kind == "zero" else levels and (len(levels) == 1 or kind == "minimum"), "invalid_value", f"{where}: offset levels")


def check_scheme(scheme, where):
    members(scheme, ["codes"], ["scales", "rounded_scale", "rounded_steps", "scale_offset", "shift", "offset", "order", "flat"], where)
    levels = entries(scheme.get("scales", []), 3, f"{where}: scales")
    rounded, steps, scale_offset = (boolean(scheme.get(name, False), where) for name in ("rounded_scale", "rounded_steps", "scale_offset"))
    integer(scheme.get("shift", 0), 64, f"{where}: shift")
    check(natural(scheme.get("flat", 0), where) < 1 << 32, "invalid_value", f"{where}: flat")
    check(scheme.get("order", "permutation") in ("permutation", "group_index"), "invalid_value", f"{where}: order")
    check_codes(scheme, where)
    for level in levels:
        check_level(level, where, True)
        check(not level.get("divide") or (rounded and level["type"] in FLOATS), "invalid_value", f"{where}: divide")
    check(sum(level.get("custom_table", False) for level in levels) <= 1, "invalid_value", f"{where}: custom_table twice")
    check(levels or not (rounded or steps), "invalid_value", f"{where}: rounded_scale or rounded_steps without scales")
    check(rounded or not scale_offset, "invalid_value", f"{where}: scale_offset without rounded_scale")
    check(not (steps and (rounded or scheme.get("shift"))), "invalid_value", f"{where}: rounded_steps with rounded_scale or shift")
    if "offset" in scheme:
        check_offset(scheme["offset"], where)
    if scheme.get("flat"):
        check("order" not in scheme and (not levels or levels[0]["block"] in ([1, 0], [0, 1])), "invalid_value", f"{where}: flat")


def check_path(path):
    check(isinstance(path, str), "invalid_value", f"path {path!r}")
    check(isinstance(path, str), "invalid_value", "a path is no string")
    check(len(path.encode()) <= 4096, "limit_exceeded", "path too long")
    check(path and "\\" not in path and "\0" not in path and
          all(part not in ("", ".", "..") for part in path.split("/")), "invalid_value", f"source path {path!r}")


class IngotFile:
    """Opens and verifies a whole file, and the members where it is the manifest of a set; `index` is the parsed index, `tensors` is
    [(the file that holds it, its index entry)] in model order."""

    def __init__(self, path, is_member=False):
        try:
            with open(path, "rb") as handle:
                self.data = handle.read()
        except OSError as error:
            raise IngotError("io", str(error)) from None
        data = self.data
        check(len(data) >= 8 or data != b"\x89INGT\r\n\x1a"[: len(data)], "truncated", "shorter than the header page")
        check(data[:8] == b"\x89INGT\r\n\x1a" or len(data) < 4096, "bad_magic", "not an .ingot file")
        check(len(data) >= 4096, "truncated", "shorter than the header page")
        check(struct.unpack_from("<I", data, 8)[0] == 1, "unsupported_version", "header version")
        self.slot = self._current_slot()
        s = self.slot
        check(s["read"] <= 1 and s["required"] & ~3 == 0, "unsupported_version", "read version or required feature")
        check(s["read"] >= 1, "invalid_value", "read version")
        check(s["file_size"] <= MAX and s["index_size"] <= 256 << 20, "limit_exceeded", "file size or index size")
        check(s["index_offset"] % 64 == 0 and s["index_offset"] >= 4096 and s["index_size"] >= 2 and
              s["index_offset"] + s["index_size"] <= s["file_size"], "invalid_value", "index bounds")
        check(s["file_size"] <= len(data), "truncated", "the file is shorter than its slot says")
        text = data[s["index_offset"]:s["index_offset"] + s["index_size"]]
        check(hash128(text) == s["index_hash"], "bad_checksum", "index hash")
        self.index = parse_index(text)
        check(not (is_member and "set" in self.index), "invalid_value", "a member of a set is a manifest itself")
        self._check_index()
        check(("set" in self.index) == bool(s["required"] & 2), "invalid_value", "required feature bit 1 disagrees with the index")
        self._check_bytes()
        self.tensors = [(self, t) for t in self.index["tensors"]]
        if "set" in self.index:
            self._read_members(path)
        self._check_references()

    def _current_slot(self):
        slots, data = [], self.data
        for at in (512, 1024):
            raw = data[at:at + 128]
            if not any(raw):
                continue
            ok = _xxh.XXH3_64bits(raw[:120], 120) == struct.unpack_from("<Q", raw, 120)[0]
            generation, read, write, required, optional, offset, size = struct.unpack_from("<QIIQQQQ", raw)
            check(ok and generation and not any(raw[88:120]), "bad_checksum", f"slot at {at}")
            slots.append(dict(generation=generation, read=read, required=required, index_offset=offset, index_size=size,
                              index_hash=raw[48:64], data_root=raw[64:80], file_size=struct.unpack_from("<Q", raw, 80)[0]))
        check(slots, "bad_checksum", "no valid slot")
        check(len({s["generation"] for s in slots}) == len(slots), "invalid_value", "two slots of one generation")
        self.slot_count = len(slots)
        check(not any(data[12:512]) and not any(data[640:1024]) and not any(data[1152:4096]), "invalid_value", "header padding")
        return max(slots, key=lambda s: s["generation"])

    def _check_index(self):
        index = self.index
        for name, kind in TOP.items():
            check(isinstance(index.get(name), kind), "invalid_value", f"index member {name}")
        check(index["ingot"] == 1 and index["chunk_bytes"] == 1 << 20, "invalid_value", "format version or chunk size")
        members(index["chunk_table"], ["offset", "rows"], [], "chunk_table")
        check_fields(index["model"], MODEL, "model")
        text(index["layout"], "layout", 1024)
        for map_name in ("metadata", "aliases"):
            check(len(index[map_name]) <= 65536, "limit_exceeded", map_name)
            for key, value in index[map_name].items():
                name_text(key, map_name)
                text(value, map_name)
        entries(index["tensors"], 1 << 20, "tensors")
        entries(index["attachments"], 65536, "attachments")
        names = set()
        for t in index["tensors"]:
            members(t, ["name", "shape", "scheme", "packing", "planes", "fingerprint"], ["transforms", "derived"], "tensor")
            name_text(t["name"], "tensor name")
            hash_text(t["fingerprint"], t["name"])
            check(t.get("derived", True) is True, "invalid_value", f"{t['name']}: derived")
            check(t["name"] not in names, "invalid_value", f"tensor {t['name']} twice")
            names.add(t["name"])
            check(isinstance(t["shape"], list), "invalid_value", "shape")
            check(len(t["shape"]) <= 8, "limit_exceeded", "rank")
            product = 1
            for extent in t["shape"]:
                product *= natural(extent, "shape")
                check(product <= MAX, "limit_exceeded", "elements")
            check_scheme(t["scheme"], t["name"])
            check(t["packing"] in ("rows", "tiles"), "invalid_value", "packing")
            self._check_transforms(t)
            derived = plane_sizes(Geometry(self.stored_shape(t), t["scheme"], t["packing"]), t["scheme"])
            for plane in entries(t["planes"], MAX, "planes"):
                members(plane, ["role", "offset", "size", "first_chunk", "hash"], ["stored"], "plane")
            check([(p["role"], p["size"]) for p in t["planes"]] == derived, "invalid_value", f"{t['name']}: plane list, expected {derived}")
        attachments = {}
        for a in index["attachments"]:
            members(a, ["name", "offset", "size", "first_chunk", "hash"], ["stored"], "attachment")
            check_path(a["name"])
            check(a["name"] not in attachments, "invalid_value", f"attachment {a['name']} twice")
            check("stored" not in a, "invalid_value", f"attachment {a['name']} is compressed")
            attachments[a["name"]] = natural(a["size"], a["name"])
        if "source" in index:
            self._check_source(index["source"], attachments)
        if "set" in index:
            self._check_set(index["set"])

    def _check_transforms(self, tensor):
        shape, scheme = list(tensor["shape"]), tensor["scheme"]
        transforms = entries(tensor.get("transforms", []), 4, "transforms")
        check(transforms or "transforms" not in tensor, "invalid_value", "transforms without entries")
        for t in transforms:
            check(isinstance(t, dict) and t.get("kind") in TRANSFORM_MEMBERS, "invalid_value", f"transform {t}")
            members(t, ["kind"] + TRANSFORM_MEMBERS[t["kind"]], [], "transform")
            if "order" in t:
                order, axis = t["order"], int(t["kind"] == "column_order")
                check(len(shape) == 2 or (len(shape) == 1 and axis == 0), "invalid_value", f"{t['kind']} of rank {len(shape)}")
                check(isinstance(order, list) and all(type(i) is int for i in order), "invalid_value", "order")
                check(sorted(order) == list(range(shape[axis])), "invalid_value", "order is no permutation")
            elif t["kind"] == "rope_interleave":
                check(len(shape) in (1, 2) and natural(t["heads"], "heads") and shape[0] % (2 * t["heads"]) == 0, "invalid_value", "heads")
            elif t["kind"] == "transpose":
                blocks = scheme.get("scales") or scheme.get("offset", {}).get("levels") or scheme.get("flat") or "order" in scheme
                check(len(shape) in (2, 3) and not blocks, "invalid_value", "transpose of another rank than 2 and 3, or of blocks")
                shape[-2:] = shape[:-3:-1]
            else:
                check(is_plain(scheme) and scheme["codes"]["type"] in FLOATS, "invalid_value", "add_one of a type that is no plain float")

    @staticmethod
    def _check_set(entry):  # sets.md section 2
        members(entry, ["members"], [], "set")
        check(isinstance(entry["members"], list) and entry["members"], "invalid_value", "set without members")
        check(len(entry["members"]) <= 16384, "limit_exceeded", "members of a set")
        for m in entry["members"]:
            members(m, ["path", "root", "tensors"], [], "member")
            check_path(m["path"])
            natural(m["tensors"], "tensors of a member")
            hash_text(m["root"], "root")
        check(len({m["path"] for m in entry["members"]}) == len(entry["members"]), "invalid_value", "a member twice")

    def _read_members(self, path):  # sets.md sections 4 and 5
        for m in self.index["set"]["members"]:
            where = f"{path}: member {m['path']}"
            try:
                file = IngotFile(os.path.join(os.path.dirname(path), m["path"]), is_member=True)
            except IngotError as error:
                raise IngotError(error.kind, f"{where}: {error}") from None
            check(file.slot["index_hash"].hex() == m["root"], "mismatch", f"{where}: root")
            check(len(file.index["tensors"]) == m["tensors"], "invalid_value", f"{where}: number of tensors")
            check(not file.index["aliases"] and not file.index["attachments"] and "source" not in file.index, "invalid_value", where)
            self.tensors += file.tensors
        check(len(self.tensors) <= 1 << 20, "limit_exceeded", "tensors of the set")

    def _check_references(self):
        names = {t["name"] for _, t in self.tensors}
        check(len(names) == len(self.tensors), "invalid_value", "a tensor appears twice in the set")
        for alias, target in self.index["aliases"].items():
            check(alias not in names and target in names, "invalid_value", f"alias {alias}")
        for f in self.index.get("source", {"files": []})["files"]:
            for s in f["segments"]:
                check(s["kind"] != "tensor" or s["tensor"] in names, "invalid_value", "segment of an unknown tensor")

    def _check_source(self, source, attachments):
        def check_range(s):
            check(text(s["attachment"], "attachment") in attachments and
                  natural(s["begin"], "begin") + s["size"] <= attachments[s["attachment"]], "invalid_value", "bytes outside their attachment")

        members(source, ["layout", "files"], [], "source")
        name_text(source["layout"], "source layout")
        paths = set()
        for f in entries(source["files"], 65536, "source files"):
            members(f, ["path", "size", "hash", "segments"], ["patches"], "source file")
            check_path(f["path"])
            hash_text(f["hash"], f["path"])
            check(f["path"] not in paths, "invalid_value", f"source file {f['path']} twice")
            paths.add(f["path"])
            total = 0
            for s in entries(f["segments"], 1 << 22, "segments"):
                check(isinstance(s, dict) and s.get("kind") in ("literal", "tensor", "zeros"), "invalid_value", "segment kind")
                extra = {"literal": ["attachment", "begin"], "tensor": ["tensor", "part"], "zeros": []}[s["kind"]]
                members(s, ["kind", "size", *extra], [], "segment")
                total += natural(s["size"], "segment size")
                if s["kind"] == "literal":
                    check_range(s)
                if s["kind"] == "tensor":
                    text(s["tensor"], "tensor of a segment")
                    name_text(s["part"], "part of a segment")
            check(total == natural(f["size"], "size of a source file"), "invalid_value", f"segments of {f['path']} do not add up")
            end = 0
            check(f.get("patches", True), "invalid_value", "patches without entries")
            for p in entries(f.get("patches", []), 1 << 22, "patches"):
                members(p, ["offset", "attachment", "begin", "size"], [], "patch")
                check(natural(p["size"], "patch size") and end <= natural(p["offset"], "patch offset"), "invalid_value", "patches out of order")
                check_range(p)
                end = p["offset"] + p["size"]
            check(end <= total, "invalid_value", "a patch outside its file")
        for path in paths:
            check(not any(path[:i] in paths for i, c in enumerate(path) if c == "/"), "invalid_value", f"{path} lies below another file")

    def _blobs(self):
        """Every blob in chunk row order, and whether it may hold zstd chunks (sliced planes only)."""
        for a in self.index["attachments"]:
            yield a, False
        for t in self.index["tensors"]:
            for plane in t["planes"]:
                yield plane, plane["role"] not in WHOLE_ROLES and not self._whole(t["scheme"], plane["role"])

    @staticmethod
    def _whole(scheme, role):
        levels = {f"scales_{i}": level for i, level in enumerate(scheme.get("scales", []))}
        offset = scheme.get("offset", {})
        roles = {"zero_points": ["zero_points"], "bias": ["biases"], "minimum": ["mins_0", "mins_1"]}.get(offset.get("kind"), [])
        levels.update(zip(roles, offset.get("levels", [])))
        return role in levels and levels[role]["block"][0] != 1

    def _check_bytes(self):
        s, table = self.slot, self.index["chunk_table"]
        rows = natural(table["rows"], "rows")
        used = [(0, 4096, 4096), (s["index_offset"], s["index_offset"] + s["index_size"], 64)]
        def place(offset, size, what):
            alignment = 4096 if size >= 65536 else 64
            if size:
                check(offset % alignment == 0 and 4096 <= offset <= s["index_offset"] - size, "invalid_value", f"{what} bounds")
                used.append((offset, offset + size, alignment))
            check(size or offset == 0, "invalid_value", f"empty {what} with an offset")

        place(natural(table["offset"], "offset"), 24 * rows, "chunk table")
        next_chunk = 0
        for blob, _ in self._blobs():
            for name in ("offset", "size", "first_chunk"):
                natural(blob[name], name)
            hash_text(blob["hash"], "blob")
            check("stored" not in blob or 0 < natural(blob["stored"], "stored") < blob["size"], "invalid_value", "stored size not below raw size")
            place(blob["offset"], blob.get("stored", blob["size"]), "blob")
            check(blob["first_chunk"] == (next_chunk if blob["size"] else 0), "invalid_value", "chunk rows out of order")
            next_chunk += ceil_div(blob["size"], 1 << 20)
        check(next_chunk == rows, "invalid_value", "chunk rows")
        used.sort()
        for (_, end, _), (begin, _, alignment) in zip(used, used[1:]):
            check(end <= begin, "invalid_value", "blobs overlap")
            if begin == ceil_div(end, alignment) * alignment:  # otherwise dead space
                check(not any(self.data[end:begin]), "invalid_value", "padding is not zero")
        self.has_zstd = False
        for blob, compressible in self._blobs():
            self.read_blob(blob, compressible)
        check(self.has_zstd == bool(s["required"] & 1), "invalid_value", "required feature bit 0 disagrees with the chunks")
        planes = b"".join(bytes.fromhex(p["hash"]) for t in self.index["tensors"] for p in t["planes"])
        check(hash128(planes) == s["data_root"], "bad_checksum", "data root")

    def read_blob(self, blob, compressible=True):
        """Raw bytes of a blob, every chunk hash checked."""
        count = ceil_div(blob["size"], 1 << 20)
        begin = self.index["chunk_table"]["offset"] + 24 * blob["first_chunk"]
        rows = self.data[begin:begin + 24 * count]
        check(hash128(rows).hex() == blob["hash"], "bad_checksum", "chunk rows")
        at, left, out = blob["offset"], blob["size"], []
        for i in range(count):
            stored, encoding = struct.unpack_from("<II", rows, 24 * i)
            chunk, raw = self.data[at:at + stored], min(left, 1 << 20)
            kind, width = encoding & 255, encoding >> 8
            check(kind < 2 and width in (0, 1, 2, 4, 8) and (kind or not width) and (compressible or not kind), "invalid_value", "chunk encoding")
            check(stored == raw if kind == 0 else stored < raw, "invalid_value", "chunk stored size")
            check(hash128(chunk) == rows[24 * i + 8:24 * i + 24], "bad_checksum", "chunk")
            if kind:
                self.has_zstd = True
                chunk = unzstd(chunk, raw)
                if width > 1:
                    n = raw // width
                    chunk = np.frombuffer(chunk[: n * width], np.uint8).reshape(width, n).T.tobytes() + chunk[n * width:]
            out.append(chunk)
            at, left = at + stored, left - raw
        check(at == blob["offset"] + blob.get("stored", blob["size"]) or not count, "invalid_value", "stored sizes do not add up")
        return b"".join(out)

    @staticmethod
    def stored_shape(tensor):
        shape = list(tensor["shape"])
        if any(t["kind"] == "transpose" for t in tensor.get("transforms", [])):
            shape[-2:] = shape[:-3:-1]
        return shape

    def decode(self, tensor):
        """Logical binary32 bits, flat."""
        planes = {p["role"]: self.read_blob(p) for p in tensor["planes"]}
        bits = decode_stored(self.stored_shape(tensor), tensor["scheme"], tensor["packing"], planes)
        return undo_transforms(bits, tensor["shape"], tensor.get("transforms", []))


def main(path):
    file = IngotFile(path)
    for owner, tensor in file.tensors:
        bits = owner.decode(tensor)
        value = fingerprint(tensor["shape"], bits).hex()
        check(value == tensor["fingerprint"], "bad_checksum", f"{tensor['name']}: fingerprint")
        print(tensor["name"], "x".join(map(str, tensor["shape"])) or "scalar", value)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except IngotError as error:
        sys.exit(str(error))
