"""The last frame of an opening: the node's signature over all frames before it.

Without it, whoever receives an opening could change a bit of it and accuse the node of the result. The node
signs digest("opening", receipt's digest || challenge's digest || frames' digest) in SHA-256, and the frames'
digest is digest("opening frames", D1 || D2 || ...) in SHA-256, where Di is digest("opening frame", payload of
frame i) in BLAKE3: a full audit opens hundreds of megabytes, which BLAKE3 reads several times as fast, and
the frames can be hashed beside one another. Which frames there were, how long and in which order, is in the
list of digests; which receipt and challenge they answer is in what is signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import DIGEST, message_digest
from proofcompute.commitments.signing import ED25519, scheme_of
from proofcompute.encoding import wire
from proofcompute.limits import MAX_NAME

__all__ = ["OpeningEnd", "frame_digest", "frames_digest"]

KIND = "proofcompute opening end"
VERSION = 3
_SUITE: Final = "sha256"
"""Hash suite of what is signed, whatever that of the receipt."""


def frame_digest(payload: bytes | memoryview) -> bytes:
    """The digest of one frame of an opening, 32 bytes; the payload is not copied."""
    return hashing.large_digest("opening frame", payload)


def frames_digest(digests: Sequence[bytes]) -> bytes:
    """The digest of all frames of an opening, from that of each, 32 bytes."""
    return message_digest(_SUITE, "opening frames", b"".join(digests))


@dataclass(frozen=True)
class OpeningEnd:
    """The last frame."""

    frames: bytes
    """Digest of all frames before this one, 32 bytes."""
    scheme: str = ED25519
    """Signature scheme: that of the receipt."""
    signature: bytes = b""
    """Under the receipt's key, over :meth:`signed_digest`."""

    LARGEST: ClassVar[int] = 256
    """Bytes that no closing frame exceeds."""

    def signed_digest(self, receipt_digest: bytes, challenge_digest: bytes) -> bytes:
        """What the node signs, 32 bytes."""
        return message_digest(_SUITE, "opening", receipt_digest + challenge_digest + self.frames)

    def signed(self, signature: bytes) -> OpeningEnd:
        """The same frame with a signature."""
        return replace(self, signature=signature)

    def encode(self) -> bytes:
        """Canonical bytes."""
        return wire.encode((KIND, VERSION, self.frames, self.scheme, self.signature))

    @staticmethod
    def decode(data: bytes | memoryview) -> OpeningEnd:
        """The closing frame that ``data`` encodes.

        Raises FormatError, LimitError, or UnsupportedError for a signature scheme that is reserved.
        """
        top = wire.as_list(
            wire.decode(data, limit=OpeningEnd.LARGEST, what="opening end"), "opening end", n=5
        )
        wire.check_head(top, KIND, VERSION)
        scheme = wire.as_str(top[3], "signature scheme", MAX_NAME)
        return OpeningEnd(
            wire.as_bytes(top[2], "frames digest", DIGEST),
            scheme,
            wire.as_bytes(top[4], "signature", scheme_of(scheme).signature),
        )
