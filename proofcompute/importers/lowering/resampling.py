"""Lowers resizing, and sampling at places that a row says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proofcompute.arrays import I64, Array
from proofcompute.importers.lowering.graph import Graph, Operand
from proofcompute.importers.lowering.moves import gather
from proofcompute.importers.lowering.values import Constant, RefusedError, Value, constant

__all__ = ["Resize", "grid_sample", "resize_axis"]


@dataclass(frozen=True)
class Resize:
    """How an axis is resized."""

    mode: str
    """``nearest``, ``linear`` or ``cubic``."""
    coordinates: str = "half_pixel"
    """How a place of the result becomes one of the input, by ONNX's names."""
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    extrapolation: float = 0.0


def _places(how: Resize, n: int, out: int, scale: float, roi: tuple[float, float]) -> Array:
    """Return the place in the input of each place of the result."""
    at = np.arange(out, dtype=np.float64)
    kind = how.coordinates
    if kind == "asymmetric":
        return at / scale
    if kind == "align_corners":
        return at * (n - 1) / (n * scale - 1) if n * scale > 1 else 0 * at
    if kind == "pytorch_half_pixel":
        return (at + 0.5) / scale - 0.5 if out > 1 else 0 * at
    if kind == "tf_crop_and_resize":
        a, b = roi
        if out > 1:
            return a * (n - 1) + at * (b - a) * (n - 1) / (out - 1)
        return 0 * at + 0.5 * (a + b) * (n - 1)
    if kind == "half_pixel_symmetric":
        adjustment = out / (n * scale)
        return n / 2 * (1 - adjustment) + (at + 0.5) / scale - 0.5
    if kind == "half_pixel":
        return (at + 0.5) / scale - 0.5
    if kind == "tf_half_pixel_for_nn":
        return (at + 0.5) / scale
    raise RefusedError(f"coordinates {kind!r}")


def _cubic(t: Array, a: float) -> Array:
    t = np.abs(t)
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _taps(how: Resize, n: int, at: Array, scale: float) -> tuple[I64, Array]:
    """Return the entries of the input that each place reads [out, taps], and their weights."""
    if how.mode == "nearest":
        rounded = {
            "round_prefer_floor": np.ceil(at - 0.5),
            "round_prefer_ceil": np.floor(at + 0.5),
            "floor": np.floor(at),
            "ceil": np.ceil(at),
        }.get(how.nearest)
        if rounded is None:
            raise RefusedError(f"nearest mode {how.nearest!r}")
        return np.clip(rounded, 0, n - 1).astype(np.int64)[:, None], np.ones((len(at), 1))
    reach = 1.0 if how.mode == "linear" else 2.0
    shrink = min(scale, 1.0) if how.antialias else 1.0
    half = math.ceil(reach / shrink)
    first = np.floor(at).astype(np.int64) - half + 1
    taps = first[:, None] + np.arange(2 * half)
    distance = (taps - at[:, None]) * shrink
    if how.mode == "linear":
        weights = np.maximum(0.0, 1 - np.abs(distance))
    else:
        weights = _cubic(distance, how.cubic)
    if how.exclude_outside:
        weights = np.where((taps < 0) | (taps > n - 1), 0.0, weights)
    if how.antialias or how.exclude_outside:
        total = weights.sum(1, keepdims=True)
        weights = weights / np.where(total == 0, 1, total)
    return np.clip(taps, 0, n - 1), weights


def resize_axis(
    g: Graph,
    x: Value,
    axis: int,
    out: int,
    scale: float,
    how: Resize,
    roi: tuple[float, float] = (0.0, 1.0),
) -> Value:
    """Return x with an axis resized to ``out`` entries: look-ups by constant numbers, times weights."""
    n = x.shape[axis]
    if not (1 <= out <= 1 << 24 and n and scale > 0 and math.isfinite(scale)):
        raise RefusedError(f"an axis of {n} resized to {out}, by a scale of {scale}")
    at = _places(how, n, out, scale, roi)
    taps, weights = _taps(how, n, at, scale)
    if taps.shape[1] > 256:
        raise RefusedError(f"{taps.shape[1]} elements for each of a resized axis")
    used = np.abs(weights).sum(0) != 0
    taps, weights = taps[:, used], weights[:, used]
    rank = len(x.shape)
    if taps.shape[1] == 1 and (weights == 1).all():
        made = (
            x if np.array_equal(taps[:, 0], np.arange(n)) else gather(g, x, constant(taps[:, 0], "i64"), axis)
        )
    else:
        wide = gather(g, x, constant(taps, "i64"), axis)
        shape = [1] * (rank + 1)
        shape[axis : axis + 2] = taps.shape
        scaled = g.map("mul", wide, constant(weights.reshape(shape), x.dtype))
        made = g.reduce("sum", scaled, (axis + 1,))
    if how.coordinates == "tf_crop_and_resize":
        outside = (at < 0) | (at > n - 1)
        if outside.any():
            shape = [1] * rank
            shape[axis] = out
            made = g.select(constant(outside.reshape(shape), "bool"), how.extrapolation, made)
    return made


