"""Serve what auditors need: terms, cards, receipts, and openings of challenged cells."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import BinaryIO, Final, cast, final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from proofcompute.errors import (
    BusyError,
    ChallengeLimitError,
    FormatError,
    InputError,
    LimitError,
    MismatchError,
)
from proofcompute.openai import OpenCall
from proofcompute.protocol.frames import require_signer
from proofcompute.protocol.messages import Challenge, Receipt, Request
from proofcompute.serving.clients import Client
from proofcompute.serving.pipe import Pipe
from proofcompute.serving.refusals import Refusal
from proofcompute.serving.service import Served, Service

__all__ = ["CBOR", "CBOR_SEQUENCE", "card", "open_cells", "receipt", "terms"]

CBOR: Final = "application/cbor"
CBOR_SEQUENCE: Final = "application/cbor-seq"
"""The media type of frames (RFC 8742)."""
_FOREVER: Final = "public, max-age=31536000, immutable"
_WAIT: Final = 5.0
"""Seconds after which to ask again when too many openings are made."""


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


# -- openings ------------------------------------------------------------------------------------------------
async def open_cells(service: Service, client: Client, body: bytes) -> Response:
    """Open the cells that a challenge names; the body has three frames: request, receipt and challenge.

    Nothing but the body is needed: any receipt that this node signed can be opened, if it is given with its
    request. Raises what :func:`.refusal_of` turns into a response.
    """
    served, request, asked, challenge = await service.prepare(_read, service, body)
    return await _open(service, client, served, request, asked, challenge)


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


async def _open(
    service: Service, client: Client, served: Served, request: Request, asked: Receipt, challenge: Challenge
) -> Response:
    """Begin an opening, and return the response once its first bytes are there."""
    if service.openings >= service.limits.openings:
        raise BusyError("too many openings are made now", _WAIT)
    limits, metrics = service.limits, service.metrics
    total = limits.opening_seconds
    if service.terms is not None:  # later it would be rejected, and others wait for the place
        total = service.terms.deadline(asked.rows, total)
    pipe = Pipe(asyncio.get_running_loop(), limits.write_seconds, total)
    start = time.monotonic()

    def work() -> None:
        try:
            served.runner.opener.open(request, asked, challenge, cast(BinaryIO, pipe))
        finally:
            pipe.end()

    def ended(work: asyncio.Future[None]) -> None:
        service.openings -= 1
        service.challengers.give_back(client, 1, 0)
        error = None if work.cancelled() else work.exception()
        outcome = "opened" if error is None else _OUTCOMES.get(type(error), "failed")
        metrics.openings.labels(served.name, outcome).inc()
        metrics.opening_seconds.labels(served.name).observe(time.monotonic() - start)

    service.challengers.take(client, 1, 0)
    service.openings += 1
    running = asyncio.ensure_future(service.open(work))
    running.add_done_callback(ended)
    parts = pipe.read_parts()
    try:
        first = await anext(parts, b"")
        if not first:
            await running  # raises what prevented the opening
    except BaseException:
        pipe.leave()
        raise
    return _Opening(pipe, running, first, parts)


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
        self, pipe: Pipe, running: asyncio.Future[None], first: bytes, rest: AsyncIterator[bytes]
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._pipe, self._running, self._first, self._rest = pipe, running, first, rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response. An opening that breaks off lacks its last frame, so none takes it for whole."""
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            async for part in self._rest:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await self._running
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._pipe.leave()
