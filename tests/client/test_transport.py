"""The transport that checks receipts: honest answers pass, and each contradiction is raised."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from client.lies import (
    AFTER_THE_ANSWER,
    CHANGES,
    CHAT,
    STREAMED,
    ask,
    ask_async,
    cheat,
    redirecting,
    transport,
)
from client.standin import BASE, NAME, NODE, Service, model_id, prompter
from proofcompute.client import flow
from proofcompute.client.pins import Served
from proofcompute.errors import Cell, ServiceError, VerificationError
from proofcompute.openai import OpenCall
from proofcompute.protocol.messages import Challenge

LIBRARIES = (httpx, httpx2)


class Clock:
    """A monotonic clock that only nodes move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def coming(self, pieces: list[bytes]) -> list[bytes]:
        """A body of which each piece takes a second."""
        clock = self

        class Slow(list[bytes]):
            def __iter__(self) -> Iterator[bytes]:
                for piece in super().__iter__():
                    clock.now += 1
                    yield piece

        return Slow(pieces)

    def thinking(self, body: bytes) -> bytes:
        """A body that takes a quarter of a second."""
        self.now += 0.25
        return body


TEXT = {"model": NAME, "prompt": "Once", "max_tokens": 6}
HONEST = {
    "chat": ("/chat/completions", CHAT),
    "chat of two choices": ("/chat/completions", {**CHAT, "n": 2}),
    "chat with a seed": ("/chat/completions", {**CHAT, "seed": 7, "temperature": 0.5}),
    "text": ("/completions", TEXT),
    "text with a stop string": ("/completions", {**TEXT, "stop": ["e"], "max_tokens": 20}),
    "tokens": ("/completions", {**TEXT, "prompt": [72, 73]}),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "whole": {},
    "stream": {"stream": True},
    "stream with usage": {"stream": True, "stream_options": {"include_usage": True}},
}


@pytest.fixture(autouse=True)
def _one_prompter(monkeypatch: pytest.MonkeyPatch) -> None:
    """All transports of these tests share the process that renders templates."""
    monkeypatch.setattr(
        Served, "prompter", property(lambda served: prompter(served.card.model_id != model_id()))
    )


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("form", OPTIONS)
@pytest.mark.parametrize("name", HONEST)
def test_honest_answers_pass(name: str, form: str, library: ModuleType) -> None:
    path, body = HONEST[name]
    body, n = {**body, **OPTIONS[form]}, 2 if "two" in name else 1
    service = Service()
    with_sync = transport(service, library)
    found = ask(with_sync, body, path, library)
    assert [c.request.choice for c in with_sync.checked] == list(range(n))
    assert all(c.nonce_by == "client" and c.claim.receipt.node == NODE.public for c in with_sync.checked)
    if "stream" in form:
        events = found.decode().split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        found_text = [json.loads(e.removeprefix("data: ")) for e in events[:-2]]
        assert sum("proofcompute" in e for e in found_text) == n
    else:
        assert json.loads(found)["usage"]["completion_tokens"] >= 1
    with_async = transport(service, library)
    asyncio.run(ask_async(with_async, body, path, library))
    assert len(with_async.checked) == len(with_sync.checked)
    # each question has its own nonce, and nothing else that the client did not send
    nonces = [headers["proofcompute-nonce"] for method, _, headers, _ in service.asked if method == "POST"]
    assert len(nonces) == len(set(nonces)) == 2
    assert (
        service.asked[-1][3]
        == json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    )


# -- contradictions ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "stream"),
    [
        *((name, stream) for name in CHANGES for stream in (False, True)),
        *((name, True) for name in STREAMED),
    ],
)
def test_a_lie_is_contradicted(name: str, stream: bool) -> None:
    body = {**CHAT, "stream": stream, **({"stream_options": {"include_usage": True}} if stream else {})}
    service, step = cheat(name)
    through = transport(service)
    with pytest.raises(VerificationError) as found:
        ask(through, body)
    assert found.value.step == step
    assert len(through.checked) == (name in AFTER_THE_ANSWER)
    assert [c.error for c in through.contradictions] == [found.value]
    service, step = cheat(name)
    with pytest.raises(VerificationError) as found:
        asyncio.run(ask_async(transport(service), body, "/chat/completions"))
    assert found.value.step == step


