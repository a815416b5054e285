"""Define attention over quantised keys and values (rule 6, docs/spec/programs.md#attention).

For query row t (absolute position), head h and its key-value head g, over the positions j that t may see:

1. (q8, s_q) = the head of q quantised to one or two limbs;
2. x_j = (f32(q8 . kq[j, g]) * (s_q * ks[j, g])) * scale, then tanh(x_j / c) * c if there is a cap c;
3. m = max x_j, and the head's sink if there is one;  e_j = exp(x_j - m);  z = tree(e), then + exp(sink - m);
4. w_j = e_j * vs[j, g];  M = max w_j;  p_j = rint(w_j * (Q / M));
5. out = (f32(sum of p_j * vq[j, g], exact in int64) * (M / Q)) / z;  +0 where Q / M is not finite
   (M = 0, or M so small that the quotient overflows).

Q is 32639 for values of one limb and 2^26 for values of two: a weight below M / 2 Q counts for nothing, and
with a long prefix behind a strong score such weights are many. In two limbs they would make the largest error
of all (docs/adr/0049-attention-of-every-family.md).

If the values are the first columns of the keys (``latent``), x_j is the sum of two such products, of these
columns and of the others, each with scales of its own, before ``* scale``.

A row sees positions up to its own and, with ``ahead``, so many after it; a window ends at its own position.

Trees run over the absolute positions from 0 on with +0 wherever a position is not allowed, so neither the
batch in which a row is computed nor the number of positions that it does not see changes a bit (rule 3).

Sums of integers are exact in int64: |q8 . kq| < 2^30 dh, and p_j <= Q (1 + 2^-24)^2 < 2^26 + 9, so that
|sum of p_j vq| < 2^27 2^16 2^20.

The scales and values of positions come from committed rows, which may be hostile on a verifier: a scale that
is visible to some row of the batch must be finite and not negative, a score that is allowed must be finite
before it is capped.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from proofcompute.arithmetic import contracts
from proofcompute.arithmetic.definition.elementwise import ZERO, quiet, require_finite
from proofcompute.arithmetic.definition.products import LARGEST, quantise_heads
from proofcompute.arithmetic.definition.transcendental import exp, tanh
from proofcompute.arithmetic.definition.trees import canonical_max, tree_sum
from proofcompute.arithmetic.kernels import PLAIN, AttentionOptions
from proofcompute.arrays import F32, I8, I64
from proofcompute.errors import EmptyRowError, ExecutionError

__all__ = ["allowed_positions", "attention", "mix", "softmax_terms"]

Bools = npt.NDArray[np.bool_]

_Q: Final = {1: LARGEST[2], 2: np.float32(1 << 26)}
"""What the largest weight becomes, by the limbs of values."""


def allowed_positions(first: int, n: int, window: int, end: int, ahead: int = 0) -> Bools:
    """Return which of positions 0..end-1 each of rows first..first+n-1 may see: bool [n, end].

    Row t sees max(0, t + 1 - window)..t + ahead, or from 0 on if window is 0.
    """
    t = np.arange(first, first + n)[:, np.newaxis]
    j = np.arange(end)[np.newaxis, :]
    return (j <= t + ahead) & ((window == 0) | (j > t - window))


@quiet
def softmax_terms(scores: F32, allowed: Bools, sink: F32 | None = None) -> tuple[F32, F32]:
    """Return e = exp(x - max) over the allowed positions of [n, t], +0 elsewhere, and the sums z [n].

    ``sink`` is a score without a position, of every row. Raises EmptyRowError if a row has no allowed
    position, NonFiniteError if an allowed score is not finite.
    """
    if not allowed.any(axis=1).all():
        raise EmptyRowError("a softmax row has no allowed position")
    require_finite(np.where(allowed, scores, ZERO), "an attention score")
    top = canonical_max(np.where(allowed, scores, np.float32(-np.inf)))
    if sink is not None:
        top = np.where(sink > top, sink, top)
    e = np.where(allowed, exp(scores - top[:, np.newaxis]), ZERO)
    total = tree_sum(e)
    return e, total if sink is None else total + exp(sink - top)


def _whole(q: I8) -> I64:
    """Return the integers of which these are the limbs: [t, d] of [t, d] or of [t, 2, d]."""
    return q.astype(np.int64) if q.ndim == 2 else q[:, 0].astype(np.int64) * 256 + q[:, 1]


@quiet
def mix(e: F32, total: F32, scales: F32, values: I8) -> F32:
    """Do steps 4 and 5 for e [n, t] and its sums [n], scales [t], values [t, dh] or [t, 2, dh]: [n, dh].

    Where e is 0, the scale and the values of the position have no influence.
    """
    largest = _Q[values.ndim - 1]
    w = np.where(e > ZERO, e * scales[np.newaxis, :], ZERO)
    top = canonical_max(w)
    r = largest / top
    usable = np.isfinite(r)[:, np.newaxis]
    p = np.rint(w * np.where(usable, r[:, np.newaxis], ZERO)).astype(np.int64)
    acc: I64 = p @ _whole(values)
    out = acc.astype(np.float32) * (top / largest)[:, np.newaxis] / total[:, np.newaxis]
    return np.where(usable, out, ZERO)


def _check_scales(s: F32, what: str) -> None:
    require_finite(s, what)
    if (s < ZERO).any():
        raise ExecutionError(f"{what} must not be negative")


@quiet
def _scores(q8: I8, sq: F32, kq: I8, ks: F32, latent: int) -> F32:
    """Return f32(q8 . kq) * (sq * ks) of one head: float32 [n, t].

    q8 is [n, d] or [n, 2, d], kq [t, d] or [t, 2, d], sq [n, parts] and ks [t, parts]. With two parts, it is
    the sum of that of the first ``latent`` columns and that of the others.
    """
    q, k = _whole(q8), _whole(kq)
    parts = [slice(0, latent), slice(latent, None)] if latent else [slice(None)]
    both = [
        (q[:, part] @ k[:, part].T).astype(np.float32) * (sq[:, i, np.newaxis] * ks[np.newaxis, :, i])
        for i, part in enumerate(parts)
    ]
    return both[0] + both[1] if latent else both[0]


@quiet
def _capped(scores: F32, allowed: Bools, cap: np.float32) -> F32:
    require_finite(np.where(allowed, scores, ZERO), "an attention score")
    return tanh(scores / cap) * cap


@quiet
def attention(
    q: F32,
    kq: I8,
    ks: F32,
    vq: I8 | None,
    vs: F32 | None,
    first: int,
    scale: np.float32,
    window: int,
    options: AttentionOptions = PLAIN,
) -> F32:
    """Return the attention of rows first..first+n over t >= first + n rows.

    q [n, h * dh] float32; kq [t, hk, dh] and vq [t, hk, e] int8, with limbs [t, hk, 2, dh] and [t, hk, 2, e];
    ks, vs [t, hk] float32; h a multiple of hk. Row first+i may see positions
    max(0, first+i+1-window)..min(first+i+ahead, t-1) (window 0: all from 0). With ``latent``, ks is
    [t, hk, 2], vq and vs are None, and e is ``latent``. Returns [n, h * e].

    Raises InputError for shapes and options that do not fit together or a negative ``first`` or ``window``,
    NonFiniteError if q, a sink, a visible scale or an allowed score is not finite, ExecutionError if a
    visible scale is negative.
    """
    size = contracts.attention(q, kq, ks, vq, vs, first, window, options)
    n, heads, latent = size.n, size.heads, options.latent
    if n == 0:
        return np.zeros((0, heads * size.columns), dtype=np.float32)
    if options.sinks is not None:
        require_finite(options.sinks, "a sink of attention")
    t = min(first + n + options.ahead, len(kq))  # the first position that no row may see
    start = max(0, first + 1 - window) if window else 0  # the first position that any row may see
    _check_scales(ks[start:t], "a key's scale")
    if vq is None or vs is None:
        vq, vs = kq[..., :latent], ks[..., 0]
    else:
        _check_scales(vs[start:t], "a value's scale")
    q8, sq = quantise_heads(q, heads, options.limbs, latent)
    sq, ks = sq.reshape(n, heads, -1), ks.reshape(len(ks), size.kv_heads, -1)
    allowed = allowed_positions(first, n, window, t, options.ahead)
    out = np.zeros((n, heads, size.columns), dtype=np.float32)
    for h in range(heads):
        g = h // (heads // size.kv_heads)
        scores = _scores(q8[:, h], sq[:, h], kq[:t, g], ks[:t, g], latent) * np.float32(scale)
        if options.softcap:
            scores = _capped(scores, allowed, options.softcap)
        sink = None if options.sinks is None else options.sinks[h]
        e, total = softmax_terms(scores, allowed, sink)
        out[:, h] = mix(e, total, vs[:t, g], vq[:t, g])
    return out.reshape(n, heads * size.columns)
