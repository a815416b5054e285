"""Define operations that summarise all rows of a request (docs/spec/programs.md#poolrows)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.primitives import Expression, Term
from proofcompute.arrays import Array, Span
from proofcompute.program.operations.base import Pointwise, need
from proofcompute.program.operations.elementwise import repeated
from proofcompute.program.source import Source
from proofcompute.program.types import Reads, Spec, WeightSpec

__all__ = ["PoolRows"]

KINDS = ("first", "last", "max", "mean")


@dataclass(frozen=True)
class PoolRows(Pointwise):
    """Reduce a committed tensor over all rows of a request; every row of the result is the same.

    The mean is the halving tree over the rows in their order, divided by their number.
    """

    kind: str
    """``first`` or ``last`` row, ``max`` or ``mean`` of all rows."""

    captured = False

    def reads(self) -> Sequence[Reads]:
        """Return that all rows are read."""
        return (Reads.ALL,)

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: a float32 row in, the same out."""
        need(len(ins) == 1 and ins[0].dtype == "f32", "pool rows: needs one float32 input")
        need(self.kind in KINDS, f"pool rows: no kind {self.kind!r}")
        return (ins[0],)

    def each_position(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return that each row is added, or compared."""
        return ins[0].size

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        pooled = [repeated(self._pooled(x, k), s.b - s.a, k) for x, s in zip(ins[0], spans, strict=True)]
        return (pooled[0] if len(pooled) == 1 else k.concatenate(pooled),)

    def _pooled(self, x: Array, k: Kernels) -> Array:
        """Return rows [n, ...] reduced to [1, ...]."""
        n = len(x)
        if self.kind in ("first", "last"):
            at = 0 if self.kind == "first" else n - 1
            return x[at : at + 1]
        shape = tuple(x.shape[1:])
        rows = x.reshape((1, n, *shape))
        if self.kind == "max":
            return k.reduce("max", rows, (0,)).reshape((1, *shape))
        total = k.reduce("sum", rows, (0,)).reshape((1, *shape))
        count = k.array(np.full((1,), n, np.float32))
        divide = Expression(("f32", "f32"), (Term("div", (0, 1), "f32", 0),))
        return k.evaluate(divide, [total, count.reshape((1, *[1] * len(shape)))], 1, shape)
