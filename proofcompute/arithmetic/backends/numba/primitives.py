"""Compute the primitives on the CPU.

Expressions and reductions of binary32 numbers have compiled code. What only moves elements is copied by
NumPy, in whichever order is fast. Products of activations are those of weights. All else is computed as it
is defined.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import as_strided

from proofcompute.arithmetic import shapes
from proofcompute.arithmetic.backends.numba import mapping
from proofcompute.arithmetic.backends.numba.memory import CpuMemory
from proofcompute.arithmetic.backends.numba.modules import Module
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.steps.repeating import recorded
from proofcompute.arithmetic.definition import primitives
from proofcompute.arithmetic.definition.elementwise import quiet
from proofcompute.arithmetic.definition.scalars import constant
from proofcompute.arithmetic.primitives import Expression, View
from proofcompute.arrays import F32, I8, I32, I64, Array
from proofcompute.freivalds.product import product_sets

__all__ = ["CpuPrimitives"]

_SPLIT_PRODUCTS: Final = 4_000_000
"""Least products of a part for which a thread pays."""
_SPLIT_ELEMENTS: Final = 50_000
"""Least elements of a part of a reduction for which a thread pays."""


class CpuPrimitives(CpuMemory):
    """The primitives of the CPU backend."""

    _reducing = Module("reducing")
    _short = Module("short")

    quantise: Callable[..., tuple[I8, F32]]
    product: Callable[..., I32]
    """The backend's own, as is ``quantise``."""

    @recorded
    def evaluate(
        self,
        expression: Expression,
        inputs: Sequence[Array],
        n: int,
        shape: Sequence[int],
        views: Sequence[View | None] = (),
    ) -> Array:
        return mapping.evaluate(expression, inputs, n, shape, views, _seen)

    def reduce(self, kind: str, x: Array, axes: Sequence[int]) -> Array:
        left, count = shapes.reduce(kind, x, axes)
        if x.dtype != np.float32 or kind not in ("sum", "max", "min") or not x.size:
            return primitives.reduce(kind, x, axes)
        kept = [axis for axis in range(x.ndim - 1) if axis not in axes]
        # rows, then what is reduced in its order, then what is left behind it; all in place, if it is so
        before = next((i for i, axis in enumerate(kept) if axis != i), len(kept))
        order = (*kept[:before], *axes, *kept[before:])
        line = np.ascontiguousarray(x.transpose(0, *(1 + axis for axis in order)))
        rows = len(x) * math.prod(left[:before])
        line = line.reshape(rows, count, math.prod(left[before:]))
        least = _SPLIT_ELEMENTS // max(1, line.shape[1] * line.shape[2])
        out = np.empty((rows, line.shape[2]), np.float32)
        if kind == "sum":
            threads.split(self._reducing.sums, rows, least, line, out)
        else:
            turned = int(kind == "min")
            threads.split(
                self._reducing.greatest, rows, least, line.view(np.int32), turned, out.view(np.int32)
            )
        return out.reshape(len(x), *left)

    @quiet
    def cumulate(self, kind: str, x: Array, axis: int) -> Array:
        shapes.cumulate(kind, x, axis)
        step = np.add if kind == "sum" else np.multiply
        return step.accumulate(x, axis=1 + axis, dtype=x.dtype)

    @recorded
    def view(self, x: Array, v: View) -> Array:
        return _seen(x, v)

    @recorded
    def join(self, xs: Sequence[Array], axis: int) -> Array:
        return primitives.join(xs, axis)

    @recorded
    def take(self, x: Array, index: Array) -> Array:
        n, shape = shapes.take(x, index)
        d, size = x.shape[1], math.prod(x.shape[2:])
        primitives.inside(index, d)
        if len(index) == 1 or n == 0:
            chosen = np.take(x.reshape(len(x), d, size), index.reshape(-1), axis=1)
            return np.broadcast_to(chosen, (n, *chosen.shape[1:])).reshape(n, *shape)
        places = index.reshape(n, math.prod(index.shape[1:])).astype(np.int64)
        if len(x) > 1:
            places = places + np.arange(n, dtype=np.int64)[:, np.newaxis] * d
        return np.take(x.reshape(len(x) * d, size), places, axis=0).reshape(n, *shape)

    def put(self, x: Array, index: Array, values: Array, how: str) -> Array:
        return primitives.put(x, index, values, how)

    def order(self, x: Array, axis: int) -> I32:
        return primitives.order(x, axis)

    @quiet
    def contract(self, a: Array, b: Array, limbs: int) -> Array:
        n, batch, p, d, q = shapes.contract(a, b, limbs)
        small = {shapes.name_of(a), shapes.name_of(b)} == {"i8"}
        if not (limbs or small) or not n * math.prod(batch) * p * q * d:
            return primitives.contract(a, b, limbs)
        rank = len(batch)
        left = a.reshape(len(a), *(1,) * (rank + 3 - a.ndim), *a.shape[1:])
        right = np.swapaxes(b.reshape(len(b), *(1,) * (rank + 3 - b.ndim), *b.shape[1:]), -1, -2)
        if not limbs:
            return self._exact(self._limbs(left, 0)[0], self._limbs(right, 0)[0], (n, *batch))
        x, sx = self._limbs(left, limbs)
        y, sy = self._limbs(right, limbs)
        if limbs == 1 and d <= self._short.MOST_COLUMNS:
            return self._short_products(x[0], sx, y[0], sy, (n, *batch))
        acc = self._exact(x, y, (n, *batch)).astype(np.float32)
        return acc * (sx[..., :, np.newaxis] * sy[..., np.newaxis, :])

    def _limbs(self, x: Array, limbs: int) -> tuple[I8, F32]:
        """Return the limbs of the last axis [limbs, *shape] and its scales; integers are limbs themselves."""
        rows = np.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])
        q, scales = self.quantise(rows, limbs) if limbs else (rows[np.newaxis], rows[:, 0])
        return q.reshape(len(q), *x.shape), scales.reshape(x.shape[:-1])

    def _short_products(self, x: I8, sx: F32, y: I8, sy: F32, shape: tuple[int, ...]) -> Array:
        """Multiply rows of one limb [*broadcast, p, d] and [*broadcast, q, d] with scales: [*shape, p, q]."""
        p, d, q = x.shape[-2], x.shape[-1], y.shape[-2]
        out = np.empty((math.prod(shape), p, q), np.float32)
        k = self._short
        least = _SPLIT_PRODUCTS // (min(p, k.BLOCK) * q * d)
        threads.split(
            k.contract_short, len(out) * -(-p // k.BLOCK), least,
            x.reshape(-1, p, d), y.reshape(-1, q, d), _places(x, shape), _places(y, shape),
            sx.reshape(-1, p), sy.reshape(-1, q), out,
        )  # fmt: skip
        return out.reshape(*shape, p, q)

    def _exact(self, x: I8, y: I8, shape: tuple[int, ...]) -> Array:
        """Multiply rows of limbs [limbs, *broadcast, p, d] and [limbs, *broadcast, q, d]: [*shape, p, q]."""
        p, d, q = x.shape[-2], x.shape[-1], y.shape[-2]
        places = [_places(v[0], shape).tolist() for v in (x, y)]
        x, y = x.reshape(len(x), -1, p, d), y.reshape(len(y), -1, q, d)
        out = np.zeros((len(places[0]), p, q), np.int64)
        for start, stop, high, low, shift in product_sets(d, len(x), len(y)):
            cut = slice(start, stop)
            for to, i, j in zip(out, *places, strict=True):
                part = self.product(
                    np.ascontiguousarray(x[high, i, :, cut]), np.ascontiguousarray(y[low, j, :, cut])
                )
                to += part.astype(np.int64) << np.int64(shift)
        return out.reshape(*shape, p, q)


def _places(x: Array, shape: tuple[int, ...]) -> I64:
    """Return which matrix of x [*broadcast, p, d] each of a batch is: [product of shape]."""
    own = x.shape[:-2]
    numbers = np.arange(math.prod(own), dtype=np.int64).reshape(own)
    return np.broadcast_to(numbers, shape).reshape(-1)


def _seen(x: Array, v: View) -> Array:
    """Return rows read through a view."""
    shapes.view(x, v)
    whole = all(low == 0 and high == size for low, high, size in zip(v.low, v.high, v.shape, strict=True))
    out = np.empty((len(x), *v.shape), x.dtype)
    fill = constant(v.fill, shapes.name_of(x))
    sizes = [high - low for low, high in zip(v.low, v.high, strict=True)]
    if not out.size or not all(sizes):
        out[...] = fill
        return out
    # shapes.view has checked that nothing outside the row is read
    flat = np.ascontiguousarray(x).reshape(len(x), math.prod(x.shape[1:]))
    start = v.offset + sum(low * stride for low, stride in zip(v.low, v.strides, strict=True))
    steps = [stride * x.itemsize for stride in v.strides]
    seen = as_strided(flat[:, start:], (len(x), *sizes), (flat.strides[0], *steps), writeable=False)
    box = tuple(slice(low, high) for low, high in zip(v.low, v.high, strict=True))

    def some(a: int, b: int) -> None:
        if not whole:
            out[a:b] = fill
        out[(slice(a, b), *box)] = seen[a:b]

    threads.split(some, len(x), _SPLIT_ELEMENTS // math.prod(v.shape))
    return out
