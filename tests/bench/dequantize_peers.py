#!/usr/bin/env python3
"""What the library that owns a layout does with a checkpoint: load, dequantize to BF16, save as safetensors.

    dequantize_peers.py LAYOUT CHECKPOINT OUTPUT THREADS      writes the seconds that it took into OUTPUT.seconds, imports not counted

LAYOUT: gptq, awq, mlx, bnb, compressed-tensors, fp8 or gguf. Exit status 77: a package is missing. Each library in the form that is fastest
on a CPU: its own dequantizing function on whole tensors, nothing of the model around it is built. Plain tensors are cast. With --check:
only whether the packages are there.
"""
import json
import pathlib
import sys
import time

FOREIGN = pathlib.Path(__file__).resolve().parents[1] / "golden/foreign"


def modules(tensors, word):
    """{module: {last word of the name: tensor}} of the modules that have a tensor `word`; these tensors are taken out."""
    found = {}
    for name in [name for name in tensors if name.endswith("." + word)]:
        module = name[: -len(word) - 1]
        found[module] = {other[len(module) + 1:]: tensors.pop(other) for other in list(tensors) if other.startswith(module + ".")}
    return found


def gptq(tensors, config):
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization import FORMAT
    from gptqmodel.utils.model import convert_gptq_v1_to_v2_format_module
    for name, parts in modules(tensors, "qweight").items():
        layer = TorchLinear(bits=4, group_size=128, sym=config["sym"], desc_act=False, in_features=len(parts["g_idx"]),
                            out_features=parts["scales"].shape[1], bias=False, pack_dtype=torch.int32, register_buffers=True,
                            format=FORMAT.GPTQ_V2)
        layer.load_state_dict(parts, strict=True)
        convert_gptq_v1_to_v2_format_module(layer, 4, torch.int32)
        layer.optimized = True
        layer.post_init()
        layer.eval()
        yield name + ".weight", layer.dequantize_weight().T


def awq(tensors, config):
    from awq.utils.packing_utils import dequantize_gemm
    for name, parts in modules(tensors, "qweight").items():
        yield name + ".weight", dequantize_gemm(parts["qweight"], parts["qzeros"], parts["scales"], 4, config["group_size"]).T


def bnb(tensors, config):
    from bitsandbytes.functional import QuantState, dequantize_4bit
    for name, parts in modules(tensors, "weight.quant_state.bitsandbytes__nf4").items():
        packed, state = parts.pop("weight"), {key.removeprefix("weight."): value for key, value in parts.items()}
        yield name + ".weight", dequantize_4bit(packed, QuantState.from_dict(state, device=torch.device("cpu")))


def compressed_tensors(tensors, config):
    from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationScheme
    scheme = QuantizationScheme(**config["config_groups"]["group_0"])
    for name, parts in modules(tensors, "weight_packed").items():
        yield name + ".weight", PackedQuantizationCompressor.decompress(parts, scheme)["weight"]


def fp8(tensors, config):
    """What Fp8Dequantize of transformers does: blocks times their scales."""
    rows, cols = config["weight_block_size"]
    for name, parts in modules(tensors, "weight_scale_inv").items():
        weight, scale = parts["weight"].to(parts["weight_scale_inv"].dtype), parts["weight_scale_inv"]
        blocks = weight.reshape(scale.shape[0], rows, scale.shape[1], cols)
        yield name + ".weight", (blocks * scale[:, None, :, None]).reshape(weight.shape)


def of_torch(layout, source, output):
    from safetensors.torch import load_file, save_file
    config = json.loads((source / "config.json").read_text()).get("quantization_config")
    tensors = {}
    for shard in sorted(source.glob("*.safetensors")):
        tensors.update(load_file(shard))
    values = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in TORCH[layout](tensors, config)}
    values.update((name, tensor.to(torch.bfloat16)) for name, tensor in tensors.items())
    save_file(values, output)


def of_mlx(source, output):
    import mlx.core as mx
    mx.set_default_device(mx.cpu)
    setting = json.loads((source / "config.json").read_text())["quantization"]
    tensors, values = {}, {}
    for shard in sorted(source.glob("*.safetensors")):
        tensors.update(mx.load(str(shard)))
    for name, tensor in tensors.items():
        if name.endswith((".scales", ".biases")):
            continue
        module = name.removesuffix(".weight")
        if module + ".scales" in tensors:
            tensor = mx.dequantize(tensor, tensors[module + ".scales"], tensors[module + ".biases"], setting["group_size"], setting["bits"])
        values[name] = tensor.astype(mx.bfloat16)
    mx.save_safetensors(str(output), values)


def of_gguf(source, output):
    import gguf
    from gguf.quants import dequantize
    from safetensors.torch import save_file
    save_file({tensor.name: torch.from_numpy(dequantize(tensor.data, tensor.tensor_type)).to(torch.bfloat16)
               for tensor in gguf.GGUFReader(source).tensors}, output)


TORCH = {"gptq": gptq, "awq": awq, "bnb": bnb, "compressed-tensors": compressed_tensors, "fp8": fp8}


def import_packages(layout):
    """Of GPTQModel and AutoAWQ only the packing modules are imported; these helpers say how."""
    helper = {"gptq": "gptqmodel_packages", "awq": "awq_packages"}.get(layout)
    if helper:
        sys.path.insert(0, str(FOREIGN / layout))
        __import__(helper)
    __import__({"gptq": "gptqmodel.nn_modules.qlinear.torch", "awq": "awq.utils.packing_utils", "mlx": "mlx.core", "bnb": "bitsandbytes",
                "compressed-tensors": "compressed_tensors", "fp8": "torch", "gguf": "gguf"}[layout])


if __name__ == "__main__":
    layout = sys.argv[1]
    try:
        import torch
        import safetensors.torch  # noqa: F401
        import_packages(layout)
    except ImportError as error:
        print(f"skipped: {error}")
        sys.exit(77)
    if sys.argv[2] == "--check":
        sys.exit(0)
    source, output = map(pathlib.Path, sys.argv[2:4])
    torch.set_num_threads(int(sys.argv[4]))
    begin = time.perf_counter()
    with torch.no_grad():
        if layout == "gguf":
            of_gguf(source, output)
        elif layout == "mlx":
            of_mlx(source, output)
        else:
            of_torch(layout, source, output)
    pathlib.Path(f"{output}.seconds").write_text(str(time.perf_counter() - begin))
