"""Compute Freivalds projections over GF(2^31 - 1), which :mod:`proofcompute.freivalds.field` defines.

:mod:`proofcompute.arithmetic.backends.scalar.field31` and
:mod:`proofcompute.arithmetic.backends.numba.codegen.dots` describe the arithmetic and show that 64 bits are
enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import emitted, helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import (
    CHUNK,
    COMBINED_PAIRS,
    DEEP,
    LANES,
    ROWS,
    STEP,
    STRIP,
)
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.backends.scalar.field31 import P, balanced, residue
from proofcompute.arithmetic.backends.scalar.field31 import total as total_of
from proofcompute.arrays import I8, I16, I64, U32, Array
from proofcompute.freivalds.field import P31, check_columns, check_part, not_canonical, other_rows

__all__ = ["few_bytes", "fold", "fold_parts", "project"]

_PART: Final = 2_000_000
"""The fewest products that make a part worth a thread."""
_MANY: Final = 8
"""The fewest int8 rows for which it pays to split the columns into halves."""
_PARTS_EACH: Final = 3
"""The number of parts of a large fold per thread; each part has its own sums."""

_i64, _i32, _i16, _i8, _u32 = types.int64, types.int32, types.int16, types.int8, types.uint32


@kernel(types.boolean(_i64, _i64, read(_u32, 2), write(_i16, 3)))
def _halve(a: Any, b: Any, s: Any, out: Any) -> Any:
    """Write the balanced columns a..b of s [k, m] as low + 2^16 high into out [k, 2, m].

    Return False if one of them holds a value that is not a canonical residue.
    """
    most = np.uint32(0)
    for c in range(a, b):
        column = s[c]
        for i in range(column.size):  # the loop does nothing else, so that it becomes vectors
            most = max(most, column[i])
            x = balanced(column[i])
            low = np.int16(x)
            out[c, 0, i] = low
            out[c, 1, i] = np.int16((x - np.int32(low)) >> np.int32(16))
    return np.int64(most) < P


def _wide(element: str) -> Any:
    """Return the function below for rows of int8 or int32."""
    one_row_one, one_row_two = emitted("dots", "dot", element, 1, 1), emitted("dots", "dot", element, 2, 1)
    two_rows = emitted("dots", "dot", element, 2, 2)
    rows_one, rows_two = emitted("dots", "dot", element, 1, ROWS), emitted("dots", "dot", element, 2, ROWS)

    @helper
    def project(a: Any, b: Any, y: Any, s: Any, out: Any) -> Any:
        """Project rows a..b of y [n, m] by the columns s uint32 [k, m] into out uint32 [n, k].

        Return False if s holds a value that is not a canonical residue; the content of out is then wrong.
        """
        k, m = s.shape
        whole = m // STEP * STEP
        steps = whole // STEP
        sums = np.empty((2 * ROWS, 2), np.int64)
        seen = np.zeros(LANES, np.uint32)
        t = a
        while t < b:
            # the two limbs of one row are projected together
            rows = ROWS if t + ROWS <= b else (2 if t + 2 <= b and k % 2 == 0 else 1)
            for c in range(0, k, 2):
                columns = min(2, k - c)
                if rows == ROWS and columns == 2:
                    rows_two(y, t * m, m, s, c * m, steps, sums, seen)
                elif rows == ROWS:
                    rows_one(y, t * m, m, s, c * m, steps, sums, seen)
                elif rows == 2:
                    two_rows(y, t * m, m, s, c * m, steps, sums, seen)
                elif columns == 2:
                    one_row_two(y, t * m, m, s, c * m, steps, sums, seen)
                else:
                    one_row_one(y, t * m, m, s, c * m, steps, sums, seen)
                for r in range(rows):
                    for e in range(columns):
                        i = r * columns + e
                        value = total_of(sums[i, 0], sums[i, 1])
                        for j in range(whole, m):
                            value += residue(np.int64(y[t + r, j]) * np.int64(s[c + e, j]))
                            seen[0] = max(seen[0], s[c + e, j])
                        out[t + r, c + e] = residue(value)
            t += rows
        return np.int64(seen.max()) < P

    return project


few_bytes: Final = _wide("int8")
"""The projection of int8 rows, as a helper for other kernels."""


def _kernel(rows: Any, number: Any) -> Any:
    @kernel(types.boolean(_i64, _i64, read(number, 2), read(_u32, 2), write(_u32, 2)))
    def project(a: Any, b: Any, y: Any, s: Any, out: Any) -> Any:
        """Project rows a..b; see :func:`_wide`."""
        return rows(a, b, y, s, out)

    return project


_project_words, _project_few_bytes = _kernel(_wide("int32"), _i32), _kernel(few_bytes, _i8)

_one_row_one, _one_row_two = emitted("dots", "dot_bytes", 1, 1), emitted("dots", "dot_bytes", 2, 1)
_rows_one, _rows_two = emitted("dots", "dot_bytes", 1, ROWS), emitted("dots", "dot_bytes", 2, ROWS)


@kernel(types.void(_i64, _i64, read(_i8, 2), read(_i16, 3), write(_u32, 2)))
def _project_bytes(a: Any, b: Any, y: Any, s: Any, out: Any) -> None:
    """Project rows a..b of y int8 [n, m] by columns in halves s [k, 2, m] into out [n, k]."""
    k, _, m = s.shape
    whole = m // STEP * STEP
    sums = np.empty((2 * ROWS, 2), np.int64)
    t = a
    while t < b:
        rows = ROWS if t + ROWS <= b else 1
        for c in range(0, k, 2):
            columns = min(2, k - c)
            sums[:] = 0
            for i in range(0, whole, DEEP * STEP):
                at, first, steps = t * m + i, 2 * c * m + i, min(DEEP, (whole - i) // STEP)
                if rows == ROWS and columns == 2:
                    _rows_two(y, at, m, s, first, steps, sums)
                elif rows == ROWS:
                    _rows_one(y, at, m, s, first, steps, sums)
                elif columns == 2:
                    _one_row_two(y, at, m, s, first, steps, sums)
                else:
                    _one_row_one(y, at, m, s, first, steps, sums)
            for r in range(rows):
                for e in range(columns):
                    low, high = sums[r * columns + e]
                    for j in range(whole, m):
                        x = np.int64(y[t + r, j])
                        low += x * np.int64(s[c + e, 0, j])
                        high += x * np.int64(s[c + e, 1, j])
                    out[t + r, c + e] = residue(residue(low) + residue(high) * np.int64(1 << 16))
        t += rows


_combine_one, _combine_two = emitted("dots", "combine", 1), emitted("dots", "combine", 2)


@helper
def _fold_chunk(w: Any, s: Any, j: Any, last: Any, at: Any, end: Any, sums: Any, out: Any) -> None:
    """Add elements at..end of rows j..last of w, combined by s[c, h], to out[c, h].

    There are at most 2 DEEP rows and CHUNK elements.
    """
    m, d = w.shape
    k = s.shape[0]
    width = end - at
    whole = width // STRIP * STRIP
    even = (last - j) // 2 * 2
    for c in range(0, k, 2):
        columns = min(2, k - c)
        sums[:] = 0
        for r in range(j, j + even, 2 * COMBINED_PAIRS):
            pairs = min(COMBINED_PAIRS, (j + even - r) // 2)
            for i in range(0, whole, STRIP):
                place, first = r * d + at + i, 2 * c * m + r
                if columns == 2:
                    _combine_two(w, place, d, pairs, s, first, m, sums, i)
                else:
                    _combine_one(w, place, d, pairs, s, first, m, sums, i)
        for e in range(2 * columns):
            to = out[c + e // 2, e % 2]
            for i in range(whole):
                to[at + i] += np.int64(sums[e, i])
            for r in range(j, last):
                begin = whole if r < j + even else 0
                factor = np.int64(s[c + e // 2, e % 2, r])
                for i in range(begin, width):
                    to[at + i] += np.int64(w[r, at + i]) * factor


@kernel(types.void(_i64, _i64, read(_i8, 2), read(_i16, 3), write(_i64, 4)))
def _fold_parts(a: Any, b: Any, w: Any, s: Any, out: Any) -> None:
    """Fold parts a..b of the rows of w int8 [m, d], each into its own out[part] [k, 2, d].

    The rows are divided into len(out) parts.
    """
    parts = out.shape[0]
    m, d = w.shape
    sums = np.empty((4, CHUNK), np.int32)
    for part in range(a, b):
        out[part] = 0
        last = m * (part + 1) // parts
        for j in range(m * part // parts, last, 2 * DEEP):
            for at in range(0, d, CHUNK):
                _fold_chunk(w, s, j, min(j + 2 * DEEP, last), at, min(at + CHUNK, d), sums, out[part])


@kernel(types.void(_i64, _i64, read(_i8, 2), read(_i16, 3), write(_i64, 3)))
def _fold_columns(a: Any, b: Any, w: Any, s: Any, out: Any) -> None:
    """Add chunks a..b of the columns of w int8 [m, d], combined by s [k, 2, m], to out [k, 2, d]."""
    m, d = w.shape
    sums = np.empty((4, CHUNK), np.int32)
    for chunk in range(a, b):
        at = chunk * CHUNK
        for j in range(0, m, 2 * DEEP):
            _fold_chunk(w, s, j, min(j + 2 * DEEP, m), at, min(at + CHUNK, d), sums, out)


def _in_halves(s: U32) -> I16:
    """Return the balanced columns s [k, m] as low + 2^16 high: int16 [k, 2, m].

    Raises InputError if a value is not canonical.
    """
    out = np.empty((len(s), 2, s.shape[1]), dtype=np.int16)
    if not _halve(0, len(s), s, out):
        raise not_canonical()
    return out


def project(y: Array, s: U32) -> U32:
    """Return y int8, int16 or int32 [n, m] times the columns s [k, m] of residues: residues [n, k].

    Raises InputError for other types or shapes, or s >= P31.
    """
    check_columns(y, s, 1, P31)
    n, size = len(y), y.dtype.itemsize
    out = np.empty((n, len(s)), dtype=np.uint32)
    least = _PART // max(1, s.size)
    if size == 1 and n >= _MANY:
        threads.split(_project_bytes, n, least, y, _in_halves(s), out)
        return out
    if size == 2:
        y = y.astype(np.int32)
    wide = _project_few_bytes if size == 1 else _project_words
    if not (threads.split(wide, n, least, y, s, out) if n else s.max(initial=0) < P31):
        raise not_canonical()
    return out


def fold(w: Array, s: U32) -> U32:
    """Return the rows of w int8, int16 or int32 [m, d] combined by residues s [k, m]: residues [k, d].

    Raises InputError as :func:`project` does.
    """
    check_columns(w, s, 0, P31)
    if w.dtype != np.int8:
        return np.ascontiguousarray(project(np.ascontiguousarray(w.T), s).T)
    parts = _PARTS_EACH * threads.size() if threads.size() > 1 and w.size * len(s) >= 8 * _PART else 1
    sums = np.empty((parts, len(s), 2, w.shape[1]), dtype=np.int64)
    threads.split(_fold_parts, parts, 1, w, _in_halves(s), sums)
    return _whole(sums.sum(axis=0))


def _whole(halves: I64) -> U32:
    """Return sums [k, 2, d] of products with halves of residues as residues [k, d]."""
    low, high = np.moveaxis(halves % P31, 1, 0)
    return np.asarray((low + (high << 16)) % P31, dtype=np.uint32)


def fold_parts(parts: Iterable[I8], s: U32) -> U32:
    """See :meth:`proofcompute.freivalds.checks.Checks.fold_parts`.

    The sums are 64 bits of products of at most 2^22, so that they hold any number of rows.
    """
    halves, done, sums = None, 0, None
    for part in parts:
        end = done + len(part)
        check_part(part, s, done, None if sums is None else sums.shape[2])
        if halves is None:
            halves = _in_halves(s)
        if sums is None:
            sums = np.zeros((len(s), 2, part.shape[1]), np.int64)
        w, some = np.ascontiguousarray(part), np.ascontiguousarray(halves[:, :, done:end])
        least = _PART // max(1, CHUNK * len(s) * len(w))
        threads.split(_fold_columns, -(-w.shape[1] // CHUNK), least, w, some, sums)
        done = end
    if sums is None or done != s.shape[1]:
        raise other_rows(done, s)
    return _whole(sums)
