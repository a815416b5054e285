"""Compute attention over int8 keys and values.

:mod:`proofcompute.arithmetic.definition.attention` defines it. A unit is a block of query rows with one
key-value head; all query heads that share the head are rows of the same two products, scores = Q K^T and
out = P V. A unit is computed in *strips* of a dozen rows, whose scores and weights fit in a near cache: first
all scores of a strip, then the weights of each row, then the products of weights and values. If a unit has
several strips, its keys and values are copied to panels once.

The halving tree of a row starts at the first position that the row may see, not at position 0. The result
has the same bits: the tree pairs positions by their residues modulo powers of two, and a shift keeps the
pairs and can only exchange the two summands of an addition.

A number of two limbs is an int16 where it is a query. Keys and values are hostile, and -256 * 128 - 128 is no
int16, so each of their limbs is a product of its own, as with weights. A weight of values of two limbs, up to
2^26 + 8, is two int16 numbers, a multiple of 2^13 and a rest, with products of their own too.

*Most rows need no check that their scores are finite.* Since |acc| <= 2^14 dh and rounding is monotone, no
score of a row exceeds f32(2^14 dh) * (s_q * max s_k) * |scale| in absolute value. If this bound is finite,
no score is infinite or NaN; with two parts, none exceeds the sum of both. Each second limb counts 2^8:
32639 (2^15 + 128) < 2^30.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import BLOCK, SMALL_ROWS, TILE_COLUMNS
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.kernels.panels import (
    fill_values,
    finish,
    key_panel,
    multiply_panel,
    score,
)
from proofcompute.arithmetic.backends.numba.kernels.products import PANEL_PAIRS, multiply_tiles
from proofcompute.arithmetic.backends.numba.kernels.row import blocks, levels_of, quantise_into
from proofcompute.arithmetic.backends.numba.kernels.weights import all_finite, weigh
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.backends.scalar.curves import tanh
from proofcompute.arithmetic.backends.scalar.functions import FINITE_BITS, LARGEST, absolute_bits

__all__ = ["FINITE", "NEGATIVE", "NOT_FINITE", "attend", "attend_unit", "check_scales", "worst_scale"]

FINITE: Final = 0
NOT_FINITE: Final = 1
NEGATIVE: Final = 2

_ZERO: Final = np.float32(0)
_ONE: Final = np.float32(1)

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
def attend_unit(
    u: Any,
    q: Any,
    kq: Any,
    ks: Any,
    vq: Any,
    vs: Any,
    sinks: Any,
    first: Any,
    scale: Any,
    window: Any,
    ahead: Any,
    cap: Any,
    limbs: Any,
    key_limbs: Any,
    value_limbs: Any,
    latent: Any,
    block: Any,
    out: Any,
) -> Any:
    """Compute unit u: the query rows from u // kv_heads * block on with key-value head u % kv_heads.

    A row sees ``ahead`` positions after its own, and none after the last key.

    Limbs are rows of heads: kq is [t, hk key_limbs, dh], vq [t, hk value_limbs, .]. If latent > 0, vq and vs
    are kq and ks, with two scales a head, ks [t, 2 hk], and values are the first ``latent`` columns. sinks is
    empty if there are none, and cap is 0.

    Return False if a query or a score is not finite.
    """
    dh = kq.shape[2]
    kv_heads = kq.shape[1] // key_limbs
    parts = 2 if latent else 1
    pitch = vq.shape[2]
    dv = latent if latent else pitch
    heads = q.shape[1] // dh
    group = heads // kv_heads
    g = u % kv_heads
    t0 = u // kv_heads * block
    rows = (min(t0 + block, q.shape[0]) - t0) * group
    lo = max(0, first + t0 + 1 - window) if window else 0
    reach = min(first + t0 + (rows - 1) // group + 1 + ahead, kq.shape[0]) - lo
    width = blocks(reach + BLOCK)
    narrow = limbs == 1 and key_limbs == 1
    widest = np.float32(dh << (8 * (limbs + key_limbs) - 2))

    # where the columns of each part begin and end, in a head and in what it is copied to
    edges = np.zeros((2, 4), np.int64)
    edges[0, 1] = latent if latent else dh
    edges[0, 3] = _up(edges[0, 1], 2)
    edges[1, 0], edges[1, 1], edges[1, 2] = latent, dh, edges[0, 3]
    edges[1, 3] = edges[1, 2] + _up(dh - latent, 2)
    wide = edges[parts - 1, 3]

    qi = np.empty((_up(rows, SMALL_ROWS), wide), np.int16)
    sq = np.empty(parts * rows, np.float32)
    for r in range(rows):
        h = g * group + r % group
        head = q[t0 + r // group, h * dh : (h + 1) * dh]
        for i in range(parts):
            a, b, to = edges[i, 0], edges[i, 1], edges[i, 2]
            s = quantise_into(head[a:b], levels_of(limbs), qi[r, to : to + b - a])
            if s < _ZERO:
                return False
            sq[i * rows + r] = s

    keys = np.zeros(parts * width, np.float32)
    values = np.zeros(width, np.float32)
    most = np.zeros(parts, np.float32)
    column = g * parts
    top = _ZERO
    for j in range(reach):
        keys[j] = ks[lo + j, column]
        values[j] = vs[lo + j, column]
        top = keys[j] if keys[j] > top else top
    most[0] = top
    if latent:
        others = keys[width:]
        top = _ZERO
        for j in range(reach):
            others[j] = ks[lo + j, column + 1]
            top = others[j] if others[j] > top else top
        most[1] = top

    kept = rows > _STRIP
    tiles = (reach + TILE_COLUMNS - 1) // TILE_COLUMNS
    chunks = (reach + _CHUNK - 1) // _CHUNK
    strands = (dv + TILE_COLUMNS - 1) // TILE_COLUMNS
    key_panels = np.empty((tiles * key_limbs if kept else 1, wide // 2, TILE_COLUMNS, 2), np.int16)
    value_panels = np.empty(
        (chunks * strands * value_limbs if kept else 1, PANEL_PAIRS, TILE_COLUMNS, 2), np.int16
    )
    value_rows = kv_heads * value_limbs
    if kept:
        for i in range(tiles * key_limbs):
            j, row = i // key_limbs * TILE_COLUMNS, g * key_limbs + i % key_limbs
            count = min(TILE_COLUMNS, reach - j)
            for part in range(parts):
                a, b, to, end = edges[part, 0], edges[part, 1], edges[part, 2], edges[part, 3]
                key_panel(kq, lo + j, row, count, a, b, key_panels[i, to // 2 : end // 2])
        for i in range(chunks * strands * value_limbs):
            strand = i // value_limbs
            j, c = strand // strands * _CHUNK, strand % strands * TILE_COLUMNS
            row = g * value_limbs + i % value_limbs
            start = ((lo + j) * value_rows + row) * pitch + c
            count, columns = min(_CHUNK, reach - j), min(TILE_COLUMNS, dv - c)
            fill_values(vq, start, value_rows * pitch, count, columns, value_panels[i])

    halves = value_limbs  # weights are one int16 number each, or two for values of two limbs
    scores = np.empty((_STRIP, width), np.float32)
    p = np.empty((halves * _STRIP, width), np.int16)
    level = np.empty(width, np.float32)
    factors = np.empty(_STRIP, np.float32)
    totals = np.empty(_STRIP, np.float32)
    starts = np.empty(_STRIP, np.int64)
    counts = np.empty(_STRIP, np.int64)
    beside = np.empty(_STRIP if sinks.size else 0, np.float32)
    sums = np.empty((halves * value_limbs, _STRIP, TILE_COLUMNS), np.int64)
    score_sums = sums[0]
    flat_sums = score_sums.reshape(_STRIP * TILE_COLUMNS)
    for r0 in range(0, rows, _STRIP):
        r1 = min(r0 + _STRIP, rows)
        t = first + t0 + r0 // group
        left = (max(lo, t + 1 - window) - lo) // TILE_COLUMNS * TILE_COLUMNS if window else 0
        right = min(first + t0 + (r1 - 1) // group + 1 + ahead, kq.shape[0]) - lo
        for j in range(left, right, TILE_COLUMNS):
            for part in range(parts):
                a, b, to, end = edges[part, 0], edges[part, 1], edges[part, 2], edges[part, 3]
                flat_sums[:] = 0
                for limb in range(key_limbs):
                    if limb:
                        for i in range(flat_sums.size):
                            flat_sums[i] *= 256
                    i = j // TILE_COLUMNS * key_limbs + limb if kept else 0
                    panel = key_panels[i, to // 2 : end // 2]
                    if not kept:
                        row = g * key_limbs + limb
                        key_panel(kq, lo + j, row, min(TILE_COLUMNS, right - j), a, b, panel)
                    multiply_panel(qi, r0 * wide + to, r1 - r0, panel, score_sums)
                factor = scale if part + 1 == parts else _ONE
                at = part * rows
                near = keys[part * width + j :]
                score(score_sums, sq, at + r0, at + r1, near, narrow, part > 0, factor, scores, j)

        for r in range(r1 - r0):
            t = first + t0 + (r0 + r) // group
            a = max(lo, t + 1 - window) - lo if window else 0
            n = min(t + 1 + ahead, kq.shape[0]) - lo - a
            bound = widest * (sq[r0 + r] * most[0])
            if latent:
                bound = bound + widest * (sq[rows + r0 + r] * most[1])
            bounded = bound * abs(scale) <= LARGEST
            if not bounded and not all_finite(scores[r, a : a + n]):
                return False
            if cap > _ZERO:
                capped = scores[r, a : a + n]
                for i in range(n):
                    capped[i] = tanh(capped[i] / cap) * cap
            if sinks.size:
                beside[r] = sinks[g * group + (r0 + r) % group]
            starts[r], counts[r] = a, n
            for i in range(halves):
                p[i * _STRIP + r, left:a] = 0
                p[i * _STRIP + r, a + blocks(n) : right + 1] = 0
        weigh(scores, starts, counts[: r1 - r0], values, beside, level, p, factors, totals)

        for c0 in range(0, dv, TILE_COLUMNS):
            columns = min(TILE_COLUMNS, dv - c0)
            strand = c0 // TILE_COLUMNS
            sums[:] = 0
            j = left
            while j < right:
                chunk = j // _CHUNK
                then = min((chunk + 1) * _CHUNK, right)
                for limb in range(value_limbs):
                    if kept:
                        i = (chunk * strands + strand) * value_limbs + limb
                        panel = value_panels[i, (j - chunk * _CHUNK) // 2 :]
                    else:
                        panel = value_panels[0]
                        row = g * value_limbs + limb
                        start = ((lo + j) * value_rows + row) * pitch + c0
                        fill_values(vq, start, value_rows * pitch, then - j, columns, panel)
                    pairs = (then - j + 1) // 2
                    for i in range(halves):
                        to = sums[i * value_limbs + limb]
                        multiply_tiles(p, i * _STRIP * width + j, width, r1 - r0, panel, pairs, to)
                j = then
            for r in range(r1 - r0):
                start = (g * group + (r0 + r) % group) * dv + c0
                made = out[t0 + (r0 + r) // group, start : start + columns]
                finish(sums, r, factors[r], totals[r], made)
    return True


_ARGUMENTS: Final = (
    read(_f32, 2),
    read(_i8, 3),
    read(_f32, 2),
    read(_i8, 3),
    read(_f32, 2),
    read(_f32, 1),
    _i64,
    _f32,
    _i64,
    _i64,
    _f32,
    _i64,
    _i64,
    _i64,
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
    sinks: Any,
    first: Any,
    scale: Any,
    window: Any,
    ahead: Any,
    cap: Any,
    limbs: Any,
    key_limbs: Any,
    value_limbs: Any,
    latent: Any,
    block: Any,
    out: Any,
) -> Any:
    """Compute units a..b of the ceil(n / block) * kv_heads units.

    Return False if q or a score is not finite.
    """
    for u in range(a, b):
        if not attend_unit(
            u,
            q,
            kq,
            ks,
            vq,
            vs,
            sinks,
            first,
            scale,
            window,
            ahead,
            cap,
            limbs,
            key_limbs,
            value_limbs,
            latent,
            block,
            out,
        ):
            return False
    return True
