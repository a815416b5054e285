"""Say how far a node is trusted: the ledger's estimate (:mod:`proofcompute.ledger.trust`), as audits come.

An audit that passed counts with the probability that it would have found one altered cell, and each
contradiction as one answer that is wrong, whether an audit found it or a receipt.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from proofcompute.client.detection import detects
from proofcompute.ledger.trust import Counts, trust_of
from proofcompute.ledger.trust import Trust as Estimate

__all__ = ["SHARE", "Trust"]

SHARE: Final = 0.05
"""The share of altered answers whose detection is stated."""
_HISTORY: Final = 60
"""Estimates that are shown."""


@dataclass
class Trust:
    """What audits of one node came to."""

    counts: Counts = field(default_factory=Counts)
    contradictions: int = 0
    chances: list[float] = field(default_factory=list)
    """For each audit that passed, the probability that it would have found one altered cell."""
    history: list[float] = field(default_factory=lambda: [trust_of(Counts()).estimate])
    """The estimates, the newest last."""

    @property
    def estimate(self) -> Estimate:
        """The estimate and its interval."""
        return trust_of(self.counts)

    @property
    def mean(self) -> float:
        """The estimate."""
        return self.history[-1]

    def passes(self, chance: float) -> None:
        """Note an audit that passed and would have found an alteration with this probability."""
        self.chances.append(chance)
        self._count(chance, 0)

    def contradicts(self) -> None:
        """Note a contradiction."""
        self.contradictions += 1
        self._count(1.0, 1)

    def take(self, counts: Counts) -> None:
        """Take what a ledger knows, of other gateways too."""
        if counts != self.counts:
            self.counts = counts
            self._note()

    def _count(self, chance: float, failed: int) -> None:
        old = self.counts
        self.counts = Counts(old.audits + 1, old.detection + chance, old.failed + failed)
        self._note()

    def _note(self) -> None:
        self.history = [*self.history, self.estimate.estimate][-_HISTORY:]

    def describe(self) -> dict[str, Any]:
        """Return the numbers that are shown."""
        found = self.estimate
        return {
            "trust": found.estimate,
            "low": found.low,
            "high": found.high,
            "history": self.history,
            "audits": len(self.chances) + self.contradictions,
            "contradictions": self.contradictions,
            "detection": detects(SHARE, self.chances),
        }
