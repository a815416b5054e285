"""Lowers convolutions. Values are [samples, channels, places ...], and are computed channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from proofcompute.arrays import Array
from proofcompute.importers.lowering.evaluating import convolved, places_of
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.products import contract, linear
from proofcompute.importers.lowering.values import STORED, Constant, RefusedError, Row, Value
from proofcompute.limits import MAX_RANK, MAX_WIDTH
from proofcompute.models.building.products import in_floats
from proofcompute.program.operations import Linear, contiguous

__all__ = [
    "channels_first",
    "channels_last",
    "conv",
    "conv_transpose",
    "integer_conv",
    "places_of",
    "windowed",
]

_MOST_SAMPLES: Final = 64
"""Samples that are convolved one by one, where all at once would have too many axes."""
_MOST_TERMS: Final = 1 << 22
"""Float products of a convolution that are made before they are summed."""


def channels_last(g: Graph, x: Value) -> Value:
    """Return [samples, places ..., channels]."""
    rank = len(x.shape)
    return g.transpose(x, (0, *range(2, rank), 1))


def channels_first(g: Graph, x: Value) -> Value:
    """Return [samples, channels, places ...]."""
    rank = len(x.shape)
    return g.transpose(x, (0, rank - 1, *range(1, rank - 1)))


def windowed(
    g: Graph,
    x: Value,
    size: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    places: Sequence[int] | None = None,
) -> Value:
    """Return the windows of a value [samples, places ..., channels] that has its margins already.

    The result is [samples, *places, *size, channels].
    """
    count = len(size)
    axes = list(zip(x.shape[1:-1], size, strides, dilations, strict=True))
    if any(k < 1 or s < 1 or a < 1 for _, k, s, a in axes):
        raise RefusedError(f"windows {list(size)} with strides {list(strides)}")
    seen = tuple(places_of(*axis) for axis in axes) if places is None else tuple(places)
    if min(seen, default=1) < 1:
        raise RefusedError(f"windows {list(size)} are larger than {list(x.shape[1:-1])}")
    step = contiguous(x.shape)
    inner = step[1:-1]
    shape = (x.shape[0], *seen, *size, x.shape[-1])
    if len(shape) > MAX_RANK:
        raise RefusedError(f"windows over {count} axes of places")
    by = (
        step[0],
        *(s * f for s, f in zip(inner, strides, strict=True)),
        *(s * f for s, f in zip(inner, dilations, strict=True)),
        step[-1],
    )
    return g.strided(x, shape, by)


def _margins(low: Sequence[int], high: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (0, *low, 0), (0, *high, 0)


def conv(
    g: Graph,
    x: Value,
    w: Value,
    bias: Value | None,
    *,
    strides: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    dilations: Sequence[int],
    groups: int,
) -> Value:
    """Return the convolution of x [n, c, places ...] with w [out, c / groups, window ...].

    With constant weights it is one product whose rows are the windows, each with a scale of its own; sums of
    at most FLOAT_CONTRACTION products, and of one channel each, are made in floats.
    """
    out, inner, *size = w.shape
    if len(w.shape) != len(x.shape) or inner * groups != x.shape[1] or out % max(1, groups):
        raise RefusedError(f"weights {list(w.shape)} in {groups} groups do not fit {list(x.shape)}")
    last = channels_last(g, x)
    if isinstance(w, Constant) and isinstance(bias, Constant | None) and isinstance(last, Row):
        inside = [max(0, p) for p in low], [max(0, p) for p in high]
        cut = g.pad(last, *_margins([min(0, p) for p in low], [min(0, p) for p in high]))
        if isinstance(cut, Row):
            made = _constant_conv(g, cut, w, bias, strides, *inside, dilations, groups)
            return channels_first(g, made)
    seen = g.pad(last, *_margins(low, high))
    if g.quick and isinstance(seen, Constant) and isinstance(w, Constant):
        quick = Constant(convolved(g, seen.array, w.array, strides, dilations, groups), x.dtype)
        return channels_first(g, quick if bias is None else g.map("add", quick, bias))
    windows = windowed(g, seen, size, strides, dilations)
    places = windows.shape[1 : 1 + len(size)]
    turned = g.transpose(w, (0, *range(2, len(w.shape)), 1))
    parts = []
    for i in range(groups):
        part = g.slice(windows, len(windows.shape) - 1, i * inner, (i + 1) * inner)
        rows = g.reshape(part, (x.shape[0], *places, math.prod(size) * inner))
        here = g.slice(turned, 0, i * out // groups, (i + 1) * out // groups)
        flat = g.reshape(here, (out // groups, math.prod(size) * inner))
        parts.append(linear(g, rows, flat))
    made = g.concat(parts, len(places) + 1)
    return channels_first(g, made if bias is None else g.map("add", made, bias))


def _constant_conv(
    g: Graph,
    x: Row,
    w: Constant,
    bias: Constant | None,
    strides: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    dilations: Sequence[int],
    groups: int,
) -> Value:
    """Convolve a row [samples, places ..., channels]; several samples are places of one more axis."""
    samples, *places, channels = x.shape
    array = np.moveaxis(np.asarray(w.array, np.float32), 1, -1)
    if not np.isfinite(array).all():
        raise RefusedError("a weight is NaN or infinite")
    size = array.shape[1:-1]
    whole = [n + a + b for n, a, b in zip(places, low, high, strict=True)]
    seen = [places_of(*axis) for axis in zip(whole, size, strides, dilations, strict=True)]
    if min(seen) < 1:
        raise RefusedError(f"windows {list(size)} are larger than {places}")
    if samples > 1 and 2 * len(size) + 3 > MAX_RANK:
        if samples > _MOST_SAMPLES:
            raise RefusedError(f"{samples} samples of {len(size)} axes of places")
        each = [
            _constant_conv(g, one, w, bias, strides, low, high, dilations, groups)
            for one in (g.slice(x, 0, i, i + 1) for i in range(samples))
            if isinstance(one, Row)
        ]
        return g.concat(each, 0)
    terms = math.prod(seen) * samples * array.size
    floats = in_floats(math.prod(size), array.shape[-1], groups)
    if floats and terms > _MOST_TERMS:
        padded = g.pad(x, (0, *low, 0), (0, *high, 0))
        if groups == 1:
            windows = windowed(g, padded, size, strides, dilations)
            rows = g.reshape(windows, (samples, *seen, array[0].size))
            return linear(g, rows, Constant(array.reshape(len(array), -1), w.dtype), bias)
        if groups == channels == len(array):
            return _by_taps(g, padded, array, bias, seen, strides, dilations)
    name = g.name()
    limbs, weight_limbs = g.limbs(name)
    if not floats:
        g.products.append((name, terms))
        elements = math.prod(seen) * samples * array[0].size
        if groups == 1 and elements > MAX_WIDTH:
            padded = g.pad(x, (0, *low, 0), (0, *high, 0))
            pieces = -(-2 * elements // MAX_WIDTH)
            return _in_pieces(g, padded, array, bias, seen, strides, dilations, name, pieces)
    b = None if bias is None else np.ascontiguousarray(bias.array.reshape(-1), np.float32)
    shape, pads = (*places, channels), list(zip(low, high, strict=True))
    if samples > 1:
        array, strides, dilations = array[:, None], (1, *strides), (1, *dilations)
        shape, pads = (samples, *shape), [(0, 0), *pads]
    made = g.builder.conv(
        g.tensor(g.reshape(x, shape)),
        np.ascontiguousarray(array),
        b,
        strides=tuple(strides),
        pads=pads,
        dilation=tuple(dilations),
        groups=groups,
        limbs=limbs,
        weight_limbs=weight_limbs,
        name=f"{name}.product",
    )
    return g.reshape(g.row(made, x.dtype, x.inputs), (samples, *seen, len(array)))


def _in_pieces(
    g: Graph,
    x: Value,
    array: Array,
    bias: Constant | None,
    seen: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    name: str,
    pieces: int,
) -> Value:
    """Convolve some windows along the first axis of places after the other, with one matrix."""
    limbs, weight_limbs = g.limbs(name)
    b = None if bias is None else np.ascontiguousarray(bias.array.reshape(-1), np.float32)
    flat = np.ascontiguousarray(array.reshape(len(array), -1))
    matrix = g.builder.matrix_weight(f"{name}.product.weight", flat, b, limbs=weight_limbs)
    size, step = array.shape[1:-1], -(-seen[0] // min(pieces, seen[0]))
    made = []
    for first in range(0, seen[0], step):
        count = min(step, seen[0] - first)
        reach = (count - 1) * strides[0] + (size[0] - 1) * dilations[0] + 1
        part = g.slice(x, 1, first * strides[0], first * strides[0] + reach)
        windows = windowed(g, part, size, strides, dilations)
        rows = g.reshape(windows, (*windows.shape[: 1 + len(size)], array[0].size))
        product = g.builder.apply(Linear(matrix, limbs), g.tensor(rows))
        made.append(g.row(product, x.dtype, x.inputs if isinstance(x, Row) else frozenset()))
    return g.concat(made, 1)


def _by_taps(
    g: Graph,
    x: Value,
    array: Array,
    bias: Constant | None,
    seen: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Value:
    """Convolve each channel by itself in floats, one place of the window after the other."""
    total: Value | None = None
    for tap in np.ndindex(*array.shape[1:-1]):
        part = x
        for axis, (i, s, a, n) in enumerate(zip(tap, strides, dilations, seen, strict=True)):
            part = g.slice(part, axis + 1, i * a, i * a + (n - 1) * s + 1, s)
        term = g.map("mul", part, Constant(array[(slice(None), *tap, 0)], x.dtype))
        total = term if total is None else g.map("add", total, term)
    if total is None:
        raise RefusedError("a window without places")
    return total if bias is None else g.map("add", total, bias)


def conv_transpose(
    g: Graph,
    x: Value,
    w: Value,
    bias: Value | None,
    *,
    strides: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    dilations: Sequence[int],
    groups: int,
) -> Value:
    """Return the transposed convolution of x [n, c, places ...] with w [c, out / groups, window ...].

    Zeros are put between the places of x, which is then convolved with the flipped windows. ``high`` may be
    negative, for more results at the end.
    """
    c, outs, *size = w.shape
    if len(w.shape) != len(x.shape) or c != x.shape[1] or c % max(1, groups):
        raise RefusedError(f"weights {list(w.shape)} in {groups} groups do not fit {list(x.shape)}")
    for i, stride in enumerate(strides):
        x = _spread(g, x, 2 + i, stride)
    for i in range(len(size)):
        n = w.shape[2 + i]
        w = g.slice(w, 2 + i, n - 1, -1, -1)
    grouped = g.reshape(w, (groups, c // groups, outs, *size))
    turned = g.transpose(grouped, (0, 2, 1, *range(3, 3 + len(size))))
    flat = g.reshape(turned, (groups * outs, c // groups, *size))
    reach = [(k - 1) * a for k, a in zip(size, dilations, strict=True)]
    return conv(
        g,
        x,
        flat,
        bias,
        strides=(1,) * len(size),
        low=[r - a for r, a in zip(reach, low, strict=True)],
        high=[r - b for r, b in zip(reach, high, strict=True)],
        dilations=dilations,
        groups=groups,
    )


def _spread(g: Graph, x: Value, axis: int, stride: int) -> Value:
    """Return x with ``stride`` - 1 zeros between its entries along an axis."""
    if stride == 1 or x.shape[axis] == 1:
        return x
    rank = len(x.shape)
    last = g.transpose(x, (*(a for a in range(rank) if a != axis), axis))
    n = x.shape[axis]
    wide = g.reshape(last, (*last.shape, 1))
    padded = g.pad(wide, (0,) * (rank + 1), (*(0,) * rank, stride - 1))
    joined = g.reshape(padded, (*last.shape[:-1], n * stride))
    cut = g.slice(joined, rank - 1, 0, (n - 1) * stride + 1)
    return g.transpose(cut, (*range(axis), rank - 1, *range(axis, rank - 1)))


def integer_conv(
    g: Graph,
    x: Value,
    w: Value,
    *,
    strides: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    dilations: Sequence[int],
    groups: int,
) -> Value:
    """Return the exact convolution of integers (i64), from which zero points have been subtracted."""
    out, inner, *size = w.shape
    if STORED[x.dtype] not in ("i8", "u8", "i32") or inner * groups != x.shape[1] or out % groups:
        raise RefusedError(f"integer weights {list(w.shape)} do not fit {list(x.shape)}")
    windows = windowed(g, g.pad(channels_last(g, x), *_margins(low, high)), size, strides, dilations)
    places = windows.shape[1 : 1 + len(size)]
    depth = math.prod(size) * inner
    turned = g.transpose(w, (0, *range(2, len(w.shape)), 1))
    parts = []
    for i in range(groups):
        part = g.slice(windows, len(windows.shape) - 1, i * inner, (i + 1) * inner)
        here = g.slice(turned, 0, i * out // groups, (i + 1) * out // groups)
        rows = g.reshape(part, (x.shape[0] * math.prod(places), depth))
        made = contract(g, rows, g.transpose(g.reshape(here, (out // groups, depth)), (1, 0)), 0)
        parts.append(g.reshape(made, (x.shape[0], *places, out // groups)))
    return channels_first(g, g.concat(parts, len(places) + 1))
