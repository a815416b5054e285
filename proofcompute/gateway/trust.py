"""Say how far a node is trusted: the posterior of the share of its answers that hold.

Before anything is known of a node, every share is as likely as any other: Beta(1, 1). An audit that passed
and would have found an alteration with probability d counts as d answers that hold, and a contradiction as W
answers that do not. The posterior is Beta(1 + sum of d, 1 + W times the number of contradictions).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from proofcompute.client.detection import detects

__all__ = ["CONTRADICTED", "Trust"]

CONTRADICTED: Final = 50.0
"""W: how many passed full audits one contradiction outweighs."""
SHARE: Final = 0.05
"""The share of altered answers whose detection is stated."""


@dataclass
class Trust:
    """What audits of one node came to."""

    chances: list[float] = field(default_factory=list)
    """For each audit that passed, the probability that it would have found one altered cell."""
    passed: float = 0.0
    """Sum of them."""
    audits: int = 0
    """Audits that came to a verdict."""
    contradictions: int = 0

    @property
    def mean(self) -> float:
        """Mean of the posterior."""
        alpha, beta = self.parameters
        return alpha / (alpha + beta)

    @property
    def parameters(self) -> tuple[float, float]:
        """The two parameters of the posterior."""
        return 1 + self.passed, 1 + CONTRADICTED * self.contradictions

    def passes(self, chance: float) -> None:
        """Note an audit that passed and would have found an alteration with this probability."""
        self.audits += 1
        self.passed += chance
        self.chances.append(chance)

    def contradicts(self, *, audited: bool) -> None:
        """Note a contradiction, found by an audit or by a receipt that does not hold."""
        self.audits += audited
        self.contradictions += 1

    def describe(self) -> dict[str, Any]:
        """Return the numbers that are shown."""
        alpha, beta = self.parameters
        return {
            "trust": self.mean,
            "alpha": alpha,
            "beta": beta,
            "audits": self.audits,
            "contradictions": self.contradictions,
            "detection": detects(SHARE, self.chances),
        }
