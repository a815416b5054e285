"""Stand between the server and the application: who asks, how much, and for how long.

Bodies are read here, within a number of bytes and seconds, before the application sees a request. While it
answers, the gate waits for the client to leave, and then cancels the answer, streamed or not. What a client
does not read within some seconds cuts it off.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proofcompute.logs import service_log
from proofcompute.serving.clients import Client, address_of
from proofcompute.serving.refusals import Refusal
from proofcompute.serving.service import Service

__all__ = ["CLIENT", "Gate"]

_log = service_log(__name__)

CLIENT: Final = "proofcompute.client"
"""Key of the client in a request's scope."""
_OPEN: Final = frozenset({"/health", "/healthz"})
"""Paths that need no key."""
_COMPUTING: Final = frozenset({"/v1/chat/completions", "/v1/completions"})
"""Paths that are closed while the service drains."""
_OPENING: Final = "/v1/proofs/open"


class _Gone(OSError):
    """The client left, or does not read what it is sent."""


@final
class Gate:
    """The outermost application; see the module's docstring."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the life of the application."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            self._service.active += 1
            exchange = _Exchange(self._service, scope, receive, send)
            try:
                await exchange.run(self._app)
            finally:
                self._service.active -= 1
                exchange.report()


@final
class _Exchange:
    """One request and its response."""

    def __init__(self, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        self._service, self._limits = service, service.limits
        self._scope, self._receive, self._send = scope, receive, send
        self._start = time.monotonic()
        self._headers = Headers(scope=scope)
        self._client = Client("unknown", bytes(32))
        self._status = 0
        self._sent = 0
        self._taken = 0
        """Bytes of the body that are counted among those of all bodies."""
        self._left = ""
        """Why the client got no whole response; empty if it got one."""
        self._body: bytes | None = None
        self._forever = asyncio.Event()

    async def run(self, app: ASGIApp) -> None:
        """Let the application answer, unless the request is refused before."""
        try:
            self._scope[CLIENT] = self._client = self._who()
            if self._scope["path"] in _COMPUTING:
                self._service.require_open()
            self._body = await self._read()
        except Refusal as refusal:
            self._service.metrics.refusals.labels(refusal.reason).inc()
            refusal.headers["Connection"] = "close"  # the rest of the body was not read
            with suppress(_Gone):
                await refusal.response()(self._scope, self._receive, self._write)
            return
        except _Gone:
            self._left = "body"
            return
        await self._answer(app)

    def _who(self) -> Client:
        peer = self._scope.get("client")
        forwarded = ",".join(self._headers.getlist("x-forwarded-for"))  # a proxy may add a line of its own
        address = address_of(peer[0] if peer else "", forwarded, self._service.proxies)
        if self._service.keys is None or self._scope["path"] in _OPEN:
            return address
        self._client = address  # whoever shows no key is logged by its address
        return self._service.keys.client(self._headers.get("authorization"))

    async def _read(self) -> bytes:
        """Read the whole body. Raises Refusal if it is too long or too slow, and _Gone if the client left."""
        limits = self._limits
        most = 0
        if self._scope["method"] == "POST":
            path = self._scope["path"]
            most = limits.body if path in _COMPUTING else limits.proof_body if path == _OPENING else 0
        length = self._headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > most:
            raise self._too_long(most)
        parts, size = [], 0
        try:
            async with asyncio.timeout(limits.body_seconds):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    part = message.get("body", b"")
                    size += len(part)
                    if size > most:
                        raise self._too_long(most)
                    self._take(len(part))
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise Refusal.of(408, "the body did not arrive in time", "slow_body") from None

    def _take(self, nbytes: int) -> None:
        """Count bytes of a body until the exchange ends. Raises Refusal if all bodies take too much."""
        if self._service.body_bytes + nbytes > self._limits.bodies:
            raise Refusal.of(503, "too many bodies are being read", "bodies", wait=1)
        self._service.body_bytes += nbytes
        self._taken += nbytes

    def _too_long(self, most: int) -> Refusal:
        return Refusal.of(413, f"the body is longer than {most} bytes", "body_too_long")

    async def _answer(self, app: ASGIApp) -> None:
        """Run the application until it ends or the client leaves."""
        answering = asyncio.ensure_future(app(self._scope, self._hand_over, self._write))
        leaving = asyncio.ensure_future(self._wait_for_leave())
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                self._left = self._left or "disconnect"
        finally:
            for task in (answering, leaving):
                task.cancel()
            outcomes = await asyncio.gather(answering, leaving, return_exceptions=True)
        error = outcomes[0]
        if isinstance(error, BaseException) and not self._left:
            raise error

    async def _hand_over(self) -> Message:
        """Give the application the body, and nothing else: the gate tells it that the client has left."""
        if self._body is None:
            await self._forever.wait()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _wait_for_leave(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return

    async def _write(self, message: Message) -> None:
        """Send a message. Raises _Gone if the client does not read."""
        if self._left:
            raise _Gone
        if message["type"] == "http.response.start":
            self._status = message["status"]
        self._sent += len(message.get("body", b""))
        try:
            async with asyncio.timeout(self._limits.write_seconds):
                await self._send(message)
        except TimeoutError:
            self._left = "slow_reader"
            raise _Gone from None

    def report(self) -> None:
        """End the exchange: count and log it, with no query, no body, no header but the client's name."""
        self._service.body_bytes -= self._taken
        route = _route(self._scope)
        metrics = self._service.metrics
        metrics.responses.labels(route, str(self._status)).inc()
        if self._left:
            metrics.disconnects.labels(self._left).inc()
        fields: dict[str, object] = {
            "method": self._scope["method"],
            "route": route,
            "status": self._status,
            "seconds": round(time.monotonic() - self._start, 4),
            "bytes": self._sent,
            "client": self._client.name,
        }
        _log.info("request", extra={**fields, "left": self._left} if self._left else fields)


def _route(scope: Mapping[str, object]) -> str:
    """Return the route of a request, which has no digest and nothing that the client made up."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "none"
