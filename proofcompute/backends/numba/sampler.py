"""Choosing the next token (numerics.sampler defines it) without sorting a whole vocabulary.

Only tokens with weight are sorted, and argmax is one pass.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types

from proofcompute.backends.numba.cache import kernel, read, write
from proofcompute.backends.numba.scalar import FINITE_BITS, absolute_bits, exp
from proofcompute.errors import InputError, NonFiniteError
from proofcompute.kernels import F32, I64, Sampling
from proofcompute.numerics.sampler import DRAW_BITS, check_sampling, penalise

__all__ = ["sample"]

_TWO_30: Final = np.float32(1073741824.0)
_i64, _f32 = types.int64, types.float32


@kernel(_i64(read(_f32, 1)))
def _largest(x: Any) -> Any:
    """Index of the largest of x [v], v >= 1, the first of equals; -1 if one is not finite."""
    bits = np.int32(0)
    top = x[0]
    for i in range(x.size):
        size = absolute_bits(x[i])
        bits = size if size > bits else bits
        top = x[i] if x[i] > top else top
    if bits >= FINITE_BITS:
        return -1
    for i in range(x.size):
        if x[i] == top:
            return i
    return -1


@kernel(_i64(read(_f32, 1), _f32, _f32, write(_i64, 1), write(_f32, 1), write(_i64, 1)))
def _weigh(x: Any, top: Any, temperature: Any, index: Any, logit: Any, weight: Any) -> Any:
    """The tokens that come before, or are, the last of positive weight, in order of index.

    Writes index, logit and weight of each and returns how many. A token of weight zero counts for top-k if
    another with a lower logit has weight, so the cut is by logit: the lowest that has weight.
    """
    least = top
    e = np.empty(x.size, np.float32)
    for i in range(x.size):
        e[i] = np.rint(exp((x[i] - top) / temperature) * _TWO_30)
    for i in range(x.size):
        least = x[i] if e[i] > np.float32(0) and x[i] < least else least
    count = 0
    for i in range(x.size):
        if x[i] >= least:
            index[count] = i
            logit[count] = x[i]
            weight[count] = np.int64(e[i])
            count += 1
    return count


def sample(logits: F32, history: I64, how: Sampling, draw: int) -> int:
    """The next token: logits [v], history [t] token ids so far, draw a 128-bit integer.

    Raises as :func:`proofcompute.numerics.sampler.sample`.
    """
    check_sampling(how)
    if not 0 <= draw < 1 << DRAW_BITS:
        raise InputError(f"the draw must be an integer of {DRAW_BITS} bits")
    if logits.size == 0:
        raise InputError("there are no logits to choose from")
    if history.size and not 0 <= int(history.min()) <= int(history.max()) < logits.size:
        raise InputError(f"the history has a token outside the vocabulary of {logits.size}")
    x = logits if how.repetition_penalty == 1 else penalise(logits, history, np.float32(how.repetition_penalty))
    best = int(_largest(x))
    if best < 0:
        raise NonFiniteError("a logit must be finite")
    if how.temperature == 0:
        return best
    index, weight, logit = np.empty(x.size, np.int64), np.empty(x.size, np.int64), np.empty(x.size, np.float32)
    count = int(_weigh(x, x[best], np.float32(how.temperature), index, logit, weight))
    order = np.argsort(-logit[:count], kind="stable")
    if how.top_k:
        order = order[: how.top_k]
    sums = np.cumsum(weight[order])
    numerator, denominator = how.top_p.as_integer_ratio()
    least = -(-numerator * int(sums[-1]) // denominator)
    kept = int(np.searchsorted(sums, least, side="left"))
    r = (draw * int(sums[kept])) >> DRAW_BITS
    return int(index[order[int(np.searchsorted(sums, r, side="right"))]])
