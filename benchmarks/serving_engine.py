"""Measures how many tokens an engine generates with several requests live.

``python -m benchmarks.serving_engine`` runs it.

Each line gives tokens per second with so many live requests, and the ratio to one live request in the same
run. All counts take turns, and the best of several rounds counts, since other work on the machine can only
slow a round down. *Steps* are those in which every request decodes; *all* includes the prompts.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

from benchmarks.model import Bench

LIVE = (1, 2, 4, 8, 16, 32)


@dataclass
class Best:
    """The shortest times of several rounds, in seconds."""

    whole: float = float("inf")
    """All requests, prompts included."""
    step: float = float("inf")
    """The median step in which every request decodes a token."""


def measure(bench: Bench, live: int, prompt: int, count: int) -> Best:
    """Run ``live`` equal requests at once on an engine that has run before."""
    engine = bench.node.engine
    sessions = [engine.add(bench.request(prompt, count)) for _ in range(live)]
    steps = []
    start = time.perf_counter()
    while any(s.running for s in sessions):
        decoding = all(s.emitted for s in sessions)
        before = time.perf_counter()
        engine.step()
        if decoding:
            steps.append(time.perf_counter() - before)
    whole = time.perf_counter() - start
    if any(s.error is not None or s.emitted != count for s in sessions):
        raise SystemExit("a request ended early: choose another text")
    return Best(whole, sorted(steps)[len(steps) // 2])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Tokens per second by the number of live requests.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="w8a16")
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--live", type=int, nargs="+", default=LIVE)
    options = parser.parse_args()
    bench = Bench(options.device, options.precision)
    best = {live: Best() for live in options.live}
    for _ in range(options.rounds):
        for live, known in best.items():
            found = measure(bench, live, options.prompt, options.count)
            known.whole = min(known.whole, found.whole)
            known.step = min(known.step, found.step)
    first = next(iter(best))
    print("live   step ms   tokens/s   ratio   tokens/s with prompts   ratio")
    for live, found in best.items():
        step, whole = live / found.step, live * options.count / found.whole
        base = best[first]
        print(
            f"{live:4}   {1e3 * found.step:7.2f}   {step:8.0f}   {step * base.step / first:5.2f}   "
            f"{whole:21.0f}   {whole * base.whole / (first * options.count):5.2f}"
        )


if __name__ == "__main__":
    main()
