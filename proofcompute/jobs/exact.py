"""Exact products of integers: which field checks them, and how they are computed here.

The claim is C = A B *over the integers*, A [n, d], B [d, m]. Freivalds' check compares residues, so the claim
must be the only integer matrix within a bound that has its residues (:mod:`proofcompute.freivalds.field`):

==========================  ==============  =============================================================
factors, C                  field           bound
==========================  ==============  =============================================================
int8, int8, int32           GF(2^31 - 1)    |C| < 2^30; holds for A B whenever d <= 65535, by its types
all else: int8/16/32,       GF(2^61 - 1)    |C| < 2^60; proved for A B as d max|A| max|B| < 2^60, from the
int32 or int64                              shape and the largest elements that are there
==========================  ==============  =============================================================

C's own range is checked before its residues are taken. If both |C| and |A B| are at most B, and 2 B < p, then
equal residues are equal integers. Two int8 matrices with a longer contraction, or with C in int64, are simply
checked in the larger field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.kernels import Arithmetic
from proofcompute.arrays import I64, Array
from proofcompute.commitments.hashing import Xof
from proofcompute.errors import LimitError
from proofcompute.freivalds.checks import Checks
from proofcompute.freivalds.field import LIFT61, P31, P61, sample31, sample61
from proofcompute.jobs.arrays import SHORT_CONTRACTION, result_dtype
from proofcompute.limits import MAX_ACCUMULATOR, MAX_CONTRACTION

__all__ = ["FIELD31", "FIELD61", "Field", "check_bound", "field_for", "in_range", "magnitude", "multiply"]

_EXACT: Final = 1 << 53
"""Integers up to here are exact in binary64, and so are sums that never leave the range."""
_PART: Final = 1 << 22
"""Contraction of one binary64 product of 16-bit limbs: 2^22 * 2^15 * 2^15 < 2^53."""
_BLOCK: Final = 1 << 22
"""Elements of a temporary block of rows."""


@dataclass(frozen=True)
class Field:
    """A prime field in which products are checked."""

    name: str
    p: int
    largest: int
    """Greatest absolute value of an element of C for which the lift is unique."""
    columns: int
    """Columns by default: an error of at most 2^-61.99, or of 2^-60.99 with one column of the larger."""
    sample: Callable[[Xof, tuple[int, int]], Array]
    project: Callable[[Checks, Array, Array], Array]
    """Integers [n, m] times residues [k, m]: residues [n, k]."""


def _project31(kernels: Checks, y: Array, s: Array) -> Array:
    return kernels.project(y, s)


def _project61(kernels: Checks, y: Array, s: Array) -> Array:
    return kernels.project61(y, s)


FIELD31: Final = Field("GF(2^31 - 1)", P31, MAX_ACCUMULATOR - 1, 2, sample31, _project31)
FIELD61: Final = Field("GF(2^61 - 1)", P61, LIFT61, 1, sample61, _project61)


def field_for(a: str, b: str, c: str, d: int) -> Field:
    """The field that checks factors of element types ``a`` and ``b`` against a claim of type ``c``."""
    return FIELD31 if a == b == "int8" and c == "int32" and d <= SHORT_CONTRACTION else FIELD61


def magnitude(x: Array) -> int:
    """Greatest absolute value of an integer matrix, as a Python integer; 0 if it is empty."""
    return max(-int(x.min()), int(x.max())) if x.size else 0


def in_range(c: Array, field: Field) -> bool:
    """Whether every element of a claim lies where the lift is unique."""
    return magnitude(c) <= field.largest


def check_bound(d: int, largest_a: int, largest_b: int) -> None:
    """LimitError unless d * largest_a * largest_b < 2^60, which bounds every partial sum of the product."""
    bound = d * largest_a * largest_b
    if bound > LIFT61:
        raise LimitError(
            f"a contraction of {d} with elements up to {largest_a} and {largest_b} may reach {bound}, "
            "not below 2^60; split it into shorter ones"
        )


# -- computing -------------------------------------------------------------------------------------------
def multiply(a: Array, b: Array, kernels: Arithmetic) -> Array:
    """A B exactly, [n, m] of the element type that ``result_dtype`` gives.

    LimitError as :func:`check_bound`. Shapes and types are the caller's business.
    """
    d = a.shape[1]
    out_type = np.dtype(result_dtype(a.dtype.name, b.dtype.name, d))
    if a.dtype == np.int8 and b.dtype == np.int8:
        w = np.ascontiguousarray(b.T)
        out = np.zeros((len(a), len(w)), out_type)
        for i in range(0, d, MAX_CONTRACTION):
            part = slice(i, i + MAX_CONTRACTION)
            # below 2^29 a part: two fit int32, and more than two go to int64
            out += kernels.product(np.ascontiguousarray(a[:, part]), np.ascontiguousarray(w[:, part]))
        return out
    largest_a, largest_b = magnitude(a), magnitude(b)
    check_bound(d, largest_a, largest_b)
    limbs = _whole if d * largest_a * largest_b <= _EXACT else _halves
    out = np.zeros((len(a), b.shape[1]), np.int64)
    step = max(1, _BLOCK // max(1, d, b.shape[1]))
    for i in range(0, d, _PART):
        right = limbs(b[i : i + _PART])
        for t in range(0, len(a), step):
            out[t : t + step] += _combine(limbs(a[t : t + step, i : i + _PART]), right)
    return out


def _whole(x: Array) -> list[tuple[int, Any]]:
    return [(0, x.astype(np.float64))]


def _halves(x: Array) -> list[tuple[int, Any]]:
    """x = 2^16 high + low with both in -2^15..2^15, as (shift, binary64 limb); zero limbs are left out."""
    wide = x.astype(np.int64)
    high = (wide + (1 << 15)) >> 16
    low = wide - (high << 16)
    return [(s, v.astype(np.float64)) for s, v in ((16, high), (0, low)) if v.any()]


def _combine(left: list[tuple[int, Any]], right: list[tuple[int, Any]]) -> I64:
    """Sum of the shifted products of limbs.

    Every sum inside a product of limbs is an integer of at most 2^53 in absolute value, in whatever order it
    is formed and with or without fused operations, hence exact in binary64. Shifted sums may wrap modulo
    2^64; the true result is below 2^60 in absolute value, so the wrapped result is the true one.
    """
    total: Any = np.int64(0)
    for i, x in left:
        for j, y in right:
            total = total + ((x @ y).astype(np.int64) << np.int64(i + j))
    return np.asarray(total, np.int64)
