"""Hold the rows of one request's tensors: buffers that grow with the request, and windows of passing rows.

A kernel reads the keys and values of a request as one contiguous array, so a buffer that is full moves: a
longer one is allocated and the rows are copied, one tensor after the other. Capacities are whole pages, and
each is half as large again as the one before, so that a row is copied twice at most on average
(docs/adr/0037-traces-grow.md).

A *passing* tensor is a committed one of which no operation reads rows other than its own, such as a hidden
state. Only the step that computes its rows reads them. A trace that drops them holds them in a *window*, an
array that begins at a later row from time to time, once the rows before it are hashed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, final

from proofcompute.arrays import U8, Array, Arrays
from proofcompute.commitments.hashing import DIGEST
from proofcompute.errors import InputError
from proofcompute.program.program import Program
from proofcompute.program.types import Reads

__all__ = ["PAGE", "Block", "Buffers", "grown", "most_bytes", "passing"]

PAGE: Final = 256
"""Rows by which buffers are allocated."""


def passing(program: Program) -> frozenset[str]:
    """Return the committed tensors of which no operation reads other rows than its own."""
    read = {name for plan in program.plans for name, mode in plan.reads if mode is not Reads.SAME}
    return frozenset(program.group_of) - read


class Block(NamedTuple):
    """Copies of consecutive rows of a trace, and of their leaves."""

    arrays: Mapping[str, Array]
    """Rows of committed tensors, by name."""
    leaves: list[U8]
    """Leaves of each committed group, [n, 32]."""

    @property
    def nbytes(self) -> int:
        """Bytes of the copies."""
        return sum(x.nbytes for x in (*self.arrays.values(), *self.leaves))


@final
class Buffers:
    """The rows of one request's committed and public tensors."""

    def __init__(
        self,
        program: Program,
        capacity: int,
        most: int,
        memory: Arrays,
        homes: Mapping[str, Arrays],
        dropped: frozenset[str],
        window: int,
        only: frozenset[str] | None = None,
    ) -> None:
        """Allocate ``most`` rows of each public input, and ``capacity`` rows of each kept committed tensor.

        ``homes`` names the memory of tensors that are not in ``memory``. Tensors in ``dropped`` are held in
        windows of ``window`` rows, or of as many as one step has. ``only`` names the committed tensors that
        there are, if other nodes hold the others.
        """
        self.program = program
        self.capacity = capacity
        """Rows for which the buffers of committed tensors have room."""
        self.most = most
        """Rows beyond which they never grow."""
        self.dropped = dropped
        self.window = window
        self.kept = [n for n in program.group_of if n not in dropped and (only is None or n in only)]
        """Committed tensors whose rows stay."""
        self._memory = memory
        self._homes = homes
        self.arrays: dict[str, Array] = {}
        """The buffers of kept and public tensors; row t of an array is row t of the trace."""
        self.windows: dict[str, Array] = {}
        """The windows of dropped tensors."""
        self.first = 0
        """The trace's row with which the windows begin."""
        self.room = 0
        """Rows of a window."""
        for name in self.kept:
            self.arrays[name] = self._zeros(name, capacity)
        for name, _ in program.inputs:
            self.arrays[name] = self._zeros(name, most)

    def home(self, name: str) -> Arrays:
        """Return the memory of a tensor."""
        return self._homes.get(name, self._memory)

    def _zeros(self, name: str, rows: int) -> Array:
        spec, memory = self.program.specs[name], self.home(name)
        memory.operation = f"{rows} rows of {name}"
        made = memory.zeros((rows, *spec.shape), spec.numpy)
        memory.operation = ""
        return made

    def reserve(self, rows: int, used: int) -> bool:
        """Make room for ``rows`` rows, of which ``used`` are written; return whether buffers have moved."""
        if rows <= self.capacity:
            return False
        capacity = grown(self.capacity, rows, self.most)
        for name in self.kept:
            old = self.arrays[name]
            self.arrays[name] = self._zeros(name, capacity)
            if used:
                self.home(name).write_rows(self.arrays[name], 0, used, old[:used])
        self.capacity = capacity
        return True

    def fits(self, a: int, b: int) -> bool:
        """Return whether the windows have room for rows a..b."""
        return not self.dropped or self.first <= a <= b <= self.first + self.room

    def turn(self, a: int, b: int, *, fresh: bool) -> bool:
        """Let the windows begin at row a, with room for rows a..b; return whether they have moved.

        All rows before a must be hashed. With ``fresh``, windows of more than :attr:`window` rows are never
        used again, because something may still read them.
        """
        room = max(b - a, self.window)
        self.first = a
        if room == self.room and not (fresh and room > self.window):
            return False
        self.windows = {name: self._zeros(name, room) for name in sorted(self.dropped)}
        self.room = room
        return True

    def place(self, name: str, row: int) -> tuple[Array, int]:
        """Return the array that holds row ``row`` of a tensor, and where in it the row is."""
        if name not in self.dropped:
            return self.arrays[name], row
        if not self.windows or not self.first <= row <= self.first + self.room:
            raise InputError(f"row {row} of {name} was dropped; compute the trace again")
        return self.windows[name], row - self.first

    def rows(self, name: str, a: int, b: int) -> Array:
        """Return rows a..b of a tensor. Raises InputError if they were dropped."""
        array, at = self.place(name, a)
        if at + b - a > len(array):
            raise InputError(f"rows {a}..{b} of {name} are not held")
        return array[at : at + b - a]

    def parts(self, group: int, a: int, b: int) -> list[Array]:
        """Return rows a..b of each tensor of a committed group. Raises InputError if they were dropped."""
        return [self.rows(name, a, b) for name in self.program.committed[group].tensors]

    def clear(self) -> None:
        """Drop all rows of committed tensors."""
        self.windows, self.room = {}, 0
        self.dropped |= frozenset(self.kept)
        for name in self.kept:
            self.arrays.pop(name, None)
        self.kept = []

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers and windows."""
        return sum(x.nbytes for x in (*self.arrays.values(), *self.windows.values()))


def grown(capacity: int, rows: int, most: int) -> int:
    """Return the capacity of buffers that grow from ``capacity`` to at least ``rows`` rows."""
    wanted = max(rows, capacity + capacity // 2)
    return min(most, -(-wanted // PAGE) * PAGE)


def most_bytes(program: Program, rows: int, dropped: frozenset[str], window: int) -> int:
    """Return the most bytes that a trace of ``rows`` rows takes at any time, its trees included.

    ``window`` is the most rows of a window. While buffers grow, one tensor is there twice. A tree of n leaves
    has fewer than 2 n + 64 nodes, besides the leaves as they were hashed.
    """
    kept = [program.specs[name].nbytes for name in program.group_of if name not in dropped]
    passed = sum(program.specs[name].nbytes for name in dropped)
    public = sum(spec.nbytes for _, spec in program.inputs)
    trees = len(program.committed) * DIGEST * (rows + 2 * rows + 64)
    return rows * (sum(kept) + max(kept, default=0) + public) + window * passed + trees
