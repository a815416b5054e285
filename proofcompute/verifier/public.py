"""Verify public proofs, which take the weights but no secret (docs/spec/verification.md#public-proofs).

The transcript absorbs version, suite, model id, request, outputs, row count, stop reason and trace root (all
in the receipt's body), the cells, and the frames of the opening that answer them, hints included. Only then
are the columns S derived from it. A prover who changes anything gets fresh columns, so each attempt passes
with probability at most p^-k. With k = 6 that is less than 2^-185.99 for one attempt, and less than 2^-105.99
for 2^80 hash queries. With that many queries, hashes collide with a probability of up to 2^-97, and this
limits a public proof to 96.99 bits (:mod:`proofcompute.freivalds.soundness`).

Signatures stay outside the transcript, because a prover could vary them at will. The head frame names the
signed receipt, so its roots are absorbed instead of its bytes, and the closing frame is left out.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import BinaryIO, cast

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.beacons.checking import tries_before
from proofcompute.beacons.messages import Beacon
from proofcompute.commitments.hashing import Transcript
from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError, LimitError, VerificationError
from proofcompute.freivalds.columns import DerivedColumns
from proofcompute.models.model import Model
from proofcompute.protocol.cells import public_challenge
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.frames import Frames, place
from proofcompute.protocol.messages import Challenge, OpeningHead, Request
from proofcompute.protocol.received import received
from proofcompute.protocol.samples import Sample
from proofcompute.verifier.claim import check_receipt, naming
from proofcompute.verifier.frames import frames_between
from proofcompute.verifier.holders import PublicHolder
from proofcompute.verifier.result import Verified
from proofcompute.verifier.verdicts import accepted, rejections_logged
from proofcompute.verifier.verify import audit

__all__ = ["COLUMNS", "opening_frames", "verify_public"]

COLUMNS = 6


def verify_public(
    model: Model,
    request: Request,
    receipt: bytes,
    count: int | Sample,
    opening: BinaryIO,
    *,
    kernels: Kernels,
    node: bytes | None = None,
    beacon: Beacon | None = None,
    attestors: Collection[bytes] = (),
    progress: Callable[[int], None] | None = None,
    evidence: bool = False,
) -> Verified:
    """Check a public proof: a receipt and the opening of the ``count`` cells or runs that follow from it.

    ``opening`` is read twice, so it must be seekable. It is rejected unless both readings give the same
    bytes: whoever changes a file in between may know S before choosing the hints. ``detects_one`` and
    ``detects_share`` of the result hold for cells that the prover could not choose. Here a prover may try
    receipts until the cells suit it; hiding an altered share f takes about (1 - f)^-count of them
    (``grinding_bits``). If the trace has no more cells than ``count``, the proof must open all of them.

    With a ``beacon`` the cells follow from a round that came after the receipt, if one of the ``attestors``
    is to be believed; ``attempts`` of the result says how many receipts could be tried then.

    Raises the errors of :func:`proofcompute.verifier.verify`, InputError if ``count`` is less than 1,
    ``opening`` cannot be read again, or attestors are named without a beacon or a beacon without attestors,
    and UnsupportedError if no library that checks beacons is installed.
    """
    if attestors and beacon is None:
        raise InputError("attestors are believed about a beacon; give the one from which the cells are drawn")
    with rejections_logged(request):
        claim = check_receipt(model, request, receipt, node)
        with naming(claim):
            if beacon is None:
                attempts, challenge = None, public_challenge(claim, count)
            else:
                attempts = tries_before(beacon, claim.receipt.digest, request.digest, attestors)
                challenge = public_challenge(claim, count, beacon.seed)
            start = place(opening)
            if start is None:
                raise InputError("a public proof is read twice: give a file or bytes, not a pipe")
            read = hashlib.blake2b(), hashlib.blake2b()
            absorbed, checked = (_watched(opening, state) for state in read)
            seed = transcript_seed(claim, challenge, absorbed)
            received(opening).seek(start)
            columns = DerivedColumns(
                seed, model.model_id, COLUMNS, lambda name: model.matrix(name).q, kernels
            )
            found = audit(
                PublicHolder(model, columns),
                request,
                claim,
                challenge,
                checked,
                kernels=kernels,
                progress=progress,
                evidence=evidence,
            )
            if read[0].digest() != read[1].digest():
                raise VerificationError(6, "the opening was changed while it was read")
    return accepted(request, replace(found, attempts=attempts))


class _Watched:
    """A stream that hashes its bytes as they are read."""

    def __init__(self, stream: BinaryIO, state: hashlib.blake2b) -> None:
        self._stream, self._state = stream, state

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes and hash them."""
        data = self._stream.read(size)
        self._state.update(data or b"")  # a non-blocking stream gives None, which the caller refuses
        return data


def _watched(stream: BinaryIO, state: hashlib.blake2b) -> BinaryIO:
    """Return a stream that hashes what is read, or a BytesIO as it is: nobody else can change its bytes."""
    return stream if type(stream) is io.BytesIO else cast(BinaryIO, _Watched(stream, state))


def transcript_seed(claim: Claim, challenge: Challenge, opening: BinaryIO) -> bytes:
    """Return the seed of S, 32 bytes: a hash of everything that the prover chose.

    Raises VerificationError if the opening has no valid head, or its head names another challenge.
    """
    transcript = Transcript("public proof")
    transcript.absorb("receipt", claim.receipt.signed_digest)
    transcript.absorb("cells", wire.encode([tuple(c) for c in challenge.cells]))
    for label, frame, roots in opening_frames(claim, challenge, opening):
        transcript.absorb(label, frame if roots is None else b"".join(roots))
    return transcript.challenge("freivalds").read(32)


def opening_frames(
    claim: Claim, challenge: Challenge, opening: BinaryIO
) -> Iterator[tuple[str, memoryview, tuple[bytes, ...] | None]]:
    """Yield what a transcript absorbs of an opening: label, frame, and of the first frame the groups' roots.

    The first frame names the signed receipt, so a transcript absorbs its roots only. The closing frame is
    read, and left out; the audit rejects missing and extra frames. Raises VerificationError if the opening
    has no valid head, or its head names another challenge.
    """
    groups = len(claim.statement.program.committed)
    frames = Frames(opening, 1, watched=False)
    first = frames.piece(OpeningHead.largest(groups))
    if first is None:
        raise VerificationError(10, "the opening is empty")
    try:
        head = OpeningHead.decode(first, groups)
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e)) from e
    if head.receipt_digest == claim.receipt.digest and head.challenge_digest != challenge.digest:
        # the audit rejects it too, but here the frames of other cells could exceed their limits first
        count = sum(c.b - c.a for c in challenge.cells)
        raise VerificationError(6, f"the proof does not open the {count} cells that it should")
    yield "roots", first, head.roots
    for label, limit in frames_between(claim, challenge):
        frame = frames.piece(limit)
        if frame is None:
            break
        yield label, frame, None
    frames.closing()
