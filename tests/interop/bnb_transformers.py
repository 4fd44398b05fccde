#!/usr/bin/env python3
"""bitsandbytes checkpoints: read with the values of the library, restored byte for byte, run alike; those that we write load in transformers

    bnb_transformers.py INGOT [WORK_DIRECTORY]

Needs torch, transformers, bitsandbytes, safetensors. tests/data/tiny-llama, quantized by transformers in 4 bits (NF4 and FP4, with and
without double quantization) and in 8 bits, is read, restored, written again and run. Exit status 77: a package is missing.
"""
import filecmp
import json
import pathlib
import shutil
import sys
import tempfile

import _support as support

try:
    import bitsandbytes as bnb
    import numpy as np
    import torch
    from safetensors.numpy import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
except ImportError as error:
    support.skip(error)

FORMS = {"nf4": dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32),
         "nf4-double": dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32),
         "fp4": dict(load_in_4bit=True, bnb_4bit_quant_type="fp4", bnb_4bit_compute_dtype=torch.float32),
         "nf4-bf16": dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_quant_storage=torch.bfloat16),
         "int8": dict(load_in_8bit=True)}
PROMPT, TOKENS = "Once upon a time", 40
failures = []


def expect(condition, message):
    if not condition:
        failures.append(message)
        print("  FAILED:", message)


def weights_of(model):
    """module.weight -> float32 values, before the library's last rounding."""
    values = {}
    for path, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if weight is None:
            continue
        if isinstance(module, bnb.nn.Linear4bit):
            state = weight.quant_state
            kept, state.dtype = state.dtype, torch.float32
            values[f"{path}.weight"] = bnb.functional.dequantize_4bit(weight.data, state).float().numpy()
            state.dtype = kept
        elif isinstance(module, bnb.nn.Linear8bitLt):
            scales = weight.SCB if weight.SCB is not None else module.state.SCB
            values[f"{path}.weight"] = bnb.functional.int8_vectorwise_dequant(weight.data, scales).numpy()
        else:
            values[f"{path}.weight"] = weight.detach().float().numpy()
    return values


def compare(values, reference, name):
    ours = load_file(reference / "model.safetensors")
    expect(set(ours) <= set(values), f"{name}: transformers lacks {sorted(set(ours) - set(values))[:3]}")
    for key in sorted(set(ours) & set(values)):
        a, b = ours[key].astype(np.float32), values[key]
        expect(a.shape == b.shape and np.array_equal(a, b), f"{name}: {key} differs")


def check_run(program, directory, values, name):
    """Against transformers computing in float32 with the same values."""
    status, output, error = support.ingot(program, "run", directory, "-p", PROMPT, "-n", TOKENS, "--exact", "--ignore-end", "--json")
    if status != 0:
        return expect(False, f"{name}: run: {error}")
    result = json.loads(output)
    model = AutoModelForCausalLM.from_pretrained(support.TINY_LLAMA, dtype=torch.float32)
    with torch.no_grad():
        for path, module in model.named_modules():
            if f"{path}.weight" in values:
                module.weight.copy_(torch.from_numpy(values[f"{path}.weight"]))
    case = support.reference_case(model.eval(), AutoTokenizer.from_pretrained(support.TINY_LLAMA)(PROMPT)["input_ids"], TOKENS)
    expect(result["prompt_tokens"] == len(case["prompt_ids"]), f"{name}: prompt of {result['prompt_tokens']} tokens")
    for i, (a, b, margin) in enumerate(zip(result["tokens"], case["greedy_ids"], case["margins"])):
        if a != b:
            expect(margin < support.DECISIVE_MARGIN, f"{name}: token {i} is {a}, of transformers {b}, margin {margin:.3g}")
            break


def check_form(program, name, options, work):
    directory = work / name
    quantized = AutoModelForCausalLM.from_pretrained(support.TINY_LLAMA, quantization_config=BitsAndBytesConfig(**options),
                                                     dtype=torch.bfloat16, device_map="cpu")
    quantized.save_pretrained(directory)
    for file in support.TINY_LLAMA.glob("*token*"):
        shutil.copy(file, directory)
    plain = support.convert(program, directory, work / f"{name}-f32", "hf", "--scheme", "f32")
    values = weights_of(AutoModelForCausalLM.from_pretrained(directory, device_map="cpu"))
    compare(values, plain, name)
    stored = support.convert(program, directory, work / f"{name}.ingot", "ingot")
    status, _, error = support.ingot(program, "restore", stored, "-o", work / f"{name}-back")
    expect(status == 0, f"{name}: restore: {error}")
    files = sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    _, different, missing = filecmp.cmpfiles(directory, work / f"{name}-back", files, shallow=False)
    expect(not different and not missing, f"{name}: restored files differ: {different + missing}")
    copy = support.convert(program, stored, work / f"{name}-copy", "bnb")
    again = AutoModelForCausalLM.from_pretrained(copy, device_map="cpu")
    expect(getattr(again, "quantization_method", None) is not None, f"{name}: what we wrote loads unquantized")
    compare(weights_of(again), plain, f"{name} written again")
    check_run(program, directory, values, name)


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    work = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else pathlib.Path(tempfile.mkdtemp(prefix="ingot-bnb-"))
    work.mkdir(exist_ok=True)
    for name, options in FORMS.items():
        print(name, flush=True)
        check_form(program, name, options, work)
    support.figure(f"{len(FORMS)} forms of bitsandbytes read, restored, written again and run")
    if len(sys.argv) <= 2:
        shutil.rmtree(work)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
