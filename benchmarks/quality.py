"""Measures how close canonical arithmetic is to the float model: perplexity, KL divergence, top-1 agreement.

The reference is the float32 forward pass of :mod:`proofcompute.importers.float_model`, which shares no
code with the engine.

Run: ``python -m benchmarks.quality MODEL.gguf TEXT``; ``--help`` says more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.command import entry, file, positive, say
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.encoding.files import write_atomic
from proofcompute.errors import InputError, ProofcomputeError
from proofcompute.importers.compiling import PRECISIONS, compile_decoder
from proofcompute.importers.compiling.logits import logits_of
from proofcompute.importers.float_model import FloatModel
from proofcompute.importers.gguf import open_gguf
from proofcompute.tokens import Tokenizer

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

TOKENS = 4096
"""Default number of tokens of the text that are read."""


@dataclass(frozen=True)
class Quality:
    """Figures over one text; the reference's distribution is p, the compiled model's q."""

    tokens: int
    """Number of predicted tokens."""
    perplexity_float: float
    perplexity: float
    kl_divergence: float
    """Mean KL(p || q) in nats."""
    top1_agreement: float
    """Share of positions with the same most likely token."""

    @property
    def relative(self) -> float:
        """Perplexity divided by the reference's, minus one."""
        return self.perplexity / self.perplexity_float - 1


def _log_softmax(logits: F32) -> F64:
    z = logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    out: F64 = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return out


def compare(reference: F32, logits: F32, tokens: list[int]) -> Quality:
    """Return the figures for logits [t, v] of two models for the same tokens."""
    p, q = _log_softmax(reference[:-1]), _log_softmax(logits[:-1])
    rows, targets = np.arange(len(tokens) - 1), np.array(tokens[1:])
    return Quality(
        tokens=len(rows),
        perplexity_float=float(np.exp(-p[rows, targets].mean())),
        perplexity=float(np.exp(-q[rows, targets].mean())),
        kl_divergence=float((np.exp(p) * (p - q)).sum(axis=1).mean()),
        top1_agreement=float((p.argmax(axis=1) == q.argmax(axis=1)).mean()),
    )


def measure(
    gguf: Path,
    text: str,
    precisions: Sequence[str],
    limit: int = TOKENS,
    *,
    device: str = "auto",
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[str, Quality]]:
    """Yield the figures for each precision over the first ``limit`` tokens of a text.

    Raises InputError, FormatError or UnsupportedError if the file is not a checkpoint that can be compiled,
    or if the text has fewer than two tokens.
    """
    progress("reading the checkpoint")
    checkpoint, kernels = open_gguf(gguf), kernels_for(device)
    tokens = Tokenizer(checkpoint.vocabulary).encode(text, special=False)[:limit]
    if len(tokens) < 2:
        raise InputError(f"the text has {len(tokens)} tokens; at least 2 are needed to predict one")
    progress(f"float32 reference: running {len(tokens)} tokens")
    reference = FloatModel(checkpoint.arch, checkpoint.rows).logits(tokens)
    for p in precisions:
        progress(f"{p}: compiling")
        model = compile_decoder(checkpoint, kernels, p)
        progress(f"{p}: running {len(tokens)} tokens")
        yield p, compare(reference, logits_of(model, kernels, tokens), tokens)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description="How close canonical arithmetic is to the float model, over a text: perplexity of both, "
        "KL divergence in nats, and the share of positions with the same likeliest token.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="MODEL.gguf", help="a GGUF file")
    parser.add_argument("text", type=Path, metavar="TEXT", help="a text file (UTF-8)")
    parser.add_argument(
        "--precisions", default=",".join(PRECISIONS), help="with commas between (default %(default)s)"
    )
    parser.add_argument("--tokens", type=positive, default=TOKENS, help="at most (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or numpy (slow)")
    parser.add_argument(
        "-o", "--output", type=Path, help="JSON file, written after each precision; default: standard output"
    )
    options = parser.parse_args(argv)
    if options.output is not None:
        file(parser, options.output)
    precisions = [p.strip() for p in options.precisions.split(",") if p.strip()]
    if unknown := [p for p in precisions if p not in PRECISIONS]:
        parser.error(f"precision {unknown[0]!r} is none of {', '.join(PRECISIONS)}")
    try:
        text = options.text.read_text("utf-8")
    except OSError as e:
        parser.error(f"cannot read {options.text}: {e.strerror or e}")
    except UnicodeDecodeError as e:
        parser.error(f"{options.text} is not UTF-8 at byte {e.start}")
    found: dict[str, dict[str, float]] = {}
    try:
        for p, q in measure(
            options.checkpoint, text, precisions, options.tokens, device=options.device, progress=say
        ):
            found[p] = {**asdict(q), "relative": q.relative}
            if options.output is not None:
                write_atomic(options.output, f"{json.dumps(found, indent=2)}\n".encode())
                say(f"{p}: written to {options.output}")
    except ProofcomputeError as e:
        parser.error(str(e))
    if options.output is None:
        print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(entry(main))
