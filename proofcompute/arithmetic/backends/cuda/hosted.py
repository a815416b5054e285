"""Compute primitives on the host, as they are defined, where the device has no kernel for them.

The arrays are downloaded and the result is uploaded, so a step with such an operation is not captured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proofcompute.arithmetic.backends.cuda.array import DeviceArray
from proofcompute.arithmetic.backends.cuda.launcher import Given, Launcher
from proofcompute.arithmetic.backends.cuda.placing import placed
from proofcompute.arithmetic.definition import primitives
from proofcompute.arithmetic.primitives import Expression, View
from proofcompute.arrays import Array

__all__ = ["HostedPrimitives"]


class HostedPrimitives:
    """The primitives that are computed on the host."""

    _on: Launcher

    def _down(self, x: Given) -> Array:
        return self._on.fetch(x) if isinstance(x, DeviceArray) else x

    @placed
    def evaluate(
        self,
        expression: Expression,
        inputs: Sequence[Given],
        n: int,
        shape: Sequence[int],
        views: Sequence[View | None] = (),
    ) -> Any:
        found = primitives.evaluate(expression, [self._down(x) for x in inputs], n, shape, views)
        return self._on.array(found)

    @placed
    def reduce(self, kind: str, x: Given, axes: Sequence[int]) -> Any:
        return self._on.array(primitives.reduce(kind, self._down(x), axes))

    @placed
    def cumulate(self, kind: str, x: Given, axis: int) -> Any:
        return self._on.array(primitives.cumulate(kind, self._down(x), axis))

    @placed
    def view(self, x: Given, v: View) -> Any:
        return self._on.array(primitives.view(self._down(x), v))

    @placed
    def join(self, xs: Sequence[Given], axis: int) -> Any:
        return self._on.array(primitives.join([self._down(x) for x in xs], axis))

    @placed
    def take(self, x: Given, index: Given) -> Any:
        return self._on.array(primitives.take(self._down(x), self._down(index)))

    @placed
    def put(self, x: Given, index: Given, values: Given, how: str) -> Any:
        found = primitives.put(self._down(x), self._down(index), self._down(values), how)
        return self._on.array(found)

    @placed
    def order(self, x: Given, axis: int) -> Any:
        return self._on.array(primitives.order(self._down(x), axis))

    @placed
    def contract(self, a: Given, b: Given, limbs: int) -> Any:
        return self._on.array(primitives.contract(self._down(a), self._down(b), limbs))
