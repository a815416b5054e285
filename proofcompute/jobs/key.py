"""Checks products with one right factor B (docs/spec/freivalds.md#jobs-of-integers).

:class:`ProductKey` is for integers and can be used many times: B is projected once, which costs d m k, and
each product with another A then costs n (d + m) k, as for the linear layers of F. Tramer and D. Boneh,
"Slalom" (ICLR 2019). **It is secret**: the prover knows B, so V = B S reveals S. It exists in memory only.

If a prover chooses q products adaptively under one key, any false one passes with probability at most q p^-k:
until the first false product passes, the prover can predict every verdict (true: accepted, false: rejected),
so the verdicts tell it nothing. ``soundness_bits`` subtracts log2 q.
"""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING, Final, final

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.commitments.hashing import Xof
from proofcompute.errors import InputError, VerificationError
from proofcompute.errors.sealed import sealed
from proofcompute.freivalds.attempts import Log, MemoryLog
from proofcompute.jobs.arrays import FLOATS, INTEGERS, matrix, result_dtype
from proofcompute.jobs.commitment import MatrixId
from proofcompute.jobs.exact import Field, check_bound, field_for, in_range, magnitude
from proofcompute.jobs.floating import FloatBound, FloatCheck
from proofcompute.jobs.result import MOST_BITS, ProductVerified
from proofcompute.limits import MAX_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Checker", "ProductKey", "checker", "evidence"]

_CLAIMS: Final = ("int32", "int64")


@final
class ProductKey:
    """Secret columns S and the projection V = B S of one integer matrix B.

    Args:
        b: B [d, m], int8, int16 or int32.
        left: element type of the left factors; by default that of B.
        claim: element type of the products, int32 or int64; by default that of :func:`matmul`.
        columns: k, 1 to MAX_COLUMNS; by default 2 in GF(2^31 - 1) and 1 in GF(2^61 - 1).
        suite: hash suite in which B is recognised in requests (:func:`verify_rows`); None if it need not be.
        seed: 32 secret bytes for tests; the operating system's randomness otherwise.
        device: the backend.

    Raises InputError if an argument has another type or is out of range.
    """

    def __init__(
        self,
        b: Array,
        *,
        left: str | None = None,
        claim: str | None = None,
        columns: int | None = None,
        suite: str | None = None,
        seed: bytes | None = None,
        device: str = "auto",
    ) -> None:
        b = matrix(b, "B", INTEGERS)
        self.d, self.m = b.shape
        if left is not None and left not in INTEGERS:
            raise InputError(f"the left factors are {left}; a key is for {' or '.join(INTEGERS)}")
        left = left or b.dtype.name
        claim = claim or result_dtype(left, b.dtype.name, self.d)
        if claim not in _CLAIMS:
            raise InputError(f"the products are {claim}; a claim is {' or '.join(_CLAIMS)}")
        self.dtypes: tuple[str, str, str] = (left, b.dtype.name, claim)
        self.field: Field = field_for(left, b.dtype.name, claim, self.d)
        self.columns = self.field.columns if columns is None else columns
        if not 1 <= self.columns <= MAX_COLUMNS:
            raise InputError(f"columns {self.columns} is outside 1..{MAX_COLUMNS}")
        if seed is not None and len(seed) != 32:
            raise InputError("a key's seed has 32 bytes")
        self.log: Log = MemoryLog()
        """The attempts under this key, failed ones included."""
        self._kernels: Kernels = kernels_for(device)
        self.identity = None if suite is None else MatrixId.of(b, suite, self._kernels)
        """The commitment to B by which requests name it; None without a hash suite."""
        self._largest = magnitude(b)
        self._draw(b, seed)

    @sealed
    def _draw(self, b: Array, seed: bytes | None) -> None:
        """Draw the columns from the seed, or a new one, and project B."""
        xof = Xof("product", secrets.token_bytes(32) if seed is None else seed)
        self._s = self.field.sample(xof, (self.columns, self.m))
        self._v = np.ascontiguousarray(self.field.project(self._kernels, b, self._s).T)

    def __repr__(self) -> str:
        return f"ProductKey({self.dtypes[1]} [{self.d}, {self.m}], columns={self.columns})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a product key is secret and stays in memory; make a new one from B")

    @property
    def arithmetic(self) -> str:
        """Name of the field."""
        return self.field.name

    @property
    def soundness_bits(self) -> float:
        """-log2 of the probability that a false product passed in any of the attempts so far."""
        bits = self.columns * math.nextafter(math.log2(self.field.p), 0)  # binary64 may round log2 up
        bits -= math.log2(max(1, len(self.log.attempts)))
        return min(bits, MOST_BITS)

    def check(self, a: Array, c: Array) -> ProductVerified:
        """Verify that C [n, m] = A B over the integers, for A [n, d] of the key's types.

        Raises VerificationError (step 8, without telling which row) if it is not, InputError for other shapes
        or types, LimitError if d max|A| max|B| reaches 2^60 or the key was used MAX_ATTEMPTS times.
        """
        a, c = matrix(a, "A", self.dtypes[:1]), matrix(c, "C", self.dtypes[2:])
        if a.shape[1] != self.d or c.shape != (len(a), self.m):
            raise InputError(f"A {list(a.shape)} and C {list(c.shape)} do not fit B [{self.d}, {self.m}]")
        self.log.attempt()
        self.test(a, c)
        return evidence(self, len(a), len(a), [], received=True)

    def test(self, a: Array, c: Array) -> None:
        """Check some rows of A and C, whose types and shapes are right, as a part of an attempt.

        Raises as :meth:`check`.
        """
        check_bound(self.d, magnitude(a), self._largest)
        if not in_range(c, self.field):
            raise VerificationError(8, "C holds a number that no such product has", operation="product")
        if not self._holds(a, c):
            raise VerificationError(8, "C is not the product of A and B", operation="product")

    @sealed
    def _holds(self, a: Array, c: Array) -> bool:
        """Return whether C S = A V. The projections of the claim exist nowhere else."""
        left = self.field.project(self._kernels, c, self._s)
        right = self.field.project(self._kernels, a, self._v)
        return bool(np.array_equal(left, right))


