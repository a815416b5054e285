"""What a node makes of its answers passes the checks of a client, whole and in chunks; nothing else does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from binding.serving import DAY, HELLO, NONCE, claim_of, proof, read, served
from binding.setting import Told, body_of, card, checked, model, prompter
from proofcompute.errors import FormatError, InputError, LimitError, MismatchError, VerificationError
from proofcompute.openai import (
    Call,
    Reply,
    StreamCheck,
    check_completion,
    decode_proofs,
    read_json,
    read_response,
)
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Receipt, Request
from proofcompute.protocol.stop import stop_reason
from proofcompute.prover.node import Node
from synthetic import KERNELS, NODE


@pytest.mark.parametrize(
    "stream",
    [
        {},
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    ],
)
@pytest.mark.parametrize(
    "fields",
    [
        {"messages": HELLO, "n": 2, "max_tokens": 5, "temperature": 1.5},
        {"prompt": "Once", "seed": 4, "stop": ["a", "e"], "ignore_eos": True},
        {"prompt": [79, 110], "max_tokens": 1},
    ],
)
def test_what_a_node_answers_passes(fields: dict[str, Any], stream: dict[str, Any]) -> None:
    """Bodies, the engine, receipts, responses and all checks of a client, with nothing left out."""
    body, call = body_of(**fields, **stream), read(**fields, **stream)
    requests = call.requests(prompter(), nonce=NONCE, date=DAY, node=NODE.public)
    node = Node(model(), NODE, device=KERNELS)
    receipts = [Receipt.decode(node.answer(r).receipt) for r in requests]
    claims = [
        Claim(receipt, claim_of(r, np.frombuffer(receipt.outputs[0][1], "<i4").tolist()).statement)
        for r, receipt in zip(requests, receipts, strict=True)
    ]
    sent = [json.dumps(c).encode() for c in served(call, claims, requests, range(100))]
    found = checked(Told(call.endpoint, body, NONCE, NODE.public, DAY, sent if stream else sent[0]))
    assert [c.receipt for c in found.claims] == receipts
    assert found.requests == requests


answers = st.lists(st.integers(0, 259) | st.sampled_from([*b"ab\xe2\x82\xac"]), min_size=1, max_size=12)


@given(
    st.lists(answers, min_size=1, max_size=3),
    st.lists(st.text("ab€", min_size=1, max_size=3), max_size=3),
    st.lists(st.integers(0, 12)),
    st.booleans(),
    st.data(),
)
def test_any_answer_cut_anywhere_passes_and_an_altered_one_does_not(
    tokens: list[list[int]], stops: list[str], cuts: list[int], usage: bool, data: st.DataObject
) -> None:
    options = {"include_usage": usage, "continuous_usage_stats": usage}
    call = read(prompt="x", n=len(tokens), max_tokens=12, stop=stops, stream=True, stream_options=options)
    requests = call.requests(prompter(), nonce=NONCE, date=DAY, node=NODE.public)
    claims = []
    for request, ids in zip(requests, tokens, strict=True):
        assert request.generation is not None
        ends = [k for k in range(1, 13) if stop_reason(request.generation, ids[:k], card().vocabulary)]
        claims.append(claim_of(request, ids[: ends[0]] if ends else ids))
    chunks = served(call, claims, requests, cuts)
    accept(call, chunks, requests, claims)
    whole = replace(call, stream=False, include_usage=False, continuous_usage=False)
    (response,) = served(whole, claims, requests, ())
    assert isinstance(response, dict)
    check_completion(card(), whole, requests, claims, response)

    i = data.draw(st.integers(0, len(chunks) - 1))
    altered: list[Any] = json.loads(json.dumps(chunks))
    choices = altered[i]["choices"]
    assume(choices)
    before = choices[0]["text"]
    choices[0]["text"] = data.draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=3))
    assume(choices[0]["text"] != before)
    with pytest.raises(VerificationError) as caught:
        accept(call, altered, requests, claims)
    assert caught.value.step == 5
    moved = [json.loads(json.dumps(chunks))[j] for j in data.draw(st.permutations(range(len(chunks))))]
    try:
        accept(call, moved, requests, claims)
    except VerificationError:
        return
    shown = ["".join(c["choices"][0]["text"] for c in part(moved, i)) for i in range(call.n)]
    assert shown == ["".join(c["choices"][0]["text"] for c in part(chunks, i)) for i in range(call.n)]


def part(chunks: Sequence[Any], choice: int) -> list[Any]:
    return [c for c in chunks if c["choices"] and c["choices"][0]["index"] == choice]


def accept(call: Call, chunks: Sequence[Any], requests: Sequence[Request], claims: Sequence[Claim]) -> None:
    check = StreamCheck(call)
    ended = [p for c in chunks if (p := check.push(c)) is not None]
    assert sorted(ended, key=lambda p: p.choice) == list(check.close())
    check.check(card(), requests, claims)


NAMES = [
    *("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "proofcompute"),
    *("index", "message", "delta", "text", "finish_reason", "v", "choice", "receipt"),
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from(NAMES), v, max_size=5),
    max_leaves=20,
)


@given(anything)
def test_anything_that_a_node_sends_is_a_rejection(value: Any) -> None:
    whole, stream = read(prompt="x"), read(prompt="x", stream=True)
    requests = whole.requests(prompter(), nonce=NONCE, date=DAY)
    claims = [claim_of(requests[0], [1] * 16)]
    with pytest.raises(VerificationError):
        decode_proofs(value, 1)
    sent = value if isinstance(value, dict) else {"choices": value}
    with pytest.raises(VerificationError):
        check_completion(card(), whole, requests, claims, sent)
    with pytest.raises(VerificationError):
        StreamCheck(stream).push(sent)


# -- what the caller did wrong -------------------------------------------------------------------------------
def test_claims_of_other_calls_are_the_callers_mistake() -> None:
    call = read(prompt="x", n=2)
    requests = call.requests(prompter(), nonce=NONCE, date=DAY, node=NODE.public)
    claims = [claim_of(r, [97] * 16) for r in requests]
    (response,) = served(call, claims, requests, ())
    assert isinstance(response, dict)
    check_completion(card(), call, requests, claims, response)
    other = replace(card(), template="")
    anywhere = call.requests(prompter(), nonce=NONCE, date=DAY)
    mute = replace(card(), tokenizer=b"")
    unheard = [replace(r, model_id=mute.model_id) for r in requests]
    unanswered = [
        Claim(replace(c.receipt, request_digest=r.digest), c.statement)
        for c, r in zip(claims, unheard, strict=True)
    ]
    elsewhere = [replace(r, model_id=other.model_id) for r in requests]
    for wrong in (
        (card(), call, requests[:1], claims, response),
        (card(), call, requests, claims[:1], response),
        (card(), call, requests[::-1], claims[::-1], response),
        (card(), call, requests, claims[::-1], response),
        (other, call, requests, claims, response),
        (card(), call, elsewhere, claims, response),
        (card(), call, requests, [claims[0], claim_of(requests[1], [98] * 16)], response),
        (mute, call, unheard, unanswered, response),
        (card(), call, anywhere, [claim_of(r, [97] * 16) for r in anywhere], response),
    ):
        with pytest.raises(MismatchError):
            check_completion(*wrong)
    with pytest.raises(InputError, match="stream"):
        StreamCheck(call)


def test_a_token_without_a_text_is_a_rejection() -> None:
    """A model may have more logits than its vocabulary has tokens."""
    vocabulary = card().vocabulary
    assert vocabulary is not None
    call = read(prompt="x", max_tokens=2)
    (request,) = call.requests(prompter(), nonce=NONCE, date=DAY, node=NODE.public)
    claim = claim_of(request, [97, 98])
    (response,) = served(call, [claim], [request], ())
    outputs = ((claim.receipt.outputs[0][0], np.array([97, 260], "<i4").tobytes()),)
    beyond = Claim(replace(claim.receipt, outputs=outputs), claim.statement)
    assert isinstance(response, dict)
    sent = {**response, "proofcompute": proof(0, beyond.receipt.encode()).encode()}
    with pytest.raises(VerificationError, match="token 260") as caught:
        check_completion(card(), call, [request], [beyond], sent)
    assert caught.value.step == 5


def test_a_stream_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofcompute.openai.streaming.MAX_TEXT", 10)
    call = read(prompt="x", stream=True)
    (request,) = call.requests(prompter(), nonce=NONCE, date=DAY)
    check, reply = StreamCheck(call), Reply.of(call, request, 1)
    check.push(reply.chunk(0, "12345"))
    check.push(reply.chunk(0, "67890"))
    with pytest.raises(VerificationError, match="more than 10") as caught:
        check.push(reply.chunk(0, "1"))
    assert caught.value.step == 1


def test_a_node_s_json_is_a_rejection_where_a_caller_s_is_an_error() -> None:
    assert read_response(b'{"a":1}', 10) == {"a": 1}
    for data in (b'{"a":1,"a":1}', b"x", b"{}" + b" " * 10):
        with pytest.raises((FormatError, LimitError)):
            read_json(data, 10)
        with pytest.raises(VerificationError) as caught:
            read_response(data, 10)
        assert caught.value.step == 1
