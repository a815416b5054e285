"""Openings that lack, repeat, reorder or add something, or answer something else."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from adversary.attacks import CELLS
from adversary.cheats import CHEATS
from adversary.setting import ROWS, case, forge, honest, key, model, request
from proofcompute.attacks.case import Case, single_cells
from proofcompute.attacks.taken_apart import opened
from proofcompute.encoding import wire
from proofcompute.errors import Cell, InputError
from proofcompute.protocol.needs import needs
from proofcompute.protocol.shapes import part_shape


def test_the_honest_opening_of_the_same_cells_passes() -> None:
    assert case(honest(), *CELLS).verify().cells == 9


def test_every_truncation_of_an_opening_is_rejected() -> None:
    good = case(honest(), *CELLS)
    ends = {*range(0, len(good.opening), 211), len(good.opening) - 1}
    assert {replace(good, opening=good.opening[:n]).rejection().step for n in ends} <= {1, 10}


def test_an_opening_of_fewer_cells_does_not_answer_a_challenge() -> None:
    """A cheat that opens every cell but its bad one is rejected like one that opens nothing."""
    forgery = CHEATS["first answer token edited"].build()
    asked = forgery.challenge(*single_cells(forgery))
    lucky = [c for c in asked.cells if c != Cell(3, 11, 12)]
    opening = opened(forgery, forgery.challenge(*lucky))
    named = replace(opening, head=replace(opening.head, challenge_digest=asked.digest))
    for answer in (opening, named):
        attack = Case(key(), forgery.request, forgery.receipt.encode(), asked, answer.encode())
        assert attack.rejection().step in (6, 7)


def test_a_part_is_never_larger_than_what_is_needed() -> None:
    """The limit on a frame follows from the cell, and honest parts of every cell stay below it."""
    for m, k in ((model(), key()), (model(), model())):
        forgery = forge(m)
        challenge = forgery.challenge(hints=k is not m)
        opening = opened(forgery, challenge)
        for cell, part in zip(challenge.cells, opening.parts, strict=True):
            need = needs(forgery.statement, cell)
            shape = part_shape(
                m.program,
                need,
                ROWS,
                cell.b - cell.a,
                tables=challenge.tables,
                hints=challenge.hints,
            )
            assert len(part.encode()) <= shape.largest <= 3 * len(part.encode()) + 1000


def test_a_reader_that_gives_single_bytes_changes_nothing() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size, 1) if size is not None and size > 0 else size)

    from proofcompute.verifier import verify

    good = case(honest(), *CELLS)
    assert (
        verify(
            good.holder,
            good.request,
            good.receipt,
            good.challenge,
            Slow(good.opening),
            kernels=honest().stored.kernels,
        ).cells
        == 9
    )


def test_a_challenge_for_another_kind_of_verifier_is_refused_before_anything() -> None:
    good = case(honest(), *CELLS)
    with pytest.raises(InputError):
        replace(good, holder=model()).verify()


def test_an_opening_of_another_run_is_rejected() -> None:
    """Two runs of one model with equal cells: neither opening serves the other receipt."""
    one, two = honest(), forge(asked=request(prompt="HELLO; WORLD"))
    other = case(two, *CELLS)
    good = case(one, *CELLS)
    assert replace(good, opening=other.opening).rejection().step == 6
    opening = opened(two, other.challenge)
    head = replace(opening.head, receipt_digest=one.receipt.digest, challenge_digest=good.challenge.digest)
    assert replace(good, opening=replace(opening, head=head).encode()).rejection().step == 7


def test_frames_are_byte_strings_and_nothing_else() -> None:
    good = case(honest(), *CELLS)
    for payload in (0, "text", [b"bytes"]):
        assert replace(good, opening=wire.encode(payload)).rejection().step == 1
