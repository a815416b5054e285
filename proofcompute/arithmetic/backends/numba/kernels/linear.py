"""Compute ``quantise`` and the fused ``linear``, which prepares, quantises, multiplies and scales rows.

A mode says how a row is prepared: PLAIN leaves it as it is, NORM applies an RMS norm (with its weights and
eps), and GATED applies the gate. ``linear`` also adds a residual; one of shape [0, 0] stands for none.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import GROUP, TILE_COLUMNS
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.kernels.products import (
    BLOCK_SUMS,
    PANEL_PAIRS,
    channels_together,
    rows_together,
    scaled,
    sum_of_channel,
    sums_of_block,
    sums_of_panel,
)
from proofcompute.arithmetic.backends.numba.kernels.row import blocks, gate_into, norm_into, quantise_into
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel

__all__ = [
    "GATED",
    "NORM",
    "PLAIN",
    "experts_one",
    "few_lines",
    "few_rows",
    "limbs_of_rows",
    "linear_few",
    "linear_one",
    "linear_panels",
    "one_row",
    "prepare_rows",
    "quantise_rows",
]

PLAIN: Final = 0
NORM: Final = 1
GATED: Final = 2

_LEVELS1: Final = np.float32(127)
_LEVELS2: Final = np.float32(32639)

_f32, _i8, _i16, _i64 = types.float32, types.int8, types.int16, types.int64
_BEFORE: Final = (_i64, read(_f32, 1), _f32)
_WEIGHTS: Final = (read(_i8, 3), read(_f32, 1), read(_f32, 1))


@helper
def _prepare(x: Any, mode: Any, nw: Any, eps: Any, level: Any, row: Any, levels: Any, q: Any) -> Any:
    """Prepare and quantise the row x into q; row and level are scratch.

    Return the row's scale, or -1 if it is not finite.
    """
    if mode == NORM:
        norm_into(x, nw, eps, level, row)
        return quantise_into(row, levels, q)
    if mode == GATED:
        gate_into(x, row)
        return quantise_into(row, levels, q)
    return quantise_into(x, levels, q)


@helper
def prepare_rows(x: Any, mode: Any, nw: Any, eps: Any, limbs: Any, q: Any, scales: Any) -> Any:
    """Prepare and quantise the rows of x into q int16 [n, >= d] and scales [n].

    Return False if a row is not finite.
    """
    levels = _LEVELS1 if limbs == 1 else _LEVELS2
    d = x.shape[1] // 2 if mode == GATED else x.shape[1]
    row = np.empty(d if mode != PLAIN else 0, np.float32)
    level = np.empty(blocks(d) if mode == NORM else 0, np.float32)
    for t in range(x.shape[0]):
        scales[t] = _prepare(x[t], mode, nw, eps, level, row, levels, q[t])
        if scales[t] < np.float32(0):
            return False
    return True


@kernel(types.boolean(_i64, _i64, read(_f32, 2), *_BEFORE, _i64, write(_i16, 2), write(_f32, 1)))
def quantise_rows(
    a: Any, b: Any, x: Any, mode: Any, nw: Any, eps: Any, limbs: Any, q: Any, scales: Any
) -> Any:
    """Prepare and quantise rows a..b of x into q int16 [>= n, >= d] and scales [n].

    Return False if a row is not finite.
    """
    return prepare_rows(x[a:b], mode, nw, eps, limbs, q[a:b], scales[a:b])


@kernel(types.boolean(_i64, _i64, read(_f32, 2), *_BEFORE, write(_i8, 3), write(_f32, 1)))
def limbs_of_rows(a: Any, b: Any, x: Any, mode: Any, nw: Any, eps: Any, out: Any, scales: Any) -> Any:
    """Prepare and quantise rows a..b of x into out int8 [limbs, n, d] and scales [n].

    Two limbs of an integer q are hi = (q + 128) >> 8 and lo = q - 256 hi. Return False if a row is not
    finite.
    """
    limbs, _, d = out.shape
    levels = _LEVELS1 if limbs == 1 else _LEVELS2
    row = np.empty(d if mode != PLAIN else 0, np.float32)
    level = np.empty(blocks(d) if mode == NORM else 0, np.float32)
    q = np.empty(d, np.int16)
    for t in range(a, b):
        scales[t] = _prepare(x[t], mode, nw, eps, level, row, levels, q)
        if scales[t] < np.float32(0):
            return False
        low = out[limbs - 1, t]
        for i in range(d):
            low[i] = np.int8(q[i])
        if limbs == 2:
            high = out[0, t]
            for i in range(d):
                high[i] = np.int8((np.int32(q[i]) + np.int32(128)) >> np.int32(8))
    return True


@helper
def _finish(value: Any, scale: Any, j: Any, bias: Any, residual: Any, t: Any) -> Any:
    y = scaled(value, scale, j, bias)
    return residual[t, j] + y if residual.size else y


@helper
def _finish_panel(sums: Any, sx: Any, sw: Any, bias: Any, residual: Any, j: Any, out: Any) -> None:
    """Apply :func:`_finish` to the channels of a panel, which start at j, in all rows.

    The loops run over slices by one index, since elements at a sum of two indices would be gathered one by
    one.
    """
    end = j + TILE_COLUMNS
    scales = sw[j:end]
    biases = bias[j:end]
    for t in range(out.shape[0]):
        row = sums[t]
        scale = sx[t]
        to = out[t, j:end]
        for c in range(to.size):
            to[c] = scaled(row[c], scale * scales[c], c, biases)
        if residual.size:
            rest = residual[t, j:end]
            for c in range(to.size):
                to[c] = rest[c] + to[c]


@helper
def one_row(a: Any, b: Any, q: Any, sx: Any, w: Any, sw: Any, bias: Any, residual: Any, out: Any) -> None:
    """Compute channels a..b of out [1, m], row by row of w [limbs, m, d], from q int16 [>= 1, >= d]."""
    for j in range(a, b):
        out[0, j] = _finish(sum_of_channel(q, 0, w, j), sx[0] * sw[j], j, bias, residual, 0)


@helper
def few_rows(a: Any, b: Any, q: Any, sx: Any, w: Any, sw: Any, bias: Any, residual: Any, out: Any) -> None:
    """Compute groups a..b (GROUP channels each) of out [n, m] in patches.

    q is int16 [n rounded up to even, >= d], or has more rows.
    """
    n = out.shape[0]
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
                    y = sums[c * rows + r]
                    out[t + r, j + c] = _finish(y, sx[t + r] * sw[j + c], j + c, bias, residual, t + r)
            t += rows


@helper
def few_lines(
    a: Any, b: Any, q: Any, lines: Any, each: Any, sx: Any, w: Any, sw: Any, bias: Any, out: Any
) -> None:
    """Compute groups a..b of the rows of out that ``lines`` name, in patches, from as many rows of q.

    sx holds the scale of line i at i // each; q is as in :func:`few_rows`. The last group may be cut.
    """
    n = lines.size
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
                line = lines[t + r]
                scale = sx[line // each]
                to = out[line]
                for c in range(channels):
                    to[j + c] = scaled(sums[c * rows + r], scale * sw[j + c], j + c, bias)
            t += rows


_PRODUCT: Final = types.void(
    _i64, _i64, read(_i16, 2), read(_f32, 1), *_WEIGHTS, read(_f32, 2), write(_f32, 2)
)


@kernel(_PRODUCT)
def linear_one(a: Any, b: Any, q: Any, sx: Any, w: Any, sw: Any, bias: Any, residual: Any, out: Any) -> None:
    """Compute channels a..b of out [1, m]; bias has shape [m] or [0]."""
    one_row(a, b, q, sx, w, sw, bias, residual, out)


@kernel(
    types.void(
        _i64,
        _i64,
        read(_i16, 2),
        read(_f32, 1),
        read(types.int32, 1),
        _i64,
        read(_i8, 4),
        read(_f32, 2),
        read(_f32, 2),
        write(_f32, 2),
    )
)
def experts_one(
    a: Any,
    b: Any,
    q: Any,
    sx: Any,
    numbers: Any,
    each: Any,
    w: Any,
    sw: Any,
    bias: Any,
    out: Any,
) -> None:
    """Compute channels a..b of out [r, m], counted row after row; row i is row i / each of q times a matrix.

    ``numbers`` say which of w [groups, limbs, m, d]; bias has shape [groups, m] or [0, 0].
    """
    m = out.shape[1]
    nothing = np.empty((0, 0), np.float32)
    for i in range(out.shape[0]):
        first = max(a - i * m, 0)
        last = min(b - i * m, m)
        if first < last:
            g = numbers[i]
            t = i // each
            own = bias[g if bias.size else 0]
            one_row(first, last, q[t : t + 1], sx[t : t + 1], w[g], sw[g], own, nothing, out[i : i + 1])


@kernel(_PRODUCT)
def linear_few(a: Any, b: Any, q: Any, sx: Any, w: Any, sw: Any, bias: Any, residual: Any, out: Any) -> None:
    """Compute groups a..b (GROUP channels each) of out [n, m]; bias has shape [m] or [0]."""
    few_rows(a, b, q, sx, w, sw, bias, residual, out)


@kernel(_PRODUCT)
def linear_panels(
    a: Any, b: Any, q: Any, sx: Any, w: Any, sw: Any, bias: Any, residual: Any, out: Any
) -> None:
    """Compute panels a..b (TILE_COLUMNS channels each) of out [n, m].

    q is int16 [n rounded up to SMALL_ROWS, d rounded up to even], with zeros beyond d.
    """
    n = len(out)
    panel = np.empty((PANEL_PAIRS, TILE_COLUMNS, 2), np.int16)
    sums = np.empty((q.shape[0], TILE_COLUMNS), np.int64)
    for p in range(a, b):
        j = p * TILE_COLUMNS
        sums_of_panel(q, n, w, j, panel, sums)
        _finish_panel(sums, sx, sw, bias, residual, j, out)
