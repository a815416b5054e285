"""How surely sampled audits find a lie: which cells it altered, the formula, and what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import U64, Array, Span
from proofcompute.attacks.case import case, single_cells
from proofcompute.attacks.target import Target
from proofcompute.binomial import proportion
from proofcompute.errors import Cell, ExecutionError, VerificationError
from proofcompute.program.interpreter import run
from proofcompute.program.source import ComputeProducts, Source
from proofcompute.protocol.cells import draw_cells
from proofcompute.protocol.statement import Statement, draws
from proofcompute.protocol.trace import split_rows
from proofcompute.testing.forging import Forgery
from proofcompute.testing.trial import detects

__all__ = ["RARE", "Rate", "altered_cells", "interval", "measured_rate"]

RARE: Final = 2.0**-15
"""The probability with which a right rate lies below an interval, and above it: four standard deviations."""


class _Committed:
    """Serves committed rows, as a RowReader, and notes the rows that the program does not give."""

    def __init__(self, forgery: Forgery) -> None:
        self.statement: Statement = forgery.statement
        program = self.statement.program
        self.arrays: dict[str, Array] = dict(self.statement.inputs)
        for number, group in enumerate(forgery.stored.groups):
            self.arrays |= split_rows(program, number, group)
        self.wrong: set[int] = set()

    def read(self, name: str, span: Span) -> Array:
        return self.arrays[name][span.a : span.b]

    def prefix(self, name: str, span: Span) -> Array:
        return self.arrays[name][: span.b]

    def whole(self, name: str, span: Span) -> Array:
        return self.arrays[name]

    def write(self, name: str, span: Span, rows: Array) -> None:
        if name in self.statement.program.group_of:
            self.compare(self.arrays[name][span.a : span.b], rows, span.a)

    def compare(self, claimed: Array, found: Array, first: int) -> None:
        """Note the rows that differ in any byte."""
        n = len(claimed)
        a, b = (np.ascontiguousarray(x).view(np.uint8).reshape(n, -1) for x in (claimed, found))
        self.wrong.update(first + int(i) for i in np.flatnonzero((a != b).any(axis=1)))

    def sampling(self, trace: int) -> Sampling:
        return self.statement.sampling

    def draws(self, span: Span) -> U64:
        return draws(self.statement.seed, span.a, span.b)


def altered_cells(t: Target, forgery: Forgery) -> frozenset[Cell]:
    """Return the cells of one row whose outputs are not what the model gives for their inputs.

    Each segment is run on the committed rows, by nobody's code but the interpreter's. What audits reject is
    compared with this, not derived from it.
    """
    rows = _Committed(forgery)
    statement = forgery.statement
    source = Source(rows, t.model, ComputeProducts(t.model.matrix))
    found: set[Cell] = set()
    for segment, first in enumerate(statement.first_rows):
        rows.wrong = set()
        try:
            _run(rows, source, t, segment, first, statement.rows)
        except ExecutionError:
            rows.wrong = set()
            for row in range(first, statement.rows):
                try:
                    _run(rows, source, t, segment, row, row + 1)
                except ExecutionError:
                    rows.wrong.add(row)
        found.update(Cell(segment, row, row + 1) for row in rows.wrong)
    return frozenset(found)


def _run(rows: _Committed, source: Source, t: Target, segment: int, a: int, b: int) -> None:
    out = run(t.model.program, segment, [Span(0, a, b)], source, t.kernels)
    for name in t.plans[segment].emits:
        rows.compare(rows.statement.emitted(name, segment, a, b), out[name], a)


# -- audits ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Rate:
    """How often challenges of a number of cells found a lie."""

    cells: int
    """Cells of a challenge."""
    altered: int
    """Cells of one row that the lie altered."""
    total: int
    """Cells of one row that there are."""
    draws: int
    """Challenges that were drawn, from seeds."""
    caught: int
    """Challenges that name an altered cell."""
    audits: int
    """Challenges that were opened and verified in full."""
    agreeing: int
    """Audits that were rejected (step 9) if they named an altered cell, and that passed if not."""

    @property
    def measured(self) -> float:
        """The share of challenges that name an altered cell."""
        return self.caught / self.draws

    @property
    def formula(self) -> float:
        """1 - C(N - m, c) / C(N, c)."""
        return detects(self.total, self.altered, self.cells)

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the measured rate."""
        return interval(self.caught, self.draws)

    @property
    def holds(self) -> bool:
        """Whether all audits agree, and the formula's rate is in the interval of the measured one."""
        low, high = self.interval
        return self.agreeing == self.audits and low - 1e-9 <= self.formula <= high + 1e-9


def interval(caught: int, draws: int) -> tuple[float, float]:
    """Return the interval of a probability of which ``caught`` of ``draws`` came out.

    It holds the probabilities under which neither as many nor as few are rarer than RARE (C. Clopper,
    E. Pearson, Biometrika 1934), so that it fits rates near 0 and 1 too.
    """
    return proportion(caught, draws, RARE)


def measured_rate(
    t: Target,
    forgery: Forgery,
    altered: frozenset[Cell],
    *,
    cells: int,
    draws: int,
    audits: int,
    seed: int,
) -> Rate:
    """Return how often challenges of ``cells`` cells find a lie that altered ``altered``.

    ``draws`` challenges are drawn, and the first ``audits`` of them are opened, with true products of the
    committed rows, and verified.
    """
    total = len(single_cells(forgery))
    count = min(cells, total)
    caught = agreeing = 0
    for i in range(max(draws, audits)):
        label = b"attack" + seed.to_bytes(8, "little", signed=True) + i.to_bytes(8, "little")
        named = draw_cells(forgery.claim, count, label)
        hit = not altered.isdisjoint(named)
        caught += hit and i < draws
        if i < audits:
            agreeing += _step(t, forgery, named) == (9 if hit else None)
    return Rate(count, len(altered), total, draws, caught, audits, agreeing)


def _step(t: Target, forgery: Forgery, cells: tuple[Cell, ...]) -> int | None:
    try:
        case(t, forgery, *cells, using=t.model).verify(t.kernels)
    except VerificationError as e:
        return e.step
    return None
