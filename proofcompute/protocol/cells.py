"""Choose the cells of a challenge: all of them, some drawn at random, or those that a receipt's hash gives.

Cells are drawn from a claim, never from a receipt alone, because program, request and answer determine which
cells exist.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from proofcompute.commitments.hashing import Xof
from proofcompute.errors import Cell, InputError, LimitError
from proofcompute.limits import MAX_CELLS, MIB
from proofcompute.program.program import Program
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge
from proofcompute.protocol.openable import most_bytes, row_bytes
from proofcompute.protocol.statement import Statement

__all__ = ["all_cells", "count_cells", "covering", "distinct", "draw_cells", "public_challenge"]

_PIECE = 32 * MIB
"""Most bytes that a cell of :func:`all_cells` opens, not counting what reads many rows, and table rows.

One row may take more.
"""


def count_cells(claim: Claim) -> int:
    """Return the number of single-row cells of a claim's trace."""
    return claim.statement.cells


def all_cells(claim: Claim) -> tuple[Cell, ...]:
    """Return cells of many rows that cover the whole trace.

    Longer cells are checked faster and open fewer of the prefixes that attention reads. They are as long as
    MAX_CELL_ROWS and the size of an opening's parts allow. Raises LimitError if there are more of them than
    a challenge may name.
    """
    return covering(claim.statement)


def covering(statement: Statement) -> tuple[Cell, ...]:
    """Return the cells of :func:`all_cells`; they depend on the program and the numbers of rows alone."""
    firsts = statement.first_rows
    steps = [_longest(statement.program, segment, statement.rows) for segment in range(len(firsts))]
    pieces = list(zip(range(len(firsts)), firsts, steps, strict=True))
    count = sum(-(-(statement.rows - first) // step) for _, first, step in pieces)
    if count > MAX_CELLS:  # nothing is listed before this
        raise LimitError(f"a full audit of this receipt has {count} cells, more than {MAX_CELLS}")
    return tuple(
        Cell(segment, a, min(a + step, statement.rows))
        for segment, first, step in pieces
        for a in range(first, statement.rows, step)
    )


def _longest(program: Program, segment: int, rows: int) -> int:
    """Return the most rows of a cell of one segment, in a trace of ``rows`` rows."""
    size = max(1, row_bytes(program, segment))  # a row may open nothing
    step = max(1, min(program.plans[segment].cell_rows, _PIECE // size))
    while step > 1 and not _fits(program, segment, min(step, rows), rows):
        step //= 2  # a prefix, or all rows, may use up most of the limit
    return step


def _fits(program: Program, segment: int, rows: int, total: int) -> bool:
    return most_bytes(program, segment, rows, total, total, tables=True, hints=True).fits


def draw_cells(claim: Claim, count: int, seed: bytes | None = None) -> tuple[Cell, ...]:
    """Draw ``count`` distinct single-row cells, uniform over all cells; all of them if there are no more.

    The number of cells depends on the node's answer, so asking for more is not the caller's mistake. Raises
    InputError if ``count`` is less than 1, or more than MAX_CELLS cells would be drawn.

    The randomness is the operating system's. ``seed`` is for tests and for derivation by hashing: an audit
    proves nothing if its seed is known before the receipt.
    """
    total = claim.statement.cells
    if (
        type(count) is not int or not 1 <= count or min(count, total) > MAX_CELLS
    ):  # nothing is listed before this
        raise InputError(f"{count} cells cannot be drawn: ask for 1 to {MAX_CELLS}")
    if count >= total:
        return _cells_at(claim.statement, range(total))
    fresh = secrets.token_bytes(32) if seed is None else seed
    xof = Xof("cells", fresh, claim.receipt.signed_digest)
    return _cells_at(claim.statement, distinct(xof, total, count))


def public_challenge(claim: Claim, count: int) -> Challenge:
    """Return the challenge of a public proof: ``count`` cells drawn by hashing the unsigned receipt.

    A prover can try receipt after receipt until the cells suit it (docs/spec/verification.md#public-proofs):
    hiding an altered share f of cells from c of them costs about (1 - f)^-c attempts. Raises the errors of
    :func:`draw_cells`.
    """
    cells = draw_cells(claim, count, b"public")
    return Challenge(claim.receipt.digest, cells, hints=True, tables=False)


def distinct(xof: Xof, total: int, count: int) -> Sequence[int]:
    """Return ``count`` distinct numbers below ``total``, ascending, with every choice equally likely.

    This is Robert Floyd's sampling. Each draw rejects words until it is exactly uniform.
    """
    chosen: set[int] = set()
    for top in range(total - count, total):
        pick = _below(xof, top + 1)
        chosen.add(top if pick in chosen else pick)
    return sorted(chosen)


def _below(xof: Xof, n: int) -> int:
    limit = (1 << 64) - (1 << 64) % n
    while True:
        word = int.from_bytes(xof.read(8), "little")
        if word < limit:
            return word % n


def _cells_at(statement: Statement, indices: Sequence[int]) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    segment, start = 0, 0
    firsts = statement.first_rows
    for index in indices:
        while index - start >= statement.rows - firsts[segment]:
            start += statement.rows - firsts[segment]
            segment += 1
        row = firsts[segment] + index - start
        cells.append(Cell(segment, row, row + 1))
    return tuple(cells)
