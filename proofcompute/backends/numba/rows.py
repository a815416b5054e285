"""Row-wise operations: norms, rotary embedding, gate, and the like (numerics.rows defines them).

Kernels take a range of rows a..b first, so that :func:`.threads.split` can share the rows out.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types

from proofcompute.backends.numba.cache import helper, kernel, read, write
from proofcompute.backends.numba.products import quantise_into
from proofcompute.backends.scalar.functions import (
    FINITE_BITS,
    absolute_bits,
    dequantised,
    gated,
    gelu_of,
    normalised,
    relu_of,
    root_of_mean,
    settled,
)

__all__ = [
    "add",
    "embed",
    "gate",
    "gelu",
    "layer_norm",
    "power_of_two",
    "quantise_heads",
    "relu",
    "rms_norm",
    "rope",
    "settle",
    "tree",
]

_ZERO: Final = np.float32(0)
_LEVELS: Final = np.float32(127)

_i64, _f32, _i8 = types.int64, types.float32, types.int8
_rows, _row, _out = read(_f32, 2), read(_f32, 1), write(_f32, 2)


@helper
def power_of_two(n: Any) -> Any:
    """The smallest power of two that is at least n and 1."""
    width = 1
    while width < n:
        width *= 2
    return width


@helper
def tree(level: Any, n: Any) -> Any:
    """Halving-tree sum of level[:n], which it overwrites; zero from n to the next power of two."""
    width = power_of_two(n)
    while width > 1:
        width //= 2
        low = level[:width]
        high = level[width : 2 * width]
        for i in range(width):
            low[i] = low[i] + high[i]
    return level[0] + _ZERO


@helper
def _root_mean_square(x: Any, level: Any, eps: Any) -> Any:
    n = x.size
    for i in range(n):
        level[i] = x[i] * x[i]
    level[n:] = _ZERO
    return root_of_mean(tree(level, n), n, eps)


@kernel(types.void(_i64, _i64, _rows, _row, _f32, _out))
def rms_norm(a: Any, b: Any, x: Any, w: Any, eps: Any, out: Any) -> None:
    """x / sqrt(tree(x*x) / n + eps) * w."""
    d = x.shape[1]
    level = np.empty(power_of_two(d), np.float32)
    for t in range(a, b):
        row = x[t]
        to = out[t]
        root = _root_mean_square(row, level, eps)
        for i in range(d):
            to[i] = normalised(row[i], root, w[i])


@kernel(types.void(_i64, _i64, _rows, _row, _row, _f32, _out))
def layer_norm(a: Any, b: Any, x: Any, w: Any, bias: Any, eps: Any, out: Any) -> None:
    """c = x - tree(x) / n; c / sqrt(tree(c*c) / n + eps) * w + bias."""
    d = x.shape[1]
    level = np.empty(power_of_two(d), np.float32)
    for t in range(a, b):
        row = x[t]
        to = out[t]
        level[:d] = row
        level[d:] = _ZERO
        mean = tree(level, d) / np.float32(d)
        for i in range(d):
            to[i] = row[i] - mean
        root = _root_mean_square(to, level, eps)
        for i in range(d):
            to[i] = normalised(to[i], root, w[i]) + bias[i]


@kernel(types.void(_i64, _i64, _rows, _rows, _rows, _i64, types.boolean, _out))
def rope(a: Any, b: Any, x: Any, cos: Any, sin: Any, heads: Any, interleaved: Any, out: Any) -> None:
    """Rotates pairs of each head by the row's angles; what is beyond the pairs is copied."""
    dh = x.shape[1] // heads
    r = cos.shape[1]
    for t in range(a, b):
        c = cos[t]
        s = sin[t]
        for h in range(heads):
            head = x[t, h * dh : (h + 1) * dh]
            to = out[t, h * dh : (h + 1) * dh]
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


@kernel(types.boolean(_i64, _i64, _rows, _i64, write(_i8, 3), _out))
def quantise_heads(a: Any, b: Any, x: Any, heads: Any, q: Any, scales: Any) -> Any:
    """Heads of rows [n, heads dh] to q [n, heads, dh] and scales [n, heads]. False if not finite."""
    dh = q.shape[2]
    row = np.empty(dh, np.int16)
    for t in range(a, b):
        for h in range(heads):
            s = quantise_into(x[t, h * dh : (h + 1) * dh], _LEVELS, row)
            if s < _ZERO:
                return False
            scales[t, h] = s
            to = q[t, h]
            for i in range(dh):
                to[i] = np.int8(row[i])
    return True


@kernel(types.void(_i64, _i64, read(_i8, 2), _row, _out))
def embed(a: Any, b: Any, q: Any, scales: Any, out: Any) -> None:
    """int8 rows times their scales."""
    for t in range(a, b):
        s = scales[t]
        row = q[t]
        to = out[t]
        for i in range(row.size):
            to[i] = dequantised(row[i], s)


@kernel(types.void(_i64, _i64, _rows, _out))
def gate(a: Any, b: Any, x: Any, out: Any) -> None:
    """g / (1 + exp(-g)) * u."""
    f = out.shape[1]
    for t in range(a, b):
        g = x[t, :f]
        u = x[t, f : 2 * f]
        to = out[t]
        for i in range(f):
            to[i] = gated(g[i], u[i])


@kernel(types.void(_i64, _i64, _rows, _out))
def gelu(a: Any, b: Any, x: Any, out: Any) -> None:
    """(0.5 x) (1 + erf(x SQRT_HALF))."""
    x = x[a:b].reshape((b - a) * x.shape[1])
    out = out[a:b].reshape(x.size)
    for i in range(x.size):
        out[i] = gelu_of(x[i])


@kernel(types.void(_i64, _i64, _rows, _out))
def relu(a: Any, b: Any, x: Any, out: Any) -> None:
    """x where x > 0, else +0."""
    x = x[a:b].reshape((b - a) * x.shape[1])
    out = out[a:b].reshape(x.size)
    for i in range(x.size):
        out[i] = relu_of(x[i])


@kernel(types.void(_i64, _i64, _rows, _rows, _out))
def add(a: Any, b: Any, x: Any, y: Any, out: Any) -> None:
    """x + y."""
    x = x[a:b].reshape((b - a) * x.shape[1])
    y = y[a:b].reshape(x.size)
    out = out[a:b].reshape(x.size)
    for i in range(x.size):
        out[i] = x[i] + y[i]


@kernel(types.boolean(_i64, _i64, _rows, _out))
def settle(a: Any, b: Any, x: Any, out: Any) -> Any:
    """x + 0. False if an element is not finite."""
    x = x[a:b].reshape((b - a) * x.shape[1])
    out = out[a:b].reshape(x.size)
    top = np.int32(0)
    for i in range(x.size):
        bits = absolute_bits(x[i])
        top = bits if bits > top else top
        out[i] = settled(x[i])
    return top < FINITE_BITS
