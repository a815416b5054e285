"""Collects moves of rows, so that one launch of ``cuda/move.cu`` makes up to eight of them.

A decoded token moves many small rows, and a launch costs more than most of these copies. Moves are collected
only while nothing else is queued and none touches what another writes, so their order does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from proofcompute.arithmetic.backends.cuda.device import Argument, Buffer, Window

__all__ = ["MOST", "Move", "conflict", "launch_arguments"]

MOST: Final = 8
"""Most moves of one launch."""

i64 = np.int64


@dataclass(frozen=True, eq=False)
class Move:
    """Copies rows of ``width`` bytes, ``pitch`` and ``to_pitch`` bytes apart, from given rows on."""

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
        """Number of four-byte words."""
        return -(-self.rows * self.width // 4)

    def arguments(self) -> list[Argument]:
        """Return the arguments of ``move_rows`` for this move."""
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
    """Return all arguments of one launch."""
    made = [argument for move in moves for argument in move.arguments()]
    return made + _NONE * (MOST - len(moves))


def _overlap(a: Buffer, b: Buffer) -> bool:
    return a.owner is b.owner and a.start < b.start + b.size and b.start < a.start + a.size


def _other_columns(a: Move, b: Move) -> bool:
    """Return whether two moves to rows of one pitch write different columns of them.

    Modulo the pitch, the bytes that ``a`` writes lie 0..width behind its first one, whatever the row; those
    of ``b`` lie gap..gap + width behind it.
    """
    gap = (b.target.start - a.target.start) % a.to_pitch if a.to_pitch else 0
    return a.to_pitch == b.to_pitch and a.width <= gap and gap + b.width <= a.to_pitch


def conflict(a: Move, b: Move) -> bool:
    """Return whether the order of two moves may matter."""
    written = _overlap(a.target, b.target) and not _other_columns(a, b)
    return written or _overlap(a.target, b.source) or _overlap(a.source, b.target)
