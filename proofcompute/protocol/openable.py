"""Bound the bytes that a cell's frames take, before any frame is made or read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from proofcompute.commitments.hashing import DIGEST
from proofcompute.errors import Cell, InputError
from proofcompute.freivalds.product import set_count
from proofcompute.limits import MAX_CELL_OPENING, MAX_ITEMS, MAX_OPENING_PART
from proofcompute.program.plans import SegmentPlan, cached_per_plan
from proofcompute.program.program import Program
from proofcompute.program.types import Reads
from proofcompute.protocol.needs import Needs, TableRows, group_rows
from proofcompute.protocol.shapes import part_shape

__all__ = ["CellBytes", "most_bytes", "opening_bytes", "require_openable", "row_bytes"]

_PROOF: Final = 2 * 63 * (9 + 32)
"""Most bytes of a range proof."""
_ENDS: Final = 1024
"""Most bytes of the first and the last frame, besides the roots."""
_FRAME: Final = 256
"""Most bytes that a cell's frames take besides what is in them."""


class CellBytes(NamedTuple):
    """Most bytes that the frames of a cell take."""

    ahead: int
    """Most bytes of the pieces before the part."""
    part: int
    """Most bytes of the part."""
    items: int
    """Most elements of the part's arrays."""

    @property
    def total(self) -> int:
        """Most bytes of all frames together."""
        return self.ahead + self.part

    @property
    def fits(self) -> bool:
        """Whether the frames are within the limits."""
        fits = self.part <= MAX_OPENING_PART and self.total <= MAX_CELL_OPENING
        return fits and self.items <= MAX_ITEMS


def most_bytes(
    program: Program, segment: int, rows: int, end: int, total: int, *, tables: bool, hints: bool
) -> CellBytes:
    """Return the most bytes of a cell of ``rows`` rows that ends at row ``end`` or before.

    The bound holds for any table rows that the cell looks up and for traces of at most ``total`` rows.
    """
    plan = program.plans[segment]
    lookups = [weight for weight, _ in plan.tables]
    need = Needs(
        plan,
        tuple([group_rows(g, mode, end - rows, end, total) for g, mode in plan.groups]),
        tuple(
            TableRows(w, (0,) * min(program.weight[w].rows, rows * lookups.count(w))) for w in set(lookups)
        ),
        plan.sites,
    )
    shape = part_shape(program, need, total, rows, tables=tables, hints=hints)
    opened = sum([(b - a) * program.group_bytes(group) for group, a, b in need.groups])
    ahead = opened - sum([here.size for here in shape.groups])
    items, part = shape.most()
    return CellBytes(ahead, part + _PROOF * len(need.groups), items + 2 * 63 * len(need.groups))


def require_openable(
    program: Program, total: int, cells: Iterable[Cell], *, tables: bool, hints: bool
) -> int:
    """Return the most bytes that one of the cells takes, in a trace of ``total`` rows.

    Raises InputError if a cell may not have so many.
    """
    ends: dict[tuple[int, int], Cell] = {}
    for cell in cells:
        kind = cell.segment, cell.b - cell.a
        if kind not in ends or ends[kind].b < cell.b:
            ends[kind] = cell
    largest = 0
    for (segment, rows), cell in ends.items():
        most = most_bytes(program, segment, rows, cell.b, total, tables=tables, hints=hints)
        if not most.fits:
            raise InputError(
                f"{cell} may open {most.total} bytes, {most.part} of them in one frame of {most.items} "
                f"elements; a cell may have {MAX_CELL_OPENING}, a frame {MAX_OPENING_PART}, and {MAX_ITEMS} "
                "elements: ask for fewer rows"
            )
        largest = max(largest, most.total)
    return largest


def opening_bytes(program: Program, total: int, cells: Iterable[Cell], *, tables: bool, hints: bool) -> int:
    """Return the most bytes of an opening of the cells of a trace of ``total`` rows, before it is made."""
    known: dict[tuple[int, int, int], int] = {}
    size = _ENDS + (DIGEST + 2) * len(program.committed)
    for cell in cells:
        kind = cell.segment, cell.b - cell.a, cell.b
        if kind not in known:
            known[kind] = most_bytes(program, *kind, total, tables=tables, hints=hints).total + _FRAME
        size += known[kind]
    return size


def row_bytes(program: Program, segment: int) -> int:
    """Return the most bytes that a cell of one row opens, not counting prefixes and table rows."""
    plan = program.plans[segment]
    names = (*(n for n, mode in plan.reads if mode is Reads.SAME), *plan.writes)
    rows = sum([program.group_bytes(g) for g in {program.group_of[n] for n in names}])
    return rows + 4 * _values(plan)


@cached_per_plan
def _values(plan: SegmentPlan) -> int:
    """Return the integers in the sets of all products of a row."""
    return sum(site.rows * site.m * set_count(site.d, site.x_limbs, site.w_limbs) for site in plan.sites)
