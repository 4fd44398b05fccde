#!/usr/bin/env python3
"""Write expected.json and expected_logits.safetensors for the checkpoint in this directory.

    python make_expected.py [--dir DIR]

Everything is computed by Hugging Face transformers: the BF16 weights are upcast to float32, attention
is the plain "eager" implementation, every forward pass recomputes the whole sequence (no KV cache).

expected.json
  model        what was measured: versions, sha256 of model.safetensors and tokenizer.json
  generation   per prompt: `prompt_ids` (BOS included), `greedy_ids` (exactly 64 tokens; EOS does not stop
               the generation), `text` (decoded greedy_ids, special tokens kept), `min_margin` (smallest
               difference between the two largest logits on the way, with its step) and `margins` (all 64).
               `logits` names the tensor in expected_logits.safetensors with the logits at the last prompt
               position ([vocab], float32); `logits_top5` are its largest entries.
  tokenizer    strings with `ids` (no special tokens added; special tokens that occur in the text are
               recognised), `ids_bos` (the tokenizer's default, i.e. with BOS in front) and `decoded`
               (decode of `ids`, special tokens kept)
  chat         messages, the rendered template and its ids, with and without the generation prompt
  perplexity   of sample.txt. ids = [BOS] + encode(text), cut into consecutive windows ids[256*k : 256*k+256]
               (window = stride = 256, the last one may be shorter, no BOS is put in front of windows
               k > 0). Each window is a sequence of its own, positions start at 0. All tokens of a window
               but its first are scored. nll = sum of -ln p over all scored tokens of all windows,
               ppl = exp(nll / scored); nll_per_byte = nll / (UTF-8 bytes of the text). `windows` has
               the sums of the single windows.
"""
import argparse
import hashlib
import json
import math
import re
from pathlib import Path

import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoTokenizer, LlamaForCausalLM

N_NEW, WINDOW = 64, 256

# Chosen so that the two largest logits stay apart by at least 0.015 on the greedy path. The path of the last
# prompt contains EOS and BOS.
PROMPTS = [
    "Once upon a time",
    "One day, Lily went to the",
    "Once there was a",
    "In a small house, there lived an old",
    "\"Can I help you?\" asked the old man.",
    "Lily and Ben are friends. They like to",
    "The sun was hot and the",
    "It was a cold day. Sara and Ben wanted to make a snowman. They put on their hats and coats and ran "
    "outside. Ben rolled a big ball of snow. Sara found a carrot for the nose. But then",
    "It was a cold day. Sara and Ben wanted to make a snowman. They put on their hats and coats and ran "
    "outside. Ben rolled a big ball of snow. Sara found a carrot for the nose. They were very happy. Then",
]

CHAT = [
    {"role": "system", "content": "You tell short stories."},
    {"role": "user", "content": "Tell me a story about Lily."},
    {"role": "assistant", "content": "Once upon a time, there was a girl named Lily. The end."},
]
CHAT_PROMPT = CHAT[:2]  # generation is also recorded for this one, rendered with the generation prompt

TOKENIZER_CASES = [
    "", " ", "  ", "   ", "\n", "\n\n", "\n\n\n", "\t", "\r\n", " \n ", "a", " a", "a ", "  a  b   c    d",
    "Hello world", " Hello world", "Once upon a time, there was a little girl named Lily.",
    "line one\nline two\n\n  indented\tand tabbed\r\n", "trailing spaces   ", "trailing newline\n", "    four before",
    "I'm you're he'll they've we'd it's don't", "I'M YOU'RE HE'LL IT'S", "'s 't 're 've 'm 'll 'd", "can\u2019t won\u2019t",
    "0", "12", "123456789", "3.14159", "1,234,567.89", "2024-02-29T12:34:56Z", "0x1F and 1e-5", "abc123def456", "7 8  9",
    "!!!", "...", "?!?!", "\"quoted,\" she said.", "(a[b]{c}<d>)", "a+b=c; x != y && z || !w", "https://example.org/a?b=c&d=%20#e",
    "user@example.org", "snake_case camelCase kebab-case", "for (int i = 0; i < n; ++i) { s += a[i]; }",
    "caf\u00e9 na\u00efve \u00fcber stra\u00dfe", "cafe\u0301 (combining)", "\u00c0\u00c9\u00ce\u00d5\u00dc", "\u017c\u00f3\u0142\u0107 \u010de\u0161tina",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!", "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u03ba\u03cc\u03c3\u03bc\u03b5",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c", "\uc548\ub155\ud558\uc138\uc694",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u05e9\u05dc\u05d5\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\U0001f600", "\U0001f600\U0001f680 \U0001f44d\U0001f3fd", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family", "\U0001f1e9\U0001f1ea flag",
    "\u0661\u0662\u0663 \u00b2\u00b3 \u00bd \u2163 \u0967\u0968", "\u2014 em \u2013 en \u2026 \u201cq\u201d \u2018s\u2019", "\u20ac5 \u00a310 \u00a53",
    "a\u00a0b (nbsp)", "a\u2003b (em space)", "a\u3000b (ideographic space)", "a\u2028b\u2029c", "a\u200bb (zero width)", "\ufeffBOM", "a\u0085b",
    "\u0000", "a\u0000b", "\u0001\u0002\u0007\u0008\u000b\u000c\u001b\u007f", "\ufffd", "\U0010ffff", "\u0378 (unassigned)", "\U00010348\U0001d11e",
    "<|bos|>", "<|endoftext|>", "<|bos|>Once upon a time<|endoftext|>", "<|im_start|>user\nHi<|im_end|>\n", "a<|im_end|> b <|im_end|>c",
    "<|im_start|><|im_end|><|endoftext|>", "<|im_start|", "<|unknown|>", "< |bos|>", "<|BOS|>", "<s></s><unk>",
    "xXxXxXxX", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "THE LITTLE GIRL", "the the the", "supercalifragilisticexpialidocious",
    "\u00a0\u00a0", " \u00a0 ", "\n \n  \n   x", "a\n\n\nb", "tab\t\ttab", " 1 2", "x  1", "x  'll", "'", "''", " '", "\u0130stanbul \u01c5 \u02b0",
]


