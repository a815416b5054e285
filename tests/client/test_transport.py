"""The transport that checks receipts: honest answers pass, and each contradiction is raised."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from client.standin import BASE, MESSAGES, NAME, NODE, OTHER, Service, model, model_id, prompter
from proofcompute.client import ProofTransport
from proofcompute.client.pins import Served
from proofcompute.errors import VerificationError
from proofcompute.protocol.messages import Terms

LIBRARIES = (httpx, httpx2)
CHAT = {"model": NAME, "messages": MESSAGES, "max_tokens": 6}
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


def transport(service: Service, library: ModuleType = httpx2, **options: Any) -> ProofTransport:
    return ProofTransport(BASE, model().model_id, inner=service.transport(library), **options)


def ask(
    through: ProofTransport,
    body: dict[str, Any] = CHAT,
    path: str = "/chat/completions",
    library: ModuleType = httpx2,
    **headers: str,
) -> bytes:
    """The body that a synchronous client reads."""
    with library.Client(transport=through, follow_redirects=True) as client:
        found = client.post(
            BASE + path, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
    data: bytes = found.content
    return data


async def ask_async(
    through: ProofTransport, body: dict[str, Any], path: str, library: ModuleType = httpx2
) -> bytes:
    async with library.AsyncClient(transport=through) as client:
        data: bytes = (await client.post(BASE + path, json=body)).content
    return data


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
def _text(sent: dict[str, Any], put: Callable[[str], str]) -> dict[str, Any]:
    for choice in sent["choices"]:
        said = choice.get("message") or choice.get("delta")
        said["content"] = put(said["content"])
    return sent


def _set(sent: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    """Change a value deep in a response; a chunk that does not have it stays as it is."""
    at: Any = sent
    for step in path[:-1]:
        step = (
            next((s for s in (step if isinstance(step, tuple) else (step,)) if s in at), None)
            if isinstance(at, dict)
            else (step if isinstance(at, list) and step < len(at) else None)
        )
        if step is None:
            return sent
        at = at[step]
    if isinstance(at, dict) and (path[-1] in at or to is not None):
        at[path[-1]] = to
    return sent


def _finishing(
    change: Callable[[dict[str, Any]], dict[str, Any]],
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A change of the response, or of the chunk that ends a choice."""
    return lambda sent: change(sent) if sent["choices"] and sent["choices"][0]["finish_reason"] else sent


def _without_proof(sent: dict[str, Any]) -> dict[str, Any]:
    sent.pop("proofcompute", None)
    return sent


def _no_choice(sent: dict[str, Any]) -> bool:
    return "usage" in sent and sent["usage"] is not None


def _usage(sent: dict[str, Any]) -> dict[str, Any]:
    if _no_choice(sent):
        sent["usage"] = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return sent


def _other_model() -> Service:
    return Service(seed=1)


def _replayed() -> Service:
    """A node that gives every client the answer to its first question."""
    kept: list[Any] = []

    def replay(answer: Any) -> Any:
        kept.append(answer)
        return kept[0]

    return Service(rewrite=replay)


