"""What a successful verification is evidence of (docs/spec/verification.md#what-acceptance-says)."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Verified"]


@dataclass(frozen=True)
class Verified:
    """Evidence, never a bare bool: what was covered, and how sure it is."""

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

    Against a node with 2^80 hash queries, whose chance of a collision limits it to 97
    (:mod:`proofcompute.freivalds.soundness`).
    """
    bytes_opened: int
    """Bytes of the opening."""

    @property
    def complete(self) -> bool:
        """Whether every cell was checked."""
        return self.cells == self.total

    @property
    def detects_one(self) -> float:
        """Probability that an audit of so many uniform cells would have hit one altered cell: c / N."""
        return self.cells / self.total

    def detects_share(self, share: float) -> float:
        """Probability that so many uniform cells would have hit at least one of a share of altered cells.

        1 - C(N - m, c) / C(N, c) with m = ceil(share N) altered cells of N.
        """
        return -math.expm1(self._log_miss(share))

    def grinding_bits(self, share: float) -> float:
        """For a public proof, whose cells are hashed from the receipt: log2 of the receipts that a prover
        tries on average, at a hash each, until its cells hit none of a share of altered cells.

        At least -c log2(1 - share); infinite if there are no such cells.
        """
        return -self._log_miss(share) / math.log(2)

    def _log_miss(self, share: float) -> float:
        """Natural logarithm of the probability that uniform cells hit no altered one."""
        bad = math.ceil(share * self.total - 1e-6)  # the rounding of a share must not add a cell
        if self.cells > self.total - bad:
            return -math.inf
        return sum(math.log1p(-bad / (self.total - i)) for i in range(self.cells))
