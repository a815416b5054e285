"""Find the runs of which the rows of a product consist that are read through views.

A *run* is a piece of a row of x whose elements follow one another in the product's row as they do in x. For
windows of an image with channels last it is a place, or a line of a window where that has no margin. Runs are
found on the heads of pieces, so that the table of a convolution has an element for each place and tap, not
for each element of a window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from proofcompute.arithmetic.primitives import View
from proofcompute.arrays import I32, I64

__all__ = ["Runs", "runs_of"]

_Bools: TypeAlias = npt.NDArray[np.bool_]
SHORT: Final = 8
"""Elements of a run below which a margin is written out, so that lines of a window become runs."""
_MOST_HEADS: Final = 1 << 24
"""Most pieces of which runs are found; windows of more are written out."""
_OUTSIDE: Final = -1
_INFINITE: Final = 0x7F800000


class Runs(NamedTuple):
    """The rows of a product, as runs of a row of x."""

    written: int
    """How many of the views are to be written out before; runs are those of the row that they make."""
    starts: I64
    """[runs] where each run begins."""
    table: I32
    """[places, runs of a row] the number of each run; -1 for one that ``fill`` stands for."""
    length: int
    """Elements of a run."""
    fill: int
    """Bits of the element of margins."""

    @property
    def finite(self) -> bool:
        """Whether the element of margins can be quantised."""
        return (self.fill & _INFINITE) != _INFINITE


def _steps(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def _read(v: View, at: I64) -> tuple[I64, _Bools]:
    """Return where elements of a view lie in the row that it reads, and which lie inside it."""
    inside = np.ones(at.shape, np.bool_)
    source = np.full(at.shape, v.offset, np.int64)
    for size, step, stride, low, high in zip(v.shape, _steps(v.shape), v.strides, v.low, v.high, strict=True):
        index = at // step
        at = at - index * step
        source += index * stride
        if low or high != size:
            inside &= (low <= index) & (index < high)
    return source, inside


def _traced(views: Sequence[View], at: I64, length: int) -> tuple[I64, _Bools] | None:
    """Return where runs that begin at elements of the last view lie in the row, and which lie inside it.

    Returns None unless all are runs. Each view keeps pieces of ``length`` elements together
    (:func:`_run_length`), so that a run lies in at most two pieces of the view before it; its first and last
    element are as far apart as they should be only if these follow one another too.
    """
    inside = np.ones(at.shape, np.bool_)
    for v in reversed(views):
        source, here = _read(v, at)
        end, also = _read(v, at + (length - 1))
        if (here != also)[inside].any():
            return None
        inside &= here
        if (end - source != length - 1)[inside].any():
            return None
        at = np.where(inside, source, 0)
    return at, inside


def _run_length(views: Sequence[View], width: int) -> int:
    """Return the greatest length of pieces, a divisor of ``width``, that every view keeps together."""
    length = width
    for v in reversed(views):
        if not v.shape:
            return 1
        own = [i for i, n in enumerate(v.shape) if n > 1]
        whole, expected = 1, 1
        for i in reversed(own):
            if v.strides[i] != expected or v.low[i] or v.high[i] != v.shape[i]:
                break
            whole *= v.shape[i]
            expected *= v.shape[i]
        length = math.gcd(length, whole)
    return length


@lru_cache(maxsize=256)
def runs_of(views: tuple[View, ...], row: int) -> Runs | None:
    """Return the runs of rows read through views, one after another, from rows of so many elements.

    Returns None if there are none worth it: pieces are short, too many, or margins have several fillings.
    """
    last = views[-1].shape
    width, places = last[-1], math.prod(last[:-1])
    found = _runs(views, places, width)
    if found is not None and found.length < SHORT and _margin(views[0]) and len(views) > 1:
        lines = _runs(views[1:], places, width)
        if lines is not None and lines.length > found.length:
            found = lines._replace(written=1)
    return None if found is None or found.length < SHORT else found


def _margin(v: View) -> bool:
    return any(low or high != size for low, high, size in zip(v.low, v.high, v.shape, strict=True))


def _runs(views: tuple[View, ...], places: int, width: int) -> Runs | None:
    fills = {v.fill for v in views if _margin(v)}
    length = _run_length(views, width)
    count = width // length
    if len(fills) > 1 or places * count > _MOST_HEADS:
        return None
    heads = np.arange(places * count, dtype=np.int64) * length
    traced = _traced(views, heads, length)
    if traced is None:
        return None
    at, inside = traced[0].reshape(places, count), traced[1].reshape(places, count)
    joined = _together(at, inside, length)
    at, inside, length = at[:, ::joined], inside[:, ::joined], length * joined
    starts, which = np.unique(at[inside], return_inverse=True)
    table = np.full(at.shape, _OUTSIDE, np.int32)
    table[inside] = which
    return Runs(0, starts.astype(np.int64), table, length, fills.pop() if fills else 0)


def _together(at: I64, inside: _Bools, length: int) -> int:
    """Return how many neighbouring runs of each row always follow one another inside the row."""
    count = at.shape[1]
    follows = (inside[:, 1:] & inside[:, :-1] & (np.diff(at, axis=1) == length)).all(axis=0)
    for together in range(count, 1, -1):
        if count % together == 0:
            ends = np.arange(1, count) % together == 0
            if (follows | ends).all():
                return together
    return 1
