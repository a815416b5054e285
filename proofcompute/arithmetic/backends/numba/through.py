"""Multiply what is seen of rows through views, without holding it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from proofcompute.arithmetic import shapes
from proofcompute.arithmetic.backends.numba.arguments import ABOVE, NO_BIAS, NO_RESIDUAL, NOT_BELOW, finite
from proofcompute.arithmetic.backends.numba.modules import Module
from proofcompute.arithmetic.backends.numba.primitives import CpuPrimitives
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.windowed import Lies, Windowed, plain, weighted, windowed
from proofcompute.arithmetic.backends.numba.windows import Runs, runs_of
from proofcompute.arithmetic.composed import Composed, evaluated, seen_through
from proofcompute.arithmetic.definition.products import LARGEST
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arithmetic.primitives import Expression, Term, View
from proofcompute.arrays import F32, Array

__all__ = ["CpuThrough", "block_of"]

_SPLIT_PRODUCTS: Final = 4_000_000
"""Least products of a part for which a thread pays."""
_SPLIT_ELEMENTS: Final = 50_000
"""Least elements to look at for which a thread pays."""
_BLOCK_ROWS: Final = 96
"""Most rows that are quantised and multiplied at a time, a multiple of every tile's rows."""
_EVEN_ROWS: Final = 48
"""Least rows of a block that is made smaller to share rows out evenly; smaller ones read panels too often."""
_EVEN: Final = 50
"""A larger block may have the longest share longer than need be by one part in so many."""
_BLOCK_BYTES: Final = 1 << 20
"""Bytes of quantised rows that are read again for each panel; fewer rows, if they are long. Rows that do not
stay in the second level of the cache cost less than panels that are read for fewer rows."""
_LEAST_ROWS: Final = 12
"""Rows of the smallest block, of which all blocks are multiples, as of every tile's rows."""
_PLAIN: Final = Runs(0, np.zeros(0, np.int64), np.zeros((0, 0), np.int32), 0, 0)
"""The runs of rows that are multiplied as they are."""
_NO_TOPS: Final = np.zeros((0, 0), np.int32)
_NOWHERE: Final = Lies(np.zeros(0, np.int64), np.zeros(0, np.int64))
"""Where the weights lie of windows without any."""
_NEEDS_MAXIMA: Final = 2
"""Runs of a row from which on it pays to find the maximum of each run once."""


class _Ending(NamedTuple):
    """An expression of a product that is evaluated while a block of it is in the cache."""

    added: bool
    """Whether another array is added."""
    floor: int = 0
    """What becomes of what is not above 0: 0, or ABOVE or NOT_BELOW of :mod:`.arguments`."""


def _positive(x: int, first: int) -> tuple[Term, ...]:
    """Return the terms of x where x > 0, else +0, of which the first has this number."""
    zero, above = first, first + 1
    lt, chosen = Term("lt", (zero, x), "bool"), Term("select", (above, x, zero), "f32")
    return Term("constant", (), "f32"), lt, chosen


def _endings() -> dict[Expression, _Ending]:
    """Return the expressions of a product, its sum with another array, and the rectifiers of both."""
    one, two, zero = ("f32",), ("f32", "f32"), Term("constant", (), "f32")
    found = {Expression(one, _positive(0, 1)): _Ending(added=False, floor=ABOVE)}
    for args in ((0, 1), (1, 0)):
        largest, added = Term("max", args, "f32"), Term("add", args, "f32")
        found[Expression(one, (zero, largest))] = _Ending(added=False, floor=NOT_BELOW)
        found[Expression(two, (added,))] = _Ending(added=True)
        found[Expression(two, (added, *_positive(2, 3)))] = _Ending(added=True, floor=ABOVE)
        for both in ((2, 3), (3, 2)):
            last = Term("max", both, "f32")
            for before in ((zero, added), (added, zero)):
                found[Expression(two, (*before, last))] = _Ending(added=True, floor=NOT_BELOW)
    return found


_ENDINGS: Final = _endings()
"""What ends the blocks of residual networks; other expressions are evaluated after the product."""


