"""Chooses the field that checks an exact product of integers, and computes such products.

The claim is C = A B *over the integers*, A [n, d], B [d, m]. Freivalds' check compares residues, so the claim
must be the only integer matrix within a bound that has its residues (:mod:`proofcompute.freivalds.field`):

==========================  ==============  =============================================================
factors, C                  field           bound
==========================  ==============  =============================================================
int8, int8, int32           GF(2^31 - 1)    |C| < 2^30; holds for A B whenever d <= 65535, by its types
all else: int8/16/32,       GF(2^61 - 1)    |C| < 2^60; proved for A B by d max|A| max|B| < 2^60, from the
int32 or int64                              shape and the largest elements
==========================  ==============  =============================================================

The range of C is checked before its residues are taken. If both |C| and |A B| are at most L, and 2 L < p,
then equal residues mean equal integers. Two int8 matrices with a longer contraction, or with C in int64, are
checked in the larger field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import I64, Array
from proofcompute.commitments.hashing import Xof
from proofcompute.errors import LimitError
from proofcompute.freivalds.checks import Checks
from proofcompute.freivalds.field import LIFT61, P31, P61, sample31, sample61
from proofcompute.jobs.arrays import SHORT_CONTRACTION, on_host, result_dtype
from proofcompute.limits import MAX_ACCUMULATOR, MAX_CONTRACTION

__all__ = [
    "FIELD31",
    "FIELD61",
    "Field",
    "check_bound",
    "field_for",
    "magnitude",
    "multiply",
    "multiply_int8",
]

_EXACT: Final = 1 << 53
"""Integers up to this are exact in binary64, and so are sums that stay within it."""
_PART: Final = 1 << 22
"""Contraction of one binary64 product of 16-bit limbs: 2^22 * 2^15 * 2^15 < 2^53."""
_BLOCK: Final = 1 << 22
"""The most elements of a temporary block of rows."""


@dataclass(frozen=True)
class Field:
    """A prime field in which products are checked."""

    name: str
    p: int
    largest: int
    """The greatest absolute value of an element of C for which the lift is unique."""
    word: str
    """Type of the residues."""
    columns: int
    """Default number of columns; the soundness error is 2^-61.99, or 2^-60.99 in the larger field."""
    sample: Callable[[Xof, tuple[int, int]], Array]
    """Draws residues of the given shape from a stream."""
    project: Callable[[Checks, Array, Array], Array]
    """Multiplies integers [n, m] by residues [k, m], to residues [n, k]."""


def _project31(kernels: Checks, y: Array, s: Array) -> Array:
    return kernels.project(y, s)


def _project61(kernels: Checks, y: Array, s: Array) -> Array:
    return kernels.project61(y, s)


FIELD31: Final = Field("GF(2^31 - 1)", P31, MAX_ACCUMULATOR - 1, "uint32", 2, sample31, _project31)
FIELD61: Final = Field("GF(2^61 - 1)", P61, LIFT61, "uint64", 1, sample61, _project61)


def field_for(a: str, b: str, c: str, d: int) -> Field:
    """Return the field that checks a claim of type ``c`` for factors of element types ``a`` and ``b``."""
    return FIELD31 if a == b == "int8" and c == "int32" and d <= SHORT_CONTRACTION else FIELD61


def magnitude(x: Array, kernels: Kernels) -> int:
    """Return a bound of the absolute values in integers, as a Python integer; 0 if there are none.

    On the host it is the greatest absolute value, and on a device that of the type for int8; a device has no
    reduction of integers, so that others are brought to the host.
    """
    if not x.size:
        return 0
    if not on_host(x) and x.dtype == np.int8:
        return 128
    values = kernels.host(x)
    return max(-int(values.min()), int(values.max()))


def check_bound(d: int, largest_a: int, largest_b: int) -> None:
    """Raise LimitError unless d * largest_a * largest_b < 2^60, which bounds the product's partial sums."""
    bound = d * largest_a * largest_b
    if bound > LIFT61:
        raise LimitError(
            f"a contraction of {d} with elements up to {largest_a} and {largest_b} may reach {bound}, "
            "not below 2^60; split it into shorter ones"
        )


# -- computing -------------------------------------------------------------------------------------------
def multiply(a: Array, b: Array, kernels: Kernels) -> Array:
    """A B exactly, for A [n, d] and B [d, m] on the host: [n, m] of the type that ``result_dtype`` gives.

    LimitError as :func:`check_bound`. Shapes and types are the caller's business.
    """
    if a.dtype == np.int8 and b.dtype == np.int8:
        return multiply_int8(a, np.ascontiguousarray(b.T), kernels)
    d = a.shape[1]
    largest_a, largest_b = magnitude(a, kernels), magnitude(b, kernels)
    check_bound(d, largest_a, largest_b)
    limbs = _whole if d * largest_a * largest_b <= _EXACT else _halves
    out = np.zeros((len(a), b.shape[1]), np.int64)
    step = max(1, _BLOCK // max(1, d, b.shape[1]))
    for i in range(0, d, _PART):
        right = limbs(b[i : i + _PART])
        for t in range(0, len(a), step):
            out[t : t + step] += _combine(limbs(a[t : t + step, i : i + _PART]), right)
    return out


def multiply_int8(a: Array, w: Array, kernels: Kernels) -> Array:
    """Return int8 A [n, d] times the rows of W [m, d], W being B transposed; as :func:`multiply` does."""
    (n, d), m = a.shape, len(w)
    if d <= MAX_CONTRACTION:
        return kernels.product(a, w)
    out = np.zeros((n, m), result_dtype("int8", "int8", d))
    for i in range(0, d, MAX_CONTRACTION):
        part = slice(i, i + MAX_CONTRACTION)
        # each part is below 2^29: two parts fit int32, and more have an int64 result
        out += kernels.product(np.ascontiguousarray(a[:, part]), np.ascontiguousarray(w[:, part]))
    return out


def _whole(x: Array) -> list[tuple[int, Any]]:
    return [(0, x.astype(np.float64))]


def _halves(x: Array) -> list[tuple[int, Any]]:
    """Split x = 2^16 high + low, both in -2^15..2^15, into (shift, binary64 limb); leave out zero limbs."""
    wide = x.astype(np.int64)
    high = (wide + (1 << 15)) >> 16
    low = wide - (high << 16)
    return [(s, v.astype(np.float64)) for s, v in ((16, high), (0, low)) if v.any()]


def _combine(left: list[tuple[int, Any]], right: list[tuple[int, Any]]) -> I64:
    """Return the sum of the shifted products of limbs.

    Every partial sum of a product of limbs is an integer of at most 2^53 in absolute value, in any order of
    summation and with or without fused operations, hence exact in binary64. Shifted sums may wrap modulo
    2^64; the true result is below 2^60 in absolute value, so the wrapped result is the true one.
    """
    total: Any = np.int64(0)
    for i, x in left:
        for j, y in right:
            total = total + ((x @ y).astype(np.int64) << np.int64(i + j))
    return np.asarray(total, np.int64)
