"""Absorb what a proof holds, before anything random is drawn (docs/spec/public-proofs.md#transcript)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from proofcompute.commitments.hashing import DIGEST, Transcript
from proofcompute.encoding import wire
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge
from proofcompute.protocol.messages.closing import FramesHash, frame_digest
from proofcompute.verifier.public import opening_frames

__all__ = ["Absorbed", "Proved", "absorbed", "begun"]


@dataclass(frozen=True, eq=False)
class Proved:
    """One request of a proof, as transcript and audit read it."""

    claim: Claim
    challenge: Challenge
    opening: BinaryIO
    """The opening, from its beginning; it is read twice."""


@dataclass(frozen=True)
class Absorbed:
    """What the transcript of one request comes to."""

    digest: bytes
    """The digest of everything that its prover chose, which stands in the head of a proof."""
    frames: bytes
    """The digest of the opening's frames; whoever reads it again compares it."""


def begun(public_id: bytes, positions: int, requests: Sequence[bytes]) -> Transcript:
    """Return the transcript of a proof of requests with these digests.

    The public id comes first: otherwise a publisher could fit the code to a proof afterwards. All requests
    are absorbed before anything is drawn, but only as digests, so that one of them can be checked by
    somebody who does not read the others.
    """
    transcript = Transcript("coded proof")
    transcript.absorb("public id", public_id)
    transcript.absorb("parameters", wire.encode((positions, len(requests))))
    transcript.absorb("requests", b"".join(requests))
    return transcript


def absorbed(request: Proved) -> Absorbed:
    """Absorb one request: its receipt, its cells and its opening.

    Signatures stay outside, since a prover could vary them at will. Raises VerificationError if the opening
    has no valid head, or its head names another challenge.
    """
    transcript = Transcript("coded request")
    transcript.absorb("receipt", request.claim.receipt.signed_digest)
    transcript.absorb("cells", wire.encode([tuple(c) for c in request.challenge.cells]))
    request.opening.seek(0)
    frames = FramesHash()
    for label, frame, roots in opening_frames(request.claim, request.challenge, request.opening):
        digest = frame_digest(frame)
        frames.add(digest)
        transcript.absorb(label, digest if roots is None else b"".join(roots))
    return Absorbed(transcript.challenge("digest").read(DIGEST), frames.digest())
