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
    LANES,
    LONG,
    WORD,
    constant,
    load,
    loop,
    offset,
    pointer,
    store,
    total,
    vector,
)
from proofcompute.backends.scalar.field31 import P, balanced, residue
from proofcompute.backends.scalar.field31 import total as total_of
from proofcompute.errors import InputError
from proofcompute.field import P31
from proofcompute.kernels import I32, U32, Array

__all__ = ["fold", "project"]

_MOST: Final = 1 << 24
"""int8 products in one int64 sum."""
_ROWS: Final = 4
"""Rows of w that :func:`fold` takes in one pass over its sums."""
_STEP: Final = 2 * LANES
"""Elements that one step of a projection takes."""
_PART: Final = 200_000
"""Products of a part that is worth a thread."""

_i64, _i32, _i8, _u32 = types.int64, types.int32, types.int8, types.uint32


def _dot(columns: int) -> Any:
    """The intrinsic below for one column or two, which read y once."""

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


_dot_one, _dot_two = _dot(1), _dot(2)


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


@kernel(types.void(_i64, _i64, read(_i8, 2), read(_i32, 2), write(_u32, 2)))
def _project_bytes(a: Any, b: Any, y: Any, s: Any, out: Any) -> None:
    """The same for y int8 [n, m]."""
    m = y.shape[1]
    for t in range(a, b):
        for c in range(s.shape[0]):
            value = np.int64(0)
            for i in range(0, m, _MOST):
                row = y[t, i : i + _MOST]
                column = s[c, i : i + _MOST]
                total = np.int64(0)
                for j in range(row.size):
                    total += np.int64(row[j]) * np.int64(column[j])
                value += residue(total)
            out[t, c] = residue(value)


@helper
def _fold(w: Any, s: Any, first: Any, last: Any, out: Any) -> None:
    """out[k, d] += rows first..last of w combined by s, not reduced."""
    d = w.shape[1]
    whole = first + (last - first) // _ROWS * _ROWS
    for j in range(first, whole, _ROWS):
        w0 = w[j]
        w1 = w[j + 1]
        w2 = w[j + 2]
        w3 = w[j + 3]
        for c in range(s.shape[0]):
            s0 = np.int64(s[c, j])
            s1 = np.int64(s[c, j + 1])
            s2 = np.int64(s[c, j + 2])
            s3 = np.int64(s[c, j + 3])
            to = out[c]
            for i in range(d):
                to[i] += (
                    np.int64(w0[i]) * s0 + np.int64(w1[i]) * s1 + np.int64(w2[i]) * s2 + np.int64(w3[i]) * s3
                )
    for j in range(whole, last):
        row = w[j]
        for c in range(s.shape[0]):
            factor = np.int64(s[c, j])
            to = out[c]
            for i in range(d):
                to[i] += np.int64(row[i]) * factor


@kernel(types.void(_i64, _i64, read(_i8, 2), read(_i32, 2), write(_i64, 3)))
def _fold_parts(a: Any, b: Any, w: Any, s: Any, out: Any) -> None:
    """Parts a..b of the rows of w int8 [m, d], of len(out) parts: each its own out[part] [k, d], residues."""
    parts, k, d = out.shape
    m = w.shape[0]
    for part in range(a, b):
        to = out[part]
        to[:] = 0
        last = m * (part + 1) // parts
        for j in range(m * part // parts, last, _MOST):
            _fold(w, s, j, min(j + _MOST, last), to)
            for c in range(k):
                for i in range(d):
                    to[c, i] = residue(to[c, i])


def _columns(y: Array, s: U32, m: int) -> I32:
    """s balanced; InputError unless the shapes and types are as they should be."""
    if y.ndim != 2 or y.dtype.name not in ("int8", "int16", "int32"):
        raise InputError(f"expected a matrix of int8, int16 or int32, not {y.dtype} {list(y.shape)}")
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
    sums = np.empty((parts, len(s), w.shape[1]), dtype=np.int64)
    threads.split(_fold_parts, parts, 1, w, columns, sums)
    return np.asarray(sums.sum(axis=0) % P31, dtype=np.uint32)
