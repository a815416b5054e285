"""Turn scores of attention into weights: softmax, the values' scales, and two limbs.

These are steps 3 and 4 of :mod:`proofcompute.arithmetic.definition.attention`. Loops take whole blocks of a
row, since elements beyond the last whole vector would be computed one by one. The last score that a row may
see is followed by -infinity, which is never the maximum and whose exponential is +0.
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

__all__ = ["HIGH_UNIT", "all_finite", "weigh"]

HIGH_UNIT: Final = 1 << 13
"""What the first of the two numbers of a weight counts for."""

_ZERO: Final = np.float32(0)
_NEVER: Final = np.float32(-np.inf)
_TWO_LIMBS: Final = np.float32(32639)
_WHOLE: Final = np.float32(1 << 26)
_UNIT: Final = np.float32(HIGH_UNIT)
_PER_UNIT: Final = np.float32(1 / HIGH_UNIT)


@helper
def all_finite(x: Any) -> Any:
    """Return whether no element of x is infinite or NaN."""
    size = np.int32(0)
    for i in range(x.size):
        bits = absolute_bits(x[i])
        size = bits if bits > size else size
    return size < FINITE_BITS


@helper
def _largest(e: Any) -> Any:
    """Return the largest of the scores e, none of which is NaN."""
    top = LOWEST_BITS
    for i in range(e.size):
        bits = ordered_bits(e[i])
        top = bits if bits > top else top
    return from_ordered_bits(top)


@helper
def _softmax(e: Any, top: Any, s: Any, level: Any) -> Any:
    """Replace the scores e by their terms exp(e - top) times the finite scales s.

    Return the largest of these weights and the sum of the terms.
    """
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
    """Quantise the weights e into integers p. Return the factor that turns integers back into weights."""
    ratio = _TWO_LIMBS / top
    if ratio <= LARGEST:
        for i in range(e.size):
            p[i] = np.int16(round_even(e[i] * ratio))
        return top / _TWO_LIMBS
    p[:] = 0
    return _ZERO


@helper
def _quantise_finely(e: Any, top: Any, high: Any, low: Any) -> Any:
    """Quantise the weights e into integers HIGH_UNIT high + low. Return the factor as :func:`_quantise`.

    x - high HIGH_UNIT is exact: a multiple of x's last bit and at most HIGH_UNIT / 2. HIGH_UNIT is even, so a
    tie of the rest is rounded as one of x.
    """
    ratio = _WHOLE / top
    if ratio <= LARGEST:
        for i in range(e.size):
            x = e[i] * ratio
            units = round_even(x * _PER_UNIT)
            high[i] = np.int16(units)
            low[i] = np.int16(round_even(x - np.float32(units) * _UNIT))
        return top / _WHOLE
    high[:] = 0
    low[:] = 0
    return _ZERO


@helper
def weigh(
    scores: Any,
    starts: Any,
    counts: Any,
    s: Any,
    sinks: Any,
    level: Any,
    p: Any,
    factors: Any,
    totals: Any,
) -> None:
    """Turn rows of scores into weights p, their factors, and the totals of their terms.

    Row r has counts[r] scores from starts[r] on, and room for a multiple of BLOCK in scores and p. s holds
    the scales of positions, sinks a score of each row that has no position, or nothing; level is overwritten.
    If p has twice as many rows as scores, weights are made of two numbers each. Each step is done for all
    rows before the next step, since the steps of one row wait for each other.
    """
    rows = counts.size
    for r in range(rows):
        a, n = starts[r], counts[r]
        e = scores[r, a : a + blocks(n)]
        e[n:] = _NEVER
        factors[r] = _largest(e)
        if sinks.size and sinks[r] > factors[r]:
            factors[r] = sinks[r]
    for r in range(rows):
        a, b = starts[r], starts[r] + blocks(counts[r])
        beside = exp_below(sinks[r] - factors[r]) if sinks.size else _ZERO
        factors[r], totals[r] = _softmax(scores[r, a:b], factors[r], s[a:b], level)
        totals[r] += beside
    room = scores.shape[0]
    for r in range(rows):
        a, b = starts[r], starts[r] + blocks(counts[r])
        if p.shape[0] == room:
            factors[r] = _quantise(scores[r, a:b], factors[r], p[r, a:b])
        else:
            factors[r] = _quantise_finely(scores[r, a:b], factors[r], p[r, a:b], p[room + r, a:b])
