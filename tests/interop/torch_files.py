#!/usr/bin/env python3
"""PyTorch files (ZIP, stream, shards) and PEFT adapters: values as torch and peft load them, files restored byte for byte

    torch_files.py INGOT

Needs torch, safetensors, numpy; adapters also peft. The real checkpoints at hand are saved by torch.save
  as a ZIP archive, as the stream of PyTorch 1.5, as two shards with an index, and in ZIP with every matrix transposed in memory;
  -> hf        the safetensors hold what torch.load gives, bit for bit
  -> .ingot    the specification's reader decodes what torch.load gives; `restore` gives the files back
and the adapters of the shared models and of tests/golden/foreign/torch:
  -> .ingot    the specification's reader decodes peft's own tensors; merged by the formulas of spec/adapters.md they give the expected
               matrices of the shared models; `run` refuses them
Exit status 77: a package is missing.
"""
import filecmp
import json
import math
import pathlib
import shutil
import sys
import tempfile

import _support as support

sys.path.insert(0, str(support.ROOT / "spec/reference"))
try:
    import numpy as np
    import torch
    from safetensors.torch import load_file
    import ingot_reader
except ImportError as error:
    support.skip(error)

FOREIGN = support.ROOT / "tests/golden/foreign/torch"
SMALL = 200_000  # elements that the specification's reader decodes in reasonable time
faults = []


def save_zip(state, folder):
    torch.save(state, folder / "pytorch_model.bin")


def save_stream(state, folder):
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def save_transposed(state, folder):
    torch.save({name: tensor.t().contiguous().t() if tensor.dim() == 2 else tensor for name, tensor in state.items()},
               folder / "pytorch_model.bin")


def save_shards(state, folder):
    weight_map, half = {}, len(state) // 2
    for i, part in enumerate((list(state)[:half], list(state)[half:])):
        name = f"pytorch_model-{i + 1:05d}-of-00002.bin"
        torch.save({key: state[key] for key in part}, folder / name)
        weight_map.update(dict.fromkeys(part, name))
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


def decoded(path):
    """Name -> float32 tensor, by the specification's reader."""
    return {tensor["name"]: torch.from_numpy(np.array(owner.decode(tensor), dtype=np.uint32).view(np.float32).reshape(tensor["shape"]).copy())
            for owner, tensor in ingot_reader.IngotFile(str(path)).tensors if math.prod(tensor["shape"]) <= SMALL}


def check_restored(program, source, ingot_file, back):
    status, _, error = support.ingot(program, "restore", ingot_file, "-o", back)
    names = [path.name for path in source.iterdir()]
    equal, different, missing = filecmp.cmpfiles(source, back, names, shallow=False)
    if status != 0 or different or missing or len(list(back.iterdir())) != len(names):
        faults.append(f"{source.name}: restore: {error or different or missing}")
    return len(equal)


def check_checkpoint(program, model, save, scratch):
    source = scratch / save.__name__
    source.mkdir()
    for file in model.iterdir():
        if file.suffix in (".json", ".model", ".txt"):
            shutil.copy(file, source)
    save(load_file(model / "model.safetensors"), source)
    state = {}
    for file in sorted(source.glob("*.bin")):
        state.update(torch.load(file, weights_only=True))
    written = load_file(support.convert(program, source, scratch / "hf", "hf") / "model.safetensors")
    tied = {} if "lm_head.weight" in written or "lm_head.weight" not in state else {"lm_head.weight": "model.embed_tokens.weight"}
    bad = [name for name, tensor in state.items() if not same_bits(written[tied.get(name, name)], tensor)]
    packed = support.convert(program, source, scratch / "model.ingot", "ingot")
    own = decoded(packed)
    bad += [name for name in own if name in state and not torch.equal(own[name], state[name].float())]
    if bad or len(own) == 0:
        faults.append(f"{source.name}: {len(bad)} tensors differ, such as {bad[:1]}")
    files = check_restored(program, source, packed, scratch / "back")
    support.figure(f"{model.name} {save.__name__.removeprefix('save_')}: {len(state)} tensors as torch.load, {len(own)} decoded by the "
                   f"specification's reader, {files} files restored")


def neutral(name):
    name = name.removeprefix("base_model.model.")
    for ending, own in ((".lora_A.weight", ".lora_a"), (".lora_B.weight", ".lora_b"), (".lora_magnitude_vector", ".lora_magnitude")):
        if name.endswith(ending):
            return name.removesuffix(ending) + own
    return name


def merged_error(tensors, facts, folder):
    """Largest difference from the expected merge, relative to the largest weight; None where there is none to compare with."""
    expected, base = folder / "expected_merged.safetensors", support.SHARED / "models/tinystories-656k/model.safetensors"
    if not expected.exists() or not base.exists():
        return None
    expected, base, worst = load_file(expected), load_file(base), 0.0
    rank, alpha = int(facts["adapter.rank"]), float(facts["adapter.alpha"])
    factor = alpha / (math.sqrt(rank) if facts["adapter.rank_stabilized"] == "true" else rank)
    for name in [n for n in tensors if n.endswith(".lora_a")]:
        module = name.removesuffix(".lora_a")
        merged = base[module + ".weight"].double() + factor * tensors[module + ".lora_b"].double() @ tensors[name].double()
        wanted = expected[module + ".weight"].double()
        worst = max(worst, float((merged - wanted).abs().max() / wanted.abs().max()))
    return worst


def check_adapter(program, folder, scratch):
    import peft
    source = scratch / "adapter"
    source.mkdir()
    for file in folder.glob("adapter_*"):
        shutil.copy(file, source)
    wanted = {neutral(k): v for k, v in peft.load_peft_weights(str(source), device="cpu").items()}
    packed = support.convert(program, source, scratch / "model.ingot", "ingot")
    tensors = decoded(packed)
    bad = [n for n in set(wanted) | set(tensors) if n not in tensors or n not in wanted or not torch.equal(tensors[n], wanted[n].float())]
    facts = json.loads(support.ingot(program, "inspect", packed, "--json")[1])["metadata"]
    error = merged_error(tensors, facts, folder)
    if bad or (error is not None and error > 1e-6):
        faults.append(f"{folder.name}: {len(bad)} tensors differ from peft's, such as {bad[:1]}; merged: {error}")
    status, _, message = support.ingot(program, "run", packed, "-p", "x")
    if status != 1 or "adapter" not in message:
        faults.append(f"{folder.name}: run: exit status {status}: {message}")
    check_restored(program, source, packed, scratch / "back")
    support.figure(f"adapter {folder.name}: {len(wanted)} tensors as peft loads them, restored"
                   + ("" if error is None else f"; merged, relative error {error:.1e}"))


def main(program):
    for model in support.hugging_face_directories():
        for save in (save_zip, save_stream, save_shards, save_transposed):
            with tempfile.TemporaryDirectory() as scratch:
                check_checkpoint(program, model, save, pathlib.Path(scratch))
    try:
        import peft  # noqa: F401
        adapters = [FOREIGN / "lora", FOREIGN / "dora_bin", *sorted((support.SHARED / "models").glob("synthetic-*"))]
    except ImportError:
        adapters = []
        support.figure("adapters: not checked, peft is missing")
    for folder in adapters:
        with tempfile.TemporaryDirectory() as scratch:
            check_adapter(program, folder, pathlib.Path(scratch))
    for fault in faults:
        print("FAULT", fault)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
