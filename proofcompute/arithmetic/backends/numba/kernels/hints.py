"""Check a product's hint in one pass over its bytes.

:mod:`proofcompute.arithmetic.definition.hints` defines the check. Rows are read in pieces that stay in the
first-level cache. Each piece is unpacked set by set, its limits are taken, it is projected, and it is turned
into floats. Nothing of the size of the accumulators is ever written, and a group of rows reads the columns
once. The same call projects what the sets should be and compares.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic import contracts
from proofcompute.arithmetic.backends.numba.arguments import NO_BIAS, NO_RESIDUAL
from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import emitted, helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import LANES
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.kernels.field import few_bytes
from proofcompute.arithmetic.backends.numba.kernels.products import scaled
from proofcompute.arithmetic.backends.numba.kernels.unpacking import ask, byte, unpack
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.backends.scalar.field31 import P, residue
from proofcompute.arithmetic.backends.scalar.field31 import total as total_of
from proofcompute.arithmetic.definition.bitpack import check_packed
from proofcompute.arithmetic.definition.hints import check_sets
from proofcompute.arrays import I8
from proofcompute.freivalds.field import not_canonical
from proofcompute.freivalds.hint import CheckedHint, Hint

__all__ = ["check_hint", "largest_square"]

_STEP: Final = 2 * LANES
"""The number of values that one step of a projection takes."""
_PIECE: Final = 1024
"""The number of values unpacked at a time; a multiple of the step of a projection."""
_SMALL: Final = 23
"""The most bits of a value for which a piece's sum of products fits an int64: 2^22 2^31 1024 = 2^63."""
_ROWS: Final = 16
"""The number of rows that are read together."""
_PART: Final = 100_000
"""The fewest values that make a part worth a thread."""
_SQUARES: Final = 200_000
"""The fewest elements to square that make a part worth a thread."""
_BLOCK: Final = 16
"""The number of rows whose largest sum of squares is taken at a time."""
_COLUMNS: Final = 9
"""The number of columns of a table of sets; see :func:`_check`."""

_i64, _i32, _i16, _i8, _u8, _u32, _f32 = (
    types.int64,
    types.int32,
    types.int16,
    types.int8,
    types.uint8,
    types.uint32,
    types.float32,
)


@kernel(types.int64(read(_u8, 1)))
def address_of(x: Any) -> Any:
    """Return the address at which an array begins."""
    return x.ctypes.data


_dot_one, _dot_two = (emitted("dots", "dot", "int32", n, 1, near=True) for n in (1, 2))
_small_one, _small_two = (emitted("dots", "dot", "int32", n, 1, near=True, small=True) for n in (1, 2))


@helper
def _project(
    values: Any, count: Any, bits: Any, s: Any, first: Any, m: Any, sums: Any, seen: Any, out: Any
) -> None:
    """Add values[:count] times column c of s from ``first`` on to out[c], as residues.

    ``bits`` is the width of the values. ``seen`` is as in :mod:`..codegen.dots`.
    """
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


# These loops run over whole slices by one index, since only such loops become vectors.
@helper
def limits_of(values: Any, count: Any) -> Any:
    """Return the least and the greatest of values[:count]."""
    low, high = values[0], values[0]
    for i in range(count):
        low, high = min(low, values[i]), max(high, values[i])
    return low, high


@helper
def add_shifted(values: Any, count: Any, shift: Any, first: Any, total: Any) -> None:
    """Set total to values << shift for the first set, and add it for every other set."""
    if first:
        for i in range(count):
            total[i] = np.int64(values[i]) << shift
    else:
        for i in range(count):
            total[i] += np.int64(values[i]) << shift


@helper
def scale(total: Any, scale: Any, sw: Any, bias: Any, rest: Any, out: Any) -> None:
    """Turn sums into floats with the channels' scales and biases, and add ``rest`` unless it is empty."""
    for i in range(out.size):
        out[i] = scaled(total[i], scale * sw[i], i, bias)
    if rest.size:
        for i in range(out.size):
            out[i] = rest[i] + out[i]


