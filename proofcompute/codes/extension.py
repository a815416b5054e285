"""Define arithmetic in F = GF(p^6) = GF(p)[z] / (z^6 - 7), with p = 2^31 - 1
(docs/spec/public-proofs.md#the-field).

7 generates the multiplicative group of GF(p), and 6 divides p - 1, so z^6 - 7 is irreducible. An array of n
elements is uint64 [6, n] of canonical residues: row i holds the coefficients of z^i.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from proofcompute.arrays import U32, U64
from proofcompute.commitments.hashing import Xof
from proofcompute.errors import InputError
from proofcompute.freivalds.field import sample31
from proofcompute.freivalds.primes import P31

__all__ = [
    "DEGREE",
    "ONE",
    "add",
    "check_elements",
    "drawn",
    "multiply",
    "of_products",
    "subtract",
    "total",
    "words",
    "zeros",
]

DEGREE: Final = 6
_NONRESIDUE: Final = np.uint64(7)
_P: Final = np.uint64(P31)
_BITS: Final = np.uint64(31)

ONE: Final[U64] = np.array([[1], [0], [0], [0], [0], [0]], np.uint64)


def zeros(n: int) -> U64:
    """Return n zeros."""
    return np.zeros((DEGREE, n), np.uint64)


def drawn(xof: Xof, n: int) -> U64:
    """Draw n uniform elements, the six coefficients of one after those of another."""
    return np.ascontiguousarray(sample31(xof, (n, DEGREE)).T.astype(np.uint64))


def words(x: U64 | U32) -> U32:
    """Return elements as uint32 [6, n], as columns of a projection have them."""
    return np.ascontiguousarray(x.astype(np.uint32))


def add(x: U64, y: U64) -> U64:
    """Return x + y.

    A sum of residues is below 2 p. If it is below p, it minus p wraps around to something larger.
    """
    both = x + y
    return np.asarray(np.minimum(both, both - _P))


def subtract(x: U64, y: U64) -> U64:
    """Return x - y: a difference that wraps around is larger than it plus p."""
    difference = x - y
    return np.asarray(np.minimum(difference, difference + _P))


def total(x: U64) -> U64:
    """Return the sum of n elements, n < 2^33, as one element."""
    return np.asarray(x.sum(axis=1, keepdims=True, dtype=np.uint64) % _P)


def _folded(product: U64) -> U64:
    return np.asarray((product & _P) + (product >> _BITS))


def check_elements(x: U64, y: U64) -> None:
    """Check the arguments of a product, for every backend. Raises InputError."""
    good = x.dtype == y.dtype == np.uint64 and x.ndim == y.ndim == 2 and len(x) == len(y) == DEGREE
    if not good or (x.shape != y.shape and 1 not in (x.shape[1], y.shape[1])):
        raise InputError(f"elements {x.dtype} {list(x.shape)} and {y.dtype} {list(y.shape)} do not fit")


def of_products(products: Sequence[U32]) -> U64:
    """Return n sums of products of elements, [6, n], from the sums of products of coefficients, each [6, 6].

    ``products[t][i, j]`` sums up coefficients of z^i in one factor times those of z^j in the other.
    """
    out, all_ = zeros(len(products)), np.array(products, np.uint64).reshape(-1, DEGREE, DEGREE)
    for i in range(DEGREE):
        for j in range(DEGREE):
            term = all_[:, i, j] * (_NONRESIDUE if i + j >= DEGREE else np.uint64(1))
            out[(i + j) % DEGREE] += term
    return np.asarray(out % _P)


def multiply(x: U64, y: U64) -> U64:
    """Return x y; of one of them, one element may be multiplied with all of the other.

    Raises InputError for other shapes or types.

    *Exact:* a product of residues is below 2^62. Folded once (2^31 = 1) it is below 2^32, and the sums of at
    most six of those, one sum times 7, stay below 2^38.
    """
    check_elements(x, y)
    out = []
    for degree in range(DEGREE):
        terms = [_folded(x[i] * y[(degree - i) % DEGREE]) for i in range(DEGREE)]
        low, high = terms[: degree + 1], terms[degree + 1 :]
        out.append((sum(low[1:], low[0]) + _NONRESIDUE * sum(high, np.uint64(0))) % _P)
    return np.stack(out)
