"""Computes in GF(2^31 - 1), one number at a time (proofcompute.freivalds.field defines it).

*Sums of products, exact in 64 bits.* A residue s is taken as its balanced representative, |s| < 2^30, so
|y s| < 2^61 for an int32 y, and a sum of four such products is an int64. For terms P, each a sum of up to
four products, T = sum P mod 2^64 and the high sum H = sum (P >> 32) determine the value of sum P: the low
halves sum to L = T - 2^32 H mod 2^64, which is exact since it is below 2^32 per term and there are fewer than
2^32 terms. The result is 2^32 H + L mod p, and 2^32 = 2 modulo p. For int8 values |y s| < 2^37, and 2^24 of
them fit an int64.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.scalar.rounded import shared
from proofcompute.freivalds.field import P31

__all__ = ["P", "balanced", "residue", "total"]

P: Final = np.int64(P31)
_HALF: Final = np.int64(P31 >> 1)
_P_UNSIGNED: Final = np.uint64(P31)
_TWO: Final = np.int64(2)
_32: Final = np.uint64(32)


@shared
def residue(x: Any) -> Any:
    """Return the canonical residue of an int64, as int64."""
    return np.int64(x) % P


@shared
def balanced(s: Any) -> Any:
    """Return the representative of a canonical residue that is nearest to 0, as int32."""
    x = np.int64(s)
    return np.int32(x - P if x > _HALF else x)


@shared
def total(whole: Any, high: Any) -> Any:
    """Return the residue, as int64, of the sum with T and H as above, both int64."""
    low = np.uint64(whole) - (np.uint64(high) << _32)
    return (high % P * _TWO + np.int64(low % _P_UNSIGNED)) % P