@helper
def _read_rows(
    a: Any,
    b: Any,
    sets: Any,
    s: Any,
    sx: Any,
    sw: Any,
    bias: Any,
    residual: Any,
    limits: Any,
    left: Any,
    out: Any,
) -> Any:
    """Read rows a..b for :func:`_check` into limits [sets, 2], projections left [sets, n, k], and out.

    Return False if s holds a value that is not a canonical residue.
    """
    m = sw.size
    count = sets.shape[0]
    values = np.empty(_PIECE, np.int32)
    total = np.empty(_PIECE, np.int64)
    sums = np.empty((2, 2), np.int64)
    seen = np.zeros(LANES, np.uint32)
    left[:, a:b] = 0
    limits[:, 0], limits[:, 1] = np.int32(2**31 - 1), np.int32(-(2**31))
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
                    low, high = limits_of(values, size)
                    limits[i, 0], limits[i, 1] = min(limits[i, 0], low), max(limits[i, 1], high)
                    _project(values, size, bits, s, first, m, sums, seen, left[i, t])
                    if count > 1:
                        add_shifted(values, size, sets[i, 3], i == 0, total)
                to, scales = out[t, first : first + size], sw[first : first + size]
                rest = residual[t, first : first + size] if residual.size else bias[:0]
                if count > 1:
                    scale(total, sx[t], scales, some, rest, to)
                else:  # a single set has no shift
                    scale(values, sx[t], scales, some, rest, to)
    return np.int64(seen.max()) < P


@helper
def _fits(sets: Any, s: Any, sx: Any, sw: Any, bias: Any, residual: Any, q: Any, v: Any) -> Any:
    """Return whether ``check_sets`` and ``check_packed`` of the definition accept the arguments."""
    limbs, n, d = q.shape
    k, m = s.shape
    count = sets.shape[0]
    good = sx.size == n and sw.size == m and v.shape[1] == k and v.shape[2] == d
    good &= (bias.size == 0 or bias.size == m) and n > 0 and m > 0 and k > 0 and count > 0
    good &= residual.size == 0 or (residual.shape[0] == n and residual.shape[1] == m)
    good &= count > 1 or sets[0, 3] == 0
    for i in range(count):
        address, size, bits = np.uint64(sets[i, 0]), sets[i, 1], sets[i, 2]
        first, some, w_limb, start, stop = sets[i, 4], sets[i, 5], sets[i, 6], sets[i, 7], sets[i, 8]
        good &= 0 <= start and start < stop and stop <= d and 0 <= w_limb and w_limb < v.shape[0]
        good &= 0 <= first and 1 <= some and some <= 2 and first + some <= limbs
        good &= 1 <= bits and bits <= 32 and size == (n * m * bits + 7) // 8
        if good:
            spare = 8 * size - n * m * bits
            good &= byte(address, size - 1) >> np.uint64(8 - spare) == 0
    return good


@helper
def _claim(a: Any, b: Any, claim: Any, q: Any, v: Any, right: Any) -> Any:
    """Write the projections that rows a..b of a set have, if it is as claimed, into right [n, k].

    ``claim`` is a row of the table of :func:`_check`. Return False if v holds a value that is not a canonical
    residue.
    """
    limbs, n, d = q.shape
    k = v.shape[1]
    first, some, w_limb, start, stop = claim[4], claim[5], claim[6], claim[7], claim[8]
    rows = q.reshape((limbs * n, d))
    found = np.empty((some * n, k), np.uint32)
    good = True
    if stop - start < d:  # only a set of very long rows covers a part of them
        width = stop - start
        piece, columns = np.empty((some * n, width), np.int8), np.empty((k, width), np.uint32)
        for c in range(k):
            for i in range(width):
                columns[c, i] = v[w_limb, c, start + i]
        for t in range(some * n):
            for i in range(width):
                piece[t, i] = rows[first * n + t, start + i]
        for limb in range(some):
            good &= few_bytes(limb * n + a, limb * n + b, piece, columns, found)
    else:
        piece = rows[first * n : (first + some) * n]
        if b - a == n:  # the two limbs of one row are projected together
            good &= few_bytes(0, some * n, piece, v[w_limb], found)
        else:
            for limb in range(some):
                good &= few_bytes(limb * n + a, limb * n + b, piece, v[w_limb], found)
    for t in range(a, b):
        for c in range(k):
            value = found[t, c]
            if some == 2:
                value = np.uint32(residue(256 * np.int64(value) + np.int64(found[n + t, c])))
            right[t, c] = value
    return good


