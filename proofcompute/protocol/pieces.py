"""Cut the rows of a cell into pieces, since a prefix may be longer than any frame.

Where attention reads a prefix, a cell of one row opens all rows before it. If the rows of a group take more
than PIECE bytes, they go into frames of their own before the cell's part. Each such frame holds as many whole
rows as fit, and the part holds the remaining rows, at least one. A group that fits into one piece has no
frame of its own. Groups come in the order of the cell's needs.

The size of every frame follows from the statement and the cell, so a verifier compares it before it reads. It
hashes the rows of a piece while it waits for the next one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from proofcompute.limits import MAX_OPENING_PIECE
from proofcompute.program.program import Program
from proofcompute.protocol.needs import GroupRows

__all__ = ["PIECE", "CutRows", "cut"]

PIECE: Final = MAX_OPENING_PIECE
"""Most bytes of rows in one frame, unless a single row has more."""


class CutRows(NamedTuple):
    """Rows of one group, cut into pieces."""

    step: int
    """Rows of each piece that comes before the part."""
    ahead: int
    """Number of such pieces."""
    here: GroupRows
    """The rows in the part."""

    def piece(self, index: int) -> GroupRows:
        """Return the rows of the piece ``index`` before the part."""
        a = self.here.a - (self.ahead - index) * self.step
        return GroupRows(self.here.group, a, a + self.step)


def cut(program: Program, rows: GroupRows) -> CutRows:
    """Return how a cell's rows of one group are cut into pieces."""
    step = max(1, PIECE // max(1, program.group_bytes(rows.group)))
    ahead = (rows.b - rows.a - 1) // step
    return CutRows(step, ahead, GroupRows(rows.group, rows.a + ahead * step, rows.b))
