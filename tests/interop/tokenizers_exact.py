#!/usr/bin/env python3
"""every tokenizer at hand gives the tokens of the library that owns it, on 20,000 lines of mixed text

    tokenizers_exact.py INGOT [--lines N] [VOCABULARY ...]

A vocabulary is a GGUF file, a tokenizer.model or a tokenizer.json; without arguments those of the shared vocabularies and of the directory
INGOT_TEST_MODELS. The text is made by a seeded generator: words, code, numbers, blanks of all kinds, many scripts, emoji, control
characters, words of control tokens, invalid UTF-8. The oracle is `tokenizers` for byte-level BPE, built from the lists of the GGUF file,
`sentencepiece` for the others, llama.cpp for GGUF files that neither can be built from. Exit status 77: something is missing.
"""
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import _support as support

try:
    import gguf
    import llama_cpp
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
except ImportError as error:
    support.skip(error)

LINES = 20_000
SEED = 20261122
LETTERS3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BLANKS = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n ", "\u00a0", "\u3000", "\u2028", " " * 8]
RANGES = [(0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F),
          (0x1100, 0x11FF), (0x2000, 0x206F), (0x2070, 0x20CF), (0x2150, 0x218F), (0x2190, 0x27BF), (0x3000, 0x30FF), (0x4E00, 0x9FFF),
          (0xAC00, 0xD7A3), (0x1F300, 0x1FAFF), (0x300, 0x36F), (0x1, 0x1F), (0x7F, 0x9F), (0xFE00, 0xFE0F), (0x1D400, 0x1D7FF),
          (0x20000, 0x2A6DF), (0x10000, 0x10FFF), (0xFB00, 0xFDFF), (0xFF00, 0xFFEF), (0xE000, 0xE0FF)]
CONTROL = ["<|endoftext|>", "<s>", "</s>", "<unk>", "<|im_start|>", "▁", "▁▁", "<0x0A>", "[INST]", "<bos>", "<start_of_turn>"]
ODD = ["a", "I'm", "WE'LL", "'Tis", "12345", "3.14", "x1y2", "é", "e\u0301", "😀", "👩‍👩‍👧", "中文", "العربية", "हिन्दी", "...", "!!", "//", "_", "don’t", "ſ",
       "'ſ", "\u212a"]


def words_at_hand():
    """Prose and code of this repository: words, with their punctuation."""
    text = "".join((support.ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md", "tests/data/tiny-llama/sample.txt"))
    code = "".join(path.read_text() for path in sorted((support.ROOT / "tests/interop").glob("*.py")))
    return text.split(), code.split("\n")


def make_lines(count):
    """UTF-8 and not quite UTF-8, without NUL."""
    draw = random.Random(SEED)
    words, code = words_at_hand()
    lines = []
    while len(lines) < count:
        kind = len(lines) % 8
        prose = " ".join(draw.choices(words, k=draw.randint(3, 60)))
        if kind in (0, 1):
            text = prose
        elif kind == 2:
            text = draw.choice(code) + "\n" + draw.choice(code)
        elif kind == 3:
            text = "".join("".join(chr(draw.randint(*ends)) for _ in range(draw.randint(1, 8))) + draw.choice(["", "", " ", draw.choice(BLANKS)])
                           for ends in draw.choices(RANGES, k=draw.randint(1, 10)))
        elif kind == 4:
            text = "".join(draw.choice(BLANKS + ODD) for _ in range(draw.randint(1, 20)))
        elif kind == 5:
            text = "".join(word + (draw.choice(BLANKS) if draw.random() < 0.3 else " ") for word in prose.split(" ")[:40])
        elif kind == 6:
            text = prose[:60] + draw.choice(CONTROL) + prose[60:120]
        else:
            text = bytes(draw.choice([draw.randint(1, 255), draw.randint(32, 126)]) for _ in range(draw.randint(1, 40)))
        lines.append(text if isinstance(text, bytes) else text.encode("utf-8", "replace"))
    return lines


def split_at(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


# By tokenizer.ggml.pre: how text is cut, and whether a word that is a token needs no merges.
FAMILIES = {
    "gpt-2": lambda: (pre_tokenizers.ByteLevel(add_prefix_space=False), False),
    "llama-bpe": lambda: (split_at(LETTERS3), True),
    "qwen2": lambda: (split_at(LETTERS3.replace("{1,3}", "")), False),
    "smollm": lambda: (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                pre_tokenizers.ByteLevel(add_prefix_space=False)]), False),
}


def fields_of(path):
    fields = gguf.GGUFReader(path).fields

    def values(name):
        field = fields.get("tokenizer.ggml." + name)
        return None if field is None else [field.parts[i] for i in field.data]

    texts = lambda name: [bytes(part).decode("utf-8", "surrogateescape") for part in values(name) or []]
    numbers = lambda name: [part[0] for part in values(name) or []]
    return texts, numbers


def byte_level(texts, numbers):
    pre = (texts("pre") or ["gpt-2"])[0]
    if pre not in FAMILIES:
        return None
    cut, ignores_merges = FAMILIES[pre]()
    tokens = texts("tokens")
    vocabulary = {text: index for index, text in reversed(list(enumerate(tokens)))}
    merges = [(pair[: pair.index(" ", 1)], pair[pair.index(" ", 1) + 1 :]) for pair in texts("merges")]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=ignores_merges))
    tokenizer.pre_tokenizer = cut
    added = [text for text, kind in zip(tokens, numbers("token_type")) if kind == 4]
    if added:
        tokenizer.add_tokens(added)
    return lambda lines: [encoding.ids for encoding in tokenizer.encode_batch(lines, add_special_tokens=False)]


