"""Reduce binary32 numbers along an axis, the one but last: x is [rows, d, rest], the result [rows, rest]."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import helper
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.kernels.row import blocks, power_of_two, tree
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.backends.scalar.functions import settled

__all__ = ["greatest", "sums"]

_i64, _i32, _f32 = types.int64, types.int32, types.float32
_ABSOLUTE: Final = np.int32(0x7FFFFFFF)
_INFINITE: Final = np.int32(0x7F800000)
_LEAST: Final = np.int32(-0x80000000)
_SCRATCH: Final = 1 << 17
"""Elements whose sums are halved together, unless a single column has more."""


@kernel(types.void(_i64, _i64, read(_f32, 3), write(_f32, 2)))
def sums(a: Any, b: Any, x: Any, out: Any) -> None:
    """Write the halving tree's sum of each column; row.tree says why zeros may be left out."""
    d = x.shape[1]
    rest = x.shape[2]
    if rest == 1:
        level = np.empty(blocks(d), np.float32)
        for t in range(a, b):
            level[:d] = x[t].reshape(d)
            out[t, 0] = tree(level, d)
        return
    strip = max(1, min(rest, _SCRATCH // max(1, d)))
    scratch = np.empty((max(1, d), strip), np.float32)
    for t in range(a, b):
        for first in range(0, rest, strip):
            wide = min(strip, rest - first)
            for i in range(d):
                scratch[i, :wide] = x[t, i, first : first + wide]
            count = d
            width = power_of_two(d)
            while width > 1:
                width //= 2
                for i in range(count - width):
                    low = scratch[i]
                    high = scratch[i + width]
                    for j in range(wide):
                        low[j] = low[j] + high[j]
                count = min(count, width)
            for j in range(wide):
                out[t, first + j] = settled(scratch[0, j]) if d > 0 else np.float32(0)


@helper
def _rank(bits: Any) -> Any:
    """Return an integer that orders as the number with these bits does, NaN above all."""
    rank = np.int32(bits ^ (np.int32(bits >> np.int32(31)) & _ABSOLUTE))
    return _ABSOLUTE if np.int32(bits & _ABSOLUTE) > _INFINITE else rank


@helper
def _bits(rank: Any, flip: Any) -> Any:
    """Return the bits of which :func:`_rank` made an integer, turned back."""
    return np.int32(np.int32(rank ^ (np.int32(rank >> np.int32(31)) & _ABSOLUTE)) ^ flip)


@kernel(types.void(_i64, _i64, read(_i32, 3), _i64, write(_i32, 2)))
def greatest(a: Any, b: Any, x: Any, turned: Any, out: Any) -> None:
    """Write the bits of the greatest number of each column, or of the least one if ``turned``; d >= 1.

    Bits are compared as integers that order as the numbers do, with NaN above all; the least number is the
    greatest one with all signs turned.
    """
    flip = _LEAST if turned else np.int32(0)
    if x.shape[2] == 1:
        for t in range(a, b):
            line = x[t].reshape(x.shape[1])
            top = _LEAST
            for i in range(line.size):
                rank = _rank(np.int32(line[i] ^ flip))
                top = rank if rank > top else top
            out[t, 0] = _bits(top, flip)
        return
    for t in range(a, b):
        to = out[t]
        to[:] = _LEAST
        for i in range(x.shape[1]):
            row = x[t, i]
            for j in range(x.shape[2]):
                rank = _rank(np.int32(row[j] ^ flip))
                to[j] = rank if rank > to[j] else to[j]
        for j in range(x.shape[2]):
            to[j] = _bits(to[j], flip)
