"""Compute the primitives on the device, or on the host where the device has no kernel for them.

Expressions have kernels that are written for them (:mod:`.expressions`), up to a number in one process.
Further ones, ``put``, ``order``, ``cumulate``, contractions of integers, and reductions of integers, bools
and to positions are computed on the host, as they are defined: their arrays are downloaded and the result is
uploaded, so a step with one of them is not captured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic import shapes
from proofcompute.arithmetic.backends.axes import axes_of, has_margin
from proofcompute.arithmetic.backends.cuda import expressions, products
from proofcompute.arithmetic.backends.cuda.array import DeviceArray
from proofcompute.arithmetic.backends.cuda.launcher import Given, Launcher, i32, i64
from proofcompute.arithmetic.backends.cuda.placing import placed
from proofcompute.arithmetic.backends.cuda.sources import generate
from proofcompute.arithmetic.composed import Composed
from proofcompute.arithmetic.definition import primitives, routing
from proofcompute.arithmetic.kernels import Routing
from proofcompute.arithmetic.primitives import ELEMENTS, Expression, View
from proofcompute.arrays import Array
from proofcompute.errors import ExecutionError
from proofcompute.freivalds.product import product_sets

__all__ = ["DevicePrimitives"]

_REDUCED: Final = ("sum", "prod", "max", "min")


class DevicePrimitives(Composed):
    """The primitives of the CUDA backend; what is done in several steps is written out after each."""

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
        shapes.evaluate(expression, inputs, n, shape, views)
        on = self._on
        out = on.new(ELEMENTS[expression.terms[-1].dtype], n, *shape)
        if not out.size:
            return out
        kernel, text = expressions.written(expression)
        if not generate(kernel, text):
            host = [self._down(x) for x in inputs]
            return on.array(primitives.evaluate(expression, host, n, shape, views))
        seen = [
            (self._look(x, v), None) if v is not None and has_margin(v) else (on.array(x), v)
            for x, v in zip(inputs, views or [None] * len(inputs), strict=True)
        ]
        axes = axes_of(n, shape, [(len(x), tuple(x.shape[1:]), v) for x, v in seen])
        status = on.fault((1, ExecutionError, "a function of an expression has no result"))
        plan = on.constant(expressions.plan_of(axes))
        on.over(kernel, out.size, plan, i64(out.size), *(x for x, _ in seen), out, status)
        return out

    def _look(self, x: Given, v: View) -> DeviceArray:
        on, x = self._on, self._on.array(x)
        size = math.prod(v.shape)
        out = on.new(x.dtype, len(x), *v.shape)
        axes = zip(v.shape, v.strides, v.low, v.high, strict=True)
        plan = on.constant(np.array([*axes] or [(1, 0, 0, 1)], dtype=np.int64))
        row = math.prod(x.shape[1:])
        given = (i64(row), i64(len(x)), i64(size), plan, i32(len(v.shape)), i64(v.offset), np.uint64(v.fill))
        on.over(f"view_{x.itemsize}", out.size, x, *given, out)
        return out

    @placed
    def view(self, x: Given, v: View) -> Any:
        shapes.view(x, v)
        return self._look(x, v)

    @placed
    def reduce(self, kind: str, x: Given, axes: Sequence[int]) -> Any:
        left, count = shapes.reduce(kind, x, axes)
        if x.dtype != np.float32 or kind not in _REDUCED:
            return self._on.array(primitives.reduce(kind, self._down(x), axes))
        on, x = self._on, self._on.array(x)
        row = tuple(x.shape[1:])
        kept = [axis for axis in range(len(row)) if axis not in axes]
        before = next((i for i, axis in enumerate(kept) if axis != i), len(kept))
        order = (*kept[:before], *axes, *kept[before:])
        if order != tuple(range(len(row))):  # the elements in the order in which they are reduced
            own = [math.prod(row[i + 1 :]) for i in range(len(row))]
            turned = tuple(row[i] for i in order)
            x = self._look(x, View(turned, tuple(own[i] for i in order), 0, (0,) * len(row), turned))
        rows, rest = len(x) * math.prod(left[:before]), math.prod(left[before:])
        out = on.new(np.float32, len(x), *left)
        sizes = (i64(rows), i64(count), i64(rest))
        if kind == "sum":
            on.blocks("reduce_sum", (min(rows * rest, on.device.blocks),), x, *sizes, out)
        elif kind == "prod":
            on.over("reduce_prod", rows * rest, x, *sizes, out)
        else:
            on.over("reduce_extreme", rows * rest, x, *sizes, i32(kind == "min"), out)
        return out

    @placed
    def cumulate(self, kind: str, x: Given, axis: int) -> Any:
        return self._on.array(primitives.cumulate(kind, self._down(x), axis))

    @placed
    def join(self, xs: Sequence[Given], axis: int) -> Any:
        n, shape = shapes.join(xs, axis)
        on = self._on
        out = on.new(xs[0].dtype, n, *shape)
        if any(len(x) != n for x in xs):
            return on.array(primitives.join([self._down(x) for x in xs], axis))
        rows, after = n * math.prod(shape[:axis]), math.prod(shape[axis + 1 :]) * out.itemsize
        pitch, at = shape[axis] * after, 0
        for x in map(on.array, xs):
            width = x.shape[1 + axis] * after
            if rows * width:
                on.columns(x.buffer, width, out.buffer.part(at, out.nbytes - at), pitch, rows, width)
            at += width
        return out

    @placed
    def take(self, x: Given, index: Given) -> Any:
        n, shape = shapes.take(x, index)
        on = self._on
        count, width = math.prod(index.shape[1:]), math.prod(x.shape[2:])
        if not n * count * width:  # an index is checked, though nothing is taken
            return on.array(primitives.take(self._down(x), self._down(index)))
        x, index = on.array(x), on.array(index)
        out = on.new(x.dtype, n, *shape)
        status = on.fault((1, ExecutionError, "an index is outside its axis"))
        narrow, wide = (index, None) if index.itemsize == 4 else (None, index)
        size = width * x.itemsize
        places = (i64(len(x)), i64(x.shape[1]), i64(size), narrow, wide, i64(len(index)), i64(n), i64(count))
        on.over("pick_slices", n * count * size, x, *places, out, status)
        return out

    @placed
    def put(self, x: Given, index: Given, values: Given, how: str) -> Any:
        found = primitives.put(self._down(x), self._down(index), self._down(values), how)
        return self._on.array(found)

    @placed
    def route(self, x: Given, how: Routing, correction: Given | None) -> Any:
        own = None if correction is None else self._down(correction)
        return tuple(self._on.array(y) for y in routing.route(self._down(x), how, own))

    @placed
    def mix(self, x: Given, shares: Given) -> Any:
        return self._on.array(routing.mix(self._down(x), self._down(shares)))

    @placed
    def order(self, x: Given, axis: int) -> Any:
        return self._on.array(primitives.order(self._down(x), axis))

    @placed
    def contract(self, a: Given, b: Given, limbs: int) -> Any:
        n, batch, p, d, q = shapes.contract(a, b, limbs)
        on, size = self._on, n * math.prod(batch)
        if not limbs or not size * p * q * d:
            return on.array(primitives.contract(self._down(a), self._down(b), limbs))
        row = tuple(b.shape[1:])
        own = [math.prod(row[i + 1 :]) for i in range(len(row))]
        turned = View((*row[:-2], q, d), (*own[:-2], own[-1], own[-2]), 0, (0,) * len(row), (*row[:-2], q, d))
        x, sx = products.quantise_prepared(on, on.array(a).reshape(-1, d), limbs, None)
        y, sy = products.quantise_prepared(on, self._look(b, turned).reshape(-1, d), limbs, None)
        places = []
        for v in (a, b):
            own_batch = (len(v), *(1,) * (len(batch) + 3 - len(v.shape)), *v.shape[1:-2])
            numbers = np.arange(math.prod(own_batch)).reshape(own_batch)
            places.append(np.broadcast_to(numbers, (n, *batch)).reshape(-1).tolist())
        products.rows_fit(p)
        out = on.new(np.float32, size, p, q)
        sets = product_sets(d, limbs, limbs)
        shifts = [shift for *_, shift in sets]
        for k, (i, j) in enumerate(zip(*places, strict=True)):
            acc = on.new(np.int32, len(sets), p, q)
            for s, (start, stop, high, low, _) in enumerate(sets):
                left, right = x[high][i * p : (i + 1) * p], y[low][j * q : (j + 1) * q]
                q_part, w_part = (v.buffer.part(start, v.nbytes - start) for v in (left, right))
                products.multiply(on, q_part, d, w_part, d, p, q, stop - start, acc[s].buffer)
            scales = sx[i * p : (i + 1) * p], sy[j * q : (j + 1) * q]
            out[k : k + 1] = products.rescale(on, acc, shifts, *scales, None).reshape(1, p, q)
        return out.reshape(n, *batch, p, q)
