#!/usr/bin/env python3
"""chat templates of real models make the text that transformers makes of them

    chat_templates.py INGOT [--templates DIRECTORY] [NAME ...]

DIRECTORY holds templates, one a file, such as llama.cpp's models/templates/*.jinja; or INGOT_TEST_TEMPLATES names it. Those of the GGUF
models in INGOT_TEST_MODELS come with them. Each is put into a copy of tests/data/tiny-llama and given to `ingot tokenize --messages --rendered`, with and without the beginning of a reply, for several
conversations; the oracle is transformers' own renderer with the same variables. Where the template refuses, ingot has to refuse too.
Each family of REQUIRED must be there, and agree everywhere; templates of others are counted, and named where they differ. With NAMEs only
those are looked at, and no family is missed. Needs transformers, jinja2 and, for GGUF models, gguf.
Exit status 77: something is missing.
"""
import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile

import _support as support

try:
    from transformers.utils.chat_template_utils import render_jinja_template
except ImportError as error:
    support.skip(error)

# Families, and what the names of their templates or models hold, in lower case.
REQUIRED = {"Llama 3": ("llama-3",), "Qwen": ("qwen",), "Gemma 2": ("gemma-2",), "Gemma 3": ("gemma-3", "gemma3"), "Mistral": ("mistral",),
            "Phi 3": ("phi-3",), "Phi 4": ("phi-4",), "SmolLM": ("smollm",)}


def conversation(*turns):
    return [{"role": role, "content": content} for role, content in turns]


CONVERSATIONS = [
    conversation(("user", "Hello")),
    conversation(("system", "Be brief."), ("user", "Hi there")),
    conversation(("user", "a"), ("assistant", "b"), ("user", "c")),
    conversation(("system", "Sÿs ✓"), ("user", "Größe 😀 中文\n\n x "), ("assistant", " ok \n"), ("user", '"quoted" <b>&amp;</b> {{ x }} {% y %}')),
    conversation(("user", "")),
    conversation(("system", ""), ("user", "x")),
    conversation(("user", "a"), ("assistant", "<think>\nhm\n</think>\n\nanswer"), ("user", "again")),
    conversation(("user", "a"), ("assistant", ""), ("user", "b"), ("assistant", "d")),
    conversation(("user", "a"), ("user", "b")),  # many templates refuse this
]


def expected(template, messages, reply, tokens):
    """The text, or None where the template refuses."""
    try:
        texts, _ = render_jinja_template([messages], chat_template=template, add_generation_prompt=reply, **tokens)
    except Exception:
        return None
    return texts[0]


def rendered(program, model, messages, reply):
    file = model / "messages.json"
    file.write_text(json.dumps(messages, ensure_ascii=False))
    status, out, error = support.ingot(program, "tokenize", model, "--messages", file, "--rendered", "--json", *([] if reply else ["--no-reply"]))
    return (json.loads(out)["text"], "") if status == 0 else (None, error)


def differences(program, model, tokens, template):
    """Of one template: how many texts agree, and what the first other one looks like."""
    (model / "chat_template.jinja").write_text(template)
    agree, first = 0, None
    for messages in CONVERSATIONS:
        for reply in (False, True):
            want = expected(template, messages, reply, tokens)
            got, error = rendered(program, model, messages, reply)
            if got == want:
                agree += 1
            elif first is None:
                first = f"{[turn['role'] for turn in messages]}: transformers {want!r}, ingot {got if got is None else repr(got)} {error}"
    return agree, first


def own_model(work):
    """tiny-llama without its template, and the tokens that templates may name."""
    model = pathlib.Path(work) / "model"
    shutil.copytree(support.TINY_LLAMA, model)
    config = json.loads((model / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    return model, {name: config[name] for name in names if isinstance(config.get(name), str)}


def families(name):
    return {family for family, words in REQUIRED.items() if any(word in name.lower() for word in words)}


def templates(directory):
    """Name and text of each."""
    for file in sorted(pathlib.Path(directory).glob("*.jinja")):
        yield file.name, file.read_text()
    for path in support.gguf_files():
        from gguf import GGUFReader
        field = GGUFReader(path).get_field("tokenizer.chat_template")
        if field is not None:
            yield path.name, field.contents()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--templates", type=pathlib.Path, default=os.environ.get("INGOT_TEST_TEMPLATES"))
    arguments = parser.parse_args()
    if arguments.templates is None:
        support.skip("no directory of templates (--templates or INGOT_TEST_TEMPLATES)")
    found = [(name, text) for name, text in templates(arguments.templates) if not arguments.names or name in arguments.names]
    whole, failed, required = 0, [], [name for name, _ in found if families(name)]
    with tempfile.TemporaryDirectory() as work:
        model, tokens = own_model(work)
        for name, text in found:
            agree, first = differences(arguments.program.resolve(), model, tokens, text)
            whole += first is None
            if first is None:
                continue
            print(f"{name}: {agree} of {2 * len(CONVERSATIONS)} agree; {first[:600]}")
            if families(name):
                failed.append(name)
    missing = sorted(set(REQUIRED) - set().union(*map(families, required))) if not arguments.names else []
    if missing:
        print(f"no template of: {', '.join(missing)} (in {arguments.templates} or the GGUF models of INGOT_TEST_MODELS)")
    support.figure(f"{whole} of {len(found)} templates agree in all {2 * len(CONVERSATIONS)} texts, {len(required)} of required families"
                   + (f"; missing: {', '.join(missing)}" if missing else ""))
    sys.exit(bool(failed or missing or not found))


main()
