"""Compute the primitives on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

from proofcompute.arithmetic.backends.numba import mapping
from proofcompute.arithmetic.backends.numba.memory import CpuMemory
from proofcompute.arithmetic.definition import primitives
from proofcompute.arithmetic.primitives import Expression, View
from proofcompute.arrays import I32, Array

__all__ = ["CpuPrimitives"]


class CpuPrimitives(CpuMemory):
    """The primitives of the CPU backend; what has no kernel is computed as it is defined."""

    def evaluate(
        self,
        expression: Expression,
        inputs: Sequence[Array],
        n: int,
        shape: Sequence[int],
        views: Sequence[View | None] = (),
    ) -> Array:
        return mapping.evaluate(expression, inputs, n, shape, views, self.view)

    def reduce(self, kind: str, x: Array, axes: Sequence[int]) -> Array:
        return primitives.reduce(kind, x, axes)

    def cumulate(self, kind: str, x: Array, axis: int) -> Array:
        return primitives.cumulate(kind, x, axis)

    def view(self, x: Array, v: View) -> Array:
        return primitives.view(x, v)

    def join(self, xs: Sequence[Array], axis: int) -> Array:
        return primitives.join(xs, axis)

    def take(self, x: Array, index: Array) -> Array:
        return primitives.take(x, index)

    def put(self, x: Array, index: Array, values: Array, how: str) -> Array:
        return primitives.put(x, index, values, how)

    def order(self, x: Array, axis: int) -> I32:
        return primitives.order(x, axis)

    def contract(self, a: Array, b: Array, limbs: int) -> Array:
        return primitives.contract(a, b, limbs)
