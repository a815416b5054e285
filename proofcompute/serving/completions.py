"""Answer chat and text completions: whole, or as a stream of events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from proofcompute.errors import InputError, ProofcomputeError
from proofcompute.openai import (
    Call,
    Endpoint,
    Json,
    ParameterError,
    Reply,
    Usage,
    call_of,
    read_json,
)
from proofcompute.protocol.answer import AnswerText
from proofcompute.prover.ticket import Ticket
from proofcompute.serving.clients import Client
from proofcompute.serving.computing import Asked, Computing, begun
from proofcompute.serving.gate import Exchange
from proofcompute.serving.refusals import json_bytes, refusal_of
from proofcompute.serving.service import Service

__all__ = ["Completion", "complete"]

_TOKEN: Final = 4

_Emit = Callable[[dict[str, Json]], Awaitable[None]]


@dataclass(frozen=True, eq=False)
class Completion:
    """A call whose choices are computed."""

    work: Computing
    call: Call
    reply: Reply

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""
        return len(self.work.requests[0].inputs[0][1]) // _TOKEN

    def leave(self) -> None:
        """Give up what is not answered yet, and end the count of what the client asked for."""
        self.work.leave()


async def complete(
    service: Service, endpoint: Endpoint, exchange: Exchange, body: bytes, nonce: str | None
) -> Response:
    """Answer a completion. Raises what :func:`.refusal_of` turns into a response."""
    begin = partial(_begin, service, endpoint, exchange.client, body, nonce)
    completion = await begun(service, len(body), begin)
    exchange.computes()
    if completion.call.stream:
        return _Stream(completion)
    try:
        return await _whole(completion)
    finally:
        completion.leave()


def _begin(
    service: Service, endpoint: Endpoint, client: Client, body: bytes, header: str | None
) -> Completion:
    """Read a body, and let the model's runner compute all choices."""
    asked = Asked.now(client, header)
    call = call_of(read_json(body, service.limits.body), endpoint=endpoint)
    served = service.model(call.model)
    if served.prompter is None:
        raise ParameterError("model", "is not a language model")
    requests = call.requests(served.prompter, nonce=asked.nonce, date=asked.date, node=service.public)
    work = Computing.start(service, served, asked, requests)
    return Completion(work=work, call=call, reply=Reply.of(call, requests[0], int(time.time())))


# -- a whole response ----------------------------------------------------------------------------------------
async def _whole(c: Completion) -> Response:
    answers = [await ticket.answer() for ticket in c.work.tickets]
    proofs = [c.work.proof(i, answer) for i, answer in enumerate(answers)]
    usage = Usage(c.prompt, sum(len(answer.tokens) for answer in answers))
    shown = [(answer.text, answer.stop_reason) for answer in answers]
    response = Response(json_bytes(c.reply.whole(shown, usage, proofs)), media_type="application/json")
    c.work.name_receipt(response, answers[0].receipt)
    return response


# -- a stream ------------------------------------------------------------------------------------------------
@final
class _Stream(Response):
    """Events of a stream, as the choices' tokens come. They are sent by one task for each choice."""

    media_type = "text/event-stream"

    def __init__(self, completion: Completion) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._c = completion
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        c = self._c

        async def event(data: bytes) -> None:
            async with self._lock:
                body = b"data: " + data + b"\n\n"
                await send({"type": "http.response.body", "body": body, "more_body": True})

        async def emit(chunk: dict[str, Json]) -> None:
            await event(json_bytes(chunk))

        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            try:
                async with asyncio.TaskGroup() as group:
                    runs = [_Choice(c, i, ticket).run(emit) for i, ticket in enumerate(c.work.tickets)]
                    choices = [group.create_task(run) for run in runs]
                if c.call.include_usage:
                    await emit(c.reply.last(Usage(c.prompt, sum(choice.result() for choice in choices))))
            except* (ProofcomputeError, MemoryError) as errors:
                refusal = refusal_of(errors.exceptions[0])
                c.work.service.metrics.refusals.labels(refusal.reason).inc()
                await emit(refusal.body)
            await event(b"[DONE]")
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            c.leave()


@final
class _Choice:
    """One choice of a stream."""

    def __init__(self, completion: Completion, number: int, ticket: Ticket) -> None:
        self._c, self._number, self._ticket = completion, number, ticket
        vocabulary = completion.work.served.runner.model.card.vocabulary
        if vocabulary is None:
            raise InputError("not a language model")
        self._text = AnswerText(vocabulary, completion.call.stops)
        self._tokens = 0
        self._first = True

    async def run(self, emit: _Emit) -> int:
        """Send all chunks of the choice, and return the number of its tokens."""
        reply, ticket = self._c.reply, self._ticket
        async for delta in ticket:
            self._tokens += len(delta)
            text = self._text.push(*delta)
            if ticket.stop_reason is not None and self._tokens == len(ticket.tokens):
                text += self._text.finish(ticket.stop_reason)
            if text:
                await emit(reply.chunk(self._number, text, first=self._first, usage=self._usage))
                self._first = False
        answer = await ticket.answer()
        last = reply.chunk(
            self._number,
            "",
            first=self._first,
            usage=self._usage,
            reason=answer.stop_reason,
            proof=self._c.work.proof(self._number, answer),
        )
        await emit(last)
        return self._tokens

    @property
    def _usage(self) -> Usage:
        return Usage(self._c.prompt, self._tokens)
