#!/usr/bin/env python3
"""What we write loads in the owning libraries with the values that we decode, and talks as these values do in float32

    written_models.py INGOT [FORM ...]

Sources are tests/data/tiny-llama and, when INGOT_TEST_MODELS holds it, SmolLM2-135M (GGUF Q4_1; exact float32 weights are made of it
first). Each is rounded to every form below. The library's decoded weights are compared with ours, rounded to its own type; then the greedy
tokens of transformers in float32 with our values with what the library answers. GPTQ and AWQ: gptq_awq.py, which needs other packages.
Needs torch, transformers, accelerate, compressed-tensors, bitsandbytes, mlx-lm, gguf and llama-cpp-python; a form whose library is missing
is named and left out. Exit status 77: transformers is missing.
"""
import gc
import pathlib
import shutil
import sys
import tempfile

import _support as support

try:
    import numpy as np
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, CompressedTensorsConfig
except ImportError as error:
    support.skip(error)

PROMPT, TOKENS = "Once upon a time", 24
failures = []


def expect(condition, message):
    if not condition:
        failures.append(message)
        print("  FAILED:", message, flush=True)


def of_transformers(directory, **options):
    """Decoded values by name, and logits(ids)."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager", **options).float().eval()
    return dict(model.state_dict()), lambda ids: model(torch.tensor([ids])).logits[0].float().numpy()


def load_compressed(directory):
    return of_transformers(directory, quantization_config=CompressedTensorsConfig(dequantize=True))


def load_bnb(directory):
    import bitsandbytes as bnb
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager", device_map="cpu").eval()
    values = dict(model.state_dict())
    for path, module in model.named_modules():
        if isinstance(module, bnb.nn.Linear4bit):
            state = module.weight.quant_state
            kept, state.dtype = state.dtype, torch.float32
            values[f"{path}.weight"] = bnb.functional.dequantize_4bit(module.weight.data, state)
            state.dtype = kept
            module.compute_dtype, module.compute_type_is_set = torch.float32, True
        elif isinstance(module, bnb.nn.Linear8bitLt):
            scales = module.weight.SCB if module.weight.SCB is not None else module.state.SCB
            values[f"{path}.weight"] = bnb.functional.int8_vectorwise_dequant(module.weight.data, scales)
    return values, lambda ids: model(torch.tensor([ids])).logits[0].float().numpy()


def load_mlx(directory):
    import mlx.core as mx
    import mlx_lm
    from mlx.utils import tree_flatten
    mx.set_default_device(mx.cpu)
    model, _ = mlx_lm.load(str(directory))
    values = {name: torch.from_numpy(np.array(value.astype(mx.float32))) for name, value in tree_flatten(model.parameters())
              if value.dtype in (mx.float32, mx.float16, mx.bfloat16)}
    for path, module in model.named_modules():
        if hasattr(module, "scales"):
            wide = getattr(module, "biases", None) is not None
            scales, biases = (module.scales.astype(mx.float32), module.biases.astype(mx.float32)) if wide else (module.scales, None)
            values[f"{path}.weight"] = torch.from_numpy(np.array(mx.dequantize(
                module.weight, scales, biases, group_size=module.group_size, bits=module.bits, mode=module.mode, dtype=mx.float32)))
    model.set_dtype(mx.float32)
    return values, lambda ids: np.array(model(mx.array([ids]))[0].astype(mx.float32))


def load_gguf(path):
    """Values as the gguf package decodes them, under the names of the reader of transformers; logits of llama.cpp."""
    import gguf
    llama = support.LlamaCpp(path)
    values = {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in gguf.GGUFReader(path).tensors}
    return values, llama.logits


# Form -> layout, --scheme, loader. `loose`: the library also rounds activations, or computes in less than float32: tokens are not compared.
FORMS = {
    "bnb nf4": ("bnb", "nf4", load_bnb), "bnb fp4": ("bnb", "fp4", load_bnb), "bnb int8": ("bnb", "int8", load_bnb),
    "mlx 4-bit": ("mlx", "4bit", load_mlx), "mlx 8-bit": ("mlx", "8bit-g32", load_mlx),
    "ct w4a16": ("compressed-tensors", "4bit-g64-sym", load_compressed), "ct w4a16_asym": ("compressed-tensors", "4bit-g64-asym", load_compressed),
    "ct int8": ("compressed-tensors", "int8", load_compressed), "ct fp8": ("compressed-tensors", "fp8-row", load_compressed),
    "ct mxfp4": ("compressed-tensors", "mxfp4", load_compressed), "ct mxfp8": ("compressed-tensors", "mxfp8", load_compressed),
    "ct nvfp4": ("compressed-tensors", "nvfp4", load_compressed), "fp8": ("fp8", "fp8", of_transformers),
    "fp8 row": ("fp8", "fp8-row", of_transformers), "fp8 tensor": ("fp8", "fp8-tensor", of_transformers),
    "gguf q8_0": ("gguf", "q8_0", load_gguf), "gguf q4_0": ("gguf", "q4_0", load_gguf), "gguf q4_1": ("gguf", "q4_1", load_gguf),
    "gguf mxfp4": ("gguf", "mxfp4", load_gguf),
}
LOOSE = {"bnb int8"} | {form for form in FORMS if form.startswith("gguf")}


def last_rounding(ours, theirs, stored, key):
    """Libraries decode into the type of the scales or of the weight they make."""
    scale = stored.get(f"{key}_scale")
    small = scale is not None and scale.dtype in (torch.uint8, torch.float8_e4m3fn)  # compressed-tensors decodes these to bfloat16
    kind = torch.bfloat16 if small else scale.dtype if scale is not None and scale.dtype in (torch.float16, torch.bfloat16) else theirs.dtype
    return ours.to(kind).float(), theirs.to(kind).float()


def compare(target, values, plain, form):
    stored = load_file(target / "model.safetensors") if target.is_dir() else {}
    equal = 0
    for key, ours in plain.items():
        theirs = values.get(key)
        if theirs is None or theirs.shape != ours.shape:
            expect(False, f"{form}: the library has no {key} of shape {tuple(ours.shape)}")
            continue
        ours, theirs = last_rounding(ours, theirs, stored, key)
        # MLX rounds the product, which may be twice as large as the largest value, and the sum.
        tolerance = 1.5 * 2.0 ** -23 * float(ours.abs().max()) if " as mlx" in form else 0.0
        same = torch.equal(ours, theirs) or float((ours - theirs).abs().max()) <= tolerance
        expect(same, f"{form}: {key} differs in {(ours != theirs).sum()} of {ours.numel()} values")
        equal += same
    return equal


def compare_gguf(program, target, values, form, work):
    """By way of our own F32 file of the same tensors: names and order of rows are those of GGUF on both sides."""
    import gguf
    plain = support.convert(program, target, work / "plain.gguf", "gguf", "--scheme", "f32")
    equal = 0
    for tensor in gguf.GGUFReader(plain).tensors:
        same = np.array_equal(np.asarray(tensor.data), values[tensor.name].reshape(tensor.data.shape))
        expect(same, f"{form}: {tensor.name} differs")
        equal += same
    plain.unlink()
    return equal


@torch.no_grad()
def check_form(program, source, name, form, work):
    layout, scheme, load = FORMS[form]
    label = f"{name} as {form}"
    target = support.convert(program, source, work / ("out.gguf" if layout == "gguf" else "out"), layout, "--scheme", scheme, "--allow", "requantize")
    directory = support.convert(program, target, work / "plain", "hf", "--scheme", "f32")
    try:
        values, logits = load(target)
    except ImportError as error:
        return f"{form} left out ({error})"
    equal = compare_gguf(program, target, values, label, work) if layout == "gguf" else compare(target, values, load_file(directory / "model.safetensors"), label)
    del values
    reference = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    case = support.reference_case(reference, AutoTokenizer.from_pretrained(source)(PROMPT)["input_ids"], TOKENS)
    faults = support.greedy_faults(logits, case)
    if form not in LOOSE:
        for fault in faults:
            expect(False, f"{label}: {fault}")
    return f"{form} {equal} tensors equal, {TOKENS - len(faults)} of {TOKENS} tokens"


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    forms = sys.argv[2:] or list(FORMS)
    with tempfile.TemporaryDirectory(prefix="ingot-written-") as scratch:
        for name, source in support.float_sources(program, scratch):
            for form in forms:
                work = pathlib.Path(scratch) / "work"
                work.mkdir()
                support.figure(f"{name}: " + check_form(program, source, name, form, work))
                shutil.rmtree(work)
                gc.collect()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
