"""Compute how much memory a segment takes while it runs, from its plan (docs/spec/programs.md#limits).

A program from outside may have many operations and wide rows, and its memory must be known before anything is
computed. The count is of the bytes that are alive at the same time, for each row of
a cell: a tensor that a segment reads or makes, from its first use to its last (the interpreter drops it
then); a tensor that it commits or emits, to the end; and, while a product runs, the limbs of its rows and its
accumulators. Inputs of which many rows are read (PREFIX, ALL) are bounded by MAX_CELL_OPENING, which limits
what a cell opens. A backend's blocks of scratch are of fixed size, and fused operations may keep an input a
step longer or leave an intermediate out; neither is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proofcompute.freivalds.product import Site, set_count
from proofcompute.program.types import Reads, Spec, Step

__all__ = ["last_uses", "product_memory", "row_memory"]


def _names(step: Step) -> dict[str, None]:
    """Return the tensors that a step uses row by row and those that it makes; many rows do not count."""
    used = [n for n, mode in step.inputs if mode is Reads.SAME]
    return dict.fromkeys((*used, *(n for n, *_ in step.outputs)))


def last_uses(steps: Sequence[Step]) -> tuple[tuple[str, ...], ...]:
    """Return, for each step, the tensors that no later step uses row by row."""
    seen: set[str] = set()
    out: list[tuple[str, ...]] = []
    for step in reversed(steps):
        names = _names(step)
        out.append(tuple(n for n in names if n not in seen))
        seen.update(names)
    return tuple(reversed(out))


def row_memory(steps: Sequence[Step], scratch: Sequence[int], specs: Mapping[str, Spec]) -> int:
    """Return the most bytes that are alive at once for each row of a cell.

    ``scratch`` are the bytes that each step takes besides its inputs and outputs.
    """
    alive: set[str] = set()
    results: set[str] = set()
    now = most = 0
    for step, besides, last in zip(steps, scratch, last_uses(steps), strict=True):
        fresh = _names(step).keys() - alive
        alive |= fresh
        now += sum(specs[n].nbytes for n in fresh)
        most = max(most, now + besides)
        results.update(n for n, kept, _ in step.outputs if kept)
        gone = {n for n in last if n not in results}
        alive -= gone
        now -= sum(specs[n].nbytes for n in gone)
    return most


def product_memory(site: Site) -> int:
    """Return the bytes of a row's limbs and accumulators while a product runs."""
    sets = set_count(site.d, site.x_limbs, site.w_limbs)
    return site.rows * (site.x_limbs * site.d + 4 * sets * site.m)
