"""The proof field, the nonce's header, errors, models and defaults."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from binding.serving import DAY, HELLO, NONCE, proof, read
from binding.setting import card, prompter
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.errors import InputError, LimitError
from proofcompute.openai import (
    ParameterError,
    ProofField,
    UnsupportedParameterError,
    decode_proofs,
    encode_proofs,
    error_object,
    error_of,
    model_object,
    models_object,
    nonce_of_header,
)
from proofcompute.protocol.messages import Generation


def test_proofs_of_one_response_are_those_of_its_choices() -> None:
    two = [proof(0, b"a"), proof(1, b"b")]
    assert decode_proofs(encode_proofs(two), 2) == tuple(two)
    assert decode_proofs(encode_proofs(two[:1]), 1) == (two[0],)
    assert ProofField.decode(two[1].encode()) == two[1]
    for wrong in ([], two[::-1], [two[0], replace(two[1], date=date(2026, 11, 29))], [two[0], two[0]]):
        with pytest.raises(InputError):
            encode_proofs(wrong)


def test_a_nonce_s_header_has_one_form() -> None:
    assert nonce_of_header(NONCE.hex()) == NONCE
    for wrong in ("", NONCE.hex().upper(), " " + NONCE.hex(), NONCE.hex()[:-2], NONCE.hex() + "00", "g" * 64):
        with pytest.raises(InputError, match="64"):
            nonce_of_header(wrong)


def test_errors_in_the_interface_s_form() -> None:
    unsupported = error_of(UnsupportedParameterError("tools", "no"))["error"]
    assert unsupported == {
        "message": "tools: no",
        "type": "invalid_request_error",
        "param": "tools",
        "code": "unsupported_parameter",
    }
    assert error_of(ParameterError("n", "no"))["error"] == {
        "message": "n: no",
        "type": "invalid_request_error",
        "param": "n",
        "code": "invalid_value",
    }
    assert error_of(LimitError("long")) == error_object("long")


def test_models_say_their_model_id() -> None:
    one = model_object("chat", card().model_id, 5)
    assert models_object([one]) == {"object": "list", "data": [one]}
    assert one["proofcompute"] == {"model_id": card().model_id.hex()}
    assert (one["id"], one["object"], one["created"]) == ("chat", "model", 5)


def test_defaults_are_those_of_the_interface() -> None:
    call = read(messages=HELLO)
    assert call.sampling == Sampling(temperature=1.0, top_p=1.0)
    assert (call.n, call.stream, call.seed, call.max_tokens, call.stops) == (1, False, None, None, ())
    (request,) = call.requests(prompter(), nonce=NONCE, date=DAY)
    assert request.generation is not None
    assert isinstance(request.generation, Generation)
    prompt = len(request.inputs[0][1]) // 4
    assert request.generation.max_tokens == card().program.context - prompt + 1
