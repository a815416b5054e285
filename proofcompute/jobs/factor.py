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
        rows, n = flat(a.array), a.array.shape[-2]
        if not stacks.b:
            c = self._exact(rows, 0)
        else:
            pairs = map(stacks.pair, range(stacks.members))
            parts = [self._exact(rows[i * n : (i + 1) * n], j) for i, j in pairs]
            c = self._kernels.concatenate(parts)
        c = c.reshape(*stacks.lead, n, c.shape[-1])
        return Taken(c, c, Library(np, host=on_host(c)))

    def _exact(self, a: Array, member: int) -> Array:
        """Return the exact product of rows and a member of B."""
        kernels, d = self._kernels, a.shape[1]
        b = flat(self._b.array)[member * d : (member + 1) * d]
        here = on_host(a)
        if a.dtype == b.dtype == np.int8 and (here or d <= MAX_CONTRACTION):
            w = self._turned.get(member)
            if w is None:
                turned = np.ascontiguousarray(kernels.host(b).T)
                w = self._turned[member] = turned if here else kernels.array(turned)
            return multiply_int8(a, w, kernels)
        c = multiply(kernels.host(a), kernels.host(b), kernels)
        return c if here else kernels.array(c)

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
            c: Array = kernels.host(a.array) @ kernels.host(b.array)
        library = Library(np, host=True)
        return Taken(c if on_host(a.array) else kernels.array(c), c, library)
