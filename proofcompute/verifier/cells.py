"""Read and check the frames of an opening: its head, then cell by cell (steps 1 and 6 to 10)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Span
from proofcompute.errors import (
    Cell,
    DeviceError,
    ExecutionError,
    FormatError,
    InputError,
    LimitError,
    VerificationError,
)
from proofcompute.program.interpreter import run
from proofcompute.program.source import Source
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.frames import Frames
from proofcompute.protocol.messages import Challenge, OpeningHead, Part, PartShape
from proofcompute.protocol.needs import GroupRows, Needs, needs
from proofcompute.protocol.pieces import cut
from proofcompute.protocol.shapes import part_shape
from proofcompute.protocol.trace import group_seal, trace_root
from proofcompute.verifier.holders import Holder
from proofcompute.verifier.longrows import LongRows
from proofcompute.verifier.sources import open_groups

__all__ = ["Opened", "check_cell", "check_head", "opened_cells"]


def check_head(claim: Claim, challenge: Challenge, frames: Frames) -> tuple[bytes, ...]:
    """Check the opening's first frame (steps 1, 6 and 7) and return the groups' roots.

    Raises VerificationError unless it answers this challenge and its roots hash to the trace root.
    """
    program, suite, rows = claim.statement.program, claim.receipt.suite, claim.statement.rows
    data = frames.piece(OpeningHead.largest(len(program.committed)))
    if data is None:
        raise VerificationError(10, "the opening is empty")
    try:
        head = OpeningHead.decode(data, len(program.committed))
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e)) from e
    if head.receipt_digest != claim.receipt.digest or head.challenge_digest != challenge.digest:
        raise VerificationError(6, "the opening answers another challenge")
    seals = [group_seal(program, suite, i, rows, root) for i, root in enumerate(head.roots)]
    if trace_root(suite, seals) != claim.receipt.trace_root:
        raise VerificationError(7, "the opened roots do not hash to the trace root")
    return head.roots


@dataclass(frozen=True)
class Opened:
    """What the opening holds for one cell."""

    cell: Cell
    need: Needs
    shape: PartShape
    ahead: Mapping[int, LongRows]
    """Rows that came in frames of their own, by group; the part holds the remaining rows."""
    frame: memoryview | VerificationError | None
    """The encoded part; None if it is missing; or the error to raise once the cells before are checked."""


def opened_cells(claim: Claim, challenge: Challenge, frames: Frames, kernels: Kernels) -> Iterator[Opened]:
    """Yield what the opening holds for each cell, up to the first cell whose frames cannot be read."""
    tables, hints = challenge.tables, challenge.hints
    for cell in challenge.cells:
        need = needs(claim.statement, cell)
        program, size, rows = claim.statement.program, claim.statement.rows, cell.b - cell.a
        shape = part_shape(program, need, size, rows, tables=tables, hints=hints)
        frame: memoryview | VerificationError | None
        ahead: dict[int, LongRows] = {}
        try:
            whole = all(_ahead(claim, g, ahead, frames, kernels) for g in need.groups)
            frame = frames.part(shape.largest) if whole else None
        except VerificationError as e:
            frame = e
        yield Opened(cell, need, shape, ahead, frame)
        if isinstance(frame, VerificationError):
            return


def _ahead(
    claim: Claim, rows: GroupRows, ahead: dict[int, LongRows], frames: Frames, kernels: Kernels
) -> bool:
    """Put the rows of one group that precede the part into ``ahead``; return False if a frame is missing.

    Raises VerificationError (step 1) for a frame that does not have exactly the expected size.
    """
    program, long = claim.statement.program, cut(claim.statement.program, rows)
    size = long.step * program.group_bytes(rows.group)
    for _ in range(long.ahead):
        piece = frames.piece(size)
        if piece is None:
            return False
        if len(piece) != size:
            raise VerificationError(1, f"{len(piece)} bytes of rows in a frame, not {size}")
        if rows.group not in ahead:
            ahead[rows.group] = LongRows(program, claim.receipt.suite, rows, kernels)
        ahead[rows.group].add(piece)
    return True


def _part(opened: Opened) -> Part:
    """Decode one cell's part (step 1).

    Raises VerificationError unless it holds exactly what the cell needs, in canonical form.
    """
    frame, cell = opened.frame, opened.cell
    if frame is None:
        raise VerificationError(10, "the opening lacks this cell", cell=cell)
    if isinstance(frame, VerificationError):
        raise frame
    try:
        return Part.decode(frame, opened.shape)
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e), cell=cell) from e


def check_cell(
    holder: Holder,
    claim: Claim,
    roots: tuple[bytes, ...],
    kernels: Kernels,
    opened: Opened,
) -> Cell:
    """Check one cell (steps 1 and 7 to 10) and return it.

    Raises VerificationError if a step fails, and DeviceError if this backend has no room for a cell of this
    size, which says nothing about the node.
    """
    part = _part(opened)
    program, suite, cell, need = holder.card.program, claim.receipt.suite, opened.cell, opened.need
    try:
        rows = open_groups(  # 7
            claim.statement, suite, need, part, opened.ahead, roots, cell, kernels
        )
        weights, products = holder.sources(need, part, cell, kernels)  # 7
        span = Span(0, cell.a, cell.b)
        run(program, cell.segment, [span], Source(rows, weights, products), kernels)  # 8, 9
    except FormatError as e:
        raise VerificationError(7, str(e), cell=cell) from e
    except LimitError as e:  # all sizes follow from program and cell, not from what was opened
        raise DeviceError(f"{cell} cannot be checked on this device: {e}") from e
    except (ExecutionError, InputError) as e:  # an operation may also refuse what the node opened
        raise VerificationError(8, f"the arithmetic has no result: {e}", cell=cell) from e
    if products.made != len(need.sites):
        raise VerificationError(10, "a product was not checked", cell=cell)
    if rows.compared != {*need.plan.writes, *need.plan.emits}:
        raise VerificationError(10, "an output of the cell was not compared", cell=cell)
    return cell
