"""Bound what an audit costs: tokens that are paid for, time, and bytes that come in."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from proofcompute.errors import InputError, StoppedError

__all__ = ["UNITS", "Budget", "Meter"]

_Kind = Literal["tokens", "seconds", "nbytes"]
UNITS: Final[Mapping[str, tuple[_Kind, int]]] = {
    "tokens": ("tokens", 1),
    "s": ("seconds", 1),
    "min": ("seconds", 60),
    "h": ("seconds", 3600),
    "kB": ("nbytes", 10**3),
    "MB": ("nbytes", 10**6),
    "GB": ("nbytes", 10**9),
    "KiB": ("nbytes", 2**10),
    "MiB": ("nbytes", 2**20),
    "GiB": ("nbytes", 2**30),
}
"""What a unit measures, and how much of it one is."""
_PART: Final = re.compile("([0-9]{1,15}) ?([A-Za-z]+)", re.ASCII)


@dataclass(frozen=True)
class Budget:
    """The most that an audit may cost; None: no limit."""

    tokens: int | None = None
    """Tokens of prompts and answers, with those that the record counts already."""
    seconds: int | None = None
    """Seconds of this run after which no canary is sent and no challenge made."""
    nbytes: int | None = None
    """Bytes of answers and openings that are read in this run."""

    @staticmethod
    def of(parts: Sequence[str]) -> Budget:
        """Read a budget such as ``["20000tokens", "10min", "500MiB"]``.

        Raises InputError for a number without a unit or with an unknown one, for 0, and for a kind given
        twice.
        """
        found: dict[_Kind, int] = {}
        for part in parts:
            match = _PART.fullmatch(part.strip())
            if match is None or match[2] not in UNITS or not int(match[1]):
                raise InputError(
                    f"{part!r} is no budget: give a number and one of the units {', '.join(UNITS)}, "
                    "as in 20000tokens, 10min or 500MiB"
                )
            kind, size = UNITS[match[2]]
            if kind in found:
                raise InputError(f"{part!r}: this budget was given before")
            found[kind] = int(match[1]) * size
        return Budget(**found)


class Meter:
    """What this run has cost so far. Raises StoppedError where more would be beyond the budget.

    Args:
        budget: the limits.
        clock: seconds, from any origin.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        budget: Budget,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.budget, self._clock, self._sleep, self._start = budget, clock, sleep, clock()
        self.nbytes = 0
        """Bytes of bodies that were read."""

    def require_time(self, more: float = 0.0) -> None:
        """Raise StoppedError if the time will have passed ``more`` seconds from now."""
        limit = self.budget.seconds
        if limit is not None and self._clock() - self._start + more >= limit:
            raise StoppedError(f"the budget of {limit} seconds is used up")

    def pause(self, seconds: float) -> None:
        """Wait, if the time suffices for that."""
        self.require_time(seconds)
        self._sleep(seconds)

    def require_tokens(self, spent: int, most: int) -> None:
        """Raise StoppedError if ``most`` tokens more than the ``spent`` ones are beyond the budget."""
        limit = self.budget.tokens
        if limit is not None and spent + most > limit:
            raise StoppedError(f"the budget of {limit} tokens is used up: {spent} were spent")

    def read(self, nbytes: int) -> None:
        """Count bytes that came, before anybody sees them."""
        limit = self.budget.nbytes
        if limit is not None and self.nbytes + nbytes > limit:
            raise StoppedError(f"the budget of {limit} bytes is used up")
        self.nbytes += nbytes
