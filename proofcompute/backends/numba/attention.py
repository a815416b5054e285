"""Causal attention over int8 keys and values (numerics.attention defines it).

A unit is a block of query rows with one key-value head; all query heads that share it are rows of the same
two products, scores = Q K^T and out = P V, computed by the tiles of :mod:`.products`. Scores are kept for
the positions lo..hi that some row of the block may see.

The halving tree of a row runs from the first position that the row may see, in place of position 0. That
gives the same bits: the tree pairs positions by their residues modulo powers of two, and a shift keeps the
pairs and can only exchange the two summands of an addition.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.backends.numba import signatures as types
from proofcompute.backends.numba.cache import helper, kernel
from proofcompute.backends.numba.products import PANEL_PAIRS, fill_panel, multiply_tiles
from proofcompute.backends.numba.row import power_of_two, quantise_into, tree
from proofcompute.backends.numba.signatures import read, write
from proofcompute.backends.numba.tile import SMALL_ROWS, TILE_COLUMNS, interleave_rows
from proofcompute.backends.scalar.functions import (
    FINITE_BITS,
    LARGEST,
    LOWEST_BITS,
    absolute_bits,
    exp,
    from_bits,
    from_ordered_bits,
    ordered_bits,
    round_even,
)

__all__ = ["FINITE", "NEGATIVE", "NOT_FINITE", "attend", "attend_unit", "check_scales", "worst_scale"]

FINITE: Final = 0
NOT_FINITE: Final = 1
NEGATIVE: Final = 2

_ZERO: Final = np.float32(0)
_ONE_LIMB: Final = np.float32(127)
_TWO_LIMBS: Final = np.float32(32639)

_i64, _f32, _i8 = types.int64, types.float32, types.int8


@helper
def worst_scale(s: Any, a: Any, b: Any) -> Any:
    """What is wrong with rows a..b: FINITE (nothing), NOT_FINITE or NEGATIVE."""
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
    """:func:`worst_scale`."""
    return worst_scale(s, a, b)


@helper
def _up(n: Any, step: Any) -> Any:
    return (n + step - 1) // step * step


@helper
def _fill_pairs(v: Any, first: Any, stride: Any, count: Any, columns: Any, panel: Any) -> Any:
    """panel[i, c, e] = v[first + (2i + e) stride + c] for 2i + e < count and c < columns, else 0."""
    pairs = (count + 1) // 2
    flat = v.reshape(v.size)
    whole = count // 2 if columns == TILE_COLUMNS else 0
    for i in range(whole):
        interleave_rows(v, first + 2 * i * stride, stride, panel, i * 2 * TILE_COLUMNS)
    for i in range(whole, pairs):
        for c in range(TILE_COLUMNS):
            for e in range(2):
                inside = c < columns and 2 * i + e < count
                panel[i, c, e] = flat[first + (2 * i + e) * stride + c] if inside else 0
    return pairs


@helper
def _scores(
    q8: Any,
    sq: Any,
    rows: Any,
    kq: Any,
    keys: Any,
    g: Any,
    lo: Any,
    hi: Any,
    scale: Any,
    panel: Any,
    out: Any,
) -> None:
    """out[r, j - lo] = (f32(q8[r] . kq[j, g]) * (sq[r] * keys[j - lo])) * scale for lo <= j < hi."""
    _, kv_heads, dh = kq.shape
    sums = np.empty((q8.shape[0], TILE_COLUMNS), np.int64)
    stride = kv_heads * dh
    for j in range(lo, hi, TILE_COLUMNS):
        count = min(TILE_COLUMNS, hi - j)
        sums[:] = 0
        for a in range(0, dh, 2 * PANEL_PAIRS):
            columns = min(2 * PANEL_PAIRS, dh - a)
            pairs = fill_panel(kq, (j * kv_heads + g) * dh + a, stride, count, columns, panel)
            multiply_tiles(q8, a, q8.shape[1], rows, panel, pairs, sums)
        s = keys[j - lo : j - lo + count]
        for r in range(rows):
            to = out[r, j - lo : j - lo + count]
            row = sums[r]
            factor = sq[r]
            for c in range(count):
                to[c] = (np.float32(row[c]) * (factor * s[c])) * scale


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
    """Query rows u // kv_heads * block and on with key-value head u % kv_heads. False if not finite."""
    _, kv_heads, dh = kq.shape
    heads = q.shape[1] // dh
    group = heads // kv_heads
    g = u % kv_heads
    t0 = u // kv_heads * block
    t1 = min(t0 + block, q.shape[0])
    rows = (t1 - t0) * group
    padded = _up(rows, SMALL_ROWS)
    lo = max(0, first + t0 + 1 - window) if window else 0
    hi = first + t1
    width = _up(hi - lo, 2)

    q8 = np.zeros((padded, _up(dh, 2)), np.int16)
    sq = np.empty(rows, np.float32)
    for r in range(rows):
        h = g * group + r % group
        sq[r] = quantise_into(q[t0 + r // group, h * dh : (h + 1) * dh], _ONE_LIMB, q8[r])
        if sq[r] < _ZERO:
            return False
    panel = np.empty((PANEL_PAIRS, TILE_COLUMNS, 2), np.int16)
    scores = np.empty((rows, width), np.float32)
    keys = np.empty(width, np.float32)
    values = np.empty(width, np.float32)
    for j in range(lo, hi):
        keys[j - lo] = ks[j, g]
        values[j - lo] = vs[j, g]
    _scores(q8, sq, rows, kq, keys, g, lo, hi, scale, panel, scores)

    # Rows to weights p (int16, both limbs combined); what is not allowed stays zero.
    p = np.zeros((padded, width), np.int16)
    level = np.empty(power_of_two(hi - lo), np.float32)
    factors = np.empty(rows, np.float32)
    totals = np.empty(rows, np.float32)
    for r in range(rows):
        t = first + t0 + r // group
        a = max(0, t + 1 - window) - lo if window else 0
        b = t + 1 - lo
        e = scores[r, a:b]
        s = values[a:b]
        size = np.int32(0)
        highest = LOWEST_BITS
        for i in range(b - a):
            bits = absolute_bits(e[i])
            size = bits if bits > size else size
            bits = ordered_bits(e[i])
            highest = bits if bits > highest else highest
        if size >= FINITE_BITS:
            return False
        top = from_ordered_bits(highest)
        span = level[: power_of_two(b - a)]
        span[b - a :] = _ZERO
        for i in range(b - a):
            e[i] = exp(e[i] - top)
            span[i] = e[i]
        totals[r] = tree(span, b - a)
        highest = np.int32(0)  # no weight is below 0
        for i in range(b - a):
            e[i] = e[i] * s[i]
            bits = absolute_bits(e[i])
            highest = bits if bits > highest else highest
        largest = from_bits(highest)
        ratio = _TWO_LIMBS / largest
        if ratio <= LARGEST:
            factors[r] = largest / _TWO_LIMBS
            to = p[r, a:b]
            for i in range(b - a):
                to[i] = np.int16(round_even(e[i] * ratio))
        else:
            factors[r] = _ZERO

    sums = np.empty((padded, TILE_COLUMNS), np.int64)
    for c0 in range(0, dh, TILE_COLUMNS):
        columns = min(TILE_COLUMNS, dh - c0)
        sums[:] = 0
        for j in range(0, hi - lo, 2 * PANEL_PAIRS):
            count = min(2 * PANEL_PAIRS, hi - lo - j)
            start = ((lo + j) * kv_heads + g) * dh + c0
            pairs = _fill_pairs(vq, start, kv_heads * dh, count, columns, panel)
            multiply_tiles(p, j, width, rows, panel, pairs, sums)
        for r in range(rows):
            start = (g * group + r % group) * dh + c0
            to = out[t0 + r // group, start : start + columns]
            row = sums[r]
            factor = factors[r]
            total = totals[r]
            for c in range(columns):
                to[c] = np.float32(row[c]) * factor / total  # +0 where the factor is 0: the sums are then 0
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
    """Units a..b, of the ceil(n / block) * kv_heads there are. False if q or a score is not finite."""
    for u in range(a, b):
        if not attend_unit(u, q, kq, ks, vq, vs, first, scale, window, block, out):
            return False
    return True
