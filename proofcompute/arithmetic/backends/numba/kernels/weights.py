"""Scores of attention to weights: softmax, the values' scales, two limbs (numerics.attention, steps 3 and 4).

Loops take whole blocks of a row, since the elements left over behind the last whole vector would be done one
by one. Behind the last score that a row may see stands -infinity, which is never the maximum and whose
exponential is +0.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen.definitions import helper
from proofcompute.arithmetic.backends.numba.kernels.row import blocks, tree
from proofcompute.arithmetic.backends.scalar.functions import (
    FINITE_BITS,
    LARGEST,
    LOWEST_BITS,
    absolute_bits,
    exp_below,
    from_bits,
    from_ordered_bits,
    ordered_bits,
    round_even,
)

__all__ = ["all_finite", "weigh"]

_ZERO: Final = np.float32(0)
_NEVER: Final = np.float32(-np.inf)
_TWO_LIMBS: Final = np.float32(32639)


@helper
def all_finite(x: Any) -> Any:
    """Whether no element of x is infinite or NaN."""
    size = np.int32(0)
    for i in range(x.size):
        bits = absolute_bits(x[i])
        size = bits if bits > size else size
    return size < FINITE_BITS


@helper
def _largest(e: Any) -> Any:
    """The largest of scores, none of them NaN."""
    top = LOWEST_BITS
    for i in range(e.size):
        bits = ordered_bits(e[i])
        top = bits if bits > top else top
    return from_ordered_bits(top)


@helper
def _softmax(e: Any, top: Any, s: Any, level: Any) -> Any:
    """Scores e to terms times the scales s, which are finite. Returns the largest, and the terms' sum."""
    highest = np.int32(0)  # no weight is below 0
    for i in range(e.size):
        term = exp_below(e[i] - top)
        level[i] = term
        weight = term * s[i]
        e[i] = weight
        bits = absolute_bits(weight)
        highest = bits if bits > highest else highest
    return from_bits(highest), tree(level, e.size)


@helper
def _quantise(e: Any, top: Any, p: Any) -> Any:
    """Weights to integers p. Returns the factor that turns them back."""
    ratio = _TWO_LIMBS / top
    if ratio <= LARGEST:
        for i in range(e.size):
            p[i] = np.int16(round_even(e[i] * ratio))
        return top / _TWO_LIMBS
    p[:] = 0
    return _ZERO


@helper
def weigh(
    scores: Any, starts: Any, counts: Any, s: Any, level: Any, p: Any, factors: Any, totals: Any
) -> None:
    """Rows of scores to weights p, their factors, and the terms' sums.

    Row r has counts[r] scores from starts[r] on, and room for a multiple of BLOCK in scores and p. s are the
    scales of positions; level is overwritten. A step is done for all rows before the next one, since the
    steps of one row wait for each other.
    """
    rows = counts.size
    for r in range(rows):
        a, n = starts[r], counts[r]
        e = scores[r, a : a + blocks(n)]
        e[n:] = _NEVER
        factors[r] = _largest(e)
    for r in range(rows):
        a, b = starts[r], starts[r] + blocks(counts[r])
        factors[r], totals[r] = _softmax(scores[r, a:b], factors[r], s[a:b], level)
    for r in range(rows):
        a, b = starts[r], starts[r] + blocks(counts[r])
        factors[r] = _quantise(scores[r, a:b], factors[r], p[r, a:b])
