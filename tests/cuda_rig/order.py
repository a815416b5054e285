"""Which work is known to run after which: vector clocks of streams, and the uses of ranges of memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Order", "Uses"]


class Order:
    """A clock for each stream: for every stream, up to which of its ticks this one waits."""

    def __init__(self) -> None:
        self._clocks: list[dict[int, int]] = [{0: 0}]
        self._events: list[dict[int, int]] = []

    def stream(self) -> int:
        """A new stream."""
        self._clocks.append({len(self._clocks): 0})
        return len(self._clocks) - 1

    def tick(self, stream: int) -> None:
        """One more piece of work on the stream."""
        self._clocks[stream][stream] += 1

    def event(self) -> int:
        """An event that is not recorded yet."""
        self._events.append({})
        return len(self._events) - 1

    def record(self, stream: int, event: int) -> None:
        """The event is the stream's work up to here."""
        self._events[event] = dict(self._clocks[stream])

    def wait(self, stream: int, event: int) -> None:
        """The stream's next work runs after the event."""
        self._merge(stream, self._events[event])

    def _merge(self, stream: int, other: dict[int, int]) -> None:
        clock = self._clocks[stream]
        for name, tick in other.items():
            clock[name] = max(clock.get(name, 0), tick)

    def now(self, stream: int) -> int:
        """The stream's last tick."""
        return self._clocks[stream][stream]

    def waits(self, stream: int, other: int, tick: int) -> bool:
        """Whether the stream's next work runs after that tick of another."""
        return stream == other or self._clocks[stream].get(other, 0) >= tick

    def branches(self, main: int, streams: Iterable[int]) -> dict[int, int]:
        """A stream for each of a graph's: the one that it is replayed on for its main, new ones for others.

        A branch begins at the graph's start.
        """
        found = {main: main}
        for stream in streams:
            if stream not in found:
                found[stream] = self.stream()
                self._merge(found[stream], self._clocks[main])
        return found

    def joined(self, main: int, branches: Iterable[int]) -> bool:
        """Whether main waits for all that the branches did."""
        return all(self.waits(main, branch, self.now(branch)) for branch in branches)


class _Use(NamedTuple):
    start: int
    stop: int
    stream: int
    tick: int
    writes: bool


class Uses:
    """The uses of one allocation that later work may have to wait for."""

    def __init__(self) -> None:
        self._uses: list[_Use] = []

    def touch(self, order: Order, stream: int, start: int, stop: int, *, writes: bool) -> bool:
        """Note that work on a stream uses bytes start..stop; False if it does not wait for what it has to."""
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
