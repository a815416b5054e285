"""Make and check public proofs of GEMM jobs, without B (docs/spec/public-proofs.md#products).

Opened rows of A and C satisfy C = A B. For random rows R over F = GF(p^6), drawn for each range once its
frame is absorbed, U = R C and A' = R A are summed up for the member of B that the range belongs to, and the
codes show U = A' B as they show it for a model. Elements of A and B are int8, so sums of at most 65,535
products are below 2^30, and C must be: then equal residues are equal integers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.beacons import Beacon
from proofcompute.codes.extension import DEGREE
from proofcompute.commitments.hashing import DIGEST, Transcript
from proofcompute.encoding import wire
from proofcompute.errors import InputError, MismatchError, VerificationError, about
from proofcompute.freivalds.field import sample31
from proofcompute.freivalds.soundness import with_collisions
from proofcompute.jobs.claim import NOT_RECEIVED, ProductClaim, Received, check_product_receipt
from proofcompute.jobs.messages import ProductChallenge, ProductReceipt, ProductRequest
from proofcompute.jobs.result import ProductVerified
from proofcompute.jobs.verifying import check_rows
from proofcompute.limits import MAX_ACCUMULATOR
from proofcompute.protocol.receipts import decoded
from proofcompute.protocol.samples import Sample
from proofcompute.public import evaluation
from proofcompute.public.factor import FACTOR, PublicFactor, PublishedFactor
from proofcompute.public.holder import GRANTED, SECURITY, error_bits
from proofcompute.public.proof import ALL, ProofHead, Shown, write_proof
from proofcompute.public.reading import (
    beacon_in,
    encoded_beacon,
    followed,
    numbers,
    proof_for,
    require_beacon_of,
    require_count,
)
from proofcompute.public.sums import Sums
from proofcompute.public.transcript import begun

__all__ = ["ProductAnswered", "product_rows", "prove_products", "verify_products"]

_DIGEST: Final = "digest"


@dataclass(frozen=True, eq=False)
class ProductAnswered:
    """A request for a product with its receipt, and the node's opening of the rows that follow."""

    request: ProductRequest
    receipt: bytes
    opening: BinaryIO
    """A seekable stream that holds nothing else."""
    rows: int = ALL
    """The number of rows that are drawn, or ALL."""
    beacon: Beacon | None = None
    """What they are drawn from; None: the receipt's hash."""


def product_rows(claim: ProductClaim, count: int, beacon: Beacon | None = None) -> ProductChallenge:
    """Return the challenge that a node opens for a public proof of a product.

    ``count`` rows are drawn from a beacon, or by hashing the unsigned receipt; ALL opens all of them. Raises
    the errors of :meth:`ProductClaim.draw` and :meth:`ProductClaim.all_rows`.
    """
    seed = b"public" if beacon is None else beacon.seed
    return claim.all_rows() if count == ALL else claim.draw(count, seed=seed)


class _SummedRows:
    """Sums opened rows up under random rows, which are drawn as the frames of an opening are read."""

    def __init__(
        self,
        key: PublicFactor,
        claim: ProductClaim,
        challenge: ProductChallenge,
        beacon: Beacon | None,
        k: Kernels,
    ) -> None:
        self._layout, self._kernels, self.sums = key.layout, k, Sums(key)
        self._transcript = Transcript("coded product")
        self._transcript.absorb("public id", key.public_id)
        self._transcript.absorb("receipt", claim.receipt.signed_digest)
        if beacon is not None:
            self._transcript.absorb("beacon", beacon.encode())
        self._transcript.absorb("rows", wire.encode(challenge.ranges))

    def hear(self, digest: bytes) -> None:
        """Absorb the frame of a range, before its rows are tested."""
        self._transcript.absorb("range", digest)

    def test(self, a: Array, c: Array, member: int) -> None:
        """Sum rows of A and C up; the range's frame was absorbed. Raises VerificationError (step 8)."""
        if int(c.max()) >= MAX_ACCUMULATOR or int(c.min()) <= -MAX_ACCUMULATOR:
            raise VerificationError(8, "an element of C is larger than any product of these factors")
        drawn = sample31(self._transcript.challenge("random rows"), (len(a), DEGREE))
        r = np.ascontiguousarray(drawn.T)
        k = self._kernels
        u = k.host(k.project(np.ascontiguousarray(c.T), r)).T
        plane = self._layout.number[FACTOR, member, 0]
        self.sums.add(plane, 0, u, k.host(k.fold(np.ascontiguousarray(a), r)))

    def digest(self) -> bytes:
        """Return the digest of everything that the prover of this product chose."""
        return self._transcript.challenge(_DIGEST).read(DIGEST)


