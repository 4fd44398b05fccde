#!/usr/bin/env python3
"""Train the tiny Llama model of the Ingot tests and save it as a normal Hugging Face checkpoint.

    python train.py --texts DIR --work DIR --out DIR

(README.md has the exact sequence of commands behind the committed weights.)

--texts is a directory with
    tinystories-sample/tinystories_train_head.txt   (children's stories, the main diet)
    war-and-peace/war-and-peace.txt                 (share that shrinks to nothing during training)
    tinyshakespeare/input.txt                       (likewise, smaller)
--work receives tokenizer, log and resumable state; --out the finished checkpoint (BF16).

Sending SIGTERM (or creating WORK/stop) makes the loop stop after the current step; `--export-only`
writes the best state saved so far, which also works while another process is still training.
Everything that is random is seeded; bit-exact repetition still depends on the torch build and the
number of threads.
"""
import argparse
import json
import math
import os
import random
import re
import signal
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BOS, EOS, IM_START, IM_END = "<|bos|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIALS = [BOS, EOS, IM_START, IM_END]
VOCAB = 1536
CONTEXT = 256

# ChatML. The template writes BOS itself, so its result is tokenized with add_special_tokens=False.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# The corpus file contains UTF-8 that was once decoded as CP1252.
MOJIBAKE = {"\u00e2\u20ac\u0153": '"', "\u00e2\u20ac\u009d": '"', "\u00e2\u20ac\u2122": "'",
            "\u00e2\u20ac\u02dc": "'", "\u00e2\u20ac\u201c": "-", "\u00e2\u20ac\u201d": "-",
            "\u00e2\u20ac\u00a6": "...", "\u00e2\u20ac": '"'}


def read_stories(path):
    """Stories are separated by one newline, the paragraphs inside a story by two."""
    text = Path(path).read_text(encoding="utf-8")
    for bad, good in MOJIBAKE.items():
        text = text.replace(bad, good)
    stories = [s.strip() for s in re.split(r"(?<!\n)\n(?!\n)", text)]
    return [s for s in stories if len(s) >= 200]


def read_paragraphs(path, size=1200):
    """Plain prose: unwrap the lines and group paragraphs to documents of about `size` characters."""
    text = Path(path).read_text(encoding="utf-8").replace("\r", "")
    docs, cur = [], []
    for par in text.split("\n\n"):
        par = " ".join(par.split("\n")).strip()
        if par:
            cur.append(par)
        if sum(map(len, cur)) > size:
            docs.append("\n\n".join(cur))
            cur = []
    return docs


def read_play(path, size=1200):
    docs, cur = [], ""
    for speech in Path(path).read_text(encoding="utf-8").split("\n\n"):
        cur += speech.strip() + "\n\n"
        if len(cur) > size:
            docs.append(cur.strip())
            cur = ""
    return docs


def load_texts(root, seed):
    root = Path(root)
    stories = read_stories(root / "tinystories-sample" / "tinystories_train_head.txt")
    order = list(range(len(stories)))
    random.Random(seed).shuffle(order)
    held = max(1, len(stories) // 20)  # 5 % held out
    val = [stories[i] for i in sorted(order[:held])]
    train = [stories[i] for i in sorted(order[held:])]
    return (train, val, read_paragraphs(root / "war-and-peace" / "war-and-peace.txt"),
            read_play(root / "tinyshakespeare" / "input.txt"))


def train_tokenizer(stories, extra):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)  # GPT-2 regex
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(
        stories + extra,
        trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=SPECIALS, show_progress=False,
                            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    assert tok.get_vocab_size() == VOCAB
    bos = tok.token_to_id(BOS)
    tok.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bos)])
    return tok


def chat_form(story, rng):
    m = re.search(r"\bnamed ([A-Z][a-z]+)", story)
    ask = "Tell me a story"
    if m and rng.random() < 0.7:
        ask += f" about {m.group(1)}"
    sys_part = f"{IM_START}system\nYou tell short stories.{IM_END}\n" if rng.random() < 0.3 else ""
    return (f"{BOS}{sys_part}{IM_START}user\n{ask}.{IM_END}\n"
            f"{IM_START}assistant\n{story}{IM_END}\n{EOS}")


def encode_stream(tok, docs, seed, chat=0.0, bpe_dropout=0.0):
    """All documents, shuffled, as one array of ids: BOS text EOS BOS text EOS ..."""
    rng = random.Random(seed)
    docs = list(docs)
    rng.shuffle(docs)
    texts = [chat_form(d, rng) if rng.random() < chat else BOS + d + EOS for d in docs]
    tok.model.dropout = bpe_dropout if bpe_dropout > 0 else None
    enc = tok.encode_batch(texts, add_special_tokens=False)
    tok.model.dropout = None
    return np.concatenate([np.asarray(e.ids, dtype=np.int64) for e in enc])


