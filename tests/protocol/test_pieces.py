"""The pieces of a full audit cover every cell once, and none opens more than it should."""

from __future__ import annotations

from functools import cache

import pytest

import synthetic
from proofcompute.limits import MAX_CELL_ROWS, MIB
from proofcompute.models.builder import ProgramBuilder
from proofcompute.protocol import cells as cells_module
from proofcompute.protocol import openable
from proofcompute.protocol.cells import all_cells
from proofcompute.protocol.openable import most_bytes, require_openable, row_bytes
from proofcompute.testing.models import random_network
from proofcompute.testing.requests import sample_request
from proofcompute.testing.subject import Run, Subject

ROWS = 600


@cache
def subject() -> Subject:
    return Subject(random_network([48, 64, 80, 32]), synthetic.KERNELS)


@cache
def run() -> Run:
    return subject().finish(sample_request(subject().model, ROWS))


@pytest.mark.parametrize("largest", [1, 10_000, 100_000, 32 * MIB])
def test_pieces_cover_every_cell_once(largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells_module, "_PIECE", largest)
    program = subject().model.program
    cells = all_cells(run().claim)
    rows = [(c.segment, row) for c in cells for row in range(c.a, c.b)]
    assert rows == [(s, row) for s in range(len(program.segments)) for row in range(ROWS)]
    for c in cells:
        size = row_bytes(program, c.segment)
        assert c.b - c.a == 1 or (c.b - c.a) * size <= largest
        longest = max(1, min(MAX_CELL_ROWS, largest // size))
        assert c.b == ROWS or c.b - c.a == longest


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_a_piece_opens_about_what_was_reckoned(rows: int) -> None:
    """These segments read no prefix and no table: the reckoning is all but proofs and heads."""
    subject_, program = subject(), subject().model.program
    for segment in range(len(program.segments)):
        cell = next(c for c in all_cells(run().claim) if c.segment == segment)
        audit = subject_.open(run(), (cell._replace(b=rows),))
        reckoned = rows * row_bytes(program, segment)
        assert len(audit.opening) < reckoned + 4096
        # hints take the bits that their values need, and one set where there may be two
        assert len(audit.opening) > reckoned / 6


def test_pieces_are_halved_until_a_cell_may_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the size of a piece decides here, but what a cell may open, proofs and heads included."""
    program = subject().model.program
    whole = most_bytes(program, 0, MAX_CELL_ROWS, ROWS, ROWS, tables=True, hints=True).total
    monkeypatch.setattr(openable, "MAX_CELL_OPENING", whole // 3)
    cells = all_cells(run().claim)
    rows = [(c.segment, row) for c in cells for row in range(c.a, c.b)]
    assert rows == [(s, row) for s in range(len(program.segments)) for row in range(ROWS)]
    assert {c.b - c.a for c in cells if c.segment == 0} == {MAX_CELL_ROWS // 4, ROWS % (MAX_CELL_ROWS // 4)}
    assert require_openable(program, ROWS, cells, tables=True, hints=True) <= whole // 3


def test_a_segment_that_opens_nothing_has_pieces_too() -> None:
    """No product, nothing committed: the output follows from the public input."""
    builder = ProgramBuilder()
    builder.output(builder.relu(builder.input("x", 4)))
    plain = Subject(builder.model(), synthetic.KERNELS)
    done = plain.finish(sample_request(plain.model, ROWS))
    assert row_bytes(plain.model.program, 0) == 0
    cells = all_cells(done.claim)
    assert [(c.a, c.b) for c in cells] == [(0, MAX_CELL_ROWS), (MAX_CELL_ROWS, ROWS)]
    assert plain.verifier(done, plain.open(done, cells))().complete
