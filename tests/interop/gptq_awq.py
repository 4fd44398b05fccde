#!/usr/bin/env python3
"""GPTQ and AWQ checkpoints that `ingot` writes, in the modules of GPTQModel and AutoAWQ: same values as the source.

Usage: gptq_awq.py INGOT
Needs torch, safetensors, transformers, gptqmodel and autoawq; of these two only their packing modules are imported
(tests/golden/foreign/gptq and awq say how).
Sources are the quantized checkpoints of the shared models and the fixtures of tests/golden/foreign, made by the owning libraries, with the
values those decode.
  -> gptq (v1 and v2)      every module loads into TorchLinear, dequantize_weight gives the source's values
  -> awq gemm              dequantize_gemm gives the source's values
  -> awq gemv, gemv_fast   every tensor equals what from_linear makes of the source's values, scales and zero points
tests/data/tiny-llama and SmolLM2-135M (of INGOT_TEST_MODELS), rounded to GPTQ and AWQ: the modules give the values that we decode, and
transformers with GPTQModel's modules in it, or AutoAWQ's values, says what it says with ours.
Exit status 77: a package is missing.
"""
import json
import pathlib
import shutil
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/golden/foreign" / name) for name in ("gptq", "awq")]
from _support import SHARED, convert, figure, float_sources, greedy_faults, reference_case, skip

try:
    import torch
    from safetensors.torch import load_file
    import gptqmodel_packages  # noqa: F401
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization import FORMAT
    from gptqmodel.quantization.config import dynamic_get
    from gptqmodel.utils.model import convert_gptq_v1_to_v2_format_module
    import awq_packages  # noqa: F401
    from awq.modules.linear.gemv import WQLinear_GEMV
    from awq.modules.linear.gemv_fast import WQLinear_GEMVFast
    from awq.utils.packing_utils import dequantize_gemm, reverse_awq_order, unpack_awq
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as error:
    skip(error)

FOREIGN = ROOT / "tests/golden/foreign"
QUANTIZED = SHARED / "models/quantized"
TOKENS = 24
# Checkpoint, its expected values, targets.
ALL = ("gptq", "gptq_v2", "awq")
SOURCES = [(QUANTIZED / "gptq-w4-g128-sym", "expected_dequant.safetensors", ALL), (QUANTIZED / "awq-gemm-w4-g128", "expected_dequant.safetensors", ALL),
           (QUANTIZED / "gptq-w8-gm1-sym", "expected_dequant.safetensors", ("gptq", "gptq_v2")),
           *((FOREIGN / "gptq" / name, f"../{name}.expected.safetensors", ("gptq_v2",)) for name in
             ("asym_v2", "bits2", "bits3", "bits8", "act_order", "act_order3", "uneven_g_idx", "dynamic")),
           (FOREIGN / "gptq/sym_v1", "../sym_v1.expected.safetensors", ALL), (FOREIGN / "awq/gemm", "../gemm.expected.safetensors", ("gptq_v2", "awq"))]
failures = []