CHANGES: dict[str, tuple[Callable[[], Service], int]] = {
    "changed text": (lambda: Service(change=lambda s: _text(s, lambda t: t + "!" if t else t)), 5),
    "text left out": (lambda: Service(change=lambda s: _text(s, lambda t: "")), 5),
    "another finish reason": (
        lambda: Service(
            change=_finishing(lambda s: _set(s, "choices", 0, "finish_reason", to="content_filter"))
        ),
        5,
    ),
    "another usage": (lambda: Service(change=_usage), 5),
    "another id": (lambda: Service(change=lambda s: _set(s, "id", to="chatcmpl-" + 64 * "0")), 4),
    "another model's name": (lambda: Service(change=lambda s: _set(s, "model", to="gpt")), 5),
    "another fingerprint": (lambda: Service(change=lambda s: _set(s, "system_fingerprint", to="fp_1")), 3),
    "no receipt": (lambda: Service(change=_without_proof), 1),
    "a receipt that is null": (lambda: Service(change=lambda s: _set(s, "proofcompute", to=None)), 1),
    "a receipt that is not one": (
        lambda: Service(change=_finishing(lambda s: _set(s, "proofcompute", "receipt", to="AAAA"))),
        1,
    ),
    "another nonce": (
        lambda: Service(change=_finishing(lambda s: _set(s, "proofcompute", "nonce", to=64 * "a"))),
        4,
    ),
    "a nonce that the node chose": (
        lambda: Service(change=_finishing(lambda s: _set(s, "proofcompute", "nonce_by", to="node"))),
        4,
    ),
    "another day": (
        lambda: Service(change=_finishing(lambda s: _set(s, "proofcompute", "date", to="2020-01-01"))),
        4,
    ),
    "another node named": (
        lambda: Service(change=_finishing(lambda s: _set(s, "proofcompute", "node", to=OTHER.public.hex()))),
        2,
    ),
    "another model": (_other_model, 3),
    "the receipt of another prompt": (
        lambda: Service(other=lambda b: {**b, "messages": [{"role": "user", "content": "Bye"}]}),
        4,
    ),
    "other settings": (lambda: Service(other=lambda b: {**b, "temperature": 0.25}), 4),
    "fewer tokens than asked": (lambda: Service(other=lambda b: {**b, "max_tokens": 2}), 4),
    "the call of a tool": (
        lambda: Service(
            change=lambda s: _set(s, "choices", 0, ("message", "delta"), "tool_calls", to=[{"id": "1"}])
        ),
        5,
    ),
    "a field that nothing binds": (lambda: Service(change=lambda s: _set(s, "citations", to=["x"])), 5),
    "a redirect": (lambda: Service(headers={"location": "http://else.example/"}), 1),
    "another form": (lambda: Service(headers={"content-type": "text/html"}), 1),
    "a coding that was not asked for": (lambda: Service(headers={"content-encoding": "br"}), 1),
    "not JSON": (lambda: Service(rewrite=lambda d: b"{" if isinstance(d, bytes) else [b"data: {\n\n"]), 1),
    "another encoding of JSON": (
        lambda: Service(
            rewrite=lambda d: d.decode().encode("utf-16") if isinstance(d, bytes) else [b"data: \xff\xfe\n\n"]
        ),
        1,
    ),
    "truncated": (lambda: Service(rewrite=lambda d: d[: len(d) // 2]), 1),
    "too large": (
        lambda: Service(
            rewrite=lambda d: (
                b" " * (1 << 24) + d if isinstance(d, bytes) else [b"data: " + b" " * (1 << 24), *d]
            )
        ),
        1,
    ),
    "terms that are none": (lambda: Service(terms=None, status=200), 5),
}
"""Name of a lie -> the node that tells it, and the step at which it is contradicted."""
_STREAMED: dict[str, tuple[Callable[[], Service], int]] = {
    "an end before the answer's": (lambda: Service(rewrite=lambda d: d[:-2]), 1),
    "no end mark": (lambda: Service(rewrite=lambda d: d[:-1]), 1),
    "an end mark at once": (lambda: Service(rewrite=lambda d: [d[0], d[-1]]), 1),
    "an end inside an event": (lambda: Service(rewrite=lambda d: [*d[:-1], b"data: [DO"]), 1),
    "text after the end mark": (lambda: Service(rewrite=lambda d: [*d, d[0]]), 1),
    "text after the answer's end": (lambda: Service(rewrite=lambda d: [*d[:-1], d[0], d[-1]]), 5),
    "an event of another name": (lambda: Service(rewrite=lambda d: [b"event: x\n" + d[0], *d[1:]]), 1),
    "two lines of data": (lambda: Service(rewrite=lambda d: [b"data: {}\n" + d[0], *d[1:]]), 1),
    "carriage returns that divide lines": (
        lambda: Service(rewrite=lambda d: [b"data: {}\r\r" + d[0], *d[1:]]),
        1,
    ),
    "an endless line": (lambda: Service(rewrite=lambda d: [b"data: " + b"x" * (1 << 18)] * 16), 1),
    "endless comments": (lambda: Service(rewrite=lambda d: [b":" + b"x" * 1000 + b"\n"] * 10_000), 1),
    "the same chunk without end": (lambda: Service(rewrite=lambda d: [d[1]] * 100_000), 1),
    "an error after the answer": (
        lambda: Service(rewrite=lambda d: [*d[:-1], b'data: {"error": {"message": "x"}}\n\n', d[-1]]),
        1,
    ),
    "an error beside an answer": (
        lambda: Service(change=lambda s: {**s, "error": {"message": "x"}}),
        1,
    ),
}
AFTER_THE_ANSWER = (
    "no end mark",
    "an end inside an event",
    "text after the end mark",
    "text after the answer's end",
    "an error after the answer",
)
"""Lies that come when the answer has been checked, and may be audited."""


def cheat(name: str) -> tuple[Service, int]:
    made, step = {**CHANGES, **_STREAMED}[name]
    service = made()
    if name == "a redirect":
        service.respond = _redirecting(service)  # type: ignore[method-assign]
    if name == "terms that are none":  # receipts name terms that the node does not publish
        service.node.terms = Terms.of(NODE, base=30, rate=1000, retention=3600)
    return service, step


def _redirecting(service: Service) -> Callable[..., Any]:
    honest = service.respond

    def respond(method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        status, head, data = honest(method, path, headers, body)
        return (307 if method == "POST" else status), head, data

    return respond


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        *((name, stream) for name in CHANGES for stream in (False, True)),
        *((name, True) for name in _STREAMED),
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


@pytest.mark.parametrize("name", sorted({*CHANGES, *_STREAMED} - {"a redirect", "too large"}))
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
