"""Pass a question on to nodes until one gives an answer whose receipts hold.

Another node is asked only as long as the client has seen no text of the answer: after that the client gets an
error, since two nodes' texts would make one answer that no receipt is for. The client never sees the end of
an answer whose receipts do not hold; the transport below holds it back
(:mod:`proofcompute.client.transport`).
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

import httpx2
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from proofcompute.client.challenger import retry_after
from proofcompute.client.checked import Checked
from proofcompute.client.contradictions import Contradiction
from proofcompute.client.limits import MAX_BODY
from proofcompute.client.relayed import EXTENSION, Relayed
from proofcompute.errors import ProofcomputeError, ServiceError, StorageError, VerificationError
from proofcompute.gateway.auditing import Drawn
from proofcompute.gateway.fleet import Member
from proofcompute.gateway.records import Choice, Record
from proofcompute.openai import (
    FIELD,
    RECEIPT_HEADER,
    RECEIPT_ID_HEADER,
    Call,
    EmbeddingCall,
    Endpoint,
    call_of,
    embedding_call_of,
    error_object,
    nonce_of_header,
    read_json,
)
from proofcompute.serving.gate import Exchange
from proofcompute.serving.refusals import Refusal, json_bytes
from proofcompute.serving.waiting import Waiting

if TYPE_CHECKING:
    from proofcompute.gateway.gateway import Gateway

__all__ = ["ANSWER_HEADER", "ASSURANCE_HEADER", "FIELD_NAME", "relay"]

ASSURANCE_HEADER: Final = "Proofcompute-Assurance"
"""Of a question: ``body`` or ``none``, whether the answer's body says how far it was checked. Of an answer
that is not a stream: its level."""
ANSWER_HEADER: Final = "Proofcompute-Answer"
"""The gateway's id for an answer, by which its assurance can be looked up later."""
FIELD_NAME: Final = "assurance"
"""Name of the field in the body of an answer, or in the chunks of a stream that end its choices."""

_PATHS: Final = {"chat": "/chat/completions", "completions": "/completions", "embeddings": "/embeddings"}
_ERROR: Final = b'data: {"error":'
"""How an event that is an error begins, as the transport writes it."""
_DONE: Final = b"data: [DONE]\n\n"
_UNWRITTEN: Final = "the answer's receipt cannot be kept now"
_OURS: Final = frozenset({400, 404, 413, 415, 422})
"""Statuses by which a node refuses a question; another node may take it."""


class Elsewhere(Exception):
    """One node gave no answer that the client may see; another one is asked. Inside the gateway only."""

    def __init__(self, why: str, *, refused: dict[str, Any] | None = None) -> None:
        self.refused = refused
        """The error of a node that refuses the question."""
        super().__init__(why)


@dataclass(frozen=True, eq=False)
class Asked:
    """A question as it came."""

    endpoint: Endpoint
    body: bytes
    call: Call | EmbeddingCall
    record: Record
    shows: bool
    """Whether the answer's body says how far it was checked."""

    @property
    def stream(self) -> bool:
        """Whether a stream is wanted."""
        return isinstance(self.call, Call) and self.call.stream


async def relay(
    gateway: Gateway,
    endpoint: Endpoint,
    exchange: Exchange,
    body: bytes,
    nonce: str | None,
    shows: str | None,
) -> Response:
    """Answer a question. Raises Refusal or InputError for one that cannot be answered."""
    asked = await gateway.prepare(len(body), _asked, gateway, endpoint, body, nonce, shows)
    record, patience = asked.record, gateway.patience
    refused: dict[str, Any] | None = None
    for member in gateway.fleet.order(asked.call.model)[: int(patience.attempts)]:
        attempt = Attempt(gateway, member, asked)
        try:
            made = await attempt.begin()
        except Elsewhere as e:
            await attempt.leave()
            refused = refused or e.refused
            record.restart(str(e))
            gateway.metrics.attempts.labels(member.name, "failed").inc()
            continue
        except BaseException:
            await attempt.leave()
            raise
        exchange.computes()
        return made
    gateway.publish("answer", record.describe())
    if refused is not None:
        raise Refusal(400, refused, "refused_by_nodes", {ANSWER_HEADER: record.id})
    said = "; ".join(f"{node}: {why}" for node, why in record.tried) or "none is asked now"
    refusal = Refusal.of(
        503, f"no node gave an answer that holds ({said})", "no_node", kind="server_error", wait=patience.rest
    )
    refusal.headers[ANSWER_HEADER] = record.id
    raise refusal


