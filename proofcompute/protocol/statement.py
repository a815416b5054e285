"""Derive the public facts of an execution from its request and answer
(docs/spec/verification.md#the-receipt).

Request and receipt together make a :class:`Statement`. Both sides derive from it how many rows there are,
where each segment's rows start, which cells exist, and the values of public tensors on every row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import U64, Array
from proofcompute.commitments.hashing import Xof
from proofcompute.errors import Cell, FormatError, LimitError
from proofcompute.limits import MAX_ROWS
from proofcompute.program.program import Program
from proofcompute.program.types import Spec

__all__ = ["Statement", "draws", "rows_from_bytes"]


def draws(seed: bytes, a: int, b: int) -> U64:
    """Return the 128-bit random numbers of rows a..b as uint64 [b - a, 2], the low half first.

    Each is the SHAKE-256 of the seed and the row number, little-endian.
    """
    data = b"".join(Xof("draw", seed, row.to_bytes(8, "little")).read(16) for row in range(a, b))
    return np.frombuffer(data, "<u8").reshape(-1, 2)


def rows_from_bytes(spec: Spec, data: bytes, what: str) -> Array:
    """Return the rows [n, *shape] of a tensor from their little-endian bytes.

    Raises FormatError if the bytes are not whole rows, a number is not finite or a byte is no bool, and
    LimitError if there are more than MAX_ROWS rows.
    """
    if len(data) % spec.nbytes:
        raise FormatError(f"{what}: {len(data)} bytes are not whole rows of {spec.nbytes}")
    n = len(data) // spec.nbytes
    if n > MAX_ROWS:
        raise LimitError(f"{what}: {n} rows, more than {MAX_ROWS}")
    rows: Array = np.frombuffer(data, spec.numpy).reshape((n, *spec.shape))
    if spec.dtype == "f32" and not np.isfinite(rows).all():
        raise FormatError(f"{what}: holds a number that is not finite")
    if spec.dtype == "bool" and rows.size and int(rows.view(np.uint8).max()) > 1:
        raise FormatError(f"{what}: holds a byte that is no bool")
    return rows


@dataclass(frozen=True, eq=False)
class Statement:
    """Public facts of one request and its answer."""

    program: Program
    prompt: int
    """Rows of the input that the request gave."""
    rows: int
    """Rows of the whole trace: the prompt's, and one for each output that is fed back."""
    inputs: Mapping[str, Array]
    """Public inputs on every row, including outputs that are fed back."""
    outputs: Mapping[str, Array]
    """Public outputs, beginning at the first row of the segment that emits them (:attr:`first_rows`)."""
    sampling: Sampling
    seed: bytes
    part: range | None = None
    """The segments that the node answers for; None: all. Cells of others do not exist in this statement."""

    @property
    def segments(self) -> range:
        """The segments of which cells exist."""
        return range(len(self.program.segments)) if self.part is None else self.part

    @cached_property
    def first_rows(self) -> tuple[int, ...]:
        """First row of each segment of the program; of one that is not among :attr:`segments`, the end."""
        every, some = range(len(self.program.segments)), self.segments
        return tuple(self.program.first_row(i, self.prompt) if i in some else self.rows for i in every)

    @property
    def cells(self) -> int:
        """Number of single-row cells."""
        return sum(self.rows - first for first in self.first_rows)

    def check_cell(self, cell: Cell) -> None:
        """Raise FormatError unless the cell exists, and LimitError if it has too many rows."""
        if cell.segment not in self.segments:
            raise FormatError(f"there is no segment {cell.segment}, or it is another node's")
        if not self.first_rows[cell.segment] <= cell.a < cell.b <= self.rows:
            raise FormatError(f"{cell}: rows are outside the trace")
        if cell.b - cell.a > (most := self.program.plans[cell.segment].cell_rows):
            raise LimitError(f"{cell}: more than {most} rows")

    def emitted(self, name: str, segment: int, a: int, b: int) -> Array:
        """Return rows a..b of a public output."""
        first = self.first_rows[segment]
        return self.outputs[name][a - first : b - first]
