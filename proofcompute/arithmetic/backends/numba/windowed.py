"""Find where the elements of windows lie that a reduction reads, of one row or of a row and weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from proofcompute.arithmetic.backends.axes import has_margin
from proofcompute.arithmetic.primitives import Expression, Term, View
from proofcompute.arrays import I64

__all__ = ["Lies", "Windowed", "plain", "weighted", "windowed"]

_LEAST_CHANNELS: Final = 8
"""Channels below which a place is not worth a loop."""
_MOST_PLACES: Final = 1 << 22
"""Most places of windows that are found."""


class Lies(NamedTuple):
    """Where the elements of an array lie that windows have."""

    places: I64
    """[places] the first element of each window."""
    apart: I64
    """[elements of a window] where each lies beside the first, in the order of the reduction."""


class Windowed(NamedTuple):
    """Where windows lie in arrays; at each place are channels that follow one another."""

    channels: int
    spread: bool
    """Whether all channels have the same element of the first array."""
    arrays: tuple[Lies, ...]


def plain(e: Expression) -> bool:
    """Return whether an expression is its only input, a float."""
    return e.inputs == ("f32",) and [(t.function, t.dtype) for t in e.terms] == [("cast", "f32")]


def weighted(e: Expression) -> bool:
    """Return whether an expression is the product of its two inputs, both floats."""
    product = Term("mul", (0, 1), "f32")
    return e.inputs == ("f32", "f32") and e.terms in ((product,), (Term("mul", (1, 0), "f32"),))


def _strides(row: tuple[int, ...], view: View | None, rank: int) -> tuple[list[int], int]:
    """Return the stride along each axis of what rows broadcast to, and the first element."""
    own = [math.prod(row[i + 1 :]) for i in range(len(row))]
    seen, offset = row, 0
    if view is not None:
        seen, own, offset = view.shape, list(view.strides), view.offset
    steps = [0 if n == 1 else s for n, s in zip(seen, own, strict=True)]
    return [0] * (rank - len(seen)) + steps, offset


@lru_cache(maxsize=256)
def windowed(
    rows: tuple[tuple[tuple[int, ...], View | None], ...], shape: tuple[int, ...], axes: tuple[int, ...]
) -> Windowed | None:
    """Return the windows of rows that broadcast to ``shape`` and are reduced over some axes of it.

    Returns None where few channels follow one another, or for a view with a margin.
    """
    if any(view is not None and has_margin(view) for _, view in rows) or not math.prod(shape):
        return None
    found = [_strides(row, view, len(shape)) for row, view in rows]
    kept = [i for i in range(len(shape)) if i not in axes and shape[i] > 1]
    if not kept:
        return None
    first, *others = ([s[i] for i in kept] for s, _ in found)
    spread = bool(others) and first[-1] == 0
    if any(s[-1] != 1 for s in ([] if spread else [first]) + others):
        return None
    channels, outer = shape[kept[-1]], len(kept) - 1
    while outer and first[outer - 1] == (0 if spread else channels):
        if any(s[outer - 1] != channels for s in others):
            break
        outer -= 1
        channels *= shape[kept[outer]]
    places = kept[:outer]
    if channels < _LEAST_CHANNELS or math.prod(shape[i] for i in places) > _MOST_PLACES:
        return None
    arrays = []
    for s, offset in found:
        at = _positions([(shape[i], s[i]) for i in places], offset)
        arrays.append(Lies(at, _positions([(shape[i], s[i]) for i in axes], 0)))
    return Windowed(channels, spread, tuple(arrays))


def _positions(axes: Sequence[tuple[int, int]], first: int) -> I64:
    """Return where the elements along some axes lie, the last one running fastest."""
    at = np.full(1, first, np.int64)
    for size, stride in axes:
        at = (at[:, np.newaxis] + np.arange(size, dtype=np.int64) * stride).reshape(-1)
    return at
