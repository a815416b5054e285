"""A node that lies about a run of rows: every lie is rejected at its step, and found as often as is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import proofcompute as pc
from adversary.mutants import never
from adversary.mutation import apply
from adversary.setting import (
    ANSWER,
    BLOCK_0,
    BLOCK_1,
    HEAD,
    NODE,
    PROMPT,
    bad_cells,
    case,
    forge,
    honest,
    key,
    model,
)
from proofcompute.attacks.taken_apart import Opening
from proofcompute.attacks.values import edit_rows
from proofcompute.errors import Cell
from proofcompute.protocol.cells import draw_cells, segment_rows
from proofcompute.verifier import chances

RUNS = (Cell(BLOCK_0, 4, 9), Cell(BLOCK_1, 8, 13))
TRIALS = 1000


def shortened(opening: Opening) -> Opening:
    """The rows of the first run that are opened end one row early."""
    counts = (5, 9, 5)  # of the input, of keys and values from the beginning, of the output
    groups = [
        replace(g, rows=bytes(g.rows)[: len(g.rows) // n * (n - 1)])
        for g, n in zip(opening.parts[0].groups, counts, strict=True)
    ]
    return opening.with_part(0, groups=tuple(groups))


def prefix_of_another(opening: Opening) -> Opening:
    """The first run is opened with the rows of the other one's segment."""
    first, second = (part.groups for part in opening.parts)
    taken = [replace(b, rows=bytes(b.rows)[: len(a.rows)]) for a, b in zip(first, second, strict=True)]
    return opening.with_part(0, groups=tuple(taken))


def hints_of_another(opening: Opening) -> Opening:
    return opening.with_part(0, hints=opening.parts[1].hints)


def swapped(opening: Opening) -> Opening:
    return replace(opening, parts=opening.parts[::-1])


def repeated(opening: Opening) -> Opening:
    """The run that is right is opened twice, and the other one never."""
    return replace(opening, parts=(opening.parts[0], opening.parts[0]))


LIES: dict[str, tuple[Callable[[Opening], Opening], set[int]]] = {
    "rows of a run left out": (shortened, {1}),
    "prefix of another run": (prefix_of_another, {1, 7}),
    "hints of another run": (hints_of_another, {1, 8}),
    "runs swapped": (swapped, {1, 7}),
    "one run twice": (repeated, {1, 7}),
    "a run left out": (lambda o: replace(o, parts=o.parts[:1]), {10}),
    "a run too many": (lambda o: replace(o, parts=(*o.parts, o.parts[1])), {1, 10}),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_about_a_run_is_rejected(name: str) -> None:
    lie, steps = LIES[name]
    assert case(honest(), *RUNS).verify().cells == 10
    error = case(honest(), *RUNS, edit=lie).rejection()
    assert error.step in steps
    assert error.attributable == (name != "a run too many")  # nobody reads what was not asked for


@pytest.mark.parametrize(
    "cells",
    [
        (RUNS[1], RUNS[0]),
        (RUNS[0], RUNS[0]),
        (RUNS[0], Cell(BLOCK_0, 8, 12)),
        (Cell(BLOCK_0, 9, 4),),
        (Cell(BLOCK_0, 4, 4),),
        (Cell(BLOCK_0, -1, 4),),
        (Cell(BLOCK_0, 0, 513),),
        (),
    ],
    ids=[
        "not in order",
        "repeated",
        "overlapping",
        "reversed",
        "empty",
        "before the trace",
        "too long",
        "none",
    ],
)
def test_runs_that_no_challenge_names(cells: tuple[Cell, ...]) -> None:
    with pytest.raises(pc.InputError):
        pc.Challenge(bytes(32), cells)


@pytest.mark.parametrize("cell", [Cell(BLOCK_0, 4, 18), Cell(HEAD, 4, 14), Cell(HEAD + 1, 12, 14)], ids=str)
def test_runs_outside_the_trace_are_refused_by_both_sides(cell: Cell) -> None:
    forgery = honest()
    auditor = pc.Auditor(key())
    with pytest.raises(pc.FormatError):
        auditor.challenge(forgery.request, forgery.receipt.encode(), [cell])
    node = pc.Node(model(), NODE, device="numpy")
    answer = node.answer(forgery.request)
    receipt = pc.Receipt.decode(answer.receipt)
    with pytest.raises(pc.FormatError):
        node.open(forgery.request, answer.receipt, pc.Challenge(receipt.digest, (cell,)))


def test_without_the_order_one_run_could_stand_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """A challenge that names one run twice would count its rows twice."""
    with pytest.raises(pc.FormatError, match="overlap"):
        honest().challenge(RUNS[0], RUNS[0])
    apply(monkeypatch, [never("protocol.messages.challenge", "(cell.segment, cell.a) < last")])
    assert case(honest(), RUNS[0], RUNS[0]).verify().cells == 10


@pytest.mark.parametrize(
    ("rows", "sample"), [((3, 9), pc.Sample(2, 5)), ((12,), pc.Sample(1, 9, 4))], ids=str
)
def test_runs_find_altered_cells_as_often_as_is_said(rows: tuple[int, ...], sample: pc.Sample) -> None:
    """A draw is caught if it covers an altered cell; within 4 standard deviations of the formula."""
    edits = [edit_rows("x.1", row) for row in rows]

    def edit(name: str, first: int, data: object) -> object:
        for one in edits:
            data = one(name, first, data)  # type: ignore[arg-type]
        return data

    forgery = forge(write_as=edit)  # type: ignore[arg-type]
    bad = set(bad_cells(forgery))
    assert bad == {Cell(BLOCK_0, row, row + 1) for row in rows}
    lengths = segment_rows(forgery.statement)
    assert lengths == (len(PROMPT) + ANSWER - 1,) * 3 + (ANSWER,)
    caught = 0
    for trial in range(TRIALS):
        cells = draw_cells(forgery.claim, sample, b"runs" + trial.to_bytes(28, "little"))
        caught += any(c.segment == BLOCK_0 and c.a <= row < c.b for c in cells for row in rows)
    altered = [(rows[0], rows[-1] + 1) if s == BLOCK_0 else (0, 0) for s in range(len(lengths))]
    expected = chances.where(lengths, sample, altered)
    if len(rows) > 1:  # the rows between are honest: count what holds an altered one
        touched = [len({r * 4 // 17 for r in rows}) / 4 if s == BLOCK_0 else 0.0 for s in range(4)]
        expected = 1 - chances.runs_missed(touched, sample.runs)
    assert abs(caught - TRIALS * expected) < 4 * (TRIALS * expected * (1 - expected)) ** 0.5


def test_an_audit_of_runs_fails_exactly_if_one_covers_an_altered_cell() -> None:
    forgery = forge(write_as=edit_rows("x.1", 7))
    outcomes = set()
    for trial in range(12):
        cells = draw_cells(forgery.claim, pc.Sample(2, 9), b"audit" + trial.to_bytes(27, "little"))
        hit = any(c.segment == BLOCK_0 and c.a <= 7 < c.b for c in cells)
        attack = case(forgery, *cells)
        if hit:
            assert attack.rejection().step == 9
        else:
            assert attack.verify().cells == sum(c.b - c.a for c in cells)
        outcomes.add(hit)
    assert outcomes == {True, False}
