"""Make a product and its hint together.

:func:`proofcompute.arithmetic.definition.hints.linear_with_hint` defines the result. The set of both limbs of
x is one product of int16 numbers q = 256 hi + lo, the one that the fused ``linear`` makes: q . w is computed
once, kept as an int32 of the hint, and turned into the float of the result while it is in the cache. Each
part of the work also takes the *bits* of its values, the bitwise or of v ^ (v >> 31), whose length is that of
the longest value without its sign.

Where the limbs of x are apart, because their sum might not fit, and where a contraction has several parts,
the definition's steps are run instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic import contracts
from proofcompute.arithmetic.backends.numba.arguments import (
    NO_BIAS,
    NO_RESIDUAL,
    finite,
    preparation,
    up,
)
from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import emitted, helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import SMALL_ROWS, TILE_COLUMNS, TILE_ROWS
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.kernels import linear
from proofcompute.arithmetic.backends.numba.kernels.packing import packed
from proofcompute.arithmetic.backends.numba.kernels.products import (
    PANEL_PAIRS,
    fill_panel,
    scaled,
    sum_of_channel,
)
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.kernels import Matrix, Prologue
from proofcompute.arrays import F32, I16, I32
from proofcompute.freivalds.hint import MadeHint, Packed
from proofcompute.freivalds.sets import bound_together
from proofcompute.limits import MAX_CONTRACTION

__all__ = ["linear_with_hint"]

_FEW_ROWS: Final = 7
"""Most rows for which a product takes the matrix row by row, as in ``linear``."""
_BLOCK_ROWS: Final = 960
"""Rows multiplied at a time, a multiple of every tile's rows; it bounds the scratch memory."""
_SPLIT_PRODUCTS: Final = 4_000_000
"""Least products of a part for which a thread of the pool pays."""
_SPLIT_ELEMENTS: Final = 50_000
"""Least elements to quantise or to square for which a thread pays."""

_tile, _small_tile = (emitted("narrow", "tile_of", rows) for rows in (TILE_ROWS, SMALL_ROWS))

_f32, _i8, _i16, _i32, _i64 = types.float32, types.int8, types.int16, types.int32, types.int64
_MADE: Final = types.void(
    _i64,
    _i64,
    read(_i16, 2),
    read(_f32, 1),
    read(_i8, 3),
    read(_f32, 1),
    read(_f32, 1),
    read(_f32, 2),
    write(_i32, 3),
    write(_i32, 2),
    write(_f32, 2),
)


@helper
def _bits(v: Any) -> Any:
    """Return a number whose length is that of v without its sign."""
    return np.int32(v ^ (v >> np.int32(31)))


@kernel(_MADE)
def _made_few(
    a: Any,
    b: Any,
    q: Any,
    sx: Any,
    w: Any,
    sw: Any,
    bias: Any,
    residual: Any,
    values: Any,
    bits: Any,
    out: Any,
) -> None:
    """Make channels a..b of values [w_limbs, n, m] and of out [n, m], row by row of w [w_limbs, m, d].

    q is int16 [>= n, >= d], and bits [w_limbs, parts] has a place for each channel. An empty out is not
    written; bias has shape [m] or [0], residual [n, m] or [0, 0].
    """
    w_limbs = w.shape[0]
    for j in range(a, b):
        for limb in range(w_limbs):
            bits[limb, j] = 0
        for t in range(values.shape[1]):
            total = np.int64(0)
            for limb in range(w_limbs):
                value = sum_of_channel(q, t, w[limb : limb + 1], j)
                values[limb, t, j] = np.int32(value)
                bits[limb, j] |= _bits(np.int32(value))
                total = total * 256 + value
            if out.size:
                y = scaled(total, sx[t] * sw[j], j, bias)
                out[t, j] = residual[t, j] + y if residual.size else y


