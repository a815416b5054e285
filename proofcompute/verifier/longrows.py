"""Hash and split the rows of one committed group as they arrive in several frames."""

from __future__ import annotations

import numpy as np

from proofcompute.arrays import U8, Array
from proofcompute.commitments.hasher import Hasher
from proofcompute.commitments.hashing import DIGEST
from proofcompute.program.program import Program
from proofcompute.protocol.needs import GroupRows
from proofcompute.protocol.trace import group_leaves, split_rows

__all__ = ["LongRows"]


class LongRows:
    """The leaves and tensors of rows a..b of a group, as far as they have arrived.

    A piece may be dropped once it is added, so memory holds a prefix only once, in the form in which
    operations read it. The arrays have their final length from the start. It follows from the statement, and
    MAX_CELL_OPENING bounds it; an operating system provides the memory as rows are written.
    """

    __slots__ = ("_done", "_kernels", "_program", "_rows", "_suite", "arrays", "leaves")

    leaves: U8
    """Merkle leaves [b - a, 32]."""
    arrays: dict[str, Array]
    """Rows [b - a, ...] of each of the group's tensors."""

    def __init__(self, program: Program, suite: str, rows: GroupRows, kernels: Hasher) -> None:
        self._program, self._suite, self._rows, self._kernels = program, suite, rows, kernels
        self._done = 0
        n, layout = rows.b - rows.a, program.layout(rows.group)
        self.leaves = np.empty((n, DIGEST), np.uint8)
        self.arrays = {name: np.empty((n, *shape), dtype) for name, _, _, dtype, shape in layout}

    def add(self, data: bytes | memoryview) -> None:
        """Add the next complete rows, given end to end."""
        program, group = self._program, self._rows.group
        rows = np.frombuffer(data, np.uint8).reshape(-1, program.group_bytes(group))
        a, self._done = self._done, self._done + len(rows)
        self.leaves[a : self._done] = group_leaves(program, self._suite, group, rows, self._kernels.hash_rows)
        for name, values in split_rows(program, group, rows).items():
            self.arrays[name][a : self._done] = values
