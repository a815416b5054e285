"""Quantised products: ``quantise``, ``product``, ``rescale`` and the fused ``linear``.

Few rows (decoding) read each weight once, row by row of the matrix, at the speed of memory. Many rows copy 32
output channels at a time into a *panel* of int16 pairs and keep sums of 12 rows in registers.

Two limbs of x cost as much as one: q = 256 hi + lo is an int16, and q . w = 256 (hi . w) + lo . w exactly.
Two limbs of w are two passes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import prange, types

from proofcompute.backends.numba.cache import helper, kernel, read, write
from proofcompute.backends.numba.tile import (
    DOT_COLUMNS,
    DOT_ROWS,
    PAIRS,
    SMALL_ROWS,
    STEP,
    TILE_COLUMNS,
    TILE_ROWS,
    dot,
    small_tile,
    tile,
    transpose_block,
)
from proofcompute.backends.scalar.functions import (
    FINITE_BITS,
    absolute_bits,
    from_bits,
    reciprocal,
    round_even,
)

__all__ = [
    "PANEL_PAIRS",
    "fill_panel",
    "linear_few",
    "linear_few_parallel",
    "linear_panels",
    "multiply_tiles",
    "product_few",
    "product_panels",
    "quantise_into",
    "quantise_rows",
    "rescale",
    "split_limbs",
    "widen",
]

PANEL_PAIRS: Final = PAIRS
"""Pairs of columns that a panel holds."""
_HALF: Final = TILE_COLUMNS // 2
_LEVELS1: Final = np.float32(127)
_LEVELS2: Final = np.float32(32639)

_f32, _i8, _i16, _i32, _i64 = types.float32, types.int8, types.int16, types.int32, types.int64


# -- the quantiser ---------------------------------------------------------------------------------------
@helper
def quantise_into(x: Any, levels: Any, q: Any) -> Any:
    """One row x float32 [d] to q int16 [>= d]. Returns its scale, or -1 if x is not finite."""
    top = np.int32(0)
    for i in range(x.size):
        bits = absolute_bits(x[i])
        top = bits if bits > top else top
    if top >= FINITE_BITS:
        return np.float32(-1)
    largest = from_bits(top)
    r = reciprocal(levels, largest)
    for i in range(x.size):
        q[i] = np.int16(round_even(x[i] * r))
    return largest / levels if r > np.float32(0) else np.float32(0)


@helper
def _quantise(x: Any, limbs: Any, q: Any, scales: Any) -> Any:
    levels = _LEVELS1 if limbs == 1 else _LEVELS2
    for t in range(x.shape[0]):
        scales[t] = quantise_into(x[t], levels, q[t])
        if scales[t] < np.float32(0):
            return False
    return True


@kernel(types.boolean(_i64, _i64, read(_f32, 2), _i64, write(_i16, 2), write(_f32, 1)))
def quantise_rows(a: Any, b: Any, x: Any, limbs: Any, q: Any, scales: Any) -> Any:
    """Rows a..b of x [n, d] into q int16 [>= n, >= d] and scales [n]. False if one is not finite."""
    return _quantise(x[a:b], limbs, q[a:b], scales[a:b])


@kernel(types.void(_i64, _i64, read(_i16, 2), write(_i8, 3)))
def split_limbs(a: Any, b: Any, q: Any, out: Any) -> None:
    """Rows a..b of q [>= n, d] into out int8 [limbs, n, d]: hi = (q + 128) >> 8 and lo = q - 256 hi."""
    limbs, _, d = out.shape
    for t in range(a, b):
        row = q[t]
        low = out[limbs - 1, t]
        for i in range(d):
            low[i] = np.int8(row[i])
        if limbs == 2:
            high = out[0, t]
            for i in range(d):
                high[i] = np.int8((np.int32(row[i]) + np.int32(128)) >> np.int32(8))


@kernel(types.void(_i64, _i64, read(_i8, 2), write(_i16, 2)))
def widen(a: Any, b: Any, x: Any, out: Any) -> None:
    """Rows a..b of x int8 [n, d] into out int16 [>= n, >= d]."""
    for t in range(a, b):
        row = x[t]
        to = out[t]
        for i in range(row.size):
            to[i] = row[i]


# -- sums ------------------------------------------------------------------------------------------------
@helper
def _sums_of_group(q: Any, t: Any, w: Any, j: Any, sums: Any) -> None:
    """sums[r] = row t of q times channel j + r of w [limbs, m, d], limbs combined."""
    limbs, m, d = w.shape
    stride = q.shape[1]
    sums[:] = 0
    whole = d // STEP * STEP
    for limb in range(limbs):
        first = (limb * m + j) * d
        for r in range(DOT_ROWS):
            sums[r] *= 256
        for a in range(0, whole, DOT_COLUMNS):
            steps = min(DOT_COLUMNS, whole - a) // STEP
            dot(q, t * stride + a, w, first + a, d, steps, sums, 0)
        for r in range(DOT_ROWS):
            for i in range(whole, d):
                sums[r] += np.int64(q[t, i]) * np.int64(w[limb, j + r, i])


@helper
def _sum_of_one(q: Any, t: Any, w: Any, j: Any) -> Any:
    value = np.int64(0)
    for limb in range(w.shape[0]):
        value *= 256
        for i in range(w.shape[2]):
            value += np.int64(q[t, i]) * np.int64(w[limb, j, i])
    return value


@helper
def fill_panel(w: Any, first: Any, stride: Any, count: Any, columns: Any, panel: Any) -> Any:
    """panel[i, c, e] = w[first + c stride + 2i + e] for c < count and 2i + e < columns, else 0.

    w int8, flat index; panel int16 [PANEL_PAIRS, TILE_COLUMNS, 2]. Returns the pairs filled.
    """
    pairs = (columns + 1) // 2
    flat = w.reshape(w.size)
    for half in range(0, TILE_COLUMNS, _HALF):
        done = 0
        if count >= half + _HALF:
            while done + STEP <= columns:
                to = (done // 2 * TILE_COLUMNS + half) * 2
                transpose_block(w, first + half * stride + done, stride, panel, to)
                done += STEP
        for i in range(done // 2, pairs):
            for c in range(half, half + _HALF):
                for e in range(2):
                    inside = c < count and 2 * i + e < columns
                    panel[i, c, e] = flat[first + c * stride + 2 * i + e] if inside else 0
    return pairs


@helper
def multiply_tiles(q: Any, at: Any, stride: Any, rows: Any, panel: Any, pairs: Any, out: Any) -> None:
    """out[t, c] += sum over i, e of q[at + t stride + 2i + e] * panel[i, c, e] for t < rows.

    q has rows up to a multiple of SMALL_ROWS, and so has out int64 [., TILE_COLUMNS].
    """
    t = 0
    while t + TILE_ROWS <= rows:
        tile(q, at + t * stride, stride, panel, pairs, out, t * TILE_COLUMNS)
        t += TILE_ROWS
    while t < rows:
        small_tile(q, at + t * stride, stride, panel, pairs, out, t * TILE_COLUMNS)
        t += SMALL_ROWS


@helper
def _sums_of_panel(q: Any, n: Any, w: Any, j: Any, panel: Any, sums: Any) -> None:
    """sums[t, c] = row t of q times channel j + c of w [limbs, m, d], limbs combined."""
    limbs, m, d = w.shape
    sums[:] = 0
    for limb in range(limbs):
        if limb:
            for t in range(n):
                for c in range(TILE_COLUMNS):
                    sums[t, c] *= 256
        for a in range(0, d, 2 * PANEL_PAIRS):
            columns = min(2 * PANEL_PAIRS, d - a)
            pairs = fill_panel(w, (limb * m + j) * d + a, d, min(TILE_COLUMNS, m - j), columns, panel)
            multiply_tiles(q, a, q.shape[1], n, panel, pairs, sums)


# -- results ---------------------------------------------------------------------------------------------
@helper
def _scaled(value: Any, scale: Any, j: Any, bias: Any) -> Any:
    y = np.float32(value) * scale
    return y + bias[j] if bias.size else y


@helper
def _linear_group(first: Any, last: Any, q: Any, sx: Any, w: Any, sw: Any, bias: Any, out: Any) -> None:
    """Channels first..last of all rows."""
    sums = np.empty(DOT_ROWS, np.int64)
    groups = first + (last - first) // DOT_ROWS * DOT_ROWS
    for j in range(first, groups, DOT_ROWS):
        for t in range(sx.size):
            _sums_of_group(q, t, w, j, sums)
            for r in range(DOT_ROWS):
                out[t, j + r] = _scaled(sums[r], sx[t] * sw[j + r], j + r, bias)
    for j in range(groups, last):
        for t in range(sx.size):
            out[t, j] = _scaled(_sum_of_one(q, t, w, j), sx[t] * sw[j], j, bias)


_LINEAR: Final = (read(_i8, 3), read(_f32, 1), read(_f32, 1))


@kernel(types.boolean(read(_f32, 2), *_LINEAR, _i64, write(_f32, 2)))
def linear_few(x: Any, w: Any, sw: Any, bias: Any, limbs: Any, out: Any) -> Any:
    """x float32 [n, d] times w [limbs, m, d] into out [n, m]; bias [m] or [0]. False if x is not finite."""
    n, d = x.shape
    q = np.empty((n, d), np.int16)
    sx = np.empty(n, np.float32)
    if not _quantise(x, limbs, q, sx):
        return False
    _linear_group(0, w.shape[1], q, sx, w, sw, bias, out)
    return True


@kernel(types.boolean(read(_f32, 2), *_LINEAR, _i64, _i64, write(_f32, 2)), parallel=True)
def linear_few_parallel(x: Any, w: Any, sw: Any, bias: Any, limbs: Any, parts: Any, out: Any) -> Any:
    """:func:`linear_few` with the channels in ``parts`` parts, each on a thread."""
    n, d = x.shape
    q = np.empty((n, d), np.int16)
    sx = np.empty(n, np.float32)
    if not _quantise(x, limbs, q, sx):
        return False
    groups = w.shape[1] // DOT_ROWS
    for part in prange(parts):
        first = groups * part // parts * DOT_ROWS
        last = w.shape[1] if part == parts - 1 else groups * (part + 1) // parts * DOT_ROWS
        _linear_group(first, last, q, sx, w, sw, bias, out)
    return True


@kernel(types.void(_i64, _i64, read(_i16, 2), read(_f32, 1), *_LINEAR, write(_f32, 2)))
def linear_panels(a: Any, b: Any, q: Any, sx: Any, w: Any, sw: Any, bias: Any, out: Any) -> None:
    """Panels a..b (TILE_COLUMNS channels each) of out [n, m].

    q int16 [n rounded up to SMALL_ROWS, d rounded up to even], zero beyond d.
    """
    n, m = out.shape
    panel = np.empty((PANEL_PAIRS, TILE_COLUMNS, 2), np.int16)
    sums = np.empty((q.shape[0], TILE_COLUMNS), np.int64)
    for p in range(a, b):
        j = p * TILE_COLUMNS
        _sums_of_panel(q, n, w, j, panel, sums)
        for t in range(n):
            for c in range(min(TILE_COLUMNS, m - j)):
                out[t, j + c] = _scaled(sums[t, c], sx[t] * sw[j + c], j + c, bias)


@kernel(types.void(_i64, _i64, read(_i16, 2), read(_i8, 3), write(_i32, 2)))
def product_few(a: Any, b: Any, q: Any, w: Any, out: Any) -> None:
    """Channels a..b of out int32 [n, m]: q int16 [>= n, >= d] times w [1, m, d]."""
    sums = np.empty(DOT_ROWS, np.int64)
    groups = a + (b - a) // DOT_ROWS * DOT_ROWS
    for j in range(a, groups, DOT_ROWS):
        for t in range(out.shape[0]):
            _sums_of_group(q, t, w, j, sums)
            for r in range(DOT_ROWS):
                out[t, j + r] = np.int32(sums[r])
    for j in range(groups, b):
        for t in range(out.shape[0]):
            out[t, j] = np.int32(_sum_of_one(q, t, w, j))


@kernel(types.void(_i64, _i64, read(_i16, 2), read(_i8, 3), write(_i32, 2)))
def product_panels(a: Any, b: Any, q: Any, w: Any, out: Any) -> None:
    """Panels a..b of out int32 [n, m]; q as in :func:`linear_panels`, w [1, m, d]."""
    n, m = out.shape
    panel = np.empty((PANEL_PAIRS, TILE_COLUMNS, 2), np.int16)
    sums = np.empty((q.shape[0], TILE_COLUMNS), np.int64)
    for p in range(a, b):
        j = p * TILE_COLUMNS
        _sums_of_panel(q, n, w, j, panel, sums)
        for t in range(n):
            for c in range(min(TILE_COLUMNS, m - j)):
                out[t, j + c] = np.int32(sums[t, c])


@kernel(
    types.void(
        _i64, _i64, read(_i32, 3), read(_i64, 1), read(_f32, 1), read(_f32, 1), read(_f32, 1), write(_f32, 2)
    )
)
def rescale(a: Any, b: Any, acc: Any, shifts: Any, sx: Any, sw: Any, bias: Any, out: Any) -> None:
    """Rows a..b of out [n, m] from accumulator sets [sets, n, m] and their shifts [sets]."""
    sets, _, m = acc.shape
    sums = np.empty(m, np.int64)
    for t in range(a, b):
        sums[:] = 0
        for k in range(sets):
            row = acc[k, t]
            for j in range(m):
                sums[j] += np.int64(row[j]) << shifts[k]
        to = out[t]
        for j in range(m):
            to[j] = _scaled(sums[j], sx[t] * sw[j], j, bias)
