"""Measures servers over HTTP beside each other: closed loops, arrivals at once, prompts that begin alike."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from statistics import median
from typing import Any

from benchmarks.serving.bench import Bench
from benchmarks.serving.figures import summary
from benchmarks.serving.load import Sender, burst, closed_loop, sender
from benchmarks.serving.ours import PREFIXES
from benchmarks.serving.peers import LLAMA_BENCH, OURS, batched_bench
from benchmarks.serving.servers import Server, running
from benchmarks.serving.streams import Answer, nearest_rank
from proofcompute.errors import ExecutionError

__all__ = ["bursts", "closed_loops", "prefixes"]

_SHORT = 16
"""Tokens of an answer of which only the first one's time matters."""

Loaded = list[tuple[Server, Sender]]


@contextmanager
def _servers(bench: Bench, failed: dict[str, str], *options: str) -> Iterator[list[Server]]:
    """Start all servers, ours with some options; another one that does not start is noted in ``failed``."""
    with ExitStack() as stack:
        servers = []
        for kind in (bench.node(*options), *bench.peers.kinds()):
            try:
                servers.append(stack.enter_context(running(kind)))
            except ExecutionError as e:
                if kind.name == OURS:
                    raise
                failed[kind.name] = str(e)
        yield servers


@asynccontextmanager
async def _senders(bench: Bench, servers: list[Server], failed: dict[str, str]) -> AsyncIterator[Loaded]:
    """Connect to all servers and ask each once with every number of clients, so that all is compiled."""
    async with AsyncExitStack() as stack:
        loaded: Loaded = []
        for server in servers:
            send = await stack.enter_async_context(sender(server.url))
            try:
                for count in bench.plan.counts:
                    asks = [bench.ask(server.kind, _SHORT) for _ in range(count)]
                    bench.read(server, await burst(send, asks), _SHORT)
            except ExecutionError as e:
                if server.kind.name == OURS:
                    raise
                failed[server.kind.name] = str(e)
            else:
                loaded.append((server, send))
        yield loaded


def _reasons(bench: Bench, failed: dict[str, str]) -> list[dict[str, Any]]:
    """Return rows of systems without figures, with the reason."""
    return [
        {"system": name, "status": status, "reason": reason}
        for status, reasons in (("missing", bench.peers.missing), ("failed", failed))
        for name, reason in reasons.items()
    ]


def closed_loops(bench: Bench) -> list[dict[str, Any]]:
    """Return tokens per second and latencies with each number of clients, all systems in turn."""
    failed: dict[str, str] = {}
    plan = bench.plan
    answers: dict[tuple[str, int], list[list[Answer]]] = defaultdict(list)
    batches: list[list[dict[str, Any]]] = []

    async def measure(servers: list[Server]) -> None:
        async with _senders(bench, servers, failed) as loaded:
            for _ in range(plan.rounds):
                for count in plan.counts:
                    for server, send in loaded:
                        each = plan.alone if count == 1 else 1 if server.kind.serial else plan.each
                        asks = [[bench.ask(server.kind) for _ in range(each)] for _ in range(count)]
                        await bench.rest()
                        raws = await closed_loop(send, asks)
                        answers[server.kind.name, count].append(bench.read(server, raws))
                if bench.peers.bench is not None:
                    await bench.rest()
                    batches.append(
                        await asyncio.to_thread(
                            batched_bench, bench.peers, plan.prompt, plan.tokens, plan.counts
                        )
                    )

    with _servers(bench, failed) as servers:
        asyncio.run(measure(servers))
        rows = [_loop_row(server, count, answers) for server in servers for count in plan.counts]
    rows += [_batch_row(index, batches) for index in range(len(plan.counts) if batches else 0)]
    return rows + _reasons(bench, failed)


def _loop_row(
    server: Server, count: int, answers: dict[tuple[str, int], list[list[Answer]]]
) -> dict[str, Any]:
    rounds = answers[server.kind.name, count]
    found = summary(rounds)
    ones = summary(answers[server.kind.name, 1])["rounds"]["tokens_per_second"]
    rates = found["rounds"]["tokens_per_second"]
    return {
        "system": server.kind.name,
        "status": "measured",
        "clients": count,
        "tokens_per_second": median(rates),
        "over_one": median(a / b for a, b in zip(rates, ones, strict=True)),
        **found,
        "prompt_tokens": rounds[0][0].prompt_tokens,
        "note": server.kind.note,
    }


