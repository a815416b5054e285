"""Define helpers that compute the canonical functions of one row, for the kernels of several modules.

:mod:`proofcompute.arithmetic.definition` defines the functions.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen.definitions import helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import BLOCK
from proofcompute.arithmetic.backends.scalar.functions import (
    FINITE_BITS,
    absolute_bits,
    dequantised,
    from_bits,
    gated,
    normalised,
    quantised,
    reciprocal,
    root_of_mean,
    settled,
)

__all__ = [
    "blocks",
    "embed_into",
    "gate_into",
    "heads_into",
    "layer_norm_into",
    "levels_of",
    "norm_into",
    "power_of_two",
    "quantise_heads_into",
    "quantise_into",
    "root_mean_square",
    "rope_into",
    "settle_into",
    "tree",
]

_ZERO: Final = np.float32(0)
_ONE_LIMB: Final = np.float32(127)
_TWO_LIMBS: Final = np.float32(32639)


@helper
def power_of_two(n: Any) -> Any:
    """Return the smallest power of two that is at least n and 1."""
    width = 1
    while width < n:
        width *= 2
    return width


@helper
def blocks(n: Any) -> Any:
    """Return the smallest multiple of BLOCK that is at least n and 1."""
    return (max(n, 1) + BLOCK - 1) // BLOCK * BLOCK


@helper
def tree(level: Any, n: Any) -> Any:
    """Return the halving-tree sum of level[:n]; level is overwritten, and has room for blocks(n).

    Zeros up to a power of two are left out. Adding one could only turn a sum of -0 into +0. That could change
    a later sum only from -0 to +0, and the last addition does so for the result in any case.
    """
    padded = blocks(n)
    level[n:padded] = _ZERO
    width = power_of_two(padded)
    while width > 1:
        width //= 2
        low = level[: padded - width]
        high = level[width:padded]
        for i in range(padded - width):
            low[i] = low[i] + high[i]
        padded = width
    return level[0] + _ZERO


@helper
def root_mean_square(x: Any, level: Any, eps: Any) -> Any:
    """Return sqrt(tree(x*x) / n + eps); level has room for :func:`tree`."""
    n = x.size
    for i in range(n):
        level[i] = x[i] * x[i]
    return root_of_mean(tree(level, n), n, eps)


@helper
def norm_into(x: Any, w: Any, eps: Any, level: Any, out: Any) -> None:
    """Write the RMS norm of one row to out; level has room for :func:`tree`."""
    root = root_mean_square(x, level, eps)
    for i in range(x.size):
        out[i] = normalised(x[i], root, w[i])


@helper
def layer_norm_into(x: Any, w: Any, bias: Any, eps: Any, level: Any, out: Any) -> None:
    """Write the layer norm of one row to out; level has room for :func:`tree`."""
    d = x.size
    level[:d] = x
    mean = tree(level, d) / np.float32(d)
    for i in range(d):
        out[i] = x[i] - mean
    root = root_mean_square(out, level, eps)
    for i in range(d):
        out[i] = normalised(out[i], root, w[i]) + bias[i]


@helper
def gate_into(x: Any, out: Any) -> None:
    """Write g / (1 + exp(-g)) * u of one row [2 f], which holds g and then u, to out."""
    f = out.size
    g = x[:f]
    u = x[f : 2 * f]
    for i in range(f):
        out[i] = gated(g[i], u[i])


@helper
def quantise_into(x: Any, levels: Any, q: Any) -> Any:
    """Quantise the row x float32 [d] into q int16 [>= d].

    Return its scale, or -1 if x is not finite.
    """
    top = np.int32(0)
    for i in range(x.size):
        bits = absolute_bits(x[i])
        top = bits if bits > top else top
    if top >= FINITE_BITS:
        return np.float32(-1)
    largest = from_bits(top)
    r = reciprocal(levels, largest)
    for i in range(x.size):
        q[i] = np.int16(quantised(x[i], r))
    return largest / levels if r > _ZERO else _ZERO


@helper
def levels_of(limbs: Any) -> Any:
    """Return the largest integer that one or two limbs hold."""
    return _TWO_LIMBS if limbs == 2 else _ONE_LIMB


@helper
def quantise_heads_into(x: Any, scratch: Any, limbs: Any, latent: Any, q: Any, scales: Any) -> Any:
    """Quantise one row of heads into q int8 [heads limbs, dh] and scales; scratch is int16 [dh].

    scales has one element a head, or two if latent > 0: of the first ``latent`` columns, and of the others.
    Return False if the row is not finite.
    """
    rows, dh = q.shape
    parts = 2 if latent else 1
    for h in range(rows // limbs):
        head = x[h * dh : (h + 1) * dh]
        for i in range(parts):
            a = latent if i else 0
            b = latent if i + 1 < parts else dh
            s = quantise_into(head[a:b], levels_of(limbs), scratch[a:b])
            if s < _ZERO:
                return False
            scales[h * parts + i] = s
        if limbs == 1:
            to = q[h]
            for i in range(dh):
                to[i] = np.int8(scratch[i])
        else:
            high = q[2 * h]
            low = q[2 * h + 1]
            for i in range(dh):
                upper = np.int16((np.int32(scratch[i]) + 128) >> 8)
                high[i] = np.int8(upper)
                low[i] = np.int8(np.int32(scratch[i]) - 256 * np.int32(upper))
    return True


@helper
def rope_into(x: Any, c: Any, s: Any, dh: Any, interleaved: Any, start: Any, out: Any) -> None:
    """Rotate the pairs of each head of one row by the row's angles, and copy elements beyond the pairs."""
    r = c.size
    for whole in range(0, x.size, dh):
        out[whole : whole + start] = x[whole : whole + start]
        a = whole + start
        head = x[a : whole + dh]
        to = out[a : whole + dh]
        if interleaved:
            for i in range(r):
                to[2 * i] = head[2 * i] * c[i] - head[2 * i + 1] * s[i]
                to[2 * i + 1] = head[2 * i] * s[i] + head[2 * i + 1] * c[i]
        else:
            first = head[:r]
            second = head[r : 2 * r]
            to_first = to[:r]
            to_second = to[r : 2 * r]
            for i in range(r):
                to_first[i] = first[i] * c[i] - second[i] * s[i]
                to_second[i] = first[i] * s[i] + second[i] * c[i]
        to[2 * r :] = head[2 * r :]


