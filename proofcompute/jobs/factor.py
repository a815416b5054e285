"""Keeps a right factor B where a backend computes, and multiplies many A by it.

==========================  ==================================================================
factors                     where the product is computed
==========================  ==================================================================
int8                        by the backend, on the CPU or the device
int16, int32                on the host, exactly, in binary64 limbs (:mod:`.exact`)
floats on the host          by NumPy
floats on a device          by the library whose array lies there (CuPy, PyTorch)
==========================  ==================================================================

A copy of an int8 B is kept transposed from the first product on, as the backend reads it. Nothing else is
kept, however many products there are.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.errors import InputError, NonFiniteError
from proofcompute.jobs.arrays import FLOATS, flat, on_host
from proofcompute.jobs.exact import multiply, multiply_int8
from proofcompute.jobs.exchange import Library, Taken
from proofcompute.jobs.stacks import Stacks
from proofcompute.limits import MAX_CONTRACTION

__all__ = ["RightFactor", "all_finite"]


def all_finite(x: Taken) -> bool:
    """Return whether a matrix of floats holds neither NaN nor an infinity."""
    if on_host(x.array):
        return bool(np.isfinite(x.array).all())
    return bool(x.library.module.isfinite(x.original).all())


@final
class RightFactor:
    """B [d, m], or a stack [.., d, m], for products with many A."""

    def __init__(self, b: Taken, kernels: Kernels) -> None:
        self._b, self._kernels = b, kernels
        self._turned: dict[int, Array] = {}
        self._finite = b.array.dtype.name not in FLOATS

    def times(self, a: Taken, stacks: Stacks) -> Taken:
        """Return A B for A [.., n, d], as the library computed it that multiplied.

        Raises LimitError for integers whose product may reach 2^60, InputError for floats that are not
        finite, NonFiniteError for a product that is not.
        """
        if self._b.array.dtype.name in FLOATS:
            return self._float(a)
        kernels, (n, d) = self._kernels, a.array.shape[-2:]
        int8 = a.array.dtype == self._b.array.dtype == np.int8
        by_backend = int8 and (on_host(a.array) or d <= MAX_CONTRACTION)
        rows = flat(a.array if by_backend else a.on_host(kernels))
        multiplied = self._by_backend if by_backend else self._by_host
        if not stacks.b:
            c = multiplied(rows, 0)
        else:
            pairs = map(stacks.pair, range(stacks.members))
            parts = [multiplied(rows[i * n : (i + 1) * n], j) for i, j in pairs]
            c = kernels.concatenate(parts) if by_backend else np.concatenate(parts)
        c = c.reshape(*stacks.lead, n, c.shape[-1])
        if on_host(c):
            return Taken(c if on_host(a.array) else kernels.array(c), c, Library(np, host=True), c)
        return Taken(c, c, Library(np, host=False))

    def _member(self, b: Array, member: int) -> Array:
        d = b.shape[-2]
        return flat(b)[member * d : (member + 1) * d]

    def _by_backend(self, a: Array, member: int) -> Array:
        """Return the product of int8 rows and a member of B, where they lie."""
        w = self._turned.get(member)
        if w is None:
            b = self._member(self._b.on_host(self._kernels), member)
            turned = np.ascontiguousarray(b.T)
            w = self._turned[member] = turned if on_host(a) else self._kernels.array(turned)
        return multiply_int8(a, w, self._kernels)

    def _by_host(self, a: Array, member: int) -> Array:
        """Return the product of integers on the host and a member of B."""
        return multiply(a, self._member(self._b.on_host(self._kernels), member), self._kernels)

    def _float(self, a: Taken) -> Taken:
        b = self._b
        if not self._finite:
            if not all_finite(b):
                raise InputError("B holds a number that is not finite")
            self._finite = True
        if not all_finite(a):
            raise InputError("A holds a number that is not finite")
        c = self._multiplied(a)
        if not all_finite(c):
            raise NonFiniteError("the product overflows; scale the factors down or use float64")
        return c

    def _multiplied(self, a: Taken) -> Taken:
        kernels, b = self._kernels, self._b
        if not on_host(a.array) and not (a.library.host and b.library.host):
            by = a.library if b.library.host else b.library
            made: Any = a.lent_to(by, kernels) @ b.lent_to(by, kernels)
            return Taken(kernels.array(made), made, by)
        with np.errstate(over="ignore", invalid="ignore"):
            c: Array = a.on_host(kernels) @ b.on_host(kernels)
        return Taken(c if on_host(a.array) else kernels.array(c), c, Library(np, host=True), c)