def prove_products(
    published: PublishedFactor,
    answered: Sequence[ProductAnswered],
    out: BinaryIO,
    *,
    positions: int,
    kernels: Kernels,
    device: str = "auto",
) -> None:
    """Write the public proof of products with one B, which anybody checks without B.

    Args:
        published: B with its public factor.
        answered: the requests with openings of the rows of :func:`product_rows`.
        out: a buffered stream.
        positions: positions of the code that are opened (:func:`.holder.positions_for`).
        kernels: the backend.
        device: the same, by name.

    Raises InputError for too few positions or no product, MismatchError if a product is with another B, and
    VerificationError if an opening is false.
    """
    key = published.key
    bits = error_bits(key.layout, positions)
    if bits <= GRANTED or not answered:
        raise InputError(f"{len(answered)} products and {bits:.1f} bits, which prove nothing")
    summed = []
    for one in answered:
        _require_factor(key, one.request)
        claim = check_product_receipt(one.request, one.receipt, NOT_RECEIVED, device=device)
        require_beacon_of(claim.receipt.digest, one.rows, one.beacon)
        challenge = product_rows(claim, one.rows, one.beacon)
        summed.append(_summed(key, claim, challenge, one.beacon, one.opening, kernels))
    digests = tuple(s.digest() for s in summed)
    shown = tuple(
        Shown(a.rows, digest, encoded_beacon(a.beacon)) for a, digest in zip(answered, digests, strict=True)
    )
    head = ProofHead(key.public_id, positions, shown)
    transcript = begun(key.public_id, positions, digests)
    made = evaluation.prove(
        transcript, [s.sums for s in summed], published.plane, published.trees, positions, kernels
    )
    sizes = [(a.opening, a.opening.seek(0, 2)) for a in answered]
    write_proof(out, head, [a.receipt for a in answered], sizes, made.encode())


def verify_products(
    key: PublicFactor,
    requests: Sequence[ProductRequest],
    stream: BinaryIO,
    *,
    received: Sequence[Received],
    kernels: Kernels,
    node: bytes | None = None,
    rows: int = ALL,
    attestors: Collection[bytes] = (),
    security: float = SECURITY,
    device: str = "auto",
) -> tuple[ProductVerified, ...]:
    """Check a public proof of products without B, for some of its requests or all.

    Args:
        key: a public factor whose public id the caller trusts.
        requests: the requests that the caller wants proved, in any order; see
            :func:`.proving.verify_proof`.
        stream: the proof, seekable; openings are read range by range, so memory stays flat.
        received: for each request the C that was received, or NOT_RECEIVED
            (:func:`proofcompute.jobs.verify_rows`).
        kernels: the backend.
        node: public key that must have signed; None: the one in each request, or any if it names none.
        rows: the fewest rows of each product that must be opened, or ALL.
        attestors: public keys of those whose statements about beacons the caller believes; see
            :func:`.proving.verify_proof`.
        security: -log2 of the most error that one attempt may have; above 80.
        device: the backend by name.

    Returns what was checked of each product, in the order given.

    Raises VerificationError if a step fails, MismatchError if a request is for another B, and InputError if
    requests and products received are not as many, at least one, a proof would prove nothing, or a proof has
    a beacon and nobody is named who attests it. UnsupportedError: beacons need py_ecc.
    """
    if not requests or len(requests) != len(received):
        raise InputError(
            f"{len(requests)} requests are given, and {len(received)} products that were received"
        )
    for request in requests:
        _require_factor(key, request)
    proof = proof_for(key, stream, security)
    head, asked = proof.head, [r.digest for r in requests]
    names = [
        decoded(ProductReceipt.decode, data, "product receipt").request_digest for data in proof.receipts
    ]
    after = followed(key, begun(key.public_id, head.positions, head.digests), proof, kernels)
    if after is None:
        raise VerificationError(1, "the proof has no evaluation")
    found = []
    for request, number, c in zip(requests, numbers(asked, names), received, strict=True):
        claim = check_product_receipt(request, proof.receipts[number], c, node=node, device=device)
        receipt = claim.receipt
        with about(node=receipt.node, request_digest=request.digest, receipt_digest=receipt.digest):
            shown = head.requests[number]
            if isinstance(shown.cells, Sample):
                raise VerificationError(1, "rows of products are drawn one by one, and not in runs")
            beacon, attempts = beacon_in(shown, receipt.digest, request.digest, attestors, "rows")
            challenge = product_rows(claim, shown.cells, beacon)
            require_count(challenge.rows, receipt.c.rows, shown.cells, rows, "rows")
            summed = _summed(key, claim, challenge, beacon, proof.openings[number], kernels)
            if summed.digest() != shown.digest:
                raise VerificationError(6, "the opening is not the one that the proof is about")
            after.require(number, summed.sums)
        evidence = _evidence(key, claim, challenge.rows, head.positions)
        found.append(replace(evidence, attempts=attempts))
    return tuple(found)


def _summed(
    key: PublicFactor,
    claim: ProductClaim,
    challenge: ProductChallenge,
    beacon: Beacon | None,
    opening: BinaryIO,
    kernels: Kernels,
) -> _SummedRows:
    """Check an opening but for its products, which are summed up."""
    summed = _SummedRows(key, claim, challenge, beacon, kernels)
    opening.seek(0)
    check_rows(summed, claim, challenge, opening, kernels, summed.hear)
    return summed


def _require_factor(key: PublicFactor, request: ProductRequest) -> None:
    """Raise MismatchError unless a request is for a product of int8 with the public B."""
    named = (request.suite, request.b, request.stacks.b, request.a.dtype)
    if named != (key.suite, key.b, key.lead, "int8"):
        raise MismatchError("the request is not for a product of int8 with the published B")


def _evidence(key: PublicFactor, claim: ProductClaim, rows: int, positions: int) -> ProductVerified:
    return ProductVerified(
        rows=rows,
        total=claim.receipt.c.rows,
        contraction=key.contraction,
        width=key.b.width,
        dtypes=("int8", "int8", "int32"),
        arithmetic="GF((2^31 - 1)^6)",
        columns=1,
        soundness_bits=with_collisions(error_bits(key.layout, positions) - GRANTED),
        received=claim.received,
    )
