"""Use a backend where it may be used: on any thread, or in turn with the engine of one thread.

Any number of threads may use the backend of a CPU. That of a GPU is for one thread at a time: it keeps which
work was queued and which checks are open, and a wrong opening would convict an honest node. So a runner's
thread is the only one that touches a GPU. Whoever opens or commits gives it *pieces* of work and waits for
what they make. Between two steps the thread does

1. all pieces that somebody waits for to finish an answer, which are short;
2. pieces of openings, one opening after the other, for as long as their share of the time lasts. Where
   nobody generates, they have all the time.

A piece is done apart (:meth:`proofcompute.arrays.Arrays.step`): what its checks find is its own error, and
what is still open when it fails is dropped, so no later work gets it. An error is raised where the piece
came from, and everything else goes on; so it is with a lack of memory. A DeviceError of any other kind is
raised in the runner's thread too, because the device may compute anything afterwards.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import islice
from threading import Condition, Thread, current_thread
from typing import Any, Final, Generic, Protocol, TypeVar, final

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Span
from proofcompute.errors import DeviceError, InputError
from proofcompute.prover.fairness import Share, turn_of

__all__ = ["OPENING", "AnyThread", "OneThread", "Turns", "piece", "turns_for"]

OPENING: Final = 0.16
"""Share of the time that pieces of openings have on a device while requests are computed."""
_AHEAD: Final = 4
"""Pieces of one opening that are made before the first of them is taken."""

_T = TypeVar("_T")


class Turns(Protocol):
    """Where a backend may be used."""

    apart: bool
    """Whether pieces are made on another thread than the one that asks for them."""

    # -- for whoever opens and commits -------------------------------------------------------------------
    def call(self, work: Callable[[], _T]) -> _T:
        """Return ``work()``, a short piece that somebody waits for.

        Raises its errors and, once :meth:`end` was called, that error.
        """
        ...

    def each(self, items: Iterator[_T]) -> Generator[_T, None, None]:
        """Yield the items of an iterator, of which each is a piece. Raises as :meth:`call`.

        Close the result when no more items are wanted.
        """
        ...

    # -- for the runner ----------------------------------------------------------------------------------
    @property
    def waiting(self) -> bool:
        """Whether there are pieces to make."""
        ...

    def using(self) -> AbstractContextManager[object]:
        """Return a context in which the caller's thread uses the backend; others wait meanwhile."""
        ...

    def work(self, seconds: float | None) -> None:
        """Make pieces, after a step of ``seconds``; None: nobody waits for tokens.

        Raises a DeviceError that is no lack of memory.
        """
        ...

    def end(self, error: BaseException) -> None:
        """Make no more pieces: whoever waits for one or asks for one gets ``error``."""
        ...


def piece(turns: Turns, work: Callable[[], _T]) -> _T:
    """Return ``work()``, made like a piece of an opening: nobody's tokens wait for it more than for one.

    Raises as :meth:`Turns.call`.
    """
    with closing(turns.each(work() for _ in (None,))) as made:
        return next(made)


def turns_for(kernels: Kernels, owner: Thread, wake: Callable[[], None]) -> Turns:
    """Return where a backend may be used while an engine in the thread ``owner`` uses it.

    ``wake`` is called when there are pieces to make.
    """
    return OneThread(kernels, owner, wake) if kernels.ahead else AnyThread()


@final
class AnyThread:
    """All threads use the backend as they like."""

    apart = False
    waiting = False

    def call(self, work: Callable[[], _T]) -> _T:
        """See :class:`Turns`."""
        return work()

    def each(self, items: Iterator[_T]) -> Generator[_T, None, None]:
        """See :class:`Turns`."""
        yield from items

    def using(self) -> AbstractContextManager[object]:
        """See :class:`Turns`."""
        return nullcontext()

    def work(self, seconds: float | None) -> None:
        """Do nothing: there are no pieces."""

    def end(self, error: BaseException) -> None:
        """Do nothing: openings need no engine."""


class _Line(Generic[_T]):
    """The pieces of one caller."""

    def __init__(self, items: Iterator[_T], *, single: bool) -> None:
        self.items = items
        self.single = single
        """Whether there is one item, for which an answer waits."""
        self.made: deque[_T] = deque()
        """Items that were made and not taken."""
        self.ended = False
        self.error: BaseException | None = None

    @property
    def ready(self) -> bool:
        """Whether a piece may be made."""
        return not self.ended and len(self.made) < _AHEAD


