"""Loads a server with requests of many clients, and notes when text arrives.

The clients run in one process and one event loop, apart from the server's. They cost a few percent of a core,
the same for every server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from benchmarks.serving.streams import Raw
from proofcompute.errors import ExecutionError

__all__ = ["Ask", "Sender", "burst", "closed_loop", "sender"]

_TIMEOUT: Final = aiohttp.ClientTimeout(total=600)


@dataclass(frozen=True)
class Ask:
    """One request, ready to be sent."""

    path: str
    body: bytes
    nonce: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sender:
    """Sends requests to one server."""

    url: str
    session: aiohttp.ClientSession

    async def __call__(self, ask: Ask, stop: Callable[[int], bool] | None = None) -> Raw:
        """Send a request and return the stream of the answer.

        ``stop`` is called with the number of pieces after each; if it says so, the client hangs up. Raises
        ExecutionError if the server refuses or the connection breaks.
        """
        pieces: list[tuple[float, bytes]] = []
        headers = {"Content-Type": "application/json", **ask.headers}
        started = time.perf_counter()
        try:
            async with self.session.post(self.url + ask.path, data=ask.body, headers=headers) as response:
                if response.status != 200:
                    raise ExecutionError(f"status {response.status}: {(await response.text())[:300]}")
                async for data in response.content.iter_any():
                    pieces.append((time.perf_counter(), data))
                    if stop is not None and stop(len(pieces)):
                        response.close()
                        break
        except (aiohttp.ClientError, TimeoutError) as e:
            raise ExecutionError(f"the connection to {ask.path} broke: {type(e).__name__}: {e}") from e
        return Raw(ask.body, ask.nonce, started, pieces, time.perf_counter())

    async def get(self, path: str) -> bytes | None:
        """Return the body at a path, or None if there is nothing.

        Raises ExecutionError if the server refuses or the connection breaks.
        """
        try:
            async with self.session.get(self.url + path) as response:
                if response.status == 404:
                    return None
                if response.status != 200:
                    raise ExecutionError(f"status {response.status}: {(await response.text())[:300]}")
                return await response.read()
        except (aiohttp.ClientError, TimeoutError) as e:
            raise ExecutionError(f"the connection to {path} broke: {type(e).__name__}: {e}") from e


@asynccontextmanager
async def sender(url: str) -> AsyncIterator[Sender]:
    """Prepare to send requests, each over a connection of its own.

    A server may close a connection after an answer while the next request is on its way.
    """
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, trust_env=False) as session:
        yield Sender(url, session)


async def closed_loop(send: Sender, clients: Sequence[Sequence[Ask]]) -> list[Raw]:
    """Send each client's requests one after the other, all clients at once.

    Raises the first ExecutionError of any client, after hanging up for all others.
    """

    async def client(asks: Sequence[Ask]) -> list[Raw]:
        return [await send(ask) for ask in asks]

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client(asks)) for asks in clients]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [raw for task in tasks for raw in task.result()]


async def burst(send: Sender, asks: Sequence[Ask]) -> list[Raw]:
    """Send all requests at once."""
    return await closed_loop(send, [[ask] for ask in asks])
