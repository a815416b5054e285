"""Compute exact sums and products of two binary32 numbers, as a rounded value and its error.

References: T. J. Dekker, *A floating-point technique for extending the available precision* (1971);
D. E. Knuth, *The Art of Computer Programming* vol. 2, section 4.2.2.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from proofcompute.arrays import F32

__all__ = ["SPLITTER", "two_product", "two_sum"]

SPLITTER: Final = np.float32(4097.0)
"""2^12 + 1."""


def two_sum(a: F32, b: F32) -> tuple[F32, F32]:
    """Return s = fl(a + b) and e with s + e = a + b exactly: v = s - a; e = (a - (s - v)) + (b - v)."""
    s: F32 = a + b
    v: F32 = s - a
    e: F32 = (a - (s - v)) + (b - v)
    return s, e


def _split(a: F32) -> tuple[F32, F32]:
    """Return h and l of 12 bits each with a = h + l: c = 4097 * a; h = c - (c - a); l = a - h."""
    c: F32 = SPLITTER * a
    h: F32 = c - (c - a)
    return h, a - h


def two_product(a: F32, b: F32) -> tuple[F32, F32]:
    """Return p = fl(a * b) and e with p + e = a * b exactly, barring underflow.

    With the halves of :func:`_split`, e = (((ah*bh - p) + ah*bl) + al*bh) + al*bl.
    """
    p: F32 = a * b
    ah, al = _split(a)
    bh, bl = _split(b)
    e: F32 = (((ah * bh - p) + ah * bl) + al * bh) + al * bl
    return p, e