def piecewise(texts, numbers):
    kinds = [int(kind) for kind in numbers("token_type")]
    if 4 in kinds:  # pieces of blanks that the user defined (Gemma): a model made here of the lists does not match them
        return None
    model = sentencepiece_model_pb2.ModelProto()
    for text, kind, score in zip(texts("tokens"), kinds, numbers("scores")):
        piece = model.pieces.add()
        piece.piece, piece.score, piece.type = text, float(score), kind
    prefix = numbers("add_space_prefix")
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type, trainer.byte_fallback, trainer.vocab_size, trainer.unk_id = 2, True, len(kinds), kinds.index(2)
    trainer.bos_id = trainer.eos_id = trainer.pad_id = -1
    normalizer.name, normalizer.remove_extra_whitespaces = "identity", False
    normalizer.add_dummy_prefix = bool(prefix[0]) if prefix else True
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    return processor.encode


def llama_cpp_tokens(path):
    """With control tokens: it counts Gemma's `</s>`, a piece like any other, among them."""
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    return lambda lines: [model.tokenize(line.encode(), add_bos=False, special=True) for line in lines]


def oracle_of(path):
    """A function from lines to token ids, and whether it reads control tokens in them."""
    if path.name.endswith(".gguf"):
        texts, numbers = fields_of(path)
        kind = (texts("model") or [""])[0]
        made = byte_level(texts, numbers) if kind == "gpt2" else piecewise(texts, numbers) if kind == "llama" else None
        return (made, False) if made else (llama_cpp_tokens(path), True)
    if path.name.endswith(".json"):
        tokenizer = Tokenizer.from_file(str(path))
        return lambda lines: [encoding.ids for encoding in tokenizer.encode_batch(lines, add_special_tokens=False)], True
    return sentencepiece.SentencePieceProcessor(model_file=str(path)).encode, False


def readable(path, work):
    """The path that INGOT reads: a tokenizer alone is put beside a small model."""
    if path.name.endswith(".gguf"):
        return path
    directory = pathlib.Path(tempfile.mkdtemp(dir=work))
    for name in ("config.json", "model.safetensors"):
        shutil.copy(support.TINY_LLAMA / name, directory)
    shutil.copy(path, directory / ("tokenizer.json" if path.name.endswith(".json") else "tokenizer.model"))
    return directory


def tokens_of(program, model, lines, options):
    done = subprocess.run([program, "tokenize", model, "--bare", "--null", *options], input=b"\0".join(lines) + b"\0", capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode())
    return [[int(word) for word in line.split()] for line in done.stdout.decode().split("\n")[:-1]]


def vocabularies():
    shared = support.SHARED / "models/vocabs"
    found = [*shared.rglob("*.gguf"), *shared.rglob("tokenizer.model*"), *shared.rglob("*.model.v*"), *support.gguf_files()]
    return sorted(path for path in found if path.is_file()) + [support.TINY_LLAMA / "tokenizer.json"]


def main():
    arguments = sys.argv[2:]
    count = int(arguments.pop(1)) if arguments[:1] == ["--lines"] else LINES
    paths = [pathlib.Path(argument) for argument in arguments if argument != "--lines"] or vocabularies()
    lines = make_lines(count)
    decoded = [line.decode("utf-8", "replace") for line in lines]
    wrong = 0
    with tempfile.TemporaryDirectory() as work:
        for path in paths:
            name = path.stem if path.name.endswith(".gguf") else f"{path.parent.name}/{path.name}"
            encode, reads_control = oracle_of(path)
            options = ["--special"] if reads_control else []
            got, expected = tokens_of(sys.argv[1], readable(path, work), lines, options), encode(decoded)
            bad = [i for i in range(count) if i >= len(got) or got[i] != expected[i]]
            support.figure(f"{name}: {count - len(bad):,} of {count:,} lines equal, {sum(map(len, expected)):,} tokens")
            for i in bad[:3]:
                print(f"  {decoded[i][:80]!r}: got {got[i][:20]}, expected {expected[i][:20]}")
            wrong += len(bad)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
