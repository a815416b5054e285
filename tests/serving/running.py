"""A service of tiny models behind a real server, in a thread of the test's process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from proofcompute.importers.compiling import compile_decoder
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Terms
from proofcompute.serving import Service, Settings, server
from proofcompute.serving.sockets import close_unread
from proofcompute.testing import TINY, random_checkpoint
from synthetic import KERNELS, NODE

TERMS = Terms.of(NODE, base=30, rate=100, retention=86_400)
TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}[assistant]"
SOON = 60


@cache
def chat_model(seed: int = 0) -> Model:
    """A chat model with a context of 512 bytes."""
    made = random_checkpoint(seed, replace(TINY, context=512))
    return compile_decoder(replace(made, chat_template=TEMPLATE), KERNELS, "w8a16")


class Running:
    """A service that serves."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.port = server.check_address("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.port}"
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self.loop.run_until_complete(self._run()))

    async def _run(self) -> None:
        settings = Settings(models=(("tiny", Path("none")),), identity=Path("none"), port=self.port)
        serving = server.granian(self.service, settings)
        task = asyncio.ensure_future(serving.serve())
        await server.listening("127.0.0.1", self.port)
        close_unread(self.port, self.service.limits.write_seconds)
        self._ready.set()
        await self._stop.wait()
        await self.service.close()
        serving.stop()  # type: ignore[no-untyped-call]
        await task

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._ready.wait(SOON)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(SOON)

    def call(self, coroutine: Any) -> Any:
        """Run a coroutine in the service's event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(SOON)

    def connect(self, data: bytes) -> socket.socket:
        """Send bytes on a new connection."""
        made = socket.create_connection(("127.0.0.1", self.port), SOON)
        made.sendall(data)
        return made


@contextmanager
def running(**options: Any) -> Iterator[Running]:
    options.setdefault("terms", TERMS)
    models = options.pop("models", None) or {"tiny": chat_model()}
    with Running(Service(models, NODE, KERNELS, **options)) as made:
        yield made
