#!/usr/bin/env python3
"""MLX checkpoints: read with the values of mx.dequantize, restored byte for byte, run like mlx-lm; those that we write load in mlx-lm

    mlx_mlx_lm.py INGOT [WORK_DIRECTORY]

Needs mlx, mlx-lm, safetensors, numpy. tests/data/tiny-llama, quantized by mlx-lm in several modes, is read, restored, written again and
run. GPTQ, AWQ and compressed-tensors checkpoints of the shared models become MLX ones: mlx-lm loads them, and every weight has the value
that the source has in float32. Exit status 77: a package is missing.
"""
import filecmp
import json
import pathlib
import shutil
import sys
import tempfile

import _support as support

try:
    import mlx.core as mx
    import mlx_lm
    import mlx_lm.convert
    import numpy as np
    from mlx.utils import tree_flatten
    from safetensors.numpy import load_file
except ImportError as error:
    support.skip(error)

MODES = {"4-bit": dict(q_bits=4, q_group_size=64), "8-bit": dict(q_bits=8, q_group_size=32), "3-bit": dict(q_bits=3, q_group_size=128),
         "mixed": dict(q_bits=4, q_group_size=64, quant_predicate="mixed_3_6"), "mxfp4": dict(q_mode="mxfp4"), "mxfp8": dict(q_mode="mxfp8"),
         "nvfp4": dict(q_mode="nvfp4")}
PROMPT, TOKENS = "Once upon a time", 40
failures = []


def expect(condition, message):
    if not condition:
        failures.append(message)
        print("  FAILED:", message)


def weights_of(directory):
    """What mlx-lm has after loading, dequantized with scales in float32: module.weight -> values."""
    model, tokenizer = mlx_lm.load(str(directory))
    values = {}
    for path, module in model.named_modules():
        if hasattr(module, "scales"):
            biases = module.biases.astype(mx.float32) if getattr(module, "biases", None) is not None else None
            scales = module.scales.astype(mx.float32) if biases is not None else module.scales
            weight = mx.dequantize(module.weight, scales, biases, group_size=module.group_size, bits=module.bits, mode=module.mode,
                                   dtype=mx.float32)
            values[f"{path}.weight"] = np.array(weight)
    for name, value in tree_flatten(model.parameters()):
        if name.endswith(".weight") and name not in values:
            values[name] = np.array(value.astype(mx.float32))
    return model, tokenizer, values


def worst_difference(directory, reference, name):
    """Largest difference between the values of `reference` (read by us, written as float32) and those of mlx-lm, in units of the last place.
    Scales in float32 make MLX round the product and the sum: one unit of the larger of the two."""
    model, tokenizer, values = weights_of(directory)
    ours = load_file(reference / "model.safetensors")
    expect(set(ours) <= set(values), f"{name}: mlx-lm lacks {sorted(set(ours) - set(values))[:3]}")
    worst = 0.0
    for key in set(ours) & set(values):
        a, b = ours[key].astype(np.float32), values[key]
        expect(a.shape == b.shape, f"{name}: {key} has shape {b.shape}, expected {a.shape}")
        if a.shape == b.shape and not np.array_equal(a, b):
            worst = max(worst, float(np.abs(a - b).max() / np.abs(a).max()))
    return (model, tokenizer), worst


def greedy_of(model, prompt_ids):
    """The tokens that mlx-lm takes, and by how much each was the likeliest."""
    ids, margins = list(prompt_ids), []
    for _ in range(TOKENS):
        logits = np.array(model(mx.array([ids]))[0, -1].astype(mx.float32))
        order = logits.argsort()[-2:]
        ids.append(int(order[1]))
        margins.append(float(logits[order[1]] - logits[order[0]]))
    return {"prompt_ids": prompt_ids, "greedy_ids": ids[len(prompt_ids):], "margins": margins}


def check_run(program, directory, model, tokenizer, name):
    """The tokens of `ingot run` are those of mlx-lm computing in float32."""
    status, output, error = support.ingot(program, "run", directory, "-p", PROMPT, "-n", TOKENS, "--exact", "--ignore-end", "--json")
    if status != 0:
        return expect(False, f"{name}: run: {error}")
    result = json.loads(output)
    model.set_dtype(mx.float32)
    case = greedy_of(model, tokenizer.encode(PROMPT))
    expect(result["prompt_tokens"] == len(case["prompt_ids"]), f"{name}: prompt of {result['prompt_tokens']} tokens")
    for i, (a, b, margin) in enumerate(zip(result["tokens"], case["greedy_ids"], case["margins"])):
        if a != b:
            expect(margin < support.DECISIVE_MARGIN, f"{name}: token {i} is {a}, of mlx-lm {b}, margin {margin:.3g}")
            break


def check_mode(program, name, options, work):
    directory = work / name
    mlx_lm.convert(str(support.TINY_LLAMA), str(directory), quantize=True, **options)
    plain = support.convert(program, directory, work / f"{name}-f32", "hf", "--scheme", "f32")
    loaded, worst = worst_difference(directory, plain, name)
    expect(worst == 0, f"{name}: read values differ by {worst:.3g}")
    stored = support.convert(program, directory, work / f"{name}.ingot", "ingot")
    status, _, error = support.ingot(program, "restore", stored, "-o", work / f"{name}-back")
    expect(status == 0, f"{name}: restore: {error}")
    files = sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    _, different, missing = filecmp.cmpfiles(directory, work / f"{name}-back", files, shallow=False)
    expect(not different and not missing, f"{name}: restored files differ: {different + missing}")
    copy = support.convert(program, stored, work / f"{name}-copy", "mlx")
    _, worst = worst_difference(copy, plain, f"{name} written again")
    expect(worst == 0, f"{name}: written values differ by {worst:.3g}")
    check_run(program, directory, *loaded, name)


def check_source(program, source, work):
    name = source.name
    directory = work / name
    shutil.copytree(source, directory, ignore=shutil.ignore_patterns("expected*"))
    for file in (support.SHARED / "models/tinystories-656k").glob("*token*"):
        shutil.copy(file, directory)
    plain = support.convert(program, directory, work / f"{name}-f32", "hf", "--scheme", "f32")
    target = support.convert(program, directory, work / f"{name}-mlx", "mlx")
    loaded, worst = worst_difference(target, plain, name)
    expect(worst < 2e-7, f"{name} -> mlx: values differ by {worst:.3g}")
    quantized = sum(key.endswith(".scales") for key, _ in tree_flatten(loaded[0].parameters()))
    expect(quantized > 0, f"{name} -> mlx: nothing is quantized")
    check_run(program, target, *loaded, f"{name} -> mlx")
    return f"{name}: {quantized} modules, worst relative difference {worst:.2g}"


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    work = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else pathlib.Path(tempfile.mkdtemp(prefix="ingot-mlx-"))
    work.mkdir(exist_ok=True)
    mx.set_default_device(mx.cpu)
    for name, options in MODES.items():
        print(name, flush=True)
        check_mode(program, name, options, work)
    support.figure(f"{len(MODES)} modes of mlx-lm read, restored, written again and run")
    shared = support.SHARED / "models/quantized"
    for source in sorted(shared.iterdir()) if shared.exists() else []:
        if source.is_dir() and source.name.split("-")[0] in ("gptq", "awq", "mlx"):
            support.figure(check_source(program, source, work))
    if len(sys.argv) <= 2:
        shutil.rmtree(work)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
