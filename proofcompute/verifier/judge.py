"""Hold what a judge of a bundle of evidence has before it, and what it noted so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.protocol.bundle import Bundle
from proofcompute.protocol.messages import Evidence
from proofcompute.verifier.key import Key
from proofcompute.verifier.proven import ProofHolds

__all__ = ["Judge", "JudgeProgress"]

JudgeProgress = Callable[[str, int, int], None]
"""Is called with the name of a stage (``weights``, ``cells``, ``replay``), the bytes or rows that are done
since the last call, and those of the whole stage."""


@dataclass(frozen=True, eq=False)
class Judge:
    """A bundle, and what its judge holds and notes."""

    bundle: Bundle
    holds: Key | Model | ModelCard | ProofHolds
    kernels: Kernels
    progress: JudgeProgress
    checked: list[str] = field(default_factory=lambda: ["the auditor's signature over the whole bundle"])
    """What was checked, in words."""
    unchecked: list[str] = field(default_factory=list)
    """What was not checked, in words, and why."""

    @property
    def evidence(self) -> Evidence:
        """What the auditor signed, with the request if it is known."""
        return self.bundle.evidence

    @property
    def card(self) -> ModelCard:
        """The card of the model that the judge holds."""
        return self.holds.card

    def weights(self) -> Callable[[int], None]:
        """Return what shows the progress of reading all weights."""
        total = sum(s.rows * s.row_bytes for s in self.card.program.weights)
        return lambda done: self.progress("weights", done, total)
