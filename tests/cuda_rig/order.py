"""Tracks which work is known to run after which: vector clocks of streams, and uses of ranges of memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Order", "Uses"]


class Order:
    """Keeps a clock for each stream, which says up to which tick of every other stream it waits."""

    def __init__(self) -> None:
        self._clocks: list[dict[int, int]] = [{0: 0}]
        self._events: list[dict[int, int]] = []

    def stream(self) -> int:
        """Returns a new stream."""
        self._clocks.append({len(self._clocks): 0})
        return len(self._clocks) - 1

    def tick(self, stream: int) -> None:
        """Counts a piece of work on the stream."""
        self._clocks[stream][stream] += 1

    def event(self) -> int:
        """Returns an event that is not recorded yet."""
        self._events.append({})
        return len(self._events) - 1

    def record(self, stream: int, event: int) -> None:
        """Lets the event stand for the stream's work up to here."""
        self._events[event] = dict(self._clocks[stream])

    def wait(self, stream: int, event: int) -> None:
        """Lets the stream's next work run after the event."""
        self._merge(stream, self._events[event])

    def _merge(self, stream: int, other: dict[int, int]) -> None:
        clock = self._clocks[stream]
        for name, tick in other.items():
            clock[name] = max(clock.get(name, 0), tick)

    def now(self, stream: int) -> int:
        """Returns the stream's last tick."""
        return self._clocks[stream][stream]

    def waits(self, stream: int, other: int, tick: int) -> bool:
        """Returns whether the stream's next work runs after that tick of another."""
        return stream == other or self._clocks[stream].get(other, 0) >= tick

    def branches(self, main: int, streams: Iterable[int]) -> dict[int, int]:
        """Returns a stream for each of a graph's: the replaying one for its main stream, new ones for others.

        The new ones begin at the graph's start.
        """
        found = {main: main}
        for stream in streams:
            if stream not in found:
                found[stream] = self.stream()
                self._merge(found[stream], self._clocks[main])
        return found

    def joined(self, main: int, branches: Iterable[int]) -> bool:
        """Returns whether main waits for all work of the branches."""
        return all(self.waits(main, branch, self.now(branch)) for branch in branches)


class _Use(NamedTuple):
    start: int
    stop: int
    stream: int
    tick: int
    writes: bool


class Uses:
    """The uses of one allocation for which later work may have to wait."""

    def __init__(self) -> None:
        self._uses: list[_Use] = []

    def touch(self, order: Order, stream: int, start: int, stop: int, *, writes: bool) -> bool:
        """Notes that work on a stream uses bytes start..stop; False if it lacks a necessary wait."""
        kept = []
        for use in self._uses:
            apart = use.stop <= start or stop <= use.start
            known = order.waits(stream, use.stream, use.tick)
            if not apart and not known and (writes or use.writes):
                return False
            covered = start <= use.start and use.stop <= stop and (writes or not use.writes)
            if not (covered and known):
                kept.append(use)
        kept.append(_Use(start, stop, stream, order.now(stream), writes))
        self._uses = kept
        return True
