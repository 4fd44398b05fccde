#!/usr/bin/env python3
"""llama.cpp runs our GGUF files with the tokens, greedy text and perplexity of transformers (from HF) or of the source (from GGUF)

    gguf_llama_cpp.py INGOT [MODEL ...]

MODEL is a Hugging Face directory or a .gguf file; without any, those at hand (tests/interop/_support.py).

From a Hugging Face directory, the reference is transformers in float32:
  F32   perplexity within 0.1 %, every greedy token where the reference's margin exceeds 1e-3
  BF16  perplexity within 0.1 %. llama.cpp rounds activations to bfloat16 when weights are bfloat16, so single tokens are not compared
  Q8_0  every tensor equals, byte for byte, what the `gguf` package makes of the F32 file
From a GGUF file:
  its own types   tensors byte for byte; perplexity within 0.1 % and greedy tokens of the source, both in llama.cpp
  F32             tensors those that the `gguf` package decodes, bit for bit but for the sign of zeros; perplexity within 0.1 % and greedy
                  tokens of a GGUF file that the package wrote from them (no code of ours), both in llama.cpp; perplexity within 0.1 %
                  of transformers' on these weights
F32 is not compared with the quantized source: llama.cpp rounds activations to 8 bits when weights are quantized and not when they are F32,
which for SmolLM2-135M Q4_1 is 1.1 % of perplexity with the same weights.
Needs torch, transformers, gguf, numpy and llama-cpp-python. Exit status 77: they are missing.
"""
import pathlib
import sys
import tempfile

import _support as support

try:
    import gguf
    import llama_cpp  # noqa: F401
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as error:
    support.skip(error)

TEXT = (support.TINY_LLAMA / "sample.txt").read_text()
TEXT_TOKENS = 400
PROMPTS = ["Once upon a time", "One day, Lily went to the", "The capital of France is"]
GREEDY_TOKENS = 64
LIMIT = 0.001
faults = []


def expect(condition, message):
    if not condition:
        faults.append(message)
        print("  FAILED:", message, flush=True)


class Transformers:
    def __init__(self, path):
        where = {"pretrained_model_name_or_path": path} if path.is_dir() else {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
        self.tokenizer = AutoTokenizer.from_pretrained(**where)
        self.model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32, attn_implementation="eager").eval()

    def ids_of(self, text):
        return self.tokenizer(text)["input_ids"]

    @torch.no_grad()
    def logits(self, ids):
        return self.model(torch.tensor([list(ids)])).logits[0].double().numpy()

    def greedy_case(self, ids, count):
        return support.reference_case(self.model, ids, count)


def cases_of(model):
    return [model.greedy_case(list(model.ids_of(prompt)), GREEDY_TOKENS) for prompt in PROMPTS]


def faults_of_greedy(model, reference, case):
    """Where the reference is llama.cpp too, the file generates as the reference did, a token at a time: with quantized weights llama.cpp
    computes a prompt with other kernels than a token, and their logits differ by more than many a margin."""
    if not isinstance(reference, support.LlamaCpp):
        return support.greedy_faults(model.logits, case)
    got, wanted = model.greedy_case(case["prompt_ids"], len(case["greedy_ids"]))["greedy_ids"], case["greedy_ids"]
    return [f"token {i} is {a}, of the reference {b}" for i, (a, b) in enumerate(zip(got, wanted)) if a != b][:1]


def compare(name, model, reference, reference_ppl, cases):
    """Perplexity and greedy tokens of a GGUF file in llama.cpp against a reference on the same token ids."""
    ids = list(reference.ids_of(TEXT))[:TEXT_TOKENS]
    expect(list(model.ids_of(TEXT))[:TEXT_TOKENS] == ids, f"{name}: the text becomes other tokens")
    ppl = support.perplexity_of(model.logits(ids), ids)
    off = ppl / reference_ppl - 1
    support.figure(f"{name}: perplexity {ppl:.5f}, reference {reference_ppl:.5f} ({off:+.3%})")
    expect(abs(off) <= LIMIT, f"{name}: perplexity {ppl:.5f}, reference {reference_ppl:.5f}")
    for case in cases:
        for fault in faults_of_greedy(model, reference, case):
            expect(False, f"{name}: after {case['prompt_ids']}: {fault}")


def perplexity(model):
    ids = list(model.ids_of(TEXT))[:TEXT_TOKENS]
    return support.perplexity_of(model.logits(ids), ids)


