#!/usr/bin/env python3
"""compressed-tensors and FP8 checkpoints: values of transformers, restored byte for byte, run; those that we write load with the same values

    compressed_tensors_transformers.py INGOT [WORK_DIRECTORY]

Needs torch, transformers, compressed-tensors, safetensors. tests/data/tiny-llama, quantized by the library's compressors in several
formats and in DeepSeek's FP8 blocks, is read, restored, written again and run. GPTQ, AWQ, MLX and compressed-tensors checkpoints of the
shared models become compressed-tensors ones: transformers loads them. Every weight that it decodes equals ours, rounded to the type of
the scales as the library does. Exit status 77: a package is missing.
"""
import filecmp
import json
import pathlib
import shutil
import sys
import tempfile

import _support as support

try:
    import torch
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, CompressedTensorsConfig
except ImportError as error:
    support.skip(error)

FORMATS = {
    "pack4": ("pack-quantized", dict(num_bits=4, symmetric=False, strategy="group", group_size=32)),
    "pack3": ("pack-quantized", dict(num_bits=3, strategy="channel")),
    "int8": ("int-quantized", dict(num_bits=8, strategy="channel")),
    "fp8-block": ("float-quantized", dict(num_bits=8, type="float", strategy="block", block_structure=[128, 128])),
    "fp8-group": ("float-quantized", dict(num_bits=8, type="float", strategy="group", group_size=32)),
    "fp8-channel": ("float-quantized", dict(num_bits=8, type="float", strategy="channel")),
    "nvfp4": ("nvfp4-pack-quantized", dict(num_bits=4, type="float", strategy="tensor_group", group_size=16)),
    "mxfp4": ("mxfp4-pack-quantized", dict(num_bits=4, type="float", strategy="group", group_size=32, scale_dtype=torch.uint8)),
}
PROMPT, TOKENS = "Once upon a time", 40
failures = []


def expect(condition, message):
    if not condition:
        failures.append(message)
        print("  FAILED:", message, flush=True)


def quantize(weight, form, args):
    """Tensors of the library for one module; scales by the greatest magnitude."""
    rows, cols = weight.shape
    group = args.group_size or cols
    if args.strategy == "block":
        height, width = args.block_structure
        padded = torch.nn.functional.pad(weight, (0, -cols % width, 0, -rows % height))
        great = padded.abs().unflatten(0, (-1, height)).unflatten(-1, (-1, width)).amax((1, 3))
    else:
        great = weight.abs().unflatten(1, (-1, group)).amax(-1)
    state = {"weight": weight.bfloat16()}
    top = {"pack-quantized": 2 ** (args.num_bits - 1) - 1, "int-quantized": 127, "float-quantized": 448}.get(form, 6)
    scale = great / top
    if form == "nvfp4-pack-quantized":
        state["weight_global_scale"] = (448 * 6 / weight.abs().max()).reshape(1).float()
        scale = (scale * state["weight_global_scale"]).to(torch.float8_e4m3fn)
    if form == "mxfp4-pack-quantized":
        scale = 2.0 ** torch.floor(torch.log2(scale))
    state["weight_scale"] = scale.bfloat16()
    if not args.symmetric:
        state["weight_zero_point"] = torch.randint(-3, 3, scale.shape).to(torch.int8)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    return BaseCompressor.get_value_from_registry(form).compress(state, scheme)


def prepare(directory):
    directory.mkdir()
    for file in support.TINY_LLAMA.iterdir():
        if "token" in file.name or file.name == "generation_config.json":
            shutil.copy(file, directory)
    config = json.loads((support.TINY_LLAMA / "config.json").read_text())
    return load_file(support.TINY_LLAMA / "model.safetensors"), config


def is_linear(name):
    return name.endswith("_proj.weight")


def make_compressed(directory, form, arguments):
    tensors, config = prepare(directory)
    args = QuantizationArgs(**arguments)
    for name in [name for name in tensors if is_linear(name)]:
        module = name.removesuffix(".weight")
        weight = tensors.pop(name).float()
        tensors |= {f"{module}.{key}": value.contiguous() for key, value in quantize(weight, form, args).items()}
    config["quantization_config"] = {
        "quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed", "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": json.loads(args.model_dump_json()), "format": form}},
        "version": "0.20.0"}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(config))


def make_deepseek(directory):
    tensors, config = prepare(directory)
    args = QuantizationArgs(**FORMATS["fp8-block"][1])
    for name in [name for name in tensors if is_linear(name)]:
        made = quantize(tensors.pop(name).float(), "float-quantized", args)
        tensors |= {name: made["weight"], f"{name}_scale_inv": made["weight_scale"].float()}
    config["quantization_config"] = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
                                     "modules_to_not_convert": ["lm_head"]}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(config))


