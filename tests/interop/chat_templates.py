#!/usr/bin/env python3
"""chat templates of real models make the text that transformers makes of them

    chat_templates.py INGOT [--templates DIRECTORY] [NAME ...]

DIRECTORY holds templates, one a file, such as llama.cpp's models/templates/*.jinja; or INGOT_TEST_TEMPLATES names it. Those of the GGUF
models in INGOT_TEST_MODELS come with them, and those that the tests of a llama.cpp checkout quote (INGOT_LLAMA_CPP). Each is put into a copy of tests/data/tiny-llama and given to `ingot tokenize --messages --rendered`, with and without the beginning of a reply, for several
conversations; the oracle is transformers' own renderer with the same variables. Where the template refuses, ingot has to refuse too.
Each family of REQUIRED must be there in at least one version, and agree everywhere; a version without a template is no pass and no fault, it
is NOT SHOWN. Templates of others are counted, and named where they differ. With NAMEs only those are looked at, and no family is missed. Needs transformers, jinja2 and, for GGUF models, gguf.
Exit status 77: something is missing.
"""
import argparse
import ast
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile

import _support as support

try:
    from transformers.utils.chat_template_utils import render_jinja_template
except ImportError as error:
    support.skip(error)

# Families, their versions, and what the names of their templates or models hold, in lower case.
REQUIRED = {"Llama": {"Llama 3": "llama-3"}, "Qwen": {"Qwen": "qwen"}, "Gemma": {"Gemma 2": "gemma-2", "Gemma 3": "gemma-3"},
            "Mistral": {"Mistral": "mistral"}, "Phi": {"Phi 3": "phi-3", "Phi 4": "phi-4"}, "SmolLM": {"SmolLM": "smollm"}}


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


def versions(name):
    """Of required families."""
    return {version for family in REQUIRED.values() for version, word in family.items() if word in name.lower()}


def quoted_templates(checkout):
    """Name and text of the templates in the table of llama.cpp's tests."""
    source = (pathlib.Path(checkout) / "tests/test-chat-template.cpp").read_text()
    literal = r'"(?:[^"\\\n]|\\.)*"'
    for name, text in re.findall(rf'\.name *=? *\*/ *({literal}),\s*/\* \.template_str *=? *\*/ *(?:U8C\()?({literal})\)?,', source):
        yield f"{ast.literal_eval(name)} (llama.cpp's tests)", ast.literal_eval(text)


def templates(directory):
    """Name and text of each."""
    for file in sorted(pathlib.Path(directory).glob("*.jinja")):
        yield file.name, file.read_text()
    for path in support.gguf_files():
        from gguf import GGUFReader
        field = GGUFReader(path).get_field("tokenizer.chat_template")
        if field is not None:
            yield path.name, field.contents()
    if os.environ.get("INGOT_LLAMA_CPP"):
        yield from quoted_templates(os.environ["INGOT_LLAMA_CPP"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--templates", type=pathlib.Path, default=os.environ.get("INGOT_TEST_TEMPLATES"))
    arguments = parser.parse_args()
    if arguments.templates is None:
        support.skip("no directory of templates (--templates or INGOT_TEST_TEMPLATES)")
    found = [(name, text) for name, text in templates(arguments.templates) if not arguments.names or name in arguments.names]
    whole, failed, required = 0, [], [name for name, _ in found if versions(name)]
    with tempfile.TemporaryDirectory() as work:
        model, tokens = own_model(work)
        for name, text in found:
            agree, first = differences(arguments.program.resolve(), model, tokens, text)
            whole += first is None
            if first is None:
                continue
            print(f"{name}: {agree} of {2 * len(CONVERSATIONS)} agree; {first[:600]}")
            if versions(name):
                failed.append(name)
    shown = set().union(*map(versions, required))
    absent = [] if arguments.names else sorted(version for family in REQUIRED.values() for version in family if version not in shown)
    missing = [] if arguments.names else [name for name, family in REQUIRED.items() if not shown & family.keys()]
    if missing:
        print(f"FAILED: no template at all of {', '.join(missing)}")
    support.figure(f"{whole} of {len(found)} templates agree in all {2 * len(CONVERSATIONS)} texts, {len(required)} of required families")
    if absent:
        support.figure(f"NOT SHOWN, no template at hand: {', '.join(absent)}")
    sys.exit(bool(failed or missing or not found))


main()
