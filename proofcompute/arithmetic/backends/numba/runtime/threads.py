"""Work on several cores, by Python threads.

:func:`split` runs a kernel, which takes a range of units, on parts of the range: outside the interpreter's
lock, each thread taking the next part when it has done one. Some 50 us pass until a thread that sleeps runs,
so this is for work of more than that, and the commands of a repeated step go to :mod:`..steps.crew`.

:func:`each` runs longer pieces of work, with Python between their kernels, beside one another. Inside one of
them nothing is split again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Any, Final, TypeVar

from proofcompute.arithmetic.ieee import require_ieee

__all__ = ["Pool", "each", "lead", "limit", "size", "split"]

_PARTS_EACH: Final = 3
"""Parts for each thread, where there is enough to do."""


_T = TypeVar("_T")
_R = TypeVar("_R")


def limit() -> int:
    """Most threads that are ever of use: what NUMBA_NUM_THREADS says, else the cores of this process."""
    said = os.environ.get("NUMBA_NUM_THREADS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Work:
    """One call of :func:`split`, of which several threads take parts."""

    def __init__(self, function: Callable[..., Any], units: int, parts: int, arguments: tuple[Any, ...]):
        self._function, self._units, self._parts, self._arguments = function, units, parts, arguments
        self._turns = itertools.count()  # taking a number is one step under the interpreter's lock
        self._guard = threading.Lock()
        self._open, self._inside = True, 0
        self._left = threading.Lock()
        self._left.acquire()
        self.good = True
        self.error: BaseException | None = None

    def take(self) -> None:
        """Part after part, until there are none left."""
        units, parts = self._units, self._parts
        while (i := next(self._turns)) < parts:
            if self._function(units * i // parts, units * (i + 1) // parts, *self._arguments) is False:
                self.good = False

    def help(self) -> None:
        """``take`` on another thread, unless it is too late."""
        with self._guard:
            if not self._open:
                return
            self._inside += 1
        try:
            require_ieee()
            self.take()
        except BaseException as e:  # noqa: BLE001 - whoever called split raises it
            self.error = e
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._guard:
            self._inside -= 1
            if not self._open and not self._inside:
                self._left.release()

    def close(self) -> None:
        """Nobody else may begin to help; returns when all who did have ended."""
        with self._guard:
            self._open, waits = False, self._inside > 0
        if waits:
            self._left.acquire()
            self._left.release()


class Pool:
    """Threads, started when they are first needed."""

    def __init__(self, name: str, callers: int) -> None:
        """``callers`` are the cores that those who call keep busy themselves."""
        self._name, self._callers = name, callers
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """At first, and in a child process: the threads stayed in the parent."""
        self._threads: ThreadPoolExecutor | None = None
        self._guard = threading.Lock()

    def submit(self, f: Callable[..., _R], *arguments: Any) -> Future[_R]:
        """Have a thread call a function."""
        with self._guard:
            require_ieee()  # which a new thread inherits
            if self._threads is None:
                self._threads = ThreadPoolExecutor(max(1, limit() - self._callers), self._name)
        return self._threads.submit(f, *arguments)


_items: Final = Pool("proofcompute-item", 0)
_parts: Final = Pool("proofcompute-part", 1)
"""Other threads than those of items: an item never waits for a part behind another item."""
_here: Final = threading.local()


@cache
def size() -> int:
    """Threads to use: what Numba's settings say at the first call, by default the cores of this process."""
    asked = getattr(sys.modules.get("numba"), "get_num_threads", limit)
    return int(asked())


def split(function: Callable[..., Any], units: int, least: int, *arguments: Any) -> bool:
    """``function(a, b, *arguments)`` over parts of 0..units, each of ``least`` units or more.

    True unless a call returned False. Returns, or raises what a call raised, after all calls that began have
    ended. The threads take part after part, so that one which the system keeps waiting delays one part only.
    """
    least = max(1, least)
    if units < 2 * least or size() == 1 or hasattr(_here, "item"):
        return function(0, units, *arguments) is not False
    parts = min(_PARTS_EACH * size(), units // least)
    work = _Work(function, units, parts, arguments)
    try:
        with contextlib.suppress(RuntimeError):  # no thread can be had any more: this one takes all parts
            for _ in range(min(size(), parts, limit()) - 1):
                _parts.submit(work.help)
        work.take()
    finally:
        try:
            work.close()
        finally:
            work.close()  # an interrupt ends the first: nothing may outlive what it reads
    if work.error is not None:
        raise work.error
    return work.good


def lead() -> int:
    """Most items that :func:`each` has taken whose results it has not returned: one more than it works on."""
    return 1 if size() == 1 else size() + 1


def each(function: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
    """See :meth:`proofcompute.arrays.Arrays.map`."""
    if size() == 1 or hasattr(_here, "item"):
        yield from map(function, items)
        return
    begun: deque[Future[_R]] = deque()
    try:
        for item in items:
            begun.append(_items.submit(_one, function, item))
            if len(begun) == lead():
                yield _first(begun)
        while begun:
            yield _first(begun)
    finally:
        _wait([future for future in begun if not future.cancel()])


def _first(begun: deque[Future[_R]]) -> _R:
    """Taken away when it has ended, so that an interrupt of the wait does not lose it."""
    found = begun[0].result()
    begun.popleft()
    return found


def _wait(started: Sequence[Future[Any]]) -> None:
    try:
        wait(started)
    finally:
        wait(started)  # as in split


def _one(function: Callable[[_T], _R], item: _T) -> _R:
    require_ieee()
    _here.item = True
    try:
        return function(item)
    finally:
        del _here.item
