"""What the live checks of the layouts share that are read and not written: values, the way back, greedy text, onward conversion."""
import filecmp
import json
import shutil

import _support as support

PROMPT, TOKENS = "Once upon a time", 40


class Check:
    def __init__(self, program, work, layout):
        self.program, self.work, self.layout, self.failures, self.forms = program, work, layout, [], 0

    def expect(self, condition, message):
        if not condition:
            self.failures.append(message)
            print("  FAILED:", message, flush=True)

    def form(self, name, directory, values, model):
        """`directory` holds what the library wrote of `model` (which computes in float32); `values`: weight name -> float32, the real number
        rounded once."""
        import numpy as np
        import torch
        from safetensors.numpy import load_file
        from transformers import AutoTokenizer
        print(name, flush=True)
        self.forms += 1
        for file in support.TINY_LLAMA.glob("*token*"):
            shutil.copy(file, directory)
        plain = load_file(support.convert(self.program, directory, self.work / f"{name}-f32", "hf", "--scheme", "f32") / "model.safetensors")
        self.expect(values and set(values) <= set(plain), f"{name}: we lack {sorted(set(values) - set(plain))[:3]}")
        for key in sorted(set(values) & set(plain)):
            self.expect(plain[key].shape == values[key].shape and np.array_equal(plain[key], values[key]), f"{name}: {key} differs")
        stored = support.convert(self.program, directory, self.work / f"{name}.ingot", "ingot")
        status, output, error = support.ingot(self.program, "inspect", stored, "--json")
        self.expect(status == 0, f"{name}: inspect: {error}")
        status, _, error = support.ingot(self.program, "restore", stored, "-o", self.work / f"{name}-back")
        self.expect(status == 0, f"{name}: restore: {error}")
        files = [path.name for path in directory.iterdir() if path.is_file()]
        _, different, missing = filecmp.cmpfiles(directory, self.work / f"{name}-back", files, shallow=False)
        self.expect(not different and not missing, f"{name}: restored files differ: {different + missing}")
        for target, more in (("mlx", ()), ("gguf", ("--scheme", "f16")), ("hf", ("--scheme", "f32"))):
            status, _, error = support.ingot(self.program, "convert", directory, "-o", self.work / f"{name}-{target}", "--to", target, *more,
                                             "--allow", "requantize")
            self.expect(status == 0 or "can keep no tensor" in error, f"{name}: to {target}: {error}")
        status, _, error = support.ingot(self.program, "convert", stored, "-o", self.work / "refused", "--to", self.layout)
        self.expect(status == 1 and "can be read, not written" in error, f"{name}: writing ends with {status}: {error}")
        status, output, error = support.ingot(self.program, "run", directory, "-p", PROMPT, "-n", TOKENS, "--exact", "--ignore-end", "--json")
        if status != 0:
            return self.expect(False, f"{name}: run: {error}")
        with torch.no_grad():
            ids = AutoTokenizer.from_pretrained(support.TINY_LLAMA)(PROMPT)["input_ids"]
            case = support.reference_case(model.eval(), ids, TOKENS)
        result = json.loads(output)
        for i, (a, b, margin) in enumerate(zip(result["tokens"], case["greedy_ids"], case["margins"])):
            if a != b:
                self.expect(margin < support.DECISIVE_MARGIN, f"{name}: token {i} is {a}, of the library {b}, margin {margin:.3g}")
                break

    def finish(self):
        support.figure(f"{self.forms} forms of {self.layout} read, restored, converted on and run; {len(self.failures)} faults")
        return 1 if self.failures else 0


def float_model(values, dtype):
    """A model that computes in float32 with these weights, and with its others as they are in `dtype`."""
    import torch
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(support.TINY_LLAMA, dtype=torch.float32)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(values[key]) if key in values else parameter.to(dtype).float())
    return model


def main(layout, run):
    """run(check, work) for the program and directory of the command line."""
    import pathlib
    import sys
    import tempfile
    program = pathlib.Path(sys.argv[1]).resolve()
    work = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else pathlib.Path(tempfile.mkdtemp(prefix=f"ingot-{layout}-"))
    work.mkdir(exist_ok=True)
    check = Check(program, work, layout)
    run(check, work)
    if len(sys.argv) <= 2:
        shutil.rmtree(work)
    sys.exit(check.finish())
