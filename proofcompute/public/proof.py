"""Write and read public proofs (docs/spec/public-proofs.md#the-proof).

A proof is a file of frames: its head, for each request the receipt and the whole opening, and at the end the
evaluation, which is empty if no request has a product. The head holds a digest of each request, so whoever
checks some requests reads only those openings.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Final

from proofcompute.commitments.hashing import DIGEST
from proofcompute.encoding import wire
from proofcompute.encoding.frames import FrameReader, frame_head, write_frame
from proofcompute.encoding.window import memory_of, window
from proofcompute.errors import FormatError, InputError
from proofcompute.limits import (
    MAX_BEACON,
    MAX_CELLS,
    MAX_EVIDENCE_OPENING,
    MAX_POSITIONS,
    MAX_PROOF_REQUESTS,
    MAX_RECEIPT,
    MIB,
)
from proofcompute.protocol.samples import Sample

__all__ = ["ALL", "Proof", "ProofHead", "ProofWriter", "Shown", "write_proof"]

KIND = "proofcompute public proof"
VERSION = 1
ALL: Final = 0
"""The number of cells that stands for all cells."""
_WHAT: Final = "public proof"
_PIECE: Final = MIB
"""Bytes of an opening that are copied at once."""


@dataclass(frozen=True)
class Shown:
    """What the head of a proof says of one request."""

    cells: int | Sample
    """The cells, runs or rows that are drawn, or ALL."""
    digest: bytes
    """The digest of receipt, cells and opening (:func:`.transcript.Absorbed.digest`)."""
    beacon: bytes = b""
    """The encoded beacon from which they are drawn; empty: the receipt's hash draws them, if any are."""

    def value(self) -> tuple[wire.Value, ...]:
        """Return the value to encode."""
        cells = self.cells.fields() if isinstance(self.cells, Sample) else self.cells
        return (cells, self.beacon, self.digest)

    @staticmethod
    def of(value: wire.Value) -> Shown:
        """Read a decoded value. Raises FormatError or LimitError if it says nothing of a request."""
        cells, beacon, digest = wire.as_list(value, "request", n=3)
        drawn = (
            Sample.of(cells)
            if isinstance(cells, tuple | list)
            else wire.as_int(cells, "cells", ALL, MAX_CELLS)
        )
        found = wire.as_bytes(beacon, "beacon", max_size=MAX_BEACON)
        if isinstance(drawn, Sample) and not drawn.runs:
            raise FormatError("public proof: cells without runs are a number")
        if drawn == ALL and found:
            raise FormatError("public proof: a beacon from which nothing is drawn")
        return Shown(drawn, wire.as_bytes(digest, "digest", DIGEST), found)


@dataclass(frozen=True)
class ProofHead:
    """The first frame of a proof."""

    public_id: bytes
    positions: int
    """Positions that are drawn of each code."""
    requests: tuple[Shown, ...]
    """What it says of each request."""

    LARGEST: ClassVar[int] = 64 + DIGEST + (40 + DIGEST + MAX_BEACON) * MAX_PROOF_REQUESTS

    @property
    def digests(self) -> tuple[bytes, ...]:
        """The digest of each request."""
        return tuple(one.digest for one in self.requests)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        requests = tuple(one.value() for one in self.requests)
        return wire.encode((KIND, VERSION, self.public_id, self.positions, requests))

    @staticmethod
    def decode(data: bytes | memoryview) -> ProofHead:
        """Decode a head. Raises FormatError or LimitError if it is none."""
        top = wire.as_list(wire.decode(data, limit=ProofHead.LARGEST, what=_WHAT), _WHAT, n=5)
        wire.check_head(top, KIND, VERSION)
        requests = wire.as_list(top[4], "requests", max_n=MAX_PROOF_REQUESTS)
        if not requests:
            raise FormatError("public proof: it is of no request")
        return ProofHead(
            wire.as_bytes(top[2], "public id", DIGEST),
            wire.as_int(top[3], "positions", 1, MAX_POSITIONS),
            tuple(map(Shown.of, requests)),
        )


