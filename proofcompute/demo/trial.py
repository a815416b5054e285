"""How surely an audit of a few cells finds a cheat: counted, and by formula.

A verifier that draws c of N cells without replacement misses all of m bad ones with probability
C(N - m, c) / C(N, c), so it finds the cheat with probability 1 - C(N - m, c) / C(N, c).
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from proofcompute.errors import Cell, VerificationError
from proofcompute.kernels import Kernels
from proofcompute.messages import Challenge, Receipt, Request, all_cells, draw_cells
from proofcompute.model import Model
from proofcompute.prover import StoredTrace, open_cells
from proofcompute.verifier import Key, Verified, verify

__all__ = ["Auditor", "detects", "measured"]


def detects(total: int, bad: int, count: int) -> float:
    """Probability that ``count`` of ``total`` cells hold at least one of ``bad`` ones."""
    return 1 - math.comb(total - bad, count) / math.comb(total, count)


def measured(receipt: Receipt, bad: Collection[Cell], count: int, draws: int) -> float:
    """The share of ``draws`` challenges of ``count`` cells that name at least one bad cell."""
    hits = 0
    for i in range(draws):
        cells = draw_cells(receipt, count, b"trial" + i.to_bytes(8, "little"))
        hits += any(c in bad for c in cells)
    return hits / draws


@dataclass(eq=False)
class Auditor:
    """A verifier and a node's opening side in one process."""

    model: Model
    """What the node opens with."""
    key: Key
    kernels: Kernels
    attempts: int = 0
    """Verifications made under the key."""

    def open(
        self, receipt: Receipt, trace: StoredTrace, cells: Sequence[Cell]
    ) -> tuple[Challenge, io.BytesIO]:
        """The node's part."""
        challenge, stream = Challenge(receipt.digest, tuple(cells)), io.BytesIO()
        open_cells(self.model, trace, receipt.digest, challenge, stream)
        stream.seek(0)
        return challenge, stream

    def check(
        self, request: Request, receipt: Receipt, challenge: Challenge, opening: io.BytesIO
    ) -> Verified:
        """The verifier's part; VerificationError if something is wrong."""
        self.attempts += 1
        return verify(
            self.key,
            request,
            receipt.encode(),
            challenge,
            opening,
            kernels=self.kernels,
            attempts=self.attempts,
        )

    def audit(
        self, request: Request, receipt: Receipt, trace: StoredTrace, cells: Sequence[Cell]
    ) -> VerificationError | None:
        """Open and check some cells; why they are rejected, or None if they hold."""
        try:
            self.check(request, receipt, *self.open(receipt, trace, cells))
        except VerificationError as e:
            return e
        return None

    def bad_cells(
        self, request: Request, receipt: Receipt, trace: StoredTrace
    ) -> dict[Cell, VerificationError]:
        """Every single-row cell that does not hold, and why: a full audit, cell by cell.

        A larger piece is audited whole first; its rows one by one only if it does not hold.
        """
        bad: dict[Cell, VerificationError] = {}
        for piece in all_cells(receipt, self.key.program):
            if self.audit(request, receipt, trace, [piece]) is None:
                continue
            for row in range(piece.a, piece.b):
                cell = Cell(piece.segment, row, row + 1)
                error = self.audit(request, receipt, trace, [cell])
                if error is not None:
                    bad[cell] = error
        return bad
