"""Distribute work over several cores with Python threads.

:func:`split` runs a kernel on parts of a range of units, outside the interpreter's lock; a thread takes the
next part when it has finished one. Waking a thread takes some 50 us, so this pays for longer work only; the
commands of a repeated step go to :mod:`..steps.crew`.

:func:`ordered_map` runs longer items, which have Python code between their kernels, concurrently. Nothing
inside a part or an item is split again.
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

__all__ = ["Pool", "limit", "map_depth", "ordered_map", "size", "split"]

_PARTS_EACH: Final = 3
"""Parts for each thread, if there is enough work."""


_T = TypeVar("_T")
_R = TypeVar("_R")


def limit() -> int:
    """Return the most threads to use: NUMBA_NUM_THREADS if it is set, else the cores of this process."""
    said = os.environ.get("NUMBA_NUM_THREADS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Work:
    """One call of :func:`split`, whose parts several threads take."""

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
        """Work on one part after another until none is left."""
        units, parts = self._units, self._parts
        _here.inside = True
        try:
            while (i := next(self._turns)) < parts:
                if self._function(units * i // parts, units * (i + 1) // parts, *self._arguments) is False:
                    self.good = False
        finally:
            del _here.inside

    def help(self) -> None:
        """Call ``take`` on another thread, unless the work is already closed."""
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
        """Let no other thread begin to help, and wait for those that are helping."""
        with self._guard:
            self._open, waits = False, self._inside > 0
        if waits:
            self._left.acquire()
            self._left.release()


class Pool:
    """Threads that are started when they are first needed."""

    def __init__(self, name: str, callers: int) -> None:
        """Leave ``callers`` cores to the threads that call the pool."""
        self._name, self._callers = name, callers
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """Start without threads, also in a forked child, whose threads stayed in the parent."""
        self._threads: ThreadPoolExecutor | None = None
        self._guard = threading.Lock()

    def submit(self, f: Callable[..., _R], *arguments: Any) -> Future[_R]:
        """Have a thread call ``f(*arguments)``, and return its future."""
        with self._guard:
            require_ieee()  # a new thread inherits this state
            if self._threads is None:
                self._threads = ThreadPoolExecutor(max(1, limit() - self._callers), self._name)
        return self._threads.submit(f, *arguments)


_items: Final = Pool("proofcompute-item", 0)
_parts: Final = Pool("proofcompute-part", 1)
"""These threads are not those of items, so that a part never waits behind another item."""
_here: Final = threading.local()


@cache
def size() -> int:
    """Return how many threads to use: Numba's setting at the first call, else the cores of this process."""
    asked = getattr(sys.modules.get("numba"), "get_num_threads", limit)
    return int(asked())


def split(function: Callable[..., Any], units: int, least: int, *arguments: Any) -> bool:
    """Call ``function(a, b, *arguments)`` on parts of 0..units, each of ``least`` units or more.

    Returns True unless a call returned False. It returns, or raises a call's error, after all calls that
    began have ended. Threads take one part after another, so a thread that is not scheduled delays only one
    part.
    """
    least = max(1, least)
    if units < 2 * least or size() == 1 or hasattr(_here, "inside"):
        return function(0, units, *arguments) is not False
    parts = min(_PARTS_EACH * size(), units // least)
    work = _Work(function, units, parts, arguments)
    try:
        with contextlib.suppress(RuntimeError):  # if no thread can be started, this one takes all parts
            for _ in range(min(size(), parts, limit()) - 1):
                _parts.submit(work.help)
        work.take()
    finally:
        try:
            work.close()
        finally:
            work.close()  # an interrupt may end the first call: no part may outlive the arrays it reads
    if work.error is not None:
        raise work.error
    return work.good


def map_depth() -> int:
    """Return the most items in flight in :func:`ordered_map`, one more than it works on at a time."""
    return 1 if size() == 1 else size() + 1


def ordered_map(function: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
    """Implement :meth:`proofcompute.arrays.Arrays.map`."""
    if size() == 1 or hasattr(_here, "inside"):
        yield from map(function, items)
        return
    begun: deque[Future[_R]] = deque()
    try:
        for item in items:
            begun.append(_items.submit(_one, function, item))
            if len(begun) == map_depth():
                yield _first(begun)
        while begun:
            yield _first(begun)
    finally:
        _wait([future for future in begun if not future.cancel()])


def _first(begun: deque[Future[_R]]) -> _R:
    """Return the first result, and only then remove its future, which an interrupted wait must not lose."""
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
    _here.inside = True
    try:
        return function(item)
    finally:
        del _here.inside
