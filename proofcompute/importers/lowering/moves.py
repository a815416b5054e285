"""Lowers look-ups, updates and rearrangements of elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from proofcompute.importers.lowering.graph import Graph, guard
from proofcompute.importers.lowering.values import STORED, Constant, RefusedError, Value, constant, is_float
from proofcompute.program.operations import contiguous

__all__ = [
    "depth_to_space",
    "flip",
    "gather",
    "gather_elements",
    "gather_nd",
    "indices",
    "iota",
    "one_hot",
    "reverse_sequence",
    "running",
    "scatter_elements",
    "scatter_nd",
    "space_to_depth",
    "tile",
    "top_k",
    "triangle",
]


def iota(n: int, axis: int, rank: int, dtype: str = "i64") -> Constant:
    """Return 0, 1, ..., n - 1 along one of ``rank`` axes, the others having length 1."""
    guard((n,))
    shape = [1] * rank
    shape[axis] = n
    return constant(np.arange(n).reshape(shape), dtype)


def indices(g: Graph, numbers: Value, n: int) -> Value:
    """Return indices of an axis of n, of which negative ones count from the end."""
    if isinstance(numbers, Constant):
        return constant(np.where(numbers.array < 0, numbers.array + n, numbers.array), numbers.dtype)
    return g.select(g.map("lt", numbers, 0), g.map("add", numbers, n), numbers)


def gather(g: Graph, x: Value, numbers: Value, axis: int) -> Value:
    """Return entries of an axis by number; the numbers' axes stand where the axis was."""
    rank, new = len(x.shape), len(numbers.shape)
    if not -rank <= axis < rank:
        raise RefusedError(f"a value with {rank} axes has no axis {axis}")
    axis %= rank
    found = indices(g, _index(g, numbers), x.shape[axis])
    if isinstance(found, Constant) and found.array.ndim == 0:
        at = int(found.array)
        if not 0 <= at < x.shape[axis]:
            raise RefusedError(f"a number is outside an axis of {x.shape[axis]}")
        one = g.slice(x, axis, at, at + 1)
        return g.reshape(one, (*x.shape[:axis], *x.shape[axis + 1 :]))
    front = g.transpose(x, (axis, *(a for a in range(rank) if a != axis)))
    taken = g.take(front, found)
    order = (*range(new, new + axis), *range(new), *range(new + axis, new + rank - 1))
    return g.transpose(taken, order)


def _index(g: Graph, numbers: Value) -> Value:
    return numbers if STORED[numbers.dtype] in ("i32", "i64") else g.cast(numbers, "i64")


def _flat(g: Graph, numbers: Value, axis: int, shape: Sequence[int]) -> Value:
    """Return indices into a flat value of a shape, for numbers along one axis and places along the others."""
    steps = contiguous(shape)
    found = g.cast(indices(g, _index(g, numbers), shape[axis]), "i64")
    flat = g.map("mul", found, steps[axis])
    for a, n in enumerate(numbers.shape):
        if a != axis:
            flat = g.map("add", flat, g.map("mul", iota(n, a, len(shape)), steps[a]))
    return flat


def gather_elements(g: Graph, x: Value, numbers: Value, axis: int) -> Value:
    """Return x[..., numbers[i], ...] for each place i of the numbers."""
    axis %= len(x.shape)
    return g.take(g.reshape(x, (math.prod(x.shape),)), _flat(g, numbers, axis, x.shape))


def _tuples(g: Graph, numbers: Value, sizes: Sequence[int], batch: int) -> Value:
    """Return flat indices of tuples of numbers [..., len(sizes) - batch], the first axes being batches."""
    steps, flat = contiguous(sizes), None
    lead = numbers.shape[:-1]
    for i, step in enumerate(steps[batch:]):
        size = sizes[batch + i]
        one = g.reshape(g.slice(numbers, len(lead), i, i + 1), lead)
        part = g.map("mul", g.cast(indices(g, _index(g, one), size), "i64"), step)
        flat = part if flat is None else g.map("add", flat, part)
    for i in range(batch):
        part = g.map("mul", iota(sizes[i], i, len(lead)), steps[i])
        flat = part if flat is None else g.map("add", flat, part)
    if flat is None:
        raise RefusedError("tuples of no numbers")
    return g.broadcast(flat, lead)


def gather_nd(g: Graph, x: Value, numbers: Value, batch: int = 0) -> Value:
    """Return entries by tuples of numbers, the last axis of ``numbers``; the first axes are batches."""
    deep = numbers.shape[-1] + batch
    flat = _tuples(g, numbers, x.shape[:deep], batch)
    return g.take(g.reshape(x, (math.prod(x.shape[:deep]), *x.shape[deep:])), flat)


def scatter_elements(g: Graph, x: Value, numbers: Value, values: Value, axis: int, how: str) -> Value:
    """Return x with elements updated: x[..., numbers[i], ...] by values[i], in order."""
    axis %= len(x.shape)
    flat = g.put(g.reshape(x, (math.prod(x.shape),)), _flat(g, numbers, axis, x.shape), values, how)
    return g.reshape(flat, x.shape)


