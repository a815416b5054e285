"""Carry bytes from a thread that writes them to an event loop that sends them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from io import RawIOBase
from threading import Condition
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["Pipe"]

_ROOM: Final = 8 << 20
"""Bytes that may wait for the event loop; a single write may be larger."""


@final
class Pipe(RawIOBase):
    """A stream that one thread writes and one event loop reads.

    The writer waits while much is unread, so memory is bounded. If the reader leaves, or reads nothing for
    some time, writing raises BrokenPipeError.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, total: float) -> None:
        """Wait at most ``seconds`` for the reader at a time, and let it read for ``total`` seconds."""
        super().__init__()
        self._loop, self._seconds = loop, seconds
        self._end = time.monotonic() + total
        self._changed = Condition()
        self._news = asyncio.Event()
        self._parts: list[bytes] = []
        self._waiting = 0
        self._ended = self._left = False

    def writable(self) -> bool:
        """Return that the stream can be written."""
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all bytes. Raises BrokenPipeError if nobody reads them."""
        part = bytes(data)
        with self._changed:
            seconds = min(self._seconds, self._end - time.monotonic())
            if not self._changed.wait_for(lambda: self._left or self._waiting < _ROOM, max(0, seconds)):
                self._left = True
            if self._left:
                raise BrokenPipeError("nobody reads the opening")
            self._parts.append(part)
            self._waiting += len(part)
        self._tell()
        return len(part)

    def end(self) -> None:
        """Say that nothing follows, whether or not all was written; the writer calls this last."""
        with self._changed:
            self._ended = True
        self._tell()

    def leave(self) -> None:
        """Read nothing more."""
        with self._changed:
            self._left = True
            self._parts.clear()
            self._changed.notify_all()

    def _tell(self) -> None:
        with suppress(RuntimeError):  # what asyncio raises if the loop is closed
            self._loop.call_soon_threadsafe(self._news.set)

    async def read_parts(self) -> AsyncIterator[bytes]:
        """Yield what was written, in parts of any size."""
        while True:
            await self._news.wait()
            self._news.clear()
            with self._changed:
                parts, self._parts, self._waiting = self._parts, [], 0
                ended = self._ended
                self._changed.notify_all()
            if parts:
                yield b"".join(parts)
            if ended:
                return
