"""Measure how often a policy finds an altered trace, by drawing as auditors draw.

The formulas of :mod:`proofcompute.verifier.chances` and the draws of :mod:`proofcompute.protocol.cells` share
nothing but the lengths of runs, so that their agreement shows that neither is wrong.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass
from typing import Final

from proofcompute.errors import InputError
from proofcompute.planning.cheats import Alteration
from proofcompute.planning.trace import Trace
from proofcompute.verifier import chances
from proofcompute.verifier.policy import AuditPolicy

__all__ = ["MAX_TRIALS", "Rate", "Z", "interval", "simulate"]

Z: Final = 3.29
"""Standard deviations of an interval that holds the true rate with probability 0.999."""
MAX_TRIALS: Final = 1_000_000


@dataclass(frozen=True)
class Rate:
    """How often a simulated alteration was found."""

    found: int
    trials: int
    formula: float
    """The probability by formula, of the place that was simulated."""

    @property
    def rate(self) -> float:
        """The share of the trials in which it was found."""
        return self.found / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        """Least and greatest probability that fit what was found (0.999)."""
        return interval(self.found, self.trials)

    @property
    def agrees(self) -> bool:
        """Whether the formula is within the interval."""
        low, high = self.interval
        return low <= self.formula <= high


def interval(found: int, trials: int) -> tuple[float, float]:
    """Return Wilson's score interval (E. B. Wilson, JASA 22, 1927) for a rate."""
    rate, square = found / trials, Z * Z / trials
    middle = (rate + square / 2) / (1 + square)
    half = Z * math.sqrt(rate * (1 - rate) / trials + square / (4 * trials)) / (1 + square)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return (0.0 if found == 0 else low), (1.0 if found == trials else high)


def simulate(trace: Trace, policy: AuditPolicy, altered: Alteration, *, trials: int, seed: int) -> Rate:
    """Draw audits of as many answers, all altered at the same place, and count those that hit it.

    A result is a function of the arguments. Raises InputError for a number of trials that is none.
    """
    if not 1 <= trials <= MAX_TRIALS:
        raise InputError(f"a simulation takes 1 to {MAX_TRIALS} trials, not {trials}")
    rng = random.Random(seed)  # noqa: S311 - a simulation
    sample = policy.sample
    where = [(0, n) for n in trace.segments] if sample is None else altered.placed(trace, sample)
    formula = policy.whole
    if sample is not None:
        formula += policy.sampled * chances.where(trace.segments, sample, where)
    firsts, found = trace.statement.first_rows, 0
    for trial in range(trials):
        chosen = policy.choose(rng.randrange)
        if chosen == "all":
            found += 1
        elif chosen is not None:
            digest = hashlib.sha256(f"{seed} {trial}".encode()).digest()
            cells = trace.draw(chosen, digest, b"simulated")
            found += any(
                cell.a - firsts[cell.segment] < where[cell.segment][1]
                and cell.b - firsts[cell.segment] > where[cell.segment][0]
                for cell in cells
            )
    return Rate(found, trials, formula)