def scatter_nd(g: Graph, x: Value, numbers: Value, values: Value, how: str) -> Value:
    """Return x with entries updated by tuples of numbers, in order."""
    deep = numbers.shape[-1]
    flat = _tuples(g, numbers, x.shape[:deep], 0)
    base = g.reshape(x, (math.prod(x.shape[:deep]), *x.shape[deep:]))
    return g.reshape(g.put(base, flat, values, how), x.shape)


def flip(g: Graph, x: Value, axis: int) -> Value:
    """Return x with an axis reversed."""
    n = x.shape[axis]
    return g.slice(x, axis, n - 1, -1, -1) if n > 1 else x


def running(
    g: Graph, kind: str, x: Value, axis: int, *, exclusive: bool = False, reverse: bool = False
) -> Value:
    """Return running sums or products; exclusive ones leave out the element itself."""
    rank = len(x.shape)
    axis %= rank
    if reverse:
        x = flip(g, x, axis)
    if exclusive:
        low = tuple(int(a == axis) for a in range(rank))
        x = g.pad(x, low, (0,) * rank, 0 if kind == "sum" else 1)
        x = g.slice(x, axis, 0, x.shape[axis] - 1)
    found = g.cumulate(kind, x, axis)
    return flip(g, found, axis) if reverse else found


def tile(g: Graph, x: Value, times: Sequence[int]) -> Value:
    """Return x repeated so many times along each axis."""
    guard([n * t for n, t in zip(x.shape, times, strict=True)])
    for axis, count in enumerate(times):
        if count == 1:
            continue
        if count == 0:
            if not isinstance(x, Constant):
                raise RefusedError("a value is repeated no times")
            x = Constant(np.zeros((*x.shape[:axis], 0, *x.shape[axis + 1 :]), x.array.dtype), x.dtype)
            continue
        wide = g.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))
        shape = (*x.shape[:axis], count, *x.shape[axis:])
        x = g.reshape(
            g.broadcast(wide, shape), (*x.shape[:axis], count * x.shape[axis], *x.shape[axis + 1 :])
        )
    return x


def top_k(g: Graph, x: Value, k: int, axis: int, *, largest: bool) -> tuple[Value, Value]:
    """Return the k greatest or least elements along an axis, in order, and their places (i64)."""
    axis %= len(x.shape)
    if not 1 <= k <= x.shape[axis]:
        raise RefusedError(f"{k} of {x.shape[axis]} elements")
    key = g.map("neg" if is_float(x.dtype) else "not", x) if largest else x
    places = g.cast(g.slice(g.order(key, axis), axis, 0, k), "i64")
    return gather_elements(g, x, places, axis), places


def one_hot(g: Graph, numbers: Value, depth: int, off: Value, on: Value, axis: int) -> Value:
    """Return ``on`` where a place along a new axis is the number, else ``off``."""
    guard((depth,))
    rank = len(numbers.shape) + 1
    axis %= rank
    wrapped = g.cast(numbers, "i64")
    wrapped = g.select(g.map("lt", wrapped, 0), g.map("add", wrapped, depth), wrapped)
    wide = g.reshape(wrapped, (*numbers.shape[:axis], 1, *numbers.shape[axis:]))
    return g.select(g.map("eq", wide, iota(depth, axis, rank)), on, off)


def triangle(g: Graph, x: Value, k: int, *, upper: bool) -> Value:
    """Return the part of matrices above (or below) the k-th diagonal, zero elsewhere."""
    n, m = x.shape[-2:]
    inside = np.triu(np.ones((n, m), bool), k) if upper else np.tril(np.ones((n, m), bool), k)
    return g.select(constant(inside, "bool"), x, False if x.dtype == "bool" else 0)


def depth_to_space(g: Graph, x: Value, block: int, *, columns_first: bool) -> Value:
    """Return channels as places: blocks of [block, block] places from block^2 channels."""
    n, c, h, w = x.shape
    if block < 1 or c % block**2:
        raise RefusedError(f"{c} channels in blocks of {block}")
    inner = c // block**2
    if columns_first:
        apart = g.transpose(g.reshape(x, (n, inner, block, block, h, w)), (0, 1, 4, 2, 5, 3))
    else:
        apart = g.transpose(g.reshape(x, (n, block, block, inner, h, w)), (0, 3, 4, 1, 5, 2))
    return g.reshape(apart, (n, inner, h * block, w * block))


def space_to_depth(g: Graph, x: Value, block: int) -> Value:
    """Return places as channels, the inverse of :func:`depth_to_space` without ``columns_first``."""
    n, c, h, w = x.shape
    if block < 1 or h % block or w % block:
        raise RefusedError(f"{h} x {w} places in blocks of {block}")
    apart = g.reshape(x, (n, c, h // block, block, w // block, block))
    return g.reshape(g.transpose(apart, (0, 3, 5, 1, 2, 4)), (n, c * block**2, h // block, w // block))


def reverse_sequence(g: Graph, x: Value, lengths: Value, time: int, batch: int) -> Value:
    """Return x with the first lengths[i] steps of sequence i reversed."""
    rank, steps = len(x.shape), x.shape[time]
    t = iota(steps, time, rank)
    shape = [1] * rank
    shape[batch] = x.shape[batch]
    n = g.reshape(g.cast(lengths, "i64"), shape)
    places = g.select(g.map("lt", t, n), g.map("sub", g.map("sub", n, 1), t), t)
    return gather_elements(g, x, g.broadcast(places, x.shape), time)
