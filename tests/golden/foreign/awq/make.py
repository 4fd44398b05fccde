#!/usr/bin/env python3
"""Checkpoints in AWQ's packings, packed by AutoAWQ 0.2.9.

Usage: make.py [OUTPUT_DIRECTORY]
Needs torch, transformers, autoawq 0.2.9 (its CUDA kernels are not needed, nor what it imports for calibration: awq_packages.py).
Packing is from_linear of WQLinear_GEMM, _GEMV, _GEMVFast and _Marlin. Expected values are binary16: GEMM from the library's own
dequantize_gemm; the other three exist only as CUDA kernels, whose formulas are evaluated here on the numbers that went in:
scale * (code - zero) rounded once, and for GEMV_FAST the fused scale * code + qzeros rounded once.
"""
import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file
import awq_packages  # noqa: F401, before anything of awq
from awq.modules.linear.gemm import WQLinear_GEMM
from awq.modules.linear.gemv import WQLinear_GEMV
from awq.modules.linear.gemv_fast import WQLinear_GEMVFast
from awq.modules.linear.marlin import WQLinear_Marlin
from awq.utils.packing_utils import dequantize_gemm

HERE = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
random = torch.Generator().manual_seed(20261)
CLASSES = {"gemm": WQLinear_GEMM, "gemv": WQLinear_GEMV, "gemv_fast": WQLinear_GEMVFast, "marlin": WQLinear_Marlin}


def integers(low, high, shape):
    return torch.randint(low, high + 1, shape, generator=random)


def module(version, outputs, inputs, group, bias=False):
    size = inputs if group == -1 else group
    groups = inputs // size
    scales = (integers(512, 1023, (outputs, groups)) / 2**integers(13, 17, (outputs, groups))).half()
    zeros = torch.full((outputs, groups), 8) if version == "marlin" else integers(0, 15, (outputs, groups))
    codes = integers(0, 15, (outputs, inputs))
    spread = lambda rows: rows.repeat_interleave(size, 1)
    linear = torch.nn.Linear(inputs, outputs, bias=bias)
    linear.weight.data = spread(scales.float()) * (codes - spread(zeros))
    transposed = version == "gemm"
    packed = CLASSES[version].from_linear(linear, 4, size, scales=(scales.T.float() if transposed else scales if version != "marlin" else scales.float()).contiguous(),
                                          zeros=None if version == "marlin" else (zeros.T if transposed else zeros).float().contiguous())
    wanted = linear.weight.data.half()
    if version == "gemm":
        wanted = dequantize_gemm(packed.qweight, packed.qzeros, packed.scales, 4, size).T.contiguous()
        assert torch.equal(wanted, linear.weight.data.half())
    if version == "gemv_fast":
        offsets = packed.qzeros[:groups].T.double()
        wanted = (spread(scales.double()) * codes + spread(offsets)).half()
    names = ["qweight", "scales"] + ([] if version == "marlin" else ["qzeros"]) + (["bias"] if bias else [])
    parts = {name: getattr(packed, name).contiguous() for name in names}
    parts["scales"] = parts["scales"].half()
    return parts, wanted


def write(name, modules, version, group_size, more_tensors={}, **more):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tensors, expected = {}, {}
    for prefix, (parts, wanted) in modules.items():
        tensors.update({f"{prefix}.{part}": tensor for part, tensor in parts.items()})
        expected[f"{prefix}.weight"] = wanted
    save_file({**tensors, **more_tensors}, folder / "model.safetensors", {"format": "pt"})
    save_file(expected, HERE / f"{name}.expected.safetensors")
    config = dict(quant_method="awq", zero_point=version != "marlin", group_size=group_size, bits=4, version=version, modules_to_not_convert=None)
    config.update(more)
    (folder / "config.json").write_text(json.dumps({"quantization_config": config}, indent=1) + "\n")


# Also an activation divisor (a tensor "scales" without "qweight"), which stays a plain tensor.
write("gemm", {"a": module("gemm", 64, 64, 32), "b": module("gemm", 32, 96, 32, bias=True), "c": module("gemm", 96, 32, 32)}, "gemm", 32,
      {"model.layers.0.mlp.act.scales": torch.arange(1, 9, dtype=torch.float16) / 4})
write("gemm_column", {"a": module("gemm", 32, 72, -1)}, "GEMM", -1)
write("gemv_g32", {"a": module("gemv", 16, 96, 32), "b": module("gemv", 24, 320, 32)}, "gemv", 32)
write("gemv_g64", {"a": module("gemv", 8, 128, 64), "b": module("gemv", 24, 192, 64, bias=True)}, "gemv", 64)
write("gemv_g128", {"a": module("gemv", 16, 256, 128)}, "gemv", 128)
write("fast_g32", {"a": module("gemv_fast", 32, 128, 32), "b": module("gemv_fast", 8, 64, 32)}, "gemv_fast", 32)
write("fast_g128", {"a": module("gemv_fast", 24, 256, 128)}, "gemv_fast", 128)
write("marlin", {"a": module("marlin", 64, 256, 128)}, "marlin", 128)
parts, wanted = module("gemv_fast", 16, 128, 64)
parts["scaled_zeros"] = parts.pop("qzeros")
write("llm_awq", {"a": (parts, wanted)}, "gemv_fast", 64, backend="llm-awq")
