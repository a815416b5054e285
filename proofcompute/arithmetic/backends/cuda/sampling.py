"""Launches the canonical sampler (``cuda/sample.cu``); tokens stay on the device."""

from __future__ import annotations

import numpy as np

from proofcompute.arithmetic.backends.cuda.array import DeviceArray, Position
from proofcompute.arithmetic.backends.cuda.launcher import Launcher, i32, i64
from proofcompute.arithmetic.sampling import Sampling, check_sampling
from proofcompute.errors import InputError, LimitError, NonFiniteError
from proofcompute.limits import MAX_VOCABULARY

__all__ = ["sample"]


def sample(
    on: Launcher, logits: DeviceArray, history: DeviceArray, first: int, how: Sampling, draws: DeviceArray
) -> DeviceArray:
    """Return the next tokens of rows first..first+n, int32 [n].

    Shapes are logits [n, v], history [t], draws [n, 2]. LimitError for more than MAX_VOCABULARY logits.
    """
    check_sampling(how)
    n, v = logits.shape
    if v > MAX_VOCABULARY:
        raise LimitError(f"{v} logits; at most {MAX_VOCABULARY}")
    at, add, most = (first.word, 0, first.limit - 1) if isinstance(first, Position) else (None, first, first)
    tokens = on.new(np.int32, n)
    for i in range(n):
        status = on.fault(
            (1, NonFiniteError, "a logit must be finite, before and after the repetition penalty"),
            (2, InputError, f"the history has a token outside the vocabulary of {v}"),
        )
        seen, best = on.zeros(np.uint8, -(-v // 4) * 4), on.zeros(np.uint64, 1)
        x, keys, token = on.new(np.float32, v), on.new(np.uint64, v), tokens.buffer.part(4 * i, 4)
        count = i64(add + i + 1)
        on.over("sample_seen", most + i + 1, history, at, count, i64(v), seen, status)
        penalty = np.float32(how.repetition_penalty)
        row = logits.buffer.part(4 * i * v, 4 * v)
        on.over("sample_penalise", v, row, seen, i64(v), penalty, x, keys, best, status)
        if how.temperature == 0:
            on.blocks("sample_best", (1,), best, token)
            continue
        weights = on.new(np.uint64, v)
        on.over("sample_weigh", v, x, best, i64(v), np.float32(how.temperature), weights)
        numerator, denominator = float(how.top_p).as_integer_ratio()
        exponent = i32(denominator.bit_length() - 1)
        kept = (i64(min(how.top_k, v)), np.uint64(numerator), exponent)
        draw = draws.buffer.part(16 * i, 16)
        on.blocks("sample_draw", (1,), keys, weights, i64(v), *kept, draw, status, token)
    return tokens
