"""Serve what auditors need: terms, cards, receipts, and openings of challenged cells."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import BinaryIO, Final, cast, final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from proofcompute.errors import (
    ChallengeLimitError,
    FormatError,
    InputError,
    LimitError,
    MismatchError,
)
from proofcompute.limits import KIB
from proofcompute.openai import OpenCall
from proofcompute.protocol.frames import require_signer
from proofcompute.protocol.messages import Challenge, Receipt, Request
from proofcompute.serving.clients import Client
from proofcompute.serving.gate import Exchange
from proofcompute.serving.pipe import Pipe
from proofcompute.serving.refusals import Refusal
from proofcompute.serving.service import Served, Service

__all__ = ["CBOR", "CBOR_SEQUENCE", "card", "kept", "open_cells", "receipt", "terms"]

CBOR: Final = "application/cbor"
CBOR_SEQUENCE: Final = "application/cbor-seq"
"""The media type of frames (RFC 8742)."""
_FOREVER: Final = "public, max-age=31536000, immutable"
_PIECE: Final = 64 * KIB
"""Most bytes that are given to the server at a time."""
_PATIENCE: Final = 3.0
"""Seconds for which a reader may keep its sender waiting while other clients wait for the place."""
_LEAST: Final = 512 * KIB
"""Bytes a second that it must read besides."""


def terms(service: Service) -> Response:
    """Return the node's signed terms. Raises Refusal (404) if it states none."""
    if service.terms is None:
        raise Refusal.of(404, "this node states no terms", "not_found")
    return Response(service.terms.encode(), media_type=CBOR)


def card(service: Service, name: str) -> Response:
    """Return the card of a model. Raises Refusal (404) if the model is not served."""
    return Response(service.model(name).card, media_type=CBOR, headers={"Cache-Control": _FOREVER})


def receipt(service: Service, client: Client, digest: str) -> Response:
    """Return the receipt for a client's request. Raises Refusal (404) if there is none."""
    try:
        found = service.receipts.get(client, bytes.fromhex(digest))
    except ValueError:
        found = None
    if found is None:
        raise Refusal.of(404, "no receipt is kept for this request of yours", "not_found")
    return Response(found, media_type=CBOR, headers={"Cache-Control": "private, no-store"})


def kept(service: Service, digest: str) -> Response:
    """Return request and receipt of a call, two frames, by the receipt's digest.

    Nobody knows the digest but who has the receipt. Raises Refusal (404) if the call is not kept.
    """
    try:
        wanted = bytes.fromhex(digest) if len(digest) == 64 else b""
    except ValueError:
        wanted = b""
    pairs = (one.get(wanted) for one in service.kept) if wanted else iter(())
    found = next((pair for pair in pairs if pair is not None), None)
    if found is None:
        raise Refusal.of(404, "no call with such a receipt is kept", "not_found")
    return Response(found, media_type=CBOR_SEQUENCE, headers={"Cache-Control": "private, no-store"})


# -- openings ------------------------------------------------------------------------------------------------
async def open_cells(service: Service, exchange: Exchange, body: bytes) -> Response:
    """Open the cells that a challenge names; the body has three frames: request, receipt and challenge.

    Nothing but the body is needed: any receipt that this node signed can be opened, if it is given with its
    request. A client has one opening at a time, which is counted before anything is decoded. Raises what
    :func:`.refusal_of` turns into a response.
    """
    hold = _Hold(service, exchange)
    call = await service.prepare(len(body), _read, service, body)
    await hold.take_turn()
    return await _open(service, hold, *call)


def _read(service: Service, body: bytes) -> tuple[Served, Request, Receipt, Challenge]:
    """Decode the body and check, from the cheapest check to the dearest, that its parts belong together."""
    asked, signed, named = OpenCall.split(body)
    found = Receipt.decode(signed)
    served = service.model_of(found)
    require_signer(found, service.identity)
    challenge = Challenge.decode(named)
    if challenge.receipt_digest != found.digest:
        raise MismatchError("the challenge is for another receipt")
    request = Request.decode(asked)
    if request.digest != found.request_digest:
        raise MismatchError("the receipt is not for this request")
    return served, request, found, challenge