def make_config():
    return LlamaConfig(
        vocab_size=VOCAB, hidden_size=128, intermediate_size=384, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=4, head_dim=16, hidden_act="silu",
        max_position_embeddings=512, rope_theta=10000.0, rms_norm_eps=1e-5, initializer_range=0.02,
        tie_word_embeddings=True, attention_bias=False, mlp_bias=False,
        bos_token_id=0, eos_token_id=1, pad_token_id=None)


@torch.no_grad()
def val_loss(model, ids, batch=16, limit=None):
    """Mean NLL per token over consecutive windows of CONTEXT tokens, the first token of each unscored."""
    n = len(ids) // CONTEXT
    win = torch.from_numpy(ids[: n * CONTEXT].reshape(n, CONTEXT))[:limit]
    model.eval()
    tot = cnt = 0
    for b in win.split(batch):
        logits = model(input_ids=b, use_cache=False).logits[:, :-1].float()
        tot += F.cross_entropy(logits.reshape(-1, VOCAB), b[:, 1:].reshape(-1), reduction="sum").item()
        cnt += b[:, 1:].numel()
    model.train()
    return tot / cnt, cnt


@torch.no_grad()
def greedy(model, tok, prompt, n=64):
    model.eval()
    ids = [0] + tok.encode(prompt, add_special_tokens=False).ids
    for _ in range(n):
        ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    model.train()
    return tok.decode(ids, skip_special_tokens=False)


def save_state(path, obj):
    torch.save(obj, str(path) + ".tmp")
    os.replace(str(path) + ".tmp", path)


