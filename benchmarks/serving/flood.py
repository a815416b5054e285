"""Measures how much of their speed honest clients keep while strangers flood our server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO, Final, cast

from benchmarks.serving.bench import Bench
from benchmarks.serving.figures import summary
from benchmarks.serving.load import Sender, closed_loop, sender
from benchmarks.serving.servers import Server, completion, running
from benchmarks.serving.strangers import STRANGERS
from benchmarks.serving.streams import Answer
from proofcompute.encoding.frames import write_frame
from proofcompute.errors import ExecutionError
from proofcompute.openai import OpenCall
from proofcompute.verifier.auditor import Auditor

__all__ = ["flood"]

_CLIENTS: Final = 4
_CELLS: Final = 8
_BEGIN: Final = 2.0
"""Seconds for which the flood goes on before honest clients are watched in it."""
_END: Final = 30.0
"""Seconds in which the strangers must end when told to."""


def flood(bench: Bench) -> list[dict[str, Any]]:
    """Return the speed of honest clients without and within a flood, in turn, and what the flood got."""
    quiet: list[list[Answer]] = []
    flooded: list[list[Answer]] = []
    strangers: list[dict[str, Any]] = []

    async def speed(server: Server, send: Sender) -> list[Answer]:
        asks = [[bench.ask(server.kind) for _ in range(bench.plan.each)] for _ in range(_CLIENTS)]
        raws = await closed_loop(send, asks)
        return await asyncio.to_thread(bench.read, server, raws)

    async def run(server: Server) -> None:
        async with sender(server.url) as send:
            calls = await _calls(bench, server, send)
            await speed(server, send)
            for _ in range(bench.plan.rounds):
                await bench.rest()
                quiet.append(await speed(server, send))
                with _strangers(server.port, calls) as seen:
                    await asyncio.sleep(_BEGIN)
                    flooded.append(await speed(server, send))
                strangers.append(seen)

    with running(bench.ours) as server:
        asyncio.run(run(server))
    without, within = summary(quiet), summary(flooded)
    pairs = zip(without["rounds"]["tokens_per_second"], within["rounds"]["tokens_per_second"], strict=True)
    kept = [b / a for a, b in pairs]
    return [
        {"flood": False, "clients": _CLIENTS, **without},
        {
            "flood": True,
            "clients": _CLIENTS,
            **within,
            "kept": median(kept),
            "strangers": STRANGERS,
            "requests_per_second": median(sum(s["seen"].values()) / s["seconds"] for s in strangers),
            "strangers_cpu": median(s["cpu_seconds"] / s["seconds"] for s in strangers),
            "seen": strangers[-1]["seen"],
        },
    ]


async def _calls(bench: Bench, server: Server, send: Sender) -> list[bytes]:
    """Let each stranger ask something, and return calls for openings of a few and of all cells of it."""
    auditor = Auditor(bench.load())
    calls = []
    for cells in (_CELLS, "all"):
        for _ in range(STRANGERS):
            raw = await send(completion(server.kind, bench.prompts(bench.plan.prompt), bench.plan.tokens))
            request, proof, _claim = await asyncio.to_thread(bench.receipts.proved, raw)
            challenge = auditor.challenge(request, proof.receipt, cells)
            calls.append(OpenCall(request, proof.receipt, challenge).encode())
    return calls


@contextmanager
def _strangers(port: int, calls: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    """Flood a server until the block ends; then what is yielded holds what the strangers saw."""
    with tempfile.NamedTemporaryFile() as file:
        for call in calls:
            write_frame(cast(BinaryIO, file), call)
        file.flush()
        command = [sys.executable, "-m", "benchmarks.serving.strangers", str(port), file.name]
        root, start = Path(__file__).parents[2], time.monotonic()
        seen: dict[str, Any] = {}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root
        ) as process:
            try:
                yield seen
                seconds = time.monotonic() - start
                out, err = process.communicate(timeout=_END)
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise ExecutionError(f"the strangers ended with {process.returncode}: {err.decode()[-500:]}")
        seen.update(json.loads(out), seconds=seconds)
