"""Attention on the device (``cuda/attention.cu``): batches of rows whose scores fit the scratch memory."""

from __future__ import annotations

from typing import Final

import numpy as np

from proofcompute.backends.cuda.device import Buffer
from proofcompute.backends.cuda.launcher import THREADS, Launcher, i32, i64
from proofcompute.errors import ExecutionError, NonFiniteError
from proofcompute.kernels import F32, I8

__all__ = ["attend", "check_scales"]

_GRID_Z: Final = 65535
_NOT_FINITE: Final = 1


def check_scales(on: Launcher, s: F32, what: str) -> None:
    """NonFiniteError if a scale is not finite, else ExecutionError if one is negative."""
    status = on.status()
    on.over("check_scales", s.size, on.put(s), i64(s.size), status)
    found = on.bits(status)
    if found & _NOT_FINITE:
        raise NonFiniteError(f"{what} must be finite")
    if found:
        raise ExecutionError(f"{what} must not be negative")


def attend(
    on: Launcher,
    queries: tuple[Buffer, Buffer],
    shape: tuple[int, int],
    kq: I8,
    ks: F32,
    vq: I8,
    vs: F32,
    first: int,
    scale: np.float32,
    window: int,
    scratch: int,
) -> F32:
    """Rows first..first+n of ``shape`` = (n, h), queries quantised; keys and values [t, hk, dh].

    Raises NonFiniteError if a visible score is not finite.
    """
    (n, h), (_, hk, dh) = shape, kq.shape
    keys, key_scales, values, value_scales = on.put(kq), on.put(ks), on.put(vq), on.put(vs)
    q8, sq = queries
    out, status = on.new(np.float32, n, h, dh), on.status()
    step = max(1, min(n, _GRID_Z, scratch // (4 * h * (first + n))))
    for a in range(0, n, step):
        rows = min(step, n - a)
        units = rows * h
        lo = max(0, first + a + 1 - window) if window else 0
        span = first + a + rows - lo
        place = (i32(first + a), i32(lo), i32(span), i32(window))
        heads = (i32(h), i32(hk), i32(dh))
        scores, top, total = (
            on.new(np.float32, units, span),
            on.new(np.float32, units),
            on.new(np.float32, units),
        )
        acc = on.device.zeros(8 * units * dh)
        grid = (-(-span // THREADS), h, rows)
        mine, scales = q8.part(a * h * dh, units * dh), sq.part(4 * a * h, 4 * units)
        on.blocks(
            "attention_scores",
            grid,
            mine,
            scales,
            keys,
            key_scales,
            *heads,
            *place,
            np.float32(scale),
            scores,
            status,
        )
        on.blocks("attention_softmax", (1, h, rows), scores, value_scales, *heads[:2], *place, top, total)
        on.blocks("attention_mix", grid, scores, values, *heads, *place, acc)
        mixed = out.part(4 * a * h * dh, 4 * units * dh)
        on.over("attention_finish", units * dh, acc, top, total, i64(units), i32(dh), mixed)
    if on.bits(status):
        raise NonFiniteError("an attention score must be finite")
    return on.get(out, np.float32, n, h * dh)  # type: ignore[no-any-return]
