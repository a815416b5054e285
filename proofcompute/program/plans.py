"""Define what follows from a program about each of its segments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeVar, cast

from proofcompute.freivalds.product import Site
from proofcompute.limits import MAX_CELL_MEMORY, MAX_CELL_ROWS
from proofcompute.program.types import Reads, Step

__all__ = ["SegmentPlan", "cached_per_plan"]


@dataclass(frozen=True, eq=False)
class SegmentPlan:
    """The facts that follow from a program about one of its segments."""

    index: int
    name: str
    reads: tuple[tuple[str, Reads], ...]
    """Committed tensors read from outside, or of this segment's own earlier rows; ALL wins over PREFIX,
    and PREFIX over SAME."""
    writes: tuple[str, ...]
    """Committed tensors produced."""
    emits: tuple[str, ...]
    """Public outputs produced."""
    groups: tuple[tuple[int, Reads], ...]
    """The committed groups that are read or written, in program order, and which of their rows."""
    sites: tuple[Site, ...]
    """Products, in execution order."""
    tables: tuple[tuple[str, str], ...]
    """(weight, public tensor of row indices) for each table lookup."""
    steps: tuple[Step, ...]
    """The steps of the interpreter, in order."""
    row_memory: int
    """Bytes that are alive at once for each row of a cell."""
    work: int
    """Elements that the operations make for each row, apart from products with weights."""
    attended: int
    """Multiplications for each row and each position that it attends to."""
    known: dict[Callable[..., Any], Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What functions found out about the plan (:func:`cached_per_plan`)."""

    @property
    def cell_rows(self) -> int:
        """The most rows of a cell."""
        return min(MAX_CELL_ROWS, MAX_CELL_MEMORY // max(1, self.row_memory))


_T = TypeVar("_T")


def cached_per_plan(f: Callable[[SegmentPlan], _T]) -> Callable[[SegmentPlan], _T]:
    """Decorate ``f`` so that it is called once for each plan. A result is kept as long as its plan."""

    @wraps(f)
    def found(plan: SegmentPlan) -> _T:
        if f not in plan.known:
            plan.known[f] = f(plan)
        return cast(_T, plan.known[f])

    return found
