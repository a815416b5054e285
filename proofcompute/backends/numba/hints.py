"""A product's hint in one pass over its bytes (numerics.hints defines it).

A row is read in pieces that stay in the first-level cache: unpacked, its limits taken, projected, and turned
into floats, set by set. Nothing of the size of the accumulators is ever written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from llvmlite import ir

from proofcompute.backends.numba import signatures as types
from proofcompute.backends.numba import threads
from proofcompute.backends.numba.arguments import NO_BIAS
from proofcompute.backends.numba.cache import helper, intrinsic, kernel
from proofcompute.backends.numba.dots import dot
from proofcompute.backends.numba.field import check_columns, not_canonical
from proofcompute.backends.numba.products import scaled
from proofcompute.backends.numba.signatures import read, write
from proofcompute.backends.numba.vector import (
    BYTE,
    LANES,
    LONG,
    PERMUTES,
    WORD,
    constant,
    funnel,
    load,
    loop,
    permute,
    pointer,
    prefetch,
    splat,
    store,
    vector,
)
from proofcompute.backends.scalar.field31 import P, residue
from proofcompute.backends.scalar.field31 import total as total_of
from proofcompute.errors import InputError
from proofcompute.kernels import F32, I8, I64, U32, ReadHint
from proofcompute.numerics.bitpack import check_packed
from proofcompute.numerics.hints import Packed, check_sets
from proofcompute.numerics.products import LARGEST

__all__ = ["read_hint", "row_squares"]

_STEP: Final = 2 * LANES
"""Values that one step of a projection takes."""
_PIECE: Final = 1024
"""Values unpacked at a time; a multiple of the step of a projection."""
_PART: Final = 100_000
"""Values of a part that is worth a thread."""
_SQUARES: Final = 200_000
"""The same in elements squared."""
_LINE: Final = 64
"""Bytes of a cache line."""
_AHEAD: Final = 1 << 14
"""Bytes by which packed values are asked for in advance."""
_BLOCK: Final = 64
"""Bytes that 16 values are taken from at once, where the CPU can."""
_WORD: Final = 8
"""Bytes that one value is taken from: 32 bits and a shift of up to 7."""

_i64, _i32, _i8, _u32, _f32 = types.int64, types.int32, types.int8, types.uint32, types.float32


@intrinsic
def _word(context: Any, address: Any, at: Any) -> Any:
    """The 8 bytes from byte ``at`` after an address, as uint64; of any alignment."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        start = b.inttoptr(args[0], ir.PointerType(BYTE))
        place = b.bitcast(b.gep(start, [args[1]]), ir.PointerType(LONG))
        return b.load(place, align=1)

    return types.uint64(types.uint64, types.int64), code


@intrinsic
def _byte(context: Any, address: Any, at: Any) -> Any:
    """The byte ``at`` after an address, as uint64."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        start = b.inttoptr(args[0], ir.PointerType(BYTE))
        return b.zext(b.load(b.gep(start, [args[1]]), align=1), LONG)

    return types.uint64(types.uint64, types.int64), code


@intrinsic
def _ask(context: Any, address: Any, at: Any) -> Any:
    """Ask for the cache line of the byte ``at`` after an address."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        prefetch(b, b.inttoptr(args[0], ir.PointerType(BYTE)), args[1])
        return context.get_dummy_value()

    return types.void(types.uint64, types.int64), code


