"""Launches what public proofs need: circle codes, products in the extension field, and sums of hints."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.cuda.array import DeviceArray
from proofcompute.arithmetic.backends.cuda.checks import unpacked
from proofcompute.arithmetic.backends.cuda.launcher import Given, Launcher, i32, i64
from proofcompute.arithmetic.definition.hints import check_weighed
from proofcompute.codes.circle import check_encode
from proofcompute.codes.extension import check_elements
from proofcompute.errors import LimitError
from proofcompute.freivalds.field import P31, not_canonical
from proofcompute.freivalds.hint import SummedHint, WeighedHint
from proofcompute.limits import MAX_WIDTH

__all__ = ["circle_words", "multiply", "sum_hint"]

_THREADS: Final = 256
_GRID_Y: Final = 65535


def circle_words(on: Launcher, rows: Given, bits: int, twiddles: Given) -> DeviceArray:
    """Return :func:`proofcompute.codes.circle.encode31`."""
    check_encode(rows, bits, twiddles)
    (n, length), size = rows.shape, 1 << bits
    work, factors = on.new(np.uint32, size, n), on.array(twiddles)
    if n:
        on.over("circle_load", size * n, on.array(rows), i64(n), i64(length), i64(size), work)
        for level in range(bits - 1, -1, -1):
            on.over("circle_level", n * size // 2, work, factors, i64(n), i32(bits), i32(level))
    return work


def multiply(on: Launcher, x: Given, y: Given) -> DeviceArray:
    """Return :func:`proofcompute.codes.extension.multiply`."""
    if x.shape[-1] == 1:
        x, y = y, x
    check_elements(x, y)
    out = on.new(np.uint64, *x.shape)
    n, one = x.shape[1], y.shape[1] == 1
    if n:
        on.over("multiply_extension", n, on.array(x), on.array(y), i64(n), i32(int(one)), out)
    return out


def sum_hint(k: Any, on: Launcher, hint: WeighedHint) -> SummedHint:
    """Return :func:`proofcompute.arithmetic.definition.hints.sum_hint`; ``k`` are the device's kernels.

    Extremes and sums come to the host, where whoever checks needs them.
    """
    n, m = check_weighed(hint)
    packed, shifts, r, sx, sw, bias, residual = hint
    if r.size and int(r.max()) >= P31:
        raise not_canonical()
    if n > MAX_WIDTH or r.shape[1] > _GRID_Y:
        raise LimitError(f"sums of {n} rows under {r.shape[1]} random rows")
    values, limits, sums = [], [], []
    for (bits, data), rows in zip(packed, r, strict=True):
        found = unpacked(on, data, bits, n * m)
        blocks = min(-(-n * m // _THREADS), on.device.blocks)
        limit, u = on.new(np.int32, blocks, 2), on.new(np.uint32, len(rows), m)
        on.blocks("extremes", (blocks,), found, i64(n * m), limit)
        on.blocks("weigh31", (-(-m // _THREADS), len(rows)), found, on.array(rows), i64(n), i64(m), u)
        values.append(found)
        limits.append(limit)
        sums.append(u)
    acc = k.concatenate([x.reshape(1, n, m) for x in values])
    y = k.rescale(acc, shifts, sx, sw, bias)
    scales: object = sx
    y = y if isinstance(scales, DeviceArray) else on.fetch(y)  # where its scales are
    extremes = [(int(x[:, 0].min()), int(x[:, 1].max())) for x in map(on.fetch, limits)]
    combined = np.stack([on.fetch(x) for x in sums])
    return SummedHint(extremes, combined, y if residual is None else k.add(residual, y))
