#!/usr/bin/env python3
"""Layers packed by GPTQ-for-LLaMa, whose files have no config, and the values that it gives them.

Usage: make.py GPTQ_FOR_LLAMA
Needs torch, numpy, safetensors, and a clone of qwopqwop200/GPTQ-for-LLaMa (git). Three of its ways: the branch old-cuda in a file of torch.save,
the branch cuda with act-order in safetensors, and commit a270974 (20 March 2023: scales in binary32, no g_idx). Its own Quantizer and
QuantLinear.pack make the tensors. Expected values, binary16: what QuantLinear gives for the unit matrix; a270974 runs on a GPU only, its values
are those of old-cuda's formula in binary32, rounded once.
"""
import importlib.util
import inspect
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
BITS, GROUP = 4, 32


def quant_module(commit):
    """Its quant.py of that commit. quant_cuda, the kernels of the GPU, is absent or empty."""
    path = pathlib.Path(tempfile.mkdtemp()) / f"quant_{commit.replace('-', '_')}.py"
    path.write_bytes(subprocess.run(["git", "-C", sys.argv[1], "show", f"{commit}:quant.py"], check=True, capture_output=True).stdout)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    if commit == "a270974":
        sys.modules["quant_cuda"] = type(sys)("quant_cuda")
    spec.loader.exec_module(module)
    sys.modules.pop("quant_cuda", None)
    return module


def packed(quant, outputs, inputs, act_order):
    """A packed layer and its values, of weights as GPTQ leaves them: on the grid."""
    weight = torch.randn(outputs, inputs) * 0.02
    order = torch.randperm(inputs) if act_order else torch.arange(inputs)
    index = torch.empty(inputs, dtype=torch.int32)
    scales, zeros = [], []
    for group in range(inputs // GROUP):
        columns = order[group * GROUP:(group + 1) * GROUP]
        index[columns] = group
        quantizer = quant.Quantizer()
        quantizer.configure(BITS, perchannel=True, sym=False, mse=False)
        quantizer.find_params(weight[:, columns], weight=True)
        scales.append(quantizer.scale)
        zeros.append(quantizer.zero)
    scale, zero, long = torch.cat(scales, 1), torch.cat(zeros, 1), index.long()
    options = dict(bits=BITS, groupsize=GROUP, infeatures=inputs, outfeatures=outputs, bias=False)
    known = inspect.signature(quant.QuantLinear.__init__).parameters
    layer = quant.QuantLinear(**{key: value for key, value in options.items() if key in known})
    half = layer.scales.dtype == torch.float16
    grid = (scale.half().float() if half else scale)[:, long]
    codes = torch.clamp(torch.round(weight / grid) + zero[:, long], 0, 2**BITS - 1)
    linear = torch.nn.Linear(inputs, outputs, bias=False)
    linear.weight.data = grid * (codes - zero[:, long])
    layer.pack(linear, scale.clone(), zero.clone(), *((index,) if "g_idx" in inspect.signature(layer.pack).parameters else ()))
    if half:
        return layer, layer(torch.eye(inputs)).T.contiguous().half()
    return layer, (layer.scales.T[:, long] * (codes - zero[:, long])).contiguous().half()


def write(name, commit, shapes, act_order=False, save=torch.save, suffix="pt"):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    quant = quant_module(commit)
    state, values = {"norm.weight": torch.ones(8, dtype=torch.float16)}, {}
    for i, (outputs, inputs) in enumerate(shapes):
        layer, values[f"layers.{i}.weight"] = packed(quant, outputs, inputs, act_order)
        state.update({f"layers.{i}.{key}": tensor.contiguous() for key, tensor in layer.state_dict().items() if not key.startswith("wf")})
    save(state, folder / f"llama7b-{BITS}bit-{GROUP}g.{suffix}")
    save_file(values, HERE / f"{name}.expected.safetensors")


torch.manual_seed(1)
write("old_cuda", "old-cuda", [(128, 128), (32, 64)])
write("cuda_act_order", "cuda", [(128, 128)], act_order=True, save=save_file, suffix="safetensors")
write("without_g_idx", "a270974", [(256, 256)])
