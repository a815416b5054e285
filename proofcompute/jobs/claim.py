"""Checks the receipt of a GEMM job, and that its C is the one that was received (steps 1 to 5).

A node commits to C in its receipt, and it sends C. Only this check makes sure that the two are the same:
without it, a node could commit to the right product, send zeros, and pass every audit.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.commitments.hashing import Xof
from proofcompute.errors import InputError, LimitError, VerificationError, about
from proofcompute.jobs.commitment import MatrixId
from proofcompute.jobs.dlpack import AnyArray, host_array
from proofcompute.jobs.messages import MAX_PART, MAX_RANGES, ProductChallenge, ProductReceipt, ProductRequest
from proofcompute.limits import MAX_CELL_ROWS
from proofcompute.protocol.cells import distinct
from proofcompute.protocol.messages.terms import Terms
from proofcompute.protocol.promises import check_pair, check_promise
from proofcompute.protocol.receipts import check_numerics, check_request, check_signer, decoded, one_signer

__all__ = ["NOT_RECEIVED", "ProductClaim", "Received", "check_product_receipt"]


class _Nothing(Enum):
    """The type of :data:`NOT_RECEIVED`."""

    NOT_RECEIVED = "not received"


NOT_RECEIVED: Final = _Nothing.NOT_RECEIVED
"""Stands for C if the verifier never had it: it audits what the node committed to, not what it sent."""
Received = AnyArray | MatrixId | Literal[_Nothing.NOT_RECEIVED]
"""The C that was received, an array of NumPy or of another library on the host; its :meth:`MatrixId.of`; or
NOT_RECEIVED."""


@dataclass(frozen=True)
class ProductClaim:
    """A receipt that passed steps 1 to 5: its C has the type and shape of the product."""

    request: ProductRequest
    receipt: ProductReceipt
    received: bool
    """Whether a C was received, which is then the one that the node signed."""

    def all_rows(self, step: int = MAX_CELL_ROWS) -> ProductChallenge:
        """Return a challenge of every row, in ranges of ``step`` rows, or fewer if rows are long.

        No range has rows of two products of a stack. Raises LimitError if these are more ranges than a
        challenge may name.
        """
        n, members = self.request.member_rows, self.request.stacks.members
        step = min(step, self._most())
        if step < 1:
            raise InputError("a range has at least one row")
        if -(-n // step) * members > MAX_RANGES:  # nothing is listed before this
            raise LimitError(
                f"{members} times {n} rows by {step} are more than {MAX_RANGES} ranges; take larger ones"
            )
        ranges = ((i * n + a, i * n + min(a + step, n)) for i in range(members) for a in range(0, n, step))
        return ProductChallenge(self.receipt.digest, tuple(ranges))

    def draw(self, count: int, *, each: bool = False, seed: bytes | None = None) -> ProductChallenge:
        """Draw distinct rows uniformly, from the operating system's randomness.

        Args:
            count: how many; all rows if there are fewer.
            each: draw so many of each product of a stack, and not of all products together.
            seed: for rows that follow from the receipt alone, as those of a public proof; None: secret ones.

        Raises InputError if ``count`` is less than 1, or so many rows may need more ranges than a challenge
        may name.
        """
        n, members = self.request.member_rows, self.request.stacks.members
        total, parts = (n, members) if each else (n * members, 1)
        if count < 1 or min(count, total) * parts > MAX_RANGES:
            raise InputError(f"{count} rows cannot be drawn: ask for 1 to {MAX_RANGES} in all")
        if count >= total:
            return self.all_rows()
        fresh = secrets.token_bytes(32) if seed is None else seed
        xof = Xof("product rows", fresh, self.receipt.signed_digest)
        rows = (i * n + row for i in range(parts) for row in distinct(xof, total, count))
        return ProductChallenge(self.receipt.digest, _joined(rows, self._most(), n))

    def _most(self) -> int:
        """Return the most rows of a range: those of a cell, or as many as one part of an opening may hold."""
        row = self.request.a.row_bytes + self.receipt.c.row_bytes
        return min(MAX_CELL_ROWS, MAX_PART // row)


def _joined(rows: Iterable[int], most: int, member: int) -> tuple[tuple[int, int], ...]:
    """Join ascending rows into ranges of at most ``most`` rows, each of one member of so many rows."""
    ranges: list[tuple[int, int]] = []
    for row in rows:
        if ranges and ranges[-1][1] == row and row % member and row - ranges[-1][0] < most:
            ranges[-1] = (ranges[-1][0], row + 1)
        else:
            ranges.append((row, row + 1))
    return tuple(ranges)


def check_product_receipt(
    request: ProductRequest,
    receipt: bytes,
    c: Received,
    *,
    node: bytes | None = None,
    terms: Terms | None = None,
    retention: int = 0,
    device: str = "auto",
) -> ProductClaim:
    """Check everything about a node's receipt that needs no opening: steps 1 to 5 of :mod:`.verifying`.

    Args:
        request: the request as the verifier knows it.
        receipt: the node's receipt, encoded.
        c: the C that was received, which is hashed here; or its :class:`MatrixId`, but never the one in the
            receipt; or NOT_RECEIVED.
        node: the public key that must have signed; None: the one in the request, or any if it names none.
        terms: the terms that the receipt must name, already checked
            (:func:`proofcompute.protocol.promises.check_terms`); None: any.
        retention: the least number of seconds for which the node must answer challenges.
        device: the backend.

    Returns:
        The claim, from which rows are drawn.

    Raises VerificationError if the receipt fails a step or C is not the one that it names (step 5),
    InputError if ``c`` is not a matrix, or if request and ``node`` name different nodes.
    """
    signer = one_signer(node, request.node)
    if type(receipt) is not bytes:
        raise InputError("the receipt must be the bytes that the node sent")
    with about(request_digest=request.digest):
        signer = check_pair(terms, signer)  # 2
        found = decoded(ProductReceipt.decode, receipt, "product receipt")  # 1
        with about(node=found.node, receipt_digest=found.digest):
            check_signer(found, signer)  # 2
            check_numerics(found.numerics)  # 3
            check_request(found, request)  # 4
            shape = (found.c.dtype, found.c.rows, found.c.width)
            if shape != request.shape:
                raise VerificationError(5, "wrong type or shape of C", expected=request.shape, found=shape)
            if c is not NOT_RECEIVED:
                _check_received(request, found, c, device)
            check_promise(found, terms, retention)  # 5
    return ProductClaim(request, found, c is not NOT_RECEIVED)


def _check_received(request: ProductRequest, receipt: ProductReceipt, c: Any, device: str) -> None:
    """Check that the C that was received is the one that the node signed (step 5)."""
    if not isinstance(c, MatrixId):
        if isinstance(c, np.ma.MaskedArray) or not hasattr(c, "__dlpack__"):
            what = type(c).__name__
            raise InputError(f"C is {what}; give the NumPy array that was received, or its MatrixId")
        c = host_array(c, "C")
        named, stacks = receipt.c, request.stacks
        wanted = (named.dtype, *stacks.lead, named.rows // stacks.members, named.width)
        if (c.dtype.name, *c.shape) != wanted:
            raise VerificationError(
                5,
                "the C received has another type or shape than the one signed",
                expected=wanted,
                found=(c.dtype.name, *c.shape),
            )
        c = MatrixId.of(c, receipt.suite, kernels_for(device))
    if c != receipt.c:
        raise VerificationError(
            5, "the C received is not the one signed", expected=receipt.c.root.hex(), found=c.root.hex()
        )
