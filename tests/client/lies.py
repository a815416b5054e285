"""Questions through the transport, and nodes that lie: the name of each lie, and its step."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx2

from client.standin import BASE, MESSAGES, NAME, NODE, OTHER, Service, model
from proofcompute.client import ProofTransport
from proofcompute.protocol.messages import Terms

CHAT = {"model": NAME, "messages": MESSAGES, "max_tokens": 6}


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
NO_ERRORS = ("null", '""', "{}", "[]", "false", "0", "true", '"x"', '{"message": " "}', '{"message": 1}')
"""JSON in place of an error, for which some clients go on and others stop."""
STREAMED: dict[str, tuple[Callable[[], Service], int]] = {
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
    **{
        f"an error that is {what}": (
            lambda error=what: Service(  # type: ignore[misc]
                rewrite=lambda d: [d[0], b'data: {"error": %s}\n\n' % error.encode(), d[-1]]
            ),
            1,
        )
        for what in NO_ERRORS
    },
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
    made, step = {**CHANGES, **STREAMED}[name]
    service = made()
    if name == "terms that are none":  # receipts name terms that the node does not publish
        service.node.terms = Terms.of(NODE, base=30, rate=1000, retention=3600)
    return service, step


def redirecting() -> Service:
    """A node before which something sends clients elsewhere."""
    service = Service(headers={"location": "http://else.example/"})
    service.respond = _redirecting(service)  # type: ignore[method-assign]
    return service


def _redirecting(service: Service) -> Callable[..., Any]:
    honest = service.respond

    def respond(method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        status, head, data = honest(method, path, headers, body)
        return (307 if method == "POST" else status), head, data

    return respond
