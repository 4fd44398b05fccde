#!/usr/bin/env python3
"""Modules quantized by HQQ, as HQQLinear.state_dict() saves them in safetensors, and the values that HQQ gives them.

Needs torch, hqq, safetensors, numpy. A directory per dtype of scales and zero points (f16, bf16, f32, and f16 with words viewed as
floats); every module of a directory is another combination of bits, axis, group size and options. Expected values: HQQ's own
Quantizer.dequantize() with the stored scales and zero points, computing in binary64 and rounding once to binary32; in the type that the
model computes in, HQQ rounds after the subtraction and after the product, which is no property of the file.
"""
import pathlib

import torch
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear, Quantizer
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
BITS = (8, 6, 5, 4, 3, 2, 1.58, 1)
SHAPES = ((24, 32), (16, 40), (16, 72))


def expected(layer):
    meta = dict(layer.meta, scale=layer.meta["scale"].double(), zero=layer.meta["zero"].double(), compute_dtype=torch.float64)
    return Quantizer.dequantize(layer.W_q.data, meta).float().contiguous()


def module(shape, bits, axis, group, dtype, **options):
    linear = torch.nn.Linear(shape[1], shape[0], bias=shape == SHAPES[0] and group is not None)
    config = BaseQuantizeConfig(nbits=bits, group_size=group, axis=axis)
    config["weight_quant_params"].update(options)
    return HQQLinear(linear, config, compute_dtype=dtype, device="cpu")


def write(name, layers):
    (HERE / name).mkdir(exist_ok=True)
    tensors, values = {}, {}
    for key, layer in layers.items():
        for part, tensor in layer.state_dict().items():
            tensors[f"{key}.{part}"] = tensor.data.contiguous() if torch.is_tensor(tensor) else torch.tensor(tensor)
        values[f"{key}.weight"] = expected(layer)
    tensors["norm.weight"] = torch.ones(8)
    save_file(tensors, HERE / name / "model.safetensors", metadata={"format": "pt"})
    save_file(values, HERE / f"{name}.expected.safetensors")
    (HERE / name / "config.json").write_text('{"quantization_config": {"quant_method": "hqq", "quant_config": {}}}\n')


def label(bits):
    return str(bits).replace(".", "_")


def main():
    torch.manual_seed(1)
    layers = {}
    for bits in BITS:
        for axis in (0, 1):
            for group in (8, None):
                shape = SHAPES[len(layers) % 2]
                layers[f"b{label(bits)}_axis{axis}_g{group}"] = module(shape, bits, axis, group, torch.float16)
    layers["flat_rows"] = module(SHAPES[2], 4, 1, 16, torch.float16)  # groups run over the ends of rows
    layers["flat_columns"] = module((20, 36), 4, 0, 16, torch.float16)  # neither rows nor columns divide
    layers["three_odd"] = module((17, 24), 3, 1, 8, torch.float16)
    layers["rounded_zero"] = module((16, 24), 4, 1, 8, torch.float16, round_zero=True, optimize=False)
    layers["one_scale"] = module((16, 24), 4, 1, None, torch.float16, channel_wise=False, optimize=False)
    write("f16", layers)
    write("bf16", {f"b{label(bits)}_axis{axis}": module((16, 24), bits, axis, 8, torch.bfloat16) for bits in (4, 3, 8) for axis in (0, 1)})
    write("f32", {f"b{label(bits)}_axis{axis}": module((16, 24), bits, axis, 8, torch.float32) for bits in (4, 2, 1) for axis in (0, 1)})
    write("viewed", {f"b{label(bits)}": module((16, 24), bits, 1, 8, torch.float16, view_as_float=True) for bits in (8, 4, 3, 2, 1)})


if __name__ == "__main__":
    main()
