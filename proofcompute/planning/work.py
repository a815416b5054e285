"""Count what an audit takes of node and verifier, in quantities that a measurement turns into seconds.

What a cell takes grows with its rows, and with the end of its rows where it reads a prefix: both times as a
straight line does. So the expectation over the runs of a segment is that of one run of mean length at the
mean end, and over scattered cells, that of one row at the mean row.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import lru_cache
from typing import NamedTuple

from proofcompute.errors import Cell
from proofcompute.planning.trace import Trace
from proofcompute.program.program import Program
from proofcompute.protocol.cells import longest_cell
from proofcompute.protocol.openable import most_bytes
from proofcompute.protocol.samples import Sample, run_count
from proofcompute.verifier.policy import AuditPolicy
from proofcompute.verifier.pricing import cell_work

__all__ = ["Audit", "expected", "of_cells", "of_policy", "running", "whole"]


class Audit(NamedTuple):
    """What audits take, as counted."""

    audits: float = 0.0
    """Challenges."""
    cells: float = 0.0
    """Cells that a challenge names."""
    rows: float = 0.0
    """Most bytes of opened rows, prefixes and tables, with their proofs."""
    hints: float = 0.0
    """Most bytes of hints."""
    products: float = 0.0
    """Multiplications of the products that are opened."""
    checks: float = 0.0
    """Checking their hints, in the same unit (:class:`proofcompute.verifier.pricing.Work`)."""
    besides: float = 0.0
    """All other operations of the cells, in the same unit."""

    def plus(self, other: Audit, times: float = 1.0) -> Audit:
        """Return the sum with ``times`` of another one."""
        return Audit(*(a + times * b for a, b in zip(self, other, strict=True)))


def of_cells(trace: Trace, cells: Iterable[Cell]) -> Audit:
    """Return what one challenge of these cells takes."""
    found = Audit(audits=1.0)
    known: dict[tuple[Hashable, ...], Audit] = {}
    for cell in cells:  # a full audit names like cells of many like layers
        key = (*_likeness(trace.program, cell.segment), cell.b - cell.a, cell.b)
        if key not in known:
            known[key] = _cell(trace, cell)
        found = found.plus(known[key])
    return found


def _cell(trace: Trace, cell: Cell) -> Audit:
    program, rows, n = trace.program, trace.lengths.rows, cell.b - cell.a
    with_hints, without = (
        most_bytes(program, cell.segment, n, cell.b, rows, tables=True, hints=hints).total
        for hints in (True, False)
    )
    work = cell_work(program, cell, rows)
    return Audit(0.0, 1.0, without, with_hints - without, work.products, work.hints, work.besides)


def expected(trace: Trace, sample: Sample) -> Audit:
    """Return what one challenge takes on average that draws a sample."""
    found, segments = Audit(audits=1.0), trace.segments
    firsts, total = trace.statement.first_rows, sum(segments)
    known: dict[tuple[Hashable, ...], Audit] = {}

    def at(segment: int, rows: int, end: int) -> Audit:
        key = (*_likeness(trace.program, segment), rows, end)
        if key not in known:
            known[key] = _pieces(trace, segment, rows, end)
        return known[key]

    for s, n in enumerate(segments):
        if sample.runs:
            count = run_count(n, sample.rows)
            length = -(-n // count)
            end = firsts[s] + max(length, -(-n * (count + 1) // (2 * count)))
            found = found.plus(at(s, length, end), min(sample.runs, len(segments)) / len(segments))
        if sample.cells:
            middle = firsts[s] + (n + 1) // 2
            found = found.plus(at(s, 1, middle), min(sample.cells, total) * n / total)
    return found


def _pieces(trace: Trace, segment: int, rows: int, end: int) -> Audit:
    """Return what a run takes, which is cut into cells where it is too long for one."""
    count = run_count(rows, longest_cell(trace.program, segment, trace.lengths.rows))
    found = Audit()
    for i in range(count):
        a, b = end - rows + i * rows // count, end - rows + (i + 1) * rows // count
        found = found.plus(_cell(trace, Cell(segment, a, b)))
    return found


@lru_cache(maxsize=1 << 13)
def _likeness(program: Program, segment: int) -> tuple[Hashable, ...]:
    """Return what two segments have in common if their cells take the same."""
    plan = program.plans[segment]
    groups = tuple((program.group_bytes(g), mode) for g, mode in plan.groups)
    sites = tuple((s.rows, s.m, s.d, s.x_limbs, s.w_limbs) for s in plan.sites)
    tables = tuple((program.weight[w].row_bytes, program.weight[w].rows) for w, _ in plan.tables)
    writes = tuple(program.group_bytes(g) for g in {program.group_of[name] for name in plan.writes})
    return groups, sites, tables, writes, plan.work, plan.attended, plan.cell_rows


@lru_cache(maxsize=64)
def whole(trace: Trace) -> Audit:
    """Return what a full audit takes. Raises LimitError if a challenge cannot name all cells."""
    return of_cells(trace, trace.full)


def of_policy(trace: Trace, policy: AuditPolicy) -> Audit:
    """Return what a policy takes of each answer on average; LimitError as :func:`whole`."""
    found = Audit()
    if policy.whole:
        found = found.plus(whole(trace), policy.whole)
    if policy.sample is not None:
        found = found.plus(expected(trace, policy.sample), policy.sampled)
    return found


@lru_cache(maxsize=64)
def running(trace: Trace) -> float:
    """Return what running the request takes, in the unit of :attr:`Audit.products`."""
    rows = trace.lengths.rows
    pieces = (cell_work(trace.program, cell, rows) for cell in trace.full)
    return float(sum(w.products + w.besides + w.committing for w in pieces))
