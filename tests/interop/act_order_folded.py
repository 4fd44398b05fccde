#!/usr/bin/env python3
"""GPTQ with act-order becomes AWQ, GGUF and MLX by folding: codes kept, the owning libraries generate the source's text, and all come home

    act_order_folded.py INGOT

tests/data/tiny-llama, its down projections quantized by GPTQModel's own GPTQ (desc_act, groups of 32) on the sample beside it. The text is
that of transformers with the values that TorchLinear decodes. Needs torch, transformers, safetensors, gptqmodel, autoawq, mlx-lm and
llama-cpp-python. Exit status 77: a package is missing.
"""
import json
import pathlib
import shutil
import sys
import tempfile
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/golden/foreign" / name) for name in ("gptq", "awq")]
import _support as support

try:
    import gptqmodel_packages  # noqa: F401, before anything of gptqmodel
    import awq_packages  # noqa: F401
    import llama_cpp
    import mlx.core as mx
    import mlx_lm
    import numpy as np
    import torch
    from awq.utils.packing_utils import dequantize_gemm
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization import FORMAT, QuantizeConfig
    from gptqmodel.quantization.gptq import GPTQ
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as error:
    support.skip(error)

BITS, GROUP, TOKENS, PROMPT = 4, 32, 40, "Once upon a time"
CONFIG = {"bits": BITS, "group_size": GROUP, "desc_act": True, "sym": True, "quant_method": "gptq", "checkpoint_format": "gptq",
          "pack_dtype": "int32", "lm_head": False, "dynamic": {"-:.*(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj)": {}}}


def quantized(model, tokenizer):
    """The packed modules by name; the model's weights become the values that they decode to."""
    layers = {name: layer for name, layer in model.named_modules() if name.endswith("down_proj")}
    jobs = {name: GPTQ(layer, QuantizeConfig(bits=BITS, group_size=GROUP, desc_act=True, sym=True, act_group_aware=False))
            for name, layer in layers.items()}
    hooks = []
    for name, job in jobs.items():
        job.quantizer.configure(perchannel=True)
        hooks.append(layers[name].register_forward_hook(lambda _, inputs, output, job=job: job.add_batch(inputs[0].data, output.data)))
    for line in (support.TINY_LLAMA / "sample.txt").read_text().splitlines():
        if len(line) > 40:
            model(tokenizer(line, return_tensors="pt").input_ids[:, :256])
    for hook in hooks:
        hook.remove()
    modules = {}
    for name, job in jobs.items():
        weight, scale, zero, index = job.quantize()[:4]
        outputs, inputs = weight.shape
        packed = TorchLinear(bits=BITS, group_size=GROUP, sym=True, desc_act=True, in_features=inputs, out_features=outputs, bias=False,
                             pack_dtype=torch.int32, register_buffers=True, format=FORMAT.GPTQ_V2)
        linear = torch.nn.Linear(inputs, outputs, bias=False)
        linear.weight.data = weight.float()
        packed.pack_original(linear, scale.float(), zero.float(), index.to(torch.int32))
        packed.optimized = True  # eager: no compiler
        packed.post_init()
        layers[name].weight.data = packed.dequantize_weight().T.float().contiguous()
        convert_gptq_v2_to_v1_format_module(packed, types.SimpleNamespace(bits=BITS, pack_dtype=torch.int32))
        modules[name] = {part: getattr(packed, part).contiguous() for part in ("qweight", "qzeros", "scales", "g_idx")}
    return modules


def write(model, modules, directory):
    tensors = {name: value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items() if name != "lm_head.weight"}
    for name, parts in modules.items():
        del tensors[f"{name}.weight"]
        tensors |= {f"{name}.{part}": value for part, value in parts.items()}
    directory.mkdir()
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((support.TINY_LLAMA / "config.json").read_text()) | {"quantization_config": CONFIG}
    (directory / "config.json").write_text(json.dumps(config))
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"):
        shutil.copy(support.TINY_LLAMA / file, directory)


