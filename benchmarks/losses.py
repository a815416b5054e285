"""Where other systems, or a plain rerun, do better: sentences that follow from the measurements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["losses"]

GOAL = 0.02
"""Share of a request that committing may add."""
GOAL_PREFILL = 0.05


def losses(results: dict[str, Any], peers: dict[str, Any]) -> Iterator[str]:
    """One sentence for each loss; those that no measurement can change come last."""
    yield from _small_models(results)
    yield from _committing(results)
    yield from _against_ezkl(peers)
    yield from _against_llama(peers)
    yield from _against_toploc(results, peers)
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


def _measured(peers: dict[str, Any], system: str) -> dict[str, dict[str, Any]]:
    return {x["case"]: x for x in peers["rows"] if x["system"] == system and x["status"] == "measured"}


def _against_ezkl(peers: dict[str, Any]) -> Iterator[str]:
    ours, theirs = _measured(peers, "ours"), _measured(peers, "ezkl")
    larger = [
        f"{case} ({ours[case]['proof_bytes']:,} against {theirs[case]['proof_bytes']:,} bytes)"
        for case in ours
        if case in theirs and ours[case]["proof_bytes"] > theirs[case]["proof_bytes"]
    ]
    if larger:
        yield f"Receipt and opening are larger than EZKL's proof: {', '.join(larger)}."
    slower = [
        case
        for case in ours
        if case in theirs and ours[case]["verify_seconds"] > theirs[case]["verify_seconds"]
    ]
    if slower:
        yield f"EZKL verifies faster: {', '.join(slower)}."
    native = [
        f"{case} {ours[case]['prove_seconds'] / ours[case]['native_seconds']:.0f} times" for case in ours
    ]
    if native:
        yield (
            f"On networks this small a rerun in float32 NumPy is far cheaper than running, committing and "
            f"opening here: {', '.join(native)}."
        )


def _against_llama(peers: dict[str, Any]) -> Iterator[str]:
    for x in _measured(peers, "llama.cpp").values():
        for e in x["rows"][1:]:
            for what in ("prefill", "decode"):
                if e[f"{what}_over_llama"] < 1:
                    yield f"{e['engine']}: {what} at {e[f'{what}_over_llama']:.2f} times llama.cpp's speed."


def _against_toploc(results: dict[str, Any], peers: dict[str, Any]) -> Iterator[str]:
    for x in _measured(peers, "toploc").values():
        all_cells = results["budgets"][-1]["opening_bytes"] if results["budgets"] else 0
        yield (
            f"TOPLOC's fingerprint of 32 tokens has {x['proof_bytes']} bytes and takes "
            f"{1e3 * x['prove_seconds']:.2f} ms to build; opening all cells of the {results['prompt']} + "
            f"{results['tokens']} tokens of the budgets takes {all_cells / 1e6:.1f} MB."
        )
