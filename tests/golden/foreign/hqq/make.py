#!/usr/bin/env python3
"""Modules quantized by HQQ, as HQQLinear.state_dict() saves them in safetensors and save_quantized() in a file of torch.save, and the
values that HQQ gives them.

Needs torch, hqq, safetensors, numpy. A directory per dtype of scales and zero points (f16, bf16, f32, and f16 with words viewed as
floats); every module of a directory is another combination of bits, axis, group size and options. Expected values: HQQ's own
Quantizer.dequantize() with the stored scales and zero points, computing in binary64 and rounding once to binary32; in the type that the
model computes in, HQQ rounds after the subtraction and after the product, which is no property of the file.
"""
import pathlib

import torch
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear, Quantizer
from hqq.models.hf.base import AutoHQQHFModel
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


class Layers(torch.nn.Module):
    """Paths with dots, as those of a model."""

    def __init__(self, layers):
        super().__init__()
        self.layers = torch.nn.ModuleDict(layers)
        self.norm = torch.nn.LayerNorm(8)


def write_own(name, layers, with_meta=False):
    """The file of HQQ's save_quantized(). `with_meta`: as older versions wrote it, which load_state_dict() still takes."""
    (HERE / name).mkdir(exist_ok=True)
    weights = AutoHQQHFModel.serialize_weights(Layers(layers))
    weights = {key: state for key, state in weights.items() if key == "norm" or "W_q" in state}
    for path, layer in layers.items() if with_meta else ():
        state = weights[f"layers.{path}"]
        meta = {key: value for key, value in state.items() if key not in ("W_q", "bias", "offload_meta", "stores_quant_config")}
        weights[f"layers.{path}"] = {"W_q": state["W_q"], "meta": meta, "bias": state.get("bias")}
        again = HQQLinear(None, None, compute_dtype=torch.float16, device="cpu", initialize=False)
        again.load_state_dict(dict(weights[f"layers.{path}"]))
        assert torch.equal(again.dequantize(), layer.dequantize())
    torch.save(weights, HERE / name / "qmodel.pt")
    save_file({f"layers.{path}.weight": expected(layer) for path, layer in layers.items()}, HERE / f"{name}.expected.safetensors")
    (HERE / name / "config.json").write_text('{}\n')


def write_own_forms():
    torch.manual_seed(2)
    half = torch.float16
    write_own("own", {"b4": module((24, 32), 4, 1, 8, half), "b3": module((24, 32), 3, 0, 8, half), "b1_58": module((16, 40), 1.58, 1, 8, half),
                      "b8": module((16, 40), 8, 1, None, half), "rows": module((16, 40), 2, 1, None, half)})
    write_own("own_meta", {"b4": module((24, 32), 4, 0, 8, half), "b2": module((16, 40), 2, 1, 8, half)}, with_meta=True)


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
    write_own_forms()


if __name__ == "__main__":
    main()
