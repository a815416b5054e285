"""Requests, challenges and answers that no program can have, each refused for what is wrong with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import synthetic
from adversary.mutants_replay import network
from proofcompute.arrays import Array
from proofcompute.errors import Cell, FormatError, InputError, LimitError
from proofcompute.limits import MAX_CELLS, MAX_ROWS, MAX_STOPS
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model
from proofcompute.program.types import Spec
from proofcompute.protocol.messages import Challenge, Generation, Request
from proofcompute.protocol.requests import inputs_of, statement_of
from proofcompute.protocol.statement import rows_from_bytes


def zeros(rows: int, width: int) -> bytes:
    return np.zeros((rows, width), "<f4").tobytes()


def two_inputs() -> Model:
    b = ProgramBuilder(device="numpy")
    b.output(b.add(b.input("x", 4), b.input("y", 4)))
    return b.model()


def inputs(m: Model, request: Request) -> dict[str, Array]:
    return inputs_of(request, m.program, m.model_id)


def test_inputs_without_rows() -> None:
    m = network()
    with pytest.raises(InputError, match="the prompt is empty"):
        inputs(m, Request(m.model_id, (("x", b""),), bytes(32)))


def test_inputs_of_different_lengths() -> None:
    m = two_inputs()
    for rows in (1, 3):
        given = (("x", zeros(2, 4)), ("y", zeros(rows, 4)))
        with pytest.raises(InputError, match="different numbers of rows"):
            inputs(m, Request(m.model_id, given, bytes(32)))
    found = inputs(m, Request(m.model_id, (("x", zeros(2, 4)), ("y", zeros(2, 4))), bytes(32)))
    assert [rows.shape for rows in found.values()] == [(2, 4), (2, 4)]


def test_generation_settings_belong_to_language_models() -> None:
    """Either way: a network that gets them, and a language model that does not."""
    m, chat = network(), synthetic.model()
    with pytest.raises(InputError, match="only to them"):
        inputs(m, Request(m.model_id, (("x", zeros(1, 16)),), bytes(32), generation=Generation(1)))
    with pytest.raises(InputError, match="only to them"):
        inputs(chat, replace(synthetic.request(chat), generation=None))


def test_an_output_of_another_length_than_the_input() -> None:
    m = network()
    request = Request(m.model_id, (("x", zeros(3, 16)),), bytes(32))
    for rows in (0, 2, 4):
        with pytest.raises(FormatError, match="as many rows as the input"):
            statement_of(request, m.program, inputs(m, request), {"y": np.zeros((rows, 4), np.float32)})


def test_more_rows_than_a_trace_may_have() -> None:
    spec = Spec("i8", (1,))
    assert rows_from_bytes(spec, bytes(MAX_ROWS), "rows").shape == (MAX_ROWS, 1)
    with pytest.raises(LimitError, match=f"{MAX_ROWS + 1} rows"):
        rows_from_bytes(spec, bytes(MAX_ROWS + 1), "rows")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_seed_of_another_length(size: int) -> None:
    with pytest.raises(FormatError, match="32 bytes"):
        Generation(1, seed=bytes(size))


def test_more_stop_strings_than_allowed() -> None:
    assert len(Generation(1, stops=("x",) * MAX_STOPS).stops) == MAX_STOPS
    with pytest.raises(LimitError, match="stop strings"):
        Generation(1, stops=("x",) * (MAX_STOPS + 1))


def test_a_challenge_of_too_many_cells() -> None:
    with pytest.raises(InputError, match=f"at most {MAX_CELLS} cells"):
        Challenge(bytes(32), (Cell(0, 0, 1),) * (MAX_CELLS + 1))


def test_a_request_whose_decoding_lost_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields have one encoding each, so no bytes get this far; a field that forgot something would."""
    request = synthetic.request(synthetic.model())
    data = request.encode()
    monkeypatch.setattr(Request, "encode", lambda self: data + b"\0")
    with pytest.raises(FormatError, match="request is not canonical"):
        Request.decode(data)
