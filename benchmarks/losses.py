"""States where other systems, or a plain rerun, do better, from the measurements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.peers.field import field_losses

__all__ = ["losses"]

GOAL = 0.02
"""The share of a request that committing should add at most."""
GOAL_PREFILL = 0.05


def losses(results: dict[str, Any], peers: dict[str, Any]) -> Iterator[str]:
    """Yield one sentence for each loss; those that no measurement can change come last."""
    yield from _small_models(results)
    yield from _committing(results)
    yield from _single_cells(results)
    yield from _against_ezkl(peers)
    yield from _against_llama(peers)
    yield from _against_toploc(peers)
    yield from field_losses(peers)
    yield (
        "One altered cell is found by c of N cells with probability c / N only; a proof finds it always. "
        "The audit of every cell finds it too, at the cost of the last line of the budgets."
    )
    yield "The verifier holds a secret key; whoever reads it can forge. Nothing is hidden from the verifier."


def _small_models(results: dict[str, Any]) -> Iterator[str]:
    slow = [x for x in results["sizes"] if x["verify_over_execute"] >= 1]
    if slow:
        names = ", ".join(f"{x['model']} {x['precision']}" for x in slow)
        yield (
            f"Verifying every cell takes longer than running the request: {names}. Holding the weights and "
            "rerunning is cheaper there."
        )


def _committing(results: dict[str, Any]) -> Iterator[str]:
    for key, goal, what in (
        ("commit_overhead", GOAL, "a request with its answer"),
        ("commit_overhead_prefill", GOAL_PREFILL, "a prefill"),
    ):
        over = [x for x in results["sizes"] if x[key] > goal]
        if over:
            names = ", ".join(f"{x['model']} {x['precision']} ({100 * x[key]:.1f} %)" for x in over)
            yield f"Committing adds more than {100 * goal:.0f} % to {what}: {names}."
    slowest = max(results["suites"], key=lambda x: x["commit_overhead_prefill"], default=None)
    if slowest is not None:
        yield (
            f"The dearest hash suite is {slowest['suite']}: committing adds "
            f"{100 * slowest['commit_overhead_prefill']:.0f} % to a prefill of {slowest['model']}."
        )


def _single_cells(results: dict[str, Any]) -> Iterator[str]:
    *some, every = results["budgets"] or [None]
    dear = [x for x in some if x["verify_over_execute"] >= every["verify_over_execute"]]
    if dear:
        yield (
            f"Cells asked for one by one cost more each than in ranges: {dear[0]['cells']} uniform cells of "
            f"{every['model']} already cost as much to check as all {every['total']}."
        )


def _measured(peers: dict[str, Any], system: str) -> dict[str, list[dict[str, Any]]]:
    """Return, by case, the measured rows of cases in which the system and ours were measured together."""
    cases = {c["case"]: [x for x in c["rows"] if x["status"] == "measured"] for c in peers["cases"]}
    return {name: rows for name, rows in cases.items() if {"ours", system} <= {x["system"] for x in rows}}


def _against_ezkl(peers: dict[str, Any]) -> Iterator[str]:
    larger, slower, native = [], [], []
    for case, rows in _measured(peers, "ezkl").items():
        ours, theirs = (next(x for x in rows if x["system"] == s) for s in ("ours", "ezkl"))
        if ours["proof_bytes"] > theirs["proof_bytes"]:
            larger.append(f"{case} ({ours['proof_bytes']:,} against {theirs['proof_bytes']:,} bytes)")
        if ours["verify_seconds"] > theirs["verify_seconds"]:
            slower.append(case)
        native.append(
            f"{case} {ours['prove_seconds'] / ours['native_seconds']:.0f} and "
            f"{ours['verify_seconds'] / ours['native_seconds']:.0f} times"
        )
    if larger:
        yield f"Receipt and opening are larger than EZKL's proof: {', '.join(larger)}."
    if slower:
        yield f"EZKL verifies faster: {', '.join(slower)}."
    if native:
        yield (
            "On networks this small a rerun in float32 NumPy is far cheaper than proving (running, "
            f"committing and opening) and than verifying: {', '.join(native)}."
        )


def _against_llama(peers: dict[str, Any]) -> Iterator[str]:
    for rows in _measured(peers, "llama.cpp").values():
        for x in rows:
            for what in ("prefill", "decode"):
                ratio = x[f"{what}_over_llama"]
                if ratio < 1:
                    yield f"Ours {x['what']}: {what} at {ratio:.2f} times llama.cpp's speed."


def _against_toploc(peers: dict[str, Any]) -> Iterator[str]:
    for rows in _measured(peers, "toploc").values():
        theirs, *audits = rows
        every = audits[-1]
        yield (
            f"TOPLOC's fingerprint of 32 tokens has {theirs['proof_bytes']:,} bytes and takes "
            f"{1e3 * theirs['build_seconds']:.2f} ms to build; committing to them takes "
            f"{1e3 * every['build_seconds']:.2f} ms, and opening all their cells "
            f"{1e3 * every['open_seconds']:.0f} ms and {every['proof_bytes'] / 1e6:.1f} MB."
        )
        rerun = theirs["verify_seconds"] + theirs["forward_pass_seconds"]
        for x in audits:
            ratio = (x["open_seconds"] + x["verify_seconds"]) / rerun
            if ratio > 1:
                yield (
                    f"Opening and verifying {x['what']} takes {ratio:.1f} times as long as TOPLOC's check "
                    "with its forward pass."
                )
