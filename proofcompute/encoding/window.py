"""Read a part of a stream as a stream of its own, without a copy."""

from __future__ import annotations

import io
from typing import BinaryIO, cast, final

__all__ = ["memory_of", "window"]


def window(stream: BinaryIO, start: int, size: int) -> BinaryIO:
    """Return the ``size`` bytes of a seekable stream from ``start`` on, as a stream to read and to seek.

    Nobody else may move ``stream`` while one reads. The window ends early if the stream does. Errors of the
    stream pass through.
    """
    return cast(BinaryIO, _Window(stream, start, size))


def memory_of(stream: BinaryIO) -> memoryview | None:
    """Return the bytes of a stream that lies in memory, or of a window of one, without a copy; else None.

    A stream shares these bytes and copies them before it changes; ``getbuffer`` would keep it open.
    """
    some: object = stream
    if type(some) is io.BytesIO:
        return memoryview(some.getvalue())
    return some.held() if isinstance(some, _Window) else None


@final
class _Window:
    """What :func:`window` returns: as much of a stream as readers of frames use."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        self._stream, self._start, self._size = stream, start, size
        self._at = 0

    def held(self) -> memoryview | None:
        """Return the bytes of the window if the stream lies in memory."""
        held = memory_of(self._stream)
        return None if held is None else held[self._start : self._start + self._size]

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes before the next one, from the window's start."""
        return self._at

    def seek(self, offset: int) -> int:
        """Set and return the number of bytes before the next one."""
        self._at = offset
        return offset

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes."""
        self._stream.seek(self._start + self._at)
        data = self._stream.read(max(0, min(size, self._size - self._at)))
        self._at += len(data)
        return data

    def readinto(self, target: memoryview) -> int:
        """Read into ``target`` and return the number of bytes."""
        self._stream.seek(self._start + self._at)
        wanted = target[: max(0, self._size - self._at)]
        into = getattr(self._stream, "readinto", None)
        if into is None:  # a stream with no more than BinaryIO requires
            data = self._stream.read(len(wanted))
            wanted[: len(data)] = data
            found = len(data)
        else:
            found = into(wanted)
        self._at += found
        return found
