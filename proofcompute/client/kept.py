"""Keep the newest of what a client saw, bounded in number and in bytes."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from copy import copy
from threading import Lock
from time import monotonic
from typing import Generic, Protocol, TypeVar, overload

from proofcompute.client.limits import MAX_FAILURES, SAME_QUESTION_SECONDS
from proofcompute.errors import VerificationError

__all__ = ["Kept", "Refused"]


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=_Sized)


class Kept(Sequence[T], Generic[T]):
    """The newest items, oldest first. Threads may share it; iterating sees the items of one moment.

    Args:
        most: the most items.
        nbytes: the most bytes of all items together; the newest item stays, however large it is.
    """

    def __init__(self, most: int, nbytes: int) -> None:
        self._most, self._limit = most, nbytes
        self._items: deque[T] = deque()
        self._held = 0
        self._lock = Lock()

    def add(self, item: T) -> None:
        """Take an item, and drop the oldest ones beyond the limits."""
        with self._lock:
            self._items.append(item)
            self._held += item.nbytes
            while len(self._items) > self._most or (self._held > self._limit and len(self._items) > 1):
                self._held -= self._items.popleft().nbytes

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        with self._lock:
            return iter(list(self._items))

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        with self._lock:
            return list(self._items)[at]


class Refused:
    """Questions whose answers were contradicted a short time ago. Threads may share it.

    Some clients take any error for a lost connection and ask again at once, so that a node that was caught
    would have several attempts, and its last answer alone would be seen.
    """

    def __init__(self) -> None:
        self._errors: OrderedDict[bytes, tuple[VerificationError, float]] = OrderedDict()
        self._lock = Lock()

    def add(self, question: bytes, error: VerificationError) -> None:
        """Take the digest of a question, and the contradiction of its answer."""
        with self._lock:
            self._errors[question] = error, monotonic()
            self._errors.move_to_end(question)
            if len(self._errors) > MAX_FAILURES:
                self._errors.popitem(last=False)

    def require_new(self, question: bytes) -> None:
        """Raise the contradiction of an earlier answer to this question again, if it came just now."""
        with self._lock:
            error, when = self._errors.get(question, (None, 0.0))
        if error is not None and monotonic() - when < SAME_QUESTION_SECONDS:
            raise copy(error) from error
