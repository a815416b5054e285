"""Runs a runner, the part of a service below HTTP, on the device: what it signs and opens, and how fast."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Final

import proofcompute as pc
from benchmarks.cost.shapes import MODELS
from benchmarks.gpu.day.findings import Findings
from benchmarks.gpu.day.models import SMALL, asked, made_model
from benchmarks.gpu.day.plan import Settings
from gpu.beside import differences
from proofcompute.limits import GIB

__all__ = ["receipts", "speed"]

SHAPE: Final = "Llama-3.1-8B"
LIVE: Final = (1, 8, 16, 64)
"""Requests that run at the same time."""
BESIDE: Final = 8
"""Requests beside which an answer is opened."""
CELLS: Final = 8
"""Cells of an opening."""
_ROOM: Final = 48 * GIB
"""More than the traces of all requests take; the device's memory is the limit."""


def receipts(out: Findings, settings: Settings) -> None:
    """Compare receipts and openings of requests that run, end, are cancelled and opened at the same time."""
    live, tokens = (3, 3) if settings.few else (4, 9) if settings.device == "emulated" else (12, 40)
    kernels = settings.kernels()
    for what, bad in differences(kernels, live, tokens):
        out.say(what, bad=bad)
    if kernels.refused:
        out.say("steps were not captured", bad=True, refused=kernels.refused[:3])


class _Steps:
    """What a runner reports of its steps."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, int, float]] = []
        """For each step when it ended, its tokens and its seconds."""
        self.first: list[float] = []
        """Seconds to the first token of each request."""

    def stepped(self, rows: int, tokens: int, seconds: float) -> None:
        """See :class:`proofcompute.RunnerEvents`."""
        self.steps.append((time.perf_counter(), tokens, seconds))

    def first_token(self, seconds: float) -> None:
        """See :class:`proofcompute.RunnerEvents`."""
        self.first.append(seconds)

    def ended(self, outcome: str) -> None:
        """See :class:`proofcompute.RunnerEvents`."""


def speed(out: Findings, settings: Settings) -> None:
    """Time requests at once in a runner, and openings of an answer that is computed again for them."""
    few, seen = settings.few, _Steps()
    model = made_model(SMALL if few else MODELS[SHAPE], shared=not few)
    prompt, tokens = (4, 6) if few else (64, 64)
    limits = pc.RunnerLimits(live=max(LIVE), trace_bytes=_ROOM)
    kernels = settings.kernels()
    with pc.Runner(
        model, pc.NodeIdentity(bytes(32)), device=kernels, limits=limits, trace_bytes=0, events=seen
    ) as runner:

        def at_once(live: int, count: int) -> list[pc.Answer]:
            seen.steps, seen.first = [], []
            request = asked(model, prompt, count, ignore_end=True)
            return [t.result() for t in [runner.submit(request) for _ in range(live)]]

        (answer,) = at_once(1, tokens)  # it measures ways and captures a step
        for live in (1, 2) if few else LIVE:
            start = time.perf_counter()
            at_once(live, tokens)
            whole = time.perf_counter() - start
            out.say(
                "requests at once",
                live=live,
                whole_tokens_s=round(live * tokens / whole),
                **_rates(seen, live),
            )
        _openings(out, runner, answer, lambda: at_once(2 if few else BESIDE, 2 * tokens), seen)
    out.say("ways of products", bad=bool(kernels.refused), refused=kernels.refused[:3])


def _rates(seen: _Steps, live: int) -> dict[str, Any]:
    """Return what steps took in which every request had a token, and what the thread did between them."""
    full = [(end, seconds) for end, tokens, seconds in seen.steps if tokens == live]
    periods = [after - before for (before, _), (after, _) in pairwise(full)]
    gaps = [after - seconds - before for (before, _), (after, seconds) in pairwise(full)]
    period = _median(periods)
    return {
        "tokens_s": round(live / period) if period else 0,
        "step_ms": _ms(_median([seconds for _, seconds in full])),
        "between_ms": _ms(_median(gaps)),
        "first_token_ms": _ms(_median(seen.first)),
        "last_first_token_ms": _ms(max(seen.first)),
    }


def _openings(
    out: Findings, runner: pc.Runner, answer: pc.Answer, beside: Callable[[], object], seen: _Steps
) -> None:
    """Open an answer alone, and again and again while others run."""
    receipt = pc.Receipt.decode(answer.receipt)
    claim = pc.check_receipt(runner.model, answer.request, answer.receipt)
    challenge = pc.Challenge(receipt.digest, pc.draw_cells(claim, CELLS, bytes(32)))

    def opened() -> float:
        start = time.perf_counter()
        runner.opener.open(answer.request, receipt, challenge, io.BytesIO())
        return time.perf_counter() - start

    first, alone = opened(), opened()
    out.say("opening, computed again", cells=CELLS, rows=receipt.rows, first_ms=_ms(first), ms=_ms(alone))
    start = time.perf_counter()
    beside()
    quiet = time.perf_counter() - start
    with ThreadPoolExecutor(1) as pool:
        start = time.perf_counter()
        running = pool.submit(beside)
        spent = [opened()]
        while not running.done():
            spent.append(opened())
        running.result()
        busy = time.perf_counter() - start
    out.say(
        "opening beside requests", openings=len(spent), ms=_ms(_median(spent)), slower=round(busy / quiet, 2)
    )


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 2)
