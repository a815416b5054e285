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

    Each place of the window is a product of what lies there, which is a view, with that place's weights: no
    window is written out.
    """
    out, inner, *size = w.shape
    seen = [places_of(*axis) for axis in zip(x.shape[1:-1], size, strides, dilations, strict=True)]
    if min(seen, default=1) < 1:
        raise RefusedError(f"windows {size} are larger than {list(x.shape[1:-1])}")
    places = list(np.ndindex(*size))
    if len(places) > 1:
        x = np.ascontiguousarray(x)  # rows of channels are read once for each place

    def part(place: Sequence[int]) -> Array:
        """Return what lies in one place of all windows: [samples, windows ..., groups, channels of one]."""
        at = zip(place, strides, dilations, seen, strict=True)
        found = x[(slice(None), *(slice(i * a, i * a + (n - 1) * s + 1, s) for i, s, a, n in at))]
        return found.reshape(*found.shape[:-1], groups, inner)

    def made(limbs: int, weight_limbs: int) -> Array:
        flat = np.moveaxis(w, 1, -1).reshape(out, math.prod(size) * inner)
        weights = (rounded(flat) if weight_limbs == 1 else flat).reshape(out, *size, inner)
        scale: Array | None = None
        if limbs == 1:
            largest = [np.abs(part(place)).max(axis=-1, keepdims=True) for place in places]
            scale = scale_of(np.maximum.reduce(largest))
        total: Array | None = None
        for place in places:
            there = part(place) if scale is None else rounded(part(place), scale=scale)
            found = _product(there, weights[(slice(None), *place)])
            total = found if total is None else np.add(total, found, out=total)
        if total is None:
            raise RefusedError("a window without places")
        return total

    if g.study is None or in_floats(math.prod(size), inner, groups):
        return made(2, 2)
    return g.study.product(g.name(), made)


def _product(x: Array, w: Array) -> Array:
    """Return the products [..., out] of groups of channels [..., groups, inner] with weights [out, inner]."""
    *rest, groups, inner = x.shape
    by = w.reshape(groups, len(w) // groups, inner)
    if inner == 1 and groups > 1:
        return np.asarray((x * by[..., 0]).reshape(*rest, len(w)))
    if groups == 1:
        return np.asarray(x[..., 0, :] @ by[0].T)
    found = np.moveaxis(x, -2, -3) @ by.transpose(0, 2, 1)
    return np.moveaxis(found, -3, -2).reshape(*rest, len(w))
