"""Defines the evidence that a successful check of a product gives."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.jobs.floating import FloatBound

__all__ = ["MOST_BITS", "ProductVerified"]

MOST_BITS = 128.0
"""The most bits that a check claims, whatever its columns: they come from a seed by SHAKE-256, whose 256
bits of security are believed, not proved."""


@dataclass(frozen=True, eq=False)
class ProductVerified:
    """Evidence of a check: what it covered, and with what soundness error.

    For integers, every checked row of C is exactly that of A B, except with probability 2^-soundness_bits.
    For floats, no element of a checked row is off by more than ``bound``, except with that probability.
    """

    rows: int
    """Number of rows of C that were checked."""
    total: int
    """Number of all rows of C."""
    contraction: int
    """d, the number of products in one element."""
    width: int
    """m, columns of C."""
    dtypes: tuple[str, str, str]
    """Element types of A, B and C."""
    arithmetic: str
    """``GF(2^31 - 1)``, ``GF(2^61 - 1)``, or ``binary64 with signs``."""
    columns: int
    """k, the number of independent random columns."""
    soundness_bits: float
    """-log2 of a bound on the probability that a false claim was accepted. For a claim that is committed, the
    bound is against a node with 2^80 hash queries, so it is below 97 bits
    (:mod:`proofcompute.freivalds.soundness`)."""
    received: bool
    """Whether the C that was checked is the one that the verifier received. If False, the verifier received
    none: the committed C holds, but the node may have sent another one."""
    bound: FloatBound | None = None
    """For floats, the errors that were accepted and those that would have been caught, per checked row."""
    attempts: int | None = None
    """The receipts that a prover could try if a beacon drew the rows; None: as many as it could hash."""

    @property
    def complete(self) -> bool:
        """Whether every row was checked."""
        return self.rows == self.total
