"""Write and read the frames of an opening, and find out whether the node signed them.

An accepted opening has no freedom: its receipt, its challenge and what each cell needs determine every byte,
except for the error of Freivalds' check and collisions of the hash functions.

- The number of frames, and the size of each frame that is not a part, follow from statement and challenge.
  So does every length and count inside a part, and encodings are canonical.
- Roots hash to the trace root; rows and digests of proofs hash to the roots, table rows to the model id.
- Rows and key determine the sets of a hint; each value is the product's (step 8), and its width and padding
  follow from the values.

So two accepted openings of one challenge are equal, and the digest in the closing frame of an accepted
opening need not be compared with its frames. The digest matters when an opening is *rejected*: the frames are
hashed then, and only if the node signed them is the rejection the node's fault beyond doubt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple

from proofcompute.commitments.signing import NodeIdentity, signature_holds
from proofcompute.encoding.frames import FrameReader, write_frame
from proofcompute.errors import FormatError, LimitError, MismatchError, UnsupportedError, VerificationError
from proofcompute.limits import MAX_OPENING_PART
from proofcompute.protocol.messages.closing import FramesHash, OpeningEnd, frame_digest, frames_digest
from proofcompute.protocol.messages.signed import Signed
from proofcompute.protocol.received import received

__all__ = [
    "Frames",
    "Payload",
    "SignedFrames",
    "most_bytes",
    "place",
    "require_signer",
    "signed_frames",
    "write_frames",
]

_HEAD: Final = 9
"""Most bytes of a frame's head."""


def require_signer(receipt: Signed, identity: NodeIdentity) -> None:
    """Raise MismatchError unless this node signed the receipt; only that node may close its openings."""
    if receipt.node != identity.public or not signature_holds(
        receipt.node, receipt.signed_digest, receipt.signature
    ):
        raise MismatchError(f"the receipt is not signed by this identity, {identity.public.hex()}")


def most_bytes(limits: Sequence[int]) -> int:
    """Return the most bytes of an opening, from those of each frame before the closing one."""
    return sum(limits) + OpeningEnd.LARGEST + _HEAD * (len(limits) + 1)


class Payload(NamedTuple):
    """The payload of a frame, hashed before it is written, perhaps on another thread."""

    pieces: Sequence[bytes | memoryview]
    """Its bytes, which may lie apart."""
    digest: bytes

    @staticmethod
    def of(*pieces: bytes | memoryview) -> Payload:
        """Hash a payload in pieces."""
        return Payload(pieces, frame_digest(*pieces))


def write_frames(
    stream: BinaryIO,
    payloads: Iterable[bytes | memoryview | Payload],
    receipt: Signed,
    challenge_digest: bytes,
    identity: NodeIdentity,
) -> None:
    """Write each frame as it comes, and a last frame with the node's signature over all of them."""
    digests: list[bytes] = []
    for payload in payloads:
        found = payload if isinstance(payload, Payload) else Payload.of(payload)
        write_frame(stream, *found.pieces)
        digests.append(found.digest)
    end = OpeningEnd(frames_digest(digests), receipt.scheme)
    signature = identity.sign(end.signed_digest(receipt.digest, challenge_digest))
    write_frame(stream, end.signed(signature).encode())


class Frames:
    """A reader of an opening, frame by frame; nothing else reads from its stream."""

    def __init__(self, stream: BinaryIO, kept: int, *, watched: bool) -> None:
        """Begin to read. With ``watched``, frames are hashed.

        The view of a part stays valid until ``kept`` more parts were read.
        """
        stream = received(stream)
        self._pieces, self._parts = FrameReader(stream), FrameReader(stream, kept)
        self.digests: list[bytes] = []
        """The digests of the frames read so far, if they are hashed."""
        self._last = b""
        self._whole = True
        self.watched = watched

    @property
    def count(self) -> int:
        """Bytes read so far."""
        return self._pieces.count + self._parts.count

    def piece(self, limit: int) -> memoryview | None:
        """Read a frame of at most ``limit`` bytes; its view stays valid until the next piece.

        Returns None if the stream ended or this is its closing frame.
        """
        return _unless_closing(self._next(self._pieces, max(limit, OpeningEnd.LARGEST)))

    def part(self, limit: int) -> memoryview | None:
        """Read a part like a piece; its view stays valid until ``kept`` more parts were read."""
        return _unless_closing(self._next(self._parts, max(limit, OpeningEnd.LARGEST)))

    def _next(self, reader: FrameReader, limit: int) -> memoryview | None:
        self._whole = False  # until the frame is read completely
        try:
            frame = reader.read(limit=limit, what="opening")
        except (FormatError, LimitError) as e:
            raise VerificationError(1, str(e)) from e
        self._whole = True
        if self.watched and frame is not None:
            self.digests.append(frame_digest(frame))
            self._last = bytes(frame) if len(frame) <= OpeningEnd.LARGEST else b""
        return frame

    def close(self, receipt: Signed, challenge_digest: bytes) -> OpeningEnd:
        """Read the closing frame and check it by steps 1, 2 and 10.

        Raises VerificationError unless it is there, signed by the receipt's node, and the last frame.
        """
        frame = self.closing()
        if frame is None:
            raise VerificationError(10, "the opening lacks its closing frame")
        end = _end(frame, receipt, challenge_digest)
        if not self._ended():
            raise VerificationError(10, "the opening holds more than was asked for")
        return end

    def closing(self) -> memoryview | None:
        """Read the bytes of what should be the closing frame; return None at the end of the stream."""
        return self._next(self._pieces, OpeningEnd.LARGEST)

    def _ended(self) -> bool:
        self._whole = False
        self._whole = self._pieces.ended()
        return self._whole

    def require_signed(self, end: OpeningEnd) -> None:
        """Raise VerificationError (step 2) unless the node signed the frames that were read and hashed."""
        if not self._signed(end):
            raise VerificationError(2, "the opening is not what the node signed")

    def _signed(self, end: OpeningEnd) -> bool:
        return end.frames == frames_digest(self.digests[:-1])

    def blame(
        self, error: VerificationError, receipt: Signed, challenge_digest: bytes, limits: Sequence[int]
    ) -> VerificationError:
        """Return ``error``, for which watched frames were rejected, and mark it if the node signed them.

        ``limits`` are the most bytes of each frame before the closing one. The rest of the stream is read,
        but no more frames and bytes than these. If the last frame closes the opening and the node signed
        these frames, ``error`` becomes attributable. If it closes an opening of other frames, raises
        VerificationError (step 2): the opening was changed. Without a closing frame ``error`` says nothing
        about the node.
        """
        frames, size = len(limits) + 1, most_bytes(limits)
        try:
            while self._whole and len(self.digests) < frames and self.count < size:
                if self._next(self._pieces, min(MAX_OPENING_PART, size - self.count)) is None:
                    break
            if not (self._whole and self._ended()):
                return error
            end = _end(self._last, receipt, challenge_digest)
        except VerificationError:
            return error
        if self._signed(end):
            error.attributable = True
            return error
        raise VerificationError(
            2, f"the opening is not what the node signed; as it is, it fails {error}", cell=error.cell
        ) from error


