"""Absorb what a proof holds while it is read (docs/spec/public-proofs.md#transcript)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proofcompute.commitments.hashing import DIGEST, Transcript
from proofcompute.encoding import wire
from proofcompute.errors import Cell
from proofcompute.protocol.messages import Challenge, Receipt

__all__ = ["Absorbed", "begun"]

_SEED: Final = 32
"""Bytes of a seed."""


def begun(public_id: bytes, positions: int, requests: Sequence[bytes]) -> Transcript:
    """Return the transcript of a proof of requests with these digests.

    The public id comes first: otherwise a publisher could fit the code to a proof afterwards. All requests
    are absorbed before anything is drawn here, but only as digests, so that one of them can be checked by
    somebody who does not read the others.
    """
    transcript = Transcript("coded proof")
    transcript.absorb("public id", public_id)
    transcript.absorb("parameters", wire.encode((positions, len(requests))))
    transcript.absorb("requests", b"".join(requests))
    return transcript


class Absorbed:
    """One request of a proof, absorbed while its opening is read: its receipt, its cells and their frames.

    It is a Hearer. Signatures stay outside, since a prover could vary them at will. The random rows of a cell
    are drawn when all frames that open it are absorbed, and so all its hints and what its rows follow from.
    """

    def __init__(self, public_id: bytes, receipt: Receipt, challenge: Challenge, beacon: bytes = b"") -> None:
        """Absorb what is known before the opening; ``beacon`` is the encoded one that draws the cells."""
        self.seeds: dict[Cell, bytes] = {}
        """Of each cell that was absorbed, the seed of its random rows."""
        self._transcript = transcript = Transcript("coded request")
        transcript.absorb("public id", public_id)
        transcript.absorb("receipt", receipt.signed_digest)
        transcript.absorb("beacon", beacon)
        transcript.absorb("cells", wire.encode([tuple(c) for c in challenge.cells]))

    def roots(self, roots: Sequence[bytes]) -> None:
        """See Hearer."""
        self._transcript.absorb("roots", b"".join(roots))

    def cell(self, cell: Cell, digests: Sequence[bytes]) -> None:
        """See Hearer."""
        self._transcript.absorb("cell", b"".join(digests))
        self.seeds[cell] = self._transcript.challenge("rows").read(_SEED)

    def digest(self) -> bytes:
        """Return the digest of everything that the prover chose, once all cells are absorbed.

        It stands in the head of a proof.
        """
        return self._transcript.challenge("digest").read(DIGEST)