def logits_of_awq(directory):
    tensors = load_file(directory / "model.safetensors")
    state = {name: value.float() for name, value in tensors.items() if name.endswith((".weight", ".bias"))}
    modules = [name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")]
    for name in modules:
        weight = dequantize_gemm(tensors[f"{name}.qweight"], tensors[f"{name}.qzeros"], tensors[f"{name}.scales"], BITS, GROUP)
        state[f"{name}.weight"] = weight.T.float()
    model = AutoModelForCausalLM.from_pretrained(support.TINY_LLAMA).float().eval()
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys, missing
    return lambda ids: model(torch.tensor([ids])).logits[0].double().numpy(), len(modules)


def logits_of_mlx(directory):
    model, _ = mlx_lm.load(str(directory))
    modules = sum(hasattr(module, "scales") for _, module in model.named_modules())
    model.set_dtype(mx.float32)
    return lambda ids: np.array(model(mx.array([ids]))[0].astype(mx.float32), dtype=np.float64), modules


def logits_of_gguf(path):
    import gguf
    reader = gguf.GGUFReader(path)
    modules = sum(tensor.tensor_type.name.startswith("Q") for tensor in reader.tensors)
    return support.LlamaCpp(path).logits, modules


def changed_parts(source, home):
    """Tensors of the home-coming checkpoint that are not the source's: codes, zero points and g_idx bit for bit, floats by value."""
    before, after = load_file(source / "model.safetensors"), load_file(home / "model.safetensors")
    return [f"{name} came home changed" for name, value in before.items()
            if name not in after or not torch.equal(value.double(), after[name].double())]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program, faults = sys.argv[1], []
    tokenizer = AutoTokenizer.from_pretrained(support.TINY_LLAMA)
    model = AutoModelForCausalLM.from_pretrained(support.TINY_LLAMA).float().eval()
    with tempfile.TemporaryDirectory() as scratch, torch.no_grad():
        scratch = pathlib.Path(scratch)
        source = scratch / "gptq"
        modules = quantized(model, tokenizer)
        write(model, modules, source)
        case = support.reference_case(model, tokenizer(PROMPT).input_ids, TOKENS)
        wanted = model(torch.tensor([case["prompt_ids"] + case["greedy_ids"]])).logits[0].double().numpy()
        # MLX rounds scale * code, llama.cpp rounds activations to BF16 and eight bits.
        for layout, name, reader, limit in (("awq", "awq", logits_of_awq, 1e-5), ("mlx", "mlx", logits_of_mlx, 2e-3),
                                            ("gguf", "model.gguf", logits_of_gguf, 0.1)):
            target = support.convert(program, source, scratch / name, layout)
            logits, kept = reader(target)
            got = logits(case["prompt_ids"] + case["greedy_ids"])
            worst = np.abs(got - wanted).max() / wanted.std()
            found = support.greedy_faults(logits, case)
            if kept != len(modules):
                found.append(f"{kept} matrices have codes, expected {len(modules)}")
            if worst > limit:
                found.append(f"logits differ by {worst:.2e} of their spread")
            home = support.convert(program, target, scratch / f"{layout}-home", "gptq")
            status, _, error = support.ingot(program, "verify", source, home)
            if status != 0:
                found.append(f"came home changed: {error}")
            found += changed_parts(source, home)
            print(f"{layout:5} {kept} matrices with codes, logits within {worst:.1e} of their spread  {'FAILED' if found else 'ok'}")
            faults += [f"{layout}: {fault}" for fault in found]
    for fault in faults:
        print("FAILED", fault)
    support.figure(f"{len(modules)} matrices with act-order folded for 3 layouts, {TOKENS} greedy tokens equal, home again with equal fingerprints, codes, zero points and g_idx")
    return 1 if faults else 0


sys.exit(main())
