"""Keep a finished trace, and read its rows and range proofs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import U8, U64, Array, Arrays, Span
from proofcompute.commitments import merkle
from proofcompute.commitments.leaves import Leaves
from proofcompute.protocol.needs import GroupRows, Needs
from proofcompute.protocol.statement import Statement, draws
from proofcompute.protocol.trace import group_seal, split_rows, trace_root

__all__ = ["StoredRows", "StoredTrace"]


Forests = list[tuple[list[int], merkle.Forest]]
"""Forests, each with the numbers of the groups that its trees cover."""


@dataclass(eq=False)
class StoredTrace:
    """A finished trace that can be opened: leaf data of every committed group, and trees once needed."""

    statement: Statement
    suite: str
    groups: list[U8]
    """Leaf data [rows, width] of each committed group, in program order."""
    kernels: Kernels
    homes: Sequence[Arrays] = ()
    """The part of the backend that holds each group; empty if the backend has no parts."""
    elsewhere: Mapping[int, bytes] = field(default_factory=dict)
    """The roots of groups whose rows other nodes of a pipeline hold; their leaf data is empty here."""

    forests: Forests | None = field(default=None, init=False)
    """The trees and the groups that they cover, once they are built; not copied to a changed trace."""
    _guard: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the trace takes with its trees, whether they are built yet or not."""
        statement = self.statement
        rows = [*self.groups, *statement.inputs.values(), *statement.outputs.values()]
        held = {id(buffer): buffer.nbytes for buffer in map(_buffer, rows)}
        return sum(held.values()) + len(self.groups) * merkle.tree_bytes(statement.rows)

    def trees(self) -> Forests:
        """Return the trees, and the groups that each forest covers, in the order of its trees."""
        with self._guard:
            if self.forests is None:
                self.forests = self._grown()
            return self.forests

    def _grown(self) -> Forests:
        k, committed = self.kernels, self.statement.program.committed
        held = [group for group in range(len(self.groups)) if group not in self.elsewhere]
        parts = [k.array(self.groups[group]) for group in held]
        homes = [self.homes[group] for group in held] if self.homes else [k] * len(held)
        names, widths = [committed[group].name for group in held], tuple(part.shape[1] for part in parts)
        rows = self.statement.rows
        leaves = Leaves(names, self.suite, widths, homes, lambda group, a, b: [parts[group][a:b]], rows)
        forests = leaves.forests(rows, k)
        return [([held[number] for number in numbers], forest) for numbers, forest in forests]

    def roots(self) -> list[bytes]:
        """Return the root of each group's tree."""
        found = dict(self.elsewhere)
        for numbers, forest in self.trees():
            found |= zip(numbers, forest.roots(), strict=True)
        return [found[group] for group in range(len(self.groups))]

    def root(self) -> bytes:
        """Return the trace root that a receipt names."""
        program, rows = self.statement.program, self.statement.rows
        seals = [group_seal(program, self.suite, i, rows, root) for i, root in enumerate(self.roots())]
        return trace_root(self.suite, seals)

    def proofs(self, wanted: Sequence[GroupRows]) -> list[tuple[bytes, ...]]:
        """Return the range proofs of rows of groups, copied from the backend together."""
        found: list[tuple[bytes, ...]] = [()] * len(wanted)
        for numbers, forest in self.trees():
            mine = [i for i, rows in enumerate(wanted) if rows.group in numbers]
            ranges = [(numbers.index(wanted[i].group), wanted[i].a, wanted[i].b) for i in mine]
            for i, proof in zip(mine, forest.range_proofs(ranges), strict=True):
                found[i] = tuple(proof)
        return found

    def rows(self, wanted: Sequence[GroupRows]) -> list[memoryview]:
        """Return the leaf data of rows of groups, end to end; one transfer brings them from a device."""
        parts = [self.groups[rows.group][rows.a : rows.b].reshape(-1) for rows in wanted]
        if all(isinstance(part, np.ndarray) for part in parts):
            return [part.data for part in parts]
        whole, ends = self.kernels.host(self.kernels.concatenate(parts)), [0]
        for part in parts:
            ends.append(ends[-1] + part.size)
        return [whole[a:b].data for a, b in pairwise(ends)]


def _buffer(x: Array) -> Array:
    """Return the array in whose memory an array lies."""
    while isinstance(base := getattr(x, "base", None), np.ndarray):
        x = base
    return x


class StoredRows:
    """A RowReader over the rows that one cell needs."""

    def __init__(self, trace: StoredTrace, need: Needs, kernels: Arrays) -> None:
        self.statement = trace.statement
        self.kernels = kernels
        self.arrays: dict[str, tuple[int, Array]] = {}
        for g in need.groups:
            data = kernels.array(trace.groups[g.group][g.a : g.b])
            for name, rows in split_rows(self.statement.program, g.group, data, kernels).items():
                self.arrays[name] = (g.a, rows)

    def read(self, name: str, span: Span) -> Array:
        """See :class:`proofcompute.program.source.RowReader`."""
        if name in self.statement.inputs:
            return self.kernels.array(self.statement.inputs[name][span.a : span.b])
        first, rows = self.arrays[name]
        return rows[span.a - first : span.b - first]

    def prefix(self, name: str, span: Span) -> Array:
        """See :class:`proofcompute.program.source.RowReader`."""
        return self.read(name, Span(span.trace, 0, span.b))

    def whole(self, name: str, span: Span) -> Array:
        """See :class:`proofcompute.program.source.RowReader`."""
        return self.read(name, Span(span.trace, 0, self.statement.rows))

    def write(self, name: str, span: Span, rows: Array) -> None:
        """Drop the computed rows, since the trace holds them already."""

    def sampling(self, trace: int) -> Sampling:
        """See :class:`proofcompute.program.source.RowReader`."""
        return self.statement.sampling

    def draws(self, span: Span) -> U64:
        """See :class:`proofcompute.program.source.RowReader`."""
        return self.kernels.array(draws(self.statement.seed, span.a, span.b))
