"""Loads our server for minutes with clients that hang up at random, and watches its memory.

Every receipt is verified, also those for what was computed of answers whose client left, and cells of some
answers are opened, from the cache or by computing them again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from benchmarks.serving.bench import Bench
from benchmarks.serving.load import Ask, Sender, sender
from benchmarks.serving.ours import SOAKED
from benchmarks.serving.servers import Server, running
from benchmarks.serving.streams import Raw, read
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.errors import ExecutionError, ProofcomputeError
from proofcompute.openai import OPEN_PATH, OpenCall
from proofcompute.verifier import keygen
from proofcompute.verifier.auditor import Auditor

__all__ = ["Audits", "growth", "soak"]

_CLIENTS: Final = 8
_HANG_UP: Final = 0.3
"""Share of requests whose client hangs up before the answer is whole."""
_OPENED: Final = 0.1
"""Share of whole answers of which cells are opened."""
_CELLS: Final = 4
_RECEIPT_SECONDS: Final = 30.0
"""Seconds in which there must be a receipt for what was computed when a client left."""
_LOOK: Final = 0.05
"""Seconds between two looks for it."""
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
    opened: int = 0
    errors: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


class Audits:
    """Checks what a node owes to clients that left, and to those who challenge."""

    def __init__(self, bench: Bench) -> None:
        """Make a key of the model that is served."""
        self._receipts = bench.receipts
        self._auditor = Auditor(keygen(bench.load(), kernels_for("cpu")))
        self._one = asyncio.Lock()
        """A node opens for one client one answer at a time."""

    async def left(self, send: Sender, raw: Raw) -> None:
        """Fetch and verify the receipt for what was computed of an answer.

        Raises ExecutionError if there is none in time.
        """
        request = await asyncio.to_thread(self._receipts.asked, raw)
        end = time.monotonic() + _RECEIPT_SECONDS
        while time.monotonic() < end:
            receipt = await send.get(f"/v1/proofs/{request.digest.hex()}")
            if receipt is not None:
                await asyncio.to_thread(self._receipts.left, request, receipt)
                return
            await asyncio.sleep(_LOOK)
        raise ExecutionError("no receipt for what was computed when the client left")

    async def open(self, send: Sender, raw: Raw) -> None:
        """Let the node open cells of an answer, and check them."""
        request, proof, _ = await asyncio.to_thread(self._receipts.proved, raw)
        async with self._one:
            challenge = self._auditor.challenge(request, proof.receipt, _CELLS)
            body = OpenCall(request, proof.receipt, challenge).encode()
            sent = Ask("/v1" + OPEN_PATH, body, headers={"Content-Type": "application/cbor"})
            opening = b"".join(piece for _, piece in (await send(sent)).pieces)
            await asyncio.to_thread(self._auditor.check, request, proof.receipt, challenge, opening)


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
    seen, draw, audits = _Seen(), random.Random(1), Audits(bench)
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
                    await audits.left(send, raw)
                else:
                    answer = read(raw, tokens)
                    await asyncio.to_thread(bench.receipts, answer)
                    seen.answers += 1
                    if draw.random() < _OPENED:
                        await audits.open(send, raw)
                        seen.opened += 1
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

    with running(bench.node(*SOAKED)) as server:
        asyncio.run(run(server))
    return [
        {
            "seconds": bench.plan.soak,
            "clients": _CLIENTS,
            "answers": seen.answers,
            "hung_up": seen.hung_up,
            "opened": seen.opened,
            "errors": len(seen.errors),
            "first_errors": seen.errors[:3],
            "verified": bench.receipts.count - before,
            "memory_bytes": max(seen.memory, default=0),
            "growth": growth(seen.memory),
            "rounds": {"memory": seen.memory[:: max(1, len(seen.memory) // 60)]},
        }
    ]
