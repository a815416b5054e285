"""Hold what a stage has begun and not ended, within a number, a number of bytes, and a time.

Clients that leave in the middle leave something behind. What nobody has touched for some time gives way where
there is no room for something new; nothing that is at work does.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, final

from proofcompute.errors import BusyError, InputError, LimitError

__all__ = ["IDLE", "StageRuns"]

IDLE: Final = 600.0
"""Seconds without a call after which something that was begun may be dropped."""

_T = TypeVar("_T")


@dataclass
class _Held(Generic[_T]):
    """Something that was begun."""

    value: _T
    nbytes: int
    used: float
    """When it was last asked for."""


@final
class StageRuns(Generic[_T]):
    """What was begun, by a key of bytes. Only one thread at a time may use it."""

    def __init__(
        self,
        most: int,
        nbytes: int,
        dropped: Callable[[_T], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hold at most ``most`` things of ``nbytes`` bytes together; ``dropped`` hears of each that goes."""
        self.most, self.nbytes = most, nbytes
        self.held = 0
        """Bytes of what is held."""
        self._dropped, self._clock = dropped, clock
        self._all: OrderedDict[bytes, _Held[_T]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of things that are held."""
        return len(self._all)

    def begin(self, key: bytes, nbytes: int, make: Callable[[], _T]) -> None:
        """Make something of at most ``nbytes`` bytes and hold it, in place of what the key had before.

        Raises LimitError if it never fits, BusyError if it does not fit now, and what ``make`` raises.
        """
        if nbytes > self.nbytes:
            raise LimitError(f"the rows of this request may take {nbytes} bytes, of at most {self.nbytes}")
        self.drop(key)
        while len(self._all) >= self.most or self.held + nbytes > self.nbytes:
            oldest, one = next(iter(self._all.items()))
            if self._clock() - one.used < IDLE:
                raise BusyError(
                    f"{len(self._all)} requests of {self.held} bytes are begun and not ended", 1.0
                )
            self.drop(oldest)
        self._all[key] = _Held(make(), nbytes, self._clock())
        self.held += nbytes

    def get(self, key: bytes) -> _T:
        """Return what is held; it counts as touched now. Raises InputError if there is nothing."""
        found = self._all.get(key)
        if found is None:
            raise InputError("this was not begun, it has ended, or nobody asked for it for too long")
        found.used = self._clock()
        self._all.move_to_end(key)
        return found.value

    def drop(self, key: bytes) -> None:
        """Hold something no longer, if it is held."""
        found = self._all.pop(key, None)
        if found is not None:
            self.held -= found.nbytes
            self._dropped(found.value)
