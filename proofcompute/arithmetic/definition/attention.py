"""Define causal attention over quantised keys and values (rule 6, docs/spec/programs.md#attention).

For query row t (absolute position), head h and its key-value head g, over the positions j that t may see:

1. (q8, s_q) = the head of q quantised to one limb;
2. x_j = (f32(q8 . kq[j, g]) * (s_q * ks[j, g])) * scale;
3. m = max x_j;  e_j = exp(x_j - m);  z = tree(e);
4. w_j = e_j * vs[j, g];  M = max w_j;  p_j = rint(w_j * (32639 / M)), in two limbs;
5. out = (f32(sum of p_j * vq[j, g], exact in int64) * (M / 32639)) / z;  +0 where 32639 / M is not finite
   (M = 0, or M so small that the quotient overflows).

Trees run over the absolute positions 0..t with +0 wherever a position is not allowed, so neither the batch
in which a row is computed nor the length of the prefix behind it changes a bit (rule 3).

Each product has its own int32 accumulators: |q8 . kq| <= 2^14 dh, and the sum over positions is split into
parts of MAX_CONTRACTION.

The scales and values of positions come from committed rows, which may be hostile on a verifier: a scale that
is visible to some row of the batch must be finite and not negative, a score that is allowed must be finite.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from proofcompute.arithmetic import contracts
from proofcompute.arithmetic.definition.elementwise import ZERO, quiet, require_finite
from proofcompute.arithmetic.definition.products import LARGEST, limbs_of, product, quantise_heads
from proofcompute.arithmetic.definition.transcendental import exp
from proofcompute.arithmetic.definition.trees import canonical_max, tree_sum
from proofcompute.arrays import F32, I8, I64
from proofcompute.errors import EmptyRowError, ExecutionError
from proofcompute.freivalds.product import product_sets

__all__ = ["allowed_positions", "attention", "mix", "softmax_terms"]

Bools = npt.NDArray[np.bool_]

_Q = LARGEST[2]


def allowed_positions(first: int, n: int, window: int) -> Bools:
    """Return which of positions 0..first+n-1 each of rows first..first+n-1 may see: bool [n, first + n].

    Row t sees max(0, t + 1 - window)..t, or 0..t if window is 0.
    """
    t = np.arange(first, first + n)[:, np.newaxis]
    j = np.arange(first + n)[np.newaxis, :]
    return (j <= t) & ((window == 0) | (j > t - window))


@quiet
def softmax_terms(scores: F32, allowed: Bools) -> tuple[F32, F32]:
    """Return e = exp(x - max) over the allowed positions of [n, t], +0 elsewhere, and its tree sums [n].

    Raises EmptyRowError if a row has no allowed position, NonFiniteError if an allowed score is not finite.
    """
    if not allowed.any(axis=1).all():
        raise EmptyRowError("a softmax row has no allowed position")
    require_finite(np.where(allowed, scores, ZERO), "an attention score")
    top = canonical_max(np.where(allowed, scores, np.float32(-np.inf)))
    e = np.where(allowed, exp(scores - top[:, np.newaxis]), ZERO)
    return e, tree_sum(e)


@quiet
def mix(e: F32, total: F32, scales: F32, values: I8) -> F32:
    """Do steps 4 and 5 for e [n, t] and its sums [n], scales [t] and values [t, dh] int8: float32 [n, dh].

    Where e is 0, the scale and the values of the position have no influence.
    """
    w = np.where(e > ZERO, e * scales[np.newaxis, :], ZERO)
    top = canonical_max(w)
    r = _Q / top
    usable = np.isfinite(r)[:, np.newaxis]
    p = limbs_of(np.rint(w * np.where(usable, r[:, np.newaxis], ZERO)), 2)
    acc: I64 = np.zeros((e.shape[0], values.shape[1]), dtype=np.int64)
    for start, stop, limb, _, shift in product_sets(e.shape[1], 2, 1):
        part = product(p[limb, :, start:stop], values[start:stop].T)
        acc += part.astype(np.int64) << np.int64(shift)
    out = acc.astype(np.float32) * (top / _Q)[:, np.newaxis] / total[:, np.newaxis]
    return np.where(usable, out, ZERO)


def _check_scales(s: F32, what: str) -> None:
    require_finite(s, what)
    if (s < ZERO).any():
        raise ExecutionError(f"{what} must not be negative")


@quiet
def attention(q: F32, kq: I8, ks: F32, vq: I8, vs: F32, first: int, scale: np.float32, window: int) -> F32:
    """Return the causal attention of rows first..first+n over a prefix of t >= first + n rows.

    q [n, h * dh] float32; kq, vq [t, hk, dh] int8; ks, vs [t, hk] float32; h a multiple of hk. Row first+i
    may see positions max(0, first+i+1-window)..first+i (window 0: all from 0). Returns [n, h * dh].

    Raises InputError for shapes that do not fit together or a negative ``first`` or ``window``,
    NonFiniteError if q, a visible scale or an allowed score is not finite, ExecutionError if a visible scale
    is negative.
    """
    n, kv_heads, dh = contracts.attention(q, kq, ks, vq, vs, first, window)
    width = q.shape[1]
    if n == 0:
        return np.zeros((0, width), dtype=np.float32)
    t, heads = first + n, width // dh
    start = max(0, first + 1 - window) if window else 0  # the first position that any row may see
    _check_scales(ks[start:t], "a key's scale")
    _check_scales(vs[start:t], "a value's scale")
    q8, sq = quantise_heads(q, heads)
    allowed = allowed_positions(first, n, window)
    out = np.zeros((n, heads, dh), dtype=np.float32)
    for h in range(heads):
        g = h // (heads // kv_heads)
        acc = product(q8[:, h], kq[:t, g])
        scores = acc.astype(np.float32) * (sq[:, h, np.newaxis] * ks[np.newaxis, :t, g]) * np.float32(scale)
        e, total = softmax_terms(scores, allowed)
        out[:, h] = mix(e, total, vs[:t, g], vq[:t, g])
    return out.reshape(n, width)
