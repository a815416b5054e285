"""Evaluates convolutions of constants by NumPy's own products: most of the work of choosing a precision."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from proofcompute.arrays import Array
from proofcompute.importers.lowering.graph import Graph, rounded, scale_of
from proofcompute.importers.lowering.values import RefusedError
from proofcompute.models.building.products import in_floats

__all__ = ["convolved", "places_of"]


def places_of(n: int, size: int, stride: int, dilation: int) -> int:
    """Return how many windows fit into n places."""
    return (n - (size - 1) * dilation - 1) // stride + 1


def convolved(
    g: Graph, x: Array, w: Array, strides: Sequence[int], dilations: Sequence[int], groups: int
) -> Array:
    """Convolve constants [samples, places ..., channels] by NumPy's products.

    No window is written out: each place of the window is one product of all rows of channels, which begin as
    many rows later as the place is away, with that place's weights. Rows where a window would reach over the
    margin are computed too, and left out.
    """
    out, inner, *size = w.shape
    seen = [places_of(*axis) for axis in zip(x.shape[1:-1], size, strides, dilations, strict=True)]
    if min(seen, default=1) < 1:
        raise RefusedError(f"windows {size} are larger than {list(x.shape[1:-1])}")
    rows = _Rows(x, size, strides, dilations)
    count = rows.count(seen)

    def made(limbs: int, weight_limbs: int) -> Array:
        flat = np.moveaxis(w, 1, -1).reshape(out, math.prod(size) * inner)
        weights = (rounded(flat) if weight_limbs == 1 else flat).reshape(out, *size, inner)
        scale: Array | None = None
        if limbs == 1:
            scale = scale_of(rows.largest(groups, count))[..., None]
        total: Array | None = None
        for place in np.ndindex(*size):
            there = rows.at(place, count).reshape(count, groups, inner)
            if scale is not None:
                there = rounded(there, scale=scale)
            found = _product(there, weights[(slice(None), *place)])
            total = found if total is None else np.add(total, found, out=total)
        if total is None:
            raise RefusedError("a window without places")
        return rows.windows(total, seen)

    if g.study is None or in_floats(math.prod(size), inner, groups):
        return made(2, 2)
    return g.study.product(g.name(), made)


class _Rows:
    """Rows of channels, those that a stride leaves between each other in an array of their own."""

    def __init__(self, x: Array, size: Sequence[int], strides: Sequence[int], dilations: Sequence[int]):
        self._x, self._size, self._strides, self._dilations = x, size, strides, dilations
        self._lengths = [-(-n // s) for n, s in zip(x.shape[1:-1], strides, strict=True)]
        self._steps = [math.prod(self._lengths[i + 1 :]) for i in range(len(self._lengths))]
        self._parts: dict[tuple[int, ...], Array] = {}

    def count(self, seen: Sequence[int]) -> int:
        """Return how many rows there are from the first window to the last one of the last sample."""
        last = sum((n - 1) * step for n, step in zip(seen, self._steps, strict=True))
        return int((len(self._x) - 1) * math.prod(self._lengths) + last + 1)

    def _part(self, place: Sequence[int]) -> tuple[tuple[int, ...], int]:
        """Return in which part a place of the window lies, and how many rows after the window begins."""
        away = [divmod(i * a, s) for i, a, s in zip(place, self._dilations, self._strides, strict=True)]
        first = tuple(rest for _, rest in away)
        if first not in self._parts:
            part = self._x[
                (slice(None), *(slice(f, None, s) for f, s in zip(first, self._strides, strict=True)))
            ]
            missing = [n - m for n, m in zip(self._lengths, part.shape[1:-1], strict=True)]
            if any(missing):
                part = np.pad(part, [(0, 0), *((0, m) for m in missing), (0, 0)])
            elif math.prod(self._size) > 1:
                part = np.ascontiguousarray(part)
            self._parts[first] = part.reshape(-1, part.shape[-1])
        return first, sum(whole * step for (whole, _), step in zip(away, self._steps, strict=True))

    def at(self, place: Sequence[int], count: int) -> Array:
        """Return what lies in a place of all windows: [count, channels]."""
        part, offset = self._part(place)
        return self._parts[part][offset : offset + count]

    def largest(self, groups: int, count: int) -> Array:
        """Return the largest absolute numbers of windows [count, groups]."""
        found: Array | None = None
        sizes: dict[tuple[int, ...], Array] = {}
        for place in np.ndindex(*self._size):
            part, offset = self._part(place)
            if part not in sizes:
                rows = self._parts[part]
                sizes[part] = np.abs(rows).reshape(len(rows), groups, -1).max(axis=-1)
            there = sizes[part][offset : offset + count]
            found = there.copy() if found is None else np.maximum(found, there, out=found)
        if found is None:
            raise RefusedError("a window without places")
        return found

    def windows(self, total: Array, seen: Sequence[int]) -> Array:
        """Return the results of rows [count, out] as those of windows [samples, windows ..., out]."""
        whole = np.empty((len(self._x) * math.prod(self._lengths), total.shape[-1]), total.dtype)
        whole[: len(total)] = total
        shaped = whole.reshape(len(self._x), *self._lengths, total.shape[-1])
        return np.asarray(shaped[(slice(None), *(slice(n) for n in seen))])


def _product(x: Array, w: Array) -> Array:
    """Return the products [n, out] of rows of groups [n, groups, inner] with weights [out, inner]."""
    n, groups, inner = x.shape
    by = w.reshape(groups, len(w) // groups, inner)
    if inner == 1 and groups > 1:
        return np.asarray((x * by[..., 0]).reshape(n, len(w)))
    if groups == 1:
        return np.asarray(x[:, 0] @ by[0].T)
    return (x.transpose(1, 0, 2) @ by.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(n, len(w))
