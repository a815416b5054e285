"""Freivalds projections over GF(2^31 - 1) (proofcompute.field defines them).

*Exact in 64 bits.* |y s| < 2^31 2^31 = 2^62 for an int32 y and a residue s, so the sum of two such products
is an int64. Of a row of pair sums P the wrapped total T = sum P mod 2^64 and the high sum H = sum (P >> 32),
|H| < 2^31 per term, determine the value: the low halves sum to L = T - 2^32 H mod 2^64, which is exact
since it is below 2^32 per term and there are fewer than 2^32 terms. The result is 2^32 H + L mod p, and
2^32 = 2 modulo p. For int8 values |y s| < 2^38, and 2^24 of them fit an int64 as they are.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types

from proofcompute.backends.numba import threads
from proofcompute.backends.numba.cache import helper, kernel, read, write
from proofcompute.errors import InputError
from proofcompute.field import P31
from proofcompute.kernels import I32, U32, Array

__all__ = ["fold", "project"]

_P: Final = np.int64(P31)
_MOST: Final = 1 << 24
"""int8 products in one int64 sum."""
_ROWS: Final = 4
"""Rows of w that :func:`fold` takes in one pass over its sums."""
_PART: Final = 200_000
"""Products of a part that is worth a thread."""

_i64, _i32, _i8, _u32 = types.int64, types.int32, types.int8, types.uint32


@helper
def _dot_words(y: Any, s: Any) -> Any:
    """y . s modulo p, for int32 [m] each, s holding residues."""
    half = y.size // 2
    y0 = y[:half]
    y1 = y[half : 2 * half]
    s0 = s[:half]
    s1 = s[half : 2 * half]
    whole = np.int64(0)
    high = np.int64(0)
    for i in range(half):
        pair = np.int64(y0[i]) * np.int64(s0[i]) + np.int64(y1[i]) * np.int64(s1[i])
        whole += pair
        high += pair >> 32
    if y.size % 2:
        last = np.int64(y[y.size - 1]) * np.int64(s[y.size - 1])
        whole += last
        high += last >> 32
    low = np.uint64(whole) - (np.uint64(high) << np.uint64(32))
    return (high % _P * np.int64(2) + np.int64(low % np.uint64(_P))) % _P


@helper
def _dot_words_twice(y: Any, s: Any, t: Any) -> Any:
    """y . s and y . t modulo p, reading y once."""
    half = y.size // 2
    y0 = y[:half]
    y1 = y[half : 2 * half]
    s0 = s[:half]
    s1 = s[half : 2 * half]
    t0 = t[:half]
    t1 = t[half : 2 * half]
    whole_s = np.int64(0)
    high_s = np.int64(0)
    whole_t = np.int64(0)
    high_t = np.int64(0)
    for i in range(half):
        a = np.int64(y0[i])
        b = np.int64(y1[i])
        pair = a * np.int64(s0[i]) + b * np.int64(s1[i])
        whole_s += pair
        high_s += pair >> 32
        pair = a * np.int64(t0[i]) + b * np.int64(t1[i])
        whole_t += pair
        high_t += pair >> 32
    if y.size % 2:
        last = np.int64(y[y.size - 1]) * np.int64(s[y.size - 1])
        whole_s += last
        high_s += last >> 32
        last = np.int64(y[y.size - 1]) * np.int64(t[y.size - 1])
        whole_t += last
        high_t += last >> 32
    low_s = np.uint64(whole_s) - (np.uint64(high_s) << np.uint64(32))
    low_t = np.uint64(whole_t) - (np.uint64(high_t) << np.uint64(32))
    return (
        (high_s % _P * np.int64(2) + np.int64(low_s % np.uint64(_P))) % _P,
        (high_t % _P * np.int64(2) + np.int64(low_t % np.uint64(_P))) % _P,
    )


@kernel(types.void(_i64, _i64, read(_i32, 2), read(_i32, 2), write(_u32, 2)))
def _project_words(a: Any, b: Any, y: Any, s: Any, out: Any) -> None:
    """Rows a..b of out [n, k] for y int32 [n, m] and residues s int32 [k, m]."""
    k = s.shape[0]
    for t in range(a, b):
        for c in range(0, k - 1, 2):
            out[t, c], out[t, c + 1] = _dot_words_twice(y[t], s[c], s[c + 1])
        if k % 2:
            out[t, k - 1] = _dot_words(y[t], s[k - 1])


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
                value += total % _P
            out[t, c] = value % _P


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
                    to[c, i] %= _P


def _columns(y: Array, s: U32, m: int) -> I32:
    """s as int32, which every residue fits; InputError unless the shapes and types are as they should be."""
    if y.ndim != 2 or y.dtype.name not in ("int8", "int16", "int32"):
        raise InputError(f"expected a matrix of int8, int16 or int32, not {y.dtype} {list(y.shape)}")
    if s.ndim != 2 or s.dtype != np.uint32 or s.shape[1] != m:
        raise InputError(f"expected columns uint32 [k, {m}], not {s.dtype} {list(s.shape)}")
    if s.size and int(s.max()) >= P31:
        raise InputError("a column holds a value that is not a canonical residue")
    return s.view(np.int32)


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
