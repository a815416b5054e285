"""Find the axes that a loop over the elements of several arrays has, and the strides of each array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from proofcompute.arithmetic.primitives import View

__all__ = ["Axes", "axes_of", "has_margin"]


class Axes(NamedTuple):
    """The axes that all arrays share, after joining those that every array passes through in one stride."""

    sizes: tuple[int, ...]
    offsets: tuple[int, ...]
    """Of each array, in elements."""
    strides: tuple[tuple[int, ...], ...]
    """Of each array, along each axis; 0 where it is repeated."""


def has_margin(v: View) -> bool:
    """Return whether some elements of a view are not those of the row."""
    return any(low or high != size for low, high, size in zip(v.low, v.high, v.shape, strict=True))


def axes_of(n: int, shape: Sequence[int], arrays: Sequence[tuple[int, tuple[int, ...], View | None]]) -> Axes:
    """Return the axes of a result [n, *shape] with elements, and of arrays that broadcast to it.

    An array has so many rows of a shape, which are read through a view without a margin if there is one.
    """
    sizes = [n, *shape]
    offsets, strides = [], []
    for rows, row, seen in arrays:
        if seen is None:
            own = [math.prod(row[i + 1 :]) for i in range(len(row))]
            seen_shape, offset = row, 0
        else:
            own, seen_shape, offset = list(seen.strides), seen.shape, seen.offset
        steps = [0 if size == 1 else step for size, step in zip(seen_shape, own, strict=True)]
        missing = len(shape) - len(steps)
        strides.append([math.prod(row) if rows > 1 else 0, *[0] * missing, *steps])
        offsets.append(offset)
    kept = [i for i, size in enumerate(sizes) if size > 1] or [len(sizes) - 1]
    joined: list[tuple[int, list[int]]] = []
    for i in kept:
        steps = [stride[i] for stride in strides]
        if joined and all(a == b * sizes[i] for a, b in zip(joined[-1][1], steps, strict=True)):
            joined[-1] = joined[-1][0] * sizes[i], steps
        else:
            joined.append((sizes[i], steps))
    turned = zip(*(steps for _, steps in joined), strict=True) if strides else ()
    return Axes(tuple(size for size, _ in joined), tuple(offsets), tuple(turned))
