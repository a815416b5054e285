"""Loads our server for minutes with clients that hang up at random, and watches its memory."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from benchmarks.serving.bench import Bench
from benchmarks.serving.load import Sender, sender
from benchmarks.serving.servers import Server, running
from benchmarks.serving.streams import read
from proofcompute.errors import ProofcomputeError

__all__ = ["growth", "soak"]

_CLIENTS: Final = 8
_HANG_UP: Final = 0.3
"""Share of requests whose client hangs up before the answer is whole."""
_SHORTEST: Final = 8
"""Tokens of the shortest answer."""
_SAMPLE: Final = 1.0
"""Seconds between two looks at the memory."""
_PAUSE: Final = 0.1
"""Seconds for which a client waits after an error, so that it does not ask a dead server all the time."""


@dataclass
class _Seen:
    """What happened so far."""

    answers: int = 0
    hung_up: int = 0
    errors: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


def growth(memory: Sequence[int]) -> float:
    """Return by which share memory grew: the median of the last fifth of samples beside that of the second.

    In the first fifth, caches fill. With fewer than five samples the result is 0.
    """
    fifth = len(memory) // 5
    if not fifth:
        return 0.0
    return median(memory[-fifth:]) / median(memory[fifth : 2 * fifth]) - 1


def soak(bench: Bench) -> list[dict[str, Any]]:
    """Return what happened, how many receipts held, and how memory grew."""
    seen, draw = _Seen(), random.Random(1)
    before = bench.receipts.count

    async def client(server: Server, send: Sender, end: float) -> None:
        while time.monotonic() < end:
            tokens = draw.randint(_SHORTEST, bench.plan.tokens)
            last = draw.randint(1, tokens) if draw.random() < _HANG_UP else None
            stopped: list[int] = []

            def stop(pieces: int, last: int | None = last, stopped: list[int] = stopped) -> bool:
                if pieces == last:
                    stopped.append(pieces)
                return pieces == last

            try:
                raw = await send(bench.ask(server.kind, tokens), stop)
                if stopped:
                    seen.hung_up += 1
                else:
                    answer = read(raw, tokens)
                    await asyncio.to_thread(bench.receipts, answer)
                    seen.answers += 1
            except ProofcomputeError as e:
                seen.errors.append(f"{type(e).__name__}: {e}"[:200])
                await asyncio.sleep(_PAUSE)

    async def watch(server: Server, end: float) -> None:
        while time.monotonic() < end:
            seen.memory.append(await asyncio.to_thread(server.memory))
            await asyncio.sleep(_SAMPLE)

    async def run(server: Server) -> None:
        end = time.monotonic() + bench.plan.soak
        async with sender(server.url) as send, asyncio.TaskGroup() as group:
            group.create_task(watch(server, end))
            for _ in range(_CLIENTS):
                group.create_task(client(server, send, end))

    with running(bench.ours) as server:
        asyncio.run(run(server))
    return [
        {
            "seconds": bench.plan.soak,
            "clients": _CLIENTS,
            "answers": seen.answers,
            "hung_up": seen.hung_up,
            "errors": len(seen.errors),
            "first_errors": seen.errors[:3],
            "verified": bench.receipts.count - before,
            "memory_bytes": max(seen.memory, default=0),
            "growth": growth(seen.memory),
            "rounds": {"memory": seen.memory[:: max(1, len(seen.memory) // 60)]},
        }
    ]