@final
class _FloatChecker:
    """Checks one claim about a product of floats."""

    arithmetic = "binary64 with signs"

    def __init__(self, b: Array, columns: int | None, roundings: int | None, seed: bytes | None) -> None:
        self._check = FloatCheck(b, columns, roundings, seed)
        self.d, self.m = b.shape
        self.dtypes = (b.dtype.name, b.dtype.name, b.dtype.name)
        self.columns = self._check.columns
        self.log: Log = MemoryLog()

    @property
    def soundness_bits(self) -> float:
        return min(self._check.soundness_bits, MOST_BITS)

    def test(self, a: Array, c: Array) -> FloatBound:
        return self._check.test(a, c)


Checker = ProductKey | _FloatChecker


def checker(
    b: Array,
    left: str,
    claim: str,
    *,
    columns: int | None,
    roundings: int | None,
    seed: bytes | None,
    device: str,
) -> Checker:
    """Draw fresh columns for one claim of type ``claim`` about A (of type ``left``) times B.

    The types have been checked. Raises InputError if ``roundings`` is given for integers.
    """
    if b.dtype.name in FLOATS:
        return _FloatChecker(b, columns, roundings, seed)
    if roundings is not None:
        raise InputError("products of integers are exact; roundings are for floats")
    return ProductKey(b, left=left, claim=claim, columns=columns, seed=seed, device=device)


def evidence(
    used: Checker, rows: int, total: int, bounds: Sequence[FloatBound], *, received: bool
) -> ProductVerified:
    """Return the evidence of a check that passed; ``bounds`` are those of the parts of a float product."""
    bound = None
    if isinstance(used, _FloatChecker):
        bound = FloatBound(
            np.concatenate([b.tolerance for b in bounds]), np.concatenate([b.caught for b in bounds])
        )
    return ProductVerified(
        rows=rows,
        total=total,
        contraction=used.d,
        width=used.m,
        dtypes=used.dtypes,
        arithmetic=used.arithmetic,
        columns=used.columns,
        soundness_bits=used.soundness_bits,
        received=received,
        bound=bound,
    )
