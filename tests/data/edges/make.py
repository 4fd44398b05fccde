#!/usr/bin/env python3
"""Places where two readings of a rule differ by one step, decided by the libraries that own the rule.

    python make.py       (needs torch, transformers, tokenizers, sentencepiece, gguf, numpy, llama-cpp-python)

expected.json:
  unigram   a tokenizer.json whose vocabulary cuts words in several ways of equal score, and the ids of `tokenizers`, with <s> and </s> too
  sampling  logits, options, and the ids that MinPLogitsWarper, TopPLogitsWarper and TopKLogitsWarper of transformers keep
  q8_1      blocks as libggml quantizes them (exact: the scale needs no rounding, so that the stored sum follows from the other fields)
  sentencepiece  a tokenizer.model whose trainer_spec names no special ids, and those that the package then uses
spm_defaults.gguf: a SentencePiece vocabulary without special-id keys; `gguf_defaults`: the ids that llama.cpp then uses, the tokens that end a
reply for it, and its token ids of texts.
"""
import ctypes
import json
import pathlib

import gguf
import llama_cpp
import numpy as np
import sentencepiece
import torch
from sentencepiece import sentencepiece_model_pb2 as spm
from tokenizers import Tokenizer, models, processors
from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

HERE = pathlib.Path(__file__).resolve().parent


def unigram():
    scores = {"<unk>": -20.0, "a": -1.0, "b": -3.0, "c": -1.0, "ab": -2.0, "bc": -2.0, "d": -1.0, "cd": -2.0, "abc": -3.0, "bcd": -3.0, "e": -4.0,
              "ee": -8.0}
    tokenizer = Tokenizer(models.Unigram(list(scores.items()), unk_id=0, byte_fallback=False))
    tokenizer.add_special_tokens(["<s>", "</s>"])
    special = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=special)
    rows = [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids, "ids_special": tokenizer.encode(text).ids} for text in ("abc", "abcd", "abcabc", "bcd", "ee", "eee", "eeee", "dabcdab", "abab")]
    return {"tokenizer": json.loads(tokenizer.to_str()), "rows": rows}


def sampling():
    rows = []
    cases = [([2.0, 5.0, 5.0, 1.0, 5.0], {"min_p": 1.0}), ([2.0, 5.0, 5.0, 1.0, 4.99], {"min_p": 1.0}), ([0.0, 1.0, 2.0, 3.0], {"min_p": 0.1}),
             ([0.0, 0.0, 0.0, 0.0], {"top_p": 0.5}), ([0.0, 0.0, 0.0, 0.0], {"top_p": 0.51}), ([0.0, 0.0, 0.0, 0.0], {"top_p": 0.25}),
             ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], {"top_p": 0.875}), ([3.0, 1.0, 2.0, 0.0], {"top_k": 2}), ([1.0, 3.0, 2.0, 0.5], {"top_p": 0.8})]
    for logits, options in cases:
        scores = torch.tensor([logits])
        if "top_k" in options:
            scores = TopKLogitsWarper(options["top_k"])(None, scores)
        if "top_p" in options:
            scores = TopPLogitsWarper(options["top_p"])(None, scores)
        if "min_p" in options:
            scores = MinPLogitsWarper(options["min_p"])(None, scores)
        kept = [i for i, score in enumerate(scores[0].tolist()) if score != -float("inf")]
        # Which of equal logits stays is nobody's rule: the values that stay are compared.
        rows.append({"logits": logits, **options, "kept": sorted(logits[i] for i in kept)})
    return rows


def q8_1():
    library = ctypes.CDLL(str(pathlib.Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
    rng = np.random.default_rng(3)
    blocks = []
    for scale in (1.0, -0.5, 2.0 ** -14, 2.0 ** -20, 0.125, 256.0):
        codes = rng.integers(-126, 127, 32)
        codes[rng.integers(0, 32)] = 127  # the greatest magnitude: scale = amax / 127 exactly
        values = np.ascontiguousarray(codes * scale, np.float32)
        block = np.zeros(36, np.uint8)
        library.quantize_row_q8_1_ref(values.ctypes.data_as(ctypes.c_void_p), block.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(32))
        assert np.array_equal(np.abs(block[4:].view(np.int8)), np.abs(codes)), "not exact"
        blocks.append(block.tobytes().hex())
    return blocks


def pieces():
    yield "<unk>", spm.ModelProto.SentencePiece.UNKNOWN
    yield "<s>", spm.ModelProto.SentencePiece.CONTROL
    yield "</s>", spm.ModelProto.SentencePiece.CONTROL
    for piece in ("\u2581", "a", "b", "\u2581a", "ab"):
        yield piece, spm.ModelProto.SentencePiece.NORMAL


def sentencepiece_defaults():
    model = spm.ModelProto()
    for number, (piece, kind) in enumerate(pieces()):
        model.pieces.add(piece=piece, score=-float(number), type=kind)
    model.trainer_spec.model_type = spm.TrainerSpec.BPE
    data = model.SerializeToString()
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    return {"model": data.hex(), "unknown": processor.unk_id(), "bos": processor.bos_id(), "eos": processor.eos_id()}


def gguf_defaults():
    path = HERE / "spm_defaults.gguf"
    tokens = [(piece, -float(i), int(kind)) for i, (piece, kind) in enumerate(pieces())]
    tokens += [("<tool>", 0.0, 4), ("<|eot_id|>", 0.0, 3), ("<|other|>", 0.0, 3), ("<|im_end|>", 0.0, 1)]  # user-defined, control, normal
    tokens += [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_float32("llama.rope.scale_linear", 4.0)  # the key of old files for linear RoPE scaling
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([t[0] for t in tokens])
    writer.add_token_scores([t[1] for t in tokens])
    writer.add_token_types([t[2] for t in tokens])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    vocabulary = llama_cpp.llama_model_get_vocab(model._model.model)
    return {"bos": model.token_bos(), "eos": model.token_eos(),
            "ends": [i for i in range(len(tokens)) if llama_cpp.llama_vocab_is_eog(vocabulary, i)],
            "ids": [{"text": text, "ids": model.tokenize(text.encode(), add_bos=True)} for text in ("a", "ab a", "", "a<tool>b", "<tool> a<|eot_id|>")]}


if __name__ == "__main__":
    expected = {"unigram": unigram(), "sampling": sampling(), "q8_1": q8_1(), "sentencepiece": sentencepiece_defaults(), "gguf_defaults": gguf_defaults()}
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
