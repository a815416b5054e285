"""Read and write frames: CBOR byte strings, of which a file or a connection is a sequence."""

from __future__ import annotations

from collections import deque
from typing import BinaryIO, Final

import numpy as np

from proofcompute.encoding import wire
from proofcompute.encoding.window import memory_of
from proofcompute.encoding.wire import BYTES, SMALLEST
from proofcompute.errors import FormatError, LimitError, StorageError
from proofcompute.limits import MIB

__all__ = ["FrameReader", "frame_head", "read_frame", "write_frame"]

_CHUNK: Final = MIB // 4
"""The size of the first buffer of a payload, so that memory grows with the bytes that have arrived."""


def write_frame(stream: BinaryIO, *payload: bytes | bytearray | memoryview) -> None:
    """Write a payload, whose pieces lie one after the other, as one byte string, without copying it.

    Raises StorageError if the stream takes only a part, as an unbuffered one may. Errors of the stream pass
    through.
    """
    size = sum(memoryview(piece).nbytes for piece in payload)
    for part in (frame_head(size), *payload):
        if stream.write(part) != memoryview(part).nbytes:
            raise StorageError("the stream took only a part of a frame; it must be buffered")


def frame_head(n: int) -> bytes:
    """Return the bytes that precede a payload of ``n`` bytes."""
    return wire.head(BYTES, n)


class FrameReader:
    """A reader of the frames of a stream, into ``kept`` buffers in turn.

    A buffer is as large as the longest frame it has held, and grows as bytes arrive, not as they are
    announced. A stream that lies in memory is not copied.
    """

    def __init__(self, stream: BinaryIO, kept: int = 1) -> None:
        self._stream = stream
        self._buffers = deque(np.empty(0, np.uint8) for _ in range(kept))
        self.count = 0
        """The number of bytes read so far."""

    def read(self, *, limit: int, what: str) -> memoryview | None:
        """Read a frame as :func:`read_frame`. The payload is a view, valid until ``kept`` more are read."""
        size = self.head(limit=limit, what=what)
        if size is None:
            return None
        if (held := memory_of(self._stream)) is not None:
            return self._held(held, size, what)
        buffer, done = self._buffers[0], 0
        while done < size:
            if done == len(buffer):
                larger = np.empty(min(size, max(_CHUNK, 2 * done)), np.uint8)
                larger[:done] = buffer
                self._buffers[0] = buffer = larger
            found = self._into(buffer.data[done:size])
            if not found:
                raise FormatError(f"{what}: the stream ends inside a frame")
            done += found
        self._buffers.rotate(-1)
        return buffer.data[:size].toreadonly()

    def ended(self) -> bool:
        """Return whether nothing is left of the stream, after reading a byte if there is one."""
        return not self._some(1)

    def _held(self, held: memoryview, size: int, what: str) -> memoryview:
        """Return the next bytes of a stream in memory, without a copy."""
        at = self._stream.tell()
        payload = held[at : at + size]
        self._stream.seek(at + len(payload))
        self.count += len(payload)
        if len(payload) < size:
            raise FormatError(f"{what}: the stream ends inside a frame")
        return payload

    def _into(self, target: memoryview) -> int:
        """Read some bytes into ``target``, and return how many."""
        read_into = getattr(self._stream, "readinto", None)
        if read_into is None:  # BinaryIO does not require it
            data = self._some(min(len(target), _CHUNK))
            target[: len(data)] = data
            return len(data)
        found = int(read_into(target) or 0)
        self.count += found
        return found

    def _some(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.count += len(data)
        return data

    def head(self, *, limit: int, what: str) -> int | None:
        """Read a frame's head alone, and return the size of the payload, which then comes next in the stream.

        Returns None if the stream ended before it. Raises as :func:`read_frame`.
        """
        first = self._some(1)
        if not first:
            return None
        major, size = first[0] >> 5, first[0] & 31
        if major != BYTES:
            raise FormatError(f"{what}: a frame is a byte string, not CBOR major type {major}")
        if size >= 24:
            if size > 27:
                raise FormatError(f"{what}: indefinite or reserved length")
            least = SMALLEST[size]
            argument = b""
            while len(argument) < 1 << (size - 24):
                part = self._some((1 << (size - 24)) - len(argument))
                if not part:
                    raise FormatError(f"{what}: the stream ends inside a frame")
                argument += part
            size = int.from_bytes(argument, "big")
            if size < least:
                raise FormatError(f"{what}: a head is not in its shortest form")
        if size > limit:
            raise LimitError(f"{what}: a frame of {size} bytes, at most {limit} are allowed")
        return size


def read_frame(stream: BinaryIO, *, limit: int, what: str) -> bytes | None:
    """Return the payload of the next frame, or None if the stream ended before it.

    ``limit`` is the greatest allowed payload in bytes, compared with the announced length before anything
    is read. Raises LimitError above it, FormatError for anything but the shortest head of a byte string or
    if the stream ends inside the frame. Errors of the stream pass through.
    """
    found = FrameReader(stream).read(limit=limit, what=what)
    return None if found is None else bytes(found)
