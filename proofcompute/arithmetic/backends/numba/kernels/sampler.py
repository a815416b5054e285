"""Choose the next token without sorting the whole vocabulary.

:mod:`proofcompute.arithmetic.definition.sampler` defines the choice. Argmax takes one pass, and only the
tokens near the top are sorted.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.backends.scalar.functions import (
    FINITE_BITS,
    LOWEST_BITS,
    absolute_bits,
    exp,
    from_ordered_bits,
    ordered_bits,
)
from proofcompute.arithmetic.definition.sampler import DRAW_BITS, penalise
from proofcompute.arithmetic.sampling import Sampling, check_sampling
from proofcompute.arrays import F32, I32, I64
from proofcompute.errors import InputError, NonFiniteError

__all__ = ["sample"]

_DEPTHS: Final = (4.0, 8.0, 16.0, np.inf)
"""The depths below the largest logit, in units of the temperature, to which tokens are sorted in turn."""
_TWO_30: Final = np.float32(1073741824.0)
_i64, _f32 = types.int64, types.float32


@kernel(_i64(read(_f32, 1)))
def _largest(x: Any) -> Any:
    """Return the first index of the largest element of x [v], v >= 1, or -1 if an element is not finite."""
    size = np.int32(0)
    highest = LOWEST_BITS
    for i in range(x.size):
        bits = absolute_bits(x[i])
        size = bits if bits > size else size
        bits = ordered_bits(x[i])
        highest = bits if bits > highest else highest
    if size >= FINITE_BITS:
        return -1
    top = from_ordered_bits(highest)
    for i in range(x.size):
        if x[i] == top:
            return i
    return -1


@kernel(_i64(read(_f32, 1), _f32, _f32, write(_i64, 1)))
def _weigh(x: Any, top: Any, temperature: Any, weight: Any) -> Any:
    """Write the weight of every token to ``weight``, and return the sum of the weights."""
    for i in range(x.size):
        weight[i] = np.int64(np.int32(np.rint(exp((x[i] - top) / temperature) * _TWO_30)))
    total = np.int64(0)
    for i in range(x.size):
        total += weight[i]
    return total


@kernel(_i64(read(_f32, 1), _f32, write(_i64, 1)))
def _at_least(x: Any, cut: Any, index: Any) -> Any:
    """Write the tokens with x >= cut to ``index``, in order, and return their number."""
    count = 0
    for i in range(x.size):
        index[count] = i
        count += 1 if x[i] >= cut else 0
    return count


def _choose(sums: I64, total: int, how: Sampling, draw: int) -> int | None:
    """Return the place of the chosen token among the first ones, or None if it is not among them.

    ``sums`` are the cumulative weights of the first ones; ``total`` is the weight of all tokens that top-k
    keeps.
    """
    numerator, denominator = how.top_p.as_integer_ratio()
    least = -(-numerator * total // denominator)
    mass = total  # the weight of all tokens that top-p keeps
    if least < total:
        kept = int(np.searchsorted(sums, least, side="left"))
        if kept == sums.size:
            return None
        mass = int(sums[kept])
    place = int(np.searchsorted(sums, (draw * mass) >> DRAW_BITS, side="right"))
    return place if place < sums.size else None


def sample(logits: F32, history: I32 | I64, how: Sampling, draw: int) -> int:
    """Return the next token for logits [v], history [t] of token ids, and the 128-bit integer draw.

    Raises as :func:`proofcompute.arithmetic.definition.sampler.sample` does. All tokens down to some logit
    are a prefix of the order by logit, so only as many tokens are sorted as are needed to decide.
    """
    check_sampling(how)
    if not 0 <= draw < 1 << DRAW_BITS:
        raise InputError(f"the draw must be an integer of {DRAW_BITS} bits")
    if logits.size == 0:
        raise InputError("there are no logits to choose from")
    if history.size and not 0 <= int(history.min()) <= int(history.max()) < logits.size:
        raise InputError(f"the history has a token outside the vocabulary of {logits.size}")
    x = logits
    if how.repetition_penalty != 1:
        x = penalise(logits, history, np.float32(how.repetition_penalty))
    best = int(_largest(x))
    if best < 0:
        raise NonFiniteError("a logit must be finite")
    if how.temperature == 0:
        return best
    top, temperature = x[best], np.float32(how.temperature)
    weight, index = np.empty(x.size, np.int64), np.empty(x.size, np.int64)
    everything = int(_weigh(x, top, temperature, weight))
    for depth in _DEPTHS:
        with np.errstate(over="ignore"):
            cut = top - np.float32(depth) * temperature
        first = index[: _at_least(x, cut, index)]
        first = first[np.argsort(-x[first], kind="stable")]
        if how.top_k:
            first = first[: how.top_k]
        sums = np.cumsum(weight[first])
        total = int(sums[-1]) if first.size == how.top_k else everything
        if how.top_k and total > int(sums[-1]):
            continue  # top-k keeps more than these, but not everything: the total is not known yet
        place = _choose(sums, total, how, draw)
        if place is not None:
            return int(first[place])
    raise AssertionError("all tokens together hold every draw")
