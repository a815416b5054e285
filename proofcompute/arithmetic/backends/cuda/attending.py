"""Launches attention (``cuda/attention.cu``) in batches of rows whose scores fit the scratch memory."""

from __future__ import annotations

from typing import Final

import numpy as np

from proofcompute.arithmetic.backends.cuda.array import DeviceArray, Position
from proofcompute.arithmetic.backends.cuda.device import Buffer
from proofcompute.arithmetic.backends.cuda.launcher import Launcher, i32, i64
from proofcompute.errors import ExecutionError, NonFiniteError

__all__ = ["attend", "check_scales"]

_GRID_Z: Final = 65535


def _place(first: int) -> tuple[Buffer | None, int, int]:
    """Return where the device reads the first row's position, what is added to it, and a bound of the sum."""
    if isinstance(first, Position):
        return first.word, 0, first.limit - 1
    return None, first, first


def check_scales(on: Launcher, ks: DeviceArray, vs: DeviceArray, first: int, n: int, window: int) -> None:
    """Check that the visible scales of keys and values, [t, hk] each, are finite and not negative."""
    at, add, most = _place(first)
    status = on.fault(
        (1, NonFiniteError, "a key's scale must be finite"),
        (2, ExecutionError, "a key's scale must not be negative"),
        (4, NonFiniteError, "a value's scale must be finite"),
        (8, ExecutionError, "a value's scale must not be negative"),
    )
    hk = ks.shape[1]
    seen = min(most + n, window + n) if window else most + n
    on.over("check_scales", seen * hk, ks, vs, i32(hk), at, i32(add), i32(n), i32(window), status)


def attend(
    on: Launcher,
    queries: tuple[DeviceArray, DeviceArray],
    shape: tuple[int, int],
    keys: tuple[DeviceArray, DeviceArray],
    values: tuple[DeviceArray, DeviceArray],
    first: int,
    scale: np.float32,
    window: int,
    scratch: int,
) -> DeviceArray:
    """Return attention in rows first..first+n. ``shape`` = (n, h); keys and values [t, hk, dh], [t, hk]."""
    (n, h), (_, hk, dh) = shape, keys[0].shape
    (q8, sq), (at, add, most) = queries, _place(first)
    out = on.new(np.float32, n, h * dh)
    status = on.fault((1, NonFiniteError, "an attention score must be finite"))
    step = max(1, min(n, _GRID_Z, scratch // (4 * h * (most + n))))
    for a in range(0, n, step):
        rows = min(step, n - a)
        units = rows * h
        span = most + a + rows
        if window:
            span = min(span, window + rows - 1)
        place = (at, i32(add + a), i32(span), i32(window))
        heads = (i32(h), i32(hk), i32(dh))
        scores, top, total = (
            on.new(np.float32, units, span),
            on.new(np.float32, units),
            on.new(np.float32, units),
        )
        acc = on.zeros(np.int64, units, dh)
        grid = (-(-span // 256), h, rows)
        mine = (q8.buffer.part(a * h * dh, units * dh), sq.buffer.part(4 * a * h, 4 * units))
        on.blocks("attention_scores", grid, *mine, *keys, *heads, *place, np.float32(scale), scores, status)
        on.blocks("attention_softmax", (1, h, rows), scores, values[1], *heads[:2], *place, top, total)
        on.blocks("attention_mix", grid, scores, values[0], *heads, *place, acc)
        mixed = out.buffer.part(4 * a * h * dh, 4 * units * dh)
        on.over("attention_finish", units * dh, acc, top, total, i64(units), i32(dh), mixed)
    return out
