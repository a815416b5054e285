"""Lowers pools. Values are [samples, channels, places ...], and are computed channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from proofcompute.importers.lowering.convolving import channels_first, channels_last, places_of, windowed
from proofcompute.importers.lowering.elements import power
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.values import (
    Constant,
    RefusedError,
    Value,
    constant,
    is_float,
    limits_of,
)

__all__ = ["average_pool", "fitted", "global_pool", "lp_pool", "max_pool", "max_pool_places"]

from proofcompute.limits import MAX_RANK

_MOST: Final = 1 << 22
"""Elements of windows that are made before they are reduced."""
_TAPS: Final = 1 << 10
"""Places of a window that are gone through one after the other."""


def fitted(
    shape: Sequence[int],
    size: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    *,
    ceil: bool,
) -> list[int]:
    """Return the margins at the end with which a pool has as many windows as it should.

    With ``ceil`` a last window may hang over the end, if it begins inside the value or its first margin.
    """
    if not ceil:
        return list(high)
    found = []
    for n, k, s, a, p, q in zip(shape, size, strides, dilations, low, high, strict=True):
        reach = (k - 1) * a + 1
        count = -(-(n + p + q - reach) // s) + 1
        if (count - 1) * s >= n + p:
            count -= 1
        found.append(max(q, (count - 1) * s + reach - n - p))
    return found


def _seen(
    g: Graph,
    x: Value,
    size: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    fill: float,
) -> Value:
    padded = g.pad(channels_last(g, x), (0, *low, 0), (0, *high, 0), fill)
    return windowed(g, padded, size, strides, dilations)


def _pooled(
    g: Graph,
    kind: str,
    x: Value,
    size: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    fill: float,
) -> Value:
    """Return the ``max`` or ``sum`` of windows; large ones place by place of the window."""
    padded = g.pad(channels_last(g, x), (0, *low, 0), (0, *high, 0), fill)
    seen = pool_places(padded.shape[1:-1], size, strides, dilations)
    if len(x.shape) + len(size) <= MAX_RANK and math.prod((*seen, *size)) * x.shape[1] <= _MOST:
        windows = windowed(g, padded, size, strides, dilations)
        return channels_first(g, g.reduce(kind, windows, _window_axes(size)))
    if math.prod(size) > _TAPS or min(seen) < 1:
        raise RefusedError(f"windows {list(size)} over {list(x.shape[2:])}")
    total: Value | None = None
    for tap in np.ndindex(*size):
        part = padded
        for axis, (i, s, a, n) in enumerate(zip(tap, strides, dilations, seen, strict=True)):
            part = g.slice(part, axis + 1, i * a, i * a + (n - 1) * s + 1, s)
        function = "max" if kind == "max" else "add"
        total = part if total is None else g.map(function, total, part)
    if total is None:
        raise RefusedError("a window without places")
    return channels_first(g, total)


def _window_axes(size: Sequence[int]) -> tuple[int, ...]:
    return tuple(range(1 + len(size), 1 + 2 * len(size)))


def max_pool(
    g: Graph,
    x: Value,
    size: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
) -> Value:
    """Return the maximum of each window; margins do not count."""
    fill = -math.inf if is_float(x.dtype) else limits_of(x.dtype)[0]
    return _pooled(g, "max", x, size, strides, dilations, low, high, fill)


def max_pool_places(
    g: Graph,
    x: Value,
    size: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    *,
    by_column: bool = False,
) -> Value:
    """Return where in the flat value [samples, channels, places ...] each maximum is first found (i64)."""
    fill = -math.inf if is_float(x.dtype) else limits_of(x.dtype)[0]
    seen = _seen(g, x, size, strides, dilations, low, high, fill)
    axes = _window_axes(size)
    n, channels, *shape = x.shape
    first = g.cast(g.reduce("argmax", seen, axes), "i64")
    numbers = np.arange(math.prod(shape)).reshape(shape, order="F" if by_column else "C")
    padded = np.pad(numbers, list(zip(low, high, strict=True)))
    table = windowed(g, constant(padded[None, ..., None], "i64"), size, strides, dilations)
    places = seen.shape[1 : 1 + len(size)]
    flat = np.asarray(g.known(table, "")).reshape(*places, 1, math.prod(size))
    here = g.map("eq", g.reshape(first, (*first.shape, 1)), constant(np.arange(math.prod(size)), "i64"))
    chosen = g.select(here, g.broadcast(constant(flat, "i64"), here.shape), 0)
    found = channels_first(g, g.reduce("sum", chosen, (len(here.shape) - 1,)))
    start = np.arange(n * channels).reshape(n, channels, *(1,) * len(shape)) * math.prod(shape)
    return g.map("add", found, constant(start, "i64"))


def average_pool(
    g: Graph,
    x: Value,
    size: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    *,
    counted: Sequence[int] | None,
) -> Value:
    """Return the mean of each window.

    ``counted`` are the margins at the end that count as elements, besides all of ``low``; None if no margin
    counts.
    """
    total = _pooled(g, "sum", x, size, strides, dilations, low, high, 0.0)
    shape = x.shape[2:]
    ones = np.ones(shape, np.float32)
    inside = [(a, 0 if counted is None else c) for a, c in zip(low, counted or low, strict=True)]
    outside = [(0, b - c) for b, (_, c) in zip(high, inside, strict=True)]
    weights = np.pad(ones, inside, constant_values=0 if counted is None else 1)
    weights = np.pad(weights, outside)
    counts = windowed(g, constant(weights[None, ..., None], "f32"), size, strides, dilations)
    number = g.reduce("sum", counts, _window_axes(size))
    return g.map("div", total, Constant(g.known(channels_first(g, number), ""), x.dtype))


def lp_pool(
    g: Graph,
    x: Value,
    size: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    p: int,
) -> Value:
    """Return the p-norm of each window."""
    powers = power(g, g.map("abs", x), constant(p, "f32"))
    total = _pooled(g, "sum", powers, size, strides, dilations, low, high, 0.0)
    return power(g, total, constant(1 / p, "f32"))


def global_pool(g: Graph, kind: str, x: Value, p: int = 2) -> Value:
    """Return the ``mean``, ``max`` or ``lp`` norm over all places."""
    axes = tuple(range(2, len(x.shape)))
    if kind == "max":
        return g.reduce("max", x, axes, keep=True)
    if kind == "lp":
        total = g.reduce("sum", power(g, g.map("abs", x), constant(p, "f32")), axes, keep=True)
        return power(g, total, constant(1 / p, "f32"))
    count = math.prod(x.shape[2:])
    if not count:
        raise RefusedError("the mean of no elements")
    return g.map("div", g.reduce("sum", x, axes, keep=True), float(count))


def pool_places(
    shape: Sequence[int], size: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """Return the windows along each axis of a padded value."""
    return [places_of(*axis) for axis in zip(shape, size, strides, dilations, strict=True)]