@helper
def _sums_of_panel(q: Any, n: Any, w: Any, limb: Any, j: Any, panel: Any, sums: Any) -> None:
    """Set sums[t, c] to row t of q times channel j + c of one limb of w [w_limbs, m, d], modulo 2^32.

    The rows of q and of sums int32 [., TILE_COLUMNS] go on to a multiple of SMALL_ROWS.
    """
    _, m, d = w.shape
    stride = q.shape[1]
    sums[:] = 0
    for a in range(0, d, 2 * PANEL_PAIRS):
        columns = min(2 * PANEL_PAIRS, d - a)
        pairs = fill_panel(w, (limb * m + j) * d + a, d, min(TILE_COLUMNS, m - j), columns, panel)
        t = 0
        while t + TILE_ROWS <= n:
            _tile(q, a + t * stride, stride, panel, pairs, sums, t * TILE_COLUMNS)
            t += TILE_ROWS
        while t < n:
            _small_tile(q, a + t * stride, stride, panel, pairs, sums, t * TILE_COLUMNS)
            t += SMALL_ROWS


# These loops run over whole slices by one index, since only such loops become vectors.
@helper
def _keep(sums: Any, values: Any, j: Any) -> Any:
    """Copy the sums of a panel, whose channels start at j, to values [n, m], and return their bits."""
    seen = np.int32(0)
    for t in range(values.shape[0]):
        row, to = sums[t], values[t, j : j + TILE_COLUMNS]
        for c in range(to.size):
            to[c] = row[c]
            seen |= row[c] ^ (row[c] >> np.int32(31))
    return seen


@helper
def _finish(sums: Any, sx: Any, sw: Any, bias: Any, residual: Any, j: Any, out: Any) -> None:
    """Turn the sums of a panel, whose channels start at j, into floats of out [n, m]."""
    end = j + TILE_COLUMNS
    scales, biases = sw[j:end], bias[j:end]
    for t in range(out.shape[0]):
        row, scale, to = sums[t], sx[t], out[t, j:end]
        for c in range(to.size):
            to[c] = scaled(row[c], scale * scales[c], c, biases)
        if residual.size:
            rest = residual[t, j:end]
            for c in range(to.size):
                to[c] = rest[c] + to[c]


@kernel(_MADE)
def _made_panels(
    a: Any,
    b: Any,
    q: Any,
    sx: Any,
    w: Any,
    sw: Any,
    bias: Any,
    residual: Any,
    values: Any,
    bits: Any,
    out: Any,
) -> None:
    """Make panels a..b (TILE_COLUMNS channels each) of values and out, like :func:`_made_few`.

    q is int16 [n rounded up to SMALL_ROWS, d rounded up to even], with zeros beyond d; bits has a place for
    each panel.
    """
    w_limbs, n, _ = values.shape
    panel = np.empty((PANEL_PAIRS, TILE_COLUMNS, 2), np.int16)
    sums = np.empty((q.shape[0], TILE_COLUMNS), np.int32)
    total = np.empty((n if w_limbs > 1 else 0, TILE_COLUMNS), np.int64)
    for p in range(a, b):
        j = p * TILE_COLUMNS
        for limb in range(w_limbs):
            _sums_of_panel(q, n, w, limb, j, panel, sums)
            bits[limb, p] = _keep(sums, values[limb], j)
            if w_limbs > 1:
                for t in range(n):
                    for c in range(TILE_COLUMNS):
                        total[t, c] = np.int64(sums[t, c]) + (256 * total[t, c] if limb else 0)
        if out.size and w_limbs > 1:
            _finish(total, sx, sw, bias, residual, j, out)
        elif out.size:
            _finish(sums, sx, sw, bias, residual, j, out)


@kernel(_i64(_i64, _i64, read(_i16, 2), _i64))
def _largest(a: Any, b: Any, q: Any, d: Any) -> Any:
    """Return the largest sum of squares of the first d numbers of rows a..b of q."""
    largest = np.int64(0)
    for t in range(a, b):
        row = q[t, :d]
        squares = np.int64(0)
        for i in range(row.size):
            squares += np.int64(np.int32(row[i]) * np.int32(row[i]))
        largest = max(largest, squares)
    return largest


