"""A node with OpenAI's interface, without a network: honest, or changed by one function per cheat."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from types import ModuleType
from typing import Any

from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import InputError
from proofcompute.importers.compiling import compile_decoder
from proofcompute.models.model import Model
from proofcompute.openai import (
    NONCE_HEADER,
    Call,
    OpenCall,
    ProofField,
    Reply,
    Usage,
    call_of,
    error_of,
    model_object,
    models_object,
    nonce_of_header,
    read_json,
)
from proofcompute.protocol.messages import Terms
from proofcompute.prover.node import Answer, Node
from proofcompute.testing import TINY
from proofcompute.testing.models import random_checkpoint
from proofcompute.tokens import Prompter

KERNELS = NumpyKernels()
NODE = NodeIdentity(bytes(range(32)))
OTHER = NodeIdentity(bytes(range(1, 33)))
BASE = "http://node.example/v1"
NAME = "tiny"
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
MESSAGES = [{"role": "user", "content": "Hello"}]


@cache
def model(seed: int = 0) -> Model:
    """A tiny model with a chat template."""
    checkpoint = random_checkpoint(seed, replace(TINY, context=512))
    return compile_decoder(replace(checkpoint, chat_template=TEMPLATE), KERNELS, "w8a16")


def model_id() -> bytes:
    return model().model_id


@cache
def prompter(seed: int = 0) -> Prompter:
    return Prompter(model(seed))


Change = Callable[[Any], Any]


@dataclass
class Service:
    """A node. What a cheat changes, it changes after the honest answer was made."""

    seed: int = 0
    identity: NodeIdentity = NODE
    terms: Terms | None = field(default_factory=lambda: Terms.of(NODE, base=30, rate=1000, retention=3600))
    change: Change = lambda sent: sent
    """Changes the response, or each chunk of a stream, before it is written."""
    rewrite: Change = lambda events: events
    """Changes the list of events of a stream, or the bytes of a response."""
    other: Callable[[dict[str, Any]], dict[str, Any]] = lambda body: body
    """Changes the body that the node answers instead of the one that it got."""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    open: Callable[[Node, OpenCall], bytes | tuple[int, dict[str, str], bytes]] = lambda node, call: (
        node.open(*call)
    )
    """Returns the opening of a challenge, or another response."""
    draw: Callable[[], bytes] = lambda: bytes(range(32))
    """Draws the nonce of a client that sends none."""
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    """Method, path, headers and body of each request."""

    def __post_init__(self) -> None:
        self.node = Node(model(self.seed), self.identity, device=KERNELS, terms=self.terms)

    # -- HTTP ----------------------------------------------------------------------------------------------
    def transport(self, library: ModuleType) -> Any:
        """A transport of httpx or httpx2, synchronous and asynchronous, that asks this node."""

        def handle(request: Any) -> Any:
            status, headers, body = self.respond(
                request.method, request.url.raw_path.decode(), dict(request.headers), request.read()
            )
            pieces = body if isinstance(body, list) else [body]
            return library.Response(status, headers=headers, stream=_stream(library, pieces))

        return library.MockTransport(handle)

    def respond(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes | list[bytes]]:
        self.asked.append((method, path, headers, body))
        match method, path.removeprefix("/v1"):
            case "POST", "/chat/completions":
                return self._answer("chat", headers, body)
            case "POST", "/completions":
                return self._answer("completions", headers, body)
            case "POST", "/proofs/open":
                found = self.open(self.node, OpenCall.decode(body))
                return (200, {}, found) if isinstance(found, bytes) else found
            case "GET", "/models":
                return self._json(200, models_object([model_object(NAME, self.node.model.model_id, 0)]))
            case "GET", "/proofs/terms":
                return (200, {}, self.terms.encode()) if self.terms else (404, {}, b"")
            case "GET", card if card.startswith("/proofs/card/"):
                return 200, {}, model(self.seed).card.encode()
        return 404, {}, b""

    def _json(self, status: int, value: Any) -> tuple[int, dict[str, str], bytes]:
        return status, {"content-type": "application/json", **self.headers}, json.dumps(value).encode()

    def _answer(
        self, endpoint: Any, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes | list[bytes]]:
        if self.status != 200:
            return self._json(self.status, {"error": {"message": "busy", "type": "overloaded"}})
        try:
            call = call_of(self.other(read_json(body, 1 << 20)), endpoint=endpoint)
        except InputError as e:
            return self._json(400, error_of(e))
        sent = headers.get(NONCE_HEADER.lower())
        nonce = self.draw() if sent is None else nonce_of_header(sent)
        day = datetime.now(UTC).date()
        requests = call.requests(prompter(self.seed), nonce=nonce, date=day, node=self.identity.public)
        answers = [self.node.answer(r) for r in requests]
        proofs = [
            ProofField(
                choice=i,
                receipt=a.receipt,
                nonce=nonce,
                nonce_by="node" if sent is None else "client",
                model_id=self.node.model.model_id,
                node=self.identity.public,
                date=day,
                open="/v1/proofs/open",
            )
            for i, a in enumerate(answers)
        ]
        reply = Reply.of(call, requests[0], 1_700_000_000)
        prompt = len(requests[0].inputs[0][1]) // 4
        if call.stream:
            chunks = list(self._chunks(call, reply, answers, proofs, prompt))
            events = [json.dumps(self.change(copy.deepcopy(c))) for c in chunks]
            data = [f"data: {e}\n\n".encode() for e in [*events, "[DONE]"]]
            kind = {"content-type": "text/event-stream; charset=utf-8", **self.headers}
            return 200, kind, self.rewrite(data)
        usage = Usage(prompt, sum(len(a.tokens) for a in answers))
        whole = reply.whole([(a.text, a.stop_reason) for a in answers], usage, proofs)
        status, kind, data_ = self._json(200, self.change(whole))
        return status, kind, self.rewrite(data_)

    def _chunks(
        self, call: Call, reply: Reply, answers: list[Answer], proofs: list[ProofField], prompt: int
    ) -> Iterator[dict[str, Any]]:
        for i, a in enumerate(answers):
            half = len(a.text) // 2
            yield reply.chunk(i, a.text[:half], first=True)
            yield reply.chunk(i, a.text[half:])
        for i, (a, proof) in enumerate(zip(answers, proofs, strict=True)):
            yield reply.chunk(i, "", reason=a.stop_reason, proof=proof)
        if call.include_usage:
            yield reply.last(Usage(prompt, sum(len(a.tokens) for a in answers)))


def _stream(library: ModuleType, pieces: list[bytes]) -> Any:
    """A body that comes in pieces, as it does over a network."""

    class Pieces(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Iterator[bytes]:
            yield from pieces

        async def __aiter__(self) -> Any:
            for piece in pieces:
                yield piece

    return Pieces()
