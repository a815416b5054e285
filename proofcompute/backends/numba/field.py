"""Freivalds projections over GF(2^31 - 1) (proofcompute.field defines them).

The arithmetic, and why 64 bits are enough, is :mod:`proofcompute.backends.scalar.field31`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types
from numba.extending import intrinsic

from proofcompute.backends.numba import threads
from proofcompute.backends.numba.cache import helper, kernel, read, write
from proofcompute.backends.numba.vector import (
    BYTE,
    LANES,
    LONG,
    SHORT,
    WORD,
    constant,
    interleave,
    load,
    loop,
    multiply_add,
    offset,
    pointer,
    prefetch,
    splat,
    store,
    total,
    vector,
)
from proofcompute.backends.scalar.field31 import P, balanced, residue
from proofcompute.backends.scalar.field31 import total as total_of
from proofcompute.errors import InputError
from proofcompute.field import P31
from proofcompute.kernels import I32, U32, Array

__all__ = ["balanced_columns", "dot_one", "dot_two", "fold", "project"]

_ROWS: Final = 32
"""Rows of w that :func:`fold` takes in one pass over its sums."""
_AHEAD_IN_ROW: Final = 512
"""Bytes by which :func:`fold` asks for each of its rows in advance."""
_STEP: Final = 2 * LANES
"""Elements that one step of a projection takes."""
_BYTE_STEPS: Final = 128
"""Most steps of a projection of bytes between two additions to int64."""
_LINE: Final = 64
"""Bytes of a cache line."""
_AHEAD: Final = 1 << 14
"""Bytes by which a projection asks for y in advance: 2.6 times the speed without, measured."""
_PART: Final = 200_000
"""Products of a part that is worth a thread."""

_i64, _i32, _i8, _u32 = types.int64, types.int32, types.int8, types.uint32


def _dot(columns: int, ahead: int) -> Any:
    """The intrinsic below for one column or two, which read y once and ask for it ``ahead`` bytes before."""

    def halves(b: Any, base: Any, index: Any) -> tuple[Any, Any]:
        """16 int32 as the 8 even and the 8 odd ones, int64."""
        both = b.bitcast(load(b, base, index, WORD, LANES), vector(LONG, LANES // 2))
        shift = constant(LONG, LANES // 2, 32)
        return b.ashr(b.shl(both, shift), shift), b.ashr(both, shift)

    @intrinsic
    def dot(context: Any, y: Any, at: Any, s: Any, first: Any, stride: Any, steps: Any, out: Any) -> Any:
        """out[c, 0] = T and out[c, 1] = H of y[at + i] * s[first + c stride + i], i < 32 steps; flat."""
        signature = types.void(y, types.intp, s, types.intp, types.intp, types.intp, out)

        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            y, s, out = (pointer(context, b, sig.args[i], args[i]) for i in (0, 2, 6))
            at, first, stride, steps = (args[i] for i in (1, 3, 4, 5))
            shift = constant(LONG, LANES // 2, 32)

            def body(i: Any, sums: list[Any]) -> list[Any]:
                place = offset(b, at, i, _STEP)
                for line in range(0, 4 * _STEP if ahead else 0, _LINE):
                    prefetch(b, y, offset(b, LONG(ahead + line), place, 4))
                values = [x for j in (0, LANES) for x in halves(b, y, offset(b, place, j))]
                after = []
                for c in range(columns):
                    place = offset(b, offset(b, first, i, _STEP), stride, c)
                    factors = [x for j in (0, LANES) for x in halves(b, s, offset(b, place, j))]
                    products = [b.mul(x, f) for x, f in zip(values, factors, strict=True)]
                    four = b.add(b.add(products[0], products[1]), b.add(products[2], products[3]))
                    after += [b.add(sums[2 * c], four), b.add(sums[2 * c + 1], b.ashr(four, shift))]
                return after

            zero = constant(LONG, LANES // 2, 0)
            for i, lanes in enumerate(loop(b, steps, [zero] * (2 * columns), body)):
                store(b, b.bitcast(total(b, lanes), vector(LONG, 1)), out, LONG(i), LONG)
            return context.get_dummy_value()

        return signature, code

    return dot


_dot_one, _dot_two = _dot(1, _AHEAD), _dot(2, _AHEAD)
dot_one, dot_two = _dot(1, 0), _dot(2, 0)
"""The same for y that lies in a near cache."""


@kernel(types.boolean(_i64, _i64, read(_u32, 2), write(_i32, 2)))
def _balance(a: Any, b: Any, s: Any, out: Any) -> Any:
    """Rows a..b of s as balanced representatives. False if one is not a canonical residue."""
    good: Any = True
    for c in range(a, b):
        row = s[c]
        to = out[c]
        for i in range(row.size):
            good = good and np.int64(row[i]) < P
            to[i] = balanced(row[i])
    return good


@kernel(types.void(_i64, _i64, read(_i32, 2), read(_i32, 2), write(_u32, 2)))
def _project_words(a: Any, b: Any, y: Any, s: Any, out: Any) -> None:
    """Rows a..b of out [n, k] for y int32 [n, m] and balanced s int32 [k, m]."""
    m = y.shape[1]
    k = s.shape[0]
    whole = m // _STEP * _STEP
    sums = np.zeros((2, 2), np.int64)
    for t in range(a, b):
        for c in range(0, k, 2):
            if c + 1 < k:
                _dot_two(y, t * m, s, c * m, m, whole // _STEP, sums)
            else:
                _dot_one(y, t * m, s, c * m, m, whole // _STEP, sums)
            for e in range(min(2, k - c)):
                value = total_of(sums[e, 0], sums[e, 1])
                for i in range(whole, m):
                    value += residue(np.int64(y[t, i]) * np.int64(s[c + e, i]))
                out[t, c + e] = residue(value)


def _dot_bytes(columns: int) -> Any:
    @intrinsic
    def dot(context: Any, y: Any, at: Any, s: Any, first: Any, stride: Any, steps: Any, out: Any) -> Any:
        """out[c, h] += sum of y[at + i] * s[first + (2 c + h) stride + i], i < 32 steps; flat.

        y int8, s int16, out int64; a lane adds two products of at most 2^22 a step, so steps <= 128.
        """
        signature = types.void(y, types.intp, s, types.intp, types.intp, types.intp, out)

        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            y, s, out = (pointer(context, b, sig.args[i], args[i]) for i in (0, 2, 6))
            at, first, stride, steps = (args[i] for i in (1, 3, 4, 5))

            def body(i: Any, sums: list[Any]) -> list[Any]:
                place = offset(b, at, i, _STEP)
                prefetch(b, y, b.add(place, LONG(_AHEAD)))
                row = b.sext(load(b, y, place, BYTE, _STEP), vector(SHORT, _STEP))
                start = offset(b, first, i, _STEP)
                halves = (load(b, s, offset(b, start, stride, c), SHORT, _STEP) for c in range(2 * columns))
                return [multiply_add(b, lanes, row, half) for lanes, half in zip(sums, halves, strict=True)]

            zero = constant(WORD, LANES, 0)
            for i, lanes in enumerate(loop(b, steps, [zero] * (2 * columns), body)):
                known = load(b, out, LONG(i), LONG, 1)
                store(b, b.add(known, b.bitcast(total(b, lanes), known.type)), out, LONG(i), LONG)
            return context.get_dummy_value()

        return signature, code

    return dot


_bytes_one, _bytes_two = _dot_bytes(1), _dot_bytes(2)


@helper
def _in_halves(s: Any) -> Any:
    """s int32 [k, m] as int16 [k, 2, m]: s = low + 2^16 high."""
    k, m = s.shape
    out = np.empty((k, 2, m), np.int16)
    for c in range(k):
        for i in range(m):
            low = np.int16(s[c, i])
            out[c, 0, i] = low
            out[c, 1, i] = np.int16((s[c, i] - np.int32(low)) >> np.int32(16))
    return out


@kernel(types.void(_i64, _i64, read(_i8, 2), read(_i32, 2), write(_u32, 2)))
def _project_bytes(a: Any, b: Any, y: Any, s: Any, out: Any) -> None:
    """The same for y int8 [n, m]."""
    m = y.shape[1]
    k = s.shape[0]
    halves = _in_halves(s)
    whole = m // _STEP * _STEP
    sums = np.empty((2, 2), np.int64)
    for t in range(a, b):
        for c in range(0, k, 2):
            sums[:] = 0
            for i in range(0, whole, _BYTE_STEPS * _STEP):
                steps = min(_BYTE_STEPS, (whole - i) // _STEP)
                first = 2 * c * m + i
                if c + 1 < k:
                    _bytes_two(y, t * m + i, halves, first, m, steps, sums)
                else:
                    _bytes_one(y, t * m + i, halves, first, m, steps, sums)
            for e in range(min(2, k - c)):
                value = residue(sums[e, 0]) + residue(sums[e, 1]) * np.int64(1 << 16)
                for i in range(whole, m):
                    value += residue(np.int64(y[t, i]) * np.int64(s[c + e, i]))
                out[t, c + e] = residue(value)


def _combine(columns: int) -> Any:
    @intrinsic
    def combine(
        context: Any, w: Any, at: Any, d: Any, pairs: Any, s: Any, first: Any, m: Any, out: Any, to: Any
    ) -> Any:
        """out[to + n d + i] += sum of w[at + j d + i] * s[first + n m + j], j < 2 pairs, i < 32; flat.

        For n < 2 columns. w int8, s int16, out int64; pairs <= 128, as for bytes above.
        """
        index = types.intp
        signature = types.void(w, index, index, index, s, index, index, out, index)

        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            w, s, out = (pointer(context, b, sig.args[i], args[i]) for i in (0, 4, 7))
            at, d, pairs, first, m, to = (args[i] for i in (1, 2, 3, 5, 6, 8))

            def body(j: Any, sums: list[Any]) -> list[Any]:
                start = offset(b, at, b.mul(j, d), 2)
                rows = []
                for e in range(2):
                    place = offset(b, start, d, e)
                    prefetch(b, w, b.add(place, LONG(_AHEAD_IN_ROW)))
                    rows.append(load(b, w, place, BYTE, _STEP))
                both = [b.sext(x, vector(SHORT, _STEP)) for x in interleave(b, *rows)]
                after = []
                for n in range(2 * columns):
                    factors = load(b, s, offset(b, offset(b, first, j, 2), m, n), SHORT, 2)
                    x = b.bitcast(splat(b, b.bitcast(factors, WORD), LANES), vector(SHORT, _STEP))
                    after += [multiply_add(b, sums[2 * n + e], both[e], x) for e in range(2)]
                return after

            zero = constant(WORD, LANES, 0)
            for i, lanes in enumerate(loop(b, pairs, [zero] * (4 * columns), body)):
                place = offset(b, b.add(to, LONG(i % 2 * LANES)), d, i // 2)
                known = load(b, out, place, LONG, LANES)
                store(b, b.add(known, b.sext(lanes, known.type)), out, place, LONG)
            return context.get_dummy_value()

        return signature, code

    return combine


_combine_one, _combine_two = _combine(1), _combine(2)


@helper
def _fold_some(w: Any, s: Any, halves: Any, j: Any, last: Any, out: Any) -> None:
    """out[c, h] += rows j..last of w combined by halves h of columns c; at most _ROWS rows."""
    m, d = w.shape
    k = s.shape[0]
    pairs = (last - j) // 2
    whole = d // _STEP * _STEP
    for i in range(0, whole, _STEP):
        for c in range(0, k, 2):
            first, to = 2 * c * m + j, 2 * c * d + i
            if c + 1 < k:
                _combine_two(w, j * d + i, d, pairs, halves, first, m, out, to)
            else:
                _combine_one(w, j * d + i, d, pairs, halves, first, m, out, to)
    for c in range(k):
        for h in range(2):
            for r in range(j, last):
                begin = whole if r < j + 2 * pairs else 0
                factor = np.int64(halves[c, h, r])
                for i in range(begin, d):
                    out[c, h, i] += np.int64(w[r, i]) * factor


@kernel(types.void(_i64, _i64, read(_i8, 2), read(_i32, 2), write(_i64, 4)))
def _fold_parts(a: Any, b: Any, w: Any, s: Any, out: Any) -> None:
    """Parts a..b of the rows of w int8 [m, d], of len(out) parts: each its own out[part] [k, 2, d]."""
    parts = out.shape[0]
    m = w.shape[0]
    halves = _in_halves(s)
    for part in range(a, b):
        out[part] = 0
        last = m * (part + 1) // parts
        for j in range(m * part // parts, last, _ROWS):
            _fold_some(w, s, halves, j, min(j + _ROWS, last), out[part])


def _columns(y: Array, s: U32, m: int) -> I32:
    """s balanced; InputError unless the shapes and types are as they should be."""
    if y.ndim != 2 or y.dtype.name not in ("int8", "int16", "int32"):
        raise InputError(f"expected a matrix of int8, int16 or int32, not {y.dtype} {list(y.shape)}")
    return balanced_columns(s, m)


def balanced_columns(s: U32, m: int) -> I32:
    """Columns [k, m] balanced; InputError unless they are canonical residues of that shape."""
    if s.ndim != 2 or s.dtype != np.uint32 or s.shape[1] != m:
        raise InputError(f"expected columns uint32 [k, {m}], not {s.dtype} {list(s.shape)}")
    out = np.empty(s.shape, dtype=np.int32)
    if not _balance(0, len(s), s, out):
        raise InputError("a column holds a value that is not a canonical residue")
    return out


def project(y: Array, s: U32) -> U32:
    """y int8, int16 or int32 [n, m] times the columns s [k, m] of residues: residues [n, k].

    InputError for other types or shapes, or s >= P31.
    """
    columns = _columns(y, s, y.shape[-1])
    if y.dtype == np.int16:
        y = y.astype(np.int32)
    out = np.empty((len(y), len(s)), dtype=np.uint32)
    least = _PART // max(1, y.shape[1] * len(s))
    threads.split(_project_bytes if y.dtype == np.int8 else _project_words, len(y), least, y, columns, out)
    return out


def fold(w: Array, s: U32) -> U32:
    """The rows of w int8, int16 or int32 [m, d] combined by s [k, m] of residues: residues [k, d].

    InputError as :func:`project`.
    """
    columns = _columns(w, s, len(w))
    if w.dtype != np.int8:
        return np.ascontiguousarray(project(np.ascontiguousarray(w.T), s).T)
    parts = threads.size() if w.size * len(s) >= 2 * _PART else 1
    sums = np.empty((parts, len(s), 2, w.shape[1]), dtype=np.int64)
    threads.split(_fold_parts, parts, 1, w, columns, sums)
    low, high = np.moveaxis(sums.sum(axis=0) % P31, 1, 0)
    return np.asarray((low + (high << 16)) % P31, dtype=np.uint32)
