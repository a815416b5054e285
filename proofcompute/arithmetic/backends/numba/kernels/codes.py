"""Encode messages as words of circle codes, sum hints up under random rows, and multiply in the extension.

:mod:`proofcompute.codes.circle`, :mod:`proofcompute.arithmetic.definition.hints` and
:mod:`proofcompute.codes.extension` define the results.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.arguments import NO_BIAS, NO_RESIDUAL, up
from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import emitted, helper
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.kernels.hints import add_shifted, address_of, limits_of, scale
from proofcompute.arithmetic.backends.numba.kernels.unpacking import ask, unpack
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.backends.scalar.field31 import P, balanced, residue
from proofcompute.arithmetic.definition.bitpack import check_packed
from proofcompute.arithmetic.definition.hints import check_weighed
from proofcompute.arrays import I8, U32, U64
from proofcompute.codes.circle import check_encode
from proofcompute.codes.extension import DEGREE, check_elements
from proofcompute.freivalds.field import not_canonical
from proofcompute.freivalds.hint import SummedHint, WeighedHint

__all__ = ["circle_words", "multiply", "sum_hint"]

_LANES: Final = 16
"""The number of messages that are encoded together: the words of one position fill a cache line."""
_NEAR: Final = 11
"""Positions of 2^11 words of all lanes stay in the second-level cache."""
_PIECE: Final = 256
"""The number of values of a row that are unpacked at a time: a multiple of _LANES."""
_BLOCK: Final = 16
"""The most pieces of rows that are read in order; their sums stay in the second-level cache."""
_ROWS: Final = 4
"""The number of rows that are unpacked together; of 32 bits no more could be summed up."""
_PART: Final = 100_000
"""The fewest values that make a part worth a thread."""
_ELEMENTS: Final = 4096
"""The fewest elements of the extension field that make a part worth a thread."""

_i64, _i32, _i8, _u32, _u64, _f32 = (
    types.int64,
    types.int32,
    types.int8,
    types.uint32,
    types.uint64,
    types.float32,
)


@helper
def _butterflies(work: Any, first: Any, size: Any, top: Any, last: Any, bits: Any, twiddles: Any) -> None:
    """Transform ``size`` positions from ``first`` on at levels top, top - 1, ..., last.

    ``size`` is a multiple of 2^(top + 1), and ``work`` uint32 [2^bits _LANES].
    """
    p = np.uint32(P)
    for level in range(top, last - 1, -1):
        half = np.int64(1) << level
        before = (np.int64(1) << (bits - 1 - level)) - 1
        for block in range(first >> (level + 1), (first + size) >> (level + 1)):
            factor = np.uint64(twiddles[before + block])
            at = block * 2 * half * _LANES
            low = work[at : at + half * _LANES]
            high = work[at + half * _LANES : at + 2 * half * _LANES]
            for i in range(half * _LANES):
                product = np.uint64(high[i]) * factor
                # Folded once, a product below 2^62 is below 2^32; less p it is canonical.
                b = np.uint32(product & np.uint64(P)) + np.uint32(product >> np.uint64(31))
                b = min(b, np.uint32(b - p))
                a = low[i]
                s = np.uint32(a + b)
                low[i] = min(s, np.uint32(s - p))
                r = np.uint32(a - b)
                high[i] = min(r, np.uint32(r + p))


@kernel(types.void(_i64, _i64, read(_i8, 2), _i64, read(_u32, 1), write(_u32, 2)))
def _encode(a: Any, b: Any, rows: Any, bits: Any, twiddles: Any, out: Any) -> None:
    """Encode groups a..b of _LANES messages of rows [rows, length] into out [2^bits, rows]."""
    count, length = rows.shape
    size = np.int64(1) << bits
    work = np.empty(size * _LANES, np.uint32)
    for group in range(a, b):
        start = group * _LANES
        wide = min(_LANES, count - start)
        work[:] = 0
        for lane in range(wide):
            for j in range(length):
                v = np.int32(rows[start + lane, j])
                work[j * _LANES + lane] = np.uint32(v + np.int32(P) if v < 0 else v)
        near = min(bits, _NEAR)
        _butterflies(work, 0, size, bits - 1, near, bits, twiddles)
        for first in range(0, size, np.int64(1) << near):
            _butterflies(work, first, np.int64(1) << near, near - 1, 0, bits, twiddles)
        for j in range(size):
            for lane in range(wide):
                out[j, start + lane] = work[j * _LANES + lane]


def circle_words(rows: I8, bits: int, twiddles: U32) -> U32:
    """See :meth:`proofcompute.freivalds.checks.Checks.circle_words`."""
    check_encode(rows, bits, twiddles)
    out = np.empty((1 << bits, len(rows)), np.uint32)
    if len(rows):
        groups = -(-len(rows) // _LANES)
        threads.split(
            _encode, groups, 1 + _PART // (_LANES << bits), np.ascontiguousarray(rows), bits, twiddles, out
        )
    return out


@kernel(types.boolean(_i64, _i64, read(_u32, 3), write(_i32, 3)))
def _balance(a: Any, b: Any, r: Any, out: Any) -> Any:
    """Write the balanced random rows of sets a..b of r [sets, k, n] into out, at the beginning of its rows.

    Return False if one of them holds a value that is not a canonical residue.
    """
    most = np.uint32(0)
    for i in range(a, b):
        for c in range(r.shape[1]):
            row = r[i, c]
            for t in range(row.size):
                most = max(most, row[t])
                out[i, c, t] = balanced(row[t])
    return np.int64(most) < P


_weigh_all, _weigh_one = emitted("dots", "weigh", DEGREE, _ROWS), emitted("dots", "weigh", 1, _ROWS)


@helper
def _fold(sums: Any) -> None:
    """Fold sums once: x = 2^31 h + l is h + l modulo p, at least -2^32 and below 2^32 + 2^31."""
    for i in range(sums.size):
        x = sums[i]
        sums[i] = (x & P) + (x >> np.int64(31))


@kernel(
    types.void(
        _i64,
        _i64,
        read(_i64, 1),
        _i64,
        read(_i32, 3),
        read(_f32, 1),
        read(_f32, 1),
        read(_f32, 1),
        read(_f32, 2),
        write(_i64, 1),
        write(_u32, 3),
        write(_f32, 2),
    )
)
def _sum(
    a: Any,
    b: Any,
    table: Any,
    n: Any,
    r: Any,
    sx: Any,
    sw: Any,
    bias: Any,
    residual: Any,
    found: Any,
    u: Any,
    out: Any,
) -> None:
    """Write pieces a..b of the columns of out [n, m] and of u [sets, k, m].

    ``found`` receives the least and the greatest value of each set. ``table`` [4 sets] holds for each set the
    address of its values, their number of bytes, the bits of one, and its shift. r [sets, k, >= n] holds
    balanced random rows, and zeros up to a multiple of _ROWS.

    Values of b bits are at most 2^(b - 1), and random numbers are below 2^30. So between two foldings sums
    grow by at most 2^(34 - b) 2^(b - 1) (2^30 - 1) = 2^63 - 2^33, and stay below 2^63.
    """
    sets, k, width = r.shape
    m = sw.size
    values, total = np.zeros((_ROWS, _PIECE), np.int32), np.empty((_ROWS, _PIECE), np.int64)
    sums = np.empty((sets, min(_BLOCK, b - a), k, _PIECE), np.int64)
    for i in range(sets):
        found[2 * i], found[2 * i + 1] = np.int64(2**31 - 1), np.int64(-(2**31))
    for start in range(a, b, _BLOCK):  # rows are read in order, as far as their sums stay near
        end = min(start + _BLOCK, b)
        sums[:] = 0
        for t in range(0, n, _ROWS):
            rows = min(_ROWS, n - t)
            for piece in range(start, end):
                first = piece * _PIECE
                size = min(_PIECE, m - first)
                some = bias[first : first + size] if bias.size else bias
                scales = sw[first : first + size]
                for i in range(sets):
                    address, bits = np.uint64(table[4 * i]), table[4 * i + 2]
                    for row in range(rows):
                        if t + _ROWS + row < n:
                            ask(address, bits, (t + _ROWS + row) * m + first, size)
                        unpack(address, table[4 * i + 1], bits, (t + row) * m + first, size, values[row])
                        low, high = limits_of(values[row], size)
                        found[2 * i], found[2 * i + 1] = min(found[2 * i], low), max(found[2 * i + 1], high)
                        if sets > 1:
                            add_shifted(values[row], size, table[4 * i + 3], i == 0, total[row])
                    steps, place, to_sums = (size + 15) // 16, i * k * width + t, sums[i, piece - start]
                    if k == DEGREE:
                        _weigh_all(values, _PIECE, r, place, width, steps, to_sums)
                    else:
                        for c in range(k):
                            _weigh_one(values, _PIECE, r, place + c * width, width, steps, to_sums[c])
                    if (t // _ROWS + 1) & ((np.int64(1) << (32 - bits)) - 1) == 0:
                        for c in range(k):
                            _fold(to_sums[c])
                for row in range(rows):
                    to = out[t + row, first : first + size]
                    rest = residual[t + row, first : first + size] if residual.size else bias[:0]
                    if sets > 1:
                        scale(total[row], sx[t + row], scales, some, rest, to)
                    else:
                        scale(values[row], sx[t + row], scales, some, rest, to)
        for i in range(sets):
            for c in range(k):
                for j in range(start * _PIECE, min(end * _PIECE, m)):
                    piece, at = j // _PIECE, j % _PIECE
                    place = (at & ~15) + (at & 1) * 8 + (at & 15) // 2  # where _weigh_all puts it
                    u[i, c, j] = np.uint32(residue(sums[i, piece - start, c, place]))


def sum_hint(hint: WeighedHint) -> SummedHint:
    """See :meth:`proofcompute.freivalds.checks.Checks.sum_hint`."""
    n, m = check_weighed(hint)
    packed, shifts, r, sx, sw, bias, residual = hint
    held = []  # keeps the arrays alive while their addresses are used
    table: list[int] = []
    for (bits, data), shift in zip(packed, shifts, strict=True):
        check_packed(data, bits, n * m)
        held.append(np.frombuffer(data, np.uint8))
        table += (address_of(held[-1]), held[-1].size, bits, shift)
    places, k = np.array(table, np.int64), r.shape[1]
    near = np.zeros((len(packed), k, up(n, _ROWS)), np.int32)
    if not _balance(0, len(packed), np.ascontiguousarray(r), near):
        raise not_canonical()
    u, out = np.empty((len(packed), k, m), np.uint32), np.empty((n, m), np.float32)
    bias, residual = NO_BIAS if bias is None else bias, NO_RESIDUAL if residual is None else residual
    parts: list[list[int]] = []

    def part(a: int, b: int) -> None:
        found = np.empty(2 * len(packed), np.int64)
        _sum(a, b, places, n, near, sx, sw, bias, residual, found, u, out)
        parts.append(found.tolist())

    pieces = -(-m // _PIECE)
    threads.split(part, pieces, 1 + _PART // (_PIECE * n * len(packed)))
    extremes = [(min(x[2 * i] for x in parts), max(x[2 * i + 1] for x in parts)) for i in range(len(packed))]
    return SummedHint(extremes, u, out)


@helper
def _product(x: Any, y: Any, t: Any, at: Any, degree: Any) -> Any:
    """Return the coefficient of z^degree of x[:, t] y[:, at].

    The sum of folded products is below 2^38, so folded once it is at most p + 2^7.
    """
    p, bits = np.uint64(P), np.uint64(31)
    low, high = np.uint64(0), np.uint64(0)
    for i in range(DEGREE):
        j = degree - i if i <= degree else degree - i + DEGREE
        product = np.uint64(np.uint32(x[i, t])) * np.uint64(np.uint32(y[j, at]))
        folded = (product & p) + (product >> bits)
        if i <= degree:
            low += folded
        else:
            high += folded
    whole = low + np.uint64(7) * high
    whole = (whole & p) + (whole >> bits)
    return min(whole, whole - p)


@kernel(types.void(_i64, _i64, read(_u64, 2), read(_u64, 2), write(_u64, 2)))
def _multiply(a: Any, b: Any, x: Any, y: Any, out: Any) -> None:
    """Write products a..b of x [6, n] and y [6, n] or [6, 1] into out [6, n]."""
    if y.shape[1] > 1:
        for degree in range(DEGREE):
            for t in range(a, b):
                out[degree, t] = _product(x, y, t, t, degree)
    else:
        for degree in range(DEGREE):
            for t in range(a, b):
                out[degree, t] = _product(x, y, t, 0, degree)


def multiply(x: U64, y: U64) -> U64:
    """See :meth:`proofcompute.freivalds.checks.Checks.multiply_extension`."""
    if x.shape[1] == 1:
        x, y = y, x
    check_elements(x, y)
    out = np.empty(x.shape, np.uint64)
    if x.shape[1]:
        threads.split(_multiply, x.shape[1], _ELEMENTS, np.ascontiguousarray(x), np.ascontiguousarray(y), out)
    return out
