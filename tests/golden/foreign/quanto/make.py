#!/usr/bin/env python3
"""Modules quantized by optimum-quanto, as its state_dict() saves them in safetensors, and the values that quanto gives them.

Needs torch, optimum-quanto, safetensors. A directory per type of the parameters (f16, bf16, f32). Expected values: quanto's own
dequantize() with the stored scales and shifts, computing in binary64 and rounding once to binary32; in the type that the model is loaded in,
quanto rounds after the product and after the subtraction, which is no property of the file.
"""
import json
import pathlib

import torch
from optimum.quanto import freeze, qfloat8_e4m3fn, qfloat8_e4m3fnuz, qfloat8_e5m2, qint2, qint4, qint8, quantization_map, quantize
from optimum.quanto.tensor import QBitsTensor
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
TYPES = {"int8": qint8, "int4": qint4, "int2": qint2, "float8": qfloat8_e4m3fn, "float8_e5m2": qfloat8_e5m2, "float8_fnuz": qfloat8_e4m3fnuz}
# Inputs: below 128 one group per row; 160 has no group size of 32 n below 128 but 32; 192 takes 96; 256 takes 128; 130 takes none.
SHAPES = {"small": (18, 20), "odd": (7, 24), "g32": (5, 160), "g96": (16, 192), "g128": (3, 256), "row130": (2, 130)}


def expected(weight):
    wide = weight._scale.double()
    if isinstance(weight, QBitsTensor):
        from optimum.quanto.tensor.grouped import ungroup
        data = weight._data.unpack()
        shift = weight._shift
        values = wide * (data.double() - shift.double()) if not shift.dtype.is_floating_point else wide * data.double() - shift.double()
        values = ungroup(values, axis=weight.axis, orig_shape=weight.shape)
    else:
        values = wide * weight._data.double()
    # The library's own result, where it computes in binary32 with the same parameters, differs by its roundings only.
    assert torch.allclose(values.float(), weight.dequantize().float(), rtol=2e-2, atol=1e-2)
    return values.float().contiguous()


class Modules(torch.nn.Module):
    def __init__(self, dtype, types):
        super().__init__()
        for name in types:
            for label, (out, into) in SHAPES.items():
                # A bias tells the number of outputs; the module without one leaves it to config.json.
                module = torch.nn.Linear(into, out, bias=label != "g128", dtype=dtype)
                self.add_module(f"{name}_{label}", module)
        self.conv = torch.nn.Conv2d(4, 6, 3, dtype=dtype)
        self.norm = torch.nn.LayerNorm(8, dtype=dtype)


def write(name, dtype, types, conv):
    model = Modules(dtype, types)
    for path, module in model.named_children():
        kind = conv if path == "conv" else TYPES.get(path.rsplit("_", 1)[0])
        if kind is not None:
            quantize(model, weights=kind, include=[path])
    freeze(model)
    (HERE / name).mkdir(exist_ok=True)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, HERE / name / "model.safetensors", metadata={"format": "pt"})
    values = {f"{path}.weight": expected(module.weight) for path, module in model.named_children() if hasattr(module.weight, "_scale")}
    save_file(values, HERE / f"{name}.expected.safetensors")
    (HERE / name / "config.json").write_text('{"hidden_size": 256, "quantization_config": {"quant_method": "quanto"}}\n')
    (HERE / name / "quanto_qmap.json").write_text(json.dumps(quantization_map(model), indent=1) + "\n")


def main():
    torch.manual_seed(1)
    write("f16", torch.float16, ("int4", "int2"), qint8)
    write("bf16", torch.bfloat16, ("int8", "float8", "float8_e5m2"), qint4)
    write("f32", torch.float32, ("int4", "float8_fnuz"), qint2)


if __name__ == "__main__":
    main()
