"""Tell whoever watches what happens: nodes, answers and verdicts, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

__all__ = ["Broadcast"]

_WAITING: Final = 256
"""Events that wait for one watcher; the oldest are dropped, and the page reads the whole state again."""
_WATCHERS: Final = 64
_QUIET: Final = 15.0
"""Seconds after which a comment is sent, so that a connection that was lost is noticed."""


class Broadcast:
    """Carries events to all watchers, in one event loop."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[bytes | None]] = set()

    @property
    def full(self) -> bool:
        """Whether no other watcher is taken."""
        return len(self._queues) >= _WATCHERS

    def publish(self, kind: str, value: dict[str, Any]) -> None:
        """Send an event to all watchers."""
        if not self._queues:
            return
        data = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
        event = f"event: {kind}\ndata: {data}\n\n".encode()
        for queue in self._queues:
            while queue.qsize() >= _WAITING:
                queue.get_nowait()
            queue.put_nowait(event)

    def end(self) -> None:
        """Let all watchers' responses end."""
        for queue in self._queues:
            queue.put_nowait(None)

    async def watch(self) -> AsyncIterator[bytes]:
        """Yield events until :meth:`end`."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield b": watching\n\n"
            while True:
                try:
                    async with asyncio.timeout(_QUIET):
                        event = await queue.get()
                except TimeoutError:
                    event = b": quiet\n\n"
                if event is None:
                    return
                yield event
        finally:
            self._queues.discard(queue)
