"""Limit each of many short waits by one timer, where ``asyncio.timeout`` makes and cancels a timer for each.

The tokens of an answer are such waits: a timer for each of them took a tenth of a gateway's time for a token.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self, final

__all__ = ["Waiting"]


@final
class Waiting:
    """Raises TimeoutError where a task waits too long; what it does between its waits does not count.

    Use it in an ``async with`` statement, and each wait in a ``with`` statement inside of it, which the
    awaited function leaves as cancelled if it waited too long.

    Args:
        limit: the most seconds of one wait.
        end: when no wait goes on any more, by the event loop's clock, which is the monotonic one.
    """

    def __init__(self, limit: float, end: float) -> None:
        self._limit, self._end = limit, end
        self._since: float | None = None
        self._loop = asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)
        self._timer = self._loop.call_at(min(self._loop.time() + limit, end), self._look)

    def __enter__(self) -> None:
        """Begin a wait."""
        self._since = self._loop.time()
        if self._since >= self._end:
            self._timeout.reschedule(self._since)

    def __exit__(self, *_: object) -> None:
        """End the wait."""
        self._since = None

    @property
    def over(self) -> bool:
        """Whether a wait was too long."""
        return self._timeout.when() is not None

    def _look(self) -> None:
        """End the wait that has lasted too long, or look again when one could have."""
        now = self._loop.time()
        due = (now if self._since is None else self._since) + self._limit
        if now < self._end:
            due = min(due, self._end)
        elif self._since is not None:
            due = now
        if self._since is not None and due <= now:
            self._timeout.reschedule(now)
        else:
            self._timer = self._loop.call_at(due, self._look)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)
