"""Find the cheapest policy under which no stated cheat pays.

For a given sample the cost of a policy, and its detection of each cheat, are linear in the probabilities of a
full audit (p) and of the sample (s). So the least cost lies at a corner of the polygon that p, s >= 0,
p + s <= 1 and p + d s >= needed, for each cheat, leave. All corners of a few hundred samples are compared.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proofcompute.errors import InputError, LimitError
from proofcompute.planning.cheats import Alteration
from proofcompute.planning.economics import Cost, Market
from proofcompute.planning.figures import Figures
from proofcompute.planning.trace import Trace
from proofcompute.planning.work import Audit, expected, of_policy, whole
from proofcompute.protocol.samples import Sample
from proofcompute.verifier.policy import AuditPolicy

__all__ = ["Goal", "Option", "candidates", "cheapest", "option_for", "options"]

_ROUNDING: Final = 2.0**-30
"""Probabilities are rounded up by more than the step of a policy's."""
_CELLS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_COUNTS: Final = (1, 2, 4, 8, 16, 32, 64)
_SHORTEST: Final = 8
"""Rows of the shortest runs that are tried."""
_NEAR: Final = 1.02
"""A simpler policy that costs so many times the least is preferred."""


@dataclass(frozen=True)
class Goal:
    """An alteration, and how often it has to be found."""

    altered: Alteration
    needed: float
    """Probability."""


@dataclass(frozen=True)
class Option:
    """A policy with what it costs and finds."""

    policy: AuditPolicy
    cost: Cost
    found: tuple[float, ...]
    """Probability to find each of the goals' alterations."""


def candidates(trace: Trace) -> list[Sample]:
    """Return samples worth a try: runs of halved lengths of few to all segments, cells, and some of both."""
    segments, rows = len(trace.segments), max(trace.segments)
    counts = sorted({min(segments, g) for g in (*_COUNTS, segments)})
    lengths, r = [rows], rows
    while r > _SHORTEST:
        r = -(-r // 2)
        lengths.append(r)
    cells = [Sample(cells=c) for c in _CELLS if c < trace.statement.cells]
    runs = [Sample(g, r, c) for g in counts for r in lengths for c in (0, 16)]
    return cells + [sample for sample in runs if (sample.runs, sample.rows) != (segments, rows)]


def option_for(
    trace: Trace, figures: Figures, market: Market, policy: AuditPolicy, altered: Sequence[Alteration]
) -> Option:
    """Return what a policy costs and finds."""
    cost = market.cost(trace, figures, of_policy(trace, policy), policy.whole + policy.sampled)
    return Option(policy, cost, tuple(a.found(trace, policy) for a in altered))


def options(
    trace: Trace,
    figures: Figures,
    market: Market,
    goals: Sequence[Goal],
    samples: Sequence[Sample] | None = None,
) -> list[Option]:
    """Return the cheapest policy of each sample that reaches all goals, the cheapest first.

    A simpler one comes before it if it costs about as much. A goal of more than 1 cannot be reached: the
    list is empty then. Raises InputError without goals.
    """
    if not goals:
        raise InputError("say which cheat must not pay")
    altered = [goal.altered for goal in goals]
    found: list[Option] = []
    try:
        full: Audit | None = whole(trace)
    except LimitError:  # a challenge cannot name all cells; samples are all there is
        full = None
    flat = market.cost(trace, figures, Audit(), 0.0).dollars
    dear = math.inf if full is None else market.cost(trace, figures, full, 1.0).dollars - flat
    most = max(goal.needed for goal in goals)
    if full is not None and most <= 1:
        every = AuditPolicy(min(1.0, most + _ROUNDING))
        found.append(option_for(trace, figures, market, every, altered))
    for sample in candidates(trace) if samples is None else samples:
        finds = [a.finds(trace, sample) for a in altered]
        cheap = market.cost(trace, figures, expected(trace, sample), 1.0).dollars - flat
        corner = _corner(dear, cheap, finds, [goal.needed for goal in goals])
        if corner is None:
            continue
        p, s = corner
        if not p and not s:
            s = _ROUNDING  # a policy that checks nothing is none
        policy = AuditPolicy(p, s, sample if s else None)
        if policy not in {option.policy for option in found}:
            found.append(option_for(trace, figures, market, policy, altered))
    found.sort(key=lambda option: option.cost.dollars)
    near = [option for option in found if option.cost.dollars <= _NEAR * found[0].cost.dollars]
    if near:
        first = min(near, key=lambda option: (option.policy.parts, option.policy.sample is not None))
        found.remove(first)
        found.insert(0, first)
    return found


def cheapest(
    trace: Trace, figures: Figures, market: Market, goals: Sequence[Goal], budget: float = math.inf
) -> Option | None:
    """Return the cheapest policy that reaches all goals, unless it costs more than ``budget`` dollars."""
    found = options(trace, figures, market, goals)
    return found[0] if found and found[0].cost.dollars <= budget else None


def _corner(
    dear: float, cheap: float, finds: Sequence[float], needed: Sequence[float]
) -> tuple[float, float] | None:
    """Return the cheapest probabilities of a full audit and of the sample; None if there are none."""
    lines = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 1.0, 1.0)]  # a p + b s = c
    lines += [(1.0, d, min(1.0, n + _ROUNDING) if n else 0.0) for d, n in zip(finds, needed, strict=True)]
    best: tuple[float, float, float] | None = None
    for (a, b, c), (e, f, g) in itertools.combinations(lines, 2):
        det = a * f - b * e
        if abs(det) < 1e-15:
            continue
        p, s = (c * f - b * g) / det, (a * g - c * e) / det
        p, s = (0.0 if abs(x) < 1e-12 else x for x in (p, s))
        if not (0 <= p and 0 <= s and p + s <= 1 + 1e-12) or (p and dear == math.inf):
            continue
        if any(p + d * s < n - 1e-12 for d, n in zip(finds, needed, strict=True)):
            continue
        price = (p * dear if p else 0.0) + s * cheap
        if best is None or price < best[0]:
            best = price, min(1.0, p), max(0.0, min(s, 1.0 - min(1.0, p)))
    return None if best is None else best[1:]
