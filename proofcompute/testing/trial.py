"""How surely an audit of a few cells finds a cheat: counted, and by formula.

A verifier that draws c of N cells without replacement misses all of m bad ones with probability
C(N - m, c) / C(N, c), so it finds the cheat with probability 1 - C(N - m, c) / C(N, c).
"""

from __future__ import annotations

import math
from collections.abc import Collection

from proofcompute.errors import Cell, VerificationError
from proofcompute.protocol.cells import draw_cells
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Request
from proofcompute.prover.node import Node
from proofcompute.verifier.auditor import Auditor

__all__ = ["bad_cells", "detects", "measured"]


def detects(total: int, bad: int, count: int) -> float:
    """Probability that ``count`` of ``total`` cells hold at least one of ``bad`` ones."""
    return 1 - math.comb(total - bad, count) / math.comb(total, count)


def measured(claim: Claim, bad: Collection[Cell], count: int, draws: int) -> float:
    """The share of ``draws`` challenges of ``count`` cells that name at least one bad cell."""
    hits = 0
    for i in range(draws):
        cells = draw_cells(claim, count, b"trial" + i.to_bytes(8, "little"))
        hits += any(c in bad for c in cells)
    return hits / draws


def bad_cells(
    node: Node, auditor: Auditor, request: Request, receipt: bytes
) -> dict[Cell, VerificationError]:
    """Every single-row cell that does not hold, and why: a full audit, cell by cell.

    A larger piece is audited whole first; its rows one by one only if it does not hold.
    """

    def fault(cell: Cell) -> VerificationError | None:
        try:
            auditor.audit(request, receipt, lambda asked: node.open(request, receipt, asked), [cell])
        except VerificationError as e:
            return e
        return None

    bad: dict[Cell, VerificationError] = {}
    for piece in auditor.challenge(request, receipt, "all").cells:
        if fault(piece) is None:
            continue
        for row in range(piece.a, piece.b):
            cell = Cell(piece.segment, row, row + 1)
            error = fault(cell)
            if error is not None:
                bad[cell] = error
    return bad
