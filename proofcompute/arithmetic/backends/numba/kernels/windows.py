"""Multiply rows that are read through views, block by block, with their windows never held as a whole.

A row of the product consists of *runs*: so many elements that lie one after the other in a row of x, or that
a margin fills (:mod:`..windows` finds them). Windows share runs, so the largest element of each run is found
once, and that of a window is the largest of its runs. A block of windows is quantised as it is gathered, and
multiplied while it is in the cache.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.arguments import ABOVE, NOT_BELOW
from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import emitted, helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import SMALL_ROWS, TILE_COLUMNS, TILE_ROWS
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.kernels.products import PANEL_PAIRS, fill_panel, scaled
from proofcompute.arithmetic.backends.numba.kernels.row import quantise_into
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.backends.scalar.functions import (
    FINITE_BITS,
    absolute_bits,
    from_bits,
    quantised,
    reciprocal,
)

__all__ = [
    "TILE_COLUMNS",
    "end_rows",
    "fill_panels",
    "finish_both",
    "finish_rows",
    "linear_windows",
    "quantise_place",
    "run_maxima",
]

_tile, _small_tile = (emitted("narrow", "tile_of", rows) for rows in (TILE_ROWS, SMALL_ROWS))

_f32, _i8, _i16, _i32, _i64 = types.float32, types.int8, types.int16, types.int32, types.int64
_ZERO: Final = np.float32(0)


@kernel(types.void(_i64, _i64, read(_i8, 3), write(_i16, 5)))
def fill_panels(a: Any, b: Any, w: Any, panels: Any) -> None:
    """Copy the channels of panels a..b of w [limbs, m, d] to panels [limbs, ., pairs, TILE_COLUMNS, 2]."""
    limbs, m, d = w.shape
    for p in range(a, b):
        j = p * TILE_COLUMNS
        for limb in range(limbs):
            fill_panel(w, (limb * m + j) * d, d, min(TILE_COLUMNS, m - j), d, panels[limb, p])


@kernel(types.boolean(_i64, _i64, read(_f32, 2), read(_i64, 1), _i64, write(_i32, 2)))
def run_maxima(a: Any, b: Any, x: Any, starts: Any, length: Any, tops: Any) -> Any:
    """Write the bits of the largest |x| of runs a..b, counted row after row, to tops [n, runs].

    Return False if one is not finite.
    """
    runs = starts.size
    most = np.int32(0)
    for u in range(a, b):
        i = u // runs
        r = u - i * runs
        run = x[i, starts[r] : starts[r] + length]
        top = np.int32(0)
        for j in range(run.size):
            bits = absolute_bits(run[j])
            top = bits if bits > top else top
        tops[i, r] = top
        most = top if top > most else most
    return most < FINITE_BITS


@helper
def _gather(x: Any, starts: Any, ids: Any, length: Any, fill: Any, tops: Any, levels: Any, q: Any) -> Any:
    """Quantise one window of the row x into q, and return its scale; all of its runs are finite."""
    top = np.int32(0)
    for r in range(ids.size):
        bits = tops[ids[r]] if ids[r] >= 0 else absolute_bits(fill)
        top = bits if bits > top else top
    largest = from_bits(top)
    ratio = reciprocal(levels, largest)
    outside = np.int16(quantised(fill, ratio))
    for r in range(ids.size):
        to = q[r * length : (r + 1) * length]
        if ids[r] < 0:
            to[:] = outside
        else:
            run = x[starts[ids[r]] : starts[ids[r]] + length]
            for j in range(to.size):
                to[j] = np.int16(quantised(run[j], ratio))
    return largest / levels if ratio > _ZERO else _ZERO


@helper
def quantise_place(
    x: Any, place: Any, starts: Any, table: Any, length: Any, fill: Any, tops: Any, levels: Any, q: Any
) -> Any:
    """Quantise the row of a product with this number into q int16 [>= d], and return its scale.

    The scale is -1 if the row is not finite. :func:`linear_windows` says what the arguments are.
    """
    places, runs = table.shape
    if places == 0:
        return quantise_into(x[place], levels, q)
    i = place // places
    ids = table[place - i * places]
    if tops.size == 0 and ids[0] >= 0:
        start = starts[ids[0]]
        return quantise_into(x[i, start : start + length], levels, q)
    return _gather(x[i], starts, ids, length, fill, tops[i], levels, q[: length * runs])


@helper
def _multiply(q: Any, n: Any, panel: Any, first: Any, pairs: Any, sums: Any) -> None:
    """Set sums int32 [., TILE_COLUMNS] to n rows of q times pairs first..first + pairs of a panel."""
    sums[:] = 0
    stride = q.shape[1]
    part = panel[first:]
    t = 0
    while t + TILE_ROWS <= n:
        _tile(q, t * stride + 2 * first, stride, part, pairs, sums, t * TILE_COLUMNS)
        t += TILE_ROWS
    while t < n:
        _small_tile(q, t * stride + 2 * first, stride, part, pairs, sums, t * TILE_COLUMNS)
        t += SMALL_ROWS


# These loops run over whole slices by one index, since only such loops become vectors.
@helper
def finish_rows(sums: Any, sx: Any, sw: Any, bias: Any, out: Any, first: Any, n: Any, j: Any) -> None:
    """Turn the sums of one limb of weights, whose channels start at j, into floats of rows of out."""
    end = j + TILE_COLUMNS
    scales, biases = sw[j:end], bias[j:end]
    for t in range(n):
        row, scale, to = sums[t], sx[t], out[first + t, j:end]
        for c in range(to.size):
            to[c] = scaled(row[c], scale * scales[c], c, biases)


@helper
def finish_both(
    high: Any, low: Any, sx: Any, sw: Any, bias: Any, out: Any, first: Any, n: Any, j: Any
) -> None:
    """Do what :func:`finish_rows` does for 256 high + low."""
    end = j + TILE_COLUMNS
    scales, biases = sw[j:end], bias[j:end]
    for t in range(n):
        upper, lower, scale, to = high[t], low[t], sx[t], out[first + t, j:end]
        for c in range(to.size):
            whole = np.int64(upper[c]) * 256 + np.int64(lower[c])
            to[c] = scaled(whole, scale * scales[c], c, biases)


@helper
def _in_parts(q: Any, n: Any, panels: Any, p: Any, sums: Any, total: Any) -> None:
    """Set total int64 [., TILE_COLUMNS] to n rows of q times panel p of all limbs, part after part."""
    limbs, _, pairs = panels.shape[:3]
    total[:] = 0
    for limb in range(limbs):
        for a in range(0, pairs, PANEL_PAIRS):
            _multiply(q, n, panels[limb, p], a, min(PANEL_PAIRS, pairs - a), sums)
            for t in range(n):
                row, to = sums[t], total[t]
                for c in range(to.size):
                    to[c] += np.int64(row[c])
        if limb + 1 < limbs:
            for t in range(n):
                to = total[t]
                for c in range(to.size):
                    to[c] *= 256


@helper
def end_rows(out: Any, rest: Any, floor: Any, first: Any, n: Any, j: Any) -> None:
    """Add rows of rest to channels j.. of rows of out, if there are any, then do what ``floor`` says."""
    end = j + TILE_COLUMNS
    for t in range(n):
        to = out[first + t, j:end]
        if rest.size:
            other = rest[first + t, j:end]
            for c in range(to.size):
                to[c] = to[c] + other[c]
        if floor == ABOVE:
            for c in range(to.size):
                to[c] = to[c] if to[c] > _ZERO else _ZERO
        elif floor == NOT_BELOW:
            for c in range(to.size):
                to[c] = _ZERO if to[c] <= _ZERO else to[c]


@kernel(
    types.boolean(
        _i64,
        _i64,
        read(_f32, 2),
        read(_i64, 1),
        read(_i32, 2),
        _i64,
        _f32,
        read(_i32, 2),
        _f32,
        read(_i16, 5),
        read(_f32, 1),
        read(_f32, 1),
        read(_f32, 2),
        _i64,
        write(_f32, 2),
        _i64,
    )
)
def linear_windows(
    a: Any,
    b: Any,
    x: Any,
    starts: Any,
    table: Any,
    length: Any,
    fill: Any,
    tops: Any,
    levels: Any,
    panels: Any,
    sw: Any,
    bias: Any,
    rest: Any,
    floor: Any,
    out: Any,
    block: Any,
) -> Any:
    """Compute blocks a..b, of so many rows, of out [n places, m]; bias has shape [m] or [0].

    Then rest [n places, m] or [0, 0] is added. The ``floor`` is 0, or ABOVE or NOT_BELOW of
    :mod:`..arguments`, which say what becomes of results that are not above 0.

    x is [n, width], and table [places, runs] says which runs of ``length`` elements a window has, -1 for one
    that is filled. A table without places says that rows of x are multiplied as they are. tops are those of
    :func:`run_maxima`; without any, a window has one run. Return False if a row is not finite.
    """
    limbs, count, pairs = panels.shape[:3]
    q = np.zeros((block, 2 * pairs), np.int16)
    sx = np.empty(block, np.float32)
    sums = np.empty((limbs, block, TILE_COLUMNS), np.int32)
    whole = np.empty((block if pairs > PANEL_PAIRS else 0, TILE_COLUMNS), np.int64)
    good = True
    for u in range(a, b):
        first = u * block
        n = min(block, out.shape[0] - first)
        for t in range(n):
            sx[t] = quantise_place(x, first + t, starts, table, length, fill, tops, levels, q[t])
            good &= sx[t] >= _ZERO
        for p in range(count):
            j = p * TILE_COLUMNS
            if pairs > PANEL_PAIRS:
                _in_parts(q, n, panels, p, sums[0], whole)
                finish_rows(whole, sx, sw, bias, out, first, n, j)
            else:
                for limb in range(limbs):
                    _multiply(q, n, panels[limb, p], 0, pairs, sums[limb])
                if limbs == 2:
                    finish_both(sums[0], sums[1], sx, sw, bias, out, first, n, j)
                else:
                    finish_rows(sums[0], sx, sw, bias, out, first, n, j)
            if rest.size or floor:
                end_rows(out, rest, floor, first, n, j)
    return good
