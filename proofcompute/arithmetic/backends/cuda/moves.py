"""Moves of rows, collected so that one launch of ``cuda/move.cu`` makes up to eight of them.

A decoded token moves many small rows: a launch costs more than what most of them copy. Moves are kept only
while nothing else is queued and none of them touches what another writes, so their order does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from proofcompute.arithmetic.backends.cuda.device import Argument, Buffer, Window

__all__ = ["MOST", "Move", "conflict", "launch_arguments"]

MOST: Final = 8
"""Moves of one launch."""

i64 = np.int64


@dataclass(frozen=True, eq=False)
class Move:
    """Rows of ``width`` bytes, ``pitch`` and ``to_pitch`` bytes apart, from given rows on."""

    source: Buffer
    pitch: int
    from_row: Buffer | None
    target: Buffer
    to_pitch: int
    to_row: Buffer | None
    rows: int
    width: int

    @property
    def units(self) -> int:
        """Words of four bytes."""
        return -(-self.rows * self.width // 4)

    def arguments(self) -> list[Argument]:
        """What ``move_rows`` takes for it."""
        read: Argument = self.source
        if self.from_row is not None:
            read = Window(self.source, self.from_row, self.pitch, self.rows)
        written: Argument = self.target
        if self.to_row is not None:
            written = Window(self.target, self.to_row, self.to_pitch, self.rows)
        first: list[Argument] = [
            read,
            i64(self.pitch),
            self.from_row,
            written,
            i64(self.to_pitch),
            self.to_row,
        ]
        return [*first, i64(self.rows), i64(self.width)]


_NONE: Final[list[Argument]] = [None, i64(0), None, None, i64(0), None, i64(0), i64(0)]


def launch_arguments(moves: list[Move]) -> list[Argument]:
    """All arguments of one launch."""
    made = [argument for move in moves for argument in move.arguments()]
    return made + _NONE * (MOST - len(moves))


def _overlap(a: Buffer, b: Buffer) -> bool:
    return a.owner is b.owner and a.start < b.start + b.size and b.start < a.start + a.size


def _other_columns(a: Move, b: Move) -> bool:
    """Whether two moves to rows that are equally far apart write different columns of them.

    Bytes of ``a`` leave the remainders 0..width of their distance from its first one by the pitch, whatever
    the row; those of ``b`` leave gap..gap + width.
    """
    gap = (b.target.start - a.target.start) % a.to_pitch if a.to_pitch else 0
    return a.to_pitch == b.to_pitch and a.width <= gap and gap + b.width <= a.to_pitch


def conflict(a: Move, b: Move) -> bool:
    """Whether the order of two moves may matter."""
    written = _overlap(a.target, b.target) and not _other_columns(a, b)
    return written or _overlap(a.target, b.source) or _overlap(a.source, b.target)
