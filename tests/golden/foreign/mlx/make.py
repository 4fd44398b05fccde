#!/usr/bin/env python3
"""Makes the fixtures of this directory with MLX: quantized tensors and the values that mx.dequantize gives in float32.

    python make.py        (needs mlx; tested with 0.32)

affine/: 2 to 8 bits x groups x types of the scales, each with its own entry in the config; embeddings and stacked experts have the
same three tensors. float/: mxfp4, mxfp8, nvfp4. expected.safetensors beside them. Scales are widened to float32 before mx.dequantize
(to float64 where they are float32 themselves), so that MLX rounds once.
"""
import json
import pathlib

import mlx.core as mx
import numpy as np

HERE = pathlib.Path(__file__).parent
ODD = {"rows_5": (5, 128), "rows_1": (1, 64), "experts": (2, 17, 64), "rows_48": (48, 192)}


def weights(shape, seed):
    rng = np.random.default_rng(seed)
    return mx.array((rng.standard_normal(shape) * 0.05).astype(np.float32))


def save(name, tensors, expected, quantization):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    mx.save_safetensors(str(folder / "model.safetensors"), tensors, metadata={"format": "mlx"})
    mx.save_safetensors(str(HERE / f"{name}.expected.safetensors"), expected)
    config = {"model_type": "fixture", "quantization": quantization, "quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config, indent=4, sort_keys=True) + "\n")


def affine():
    tensors, expected, settings = {}, {}, {"group_size": 64, "bits": 4}
    wide = {mx.float16: mx.float32, mx.bfloat16: mx.float32, mx.float32: mx.float64}

    def add(path, shape, group_size, bits, dtype):
        weight = weights(shape, len(expected)).astype(dtype)
        codes, scales, biases = mx.quantize(weight, group_size=group_size, bits=bits)
        tensors[f"{path}.weight"], tensors[f"{path}.scales"], tensors[f"{path}.biases"] = codes, scales, biases
        values = mx.dequantize(codes, scales.astype(wide[dtype]), biases.astype(wide[dtype]), group_size=group_size, bits=bits)
        expected[f"{path}.weight"] = values.astype(mx.float32)
        if (group_size, bits) != (64, 4):
            settings[path] = {"group_size": group_size, "bits": bits}

    types = [mx.float16, mx.bfloat16, mx.float32]
    for i, bits in enumerate((2, 3, 4, 5, 6, 8)):
        for j, (group_size, inputs) in enumerate(((32, 96), (64, 64), (128, 128))):
            add(f"b{bits}_g{group_size}", (17, inputs), group_size, bits, types[(i + j) % 3])
    for name, shape in ODD.items():
        add(name, shape, 64, 3 if name == "experts" else 4, mx.bfloat16)
    tensors["norm.weight"] = weights((96,), 99).astype(mx.float16)
    expected["norm.weight"] = tensors["norm.weight"].astype(mx.float32)
    save("affine", tensors, expected, settings)


def floats():
    tensors, expected, settings = {}, {}, {"group_size": 32, "bits": 4, "mode": "mxfp4"}
    for mode, group_size, bits in (("mxfp4", 32, 4), ("mxfp8", 32, 8), ("nvfp4", 16, 4)):
        for shape in ((17, 96), (5, 64), (2, 16, 32)):
            path = f"{mode}_{'x'.join(map(str, shape))}"
            codes, scales = mx.quantize(weights(shape, len(expected)), group_size=group_size, bits=bits, mode=mode)
            tensors[f"{path}.weight"], tensors[f"{path}.scales"] = codes, scales
            expected[f"{path}.weight"] = mx.dequantize(codes, scales, group_size=group_size, bits=bits, mode=mode, dtype=mx.float32)
            if mode != "mxfp4":
                settings[path] = {"group_size": group_size, "bits": bits, "mode": mode}
    save("float", tensors, expected, settings)


with mx.stream(mx.cpu):
    affine()
    floats()
