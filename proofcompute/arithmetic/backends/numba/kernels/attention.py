"""Compute causal attention over int8 keys and values.

:mod:`proofcompute.arithmetic.definition.attention` defines it. A unit is a block of query rows with one
key-value head; all query heads that share the head are rows of the same two products, scores = Q K^T and
out = P V. A unit is computed in *strips* of a dozen rows, whose scores and weights fit in a near cache: first
all scores of a strip, then the weights of each row, then the products of weights and values. If a unit has
several strips, its keys and values are copied to panels once.

The halving tree of a row starts at the first position that the row may see, not at position 0. The result
has the same bits: the tree pairs positions by their residues modulo powers of two, and a shift keeps the
pairs and can only exchange the two summands of an addition.

*Most rows need no check that their scores are finite.* Since |acc| <= 2^14 dh and rounding is monotone, no
score of a row exceeds f32(2^14 dh) * (s_q * max s_k) * |scale| in absolute value. If this bound is finite,
no score is infinite or NaN.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import BLOCK, SMALL_ROWS, TILE_COLUMNS
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.kernels.products import PANEL_PAIRS, fill_panel, multiply_tiles
from proofcompute.arithmetic.backends.numba.kernels.row import blocks, quantise_into
from proofcompute.arithmetic.backends.numba.kernels.weights import all_finite, weigh
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.backends.scalar.functions import FINITE_BITS, LARGEST, absolute_bits

__all__ = ["FINITE", "NEGATIVE", "NOT_FINITE", "attend", "attend_unit", "check_scales", "worst_scale"]

FINITE: Final = 0
NOT_FINITE: Final = 1
NEGATIVE: Final = 2

_ZERO: Final = np.float32(0)
_ONE_LIMB: Final = np.float32(127)

_STRIP: Final = 12
"""The number of rows of a strip; a multiple of every tile's rows."""
_CHUNK: Final = 2 * PANEL_PAIRS
"""The number of positions of a panel of values."""

_i64, _f32, _i8 = types.int64, types.float32, types.int8


@helper
def worst_scale(s: Any, a: Any, b: Any) -> Any:
    """Return what is wrong with the scales in rows a..b: FINITE (nothing), NOT_FINITE or NEGATIVE."""
    flat = s[a:b].reshape((b - a) * s.shape[1])
    top = np.int32(0)
    least = _ZERO
    for i in range(flat.size):
        bits = absolute_bits(flat[i])
        top = bits if bits > top else top
        least = flat[i] if flat[i] < least else least
    if top >= FINITE_BITS:
        return NOT_FINITE
    return NEGATIVE if least < _ZERO else FINITE


@kernel(_i64(read(_f32, 2), _i64, _i64))
def check_scales(s: Any, a: Any, b: Any) -> Any:
    """Return :func:`worst_scale` of rows a..b of s."""
    return worst_scale(s, a, b)


@helper
def _up(n: Any, step: Any) -> Any:
    return (n + step - 1) // step * step


