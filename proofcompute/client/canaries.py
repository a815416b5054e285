"""Draw requests that a node cannot tell from those of its other clients.

A canary is sent by the same code as a client's request, from :mod:`proofcompute.client.transport`. What is
drawn here is what clients differ in: the header set and the order of JSON fields, which are those of one
widely used client (its version and platform are drawn once for a whole audit), parameters, lengths,
streaming, whether the client sends a nonce, and pauses, which are exponential like those of independent
clients.

What cannot be hidden is listed in docs/guides/client.md: the network address and the API key, the handshake
of TLS, the prompts themselves where the node knows their source, and each challenge, which tells the node
afterwards that its answer was audited.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random, SystemRandom
from typing import Final, Literal

from proofcompute.client.prompts import conversation, question
from proofcompute.errors import InputError

__all__ = ["ENDPOINTS", "Canary", "Client", "Endpoint", "Traffic"]

Endpoint = Literal["chat", "completions"]
ENDPOINTS: Final[Mapping[Endpoint, str]] = {"chat": "/chat/completions", "completions": "/completions"}
"""Paths below the base URL."""

_FIRST: Final = ("model", "stream", "messages", "prompt")
"""The fields that openai's client writes first; the others follow in alphabetical order."""
_OPENAI: Final = "3.57.0"
_PLATFORMS: Final = (("Linux", "x64"), ("Linux", "arm64"), ("MacOS", "arm64"), ("Windows", "x64"))
_PYTHONS: Final = ("3.10.16", "3.11.9", "3.11.11", "3.12.3", "3.12.8", "3.13.1")
_MOST_TOKENS: Final = (8, 16, 32, 50, 64, 100, 128, 150, 200, 256, 300, 500, 512, 1000, 1024, 2048)


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


@dataclass(frozen=True)
class Client:
    """The client that an audit looks like: a version of openai's Python client on some platform."""

    version: str
    platform: tuple[str, str]
    python: str

    @staticmethod
    def drawn(draw: Random) -> Client:
        """Draw a client. The version is the installed one, if there is one."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("openai")
        except PackageNotFoundError:
            found = _OPENAI
        return Client(found, draw.choice(_PLATFORMS), draw.choice(_PYTHONS))

    def headers(
        self, key: str | None, *, langchain: bool, stream: bool, asynchronous: bool
    ) -> tuple[tuple[str, str], ...]:
        """Return the headers as openai's client sends them, alone or under LangChain."""
        system, processor = self.platform
        found = [
            ("Accept-Encoding", "gzip, deflate"),
            ("Connection", "keep-alive"),
            ("authorization", f"Bearer {key or 'EMPTY'}"),
            ("accept", "application/json"),
            ("content-type", "application/json"),
            ("user-agent", f"{'Async' if asynchronous else ''}OpenAI/Python {self.version}"),
            ("x-stainless-lang", "python"),
            ("x-stainless-package-version", self.version),
            ("x-stainless-os", system),
            ("x-stainless-arch", processor),
            ("x-stainless-runtime", "CPython"),
            ("x-stainless-runtime-version", self.python),
            ("x-stainless-async", "async:asyncio" if asynchronous else "false"),
        ]
        if langchain and not stream:
            found.append(("x-stainless-raw-response", "true"))
        found.append(("x-stainless-retry-count", "0"))
        if not langchain:
            found.append(("x-stainless-read-timeout", "600"))
        return tuple(found)


class Traffic:
    """Draws canaries for one model as it is served.

    Args:
        model: the model's name in OpenAI's interface.
        chat: whether the model has a chat template; without one all requests are completions of text.
        bodies: recorded bodies of requests. Half of the canaries take their prompts from them.
        key: API key, or None.
        nonce_by: "client", "node" or "mixed": who chooses the nonces. A node may treat clients that send
            none in another way, so an audit draws both kinds unless told otherwise.
        interval: mean seconds between two requests; 0: no pauses.
        max_tokens: the most tokens that a canary asks for; None: the client's usual numbers, or none at all.
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
        bodies: Sequence[Mapping[str, object]] = (),
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
        self._bodies = [dict(b) for b in bodies]
        for i, body in enumerate(self._bodies):
            if ("messages" in body) == ("prompt" in body):
                raise InputError(f"recorded request {i + 1} has neither messages nor a prompt, or both")

    def next(self) -> Canary:
        """Draw one canary."""
        draw = self._draw
        langchain = draw.random() < 0.3
        if self._bodies and draw.random() < 0.5:
            body = dict(draw.choice(self._bodies))
            langchain = False
        else:
            body = self._written(langchain)
        body["model"] = self._model
        if self._most is not None:
            name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
            asked = body.get(name)
            body[name] = min(asked, self._most) if type(asked) is int else draw.randint(1, self._most)
        by = self._nonce_by
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

    def _written(self, langchain: bool) -> dict[str, object]:
        """Return a body with a prompt of our own and parameters such as clients send."""
        draw = self._draw
        words = int(self._words * draw.random() ** 3) if draw.random() < 0.5 else 0
        body: dict[str, object] = {}
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
        if draw.random() < 0.7:
            name = "max_completion_tokens" if self._chat and langchain else "max_tokens"
            body[name] = draw.choice(_MOST_TOKENS)
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


def encoded(body: Mapping[str, object]) -> bytes:
    """Return a body as openai's client writes it: its order of fields, no spaces, letters as UTF-8."""
    ordered = {name: body[name] for name in _FIRST if name in body}
    ordered |= {name: body[name] for name in sorted(body) if name not in ordered}
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
