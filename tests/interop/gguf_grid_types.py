#!/usr/bin/env python3
"""Models in ggml's IQ1, IQ2 and IQ3 types: restored and written byte for byte, decoded as ggml does, run alike from both layouts

    gguf_grid_types.py INGOT [MODEL.gguf ...]

The matrices of MODEL (SmolLM2-135M and the like, see tests/interop/_support.py) whose rows are a multiple of 256 are quantized by ggml itself,
each into the next of the seven types. Then
  to .ingot and `restore`       the file byte for byte
  to .ingot and back to GGUF    every tensor byte for byte; greedy text in llama.cpp as from the original
  `--scheme f32`                every quantized tensor equals, bit for bit, what the `gguf` package decodes
  `ingot run`                   the same text from the GGUF file and from the .ingot
Needs gguf, numpy and llama-cpp-python. Exit status 77: they are missing.
"""
import ctypes
import pathlib
import subprocess
import sys
import tempfile

import _support as support

try:
    import gguf
    import llama_cpp
    import numpy as np
    from gguf import GGMLQuantizationType as T
except ImportError as error:
    support.skip(error)

KINDS = [T.IQ3_S, T.IQ3_XXS, T.IQ2_S, T.IQ2_XS, T.IQ2_XXS, T.IQ1_M, T.IQ1_S]
PROMPT = "Once upon a time"
faults = []


def expect(condition, message):
    print("  " + ("ok" if condition else "FAILED") + ": " + message, flush=True)
    if not condition:
        faults.append(message)


def quantize(kind, values):
    """By ggml, all inputs equally important."""
    library = ctypes.CDLL(str(pathlib.Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    rows, cols = values.shape
    elems, size = gguf.GGML_QUANT_SIZES[kind]
    out, weights, values = np.zeros((rows, cols // elems * size), np.uint8), np.ones(cols, np.float32), np.ascontiguousarray(values, np.float32)
    written = library.ggml_quantize_chunk(int(kind), values.ctypes.data, out.ctypes.data, 0, rows, cols, weights.ctypes.data)
    assert written == out.nbytes
    return out


def make_model(source, target):
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], sub_type=sub_type)
    count = 0
    for tensor in reader.tensors:
        if len(tensor.shape) == 2 and tensor.shape[0] % 256 == 0 and tensor.name.startswith("blk."):
            kind = KINDS[count % len(KINDS)]
            count += 1
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            writer.add_tensor(tensor.name, quantize(kind, values), raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return count


def tensors_of(path):
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def llama_text(path):
    model = llama_cpp.Llama(model_path=str(path), n_ctx=128, verbose=False, seed=0)
    return model(PROMPT, max_tokens=32, temperature=0)["choices"][0]["text"]


def our_text(program, path):
    command = [program, "run", path, "-p", PROMPT, "-n", "32", "--temperature", "0"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def check(program, source, work):
    original = work / "grid.gguf"
    count = make_model(source, original)
    expect(count >= len(KINDS), f"{count} matrices in grid types")
    packed = support.convert(program, original, work / "grid.ingot", "ingot")
    subprocess.run([program, "restore", packed, "-o", work / "restored"], check=True, capture_output=True)
    expect((work / "restored" / original.name).read_bytes() == original.read_bytes(), "restored byte for byte")
    written = support.convert(program, packed, work / "written.gguf", "gguf")
    before, after = tensors_of(original), tensors_of(written)
    same = [key for key in before if key in after and after[key].data.tobytes() == before[key].data.tobytes()]
    expect(len(same) == len(before), f"{len(same)} of {len(before)} tensors written byte for byte")
    plain = tensors_of(support.convert(program, packed, work / "plain.gguf", "gguf", "--scheme", "f32"))
    equal = [key for key, t in before.items() if t.tensor_type in KINDS
             and np.array_equal(np.asarray(plain[key].data).reshape(-1), gguf.quants.dequantize(t.data, t.tensor_type).reshape(-1))]
    expect(len(equal) == count, f"{len(equal)} of {count} matrices decoded as the gguf package does")
    expect(our_text(program, original) == our_text(program, packed), "ingot run: the same text from both layouts")
    expect(llama_text(original) == llama_text(written), "llama.cpp: the same text from the original and the written file")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    models = [pathlib.Path(name).resolve() for name in sys.argv[2:]] or support.gguf_files()
    for source in models:
        print(source.name, flush=True)
        with tempfile.TemporaryDirectory() as directory:
            check(sys.argv[1], source, pathlib.Path(directory))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
