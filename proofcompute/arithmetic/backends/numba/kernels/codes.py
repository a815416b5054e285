"""Encode messages as words of circle codes, sum hints up under random rows, and multiply in the extension.

:mod:`proofcompute.codes.circle`, :mod:`proofcompute.arithmetic.definition.hints` and
:mod:`proofcompute.codes.extension` define the results.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.arguments import NO_BIAS, NO_RESIDUAL
from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import helper
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
_PIECE: Final = 512
"""The number of values of a row that are unpacked at a time."""
_ROWS: Final = 4
"""The number of rows that are unpacked together, an even one."""
_WHOLE: Final = 24
"""The most bits of values that are multiplied with whole random numbers: 2^23 2^30 is 2^53."""
_EACH: Final = 1 << 6
"""The number of groups of rows between two reductions of the sums: 2^53 2^8 = 2^61; of halves, less."""
_PART: Final = 100_000
"""The fewest values that make a part worth a thread."""
_ELEMENTS: Final = 4096
"""The fewest elements of the extension field that make a part worth a thread."""

_i64, _i8, _u32, _u64, _f32 = types.int64, types.int8, types.uint32, types.uint64, types.float32


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


@helper
def _weigh(values: Any, rows: Any, count: Any, bits: Any, t: Any, r: Any, sums: Any) -> None:
    """Add values[:rows, :count], rows t..t+rows of a set, times columns of r [k, n], to sums [k, 2, ...].

    The values have ``bits`` bits. If they are few, sums[c, 0] takes the whole of each random number; else
    sums[c, 0] takes the low and sums[c, 1] the high half.
    """
    for c in range(r.shape[0]):
        low, high = sums[c, 0], sums[c, 1]
        for row in range(0, rows, 2):
            first, second = values[row], values[row + 1]
            x = balanced(r[c, t + row])
            y = balanced(r[c, t + row + 1]) if row + 1 < rows else np.int32(0)
            if bits <= _WHOLE:
                a, b = np.int64(x), np.int64(y)
                for i in range(count):
                    low[i] += np.int64(first[i]) * a + np.int64(second[i]) * b
            else:
                a, b = np.int64(np.int16(x)), np.int64(np.int16(y))
                for i in range(count):
                    low[i] += np.int64(first[i]) * a + np.int64(second[i]) * b
                a = np.int64((x - np.int32(np.int16(x))) >> np.int32(16))
                b = np.int64((y - np.int32(np.int16(y))) >> np.int32(16))
                for i in range(count):
                    high[i] += np.int64(first[i]) * a + np.int64(second[i]) * b


@helper
def _reduce(sums: Any, count: Any) -> None:
    """Replace sums [k, 2, ...] by their residues."""
    for c in range(sums.shape[0]):
        for i in range(count):
            sums[c, 0, i] = residue(sums[c, 0, i])
            sums[c, 1, i] = residue(sums[c, 1, i])


@kernel(
    types.boolean(
        _i64,
        _i64,
        read(_i64, 1),
        read(_u32, 3),
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
    r: Any,
    sx: Any,
    sw: Any,
    bias: Any,
    residual: Any,
    found: Any,
    u: Any,
    out: Any,
) -> Any:
    """Write pieces a..b of the columns of out [n, m] and of u [sets, k, m].

    ``found`` receives the least and the greatest value of each set. ``table`` [4 sets] holds for each set the
    address of its values, their number of bytes, the bits of one, and its shift. Return False if r [sets, k,
    n] holds a value that is not a canonical residue.
    """
    sets, k, n = r.shape
    m = sw.size
    values, total = np.zeros((_ROWS, _PIECE), np.int32), np.empty((_ROWS, _PIECE), np.int64)
    sums = np.empty((sets, k, 2, _PIECE), np.int64)
    most = np.uint32(0)
    for i in range(sets):
        found[2 * i], found[2 * i + 1] = np.int64(2**31 - 1), np.int64(-(2**31))
        for c in range(k):
            for t in range(n):
                most = max(most, r[i, c, t])
    for piece in range(a, b):
        first = piece * _PIECE
        size = min(_PIECE, m - first)
        some = bias[first : first + size] if bias.size else bias
        scales = sw[first : first + size]
        sums[:] = 0
        for t in range(0, n, _ROWS):
            rows = min(_ROWS, n - t)
            for i in range(sets):
                address, bits = np.uint64(table[4 * i]), table[4 * i + 2]
                for row in range(rows):
                    ask(address, bits, (t + row + 1) * m + first, size)
                    unpack(address, table[4 * i + 1], bits, (t + row) * m + first, size, values[row])
                    low, high = limits_of(values[row], size)
                    found[2 * i], found[2 * i + 1] = min(found[2 * i], low), max(found[2 * i + 1], high)
                    if sets > 1:
                        add_shifted(values[row], size, table[4 * i + 3], i == 0, total[row])
                _weigh(values, rows, size, bits, t, r[i], sums[i])
                if t // _ROWS % _EACH == _EACH - 1:
                    _reduce(sums[i], size)
            for row in range(rows):
                to = out[t + row, first : first + size]
                rest = residual[t + row, first : first + size] if residual.size else bias[:0]
                if sets > 1:
                    scale(total[row], sx[t + row], scales, some, rest, to)
                else:
                    scale(values[row], sx[t + row], scales, some, rest, to)
        for i in range(sets):
            for c in range(k):
                for j in range(size):
                    high = residue(sums[i, c, 1, j]) * np.int64(1 << 16)
                    u[i, c, first + j] = np.uint32(residue(residue(sums[i, c, 0, j]) + high))
    return np.int64(most) < P


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
    places, r = np.array(table, np.int64), np.ascontiguousarray(r)
    u, out = np.empty((len(packed), r.shape[1], m), np.uint32), np.empty((n, m), np.float32)
    bias, residual = NO_BIAS if bias is None else bias, NO_RESIDUAL if residual is None else residual
    parts: list[list[int]] = []

    def part(a: int, b: int) -> bool:
        found = np.empty(2 * len(packed), np.int64)
        good = _sum(a, b, places, r, sx, sw, bias, residual, found, u, out)
        parts.append(found.tolist())
        return bool(good)

    pieces = -(-m // _PIECE)
    if not threads.split(part, pieces, 1 + _PART // (_PIECE * n * len(packed))):
        raise not_canonical()
    extremes = [(min(x[2 * i] for x in parts), max(x[2 * i + 1] for x in parts)) for i in range(len(packed))]
    return SummedHint(extremes, u, out)


@kernel(types.void(_i64, _i64, read(_u64, 2), read(_u64, 2), write(_u64, 2)))
def _multiply(a: Any, b: Any, x: Any, y: Any, out: Any) -> None:
    """Write products a..b of x [6, n] and y [6, n] or [6, 1] into out [6, n]."""
    step = np.int64(y.shape[1] > 1)
    p, bits = np.uint64(P), np.uint64(31)
    for t in range(a, b):
        at = t * step
        for degree in range(DEGREE):
            low, high = np.uint64(0), np.uint64(0)
            for i in range(DEGREE):
                j = degree - i if i <= degree else degree - i + DEGREE
                product = x[i, t] * y[j, at]
                folded = (product & p) + (product >> bits)
                if i <= degree:
                    low += folded
                else:
                    high += folded
            out[degree, t] = (low + np.uint64(7) * high) % p


def multiply(x: U64, y: U64) -> U64:
    """See :meth:`proofcompute.freivalds.checks.Checks.multiply_extension`."""
    if x.shape[1] == 1:
        x, y = y, x
    check_elements(x, y)
    out = np.empty(x.shape, np.uint64)
    if x.shape[1]:
        threads.split(_multiply, x.shape[1], _ELEMENTS, np.ascontiguousarray(x), np.ascontiguousarray(y), out)
    return out
