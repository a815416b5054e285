"""The leaves of a trace, hashed as its rows become final, and the trees over them (design, section 5).

Leaves of all groups in one memory lie in one array, those that are hashed alike beside each other, so that one call
hashes many of them into their places and one more makes all trees.

Rows that a step wrote count as final when it has succeeded. What is hashed before (while later segments of the same
step run) is forgotten if it does not: its leaves are written over by the next attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from proofcompute import hashing, merkle
from proofcompute.kernels import U8, Array, Kernels, Memory
from proofcompute.program import Program

__all__ = ["Leaves"]


@dataclass(frozen=True)
class _Place:
    """Where a group's leaves are."""

    home: int
    """Number of the memory."""
    index: int
    """Among the groups of that memory."""
    kind: int
    """Groups of a kind have the same shapes and types."""


@final
class Leaves:
    """Leaves of every committed group of one trace, in one suite."""

    def __init__(
        self,
        program: Program,
        suite: str,
        capacity: int,
        arrays: Mapping[str, Array],
        home: Callable[[int], Memory],
    ) -> None:
        """``arrays`` hold ``capacity`` rows of each tensor; ``home`` says where a group's are."""
        self.suite = suite
        self._capacity = capacity
        self._arrays = arrays
        self._groups = [group.tensors for group in program.committed]
        self._tags = [hashing.tag(suite, "rows", group.name) for group in program.committed]
        self._homes: list[Memory] = []
        kinds: dict[Any, list[int]] = {}
        for number, names in enumerate(self._groups):
            memory = home(number)
            if not any(memory is known for known in self._homes):
                self._homes.append(memory)
            specs = [program.specs[name] for name in names]
            where = next(i for i, known in enumerate(self._homes) if known is memory)
            kinds.setdefault((where, *((s.shape, s.numpy) for s in specs)), []).append(number)
        counts = [0] * len(self._homes)
        places: dict[int, _Place] = {}
        for kind, ((where, *_), numbers) in enumerate(kinds.items()):
            for number in numbers:
                places[number] = _Place(where, counts[where], kind)
                counts[where] += 1
        self._places = [places[i] for i in range(len(places))]
        self._counts = counts
        self._storage: dict[int, U8] = {}
        self._hashed = [0] * len(places)

    def _leaves(self, where: int) -> U8:
        if where not in self._storage:
            memory = self._homes[where]
            memory.operation = "leaves"
            self._storage[where] = memory.zeros((self._counts[where], self._capacity, hashing.DIGEST), np.uint8)
            memory.operation = ""
        return self._storage[where]

    def missing(self, group: int, rows: int) -> int:
        """How many of the first ``rows`` rows of a group are not hashed."""
        return max(0, rows - self._hashed[group])

    def settle(self, rows: int) -> None:
        """The first ``rows`` rows are final, and no others: what is hashed of them is forgotten."""
        self._hashed = [min(done, rows) for done in self._hashed]

    def hash(self, groups: Iterable[int], rows: int, kernels: Kernels) -> None:
        """Hash what is missing of the first ``rows`` rows of groups."""
        for run in self._runs(g for g in groups if self.missing(g, rows)):
            first, place = self._hashed[run[0]], self._places[run[0]]
            parts = [[self._arrays[name][first:rows] for name in self._groups[g]] for g in run]
            out = self._leaves(place.home)[place.index : place.index + len(run)]
            tags = [self._tags[g] for g in run]
            merkle.leaves_of_groups(self.suite, tags, parts, kernels, out, first)
            for g in run:
                self._hashed[g] = rows

    def _runs(self, groups: Iterable[int]) -> Iterator[list[int]]:
        """Groups that one call hashes: of one kind, beside each other, hashed up to the same row."""
        run: list[int] = []
        for g in sorted(groups, key=lambda g: (self._places[g].home, self._places[g].index)):
            here = self._places[g]
            if run:
                last = self._places[run[-1]]
                beside = (last.kind, last.index + 1) == (here.kind, here.index)
                if not beside or self._hashed[run[-1]] != self._hashed[g]:
                    yield run
                    run = []
            run.append(g)
        if run:
            yield run

    def forests(self, rows: int, kernels: Kernels) -> list[tuple[list[int], merkle.Forest]]:
        """The trees over the first ``rows`` rows, and the groups of each forest's trees in order."""
        self.hash(range(len(self._groups)), rows, kernels)
        found = []
        for where in range(len(self._homes)):
            numbers = [g for g, place in enumerate(self._places) if place.home == where]
            numbers.sort(key=lambda g: self._places[g].index)
            found.append((numbers, merkle.Forest(self.suite, self._leaves(where), rows, kernels)))
        return found