def _denormalised(g: Graph, at: Value, n: int, *, corners: bool) -> Value:
    """Return places from -1 .. 1 as places from 0 on."""
    if corners:
        return g.map("mul", g.map("add", at, 1.0), (n - 1) / 2)
    return g.map("sub", g.map("mul", g.map("add", at, 1.0), n / 2), 0.5)


def _reflected(g: Graph, at: Value, low: float, high: float) -> Value:
    """Return places reflected at both ends until they are inside."""
    width = high - low
    if width == 0:
        return g.map("mul", at, 0.0)
    away = g.map("abs", g.map("sub", at, low))
    turns = g.map("floor", g.map("div", away, width))
    rest = g.map("sub", away, g.map("mul", turns, width))
    odd = g.map("sub", turns, g.map("mul", g.map("floor", g.map("mul", turns, 0.5)), 2.0))
    return g.select(g.map("eq", odd, 0.0), g.map("add", rest, low), g.map("sub", high, rest))


def _inside(g: Graph, at: Value, n: int, padding: str, *, corners: bool) -> tuple[Value, Value | None]:
    """Return places as numbers inside an axis, and which were inside already where outside is zero."""
    if padding == "zeros":
        within = g.map("and", g.map("le", 0.0, at), g.map("le", at, float(n - 1)))
        return g.map("min", g.map("max", at, 0.0), float(n - 1)), within
    if padding == "reflection":
        at = _reflected(g, at, 0.0, n - 1.0) if corners else _reflected(g, at, -0.5, n - 0.5)
    elif padding != "border":
        raise RefusedError(f"padding {padding!r}")
    return g.map("min", g.map("max", at, 0.0), float(n - 1)), None


def _weights(g: Graph, t: Value, mode: str) -> list[tuple[int, Operand]]:
    """Return the entries around a place, by distance from its floor, and their weights; t is the rest."""
    if mode == "nearest":
        return [(0, 1.0)]
    if mode == "linear":
        return [(0, g.map("sub", 1.0, t)), (1, t)]
    a = -0.75
    found: list[tuple[int, Operand]] = []
    for i in (-1, 0, 1, 2):
        d = g.map("abs", g.map("sub", t, float(i)))
        near = ((a + 2, -(a + 3)), (0.0, 1.0)) if i in (0, 1) else ((a, -5 * a), (8 * a, -4 * a))
        (c3, c2), (c1, c0) = near
        value = g.map("add", g.map("mul", d, c3), c2)
        for c in (c1, c0):
            value = g.map("add", g.map("mul", value, d), c)
        found.append((i, value))
    return found


def grid_sample(g: Graph, x: Value, grid: Value, mode: str, padding: str, *, corners: bool) -> Value:
    """Return x [n, c, places ...] at the places that grid [n, out ..., axes] says, the last axis first."""
    samples, channels, *shape = x.shape
    count = len(shape)
    out = grid.shape[1:-1]
    if grid.shape[-1] != count or grid.shape[0] != samples or mode not in ("nearest", "linear", "cubic"):
        raise RefusedError(f"places {list(grid.shape)} of {list(x.shape)}, mode {mode!r}")
    axes = []
    for i, n in enumerate(shape):
        spot = g.reshape(g.slice(grid, len(grid.shape) - 1, count - 1 - i, count - i), (samples, *out))
        at = _denormalised(g, spot, n, corners=corners)
        if padding != "zeros" and mode != "cubic":
            at, _ = _inside(g, at, n, padding, corners=corners)
        floor = g.map("rint" if mode == "nearest" else "floor", at)
        taps = []
        for step, weight in _weights(g, g.map("sub", at, floor), mode):
            number, within = _inside(g, g.map("add", floor, float(step)), n, padding, corners=corners)
            taps.append((g.cast(number, "i64"), within, weight))
        axes.append(taps)
    rank = len(x.shape)
    flat = g.reshape(g.transpose(x, (0, *range(2, rank), 1)), (samples * math.prod(shape), channels))
    start = constant(np.arange(samples).reshape(-1, *(1,) * count) * math.prod(shape), "i64")
    total: Value | None = None
    for chosen in _product(axes):
        place: Value = Constant(np.zeros((), np.int64), "i64")
        factor: Operand = 1.0
        good: Value | None = None
        for (index, within, weight), n in zip(chosen, shape, strict=True):
            place = g.map("add", g.map("mul", place, n), index)
            factor = weight if factor == 1.0 else factor if weight == 1.0 else g.map("mul", factor, weight)
            if within is not None:
                good = within if good is None else g.map("and", good, within)
        value = g.take(flat, g.map("add", place, start))
        if good is not None:
            value = g.select(g.reshape(good, (*good.shape, 1)), value, 0.0)
        if isinstance(factor, Value):
            value = g.map("mul", value, g.reshape(factor, (*factor.shape, 1)))
        total = value if total is None else g.map("add", total, value)
    if total is None:
        raise RefusedError("no places")
    return g.transpose(total, (0, len(out) + 1, *range(1, len(out) + 1)))


def _product(
    axes: Sequence[Sequence[tuple[Value, Value | None, Operand]]],
) -> list[list[tuple[Value, Value | None, Operand]]]:
    found: list[list[tuple[Value, Value | None, Operand]]] = [[]]
    for taps in axes:
        found = [[*before, tap] for before in found for tap in taps]
    return found
