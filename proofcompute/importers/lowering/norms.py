"""Lowers sums over axes, softmax and norms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np

from proofcompute.arrays import F32
from proofcompute.importers.lowering.elements import power
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.values import Constant, RefusedError, Row, Value, constant, is_float
from proofcompute.program.operations import Softmax

__all__ = [
    "arg_extreme",
    "batch_norm",
    "group_norm",
    "layer_norm",
    "local_response",
    "log_softmax",
    "lp_norm",
    "mean",
    "normalised",
    "reduced",
    "rms_norm",
    "softmax",
]


def mean(g: Graph, x: Value, axes: Sequence[int], *, keep: bool = False) -> Value:
    """Return the mean over axes; that of integers is rounded towards zero."""
    count = math.prod(x.shape[a] for a in axes)
    if count == 0:
        raise RefusedError("the mean of no elements")
    total = g.reduce("sum", x, axes, keep=keep)
    return g.map("div", total, float(count) if is_float(x.dtype) else count)


def reduced(g: Graph, kind: str, x: Value, axes: Sequence[int], *, keep: bool = False) -> Value:
    """Return a reduction: sum, prod, max, min, mean, l1, l2, sum_square, log_sum, log_sum_exp."""
    if kind in ("sum", "prod", "max", "min"):
        return g.reduce(kind, x, axes, keep=keep)
    if kind == "mean":
        return mean(g, x, axes, keep=keep)
    if kind == "l1":
        return g.reduce("sum", g.map("abs", x), axes, keep=keep)
    if kind == "log_sum":
        return g.map("log", g.reduce("sum", x, axes, keep=keep))
    if kind == "log_sum_exp":
        if 0 in x.shape:
            return g.map("log", g.reduce("sum", x, axes, keep=keep))
        most = g.reduce("max", x, axes, keep=True)
        # an infinite maximum would give NaN
        most = g.select(g.map("lt", g.map("abs", most), math.inf), most, 0.0)
        total = g.reduce("sum", g.map("exp", g.map("sub", x, most)), axes, keep=True)
        found = g.map("add", g.map("log", total), most)
        gone = [a % len(x.shape) for a in axes]
        shape = tuple(n for a, n in enumerate(x.shape) if a not in gone)
        return found if keep else g.reshape(found, shape)
    if kind in ("l2", "sum_square"):
        total = g.reduce("sum", g.map("mul", x, x), axes, keep=keep)
        if kind == "sum_square":
            return total
        if is_float(x.dtype):
            return g.map("sqrt", total)
        return g.cast(g.map("sqrt", g.cast(total, "f32")), x.dtype)
    raise RefusedError(f"no reduction {kind!r}")


def arg_extreme(g: Graph, kind: str, x: Value, axis: int, *, keep: bool, last: bool) -> Value:
    """Return where the ``max`` or ``min`` along an axis is (i64), the first or the last of equal ones."""
    axis %= len(x.shape)
    key = x if kind == "max" else g.map("neg" if is_float(x.dtype) else "not", x)
    n = x.shape[axis]
    if last:
        key = g.slice(key, axis, n - 1, -1, -1) if n > 1 else key
    found = g.cast(g.reduce("argmax", key, (axis,), keep=keep), "i64")
    return g.map("sub", n - 1, found) if last else found


def softmax(g: Graph, x: Value, axis: int) -> Value:
    """Return exp(x - max) divided by its sum, along an axis."""
    axis %= len(x.shape)
    if isinstance(x, Row):
        made = g.builder.apply(Softmax(x.order[axis]), x.base)
        return Row(made, x.order, x.dtype, x.inputs)
    shifted = g.map("exp", g.map("sub", x, g.reduce("max", x, (axis,), keep=True)))
    return g.map("div", shifted, g.reduce("sum", shifted, (axis,), keep=True))


def log_softmax(g: Graph, x: Value, axis: int) -> Value:
    """Return the logarithm of the softmax, x - max - log(sum)."""
    shifted = g.map("sub", x, g.reduce("max", x, (axis,), keep=True))
    total = g.reduce("sum", g.map("exp", shifted), (axis,), keep=True)
    return g.map("sub", shifted, g.map("log", total))


def _channels(g: Graph, v: Value, rank: int, axis: int = 1) -> Value:
    return g.reshape(v, tuple(math.prod(v.shape) if a == axis else 1 for a in range(rank)))


def batch_norm(g: Graph, x: Value, gamma: Value, beta: Value, m: Value, var: Value, eps: float) -> Value:
    """Return (x - mean) / sqrt(var + eps) gamma + beta by channel: constants give a factor and a shift."""
    rank = len(x.shape)
    parts = (gamma, beta, m, var)
    if all(isinstance(v, Constant) for v in parts):
        a, b, c, d = (np.asarray(g.known(v, ""), np.float64) for v in parts)
        with np.errstate(all="ignore"):
            factor = a / np.sqrt(d + eps)
            shift = b - c * factor
        if not (np.isfinite(factor).all() and np.isfinite(shift).all()):
            raise RefusedError("a batch norm has a factor that is NaN or infinite")
        scaled = g.map("mul", x, _channels(g, constant(factor, x.dtype), rank))
        return g.map("add", scaled, _channels(g, constant(shift, x.dtype), rank))
    gamma, beta, m, var = (_channels(g, g.cast(v, x.dtype), rank) for v in parts)
    spread = g.map("sqrt", g.map("add", var, eps))
    return g.map("add", g.map("mul", g.map("div", g.map("sub", x, m), spread), gamma), beta)


def normalised(g: Graph, x: Value, axes: Sequence[int], eps: float) -> tuple[Value, Value, Value]:
    """Return (x - mean) / sqrt(variance + eps), the mean, and 1 / sqrt(variance + eps)."""
    centre = mean(g, x, axes, keep=True)
    centred = g.map("sub", x, centre)
    variance = mean(g, g.map("mul", centred, centred), axes, keep=True)
    spread = g.map("sqrt", g.map("add", variance, eps))
    return g.map("div", centred, spread), centre, g.map("div", 1.0, spread)


def layer_norm(g: Graph, x: Value, scale: Value | None, bias: Value | None, axis: int, eps: float) -> Value:
    """Return the norm over the axes from ``axis`` on, times scale, plus bias."""
    rank = len(x.shape)
    axis %= rank
    width = x.shape[-1]
    plain = isinstance(x, Row) and axis == rank - 1 and x.order[-1] == rank - 1
    whole = [isinstance(v, Constant) and v.shape == (width,) for v in (scale, bias) if v is not None]
    if plain and isinstance(x, Row) and all(whole):
        ones = np.ones(width, np.float32)
        w = ones if scale is None else g.known(scale, "")
        b = 0 * ones if bias is None else g.known(bias, "")
        made = g.builder.layer_norm(x.base, cast(F32, w), cast(F32, b), eps=eps)
        return Row(made, x.order, x.dtype, x.inputs)
    y, _, _ = normalised(g, x, range(axis, rank), eps)
    y = y if scale is None else g.map("mul", y, scale)
    return y if bias is None else g.map("add", y, bias)


def rms_norm(g: Graph, x: Value, scale: Value | None, axis: int, eps: float) -> Value:
    """Return x / sqrt(mean of squares + eps) over the axes from ``axis`` on, times scale."""
    axes = range(axis % len(x.shape), len(x.shape))
    spread = g.map("sqrt", g.map("add", mean(g, g.map("mul", x, x), axes, keep=True), eps))
    y = g.map("div", x, spread)
    return y if scale is None else g.map("mul", y, scale)


def group_norm(g: Graph, x: Value, groups: int, scale: Value | None, bias: Value | None, eps: float) -> Value:
    """Return the norm over all places and channels of each group of x [n, c, places ...]."""
    n, c, *places = x.shape
    if groups < 1 or c % groups:
        raise RefusedError(f"{c} channels are not {groups} groups")
    rank = len(x.shape)
    if groups == c:
        y, _, _ = normalised(g, x, range(2, rank), eps)
    else:
        apart = g.reshape(x, (n, groups, c // groups, *places))
        y, _, _ = normalised(g, apart, range(2, rank + 1), eps)
        y = g.reshape(y, x.shape)
    y = y if scale is None else g.map("mul", y, _channels(g, scale, rank))
    return y if bias is None else g.map("add", y, _channels(g, bias, rank))


def local_response(g: Graph, x: Value, size: int, alpha: float, beta: float, bias: float) -> Value:
    """Return x divided by a power of the sum of squares of the channels around each."""
    if size < 1:
        raise RefusedError(f"a window of {size} channels")
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    rank, n = len(x.shape), x.shape[1]
    low, high = (tuple(w if a == 1 else 0 for a in range(rank)) for w in (before, after))
    squares = g.pad(g.map("mul", x, x), low, high)
    total = g.slice(squares, 1, 0, n)
    for i in range(1, size):
        total = g.map("add", total, g.slice(squares, 1, i, i + n))
    inner = g.map("add", g.map("mul", total, alpha / size), bias)
    return g.map("div", x, power(g, inner, constant(beta, "f32")))


def lp_norm(g: Graph, x: Value, axis: int, p: int) -> Value:
    """Return x divided by its p-norm along an axis; zero where that is zero."""
    if p == 1:
        size = g.reduce("sum", g.map("abs", x), (axis,), keep=True)
    elif p == 2:
        size = g.map("sqrt", g.reduce("sum", g.map("mul", x, x), (axis,), keep=True))
    else:
        raise RefusedError(f"a norm of power {p}")
    none = g.map("eq", size, 0.0)
    return g.select(none, 0.0, g.map("div", x, g.select(none, 1.0, size)))
