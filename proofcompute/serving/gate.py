"""Stand between the server and the application: who asks, how much, and for how long.

Bodies are read here, within a number of bytes and seconds, before the application sees a request. While it
answers, the gate waits for the client to leave, and then cancels the answer, streamed or not. What a client
does not read within some seconds cuts it off. A client that sends much that computes nothing is refused
before its bodies are read, and learns it late, so that a flood cannot ask again at once.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Final, Protocol, final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proofcompute.logs import service_log
from proofcompute.serving.clients import ApiKeys, Client, address_of
from proofcompute.serving.metrics import Responses
from proofcompute.serving.refusals import Refusal
from proofcompute.serving.settings import ServiceLimits
from proofcompute.serving.sockets import hang_up
from proofcompute.serving.waiting import Waiting
from proofcompute.serving.waste import REQUEST, Waste

__all__ = ["EXCHANGE", "Exchange", "Gate", "Guarded"]

_log = service_log(__name__)

EXCHANGE: Final = "proofcompute.exchange"
"""Key of the :class:`Exchange` in a request's scope."""
_OPEN: Final = frozenset({"/health", "/healthz"})
"""Paths that need no key."""
_COMPUTING: Final = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})
"""Paths that are closed while the service drains."""
_OPENING: Final = "/v1/proofs/open"
_LOOK: Final = 0.1
"""Seconds between two looks at whether others wait for what a slow reader holds."""


_HELD: Final = "too_many_requests"
"""The reason of a refusal that is held back."""


class _Gone(OSError):
    """The client left, or does not read what it is sent."""


class Guarded(Protocol):
    """What stands behind a gate: a node's service, or a gateway."""

    limits: ServiceLimits
    keys: ApiKeys | None
    """The keys that clients must show; None: anybody may ask."""
    proxies: frozenset[str]
    """Addresses of proxies whose header X-Forwarded-For names the client."""
    waste: Waste
    active: int
    """Requests that are answered now."""
    body_bytes: int
    """Bytes of the bodies of all requests that are read or answered now."""

    @property
    def metrics(self) -> Responses:
        """What counts responses."""
        ...

    def require_open(self) -> None:
        """Raise Refusal (503) if no new requests are taken."""
        ...


@final
class Gate:
    """The outermost application; see the module's docstring.

    Args:
        app: what answers.
        service: what stands behind the gate.
        public: paths that need no key besides those that say whether the service is alive.
    """

    def __init__(self, app: ASGIApp, service: Guarded, public: frozenset[str] = frozenset()) -> None:
        self._app, self._service, self._public = app, service, _OPEN | public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the life of the application."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            self._service.active += 1
            exchange = Exchange(self._service, scope, receive, send, self._public)
            try:
                await exchange.run(self._app)
            finally:
                self._service.active -= 1
                exchange.report()


