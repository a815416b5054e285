"""Define how rows choose experts, and sums weighted by what they choose (docs/spec/programs.md#route)."""

from __future__ import annotations

import numpy as np

from proofcompute.arithmetic import contracts
from proofcompute.arithmetic.definition.elementwise import ONE, quiet
from proofcompute.arithmetic.definition.primitives import order, reduce
from proofcompute.arithmetic.definition.transcendental import exp
from proofcompute.arithmetic.definition.trees import tree_sum
from proofcompute.arithmetic.kernels import Routing
from proofcompute.arrays import F32, I32

__all__ = ["mix", "route"]


@quiet
def route(x: F32, how: Routing, correction: F32 | None) -> tuple[I32, F32]:
    """Choose experts for rows of logits; see :class:`proofcompute.arithmetic.kernels.Arithmetic`."""
    contracts.route(x, how, correction)
    scores = x
    if how.score == "softmax":
        scores = _softmax(x)
    elif how.score == "sigmoid":
        scores = ONE / (ONE + exp(-x))
    choice = scores if correction is None else scores + correction
    if how.top_groups < how.groups:
        choice = _of_best_groups(choice, how)
    chosen = order(-choice, 0)[:, : how.top_k]
    shares = np.take_along_axis(scores, chosen, axis=1)
    if how.score == "chosen":
        shares = _softmax(shares)
    if how.normalise:
        shares = shares / tree_sum(shares)[:, np.newaxis]
    return np.ascontiguousarray(chosen), shares


def _softmax(x: F32) -> F32:
    e = exp(x - reduce("max", x, (0,))[:, np.newaxis])
    shares: F32 = e / tree_sum(e)[:, np.newaxis]
    return shares


def _of_best_groups(choice: F32, how: Routing) -> F32:
    """Replace the scores of experts outside the best groups by minus infinity."""
    grouped = choice.reshape(len(choice), how.groups, -1)
    value = reduce("max", grouped, (1,))
    if how.best == 2:
        first = reduce("argmax", grouped, (1,))[:, :, np.newaxis]
        others = np.where(np.arange(grouped.shape[2]) == first, np.float32(-np.inf), grouped)
        value = value + reduce("max", others, (1,))
    rank = order(order(-value, 0), 0)[:, :, np.newaxis]
    kept = np.where(rank < how.top_groups, grouped, np.float32(-np.inf))
    return kept.reshape(choice.shape)


@quiet
def mix(x: F32, shares: F32) -> F32:
    """Return weighted sums; see :class:`proofcompute.arithmetic.kernels.Arithmetic`."""
    contracts.mix(x, shares)
    return reduce("sum", x * shares[:, :, np.newaxis], (0,))
