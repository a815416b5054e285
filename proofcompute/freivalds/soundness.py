"""Bound the probability that something false was accepted, in bits (docs/spec/freivalds.md#soundness).

*Bits* are -log2 of a bound on that probability. Two things may go wrong:

- a false product passes its check: p^-k for k columns over GF(p), times the attempts. For p = 2^31 - 1 and
  k = 2 that is (2^31 - 1)^-2, by 2 parts in 10^9 more than 2^-62: 61.99 bits.
- a node knows two openings of one commitment: a collision of hashes of 256 bits. Whoever makes Q queries
  finds one with a probability of at most Q^2 / 2^257 (any two of them, by the union bound). The 128 bits that
  are often stated for such hashes are work (2^128 queries for an even chance) and no probability. So a number
  of queries must be named. Here it is 2^80, and the probability is 2^-97.

Probabilities add up. A public proof of 6 columns, against a prover with those 2^80 queries, has 2^80 p^-6 <
2^-105.99 of the first kind and 2^-97 of the second: 96.99 bits together, limited by the hashes.
"""

from __future__ import annotations

import math
from typing import Final

from proofcompute.freivalds.primes import P31

__all__ = [
    "COLLISION_BITS",
    "GRINDING_BITS",
    "HASH_QUERIES",
    "floored",
    "shown",
    "soundness_bits",
    "with_collisions",
]

HASH_QUERIES: Final = 1 << 80
"""Number of hash queries that a prover is assumed to afford."""
COLLISION_BITS: Final = 97.0
"""-log2 of HASH_QUERIES^2 / 2^257, the probability that they hold a collision of 256-bit hashes."""

GRINDING_BITS: Final = 50.0
"""log2 of the receipts that a prover is granted to try where cells follow from a receipt.

At 10^10 hashes a second that is about a day of one GPU (docs/spec/verification.md#grinding).
"""


def with_collisions(bits: float) -> float:
    """Return the bits of a check of committed values, with those of the hashes.

    ``bits`` are those of the check itself, infinite if it cannot fail.
    """
    return -math.log2(2.0**-bits + 2.0**-COLLISION_BITS)


def shown(bits: float) -> str:
    """Return bits as people read them, rounded down, so that no more is shown than holds."""
    return f"{floored(bits):.2f} bits"


def floored(bits: float) -> float:
    """Return bits rounded down to hundredths."""
    return math.floor(bits * 100) / 100


def soundness_bits(k: int, attempts: int) -> float:
    """Return -log2 of the bound on accepting one false product in ``attempts`` adaptive attempts."""
    return k * math.log2(P31) - math.log2(attempts)