def _asked(gateway: Gateway, endpoint: Endpoint, body: bytes, nonce: str | None, shows: str | None) -> Asked:
    sent = read_json(body, min(gateway.limits.body, MAX_BODY))
    call: Call | EmbeddingCall = (
        embedding_call_of(sent) if endpoint == "embeddings" else call_of(sent, endpoint=endpoint)
    )
    entry = gateway.models.get(call.model)
    if entry is None:
        raise Refusal.of(404, "there is no such model here; see /v1/models", "model_not_found")
    if shows not in (None, "body", "none"):
        raise Refusal.of(400, f"{ASSURANCE_HEADER} is body or none", "invalid_value")
    record = Record(
        call.model,
        gateway.model_id(call.model),
        secrets.token_bytes(32) if nonce is None else nonce_of_header(nonce),
        "gateway" if nonce is None else "client",
        n=call.n,
    )
    gateway.records.add(record)
    # who sends a nonce checks the answer, and a checking client refuses fields that no receipt binds
    return Asked(endpoint, body, call, record, (shows or ("body" if nonce is None else "none")) == "body")


@final
@dataclass(eq=False)
class Attempt:
    """One node that is asked one question."""

    gateway: Gateway
    member: Member
    asked: Asked
    checked: list[Checked] = field(default_factory=list)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    first: float | None = None
    """Seconds to the first text."""
    start: float = field(default_factory=time.monotonic)
    working: bool = False
    """Whether the node is counted as working on it."""
    drawn: list[Drawn] = field(default_factory=list)
    """Choices that are audited when this attempt ends, however it does."""

    def __post_init__(self) -> None:
        self.working, self.member.live = True, self.member.live + 1
        self.asked.record.node, self.asked.record.node_key = self.member.name, self.member.entry.public

    # -- what the transport tells --------------------------------------------------------------------------
    def _take(self, checked: Checked) -> None:
        """Keep a choice whose receipt holds, before its end is passed on. It runs in any thread."""
        choice, record = Choice.of(checked), self.asked.record
        drawn = self.gateway.receipt(self.member, record, checked)
        self.gateway.records.checked(record, choice)
        self.checked.append(checked)
        if drawn is not None:
            self.drawn.append(drawn)

    def _contradicted(self, found: Contradiction) -> None:
        self.gateway.contradicted(self.member, self.asked.record, found)

    # -- asking --------------------------------------------------------------------------------------------
    async def begin(self) -> Response:
        """Ask the node, and return the response once the client may see its first part.

        Raises Elsewhere if another node should be asked, and InputError for a question that none can answer.
        """
        patience = self.gateway.patience
        try:
            async with asyncio.timeout(patience.first if self.asked.stream else patience.whole):
                response = await self._send()
                if response.status_code != 200:
                    raise await self._refused(response)
                if not self.asked.stream:
                    return self._whole(await response.aread())
                events = aiter(response.aiter_raw())
                event = await anext(events, b"")
                if not event or event.startswith(_ERROR):
                    raise self._failed("it ended the answer before its first text")
                self.first = time.monotonic() - self.start
                return Passed(self, event, events)
        except VerificationError as e:
            raise self._failed(f"contradicted: {e}", rest=False) from e
        except (httpx2.TransportError, ServiceError) as e:
            raise self._failed(f"it cannot be reached: {e or type(e).__name__}") from e
        except StorageError as e:
            said = f"{_UNWRITTEN}, and it is not passed on"
            raise Refusal.of(503, said, "no_books", kind="server_error", wait=patience.rest) from e
        except TimeoutError as e:
            raise self._failed("it was too slow") from e

    async def _send(self) -> httpx2.Response:
        asked = self.asked
        relayed = Relayed(asked.record.nonce, self._take, self._contradicted)
        request = self.member.client.build_request(
            "POST",
            self.member.entry.url + _PATHS[asked.endpoint],
            content=asked.body,
            extensions={EXTENSION: relayed},
        )
        response = await self.member.client.send(request, stream=True)
        self.stack.push_async_callback(response.aclose)
        return response

    async def _refused(self, response: httpx2.Response) -> Elsewhere:
        status = response.status_code
        body = (await response.aread())[:65_536]
        said = f"status {status}"
        try:
            message = read_json(body, 65_536)["error"]["message"]  # type: ignore[index, call-overload]
        except (ProofcomputeError, KeyError, TypeError):
            message = None
        if isinstance(message, str):
            said += f": {message[:200]}"
        if status in _OURS:  # the node is well, and may take other questions
            return Elsewhere(said, refused=error_object(f"refused by node {self.member.name}: {said}"))
        wait = retry_after(response.headers.get("retry-after"))
        return self._failed(said, seconds=max(0.25, wait) if status == 429 and wait is not None else None)

    def _failed(self, why: str, *, seconds: float | None = None, rest: bool = True) -> Elsewhere:
        if rest:
            self.member.failed(why, seconds)
        self.gateway.publish("node", self.member.describe())
        return Elsewhere(why)

    # -- the answer ----------------------------------------------------------------------------------------
    def _whole(self, data: bytes) -> Response:
        self.first = time.monotonic() - self.start
        self.complete()
        record = self.asked.record
        body = data
        if self.asked.shows:
            body = json_bytes({**json.loads(data), FIELD_NAME: record.brief()})
        headers = {ANSWER_HEADER: record.id, ASSURANCE_HEADER: record.level}
        receipt = self.checked[0].receipt
        if len(shown := b64encode(receipt).decode()) <= self.gateway.limits.header_receipt:
            headers[RECEIPT_HEADER] = shown
        headers[RECEIPT_ID_HEADER] = record.choices[0].receipt_digest.hex()
        return _Leaving(body, headers, self)

    def complete(self) -> None:
        """Note that the whole answer holds. Raises VerificationError (step 1) unless it has all its
        receipts.
        """
        if len(self.checked) != self.asked.record.n:
            raise VerificationError(1, "an answer whose receipts were not checked")
        self.gateway.answered(self.member, self.asked.record, self.first or 0.0, self.checked)

    async def leave(self) -> None:
        """Release the connection, end the count of what the node works on, and begin the audits."""
        stack, self.stack = self.stack, AsyncExitStack()
        drawn, self.drawn = self.drawn, []
        for one in drawn:
            self.gateway.auditing.add(one)
        if self.working:
            self.working, self.member.live = False, self.member.live - 1
        with suppress(httpx2.TransportError):
            await stack.aclose()


