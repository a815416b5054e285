"""Verifies opened rows of a GEMM job.

The steps have the numbers of the verification of a model's run (docs/spec/verification.md#jobs):

1. receipt and opening decode, versions and limits hold;
2. the node's key is the one addressed, and its signatures on the receipt and on the opening hold;
3. B is the matrix that the request names, and the version of the arithmetic is the one defined here;
4. the request digest is that of the request the verifier holds;
5. type and shape of C are those of the product, the C received is the one signed, and it is kept long enough;
6. the challenge belongs to this receipt, and its rows exist;
7. every opened row of A and of C is under its root;
8. the product check of those rows holds;
9. (a job has no step 9: nothing is recomputed and compared);
10. every range asked for was opened and checked, and nothing else was sent.

Rows of a stack are those of all its products, one after the other; each range is tested with the member of B
that its rows belong to.

Sampling detects as much as for a model's run: c of n rows catch one false row with probability c / n, and a
false share f with probability at least 1 - (1 - f)^c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.commitments import merkle
from proofcompute.commitments.hasher import Hasher
from proofcompute.errors import FormatError, InputError, LimitError, MismatchError, VerificationError, about
from proofcompute.freivalds.soundness import with_collisions
from proofcompute.jobs.arrays import FACTORS, flat, matrix
from proofcompute.jobs.claim import ProductClaim, Received, check_product_receipt
from proofcompute.jobs.commitment import MatrixId, named_tree, rows_from_leaves, rows_leaves
from proofcompute.jobs.dlpack import AnyArray
from proofcompute.jobs.floating import FloatBound
from proofcompute.jobs.key import Checker, ProductKey, RowTest, checker, evidence
from proofcompute.jobs.messages import ProductChallenge, ProductRequest, RowsPart
from proofcompute.jobs.result import ProductVerified
from proofcompute.protocol.frames import Frames
from proofcompute.protocol.messages.closing import frame_digest
from proofcompute.protocol.messages.terms import Terms

__all__ = ["check_rows", "verify_rows"]


def verify_rows(
    b: ProductKey | AnyArray,
    request: ProductRequest,
    receipt: bytes,
    challenge: ProductChallenge,
    opening: BinaryIO,
    *,
    c: Received,
    node: bytes | None = None,
    terms: Terms | None = None,
    retention: int = 0,
    columns: int | None = None,
    roundings: int | None = None,
    device: str = "auto",
) -> ProductVerified:
    """Check opened rows of an untrusted node's product, and that this product is the C that was received.

    Args:
        b: B itself [.., d, m], or a key made from it with the request's hash suite (integers only).
        request: the request as the verifier knows it.
        receipt: the node's receipt, encoded.
        challenge: the verifier's own challenge, drawn from the claim of :func:`check_product_receipt`.
        opening: the node's opening, which is read frame by frame. A rejection tells whether the node signed
            what was rejected (``VerificationError.attributable``).
        c: the C that was received [.., n, m]; or its ``MatrixId.of``; or
            :data:`~proofcompute.jobs.NOT_RECEIVED` if the auditor never had it, which the result states
            (``ProductVerified.received``).
        node: the public key that must have signed; None: the one in the request, or any if it names none.
        terms: the terms that the receipt must name, already checked; None: any.
        retention: the least number of seconds for which the node must answer challenges.
        columns: k if ``b`` is a matrix; a key has its own.
        roundings: for floats, as in :func:`verify_product`.
        device: the backend.

    Raises:
        VerificationError: receipt, C or opening fail a step.
        InputError: the verifier's own B, request and challenge do not belong together, or another request
            with this nonce was verified under this key.
    """
    kernels = kernels_for(device)
    used = _checker(b, request, columns, roundings, device, kernels)  # 3
    claim = check_product_receipt(
        request, receipt, c, node=node, terms=terms, retention=retention, device=device
    )
    found = claim.receipt
    with about(node=found.node, request_digest=request.digest, receipt_digest=found.digest):
        try:
            challenge.check(request, found)
        except MismatchError as e:
            raise VerificationError(6, str(e)) from e
        used.log.attempt(request.nonce, request.digest)
        bounds = check_rows(used, claim, challenge, opening, kernels)
    shown = evidence(used, challenge.rows, found.c.rows, bounds, received=claim.received)
    return replace(shown, soundness_bits=with_collisions(shown.soundness_bits))


def check_rows(
    used: RowTest,
    claim: ProductClaim,
    challenge: ProductChallenge,
    opening: BinaryIO,
    kernels: Kernels,
    heard: Callable[[bytes], None] | None = None,
) -> list[FloatBound]:
    """Check an opening: steps 1, 2 and 7 to 10.

    ``heard`` is called with the digest of the frame of each range, before the rows in it are tested.
    """
    frames = Frames(opening, 1, watched=True)
    bounds: list[FloatBound] = []
    try:
        for first, end in challenge.ranges:
            rows_a, rows_c, member = _read_rows(claim, first, end, frames, kernels, heard)
            bound = used.test(rows_a, rows_c, member)  # 8
            if bound is not None:
                bounds.append(bound)
        closing = frames.close(claim.receipt, challenge.digest)
    except VerificationError as e:
        request, c = claim.request, claim.receipt.c
        limits = [RowsPart.most(request, c, first, end) for first, end in challenge.ranges]
        raise frames.blame(e, claim.receipt, challenge.digest, limits) from e.__cause__
    frames.require_signed(closing)
    return bounds


def _checker(
    b: ProductKey | AnyArray,
    request: ProductRequest,
    columns: int | None,
    roundings: int | None,
    device: str,
    kernels: Kernels,
) -> Checker:
    wanted = request.shape[0]
    if isinstance(b, ProductKey):
        if columns is not None or roundings is not None:
            raise InputError("a key has its own columns, and is for integers, which have no roundings")
        named = b.identity == request.b and b.lead == request.stacks.b
        if not named or b.dtypes != (request.a.dtype, request.b.dtype, wanted):
            raise MismatchError("the key was not made for such a product with this B and this hash suite")
        return b
    right = matrix(b, "B", FACTORS)
    if right.shape[:-2] != request.stacks.b:
        raise MismatchError(f"B {list(right.shape)} has other leading axes than the one that was named")
    named_tree(flat(right), "B", request.b, request.suite, kernels)
    return checker(
        right, request.a.dtype, wanted, columns=columns, roundings=roundings, seed=None, device=device
    )


def _read_rows(
    claim: ProductClaim,
    first: int,
    end: int,
    frames: Frames,
    kernels: Hasher,
    heard: Callable[[bytes], None] | None,
) -> tuple[Array, Array, int]:
    """Return rows first..end of C, those of A, and which member of B they are multiplied by.

    The rows are checked to lie under their roots (steps 1, 7 and 10).
    """
    request, receipt = claim.request, claim.receipt
    start, stop, member = request.factors_of(first, end)
    data = frames.part(RowsPart.most(request, receipt.c, first, end))
    if data is None:
        raise VerificationError(10, f"the opening lacks rows {first}..{end}")
    if heard is not None:
        heard(frame_digest(data))
    try:
        part = RowsPart.decode(data, request, receipt.c, first, end)
    except (FormatError, LimitError) as e:
        raise VerificationError(1, f"rows {first}..{end}: {e}") from e
    a = _under(request.a, "A", request.suite, start, stop, part.a, part.a_proof, kernels)
    c = _under(receipt.c, "C", request.suite, first, end, part.c, part.c_proof, kernels)
    return a, c, member


def _under(
    of: MatrixId,
    what: str,
    suite: str,
    first: int,
    end: int,
    data: bytes,
    proof: tuple[bytes, ...],
    kernels: Hasher,
) -> Array:
    """Return rows of one matrix; raise unless they lie under its root (step 7)."""
    rows = np.frombuffer(data, np.uint8).reshape(end - first, of.row_bytes)
    leaves = rows_leaves(suite, of.dtype, rows, kernels)
    root = merkle.root_from_range(suite, of.rows, first, end, leaves, proof, kernels.hash_ranges)
    if root != of.root:
        raise VerificationError(7, f"rows {first}..{end} of {what} are not under its root")
    return rows_from_leaves(data, of.dtype, end - first, of.width)
