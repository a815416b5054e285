"""A product's hint in one pass over its bytes (numerics.hints defines it).

Rows are read in pieces that stay in the first-level cache: unpacked, their limits taken, projected, and
turned into floats, set by set. Nothing of the size of the accumulators is ever written, and some rows
together read the columns once. Of few rows, what the sets should be is projected and compared by the same
call.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.backends.numba import signatures as types
from proofcompute.backends.numba import threads
from proofcompute.backends.numba.arguments import NO_BIAS
from proofcompute.backends.numba.cache import helper, kernel
from proofcompute.backends.numba.dots import dot
from proofcompute.backends.numba.field import MANY, few_bytes, not_canonical, project
from proofcompute.backends.numba.products import scaled
from proofcompute.backends.numba.signatures import read, write
from proofcompute.backends.numba.unpacking import ask, unpack
from proofcompute.backends.numba.vector import LANES, WORD
from proofcompute.backends.scalar.field31 import P, residue
from proofcompute.backends.scalar.field31 import total as total_of
from proofcompute.errors import InputError
from proofcompute.hint import CheckedHint, Hint
from proofcompute.kernels import I8, I64
from proofcompute.numerics.bitpack import check_packed
from proofcompute.numerics.hints import check_sets, claimed
from proofcompute.numerics.products import LARGEST

__all__ = ["check_hint", "row_squares"]

_STEP: Final = 2 * LANES
"""Values that one step of a projection takes."""
_PIECE: Final = 1024
"""Values unpacked at a time; a multiple of the step of a projection."""
_SMALL: Final = 23
"""Bits of values of which a piece's products with residues sum to an int64: 2^22 2^31 1024 = 2^63."""
_ROWS: Final = 16
"""Rows that are read together."""
_PART: Final = 100_000
"""Values of a part that is worth a thread."""
_SQUARES: Final = 200_000
"""The same in elements squared."""
_DIFFER: Final = 1
_NOT_CANONICAL: Final = 2

_i64, _i32, _i8, _u8, _u32, _f32 = (
    types.int64,
    types.int32,
    types.int8,
    types.uint8,
    types.uint32,
    types.float32,
)


@kernel(types.int64(read(_u8, 1)))
def _address(x: Any) -> Any:
    """Where an array begins."""
    return x.ctypes.data


_dot_one, _dot_two = dot(WORD, 1, 1, near=True), dot(WORD, 2, 1, near=True)
_small_one, _small_two = (dot(WORD, n, 1, near=True, small=True) for n in (1, 2))


@helper
def _project(
    values: Any, count: Any, bits: Any, s: Any, first: Any, m: Any, sums: Any, seen: Any, out: Any
) -> None:
    """out[c] += values[:count] times columns c of s from ``first`` on, as residues; seen as in dots."""
    k = s.shape[0]
    whole = count // _STEP * _STEP
    steps = whole // _STEP
    for c in range(0, k, 2):
        if c + 1 < k and bits <= _SMALL:
            _small_two(values, 0, m, s, c * m + first, steps, sums, seen)
        elif c + 1 < k:
            _dot_two(values, 0, m, s, c * m + first, steps, sums, seen)
        elif bits <= _SMALL:
            _small_one(values, 0, m, s, c * m + first, steps, sums, seen)
        else:
            _dot_one(values, 0, m, s, c * m + first, steps, sums, seen)
        for e in range(min(2, k - c)):
            value = total_of(sums[e, 0], sums[e, 1])
            for i in range(whole, count):
                value += residue(np.int64(values[i]) * np.int64(s[c + e, first + i]))
                seen[0] = max(seen[0], s[c + e, first + i])
            out[c + e] = np.uint32(residue(np.int64(out[c + e]) + value))


# Loops of one index each, over whole slices: only those become vectors.
@helper
def _limits(values: Any, count: Any) -> Any:
    """The least and the greatest of values[:count]."""
    low, high = values[0], values[0]
    for i in range(count):
        low, high = min(low, values[i]), max(high, values[i])
    return low, high


