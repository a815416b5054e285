"""Define the primitive operations in NumPy (docs/spec/primitives.md).

Arrays are [n, *row shape]; an array of one row where others have n is the same for every row. Axes are those
of a row: axis 0 follows the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from proofcompute.arithmetic import shapes
from proofcompute.arithmetic.definition.elementwise import quiet
from proofcompute.arithmetic.definition.products import quantise
from proofcompute.arithmetic.definition.scalars import apply, constant, greater, less
from proofcompute.arithmetic.definition.trees import tree_sum
from proofcompute.arithmetic.primitives import ELEMENTS, Expression, View
from proofcompute.arrays import I32, I64, Array
from proofcompute.errors import ExecutionError, NonFiniteError

__all__ = [
    "HostPrimitives",
    "contract",
    "cumulate",
    "evaluate",
    "inside",
    "join",
    "order",
    "put",
    "reduce",
    "take",
    "view",
]

_STEPS: Final[dict[str, Callable[[Array, Array], Array]]] = {
    "add": np.add,
    "mul": np.multiply,
    "prod": np.multiply,
    "max": greater,
    "min": less,
}
_BLOCK: Final = 1 << 16
"""Most elements that are evaluated together, so that what functions hold meanwhile is of a fixed size."""
_DONE: Final = np.zeros(0, np.int8)
"""Stands for a value that is not read again."""


def evaluate(
    expression: Expression,
    inputs: Sequence[Array],
    n: int,
    shape: Sequence[int],
    views: Sequence[View | None] = (),
) -> Array:
    """Evaluate an expression for every element; see :class:`proofcompute.arithmetic.kernels.Arithmetic`."""
    rows = shapes.evaluate(expression, inputs, n, shape, views)
    result = np.empty((n, *shape), ELEMENTS[expression.terms[-1].dtype])
    if not result.size:
        return result
    seen = [
        x if v is None else view(x, v) for x, v in zip(inputs, views or [None] * len(inputs), strict=True)
    ]
    values: list[Array] = [
        x.reshape(len(x), *(1,) * (len(shape) - len(row)), *row) for x, row in zip(seen, rows, strict=True)
    ]
    for block in _blocks(result.shape):
        parts = [
            x[tuple(slice(None) if size == 1 else part for size, part in zip(x.shape, block, strict=True))]
            for x in values
        ]
        result[block] = _evaluated(expression, parts)
    return result


def _blocks(shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield the parts of an array, of at most _BLOCK elements, one after the other."""
    whole, axis = 1, len(shape)
    while axis and whole * shape[axis - 1] <= _BLOCK:
        axis -= 1
        whole *= shape[axis]
    inner = (slice(None),) * (len(shape) - axis)
    if not axis:
        yield inner
        return
    step = _BLOCK // whole
    for outer in np.ndindex(*shape[: axis - 1]):
        for start in range(0, shape[axis - 1], step):
            yield (*(slice(i, i + 1) for i in outer), slice(start, start + step), *inner)


def _evaluated(expression: Expression, inputs: Sequence[Array]) -> Array:
    """Return the last value of an expression, not yet broadcast."""
    values = list(inputs)
    last = {i: j for j, term in enumerate(expression.terms) for i in term.args}
    for j, term in enumerate(expression.terms):
        if term.function == "constant":
            values.append(constant(term.bits, term.dtype))
        else:
            values.append(apply(term.function, [values[i] for i in term.args], term.dtype))
        for i in term.args:
            if last[i] == j:
                values[i] = _DONE
    return values[-1]


@quiet
def reduce(kind: str, x: Array, axes: Sequence[int]) -> Array:
    """Reduce axes of a row, whose elements stand in the order of the axes as they are named."""
    left, count = shapes.reduce(kind, x, axes)
    kept = [1 + axis for axis in range(x.ndim - 1) if axis not in axes]
    line = x.transpose(0, *kept, *(1 + axis for axis in axes)).reshape(len(x), *left, count)
    if kind == "sum":
        if x.dtype == np.float32:
            return tree_sum(line)
        return np.asarray(line.sum(axis=-1, dtype=x.dtype))
    if kind == "argmax":
        if x.dtype == np.float32 and np.isnan(line).any():
            raise NonFiniteError("NaN has no place in an order")
        return np.asarray(np.argmax(line, axis=-1)).astype(np.int32)
    step = _STEPS[kind]
    total = np.ones((len(x), *left), x.dtype) if not count else line[..., 0].copy()
    for i in range(1, count):
        total = step(total, line[..., i])
    return total


@quiet
def cumulate(kind: str, x: Array, axis: int) -> Array:
    """Return running sums or products along an axis of a row, from the first element to the last."""
    before, size, after = shapes.cumulate(kind, x, axis)
    out = x.copy().reshape(len(x), before, size, after)
    for i in range(1, size):
        step = out[:, :, i - 1], out[:, :, i]
        out[:, :, i] = step[0] + step[1] if kind == "sum" else step[0] * step[1]
    return out.reshape(x.shape)


def view(x: Array, v: View) -> Array:
    """Read rows through a view."""
    shapes.view(x, v)
    out = np.empty((len(x), *v.shape), x.dtype)
    name = shapes.name_of(x)
    out[...] = constant(v.fill, name)
    if all(low < high for low, high in zip(v.low, v.high, strict=True)):
        index = np.array(v.offset, dtype=np.int64)
        for stride, low, high in zip(v.strides, v.low, v.high, strict=True):
            index = index[..., np.newaxis] + np.arange(low, high, dtype=np.int64) * stride
        box = tuple(slice(low, high) for low, high in zip(v.low, v.high, strict=True))
        out[(slice(None), *box)] = x.reshape(len(x), math.prod(x.shape[1:]))[:, index]
    return out


