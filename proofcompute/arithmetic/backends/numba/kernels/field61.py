"""Compute Freivalds projections over GF(2^61 - 1), which :mod:`proofcompute.freivalds.field` defines.

*The sums are exact in 64 bits.* A residue is cut as s = 2^31 s1 + s0 with s0 < 2^31 and s1 < 2^30. For
|y| <= 2^31 the products y s0 and y s1 are at most 2^62 in absolute value. A 64-bit y is first reduced to a
residue and cut in the same way, and

    y s = y0 s0 + 2^31 (y0 s1 + y1 s0) + 2^62 y1 s1,

where each of the three is below 2^63. Sums of such terms P along a row are kept as the wrapped total T = sum
P mod 2^64 and H = sum (P >> 32): the low halves sum to L = T - 2^32 H mod 2^64, exact for up to 2^32 terms,
and the sum is 2^32 H + L. Modulo p, 2^62 = 2.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.backends.scalar.field61 import (
    P,
    add,
    combine,
    high_part,
    low_part,
    multiply,
    residue,
    total,
)
from proofcompute.arrays import Array
from proofcompute.freivalds.field import P61, add61, check_columns, not_canonical

__all__ = ["fold61", "project61"]

_PART: Final = 100_000
"""The fewest products that make a part worth a thread."""

U64 = npt.NDArray[np.uint64]

_i64, _u32, _u64 = types.int64, types.uint32, types.uint64
_SIGNED: Final = (types.int8, types.int16, types.int32, types.int64)


@kernel(types.boolean(_i64, _i64, read(_u64, 2), write(_u32, 3)))
def _cut(a: Any, b: Any, s: Any, out: Any) -> Any:
    """Cut rows a..b of s [k, m] into s0 and s1, which out [k, 2, m] receives.

    Return False if a value is not a canonical residue.
    """
    good: Any = True
    for c in range(a, b):
        row = s[c]
        low = out[c, 0]
        high = out[c, 1]
        for i in range(row.size):
            good = good and row[i] < P
            low[i] = low_part(row[i])
            high[i] = high_part(row[i])
    return good


@kernel(*[types.void(_i64, _i64, read(e, 2), read(_u32, 3), write(_u64, 2)) for e in _SIGNED[:3]])
def _project_short(a: Any, b: Any, y: Any, s: Any, out: Any) -> None:
    """Project rows a..b of y [n, m], of at most 32 bits, by cut residues s [k, 2, m] into out [n, k]."""
    for t in range(a, b):
        row = y[t]
        for c in range(s.shape[0]):
            s0 = s[c, 0]
            s1 = s[c, 1]
            whole0 = np.int64(0)
            high0 = np.int64(0)
            whole1 = np.int64(0)
            high1 = np.int64(0)
            for i in range(row.size):
                value = np.int64(row[i])
                term = value * np.int64(s0[i])
                whole0 += term
                high0 += term >> 32
                term = value * np.int64(s1[i])
                whole1 += term
                high1 += term >> 32
            out[t, c] = combine(total(whole0, high0), total(whole1, high1), np.uint64(0))


@kernel(types.void(_i64, _i64, read(_i64, 2), read(_u32, 3), write(_u64, 2)))
def _project_long(a: Any, b: Any, y: Any, s: Any, out: Any) -> None:
    """Project rows a..b of y int64 [n, m] by cut residues s [k, 2, m] into out [n, k]."""
    low = np.empty(y.shape[1], np.uint32)
    high = np.empty(y.shape[1], np.uint32)
    for t in range(a, b):
        row = y[t]
        for i in range(row.size):
            value = residue(row[i])
            low[i] = low_part(value)
            high[i] = high_part(value)
        for c in range(s.shape[0]):
            s0 = s[c, 0]
            s1 = s[c, 1]
            whole0 = np.int64(0)
            high0 = np.int64(0)
            whole1 = np.int64(0)
            high1 = np.int64(0)
            whole2 = np.int64(0)
            high2 = np.int64(0)
            for i in range(row.size):
                a0 = np.int64(low[i])
                a1 = np.int64(high[i])
                b0 = np.int64(s0[i])
                b1 = np.int64(s1[i])
                term = a0 * b0
                whole0 += term
                high0 += term >> 32
                term = a0 * b1 + a1 * b0
                whole1 += term
                high1 += term >> 32
                term = a1 * b1
                whole2 += term
                high2 += term >> 32
            out[t, c] = combine(total(whole0, high0), total(whole1, high1), total(whole2, high2))


@kernel(*[types.void(_i64, _i64, read(e, 2), read(_u64, 2), write(_u64, 3)) for e in _SIGNED])
def _fold(a: Any, b: Any, w: Any, s: Any, out: Any) -> None:
    """Fold parts a..b of the rows of w [m, d], each into its own residues out[part] [k, d].

    The rows are divided into len(out) parts.
    """
    m = w.shape[0]
    for part in range(a, b):
        out[part] = 0
        for j in range(m * part // out.shape[0], m * (part + 1) // out.shape[0]):
            row = w[j]
            for c in range(s.shape[0]):
                factor = s[c, j]
                to = out[part, c]
                for i in range(row.size):
                    to[i] = add(to[i], multiply(residue(row[i]), factor))


def project61(y: Array, s: U64) -> U64:
    """Return y int8 to int64 [n, m] times the columns s [k, m] of residues: residues [n, k], uint64.

    Both arrays are C-contiguous. Raises InputError for other types or shapes, or s >= P61.
    """
    check_columns(y, s, 1, P61)
    cut = np.empty((len(s), 2, s.shape[1]), dtype=np.uint32)
    if not _cut(0, len(s), s, cut):
        raise not_canonical()
    out = np.empty((len(y), len(s)), dtype=np.uint64)
    function = _project_long if y.dtype == np.int64 else _project_short
    threads.split(function, len(y), _PART // max(1, y.shape[1] * len(s)), y, cut, out)
    return out


def fold61(w: Array, s: U64) -> U64:
    """Return the rows of w int8 to int64 [m, d] combined by residues s [k, m]: residues [k, d], uint64.

    Both arrays are C-contiguous. Raises InputError as :func:`project61` does.
    """
    check_columns(w, s, 0, P61)
    if s.size and int(s.max()) >= P61:
        raise not_canonical()
    parts = threads.size() if w.size * len(s) >= 2 * _PART else 1
    sums = np.empty((parts, len(s), w.shape[1]), dtype=np.uint64)
    threads.split(_fold, parts, 1, w, s, sums)
    result: U64 = sums[0]
    for part in sums[1:]:
        result = add61(result, part)
    return result