@kernel(
    types.boolean(
        _i64,
        _i64,
        read(_i64, 1),
        read(_u32, 2),
        read(_f32, 1),
        read(_f32, 1),
        read(_f32, 1),
        read(_f32, 2),
        read(_i8, 3),
        read(_u32, 3),
        write(_i64, 1),
        write(_f32, 2),
    )
)
def _check(
    a: Any,
    b: Any,
    table: Any,
    s: Any,
    sx: Any,
    sw: Any,
    bias: Any,
    residual: Any,
    q: Any,
    v: Any,
    found: Any,
    out: Any,
) -> Any:
    """Write rows a..b of out [n, m], and check their sets.

    ``found`` receives the least and the greatest value of each set, and then whether a set differs from its
    claim. ``table`` [_COLUMNS sets] holds for each set the address of its values, their number of bytes and
    the bits of one, and from its claim the shift, the first limb, the number of limbs, the limb of W, and
    the range of columns. Return False if an argument does not fit the others or a column is not canonical.
    """
    count = table.size // _COLUMNS
    sets = table.reshape((count, _COLUMNS))
    if not _fits(sets, s, sx, sw, bias, residual, q, v):
        return False
    n, k = q.shape[1], s.shape[0]
    limits = np.empty((count, 2), np.int32)
    left = np.empty((count, n, k), np.uint32)
    right = np.empty((n, k), np.uint32)
    good = _read_rows(a, b, sets, s, sx, sw, bias, residual, limits, left, out)
    different = np.uint32(0)
    for i in range(count):
        found[2 * i], found[2 * i + 1] = limits[i, 0], limits[i, 1]
        good &= _claim(a, b, sets[i], q, v, right)
        for t in range(a, b):
            for c in range(k):
                different |= left[i, t, c] ^ right[t, c]
    found[2 * count] = different != 0
    return good


def check_hint(hint: Hint) -> CheckedHint:
    """See :meth:`proofcompute.arithmetic.kernels.Kernels.check_hint`."""
    q, sets, packed, s, v, sx, sw, bias, residual = hint
    n, m, count = q.shape[1], sw.size, len(packed)
    v = np.ascontiguousarray(v)
    # A kernel takes an empty bias for none, and knows limbs by the first one and their number.
    known = 0 < count == len(sets) and (bias is None or bias.size > 0)
    known &= (residual is None or residual.size > 0) and v.ndim == 3 and v.size > 0
    held = []  # keeps the arrays alive while their addresses are used
    table: list[int] = []
    for (bits, data), (start, stop, limbs, w_limb, shift, _) in zip(packed, sets, strict=False):
        x = np.frombuffer(data, np.uint8)
        held.append(x)
        known &= len(limbs) == 1 or limbs == (0, 1)
        table += (address_of(x), x.size, bits, shift, limbs[0], len(limbs), w_limb, start, stop)
    out = np.empty((n, m), np.float32)
    places = np.array(table, np.int64)
    bias, residual = NO_BIAS if bias is None else bias, NO_RESIDUAL if residual is None else residual
    parts: list[list[int]] = []

    def part(a: int, b: int) -> bool:
        found = np.empty(2 * count + 1, np.int64)
        good = _check(a, b, places, s, sx, sw, bias, residual, q, v, found, out)
        parts.append(found.tolist())
        return bool(good)

    if not (known and threads.split(part, n, _PART // max(1, count * m))):
        rows, columns = check_sets(hint)
        for bits, data in packed:
            check_packed(data, bits, rows * columns)
        raise not_canonical()  # the definition found nothing else wrong
    extremes = [(min(x[2 * i] for x in parts), max(x[2 * i + 1] for x in parts)) for i in range(count)]
    return CheckedHint(extremes, not any(x[-1] for x in parts), out)


@helper
def _square(q: Any, a: Any, b: Any) -> Any:
    """Return the largest sum of squares of a row among rows a..b of q [limbs, n, d], with limbs combined."""
    limbs = q.shape[0]
    largest = np.int64(0)
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
        largest = max(largest, squares)
    return largest


@kernel(_i64(read(_i8, 3)))
def _largest(q: Any) -> Any:
    """Return the largest sum of squares of a row of q."""
    return _square(q, 0, q.shape[1])


@kernel(types.void(_i64, _i64, read(_i8, 3), write(_i64, 1)))
def _each_largest(a: Any, b: Any, q: Any, out: Any) -> None:
    """Write the largest sum of squares of a row of each of the blocks a..b of _BLOCK rows to out."""
    for i in range(a, b):
        out[i] = _square(q, i * _BLOCK, min((i + 1) * _BLOCK, q.shape[1]))


def largest_square(q: I8) -> int:
    """See :meth:`proofcompute.arithmetic.kernels.Kernels.largest_square`."""
    contracts.largest_square(q)
    q = np.ascontiguousarray(q)
    least = _SQUARES // (_BLOCK * max(1, q.shape[2])) + 1
    blocks = -(-q.shape[1] // _BLOCK)
    if blocks < 2 * least:
        return int(_largest(q))
    out = np.empty(blocks, np.int64)
    threads.split(_each_largest, blocks, least, q, out)
    return int(out.max())
