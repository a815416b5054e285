"""Place the results of commands in memory, several in one place if they are not needed at the same time.

A step of a model has a few hundred results. Only a few of them are needed at a time, and those should lie in
a near cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["ALIGN", "Value", "place"]

ALIGN: Final = 64
"""Bytes of a cache line, at which every value begins."""


@dataclass(eq=False)
class Value:
    """Rows that a command makes and later ones read."""

    width: int
    """Bytes of a row."""
    born: int = -1
    """The number of the command that makes it; -1 if none does yet."""
    last: int = -1
    """The number of the last command that reads it."""
    at: int = 0
    """Where it lies, in bytes."""


def place(values: Sequence[Value], rows: int) -> int:
    """Set :attr:`Value.at` of values in ascending order of birth; return how many bytes there are.

    A value keeps its place up to its last command, which may not write to what it reads.
    """
    free: list[tuple[int, int]] = []  # places and sizes, by place; none touches the next
    living: list[tuple[int, int, Value]] = []
    end = 0
    for value in values:
        for entry in [e for e in living if e[2].last < value.born]:
            living.remove(entry)
            free = _joined([*free, entry[:2]])
        size = -(-value.width * rows // ALIGN) * ALIGN
        fits = [(room, at) for at, room in free if room >= size]
        if fits:
            room, value.at = min(fits)
            free.remove((value.at, room))
            if room > size:
                free = _joined([*free, (value.at + size, room - size)])
        else:
            value.at, end = end, end + size
        living.append((value.at, size, value))
    return end


def _joined(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort free places and join those that touch."""
    found: list[tuple[int, int]] = []
    for at, size in sorted(places):
        if found and sum(found[-1]) == at:
            found[-1] = found[-1][0], found[-1][1] + size
        else:
            found.append((at, size))
    return found
