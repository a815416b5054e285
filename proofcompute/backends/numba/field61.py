"""Freivalds projections over GF(2^61 - 1) (proofcompute.field defines them).

A product of two residues is made of 32-bit pieces, reduced with 2^61 = 1 to a residue again, and the residues
are summed by halves: 2^32 low halves are below 2^64. Everything is branch-free, so that LLVM makes vector
loops of it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import types

from proofcompute.backends.numba import threads
from proofcompute.backends.numba.cache import helper, kernel, read, write
from proofcompute.errors import InputError
from proofcompute.field import P61, add61
from proofcompute.kernels import Array

__all__ = ["fold61", "project61"]

_P: Final = np.uint64(P61)
_LOW: Final = np.uint64(0xFFFFFFFF)
_LOW29: Final = np.uint64(2**29 - 1)
_3, _29, _32, _61 = np.uint64(3), np.uint64(29), np.uint64(32), np.uint64(61)
_ZERO: Final = np.uint64(0)

_PART: Final = 100_000
"""Products of a part that is worth a thread."""

U64 = npt.NDArray[np.uint64]

_i64, _u64 = types.int64, types.uint64
_SIGNED: Final = (types.int8, types.int16, types.int32, types.int64)


@helper
def _reduce(x: Any) -> Any:
    """Any uint64 to its canonical residue."""
    folded = (x & _P) + (x >> _61)
    return folded - _P if folded >= _P else folded


@helper
def _residue(y: Any) -> Any:
    """A signed integer to its canonical residue: 2^61 = 1, and -1 = p - 1."""
    value = np.int64(y)
    size = _reduce(np.uint64(-value) if value < 0 else np.uint64(value))
    return _P - size if value < 0 and size > _ZERO else size


@helper
def _multiply(x: Any, y: Any) -> Any:
    """x y for canonical residues (the formula and its proof: proofcompute.field.mul61)."""
    a, b, c, d = x >> _32, x & _LOW, y >> _32, y & _LOW
    t = a * d + b * c
    middle = (t >> _29) + ((t & _LOW29) << _32)
    return _reduce((a * c << _3) + middle + _reduce(b * d))


@kernel(*[types.void(_i64, _i64, read(e, 2), read(_u64, 2), write(_u64, 2)) for e in _SIGNED])
def _project(a: Any, b: Any, y: Any, s: Any, out: Any) -> None:
    """Rows a..b of out [n, k] for y [n, m] and residues s [k, m]."""
    for t in range(a, b):
        row = y[t]
        for c in range(s.shape[0]):
            column = s[c]
            # Each product is below 2^61: its halves are summed apart, at most 2^32 terms.
            low = _ZERO
            high = _ZERO
            for i in range(row.size):
                term = _multiply(_residue(row[i]), column[i])
                low += term & _LOW
                high += term >> _32
            out[t, c] = _reduce(_multiply(_reduce(high), np.uint64(1 << 32)) + _reduce(low))


@kernel(*[types.void(_i64, _i64, read(e, 2), read(_u64, 2), write(_u64, 3)) for e in _SIGNED])
def _fold(a: Any, b: Any, w: Any, s: Any, out: Any) -> None:
    """Parts a..b of the rows of w [m, d], of len(out) parts: each its own out[part] [k, d], residues."""
    m = w.shape[0]
    for part in range(a, b):
        out[part] = 0
        for j in range(m * part // out.shape[0], m * (part + 1) // out.shape[0]):
            row = w[j]
            for c in range(s.shape[0]):
                factor = s[c, j]
                to = out[part, c]
                for i in range(row.size):
                    to[i] = _reduce(to[i] + _multiply(_residue(row[i]), factor))


def _check(y: Array, s: U64, m: int) -> None:
    if y.ndim != 2 or y.dtype.name not in ("int8", "int16", "int32", "int64"):
        raise InputError(f"expected a matrix of int8 to int64, not {y.dtype} {list(y.shape)}")
    if s.ndim != 2 or s.dtype != np.uint64 or s.shape[1] != m:
        raise InputError(f"expected columns uint64 [k, {m}], not {s.dtype} {list(s.shape)}")
    if s.size and int(s.max()) >= P61:
        raise InputError("a column holds a value that is not a canonical residue")


def project61(y: Array, s: U64) -> U64:
    """y int8 to int64 [n, m] times the columns s [k, m] of residues: residues [n, k], uint64.

    Both C-contiguous. InputError for other types or shapes, or s >= P61.
    """
    _check(y, s, y.shape[-1])
    out = np.empty((len(y), len(s)), dtype=np.uint64)
    threads.split(_project, len(y), _PART // max(1, y.shape[1] * len(s)), y, s, out)
    return out


def fold61(w: Array, s: U64) -> U64:
    """The rows of w int8 to int64 [m, d] combined by s [k, m] of residues: residues [k, d], uint64.

    Both C-contiguous. InputError as :func:`project61`.
    """
    _check(w, s, len(w))
    parts = threads.size() if w.size * len(s) >= 2 * _PART else 1
    sums = np.empty((parts, len(s), w.shape[1]), dtype=np.uint64)
    threads.split(_fold, parts, 1, w, s, sums)
    total = sums[0]
    for part in sums[1:]:
        total = add61(total, part)
    return total
