"""Multiply rows of one limb: whole products with weights of one or two limbs, and products of a batch.

The sum of a product of bytes fits int32 for up to MOST_COLUMNS columns, so that it is added up in int32
lanes all along, modulo 2^32. Where the target multiplies bytes (``BYTES``), rows are uint8, plus 128, and
panels int8; else both are int16. FACTORS elements of a row go into a lane at a time.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import emitted, helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import (
    BYTES,
    FACTORS,
    SMALL_ROWS,
    TILE_COLUMNS,
    TILE_ROWS,
)
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.kernels.windows import (
    end_rows,
    finish_both,
    finish_rows,
    quantise_place,
)
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel

__all__ = [
    "BLOCK",
    "ELEMENTS",
    "FACTORS",
    "MOST_COLUMNS",
    "TILE_COLUMNS",
    "contract_short",
    "fill_short",
    "linear_short",
]

MOST_COLUMNS: Final = 1 << 17
"""128 * 128 * (2^17 - 1) < 2^31, and 127 * 128 * 2^17 too."""
ELEMENTS: Final = np.int8 if BYTES else np.int16
"""The type of a panel."""
_ROWS: Final = np.uint8 if BYTES else np.int16
_PLUS: Final = np.int16(128 if BYTES else 0)
_HALF: Final = TILE_COLUMNS // 2
_PART: Final = 128
"""Steps of a panel that stay in the first level of the cache while all rows of a block are multiplied."""
_STRIDE: Final = 16 * FACTORS
"""Columns that are transposed at a time."""
BLOCK: Final = 96
"""Rows of a block of a product of a batch, a multiple of every tile's rows."""

_transpose = emitted("quads", "transpose_quads") if BYTES else emitted("tile", "transpose_block")
_tile, _small_tile = (
    emitted("quads", "quads_of", rows) if BYTES else emitted("narrow", "tile_of", rows)
    for rows in (TILE_ROWS, SMALL_ROWS)
)

_f32, _i8, _i32, _i64 = types.float32, types.int8, types.int32, types.int64
_panel = types.int8 if BYTES else types.int16
_ZERO: Final = np.float32(0)


