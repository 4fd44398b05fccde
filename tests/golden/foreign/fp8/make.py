#!/usr/bin/env python3
"""Checkpoints in the FP8, MXFP4 and NVFP4 packings of DeepSeek, ModelOpt, Quark and gpt-oss, with expected values.

    python make.py [OUTPUT_DIRECTORY]        (needs torch; transformers for mxfp4)

The owners' kernels need a GPU, so the values follow their definitions in torch, one line each: DeepSeek's weight_dequant
(float8 * scale in float32, then bfloat16), ModelOpt's (e2m1 * (float(weight_scale) * weight_scale_2) in float32). gpt-oss experts are
decoded by transformers' own convert_moe_packed_tensors on the CPU.
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
random = torch.Generator().manual_seed(20262)
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def save(name, tensors, expected, quantization):
    folder = HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    tensors["norm.weight"] = torch.ones(8, dtype=torch.bfloat16)
    save_file({k: v.clone().contiguous() for k, v in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({k: v.clone().contiguous() for k, v in expected.items()}, HERE / f"{name}.expected.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "fixture", "quantization_config": quantization}) + "\n")


def float8(shape, dtype=torch.float8_e4m3fn):
    return (torch.randn(shape, generator=random) * 100).to(dtype)


def factors(shape):
    return torch.rand(shape, generator=random) * 0.01 + 1e-4


def spread(scale, block, shape):
    return scale.repeat_interleave(block[0], -2)[..., :shape[-2], :].repeat_interleave(block[1], -1)[..., :shape[-1]]


def deepseek():
    tensors, expected = {}, {}
    for name, shape, dtype in (("edges", (130, 200), torch.float32), ("half", (128, 40), torch.bfloat16), ("small", (20, 130), torch.float32)):
        weight, scale = float8(shape), factors((-(-shape[0] // 128), -(-shape[1] // 128))).to(dtype)
        tensors[f"{name}.weight"], tensors[f"{name}.weight_scale_inv"] = weight, scale
        expected[f"{name}.weight"] = (weight.float() * spread(scale.float(), (128, 128), shape)).bfloat16()
    weight, scale = float8((2, 130, 40)), factors((2, 2, 1))
    tensors["experts.gate_up_proj"], tensors["experts.gate_up_proj_scale_inv"] = weight, scale
    expected["experts.gate_up_proj"] = (weight.float() * spread(scale, (128, 128), weight.shape)).bfloat16()
    save("deepseek", tensors, expected, {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]})


def by_row():
    tensors, expected = {}, {}
    for name, shape, scale_shape, dtype in (("tensor", (17, 40), (), torch.float8_e4m3fn), ("one", (5, 33), (1,), torch.float8_e5m2),
                                            ("channel", (17, 40), (17, 1), torch.float8_e4m3fn), ("row", (18, 7), (18,), torch.float8_e4m3fn)):
        weight, scale = float8(shape, dtype), factors(scale_shape)
        tensors |= {f"{name}.weight": weight, f"{name}.weight_scale": scale, f"{name}.input_scale": factors(())}
        expected[f"{name}.weight"] = weight.float() * (scale.unsqueeze(-1) if scale_shape == (18,) else scale)
    tensors["tensor.k_scale"] = factors(())
    save("modelopt_fp8", tensors, expected, {"quant_method": "modelopt", "quant_algo": "FP8"})


def nvfp4():
    tensors, expected = {}, {}
    for name, shape in (("layer", (17, 96)), ("short", (5, 16)), ("experts", (2, 16, 48))):
        codes = torch.randint(0, 256, (*shape[:-1], shape[-1] // 2), generator=random, dtype=torch.uint8)
        scale = (torch.rand((*shape[:-1], shape[-1] // 16), generator=random) * 400).to(torch.float8_e4m3fn)
        second = factors(shape[:-2])
        tensors |= {f"{name}.weight": codes, f"{name}.weight_scale": scale, f"{name}.weight_scale_2": second, f"{name}.input_scale": factors(())}
        values = E2M1[torch.stack((codes & 15, codes >> 4), -1).flatten(-2).long()]
        block = scale.float() * second[..., None, None]
        expected[f"{name}.weight"] = values * block.repeat_interleave(16, -1)
    save("modelopt_nvfp4", tensors, expected, {"quant_method": "modelopt", "quant_algo": "NVFP4"})


def gpt_oss():
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors
    tensors, expected = {}, {}
    for name, (experts, rows, groups) in {"gate_up_proj": (3, 34, 2), "down_proj": (3, 17, 1)}.items():
        blocks = torch.randint(0, 256, (experts, rows, groups, 16), generator=random, dtype=torch.uint8)
        exponents = torch.randint(110, 130, (experts, rows, groups), generator=random, dtype=torch.uint8)
        path = f"model.layers.0.mlp.experts.{name}"
        tensors |= {f"{path}_blocks": blocks, f"{path}_scales": exponents, f"{path}_bias": torch.zeros(experts, rows).bfloat16()}
        expected[f"{path}.weight"] = convert_moe_packed_tensors(blocks, exponents, dtype=torch.bfloat16).transpose(1, 2)
    # Matrices as Quark names them, and DeepSeek's: FP4 experts in int8, FP8 with power-of-two blocks.
    for name, suffix, dtype, scale_dtype in (("quark", "weight_scale", torch.uint8, torch.uint8), ("v4", "scale", torch.int8, torch.float8_e8m0fnu)):
        codes = torch.randint(0, 256, (17, 48), generator=random, dtype=torch.uint8)
        exponents = torch.randint(110, 130, (17, 3), generator=random, dtype=torch.uint8)
        tensors |= {f"{name}.weight": codes.view(dtype), f"{name}.{suffix}": exponents.view(scale_dtype)}
        values = E2M1[torch.stack((codes & 15, codes >> 4), -1).flatten(-2).long()]
        expected[f"{name}.weight"] = values * (2.0 ** (exponents.float() - 127)).repeat_interleave(32, -1)
    weight, exponents = float8((130, 40)), torch.randint(110, 130, (2, 1), generator=random, dtype=torch.uint8)
    tensors |= {"v4_float.weight": weight, "v4_float.scale": exponents.view(torch.float8_e8m0fnu)}
    expected["v4_float.weight"] = weight.float() * spread(2.0 ** (exponents.float() - 127), (128, 128), weight.shape)
    save("gpt_oss", tensors, expected, {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})


deepseek()
by_row()
nvfp4()
gpt_oss()
