"""How many rows of a cell travel: a prefix may be longer than any frame, so it is cut into pieces.

A cell of one row opens all rows before it where attention reads them. The rows of a group that take more than
PIECE bytes go into frames of their own, ahead of the cell's part: as many whole rows in each as fit, and none
that would be the last one, so that the part still holds the rest, 1 row or more. A group that fits into one
piece has no frame of its own. Groups come in the order of the cell's needs.

Every frame's size follows from the statement and the cell, so a verifier compares it before it reads; and it
hashes the rows of a piece while it waits for the next one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from proofcompute.limits import MAX_OPENING_PIECE
from proofcompute.program.program import Program
from proofcompute.protocol.needs import GroupRows

__all__ = ["PIECE", "CutRows", "cut"]

PIECE: Final = MAX_OPENING_PIECE
"""Bytes of rows in one frame, at most, unless a single row has more."""


class CutRows(NamedTuple):
    """Rows of one group, cut into pieces."""

    step: int
    """Rows of each piece that goes ahead."""
    ahead: int
    """Such pieces."""
    here: GroupRows
    """The rows in the part."""

    def piece(self, index: int) -> GroupRows:
        """Rows of a piece that goes ahead."""
        a = self.here.a - (self.ahead - index) * self.step
        return GroupRows(self.here.group, a, a + self.step)


def cut(program: Program, rows: GroupRows) -> CutRows:
    """How a cell's rows of one group travel."""
    count, step = rows.b - rows.a, max(1, PIECE // max(1, program.group_bytes(rows.group)))
    ahead = (count - 1) // step
    return CutRows(step, ahead, rows._replace(a=rows.a + ahead * step))
