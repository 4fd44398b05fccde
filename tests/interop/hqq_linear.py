#!/usr/bin/env python3
"""HQQ checkpoints: read with the values of the library, restored byte for byte, run alike

    hqq_linear.py INGOT [WORK_DIRECTORY]

Needs torch, transformers, hqq, safetensors. tests/data/tiny-llama, its linear layers quantized by HQQLinear on the CPU and saved by
HQQLinear.state_dict(). Exit status 77: a package is missing.
"""
import json

import _support as support
import _read_only

try:
    import torch
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear, Quantizer
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM
except ImportError as error:
    support.skip(error)

FORMS = [(8, 1, 64, torch.float32), (4, 1, 64, torch.float16), (4, 0, 64, torch.bfloat16), (3, 0, 32, torch.float32), (2, 1, 16, torch.float32),
         (1, 1, 8, torch.float32)]


def value_of(layer):
    meta = dict(layer.meta, scale=layer.meta["scale"].double(), zero=layer.meta["zero"].double(), compute_dtype=torch.float64)
    return Quantizer.dequantize(layer.W_q.data, meta).float().numpy()


def run(check, work):
    for bits, axis, group, dtype in FORMS:
        name = f"b{bits}-axis{axis}-g{group}-{str(dtype)[6:]}"
        model = AutoModelForCausalLM.from_pretrained(support.TINY_LLAMA, dtype=torch.float32)
        linear = [path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear) and path != "lm_head"]
        tensors, values = {}, {}
        for path in linear:
            layer = HQQLinear(model.get_submodule(path), BaseQuantizeConfig(nbits=bits, group_size=group, axis=axis), compute_dtype=dtype, device="cpu")
            tensors.update({f"{path}.{key}": tensor.data.contiguous() for key, tensor in layer.state_dict().items()})
            values[f"{path}.weight"] = value_of(layer)
            layer.meta.update(scale=layer.meta["scale"].float(), zero=layer.meta["zero"].float(), compute_dtype=torch.float32)
            layer.compute_dtype = torch.float32
            model.set_submodule(path, layer)
        tied = model.config.tie_word_embeddings
        tensors.update({key: tensor.contiguous() for key, tensor in model.state_dict().items()
                        if torch.is_tensor(tensor) and not any(key.startswith(path + ".") for path in linear) and not (tied and key == "lm_head.weight")})
        directory = work / name
        directory.mkdir(exist_ok=True)
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((support.TINY_LLAMA / "config.json").read_text())
        config["quantization_config"] = {"quant_method": "hqq", "skip_modules": ["lm_head"], "quant_config": {
            "weight_quant_params": {"nbits": bits, "group_size": group, "axis": axis}}}
        (directory / "config.json").write_text(json.dumps(config, indent=2))
        check.form(name, directory, values, model)


if __name__ == "__main__":
    _read_only.main("hqq", run)
