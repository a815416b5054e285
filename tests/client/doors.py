"""A stand-in of a node behind a real socket, which may also be silent, late, or break off."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from client.standin import Service

__all__ = ["Broken", "Call", "Door", "Silence", "at_door"]

SOON = 60


@dataclass(frozen=True)
class Call:
    """What came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    lines: tuple[tuple[str, str], ...] = ()
    """The headers as they came, in order."""
    port: int = 0
    """Port of the client, which tells connections apart."""

    @property
    def opens(self) -> bool:
        return self.path.endswith("/proofs/open")

    @property
    def asks(self) -> bool:
        return self.method == "POST" and not self.opens


@dataclass(frozen=True)
class Silence:
    """The connection stays open, and nothing comes; after some seconds the response does."""

    response: Any = None
    seconds: float | None = None


@dataclass(frozen=True)
class Broken:
    """The connection ends in the middle of the response."""

    response: Any
    share: float = 0.5


Answering = Callable[[Call, Callable[[], Any]], Any]
"""Gets a call and what makes the stand-in's own response; returns a response, Silence or Broken."""


@dataclass
class Door:
    """A node's address, and what it does with each call."""

    service: Service
    answering: Answering = lambda call, honest: honest()
    calls: list[Call] = field(default_factory=list)
    port: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self) -> list[Call]:
        return [c for c in self.calls if c.asks]

    def challenged(self) -> list[Call]:
        return [c for c in self.calls if c.opens]

    def respond(self, handler: _Handler, call: Call) -> None:
        self.calls.append(call)

        def honest() -> Any:
            with self.lock:
                return self.service.respond(call.method, call.path, call.headers, call.body)

        found = self.answering(call, honest)
        if isinstance(found, Silence):
            self.closing.wait(SOON if found.seconds is None else found.seconds)
            if found.response is None:
                handler.close_connection = True
                return
            found = found.response
        share = 1.0
        if isinstance(found, Broken):
            found, share = found.response, found.share
        status, headers, body = found
        pieces = body if isinstance(body, list) else [body]
        whole = b"".join(pieces)
        handler.send_response_only(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(whole)))
        handler.end_headers()
        handler.wfile.write(whole[: int(len(whole) * share)])
        handler.close_connection = share < 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        lines = tuple(self.headers.items())
        named = {k.lower(): v for k, v in lines}
        try:
            self.server.door.respond(
                self, Call(self.command, self.path, named, body, lines, self.client_address[1])
            )
        except (BrokenPipeError, ConnectionResetError):  # the auditor gave up
            self.close_connection = True

    do_GET = do_POST = _any

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True

    def __init__(self, door: Door) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.door = door


@contextmanager
def at_door(service: Service | None = None, answering: Answering | None = None) -> Iterator[Door]:
    """Serve until the block ends."""
    service = service or Service()
    if service.draw() == service.draw():  # a node that repeats its nonces is contradicted
        service.draw = lambda: secrets.token_bytes(32)
    door = Door(service)
    if answering is not None:
        door.answering = answering
    server = _Server(door)
    door.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield door
    finally:
        door.closing.set()
        server.shutdown()
        thread.join(SOON)
        server.server_close()