@dataclass(frozen=True, eq=False)
class Proof:
    """A proof in a seekable stream, which must stay open and untouched while the proof is checked."""

    head: ProofHead
    receipts: tuple[bytes, ...]
    openings: tuple[BinaryIO, ...]
    """The opening of each request, as a stream that can be read again."""
    evaluation: BinaryIO
    """The encoded evaluation."""
    evaluation_size: int

    @staticmethod
    def read(stream: BinaryIO) -> Proof:
        """Read where the parts of a proof lie; of openings and evaluation only the size is looked at.

        Raises FormatError or LimitError if the stream holds no proof, and nothing more.
        """
        reader, start = FrameReader(stream), stream.tell()
        first = reader.read(limit=ProofHead.LARGEST, what=_WHAT)
        if first is None:
            raise FormatError("the public proof is empty")
        head = ProofHead.decode(first)
        end = stream.seek(0, io.SEEK_END)
        stream.seek(start + reader.count)
        receipts, openings = [], []
        for _ in head.requests:
            receipt = reader.read(limit=MAX_RECEIPT, what=_WHAT)
            if receipt is None:
                raise FormatError("the public proof ends before a receipt")
            receipts.append(bytes(receipt))
            openings.append(_skipped(reader, stream, end)[0])
        evaluation, size = _skipped(reader, stream, end)
        if stream.tell() != end:
            raise FormatError(f"public proof: {end - stream.tell()} bytes after the end")
        return Proof(head, tuple(receipts), tuple(openings), evaluation, size)


def _skipped(reader: FrameReader, stream: BinaryIO, end: int) -> tuple[BinaryIO, int]:
    """Return the payload of the next frame as a stream, and its size; ``stream`` stands behind it then."""
    size = reader.head(limit=MAX_EVIDENCE_OPENING, what=_WHAT)
    if size is None:
        raise FormatError("the public proof ends too early")
    start = stream.tell()
    if size > end - start:
        raise FormatError("the public proof ends inside a frame")
    stream.seek(start + size)
    return window(stream, start, size), size


class ProofWriter:
    """A proof that is written to a buffered stream in order, although its head holds digests of the rest."""

    def __init__(self, out: BinaryIO, head: ProofHead) -> None:
        """Write the head. If its digests are not known yet, others in their place take the same room."""
        self._out, self._head = out, head
        self._start = out.tell() if out.seekable() else 0
        write_frame(out, head.encode())

    def copied(self, receipt: bytes, opening: BinaryIO, size: int) -> None:
        """Write a receipt and its opening. Raises InputError unless the opening has the size given."""
        write_frame(self._out, receipt)
        self._out.write(frame_head(size))
        opening.seek(0)
        if (held := memory_of(opening)) is not None and len(held) == size:
            self._out.write(held)
            return
        while piece := opening.read(_PIECE):
            self._out.write(piece)
            size -= len(piece)
        if size:
            raise InputError("an opening changed while it was written")

    def made(self, receipt: bytes, most: int, write: Callable[[BinaryIO], object]) -> None:
        """Write a receipt, and have its opening of at most ``most`` bytes written behind it.

        No byte of it is copied, unless it is so short that its number of bytes takes less room than ``most``.
        Raises InputError if more come, or the stream is not one to seek in and to read.
        """
        if not (self._out.seekable() and self._out.readable()):
            raise InputError("a proof whose opening is made meanwhile needs a stream to seek in and to read")
        write_frame(self._out, receipt)
        at = self._out.tell()
        room = frame_head(most)
        self._out.write(room)
        write(self._out)
        end, first = self._out.tell(), at + len(room)
        if end - first > most:
            raise InputError(f"an opening of {end - first} bytes, where at most {most} were expected")
        head = frame_head(end - first)
        if len(head) < len(room):
            _move(self._out, first, end, at + len(head))
            end -= len(room) - len(head)
        self._out.seek(at)
        self._out.write(head)
        self._out.seek(end)

    def end(self, evaluation: bytes, head: ProofHead | None = None) -> None:
        """Write the evaluation, and the head that is known now, if it was not before."""
        write_frame(self._out, evaluation)
        if head is None or head == self._head:
            return
        end = self._out.tell()
        self._out.seek(self._start)
        write_frame(self._out, head.encode())
        self._out.seek(end)


def _move(stream: BinaryIO, a: int, b: int, to: int) -> None:
    """Move the bytes a..b of a stream to an earlier place, and end the stream behind them."""
    while a < b:
        stream.seek(a)
        piece = stream.read(min(_PIECE, b - a))
        stream.seek(to)
        stream.write(piece)
        a, to = a + len(piece), to + len(piece)
    stream.truncate(to)


def write_proof(
    out: BinaryIO,
    head: ProofHead,
    receipts: Sequence[bytes],
    openings: Sequence[tuple[BinaryIO, int]],
    evaluation: bytes,
) -> None:
    """Write a proof of which all is known to a buffered stream; of each opening the stream and its size.

    Raises InputError if an opening does not have the size that is given.
    """
    writer = ProofWriter(out, head)
    for receipt, opening in zip(receipts, openings, strict=True):
        writer.copied(receipt, *opening)
    writer.end(evaluation)
