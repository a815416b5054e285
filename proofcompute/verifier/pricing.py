"""Price an audit before anything is run: bytes that are opened, and time beside that of running.

A verifier with a key checks hints, which are opened; one that holds the weights multiplies itself, and needs
none. Which is cheaper depends on the products: with n rows, d inputs and m outputs, multiplying takes n d m
steps, a hint n (d + m) of dearer ones. Wide layers favour the key by far; convolutions of few channels, whose
rows are many and short, favour the weights (docs/adr/0064-arrays-pictures-and-prices.md).

Bytes are the most that can be opened. Times are estimates for one CPU, in units of the time of running:
the constants below were fitted to measured audits, and meet most of them within a factor of two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from proofcompute.arithmetic.sampling import Sampling
from proofcompute.errors import Cell, LimitError
from proofcompute.freivalds.product import set_count
from proofcompute.program.plans import SegmentPlan
from proofcompute.program.program import Program
from proofcompute.program.types import Reads
from proofcompute.protocol.cells import covering
from proofcompute.protocol.openable import opening_bytes
from proofcompute.protocol.statement import Statement
from proofcompute.verifier.keymaking import key_size

__all__ = ["Price", "Prices", "SegmentPrices", "Work", "cell_work", "prices"]

_MOST: Final = 1 << 17
"""Cells of a full audit that are priced, and products in them."""
# in multiplications of int8 numbers in a product
_ROW: Final = 90
"""An element of the rows that a hint is checked against."""
_HINT: Final = 150
"""An element of a hint, unpacked and checked."""
_ELEMENT: Final = 10
"""An element that any other operation makes."""
_ATTENDED: Final = 4
"""A multiplication of attention."""
_HASHED: Final = 30
"""A byte that is hashed."""


class Work(NamedTuple):
    """What a cell takes, in multiplications of int8 numbers in a product, or as many as take as long."""

    products: int
    """Multiplying, for who runs the cell, opens hints of it, or checks it with the weights."""
    hints: int
    """Checking hints instead of multiplying."""
    besides: int
    """All other operations, whoever computes them."""
    committing: int
    """Hashing what the cell writes, for who runs it."""


@dataclass(frozen=True)
class Price:
    """What an audit costs."""

    nbytes: int
    """The most bytes that are opened."""
    time: float
    """About how long checking takes, 1 being the time of running what is checked."""


@dataclass(frozen=True)
class SegmentPrices:
    """What one cell of one segment costs: its last row."""

    name: str
    operations: int
    products: int
    """Products with weights for one row."""
    committed: int
    """Bytes of a row that are committed."""
    key: Price
    weights: Price


@dataclass(frozen=True)
class Prices:
    """What audits of a trace of some rows cost, with a key and with the weights."""

    rows: int
    segments: tuple[SegmentPrices, ...]
    key: Price
    """Every cell, by a verifier that holds a key."""
    weights: Price
    """Every cell, by a verifier that holds the weights."""
    key_bytes: int
    """What a key takes."""
    weight_bytes: int
    """What the weights take."""

    @property
    def cheaper(self) -> str | None:
        """What is better to hold: ``key`` or ``weights``; None if it makes no difference.

        With the weights less is opened in any case, so the key must take clearly less time.
        """
        if not any(s.products for s in self.segments):
            return None
        return "key" if self.key.time < 0.8 * self.weights.time else "weights"


def prices(program: Program, rows: int) -> Prices:
    """Price audits of a trace of ``rows`` rows; of a prompt, if the program is a language model.

    Raises LimitError if a full audit has so many cells and products that counting would take long; one row
    of any program has fewer.
    """
    cells = covering(Statement(program, rows, rows, {}, {}, Sampling(), b""))
    if sum(1 + len(program.plans[cell.segment].sites) for cell in cells) > _MOST:
        raise LimitError(
            f"an audit of {rows} rows has more than {_MOST} cells and products; price fewer rows"
        )
    each = tuple(_segment(program, plan, rows) for plan in program.plans)
    return Prices(
        rows,
        each,
        _price(program, rows, cells, hints=True),
        _price(program, rows, cells, hints=False),
        key_size(program),
        sum(spec.nbytes for spec in program.weights),
    )


def _segment(program: Program, plan: SegmentPlan, rows: int) -> SegmentPrices:
    cell = (Cell(plan.index, rows - 1, rows),)
    return SegmentPrices(
        plan.name,
        len(program.segments[plan.index].nodes),
        len(plan.sites),
        _committed(program, plan),
        _price(program, rows, cell, hints=True),
        _price(program, rows, cell, hints=False),
    )


def _price(program: Program, rows: int, cells: Iterable[Cell], *, hints: bool) -> Price:
    cells = tuple(cells)
    nbytes = opening_bytes(program, rows, cells, tables=hints, hints=hints)
    ran, checked = 0, _HASHED * nbytes
    for work in (cell_work(program, cell, rows) for cell in cells):
        ran += work.besides + work.products + work.committing
        checked += work.besides + (work.hints if hints else work.products)
    return Price(nbytes, checked / max(1, ran))


def cell_work(program: Program, cell: Cell, rows: int) -> Work:
    """Return what a cell of a trace of ``rows`` rows takes."""
    plan, count = program.plans[cell.segment], cell.b - cell.a
    positions = rows if any(mode is Reads.ALL for _, mode in plan.reads) else (cell.a + cell.b) // 2
    hints = (_ROW * s.d * s.x_limbs + _HINT * s.m * set_count(s.d, s.x_limbs, s.w_limbs) for s in plan.sites)
    return Work(
        products=count * sum(s.rows * s.m * s.d * s.x_limbs * s.w_limbs for s in plan.sites),
        hints=count * sum(s.rows * h for s, h in zip(plan.sites, hints, strict=True)),
        besides=count * (_ELEMENT * plan.work + _ATTENDED * plan.attended * positions),
        committing=count * _HASHED * _committed(program, plan),
    )


def _committed(program: Program, plan: SegmentPlan) -> int:
    return sum(program.group_bytes(g) for g in {program.group_of[name] for name in plan.writes})
