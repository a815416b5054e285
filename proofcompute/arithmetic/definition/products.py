"""Define quantised rows and integer products (rule 5, docs/spec/arithmetic.md#products).

One limb holds -127..127. Two balanced limbs hold -32639..32639 as 256 * hi + lo with -128 <= hi, lo <= 127:
hi = (q + 128) >> 8 is the nearest multiple, so lo = q - 256 * hi lies in -128..127, and 32639 = 127 * 257 is
the largest q for which hi <= 127.

*The quantiser stays in range.* r = fl(Q / a) and x * r carry a relative error of at most 2^-24 each (r is
normal: Q / a >= 127 / 2^128), hence |x * r| <= Q (1 + 2^-24)^2 < Q + 1/2 and |rint(x * r)| <= Q.

*The accumulators stay in range.* |acc| <= 2^15 * 2^7 * 2^7 = 2^29 for a contraction of at most
MAX_CONTRACTION = 2^15, below MAX_ACCUMULATOR; the combination in int64 has at most a few shifts by 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from proofcompute.arithmetic import contracts
from proofcompute.arithmetic.definition.elementwise import ZERO, quiet, require_finite
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import F32, I8, I32, I64
from proofcompute.freivalds.product import product_sets

__all__ = [
    "LARGEST",
    "largest_square",
    "limbs_of",
    "linear",
    "product",
    "quantise",
    "quantise_heads",
    "rescale",
]

LARGEST: Final = {1: np.float32(127.0), 2: np.float32(32639.0)}
"""Q: the largest absolute value that the given number of limbs holds."""

_SQUARED: Final = 1 << 20
"""The number of elements squared at a time, which bounds scratch memory."""


def limbs_of(q: F32, limbs: int) -> I8:
    """Split integers -Q..Q, held as binary32 [...], into int8 limbs [limbs, ...], high first."""
    whole = q.astype(np.int32)
    if limbs == 1:
        return whole.astype(np.int8)[np.newaxis]
    high = (whole + np.int32(128)) >> np.int32(8)
    low = whole - np.int32(256) * high
    return np.stack([high, low]).astype(np.int8)


@quiet
def quantise(x: F32, limbs: int) -> tuple[I8, F32]:
    """Quantise rows [n, d] to int8 limbs [limbs, n, d] (high first) and scales [n].

    a = max |x|, r = Q / a, q = rint(x * r), s = a / Q; where r is not finite (a = 0, or a so small that Q / a
    overflows), q = 0 and s = +0. Raises NonFiniteError if any element is NaN or infinite, InputError if limbs
    is not 1 or 2.
    """
    contracts.quantise(x, limbs, None)
    require_finite(x, "an input of the quantiser")
    largest = LARGEST[limbs]
    a = np.max(np.abs(x), axis=1, initial=ZERO)
    r = largest / a
    usable = np.isfinite(r)
    q = np.rint(x * np.where(usable, r, ZERO)[:, np.newaxis])
    return limbs_of(q, limbs), np.where(usable, a / largest, ZERO)


def quantise_heads(x: F32, heads: int, limbs: int = 1, latent: int = 0) -> tuple[I8, F32]:
    """Quantise rows [n, heads * dh], one scale a head, to int8 [n, heads, dh] and scales [n, heads].

    Two limbs give int8 [n, heads, 2, dh], high first. If ``latent`` is not 0, the first ``latent`` columns
    of a head and the others are quantised apart: scales are [n, heads, 2].
    """
    n, dh = contracts.quantise_heads(x, heads, limbs, latent)
    rows = x.reshape(n * heads, dh)
    parts = [rows[:, :latent], rows[:, latent:]] if latent else [rows]
    made = [quantise(part, limbs) for part in parts]
    q = np.concatenate([part for part, _ in made], axis=2).transpose(1, 0, 2)
    s = np.stack([scale for _, scale in made], axis=1)
    shape = (n, heads, dh) if limbs == 1 else (n, heads, limbs, dh)
    return np.ascontiguousarray(q).reshape(shape), s.reshape((n, heads, 2) if latent else (n, heads))


def largest_square(q: I8) -> int:
    """Return the largest sum of squares of a row of limbs [limbs, n, d], taken together (256 high + low).

    It is at most d 2^30, and 0 if there are no rows. Raises InputError unless there are one or two limbs.
    """
    contracts.largest_square(q)
    largest = 0
    step = max(1, _SQUARED // max(1, q.shape[2]))
    for a in range(0, q.shape[1], step):
        whole = q[-1, a : a + step].astype(np.int64)
        if len(q) == 2:
            whole += np.int64(256) * q[0, a : a + step]
        largest = max(largest, int((whole * whole).sum(axis=1).max()))
    return largest


def product(q: I8, w: I8) -> I32:
    """Return q [n, d] times the rows of w [m, d]: int32 [n, m]. Raises LimitError if d > MAX_CONTRACTION."""
    contracts.product(q, w)
    # Integer sums are associative, so the order in which einsum adds does not matter.
    sums: I32 = np.einsum("nd,md->nm", q.astype(np.int32), w.astype(np.int32))
    return sums


@quiet
def rescale(acc: I32, shifts: Sequence[int], sx: F32, sw: F32, bias: F32 | None) -> F32:
    """Turn accumulator sets [sets, n, m] into float32 [n, m].

    The result is f32(sum of acc[i] << shifts[i], in int64) * (sx[t] * sw[j]), then + bias[j].
    """
    contracts.rescale(acc, shifts, sx, sw, bias)
    total: I64 = np.zeros(acc.shape[1:], dtype=np.int64)
    for part, shift in zip(acc, shifts, strict=True):
        total += part.astype(np.int64) << np.int64(shift)
    y = total.astype(np.float32) * (sx[:, np.newaxis] * sw[np.newaxis, :])
    return y if bias is None else y + bias[np.newaxis, :]


def linear(x: F32, w: Matrix, limbs: int) -> F32:
    """Return rows [n, d] times ``w``: quantise, multiply set by set, rescale. Raises as ``quantise``."""
    q, sx = quantise(x, limbs)
    sets = product_sets(x.shape[1], limbs, w.q.shape[0])
    acc = np.zeros((len(sets), x.shape[0], w.q.shape[1]), dtype=np.int32)
    for i, (start, stop, x_limb, w_limb, _) in enumerate(sets):
        acc[i] = product(q[x_limb, :, start:stop], w.q[w_limb, :, start:stop])
    return rescale(acc, [shift for *_, shift in sets], sx, w.scale, w.bias)
