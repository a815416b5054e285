"""Work on several cores, in two ways.

*Split:* a kernel that takes a range of units is run on parts of it by a pool of Python threads, outside the
interpreter's lock, each taking the next part when it has done one. Starting costs some 50 us, so it is for
milliseconds of work.

*Region:* Numba's parallel loop starts in a few us, for the products of single-token decoding. Some of its
threading layers end the process when two threads enter at once, and OpenMP does when a forked child enters;
so one thread at a time gets in, a child never does, and whoever is kept out runs the serial kernel. Where
other processes keep the cores busy, the threads of a region wait for each other for milliseconds: several
regions in a row that were far too slow close all regions for a while, longer each time.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from time import perf_counter
from typing import Any, Final

import numba

__all__ = ["enter_region", "leave_region", "size", "split"]


_PARTS_EACH: Final = 3
"""Parts for each thread, where there is enough to do."""
_GRACE: Final = 0.0003
"""Seconds that a region may take beyond what its work needs on a slow machine."""
_SLOWEST: Final = 5e9
"""Products per second of a slow machine."""
_PATIENCE: Final = 4
"""Slow regions in a row before regions close; single ones are hiccups."""
_SHORTEST: Final = 0.05
_LONGEST: Final = 2.0
"""Seconds for which regions stay closed."""


class _State:
    def __init__(self) -> None:
        self.pool: ThreadPoolExecutor | None = None
        self.guard = threading.Lock()
        self.region = threading.Lock()
        self.entered = 0.0
        self.closed_until = 0.0
        self.pause = _SHORTEST
        self.slow = 0


_state: Final = _State()


def _in_child() -> None:
    _state.pool = None  # its threads stayed in the parent
    _state.guard = threading.Lock()
    _state.region = threading.Lock()
    _state.region.acquire()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


@cache
def size() -> int:
    """Threads to use: what Numba's settings say at the first call, by default the cores of this process."""
    return int(numba.get_num_threads())


def _pool() -> ThreadPoolExecutor:
    with _state.guard:
        if _state.pool is None:
            _state.pool = ThreadPoolExecutor(max(1, int(numba.config.NUMBA_NUM_THREADS) - 1), "proofcompute")
        return _state.pool


def split(function: Callable[..., Any], units: int, least: int, *arguments: Any) -> bool:
    """``function(a, b, *arguments)`` over parts of 0..units, each of ``least`` units or more.

    True unless a call returned False. Returns, or raises what a call raised, after all calls that began have
    ended. The threads take part after part, so that one which the system keeps waiting delays one part only.
    """
    least = max(1, least)
    if units < 2 * least or size() == 1:
        return function(0, units, *arguments) is not False
    parts = min(_PARTS_EACH * size(), units // least)
    turns = itertools.count()  # taking a number is one step under the interpreter's lock

    def work() -> bool:
        good = True
        while (i := next(turns)) < parts:
            good &= function(units * i // parts, units * (i + 1) // parts, *arguments) is not False
        return good

    others = [_pool().submit(work) for _ in range(min(size(), parts) - 1)]
    try:
        good = work()
    finally:
        started = [future for future in others if not future.cancel()]
        wait(started)
    for future in started:
        good &= future.result()
    return good


def enter_region() -> bool:
    """Whether the caller may enter a parallel loop; if so it must call :func:`leave_region` after."""
    now = perf_counter()
    if now < _state.closed_until or not _state.region.acquire(blocking=False):
        return False
    _state.entered = now
    return True


def leave_region(products: int) -> None:
    """Let the next one in; ``products`` is the number of multiplications that were done inside."""
    now = perf_counter()
    if now - _state.entered > _GRACE + products / _SLOWEST:
        _state.slow += 1
        if _state.slow >= _PATIENCE:
            _state.slow = 0
            _state.closed_until = now + _state.pause
            _state.pause = min(2 * _state.pause, _LONGEST)
    else:
        _state.slow = 0
        _state.pause = max(_state.pause / 2, _SHORTEST)
    _state.region.release()
