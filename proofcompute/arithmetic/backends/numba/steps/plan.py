"""Hold a recorded step, and say for each call whose rows it computes."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import call, is_
from typing import Any, Final

from proofcompute.arrays import F32, I64, Array, Member, Span

__all__ = ["MOST_ROWS", "Plan", "Turn", "address"]

Turn = tuple[tuple[int, ...], float]
"""What rotary tables are made from: bits of frequencies, and the scale."""

MOST_ROWS: Final = 64
"""Most rows for which commands are carried out at once; more take turns."""


def address(x: Array) -> int:
    """Return the address of an array's first byte."""
    return int(x.__array_interface__["data"][0])


@dataclass
class _Slot:
    """What the line of the table for one row says now, and of which arrays."""

    names: tuple[str, ...] = ()
    arrays: Sequence[Any] = ()
    """Weak references, which keep nothing alive that a request has left behind."""
    begins: int = 0
    first: int = 0
    """The first position that all buffers have."""
    end: int = 0
    """The position after the last that all buffers have."""

    def holds(self, member: Member) -> bool:
        """Return whether the line is for the buffers that a member has now."""
        now = (*member.buffers.values(), *member.windows.values())
        return (
            len(now) == len(self.arrays)
            and self.begins == member.first
            and all(map(is_, map(call, self.arrays), now))
            and self.names == (*member.buffers, *member.windows)
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """A recorded step of one row of one request, which is repeated for up to MOST_ROWS rows."""

    commands: Array
    buffers: Mapping[str, Array]
    """A row of each buffer that slots have a column for, by its name; only its shape and type count."""
    whole: frozenset[str]
    """Names of buffers in which rows before the step's are read."""
    turns: Mapping[Turn, tuple[F32, F32]]
    """Tables of cosines and sines that commands read, filled in for each step."""
    logits: F32
    """What the sampler reads, [MOST_ROWS, v]."""
    history: str
    """The name of the buffer of tokens."""
    words: I64
    seats: int
    kept: Sequence[Array]
    """The arrays that commands name by address, kept alive."""
    slots: I64
    """The table of slots (:mod:`.commands`), [MOST_ROWS, 1 + buffers]."""
    places: list[_Slot] = field(default_factory=lambda: [_Slot() for _ in range(MOST_ROWS)])

    def bind(self, spans: Sequence[Span], members: Sequence[Member]) -> bool:
        """Fill in the slots; return False if some rows are not such as were recorded."""
        for t, (span, member) in enumerate(zip(spans, members, strict=True)):
            place = self.places[t]
            if not place.holds(member) and not self._fill(t, member):
                return False
            place = self.places[t]
            if span.b - span.a != 1 or not place.first <= span.a < place.end:
                return False
            self.slots[t, 0] = span.a
        return True

    def _fill(self, t: int, member: Member) -> bool:
        """Look up where the buffers of a member are; return False if one is not as recorded."""
        first, end, starts = 0, 1 << 62, []
        for name, known in self.buffers.items():
            begins = 0
            x = member.buffers.get(name)
            if x is None and name not in self.whole:
                x, begins = member.windows.get(name), member.first
            if x is None or x.dtype != known.dtype or x.shape[1:] != known.shape[1:]:
                return False
            if not (x.flags.c_contiguous and x.flags.writeable):
                return False
            starts.append(address(x) - begins * known.nbytes)
            first, end = max(first, begins), min(end, begins + len(x))
        self.slots[t, 1:] = starts
        arrays = (*member.buffers.values(), *member.windows.values())
        names = (*member.buffers, *member.windows)
        self.places[t] = _Slot(names, [weakref.ref(x) for x in arrays], member.first, first, end)
        return True