def modules(tensors):
    return sorted(name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight"))


def of_module(tensors, module):
    return {name.rsplit(".", 1)[1]: tensor for name, tensor in tensors.items() if name.rsplit(".", 1)[0] == module}


def gptq_layers(folder):
    """Every module as GPTQModel has it after loading."""
    tensors, config = load_file(folder / "model.safetensors"), json.loads((folder / "quantize_config.json").read_text())
    layers = {}
    for name in modules(tensors):
        parts = of_module(tensors, name)
        setting = lambda key: dynamic_get(config.get("dynamic"), name, key, config[key])
        bits, inputs, outputs = setting("bits"), len(parts["g_idx"]), parts["scales"].shape[1]
        layer = TorchLinear(bits=bits, group_size=setting("group_size"), sym=config["sym"], desc_act=config["desc_act"], in_features=inputs,
                            out_features=outputs, bias="bias" in parts, pack_dtype=torch.int32, register_buffers=True, format=FORMAT.GPTQ_V2)
        layer.load_state_dict(parts, strict=True)
        if config["checkpoint_format"] == "gptq":
            convert_gptq_v1_to_v2_format_module(layer, bits, torch.int32)
        layer.optimized = True
        layer.post_init()
        layers[name] = layer.eval()
    return layers


def gptq_values(folder):
    """Values of every module as GPTQModel reads them, binary16, [out, in]."""
    return {name: layer.dequantize_weight().T for name, layer in gptq_layers(folder).items()}


def awq_parts(folder):
    tensors = load_file(folder / "model.safetensors")
    return {name: of_module(tensors, name) for name in modules(tensors)}, json.loads((folder / "config.json").read_text())["quantization_config"]


def gemm_numbers(parts):
    _, zeros = reverse_awq_order(*unpack_awq(parts["qweight"], parts["qzeros"], 4), 4)
    return parts["scales"], zeros & 15


def compare(what, values, expected):
    wrong = [name for name, value in values.items() if not torch.equal(value.half() + 0, expected[name + ".weight"].half() + 0)]
    if wrong or not values:
        failures.append(f"{what}: {len(wrong)} of {len(values)} modules differ, first {wrong[:1]}")
    return len(values) - len(wrong)


def check_source(program, source, values, targets, scratch):
    expected = load_file(source / values)
    clean = scratch / source.name
    clean.mkdir()
    for file in source.iterdir():
        if not file.name.startswith("expected_"):
            (clean / file.name).symlink_to(file)
    done = []
    for form in targets[:-1] if targets[-1] == "awq" else targets:
        folder = convert(program, clean, scratch / f"{source.name}-{form}", "gptq", "--set", f"checkpoint_format={form}",
                         "--drop", r"\.act\.scales$")  # AutoAWQ's divisors of activations, for which GPTQ has no place
        done.append(f"{form} {compare(f'{source.name} -> {form}', gptq_values(folder), expected)}")
    if "awq" in targets:
        done += check_awq(program, clean, scratch, expected)
    figure(f"{source.name}: modules with equal values or bytes: " + ", ".join(done))


def gemm_values(folder):
    """Values of every module as AutoAWQ reads them, binary16, [out, in]."""
    gemm, config = awq_parts(folder)
    size = lambda parts: config["group_size"] if config["group_size"] != -1 else parts["qweight"].shape[0]
    return {name: dequantize_gemm(parts["qweight"], parts["qzeros"], parts["scales"], 4, size(parts)).T for name, parts in gemm.items()}


@torch.no_grad()
def check_rounded(program, name, source, scratch):
    prompt = AutoTokenizer.from_pretrained(source)("Once upon a time")["input_ids"]
    for layout, scheme, values_of in (("gptq", "4bit-g64", gptq_values), ("gptq", "8bit-g32-asym", gptq_values), ("awq", "4bit-g64", gemm_values)):
        label = f"{name} rounded to {layout} {scheme}"
        folder = convert(program, source, scratch / f"{name}-{layout}-{scheme}", layout, "--scheme", scheme, "--allow", "requantize")
        plain = convert(program, folder, scratch / "plain", "hf", "--scheme", "f32")
        ours, values = load_file(plain / "model.safetensors"), values_of(folder)
        equal = compare(label, values, ours)
        if len(values) != sum(key.endswith("_proj.weight") for key in ours):
            failures.append(f"{label}: {len(values)} modules")
        model = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32, attn_implementation="eager").eval()
        state = model.state_dict()
        for key in values:
            state[key + ".weight"].copy_(ours[key + ".weight"].half())  # as the modules round
        case = reference_case(model, prompt, TOKENS)
        if layout == "gptq":
            for key, layer in gptq_layers(folder).items():
                model.set_submodule(key, layer)
        else:  # AutoAWQ's own layers compute on GPUs only
            for key, value in values.items():
                state[key + ".weight"].copy_(value)
        faults = greedy_faults(lambda ids: model(torch.tensor([ids])).logits[0].numpy(), case)
        failures.extend(f"{label}: {fault}" for fault in faults)
        figure(f"{label}: {equal} of {len(values)} modules decode alike, {TOKENS - len(faults)} of {TOKENS} tokens")
        for made in (folder, plain):
            shutil.rmtree(made)


def check_awq(program, clean, scratch, expected):
    folder = convert(program, clean, scratch / f"{clean.name}-gemm", "awq")
    gemm, config = awq_parts(folder)
    size = lambda parts: config["group_size"] if config["group_size"] != -1 else parts["qweight"].shape[0]
    values = gemm_values(folder)
    done = [f"gemm {compare(f'{clean.name} -> gemm', values, expected)}"]
    for version, layer in (("gemv", WQLinear_GEMV), ("gemv_fast", WQLinear_GEMVFast)):
        folder = convert(program, clean, scratch / f"{clean.name}-{version}", "awq", "--set", f"version={version}", "--allow", "codes")
        written, _ = awq_parts(folder)
        equal = 0
        for name, parts in gemm.items():
            if version == "gemv_fast" and parts["qweight"].shape[0] % 64 != 0:
                continue  # AutoAWQ's packing needs blocks of 64 inputs
            scales, zeros = gemm_numbers(parts)
            linear = torch.nn.Linear(parts["qweight"].shape[0], parts["scales"].shape[1], bias=False)
            linear.weight.data = expected[name + ".weight"].float()  # rounded to binary16, which does not move a code
            packed = layer.from_linear(linear, 4, size(parts), scales=scales.T.contiguous(), zeros=zeros.T.float().contiguous())
            same = name in written and all(torch.equal(getattr(packed, part), written[name][part]) for part in ("qweight", "qzeros", "scales"))
            equal += same
            if not same:
                failures.append(f"{clean.name} -> {version}: {name} differs from what AutoAWQ packs")
        done.append(f"{version} {equal}")
    return done


def main(program):
    with tempfile.TemporaryDirectory() as scratch:
        for source, values, targets in SOURCES:
            if source.exists():
                try:
                    check_source(program, source, values, targets, pathlib.Path(scratch))
                except RuntimeError as error:
                    failures.append(str(error))
        for name, source in float_sources(program, scratch):
            check_rounded(program, name, source, pathlib.Path(scratch))
    for failure in failures:
        print("FAILED", failure)
    return 1 if failures else 0


sys.exit(main(sys.argv[1]))
