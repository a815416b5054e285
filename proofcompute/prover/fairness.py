"""Share a device out: whose turn it is, and how much of the time somebody has."""

from __future__ import annotations

from collections import deque
from threading import Condition, Lock
from typing import Any, Final, final
from weakref import WeakKeyDictionary

from proofcompute.arithmetic.kernels import Kernels

__all__ = ["Share", "Turn", "turn_of"]


@final
class Turn:
    """A lock that is given to those who wait in the order in which they came."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: deque[object] = deque()

    def __enter__(self) -> None:
        mine = object()
        with self._changed:
            self._waiting.append(mine)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is mine)
            except BaseException:
                self._waiting.remove(mine)
                self._changed.notify_all()
                raise

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._waiting.popleft()
            self._changed.notify_all()


_turns: Final[WeakKeyDictionary[Any, Turn]] = WeakKeyDictionary()
"""The locks; several runners may share a backend."""
_turns_guard: Final = Lock()


def turn_of(kernels: Kernels) -> Turn:
    """Return the lock of a backend that is for one thread at a time."""
    with _turns_guard:
        return _turns.setdefault(kernels, Turn())


@final
class Share:
    """How long pieces of openings may take, as a share of the time."""

    def __init__(self, share: float) -> None:
        self._rate = share / (1 - share)
        self._left = 0.0

    def earn(self, seconds: float) -> None:
        """Note how long others computed. What was not used is not saved up."""
        self._left = min(self._left, 0.0) + self._rate * seconds

    def spend(self, seconds: float) -> None:
        """Note how long a piece took; a long one is made up for by a longer wait."""
        self._left -= seconds

    @property
    def lasts(self) -> bool:
        """Whether there is time for a piece."""
        return self._left > 0
