#!/usr/bin/env python3
"""Train small tokenizers with the `tokenizers` library and record what it answers.

    python make.py TEXT...        (any text files; the committed ones were trained on the sample of tests/data/tiny-llama)

Writes one <name>.json per tokenizer (a plain tokenizer.json) and expected.json: for every tokenizer and case the ids with and without
special tokens, and the decoded text.
"""
import json
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).resolve().parent
CASES = [
    "", " ", "  ", "   ", "\n", "\n\n", " \n", "\n ", "\t\t", "\r\n", " \r\n \n  x", "a", " a", "a ", "Hello world", " Hello  world   ",
    "Once upon a time, there was a little girl named Lily.", "I'm you're HE'LL it'S we've I'd can't o'clock 'sugar '\u017fo",
    "3 12 123 1234 12345 1,234.5 x1y22z333", "\u0661\u0662\u0663\u0664 \u00bd \u2167\u2168 \u00b2\u00b3", "!!! ... ?!?!\n\n!!\n x", "a/b //c/ \n/ d./\n",
    "caf\u00e9 cafe\u0301 \u00e5ngstr\u00f6m A\u030angstro\u0308m \u1e69 s\u0323\u0307 s\u0307\u0323 \u212b \u2126 \uac00 \u1100\u1161\u11a8 \uac00\u11a8",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002 \u3053\u3093\u306b\u3061\u306f \uc548\ub155", "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd \u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f", "\u0000\u0001\u0007\u001b\u007f\u0085 \u00a0 \u2003 \u3000 \u2028x\u2029 \u200b\ufeff",
    "HelloWorld helloWORLD XMLHttp iPhone \u01c5abc \u02b0x \u0130I \u00dfSS A\u0301B a\u0301b \u0301x \u0301\u0301",
    "<|end|>", "a<|end|>b", "x <|end|> y", "<|end|><|end|>", "<tool>foo</tool>", "my tool is a toolbox tool", " <pad>  <pad>\n z", "<|en", "\u2581a \u2581\u2581b",
    "for (int i = 0; i < n; ++i) { s += a[i]; }\n\treturn s;\n", "snake_case camelCase kebab-case", "The the THE \ufffd \U0010ffff \u0378",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "  four   spaces    and\ttabs\t\t\n\n\n  indent",
]
GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA3 = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
U, L = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = rf"[^\r\n\p{{L}}\p{{N}}]?{U}*{L}+|[^\r\n\p{{L}}\p{{N}}]?{U}+{L}*|\p{{N}}" + TAIL
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT4O = rf"[^\r\n\p{{L}}\p{{N}}]?{U}*{L}+{SUFFIX}|[^\r\n\p{{L}}\p{{N}}]?{U}+{L}*{SUFFIX}|\p{{N}}{{1,3}}" + TAIL


def added(tokenizer):
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>"])
    tokenizer.add_special_tokens([AddedToken("<pad>", lstrip=True, rstrip=True, special=True)])
    tokenizer.add_tokens(["<tool>", "</tool>", AddedToken("tool", single_word=True, normalized=False)])


def bos(tokenizer):
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", tokenizer.token_to_id("<|begin|>"))])


def byte_level(texts, pre, ignore_merges=False, normalizer=None):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train(texts, trainer)
    added(tokenizer)
    bos(tokenizer)
    return tokenizer


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def char_level(texts, legacy):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    # Training wants short words; the trained vocabulary is then used without them.
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train(texts, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    vocab = {t: i for i, t in enumerate(tokens)}
    for t in sorted(model["vocab"], key=model["vocab"].get):
        vocab.setdefault(t, len(vocab))
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    tokenizer.model = models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    added(tokenizer)
    bos(tokenizer)
    return tokenizer


def gemma_like(texts):
    tokenizer = char_level(texts, True)
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def unknown_bpe(texts):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train(texts, trainers.BpeTrainer(vocab_size=260, special_tokens=["<unk>"], show_progress=False))  # no full byte alphabet
    added(tokenizer)
    bos(tokenizer)
    return tokenizer


def unigram(texts, byte_fallback):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>"] + ([f"<0x{b:02X}>" for b in range(256)] if byte_fallback else [])
    tokenizer.train(texts, trainers.UnigramTrainer(vocab_size=200 + len(special), unk_token="<unk>", special_tokens=special, show_progress=False))
    if byte_fallback:
        saved = json.loads(tokenizer.to_str())
        saved["model"]["byte_fallback"] = True
        saved["added_tokens"] = []
        tokenizer = Tokenizer.from_str(json.dumps(saved))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]) if byte_fallback else decoders.Metaspace()
    added(tokenizer)
    bos(tokenizer)
    return tokenizer


def main():
    texts = sys.argv[1:]
    byte = pre_tokenizers.ByteLevel
    made = {
        "gpt2": byte_level(texts, byte(add_prefix_space=False)),
        "gpt2_split": byte_level(texts, split_then_bytes(GPT2)),
        "smollm": byte_level(texts, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte(add_prefix_space=False)])),
        "llama3": byte_level(texts, split_then_bytes(LLAMA3), ignore_merges=True),
        "qwen2": byte_level(texts, split_then_bytes(QWEN2), normalizer=normalizers.NFC()),
        "qwen35": byte_level(texts, split_then_bytes(QWEN35)),
        "tekken": byte_level(texts, split_then_bytes(TEKKEN)),
        "gpt4o": byte_level(texts, split_then_bytes(GPT4O)),
        "char_legacy": char_level(texts, True),
        "char_first": char_level(texts, False),
        "gemma": gemma_like(texts),
        "unknown": unknown_bpe(texts),
        "unigram": unigram(texts, False),
        "unigram_bytes": unigram(texts, True),
    }
    expected = {}
    for name, tokenizer in made.items():
        (HERE / f"{name}.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=True, separators=(",", ":")) + "\n")
        rows = []
        for text in CASES:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            rows.append({"text": text, "ids": ids, "ids_special": tokenizer.encode(text).ids,
                         "decoded": tokenizer.decode(ids, skip_special_tokens=False), "decoded_plain": tokenizer.decode(ids, skip_special_tokens=True)})
        expected[name] = rows
    (HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=True, separators=(",", ":")).replace("},{", "},\n{") + "\n")


if __name__ == "__main__":
    main()
