"""Make and check public proofs (docs/spec/public-proofs.md#the-proof)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import I8
from proofcompute.commitments.hashing import Transcript
from proofcompute.errors import FormatError, InputError, LimitError, MismatchError, VerificationError
from proofcompute.models.model import Model
from proofcompute.protocol.cells import all_cells, draw_cells
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, Request
from proofcompute.public import evaluation
from proofcompute.public.evaluation import Evaluation, Shape
from proofcompute.public.holder import GRANTED, SECURITY, CodedHolder, error_bits
from proofcompute.public.key import PublicKey
from proofcompute.public.layout import Plane
from proofcompute.public.proof import ALL, Proof, ProofHead, write_proof
from proofcompute.public.publishing import Published
from proofcompute.public.sums import Sums
from proofcompute.public.transcript import Proved, absorbed, begun
from proofcompute.verifier.claim import check_receipt, naming
from proofcompute.verifier.result import Verified
from proofcompute.verifier.verify import audit

__all__ = ["Answered", "coded_challenge", "prove", "verify_proof"]


@dataclass(frozen=True, eq=False)
class Answered:
    """A request with its receipt, and the node's opening of the cells that follow."""

    request: Request
    receipt: bytes
    opening: BinaryIO
    """A seekable stream that holds nothing else."""
    cells: int = ALL
    """The number of cells that the receipt's hash draws, or ALL."""


def coded_challenge(claim: Claim, count: int) -> Challenge:
    """Return the challenge that a node opens for a public proof without weights.

    ``count`` cells are drawn by hashing the unsigned receipt; ALL opens all of them. Raises the errors of
    :func:`proofcompute.protocol.cells.draw_cells` and :func:`~proofcompute.protocol.cells.all_cells`.
    """
    cells = all_cells(claim) if count == ALL else draw_cells(claim, count, b"public")
    return Challenge(claim.receipt.digest, cells, hints=True, tables=True)


