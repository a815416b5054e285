"""Computes the figures of a run from its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.serving.streams import Answer, nearest_rank

__all__ = ["rate", "summary"]


def rate(answers: Sequence[Answer]) -> float:
    """Return tokens per second, from the first request sent to the last answer's end."""
    seconds = max(a.raw.ended for a in answers) - min(a.raw.started for a in answers)
    return sum(a.tokens for a in answers) / seconds


def summary(rounds: Sequence[Sequence[Answer]]) -> dict[str, Any]:
    """Return the figures of several runs alike: rates by round, and quantiles over all answers."""
    answers = [a for some in rounds for a in some]
    firsts = [a.first for a in answers]
    gaps = [gap for a in answers for gap in a.gaps]
    return {
        "answers": len(answers),
        "first_p50_seconds": nearest_rank(firsts, 0.5),
        "first_p99_seconds": nearest_rank(firsts, 0.99),
        "gap_p50_seconds": nearest_rank(gaps, 0.5),
        "gap_p99_seconds": nearest_rank(gaps, 0.99),
        "rounds": {"tokens_per_second": [round(rate(some), 3) for some in rounds]},
    }
