"""The canonical sampler on the device (``cuda/sample.cu``); one token comes back."""

from __future__ import annotations

from typing import Final

import numpy as np

from proofcompute.backends.cuda.launcher import Launcher, i32, i64
from proofcompute.errors import InputError, LimitError, NonFiniteError
from proofcompute.kernels import F32, I64, Sampling
from proofcompute.limits import MAX_VOCABULARY
from proofcompute.numerics.elementwise import require_finite
from proofcompute.numerics.sampler import DRAW_BITS, check_sampling

__all__ = ["sample"]

_HALF: Final = (1 << 64) - 1


def sample(on: Launcher, logits: F32, history: I64, how: Sampling, draw: int) -> int:
    """The next token. Raises as :func:`proofcompute.numerics.sampler.sample`.

    LimitError for more logits than MAX_VOCABULARY.
    """
    check_sampling(how)
    if not 0 <= draw < 1 << DRAW_BITS:
        raise InputError(f"the draw must be an integer of {DRAW_BITS} bits")
    v = logits.size
    if v == 0:
        raise InputError("there are no logits to choose from")
    if v > MAX_VOCABULARY:
        raise LimitError(f"{v} logits; at most {MAX_VOCABULARY}")
    if history.size and not 0 <= int(history.min()) <= int(history.max()) < v:
        require_finite(logits, "a logit")
        raise InputError(f"the history has a token outside the vocabulary of {v}")
    seen, best, status = on.device.zeros(-(-v // 4) * 4), on.device.zeros(8), on.status()
    x, keys = on.new(np.float32, v), on.new(np.uint64, v)
    on.over("sample_seen", history.size, on.put(history.astype(np.int64)), i64(history.size), seen)
    penalty = np.float32(how.repetition_penalty)
    on.over("sample_penalise", v, on.put(logits), seen, i64(v), penalty, x, keys, best, status)
    if on.bits(status):
        raise NonFiniteError("a logit must be finite, before and after the repetition penalty")
    if how.temperature == 0:
        return 0xFFFFFFFF - (int(on.get(best, np.uint64, 1)[0]) & 0xFFFFFFFF)
    weights, token = on.new(np.uint64, v), on.new(np.uint64, 1)
    on.over("sample_weigh", v, x, best, i64(v), np.float32(how.temperature), weights)
    numerator, denominator = float(how.top_p).as_integer_ratio()
    exponent = denominator.bit_length() - 1
    on.blocks(
        "sample_draw",
        (1,),
        keys,
        weights,
        i64(v),
        i64(min(how.top_k, v)),
        np.uint64(numerator),
        i32(exponent),
        np.uint64(draw >> 64),
        np.uint64(draw & _HALF),
        token,
    )
    return int(on.get(token, np.uint64, 1)[0])