@helper
def _fill_values(v: Any, first: Any, stride: Any, count: Any, columns: Any, panel: Any) -> None:
    """Set panel[i, c, e] = v[first + (2i + e) stride + c] for 2i + e < count and c < columns, else 0."""
    flat = v.reshape(v.size)
    for i in range((count + 1) // 2):
        to = panel[i].reshape(2 * TILE_COLUMNS)
        if columns < TILE_COLUMNS or 2 * i + 1 == count:
            to[:] = 0
        start = first + 2 * i * stride
        low = flat[start : start + columns]
        if 2 * i + 1 < count:
            high = flat[start + stride : start + stride + columns]
            for c in range(columns):
                to[2 * c] = low[c]
                to[2 * c + 1] = high[c]
        else:
            for c in range(columns):
                to[2 * c] = low[c]


@helper
def _fill_keys(kq: Any, j: Any, g: Any, count: Any, panel: Any) -> None:
    """Copy keys j..j+count of head g to a panel."""
    _, kv_heads, dh = kq.shape
    fill_panel(kq, (j * kv_heads + g) * dh, kv_heads * dh, count, dh, panel)


@helper
def _score(
    qi: Any, sq: Any, a: Any, b: Any, panel: Any, keys: Any, scale: Any, sums: Any, out: Any, to: Any
) -> None:
    """Set out[r - a, to + c] = (f32(qi[r] . key c) * (sq[r] * keys[c])) * scale for the keys of a panel.

    A product of one limb with one limb fits int32 for every width of a head.
    """
    width = qi.shape[1]
    sums[:] = 0
    for i in range(0, panel.shape[0], PANEL_PAIRS):
        pairs = min(PANEL_PAIRS, panel.shape[0] - i)
        multiply_tiles(qi, a * width + 2 * i, width, b - a, panel[i:], pairs, sums)
    scales = keys[:TILE_COLUMNS]
    for r in range(b - a):
        row = sums[r]
        factor = sq[a + r]
        scores = out[r, to : to + TILE_COLUMNS]
        for c in range(scores.size):
            scores[c] = np.float32(np.int32(row[c])) * (factor * scales[c]) * scale


@helper
def _finish(sums: Any, factor: Any, total: Any, out: Any) -> None:
    """Turn sums of weights times values into floats; +0 where the factor is 0, since the sums are then 0."""
    for c in range(out.size):
        out[c] = np.float32(sums[c]) * factor / total


@helper
def attend_unit(
    u: Any,
    q: Any,
    kq: Any,
    ks: Any,
    vq: Any,
    vs: Any,
    first: Any,
    scale: Any,
    window: Any,
    block: Any,
    out: Any,
) -> Any:
    """Compute unit u: the query rows from u // kv_heads * block on with key-value head u % kv_heads.

    Return False if a query or a score is not finite.
    """
    _, kv_heads, dh = kq.shape
    heads = q.shape[1] // dh
    group = heads // kv_heads
    g = u % kv_heads
    t0 = u // kv_heads * block
    rows = (min(t0 + block, q.shape[0]) - t0) * group
    lo = max(0, first + t0 + 1 - window) if window else 0
    reach = first + t0 + (rows - 1) // group + 1 - lo
    width = blocks(reach + BLOCK)

    qi = np.empty((_up(rows, SMALL_ROWS), _up(dh, 2)), np.int16)
    sq = np.empty(rows, np.float32)
    for r in range(rows):
        h = g * group + r % group
        sq[r] = quantise_into(q[t0 + r // group, h * dh : (h + 1) * dh], _ONE_LIMB, qi[r])
        if sq[r] < _ZERO:
            return False

    keys = np.zeros(width, np.float32)
    values = np.zeros(width, np.float32)
    most = _ZERO
    for j in range(reach):
        keys[j] = ks[lo + j, g]
        values[j] = vs[lo + j, g]
        most = keys[j] if keys[j] > most else most
    bound = np.float32(dh << 14)

    kept = rows > _STRIP
    tiles = (reach + TILE_COLUMNS - 1) // TILE_COLUMNS
    chunks = (reach + _CHUNK - 1) // _CHUNK
    strands = (dh + TILE_COLUMNS - 1) // TILE_COLUMNS
    key_panels = np.empty((tiles if kept else 1, qi.shape[1] // 2, TILE_COLUMNS, 2), np.int16)
    value_panels = np.empty((chunks * strands if kept else 1, PANEL_PAIRS, TILE_COLUMNS, 2), np.int16)
    if kept:
        for i in range(tiles):
            j = i * TILE_COLUMNS
            _fill_keys(kq, lo + j, g, min(TILE_COLUMNS, reach - j), key_panels[i])
        for i in range(chunks * strands):
            j, c = i // strands * _CHUNK, i % strands * TILE_COLUMNS
            start = ((lo + j) * kv_heads + g) * dh + c
            count, columns = min(_CHUNK, reach - j), min(TILE_COLUMNS, dh - c)
            _fill_values(vq, start, kv_heads * dh, count, columns, value_panels[i])

    scores = np.empty((_STRIP, width), np.float32)
    p = np.empty((_STRIP, width), np.int16)
    level = np.empty(width, np.float32)
    factors = np.empty(_STRIP, np.float32)
    totals = np.empty(_STRIP, np.float32)
    starts = np.empty(_STRIP, np.int64)
    counts = np.empty(_STRIP, np.int64)
    sums = np.empty((_STRIP, TILE_COLUMNS), np.int64)
    for r0 in range(0, rows, _STRIP):
        r1 = min(r0 + _STRIP, rows)
        t = first + t0 + r0 // group
        left = (max(lo, t + 1 - window) - lo) // TILE_COLUMNS * TILE_COLUMNS if window else 0
        right = first + t0 + (r1 - 1) // group + 1 - lo
        for j in range(left, right, TILE_COLUMNS):
            i = j // TILE_COLUMNS if kept else 0
            if not kept:
                _fill_keys(kq, lo + j, g, min(TILE_COLUMNS, right - j), key_panels[i])
            _score(qi, sq, r0, r1, key_panels[i], keys[j:], scale, sums, scores, j)

        for r in range(r1 - r0):
            t = first + t0 + (r0 + r) // group
            a = max(lo, t + 1 - window) - lo if window else 0
            n = t + 1 - lo - a
            bounded = bound * (sq[r0 + r] * most) * abs(scale) <= LARGEST
            if not bounded and not all_finite(scores[r, a : a + n]):
                return False
            starts[r], counts[r] = a, n
            p[r, left:a] = 0
            p[r, a + blocks(n) : right + 1] = 0
        weigh(scores, starts, counts[: r1 - r0], values, level, p, factors, totals)

        for c0 in range(0, dh, TILE_COLUMNS):
            columns = min(TILE_COLUMNS, dh - c0)
            strand = c0 // TILE_COLUMNS
            sums[:] = 0
            j = left
            while j < right:
                chunk = j // _CHUNK
                then = min((chunk + 1) * _CHUNK, right)
                if kept:
                    panel = value_panels[chunk * strands + strand, (j - chunk * _CHUNK) // 2 :]
                else:
                    panel = value_panels[0]
                    start = ((lo + j) * kv_heads + g) * dh + c0
                    _fill_values(vq, start, kv_heads * dh, then - j, columns, panel)
                multiply_tiles(p, j, width, r1 - r0, panel, (then - j + 1) // 2, sums)
                j = then
            for r in range(r1 - r0):
                start = (g * group + (r0 + r) % group) * dh + c0
                to = out[t0 + (r0 + r) // group, start : start + columns]
                _finish(sums[r], factors[r], totals[r], to)
    return True


_ARGUMENTS: Final = (
    read(_f32, 2),
    read(_i8, 3),
    read(_f32, 2),
    read(_i8, 3),
    read(_f32, 2),
    _i64,
    _f32,
    _i64,
    _i64,
    write(_f32, 2),
)


@kernel(types.boolean(_i64, _i64, *_ARGUMENTS))
def attend(
    a: Any,
    b: Any,
    q: Any,
    kq: Any,
    ks: Any,
    vq: Any,
    vs: Any,
    first: Any,
    scale: Any,
    window: Any,
    block: Any,
    out: Any,
) -> Any:
    """Compute units a..b of the ceil(n / block) * kv_heads units.

    Return False if q or a score is not finite.
    """
    for u in range(a, b):
        if not attend_unit(u, q, kq, ks, vq, vs, first, scale, window, block, out):
            return False
    return True
