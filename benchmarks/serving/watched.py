"""Serves a model as `proofcompute serve` does, with a task in the event loop that notes how late it wakes.

`python -m benchmarks.serving.watched MODEL IDENTITY PORT` runs it. `GET /loop-delay` returns the seconds by
which the task woke too late since the last such request; the first one starts it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final

__all__ = ["Watch"]

SLEEP: Final = 0.005
"""Seconds that the task sleeps."""
PATH: Final = "/loop-delay"


class Watch:
    """An ASGI application around another one."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.late: list[float] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer :data:`PATH`, and hand everything else on."""
        if scope["type"] != "http" or scope["path"] != PATH:
            await self.app(scope, receive, send)
            return
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        late, self.late = self.late, []
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(late).encode()})

    async def _watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(SLEEP)
            self.late.append(max(0.0, time.perf_counter() - before - SLEEP))


async def main(model: Path, identity: Path, port: int) -> None:
    from granian.constants import HTTPModes, Interfaces
    from granian.server.embed import Server

    serving = import_module("proofcompute.serving")
    settings = serving.Settings(models=(("demo", model),), identity=identity, device="cpu", port=port)
    app = Watch(serving.create_app(settings))
    server = Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, http=HTTPModes.http1)
    await server.serve()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
