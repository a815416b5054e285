"""Work on several cores: a kernel that takes a range of units is run on parts of it by a pool of Python
threads.

They run outside the interpreter's lock, each taking the next part when it has done one. Starting costs some
50 us, so this is for milliseconds of work; the commands of a repeated step go to :mod:`.crew`.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any, Final

import numba

__all__ = ["size", "split"]

_PARTS_EACH: Final = 3
"""Parts for each thread, where there is enough to do."""


class _State:
    def __init__(self) -> None:
        self.pool: ThreadPoolExecutor | None = None
        self.guard = threading.Lock()


_state: Final = _State()


def _in_child() -> None:
    _state.pool = None  # its threads stayed in the parent
    _state.guard = threading.Lock()


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
