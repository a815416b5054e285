"""Choose the next token with integer sums (rule 6, docs/spec/programs.md#sampler).

1. Repetition penalty (if not 1): the logit of each token that occurred before is divided by the penalty
   if it is greater than 0, else multiplied by it, once however often the token occurred.
2. Temperature 0: the token with the largest logit (-0 equal to +0), the lowest index among equals. The
   rest is then ignored.
3. z = (x - max) / temperature; weight = int64(rint(exp(z) * 2^30)). The largest logit weighs 2^30, so that
   2^30 <= total <= 2^30 * MAX_VOCABULARY = 2^50.
4. Order by logit descending, index ascending. Top-k keeps the first k (0 keeps all).
5. Top-p keeps the shortest prefix whose sum is at least the share top_p of the total of what top-k kept:
   sum * denominator >= numerator * total, where top_p = numerator / denominator exactly.
6. With the total of what is left, r = (draw * total) >> 128. The token is the first whose cumulative sum
   exceeds r.

Tokens of weight zero are never chosen and change no sum, and top-k counts them only after all others. So an
implementation may drop them after step 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from proofcompute.arithmetic import contracts
from proofcompute.arithmetic.definition.elementwise import ZERO, quiet, require_finite
from proofcompute.arithmetic.definition.transcendental import exp
from proofcompute.arithmetic.definition.trees import canonical_max
from proofcompute.arithmetic.sampling import Sampling, check_sampling
from proofcompute.arrays import F32, I32, I64, U64
from proofcompute.errors import InputError

__all__ = ["DRAW_BITS", "penalise", "sample", "sample_rows", "weights"]

DRAW_BITS: Final = 128
_TWO_30: Final = np.float32(1073741824.0)
Sample: TypeAlias = Callable[[F32, I32 | I64, Sampling, int], int]


@quiet
def penalise(logits: F32, history: I32 | I64, penalty: np.float32) -> F32:
    """Do step 1: return logits [v] after the penalty for the set of token ids in history [t].

    Raises InputError if an id is not below v, NonFiniteError if a logit is not finite before or after.
    """
    require_finite(logits, "a logit")
    seen = np.unique(history)
    if seen.size and (seen[0] < 0 or seen[-1] >= logits.size):
        raise InputError(f"the history has a token outside the vocabulary of {logits.size}")
    x = logits.copy()
    if penalty != 1:
        x[seen] = np.where(x[seen] > ZERO, x[seen] / penalty, x[seen] * penalty)
        require_finite(x, "a logit after the repetition penalty")
    return x


@quiet
def weights(x: F32, temperature: np.float32) -> I64:
    """Do step 3: return int64 weights [v] of finite logits [v], for a temperature greater than 0."""
    z = (x - canonical_max(x)) / temperature
    found: I64 = np.rint(exp(z) * _TWO_30).astype(np.int64)
    return found


def sample(logits: F32, history: I32 | I64, how: Sampling, draw: int) -> int:
    """Return the next token for logits [v], the token ids so far [t] and a draw, a 128-bit integer.

    Raises InputError for unusable settings, a draw outside 0..2^128-1, no logits, or a token id in history
    that is not below v; NonFiniteError if a logit is not finite, before or after the penalty.
    """
    check_sampling(how)
    if not 0 <= draw < 1 << DRAW_BITS:
        raise InputError(f"the draw must be an integer of {DRAW_BITS} bits")
    if logits.size == 0:
        raise InputError("there are no logits to choose from")
    x = penalise(logits, history, np.float32(how.repetition_penalty))
    if how.temperature == 0:
        return int(np.argmax(x))  # the first of equals; -0 equals +0
    order = np.argsort(-x, kind="stable")
    if how.top_k:
        order = order[: how.top_k]
    sums = np.cumsum(weights(x, np.float32(how.temperature))[order])
    numerator, denominator = how.top_p.as_integer_ratio()
    least = -(-numerator * int(sums[-1]) // denominator)  # the least integer sum with the share top_p
    kept = int(np.searchsorted(sums, least, side="left"))  # the last token kept
    r = (draw * int(sums[kept])) >> DRAW_BITS
    return int(order[int(np.searchsorted(sums, r, side="right"))])


def sample_rows(one: Sample, logits: F32, history: I32, first: int, how: Sampling, draws: U64) -> I32:
    """Sample each row with ``one`` (this module's :func:`sample`, or one that is equal): int32 [n].

    Row i has seen history[: first + i + 1]; its draw is draws[i, 0] + 2^64 draws[i, 1].
    """
    tokens = np.empty(contracts.sample(logits, history, first, draws), np.int32)
    for i, row in enumerate(logits):
        low, high = draws[i]
        tokens[i] = one(row, history[: first + i + 1], how, int(low) | int(high) << 64)
    return tokens