@final
class _Leaving(Response):
    """A whole answer."""

    media_type = "application/json"

    def __init__(self, body: bytes, headers: dict[str, str], attempt: Attempt) -> None:
        super().__init__(body, headers=headers)
        self._attempt = attempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; the node is not needed any more."""
        await self._attempt.leave()
        await super().__call__(scope, receive, send)


@final
class Passed(Response):
    """A stream, as its events come."""

    media_type = "text/event-stream"

    def __init__(self, attempt: Attempt, first: bytes, events: AsyncIterator[bytes]) -> None:
        headers = {
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            ANSWER_HEADER: attempt.asked.record.id,
        }
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._attempt, self._first, self._events = attempt, first, events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events, and an error instead of the end if the answer does not hold."""
        attempt = self._attempt

        async def emit(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            error = await self._pass(emit)
            if error is not None:
                attempt.gateway.metrics.refusals.labels("broken_answer").inc()
                said = error_object(
                    f"{error} (answer {attempt.asked.record.id})", kind="server_error", code="broken_answer"
                )
                await emit(b"data: " + json_bytes(said) + b"\n\n")
                await emit(_DONE)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await attempt.leave()
            attempt.gateway.publish("answer", attempt.asked.record.describe())

    async def _pass(self, emit: Any) -> str | None:
        """Pass the other events on; return what the client must know instead of an end."""
        attempt, patience = self._attempt, self._attempt.gateway.patience
        event = self._first
        # from its first receipt on, the answer waits for the end mark: nothing contradicts it after that
        held: list[bytes] = []
        try:
            async with Waiting(patience.idle, attempt.start + patience.whole) as waiting:
                while event:
                    if event.startswith(_ERROR):
                        attempt._failed("it broke an answer off")
                        await emit(event)
                        await emit(_DONE)
                        return None
                    if event == _DONE:
                        attempt.complete()
                        await emit(b"".join([*map(self._assured, held), _DONE]))
                        return None
                    if attempt.checked:
                        held.append(event)
                    else:
                        await emit(event)
                    with waiting:
                        event = await anext(self._events, b"")
        except VerificationError as e:
            attempt._failed(f"contradicted: {e}", rest=False)
            return f"the node's answer is contradicted, and its text must not be used: {e}"
        except (httpx2.TransportError, ServiceError) as e:
            attempt._failed(f"it broke an answer off: {e or type(e).__name__}")
            return "the node broke its answer off"
        except StorageError:
            return _UNWRITTEN
        except TimeoutError:
            attempt._failed("it was too slow")
            return "the node was too slow, and its answer was given up"
        return "the node's answer has no end"

    def _assured(self, event: bytes) -> bytes:
        """Return an event, with the assurance of the answer if it ends a choice and the client wants it."""
        sent = json.loads(event.removeprefix(b"data: "))
        if FIELD not in sent or not self._attempt.asked.shows:
            return event
        return b"data: " + json_bytes({**sent, FIELD_NAME: self._attempt.asked.record.brief()}) + b"\n\n"
