"""Computes the logits of a language model after each token of a text, which its program keeps to itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32, I64, U64, Array, Span
from proofcompute.engine.loop import Engine
from proofcompute.errors import InputError
from proofcompute.models.model import Model
from proofcompute.program.interpreter import run
from proofcompute.program.operations import Sample
from proofcompute.program.program import Program
from proofcompute.program.source import ComputeProducts, Products, Source
from proofcompute.protocol.messages import Generation, Request

__all__ = ["PIECE", "all_logits", "logits_of", "without_sampler"]

PIECE: Final = 64
"""The most rows of logits that are in memory together."""


def all_logits(
    model: Model,
    kernels: Kernels,
    texts: Iterable[Sequence[int] | I64],
    *,
    products: Products | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[F32]:
    """Yield the logits after each token of each text, as the program computes them: rows [n, v] on the host.

    The rows of a text come in order, in pieces of :data:`PIECE` and a rest; a piece belongs to one text.

    Args:
        model: a language model, whose last operation is a sampler.
        kernels: the backend; every backend gives the same logits.
        texts: tokens, at least one each; at most as many as the model's context.
        products: replaces the plain computation of products.
        progress: called with the number of rows that have gone through all segments but the last, and again
            with the number of rows whose logits are known: in all twice the rows.

    Raises InputError for a program without a sampler, for tokens that the model does not have, and for texts
    that are empty or too long; and the errors of running the model.
    """
    shown = without_sampler(model.program)
    engine = Engine(model, kernels, products=products)
    for tokens in texts:
        # other texts are not touched before the pieces of one are taken
        yield from _logits(engine, shown, tokens, products, progress)


def logits_of(model: Model, kernels: Kernels, tokens: Sequence[int] | I64) -> F32:
    """Return the logits [t, v] after each token of one text. Raises as :func:`all_logits`."""
    return np.concatenate(list(all_logits(model, kernels, [tokens])))


def without_sampler(program: Program) -> Program:
    """Return the program that ends with the logits of each token; InputError if it has no sampler."""
    *before, last = program.segments
    sampler = last.nodes[-1]
    if not (program.feedback and isinstance(sampler.op, Sample)):
        raise InputError("the program does not end with a sampler: it is not a language model")
    cut = replace(last, nodes=last.nodes[:-1])
    return replace(program, outputs=(sampler.inputs[0],), feedback=False, segments=(*before, cut))


@dataclass(frozen=True)
class _Rows:
    """Committed rows of one text."""

    arrays: Mapping[str, Array]

    def read(self, name: str, span: Span) -> Array:
        """See RowReader."""
        return self.arrays[name][span.a : span.b]

    def prefix(self, name: str, span: Span) -> Array:
        """See RowReader."""
        return self.arrays[name][: span.b]

    def whole(self, name: str, span: Span) -> Array:
        """See RowReader; language models read no later rows."""
        raise InputError("a language model reads all rows")

    def write(self, name: str, span: Span, rows: Array) -> None:
        """Keep nothing: the interpreter returns what a segment emits."""

    def sampling(self, trace: int) -> Sampling:
        """See RowReader."""
        return Sampling()

    def draws(self, span: Span) -> U64:
        """See RowReader; nothing is drawn."""
        raise InputError("nothing is drawn without a sampler")


def _logits(
    engine: Engine,
    shown: Program,
    tokens: Sequence[int] | I64,
    products: Products | None,
    progress: Callable[[int], None],
) -> Iterator[F32]:
    data = np.asarray(tokens, "<i4").tobytes()
    session = engine.add(
        Request(engine.model.model_id, ((shown.inputs[0][0], data),), bytes(32), Generation(1))
    )
    done = 0
    while session.running:
        engine.step()
        progress(session.done - done)
        done = session.done
    if session.error is not None:
        raise session.error
    last = len(shown.segments) - 1
    placed = engine.placed
    weights = placed.weights[last]
    source = Source(_Rows(session.trace.arrays), weights, products or ComputeProducts(weights.matrix))
    home = placed.kernels[last]
    for a in range(0, len(tokens), PIECE):
        span = Span(0, a, min(a + PIECE, len(tokens)))
        found = run(shown, last, [span], source, home)[shown.outputs[0]]
        progress(span.b - a)
        yield home.host(found)
