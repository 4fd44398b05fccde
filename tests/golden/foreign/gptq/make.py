#!/usr/bin/env python3
"""Checkpoints in GPTQ's packings with the values that GPTQModel itself decodes.

Usage: make.py [OUTPUT_DIRECTORY]
Needs torch, transformers, gptqmodel 7.7.0 and, for Marlin, autoawq 0.2.9. gptqmodel need not be installed whole: its source
distribution on the path is enough, what it imports for other purposes is replaced by empty modules (gptqmodel_packages.py).

Codes, zero points and scales are random; TorchLinear.pack_original packs them, convert_gptq_v2_to_v1_format_module makes v1 zero
points, dequantize_weight gives the expected values (binary16, the library's last rounding). Only what is marked "by hand" below is
not the library's own output: files that no released program writes on a CPU (an uneven g_idx, missing or zero g_idx, a wrong label).
Marlin's B and s are AutoAWQ's WQLinear_Marlin under the names that AutoGPTQ uses; the packing code is the same.
"""
import json
import pathlib
import shutil
import sys
import types

import torch
from safetensors.torch import save_file
import gptqmodel_packages  # noqa: F401, before anything of gptqmodel
from gptqmodel.nn_modules.qlinear.torch import TorchLinear
from gptqmodel.quantization import FORMAT
from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "awq"))
TorchLinear.SUPPORTS_PACK_DTYPES = [*TorchLinear.SUPPORTS_PACK_DTYPES, torch.int64]  # its packing code knows the width, its check does not
HERE = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
random = torch.Generator().manual_seed(20260)


def integers(low, high, shape):
    return torch.randint(low, high + 1, shape, generator=random)


def act_order(inputs, group):
    index = torch.empty(inputs, dtype=torch.int32)
    index[torch.randperm(inputs, generator=random)] = torch.arange(inputs, dtype=torch.int32) // group
    return index


