"""What a successful check of a product is evidence of."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.jobs.floating import FloatBound

__all__ = ["MOST_BITS", "ProductVerified"]

MOST_BITS = 128.0
"""No check claims more, however many columns it used: they come from a seed by SHAKE-256, which is believed
to hide it with twice as many bits, and not proved to."""


@dataclass(frozen=True, eq=False)
class ProductVerified:
    """Evidence, never a bare bool: what was covered, and how sure it is.

    For integers: every checked row of C is that of A B, exactly, but for a probability of 2^-soundness_bits.
    For floats: no element of a checked row is off by more than ``bound`` says, but for that probability.
    """

    rows: int
    """Rows of C checked."""
    total: int
    """Rows of C."""
    contraction: int
    """d, the number of products in one element."""
    width: int
    """m, columns of C."""
    dtypes: tuple[str, str, str]
    """Element types of A, B and C."""
    arithmetic: str
    """``GF(2^31 - 1)``, ``GF(2^61 - 1)``, or ``binary64 with signs``."""
    columns: int
    """k, independent random columns."""
    soundness_bits: float
    """-log2 of a bound on the probability that a false claim was accepted; of a claim that is committed,
    against a node with 2^80 hash queries, so that it is below 97
    (:mod:`proofcompute.freivalds.soundness`)."""
    received: bool
    """Whether what was checked is the C that the verifier was given; False if it never was given any, so
    that what the node committed to holds, and nothing is said about what it sent to anybody."""
    bound: FloatBound | None = None
    """For floats: what was accepted and what would have been caught, for each checked row."""

    @property
    def complete(self) -> bool:
        """Whether every row was checked."""
        return self.rows == self.total