@final
class OneThread:
    """One thread uses the backend, and others give it pieces of work."""

    apart = True

    def __init__(
        self, kernels: Kernels, owner: Thread, wake: Callable[[], None], share: float = OPENING
    ) -> None:
        self._kernels = kernels
        self._owner = owner
        self._wake = wake
        self._turn = turn_of(kernels)
        self._changed = Condition()
        self._lines: deque[_Line[Any]] = deque()
        self._share = Share(share)
        self._end: BaseException | None = None

    # -- for whoever opens and commits -------------------------------------------------------------------
    def call(self, work: Callable[[], _T]) -> _T:
        """See :class:`Turns`."""
        line = self._begin((work() for _ in (None,)), single=True)
        try:
            (found,) = self._taken(line)
            return found
        finally:
            self._leave(line)

    def each(self, items: Iterator[_T]) -> Generator[_T, None, None]:
        """See :class:`Turns`."""
        line = self._begin(items, single=False)
        try:
            while found := self._taken(line):
                yield found[0]
        finally:
            self._leave(line)

    def _begin(self, items: Iterator[_T], *, single: bool) -> _Line[_T]:
        if current_thread() is self._owner:
            raise InputError("the runner's own thread cannot wait for it")
        line = _Line(items, single=single)
        with self._changed:
            if self._end is not None:
                raise self._end.with_traceback(None)
            self._lines.append(line)
        self._wake()
        return line

    def _taken(self, line: _Line[_T]) -> list[_T]:
        """Wait for the next item of a line, and return it; return nothing at its end."""
        with self._changed:
            self._changed.wait_for(lambda: line.made or line.ended)
            if not line.made:
                if line.error is not None:
                    raise line.error
                return []
            full = len(line.made) >= _AHEAD
            found = [line.made.popleft()]
        if full:
            self._wake()
        return found

    def _leave(self, line: _Line[Any]) -> None:
        with self._changed:
            line.ended = True
            if line in self._lines:
                self._lines.remove(line)

    # -- for the runner ----------------------------------------------------------------------------------
    @property
    def waiting(self) -> bool:
        """See :class:`Turns`."""
        with self._changed:
            return any(line.ready for line in self._lines)

    def using(self) -> AbstractContextManager[object]:
        """See :class:`Turns`."""
        return self._turn

    def work(self, seconds: float | None) -> None:
        """See :class:`Turns`. Without requests, one piece is made, so that a new request need not wait."""
        if seconds is not None:
            self._share.earn(seconds)
        openings = seconds is None or self._share.lasts
        while (line := self._next(openings)) is not None:
            start = time.monotonic()
            self._make(line)
            if line.single:
                continue
            if seconds is not None:
                self._share.spend(time.monotonic() - start)
            openings = seconds is not None and self._share.lasts

    def _next(self, openings: bool) -> _Line[Any] | None:
        """Return whose piece is next: a single one, or else of whoever has waited for longest."""
        with self._changed:
            for line in self._lines:
                if line.single and line.ready:
                    return line
            for line in self._lines if openings else ():
                if line.ready:
                    self._lines.remove(line)
                    self._lines.append(line)
                    return line
        return None

    def _make(self, line: _Line[Any]) -> None:
        """Make one item of a line, apart from all other work."""
        found: list[Any] = []

        def piece(_: Sequence[Span]) -> None:
            found.extend(islice(line.items, 1))

        try:
            with self._turn:
                self._kernels.step(None, (), piece)
        except Exception as error:  # it belongs to whoever waits for the piece
            self._put(line, [], error)
            if isinstance(error, DeviceError) and not isinstance(error, MemoryError):
                raise
        else:
            self._put(line, found, None)

    def _put(self, line: _Line[Any], found: Sequence[Any], error: Exception | None) -> None:
        """Hand over what a piece made."""
        with self._changed:
            line.made += found
            line.error = error
            line.ended |= error is not None or not found or line.single
            if line.ended and line in self._lines:
                self._lines.remove(line)
            self._changed.notify_all()

    def end(self, error: BaseException) -> None:
        """See :class:`Turns`."""
        with self._changed:
            self._end = error
            for line in self._lines:
                line.ended, line.error = True, error
            self._lines.clear()
            self._changed.notify_all()
