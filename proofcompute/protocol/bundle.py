"""Write and read a bundle of evidence: one file that holds what an auditor says, and the opening it is about
(docs/spec/evidence.md#the-bundle).

The opening may be many gigabytes. It is copied, hashed and checked in pieces, from a stream that can be read
again, and never held in memory.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

from proofcompute.commitments.signing import signature_holds
from proofcompute.encoding.files import require_plain, writing
from proofcompute.encoding.frames import FrameReader, frame_head, write_frame
from proofcompute.encoding.window import window
from proofcompute.errors import EvidenceError, FormatError, InputError, LimitError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.limits import MAX_EVIDENCE, MAX_EVIDENCE_OPENING, MAX_VERDICT, MIB
from proofcompute.protocol.messages import Evidence, Request
from proofcompute.protocol.messages.evidence import opening_state

__all__ = ["Bundle", "measured", "open_bundle"]

_WHAT: Final = "evidence"
_PIECE: Final = MIB
"""Bytes of an opening that are copied or hashed at once."""
_HEAD: Final = 9
"""The most bytes of the head of a byte string."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """What an auditor says, signed, and the opening that it received."""

    evidence: Evidence
    opening: BinaryIO
    """The opening, as a stream that can be read again; empty if there is none."""
    verdict: bytes = b""
    """The verdict of a quorum about the receipt, encoded, or empty. The auditor does not sign it."""

    def write(self, stream: BinaryIO) -> None:
        """Write the bundle to a stream that is buffered or in memory.

        Raises InputError if the opening is no longer the one that was signed; what was written is then
        useless.
        """
        write_frame(stream, self.evidence.encode())
        stream.write(frame_head(self.evidence.opening_size))
        state = opening_state()
        for piece in _pieces(self.opening):
            stream.write(piece)
            state.update(piece)
        if state.digest() != self.evidence.opening_digest:
            raise InputError("the opening was changed since the evidence was signed")
        if self.verdict:
            write_frame(stream, self.verdict)

    def save(self, path: StrPath) -> None:
        """Write the bundle to a file, whole or not at all; what is there already is replaced.

        Raises InputError as :meth:`write`, and StorageError if the file system refuses.
        """
        with writing(path_of(path)) as stream:
            self.write(stream)

    def encode(self) -> bytes:
        """Return the bytes of the bundle, opening included; for openings that memory has room for."""
        out = io.BytesIO()
        self.write(out)
        return out.getvalue()

    def with_request(self, request: Request | None) -> Bundle:
        """Return the same bundle with its request disclosed, or with none; the signature still holds.

        Raises MismatchError if this is not the request that the evidence is about.
        """
        return replace(self, evidence=self.evidence.with_request(request))

    def with_verdict(self, verdict: bytes) -> Bundle:
        """Return the same bundle with the encoded verdict of a quorum, or with none if it is empty.

        Raises LimitError if the verdict is too large.
        """
        if len(verdict) > MAX_VERDICT:
            raise LimitError(f"a verdict of {len(verdict)} bytes, at most {MAX_VERDICT} are allowed")
        return replace(self, verdict=verdict)

    @staticmethod
    def decode(data: bytes) -> Bundle:
        """Read a bundle from its bytes. Raises as :meth:`read`."""
        return Bundle.read(io.BytesIO(data))

    @staticmethod
    def read(stream: BinaryIO) -> Bundle:
        """Read a bundle from a seekable stream, which must stay open and untouched while the bundle is used.

        Of the opening only the size is compared with what the stream holds; :meth:`check` does the rest.
        Raises FormatError, LimitError or UnsupportedError if the stream holds no bundle, and nothing more.
        """
        reader = FrameReader(stream)
        head = reader.read(limit=MAX_EVIDENCE, what=_WHAT)
        if head is None:
            raise FormatError("the evidence is empty")
        evidence = Evidence.decode(head)
        size = reader.head(limit=MAX_EVIDENCE_OPENING, what=_WHAT)
        if size is None:
            raise FormatError("the evidence ends before its opening")
        if size != evidence.opening_size:
            raise FormatError(f"evidence: an opening of {size} bytes, not {evidence.opening_size}")
        start = stream.tell()
        left = stream.seek(0, io.SEEK_END) - start
        if left < size:
            raise FormatError("the evidence ends inside its opening")
        verdict = _verdict(stream, start + size, left - size) if left > size else b""
        return Bundle(evidence, window(stream, start, size), verdict)

    def check(self) -> None:
        """Raise EvidenceError unless the auditor signed this evidence and this opening.

        This reads the whole opening.
        """
        evidence = self.evidence
        if not signature_holds(evidence.auditor, evidence.signed_digest, evidence.signature):
            raise EvidenceError("the auditor's signature of the evidence does not hold")
        if measured(self.opening)[1] != evidence.opening_digest:
            raise EvidenceError("the opening is not the one that the auditor signed")


@contextmanager
def open_bundle(path: StrPath) -> Iterator[Bundle]:
    """Open a file with a bundle, which stays open until the block ends. Raises as :meth:`Bundle.read`.

    Raises InputError if the file cannot be read or is a pipe, since a bundle is read more than once.
    """
    path = path_of(path)
    require_plain(path, _WHAT)
    try:
        stream = path.open("rb")
    except OSError as e:
        raise InputError(f"cannot read evidence {path}: {e.strerror or e}") from e
    with stream:
        yield Bundle.read(stream)


def measured(opening: BinaryIO) -> tuple[int, bytes]:
    """Return size and digest of an opening, which is read from its beginning."""
    state, size = opening_state(), 0
    for piece in _pieces(opening):
        state.update(piece)
        size += len(piece)
    return size, state.digest()


def _verdict(stream: BinaryIO, start: int, size: int) -> bytes:
    """Read the last byte string of a bundle, which is not empty. Raises FormatError or LimitError."""
    if size > MAX_VERDICT + _HEAD:
        raise LimitError(f"evidence: {size} bytes after the opening, more than any verdict has")
    stream.seek(start)
    verdict = FrameReader(stream).read(limit=MAX_VERDICT, what="verdict in the evidence")
    if not verdict:
        raise FormatError("evidence: an empty verdict after the opening")
    if len(verdict) + len(frame_head(len(verdict))) != size:
        raise FormatError("evidence: bytes after the end")
    return bytes(verdict)


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    stream.seek(0)
    while piece := stream.read(_PIECE):
        yield piece
