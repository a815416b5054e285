"""Compose functions of several steps for backends that have no code of their own for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proofcompute.arithmetic import shapes
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arithmetic.primitives import Expression, View
from proofcompute.arrays import F32, Array

__all__ = ["Composed", "evaluated", "seen_through"]


def seen_through(k: Any, x: Array, views: Sequence[View]) -> Array:
    """Return rows read through views, one after another."""
    for v in views:
        x = k.view(x, v)
    return x


def evaluated(k: Any, y: Array, after: Expression | None, others: Sequence[Array]) -> Array:
    """Return an expression of a product [n, ..., m] and of others; the product if there is none."""
    if after is None:
        return y
    made: Array = k.evaluate(after, (y, *others), len(y), tuple(y.shape[1:]))
    return made


class Composed:
    """The functions of several steps, step by step."""

    def linear_through(
        self,
        x: F32,
        views: Sequence[View],
        w: Matrix,
        limbs: int,
        after: Expression | None = None,
        others: Sequence[Array] = (),
    ) -> Array:
        """See :class:`.primitive_functions.Primitives`."""
        k: Any = self
        n, *places, d = shapes.linear_through(x, views, w, limbs, after, others)
        rows = seen_through(k, x, views).reshape((-1, d))
        return evaluated(k, k.linear(rows, w, limbs).reshape((n, *places, w.m)), after, others)

    def reduce_of(
        self,
        kind: str,
        axes: Sequence[int],
        expression: Expression,
        inputs: Sequence[Array],
        n: int,
        shape: Sequence[int],
        views: Sequence[View | None] = (),
    ) -> Array:
        """See :class:`.primitive_functions.Primitives`."""
        k: Any = self
        made: Array = k.reduce(kind, k.evaluate(expression, inputs, n, shape, views), axes)
        return made
