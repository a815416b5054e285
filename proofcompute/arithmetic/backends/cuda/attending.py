"""Launches attention (``cuda/attention.cu``) in batches of rows whose scores fit the scratch memory.

Keys and values are quantised by ``cuda/quantise.cu``, as queries are.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from proofcompute.arithmetic.backends.cuda.array import DeviceArray, Position
from proofcompute.arithmetic.backends.cuda.device import Buffer
from proofcompute.arithmetic.backends.cuda.launcher import Launcher, i32, i64
from proofcompute.arithmetic.contracts import AttentionSizes
from proofcompute.arithmetic.kernels import AttentionOptions
from proofcompute.errors import ExecutionError, LimitError, NonFiniteError
from proofcompute.limits import MAX_WIDTH

__all__ = ["How", "attend", "limb_shape", "quantise_heads"]

_GRID_Z: Final = 65535
_LEVELS: Final = {1: np.float32(32639), 2: np.float32(1 << 26)}
"""What the largest weight becomes, by the limbs of values."""


_NO_END: Final = 2**31 - 1


class How(NamedTuple):
    """Where attention is, and what it computes."""

    first: int
    scale: np.float32
    window: int
    options: AttentionOptions


def limb_shape(n: int, heads: int, limbs: int, d: int) -> tuple[int, ...]:
    """Return the shape of rows of heads in limbs."""
    return (n, heads, d) if limbs == 1 else (n, heads, limbs, d)


def quantise_heads(
    on: Launcher, x: DeviceArray, heads: int, dh: int, limbs: int, latent: int
) -> tuple[DeviceArray, DeviceArray]:
    """Quantise rows [n, heads * dh], as the backend's method of this name."""
    n, parts = len(x), 2 if latent else 1
    if dh > MAX_WIDTH:
        raise LimitError(f"a row of {dh} elements; at most {MAX_WIDTH}")
    status = on.fault((1, NonFiniteError, "an input of the quantiser must be finite"))
    q = on.new(np.int8, *limb_shape(n, heads, limbs, dh))
    scale = on.new(np.float32, n, heads, *([2] if latent else []))
    on.blocks("quantise_heads", (n * heads * parts,), x, i32(dh), i32(limbs), i32(latent), q, scale, status)
    return q, scale


def _place(first: int) -> tuple[Buffer | None, int, int]:
    """Return where the device reads the first row's position, what is added to it, and a bound of the sum."""
    if isinstance(first, Position):
        return first.word, 0, first.limit - 1
    return None, first, first


def _end(options: AttentionOptions, keys: DeviceArray) -> int:
    """Return a position that no row sees, nor any later one.

    Rows of causal attention see up to their own, which a repeated launch reads from memory.
    """
    return len(keys) if options.ahead else _NO_END


def _check_scales(on: Launcher, ks: DeviceArray, vs: DeviceArray | None, n: int, h: int, how: How) -> None:
    """Check that sinks are finite, and visible scales of keys and values finite and not negative."""
    at, add, most = _place(how.first)
    sinks = None if how.options.sinks is None else on.array(how.options.sinks)
    status = on.fault(
        (16, NonFiniteError, "a sink of attention must be finite"),
        (1, NonFiniteError, "a key's scale must be finite"),
        (2, ExecutionError, "a key's scale must not be negative"),
        (4, NonFiniteError, "a value's scale must be finite"),
        (8, ExecutionError, "a value's scale must not be negative"),
    )
    widths = [x.size // len(x) for x in (ks, vs) if x is not None]
    ahead, end = how.options.ahead, _end(how.options, ks)
    most = min(most + n + ahead, end)
    seen = min(most, how.window + n + ahead) if how.window else most
    count = max(seen * max(widths), h if sinks is not None else 0)
    sizes = (i32(widths[0]), i32(widths[-1]), i32(h))
    place = (at, i32(add), i32(n), i32(how.window), i32(ahead), i32(end))
    on.over("check_scales", count, ks, vs, sinks, *sizes, *place, status)


def attend(
    on: Launcher,
    q: DeviceArray,
    keys: tuple[DeviceArray, DeviceArray],
    values: tuple[DeviceArray, DeviceArray] | None,
    size: AttentionSizes,
    how: How,
    scratch: int,
) -> DeviceArray:
    """Return attention in rows ``how.first`` on; if ``values`` is None, they are in the keys.

    There are at least one row and one head.
    """
    n, h, hk, dh, d, kl, vl = size
    options, window, (at, add, most) = how.options, how.window, _place(how.first)
    ql, latent = options.limbs, options.latent
    _check_scales(on, keys[1], None if values is None else values[1], n, h, how)
    q8, sq = quantise_heads(on, q, h, dh, ql, latent)
    out = on.new(np.float32, n, h * d)
    status = on.fault((1, NonFiniteError, "an attention score must be finite"))
    sinks = None if options.sinks is None else on.array(options.sinks)
    parts, (vq, vs), pitch = (1, values, d) if values is not None else (2, keys, dh)
    levels, cap = _LEVELS[vl], np.float32(options.softcap)
    limbs = (i32(ql), i32(kl)) if max(ql, kl) == 2 else ()
    kernel = "attention_scores_limbs" if limbs else "attention_scores"
    heads = (i32(h), i32(hk))
    ahead, end = options.ahead, _end(options, keys[0])
    step = max(1, min(n, _GRID_Z, scratch // (4 * h * min(most + n + ahead, end))))
    for a in range(0, n, step):
        rows = min(step, n - a)
        units = rows * h
        span = min(most + a + rows + ahead, end)
        if window:
            span = min(span, window + rows - 1 + ahead)
        place = (at, i32(add + a), i32(span), i32(window), i32(ahead), i32(end))
        scores, top, total = (
            on.new(np.float32, units, span),
            on.new(np.float32, units),
            on.new(np.float32, units),
        )
        acc = on.zeros(np.int64, units, d)
        grid = (-(-span // 256), h, rows)
        mine = (
            q8.buffer.part(a * h * ql * dh, units * ql * dh),
            sq.buffer.part(4 * a * h * parts, 4 * units * parts),
        )
        sizes = (*limbs, i32(latent), *heads, i32(dh), *place, np.float32(how.scale), cap)
        on.blocks(kernel, grid, *mine, *keys, *sizes, scores, status)
        weights = (scores, vs, sinks, i32(parts), levels)
        on.blocks("attention_softmax", (1, h, rows), *weights, *heads, *place, top, total)
        on.blocks("attention_mix", grid, scores, vq, i32(vl), i32(pitch), *heads, i32(d), *place, acc)
        mixed = out.buffer.part(4 * a * h * d, 4 * units * d)
        on.over("attention_finish", units * d, acc, top, total, i64(units), i32(d), levels, mixed)
    return out
