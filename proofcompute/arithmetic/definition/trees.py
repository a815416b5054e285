"""Define sums and maxima along the last axis (rules 3 and 4, docs/spec/arithmetic.md#sums).

**Halving tree.** Extend a row with zeros to a power of two, add the upper half to the lower half until one
number is left, then add +0.0. Extending a row of P numbers to 2P adds P zeros in the first halving, which
changes nothing but the sign of a zero; such a sign can only survive into a result that is itself zero, and
there the final + 0.0 removes it. So the result depends on the numbers and their positions only.
"""

from __future__ import annotations

import numpy as np

from proofcompute.arithmetic.definition.elementwise import ZERO, bits_of, quiet
from proofcompute.arrays import F32

__all__ = ["canonical_max", "tree_sum"]


@quiet
def tree_sum(x: F32) -> F32:
    """Return the sum of [..., d] over the last axis by the halving tree: [...]. The empty sum is +0."""
    d = x.shape[-1]
    width = 1 << max(d - 1, 0).bit_length()
    level = np.zeros((*x.shape[:-1], width), dtype=np.float32)
    level[..., :d] = x
    while width > 1:
        width //= 2
        level = level[..., :width] + level[..., width:]
    return np.asarray(level[..., 0] + ZERO)


def canonical_max(x: F32) -> F32:
    """Return the largest element of [..., d] over the last axis, d >= 1: [...]. -0 is less than +0.

    The elements must not be NaN.
    """
    largest = np.asarray(np.max(x, axis=-1))
    positive_zero = (bits_of(x) == 0).any(axis=-1)
    # A largest element of zero is +0 exactly if there is a +0 among the elements.
    return np.where(largest == ZERO, np.where(positive_zero, ZERO, -ZERO), largest)
