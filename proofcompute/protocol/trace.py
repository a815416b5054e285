"""Hold and hash a trace, the committed tensors of one request (docs/spec/commitments.md#trace-root)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.definition.memory import HOST
from proofcompute.arrays import U8, Array, Arrays
from proofcompute.commitments import hashing, merkle
from proofcompute.commitments.hasher import HasherOfArrays
from proofcompute.commitments.leaves import Leaves
from proofcompute.program.program import Program

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
    ) -> None:
        """Allocate buffers for ``capacity`` rows.

        ``homes`` names, for a backend with several devices, the part that holds each tensor.
        """
        self.program = program
        self.capacity = capacity
        self.memory = memory
        self.arrays: dict[str, Array] = {}
        self._homes = homes or {}
        for name in (*program.group_of, *(n for n, _ in program.inputs)):
            spec = program.specs[name]
            memory = self._homes.get(name, self.memory)
            memory.operation = f"{capacity} rows of {name}"
            self.arrays[name] = memory.zeros((capacity, *spec.shape), spec.numpy)
            memory.operation = ""
        self._leaves: Leaves | None = None
        self._forests: tuple[int, list[tuple[list[int], merkle.Forest]]] | None = None
        """The number of rows that the trees cover, and the trees."""
        self._waiting: list[int] = []
        """Groups that the running step has written and that are not hashed yet."""

    @cached_property
    def _written(self) -> list[list[int]]:
        """The groups that each segment writes completely."""
        groups = [set(group.tensors) for group in self.program.committed]
        return [[i for i, g in enumerate(groups) if g <= set(p.writes)] for p in self.program.plans]

    @property
    def homes(self) -> list[Arrays]:
        """The memory of each committed group."""
        return [self._homes.get(group.tensors[0], self.memory) for group in self.program.committed]

    def group(self, index: int, a: int, b: int) -> U8:
        """Return the leaf data of rows a..b of a committed group, uint8 [b - a, w]."""
        return join_rows(self.program, index, self.arrays, a, b, self.homes[index])

    def _leaves_in(self, suite: str) -> Leaves:
        if self._leaves is None or self._leaves.suite != suite:
            committed = self.program.committed
            parts = [[self.arrays[name] for name in group.tensors] for group in committed]
            self._leaves = Leaves([group.name for group in committed], suite, parts, self.homes)
            self._forests = None
        return self._leaves

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
            with self.memory.side_stream():
                leaves.hash(self._waiting, rows, kernels)
            self._waiting = []

    def finalise(self, suite: str, rows: int) -> None:
        """Note that the first ``rows`` rows are final; others may be written again."""
        self._waiting = []
        if self._leaves is not None:
            self._leaves_in(suite).finalise(rows)

    def hash_ahead(self, suite: str, rows: int, kernels: HasherOfArrays) -> None:
        """Hash the leaves of finished rows while the next rows are computed.

        Does nothing until enough rows are finished for the backend (``ahead``).
        """
        ahead = self.memory.ahead
        if not ahead:
            return
        leaves = self._leaves_in(suite)
        worth = [g for g in range(len(self.program.committed)) if leaves.missing(g, rows) >= ahead]
        if worth:
            with self.memory.side_stream():
                leaves.hash(worth, rows, kernels)

    # -- after the last row ----------------------------------------------------------------------------
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

        A backend that hashes ahead reuses what it has hashed; any other hashes the rows as they are now.
        """
        if not self.memory.ahead:
            self._leaves = None
        roots: dict[int, bytes] = {}
        for numbers, forest in self.grow(suite, rows, kernels):
            roots |= zip(numbers, forest.roots(), strict=True)
        return [group_seal(self.program, suite, i, rows, roots[i]) for i in range(len(roots))]
