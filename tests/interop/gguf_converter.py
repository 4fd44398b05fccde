#!/usr/bin/env python3
"""GGUF files of small random models have the tensors, bytes and hyperparameters of convert_hf_to_gguf.py, and come home unchanged

    gguf_converter.py INGOT [ARCHITECTURE ...]

INGOT_LLAMA_CPP names a directory with the sources of llama.cpp. Needs torch, transformers, numpy and gguf. Exit status 77: they are missing.
"""
import logging
import os
import pathlib
import sys
import tempfile

import _support as support

LLAMA_CPP = os.environ.get("INGOT_LLAMA_CPP")
if not LLAMA_CPP:
    support.skip("INGOT_LLAMA_CPP does not name the sources of llama.cpp")
sys.path[:0] = [LLAMA_CPP, LLAMA_CPP + "/gguf-py"]  # the script needs the gguf beside it
try:
    import gguf
    import numpy as np
    import torch
    from safetensors.torch import load_file
    import _architectures as architectures
except ImportError as error:
    support.skip(error)

# Vocabularies have checks of their own; the script makes up what a model is called.
IGNORED = ("general.", "tokenizer.", "GGUF.")
LAST_BITS = ("rope_freqs.weight",)  # powers taken by another library
KEPT_F32 = (".block_sparse_moe.gate.weight", ".wpe.weight")  # and vectors: what GGUF readers want
NORMS_LOSE_BITS = ("gemma2", "gemma3")  # weight + 1 in F32
PLAIN = {torch.float32: "f32", torch.bfloat16: "bf16"}


def nearly_equal(a, b):
    return np.allclose(np.frombuffer(a, "<f4"), np.frombuffer(b, "<f4"), rtol=1e-6, atol=0)


def load_script():
    """convert_hf_to_gguf.py as a module. The tokenizer of the tests is none that it knows by its hash, and some of its classes look for a
    SentencePiece model first."""
    import convert_hf_to_gguf
    from conversion.base import TextModel
    TextModel.get_vocab_base_pre = lambda self, tokenizer: "smollm"
    from conversion.phi import Phi3MiniModel
    TextModel._set_vocab_sentencepiece = Phi3MiniModel.set_vocab = lambda self, *more: self._set_vocab_gpt2()
    return convert_hf_to_gguf


def reference(script, source, target, kind):
    sys.argv = ["convert_hf_to_gguf.py", str(source), "--outfile", str(target), "--outtype", kind]
    try:
        script.main()
    except Exception as error:
        raise RuntimeError(f"convert_hf_to_gguf.py: {error!r}")


def contents(path):
    reader = gguf.GGUFReader(path)
    tensors = {t.name: (t.tensor_type.name, tuple(int(n) for n in t.shape), bytes(t.data.tobytes())) for t in reader.tensors}
    return tensors, {key: field.contents() for key, field in reader.fields.items()}


def differences(ours, theirs):
    (tensors, keys), (their_tensors, their_keys) = ours, theirs
    found = [f"tensor {name} is only in {'ours' if name in tensors else 'theirs'}" for name in sorted(set(tensors) ^ set(their_tensors))]
    for name in sorted(set(tensors) & set(their_tensors)):
        if tensors[name][:2] != their_tensors[name][:2]:
            found.append(f"tensor {name}: {tensors[name][:2]}, theirs {their_tensors[name][:2]}")
        elif tensors[name][2] != their_tensors[name][2] and not (name in LAST_BITS and nearly_equal(tensors[name][2], their_tensors[name][2])):
            found.append(f"tensor {name}: other bytes")
    for key in sorted(their_keys):  # ours state more: what readers would derive
        if key.startswith(IGNORED) and key not in ("general.architecture", "general.file_type"):
            continue
        if key == "phi3.rope.scaling.original_context_length" and "rope_factors_long.weight" not in tensors:
            continue  # a default of the class that nothing uses
        if keys.get(key) != their_keys.get(key):
            found.append(f"key {key}: {keys.get(key)}, theirs {their_keys.get(key)}")
    return found


def home(program, source, target, scratch, dtype):
    """What is different after HF -> GGUF -> HF."""
    back = scratch / "back"
    support.convert(program, target, back, "hf")
    before, after = load_file(source / "model.safetensors"), load_file(back / "model.safetensors")
    found = [f"{name} is only in the {'source' if name in before else 'result'}" for name in sorted(set(before) ^ set(after))]
    for name in sorted(set(before) & set(after)):
        a, b = before[name], after[name]
        same_type = a.dtype == b.dtype or a.dim() < 2 or name.endswith(KEPT_F32)
        if not same_type or a.shape != b.shape or not torch.equal(a.float(), b.float()):
            found.append(f"{name}: {a.dtype} {tuple(a.shape)} came home as {b.dtype} {tuple(b.shape)}")
    config = type(architectures.ARCHITECTURES[source.name]())
    was, now = config.from_pretrained(source).to_dict(), config.from_pretrained(back).to_dict()
    for settings in (was, now):  # GGUF holds binary32
        rope = settings.get("rope_parameters") or {}
        settings["rope_parameters"] = {k: [round(x, 5) for x in v] if isinstance(v, list) else v for k, v in rope.items()}
    same_types = scratch / "same-types"
    support.convert(program, target, same_types, "hf", "--scheme", PLAIN[dtype])
    if (source / "model.safetensors").read_bytes() != (same_types / "model.safetensors").read_bytes():
        found.append("model.safetensors has other bytes in the types of the source")
    return found + [f"config {key}: {was.get(key)}, came home as {now.get(key)}" for key in sorted(set(was) | set(now)) if was.get(key) != now.get(key)]


def check(program, script, name, dtype, scratch):
    source, ours, theirs = scratch / name, scratch / "ours.gguf", scratch / "theirs.gguf"
    architectures.make(name, support.TINY_LLAMA, source, dtype)
    reference(script, source, theirs, PLAIN[dtype])
    if name in NORMS_LOSE_BITS and dtype == torch.float32:
        support.convert(program, source, ours, "gguf", "--allow", "requantize")
        return differences(contents(ours), contents(theirs))
    support.convert(program, source, ours, "gguf")
    return differences(contents(ours), contents(theirs)) + home(program, source, ours, scratch, dtype)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    bad, program = 0, sys.argv[1]
    names = sys.argv[2:] or list(architectures.ARCHITECTURES)
    script = load_script()
    logging.disable(logging.INFO)
    for name in names:
        for dtype, kind in PLAIN.items():
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    found = check(program, script, name, dtype, pathlib.Path(scratch))
                except RuntimeError as error:
                    found = [str(error)]
            print(f"{name:16} {kind:5} {'FAILED' if found else 'ok'}", flush=True)
            for line in found[:40]:
                print(f"    {line}")
            bad += bool(found)
    support.figure(f"{len(names)} models in {len(PLAIN)} types: tensors, bytes and hyperparameters as convert_hf_to_gguf.py writes them, and home")
    return 1 if bad else 0


sys.exit(main())
