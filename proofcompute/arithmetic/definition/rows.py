"""Define the row-wise operations of a transformer (rule 6, docs/spec/programs.md#operations).

Formulas are evaluated left to right as written, one rounding for each operation; n below is the length of a
row as binary32 (exact, since rows are limited to 2^24 elements).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from proofcompute.arithmetic import contracts
from proofcompute.arithmetic.definition.elementwise import ONE, ZERO, quiet, require_finite
from proofcompute.arithmetic.definition.transcendental import HALF, erf, exp
from proofcompute.arithmetic.definition.trees import tree_sum
from proofcompute.arrays import F32, I8

__all__ = [
    "SQRT_HALF",
    "add",
    "embed",
    "gate",
    "gelu",
    "layer_norm",
    "parts",
    "relu",
    "rms_norm",
    "rope",
    "settle",
]

SQRT_HALF: Final = np.uint32(0x3F3504F3).view(np.float32)
"""1 / sqrt 2."""


@quiet
def embed(q: I8, s: F32) -> F32:
    """Return table rows q [n, d] int8 times their scales s [n]: float32 [n, d]."""
    contracts.embed(q, s)
    return q.astype(np.float32) * s[:, np.newaxis]


def _root_mean_square(x: F32, eps: np.float32) -> F32:
    """Return sqrt(tree(x*x) / n + eps) as a column [n, 1]."""
    mean: F32 = tree_sum(x * x) / np.float32(x.shape[1])
    root: F32 = np.sqrt(mean + np.float32(eps))
    return root[:, np.newaxis]


@quiet
def rms_norm(x: F32, w: F32, eps: np.float32) -> F32:
    """Return x / sqrt(tree(x*x) / n + eps) * w for rows of [n, d], w [d]."""
    contracts.rms_norm(x, w)
    return x / _root_mean_square(x, eps) * w


@quiet
def layer_norm(x: F32, w: F32, b: F32, eps: np.float32) -> F32:
    """Return c / sqrt(tree(c*c) / n + eps) * w + b with c = x - tree(x) / n; rows of [n, d], w and b [d]."""
    contracts.layer_norm(x, w, b)
    c: F32 = x - (tree_sum(x) / np.float32(x.shape[1]))[:, np.newaxis]
    return c / _root_mean_square(c, eps) * w + b


@quiet
def rope(x: F32, cos: F32, sin: F32, heads: int, interleaved: bool, start: int = 0) -> F32:
    """Rotate each head of rows [n, heads * dh] by tables [n, r], start + 2 r <= dh; the rest is copied.

    Pair i of a head is columns start + (2i, 2i+1) if interleaved, else start + (i, i + r). (a, b) becomes
    (a*cos - b*sin, a*sin + b*cos), two products and one sum each.
    """
    n, dh = contracts.rope(x, cos, sin, heads, start)
    r = cos.shape[1]
    out = x.reshape(n, heads, dh).copy()
    end = start + 2 * r
    first, second = (
        (slice(start, end, 2), slice(start + 1, end, 2))
        if interleaved
        else (slice(start, start + r), slice(start + r, end))
    )
    a, b = out[:, :, first].copy(), out[:, :, second].copy()
    c, s = cos[:, np.newaxis, :], sin[:, np.newaxis, :]
    out[:, :, first] = a * c - b * s
    out[:, :, second] = a * s + b * c
    return out.reshape(x.shape)


@quiet
def gate(x: F32) -> F32:
    """Return g / (1 + exp(-g)) * u, [n, f], for rows [n, 2 f] that hold g first and u second."""
    _, f = contracts.gate(x)
    g, u = x[:, :f], x[:, f:]
    return g / (ONE + exp(-g)) * u


@quiet
def gelu(x: F32) -> F32:
    """Return (0.5 * x) * (1 + erf(x * SQRT_HALF)), same shape."""
    return (HALF * x) * (ONE + erf(x * SQRT_HALF))


def relu(x: F32) -> F32:
    """Return x where x > 0, else +0 (for a NaN too), same shape."""
    return np.where(x > ZERO, x, ZERO)


@quiet
def add(x: F32, y: F32) -> F32:
    """Return x + y, of one shape."""
    contracts.add(x, y)
    return x + y


def settle(x: F32) -> F32:
    """Return x + (+0.0), which turns -0 into +0. Raises NonFiniteError if any element is not finite."""
    require_finite(x, "a committed value")
    return x + ZERO


def is_settled(x: F32) -> bool:
    """Return whether every element is finite and none is -0."""
    return bool(np.isfinite(x).all()) and not bool((x.view(np.uint32) == 0x80000000).any())


def parts(x: F32, dh: int, heads: int, kv_heads: int) -> tuple[F32, F32, F32]:
    """Split rows of x into queries [n, heads * dh], keys and values [n, kv_heads * dh]."""
    a, b = heads * dh, (heads + kv_heads) * dh
    return x[:, :a], x[:, a:b], x[:, b:]
