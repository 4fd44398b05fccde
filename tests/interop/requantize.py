#!/usr/bin/env python3
"""Requantization: codes and scales that we round to equal those of the libraries, which load the checkpoints and run them

    requantize.py INGOT

Needs torch, safetensors, gguf, mlx, mlx-lm, bitsandbytes, compressed-tensors, transformers; the modules of GPTQModel and AutoAWQ are
asked by gptq_awq.py. tests/data/tiny-llama is rounded to every scheme whose library rounds plainly on a CPU. The library quantizes the
same weights: codes and scales must be equal. Then it loads the checkpoint: every weight that it decodes equals ours. Exit status 77: a
package is missing.
"""
import pathlib
import sys
import tempfile

import _support as support

try:
    import bitsandbytes.functional as bnb
    import gguf
    import mlx.core as mx
    import mlx_lm
    import numpy as np
    import torch
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import quantize
    from compressed_tensors.quantization.utils import calculate_qparams
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, CompressedTensorsConfig
except ImportError as error:
    support.skip(error)

SOURCE = support.TINY_LLAMA
PROMPT, TOKENS = "Once upon a time", 16
failures = []
WEIGHTS = load_file(SOURCE / "model.safetensors")
LINEAR = sorted(name for name in WEIGHTS if name.endswith("_proj.weight"))


def expect(condition, message):
    if not condition:
        failures.append(message)
        print("  FAILED:", message, flush=True)
    return bool(condition)


def written(program, scratch, layout, scheme):
    folder = scratch / f"{layout}-{scheme}"
    support.convert(program, SOURCE, folder, layout, "--scheme", scheme, "--allow", "requantize")
    return folder


def values_of(program, scratch, model):
    """What we decode the model to."""
    folder = scratch / (model.name + "-values")
    support.convert(program, model, folder, "hf", "--scheme", "f32")
    return load_file(folder / "model.safetensors")


def check_gguf(program, scratch):
    for scheme in ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "mxfp4"):
        path = scratch / f"{scheme}.gguf"
        support.convert(program, SOURCE, path, "gguf", "--scheme", scheme, "--allow", "requantize")
        kind, equal, tensors = gguf.GGMLQuantizationType[scheme.upper()], 0, 0
        for tensor in gguf.GGUFReader(path).tensors:
            if tensor.tensor_type != kind or not tensor.name.startswith("blk") or tensor.name.endswith(("_q.weight", "_k.weight")):
                continue  # rows of q and k change places
            block, part = tensor.name.split(".")[1], {"attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_up": "mlp.up_proj",
                                                      "ffn_gate": "mlp.gate_proj", "ffn_down": "mlp.down_proj"}[tensor.name.split(".")[2]]
            expected = gguf.quants.quantize(WEIGHTS[f"model.layers.{block}.{part}.weight"].float().numpy(), kind)
            tensors += 1
            equal += expect(np.array_equal(expected, tensor.data.reshape(expected.shape)), f"{scheme}: {tensor.name} is not what gguf.quants makes")
        expect(tensors == 20, f"{scheme}: {tensors} matrices of that type, expected 20")
        support.figure(f"gguf {scheme}: {equal} of {tensors} matrices equal gguf.quants byte for byte")


def check_mlx(program, scratch):
    for scheme, bits, group in (("4bit", 4, 64), ("8bit-g32", 8, 32), ("3bit-g128", 3, 128), ("6bit", 6, 64)):
        folder = written(program, scratch, "mlx", scheme)
        tensors = mx.load(str(folder / "model.safetensors"))
        equal = 0
        names = LINEAR + ["model.embed_tokens.weight"]
        for name in names:
            weight = mx.array(WEIGHTS[name].float().numpy()).astype(mx.bfloat16)
            expected = mx.quantize(weight, group_size=group, bits=bits)
            module = name.removesuffix(".weight")
            got = [tensors[name], tensors[module + ".scales"], tensors[module + ".biases"]]
            equal += expect(all(bool(mx.array_equal(a, b)) for a, b in zip(expected, got)), f"mlx {scheme}: {name} is not what mx.quantize makes")
        model, tokenizer = mlx_lm.load(str(folder))
        text = mlx_lm.generate(model, tokenizer, prompt=PROMPT, max_tokens=TOKENS)
        expect(len(text.strip()) > 8, f"mlx {scheme}: mlx-lm generates {text!r}")
        support.figure(f"mlx {scheme}: {equal} of {len(names)} matrices equal mx.quantize (codes, scales, biases); mlx-lm: {text.strip()[:40]!r}")


