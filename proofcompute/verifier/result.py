"""What a successful verification is evidence of (design, section 7)."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["HASH_BITS", "Verified"]

HASH_BITS = 128.0
"""Bits of collision resistance of the hash suites: no verification claims more."""


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
    """-log2 of the probability that a wrong cell among those checked was accepted."""
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
        bad = math.ceil(share * self.total - 1e-6)  # the rounding of a share must not add a cell
        good = self.total - bad
        if self.cells > good:
            return 1.0
        log_miss = sum(math.log1p(-bad / (self.total - i)) for i in range(self.cells))
        return -math.expm1(log_miss)
