#!/usr/bin/env python3
"""`ingot run --exact` writes the greedy text of transformers in float32, from a directory, its .ingot and its GGUF file, also as a chat

    run_transformers.py INGOT [MODEL ...]

MODEL is a Hugging Face directory or a .gguf file; without any, those at hand (tests/interop/_support.py) whose architecture runs. The
prompts are texts: template and tokenizer take part. Another token is a fault where the margin of transformers exceeds 1e-3; what follows
such a step is not compared. Needs torch and transformers (and gguf for .gguf files). Exit status 77: they are missing.
"""
import json
import pathlib
import sys
import tempfile

import _support as support

try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as error:
    support.skip(error)

COUNT = 64
PROMPTS = ["Once upon a time", "One day, Lily went to the", "It's 12345 o'clock\n\n  so"]
SYSTEM, USER = "You tell short stories.", "Tell me a story about a dog."
faults = []


def reference(source):
    where = {"pretrained_model_name_or_path": source} if source.is_dir() else {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32, attn_implementation="eager").eval()
    cases = [(["-p", text], support.reference_case(model, tokenizer(text)["input_ids"], COUNT)) for text in PROMPTS]
    template = tokenizer.chat_template
    if template is None and not source.is_dir():
        import gguf
        field = gguf.GGUFReader(source).fields.get("tokenizer.chat_template")
        template = field.contents() if field else None
    if template is not None:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER}]
        ids = tokenizer.apply_chat_template(messages, chat_template=template, add_generation_prompt=True, tokenize=True, return_dict=False)
        cases.append((["--chat", "--system", SYSTEM, "-p", USER], support.reference_case(model, list(ids), COUNT)))
    return cases


def check(program, name, model, cases):
    same = 0
    for arguments, case in cases:
        status, output, error = support.ingot(program, "run", model, *arguments, "-n", COUNT, "--exact", "--ignore-end", "--json")
        if status != 0:
            faults.append(f"{name}: {error}")
            continue
        result = json.loads(output)
        if result["prompt_tokens"] != len(case["prompt_ids"]):
            faults.append(f"{name}, {arguments}: {result['prompt_tokens']} tokens of prompt, of the reference {len(case['prompt_ids'])}")
        for step, (got, wanted, margin) in enumerate(zip(result["tokens"], case["greedy_ids"], case["margins"])):
            if got != wanted:
                if margin > support.DECISIVE_MARGIN:
                    faults.append(f"{name}, {arguments}: token {step} is {got}, of the reference {wanted}, margin {margin:.3g}")
                break
            same += 1
    support.figure(f"{name}: {same} of {COUNT * len(cases)} tokens the same")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    program = sys.argv[1]
    sources = [pathlib.Path(name).resolve() for name in sys.argv[2:]]
    if not sources:
        sources = [support.ROOT / "tests/data/tiny-gpt2"] + support.hugging_face_directories()
        sources += [path for path in support.gguf_files() if support.ingot(program, "run", path, "-p", "a", "-n", 1)[0] == 0]
    for source in sources:
        cases = reference(source)
        check(program, source.name, source, cases)
        with tempfile.TemporaryDirectory() as directory:
            work = pathlib.Path(directory)
            check(program, f"{source.name} as .ingot", support.convert(program, source, work / "model.ingot", "ingot"), cases)
            if source.is_dir():
                check(program, f"{source.name} as GGUF", support.convert(program, source, work / "model.gguf", "gguf"), cases)
    for fault in faults:
        print("FAILED:", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