@helper
def _sum(values: Any, count: Any, shift: Any, first: Any, total: Any) -> None:
    """total = values << shift; added, unless this is the first set."""
    if first:
        for i in range(count):
            total[i] = np.int64(values[i]) << shift
    else:
        for i in range(count):
            total[i] += np.int64(values[i]) << shift


@helper
def _scale(total: Any, scale: Any, sw: Any, bias: Any, out: Any) -> None:
    """Sums back to float, with scales and biases of the channels."""
    for i in range(out.size):
        out[i] = scaled(total[i], scale * sw[i], i, bias)


@helper
def _read_rows(
    a: Any, b: Any, sets: Any, s: Any, sx: Any, sw: Any, bias: Any, limits: Any, left: Any, out: Any
) -> Any:
    """See :func:`_read`; sets [sets, 7] are rows of :func:`_table`."""
    m = sw.size
    count = sets.shape[0]
    values = np.empty(_PIECE, np.int32)
    total = np.empty(_PIECE, np.int64)
    sums = np.empty((2, 2), np.int64)
    seen = np.zeros(LANES, np.uint32)
    left[:, a:b] = 0
    limits[a:b, :, 0], limits[a:b, :, 1] = np.int32(2**31 - 1), np.int32(-(2**31))
    for start in range(a, b, _ROWS):
        end = min(start + _ROWS, b)
        for first in range(0, m, _PIECE):
            size = min(_PIECE, m - first)
            some = bias[first : first + size] if bias.size else bias
            for t in range(start, end):
                then = (t + 1) * m + first if t + 1 < end else start * m + first + _PIECE
                for i in range(count):
                    address, bits = np.uint64(sets[i, 0]), sets[i, 2]
                    ask(address, bits, then, size)
                    unpack(address, sets[i, 1], bits, t * m + first, size, values)
                    low, high = _limits(values, size)
                    limits[t, i, 0] = min(limits[t, i, 0], low)
                    limits[t, i, 1] = max(limits[t, i, 1], high)
                    _project(values, size, bits, s, first, m, sums, seen, left[i, t])
                    if count > 1:
                        _sum(values, size, sets[i, 3], i == 0, total)
                to, scales = out[t, first : first + size], sw[first : first + size]
                if count > 1:
                    _scale(total, sx[t], scales, some, to)
                else:  # a single set has no shift
                    _scale(values, sx[t], scales, some, to)
    return np.int64(seen.max()) < P


_READ: Final = (read(_i64, 2), read(_u32, 2), read(_f32, 1), read(_f32, 1), read(_f32, 1))
_FOUND: Final = (write(_i32, 3), write(_u32, 3), write(_f32, 2))


@kernel(types.boolean(_i64, _i64, *_READ, *_FOUND))
def _read(
    a: Any, b: Any, sets: Any, s: Any, sx: Any, sw: Any, bias: Any, limits: Any, left: Any, out: Any
) -> Any:
    """Rows a..b: limits [n, sets, 2] of each, projections [sets, n, k], and out [n, m].

    False if s holds a value that is not a canonical residue.
    """
    return _read_rows(a, b, sets, s, sx, sw, bias, limits, left, out)