def join(xs: Sequence[Array], axis: int) -> Array:
    """Put rows one after the other along an axis of a row."""
    n, _ = shapes.join(xs, axis)
    return np.concatenate([np.broadcast_to(x, (n, *x.shape[1:])) for x in xs], axis=1 + axis)


def inside(index: Array, d: int) -> None:
    """Raise ExecutionError unless every element of an index is in 0..d."""
    if index.size and not (0 <= int(index.min()) and int(index.max()) < d):
        raise ExecutionError(f"an index is outside an axis of {d}")


def _indices(index: Array, n: int, d: int) -> I64:
    """Return an index as int64 [n, size], each element in 0..d."""
    inside(index, d)
    flat = index.reshape(len(index), math.prod(index.shape[1:])).astype(np.int64)
    return np.broadcast_to(flat, (n, flat.shape[1]))


def take(x: Array, index: Array) -> Array:
    """Take slices along the first axis of a row by number."""
    n, shape = shapes.take(x, index)
    d = x.shape[1]
    chosen = _indices(index, n, d)
    size = math.prod(x.shape[2:])
    rows = np.broadcast_to(x.reshape(len(x), d, size), (n, d, size))
    return np.take_along_axis(rows, chosen[:, :, np.newaxis], axis=1).reshape(n, *shape)


@quiet
def put(x: Array, index: Array, values: Array, how: str) -> Array:
    """Put slices into the first axis of a row by number, in the order of the index."""
    n = shapes.put(x, index, values, how)
    d, size, count = x.shape[1], math.prod(x.shape[2:]), math.prod(index.shape[1:])
    chosen = _indices(index, n, d)
    given = np.broadcast_to(values.reshape(len(values), count, size), (n, count, size))
    out = np.broadcast_to(x.reshape(len(x), d, size), (n, d, size)).copy()
    every = np.arange(n)
    for j in range(count):
        at = every, chosen[:, j]
        out[at] = given[:, j] if how == "none" else _STEPS[how](out[at], given[:, j])
    return out.reshape(n, *x.shape[1:])


def order(x: Array, axis: int) -> I32:
    """Return the stable permutation that sorts an axis of a row."""
    shapes.order(x, axis)
    if x.dtype == np.float32 and np.isnan(x).any():
        raise NonFiniteError("NaN has no place in an order")
    return np.argsort(x, axis=1 + axis, kind="stable").astype(np.int32)


def _quantised(x: Array, limbs: int) -> tuple[I64, Array]:
    """Quantise the last axis: integers of the same shape, and scales of one axis less."""
    q, s = quantise(np.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), x.shape[-1]), limbs)
    whole = q[-1].astype(np.int64)
    if limbs == 2:
        whole += np.int64(256) * q[0]
    return whole.reshape(x.shape), s.reshape(x.shape[:-1])


@quiet
def contract(a: Array, b: Array, limbs: int) -> Array:
    """Multiply matrices of a row: exactly if they are integers, else after quantising."""
    n, batch, p, _, q = shapes.contract(a, b, limbs)
    rank = len(batch)
    left = a.reshape(len(a), *(1,) * (rank + 3 - a.ndim), *a.shape[1:])
    right = np.swapaxes(b, -1, -2)
    right = right.reshape(len(b), *(1,) * (rank + 3 - b.ndim), *right.shape[1:])
    if not limbs:
        exact = np.matmul(left.astype(np.int64), np.swapaxes(right, -1, -2).astype(np.int64))
        return np.broadcast_to(exact, (n, *batch, p, q)).copy()
    x, sx = _quantised(left, limbs)
    y, sy = _quantised(right, limbs)
    acc = np.matmul(x, np.swapaxes(y, -1, -2))
    scaled = acc.astype(np.float32) * (sx[..., :, np.newaxis] * sy[..., np.newaxis, :])
    return np.broadcast_to(scaled, (n, *batch, p, q)).copy()


class HostPrimitives:
    """The primitives of a backend that computes them as defined, on NumPy arrays."""

    def evaluate(
        self,
        expression: Expression,
        inputs: Sequence[Array],
        n: int,
        shape: Sequence[int],
        views: Sequence[View | None] = (),
    ) -> Array:
        """Call :func:`evaluate`."""
        return evaluate(expression, inputs, n, shape, views)

    def reduce(self, kind: str, x: Array, axes: Sequence[int]) -> Array:
        """Call :func:`reduce`."""
        return reduce(kind, x, axes)

    def cumulate(self, kind: str, x: Array, axis: int) -> Array:
        """Call :func:`cumulate`."""
        return cumulate(kind, x, axis)

    def view(self, x: Array, v: View) -> Array:
        """Call :func:`view`."""
        return view(x, v)

    def join(self, xs: Sequence[Array], axis: int) -> Array:
        """Call :func:`join`."""
        return join(xs, axis)

    def take(self, x: Array, index: Array) -> Array:
        """Call :func:`take`."""
        return take(x, index)

    def put(self, x: Array, index: Array, values: Array, how: str) -> Array:
        """Call :func:`put`."""
        return put(x, index, values, how)

    def order(self, x: Array, axis: int) -> I32:
        """Call :func:`order`."""
        return order(x, axis)

    def contract(self, a: Array, b: Array, limbs: int) -> Array:
        """Call :func:`contract`."""
        return contract(a, b, limbs)
