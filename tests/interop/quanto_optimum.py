#!/usr/bin/env python3
"""optimum-quanto checkpoints: read with the values of the library, restored byte for byte, run alike

    quanto_optimum.py INGOT [WORK_DIRECTORY]

Needs torch, transformers, optimum-quanto, safetensors. tests/data/tiny-llama, quantized and saved by optimum-quanto on the CPU.
Exit status 77: a package is missing.
"""
import json

import _support as support
import _read_only

try:
    import torch
    from optimum.quanto import freeze, qfloat8_e4m3fn, qfloat8_e5m2, qint2, qint4, qint8, quantization_map, quantize
    from optimum.quanto.tensor import QBitsTensor, QTensor
    from optimum.quanto.tensor.grouped import ungroup
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM
except ImportError as error:
    support.skip(error)

FORMS = [(qint8, torch.float32), (qint4, torch.float32), (qint4, torch.bfloat16), (qint2, torch.float16), (qfloat8_e4m3fn, torch.float32),
         (qfloat8_e5m2, torch.bfloat16)]


def value_of(weight):
    if hasattr(weight, "weight_qbits_tensor") and not hasattr(weight, "_scale"):
        weight = weight.weight_qbits_tensor()  # from the packing of a kernel to that of the file
    scale = weight._scale.double()
    if not isinstance(weight, QBitsTensor):
        return (scale * weight._data.double()).float().numpy()
    values = scale * weight._data.unpack().double() - weight._shift.double()
    return ungroup(values, axis=weight.axis, orig_shape=weight.shape).float().numpy()


def run(check, work):
    for kind, dtype in FORMS:
        name = f"{kind.name}-{str(dtype)[6:]}"
        model = AutoModelForCausalLM.from_pretrained(support.TINY_LLAMA, dtype=dtype)
        quantize(model, weights=kind, exclude="lm_head")
        freeze(model)
        directory = work / name
        directory.mkdir(exist_ok=True)
        tied = model.config.tie_word_embeddings
        save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items() if not (tied and key == "lm_head.weight")},
                  directory / "model.safetensors", metadata={"format": "pt"})
        (directory / "quanto_qmap.json").write_text(json.dumps(quantization_map(model), indent=2))
        config = json.loads((support.TINY_LLAMA / "config.json").read_text())
        config["quantization_config"] = {"quant_method": "quanto", "weights": kind.name[1:5]}
        (directory / "config.json").write_text(json.dumps(config, indent=2))
        values = {f"{path}.weight": value_of(module.weight) for path, module in model.named_modules() if isinstance(getattr(module, "weight", None), QTensor)}
        if dtype != torch.float32:  # the library computes in the type of its scales: compare with a float32 model of the same values
            model = _read_only.float_model(values, dtype)
        check.form(name, directory, values, model)


if __name__ == "__main__":
    _read_only.main("quanto", run)