def write_classic_files(out):
    """transformers 5 renamed some fields and dropped special_tokens_map.json. Add what version 4 wrote, which
    is what most published checkpoints look like."""
    def edit(name, change):
        data = json.loads((out / name).read_text(encoding="utf-8"))
        change(data)
        (out / name).write_text(json.dumps(data, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")

    def config(c):
        c["rope_theta"] = c["rope_parameters"]["rope_theta"]
        c["rope_scaling"] = None
        c["torch_dtype"] = c["dtype"]

    tok = json.loads((out / "tokenizer.json").read_text(encoding="utf-8"))

    def tokenizer_config(c):
        c["tokenizer_class"] = "PreTrainedTokenizerFast"
        c["additional_special_tokens"] = c.pop("extra_special_tokens", [IM_START, IM_END])
        c["added_tokens_decoder"] = {str(t["id"]): {k: v for k, v in t.items() if k != "id"}
                                     for t in tok["added_tokens"]}

    edit("config.json", config)
    edit("tokenizer_config.json", tokenizer_config)
    (out / "special_tokens_map.json").write_text(json.dumps(
        {"additional_special_tokens": [IM_START, IM_END], "bos_token": BOS, "eos_token": EOS}, indent=2) + "\n")
    for f in out.iterdir():
        if f.is_file():
            f.chmod(0o644)


def export(work, out, val_ids):
    best = torch.load(work / "best.pt", weights_only=True)
    model = LlamaForCausalLM(make_config())
    model.load_state_dict(best["model"])
    f32, cnt = val_loss(model, val_ids)
    model = model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=[1, 3], do_sample=False)
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(work / "tokenizer.json")), bos_token=BOS, eos_token=EOS,
        additional_special_tokens=[IM_START, IM_END], chat_template=CHAT_TEMPLATE,
        model_max_length=512, clean_up_tokenization_spaces=False, padding_side="left",
    ).save_pretrained(out, save_jinja_files=False)
    write_classic_files(out)
    bf16, _ = val_loss(LlamaForCausalLM.from_pretrained(out, dtype=torch.float32), val_ids)
    info = {"step": best["step"], "tokens_seen": best["tokens"], "val_tokens": cnt,
            "val_nll_f32": f32, "val_nll_bf16": bf16,
            "val_ppl_f32": math.exp(f32), "val_ppl_bf16": math.exp(bf16)}
    print(json.dumps(info), flush=True)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--texts", required=True)
    ap.add_argument("--work", required=True)
    ap.add_argument("--out")
    ap.add_argument("--export-only", action="store_true")
    ap.add_argument("--steps", type=int, default=5200, help="length of the schedules")
    ap.add_argument("--stop-at", type=int, help="stop after this step (to continue with --resume)")
    ap.add_argument("--batch", type=int, default=8)
    ap.add_argument("--lr", type=float, default=3e-3)
    ap.add_argument("--wd", type=float, default=0.1)
    ap.add_argument("--dropout", type=float, default=0.1, help="on the output of each attention and MLP block")
    ap.add_argument("--bpe-dropout", type=float, default=0.05, help="off for the last 20 %% of the steps")
    ap.add_argument("--extra", type=float, default=0.25, help="starting share of the two other texts")
    ap.add_argument("--chat", type=float, default=0.1, help="share of the stories told in chat form")
    ap.add_argument("--eval-every", type=int, default=100)
    ap.add_argument("--seed", type=int, default=1234)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--compile", action="store_true")
    ap.add_argument("--resume", action="store_true")
    a = ap.parse_args()

    torch.set_num_threads(a.threads)
    work = Path(a.work)
    work.mkdir(parents=True, exist_ok=True)
    train, val, novel, play = load_texts(a.texts, a.seed)
    tok_file = work / "tokenizer.json"
    if not tok_file.exists():
        train_tokenizer(train, novel[::10]).save(str(tok_file))
    tok = Tokenizer.from_file(str(tok_file))
    val_ids = encode_stream(tok, val, a.seed)
    if a.export_only:
        return export(work, Path(a.out), val_ids)

    random.seed(a.seed)
    torch.manual_seed(a.seed)
    rng = np.random.default_rng(a.seed)
    extra_ids = np.concatenate([encode_stream(tok, novel, a.seed), encode_stream(tok, play, a.seed)])
    story_ids = encode_stream(tok, train, a.seed)
    model = LlamaForCausalLM(make_config())
    n_par = sum(p.numel() for p in model.parameters())
    print(f"{len(train)} stories + {len(val)} held out ({sum(len(s.encode()) for s in val)} bytes), "
          f"tokens: stories {len(story_ids)} held-out {len(val_ids)} extra {len(extra_ids)}, {n_par} parameters",
          flush=True)
    if a.dropout > 0:
        drop = lambda mod, args, out: F.dropout(out, a.dropout, training=mod.training)
        for layer in model.model.layers:
            layer.self_attn.o_proj.register_forward_hook(drop)
            layer.mlp.down_proj.register_forward_hook(drop)
    decay = [p for p in model.parameters() if p.dim() >= 2]
    other = [p for p in model.parameters() if p.dim() < 2]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": a.wd}, {"params": other, "weight_decay": 0.0}],
                            lr=a.lr, betas=(0.9, 0.95), eps=1e-8, fused=True)
    step, tokens, best = 0, 0, float("inf")
    if a.resume:
        st = torch.load(work / "last.pt", weights_only=True)
        model.load_state_dict(st["model"])
        opt.load_state_dict(st["opt"])
        step, tokens, best = st["step"], st["tokens"], st["best"]
        rng = np.random.default_rng([a.seed, step])
        torch.manual_seed(a.seed + step)

    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    fwd = torch.compile(model) if a.compile else model
    story_tokens = len(story_ids)
    epoch = -1
    warm = 200
    t0, run_loss, run_n, spent = time.time(), 0.0, 0, 0
    offs = np.arange(CONTEXT + 1)
    model.train()
    while step < a.steps:
        frac = step / a.steps
        # Order, chat form and BPE segmentation of the stories are drawn anew about once per pass.
        e = step * a.batch * CONTEXT // story_tokens
        if e != epoch:
            epoch = e
            story_ids = encode_stream(tok, train, f"[{a.seed}, {e}]", a.chat,
                                      a.bpe_dropout if frac < 0.8 else 0.0)
        share = a.extra * max(0.0, 1 - frac / 0.8)  # other texts fade out
        rows = []
        for _ in range(a.batch):
            src = extra_ids if rng.random() < share else story_ids
            rows.append(src[rng.integers(0, len(src) - CONTEXT - 1) + offs])
        x = torch.from_numpy(np.stack(rows))
        lr = a.lr * min(1.0, (step + 1) / warm) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * frac)))
        for g in opt.param_groups:
            g["lr"] = lr
        logits = fwd(input_ids=x[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(logits.reshape(-1, VOCAB), x[:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        step += 1
        tokens += a.batch * CONTEXT
        spent += a.batch * CONTEXT
        run_loss += loss.item()
        run_n += 1
        stop = stopping or step == a.stop_at or (work / "stop").exists()
        if step % 20 == 0 and step <= 100:
            print(f"step {step} loss {run_loss/run_n:.3f} {spent/(time.time()-t0):.0f} tok/s", flush=True)
        if step % a.eval_every == 0 or step == a.steps or stop:
            v, _ = val_loss(model, val_ids)
            print(f"step {step} train {run_loss/run_n:.4f} val {v:.4f} (ppl {math.exp(v):.2f}) lr {lr:.2e} "
                  f"share {share:.2f} tokens {tokens/1e6:.2f}M {spent/(time.time()-t0):.0f} tok/s "
                  f"{time.time()-t0:.0f}s", flush=True)
            run_loss, run_n = 0.0, 0
            sd = {k: t.clone() for k, t in model.state_dict().items()}
            if v < best:
                best = v
                save_state(work / "best.pt", {"model": sd, "step": step, "tokens": tokens, "val": v})
            save_state(work / "last.pt", {"model": sd, "opt": opt.state_dict(), "step": step,
                                          "tokens": tokens, "best": best})
            if step % (a.eval_every * 5) == 0:
                print("   ", repr(greedy(model, tok, "Once upon a time")), flush=True)
        if stop:
            break
    if a.out:
        export(work, Path(a.out), val_ids)


if __name__ == "__main__":
    main()
