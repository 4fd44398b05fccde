"""What the live checks share: where models are, how a check talks to tests/interop/run, the program, perplexity, transformers and llama.cpp."""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("INGOT_SHARED", ROOT.parent / "shared"))
TEST_MODELS = os.environ.get("INGOT_TEST_MODELS")
TINY_LLAMA = ROOT / "tests/data/tiny-llama"
CONTEXT = 512
DECISIVE_MARGIN = 1e-3  # another token than the reference's is a fault where the reference's two best logits are further apart


def figure(text):
    """A line of the check's row in the table of tests/interop/run."""
    print("FIGURE", text, flush=True)


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(77)


def hugging_face_directories():
    """The real checkpoints at hand."""
    return [path for path in (TINY_LLAMA, SHARED / "models/tinystories-656k") if path.exists()]


def gguf_files():
    """The real GGUF models at hand: those in the directory INGOT_TEST_MODELS."""
    return sorted(pathlib.Path(TEST_MODELS).glob("*.gguf")) if TEST_MODELS else []


def float_sources(program, work):
    """Name and directory of the float models that writers are tried on: tiny-llama and, where it is at hand, SmolLM2-135M, of whose
    GGUF file exact float32 weights are made in `work`."""
    yield "tiny-llama", TINY_LLAMA
    for path in gguf_files():
        if "SmolLM2" in path.name:
            yield "SmolLM2-135M", convert(program, path, pathlib.Path(work) / "SmolLM2-135M", "hf", "--scheme", "f32")


def ingot(program, *arguments):
    """Exit status, standard output, standard error."""
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr.strip()


def convert(program, source, target, layout, *more):
    status, _, error = ingot(program, "convert", source, "-o", target, "--to", layout, *more)
    if status != 0:
        raise RuntimeError(f"convert to {target} failed: {error}")
    return target


def perplexity_of(logits, ids):
    """Of ids[1:], from the logits (tokens, vocabulary) that the model gives to `ids`."""
    import numpy as np
    scores = np.asarray(logits, dtype=np.float64)[:-1]
    scores = scores - scores.max(axis=1, keepdims=True)
    logp = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return float(np.exp(-logp[np.arange(len(ids) - 1), ids[1:]].mean()))


class LlamaCpp:
    """A GGUF file in llama.cpp, with keys and values in float32 so that the cache rounds nothing. One thread: several wait for each other
    by spinning, hundreds of times a token, which beside other work takes a hundred times as long."""

    def __init__(self, path):
        import llama_cpp
        f32 = llama_cpp.GGML_TYPE_F32
        self.model = llama_cpp.Llama(str(path), n_ctx=CONTEXT, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False,
                                     type_k=f32, type_v=f32)

    def ids_of(self, text):
        return self.model.tokenize(text.encode(), add_bos=True)

    def logits(self, ids):
        import numpy as np
        self.model.reset()
        self.model.eval(list(ids))
        return np.array(self.model.scores[:len(ids)], dtype=np.float64)

    def greedy_case(self, ids, count):
        """prompt_ids, greedy_ids, margins: as reference_case() makes them with transformers."""
        greedy, margins = [], []
        self.model.reset()
        self.model.eval(ids)
        for _ in range(count):
            scores = self.model.scores[self.model.n_tokens - 1]
            order = scores.argpartition(-2)[-2:]  # the two greatest
            order = order[scores[order].argsort()]
            greedy.append(int(order[1]))
            margins.append(float(scores[order[1]]) - float(scores[order[0]]))
            self.model.eval(greedy[-1:])
        return {"prompt_ids": ids, "greedy_ids": greedy, "margins": margins}


def reference_case(model, ids, count):
    """The greedy text of a model of transformers."""
    sys.path.append(str(ROOT / "tests/data"))
    from reference_generation import greedy_case
    return greedy_case(model, ids, count, use_cache=True)[0]


def greedy_faults(logits_of, case):
    """Steps at which the greatest logit is not the token of `case` (prompt_ids, greedy_ids, margins of the reference). The reference's
    tokens are what goes on, so that one pass over them judges every step."""
    prompt, expected = case["prompt_ids"], case["greedy_ids"]
    best = logits_of(prompt + expected)[len(prompt) - 1:-1].argmax(axis=1)
    return [f"token {i} is {got}, of the reference {wanted}, margin {margin:.3g}"
            for i, (got, wanted, margin) in enumerate(zip(best, expected, case["margins"])) if got != wanted and margin > DECISIVE_MARGIN]