def greedy(model, tokenizer):
    ids = tokenizer(PROMPT, return_tensors="pt")
    with torch.no_grad():
        out = model.generate(**ids, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
    return tokenizer.decode(out[0][ids["input_ids"].shape[1]:], skip_special_tokens=True).strip()


def check_bnb(program, scratch):
    tokenizer = AutoTokenizer.from_pretrained(SOURCE)
    for scheme, table, block in (("nf4", "nf4", 64), ("fp4", "fp4", 64), ("nf4-g128", "nf4", 128)):
        folder = written(program, scratch, "bnb", scheme)
        tensors, equal = load_file(folder / "model.safetensors"), 0
        for name in LINEAR:
            codes, state = bnb.quantize_4bit(WEIGHTS[name].float(), quant_type=table, blocksize=block)
            same = torch.equal(codes, tensors[name]) and torch.equal(state.absmax, tensors[name + ".absmax"])
            equal += expect(same, f"bnb {scheme}: {name} is not what bitsandbytes makes")
        text = check_transformers(program, scratch, folder, tokenizer, lambda module: bnb.dequantize_4bit(module.weight.data, module.weight.quant_state))
        support.figure(f"bnb {scheme}: {equal} of {len(LINEAR)} matrices equal quantize_4bit; transformers: {text[:40]!r}")
    folder = written(program, scratch, "bnb", "int8")
    tensors, equal = load_file(folder / "model.safetensors"), 0
    for name in LINEAR:
        codes, scale, _ = bnb.int8_vectorwise_quant(WEIGHTS[name].half())
        same = torch.equal(codes, tensors[name]) and torch.equal(scale, tensors[name.removesuffix("weight") + "SCB"])
        equal += expect(same, f"bnb int8: {name} is not what bitsandbytes makes")
    text = check_transformers(program, scratch, folder, tokenizer, None)
    support.figure(f"bnb int8: {equal} of {len(LINEAR)} matrices equal int8_vectorwise_quant; transformers: {text[:40]!r}")


def check_transformers(program, scratch, folder, tokenizer, decode, **options):
    """Loads the checkpoint; its decoded weights, rounded to their own type, equal ours. Returns its text."""
    ours = values_of(program, scratch, folder)
    model = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu", **options)
    modules = dict(model.named_modules())
    for name in LINEAR if decode else []:
        theirs = decode(modules[name.removesuffix(".weight")])
        expect(torch.equal(theirs, ours[name].to(theirs.dtype)), f"{folder.name}: transformers has other values in {name}")
    text = greedy(model, tokenizer)
    expect(len(text) > 8, f"{folder.name}: transformers generates {text!r}")
    return text


CT = {
    "w4a16": dict(num_bits=4, symmetric=True, strategy="group", group_size=128),
    "4bit-g64-asym": dict(num_bits=4, symmetric=False, strategy="group", group_size=64),
    "w8a16": dict(num_bits=8, symmetric=True, strategy="channel"),
    "int8": dict(num_bits=8, symmetric=True, strategy="channel"),
    "fp8": dict(num_bits=8, type="float", symmetric=True, strategy="channel"),
}


def check_compressed(program, scratch):
    tokenizer = AutoTokenizer.from_pretrained(SOURCE)
    for scheme, arguments in CT.items():
        folder = written(program, scratch, "compressed-tensors", scheme)
        args = QuantizationArgs(**arguments)
        tensors, equal = load_file(folder / "model.safetensors"), 0
        for name in LINEAR:
            weight = WEIGHTS[name]
            groups = weight.unflatten(1, (-1, args.group_size or weight.shape[1]))
            scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
            expected = quantize(weight, scale, zero, args)
            got = tensors[name] if name in tensors else unpack_from_int32(tensors[name + "_packed"], args.num_bits, weight.shape)
            same = torch.equal(expected.float(), got.float()) and torch.equal(scale.float(), tensors[name + "_scale"].float())
            equal += expect(same, f"compressed-tensors {scheme}: {name} is not what the library makes")
        decode = lambda module: module.weight.data
        text = check_transformers(program, scratch, folder, tokenizer, decode, quantization_config=CompressedTensorsConfig(run_compressed=False))
        support.figure(f"compressed-tensors {scheme}: {equal} of {len(LINEAR)} matrices equal the library's; transformers: {text[:40]!r}")


def check_fp8(program, scratch):
    for scheme in ("fp8-block", "fp8-row", "fp8-tensor"):
        folder = written(program, scratch, "fp8", scheme)
        tensors, equal = load_file(folder / "model.safetensors"), 0
        for name in LINEAR:
            weight = WEIGHTS[name].float()
            rows, cols = weight.shape
            height, width = {"fp8-block": (128, 128), "fp8-row": (1, cols), "fp8-tensor": (rows, cols)}[scheme]
            padded = torch.nn.functional.pad(weight, (0, -cols % width, 0, -rows % height))
            blocks = padded.unflatten(0, (-1, height)).unflatten(-1, (-1, width))
            scale = blocks.abs().amax((1, 3), keepdim=True) / 448
            codes = (blocks / scale).clamp(-448, 448).to(torch.float8_e4m3fn).flatten(2, 3).flatten(0, 1)[:rows, :cols]
            got = tensors[name + "_scale_inv"]
            same = torch.equal(codes.float(), tensors[name].float()) and torch.equal(scale.flatten(), got.flatten())
            equal += expect(same, f"fp8 {scheme}: {name} is not what torch makes")
        support.figure(f"fp8 {scheme}: {equal} of {len(LINEAR)} matrices equal torch's casts")


def main(program):
    with tempfile.TemporaryDirectory() as scratch:
        for check in (check_gguf, check_mlx, check_bnb, check_compressed, check_fp8):
            try:
                check(program, pathlib.Path(scratch))
            except Exception as error:  # the other libraries are still asked
                expect(False, f"{check.__name__}: {type(error).__name__}: {error}")
    for failure in failures:
        print("FAILED", failure)
    return 1 if failures else 0


sys.exit(main(sys.argv[1]))