@final
class _Hold:
    """What an opening holds until it is sent and nothing works for it: its client's count, and a place."""

    def __init__(self, service: Service, exchange: Exchange) -> None:
        """Count the client. Raises BusyError if it has as many openings as it may have."""
        self._service, self._exchange = service, exchange
        self._scope = exchange.client.scope
        self._since: float | None = None
        """When the opening took its place, if it did."""
        self._users = 1
        service.challengers.take(exchange.client, 1, 0)
        self._sent = False
        exchange.leaving.callback(self.sent)

    async def take_turn(self) -> None:
        """Wait for a place. Raises BusyError if there is none in time."""
        await self._service.turns.take(self._scope, self._service.limits.turn_seconds)
        self._since = time.monotonic()
        self._exchange.hurry = self._hurry

    def use(self, work: asyncio.Future[None]) -> None:
        """Hold everything until some work has ended, too."""
        self._users += 1
        work.add_done_callback(lambda _: self._end())

    def opens(self, challenge: Challenge) -> None:
        """Say that the opening is made: it is no waste, unless the challenge was opened too often before."""
        if self._service.opened.free(challenge.digest):
            self._exchange.computes()

    def sent(self) -> None:
        """Say that nothing follows but the end of the response, or that the exchange has ended."""
        if not self._sent:
            self._sent = True
            self._end()

    def _hurry(self, stalled: float, nbytes: int) -> bool:
        """Return whether others wait while this client reads too slowly."""
        return self._service.turns.waiting > 0 and stalled > _PATIENCE + nbytes / _LEAST

    def _end(self) -> None:
        self._users -= 1
        if self._users:
            return
        self._service.challengers.give_back(self._exchange.client, 1, 0)
        if self._since is not None:
            self._service.turns.give_back(self._scope, time.monotonic() - self._since)


async def _open(
    service: Service, hold: _Hold, served: Served, request: Request, asked: Receipt, challenge: Challenge
) -> Response:
    """Begin an opening, and return the response once its first bytes are there."""
    limits, metrics = service.limits, service.metrics
    total = limits.opening_seconds
    if service.terms is not None:  # later it would be rejected, and others wait for the place
        total = service.terms.deadline(asked.rows, total)
    pipe = Pipe(asyncio.get_running_loop(), limits.write_seconds, total)
    start = time.monotonic()

    def work() -> None:
        try:
            hearer, ending = served.proof(asked, challenge)
            opener = served.runner.opener
            opener.open(request, asked, challenge, cast(BinaryIO, pipe), hearer=hearer, ending=ending)
        finally:
            pipe.end()

    def ended(work: asyncio.Future[None]) -> None:
        error = None if work.cancelled() else work.exception()
        outcome = "opened" if error is None else _OUTCOMES.get(type(error), "failed")
        metrics.openings.labels(served.name, outcome).inc()
        metrics.opening_seconds.labels(served.name).observe(time.monotonic() - start)

    running = asyncio.ensure_future(service.open(work))
    running.add_done_callback(ended)
    hold.use(running)
    parts = pipe.read_parts()
    try:
        first = await anext(parts, b"")
        if not first:
            await running  # raises what prevented the opening
    except BaseException:
        pipe.leave()
        raise
    hold.opens(challenge)
    return _Opening(hold, pipe, running, first, parts)


_OUTCOMES: Final[dict[type[BaseException], str]] = {
    BrokenPipeError: "left",
    ChallengeLimitError: "refused",
    FormatError: "refused",
    InputError: "refused",
    LimitError: "refused",
    MismatchError: "refused",
}


@final
class _Opening(Response):
    """An opening, sent as it is made."""

    media_type = CBOR_SEQUENCE

    def __init__(
        self, hold: _Hold, pipe: Pipe, running: asyncio.Future[None], first: bytes, rest: AsyncIterator[bytes]
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._pipe, self._running, self._first, self._rest = pipe, running, first, rest
        self._hold = hold

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response. An opening that breaks off lacks its last frame, so none takes it for whole."""
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            await self._send(self._first, send)
            async for part in self._rest:
                await self._send(part, send)
            await self._running
            self._hold.sent()  # before the client can send the next one
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._pipe.leave()

    async def _send(self, part: bytes, send: Send) -> None:
        """Send a part in small pieces, so that the server holds few that are not read."""
        for at in range(0, len(part), _PIECE):
            await send({"type": "http.response.body", "body": part[at : at + _PIECE], "more_body": True})
