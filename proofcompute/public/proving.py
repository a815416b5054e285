"""Make and check public proofs (docs/spec/public-proofs.md#the-proof)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO, Protocol

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import I8
from proofcompute.beacons import Beacon
from proofcompute.commitments.hashing import DIGEST
from proofcompute.errors import (
    InputError,
    LimitError,
    MismatchError,
    VerificationError,
)
from proofcompute.models.model import Model
from proofcompute.protocol.cells import all_cells, draw_cells
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.frames import most_bytes
from proofcompute.protocol.messages import Challenge, Receipt, Request
from proofcompute.protocol.receipts import decoded
from proofcompute.protocol.samples import Sample
from proofcompute.prover.opening import Hearer
from proofcompute.public import evaluation
from proofcompute.public.holder import GRANTED, SECURITY, CodedHolder, error_bits
from proofcompute.public.key import PublicKey
from proofcompute.public.layout import Plane
from proofcompute.public.proof import ALL, ProofHead, ProofWriter, Shown
from proofcompute.public.publishing import Published
from proofcompute.public.reading import (
    beacon_in,
    encoded_beacon,
    followed,
    numbers,
    proof_for,
    require_beacon_of,
    require_count,
)
from proofcompute.public.sums import OwnSums, Sums
from proofcompute.public.transcript import Absorbed, begun
from proofcompute.verifier.claim import check_receipt, naming
from proofcompute.verifier.frames import frame_limits
from proofcompute.verifier.result import Verified
from proofcompute.verifier.verify import audit

__all__ = ["Answered", "Opens", "OwnAnswer", "coded_challenge", "prove", "verify_proof"]


class Opens(Protocol):
    """A node, which opens its own answers."""

    def open(
        self,
        request: Request,
        receipt: bytes,
        challenge: Challenge,
        stream: BinaryIO,
        *,
        progress: Callable[[int], None] | None,
        hearer: Hearer,
    ) -> object:
        """Write an opening, which ``hearer`` hears meanwhile (:meth:`proofcompute.prover.node.Node.open`)."""
        ...


@dataclass(frozen=True, eq=False)
class Answered:
    """A request with its receipt, and the node's opening of the cells that follow."""

    request: Request
    receipt: bytes
    opening: BinaryIO
    """A seekable stream that holds nothing else."""
    cells: int | Sample = ALL
    """The number of cells, or the runs, that are drawn; or ALL."""
    beacon: Beacon | None = None
    """What they are drawn from; None: the receipt's hash."""


@dataclass(frozen=True, eq=False)
class OwnAnswer:
    """A request that the prover's own node answered; the node opens the cells that follow while it proves."""

    request: Request
    receipt: bytes
    node: Opens
    cells: int | Sample = ALL
    """See Answered."""
    beacon: Beacon | None = None
    """See Answered."""


def coded_challenge(claim: Claim, count: int | Sample, beacon: Beacon | None = None) -> Challenge:
    """Return the challenge that a node opens for a public proof without weights.

    Cells or runs are drawn from a beacon, or by hashing the unsigned receipt; ALL opens all cells. Raises the
    errors of :func:`proofcompute.protocol.cells.draw_cells` and
    :func:`~proofcompute.protocol.cells.all_cells`.
    """
    seed = b"public" if beacon is None else beacon.seed
    cells = all_cells(claim) if count == ALL else draw_cells(claim, count, seed)
    return Challenge(claim.receipt.digest, cells, hints=True, tables=True)