@helper
def _fill(w: Any, first: Any, stride: Any, count: Any, columns: Any, panel: Any, start: Any) -> None:
    """Set panel[i, c, e] = w[first + c stride + F i + e] for c < count and F i + e < columns, else 0.

    w is int8 and indexed as if flat; panel is [steps, TILE_COLUMNS, F = FACTORS]. start int32 [TILE_COLUMNS]
    becomes that of which the sums of each channel begin.
    """
    flat = w.reshape(w.size)
    for half in range(0, TILE_COLUMNS, _HALF):
        done = 0
        if count >= half + _HALF:
            while done + _STRIDE <= columns:
                to = done * TILE_COLUMNS + FACTORS * half
                _transpose(w, first + half * stride + done, stride, panel, to)
                done += _STRIDE
        for i in range(done // FACTORS, panel.shape[0]):
            for c in range(half, half + _HALF):
                for e in range(FACTORS):
                    inside = c < count and FACTORS * i + e < columns
                    panel[i, c, e] = flat[first + c * stride + FACTORS * i + e] if inside else 0
    start[:] = 0
    if _PLUS:
        for c in range(count):
            row = flat[first + c * stride : first + c * stride + columns]
            total = np.int32(0)
            for i in range(row.size):
                total += np.int32(row[i])
            start[c] = -np.int32(_PLUS) * total


@helper
def _multiply(q: Any, n: Any, panel: Any, start: Any, sums: Any) -> None:
    """Set sums int32 [., TILE_COLUMNS] to n rows of q times a panel."""
    steps, stride = panel.shape[0], q.shape[1]
    for t in range(n):
        sums[t] = start
    for a in range(0, steps, _PART):
        part, count = panel[a:], min(_PART, steps - a)
        t = 0
        while t + TILE_ROWS <= n:
            _tile(q, t * stride + FACTORS * a, stride, part, count, sums, t * TILE_COLUMNS)
            t += TILE_ROWS
        while t < n:
            _small_tile(q, t * stride + FACTORS * a, stride, part, count, sums, t * TILE_COLUMNS)
            t += SMALL_ROWS


@helper
def _store(x: Any, to: Any) -> None:
    """Store integers of one limb as a row to multiply."""
    for i in range(x.size):
        to[i] = _ROWS(np.int16(x[i]) + _PLUS)


@kernel(types.void(_i64, _i64, read(_i8, 3), write(_panel, 5), write(_i32, 3)))
def fill_short(a: Any, b: Any, w: Any, panels: Any, starts: Any) -> None:
    """Copy the channels of panels a..b of w [limbs, m, d] to panels [limbs, ., steps, TILE_COLUMNS, FACTORS].

    starts is [limbs, ., TILE_COLUMNS].
    """
    limbs, m, d = w.shape
    for p in range(a, b):
        j = p * TILE_COLUMNS
        for limb in range(limbs):
            first = (limb * m + j) * d
            _fill(w, first, d, min(TILE_COLUMNS, m - j), d, panels[limb, p], starts[limb, p])


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
        read(_panel, 5),
        read(_i32, 3),
        read(_f32, 1),
        read(_f32, 1),
        read(_f32, 2),
        _i64,
        write(_f32, 2),
        _i64,
    )
)
def linear_short(
    a: Any,
    b: Any,
    x: Any,
    runs: Any,
    table: Any,
    length: Any,
    fill: Any,
    tops: Any,
    levels: Any,
    panels: Any,
    starts: Any,
    sw: Any,
    bias: Any,
    rest: Any,
    floor: Any,
    out: Any,
    block: Any,
) -> Any:
    """Do what :func:`.windows.linear_windows` does, for one limb of rows and panels of :func:`fill_short`."""
    limbs, count, steps = panels.shape[:3]
    places = table.shape[0]
    d = length * table.shape[1] if places else x.shape[1]
    row = np.empty(d, np.int16)
    q = np.zeros((block, FACTORS * steps), _ROWS)
    sx = np.empty(block, np.float32)
    sums = np.empty((limbs, block, TILE_COLUMNS), np.int32)
    good = True
    for u in range(a, b):
        first = u * block
        n = min(block, out.shape[0] - first)
        for t in range(n):
            sx[t] = quantise_place(x, first + t, runs, table, length, fill, tops, levels, row)
            _store(row, q[t])
            good &= sx[t] >= _ZERO
        for p in range(count):
            j = p * TILE_COLUMNS
            for limb in range(limbs):
                _multiply(q, n, panels[limb, p], starts[limb, p], sums[limb])
            if limbs == 2:
                finish_both(sums[0], sums[1], sx, sw, bias, out, first, n, j)
            else:
                finish_rows(sums[0], sx, sw, bias, out, first, n, j)
            if rest.size or floor:
                end_rows(out, rest, floor, first, n, j)
    return good


@kernel(
    types.void(
        _i64,
        _i64,
        read(_i8, 3),
        read(_i8, 3),
        read(_i64, 1),
        read(_i64, 1),
        read(_f32, 2),
        read(_f32, 2),
        write(_f32, 3),
    )
)
def contract_short(a: Any, b: Any, x: Any, y: Any, left: Any, right: Any, sx: Any, sy: Any, out: Any) -> None:
    """Compute units a..b of out [n, p, m]: matrix left[i] of x [., p, d] times the rows of right[i] of y.

    A unit is a block of rows of a matrix. y is [., m, d], and the scales of rows are sx [., p] and sy [., m].
    """
    p, d = x.shape[1:]
    m = y.shape[1]
    blocks = (p + BLOCK - 1) // BLOCK
    steps = (d + FACTORS - 1) // FACTORS
    panel = np.empty((steps, TILE_COLUMNS, FACTORS), ELEMENTS)
    start = np.empty(TILE_COLUMNS, np.int32)
    q = np.zeros((BLOCK, FACTORS * steps), _ROWS)
    sums = np.empty((BLOCK, TILE_COLUMNS), np.int32)
    for u in range(a, b):
        i = u // blocks
        first = (u - i * blocks) * BLOCK
        n = min(BLOCK, p - first)
        rows, scales = x[left[i]], sx[left[i]]
        others = sy[right[i]]
        for t in range(n):
            _store(rows[first + t], q[t])
        for j in range(0, m, TILE_COLUMNS):
            channels = min(TILE_COLUMNS, m - j)
            _fill(y, (right[i] * m + j) * d, d, channels, d, panel, start)
            _multiply(q, n, panel, start, sums)
            beside = others[j : j + channels]
            for t in range(n):
                found, scale, to = sums[t], scales[first + t], out[i, first + t, j : j + channels]
                for c in range(to.size):
                    to[c] = np.float32(found[c]) * (scale * beside[c])
