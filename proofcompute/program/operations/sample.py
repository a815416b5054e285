"""Define the canonical sampler as an operation (docs/spec/programs.md#sampler)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array, Span
from proofcompute.program.operations.base import Pointwise, f32_rows, need
from proofcompute.program.source import Source
from proofcompute.program.types import Reads, Spec, WeightSpec

__all__ = ["Sample"]


@dataclass(frozen=True)
class Sample(Pointwise):
    """Choose the next token from the logits of a row and all tokens up to it."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: float32 logits and int32 tokens in, an int32 token out."""
        f32_rows(ins[:1], "sample")
        need(len(ins) == 2 and ins[1] == Spec("i32", ()), "sample: needs logits and tokens")
        return (ins[1],)

    def reads(self) -> Sequence[Reads]:
        """Return that a row depends on its own logits and on all tokens up to it."""
        return (Reads.SAME, Reads.PREFIX)

    def indices(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Mapping[int, int]:
        """Return that the tokens so far are indices, of which each has a logit."""
        return {1: ins[0].shape[0]}

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        logits, histories = ins
        tokens: list[Array] = []
        at = 0
        for s, history in zip(spans, histories, strict=True):
            rows = logits[at : at + s.b - s.a]
            at += s.b - s.a
            tokens.append(k.sample(rows, history, s.a, src.rows.sampling(s.trace), src.rows.draws(s)))
        return (k.concatenate(tokens),)
