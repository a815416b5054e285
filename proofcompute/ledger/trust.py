"""Estimate from audits how often a node's answers are right (docs/guides/ledger.md#trust).

Let a node alter each answer with probability s, and let the audit of answer i find an alteration with
probability d_i. Of n audited answers k are then found wrong; k / D estimates s, where D is the sum of all
d_i. With the prior Beta(1, 1) on s, the estimate is the mean of Beta(1 + k, 1 + D - k):

    s = (k + 1) / (D + 2)        trust = 1 - s

It is no more than an estimate, so its interval stands beside it. The number k is a sum of trials whose mean
is n q with q = s D / n, and no such sum is spread more widely than a binomial one. So q lies, whatever s is,
between the quantiles of the two extreme posteriors (Clopper and Pearson 1934)

    low: Beta(k, n - k + 1) at (1 - c) / 2        high: Beta(k + 1, n - k) at (1 + c) / 2

with probability c or more, and s = q n / D with it. An audit that would have found little widens the interval
and hardly moves it; a node that was never audited has the interval 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from proofcompute.binomial import proportion
from proofcompute.errors import InputError

__all__ = ["Counts", "Trust", "TrustPolicy", "trust_of"]

_WEIGHTS: Final = MappingProxyType({"contradicted": 1.0, "silent": 1.0, "refused": 1.0})


@dataclass(frozen=True)
class TrustPolicy:
    """How verdicts count.

    A weight other than 1 makes the estimate an opinion: the interval holds as stated for weights of 1.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: _WEIGHTS)
    """As how many answers found wrong each failure counts, by outcome."""
    extent: float | str = 0.1
    """The alteration that audits are weighed by: a share of an answer's cells, or ``one`` cell."""
    confidence: float = 0.95
    """With which probability an interval holds what it estimates."""
    quarantined: frozenset[str] = frozenset({"contradicted"})
    """Outcomes upon which a node gets no more requests until somebody readmits it."""

    def __post_init__(self) -> None:
        if set(self.weights) != set(_WEIGHTS) or not all(0 <= w < math.inf for w in self.weights.values()):
            raise InputError(f"a trust policy weighs each of {', '.join(_WEIGHTS)} by a number of 0 or more")
        if not 0 < self.confidence < 1:
            raise InputError(f"a confidence lies between 0 and 1, not at {self.confidence}")
        if self.extent != "one" and (isinstance(self.extent, str) or not 0 < self.extent <= 1):
            raise InputError(f"the extent of an alteration is 'one' or a share, not {self.extent}")
        if not self.quarantined <= set(_WEIGHTS):
            raise InputError(f"a node is quarantined upon some of {', '.join(_WEIGHTS)}")


@dataclass(frozen=True)
class Counts:
    """What is known of a node's audited answers."""

    audits: float = 0.0
    """Answers audited, n; failures count by their weights."""
    detection: float = 0.0
    """Sum of the probabilities of detection, D."""
    failed: float = 0.0
    """Answers found wrong, by their weights, k."""


@dataclass(frozen=True)
class Trust:
    """An estimate of the share of a node's answers that are right, and the interval around it."""

    estimate: float
    low: float
    high: float
    counts: Counts


def trust_of(counts: Counts, confidence: float = 0.95) -> Trust:
    """Return the estimate and its interval, as the module's docstring defines them."""
    n, d, k = counts.audits, counts.detection, counts.failed
    estimate = 1 - min(1.0, (k + 1) / (d + 2))
    if d <= 0:
        return Trust(estimate, 0.0, 1.0, counts)
    tail = (1 - confidence) / 2
    scale = n / d
    low, high = proportion(k, n, tail)
    worst, best = 1.0 if k >= n else min(1.0, scale * high), min(1.0, scale * low)
    return Trust(min(max(estimate, 1 - worst), 1 - best), 1 - worst, 1 - best, counts)
