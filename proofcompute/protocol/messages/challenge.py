"""Define the challenge, the cells that a verifier asks a node to open (docs/spec/messages.md)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from proofcompute.commitments import hashing
from proofcompute.encoding import wire
from proofcompute.errors import Cell, FormatError, InputError
from proofcompute.limits import (
    MAX_CELL_ROWS,
    MAX_CELLS,
    MAX_CHALLENGE,
    MAX_POSITIONS,
    MAX_ROWS,
    MAX_SEGMENTS,
)

__all__ = ["Challenge", "ProofAsked"]

KIND = "proofcompute challenge"
VERSION = 1
_FIELDS = 6
"""Elements of a challenge that asks for no proof."""


@dataclass(frozen=True)
class ProofAsked:
    """The public proof that a challenge asks for besides the cells: an evaluation of all their products."""

    public_id: bytes
    """The public id of the codes that it is checked with, 32 bytes."""
    positions: int
    """Positions of each code that it opens."""

    def __post_init__(self) -> None:
        if len(self.public_id) != 32:
            raise FormatError(f"challenge: a public id of {len(self.public_id)} bytes")
        if not 1 <= self.positions <= MAX_POSITIONS:
            raise FormatError(f"challenge: {self.positions} positions are outside 1..{MAX_POSITIONS}")


@dataclass(frozen=True)
class Challenge:
    """Cells to open, drawn after the receipt."""

    receipt_digest: bytes
    cells: tuple[Cell, ...]
    """In order of segment and row, without overlap."""
    hints: bool = True
    """Whether to open product hints; a verifier that holds the weights computes products itself."""
    tables: bool = True
    """Whether to open rows of weight tables."""
    proof: ProofAsked | None = None
    """The public proof that ends the opening; None: the opening has none."""

    def __post_init__(self) -> None:
        if not self.cells:
            raise InputError("a challenge names at least one cell")
        if len(self.cells) > MAX_CELLS:
            raise InputError(f"a challenge names at most {MAX_CELLS} cells")
        if self.proof is not None and not (self.hints and self.tables):
            raise FormatError("challenge: a public proof is of an opening with hints and tables")
        last = (-1, 0)
        for cell in self.cells:
            if not (0 <= cell.a < cell.b <= MAX_ROWS and cell.b - cell.a <= MAX_CELL_ROWS):
                raise FormatError(f"challenge: {cell} is empty or larger than {MAX_CELL_ROWS} rows")
            if (cell.segment, cell.a) < last:
                raise FormatError("challenge: cells overlap or are not in order")
            last = (cell.segment, cell.b)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        cells = [tuple(c) for c in self.cells]
        proof = () if self.proof is None else (self.proof.public_id, self.proof.positions)
        kind = (int(self.hints), int(self.tables))
        return wire.encode((KIND, VERSION, self.receipt_digest, cells, *kind, *proof))

    @cached_property
    def digest(self) -> bytes:
        """Digest by which an opening names this challenge, 32 bytes."""
        return hashing.message_digest("sha256", "challenge", self.encode())

    @staticmethod
    def decode(data: bytes) -> Challenge:
        """Decode a challenge. Raises FormatError, InputError or LimitError if ``data`` encodes none."""
        top = wire.as_list(wire.decode(data, limit=MAX_CHALLENGE, what="challenge"), "challenge")
        if len(top) not in (_FIELDS, _FIELDS + 2):
            raise FormatError(f"challenge: expected {_FIELDS} or {_FIELDS + 2} elements, found {len(top)}")
        wire.check_head(top, KIND, VERSION)
        cells = []
        for v in wire.as_list(top[3], "cells", max_n=MAX_CELLS):
            s, a, b = wire.as_list(v, "cell", n=3)
            cells.append(
                Cell(
                    wire.as_int(s, "segment", 0, MAX_SEGMENTS),
                    wire.as_int(a, "first row", 0, MAX_ROWS),
                    wire.as_int(b, "end row", 0, MAX_ROWS),
                )
            )
        return Challenge(
            receipt_digest=wire.as_bytes(top[2], "receipt digest", 32),
            cells=tuple(cells),
            hints=bool(wire.as_int(top[4], "hints", 0, 1)),
            tables=bool(wire.as_int(top[5], "tables", 0, 1)),
            proof=ProofAsked(
                wire.as_bytes(top[6], "public id", 32),
                wire.as_int(top[7], "positions", 1, MAX_POSITIONS),
            )
            if len(top) > _FIELDS
            else None,
        )
