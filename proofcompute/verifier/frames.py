"""List the frames of an opening, which follow from statement and challenge."""

from __future__ import annotations

from collections.abc import Iterator

from proofcompute.limits import MAX_OPENING_PART
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, OpeningHead
from proofcompute.protocol.needs import needs
from proofcompute.protocol.pieces import cut
from proofcompute.protocol.shapes import part_shape

__all__ = ["frame_limits", "frames_between"]


def frames_between(claim: Claim, challenge: Challenge) -> Iterator[tuple[str, int]]:
    """Yield kind (``rows`` or ``part``) and most bytes of each frame between head and closing frame."""
    program, size = claim.statement.program, claim.statement.rows
    for cell in challenge.cells:
        need = needs(claim.statement, cell)
        for g in need.groups:
            long = cut(program, g)
            for _ in range(long.ahead):
                yield "rows", long.step * program.group_bytes(g.group)
        tables, hints = challenge.tables, challenge.hints
        shape = part_shape(program, need, size, cell.b - cell.a, tables=tables, hints=hints)
        yield "part", shape.largest


def frame_limits(claim: Claim, challenge: Challenge) -> list[int]:
    """Return the most bytes of each frame before the closing one."""
    head = OpeningHead.largest(len(claim.statement.program.committed))
    proof = () if challenge.proof is None else (MAX_OPENING_PART,)  # who has the public key knows it better
    return [head, *(limit for _, limit in frames_between(claim, challenge)), *proof]
