"""Hold and hash a trace, the committed tensors of one request (docs/spec/commitments.md#trace-root)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import cached_property
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.definition.memory import HOST
from proofcompute.arrays import U8, Array, Arrays
from proofcompute.commitments import hashing, merkle
from proofcompute.commitments.hasher import HasherOfArrays
from proofcompute.commitments.leaves import Leaves
from proofcompute.program.program import Program
from proofcompute.protocol.buffers import Block, Buffers

__all__ = ["Trace", "group_leaves", "group_seal", "join_rows", "split_rows", "trace_root"]

HashRows = Callable[[str, bytes, U8], U8]

TOGETHER: Final = 4096
"""Rows, summed over groups, that must wait before they are hashed during a step.

One thread hashes a row, and a launch takes at least the time of a row, however few there are. Hashing too few
segments at a time would take longer than computing them.
"""


def join_rows(
    program: Program, group: int, arrays: dict[str, Array], a: int, b: int, memory: Arrays = HOST
) -> U8:
    """Return the leaf data of rows a..b of a group, uint8 [b - a, w].

    A row of it holds the little-endian rows of the group's tensors side by side.
    """
    return memory.row_bytes([arrays[name][a:b] for name in program.committed[group].tensors])


def split_rows(program: Program, group: int, data: U8, memory: Arrays = HOST) -> dict[str, Array]:
    """Invert :func:`join_rows`: return arrays [n, *shape] by tensor name, views where possible.

    Rows that are not aligned in ``data`` are copied, because compiled code needs aligned numbers.
    """
    out: dict[str, Array] = {}
    for name, a, b, dtype, shape in program.layout(group):
        flat = memory.slice_columns(data, a, b).reshape(-1).view(dtype)
        rows: Any = flat.reshape((data.shape[0], *shape))
        out[name] = rows.copy() if isinstance(rows, np.ndarray) and not rows.flags.aligned else rows
    return out


def group_leaves(program: Program, suite: str, group: int, rows: U8, hash_rows: HashRows) -> U8:
    """Return the Merkle leaves of a group's leaf data, uint8 [n, 32]."""
    tag = hashing.tag(suite, "rows", program.committed[group].name)
    return merkle.leaves(suite, tag, rows, hash_rows)


def group_seal(program: Program, suite: str, group: int, size: int, root: bytes) -> bytes:
    """Return the sealed root of one group, which binds its name and its number of rows."""
    return hashing.seal(suite, "rows", program.committed[group].name, size, root)


def trace_root(suite: str, seals: list[bytes]) -> bytes:
    """Return the digest over the sealed roots of all committed groups, in program order."""
    return hashing.message_digest(suite, "trace", b"".join(seals))