def _longest(rows: int, block: int, workers: int) -> int:
    """Return the most rows that one of so many threads gets, if they take blocks in turn."""
    blocks = -(-rows // block)
    rounds, others = divmod(blocks - 1, workers)
    # who takes the last block, which may be short, may take it alone in its round
    return rounds * block + (block if others else rows - (blocks - 1) * block)


def block_of(rows: int, most: int, workers: int) -> int:
    """Return the rows of a block, of at most ``most``, with which threads have about equally many rows.

    ``most`` is a multiple of 12, and so is the result. The largest block is chosen with which the longest
    share is nearly the shortest possible, since panels are read once for each block.
    """
    sizes = range(most, min(_EVEN_ROWS, most) - 1, -_LEAST_ROWS)
    longest = [_longest(rows, size, workers) for size in sizes]
    enough = min(longest) + min(longest) // _EVEN
    return next(size for size, share in zip(sizes, longest, strict=True) if share <= enough)


class CpuThrough(CpuPrimitives, Composed):
    """Products of windows."""

    _windows = Module("windows")
    _windowed = Module("windowed")

    def linear_through(
        self,
        x: F32,
        views: Sequence[View],
        w: Matrix,
        limbs: int,
        after: Expression | None = None,
        others: Sequence[Array] = (),
    ) -> Array:
        """Multiply blocks of windows, each gathered and quantised while the block before is forgotten.

        A step that is recorded is recorded one function after the other.
        """
        if self.steps.recording is not None:
            return super().linear_through(x, views, w, limbs, after, others)
        n, *places, d = shapes.linear_through(x, views, w, limbs, after, others)
        runs = runs_of(tuple(views), math.prod(x.shape[1:])) if views else _PLAIN
        if runs is None or not runs.finite:
            x, runs = seen_through(self, x, views), _PLAIN
        else:
            x = seen_through(self, x, views[: runs.written])
        out = np.empty((n * math.prod(places), w.m), np.float32)
        ending, rest = _ENDINGS.get(after) if after is not None else None, NO_RESIDUAL
        if ending is not None and ending.added:
            if others[0].shape == (n, *places, w.m):
                rest = np.ascontiguousarray(others[0]).reshape(out.shape)
            else:
                ending = None
        if out.size:
            wide = d if runs is _PLAIN else math.prod(x.shape[1:])
            rows = np.ascontiguousarray(x).reshape(-1, wide)
            self._multiply(rows, runs, w, limbs, d, rest, ending.floor if ending is not None else 0, out)
        y = out.reshape(n, *places, w.m)
        return y if ending is not None else evaluated(self, y, after, others)

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
        """Reduce windows where they lie, if their elements are those of a row, or products with weights."""
        shapes.evaluate(expression, inputs, n, shape, views)
        left, count = shapes.reduced(kind, expression.terms[-1].dtype, shape, axes)
        usual = n and self.steps.recording is None
        found = self._windows_of(kind, axes, expression, inputs, shape, views) if usual else None
        if found is None or len(inputs[found[0][0]]) != n:
            return super().reduce_of(kind, axes, expression, inputs, n, shape, views)
        order, lies = found
        x, *others = (inputs[i].reshape(len(inputs[i]), -1) for i in order)
        out = np.empty((n * lies.arrays[0].places.size, lies.channels), np.float32)
        least = _SPLIT_ELEMENTS // (count * lies.channels)
        at, apart = lies.arrays[0]
        k = self._windowed
        if kind == "sum":
            w, by = (others[0].reshape(-1), lies.arrays[1]) if others else (NO_BIAS, _NOWHERE)
            spread = int(lies.spread)
            threads.split(k.window_sums, len(out), least, x, at, apart, w, *by, spread, out)
        else:
            turned = int(kind == "min")
            bits = (x.view(np.int32), at, apart, turned, out.view(np.int32))
            threads.split(k.window_maxima, len(out), least, *bits)
        return out.reshape(n, *left)

    @staticmethod
    def _windows_of(
        kind: str,
        axes: Sequence[int],
        expression: Expression,
        inputs: Sequence[Array],
        shape: Sequence[int],
        views: Sequence[View | None],
    ) -> tuple[tuple[int, ...], Windowed] | None:
        """Return the order of the inputs, with the weights last, and where their windows lie."""
        if not (plain(expression) and kind in ("sum", "max", "min")) and not (
            weighted(expression) and kind == "sum"
        ):
            return None
        order = tuple(sorted(range(len(inputs)), key=lambda i: len(inputs[i]) == 1))
        if len(order) == 2 and len(inputs[order[1]]) != 1:
            return None
        seen = views or (None,) * len(inputs)
        for chosen in (order, order[::-1]) if len(inputs[order[0]]) == 1 else (order,):
            rows = tuple((tuple(inputs[i].shape[1:]), seen[i]) for i in chosen)
            lies = windowed(rows, tuple(shape), tuple(axes))
            if lies is not None:
                return chosen, lies
        return None

    def _multiply(
        self, x: F32, runs: Runs, w: Matrix, limbs: int, d: int, rest: F32, floor: int, out: F32
    ) -> None:
        """Write the product of rows of x, or of their windows, and its ending to out [n places, m]."""
        k = self._windows
        short = limbs == 1 and d <= self._short.MOST_COLUMNS
        columns, factors, element = k.TILE_COLUMNS, 2, np.int16
        if short:
            factors, element = self._short.FACTORS, self._short.ELEMENTS
        panels = np.empty((len(w.q), -(-w.m // columns), -(-d // factors), columns, factors), element)
        least = _SPLIT_ELEMENTS * 8 // (d * columns)
        weights: tuple[Array, ...] = (panels,)
        if short:
            weights = (panels, np.empty((*panels.shape[:2], columns), np.int32))
        fill_panels = self._short.fill_short if short else k.fill_panels
        threads.split(fill_panels, panels.shape[1], least, w.q, *weights)
        tops = _NO_TOPS
        if runs.table.shape[1] >= _NEEDS_MAXIMA:
            tops = np.empty((len(x), runs.starts.size), np.int32)
            least = _SPLIT_ELEMENTS // runs.length
            good = threads.split(k.run_maxima, tops.size, least, x, runs.starts, runs.length, tops)
            finite(good, "an input of the quantiser")
        fill = np.array(runs.fill, np.uint32).view(np.float32)[()]
        most = max(_LEAST_ROWS, min(_BLOCK_ROWS, _BLOCK_BYTES // (2 * d) // _LEAST_ROWS * _LEAST_ROWS))
        block = block_of(len(out), most, threads.size())
        least = _SPLIT_PRODUCTS // (block * d * w.m * len(w.q))
        seen = (x, runs.starts, runs.table, runs.length, fill, tops, LARGEST[limbs])
        bias = NO_BIAS if w.bias is None else w.bias
        good = threads.split(
            self._short.linear_short if short else k.linear_windows, -(-len(out) // block), least,
            *seen, *weights, w.scale, bias, rest, floor, out, block,
        )  # fmt: skip
        finite(good, "an input of the quantiser")