def _end(frame: bytes | memoryview, receipt: Signed, challenge_digest: bytes) -> OpeningEnd:
    """Decode the closing frame and check its signature (steps 1 and 2)."""
    try:
        end = OpeningEnd.decode(frame)
    except (FormatError, LimitError, UnsupportedError) as e:
        raise VerificationError(1, str(e)) from e
    if end.scheme != receipt.scheme:
        raise VerificationError(2, "the opening is signed by another scheme than the receipt")
    if not signature_holds(receipt.node, end.signed_digest(receipt.digest, challenge_digest), end.signature):
        raise VerificationError(2, "the node's signature of the opening does not hold")
    return end


@dataclass(frozen=True)
class SignedFrames:
    """Whether a node signed an opening, whatever the opening holds."""

    doubt: str = ""
    """Why it is not known to have done so, or empty."""
    excess: VerificationError | None = None
    """What the node signed beyond what was asked for, if anything; attributable."""


def signed_frames(
    opening: BinaryIO, receipt: Signed, challenge_digest: bytes, limits: Sequence[int] | None
) -> SignedFrames:
    """Read an opening to its end in constant memory, and find out whether the node signed these frames.

    ``limits`` are the most bytes of each frame before the closing one; None if they are not known. The node
    signed an opening whose last frame is its closing frame over all frames before it. Such an opening with
    more frames, or larger ones, than the limits is false whatever it holds.
    """
    reader, read, count = FrameReader(opening), FramesHash(), 0
    last, digest, size = b"", b"", 0
    excess: VerificationError | None = None
    try:
        while (frame := reader.read(limit=MAX_OPENING_PART, what="opening")) is not None:
            if digest:  # the frame before this one was not the last
                read.add(digest)
                if excess is None and limits is not None:
                    excess = _excess(count, size, limits)
                count += 1
            digest, size = frame_digest(frame), len(frame)
            last = bytes(frame) if size <= OpeningEnd.LARGEST else b""
    except (FormatError, LimitError) as e:
        return SignedFrames(str(e))
    try:
        end = _end(last, receipt, challenge_digest)
    except VerificationError as e:
        return SignedFrames(f"the opening does not end with a closing frame of the node's: {e.reason}")
    if end.frames != read.digest():
        return SignedFrames("the opening is not what the node signed")
    return SignedFrames(excess=excess)


def _excess(index: int, size: int, limits: Sequence[int]) -> VerificationError | None:
    """Return what is wrong with the size or the mere presence of a frame that the node signed."""
    if index >= len(limits):
        return VerificationError(10, "the opening holds more than was asked for", attributable=True)
    if size > limits[index]:
        text = f"opening: a frame of {size} bytes, at most {limits[index]} are allowed"
        return VerificationError(1, text, attributable=True)
    return None


def _unless_closing(frame: memoryview | None) -> memoryview | None:
    """Return a frame, or None if it is a closing frame."""
    if frame is not None and len(frame) <= OpeningEnd.LARGEST:
        try:
            OpeningEnd.decode(frame)
        except (FormatError, LimitError, UnsupportedError):
            return frame
        return None
    return frame


def place(stream: BinaryIO) -> int | None:
    """Return a stream's position if it can be read again from there, and None otherwise."""
    return stream.tell() if getattr(stream, "seekable", bool)() else None
