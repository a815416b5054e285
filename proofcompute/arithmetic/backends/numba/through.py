"""Multiply what is seen of rows through views, without holding it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from proofcompute.arithmetic import shapes
from proofcompute.arithmetic.backends.numba.arguments import NO_BIAS, finite
from proofcompute.arithmetic.backends.numba.modules import Module
from proofcompute.arithmetic.backends.numba.primitives import CpuPrimitives
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.windowed import Lies, Windowed, plain, weighted, windowed
from proofcompute.arithmetic.backends.numba.windows import Runs, runs_of
from proofcompute.arithmetic.composed import Composed, evaluated, seen_through
from proofcompute.arithmetic.definition.products import LARGEST
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arithmetic.primitives import Expression, View
from proofcompute.arrays import F32, Array

__all__ = ["CpuThrough"]

_SPLIT_PRODUCTS: Final = 4_000_000
"""Least products of a part for which a thread pays."""
_SPLIT_ELEMENTS: Final = 50_000
"""Least elements to look at for which a thread pays."""
_BLOCK_ROWS: Final = 96
"""Rows that are quantised and multiplied at a time, a multiple of every tile's rows."""
_BLOCK_BYTES: Final = 1 << 18
"""Bytes of quantised rows that stay in the second level of the cache; fewer rows, if they are long."""
_LEAST_ROWS: Final = 12
_PLAIN: Final = Runs(0, np.zeros(0, np.int64), np.zeros((0, 0), np.int32), 0, 0)
"""The runs of rows that are multiplied as they are."""
_NO_TOPS: Final = np.zeros((0, 0), np.int32)
_NOWHERE: Final = Lies(np.zeros(0, np.int64), np.zeros(0, np.int64))
"""Where the weights lie of windows without any."""
_NEEDS_MAXIMA: Final = 2
"""Runs of a row from which on it pays to find the maximum of each run once."""


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
        """Multiply blocks of windows, each gathered and quantised while the block before is forgotten."""
        n, *places, d = shapes.linear_through(x, views, w, limbs, after, others)
        runs = runs_of(tuple(views), math.prod(x.shape[1:])) if views else _PLAIN
        if runs is None or not runs.finite:
            x, runs = seen_through(self, x, views), _PLAIN
        else:
            x = seen_through(self, x, views[: runs.written])
        out = np.empty((n * math.prod(places), w.m), np.float32)
        if out.size:
            wide = d if runs is _PLAIN else math.prod(x.shape[1:])
            self._multiply(np.ascontiguousarray(x).reshape(-1, wide), runs, w, limbs, d, out)
        return evaluated(self, out.reshape(n, *places, w.m), after, others)

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
        found = self._windows_of(kind, axes, expression, inputs, shape, views) if n else None
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

    def _multiply(self, x: F32, runs: Runs, w: Matrix, limbs: int, d: int, out: F32) -> None:
        """Write the product of rows of x, or of their windows, to out [n places, m]."""
        k = self._windows
        columns = k.TILE_COLUMNS
        panels = np.empty((len(w.q), -(-w.m // columns), (d + 1) // 2, columns, 2), np.int16)
        least = _SPLIT_ELEMENTS * 8 // (d * columns)
        threads.split(k.fill_panels, panels.shape[1], least, w.q, panels)
        tops = _NO_TOPS
        if runs.table.shape[1] >= _NEEDS_MAXIMA:
            tops = np.empty((len(x), runs.starts.size), np.int32)
            least = _SPLIT_ELEMENTS // runs.length
            good = threads.split(k.run_maxima, tops.size, least, x, runs.starts, runs.length, tops)
            finite(good, "an input of the quantiser")
        fill = np.array(runs.fill, np.uint32).view(np.float32)[()]
        block = max(_LEAST_ROWS, min(_BLOCK_ROWS, _BLOCK_BYTES // (2 * d) // _LEAST_ROWS * _LEAST_ROWS))
        least = _SPLIT_PRODUCTS // (block * d * w.m * len(w.q))
        seen = (x, runs.starts, runs.table, runs.length, fill, tops, LARGEST[limbs])
        bias = NO_BIAS if w.bias is None else w.bias
        good = threads.split(
            k.linear_windows, -(-len(out) // block), least, *seen, panels, w.scale, bias, out, block
        )
        finite(good, "an input of the quantiser")
