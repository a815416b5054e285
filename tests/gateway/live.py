"""A gateway behind a real server, in a thread of the test's process, before nodes without a network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from proofcompute.gateway import Gateway, Place, Shown, application
from proofcompute.serving import server

SOON = 60


class Live:
    """A gateway that serves."""

    def __init__(self, gateway: Gateway, clusters: Shown | None = None) -> None:
        self.gateway, self.clusters = gateway, clusters
        self.place = Place(port=server.check_address("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.place.port}"
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self.loop.run_until_complete(self._run()))

    async def _run(self) -> None:
        serving = server.granian(self.gateway, self.place, application(self.gateway, self.clusters))
        task = asyncio.ensure_future(serving.serve())
        await server.listening("127.0.0.1", self.place.port)
        self._ready.set()
        await self._stop.wait()
        self.gateway.watchers.end()
        await self.gateway.close()
        serving.stop()  # type: ignore[no-untyped-call]
        await task

    def __enter__(self) -> Live:
        self._thread.start()
        assert self._ready.wait(SOON)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(SOON)


@contextmanager
def live(gateway: Gateway, clusters: Shown | None = None) -> Iterator[Live]:
    with Live(gateway, clusters) as made:
        yield made
