"""Describe what a successful verification is evidence of
(docs/spec/verification.md#what-acceptance-says).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from proofcompute.protocol.samples import Sample
from proofcompute.verifier import chances

__all__ = ["Verified"]


@dataclass(frozen=True)
class Verified:
    """Evidence of a successful verification: what was covered, and with which soundness."""

    cells: int
    """Single-row cells checked."""
    total: int
    """Single-row cells of the trace."""
    rows: int
    """Rows of the trace."""
    outputs: int
    """Output rows (tokens) of the answer."""
    stop_reason: str
    node: bytes
    """Public key of the node that signed."""
    soundness_bits: float
    """-log2 of a bound on the probability that a wrong cell among those checked was accepted.

    The bound holds against a node with 2^80 hash queries, whose chance of a collision limits it to 97 bits
    (:mod:`proofcompute.freivalds.soundness`).
    """
    bytes_opened: int
    """Bytes of the opening."""
    segments: tuple[int, ...] = ()
    """Rows of each segment."""
    drawn: Sample | None = None
    """The sample of which the cells are a draw; None: uniform cells."""
    attempts: int | None = None
    """Receipts that a prover could try until the cells suited it, if a beacon limits them; None: as many as
    it can hash, or one if the verifier drew the cells."""

    @property
    def complete(self) -> bool:
        """Whether every cell was checked."""
        return self.cells == self.total

    @property
    def detects_one(self) -> float:
        """Probability that an audit of so many cells, in runs as long as these, hits one altered cell.

        It is c / N for c uniform cells of N.
        """
        if self.complete or self._runs is None:
            return self.cells / self.total
        return chances.one(self.segments, self._runs)

    def detects_share(self, share: float) -> float:
        """Return the probability that such an audit hits at least one of a share of altered cells.

        For c uniform cells of N it is 1 - C(N - m, c) / C(N, c) with m = ceil(share N) altered cells. For
        runs it is a bound (:func:`proofcompute.verifier.chances.share`). Both hold wherever the cells are.
        """
        return -math.expm1(self._log_miss(share))

    def grinding_bits(self, share: float) -> float:
        """Return log2 of the receipts that a prover tries on average to hide a share of altered cells.

        The cells of a public proof are hashed from the receipt. A prover may try receipts, at a hash each,
        until the cells hit no altered one. The result is at least -c log2(1 - share) for c uniform cells, and
        infinite if the cells must hit an altered one.
        """
        return -self._log_miss(share) / math.log(2)

    def detects_after(self, share: float, attempts: float) -> float:
        """Return the probability that a share of altered cells is found after a prover tried receipts.

        Each of ``attempts`` receipts draws other cells, and one is found if all of them hit: (1 - miss)^T,
        where miss = 1 - detects_share(share). Both are 1 if every cell was checked.
        """
        miss = math.exp(self._log_miss(share))
        if miss >= 1.0:
            return 0.0
        return math.exp(attempts * math.log1p(-miss))

    @property
    def _runs(self) -> Sample | None:
        return None if self.drawn is None or not self.drawn.runs else self.drawn

    def _log_miss(self, share: float) -> float:
        """Return the natural logarithm of the probability that the cells hit no altered one."""
        if not self.complete and self._runs is not None:
            found = chances.share(self.segments, self._runs, share)
            return math.log1p(-found) if found < 1 else -math.inf
        return chances.cells_missed(self.total, chances.altered_cells(share, self.total), self.cells)
