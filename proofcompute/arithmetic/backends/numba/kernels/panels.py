"""Multiply panels of keys and values for :mod:`.attention`, and turn the sums into floats."""

from __future__ import annotations

from typing import Any

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen.definitions import helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import TILE_COLUMNS
from proofcompute.arithmetic.backends.numba.kernels.products import PANEL_PAIRS, fill_panel, multiply_tiles
from proofcompute.arithmetic.backends.numba.kernels.weights import HIGH_UNIT

__all__ = ["fill_values", "finish", "key_panel", "multiply_panel", "score"]


@helper
def fill_values(v: Any, first: Any, stride: Any, count: Any, columns: Any, panel: Any) -> None:
    """Set panel[i, c, e] = v[first + (2i + e) stride + c] for 2i + e < count and c < columns, else 0."""
    flat = v.reshape(v.size)
    for i in range((count + 1) // 2):
        to = panel[i].reshape(2 * TILE_COLUMNS)
        if columns < TILE_COLUMNS or 2 * i + 1 == count:
            to[:] = 0
        start = first + 2 * i * stride
        low = flat[start : start + columns]
        if 2 * i + 1 < count:
            high = flat[start + stride : start + stride + columns]
            for c in range(columns):
                to[2 * c] = low[c]
                to[2 * c + 1] = high[c]
        else:
            for c in range(columns):
                to[2 * c] = low[c]


@helper
def key_panel(kq: Any, j: Any, row: Any, count: Any, a: Any, b: Any, panel: Any) -> None:
    """Copy columns a..b of limb rows ``row`` of keys j..j+count to a panel."""
    _, rows, dh = kq.shape
    fill_panel(kq, (j * rows + row) * dh + a, rows * dh, count, b - a, panel)


@helper
def multiply_panel(qi: Any, at: Any, rows: Any, panel: Any, sums: Any) -> None:
    """Add the products of rows of queries, which begin at element ``at``, and of the keys of a panel."""
    for i in range(0, panel.shape[0], PANEL_PAIRS):
        pairs = min(PANEL_PAIRS, panel.shape[0] - i)
        multiply_tiles(qi, at + 2 * i, qi.shape[1], rows, panel[i:], pairs, sums)


@helper
def score(
    sums: Any, sq: Any, a: Any, b: Any, keys: Any, narrow: Any, add: Any, scale: Any, out: Any, to: Any
) -> None:
    """Set out[r, to + c] to f32(sums[r, c]) * (sq[a + r] * keys[c]) * scale for r < b - a.

    If ``add``, what was there is added before the scale. ``narrow`` says that sums fit int32, as those of one
    limb with one limb do for every width of a head.
    """
    scales = keys[:TILE_COLUMNS]
    for r in range(b - a):
        row = sums[r]
        factor = sq[a + r]
        scores = out[r, to : to + TILE_COLUMNS]
        if add:
            for c in range(scores.size):
                scores[c] = (scores[c] + np.float32(row[c]) * (factor * scales[c])) * scale
        elif narrow:
            for c in range(scores.size):
                scores[c] = np.float32(np.int32(row[c])) * (factor * scales[c]) * scale
        else:
            for c in range(scores.size):
                scores[c] = np.float32(row[c]) * (factor * scales[c]) * scale


@helper
def finish(sums: Any, r: Any, factor: Any, total: Any, out: Any) -> None:
    """Turn sums of weights times values into floats; +0 where the factor is 0, since the sums are then 0."""
    first = sums[0, r]
    if sums.shape[0] == 1:
        for c in range(out.size):
            out[c] = np.float32(first[c]) * factor / total
    else:
        second = sums[1, r]
        third = sums[2, r]
        fourth = sums[3, r]
        for c in range(out.size):
            high = first[c] * 256 + second[c]
            low = third[c] * 256 + fourth[c]
            out[c] = np.float32(high * HIGH_UNIT + low) * factor / total
