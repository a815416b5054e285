"""Absorb what a proof holds, before anything random is drawn (docs/spec/public-proofs.md#transcript)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from proofcompute.commitments.hashing import Transcript
from proofcompute.encoding import wire
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge
from proofcompute.protocol.messages.closing import FramesHash, frame_digest
from proofcompute.verifier.public import opening_frames

__all__ = ["Proved", "absorbed", "begun"]


@dataclass(frozen=True, eq=False)
class Proved:
    """One request of a proof, as transcript and audit read it."""

    claim: Claim
    challenge: Challenge
    opening: BinaryIO
    """The opening, from its beginning; it is read twice."""


def begun(public_id: bytes, positions: int, count: int) -> Transcript:
    """Return the transcript of a proof of ``count`` requests.

    The public id comes first: otherwise a publisher could fit the code to a proof afterwards.
    """
    transcript = Transcript("coded proof")
    transcript.absorb("public id", public_id)
    transcript.absorb("parameters", wire.encode((positions, count)))
    return transcript


def absorbed(transcript: Transcript, requests: Sequence[Proved]) -> list[bytes]:
    """Absorb all requests, and return the digest of the frames of each opening.

    Signatures stay outside, since a prover could vary them at will. Raises VerificationError if an opening
    has no valid head, or its head names another challenge.
    """
    found = []
    for request in requests:
        transcript.absorb("receipt", request.claim.receipt.signed_digest)
        transcript.absorb("cells", wire.encode([tuple(c) for c in request.challenge.cells]))
        request.opening.seek(0)
        frames = FramesHash()
        for label, frame, roots in opening_frames(request.claim, request.challenge, request.opening):
            digest = frame_digest(frame)
            frames.add(digest)
            transcript.absorb(label, digest if roots is None else b"".join(roots))
        found.append(frames.digest())
    return found