def sha256(p):
    return hashlib.sha256(Path(p).read_bytes()).hexdigest()


@torch.no_grad()
def greedy(model, ids):
    seq, margins, first = list(ids), [], None
    for _ in range(N_NEW):
        logits = model(input_ids=torch.tensor([seq]), use_cache=False).logits[0, -1].float()
        first = logits if first is None else first
        top = logits.topk(2)
        margins.append(float(top.values[0] - top.values[1]))
        seq.append(int(top.indices[0]))
    return seq[len(ids):], margins, first


@torch.no_grad()
def perplexity(model, ids, n_bytes):
    windows, nll, scored = [], 0.0, 0
    for k in range(0, len(ids), WINDOW):
        w = torch.tensor([ids[k:k + WINDOW]])
        if w.shape[1] < 2:
            continue
        logp = model(input_ids=w, use_cache=False).logits[0, :-1].double().log_softmax(-1)
        s = float(-logp.gather(1, w[0, 1:, None]).sum())
        windows.append({"tokens": w.shape[1], "scored": w.shape[1] - 1, "nll": s})
        nll, scored = nll + s, scored + w.shape[1] - 1
    return {"window": WINDOW, "stride": WINDOW, "tokens": len(ids), "scored": scored, "bytes": n_bytes, "nll": nll,
            "ppl": math.exp(nll / scored), "nll_per_byte": nll / n_bytes,
            "bits_per_byte": nll / n_bytes / math.log(2), "windows": windows}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--dir", default=str(Path(__file__).resolve().parent))
    d = Path(ap.parse_args().dir)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    tok = AutoTokenizer.from_pretrained(d)
    model = LlamaForCausalLM.from_pretrained(d, dtype=torch.float32, attn_implementation="eager").eval()

    gen, tensors = [], {}

    def add(name, prompt, ids):
        out, margins, logits = greedy(model, ids)
        tensors[name] = logits.contiguous()
        top = logits.topk(5)
        low = min(range(N_NEW), key=margins.__getitem__)
        gen.append({"prompt": prompt, "prompt_ids": ids, "greedy_ids": out,
                    "text": tok.decode(out, skip_special_tokens=False),
                    "min_margin": margins[low], "min_margin_step": low, "margins": [round(m, 5) for m in margins],
                    "logits": name, "logits_top5": [[int(i), float(v)] for v, i in zip(top.values, top.indices)]})

    for i, p in enumerate(PROMPTS):
        add(f"prompt{i}", p, tok(p)["input_ids"])
    chat_text = tok.apply_chat_template(CHAT_PROMPT, tokenize=False, add_generation_prompt=True)
    add("chat", chat_text, tok(chat_text, add_special_tokens=False)["input_ids"])

    cases = []
    for s in TOKENIZER_CASES:
        ids = tok(s, add_special_tokens=False)["input_ids"]
        cases.append({"text": s, "ids": ids, "ids_bos": tok(s)["input_ids"],
                      "decoded": tok.decode(ids, skip_special_tokens=False)})

    chat = {"messages": CHAT}
    for key, flag in (("without_generation_prompt", False), ("with_generation_prompt", True)):
        text = tok.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=flag)
        chat[key] = {"text": text, "ids": tok(text, add_special_tokens=False)["input_ids"]}

    sample = (d / "sample.txt").read_bytes()
    ppl = perplexity(model, tok(sample.decode("utf-8"))["input_ids"], len(sample))

    save_file(tensors, d / "expected_logits.safetensors")
    result = {
        "model": {"torch": torch.__version__, "transformers": transformers.__version__,
                  "tokenizers": tokenizers.__version__, "dtype": "float32 (upcast from the BF16 file)",
                  "attn_implementation": "eager", "model_safetensors_sha256": sha256(d / "model.safetensors"),
                  "tokenizer_json_sha256": sha256(d / "tokenizer.json"), "sample_txt_sha256": sha256(d / "sample.txt")},
        "generation": gen, "tokenizer": cases, "chat": chat, "perplexity": ppl}
    text = json.dumps(result, indent=1, ensure_ascii=True)
    # Number arrays on one line each.
    text = re.sub(r"\[\s+(-?[\d.e+-]+(?:,\s+-?[\d.e+-]+)*)\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m.group(1)) + "]", text)
    assert json.loads(text) == result
    (d / "expected.json").write_text(text + "\n", encoding="utf-8")
    for g in gen:
        print(repr(g["prompt"]), "->", repr(g["text"]), f"min margin {g['min_margin']:.4f} at {g['min_margin_step']}")
    print(f"{len(cases)} tokenizer cases, sample ppl {ppl['ppl']:.4f}, {ppl['bits_per_byte']:.4f} bits/byte")


if __name__ == "__main__":
    main()