@pytest.mark.parametrize("on_failure", ["raise", "record"])
def test_a_redirect_is_no_answer_and_accuses_nobody(on_failure: str) -> None:
    """A client that followed it would take answers from where nobody checks them."""
    service = redirecting()
    through = transport(service, on_failure=on_failure)
    with pytest.raises(ServiceError, match=r"redirects to 'http://else\.example/'"):
        ask(through)
    with pytest.raises(ServiceError, match="redirects"):
        asyncio.run(ask_async(through, CHAT, "/chat/completions"))
    assert ([*through.checked], [*through.contradictions]) == ([], [])


@pytest.mark.parametrize("name", sorted({*CHANGES, *STREAMED} - {"too large"}))
def test_a_lie_that_is_only_recorded_reaches_the_client_as_it_came(name: str) -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    service, step = cheat(name)
    through, honest = transport(service, on_failure="record"), service.rewrite
    came = list[bytes]()

    def rewrite(events: list[bytes]) -> list[bytes]:
        came[:] = honest(events)
        return came

    service.rewrite = rewrite
    data = ask(through, body)
    assert [c.error.step for c in through.contradictions] == [step]
    assert data == b"".join(came)
    assert len(through.checked) == (name in AFTER_THE_ANSWER)


# -- what needs no receipt -----------------------------------------------------------------------------------
REFUSAL = b'data: {"error": {"message": "out of memory", "type": "server_error", "code": null}}\n\n'


@pytest.mark.parametrize("require", [True, False])
def test_an_error_in_a_stream_is_passed_on_and_the_stream_does_not_end_well(require: bool) -> None:
    through = transport(Service(rewrite=lambda d: [*d[:2], REFUSAL, d[-1]]), require=require)
    found = ask(through, {**CHAT, "stream": True})
    assert b"out of memory" in found
    assert b"[DONE]" not in found
    assert (len(through.contradictions), len(through.checked)) == (0, 0)


@pytest.mark.parametrize(("status", "size"), [(200, (1 << 20) + 1), (404, 1 << 20), (404, (1 << 20) + 1)])
def test_openings_have_a_limit_of_their_own_and_refusals_that_of_errors(status: int, size: int) -> None:
    service = Service(open=lambda node, call: (status, {}, bytes(size)))
    through = transport(service)
    ask(through, CHAT)
    checked = through.checked[0]
    call = OpenCall(checked.request, checked.receipt, Challenge(bytes(32), (Cell(0, 0, 1),))).encode()
    with httpx2.Client(transport=through) as client:
        if status == 200 or size <= 1 << 20:
            assert len(client.post(BASE + "/proofs/open", content=call).content) == size
        else:
            with pytest.raises(VerificationError, match="larger than its limit"):
                client.post(BASE + "/proofs/open", content=call)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("form", "seconds"), [("whole", 0.25), ("stream", 3.0), ("stream with usage", 4.0)])
def test_an_answer_takes_until_its_receipt_has_come(
    form: str, seconds: float, library: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the client's own clock, whatever the node says of it."""
    clock = Clock()
    monkeypatch.setattr(flow, "time", clock)
    service = Service(
        rewrite=clock.coming if "stream" in form else clock.thinking,
        headers={"openai-processing-ms": "1", "server-timing": "total;dur=1"},
    )
    for asks in (ask, lambda *a: asyncio.run(ask_async(*a))):
        found = transport(service, library)
        asks(found, {**CHAT, **OPTIONS[form]}, "/chat/completions", library)
        (checked,) = found.checked
        assert checked.seconds == seconds
        clock.now += 100  # between two questions nothing is measured


def test_choices_of_one_answer_took_what_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(flow, "time", clock)
    found = transport(Service(rewrite=clock.coming), httpx)
    ask(found, {**CHAT, "n": 2, "stream": True}, "/chat/completions", httpx)
    assert [checked.seconds for checked in found.checked] == [6.0, 6.0]
