#!/usr/bin/env python3
"""tokenizers/<name>/: tokenizer files of each family, trained on a few sentences by the `tokenizers` and `sentencepiece` packages, and
expected.json: the facts that the packages themselves report (vocabulary by id, merges, what is put around a text).

Run: python3 make_tokenizers.py        (tokenizers 0.23, sentencepiece 0.2)
"""
import io
import json
import pathlib

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent / "tokenizers"
TEXT = ["The quick brown fox jumps over the lazy dog.", "Once upon a time there were 12345 little stories, told again and again.",
        "It's what they've said: we'll see, I'm sure.", "Über den Wolken\n\n  naïve café  42\t!", "the theme of the thesis then there"] * 3
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
MARK = "\u2581"


def save(name, tokenizer, expected, files=None):
    folder = HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
        model = json.loads(tokenizer.to_str())["model"]
        expected["tokens"] = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
        if "merges" in model:
            expected["merges"] = [" ".join(m) for m in model["merges"]]
        specials = [i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special]
        expected["special_ids"] = sorted(specials)
        expected["around_text"] = [i for i in tokenizer.encode("x").ids if i in specials]
    for file, content in (files or {}).items():
        (folder / file).write_bytes(content if isinstance(content, bytes) else (json.dumps(content, indent=1) + "\n").encode())
    (folder / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


def byte_level(pre, specials=("<|endoftext|>",), normalizer=None, bos=None, ignore_merges=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=list(specials), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B",
                                                                 special_tokens=[(bos, tokenizer.token_to_id(bos))])
    return tokenizer


def make_byte_level():
    level = pre_tokenizers.ByteLevel
    save("gpt2", byte_level(level(add_prefix_space=False)), {"kind": "byte_bpe", "steps": ["regex gpt2"], "gguf_pre": "gpt-2"},
         {"tokenizer_config.json": {"bos_token": "<|endoftext|>", "eos_token": {"content": "<|endoftext|>", "__type": "AddedToken"}}})
    llama3 = byte_level(pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), level(add_prefix_space=False, use_regex=False)]),
                        ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"), bos="<|begin_of_text|>", ignore_merges=True)
    save("llama3", llama3, {"kind": "byte_bpe", "steps": ["regex llama3", "bytes_only "], "gguf_pre": "llama-bpe"},
         {"tokenizer_config.json": {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "chat_template": "from the config"},
          "generation_config.json": {"eos_token_id": [1, 2]}, "chat_template.jinja": b"from the file"})
    qwen2 = byte_level(pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), level(add_prefix_space=False, use_regex=False)]),
                       normalizer=normalizers.NFC())
    qwen2.add_special_tokens([AddedToken("<|im_end|>", normalized=False)])
    qwen2.add_tokens([AddedToken("<think>", normalized=False, lstrip=True)])
    save("qwen2", qwen2, {"kind": "byte_bpe", "steps": ["regex qwen2", "bytes_only "], "gguf_pre": "qwen2"},
         {"tokenizer_config.json": {"eos_token": "<|im_end|>", "bos_token": None, "add_bos_token": False,
                                    "chat_template": [{"name": "tool", "template": "no"}, {"name": "default", "template": "yes"}]}})
    smollm = byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level(add_prefix_space=False)]))
    save("smollm", smollm, {"kind": "byte_bpe", "steps": ["digits ", "regex gpt2"], "gguf_pre": "smollm"})


def char_level(name, norm, pre, decoder, bos, specials, files=None, **expected):
    alphabet = [f"<0x{i:02X}>" for i in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = norm
    if pre:
        tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoder
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=list(specials) + alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    data = json.loads(tokenizer.to_str())  # byte tokens are ordinary vocabulary in real files
    data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] not in alphabet]
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B",
                                                             special_tokens=[(bos, tokenizer.token_to_id(bos))])
    save(name, tokenizer, {"kind": "char_bpe", **expected}, files)


def make_char_level():
    llama = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    strip = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    char_level("llama2", llama, None, strip, "<s>", ("<unk>", "<s>", "</s>"), steps=[], normalizer=["prepend", "replace"], gguf_pre="",
               files={"tokenizer_config.json": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
                      "special_tokens_map.json": {"pad_token": "</s>"}})
    fuse = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()])
    char_level("gemma", normalizers.Replace(" ", MARK), pre_tokenizers.Split(" ", "merged_with_previous"), fuse, "<bos>",
               ("<pad>", "<eos>", "<bos>", "<unk>"), steps=["split_space "], normalizer=["replace"], gguf_pre="")
    char_level("metaspace", normalizers.NFKC(), pre_tokenizers.Metaspace(MARK, "first", False), strip, "<s>", ("<unk>", "<s>", "</s>"),
               steps=["metaspace "], normalizer=["nfkc"], gguf_pre="",
               files={"tokenizer_config.json": {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True, "add_eos_token": True}})


def make_unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(TEXT, trainers.UnigramTrainer(vocab_size=80, special_tokens=["<unk>", "</s>"], unk_token="<unk>",
                                                                show_progress=False))
    scores = [s for _, s in json.loads(tokenizer.to_str())["model"]["vocab"]]
    save("unigram", tokenizer, {"kind": "unigram", "steps": ["metaspace split"], "gguf_pre": "", "scores": scores})


def make_sentencepiece():
    for name, kind in (("spm_bpe", "bpe"), ("spm_unigram", "unigram")):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXT), model_writer=model, vocab_size=330, model_type=kind, byte_fallback=True,
            normalization_rule_name="identity", remove_extra_whitespaces=False, user_defined_symbols=["<|user|>"], hard_vocab_limit=False,
            minloglevel=2, num_threads=1)
        sp = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        ids = range(sp.vocab_size())
        save(name, None, {
            "kind": name if kind == "bpe" else "unigram", "tokens": [sp.id_to_piece(i) for i in ids], "scores": [sp.get_score(i) for i in ids],
            "byte_ids": [i for i in ids if sp.is_byte(i)], "control_ids": [i for i in ids if sp.is_control(i)],
            "unknown_ids": [i for i in ids if sp.is_unknown(i)], "bos": sp.bos_id(), "eos": sp.eos_id()},
            {"tokenizer.model": model.getvalue(),
             "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}})


if __name__ == "__main__":
    make_byte_level()
    make_char_level()
    make_unigram()
    make_sentencepiece()
