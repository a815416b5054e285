"""The checking part of a backend: projections by random columns, packed integers, and hints."""

from __future__ import annotations

from typing import Protocol

from proofcompute.arrays import I8, I16, I32, I64, U32, U64, Arrays
from proofcompute.freivalds.hint import CheckedHint, Hint

__all__ = ["ArraysAndChecks", "Checks"]


class Checks(Protocol):
    """What Freivalds' check takes of a backend; :mod:`.field` says what comes out."""

    def project(self, y: I32 | I8, s: U32) -> U32:
        """y [n, m] times the k columns s [k, m] over GF(2^31 - 1): canonical residues [n, k]."""
        ...

    def fold(self, w: I8, s: U32) -> U32:
        """Columns of w [m, d] combined by s [k, m] over GF(2^31 - 1): V = W^T S, [k, d]."""
        ...

    def project61(self, y: I8 | I16 | I32 | I64, s: U64) -> U64:
        """y [n, m] times the k columns s [k, m] over GF(2^61 - 1): canonical residues [n, k].

        For products of integers wider than int8 (:mod:`proofcompute.jobs`).
        """
        ...

    def pack(self, values: I32, bits: int) -> bytes:
        """Two's complement of `bits` bits each (1..32), least significant first, zero-padded to a byte."""
        ...

    def largest_square(self, q: I8) -> int:
        """The largest sum of squares of a row of limbs [limbs, n, d], taken together (256 high + low).

        0 if there are no rows.
        """
        ...

    def check_hint(self, hint: Hint) -> CheckedHint:
        """Unpack the sets of integers, find their extremes, check and rescale them; fused.

        A set holds if its projection by s equals that of the columns and limbs of q that it names by v. All
        sets, rows and columns are evaluated whatever fails, so that time says nothing about which one did.
        There is at least one set, row and column. FormatError on a wrong length or padding that is not zero.
        """
        ...


class ArraysAndChecks(Arrays, Checks, Protocol):
    """A backend that checks hints of arrays of its own, which may lie on a device."""
