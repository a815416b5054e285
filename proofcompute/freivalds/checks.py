"""Define the checking part of a backend: projections by random columns, packed integers, and hints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from proofcompute.arrays import I8, I16, I32, I64, U32, U64, Arrays
from proofcompute.freivalds.hint import CheckedHint, Hint, SummedHint, WeighedHint

__all__ = ["ArraysAndChecks", "Checks"]


class Checks(Protocol):
    """The functions of a backend that Freivalds' check uses; :mod:`.field` defines the results."""

    def project(self, y: I32 | I8, s: U32) -> U32:
        """Return y [n, m] times the k columns s [k, m] over GF(2^31 - 1): canonical residues [n, k]."""
        ...

    def fold(self, w: I8, s: U32) -> U32:
        """Return the rows of w [m, d] combined by s [k, m] over GF(2^31 - 1): V = W^T S, [k, d]."""
        ...

    def fold_parts(self, parts: Iterable[I8], s: U32) -> U32:
        """Return :meth:`fold` of matrices int8 [m_i, d], one below another, by s [k, sum of m_i]: [k, d].

        They are taken one after another, so that they need not be in memory together. Raises InputError for
        other types, shapes or numbers of rows, without any matrix, and for columns that are not canonical.
        """
        ...

    def sum_hint(self, hint: WeighedHint) -> SummedHint:
        """Unpack the sets of integers, find their extremes, combine their rows and rescale them, all at once.

        There is at least one set, row and channel. Raises FormatError for a wrong length or
        padding that is not zero, and InputError if shapes do not fit or a random row is not canonical.
        """
        ...

    def circle_words(self, rows: I8, bits: int, twiddles: U32) -> U32:
        """Return the words of messages on one coset of a circle code, a position in each row.

        :func:`proofcompute.codes.circle.encode31` defines them: residues [2^bits, rows].
        """
        ...

    def multiply_extension(self, x: U64, y: U64) -> U64:
        """Return :func:`proofcompute.codes.extension.multiply` of elements [6, n] and [6, n] or [6, 1]."""
        ...

    def project61(self, y: I8 | I16 | I32 | I64, s: U64) -> U64:
        """Return y [n, m] times the k columns s [k, m] over GF(2^61 - 1): canonical residues [n, k].

        This checks products of integers wider than int8 (:mod:`proofcompute.jobs`).
        """
        ...

    def pack(self, values: I32, bits: int) -> bytes:
        """Pack values in two's complement, `bits` bits each (1..32), least significant bit first.

        Zeros fill the last byte.
        """
        ...

    def largest_square(self, q: I8) -> int:
        """Return the largest sum of squares of a row of limbs [limbs, n, d], taken together (256 high + low).

        It is 0 if there are no rows.
        """
        ...

    def check_hint(self, hint: Hint) -> CheckedHint:
        """Unpack the sets of integers, find their extremes, check them and rescale them, all at once.

        A set holds if its projection by s equals the projection by v of the columns and limbs of q that it
        names. All sets, rows and columns are evaluated whatever fails, so that time says nothing about which
        one did. There is at least one set, row and column. Raises FormatError for a wrong length or padding
        that is not zero.
        """
        ...


class ArraysAndChecks(Arrays, Checks, Protocol):
    """A backend that checks hints of arrays of its own, which may lie on a device."""