def prove(
    published: Published,
    model: Model,
    answered: Sequence[Answered],
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
        answered: the requests with openings of the cells of :func:`coded_challenge`.
        out: a buffered stream.
        positions: positions of each code that are opened (:func:`.holder.positions_for`).
        kernels: the backend.
        progress: is called with the number of rows of each cell whose products are summed up.

    Raises MismatchError if model, trees and key do not belong together, InputError for too few positions, and
    VerificationError if an opening is false.
    """
    key, trees = published.key, published.trees
    if model.model_id != key.card.model_id or tuple(tree.root for tree in trees) != key.roots:
        raise MismatchError("the public key is of another model, or its codes are other ones")
    bits = error_bits(key.layout, positions)
    if bits <= GRANTED:
        raise InputError(f"{positions} positions of each code give {bits:.1f} bits, which prove nothing")
    transcript, proved, sums, _ = _summed(key, answered, None, positions, kernels, progress, proving=True)
    made = b""
    if sums.a:
        made = evaluation.prove(transcript, sums, _weights(model), trees, positions, kernels).encode()
    head = ProofHead(key.public_id, positions, tuple(a.cells for a in answered))
    sizes = [(p.opening, p.opening.seek(0, 2)) for p in proved]
    write_proof(out, head, [a.receipt for a in answered], sizes, made)


def _weights(model: Model) -> Callable[[Plane], I8]:
    return lambda plane: plane.matrix(model.matrix(plane.weight))


def _summed(
    key: PublicKey,
    answered: Sequence[Answered],
    node: bytes | None,
    positions: int,
    kernels: Kernels,
    progress: Callable[[int], None] | None,
    *,
    proving: bool = False,
) -> tuple[Transcript, list[Proved], Sums, tuple[Verified, ...]]:
    """Audit all openings but for their products, which are summed up under random rows."""
    proved = []
    for one in answered:
        claim = check_receipt(key, one.request, one.receipt, node)
        with naming(claim):
            proved.append(Proved(claim, coded_challenge(claim, one.cells), one.opening))
    transcript = begun(key.public_id, positions, len(proved))
    digests = absorbed(transcript, proved)
    sums = Sums(key, transcript.challenge("rows").read(32), proving)
    found = []
    for number, (one, request, frames) in enumerate(zip(answered, proved, digests, strict=True)):
        request.opening.seek(0)
        with naming(request.claim):
            found.append(
                audit(
                    CodedHolder(key, sums, number, positions),
                    one.request,
                    request.claim,
                    request.challenge,
                    request.opening,
                    kernels=kernels,
                    progress=progress,
                    known=None if proving else frames,
                )
            )
    return transcript, proved, sums, tuple(found)


def verify_proof(
    key: PublicKey,
    requests: Sequence[Request],
    stream: BinaryIO,
    *,
    kernels: Kernels,
    node: bytes | None = None,
    cells: int = ALL,
    security: float = SECURITY,
    progress: Callable[[int], None] | None = None,
) -> tuple[Verified, ...]:
    """Check a public proof without weights.

    Args:
        key: a public key whose public id the caller trusts.
        requests: the requests, in the order of the proof.
        stream: the proof, seekable; openings are read twice, frame by frame, so memory stays flat.
        kernels: the backend.
        node: public key that must have signed; None: the one in each request, or any if it names none.
        cells: the fewest cells of each request that must be opened, or ALL. How many a proof opens is its
            maker's choice, so fewer are a rejection.
        security: -log2 of the most error that one attempt may have; above 80, since 2^80 attempts are
            granted to whoever made the proof.
        progress: is called with the number of rows of each cell checked.

    Returns what was covered of each request; ``soundness_bits`` hold for all of them together.

    Raises VerificationError if a step fails, and InputError if the proof is of another number of requests or
    another public key than the caller's.
    """
    try:
        proof = Proof.read(stream)
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e)) from e
    head = proof.head
    if security <= GRANTED:
        raise InputError(f"a proof of {security} bits proves nothing; ask for more than {GRANTED:.0f}")
    if len(head.cells) != len(requests):
        raise InputError(f"the proof is of {len(head.cells)} requests, and {len(requests)} are given")
    if head.public_id != key.public_id:
        raise VerificationError(
            3, "the proof is for another public key", expected=key.public_id.hex(), found=head.public_id.hex()
        )
    bits = error_bits(key.layout, head.positions)
    if bits < security:
        raise VerificationError(
            1, f"{head.positions} positions of each code give {bits:.1f} bits, fewer than {security:.1f}"
        )
    answered = [
        Answered(*parts) for parts in zip(requests, proof.receipts, proof.openings, head.cells, strict=True)
    ]
    transcript, _, sums, found = _summed(key, answered, node, head.positions, kernels, progress)
    for one in found:
        if not one.complete and (cells == ALL or one.cells < cells):
            wanted = "all" if cells == ALL else str(cells)
            raise VerificationError(10, f"{one.cells} of {one.total} cells are proved, and not {wanted}")
    _check_evaluation(key, transcript, sums, proof, kernels)
    return found


def _check_evaluation(
    key: PublicKey, transcript: Transcript, sums: Sums, proof: Proof, kernels: Kernels
) -> None:
    """Check what follows the openings. Raises VerificationError unless the sums fit the coded weights."""
    if not sums.a:
        if proof.evaluation_size:
            raise VerificationError(1, "the proof has an evaluation, but no product")
        return
    positions = proof.head.positions
    if proof.evaluation_size > Evaluation.largest(key.layout, positions):
        raise VerificationError(1, f"the evaluation has {proof.evaluation_size} bytes")
    shape = Shape.of(key.layout, list(sums.a))
    try:
        found = Evaluation.decode(proof.evaluation.read(proof.evaluation_size), shape, positions)
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e)) from e
    evaluation.check(transcript, sums, shape, found, positions, kernels)
