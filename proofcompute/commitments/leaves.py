"""The leaves of a trace, hashed as its rows become final, and the trees over them
(docs/spec/commitments.md#trace-root).

Leaves of all groups in one memory lie in one array, those that are hashed alike beside each other, so that
one call hashes many of them into their places and one more makes all trees.

Rows that a step wrote count as final when it has succeeded. What is hashed before (while later segments of
the same step run) is forgotten if it does not: its leaves are written over by the next attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np

from proofcompute.arrays import U8, Array, Arrays
from proofcompute.commitments import hashing, merkle
from proofcompute.commitments.hasher import HasherOfArrays
from proofcompute.errors import InputError

__all__ = ["Leaves"]


@dataclass(frozen=True)
class _Slot:
    """The position of a group's leaves."""

    home: int
    """Number of the memory."""
    index: int
    """Among the groups of that memory."""
    kind: int
    """Groups of a kind have the same shapes and types."""


@final
@dataclass(frozen=True)
class _Order:
    """The order in which the leaves of groups lie."""

    members: tuple[tuple[int, ...], ...]
    """The groups in each memory, in the order of their leaves."""
    slots: tuple[_Slot, ...]
    """The position of each group's leaves."""


@lru_cache(maxsize=256)  # every receipt of a program has the same order
def _order(kinds: tuple[int, ...], homes: tuple[int, ...]) -> _Order:
    """Return the order of groups of these kinds in these memories, given by their numbers from 0 on."""
    alike: dict[tuple[int, int], list[int]] = {}
    for group, (kind, home) in enumerate(zip(kinds, homes, strict=True)):
        alike.setdefault((home, kind), []).append(group)
    members: list[list[int]] = [[] for _ in range(max(homes, default=-1) + 1)]
    slots: dict[int, _Slot] = {}
    for number, ((home, _), groups) in enumerate(alike.items()):
        for group in groups:
            slots[group] = _Slot(home, len(members[home]), number)
            members[home].append(group)
    return _Order(tuple(map(tuple, members)), tuple(slots[group] for group in range(len(kinds))))


@final
class Leaves:
    """Leaves of groups of rows, as many in each, in one suite."""

    def __init__(
        self,
        names: Sequence[str],
        suite: str,
        kinds: tuple[int, ...],
        homes: Sequence[Arrays],
        read: Callable[[int, int, int], Sequence[Array]],
        capacity: int,
    ) -> None:
        """For each group its name, its kind and the memory of its arrays.

        Groups whose arrays have rows of the same shapes and types are of one kind, a number. ``read`` returns
        rows a..b of each of a group's arrays, which side by side are the group's own. There is room for
        ``capacity`` leaves of each group.
        """
        self.suite = suite
        self._read = read
        self._capacity = capacity
        self._tags = [hashing.tag(suite, "rows", name) for name in names]
        self._homes = list({id(home): home for home in homes}.values())
        numbers = {id(home): number for number, home in enumerate(self._homes)}
        self._order = _order(kinds, tuple(numbers[id(home)] for home in homes))
        self._hashed = [0] * len(names)
        self._storage: dict[int, U8] = {}

    def _leaves(self, where: int) -> U8:
        """The leaves of all groups in a memory, [groups, rows, 32]."""
        if where not in self._storage:
            self._storage[where] = self._zeros(where)
        return self._storage[where]

    def allocate(self) -> None:
        """Allocate room for the leaves now, which else happens when the first are hashed."""
        for where in range(len(self._homes)):
            self._leaves(where)

    def _zeros(self, where: int) -> U8:
        memory, shape = self._homes[where], (len(self._order.members[where]), self._capacity, hashing.DIGEST)
        memory.operation = f"leaves of {shape[0]} groups"
        made = memory.zeros(shape, np.uint8)
        memory.operation = ""
        return made

    def reserve(self, capacity: int) -> None:
        """Make room for ``capacity`` leaves of each group; those that are hashed stay."""
        if capacity <= self._capacity:
            return
        self._capacity = capacity
        for where, old in list(self._storage.items()):
            new = self._storage[where] = self._zeros(where)
            for index, group in enumerate(self._order.members[where]):
                if rows := self._hashed[group]:
                    self._homes[where].write_rows(new[index], 0, rows, old[index][:rows])

    @property
    def nbytes(self) -> int:
        """Bytes of the leaves."""
        return sum(leaves.nbytes for leaves in self._storage.values())

    def digests(self, group: int, a: int, b: int) -> U8:
        """Return leaves a..b of a group, which must be hashed: uint8 [b - a, 32]."""
        if not 0 <= a <= b <= self._hashed[group]:
            raise InputError(f"leaves {a}..{b} of a group of which {self._hashed[group]} are hashed")
        place = self._order.slots[group]
        leaves: U8 = self._leaves(place.home)[place.index][a:b]
        return leaves

    def adopt(self, a: int, leaves: Sequence[U8]) -> None:
        """Take leaves of all groups from row ``a`` on as if they had been hashed here; those before are."""
        for group, given in enumerate(leaves):
            if self._hashed[group] != a:
                raise InputError(f"leaves from {a} on, where {self._hashed[group]} are hashed")
            place = self._order.slots[group]
            target = self._leaves(place.home)[place.index]
            self._homes[place.home].write_rows(target, a, a + len(given), given)
            self._hashed[group] = a + len(given)

    def missing(self, group: int, rows: int) -> int:
        """How many of the first ``rows`` rows of a group are not hashed."""
        return max(0, rows - self._hashed[group])

    def finalise(self, rows: int) -> None:
        """The first ``rows`` rows are final, and no others: what is hashed of them is forgotten."""
        self._hashed = [min(done, rows) for done in self._hashed]

    def hash(self, groups: Iterable[int], rows: int, kernels: HasherOfArrays) -> None:
        """Hash what is missing of the first ``rows`` rows of groups."""
        for run in self._runs(g for g in groups if self.missing(g, rows)):
            first, place = self._hashed[run[0]], self._order.slots[run[0]]
            parts = [self._read(g, first, rows) for g in run]
            out = self._leaves(place.home)[place.index : place.index + len(run)]
            tags = [self._tags[g] for g in run]
            merkle.leaves_of_groups(self.suite, tags, parts, kernels, out, first)
            for g in run:
                self._hashed[g] = rows

    def _runs(self, groups: Iterable[int]) -> Iterator[list[int]]:
        """Groups that one call hashes: of one kind, beside each other, hashed up to the same row."""
        run: list[int] = []
        for g in sorted(groups, key=lambda g: (self._order.slots[g].home, self._order.slots[g].index)):
            here = self._order.slots[g]
            if run:
                last = self._order.slots[run[-1]]
                beside = (last.kind, last.index + 1) == (here.kind, here.index)
                if not beside or self._hashed[run[-1]] != self._hashed[g]:
                    yield run
                    run = []
            run.append(g)
        if run:
            yield run

    def forests(self, rows: int, kernels: HasherOfArrays) -> list[tuple[list[int], merkle.Forest]]:
        """The trees over the first ``rows`` rows, and the groups of each forest's trees in order."""
        self.hash(range(len(self._hashed)), rows, kernels)
        return [
            (list(members), merkle.Forest(self.suite, self._leaves(where), rows, kernels))
            for where, members in enumerate(self._order.members)
        ]
