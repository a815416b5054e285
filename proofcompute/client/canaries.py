"""Draw requests that a node cannot tell from those of its other clients.

A canary is sent by the same code as a client's request, from :mod:`proofcompute.client.transport`. What is
drawn here is what clients differ in: parameters, lengths, streaming, whether the client sends a nonce, and
pauses, which are exponential like those of independent clients. How the client itself looks is in
:mod:`proofcompute.client.lookalike`; its version and platform are drawn once for a whole audit.

Bodies that were recorded from real use are sent as they are, each at most once, since a body that comes a
second time is known. Without recorded bodies, prompts are written from a grammar
(:mod:`proofcompute.client.prompts`), which a node may know in part.

What cannot be hidden is listed in docs/guides/auditor.md: the network address and the API key, the handshake
of TLS, the prompts themselves where the node knows their source, and each challenge, which tells the node
afterwards that its answer was audited.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random, SystemRandom
from typing import Final, Literal

from proofcompute.client.lookalike import Client, encoded
from proofcompute.client.prompts import conversation, question
from proofcompute.errors import InputError

__all__ = ["ENDPOINTS", "Canary", "Endpoint", "Traffic"]

Endpoint = Literal["chat", "completions"]
ENDPOINTS: Final[Mapping[Endpoint, str]] = {"chat": "/chat/completions", "completions": "/completions"}
"""Paths below the base URL."""

_MOST_TOKENS: Final = (8, 16, 32, 50, 64, 100, 128, 150, 200, 256, 300, 500, 512, 1000, 1024, 2048)
_LIMITS: Final = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True)
class Canary:
    """One request of an audit, as it is sent."""

    endpoint: Endpoint
    body: bytes
    headers: tuple[tuple[str, str], ...]
    """Headers that the client sets, in order; the library adds Host and Content-Length."""
    nonce_by: Literal["client", "node"]
    """Who chooses the nonce: a client that checks receipts sends one, any other leaves it to the node."""
    pause: float
    """Seconds to wait before it is sent."""

    @property
    def name(self) -> str:
        """The SHA-256 digest of the body, by which a record knows what was sent."""
        return hashlib.sha256(self.body).hexdigest()


class Traffic:
    """Draws canaries for one model as it is served.

    Args:
        model: the model's name in OpenAI's interface.
        chat: whether the model has a chat template; without one all requests are completions of text.
        bodies: recorded bodies of requests; canaries then differ from them in the model's name only. None:
            canaries are written.
        sent: names of canaries that were sent before; recorded bodies with these are left out.
        key: API key, or None.
        nonce_by: "client", "node" or "mixed": who chooses the nonces. A node may treat clients that send
            none in another way, so an audit draws both kinds unless told otherwise.
        interval: mean seconds between two requests; 0: no pauses.
        max_tokens: the most tokens that a canary may ask for; None: the client's usual numbers, or none at
            all. Recorded bodies that ask for more, or name no limit, are left out.
        words: the most words of notes that are put below a question.
        draw: randomness; the operating system's unless given. Another one is for tests, because a node that
            can guess canaries can treat them well.

    Raises InputError for a recorded body that has neither messages nor a prompt.
    """

    def __init__(
        self,
        model: str,
        *,
        chat: bool,
        bodies: Sequence[Mapping[str, object]] | None = None,
        sent: Collection[str] = (),
        key: str | None = None,
        nonce_by: Literal["client", "node", "mixed"] = "mixed",
        interval: float = 0.0,
        max_tokens: int | None = None,
        words: int = 400,
        draw: Random | None = None,
    ) -> None:
        self._draw = SystemRandom() if draw is None else draw
        self._model, self._chat, self._key = model, chat, key
        self._nonce_by, self._interval, self._most, self._words = nonce_by, interval, max_tokens, words
        self._client = Client.drawn(self._draw)
        self._recorded = None if bodies is None else self._usable(bodies, {*sent})

    @property
    def left(self) -> int | None:
        """How many canaries can still be drawn; None: any number."""
        return None if self._recorded is None else len(self._recorded)

    def next(self) -> Canary:
        """Draw one canary. Raises InputError if all recorded bodies were drawn."""
        draw = self._draw
        if self._recorded is None:
            langchain = draw.random() < 0.3
            body: Mapping[str, object] = self._written(langchain)
        elif self._recorded:
            langchain = False
            body = self._recorded.pop()
        else:
            raise InputError("no recorded request is left, and one that is sent twice is known to the node")
        return self._made(body, langchain=langchain)

    def _made(self, body: Mapping[str, object], *, langchain: bool) -> Canary:
        draw, by = self._draw, self._nonce_by
        return Canary(
            endpoint="chat" if "messages" in body else "completions",
            body=encoded(body),
            headers=self._client.headers(
                self._key,
                langchain=langchain,
                stream=body.get("stream") is True,
                asynchronous=not langchain and draw.random() < 0.35,
            ),
            nonce_by=by if by != "mixed" else draw.choice(("client", "node")),
            pause=draw.expovariate(1 / self._interval) if self._interval else 0.0,
        )

    def _usable(self, bodies: Sequence[Mapping[str, object]], sent: set[str]) -> list[Mapping[str, object]]:
        """Return the recorded bodies that may be sent, each once, in an order that nobody can guess."""
        found: list[Mapping[str, object]] = []
        for i, recorded in enumerate(bodies):
            if ("messages" in recorded) == ("prompt" in recorded):
                raise InputError(f"recorded request {i + 1} has neither messages nor a prompt, or both")
            body = {**recorded, "model": self._model}
            name = hashlib.sha256(encoded(body)).hexdigest()
            if name not in sent and self._modest(body):
                sent.add(name)
                found.append(body)
        self._draw.shuffle(found)
        return found

    def _modest(self, body: Mapping[str, object]) -> bool:
        """Whether a body asks for no more tokens than a canary may."""
        if self._most is None:
            return True
        asked = next((body[name] for name in _LIMITS if body.get(name) is not None), None)
        return type(asked) is int and asked <= self._most

    def _written(self, langchain: bool) -> dict[str, object]:
        """Return a body with a prompt of our own and parameters such as clients send."""
        draw = self._draw
        words = int(self._words * draw.random() ** 3) if draw.random() < 0.5 else 0
        body: dict[str, object] = {"model": self._model}
        stream = draw.random() < 0.6
        if stream or langchain:
            body["stream"] = stream
        if self._chat:
            talk = conversation(draw, words)
            # LangChain writes the two fields of a message in the other order
            body["messages"] = [dict(reversed(m.items())) for m in talk] if langchain else talk
        else:
            body["prompt"] = question(draw, words)
        if stream and draw.random() < 0.5:
            body["stream_options"] = {"include_usage": True}
        if self._most is not None or draw.random() < 0.7:
            name = "max_completion_tokens" if self._chat and langchain else "max_tokens"
            most = self._most or _MOST_TOKENS[-1]
            body[name] = draw.choice([n for n in _MOST_TOKENS if n <= most] or [most])
        if draw.random() < 0.6:
            body["temperature"] = draw.choice(
                (0, 0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.7, 0.7, 0.8, 0.9, 1, 1.0, 1.2)
            )
        if draw.random() < 0.25:
            body["top_p"] = draw.choice((0.8, 0.9, 0.9, 0.95, 0.95, 0.99, 1))
        if draw.random() < 0.07:
            body["seed"] = draw.choice((0, 1, 7, 42, 42, 123, 1234, draw.randrange(1 << 31)))
        if draw.random() < 0.1:
            body["stop"] = draw.choice((["\n\n"], "\n", ["User:"], "###", ["END", "STOP"]))
        return body
