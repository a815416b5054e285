"""Measures how close canonical arithmetic is to the float model: perplexity, KL divergence, top-1 agreement.

The reference is the float32 forward pass of :mod:`proofcompute.importers.float_model`, which shares no
code with the engine.

Run: ``python -m benchmarks.quality MODEL.gguf [TEXT]``; ``--help`` says more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.command import entry, file, positive, say
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.encoding.files import write_atomic
from proofcompute.errors import InputError, ProofcomputeError
from proofcompute.importers.compiling import PRECISIONS, compile_decoder
from proofcompute.importers.compiling.precision import AUTO
from proofcompute.importers.gguf import open_gguf
from proofcompute.quality import FloatReference, Quality, compare_texts, text, windows
from proofcompute.tokens import Tokenizer

ALL = (*PRECISIONS, AUTO)
TOKENS = 4096
"""Default number of tokens of the text that are read."""


def measure(
    gguf: Path,
    words: str,
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
    tokens = Tokenizer(checkpoint.vocabulary).encode(words, special=False)[:limit]
    if len(tokens) < 2:
        raise InputError(f"the text has {len(tokens)} tokens; at least 2 are needed to predict one")
    reference = FloatReference(checkpoint)
    for p in precisions:
        progress(f"{p}: compiling")
        model = compile_decoder(checkpoint, kernels, p)
        progress(f"{p}: running {len(tokens)} tokens in both")
        yield p, compare_texts(model, reference, windows(tokens, model.program.context), kernels)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description="How close canonical arithmetic is to the float model, over a text: perplexity of both, "
        "KL divergence in nats, and the share of positions with the same likeliest token.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="MODEL.gguf", help="a GGUF file")
    parser.add_argument(
        "text", type=Path, nargs="?", metavar="TEXT", help="a text file (UTF-8); default: that of the package"
    )
    parser.add_argument(
        "--precisions", default=",".join(ALL), help="with commas between (default %(default)s)"
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
    if unknown := [p for p in precisions if p not in ALL]:
        parser.error(f"precision {unknown[0]!r} is none of {', '.join(ALL)}")
    try:
        words = text() if options.text is None else options.text.read_text("utf-8")
    except OSError as e:
        parser.error(f"cannot read {options.text}: {e.strerror or e}")
    except UnicodeDecodeError as e:
        parser.error(f"{options.text} is not UTF-8 at byte {e.start}")
    found: dict[str, dict[str, float]] = {}
    try:
        for p, q in measure(
            options.checkpoint, words, precisions, options.tokens, device=options.device, progress=say
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
