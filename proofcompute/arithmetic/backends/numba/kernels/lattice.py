"""Factor symmetric matrices, and round rows with each other's errors in mind.

:mod:`proofcompute.arithmetic.definition.lattice` defines the results. It adds to all rows behind one; here
what those before a row add is added to it when its turn comes, which are the same sums in the same order.
Four of them are added at a time, so that a row is read and written four times less.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.definition.lattice import check_factor, check_nearest_plane
from proofcompute.arithmetic.lattice import F64
from proofcompute.arrays import F32, I8

__all__ = ["factor", "nearest_plane"]

_WIDE: Final = 64
"""Columns that are rounded together, whose errors stay in the cache."""
_PART: Final = 4_000_000
"""The fewest products that make a part worth a thread."""
_LARGEST: Final = np.float32(127)

_i64, _i8, _f32, _f64 = types.int64, types.int8, types.float32, types.float64


@kernel(types.void(read(_f64, 1), write(_f64, 2), write(_f64, 1)))
def _factor(least: Any, a: Any, pivots: Any) -> None:
    """Factor the lower triangle of a [d, d]; above its diagonal, m_ji is written to a[i, j]."""
    d = pivots.size
    for j in range(d - 1, -1, -1):
        to, shares = a[j, : j + 1], a[j]
        p = d - 1
        while p > j + 3:
            f0, f1, f2, f3 = shares[p], shares[p - 1], shares[p - 2], shares[p - 3]
            r0, r1, r2, r3 = a[p], a[p - 1], a[p - 2], a[p - 3]
            for k in range(j + 1):
                to[k] = (((to[k] - f0 * r0[k]) - f1 * r1[k]) - f2 * r2[k]) - f3 * r3[k]
            p -= 4
        while p > j:
            f0, r0 = shares[p], a[p]
            for k in range(j + 1):
                to[k] = to[k] - f0 * r0[k]
            p -= 1
        pivot = to[j] if to[j] > least[0] else least[0]
        pivots[j] = pivot
        for i in range(j):
            a[i, j] = to[i] / pivot


def factor(h: F64, least: float) -> tuple[F32, F64]:
    """See :meth:`proofcompute.arithmetic.lattice.Lattice.factor`."""
    d = check_factor(h, least)
    a, pivots = np.array(h, order="C"), np.empty(d)
    _factor(np.array([least]), a, pivots)
    with np.errstate(over="ignore"):
        return np.triu(a, 1).astype(np.float32), pivots


@kernel(types.void(_i64, _i64, read(_f32, 2), read(_f32, 2), write(_i8, 2)))
def _round(first: Any, last: Any, steps: Any, shares: Any, out: Any) -> None:
    """Round groups first..last of _WIDE columns of steps [d, n]; shares[j, i] is m_ji."""
    d, n = steps.shape
    errors, wanted = np.zeros((d, _WIDE), np.float32), np.empty(_WIDE, np.float32)
    for group in range(first, last):
        start = group * _WIDE
        wide = min(_WIDE, n - start)
        wanted[:] = 0
        for j in range(d):
            given, m = steps[j, start : start + wide], shares[j]
            wanted[:wide] = given
            i = 0
            while i + 3 < j:
                m0, m1, m2, m3 = m[i], m[i + 1], m[i + 2], m[i + 3]
                e0, e1, e2, e3 = errors[i], errors[i + 1], errors[i + 2], errors[i + 3]
                for c in range(_WIDE):
                    wanted[c] = (((wanted[c] + m0 * e0[c]) + m1 * e1[c]) + m2 * e2[c]) + m3 * e3[c]
                i += 4
            while i < j:
                m0, e0 = m[i], errors[i]
                for c in range(_WIDE):
                    wanted[c] = wanted[c] + m0 * e0[c]
                i += 1
            to, own = out[j, start : start + wide], errors[j]
            for c in range(wide):
                whole = np.rint(wanted[c])
                whole = min(whole, _LARGEST) if whole >= -_LARGEST else -_LARGEST
                to[c] = np.int8(whole)
                own[c] = given[c] - whole


def nearest_plane(steps: F32, mix: F32) -> I8:
    """See :meth:`proofcompute.arithmetic.lattice.Lattice.nearest_plane`."""
    d, n = check_nearest_plane(steps, mix)
    out = np.empty((d, n), np.int8)
    if d and n:
        shares = np.ascontiguousarray(mix.T)
        least = 1 + 2 * _PART // (d * d * _WIDE)
        threads.split(_round, -(-n // _WIDE), least, np.ascontiguousarray(steps), shares, out)
    return out
