#!/usr/bin/env python3
"""torchao checkpoints: read with the values of the library, restored byte for byte, run alike

    torchao_transformers.py INGOT [WORK_DIRECTORY]

Needs torch, transformers, torchao, safetensors. tests/data/tiny-llama, quantized and saved by transformers on the CPU.
Exit status 77: a package is missing.
"""
import _support as support
import _read_only

try:
    import torch
    from torchao.quantization import Float8WeightOnlyConfig, Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerGroup
    from transformers import AutoModelForCausalLM, TorchAoConfig
except ImportError as error:
    support.skip(error)

FORMS = {"int8": (Int8WeightOnlyConfig(), torch.float32), "int8-bf16": (Int8WeightOnlyConfig(), torch.bfloat16),
         "int8-activations": (Int8DynamicActivationInt8WeightConfig(), torch.float32), "float8": (Float8WeightOnlyConfig(), torch.float32)}
FORMS.update({f"int{bits}": (IntxWeightOnlyConfig(weight_dtype=getattr(torch, f"int{bits}"), granularity=PerGroup(32)), torch.float32)
              for bits in (3, 4, 6)})


def value_of(weight):
    if type(weight).__name__ == "IntxUnpackedToInt8Tensor":
        return weight.to(torch.float32).dequantize().numpy()
    return weight.dequantize(torch.float32).numpy()


def run(check, work):
    for name, (config, dtype) in FORMS.items():
        model = AutoModelForCausalLM.from_pretrained(support.TINY_LLAMA, quantization_config=TorchAoConfig(config), dtype=dtype, device_map="cpu")
        directory = work / name
        model.save_pretrained(directory)
        values = {f"{path}.weight": value_of(module.weight.data) for path, module in model.named_modules()
                  if hasattr(getattr(module, "weight", None), "qdata")}
        # A float32 model of the same values: torchao's own products are in the model's type, or with quantized activations.
        plain = _read_only.float_model(values, dtype)
        check.form(name, directory, values, model if dtype == torch.float32 and name != "int8-activations" else plain)


if __name__ == "__main__":
    _read_only.main("torchao", run)
