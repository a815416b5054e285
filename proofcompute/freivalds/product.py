"""Describe a product that is checked: its shape, and the accumulators that make it up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from proofcompute.limits import MAX_CONTRACTION

__all__ = ["Site", "product_sets", "set_count"]


@dataclass(frozen=True)
class Site:
    """One matrix product inside an operation: rows of x times a weight matrix."""

    weight: str
    """Name of the weight matrix."""
    m: int
    """Output channels."""
    d: int
    """Contraction length."""
    x_limbs: int
    w_limbs: int
    rows: int = 1
    """Rows of x for each row of the program."""
    groups: int = 1
    """Matrices of the weight, of which each row of x is multiplied by one."""

    @property
    def bound(self) -> int:
        """The largest absolute value that an accumulator of this product can have."""
        return min(self.d, MAX_CONTRACTION) * 128 * 128


@lru_cache(maxsize=256)
def product_sets(d: int, x_limbs: int, w_limbs: int) -> tuple[tuple[int, int, int, int, int], ...]:
    """Return the accumulator sets of a product of contraction length ``d``, in canonical order.

    Each is ``(start, stop, x_limb, w_limb, shift)``: columns ``start..stop`` of limb ``x_limb`` times those
    of limb ``w_limb`` give one int32 accumulator set. The product is the sum of ``set << shift`` in int64,
    where a high limb counts 256 times a low one. The order is by parts, then limbs of x, then limbs of w,
    high before low (docs/spec/arithmetic.md#products).
    """
    return tuple(
        (a, min(a + MAX_CONTRACTION, d), i, j, 8 * ((x_limbs - 1 - i) + (w_limbs - 1 - j)))
        for a in range(0, d, MAX_CONTRACTION)
        for i in range(x_limbs)
        for j in range(w_limbs)
    )


def set_count(d: int, x_limbs: int, w_limbs: int) -> int:
    """Return the number of sets of a product, without making a list of them."""
    return -(-d // MAX_CONTRACTION) * x_limbs * w_limbs
