"""Times whole requests: tokens per second, and what committing adds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from benchmarks.gpu.timing import Measurement, wait
from proofcompute.bench.timing import alternating, compared
from proofcompute.engine import Session
from proofcompute.protocol.messages import Receipt
from proofcompute.prover.node import Node

__all__ = ["Runner", "requests"]


class Runner(Protocol):
    """A model on a device, such as :class:`benchmarks.model.Bench`."""

    node: Node

    def run(self, prompt: int, count: int) -> Session:
        """Run a request to its end."""
        ...


def requests(runner: Runner, prompt: int, decode: tuple[int, int], rounds: int) -> Iterator[Measurement]:
    """Time prefill of ``prompt`` tokens, and decoding of ``decode`` = (prompt, tokens), at batch 1."""
    for name, (first, count) in (("prefill", (prompt, 1)), ("decode", decode)):
        plain, overhead = _run(runner, first, count, rounds)
        detail = {"prompt": first, "tokens": count, "rounds": rounds}
        tokens = first if count == 1 else count
        yield Measurement(f"{name} at batch 1", tokens / plain, "tokens/s", detail)
        yield Measurement(f"commit overhead, {name}", 100 * overhead, "%", detail)


def _run(runner: Runner, prompt: int, count: int, rounds: int) -> tuple[float, float]:
    """Return the seconds of a run without a commitment, and the share that committing adds."""

    def plain() -> None:
        runner.run(prompt, count)
        wait(runner.node.kernels)

    def committed() -> Receipt:
        return runner.node.commit(runner.run(prompt, count), keep=False)

    plain()
    committed()
    alone, _, ratio = compared(*alternating(plain, committed, rounds))
    return alone, ratio - 1
