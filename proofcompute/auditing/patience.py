"""Wait for a database that is away for a while, as one is that is started again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from proofcompute.errors import StorageError

__all__ = ["AWAY", "patiently"]

_T = TypeVar("_T")

AWAY: Final = 600.0
"""Seconds for which it is waited for."""
_FIRST, _LONGEST = 0.05, 2.0


def patiently(
    call: Callable[[], _T], seconds: float = AWAY, *, ended: Callable[[], bool] = lambda: False
) -> _T:
    """Call the ledger, and again if the database is away: what was done twice is done once there.

    Raises StorageError if it stays away for so many seconds, or if ``ended`` says that nobody waits any more.
    """
    pause, until = _FIRST, time.monotonic() + seconds
    while True:
        try:
            return call()
        except StorageError:
            if time.monotonic() > until or ended():
                raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST)