@intrinsic
def _groups(context: Any, address: Any, at: Any, shift: Any, bits: Any, count: Any, out: Any) -> Any:
    """16 ``count`` values into ``out``, from bit ``shift`` < 8 of byte ``at`` on; each 16 read 64 bytes."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        start = b.inttoptr(args[0], ir.PointerType(BYTE))
        at, shift, bits, count = args[1:5]
        to = pointer(context, b, sig.args[5], args[5])
        numbers = ir.Constant(vector(WORD, LANES), [WORD(i) for i in range(LANES)])
        wide = splat(b, b.trunc(bits, WORD), LANES)
        position = b.add(b.mul(numbers, wide), splat(b, b.trunc(shift, WORD), LANES))
        byte = b.lshr(position, constant(WORD, LANES, 3))
        amount = b.and_(position, constant(WORD, LANES, 7))
        low = b.add(b.mul(byte, constant(WORD, LANES, 0x01010101)), constant(WORD, LANES, 0x03020100))
        high = b.add(low, constant(WORD, LANES, 0x04040404))
        low, high = (b.bitcast(x, vector(BYTE, 64)) for x in (low, high))
        left = b.sub(constant(WORD, LANES, 32), wide)

        def body(i: Any, state: list[Any]) -> list[Any]:
            data = load(b, start, b.add(at, b.mul(i, b.shl(bits, LONG(1)))), BYTE, 64)
            above, below = (b.bitcast(permute(b, data, x), vector(WORD, LANES)) for x in (high, low))
            value = b.ashr(b.shl(funnel(b, above, below, amount), left), left)
            store(b, value, to, b.mul(i, LONG(LANES)), WORD)
            return []

        loop(b, count, [], body)
        return context.get_dummy_value()

    return types.void(address, at, shift, bits, count, out), code


def unpacker(permutes: bool) -> Any:
    """The function that unpacks a piece; with or without the instruction that few CPUs have."""

    @helper
    def unpack(address: Any, size: Any, bits: Any, first: Any, count: Any, out: Any) -> None:
        """Values first..first+count of packed integers into out; ``size`` bytes are at the address."""
        left = np.uint64(64 - bits)
        position = first * bits
        for line in range(0, count * bits >> 3, _LINE):
            _ask(address, (position >> 3) + _AHEAD + line)
        done = 0
        if permutes:
            inside = (size - (position >> 3) - _BLOCK) // (
                2 * bits
            ) + 1  # groups whose 64 bytes are all there
            groups = max(0, min(count // LANES, inside))
            _groups(address, position >> 3, position & 7, bits, groups, out)
            done = groups * LANES
        last = (size - _WORD) * 8 // bits + 1 if size >= _WORD else 0  # values whose word lies inside
        whole = min(count, max(done, last - first))
        for i in range(done, whole):
            place = position + i * bits
            word = _word(address, place >> 3) >> np.uint64(place & 7)
            out[i] = np.int32(np.int64(word << left) >> np.int64(left))
        for i in range(whole, count):
            place = position + i * bits
            word = np.uint64(0)
            for j in range(min(_WORD, size - (place >> 3))):
                word |= _byte(address, (place >> 3) + j) << np.uint64(8 * j)
            word >>= np.uint64(place & 7)
            out[i] = np.int32(np.int64(word << left) >> np.int64(left))

    return unpack


_unpack = unpacker(PERMUTES)


_dot_one, _dot_two = dot(WORD, 1, 1, near=True), dot(WORD, 2, 1, near=True)


@helper
def _project(values: Any, count: Any, s: Any, first: Any, m: Any, sums: Any, seen: Any, out: Any) -> None:
    """out[c] += values[:count] times columns c of s from ``first`` on, as residues; seen as in dots."""
    k = s.shape[0]
    whole = count // _STEP * _STEP
    for c in range(0, k, 2):
        if c + 1 < k:
            _dot_two(values, 0, m, s, c * m + first, whole // _STEP, sums, seen)
        else:
            _dot_one(values, 0, m, s, c * m + first, whole // _STEP, sums, seen)
        for e in range(min(2, k - c)):
            value = total_of(sums[e, 0], sums[e, 1])
            for i in range(whole, count):
                value += residue(np.int64(values[i]) * np.int64(s[c + e, first + i]))
                seen[0] = max(seen[0], s[c + e, first + i])
            out[c + e] = residue(out[c + e] + value)


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


@kernel(
    types.boolean(
        _i64,
        _i64,
        read(_i64, 2),
        read(_u32, 2),
        read(_f32, 1),
        read(_f32, 1),
        read(_f32, 1),
        write(_i32, 3),
        write(_u32, 3),
        write(_f32, 2),
    )
)
def _read(
    a: Any, b: Any, sets: Any, s: Any, sx: Any, sw: Any, bias: Any, limits: Any, projected: Any, out: Any
) -> Any:
    """Rows a..b. sets [sets, 4]: address, bytes, bits and shift; limits [n, sets, 2] of each row.

    False if s holds a value that is not a canonical residue.
    """
    m = sw.size
    k = s.shape[0]
    count = sets.shape[0]
    values = np.empty(_PIECE, np.int32)
    total = np.empty(_PIECE, np.int64)
    sums = np.empty((2, 2), np.int64)
    found = np.empty((count, k), np.int64)
    seen = np.zeros(LANES, np.uint32)
    for t in range(a, b):
        found[:] = 0
        for i in range(count):
            limits[t, i, 0], limits[t, i, 1] = np.int32(2**31 - 1), np.int32(-(2**31))
        for first in range(0, m, _PIECE):
            size = min(_PIECE, m - first)
            for i in range(count):
                _unpack(np.uint64(sets[i, 0]), sets[i, 1], sets[i, 2], t * m + first, size, values)
                low, high = _limits(values, size)
                limits[t, i, 0] = min(limits[t, i, 0], low)
                limits[t, i, 1] = max(limits[t, i, 1], high)
                _project(values, size, s, first, m, sums, seen, found[i])
                _sum(values, size, sets[i, 3], i == 0, total)
            some = bias[first : first + size] if bias.size else bias
            _scale(total, sx[t], sw[first : first + size], some, out[t, first : first + size])
        for i in range(count):
            for c in range(k):
                projected[i, t, c] = np.uint32(found[i, c])
    return np.int64(seen.max()) < P


def read_hint(
    sets: Sequence[tuple[int, Packed]],
    s: U32,
    shifts: Sequence[int],
    sx: F32,
    sw: F32,
    bias: F32 | None,
) -> ReadHint:
    """See :meth:`proofcompute.kernels.Kernels.read_hint`."""
    n, m = check_sets(sets, s, shifts, sx, sw, bias)
    for bits, data in sets:
        check_packed(data, bits, n * m)
    check_columns(s, m)
    held = [np.frombuffer(data, np.uint8) for _, data in sets]  # alive as long as their addresses are used
    table = np.array(
        [
            (x.__array_interface__["data"][0], x.size, bits, shift)
            for x, (bits, _), shift in zip(held, sets, shifts, strict=True)
        ],
        np.int64,
    )
    limits = np.empty((n, len(sets), 2), np.int32)
    projected = np.empty((len(sets), n, len(s)), np.uint32)
    out = np.empty((n, m), np.float32)
    least = _PART // (len(sets) * m)
    biases = NO_BIAS if bias is None else bias
    if not threads.split(_read, n, least, table, s, sx, sw, biases, limits, projected, out):
        raise not_canonical()
    low, high = limits[:, :, 0].min(axis=0), limits[:, :, 1].max(axis=0)
    return ReadHint([(int(x), int(y)) for x, y in zip(low, high, strict=True)], projected, out)


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
