"""Measures bytes and milliseconds of every stage of a request, and the cost of committing and auditing.

Run: ``make bench PYTEST_ARGS=benchmarks/test_stages.py`` (add ``-s`` for the table).
"""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.model import Bench
from proofcompute.bench.timing import alternating, compared, phases
from proofcompute.engine import Session
from proofcompute.errors import Cell
from proofcompute.protocol.messages import Challenge, Receipt
from proofcompute.verifier import Verified, keygen
from proofcompute.verifier.auditor import Auditor


class Timed:
    """Seconds of named stages."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, int | None]] = []

    def __call__(self, name: str, action: Any, size: Any = None) -> Any:
        start = time.perf_counter()
        out = action()
        self.rows.append((name, time.perf_counter() - start, None if size is None else size(out)))
        return out

    def show(self, title: str) -> None:
        table = Table("stage", "ms", "bytes", title=title)
        for name, seconds, size in self.rows:
            table.add_row(name, f"{1000 * seconds:,.1f}", "" if size is None else f"{size:,}")
        Console().print(table)


def test_stages(bench: Bench, benchmark: Any) -> None:
    """One request of 64 prompt and 448 generated tokens, from key to full audit, which is benchmarked."""
    _compile(bench)
    timed = Timed()
    node = bench.node
    key = timed("key generation", lambda: keygen(node.model, node.kernels), lambda k: len(k.encode()))
    request = bench.request(64, 448)
    session = node.engine.add(request)
    timed("prefill 64", node.engine.step)
    timed(f"decode {448 - 1}", lambda: node.engine.run(session), lambda _: 4 * len(session.answer))
    receipt: Receipt = timed(
        "commit and sign", lambda: node.commit(session, keep=False), lambda r: len(r.encode())
    )
    node.commit(session)  # its trace is kept, so that opening does not compute it again
    auditor, data, last = Auditor(key, device=node.kernels), receipt.encode(), receipt.rows - 1

    def opened(challenge: Challenge) -> bytes:
        return node.open(request, receipt, challenge)

    def check(challenge: Challenge, opening: bytes) -> Verified:
        return auditor.check(request, data, challenge, opening)

    for name, segment in (("embedding", 0), ("block", 15), ("head", 31)):
        one = auditor.challenge(request, data, [Cell(segment, last, last + 1)])
        opening = timed(f"open one {name} cell", lambda c=one: opened(c), len)
        check(one, opening)
        timed(f"verify one {name} cell", lambda c=one, o=opening: check(c, o))
    every = auditor.challenge(request, data, "all")
    opening = timed("open all cells", lambda: opened(every), len)
    check(every, opening)
    _, _, ratio = compared(*alternating(lambda: bench.run(64, 448), lambda: check(every, opening), 3))
    verified = benchmark.pedantic(check, (every, opening), rounds=5)
    assert verified.complete
    timed.rows.append(("verify all cells (median)", benchmark.stats["median"], None))
    benchmark.extra_info["verify_over_run"] = ratio
    benchmark.extra_info["decode_tokens_per_second"] = (len(session.answer) - 1) / timed.rows[2][1]
    timed.show(f"{len(session.answer)} tokens; full audit / run = {ratio:.3f}")


def _compile(bench: Bench) -> None:
    """Run every stage once, on a few tokens."""
    node, request = bench.node, bench.request(8, 4)
    auditor = Auditor(keygen(node.model, node.kernels), device=node.kernels)
    answer = node.answer(request)
    auditor.audit(request, answer.receipt, lambda c: node.open(request, answer.receipt, c), "all")


def test_commit_overhead_of_prefill(bench: Bench, benchmark: Any) -> None:
    """Return what hashing the trace and signing add to a prefill of 512 tokens."""
    _overhead(bench, benchmark, 512, 1, 7)


def test_commit_overhead_of_decode(bench: Bench, benchmark: Any) -> None:
    """Return what hashing the trace and signing add to 64 prompt and 192 generated tokens."""
    _overhead(bench, benchmark, 64, 192, 5)


def _overhead(bench: Bench, benchmark: Any, prompt: int, count: int, rounds: int) -> None:
    def commit(session: Session) -> Receipt:
        return bench.node.commit(session, keep=False)

    commit(bench.run(prompt, count))
    plain, _, overhead = compared(*phases(lambda: bench.run(prompt, count), commit, rounds))
    benchmark.pedantic(commit, setup=lambda: ((bench.run(prompt, count),), {}), rounds=rounds)
    benchmark.extra_info.update(
        plain_seconds=plain,
        overhead=overhead,
        tokens_per_second=(prompt if count == 1 else count) / plain,
    )
    print(f"\n{prompt}+{count}: {plain:.3f} s, committing adds {100 * overhead:.2f} %")