def by_name(reader):
    return {tensor.name: tensor for tensor in reader.tensors}


def tensors_of(path):
    return by_name(gguf.GGUFReader(path))


def stored(tensor):
    return tensor.data.tobytes()


def positive_zeros(values):
    """The sign of a decoded zero carries no meaning (spec/schemes/README.md): a code at its zero point times a negative scale."""
    return (values + np.float32(0)).tobytes()


def expect_same_tensors(name, got, wanted, bytes_of=stored):
    """`wanted`: name -> what bytes_of() makes of a tensor."""
    expect(got.keys() == wanted.keys(), f"{name}: other tensors: {sorted(got.keys() ^ wanted.keys())[:4]}")
    different = [key for key in got.keys() & wanted.keys() if bytes_of(got[key]) != wanted[key]]
    expect(not different, f"{name}: {len(different)} tensors have other bytes, such as {different[:4]}")
    support.figure(f"{name}: {len(got) - len(different)} of {len(wanted)} tensors equal byte for byte")


def decoded(tensor):
    return np.ascontiguousarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))


def write_decoded(reader, target):
    """The GGUF file of `reader` with every tensor in F32, made by the gguf package alone."""
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = int(gguf.LlamaFileType.ALL_F32) if key == "general.file_type" else field.contents()
        sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, value, field.types[0], sub_type=sub_type)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, decoded(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def check_directory(program, source, work):
    reference = Transformers(source)
    reference_ppl, cases = perplexity(reference), cases_of(reference)
    f32 = support.convert(program, source, work / "f32.gguf", "gguf", "--scheme", "f32")
    compare(f"{source.name} -> F32", support.LlamaCpp(f32), reference, reference_ppl, cases)
    bf16 = support.convert(program, source, work / "bf16.gguf", "gguf", "--scheme", "bf16", "--allow", "requantize")
    compare(f"{source.name} -> BF16", support.LlamaCpp(bf16), reference, reference_ppl, [])
    q8_0 = tensors_of(support.convert(program, source, work / "q8_0.gguf", "gguf", "--scheme", "q8_0", "--allow", "requantize"))
    plain = tensors_of(f32)
    wanted = {key: gguf.quants.quantize(np.asarray(plain[key].data), q8_0[key].tensor_type).tobytes() for key in q8_0.keys() & plain.keys()}
    expect(any(tensor.tensor_type == gguf.GGMLQuantizationType.Q8_0 for tensor in q8_0.values()), f"{source.name} -> Q8_0: no such tensor")
    expect_same_tensors(f"{source.name} -> Q8_0", q8_0, wanted)


def check_file(program, source, work):
    kept = support.convert(program, source, work / "kept.gguf", "gguf")
    reader = gguf.GGUFReader(source)  # once: it takes a large vocabulary element by element
    originals = by_name(reader)
    expect_same_tensors(f"{source.stem}, own types", tensors_of(kept), {key: stored(tensor) for key, tensor in originals.items()})
    original = support.LlamaCpp(source)
    compare(f"{source.stem}, own types", support.LlamaCpp(kept), original, perplexity(original), cases_of(original))
    kept.unlink()

    f32 = support.convert(program, source, work / "f32.gguf", "gguf", "--scheme", "f32")
    by_package = write_decoded(reader, work / "package.gguf")
    expect_same_tensors(f"{source.stem} -> F32", tensors_of(f32), {key: positive_zeros(decoded(tensor)) for key, tensor in originals.items()},
                        lambda tensor: positive_zeros(tensor.data))
    package, ours = support.LlamaCpp(by_package), support.LlamaCpp(f32)
    compare(f"{source.stem} -> F32, by the gguf package", ours, package, perplexity(package), cases_of(package))
    reference = Transformers(source)
    ids = list(package.ids_of(TEXT))[:TEXT_TOKENS]
    compare(f"{source.stem} -> F32, by transformers", ours, package, support.perplexity_of(reference.logits(ids), ids), [])


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    models = [pathlib.Path(name).resolve() for name in sys.argv[2:]] or support.hugging_face_directories() + support.gguf_files()
    for source in models:
        print(source.name, flush=True)
        with tempfile.TemporaryDirectory() as directory:
            (check_directory if source.is_dir() else check_file)(sys.argv[1], source, pathlib.Path(directory))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
