"""Let openings take turns: a few at a time, and of those who wait the client that had least goes first."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, final

from proofcompute.errors import BusyError

__all__ = ["Turns"]

_WAIT: Final = 5.0
"""Seconds after which to ask again if too many wait."""
_HALF: Final = 60.0
"""Seconds in which what a client had counts half as much."""
_CLIENTS: Final = 1 << 12
"""Clients whose use is remembered; those are forgotten that used a place longest ago."""


@final
class Turns:
    """Places for openings. For one thread, that of the event loop."""

    def __init__(self, places: int, waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Give ``places`` at a time, while up to ``waiting`` clients wait."""
        self._places, self._most, self._clock = places, waiting, clock
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._had: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        """Seconds that a client had a place, and when they were counted."""
        self.taken = 0
        """Places that are taken now."""

    @property
    def waiting(self) -> int:
        """Number of clients that wait for a place."""
        return len(self._waiting)

    async def take(self, scope: bytes, seconds: float) -> None:
        """Take a place, which :meth:`give_back` frees again.

        Raises BusyError if too many wait already, or if none is free within ``seconds``.
        """
        if self.taken < self._places and not self._staying():
            self.taken += 1
            return
        if len(self._waiting) >= self._most:
            raise BusyError("too many openings are made now", _WAIT)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = scope, place
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(seconds):
                await place
        except BaseException as e:
            if entry in self._waiting:
                self._waiting.remove(entry)
            else:  # it was given in the same moment
                self.taken -= 1
                self._hand_out()
            if isinstance(e, TimeoutError):
                raise BusyError("too many openings are made now", _WAIT) from None
            raise

    def give_back(self, scope: bytes, seconds: float) -> None:
        """Free a place that a client had for some seconds."""
        self._had[scope] = self._use(scope) + seconds, self._clock()
        self._had.move_to_end(scope)
        if len(self._had) > _CLIENTS:
            self._had.popitem(last=False)
        self.taken -= 1
        self._hand_out()

    def _staying(self) -> list[tuple[bytes, asyncio.Future[None]]]:
        """Return who waits, without those that leave now: their tasks have not run yet."""
        return [entry for entry in self._waiting if not entry[1].done()]

    def _hand_out(self) -> None:
        """Give free places to clients that wait, first to the one that had least."""
        while self.taken < self._places and (waiting := self._staying()):
            entry = min(waiting, key=lambda waits: self._use(waits[0]))  # the first of equals
            self._waiting.remove(entry)
            self.taken += 1
            entry[1].set_result(None)

    def _use(self, scope: bytes) -> float:
        """Return the seconds that a client had a place, where those of long ago count less."""
        had, at = self._had.get(scope, (0.0, 0.0))
        return had * 0.5 ** ((self._clock() - at) / _HALF) if had else 0.0
