"""Runs a runner on a device as a service does, and compares what it signs and opens with the definition's."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cache

import proofcompute as pc
import synthetic
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.limits import MIB
from proofcompute.protocol.messages import Challenge, Receipt, Request
from proofcompute.prover.node import Answer
from proofcompute.prover.runner import Runner
from proofcompute.prover.ticket import Ticket

SOON = 300
"""Seconds after which something hangs."""


def asked(number: int, tokens: int) -> Request:
    """Returns one of several requests, greedy and sampled, in both suites."""
    made = synthetic.request(
        synthetic.model(),
        f"prompt {number}" * (1 + number % 3),
        max_tokens=tokens,
        nonce=bytes([number] * 32),
        ignore_end=True,
        sampling=synthetic.SAMPLED if number % 2 else pc.Sampling(),
    )
    return replace(made, suite="blake3") if number % 3 == 2 else made


@cache
def expected(request: Request) -> bytes:
    """Returns the receipt of the definition."""
    return synthetic.prove(synthetic.model(), request).data


@cache
def opened(request: Request, challenge: Challenge) -> bytes:
    """Returns the opening of the definition's trace."""
    return synthetic.node(synthetic.model()).open(request, expected(request), challenge)


def opening(runner: Runner, request: Request, challenge: Challenge) -> bytes:
    """Returns a runner's opening."""
    out = io.BytesIO()
    runner.opener.open(request, Receipt.decode(expected(request)), challenge, out)
    return out.getvalue()


def challenge_of(request: Request, cells: int | None = None) -> Challenge:
    """Returns a challenge of some cells of an answer, or of all."""
    auditor, receipt = pc.Auditor(synthetic.key()), expected(request)
    return auditor.challenge(request, receipt, cells=cells or "all")


def differences(
    kernels: Kernels,
    live: int = 4,
    tokens: int = 9,
    watch: Callable[[Runner], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Iterator[tuple[str, bool]]:
    """Yields what was tried, and whether something differs.

    Some requests run at once; one is cancelled; an earlier one is opened meanwhile, from memory and by
    computing it again. ``watch`` is a context around what each runner does.
    """
    first, *rest = (asked(n, tokens) for n in range(live))
    whole, some = challenge_of(first), challenge_of(first, 5)
    made = Runner(synthetic.model(), synthetic.NODE, device=kernels, chunk=16, prefixes=MIB)
    with made as runner, watch(runner):
        yield "the first receipt", runner.submit(first).result(SOON).receipt != expected(first)
        with ThreadPoolExecutor(2) as pool:
            tickets = [runner.submit(r) for r in rest]
            openings = [pool.submit(opening, runner, first, c) for c in (whole, some)]
            cut = _cut(tickets[0])
            for number, found in enumerate(t.result(SOON) for t in tickets[1:]):
                yield f"receipt {number}", found.receipt != expected(found.request)
            yield "a receipt of a part", cut.receipt != expected(cut.request)
            for name, opens, wanted in zip(("all", "some"), openings, (whole, some), strict=True):
                yield f"{name} cells from memory", opens.result(SOON) != opened(first, wanted)
    made = Runner(synthetic.model(), synthetic.NODE, device=kernels, chunk=16, trace_bytes=0)
    with made as runner, watch(runner):
        tickets = [runner.submit(r) for r in rest]
        yield "some cells computed again", opening(runner, first, some) != opened(first, some)
        for number, found in enumerate(t.result(SOON) for t in tickets):
            yield f"receipt {number} beside", found.receipt != expected(found.request)
        yield "mismatches", bool(runner.opener.mismatches)


def _cut(ticket: Ticket) -> Answer:
    """Cancels a request after its first tokens, and returns the answer to what was computed."""
    next(iter(ticket))
    ticket.cancel()
    return ticket.result(SOON)
