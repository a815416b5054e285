"""Compute ``product`` and ``rescale``: products of integers, and floats from their sums.

For one row (decoding), each weight is read once, row by row of the matrix, at the speed of memory. For a few
rows, patches (:mod:`..codegen.patch`) take each weight once for several rows. For many rows, the weights of
TILE_COLUMNS output channels at a time are copied into a *panel* of int16 pairs, and the sums of TILE_ROWS
rows stay in registers.

Two limbs of x cost as much as one: q = 256 hi + lo is an int16, and q . w = 256 (hi . w) + lo . w exactly.
Two limbs of w take two passes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import emitted, helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import (
    DOT_COLUMNS,
    GROUP,
    PATCH_CHANNELS,
    PATCH_COLUMNS,
    PATCH_LANES,
    PATCH_ROWS,
    PATCHED_ROWS,
    SMALL_ROWS,
    STEP,
    TILE_COLUMNS,
    TILE_PAIRS,
    TILE_ROWS,
)
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel

__all__ = [
    "BLOCK_SUMS",
    "GROUP",
    "PANEL_PAIRS",
    "PATCHED_ROWS",
    "channels_together",
    "fill_panel",
    "multiply_tiles",
    "product_few",
    "product_one",
    "product_panels",
    "rescale",
    "rows_together",
    "scaled",
    "sum_of_channel",
    "sums_of_block",
    "sums_of_panel",
    "widen",
]

PANEL_PAIRS: Final = TILE_PAIRS
"""The number of pairs of columns that a panel holds."""
_HALF: Final = TILE_COLUMNS // 2

_BLOCK_BYTES: Final = 1 << 14
"""Bytes of weights that stay in the first level of the cache while all rows are multiplied with them."""
_BLOCK_CHANNELS: Final = 8 * GROUP
"""Most channels of such a block."""
_LARGE, _MIDDLE, _SMALL = PATCH_ROWS
_LARGE_CHANNELS, _MIDDLE_CHANNELS, _SMALL_CHANNELS = PATCH_CHANNELS
_STEP: Final = 2 * PATCH_LANES
_AHEAD: Final = 1 << 13
"""Bytes by which weights are prefetched in advance."""
BLOCK_SUMS: Final = _BLOCK_CHANNELS * _LARGE + PATCH_LANES
"""The number of sums that :func:`sums_of_block` needs room for."""

large, middle, small = (
    emitted("patch", "patch", r, c) for r, c in zip(PATCH_ROWS, PATCH_CHANNELS, strict=True)
)
large_one, middle_one, small_one = (emitted("patch", "patch", r, 1) for r in PATCH_ROWS)
dot, tile, small_tile, transpose_block = (
    emitted("tile", name) for name in ("dot", "tile", "small_tile", "transpose_block")
)

_f32, _i8, _i16, _i32, _i64 = types.float32, types.int8, types.int16, types.int32, types.int64


# -- operands ----------------------------------------------------------------------------------------------
@kernel(types.void(_i64, _i64, read(_i8, 2), write(_i16, 2)))
def widen(a: Any, b: Any, x: Any, out: Any) -> None:
    """Copy rows a..b of x int8 [n, d] into out int16 [>= n, >= d]."""
    for t in range(a, b):
        row = x[t]
        to = out[t]
        for i in range(row.size):
            to[i] = row[i]


# -- sums ------------------------------------------------------------------------------------------------
@helper
def sum_of_channel(q: Any, t: Any, w: Any, j: Any) -> Any:
    """Return the product of row t of q and channel j of w [limbs, m, d], with limbs combined."""
    limbs, m, d = w.shape
    at = t * q.shape[1]
    whole = d // STEP * STEP
    value = np.int64(0)
    for limb in range(limbs):
        first = (limb * m + j) * d
        value *= 256
        for a in range(0, whole, DOT_COLUMNS):
            value += dot(q, at + a, w, first + a, min(DOT_COLUMNS, whole - a) // STEP)
        for i in range(whole, d):
            value += np.int64(q[t, i]) * np.int64(w[limb, j, i])
    return value


@helper
def channels_together(d: Any) -> Any:
    """Return how many channels of d columns make a block."""
    return min(_BLOCK_CHANNELS, max(GROUP, _BLOCK_BYTES // max(d, 1) // GROUP * GROUP))


@helper
def rows_together(rows: Any) -> Any:
    """Return how many rows :func:`sums_of_block` takes of so many; it may be one more than there are."""
    if rows >= _LARGE - 1:
        return _LARGE
    return _MIDDLE if rows >= _MIDDLE - 1 else _SMALL


@helper
def sums_of_block(q: Any, t: Any, rows: Any, w: Any, j: Any, channels: Any, sums: Any) -> None:
    """Set sums[c rows + r] to row t + r of q times channel j + c of w [limbs, m, d], with limbs combined.

    ``rows`` is a result of :func:`rows_together`, and q int16 [., >= d] has all these rows. ``channels`` is
    at most the result of :func:`channels_together`. sums is int64 [BLOCK_SUMS].
    """
    limbs, m, d = w.shape
    stride = q.shape[1]
    whole = d // _STEP * _STEP
    sums[: channels * rows] = 0
    for limb in range(limbs):
        first = (limb * m + j) * d
        if limb:
            for k in range(channels * rows):
                sums[k] *= 256
        for a in range(0, whole, PATCH_COLUMNS):
            steps = min(PATCH_COLUMNS, whole - a) // _STEP
            at = t * stride + a
            c = 0
            if rows == _LARGE:
                ahead = _AHEAD + a * (_LARGE_CHANNELS - 1)  # all bytes of the channels, part after part
                while c + _LARGE_CHANNELS <= channels:
                    large(q, at, stride, w, first + c * d + a, d, steps, ahead, sums, c * rows)
                    c += _LARGE_CHANNELS
                while c < channels:
                    large_one(q, at, stride, w, first + c * d + a, d, steps, _AHEAD, sums, c * rows)
                    c += 1
            elif rows == _MIDDLE:
                ahead = _AHEAD + a * (_MIDDLE_CHANNELS - 1)
                while c + _MIDDLE_CHANNELS <= channels:
                    middle(q, at, stride, w, first + c * d + a, d, steps, ahead, sums, c * rows)
                    c += _MIDDLE_CHANNELS
                while c < channels:
                    middle_one(q, at, stride, w, first + c * d + a, d, steps, _AHEAD, sums, c * rows)
                    c += 1
            else:
                ahead = _AHEAD + a * (_SMALL_CHANNELS - 1)
                while c + _SMALL_CHANNELS <= channels:
                    small(q, at, stride, w, first + c * d + a, d, steps, ahead, sums, c * rows)
                    c += _SMALL_CHANNELS
                while c < channels:
                    small_one(q, at, stride, w, first + c * d + a, d, steps, _AHEAD, sums, c * rows)
                    c += 1
        for i in range(whole, d):
            for c in range(channels):
                weight = np.int64(w[limb, j + c, i])
                for r in range(rows):
                    sums[c * rows + r] += np.int64(q[t + r, i]) * weight


@helper
def fill_panel(w: Any, first: Any, stride: Any, count: Any, columns: Any, panel: Any) -> Any:
    """Set panel[i, c, e] = w[first + c stride + 2i + e] for c < count and 2i + e < columns, else 0.

    w is int8 and indexed as if flat; panel is int16 [., TILE_COLUMNS, 2]. Return the number of pairs filled.
    """
    pairs = (columns + 1) // 2
    flat = w.reshape(w.size)
    for half in range(0, TILE_COLUMNS, _HALF):
        done = 0
        if count >= half + _HALF:
            while done + STEP <= columns:
                to = done * TILE_COLUMNS + 2 * half
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
    """Add to out[t, c] the sum over i, e of q[at + t stride + 2i + e] * panel[i, c, e], for t < rows.

    The rows of q and of out int64 [., TILE_COLUMNS] go on to a multiple of SMALL_ROWS.
    """
    t = 0
    while t + TILE_ROWS <= rows:
        tile(q, at + t * stride, stride, panel, pairs, out, t * TILE_COLUMNS)
        t += TILE_ROWS
    while t < rows:
        small_tile(q, at + t * stride, stride, panel, pairs, out, t * TILE_COLUMNS)
        t += SMALL_ROWS


@helper
def sums_of_panel(q: Any, n: Any, w: Any, j: Any, panel: Any, sums: Any) -> None:
    """Set sums[t, c] to row t of q times channel j + c of w [limbs, m, d], with limbs combined."""
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
def scaled(value: Any, scale: Any, j: Any, bias: Any) -> Any:
    """Return a sum as a float: times ``scale``, plus the bias of channel j if there is one."""
    y = np.float32(value) * scale
    return y + bias[j] if bias.size else y


@kernel(types.void(_i64, _i64, read(_i16, 2), read(_i8, 3), write(_i32, 2)))
def product_one(a: Any, b: Any, q: Any, w: Any, out: Any) -> None:
    """Compute channels a..b of out int32 [1, m], which is q int16 [>= 1, >= d] times w [1, m, d]."""
    for j in range(a, b):
        out[0, j] = np.int32(sum_of_channel(q, 0, w, j))


@kernel(types.void(_i64, _i64, read(_i16, 2), read(_i8, 3), write(_i32, 2)))
def product_few(a: Any, b: Any, q: Any, w: Any, out: Any) -> None:
    """Compute groups a..b (GROUP channels each) of out int32 [n, m], which is q int16 times w [1, m, d].

    q is [n rounded up to even, >= d], or has more rows.
    """
    n = len(out)
    sums = np.empty(BLOCK_SUMS, np.int64)
    block = channels_together(w.shape[2])
    end = min(b * GROUP, out.shape[1])
    for j in range(a * GROUP, end, block):
        channels = min(block, end - j)
        t = 0
        while t < n:
            rows = rows_together(n - t)
            sums_of_block(q, t, rows, w, j, channels, sums)
            for r in range(min(rows, n - t)):
                for c in range(channels):
                    out[t + r, j + c] = np.int32(sums[c * rows + r])
            t += rows


@kernel(types.void(_i64, _i64, read(_i16, 2), read(_i8, 3), write(_i32, 2)))
def product_panels(a: Any, b: Any, q: Any, w: Any, out: Any) -> None:
    """Compute panels a..b of out int32 [n, m] from q and w [1, m, d].

    q is as in :func:`proofcompute.arithmetic.backends.numba.kernels.linear.linear_panels`.
    """
    n = len(out)
    panel = np.empty((PANEL_PAIRS, TILE_COLUMNS, 2), np.int16)
    sums = np.empty((q.shape[0], TILE_COLUMNS), np.int64)
    for p in range(a, b):
        j = p * TILE_COLUMNS
        sums_of_panel(q, n, w, j, panel, sums)
        for t in range(n):
            row = sums[t]
            to = out[t, j : j + TILE_COLUMNS]
            for c in range(to.size):
                to[c] = np.int32(row[c])


@kernel(
    types.void(
        _i64, _i64, read(_i32, 3), read(_i64, 1), read(_f32, 1), read(_f32, 1), read(_f32, 1), write(_f32, 2)
    )
)
def rescale(a: Any, b: Any, acc: Any, shifts: Any, sx: Any, sw: Any, bias: Any, out: Any) -> None:
    """Compute rows a..b of out [n, m] from accumulator sets [sets, n, m] and their shifts [sets]."""
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
            to[j] = scaled(sums[j], sx[t] * sw[j], j, bias)
