#!/usr/bin/env python3
"""Modules in the layout of ExLlamaV2, and their values.

Needs numpy, safetensors. ExLlamaV2 packs and unpacks on GPUs only, so no library made these bytes: this script is written from the published
formula (exllamav2's adaptivegptq.py, pack_tensor.cu, q_matrix.cu), independently of the converter. See README.md.
"""
import json
import pathlib

import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).resolve().parent
# name: outputs, [(bits, rows of the group)], bias, stored permutation
MODULES = {
    "four": (32, [(4, 32)] * 3, False, np.int32),
    "mixed": (64, [(8, 32), (6, 32), (5, 32), (4, 32), (3, 64), (2, 32)], False, np.int32),
    "uneven": (32, [(6, 64), (4, 128), (3, 32)], False, np.int16),
    "last_short": (32, [(5, 32), (4, 32), (3, 20)], False, np.int32),
    "padded": (40, [(6, 32), (4, 32)], True, np.int32),
    "lm_head": (50, [(8, 32), (6, 32)], False, np.int32),
}


def pack_column(codes, bits):
    """Codes of one group and one column as words, lowest bits first."""
    stream = 0
    for i, code in enumerate(codes):
        stream |= int(code) << (bits * i)
    words = -(-len(codes) * bits // 32)
    return [stream >> (32 * w) & 0xFFFFFFFF for w in range(words)]


def make(name, outputs, groups, bias, index_type, rng, tensors, expected):
    inputs, padded = sum(rows for _, rows in groups), -(-outputs // 32) * 32
    inverse = rng.permutation(inputs)  # input channel i lies at row inverse[i]
    fields = rng.integers(0, 16, (len(groups), padded))
    fields[:, outputs:] = 0
    greatest = rng.uniform(0.001, 0.05, len(groups)).astype(np.float16)
    words, table, values, first = [], [], np.zeros((inputs, outputs), np.float16), 0
    for g, (bits, rows) in enumerate(groups):
        codes = rng.integers(0, 1 << bits, (rows, padded))
        codes[:, outputs:] = 1 << (bits - 1)
        table += [bits, len(words)]
        words += np.array([pack_column(codes[:, n], bits) for n in range(padded)]).T.tolist()
        unit = np.float16(np.float16(1 / 256) * greatest[g])
        scale = ((fields[g] + 1) ** 2).astype(np.float16) * unit
        values[first:first + rows] = ((codes - (1 << (bits - 1))).astype(np.float16) * scale)[:, :outputs]
        first += rows
    packed = np.zeros((len(groups), padded // 8), np.uint32)
    for n in range(padded):
        packed[:, n // 8] |= fields[:, n].astype(np.uint32) << np.uint32(4 * (n % 8))
    tensors[f"{name}.q_weight"] = np.array(words, np.uint32).view(np.int32)
    tensors[f"{name}.q_scale"] = packed.view(np.int32)
    tensors[f"{name}.q_scale_max"] = greatest
    tensors[f"{name}.q_groups"] = np.array(table, np.int16)
    tensors[f"{name}.q_invperm"] = inverse.astype(index_type)
    if bias:
        tensors[f"{name}.bias"] = rng.standard_normal(outputs).astype(np.float16)
    expected[f"{name}.weight"] = np.ascontiguousarray(values[inverse].T)  # [out, in]


def main():
    rng = np.random.default_rng(7)
    tensors, expected = {"norm.weight": np.ones(8, np.float16)}, {}
    for name, (outputs, groups, bias, index_type) in MODULES.items():
        make(name, outputs, groups, bias, index_type, rng, tensors, expected)
    (HERE / "mixed").mkdir(exist_ok=True)
    save_file(tensors, HERE / "mixed/model.safetensors", metadata={"format": "pt"})
    save_file(expected, HERE / "mixed.expected.safetensors")
    config = {"vocab_size": 50, "quantization_config": {"quant_method": "exl2", "bits": 4.5, "head_bits": 6}}
    (HERE / "mixed/config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
