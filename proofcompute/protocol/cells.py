"""Choose the cells of a challenge: all of them, some drawn at random, or those that a receipt's hash gives.

Cells are drawn from a claim, never from a receipt alone, because program, request and answer determine which
cells exist (docs/spec/verification.md#drawing-cells).
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
from proofcompute.protocol.samples import Sample, run_count, run_span
from proofcompute.protocol.statement import Statement

__all__ = [
    "all_cells",
    "count_cells",
    "covering",
    "distinct",
    "draw_cells",
    "drawn_as",
    "drawn_from",
    "longest_cell",
    "public_challenge",
    "segment_rows",
]

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
    steps = [longest_cell(statement.program, segment, statement.rows) for segment in range(len(firsts))]
    pieces = list(zip(range(len(firsts)), firsts, steps, strict=True))
    count = sum(-(-(statement.rows - first) // step) for _, first, step in pieces)
    if count > MAX_CELLS:  # nothing is listed before this
        raise LimitError(f"a full audit of this receipt has {count} cells, more than {MAX_CELLS}")
    return tuple(
        Cell(segment, a, min(a + step, statement.rows))
        for segment, first, step in pieces
        for a in range(first, statement.rows, step)
    )


def longest_cell(program: Program, segment: int, rows: int) -> int:
    """Return the most rows of a cell of one segment, in a trace of ``rows`` rows."""
    size = max(1, row_bytes(program, segment))  # a row may open nothing
    step = max(1, min(program.plans[segment].cell_rows, _PIECE // size))
    while step > 1 and not _fits(program, segment, min(step, rows), rows):
        step //= 2  # a prefix, or all rows, may use up most of the limit
    return step


def _fits(program: Program, segment: int, rows: int, total: int) -> bool:
    return most_bytes(program, segment, rows, total, total, tables=True, hints=True).fits


def segment_rows(statement: Statement) -> tuple[int, ...]:
    """Return the number of rows of each segment of which cells exist."""
    return tuple(statement.rows - statement.first_rows[segment] for segment in statement.segments)


def draw_cells(claim: Claim, count: int | Sample, seed: bytes | None = None) -> tuple[Cell, ...]:
    """Draw cells of a claim.

    Args:
        claim: what the receipt claims.
        count: the number of distinct single-row cells, uniform over all cells; or runs, scattered cells or
            both. If the trace has fewer, all of them are taken.
        seed: for tests and for derivation by hashing: an audit proves nothing if its seed is known before
            the receipt. None: randomness of the operating system.

    The number of cells depends on the node's answer, so asking for more is not the caller's mistake. Raises
    InputError if ``count`` is less than 1, or more than MAX_CELLS cells would be drawn.
    """
    fresh = secrets.token_bytes(32) if seed is None else seed
    return drawn_from(claim.statement, claim.receipt.signed_digest, count, fresh)


def drawn_from(statement: Statement, digest: bytes, count: int | Sample, seed: bytes) -> tuple[Cell, ...]:
    """Return the cells that :func:`draw_cells` draws from a seed for a receipt of a signed digest."""
    if isinstance(count, Sample):
        return _draw_sample(statement, digest, count, seed)
    total = statement.cells
    if (
        type(count) is not int or not 1 <= count or min(count, total) > MAX_CELLS
    ):  # nothing is listed before this
        raise InputError(f"{count} cells cannot be drawn: ask for 1 to {MAX_CELLS}")
    if count >= total:
        return _cells_at(statement, range(total))
    return _cells_at(statement, distinct(Xof("cells", seed, digest), total, count))


def _draw_sample(statement: Statement, digest: bytes, sample: Sample, seed: bytes) -> tuple[Cell, ...]:
    """Draw runs and, independently of them, scattered cells; those that lie in a run are not named again."""
    runs = _draw_runs(statement, digest, sample, seed)
    steps = {run.segment: longest_cell(statement.program, run.segment, statement.rows) for run in runs}
    pieces = sum(-(-(run.b - run.a) // steps[run.segment]) for run in runs)
    if pieces + sample.cells > MAX_CELLS:  # nothing is listed before this
        raise InputError(f"{sample} are up to {pieces + sample.cells} cells; ask for at most {MAX_CELLS}")
    scattered = drawn_from(statement, digest, sample.cells, seed) if sample.cells else ()
    within = {run.segment: run for run in runs}
    outside = [c for c in scattered if c.segment not in within or not _covers(within[c.segment], c)]
    cut = (piece for run in runs for piece in _pieces(run, steps[run.segment]))
    return tuple(sorted([*cut, *outside]))


def _draw_runs(statement: Statement, digest: bytes, sample: Sample, seed: bytes) -> list[Cell]:
    """Draw distinct segments, and of each one of its runs, whole."""
    lengths, firsts = segment_rows(statement), statement.first_rows
    xof = Xof("runs", seed, digest)
    few = sample.runs < len(lengths)
    drawn: list[Cell] = []
    for number in distinct(xof, len(lengths), sample.runs) if few else range(len(lengths)):
        segment = statement.segments[number]
        count = run_count(lengths[number], sample.rows) if sample.runs else 0
        a, b = run_span(lengths[number], count, _below(xof, count))
        drawn.append(Cell(segment, firsts[segment] + a, firsts[segment] + b))
    return drawn


def _pieces(run: Cell, most: int) -> list[Cell]:
    """Cut a run into cells of about as many rows each, at most ``most``."""
    rows = run.b - run.a
    count = run_count(rows, most)
    spans = (run_span(rows, count, i) for i in range(count))
    return [Cell(run.segment, run.a + a, run.a + b) for a, b in spans]


def _covers(run: Cell, cell: Cell) -> bool:
    return run.a <= cell.a < run.b


def drawn_as(statement: Statement, cells: Sequence[Cell]) -> Sample:
    """Return the sample of which these cells are a draw, if they are one.

    A challenge does not say how its cells were drawn. Cells of several rows, joined where they touch, are
    taken for runs as long as the longest of them, and cells of one row for scattered ones. Where a segment's
    rows are so large that no cell has two of them, touching cells of one row are a run too.
    """
    single = {
        s: longest_cell(statement.program, s, statement.rows) == 1
        for s in {cell.segment for cell in cells if cell.b - cell.a == 1}
    }
    runs: list[Cell] = []
    scattered = 0
    for cell in cells:
        joins = bool(runs) and runs[-1].segment == cell.segment and runs[-1].b == cell.a
        if cell.b - cell.a == 1 and not single[cell.segment]:
            scattered += 1
        elif joins:
            runs[-1] = Cell(cell.segment, runs[-1].a, cell.b)
        else:
            runs.append(cell)
    return Sample(len(runs), max((run.b - run.a for run in runs), default=0), scattered)


def public_challenge(claim: Claim, count: int | Sample, seed: bytes = b"public") -> Challenge:
    """Return the challenge of a public proof: cells drawn by hashing the unsigned receipt.

    A prover can try receipt after receipt until the cells suit it (docs/spec/verification.md#grinding):
    hiding an altered share f of cells from c of them costs about (1 - f)^-c attempts. It cannot if ``seed``
    is that of a beacon (:class:`proofcompute.beacons.Beacon`). Raises the errors of :func:`draw_cells`.
    """
    cells = draw_cells(claim, count, seed)
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
