"""Measures the client's side: making requests from bodies with a card alone, and `proofcompute ask`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final

from benchmarks.serving.bench import Bench
from benchmarks.serving.load import Ask, sender
from benchmarks.serving.servers import Server, running
from proofcompute.bench.timing import repeated
from proofcompute.errors import ExecutionError
from proofcompute.models.card import ModelCard
from proofcompute.openai import call_of, read_json
from proofcompute.tokens import Prompter

__all__ = ["client"]

_REQUESTS: Final = 100
_LIMIT: Final = 1 << 20
_TOKENS: Final = 16
"""Most tokens of an answer to `ask`."""


def client(bench: Bench) -> list[dict[str, Any]]:
    """Return the time of making a request, and that of `ask` besides the node's."""
    card = bench.receipts.card
    with running(bench.ours) as server:
        making = _making(bench, card)
        try:
            return [making, _asking(bench, server)]
        except ExecutionError as e:
            return [making, {"system": "`proofcompute ask`", "status": "failed", "reason": str(e)}]


def _making(bench: Bench, card: ModelCard) -> dict[str, Any]:
    """Return the time from a conversation's body to its request, with new words each time."""
    nonce, node, today = bytes(32), bytes(32), datetime.now(UTC).date()
    bodies = iter([_body(bench.prompts(bench.plan.prompt)) for _ in range(_REQUESTS + 1)])
    with Prompter(ModelCard.decode(card.encode())) as prompter:

        def request() -> None:
            call = call_of(read_json(next(bodies), _LIMIT), endpoint="chat")
            call.requests(prompter, nonce=nonce, date=today, node=node)

        request()
        times = repeated(request, _REQUESTS)
    return {
        "what": "a request from a conversation, with the card alone",
        "seconds": median(times),
        "goal": "request",
        "rounds": {"seconds": times},
    }


def _asking(bench: Bench, server: Server) -> dict[str, Any]:
    """Return how much longer a new process of `ask` takes than the same question over an open connection."""
    program = [sys.executable, "-m", "proofcompute", "ask", f"{server.url}/v1"]

    def ask(prompt: str) -> float:
        start = time.perf_counter()
        done = subprocess.run(
            [*program, prompt, "--name", "demo", "--max-tokens", str(_TOKENS)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode:
            raise ExecutionError(f"ask ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        return time.perf_counter() - start

    async def node(prompt: str) -> float:
        async with sender(server.url) as send:
            raw = await send(Ask("/v1/chat/completions", _body(prompt)))
            return raw.ended - raw.started

    whole, alone = [], []
    ask(bench.prompts(bench.plan.prompt))
    for _ in range(bench.plan.rounds):
        whole.append(ask(bench.prompts(bench.plan.prompt)))
        alone.append(asyncio.run(node(bench.prompts(bench.plan.prompt))))
    return {
        "what": "`proofcompute ask` as a new process, besides the node's time",
        "seconds": median(a - b for a, b in zip(whole, alone, strict=True)),
        "goal": "ask",
        "rounds": {"ask": whole, "node": alone},
    }


def _body(prompt: str) -> bytes:
    messages = [{"role": "user", "content": prompt}]
    body = {"model": "demo", "messages": messages, "max_tokens": _TOKENS, "temperature": 0, "stream": True}
    return json.dumps(body).encode()
