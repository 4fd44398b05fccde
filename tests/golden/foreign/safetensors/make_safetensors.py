#!/usr/bin/env python3
"""Fixtures for the safetensors reader; every verdict and value comes from the `safetensors` and `torch` packages.

types.safetensors  one tensor of every element type that torch knows, written by safetensors.torch
types.json         shape, type and binary32 values (hex) of each, as torch converts them
cases.json         hand-made files (hex) with the verdict of safetensors.deserialize
mutations.json     a seed, base files and the verdicts on 10,000 mutations of them (one hex bit string); mutate() below is also in the test
planned.json       headers as safetensors.torch writes them, for the writer

Run: python3 make_safetensors.py        (safetensors 0.8.0, torch 2.13)
"""
import json
import pathlib
import struct

import torch
from safetensors import deserialize
from safetensors.torch import save, save_file

HERE = pathlib.Path(__file__).parent


def verdict(data):
    try:
        deserialize(data)
        return ""
    except Exception as error:  # the package raises one type for everything
        return str(error).split("\n")[0]


def framed(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def make_types():
    base = torch.tensor([0.0, -0.0, 1.0, -1.5, 0.1, 448.0, 3.0e-5, -6.0, 2.0**-9, 1e30, float("inf"), float("nan")])
    floats = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
              torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]
    tensors = {str(t).split(".")[1]: base.to(t).reshape(3, 4).clone() for t in floats}
    every_byte = torch.arange(256, dtype=torch.uint8)
    for t in (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu):
        tensors["all_" + str(t).split(".")[1]] = every_byte.clone().view(t)
    for t in (torch.int8, torch.int16, torch.int32, torch.int64):
        info = torch.iinfo(t)
        tensors[str(t).split(".")[1]] = torch.tensor([info.min, -1, 0, 1, info.max, 77], dtype=t)
    for t in (torch.uint8, torch.uint16, torch.uint32, torch.uint64):
        tensors[str(t).split(".")[1]] = torch.tensor([0, 1, 77, torch.iinfo(t).max], dtype=t)
    tensors["bool"] = torch.tensor([[True], [False]])
    tensors["complex64"] = torch.tensor([1 + 2j, -3j])
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(2, 0)
    tensors["rank5"] = torch.arange(24, dtype=torch.float32).reshape(2, 1, 3, 2, 2)
    save_file(tensors, HERE / "types.safetensors", {"format": "pt"})
    expected = {}
    for name, t in tensors.items():
        values = "" if t.is_complex() else t.to(torch.float32).contiguous().numpy().astype("<f4").tobytes().hex()
        expected[name] = {"dtype": str(t.dtype).split(".")[1], "shape": list(t.shape), "f32": values}
    (HERE / "types.json").write_text(json.dumps(expected, indent=0) + "\n")


