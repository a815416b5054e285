"""Measures openings of long answers over HTTP: from the cache, computed again, beside other requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.serving.bench import Bench
from benchmarks.serving.load import Ask, Sender, sender
from benchmarks.serving.ours import RECOMPUTING
from benchmarks.serving.servers import Server, completion, running
from benchmarks.serving.streams import Answer, read
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.errors import ExecutionError
from proofcompute.openai import OPEN_PATH, OpenCall
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Request
from proofcompute.verifier import keygen
from proofcompute.verifier.auditor import Auditor

__all__ = ["opening"]

_PROMPT: Final = 64
_TOKENS: Final = 1_025
"""Tokens of the long answer; the trace has one row less, and the prompt's: 1,088."""
_SHORT: Final = 16
_CELLS: Final = 8
_CHALLENGES: Final = 3
"""Challenges of one receipt that a node answers."""
_OTHERS: Final = 4
_QUIET: Final = 5.0
"""Seconds for which the others are watched alone."""


@dataclass(frozen=True)
class _Long:
    """A long answer whose receipt was verified."""

    answer: Answer
    request: Request
    receipt: bytes
    claim: Claim


class _Openings:
    """Asks for openings of one server's answers, and verifies each."""

    def __init__(self, bench: Bench, auditor: Auditor, server: Server, send: Sender) -> None:
        self.bench, self.auditor, self.server, self.send = bench, auditor, server, send

    async def generate(self, tokens: int = _TOKENS) -> _Long:
        """Let the node answer a new prompt at length."""
        prompt = self.bench.prompts(_PROMPT)
        raw = await self.send(completion(self.server.kind, prompt, tokens))
        answer = read(raw, tokens)
        request, proof, claim = await asyncio.to_thread(self.bench.receipts.proved, raw)
        return _Long(answer, request, proof.receipt, claim)

    async def open(self, long: _Long) -> float:
        """Return the seconds in which the node opened new cells, which are then verified."""
        challenge = self.auditor.challenge(long.request, long.receipt, _CELLS)
        call = OpenCall(long.request, long.receipt, challenge)
        headers = {"Content-Type": "application/cbor"}
        raw = await self.send(Ask("/v1" + OPEN_PATH, call.encode(), headers=headers))
        data = b"".join(piece for _, piece in raw.pieces)
        await asyncio.to_thread(self.auditor.check, long.request, long.receipt, challenge, data)
        return raw.ended - raw.started


def opening(bench: Bench) -> list[dict[str, Any]]:
    """Return the time of openings from the cache, computed again alone, and beside other requests."""
    auditor = Auditor(keygen(bench.load(), kernels_for("cpu")))
    cached: list[float] = []
    alone: list[tuple[float, float]] = []
    beside: list[tuple[float, float]] = []
    lost: list[float] = []
    rows = set()

    async def from_cache(server: Server) -> None:
        async with sender(server.url) as send:
            some = _Openings(bench, auditor, server, send)
            await some.open(await some.generate(_SHORT))  # compiles
            for _ in range(bench.plan.rounds):
                long = await some.generate()
                rows.add(long.claim.statement.rows)
                await bench.rest()
                cached.append(median([await some.open(long) for _ in range(_CHALLENGES)]))

    async def again(server: Server) -> None:
        async with sender(server.url) as send:
            some = _Openings(bench, auditor, server, send)
            await some.open(await some.generate(_SHORT))
            for _ in range(bench.plan.rounds):
                await bench.rest()
                long = await some.generate()
                rows.add(long.claim.statement.rows)
                alone.append(
                    (long.answer.seconds, median([await some.open(long) for _ in range(_CHALLENGES)]))
                )
            async with _others(bench, server, send) as times:
                long = await some.generate()
                for _ in range(_CHALLENGES):
                    start = time.perf_counter()
                    await asyncio.sleep(_QUIET)
                    middle = time.perf_counter()
                    beside.append((long.answer.seconds, await some.open(long)))
                    end = time.perf_counter()
                    lost.append(1 - _rate(times, middle, end) / _rate(times, start, middle))

    with running(bench.ours) as server:
        asyncio.run(from_cache(server))
    with running(bench.node(*RECOMPUTING)) as server:
        asyncio.run(again(server))
    if len(rows) != 1:
        raise ExecutionError(f"answers of {sorted(rows)} rows, which should be equal")
    (count,) = rows
    others = f"beside {_OTHERS} requests"
    return [
        _row("from the cache", count, cached, None, None),
        _row("computed again", count, [b for _, b in alone], [b / a for a, b in alone], None),
        _row(f"computed again, {others}", count, [b for _, b in beside], [b / a for a, b in beside], lost),
    ]


def _row(
    what: str, rows: int, seconds: list[float], over: list[float] | None, lost: list[float] | None
) -> dict[str, Any]:
    return {
        "what": what,
        "rows": rows,
        "cells": _CELLS,
        "seconds": median(seconds),
        "over_generating": None if over is None else median(over),
        "others_lose": None if lost is None else median(lost),
        "rounds": {"seconds": seconds, "over_generating": over, "others_lose": lost},
    }


@asynccontextmanager
async def _others(bench: Bench, server: Server, send: Sender) -> AsyncIterator[list[float]]:
    """Keep some requests running until the block ends, and yield the times at which their text arrives."""
    times: list[float] = []

    def note(_: int) -> bool:
        times.append(time.perf_counter())
        return False

    async def client() -> None:
        while True:
            raw = await send(bench.ask(server.kind), note)
            await asyncio.to_thread(bench.read, server, [raw])

    tasks = [asyncio.create_task(client()) for _ in range(_OTHERS)]
    try:
        yield times
        for task in tasks:
            if task.done():
                task.result()  # raises what ended it
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _rate(times: Sequence[float], start: float, end: float) -> float:
    """Return pieces of text per second in some time."""
    return sum(start <= t < end for t in times) / (end - start)
