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
from typing import Any, final

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
class Leaves:
    """Leaves of groups of rows, as many in each, in one suite."""

    def __init__(
        self,
        names: Sequence[str],
        suite: str,
        parts: Sequence[Sequence[Array]],
        homes: Sequence[Arrays],
        *,
        read: Callable[[int, int, int], Sequence[Array]] | None = None,
        capacity: int = 0,
    ) -> None:
        """For each group its name, the arrays whose rows side by side are its own, and their memory.

        If arrays move or hold only some of the rows, ``read`` returns rows a..b of a group's arrays, and
        ``parts`` are arrays of the same kinds, with any number of rows. There is room for ``capacity`` leaves
        of each group then.
        """
        self.suite = suite
        self._parts = parts
        self._read = read
        self._capacity = len(parts[0][0]) if read is None and parts else capacity
        self._tags = [hashing.tag(suite, "rows", name) for name in names]
        self._homes = list({id(home): home for home in homes}.values())
        numbers = {id(home): number for number, home in enumerate(self._homes)}
        kinds: dict[Any, list[int]] = {}
        for group, (arrays, home) in enumerate(zip(parts, homes, strict=True)):
            alike = tuple((x.shape[1:], x.dtype) for x in arrays)
            kinds.setdefault((numbers[id(home)], alike), []).append(group)
        self._members: list[list[int]] = [[] for _ in self._homes]
        """The groups in each memory, in the order of their leaves."""
        self._slots: dict[int, _Slot] = {}
        for kind, ((where, _), groups) in enumerate(kinds.items()):
            for group in groups:
                self._slots[group] = _Slot(where, len(self._members[where]), kind)
                self._members[where].append(group)
        self._hashed = [0] * len(parts)
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
        memory, shape = self._homes[where], (len(self._members[where]), self._capacity, hashing.DIGEST)
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
            for index, group in enumerate(self._members[where]):
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
        place = self._slots[group]
        leaves: U8 = self._leaves(place.home)[place.index][a:b]
        return leaves

    def adopt(self, a: int, leaves: Sequence[U8]) -> None:
        """Take leaves of all groups from row ``a`` on as if they had been hashed here; those before are."""
        for group, given in enumerate(leaves):
            if self._hashed[group] != a:
                raise InputError(f"leaves from {a} on, where {self._hashed[group]} are hashed")
            place = self._slots[group]
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
            first, place = self._hashed[run[0]], self._slots[run[0]]
            parts = [self._rows(g, first, rows) for g in run]
            out = self._leaves(place.home)[place.index : place.index + len(run)]
            tags = [self._tags[g] for g in run]
            merkle.leaves_of_groups(self.suite, tags, parts, kernels, out, first)
            for g in run:
                self._hashed[g] = rows

    def _rows(self, group: int, a: int, b: int) -> Sequence[Array]:
        return self._read(group, a, b) if self._read else [part[a:b] for part in self._parts[group]]

    def _runs(self, groups: Iterable[int]) -> Iterator[list[int]]:
        """Groups that one call hashes: of one kind, beside each other, hashed up to the same row."""
        run: list[int] = []
        for g in sorted(groups, key=lambda g: (self._slots[g].home, self._slots[g].index)):
            here = self._slots[g]
            if run:
                last = self._slots[run[-1]]
                beside = (last.kind, last.index + 1) == (here.kind, here.index)
                if not beside or self._hashed[run[-1]] != self._hashed[g]:
                    yield run
                    run = []
            run.append(g)
        if run:
            yield run

    def forests(self, rows: int, kernels: HasherOfArrays) -> list[tuple[list[int], merkle.Forest]]:
        """The trees over the first ``rows`` rows, and the groups of each forest's trees in order."""
        self.hash(range(len(self._parts)), rows, kernels)
        return [
            (members, merkle.Forest(self.suite, self._leaves(where), rows, kernels))
            for where, members in enumerate(self._members)
        ]
