"""Define how symmetric matrices are factored and rows are rounded with each other's errors in mind.

Everything is elementwise, each operation rounded once, in the order that is written here: a factor and a
rounding are the same on every machine. :mod:`proofcompute.arithmetic.lattice` says what the results are.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from proofcompute.arithmetic.definition.products import LARGEST
from proofcompute.arithmetic.lattice import F64
from proofcompute.arrays import F32, I8
from proofcompute.errors import InputError

__all__ = ["check_factor", "check_nearest_plane", "factor", "nearest_plane"]

_AT_ONCE: Final = 256
"""Rows of a matrix, and columns of numbers, that are computed together: they stay in the cache."""


def check_factor(h: F64, least: float) -> int:
    """Check the arguments of :func:`factor` and return d."""
    d = len(h)
    if h.shape != (d, d) or h.dtype != np.float64:
        raise InputError(f"expected a square float64 matrix, not {h.dtype} {list(h.shape)}")
    if not 0 < least < np.inf:
        raise InputError("the least pivot is a positive number")
    return d


def check_nearest_plane(steps: F32, mix: F32) -> tuple[int, int]:
    """Check the arguments of :func:`nearest_plane` and return d and n."""
    if steps.ndim != 2 or steps.dtype != np.float32 or mix.dtype != np.float32:
        raise InputError(f"expected float32 numbers [d, n], not {steps.dtype} {list(steps.shape)}")
    d, n = steps.shape
    if mix.shape != (d, d):
        raise InputError(f"{d} rows of numbers and shares of shape {list(mix.shape)}")
    return d, n


def factor(h: F64, least: float) -> tuple[F32, F64]:
    """Take one row and column after another off the matrix, from the last to the first."""
    d = check_factor(h, least)
    a = h.copy()
    mix = np.zeros((d, d), np.float32)
    pivots = np.empty(d)
    scratch = np.empty((_AT_ONCE, d))
    with np.errstate(over="ignore", invalid="ignore"):
        for j in range(d - 1, -1, -1):
            pivots[j] = pivot = a[j, j] if a[j, j] > least else least
            above = a[j, :j].copy()
            row = above / pivot
            mix[:j, j] = row
            for start in range(0, j, _AT_ONCE):  # the lower triangle is all that is read
                stop = min(start + _AT_ONCE, j)
                product = scratch[: stop - start, :stop]
                np.multiply(row[start:stop, np.newaxis], above[:stop], out=product)
                a[start:stop, :stop] -= product
    return mix, pivots


def nearest_plane(steps: F32, mix: F32) -> I8:
    """Round one row after another, and add its errors to the rows behind it."""
    d, n = check_nearest_plane(steps, mix)
    q = np.empty((d, n), np.int8)
    with np.errstate(over="ignore", invalid="ignore"):
        for a in range(0, n, _AT_ONCE):
            given = steps[:, a : a + _AT_ONCE]
            wanted = given.copy()
            scratch = np.empty_like(wanted)
            for i in range(d):
                whole = np.rint(wanted[i])
                whole = np.where(whole >= -LARGEST[1], np.minimum(whole, LARGEST[1]), -LARGEST[1])
                q[i, a : a + _AT_ONCE] = whole
                product = scratch[i + 1 :]
                np.multiply(mix[i, i + 1 :, np.newaxis], given[i] - whole, out=product)
                wanted[i + 1 :] += product
    return q
