"""Keeps memory that another library lends until the device has finished the work that uses it.

When the last buffer on borrowed memory is dropped, work that reads it may still be queued. If the lender were
told at once, it could reuse the memory for work on another stream, which waits for nothing here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, final
from weakref import finalize

__all__ = ["Borrowed", "Lenders"]


@final
class Borrowed:
    """The owner of a buffer on another library's memory: CuPy's pointer, and what keeps it alive."""

    def __init__(self, pointer: Any) -> None:
        self._pointer = pointer
        self.ptr = int(pointer.ptr)

    def __add__(self, offset: int) -> Any:
        return self._pointer + offset


@final
class Lenders:
    """Keeps the lenders' objects behind :class:`Borrowed` buffers until no work on the device uses them."""

    def __init__(self) -> None:
        self._dropped: Final[deque[Any]] = deque()
        """Lenders' objects of buffers that were dropped; the garbage collector adds to it at any time."""
        self._leaving: deque[tuple[Sequence[Any], list[Any]]] = deque()
        """Lenders' objects, with events behind all work that was queued when the drop was noticed."""

    def borrow(self, array: Any) -> Borrowed:
        """Return an owner for the memory of CuPy's ``array``, which keeps the lender's object alive."""
        owner = Borrowed(array.data)
        finalize(owner, self._dropped.append, array).atexit = False
        return owner

    def sweep(self, events: Callable[[], Sequence[Any]]) -> None:
        """Release what is no longer used. ``events`` records an event on each stream of the device."""
        if self._dropped:
            dropped = [self._dropped.popleft() for _ in range(len(self._dropped))]
            self._leaving.append((events(), dropped))
        while self._leaving and all(event.done for event in self._leaving[0][0]):
            self._leaving.popleft()