def _quantised(x: F32, limbs: int, d: int, prologue: Prologue) -> tuple[I16, F32]:
    """Return the prepared rows as int16 [>= n, >= d], with zeros beyond n and d, and their scales [n]."""
    n = len(x)
    q = np.zeros((up(n, 12), up(d, 2)), dtype=np.int16)
    scales = np.empty(n, dtype=np.float32)
    how = preparation(linear, prologue)
    least = _SPLIT_ELEMENTS // max(1, x.shape[1])
    finite(
        threads.split(linear.quantise_rows, n, least, x, *how, limbs, q, scales), "an input of the quantiser"
    )
    return q, scales


def _largest_square(q: I16, n: int, d: int) -> int:
    """Return the largest sum of squares of a row of q."""
    found: list[int] = []

    def part(a: int, b: int) -> None:
        found.append(int(_largest(a, b, q, d)))

    threads.split(part, n, _SPLIT_ELEMENTS // d)
    return max(found)


def linear_with_hint(
    x: F32,
    w: Matrix,
    limbs: int,
    squares: Sequence[int],
    prologue: Prologue,
    residual: F32 | None,
    wanted: bool,
) -> MadeHint | None:
    """See :meth:`proofcompute.arithmetic.kernels.Arithmetic.linear_with_hint`.

    Returns None where a set is not one product of the rows as int16 numbers.
    """
    n, m, d = contracts.linear_with_hint(x, w, limbs, squares, prologue, residual)
    if d > MAX_CONTRACTION:
        return None
    q, sx = _quantised(x, limbs, d, prologue)
    if limbs == 2:
        largest = _largest_square(q, n, d)
        if any(bound_together(largest, square) is None for square in squares):
            return None
    out = np.empty((n, m) if wanted else (0, 0), np.float32)
    values: I32 = np.empty((len(w.q), n, m), np.int32)
    bits = _make(q, sx, w, residual, values, out)
    made: list[Packed] = [packed(v, int(b).bit_length() + 1) for v, b in zip(values, bits, strict=True)]
    return MadeHint(tuple(made), out if wanted else None)


def _make(q: I16, sx: F32, w: Matrix, residual: F32 | None, values: I32, out: F32) -> I32:
    """Fill values [w_limbs, n, m] and out, and return the bits of each set."""
    (w_limbs, m, d), n = w.q.shape, len(sx)
    bias = NO_BIAS if w.bias is None else w.bias
    rest = NO_RESIDUAL if residual is None else residual
    if n <= _FEW_ROWS:
        bits = np.empty((w_limbs, m), np.int32)
        least = _SPLIT_PRODUCTS // max(1, n * d * w_limbs)
        threads.split(_made_few, m, least, q, sx, w.q, w.scale, bias, rest, values, bits, out)
        every: I32 = np.bitwise_or.reduce(bits, axis=1)
        return every
    bits = np.empty((w_limbs, -(-m // TILE_COLUMNS)), np.int32)
    every = np.zeros(w_limbs, np.int32)
    for a in range(0, n, _BLOCK_ROWS):
        b = min(a + _BLOCK_ROWS, n)
        some = values if b - a == n else np.empty((w_limbs, b - a, m), np.int32)
        least = _SPLIT_PRODUCTS // max(1, TILE_COLUMNS * d * (b - a))
        rows = (q[a : a + _BLOCK_ROWS], sx[a:b], w.q, w.scale, bias, rest[a:b], some, bits, out[a:b])
        threads.split(_made_panels, bits.shape[1], least, *rows)
        if some is not values:
            values[:, a:b] = some
        every |= np.bitwise_or.reduce(bits, axis=1)
    return every
