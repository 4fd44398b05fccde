#!/usr/bin/env python3
"""Record how the `tokenizers` library cuts text by the known patterns, and its normalization form C.

    python make_splits.py        (patterns and cases: make.py)

splits.json: `splits`: family -> one list of pieces per text of `texts`; `nfc`: pairs of text and normalized text.
"""
import itertools
import json
import random

from make import CASES, GPT2, GPT4O, HERE, LLAMA3, QWEN2, QWEN35, TEKKEN
from tokenizers import Regex, normalizers, pre_tokenizers

MORE = [
    "'\u017fo 'S 'T 'RE 'Ve 'lL 'D 'x 'l 'r 'v", "a'sb'tc'red", "''s '' 's's", " 's", "x's'", "\n's", "\r\n\r\n a", "a \r\n", "a\n \n b",
    " \t\u00a0\u3000x", "  \n", "\n\n  ", "x  ", "x \u00a0y", ".\n\n.", "!\r!", "a!\n\n", "a/\n/", "//\r/x", "/a", " /", " .a", ".a b",
    "1a2", "1234a", " 1", "  12", "\u00b2\u00b3\u00b9x", "\u0301a", " \u0301a", "\u0301", "a\u0301", "A\u0301b", "\u0301A", "\u0301\u0301b",
    "aB", "AB", "ABc", "AbC", "\u01c5\u01c5a", "\u02b0A", "A\u02b0", "\u4f60A\u4f60a", "a\u4f60B", ".\u4f60", "HELLOworldFOO's", "IT'S it's It'Ll",
    "A'sb", "ABC'D", "\u0130'\u017f", "_a", "a_b", "\ufeffa", "\u200da", "\u2028\u2029a", "\u0085a", "\u001c\u001d\u001e\u001fa",
]


def nfc_cases():
    marks = "\u0300\u0301\u0302\u0307\u0308\u030a\u0304\u0305\u0315\u0316\u0323\u0327\u0328\u0338\u0345\u05b0\u3099\u0653"
    bases = "aAeosSzK\u00e5\u00df\u1e63\u03b1\u03c9\u0418\u0627\u304b\u212b\u2126\u1100\uac00\uac01\u11a8\u0344\u0958\u1f71\U0001d15e"
    texts = [b + m for b, m in itertools.product(bases, marks)] + [b + m + n for b in "aes\u1e63\u03b1" for m in marks for n in marks]
    generator = random.Random(3)
    texts += ["".join(generator.choice(bases + marks + " ") for _ in range(12)) for _ in range(200)]
    normalizer = normalizers.NFC()
    changed = [[t, normalizer.normalize_str(t)] for t in texts]
    return [pair for i, pair in enumerate(changed) if pair[0] != pair[1] or i % 5 == 0]


def main():
    families = {"gpt2": GPT2, "llama3": LLAMA3, "qwen2": QWEN2, "qwen35": QWEN35, "tekken": TEKKEN, "gpt4o": GPT4O}
    generator = random.Random(4)
    alphabet = "aaBb'sStT \t\n\r.!/1\u0662\u00e9\u00c9\u0301\u4f60\u01c5\u02b0\u3000\u017f"
    texts = CASES + MORE + ["".join(generator.choice(alphabet) for _ in range(24)) for _ in range(60)]
    splits = {name: [[piece for piece, _ in pre_tokenizers.Split(Regex(pattern), "isolated").pre_tokenize_str(text)] for text in texts]
              for name, pattern in families.items()}
    result = {"texts": texts, "splits": splits, "nfc": nfc_cases()}
    (HERE / "splits.json").write_text(json.dumps(result, ensure_ascii=True, separators=(",", ":")).replace("],[", "],\n[") + "\n")


if __name__ == "__main__":
    main()
