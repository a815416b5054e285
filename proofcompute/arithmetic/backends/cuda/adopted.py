"""Memory that another library lends: kept until the device has done what it was given with it.

When the last buffer on borrowed memory is dropped, work that reads it may still be queued. Were the lender
told at once, it could give the memory to somebody else, whose work on another stream waits for nothing here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, final
from weakref import finalize

__all__ = ["Borrowed", "Lenders"]


@final
class Borrowed:
    """The owner of a buffer on memory of another library: CuPy's pointer to it, and what keeps it."""

    def __init__(self, pointer: Any) -> None:
        self._pointer = pointer
        self.ptr = int(pointer.ptr)

    def __add__(self, offset: int) -> Any:
        return self._pointer + offset


@final
class Lenders:
    """What keeps the memory of :class:`Borrowed` buffers, until nothing of the device's uses it."""

    def __init__(self) -> None:
        self._dropped: Final[deque[Any]] = deque()
        """Of buffers that are no longer there; filled whenever the collector runs."""
        self._leaving: deque[tuple[Sequence[Any], list[Any]]] = deque()
        """With events behind all work that was queued when this was noticed."""

    def borrow(self, array: Any) -> Borrowed:
        """The owner for the memory of CuPy's ``array``, which keeps the lender's."""
        owner = Borrowed(array.data)
        finalize(owner, self._dropped.append, array).atexit = False
        return owner

    def sweep(self, events: Callable[[], Sequence[Any]]) -> None:
        """Give back what is not used any more. ``events`` records one on each stream of the device."""
        if self._dropped:
            dropped = [self._dropped.popleft() for _ in range(len(self._dropped))]
            self._leaving.append((events(), dropped))
        while self._leaving and all(event.done for event in self._leaving[0][0]):
            self._leaving.popleft()