@final
class Exchange:
    """One request and its response."""

    def __init__(
        self,
        service: Guarded,
        scope: Scope,
        receive: Receive,
        send: Send,
        public: frozenset[str] = _OPEN,
    ) -> None:
        self._service, self._limits, self._public = service, service.limits, public
        self._scope, self._receive, self._send = scope, receive, send
        self._start = time.monotonic()
        self._headers = Headers(scope=scope)
        self.client = Client("unknown", bytes(32))
        """Who asks."""
        self.leaving = ExitStack()
        """What is to be done when the exchange ends, however it ends."""
        self.hurry: Callable[[float, int], bool] | None = None
        """Whether to cut off a reader that has kept its sender waiting so many seconds for so many bytes."""
        self._stalled = 0.0
        """Seconds that the client let a part of the response wait, where somebody may be in a hurry."""
        self._charged = 0
        """Bytes that were taken from what the client may send for nothing."""
        self._computes = False
        self._status = 0
        self._sent = 0
        self._taken = 0
        """Bytes of the body that are counted among those of all bodies."""
        self._left = ""
        """Why the client got no whole response; empty if it got one."""
        self._body: bytes | None = None
        self._forever = asyncio.Event()
        self._writing: Waiting
        """The writes to the client."""

    @property
    def _path(self) -> str:
        """The path inside the application, wherever another one has mounted it."""
        path: str = self._scope["path"]
        return path.removeprefix(self._scope.get("root_path", ""))

    async def run(self, app: ASGIApp) -> None:
        """Let the application answer, unless the request is refused before."""
        try:
            self._scope[EXCHANGE] = self
            self.client = self._who()
            if self._path in _OPEN:  # whoever watches a node may share an address with strangers
                self._computes = True
            else:
                self._charge(REQUEST)
            if self._path in _COMPUTING:
                self._service.require_open()
            self._body = await self._read()
        except Refusal as refusal:
            if refusal.reason == _HELD:
                await asyncio.sleep(self._limits.hold_seconds)
            self._service.metrics.refusals.labels(refusal.reason).inc()
            refusal.headers["Connection"] = "close"  # the rest of the body was not read
            await self._refuse(refusal)
            if refusal.status == 408:  # the server would wait for the rest
                self._hang_up(sending=True)
            return
        except _Gone:
            await self._broken()
            return
        await self._answer(app)

    def _who(self) -> Client:
        peer = self._scope.get("client")
        forwarded = ",".join(self._headers.getlist("x-forwarded-for"))  # a proxy may add a line of its own
        address = address_of(peer[0] if peer else "", forwarded, self._service.proxies)
        if self._service.keys is None or self._path in self._public:
            return address
        self.client = address  # whoever shows no key is logged by its address
        return self._service.keys.admit(address, self._headers.get("authorization"), self._service.waste)

    def computes(self) -> None:
        """Say that the request computes something, so that it counts among what does, and was no waste."""
        self._computes = True
        charged, self._charged = self._charged, 0
        self._service.waste.give_back(self.client.scope, charged)

    def _charge(self, nbytes: int) -> None:
        """Count bytes as waste until the request computes something. Raises Refusal if they are too many."""
        self._service.waste.take(self.client.scope, nbytes)
        self._charged += nbytes

    async def _read(self) -> bytes:
        """Read the whole body. Raises Refusal if it is too long or too slow, and _Gone if the client left."""
        limits = self._limits
        most = 0
        if self._scope["method"] == "POST":
            path = self._path
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
                    self._charge(len(part))
                    self._take(len(part))
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise Refusal.of(408, "the body did not arrive in time", "slow_body") from None

    async def _broken(self) -> None:
        """Answer a body that ended too early: the client left, or what it sends is no HTTP any more."""
        refusal = Refusal.of(400, "the body broke off", "broken_body")
        self._service.metrics.refusals.labels(refusal.reason).inc()
        refusal.headers["Connection"] = "close"
        await self._refuse(refusal)
        self._left = "body"

    def _take(self, nbytes: int) -> None:
        """Count bytes of a body until the exchange ends. Raises Refusal if all bodies take too much."""
        if self._service.body_bytes + nbytes > self._limits.bodies:
            raise Refusal.of(503, "too many bodies are being read", "bodies", wait=1)
        self._service.body_bytes += nbytes
        self._taken += nbytes

    def _too_long(self, most: int) -> Refusal:
        return Refusal.of(413, f"the body is longer than {most} bytes", "body_too_long")

    async def _refuse(self, refusal: Refusal) -> None:
        """Send a refusal to a client that may have left, or may not read it."""
        with suppress(_Gone, TimeoutError):
            await self._within(refusal.response(), self._receive)

    async def _within(self, app: ASGIApp, receive: Receive) -> None:
        """Run an application. Raises TimeoutError if the client lets one of its writes wait for too long."""
        try:
            async with Waiting(self._limits.write_seconds, math.inf) as self._writing:
                await app(self._scope, receive, self._write)
        finally:
            if self._writing.over:
                self._cut_off()

    async def _answer(self, app: ASGIApp) -> None:
        """Run the application until it ends or the client leaves."""
        answering = asyncio.ensure_future(self._within(app, self._hand_over))
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
        """Send a message. Raises _Gone if the client has left, and ends as cancelled if it does not read."""
        if self._left or self._writing.over:  # what ends the answer may want to write, too
            raise _Gone
        if message["type"] == "http.response.start":
            self._status = message["status"]
        nbytes = len(message.get("body", b""))
        self._sent += nbytes
        if not self._computes:
            self._service.waste.spend(self.client.scope, nbytes)
        try:
            with self._writing:
                await (self._send(message) if self.hurry is None else self._send_unless(message, self.hurry))
        except TimeoutError:
            self._cut_off()
            raise _Gone from None

    def _cut_off(self) -> None:
        """Leave a client that does not read."""
        self._left = "slow_reader"
        self._hang_up(sending=False)

    def _hang_up(self, *, sending: bool) -> None:
        client, server = self._scope.get("client"), self._scope.get("server")
        if client and server:
            hang_up((client[0], int(client[1])), int(server[1]), sending=sending)  # Granian's are strings

    async def _send_unless(self, message: Message, hurry: Callable[[float, int], bool]) -> None:
        """Send a message. Raises TimeoutError if others wait and the client has read too slowly."""
        sending, start = asyncio.ensure_future(self._send(message)), time.monotonic()
        try:
            while not (await asyncio.wait((sending,), timeout=_LOOK))[0]:
                if hurry(self._stalled + time.monotonic() - start, self._sent):
                    raise TimeoutError
            self._stalled += time.monotonic() - start
            await sending
        finally:
            sending.cancel()

    def report(self) -> None:
        """End the exchange: count and log it, with no query, no body, no header but the client's name."""
        self.leaving.close()
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
            "client": self.client.name,
        }
        _log.info("request", extra={**fields, "left": self._left} if self._left else fields)


def _route(scope: Mapping[str, object]) -> str:
    """Return the route of a request, which has no digest and nothing that the client made up."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "none"
