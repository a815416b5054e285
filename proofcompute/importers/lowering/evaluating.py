"""Evaluates convolutions of constants by NumPy's own products: most of the work of choosing a precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import as_strided

from proofcompute.arrays import Array
from proofcompute.importers.lowering.graph import Graph, rounded
from proofcompute.importers.lowering.values import RefusedError
from proofcompute.models.building.products import in_floats

__all__ = ["convolved", "places_of"]

_BLOCK: Final = 1 << 22
"""Elements of windows that are written out at once."""


def places_of(n: int, size: int, stride: int, dilation: int) -> int:
    """Return how many windows fit into n places."""
    return (n - (size - 1) * dilation - 1) // stride + 1


def convolved(
    g: Graph, x: Array, w: Array, strides: Sequence[int], dilations: Sequence[int], groups: int
) -> Array:
    """Convolve constants [samples, places ..., channels] by NumPy's products."""
    out, inner, *size = w.shape
    seen = [places_of(*axis) for axis in zip(x.shape[1:-1], size, strides, dilations, strict=True)]
    if min(seen, default=1) < 1:
        raise RefusedError(f"windows {size} are larger than {list(x.shape[1:-1])}")
    if inner == 1 and groups > 1:
        return _by_taps(x, w, seen, strides, dilations)
    step = x.strides[1:-1]
    inside = [a * b for a, b in zip(step, strides, strict=True)]
    between = [a * b for a, b in zip(step, dilations, strict=True)]
    depth, each = math.prod(size) * inner, out // groups

    def made(limbs: int, weight_limbs: int) -> Array:
        flat = np.moveaxis(w, 1, -1).reshape(out, depth)
        weights = rounded(flat) if weight_limbs == 1 else np.ascontiguousarray(flat)
        total = np.empty((len(x), *seen, out), np.float32)
        block = max(1, _BLOCK // max(1, depth * math.prod(seen[1:])))
        for sample in range(len(x)):
            for k in range(groups):
                part = x[sample : sample + 1, ..., k * inner : (k + 1) * inner]
                windows = as_strided(
                    part[0], (*seen, *size, inner), (*inside, *between, x.strides[-1]), writeable=False
                )
                columns = weights[k * each : (k + 1) * each].T
                for at in range(0, seen[0] if seen else 1, block):
                    rows = windows[at : at + block].reshape(-1, depth)
                    found = (rounded(rows) if limbs == 1 else rows) @ columns
                    there = total[sample, at : at + block, ..., k * each : (k + 1) * each]
                    there[...] = found.reshape(there.shape)
        return total

    if g.study is None or in_floats(math.prod(size), inner, groups):
        return made(2, 2)
    return g.study.product(g.name(), made)


def _by_taps(
    x: Array, w: Array, seen: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Array:
    """Convolve each channel of constants by itself."""
    channels = x.shape[-1]
    each = w.shape[0] // channels
    total = np.zeros((len(x), *seen, channels, each), np.float32)
    for tap in np.ndindex(*w.shape[2:]):
        at = zip(tap, strides, dilations, seen, strict=True)
        part = x[(slice(None), *(slice(i * a, i * a + (n - 1) * s + 1, s) for i, s, a, n in at))]
        total += part[..., None] * w[(slice(None), 0, *tap)].reshape(channels, each)
    return total.reshape(len(x), *seen, w.shape[0])
