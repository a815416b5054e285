"""Run a service under Granian, in this process, until it is told to stop.

Granian's embedded server is used, which needs no process of its own for the application: models and devices
are loaded once, a fault ends the command with its status, and a signal begins the drain at once.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from starlette.types import ASGIApp

from proofcompute.errors import DeviceError, InputError
from proofcompute.logs import service_log
from proofcompute.serving.app import application
from proofcompute.serving.service import Service
from proofcompute.serving.settings import ServiceLimits
from proofcompute.serving.sockets import close_unread

__all__ = ["Hosted", "Place", "bare_server", "check_address", "granian", "listening", "serve"]

_log = service_log(__name__)

FAILED: Final = 2
"""Exit status of a service whose devices have all failed."""
_BUFFER: Final = 64 << 10
"""Most bytes of the headers of a request."""
_LINGER: Final = 2.0
"""Seconds that responses which are errors have to leave, after the drain's end."""
_NEAR: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - names, nothing listens here
"""Where to connect to a server that listens at all addresses."""
_LOOK: Final = 0.5
"""Seconds between two looks at the runners."""


class Place(Protocol):
    """Where to listen."""

    @property
    def host(self) -> str:
        """The address."""
        ...

    @property
    def port(self) -> int:
        """The port."""
        ...

    @property
    def tls_cert(self) -> Path | None:
        """Certificate chain in PEM; None: no TLS."""
        ...

    @property
    def tls_key(self) -> Path | None:
        """Its private key."""
        ...


class Hosted(Protocol):
    """What is served: a node's service, or a gateway."""

    limits: ServiceLimits
    active: int
    """Requests that are answered now."""

    @property
    def failed(self) -> bool:
        """Whether nothing can be served any more."""
        ...

    async def drain(self) -> bool:
        """Refuse new requests, wait until the others are answered, and return whether they were in time."""
        ...

    async def close(self) -> None:
        """Stop; requests that still run fail."""
        ...


def check_address(host: str, port: int) -> int:
    """Return the port to listen at; 0 becomes one that is free. Raises InputError if it cannot be used."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
            return int(probe.getsockname()[1])
    except OSError as e:
        raise InputError(f"cannot listen at {host}, port {port}: {e.strerror or e}") from e


def serve(service: Hosted, place: Place, app: ASGIApp, started: Callable[[], None]) -> int:
    """Serve an application until SIGTERM or SIGINT, drain, and return the exit status.

    A second signal ends the drain. ``started`` is called once the server listens.
    """
    return asyncio.run(_serve(service, place, app, started))


async def _serve(service: Hosted, place: Place, app: ASGIApp, started: Callable[[], None]) -> int:
    stop, hurry, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

    def told() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    server = granian(service, place, app)
    serving = asyncio.ensure_future(server.serve())
    working = asyncio.ensure_future(_work(service, place, started, stop, hurry))
    try:
        await asyncio.wait((serving, working), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
            raise DeviceError("the server ended by itself")  # Granian has said why
        return working.result()
    finally:
        working.cancel()
        await service.close()
        await asyncio.sleep(_LINGER if service.active else 0)
        if not serving.done():
            server.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait((serving,), timeout=_LINGER)


async def _work(
    service: Hosted,
    place: Place,
    started: Callable[[], None],
    stop: asyncio.Event,
    hurry: asyncio.Event,
) -> int:
    """Wait until the service is told to stop and has drained, or has failed, and return the exit status."""
    await listening(place.host, place.port)
    close_unread(place.port, service.limits.write_seconds)
    gc.collect()
    gc.freeze()  # to go through all that was loaded takes some 70 ms each time, in which nothing is answered
    started()
    while not stop.is_set():
        if service.failed:
            _log.error("all devices have failed, so the service ends")
            return FAILED
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _LOOK)
    _log.info("draining", extra={"active": service.active})
    draining = asyncio.ensure_future(service.drain())
    hurrying = asyncio.ensure_future(hurry.wait())
    await asyncio.wait((draining, hurrying), return_when=asyncio.FIRST_COMPLETED)
    for task in (draining, hurrying):
        task.cancel()
    if service.active:
        _log.warning("requests are broken off", extra={"active": service.active})
    return 0


async def listening(host: str, port: int) -> None:
    """Wait until somebody can connect to a server that begins to listen."""
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(_NEAR.get(host, host), port)
            writer.close()
            return
        await asyncio.sleep(0.02)


def granian(service: Hosted, place: Place, app: ASGIApp | None = None) -> Server:
    """Return the server of an application, which is not running yet; None: that of a node's service."""
    if app is None:
        if not isinstance(service, Service):
            raise InputError("only a node's service has an application of its own")
        app = application(service)
    limits = service.limits
    return bare_server(
        app,
        place.host,
        place.port,
        connections=limits.connections,
        header_seconds=limits.header_seconds,
        tls=(place.tls_cert, place.tls_key),
    )


def bare_server(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    connections: int = 128,
    header_seconds: float = 20.0,
    tls: tuple[Path | None, Path | None] = (None, None),
) -> Server:
    """Return a server of an application, which is not running yet."""
    return Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=max(128, connections),
        backpressure=connections,
        http1_settings=HTTP1Settings(header_read_timeout=int(header_seconds * 1000), max_buffer_size=_BUFFER),
        log_level=LogLevels.error,
        log_dictconfig={"handlers": {}, "loggers": {"_granian": {"propagate": True}}},
        ssl_cert=tls[0],
        ssl_key=tls[1],
    )