def entry(dtype, shape, begin, end, **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


TWO = ('{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
       '"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}      ')
TWO_DATA = struct.pack("<ff", 1.0, -2.0) + b"\1\2\3"


def make_cases():
    def one(e, data=b"", **top):
        return framed(json.dumps({**top, "t": e}, separators=(",", ":")), data)

    many = {f"t{i}": entry("F32", [1], 0, 4) for i in range(10)}
    cases = {
        "empty": bytes.fromhex("08000000000000007b7d202020202020"),
        "two_tensors": framed(TWO, TWO_DATA),
        "scalar": one(entry("I32", [], 0, 4), b"1234"),
        "zero_extent": one(entry("F32", [2, 0], 0, 0)),
        "leading_space": framed("\t\n{}\r "),
        "size_disagrees": one(entry("I32", [2, 2], 0, 4), b"1234"),
        "shared_range": framed(json.dumps(many), b"1234"),
        "trailing_byte": framed(TWO, TWO_DATA + b"!"),
        "missing_byte": framed(TWO, TWO_DATA[:-1]),
        "shape_overflows": one(entry("I32", [2, 18446744073709551614], 0, 16), b"x" * 16),
        "bits_overflow": one(entry("F64", [1 << 60], 0, 16), b"x" * 16),
        "overflow_before_zero": one(entry("I32", [1 << 63, 4, 0], 0, 0)),
        "zero_before_overflow": one(entry("I32", [0, 1 << 63, 4], 0, 0)),
        "f4_misaligned": one(entry("F4", [1, 3], 0, 2), b"12"),
        "f4_rows_start_mid_byte": one(entry("F4", [2, 3], 0, 3), b"123"),
        "f6_e2m3": one(entry("F6_E2M3", [4], 0, 3), b"123"),
        "f6_e3m2": one(entry("F6_E3M2", [2, 2], 0, 3), b"123"),
        "f6_misaligned": one(entry("F6_E3M2", [3], 0, 3), b"123"),
        "c64": one(entry("C64", [1], 0, 8), b"12345678"),
        "f8_e8m0": one(entry("F8_E8M0", [2], 0, 2), b"12"),
        "e4m3fnuz": one(entry("F8_E4M3FNUZ", [2], 0, 2), b"12"),
        "e5m2fnuz": one(entry("F8_E5M2FNUZ", [2], 0, 2), b"12"),
        "unknown_type": one(entry("F12", [1], 0, 2), b"12"),
        "lower_case_type": one(entry("f32", [1], 0, 4), b"1234"),
        "hole_at_start": one(entry("F32", [1], 4, 8), b"12345678"),
        "hole_between": framed(json.dumps({"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)}), b"123"),
        "overlap": framed(json.dumps({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}), b"123"),
        "backwards": one(entry("U8", [1], 1, 0), b"1"),
        "unordered": framed(json.dumps({"a": entry("U8", [1], 2, 3), "b": entry("U8", [2], 0, 2)}), b"123"),
        "zero_sized_share_an_offset": framed(json.dumps({
            "z": entry("F32", [0], 4, 4), "y": entry("F32", [0], 4, 4), "a": entry("F32", [1], 0, 4), "b": entry("U8", [1], 4, 5),
        }), b"12345"),
        "extra_field": one(entry("U8", [1], 0, 1, note={"x": [1, 2.5, None]}), b"1"),
        "missing_shape": framed('{"t":{"dtype":"U8","data_offsets":[0,1]}}', b"1"),
        "missing_offsets": framed('{"t":{"dtype":"U8","shape":[1]}}', b"1"),
        "three_offsets": framed('{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}', b"1"),
        "negative_extent": framed('{"t":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}', b"1"),
        "fraction_extent": framed('{"t":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}', b"1"),
        "exponent_extent": framed('{"t":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}}', b"1"),
        "string_extent": framed('{"t":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}', b"1"),
        "huge_extent": framed('{"t":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,1]}}', b"1"),
        "repeated_field": framed('{"t":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"),
        "repeated_name": framed('{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"t":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
                                b"12"),
        "repeated_name_same_range": framed('{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
                                           '"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"),
        "repeated_metadata": framed('{"__metadata__":{},"__metadata__":{}}'),
        "metadata_empty": framed('{"__metadata__":{}}'),
        "metadata_null": framed('{"__metadata__":null}'),
        "metadata_number": framed('{"__metadata__":{"a":1}}'),
        "metadata_nested": framed('{"__metadata__":{"a":{}}}'),
        "metadata_list": framed('{"__metadata__":[]}'),
        "metadata_is_a_tensor": one(entry("U8", [1], 0, 1), b"1", __metadata__=entry("U8", [1], 0, 1)),
        "empty_name": framed('{"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"),
        "escaped_name": framed('{"\\u00e9\\ud83d\\ude00\\n":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"),
        "lone_surrogate": framed('{"\\ud83d":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"),
        "not_utf8": framed(b'{"\xff":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"),
        "array": framed("[]"),
        "null": framed("null"),
        "nothing": framed(""),
        "one_brace": framed("{"),
        "nul_padding": framed(b"{}\0\0"),
        "two_objects": framed("{}{}"),
        "comment": framed("{}//x"),
        "byte_order_mark": framed(b"\xef\xbb\xbf{}"),
        "no_bytes": b"",
        "seven_bytes": b"\x02\0\0\0\0\0\0",
        "length_only": struct.pack("<Q", 0),
        "length_beyond_end": framed("{}", length=3),
        "length_at_limit": framed("{}", length=100_000_000),
        "length_above_limit": framed("{}", length=100_000_001),
        "length_overflows": framed("{}", length=(1 << 64) - 1),
        "deep": framed('{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":' + "[" * 40 + "]" * 40 + "}}", b"1"),
    }
    out = [{"name": k, "hex": v.hex(), "error": verdict(v)} for k, v in cases.items()]
    (HERE / "cases.json").write_text(json.dumps(out, indent=0) + "\n")
    return cases


class Random:
    """splitmix64"""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return (z ^ (z >> 31)) % bound


ALPHABET = b'0123456789{}[]:,"\\-+.eE tfnu\x00\xff'


def mutate(base, random):
    data = bytearray(base)
    for _ in range(1 + random.below(3)):
        length = struct.unpack("<Q", data[:8])[0]
        header_end = 8 + length if length <= len(data) - 8 else len(data)
        kind = random.below(4)
        if kind == 0:
            at = random.below(header_end)
            data[at] ^= 1 << random.below(8)
        elif kind == 1:
            at = random.below(header_end)
            data[at] = ALPHABET[random.below(len(ALPHABET))]
        elif header_end > 8 and 0 < length <= len(data) - 8:
            at = 8 + random.below(header_end - 8)
            if kind == 2:
                del data[at]
                data[:8] = struct.pack("<Q", length - 1)
            else:
                data.insert(at, ALPHABET[random.below(len(ALPHABET))])
                data[:8] = struct.pack("<Q", length + 1)
    return bytes(data)


def make_mutations(cases):
    bases = ["two_tensors", "scalar", "unordered", "extra_field", "f4_rows_start_mid_byte"]
    random = Random(20240607)
    bits = ""
    for i in range(10_000):
        bits += "0" if verdict(mutate(cases[bases[i % len(bases)]], random)) else "1"
    text = hex(int("1" + bits, 2))[2:]  # a leading 1 keeps the zeros
    (HERE / "mutations.json").write_text(json.dumps({"seed": 20240607, "bases": bases, "accepted": bits.count("1"), "bits": text}) + "\n")


def make_planned():
    files = []
    sets = [
        {"b": torch.zeros(2, 3, dtype=torch.float16), "a": torch.zeros(3, dtype=torch.float16), "z": torch.zeros(1), "i": torch.zeros(5, dtype=torch.int8)},
        {"model.layers.10.w": torch.zeros(2, 2, dtype=torch.bfloat16), "model.layers.2.w": torch.zeros(2, 2, dtype=torch.bfloat16),
         "e": torch.zeros(0, 4), "s": torch.tensor(1.0, dtype=torch.float64)},
        {'quote"back\\slash\n\u00e9': torch.zeros(1), "x": torch.zeros(4, 4, dtype=torch.float8_e4m3fn)},
        {},
    ]
    for tensors in sets:
        data = save(tensors, {"format": "pt"})
        length = struct.unpack("<Q", data[:8])[0]
        files.append({"items": [{"name": k, "dtype": str(t.dtype).split(".")[1], "shape": list(t.shape)} for k, t in tensors.items()],
                      "header_hex": data[:8 + length].hex()})
    (HERE / "planned.json").write_text(json.dumps(files, indent=0) + "\n")


if __name__ == "__main__":
    make_types()
    make_mutations(make_cases())
    make_planned()
