"""Work on several cores, by pools of Python threads.

:func:`split` runs a kernel, which takes a range of units, on parts of the range: outside the interpreter's
lock, each thread taking the next part when it has done one. Starting costs some 50 us, so this is for
milliseconds of work; the commands of a repeated step go to :mod:`.crew`.

:func:`each` runs longer pieces of work, with Python between their kernels, beside one another. Inside one of
them nothing is split again.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Any, Final, TypeVar

__all__ = ["each", "lead", "limit", "size", "split"]

_PARTS_EACH: Final = 3
"""Parts for each thread, where there is enough to do."""


_T = TypeVar("_T")
_R = TypeVar("_R")


class _Pool:
    """Threads that are started when they are first needed."""

    def __init__(self, fewer: int, name: str) -> None:
        self._fewer, self._name = fewer, name
        self.forget()

    def forget(self) -> None:
        """In a child process: the threads stayed in the parent."""
        self._threads: ThreadPoolExecutor | None = None
        self._guard = threading.Lock()

    def submit(self, f: Callable[..., _R], *arguments: Any) -> Future[_R]:
        """Have a thread call a function."""
        with self._guard:
            if self._threads is None:
                count = max(1, limit() - self._fewer)
                self._threads = ThreadPoolExecutor(count, self._name)
        return self._threads.submit(f, *arguments)


_parts: Final = _Pool(1, "proofcompute-part")  # the caller takes parts too
_items: Final = _Pool(0, "proofcompute-item")
_here: Final = threading.local()


def _in_child() -> None:
    for pool in (_parts, _items):
        pool.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def limit() -> int:
    """Most threads that are ever of use: what NUMBA_NUM_THREADS says, else the cores of this process."""
    said = os.environ.get("NUMBA_NUM_THREADS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    turns = itertools.count()  # taking a number is one step under the interpreter's lock

    def work() -> bool:
        good = True
        while (i := next(turns)) < parts:
            good &= function(units * i // parts, units * (i + 1) // parts, *arguments) is not False
        return good

    others = [_parts.submit(work) for _ in range(min(size(), parts) - 1)]
    try:
        good = work()
    finally:
        started = [future for future in others if not future.cancel()]
        _wait(started)
    for future in started:
        good &= future.result()
    return good


def lead() -> int:
    """Most items that :func:`each` has taken whose results it has not returned: one more than it works on."""
    return 1 if size() == 1 else size() + 1


def each(function: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
    """See :meth:`proofcompute.kernels.Memory.each`."""
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
        wait(started)  # an interrupt ends the first: nothing may outlive what it reads


def _one(function: Callable[[_T], _R], item: _T) -> _R:
    _here.item = True
    try:
        return function(item)
    finally:
        del _here.item
