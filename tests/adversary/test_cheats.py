"""Every cheat (docs/spec/adversary.md), by a prover that recommits, against a full audit and cell by cell."""

from __future__ import annotations

from functools import cache

import pytest

from adversary.cheats import CHEATS
from adversary.setting import HEAD, ROWS, bad_cells, case, forge, honest, key, model, request, target
from proofcompute.arrays import Array
from proofcompute.attacks.case import single_cells
from proofcompute.attacks.rates import altered_cells
from proofcompute.attacks.values import edit_rows
from proofcompute.errors import Cell
from proofcompute.testing.forging import Forgery


@cache
def built(name: str) -> Forgery:
    return CHEATS[name].build()


def test_a_forger_that_does_not_lie_passes() -> None:
    honest = forge()
    assert case(honest).verify().complete
    assert case(honest, holder=model()).verify().complete


@pytest.mark.parametrize("name", CHEATS)
def test_exactly_the_cells_that_a_cheat_altered_are_rejected(name: str) -> None:
    cheat = CHEATS[name]
    found = bad_cells(built(name), using=model())
    assert [c for c in found if not cheat.where(c)] == []
    assert len(found) >= cheat.least
    assert set(found.values()) == {9}
    assert altered_cells(target(), built(name)) == set(found)


COMMITTED = [
    "x.0",
    "k.0",
    "k_scale.0",
    "v.0",
    "v_scale.0",
    "x.1",
    "k.1",
    "k_scale.1",
    "v.1",
    "v_scale.1",
    "x.2",
]


def test_the_committed_tensors_are_those_of_the_program() -> None:
    assert set(COMMITTED) == set(model().program.group_of)


@pytest.mark.parametrize(("tensor", "row"), [(t, (0, 11, ROWS - 1)[i % 3]) for i, t in enumerate(COMMITTED)])
def test_an_edit_moved_back_to_any_committed_row_leaves_one_wrong_cell(tensor: str, row: int) -> None:
    forgery = forge(write_as=edit_rows(tensor, row))
    program = model().program
    (segment,) = (p.index for p in program.plans if tensor in p.writes)
    wrong = Cell(segment, row, row + 1)
    assert case(forgery, *(c for c in single_cells(forgery) if c != wrong)).verify().cells == 56
    error = case(forgery, wrong).rejection()
    assert (error.step, error.cell) == (9, wrong)


def test_an_edited_head_input_gives_the_wanted_token_and_one_wrong_cell() -> None:
    """The head agrees with an answer that the model did not give: only the cell that made x.2 does not."""

    def turn(name: str, first: int, rows: Array) -> Array:
        return -64 * rows if name == "x.2" and first == 13 else rows

    forgery = forge(write_as=turn)
    assert forgery.receipt.outputs != honest().receipt.outputs
    assert bad_cells(forgery) == {Cell(HEAD - 1, 13, 14): 9}


def test_stop_rules_are_checked_on_every_receipt() -> None:
    cut = forge(stop=lambda answer: "length" if len(answer) == 3 else None)
    assert case(cut).rejection().step == 5
    said = forge(stop=lambda answer: "end" if len(answer) == 3 else None)
    assert case(said).rejection().step == 5
    longer = forge(stop=lambda answer: "length" if len(answer) == 7 else None)
    assert case(longer).rejection().step == 5


def test_an_answer_that_goes_on_after_its_end_is_rejected() -> None:
    second = int(forge().statement.outputs["next"][0])
    asked = request(stops=(bytes([second]).decode(),))
    assert case(forge(asked=asked)).verify().stop_reason == "stop"
    assert len(forge(asked=asked).statement.outputs["next"]) == 1
    assert case(forge(asked=asked, stop=lambda a: "length" if len(a) == 6 else None)).rejection().step == 5
    ended = forge(
        choose=lambda n, token: 257 if n == 1 else token, stop=lambda a: "length" if len(a) == 6 else None
    )
    assert case(ended).rejection().step == 5


def test_another_prompt_cannot_stand_for_the_one_that_was_asked() -> None:
    other = forge(asked=request(prompt="HELLO; WORLD"))
    asked = request()
    error = case(other).__class__(key(), asked, other.receipt.encode(), other.challenge(), b"").rejection()
    assert error.step == 4
