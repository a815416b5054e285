"""Measures how late the event loop of our server wakes its tasks, idle and with clients."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from benchmarks.serving.bench import Bench
from benchmarks.serving.load import burst, closed_loop, sender
from benchmarks.serving.servers import Server, running
from benchmarks.serving.streams import nearest_rank
from benchmarks.serving.watched import PATH

__all__ = ["delay"]

_CLIENTS: Final = 8
_IDLE: Final = 3.0
"""Seconds for which the idle loop is watched in each round."""


def delay(bench: Bench) -> list[dict[str, Any]]:
    """Return quantiles of the delay without clients and with some, in turn."""
    idle: list[float] = []
    busy: list[float] = []

    async def measure(server: Server) -> None:
        async with sender(server.url) as send:
            warm = [bench.ask(server.kind) for _ in range(_CLIENTS)]
            bench.read(server, await burst(send, warm))
            for _ in range(bench.plan.rounds):
                await asyncio.to_thread(_late, server)
                await asyncio.sleep(_IDLE)
                idle.extend(await asyncio.to_thread(_late, server))
                asks = [[bench.ask(server.kind) for _ in range(bench.plan.each)] for _ in range(_CLIENTS)]
                await asyncio.to_thread(_late, server)
                raws = await closed_loop(send, asks)
                busy.extend(await asyncio.to_thread(_late, server))
                bench.read(server, raws)

    with running(bench.watched()) as server:
        asyncio.run(measure(server))
    return [_row(0, idle), _row(_CLIENTS, busy)]


def _late(server: Server) -> list[float]:
    """Return the delays since the last call."""
    found: list[float] = json.loads(server.get(PATH))
    return found


def _row(clients: int, late: list[float]) -> dict[str, Any]:
    return {
        "clients": clients,
        "wakings": len(late),
        "p50_seconds": nearest_rank(late, 0.5),
        "p99_seconds": nearest_rank(late, 0.99),
        "worst_seconds": max(late),
    }
