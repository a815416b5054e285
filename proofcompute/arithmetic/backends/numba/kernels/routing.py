"""Compute how rows choose experts, and sums weighted by what they choose.

:mod:`proofcompute.arithmetic.definition.routing` defines them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import helper
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.kernels.row import blocks, power_of_two, tree
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.backends.scalar.functions import exp

__all__ = ["CHOSEN", "SIGMOID", "SOFTMAX", "mix", "mix_into", "route", "route_into"]

SOFTMAX: Final = 0
SIGMOID: Final = 1
CHOSEN: Final = 2

_ZERO: Final = np.float32(0)
_ONE: Final = np.float32(1)
_LEAST: Final = np.float32(-np.inf)


@helper
def _softmax_into(x: Any, level: Any, out: Any) -> None:
    """Write the softmax of x to out; level has room for :func:`tree`."""
    most = x[0]
    for i in range(x.size):
        most = x[i] if x[i] > most else most
    for i in range(x.size):
        out[i] = exp(x[i] - most)
        level[i] = out[i]
    total = tree(level, x.size)
    for i in range(x.size):
        out[i] = out[i] / total


@helper
def _largest(x: Any, marks: Any) -> Any:
    """Return the position of the first largest element that is not marked, and mark it."""
    at = -1
    for i in range(x.size):
        if marks[i] == 0 and (at < 0 or x[i] > x[at]):
            at = i
    marks[at] = 1
    return at


@helper
def _keep_best_groups(choice: Any, groups: Any, top_groups: Any, best: Any, value: Any, marks: Any) -> Any:
    """Replace scores outside the best groups by minus infinity; return False if a group counts for NaN."""
    each = choice.size // groups
    for g in range(groups):
        first = choice[g * each]
        second = _LEAST
        for i in range(g * each + 1, (g + 1) * each):
            if choice[i] > first:
                second = first
                first = choice[i]
            elif choice[i] > second:
                second = choice[i]
        value[g] = first + second if best == 2 else first
        marks[g] = 0
        if value[g] != value[g]:
            return False
    for _ in range(top_groups):
        _largest(value[:groups], marks)
    for g in range(groups):
        if marks[g] == 0:
            choice[g * each : (g + 1) * each] = _LEAST
    return True


@helper
def route_into(
    x: Any,
    correction: Any,
    score: Any,
    normalise: Any,
    groups: Any,
    top_groups: Any,
    best: Any,
    scores: Any,
    choice: Any,
    level: Any,
    marks: Any,
    numbers: Any,
    shares: Any,
) -> Any:
    """Choose experts for one row of logits; return False if a score is NaN.

    scores, choice and marks have as many elements as there are experts, level has room for :func:`tree`;
    all are overwritten. correction may be empty.
    """
    if score == SOFTMAX:
        _softmax_into(x, level, scores)
    elif score == SIGMOID:
        for i in range(x.size):
            scores[i] = _ONE / (_ONE + exp(-x[i]))
    else:
        scores[:] = x
    for i in range(x.size):
        choice[i] = scores[i] + correction[i] if correction.size else scores[i]
        if choice[i] != choice[i]:
            return False
    if top_groups < groups and not _keep_best_groups(choice, groups, top_groups, best, level, marks):
        return False
    marks[:] = 0
    for i in range(numbers.size):
        at = _largest(choice, marks)
        numbers[i] = at
        shares[i] = scores[at]
    if score == CHOSEN:
        for i in range(shares.size):
            scores[i] = shares[i]
        _softmax_into(scores[: shares.size], level, shares)
    if normalise:
        level[: shares.size] = shares
        total = tree(level, shares.size)
        for i in range(shares.size):
            shares[i] = shares[i] / total
    return True


@helper
def mix_into(x: Any, shares: Any, level: Any, out: Any) -> None:
    """Write the sum of x [k, d] weighted by shares [k] to out [d]; level [k, d] is overwritten.

    Zeros up to a power of two are left out, as in :func:`tree`.
    """
    n = shares.size
    for i in range(n):
        share = shares[i]
        to = level[i]
        given = x[i]
        for c in range(to.size):
            to[c] = given[c] * share
    width = power_of_two(n)
    while width > 1:
        width //= 2
        for i in range(n - width):
            to = level[i]
            other = level[i + width]
            for c in range(to.size):
                to[c] = to[c] + other[c]
        n = width
    first = level[0]
    for c in range(out.size):
        out[c] = first[c] + _ZERO


_i64, _f32 = types.int64, types.float32


@kernel(
    types.boolean(
        _i64, _i64, read(_f32, 2), read(_f32, 1), *[_i64] * 5, write(types.int32, 2), write(_f32, 2)
    )
)
def route(
    a: Any,
    b: Any,
    x: Any,
    correction: Any,
    score: Any,
    normalise: Any,
    groups: Any,
    top_groups: Any,
    best: Any,
    numbers: Any,
    shares: Any,
) -> Any:
    """Choose experts for rows a..b of logits; return False if a score is NaN."""
    experts = x.shape[1]
    scores = np.empty(experts, np.float32)
    choice = np.empty(experts, np.float32)
    level = np.empty(blocks(experts), np.float32)
    marks = np.empty(experts, np.int8)
    for t in range(a, b):
        if not route_into(
            x[t], correction, score, normalise, groups, top_groups, best, scores, choice, level, marks,
            numbers[t], shares[t],
        ):  # fmt: skip
            return False
    return True


@kernel(types.void(_i64, _i64, read(_f32, 3), read(_f32, 2), write(_f32, 2)))
def mix(a: Any, b: Any, x: Any, shares: Any, out: Any) -> None:
    """Write weighted sums of rows a..b to out."""
    level = np.empty((x.shape[1], x.shape[2]), np.float32)
    for t in range(a, b):
        mix_into(x[t], shares[t], level, out[t])