def _batch_row(index: int, batches: list[list[dict[str, Any]]]) -> dict[str, Any]:
    lines = [some[index] for some in batches]
    rates = [round(line["pl"] * line["tg"] / line["t"], 3) for line in lines]
    ones = [some[0]["tg"] / some[0]["t"] for some in batches]
    return {
        "system": LLAMA_BENCH,
        "status": "measured",
        "clients": lines[0]["pl"],
        "tokens_per_second": median(rates),
        "over_one": median(a / b for a, b in zip(rates, ones, strict=True)),
        "first_p50_seconds": median(line["t_pp"] for line in lines),
        "rounds": {"tokens_per_second": rates},
        "note": "no server: prompts, then all sequences one token a step; no sampling",
    }


def bursts(bench: Bench) -> list[dict[str, Any]]:
    """Return the time to the first token of one request alone, and of several that arrive at once."""
    failed: dict[str, str] = {}
    plan = bench.plan
    alone: dict[str, list[float]] = defaultdict(list)
    halves: dict[str, list[float]] = defaultdict(list)
    worst: dict[str, list[float]] = defaultdict(list)

    async def measure(servers: list[Server]) -> None:
        async with _senders(bench, servers, failed) as loaded:
            for _ in range(plan.bursts):
                for server, send in loaded:
                    for count in (1, plan.burst):
                        asks = [bench.ask(server.kind, _SHORT) for _ in range(count)]
                        await bench.rest()
                        found = bench.read(server, await burst(send, asks), _SHORT)
                        firsts = [answer.first for answer in found]
                        if count == 1:
                            alone[server.kind.name] += firsts
                        else:
                            halves[server.kind.name].append(median(firsts))
                            worst[server.kind.name].append(max(firsts))

    with _servers(bench, failed) as servers:
        asyncio.run(measure(servers))
    rows = [
        {
            "system": name,
            "status": "measured",
            "requests": plan.burst,
            "alone_seconds": median(alone[name]),
            "median_seconds": median(halves[name]),
            "last_seconds": median(worst[name]),
            "median_over_alone": median(a / b for a, b in zip(halves[name], alone[name], strict=True)),
            "last_over_alone": median(a / b for a, b in zip(worst[name], alone[name], strict=True)),
            "rounds": {"alone": alone[name], "median": halves[name], "last": worst[name]},
        }
        for name in alone
    ]
    return rows + _reasons(bench, failed)


def prefixes(bench: Bench) -> list[dict[str, Any]]:
    """Return the time to the first token of prompts that begin alike, and of others of the same length."""
    failed: dict[str, str] = {}
    plan = bench.plan
    alike: dict[str, list[float]] = defaultdict(list)
    other: dict[str, list[float]] = defaultdict(list)

    async def measure(servers: list[Server]) -> None:
        async with _senders(bench, servers, failed) as loaded:
            for _ in range(plan.rounds):
                for server, send in loaded:
                    prefix = bench.prompts(plan.prefix)
                    asks = [bench.ask(server.kind, _SHORT, prefix=prefix) for _ in range(plan.each + 1)]
                    others = [
                        bench.ask(server.kind, _SHORT, own=plan.prefix + plan.prompt)
                        for _ in range(plan.each)
                    ]
                    await bench.rest()
                    _, *found = bench.read(server, await closed_loop(send, [asks]), _SHORT)
                    alike[server.kind.name] += [a.first for a in found]
                    await bench.rest()
                    found = bench.read(server, await closed_loop(send, [others]), _SHORT)
                    other[server.kind.name] += [a.first for a in found]

    with _servers(bench, failed, *PREFIXES) as servers:
        asyncio.run(measure(servers))
    rows = [
        {
            "system": name,
            "status": "measured",
            "shared": plan.prefix,
            "own": plan.prompt,
            "alike_p50_seconds": nearest_rank(alike[name], 0.5),
            "other_p50_seconds": nearest_rank(other[name], 0.5),
            "alike_over_other": median(a / b for a, b in zip(alike[name], other[name], strict=True)),
            "rounds": {"alike": alike[name], "other": other[name]},
        }
        for name in alike
    ]
    return rows + _reasons(bench, failed)
