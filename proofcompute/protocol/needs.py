"""List what a cell needs to be checked (docs/spec/programs.md#needs)."""

from __future__ import annotations

from typing import NamedTuple

from proofcompute.errors import Cell
from proofcompute.freivalds.product import Site
from proofcompute.program.plans import SegmentPlan
from proofcompute.program.types import Reads
from proofcompute.protocol.statement import Statement

__all__ = ["GroupRows", "Needs", "TableRows", "group_rows", "needs"]


class GroupRows(NamedTuple):
    """Rows of one committed group that must be opened."""

    group: int
    a: int
    b: int


class TableRows(NamedTuple):
    """Rows of one weight matrix that must be opened, ascending and distinct."""

    weight: str
    ids: tuple[int, ...]


class Needs(NamedTuple):
    """Everything that an opening of one cell holds, in this order."""

    plan: SegmentPlan
    groups: tuple[GroupRows, ...]
    tables: tuple[TableRows, ...]
    sites: tuple[Site, ...]


def group_rows(group: int, mode: Reads, a: int, b: int, rows: int) -> GroupRows:
    """Return the rows of a group that a cell of rows a..b opens, in a trace of ``rows`` rows."""
    return GroupRows(group, a if mode is Reads.SAME else 0, rows if mode is Reads.ALL else b)


def needs(statement: Statement, cell: Cell) -> Needs:
    """Return what must be opened to check ``cell``: committed rows, table rows and products.

    The prover opens exactly this, and the verifier loops over exactly this. The groups are those that the
    cell reads (rows a..b, or 0..b where an operation reads a prefix, or all rows) or writes (rows a..b), in
    program order.
    """
    plan = statement.program.plans[cell.segment]
    tables: dict[str, set[int]] = {}
    for weight, tensor in plan.tables:
        tables.setdefault(weight, set()).update(int(i) for i in statement.inputs[tensor][cell.a : cell.b])
    return Needs(
        plan,
        tuple([group_rows(group, mode, cell.a, cell.b, statement.rows) for group, mode in plan.groups]),
        tuple(TableRows(w, tuple(sorted(ids))) for w, ids in tables.items()),
        plan.sites,
    )