def loaded(directory, dtype=torch.bfloat16):
    """The model of transformers with decoded weights (of compressed ones, it cannot take packed zero points)."""
    method = json.loads((directory / "config.json").read_text())["quantization_config"]["quant_method"]
    options = dict(quantization_config=CompressedTensorsConfig(dequantize=True)) if method == "compressed-tensors" else {}
    return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, **options).eval()


def compare(directory, plain, name):
    model = loaded(directory)
    theirs, stored = model.state_dict(), load_file(directory / "model.safetensors")
    compared = 0
    for key, ours in load_file(plain / "model.safetensors").items():
        if not any(f"{key}{suffix}" in stored for suffix in ("_scale", "_scale_inv")):
            continue
        value = theirs.get(key)
        if value is None or value.shape != ours.shape:
            expect(False, f"{name}: transformers has no decoded {key}")
            continue
        scale = stored.get(f"{key}_scale", stored.get(f"{key}_scale_inv"))
        rounding = scale.dtype if scale.dtype in (torch.float16, torch.bfloat16) and value.dtype != torch.float32 else value.dtype
        ours = ours.to(rounding).to(value.dtype)
        expect(torch.equal(ours, value), f"{name}: {key} differs in {(ours != value).sum()} of {value.numel()} values")
        compared += 1
    expect(compared > 0, f"{name}: nothing is quantized")
    return compared


def check_run(program, directory, plain, name):
    """The tokens of `ingot run` are those of transformers with the same weights in float32."""
    status, output, error = support.ingot(program, "run", directory, "-p", PROMPT, "-n", TOKENS, "--exact", "--ignore-end", "--json")
    if status != 0:
        return expect(False, f"{name}: run: {error}")
    result = json.loads(output)
    model = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(plain)(PROMPT)["input_ids"]
    case = support.reference_case(model, ids, TOKENS)
    for i, (a, b, margin) in enumerate(zip(result["tokens"], case["greedy_ids"], case["margins"])):
        if a != b:
            expect(margin < 0.05, f"{name}: token {i} is {a}, of transformers {b}, margin {margin:.3g}")
            break


def check_made(program, directory, layout, work):
    name = directory.name
    plain = support.convert(program, directory, work / f"{name}-f32", "hf", "--scheme", "f32")
    compare(directory, plain, name)
    stored = support.convert(program, directory, work / f"{name}.ingot", "ingot")
    status, _, error = support.ingot(program, "restore", stored, "-o", work / f"{name}-back")
    expect(status == 0, f"{name}: restore: {error}")
    files = sorted(path.name for path in directory.iterdir())
    _, different, missing = filecmp.cmpfiles(directory, work / f"{name}-back", files, shallow=False)
    expect(not different and not missing, f"{name}: restored files differ: {different + missing}")
    copy = support.convert(program, stored, work / f"{name}-copy", layout)
    compare(copy, plain, f"{name} written again")
    check_run(program, directory, plain, name)


def check_source(program, source, work):
    name = source.name
    directory = work / name
    shutil.copytree(source, directory, ignore=shutil.ignore_patterns("expected*"))
    for file in (support.SHARED / "models/tinystories-656k").glob("*token*"):
        shutil.copy(file, directory)
    plain = support.convert(program, directory, work / f"{name}-f32", "hf", "--scheme", "f32")
    target = support.convert(program, directory, work / f"{name}-ct", "compressed-tensors")
    compared = compare(target, plain, f"{name} -> compressed-tensors")
    check_run(program, target, plain, f"{name} -> compressed-tensors")
    return f"{name}: {compared} modules written, loaded by transformers, equal values"


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    work = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else pathlib.Path(tempfile.mkdtemp(prefix="ingot-ct-"))
    work.mkdir(exist_ok=True)
    torch.manual_seed(1)
    for name, (form, arguments) in FORMATS.items():
        print(name, flush=True)
        make_compressed(work / name, form, arguments)
        check_made(program, work / name, "compressed-tensors", work)
    make_deepseek(work / "deepseek")
    check_made(program, work / "deepseek", "fp8", work)
    support.figure(f"{len(FORMATS) + 1} formats read, restored, written again and run")
    shared = support.SHARED / "models/quantized"
    for source in sorted(shared.iterdir()) if shared.exists() else []:
        if source.is_dir() and source.name.split("-")[0] in ("gptq", "awq", "ct"):
            support.figure(check_source(program, source, work))
    if len(sys.argv) <= 2:
        shutil.rmtree(work)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