@kernel(types.int64(*_READ, read(_i8, 3), read(_u32, 3), write(_i32, 3), write(_f32, 2)))
def _check(sets: Any, s: Any, sx: Any, sw: Any, bias: Any, q: Any, v: Any, limits: Any, out: Any) -> Any:
    """All of few rows, as :func:`_read`, but limits of all of them in row 0; every claim of whole columns.

    Returns _DIFFER if a set is not what it claims, and _NOT_CANONICAL; or both.
    """
    limbs, n, d = q.shape
    k = s.shape[0]
    rows = q.reshape((limbs * n, d))
    left = np.empty((sets.shape[0], n, k), np.uint32)
    right = np.empty((limbs * n, k), np.uint32)
    good = _read_rows(0, n, sets, s, sx, sw, bias, limits, left, out)
    different = np.uint32(0)
    for i in range(sets.shape[0]):
        for t in range(1, n):
            limits[0, i, 0] = min(limits[0, i, 0], limits[t, i, 0])
            limits[0, i, 1] = max(limits[0, i, 1], limits[t, i, 1])
        at = sets[i, 4] * n
        good &= few_bytes(at, at + sets[i, 5] * n, rows, v[sets[i, 6]], right)
        for t in range(n):
            for c in range(k):
                value = right[at + t, c]
                if sets[i, 5] == 2:
                    value = np.uint32(residue(256 * np.int64(value) + np.int64(right[at + n + t, c])))
                different |= left[i, t, c] ^ value
    return (_DIFFER if different else 0) | (0 if good else _NOT_CANONICAL)


def check_hint(hint: Hint) -> CheckedHint:
    """See :meth:`proofcompute.kernels.Kernels.check_hint`."""
    n, m = check_sets(hint)
    q, claims, sets, s, v, sx, sw, bias = hint
    held = []  # alive as long as their addresses are used
    table = []
    few, d = n == 1 or (n < MANY and n * m * len(sets) < 2 * _PART), q.shape[2]
    for (bits, data), (start, stop, limbs, w_limb, shift, _) in zip(sets, claims, strict=True):
        check_packed(data, bits, n * m)
        x = np.frombuffer(data, np.uint8)
        held.append(x)
        table.append((_address(x), x.size, bits, shift, limbs[0], len(limbs), w_limb))
        few &= stop - start == d
    limits = np.empty((n, len(table), 2), np.int32)
    out = np.empty((n, m), np.float32)
    arguments = np.array(table, np.int64), s, sx, sw, NO_BIAS if bias is None else bias
    if few:
        state = _check(*arguments, q, v, limits, out)
        if state & _NOT_CANONICAL:
            raise not_canonical()
        return CheckedHint([(low, high) for low, high in limits[0].tolist()], not state & _DIFFER, out)
    left = np.empty((len(table), n, len(s)), np.uint32)
    least = _PART // (len(table) * m)
    if not threads.split(_read, n, least, *arguments, limits, left, out):
        raise not_canonical()
    lows, highs = limits[:, :, 0].min(axis=0).tolist(), limits[:, :, 1].max(axis=0).tolist()
    holds = bool(np.array_equal(left, claimed(q, claims, v, project)))
    return CheckedHint(list(zip(lows, highs, strict=True)), holds, out)


@kernel(types.void(_i64, _i64, read(_i8, 3), write(_i64, 1)))
def _squares(a: Any, b: Any, q: Any, out: Any) -> None:
    """Rows a..b of out [n] for limbs q [limbs, n, d]."""
    limbs = q.shape[0]
    for t in range(a, b):
        low = q[limbs - 1, t]
        squares = np.int64(0)
        if limbs == 1:
            for i in range(low.size):
                squares += np.int64(np.int32(low[i]) * np.int32(low[i]))
        else:
            high = q[0, t]
            for i in range(low.size):
                whole = np.int32(256) * np.int32(high[i]) + np.int32(low[i])
                squares += np.int64(whole) * np.int64(whole)
        out[t] = squares


def row_squares(q: I8) -> I64:
    """See :meth:`proofcompute.kernels.Kernels.row_squares`."""
    if q.ndim != 3 or q.dtype != np.int8 or len(q) not in LARGEST:
        raise InputError(f"expected one or two int8 limbs of rows, not {q.dtype} {list(q.shape)}")
    out = np.empty(q.shape[1], np.int64)
    threads.split(_squares, out.size, _SQUARES // max(1, q.shape[2]), np.ascontiguousarray(q), out)
    return out
