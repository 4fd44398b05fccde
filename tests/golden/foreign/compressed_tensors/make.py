#!/usr/bin/env python3
"""Checkpoints in compressed-tensors' packings with the values that the library itself decodes.

    python make.py [OUTPUT_DIRECTORY]        (needs torch and compressed-tensors; tested with 0.20.0)

The library's compressors make all tensors and decode the expected values (in the type that the library rounds to last). By hand are
only files that older releases wrote: fields that straddle no word (before 0.18), signed zero points (before 0.9.4), g_idx (its
groups are put in order before the library decodes, as it did itself then), zero points of symmetric schemes, missing versions.
"""
import json
import pathlib
import sys

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import save_file

HERE = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
random = torch.Generator().manual_seed(20261)


class Checkpoint:
    def __init__(self, name, form, version="0.20.0"):
        self.name, self.tensors, self.expected = name, {}, {}
        self.config = {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed", "ignore": ["lm_head"],
                       "kv_cache_scheme": None, "global_compression_ratio": None, "config_groups": {}, "version": version}
        if version is None:
            del self.config["version"]

    def add(self, module, tensors, expected, args, form):
        for key, value in tensors.items():
            self.tensors[f"{module}.{key}"] = value.clone().contiguous()
        self.expected[f"{module}.weight"] = expected.clone().contiguous()
        weights = json.loads(args.model_dump_json(exclude_none=True))
        self.config["config_groups"][f"group_{len(self.config['config_groups'])}"] = {
            "targets": [module], "weights": weights, "input_activations": None, "output_activations": None, "format": form}

    def save(self):
        folder = HERE / self.name
        folder.mkdir(parents=True, exist_ok=True)
        self.tensors["norm.weight"] = torch.ones(8, dtype=torch.bfloat16)
        save_file(self.tensors, folder / "model.safetensors", metadata={"format": "pt"})
        save_file(self.expected, HERE / f"{self.name}.expected.safetensors")
        config = {"model_type": "fixture", "quantization_config": self.config}
        (folder / "config.json").write_text(json.dumps(config, indent=None) + "\n")


def scales(shape, dtype):
    return (torch.rand(shape, generator=random) * 0.02 + 0.001).to(dtype)


