"""Computes in GF(2^61 - 1), one number at a time (proofcompute.freivalds.field defines it).

Residues are uint64.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.scalar.rounded import shared
from proofcompute.freivalds.field import P61

__all__ = [
    "LOW_WORD",
    "P",
    "add",
    "combine",
    "high_part",
    "low_part",
    "multiply",
    "reduce",
    "residue",
    "total",
]

P: Final = np.uint64(P61)
LOW_WORD: Final = np.uint64(0xFFFFFFFF)
_LOW29: Final = np.uint64(2**29 - 1)
_LOW31: Final = np.uint64(2**31 - 1)
_3, _29, _31, _32, _61 = np.uint64(3), np.uint64(29), np.uint64(31), np.uint64(32), np.uint64(61)
_2_31, _2_32, _2_62 = np.uint64(1 << 31), np.uint64(1 << 32), np.uint64(2)  # 2^62 = 2
_ZERO: Final = np.uint64(0)


@shared
def reduce(x: Any) -> Any:
    """Return the canonical residue of any uint64."""
    folded = (x & P) + (x >> _61)
    return folded - P if folded >= P else folded


@shared
def residue(y: Any) -> Any:
    """Return the canonical residue of a signed integer: 2^61 = 1, and -1 = p - 1."""
    value = np.int64(y)
    size = reduce(np.uint64(-value) if value < 0 else np.uint64(value))
    return P - size if value < 0 and size > _ZERO else size


@shared
def add(x: Any, y: Any) -> Any:
    """Return x + y for canonical residues."""
    return reduce(x + y)


@shared
def multiply(x: Any, y: Any) -> Any:
    """Return x y for canonical residues (the formula and its proof: proofcompute.freivalds.field.mul61)."""
    a, b, c, d = x >> _32, x & LOW_WORD, y >> _32, y & LOW_WORD
    t = a * d + b * c
    middle = (t >> _29) + ((t & _LOW29) << _32)
    return reduce((a * c << _3) + middle + reduce(b * d))


@shared
def low_part(s: Any) -> Any:
    """Return s0 of a canonical residue s = 2^31 s1 + s0, s0 < 2^31, as uint32."""
    return np.uint32(s & _LOW31)


@shared
def high_part(s: Any) -> Any:
    """Return s1 of the same, s1 < 2^30, as uint32."""
    return np.uint32((s >> _31) & _LOW31)


@shared
def total(whole: Any, high: Any) -> Any:
    """Return the residue of a sum of int64 terms P from T = sum P mod 2^64 and H = sum (P >> 32), both int64.

    The low halves sum to L = T - 2^32 H mod 2^64, exact for up to 2^32 terms; the sum is 2^32 H + L.
    """
    low = np.uint64(whole) - (np.uint64(high) << _32)
    return add(multiply(residue(high), _2_32), reduce(low))


@shared
def gather(low: Any, high: Any) -> Any:
    """Return the residue of low + 2^32 high, any uint64: sums of the halves of up to 2^32 residues."""
    return add(multiply(reduce(high), _2_32), reduce(low))


@shared
def combine(low: Any, middle: Any, high: Any) -> Any:
    """Return low + 2^31 middle + 2^62 high, for canonical residues."""
    return add(add(low, multiply(middle, _2_31)), multiply(high, _2_62))
