"""How often sampled audits catch a cheat, against the formula of :class:`proofcompute.verifier.Verified`.

The altered cells of a forgery are found once, cell by cell; then 1,000 challenges are drawn from fixed seeds
and count as caught if they name one of them. Whether naming one is what makes an audit fail is checked by
whole audits of the first 50 challenges. A measured rate may be 4 standard deviations from the formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import pytest

from adversary.cheats import CHEATS
from adversary.setting import BLOCK_0, bad_cells, forge, honest, model, target
from proofcompute.arrays import Array
from proofcompute.attacks.case import single_cells, step_of
from proofcompute.attacks.taken_apart import opened
from proofcompute.attacks.values import edit_rows
from proofcompute.errors import Cell
from proofcompute.models.model import Model
from proofcompute.protocol.cells import draw_cells
from proofcompute.testing.forging import Forgery
from proofcompute.verifier import Verified

TRIALS = 1000
AUDITS = 100


def some_rows() -> Forgery:
    """x.1 is altered in five rows: one cell in eleven."""
    edits = [edit_rows("x.1", row) for row in (2, 5, 8, 11, 14)]

    def edit(name: str, first: int, rows: Array) -> Array:
        for one in edits:
            rows = one(name, first, rows)
        return rows

    return forge(write_as=edit)


def all_but_two() -> Forgery:
    """Other blocks, altered embeddings from row 2 on, and every answer token replaced: 55 of 57 cells."""
    m, other = model(), model(1)
    weights = {n: (other if n.startswith("block") else m).weights[n] for n in m.weights}

    def edit(name: str, first: int, rows: Array) -> Array:
        return edit_rows("x.0", first)(name, first, rows) if first >= 2 else rows

    return forge(runs=Model(m.card, weights), write_as=edit, choose=lambda n, token: (token + 1) % 256)


FORGERIES: dict[str, tuple[Callable[[], Forgery], int]] = {
    "one cell": (CHEATS["last answer token edited"].build, 1),
    "a few cells": (some_rows, 5),
    "a layer": (CHEATS["one layer skipped"].build, 17),
    "nearly all": (all_but_two, 55),
}


@cache
def built(name: str) -> tuple[Forgery, frozenset[Cell]]:
    forgery = FORGERIES[name][0]()
    return forgery, frozenset(bad_cells(forgery, model()))


def formula(cells: int, total: int) -> Verified:
    """The evidence of an audit of so many cells."""
    return Verified(cells, total, 17, 6, "length", bytes(32), 62.0, 0)


def drawn(forgery: Forgery, count: int, trial: int) -> tuple[Cell, ...]:
    return draw_cells(forgery.claim, count, b"catch rate" + trial.to_bytes(22, "little"))


@pytest.mark.parametrize("name", FORGERIES)
def test_the_forgery_alters_as_many_cells_as_it_says(name: str) -> None:
    assert len(built(name)[1]) == FORGERIES[name][1]


@pytest.mark.parametrize("count", [1, 2, 5, 20])
@pytest.mark.parametrize("name", FORGERIES)
def test_the_measured_catch_rate_is_that_of_the_formula(name: str, count: int) -> None:
    forgery, bad = built(name)
    total = len(single_cells(forgery))
    caught = sum(not bad.isdisjoint(drawn(forgery, count, t)) for t in range(TRIALS))
    evidence = formula(count, total)
    expected = evidence.detects_share(len(bad) / total)
    if len(bad) == 1:
        assert expected == pytest.approx(evidence.detects_one)
    deviation = (TRIALS * expected * (1 - expected)) ** 0.5
    assert abs(caught - TRIALS * expected) <= 4 * deviation


@pytest.mark.parametrize(("name", "count"), [("one cell", 10), ("a few cells", 5), ("nearly all", 1)])
def test_an_audit_fails_exactly_if_it_names_an_altered_cell(name: str, count: int) -> None:
    forgery, bad = built(name)
    cells = single_cells(forgery)
    opening = opened(forgery, forgery.challenge(*cells), model())
    parts = dict(zip(cells, opening.parts, strict=True))
    outcomes = set()
    for trial in range(AUDITS):
        named = drawn(forgery, count, trial)
        step = step_of(target(), forgery, opening.head, {c: parts[c] for c in named})
        assert step == (None if bad.isdisjoint(named) else 9)
        outcomes.add(step)
    assert 9 in outcomes
    assert None in outcomes


def test_only_a_full_audit_always_catches_one_cell() -> None:
    forgery, bad = built("one cell")
    cells = single_cells(forgery)
    opening = opened(forgery, forgery.challenge(*cells), model())
    parts = dict(zip(cells, opening.parts, strict=True))
    assert step_of(target(), forgery, opening.head, parts) == 9
    assert step_of(target(), forgery, opening.head, {c: p for c, p in parts.items() if c not in bad}) is None
    total = len(cells)
    assert formula(total, total).detects_one == 1
    assert formula(total - 1, total).detects_one < 1
    assert formula(total - 1, total).detects_share(2 / total) == 1


def test_uniform_cells_are_uniform() -> None:
    """Each of the 57 cells is drawn about as often as any other: 4 standard deviations."""
    forgery = honest()
    cells = single_cells(forgery)
    times = dict.fromkeys(cells, 0)
    for trial in range(3 * TRIALS):
        named = drawn(forgery, 3, trial)
        assert len(set(named)) == 3
        for cell in named:
            times[cell] += 1
    p = 3 / len(cells)
    deviation = (3 * TRIALS * p * (1 - p)) ** 0.5
    assert all(abs(n - 3 * TRIALS * p) < 4 * deviation for n in times.values())


def test_where_an_edit_is_placed_does_not_matter() -> None:
    """One altered cell is caught with probability c / N in the first row as in the last."""
    for row in (0, 8, 16):
        forgery = forge(write_as=edit_rows("x.1", row))
        assert set(bad_cells(forgery)) == {Cell(BLOCK_0, row, row + 1)}
        caught = sum(Cell(BLOCK_0, row, row + 1) in drawn(forgery, 8, t) for t in range(TRIALS))
        p = formula(8, 57).detects_one
        assert abs(caught - TRIALS * p) < 4 * (TRIALS * p * (1 - p)) ** 0.5


def test_a_share_is_never_rounded_up_by_accident() -> None:
    """7 of 25 cells are 7 cells, though 7 / 25 * 25 is more than 7 in binary64."""
    for total in range(3, 60):
        for bad in range(1, total + 1):
            expected = 1 - math.comb(total - bad, 3) / math.comb(total, 3)
            assert formula(3, total).detects_share(bad / total) == pytest.approx(expected)