def scale_shape(shape, args):
    *lead, rows, cols = shape
    match args.strategy:
        case "tensor":
            return [1]
        case "channel":
            return [*lead, rows, 1]
        case "group" | "tensor_group":
            return [*lead, rows, -(-cols // args.group_size)]
        case "block":
            return [-(-rows // args.block_structure[0]), -(-cols // args.block_structure[1])]


def compress(form, shape, dtype=torch.float16, **arguments):
    """Tensors of a module, the values decoded from them, and its scheme. Weights reach every code."""
    args = QuantizationArgs(**arguments)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    tool = BaseCompressor.get_value_from_registry(form)
    scale = scales(scale_shape(shape, args), dtype)
    if "mx" in form:
        scale = 2.0 ** torch.randint(-9, 3, scale.shape, generator=random).to(dtype)
    state = {"weight": torch.randn(shape, generator=random).to(dtype) * scale.mean() * 2 ** (args.num_bits - 2), "weight_scale": scale}
    if form == "nvfp4-pack-quantized":
        state["weight_global_scale"] = torch.tensor([5376.3], dtype=torch.float32) / (1 + len(shape))
        state["weight_scale"] = (scale * 4000).to(torch.float8_e4m3fn).to(dtype)
        state["weight"] = torch.randn(shape, generator=random).to(dtype) * 0.05
    if not args.symmetric:
        half = 2 ** (args.num_bits - 1)
        state["weight_zero_point"] = torch.randint(-half, half, scale.shape, generator=random).to(torch.int8)
    compressed = tool.compress(state, scheme)
    return compressed, tool.decompress(compressed, scheme)["weight"], args


def spread_words(stream, bits):
    """The fields of rows (.., n), as releases before 0.18 packed them."""
    per_word = 32 // bits
    padding = -stream.shape[-1] % per_word
    fields = torch.nn.functional.pad(stream.long(), (0, padding)).unflatten(-1, (-1, per_word))
    words = (fields << (torch.arange(per_word) * bits)).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def to_old(tensors, bits):
    """Packed tensors of the library as releases before 0.18 wrote them."""
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
    shape = tensors["weight_shape"].tolist()
    codes = unpack_from_int32(tensors["weight_packed"], bits, shape).long() + 2 ** (bits - 1)
    old = dict(tensors, weight_packed=spread_words(codes, bits))
    if "weight_zero_point" in tensors:
        zeros = unpack_from_int32(tensors["weight_zero_point"], bits, (shape[0], tensors["weight_scale"].shape[-1]), 0)
        old["weight_zero_point"] = spread_words((zeros.long() + 2 ** (bits - 1)).T, bits).T
    return old


def pack_quantized():
    form = "pack-quantized"
    words, old = Checkpoint("pack", form), Checkpoint("pack_old", form, "0.17.1")
    types = [torch.float16, torch.bfloat16, torch.float32]
    for bits in range(1, 9):
        sizes = [((17, 40), {"strategy": "group", "group_size": 8}), ((5, 39), {"strategy": "channel"}), ((3, 37), {"strategy": "tensor"})]
        for i, (shape, strategy) in enumerate(sizes):
            for symmetric in (True, False):
                made = compress(form, shape, types[(bits + i) % 3], num_bits=bits, symmetric=symmetric, **strategy)
                name = f"b{bits}_{strategy['strategy']}_{'sym' if symmetric else 'asym'}"
                words.add(name, *made, form)
                if bits in (3, 5, 6, 7) and strategy["strategy"] != "tensor":
                    old.add(name, to_old(made[0], bits), *made[1:], form)
    for bits in (4, 3):
        words.add(f"experts{bits}", *compress(form, (2, 17, 21), num_bits=bits, strategy="channel"), form)
    words.save()
    old.save()


def by_hand():
    form = "pack-quantized"
    made = Checkpoint("pack_early", form, None)
    tensors, expected, args = compress(form, (16, 64), num_bits=4, symmetric=False, strategy="group", group_size=16)
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
    early = dict(tensors, weight_zero_point=unpack_from_int32(tensors["weight_zero_point"], 4, (16, 4), 0),
                 weight_shape=tensors["weight_shape"].int())
    made.add("signed_zeros", early, expected, args, form)
    index = torch.randperm(64, generator=random) // 16
    order = torch.argsort(index, stable=True)
    ordered, values, args = compress(form, (17, 64), num_bits=4, symmetric=False, strategy="group", group_size=16)
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
    codes, back = unpack_from_int32(ordered["weight_packed"], 4, (17, 64)), torch.argsort(order)
    made.add("act_order", dict(ordered, weight_packed=pack_to_int32(codes[:, back], 4), weight_g_idx=index.int()), values[:, back],
             args, form)
    made.add("no_order", dict(ordered, weight_g_idx=torch.full((64,), -1, dtype=torch.int32)), values, args, form)
    made.add("plain_order", dict(ordered, weight_g_idx=(torch.arange(64) // 16).int()), values, args, form)
    made.save()
    made = Checkpoint("pack_symmetric_zeros", form)
    tensors, expected, args = compress(form, (17, 64), num_bits=4, strategy="group", group_size=32)
    made.add("layer", dict(tensors, weight_zero_point=torch.zeros(17, 2, dtype=torch.int8)), expected, args, form)
    made.save()


def naive():
    made = Checkpoint("naive", "mixed-precision")
    for i, dtype in enumerate((torch.float16, torch.bfloat16, torch.float32)):
        for strategy in ({"strategy": "tensor"}, {"strategy": "channel"}, {"strategy": "group", "group_size": 16}):
            for symmetric in (True, False):
                name = f"int_{i}_{strategy['strategy']}_{'sym' if symmetric else 'asym'}"
                made.add(name, *compress("int-quantized", (17, 32), dtype, num_bits=8, symmetric=symmetric, **strategy), "int-quantized")
        for strategy in ({"strategy": "tensor"}, {"strategy": "channel"}, {"strategy": "block", "block_structure": [16, 32]}):
            shape = (33, 72) if strategy["strategy"] == "block" else (5, 40)
            made.add(f"float_{i}_{strategy['strategy']}", *compress("float-quantized", shape, dtype, num_bits=8, type="float", **strategy),
                     "float-quantized")
    made.save()


def small_floats():
    made = Checkpoint("floats", "mixed-precision")
    for shape in ((17, 96), (5, 32)):
        name = "x".join(map(str, shape))
        made.add(f"nvfp4_{name}", *compress("nvfp4-pack-quantized", shape, torch.bfloat16, num_bits=4, type="float", symmetric=True,
                                            strategy="tensor_group", group_size=16), "nvfp4-pack-quantized")
        made.add(f"mxfp4_{name}", *compress("mxfp4-pack-quantized", shape, torch.bfloat16, num_bits=4, type="float", symmetric=True,
                                            strategy="group", group_size=32, scale_dtype=torch.uint8), "mxfp4-pack-quantized")
        made.add(f"mxfp8_{name}", *compress("mxfp8-quantized", shape, torch.bfloat16, num_bits=8, type="float", symmetric=True,
                                            strategy="group", group_size=32, scale_dtype=torch.uint8), "mxfp8-quantized")
    made.save()


pack_quantized()
by_hand()
naive()
small_floats()
