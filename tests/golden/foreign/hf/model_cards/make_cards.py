#!/usr/bin/env python3
"""Heads of README.md as PyYAML reads them, and texts in quotes that it reads back: expected.json for tests/converters_hf_config_test.cpp.

Usage: make_cards.py        (PyYAML 6)
"""
import json
import pathlib

import yaml

READ = [  # heads as people write them
    "name: plain\n",
    "name:   spaces around   \n",
    "name: goes on\n  in the next line\nlicense: mit\n",
    "name: goes on\n\n  after an empty line\n",
    "name: does not\n\nlicense: mit\n",
    "name: |\n  block\n  text\nlicense: mit\n",
    "name: >-\n  folded\n  text\n",
    "name: a # comment\n",
    "name: a\t# comment\n",
    "name: a#b\n",
    "name: a:b\n",
    "name: https://example.org/a?b=c#d\n",
    "name:\n  nested: 1\n",
    "name:\n- item\n- item\n",
    "name:\n  next line\n",
    'name: "quoted: # text"\n',
    'name: "quoted" # comment\n',
    'name: "goes\n  on"\n',
    'name: "escapes \\u00fc \\n \\t \\" \\\\ \\/"\n',
    "name: 'single'\n",
    "name: [a, b]\n",
    "name: {a: b}\n",
    "name: &anchor text\n",
    "name: !!str text\n",
    "name: ~\n",
    "name: null\n",
    "name:\n",
    "name: -a\n",
    "name: ?a\n",
    "name: - a\n",
    "name: äöü 模型\n",
    "name: \U0001f642\n",
    "license: apache-2.0\nname: Model of 7B\nversion: v1.5\nlanguage:\n- en\ntags: [a, b]\n",
]
WRITTEN = ["plain", "", "a\nb", "tab\tand\rreturn", 'quotes " and \\', "null", "# no comment", "- item", "ü 模型 \U0001f642", "\u007f", "\u0080\u0085\u009f\u00a0",
           "\u2028\u2029", "\ufeffmark", "\ufffe\uffff", "\x00\x01\x1b", "end: "]


def strings_of(head):
    try:
        facts = yaml.safe_load(head)
    except yaml.YAMLError:
        return {}
    return {key: value for key, value in facts.items() if isinstance(value, str)}


def in_quotes(text):
    """As JSON, with escapes for what YAML counts as no character or as the end of a line."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(f"\\u{ord(c):04x}" if ord(c) in (*range(0x7f, 0xa0), 0x2028, 0x2029, 0xfffe, 0xffff) else c for c in quoted)


def main():
    written = []
    for text in filter(None, WRITTEN):
        line = f"name: {in_quotes(text)}\n"
        if yaml.safe_load(line) != {"name": text}:
            raise SystemExit(f"PyYAML reads {line!r} otherwise")
        written.append({"card": f"---\n{line}---\n", "name": text})
    read = [{"card": f"---\n{head}---\n", "facts": strings_of(head)} for head in READ]
    path = pathlib.Path(__file__).resolve().parent / "expected.json"
    path.write_text(json.dumps({"read": read, "written": written}, indent=1) + "\n")


main()