def module(outputs, inputs, bits=4, group=32, sym=False, order=False, zeros=(1, None), dtype=torch.int32, planar=False, bias=False,
           v1=False, index=None, scale_type=torch.float16, zero_at=None):
    """Tensors of one packed layer and the values that the library reads from them, [out, in]."""
    size = inputs if group == -1 else group
    groups = -(-inputs // size)
    top = 2**bits - 1
    packed = TorchLinear(bits=bits, group_size=group, sym=sym, desc_act=order, in_features=inputs, out_features=outputs, bias=bias,
                         pack_dtype=dtype, register_buffers=True, format=FORMAT.GPTQ_P if planar else FORMAT.GPTQ_V2)
    index = index if index is not None else act_order(inputs, size) if order else torch.arange(inputs, dtype=torch.int32) // size
    scales = (integers(512, 1023, (outputs, groups)) / 2**integers(13, 17, (outputs, groups))).half()
    zero = torch.full((outputs, groups), 2**(bits - 1)) if sym else integers(zeros[0], zeros[1] or top, (outputs, groups))
    if zero_at is not None:
        zero[zero_at] = 0
    codes = integers(0, top, (outputs, inputs))
    linear = torch.nn.Linear(inputs, outputs, bias=bias)
    long = index.long()
    linear.weight.data = scales.float()[:, long] * (codes - zero[:, long])
    if bias:
        linear.bias.data = scales[:, 0].float()
    packed.pack_original(linear, scales.float(), zero.float(), index)
    packed.scales = packed.scales.to(scale_type)
    packed.optimized = True  # eager: no compiler
    packed.post_init()
    wanted = packed.dequantize_weight().T.contiguous()
    assert torch.equal(wanted, (scales.float()[:, long] * (codes - zero[:, long])).to(wanted.dtype)), "the library lost codes"
    if v1:
        convert_gptq_v2_to_v1_format_module(packed, types.SimpleNamespace(bits=bits, pack_dtype=dtype))
    names = ["qweight", "qzeros", "scales", "g_idx"] + (["bias"] if bias else [])
    return {name: getattr(packed, name).contiguous() for name in names}, wanted


def write(name, modules, bits=4, group_size=32, form="gptq_v2", sym=False, desc_act=False, **more):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tensors, expected = {}, {}
    for prefix, (parts, wanted) in modules.items():
        tensors.update({f"{prefix}.{part}": tensor for part, tensor in parts.items()})
        expected[f"{prefix}.weight"] = wanted
    tensors["model.norm.weight"] = torch.ones(8, dtype=torch.float16)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    save_file(expected, HERE / f"{name}.expected.safetensors")
    config = dict(bits=bits, group_size=group_size, desc_act=desc_act, sym=sym, quant_method="gptq", checkpoint_format=form,
                  pack_dtype="int32", meta={"quantizer": ["gptqmodel:7.7.0"]})
    config.update(more)
    (folder / "config.json").write_text(json.dumps({"quantization_config": config}, indent=1) + "\n")


def drop(parts_and_values, *names):
    parts, wanted = parts_and_values
    return {name: tensor for name, tensor in parts.items() if name not in names}, wanted


write("sym_v1", {"a": module(32, 64, sym=True, v1=True), "b": module(40, 96, sym=True, v1=True, bias=True)}, form="gptq", sym=True)
write("asym_v1", {"a": module(32, 64, zeros=(1, 15), v1=True), "b": module(8, 64, group=16, zeros=(1, 15), v1=True)}, form="gptq")
write("asym_v2", {"a": module(32, 64, zeros=(0, 15)), "b": module(24, 40, group=16, zeros=(0, 15)), "lm_head": module(72, 64, group=-1, zeros=(0, 15))},
      lm_head=True)
# A zero point of 0 in the middle of a word of v1: one is borrowed from the next field.
write("zero_v1_words", {"a": module(16, 64, zeros=(1, 15), v1=True, zero_at=(3, 1))}, form="gptq")
write("zero_v1_top", {"a": module(16, 64, zeros=(1, 15), v1=True, zero_at=(7, 1))}, form="gptq")
for bits in (2, 3, 8):
    write(f"bits{bits}", {"a": module(32, 64, bits=bits, group=16, zeros=(0, None)), "b": module(32, 96, bits=bits, group=-1, zeros=(0, None))},
          bits=bits, group_size=16, dynamic={"b": {"group_size": -1}})
    write(f"bits{bits}_v1", {"a": module(32, 64, bits=bits, v1=True, sym=True)}, bits=bits, form="gptq", sym=True)
write("act_order", {"a": module(32, 64, order=True), "b": module(24, 40, group=16, order=True), "c": module(8, 64, order=True)}, desc_act=True)
write("act_order3", {"a": module(32, 64, bits=3, order=True)}, bits=3, desc_act=True)
write("act_order8", {"a": module(32, 64, bits=8, order=True)}, bits=8, desc_act=True)
write("dynamic", {"model.layers.0.up": module(32, 64, bits=8, group=16), "model.layers.1.up": module(32, 64), "model.layers.1.q": module(32, 64, bits=2)},
      dynamic={r"+:.*\.0\.": {"bits": 8, "group_size": 16}, r".*\.q$": {"bits": 2}, r"-:.*\.down": {}})
for width in (8, 16, 64):
    write(f"pack{width}", {"a": module(32, 64, dtype=getattr(torch, f"int{width}")), "b": module(24, 48, bits=8, group=16, dtype=getattr(torch, f"int{width}"))},
          pack_dtype=f"int{width}", dynamic={"b": {"bits": 8, "group_size": 16}})
for bits in (3, 4, 5, 6, 7):
    write(f"planar{bits}", {"a": module(32, 32, bits=bits, group=16, planar=True, zeros=(0, None))}, bits=bits, group_size=16, form="gptq_p")
write("padding", {"a": module(20, 36, group=16)}, group_size=16)  # words that are not full
# By hand: a label that lies, g_idx missing, zero everywhere, negative, and with groups of unequal sizes.
write("sym_mislabelled", {"a": module(32, 64, sym=True), "b": module(40, 96, sym=True)}, form="gptq", sym=True)
write("no_g_idx", {"a": drop(module(16, 64), "g_idx")})
parts, wanted = module(16, 64)
write("zero_g_idx", {"a": ({**parts, "g_idx": torch.zeros_like(parts["g_idx"])}, wanted)})
parts, wanted = module(16, 64)
write("negative_g_idx", {"a": ({**parts, "g_idx": parts["g_idx"] - 2}, wanted)})
uneven = torch.tensor([0] * 20 + [1] * 44, dtype=torch.int32)[torch.randperm(64, generator=random)]
write("uneven_g_idx", {"a": module(16, 64, index=uneven)}, desc_act=True)

try:
    import awq_packages  # beside ../awq/make.py
    from awq.modules.linear.marlin import WQLinear_Marlin
    for group in (128, -1):
        inputs, size = (128, 128) if group == -1 else (256, group)
        linear = torch.nn.Linear(inputs, 64, bias=False)
        scales = (integers(512, 1023, (64, inputs // size)) / 2**integers(13, 17, (64, inputs // size))).half()
        codes = integers(0, 15, (64, inputs))
        linear.weight.data = scales.float().repeat_interleave(size, 1) * (codes - 8)
        packed = WQLinear_Marlin.from_linear(linear, 4, size, scales=scales.float())
        write("marlin" if group == 128 else "marlin_column",
              {"a": ({"B": packed.qweight.contiguous(), "s": packed.scales.half().contiguous()}, linear.weight.data.half())},
              group_size=group, form="marlin", sym=True)
except ImportError as error:
    print("no Marlin fixtures:", error)