def prove(
    published: Published,
    model: Model,
    answered: Sequence[Answered | OwnAnswer],
    out: BinaryIO,
    *,
    positions: int,
    kernels: Kernels,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the public proof of requests, which anybody checks with the public key.

    Args:
        published: the public key of the model, and the trees over its codes.
        model: the model itself, whose weights are combined.
        answered: the requests with openings of the cells of :func:`coded_challenge`, which are audited and
            copied, or with the node that opens them: straight into ``out``, and nothing is read again.
        out: a buffered stream; for a node's own answers one to seek in and to read. What is in it after an
            error is no proof.
        positions: positions of each code that are opened (:func:`.holder.positions_for`).
        kernels: the backend.
        progress: is called with the number of rows of each cell whose products are summed up.

    Raises MismatchError if model, trees and key do not belong together, InputError for too few positions or
    another stream, VerificationError if an opening is false, and the errors of a node that opens.
    """
    key, trees = published.key, published.trees
    if model.model_id != key.card.model_id or tuple(tree.root for tree in trees) != key.roots:
        raise MismatchError("the public key is of another model, or its codes are other ones")
    bits = error_bits(key.layout, positions)
    if bits <= GRANTED:
        raise InputError(f"{positions} positions of each code give {bits:.1f} bits, which prove nothing")
    claims = [check_receipt(key, one.request, one.receipt) for one in answered]
    for one, claim in zip(answered, claims, strict=True):
        require_beacon_of(claim.receipt.digest, one.cells, one.beacon)
    sums = [Sums(key, proving=True) for _ in answered]
    digests = [bytes(DIGEST) for _ in answered]
    for number, (one, claim) in enumerate(zip(answered, claims, strict=True)):
        if isinstance(one, Answered):
            digests[number] = _audited(one, claim, sums[number], positions, kernels, progress)[1]
    writer = ProofWriter(out, _head(key, positions, answered, digests))
    for number, (one, claim) in enumerate(zip(answered, claims, strict=True)):
        if isinstance(one, Answered):
            writer.copied(one.receipt, one.opening, one.opening.seek(0, 2))
        else:
            digests[number] = _made(one, claim, sums[number], writer, kernels, progress)
    transcript, shown = begun(key.public_id, positions, digests), b""
    if any(one.a for one in sums):
        shown = evaluation.prove(transcript, sums, _weights(model), trees, positions, kernels).encode()
    writer.end(shown, _head(key, positions, answered, digests))


def _head(
    key: PublicKey, positions: int, answered: Sequence[Answered | OwnAnswer], digests: Sequence[bytes]
) -> ProofHead:
    shown = (
        Shown(one.cells, digest, encoded_beacon(one.beacon))
        for one, digest in zip(answered, digests, strict=True)
    )
    return ProofHead(key.public_id, positions, tuple(shown))


def _made(
    one: OwnAnswer,
    claim: Claim,
    sums: Sums[PublicKey],
    writer: ProofWriter,
    kernels: Kernels,
    progress: Callable[[int], None] | None,
) -> bytes:
    """Write an opening while its products are summed up; return the digest of the request."""
    challenge = coded_challenge(claim, one.cells, one.beacon)
    absorbed = Absorbed(sums.key.public_id, claim.receipt, challenge, encoded_beacon(one.beacon))
    own = OwnSums(sums, absorbed, kernels)
    made = partial(one.node.open, one.request, one.receipt, challenge, progress=progress, hearer=own)
    writer.made(one.receipt, most_bytes(frame_limits(claim, challenge)), made)
    return absorbed.digest()


def _weights(model: Model) -> Callable[[Plane], I8]:
    return lambda plane: plane.matrix(model.matrix(plane.weight))


def _audited(
    one: Answered,
    claim: Claim,
    sums: Sums[PublicKey],
    positions: int,
    kernels: Kernels,
    progress: Callable[[int], None] | None,
) -> tuple[Verified, bytes]:
    """Audit an opening but for its products, which are summed up; return the digest of the request, too."""
    with naming(claim):
        challenge = coded_challenge(claim, one.cells, one.beacon)
        absorbed = Absorbed(sums.key.public_id, claim.receipt, challenge, encoded_beacon(one.beacon))
        one.opening.seek(0)
        found = audit(
            CodedHolder(sums, absorbed.seeds, positions),
            one.request,
            claim,
            challenge,
            one.opening,
            kernels=kernels,
            progress=progress,
            hearer=absorbed,
        )
        return found, absorbed.digest()


def verify_proof(
    key: PublicKey,
    requests: Sequence[Request],
    stream: BinaryIO,
    *,
    kernels: Kernels,
    node: bytes | None = None,
    cells: int | Sample = ALL,
    attestors: Collection[bytes] = (),
    security: float = SECURITY,
    progress: Callable[[int], None] | None = None,
) -> tuple[Verified, ...]:
    """Check a public proof without weights, for some of its requests or all.

    Args:
        key: a public key whose public id the caller trusts.
        requests: the requests that the caller wants proved, in any order. Each must have a receipt of its own
            in the proof; the openings of others are skipped, and nothing is said about them.
        stream: the proof, seekable; openings are read once, frame by frame, so memory stays flat.
        kernels: the backend.
        node: public key that must have signed; None: the one in each request, or any if it names none.
        cells: the fewest cells of each request that must be opened, or the runs, or ALL. How many a proof
            opens is its maker's choice, so fewer are a rejection.
        attestors: public keys of those whose statements about beacons the caller believes. If any are given,
            cells that are drawn must be drawn from a beacon; how many receipts its prover could try is then
            ``attempts`` of the result.
        security: -log2 of the most error that one attempt may have; above 80, since 2^80 attempts are
            granted to whoever made the proof.
        progress: is called with the number of rows of each cell checked.

    Returns what was covered of each request, in the order given; ``soundness_bits`` hold for all of them
    together.

    Raises VerificationError if a step fails, a request without a receipt in the proof among them (step 4),
    and InputError if no request is given, so little security is asked for that a proof proves nothing, or a
    proof has a beacon and nobody is named who attests it. UnsupportedError: beacons need py_ecc.
    """
    if not requests:
        raise InputError("no request is given that the proof should be of")
    proof = proof_for(key, stream, security)
    head = proof.head
    after = followed(key, begun(key.public_id, head.positions, head.digests), proof, kernels)
    asked_of = [decoded(Receipt.decode, data, "receipt").request_digest for data in proof.receipts]
    places = numbers([request.digest for request in requests], asked_of)
    found = []
    for asked, number in zip(requests, places, strict=True):
        claim = check_receipt(key, asked, proof.receipts[number], node)
        with naming(claim):
            shown, receipt = head.requests[number], claim.receipt
            beacon, attempts = beacon_in(shown, receipt.digest, asked.digest, attestors)
            one = Answered(asked, proof.receipts[number], proof.openings[number], shown.cells, beacon)
            try:
                drawn = coded_challenge(claim, one.cells, one.beacon).cells
            except (InputError, LimitError) as e:  # how many is the proof's choice
                raise VerificationError(1, str(e)) from e
            require_count(sum(c.b - c.a for c in drawn), claim.statement.cells, one.cells, cells)
        sums = Sums(key)
        verified, digest = _audited(one, claim, sums, head.positions, kernels, progress)
        with naming(claim):
            if digest != head.digests[number]:
                raise VerificationError(6, "the opening is not the one that the proof is about")
            if after is not None:
                after.require(number, sums)
            elif sums.u:
                raise VerificationError(8, "the opening has products, and the proof has no evaluation")
        found.append(replace(verified, attempts=attempts))
    return tuple(found)