@helper
def heads_into(
    row: Any,
    cos: Any,
    sin: Any,
    interleaved: Any,
    limbs: Any,
    turned: Any,
    scratch: Any,
    q: Any,
    kq: Any,
    ks: Any,
    vq: Any,
    vs: Any,
) -> Any:
    """Rotate the queries and keys of one row, and quantise its keys and values.

    The row holds queries, keys and values side by side. turned float32 [keys] and scratch int16 [dh] are
    overwritten. Return False if a key or a value is not finite.
    """
    queries = q.size
    keys = turned.size
    dh = scratch.size
    rope_into(row[:queries], cos, sin, dh, interleaved, 0, q)
    rope_into(row[queries : queries + keys], cos, sin, dh, interleaved, 0, turned)
    good = quantise_heads_into(turned, scratch, limbs, 0, kq, ks)
    return good and quantise_heads_into(row[queries + keys :], scratch, limbs, 0, vq, vs)


@helper
def embed_into(q: Any, scale: Any, out: Any) -> None:
    """Write one int8 row times its scale to out."""
    for i in range(q.size):
        out[i] = dequantised(q[i], scale)


@helper
def embed_limbs_into(high: Any, low: Any, scale: Any, out: Any) -> None:
    """Write one row of two limbs times its scale to out; the integers of both limbs are exact."""
    for i in range(high.size):
        out[i] = dequantised(np.int32(high[i]) * np.int32(256) + np.int32(low[i]), scale)


@helper
def settle_into(x: Any, out: Any) -> Any:
    """Write x + 0, [n] elements, to out. Return False if one is not finite."""
    top = np.int32(0)
    for i in range(x.size):
        bits = absolute_bits(x[i])
        top = bits if bits > top else top
        out[i] = settled(x[i])
    return top < FINITE_BITS