class Trace:
    """Buffers for the committed and public tensors of one request, and their Merkle trees."""

    def __init__(
        self,
        program: Program,
        capacity: int,
        memory: Arrays = HOST,
        homes: Mapping[str, Arrays] | None = None,
        *,
        most: int | None = None,
        dropped: frozenset[str] | None = None,
        ahead: int = 0,
        only: frozenset[str] | None = None,
    ) -> None:
        """Allocate buffers for ``capacity`` rows.

        ``homes`` names, for a backend with several devices, the part that holds each tensor. The trace may
        grow to ``most`` rows (None: not at all). Rows of the tensors in ``dropped``, which must be passing
        ones, are dropped once they are hashed, and all rows when the request ends; None: all stay. ``ahead``
        is the number of finished rows from which they are hashed before the request ends; 0: the backend's.
        ``only`` names the committed tensors of a node that runs a part of the program; it hashes their rows
        itself.
        """
        self.program = program
        self.memory = memory
        self._ahead = ahead
        most = capacity if most is None else most
        self.passing = dropped is not None
        """Whether all rows are dropped in the end."""
        self.buffers = Buffers(
            program, capacity, most, memory, homes or {}, dropped or frozenset(), max(1, self.ahead), only
        )
        self._leaves: Leaves | None = None
        self._forests: tuple[int, list[tuple[list[int], merkle.Forest]]] | None = None
        """The number of rows that the trees cover, and the trees."""
        self._waiting: list[int] = []
        """Groups that the running step has written and that are not hashed yet."""
        self._sealed: tuple[str, int, list[bytes]] | None = None
        """Suite, rows and seals of a trace whose rows are dropped."""

    @property
    def arrays(self) -> dict[str, Array]:
        """The buffers of tensors that are not dropped; row t of an array is row t of the trace."""
        return self.buffers.arrays

    @arrays.setter
    def arrays(self, arrays: dict[str, Array]) -> None:
        self.buffers.arrays = arrays
        self.buffers.capacity = self.buffers.most = min((len(x) for x in arrays.values()), default=0)

    @property
    def capacity(self) -> int:
        """Rows for which there is room at present."""
        return self.buffers.capacity

    @property
    def most(self) -> int:
        """Rows beyond which the trace never grows."""
        return self.buffers.most

    @property
    def ahead(self) -> int:
        """Finished rows from which they are hashed before the request ends; 0: never."""
        return self._ahead or self.memory.ahead

    @property
    def nbytes(self) -> int:
        """Bytes of buffers, leaves and trees."""
        forests = [forest.nbytes for _, forest in self._forests[1]] if self._forests else []
        return self.buffers.nbytes + (self._leaves.nbytes if self._leaves else 0) + sum(forests)

    @cached_property
    def _written(self) -> list[list[int]]:
        """The groups that each segment writes completely."""
        groups = [set(group.tensors) for group in self.program.committed]
        return [[i for i, g in enumerate(groups) if g <= set(p.writes)] for p in self.program.plans]

    @property
    def homes(self) -> list[Arrays]:
        """The memory of each committed group."""
        return [self.buffers.home(group.tensors[0]) for group in self.program.committed]

    def group(self, index: int, a: int, b: int) -> U8:
        """Return the leaf data of rows a..b of a committed group, uint8 [b - a, w].

        Raises InputError if the rows were dropped.
        """
        return self.homes[index].row_bytes(self.buffers.parts(index, a, b))

    def _leaves_in(self, suite: str) -> Leaves:
        if self._leaves is None or self._leaves.suite != suite:
            names = [group.name for group in self.program.committed]
            kinds, read = self.program.leaf_kinds, self.buffers.parts
            self._forests = None
            self._leaves = Leaves(names, suite, kinds, self.homes, read, self.capacity)
        return self._leaves

    def _hash(self, suite: str, groups: Iterable[int], rows: int, kernels: HasherOfArrays) -> None:
        """Hash what is missing of the first ``rows`` rows of groups, beside later work where that may be.

        It may not if later work writes the same windows again.
        """
        leaves = self._leaves_in(suite)
        shared = self.buffers.dropped and self.buffers.room == self.buffers.window
        if shared:
            with self.memory.side_stream():  # whoever uses them on the main stream then waits for side work
                leaves.allocate()
        with nullcontext() if shared else self.memory.side_stream():
            leaves.hash(groups, rows, kernels)

    # -- before a step ---------------------------------------------------------------------------------
    def prepare(self, suite: str, a: int, b: int, known: int, kernels: HasherOfArrays) -> bool:
        """Make room for rows a..b, of ``known`` that will follow; return whether buffers have moved.

        Raises MemoryError if there is none.
        """
        moved = False
        if b > self.capacity:
            moved = self.buffers.reserve(max(b, known), a)
            if self._leaves is not None:
                with self.memory.side_stream():
                    self._leaves.reserve(self.capacity)
        if not self.buffers.fits(a, b):
            self._hash_all(suite, a, kernels)
            moved |= self.buffers.turn(a, b, fresh=self.memory.ahead > 0)
        return moved

    def _hash_all(self, suite: str, rows: int, kernels: HasherOfArrays) -> None:
        """Hash what is missing of the first ``rows`` rows."""
        self._hash(suite, range(len(self.program.committed)), rows, kernels)

    # -- during a step ---------------------------------------------------------------------------------
    def hash_segment(self, suite: str, segment: int, rows: int, kernels: HasherOfArrays) -> None:
        """Note that a segment of the running step has written its groups up to row ``rows``.

        The groups of several segments are hashed together, while the following segments are computed.
        """
        if not self.memory.ahead:
            return
        leaves = self._leaves_in(suite)
        written = self._written
        self._waiting += [g for g in written[segment] if leaves.missing(g, rows) >= self.memory.ahead]
        last = not any(written[segment + 1 :])
        if self._waiting and (last or sum(leaves.missing(g, rows) for g in self._waiting) >= TOGETHER):
            self._hash(suite, self._waiting, rows, kernels)
            self._waiting = []

    def finalise(self, suite: str, rows: int) -> None:
        """Note that the first ``rows`` rows are final; others may be written again."""
        self._waiting = []
        if self._leaves is not None:
            self._leaves_in(suite).finalise(rows)

    def hash_ahead(self, suite: str, rows: int, kernels: HasherOfArrays) -> None:
        """Hash the leaves of finished rows while the next rows are computed.

        Does nothing until enough rows are finished (``ahead``).
        """
        ahead = self.ahead
        if not ahead:
            return
        leaves = self._leaves_in(suite)
        worth = [g for g in range(len(self.program.committed)) if leaves.missing(g, rows) >= ahead]
        if worth:
            self._hash(suite, worth, rows, kernels)

    # -- rows of other traces --------------------------------------------------------------------------
    def copy(self, suite: str, a: int, b: int, kernels: HasherOfArrays) -> Block:
        """Return copies of the kept rows a..b and of the leaves of all groups; the rows must be final."""
        self._hash_all(suite, b, kernels)
        leaves = self._leaves_in(suite)
        kept = {name: self.buffers.rows(name, a, b).copy() for name in self.buffers.kept}
        with self.memory.side_stream():
            return Block(kept, [leaves.digests(g, a, b).copy() for g in range(len(self.program.committed))])

    def paste(self, suite: str, a: int, block: Block) -> None:
        """Take the rows of a block as rows from ``a`` on; all rows before them are final and hashed."""
        rows = len(next(iter(block.leaves)))
        for name in self.buffers.kept:
            self.buffers.home(name).write_rows(self.arrays[name], a, a + rows, block.arrays[name])
        leaves = self._leaves_in(suite)
        with self.memory.side_stream():
            leaves.adopt(a, block.leaves)

    # -- after the last row ----------------------------------------------------------------------------
    def finish(self, suite: str, rows: int, kernels: HasherOfArrays) -> None:
        """Hash the first ``rows`` rows, and drop them if no rows are to stay: their leaves suffice."""
        self._hash_all(suite, rows, kernels)
        if self.passing:
            self.buffers.clear()

    def release(self) -> None:
        """Give the memory of all rows, leaves and trees back; the trace cannot be used any more."""
        self.buffers.clear()
        self._leaves = self._forests = None

    def grow(self, suite: str, rows: int, kernels: HasherOfArrays) -> list[tuple[list[int], merkle.Forest]]:
        """Build the trees over the first ``rows`` rows, and return them with the groups that they cover.

        A backend with a side stream builds them while it computes something else.
        """
        leaves = self._leaves_in(suite)
        if self._forests is None or self._forests[0] != rows:
            with self.memory.side_stream():
                self._forests = rows, leaves.forests(rows, kernels)
        return self._forests[1]

    def seals(self, suite: str, rows: int, kernels: HasherOfArrays) -> list[bytes]:
        """Return the sealed roots of all groups over their first ``rows`` rows.

        A trace that hashes ahead reuses what it has hashed; any other hashes the rows as they are now. If
        rows are dropped, leaves and trees go too, and only the seals stay.
        """
        if self._sealed is not None and self._sealed[:2] == (suite, rows):
            return self._sealed[2]
        if not self.ahead:
            self._leaves = None
        roots: dict[int, bytes] = {}
        for numbers, forest in self.grow(suite, rows, kernels):
            roots |= zip(numbers, forest.roots(), strict=True)
        seals = [group_seal(self.program, suite, i, rows, roots[i]) for i in range(len(roots))]
        if self.passing:
            self._sealed, self._leaves, self._forests = (suite, rows, seals), None, None
            self.buffers.clear()
        return seals
