"""Compute the operations that work row by row, such as norms, the rotary embedding and the gate.

:mod:`proofcompute.arithmetic.definition` defines them. The first arguments of a kernel are a range a..b of
rows, so that :func:`proofcompute.arithmetic.backends.numba.runtime.threads.split` can divide the rows among
threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.kernels.row import (
    blocks,
    embed_into,
    gate_into,
    heads_into,
    layer_norm_into,
    norm_into,
    quantise_heads_into,
    rope_into,
    settle_into,
)
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.backends.scalar.functions import gelu_of, relu_of

__all__ = [
    "add",
    "embed",
    "gate",
    "gelu",
    "heads",
    "layer_norm",
    "quantise_heads",
    "relu",
    "rms_norm",
    "rope",
    "settle",
]

_i64, _f32, _i8 = types.int64, types.float32, types.int8
_rows, _row, _out = read(_f32, 2), read(_f32, 1), write(_f32, 2)


@kernel(types.void(_i64, _i64, _rows, _row, _f32, _out))
def rms_norm(a: Any, b: Any, x: Any, w: Any, eps: Any, out: Any) -> None:
    """Write x / sqrt(tree(x*x) / n + eps) * w to out."""
    level = np.empty(blocks(x.shape[1]), np.float32)
    for t in range(a, b):
        norm_into(x[t], w, eps, level, out[t])


@kernel(types.void(_i64, _i64, _rows, _row, _row, _f32, _out))
def layer_norm(a: Any, b: Any, x: Any, w: Any, bias: Any, eps: Any, out: Any) -> None:
    """Write c / sqrt(tree(c*c) / n + eps) * w + bias to out, where c = x - tree(x) / n."""
    level = np.empty(blocks(x.shape[1]), np.float32)
    for t in range(a, b):
        layer_norm_into(x[t], w, bias, eps, level, out[t])


@kernel(types.void(_i64, _i64, _rows, _rows, _rows, _i64, types.boolean, _i64, _out))
def rope(
    a: Any, b: Any, x: Any, cos: Any, sin: Any, heads: Any, interleaved: Any, start: Any, out: Any
) -> None:
    """Rotate the pairs of each head by the row's angles, and copy elements beyond the pairs."""
    for t in range(a, b):
        rope_into(x[t], cos[t], sin[t], x.shape[1] // heads, interleaved, start, out[t])


@kernel(types.boolean(_i64, _i64, _rows, _i64, _i64, write(_i8, 3), _out))
def quantise_heads(a: Any, b: Any, x: Any, limbs: Any, latent: Any, q: Any, scales: Any) -> Any:
    """Quantise the heads of rows into q [n, heads limbs, dh] and scales [n, heads], or twice as many.

    Return False if a row is not finite.
    """
    scratch = np.empty(q.shape[2], np.int16)
    for t in range(a, b):
        if not quantise_heads_into(x[t], scratch, limbs, latent, q[t], scales[t]):
            return False
    return True


@kernel(
    types.boolean(
        _i64,
        _i64,
        _rows,
        _rows,
        _rows,
        types.boolean,
        _i64,
        _out,
        write(_i8, 3),
        _out,
        write(_i8, 3),
        _out,
    )
)
def heads(
    a: Any,
    b: Any,
    x: Any,
    cos: Any,
    sin: Any,
    interleaved: Any,
    limbs: Any,
    q: Any,
    kq: Any,
    ks: Any,
    vq: Any,
    vs: Any,
) -> Any:
    """Rotate the queries and keys of rows, and quantise their keys and values.

    A row holds queries, keys and values side by side; kq and vq are [n, heads limbs, dh]. Return False if a
    key or a value is not finite.
    """
    turned = np.empty(kq.shape[1] // limbs * kq.shape[2], np.float32)
    scratch = np.empty(kq.shape[2], np.int16)
    for t in range(a, b):
        if not heads_into(
            x[t], cos[t], sin[t], interleaved, limbs, turned, scratch, q[t], kq[t], ks[t], vq[t], vs[t]
        ):
            return False
    return True


@kernel(types.void(_i64, _i64, read(_i8, 2), _row, _out))
def embed(a: Any, b: Any, q: Any, scales: Any, out: Any) -> None:
    """Write int8 rows times their scales to out."""
    for t in range(a, b):
        embed_into(q[t], scales[t], out[t])


@kernel(types.void(_i64, _i64, _rows, _out))
def gate(a: Any, b: Any, x: Any, out: Any) -> None:
    """Write g / (1 + exp(-g)) * u to out."""
    for t in range(a, b):
        gate_into(x[t], out[t])


@kernel(types.void(_i64, _i64, _rows, _out))
def gelu(a: Any, b: Any, x: Any, out: Any) -> None:
    """Write (0.5 x) (1 + erf(x SQRT_HALF)) to out."""
    x = x[a:b].reshape((b - a) * x.shape[1])
    out = out[a:b].reshape(x.size)
    for i in range(x.size):
        out[i] = gelu_of(x[i])


@kernel(types.void(_i64, _i64, _rows, _out))
def relu(a: Any, b: Any, x: Any, out: Any) -> None:
    """Write x where x > 0, else +0, to out."""
    x = x[a:b].reshape((b - a) * x.shape[1])
    out = out[a:b].reshape(x.size)
    for i in range(x.size):
        out[i] = relu_of(x[i])


@kernel(types.void(_i64, _i64, _rows, _rows, _out))
def add(a: Any, b: Any, x: Any, y: Any, out: Any) -> None:
    """Write x + y to out."""
    x = x[a:b].reshape((b - a) * x.shape[1])
    y = y[a:b].reshape(x.size)
    out = out[a:b].reshape(x.size)
    for i in range(x.size):
        out[i] = x[i] + y[i]


@kernel(types.boolean(_i64, _i64, _rows, _out))
def settle(a: Any, b: Any, x: Any, out: Any) -> Any:
    """Write x + 0 to out. Return False if an element is not finite."""
    x = x[a:b].reshape((b - a) * x.shape[1])
    return settle_into(x, out[a:b].reshape(x.size))
