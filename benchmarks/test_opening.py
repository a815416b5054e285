"""Measures what opening costs: every cell beside running, and some cells of a long answer.

Run: ``make bench PYTEST_ARGS=benchmarks/test_opening.py`` (add ``-s`` for the lines that it prints). An
opening is written to a stream that drops it, as a network would take it, so that what is measured is the
node's work and not the memory of whoever receives it. Running and opening take turns.
"""

from __future__ import annotations

import io
from statistics import median
from typing import Any, BinaryIO, cast

import pytest

from benchmarks.model import Bench
from proofcompute.bench.timing import in_turn, ratios, spread
from proofcompute.protocol.cells import all_cells, draw_cells
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, Receipt, Request
from proofcompute.prover.opener import Opener

LONG = (64, 1024)
"""Tokens of the prompt and of the answer of which some cells are opened: 1,087 rows."""
CELLS = 8


class Dropped(io.RawIOBase):
    """A stream that counts what is written to it."""

    count = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.count += size
        return size


def opened(opener: Opener, request: Request, receipt: Receipt, challenge: Challenge) -> int:
    """Open the cells of a challenge and return the bytes."""
    out = Dropped()
    opener.open(request, receipt, challenge, cast(BinaryIO, out))
    return out.count


@pytest.mark.parametrize(
    ("prompt", "count", "goal"), [(64, 448, 0.4), (512, 1, 1.0)], ids=["decode", "prefill"]
)
def test_opening_every_cell(bench: Bench, benchmark: Any, prompt: int, count: int, goal: float) -> None:
    """Return the cost of opening every cell of a request over that of running it."""
    node, request = bench.node, bench.request(prompt, count)
    receipt = node.commit(node.run(request))
    trace = node.trace(request, receipt)
    challenge = Challenge(receipt.digest, all_cells(Claim(receipt, trace.statement)))

    def act() -> int:
        return opened(node.opener, request, receipt, challenge)

    size = act()
    running, opening = in_turn((lambda: bench.run(prompt, count), act), 7)
    over = ratios(running, opening)
    benchmark.pedantic(act, rounds=3)
    benchmark.extra_info.update(open_over_run=median(over), goal=goal, bytes=size)
    print(
        f"\n{prompt} + {count}: run {median(running):.3f} s, open every cell {median(opening):.3f} s, "
        f"{size / 1e6:.0f} MB; open / run {_shown(over)}, goal {goal}"
    )


def test_opening_some_cells_of_a_long_answer(bench: Bench, benchmark: Any) -> None:
    """Return what opening 8 cells costs: seconds from memory, and, computed again, over generating."""
    node, (prompt, count) = bench.node, LONG
    request = bench.request(prompt, count)
    receipt = node.commit(node.run(request))
    claim = Claim(receipt, node.trace(request, receipt).statement)
    challenges = [Challenge(receipt.digest, draw_cells(claim, CELLS)) for _ in range(15)]
    forgetful = Opener(
        node.model, node.kernels, node.identity, compute=node.opener._compute, trace_bytes=0, challenges=None
    )
    opened(node.opener, request, receipt, challenges[0])
    opened(forgetful, request, receipt, challenges[0])
    kept = [in_turn((lambda c=c: opened(node.opener, request, receipt, c),), 1)[0][0] for c in challenges]  # type: ignore[misc]
    running, again = in_turn(
        (lambda: bench.run(prompt, count), lambda: opened(forgetful, request, receipt, challenges[1])), 3
    )
    over = ratios(running, again)
    benchmark.pedantic(lambda: opened(node.opener, request, receipt, challenges[2]), rounds=5)
    benchmark.extra_info.update(
        rows=receipt.rows,
        kept_seconds=median(kept),
        kept_goal=0.05,
        again_over_run=median(over),
        again_goal=0.45,
    )
    shown = spread([1000 * x for x in kept])
    print(
        f"\n{CELLS} cells of {receipt.rows} rows: from memory {shown['median']:.1f} ms "
        f"({shown['min']:.1f}-{shown['max']:.1f}), goal 50; computed again {median(again):.3f} s, over "
        f"generating ({median(running):.3f} s) {_shown(over)}, goal 0.45"
    )


def _shown(values: list[float]) -> str:
    found = spread(values)
    return f"{found['median']:.3f} ({found['min']:.3f}-{found['max']:.3f})"
