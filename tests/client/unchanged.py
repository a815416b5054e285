"""What the tests of unchanged clients share: questions, transports, and a node that lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

from client.standin import BASE, Service, model
from proofcompute.client import ProofTransport
from serving.running import Running, chat_model
from synthetic import NODE

MESSAGES = [{"role": "user", "content": "Hello"}]
SETTINGS: dict[str, Any] = {"max_tokens": 6, "temperature": 0}


def through(node: Running, **options: Any) -> ProofTransport:
    """A transport to a real service."""
    return ProofTransport(f"{node.url}/v1", chat_model().card, node=NODE.public, **options)


def to(service: Service, library: ModuleType, **options: Any) -> ProofTransport:
    """A transport to a node without a network."""
    return ProofTransport(BASE, model().card, inner=service.transport(library), **options)


def lying() -> Service:
    """A node that puts one letter before each piece of an honest answer's text."""

    def changed(sent: dict[str, Any]) -> Any:
        return json.loads(json.dumps(sent).replace('"content": "', '"content": "!'))

    return Service(change=changed)


def failing(times: int, status: int, **headers: str) -> Service:
    """A node that answers with an error first, some times, and then honestly."""
    service = Service()
    honest: Callable[..., Any] = service.respond

    def respond(method: str, path: str, head: dict[str, str], body: bytes) -> Any:
        if method == "POST" and questions(service) < times:
            service.asked.append((method, path, head, body))
            kind = {"content-type": "application/json", **headers}
            return status, kind, b'{"error": {"message": "not now", "type": "overloaded", "code": "busy"}}'
        return honest(method, path, head, body)

    answering: Callable[..., Any] = respond
    service.respond = answering  # type: ignore[method-assign]
    return service


def questions(service: Service) -> int:
    """How often a node was asked for an answer."""
    return sum(method == "POST" for method, *_ in service.asked)
