"""Define the last frame of an opening, which holds the node's signature over all frames before it.

Without the signature, whoever receives an opening could change a bit of it and accuse the node of the result.
The node signs digest("opening", receipt's digest || challenge's digest || frames' digest) in SHA-256. The
frames' digest is digest("opening frames", D1 || D2 || ...) in SHA-256, where Di is digest("opening frame",
payload of frame i) in BLAKE3. A full audit opens hundreds of megabytes, which BLAKE3 hashes several times as
fast, and frames can be hashed in parallel. The list of digests binds which frames there were, their lengths
and their order; the signed digest binds the receipt and the challenge that they answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal

from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import DIGEST, message_digest
from proofcompute.commitments.signing import ED25519, scheme_of
from proofcompute.encoding import wire
from proofcompute.limits import MAX_NAME

__all__ = ["FramesHash", "OpeningEnd", "frame_digest", "frames_digest"]

KIND = "proofcompute opening end"
VERSION = 3
_SUITE: Final[Literal["sha256"]] = "sha256"
"""Hash suite of the signed digest, whatever suite the receipt has."""


def frame_digest(*payload: bytes | memoryview) -> bytes:
    """Return the digest of one frame of an opening, 32 bytes, from its pieces, which are not copied."""
    return hashing.large_digest("opening frame", *payload)


def frames_digest(digests: Sequence[bytes]) -> bytes:
    """Return the digest of all frames of an opening from the digest of each, 32 bytes."""
    return message_digest(_SUITE, "opening frames", b"".join(digests))


class FramesHash:
    """The digest of the frames of an opening, computed frame by frame in constant memory."""

    def __init__(self) -> None:
        self._state = hashing.message_state(_SUITE, "opening frames")

    def add(self, digest: bytes) -> None:
        """Append a frame, given its digest."""
        self._state.update(digest)

    def digest(self) -> bytes:
        """Return what :func:`frames_digest` returns for the frames so far."""
        return self._state.digest()


@dataclass(frozen=True)
class OpeningEnd:
    """The closing frame of an opening."""

    frames: bytes
    """Digest of all frames before this one, 32 bytes."""
    scheme: str = ED25519
    """Signature scheme, which is the receipt's."""
    signature: bytes = b""
    """Signature over :meth:`signed_digest` under the receipt's key."""

    LARGEST: ClassVar[int] = 256
    """Most bytes of a closing frame."""

    def signed_digest(self, receipt_digest: bytes, challenge_digest: bytes) -> bytes:
        """Return the digest that the node signs, 32 bytes."""
        return message_digest(_SUITE, "opening", receipt_digest + challenge_digest + self.frames)

    def signed(self, signature: bytes) -> OpeningEnd:
        """Return the same frame with a signature."""
        return replace(self, signature=signature)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((KIND, VERSION, self.frames, self.scheme, self.signature))

    @staticmethod
    def decode(data: bytes | memoryview) -> OpeningEnd:
        """Decode a closing frame.

        Raises FormatError or LimitError if ``data`` encodes none, and UnsupportedError for a signature scheme
        that is reserved.
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
