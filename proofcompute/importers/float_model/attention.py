"""Attention of one block in float32, for texts of which each sees only itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proofcompute.arrays import F32
from proofcompute.errors import InputError
from proofcompute.importers.architecture import Attention, Latent, Rope
from proofcompute.importers.float_model.weights import Weights, capped, softmax

__all__ = ["attend"]


def attend(a: Attention, w: Weights, x: F32, spans: Sequence[slice]) -> F32:
    """Return what attention gives for rows of texts, which are at ``spans``."""
    positions = np.concatenate([np.arange(s.stop - s.start, dtype=np.float32) for s in spans])
    q, k, v = _latent(a, a.latent, w, x, positions) if a.latent is not None else _heads(a, w, x, positions)
    sinks = w.vector("attention.sinks", a.heads) if a.sinks else None
    mixed = np.empty((len(x), a.heads, a.v_dim), np.float32)
    for span in spans:
        row = np.arange(span.stop - span.start)
        hidden = row[None, :] > row[:, None] + a.ahead
        if a.window:
            hidden |= row[None, :] <= row[:, None] - a.window
        for head in range(a.heads if row.size else 0):
            g = head * a.kv_heads // a.heads
            scores = capped((q[span, head] @ k[span, g].T) * np.float32(a.scale), a.softcap)
            scores[hidden] = -np.inf
            mixed[span, head] = softmax(scores, None if sinks is None else sinks[head]) @ v[span, g]
    return w.linear("attention.o", x.shape[1], mixed.reshape(len(x), a.heads * a.v_dim), bias=a.o_bias)


def _heads(a: Attention, w: Weights, x: F32, positions: F32) -> tuple[F32, F32, F32]:
    """Return queries [n, h, c], keys [n, g, c] and values [n, g, e]."""
    found = []
    sizes = (("q", a.heads, a.head_dim), ("k", a.kv_heads, a.head_dim), ("v", a.kv_heads, a.v_dim))
    for name, heads, columns in sizes:
        y = w.linear(f"attention.{name}", heads * columns, x, bias=a.bias)
        if a.qk_norm and name != "v":
            y = _normed(a, w, f"attention.{name}_norm", y, heads)
        if a.clip:
            y = np.clip(y, -np.float32(a.clip), np.float32(a.clip))
        y = y.reshape(len(x), heads, columns)
        found.append(_rotated(y, a.rope, positions) if name != "v" else y)
    return found[0], found[1], found[2]


def _normed(a: Attention, w: Weights, name: str, y: F32, heads: int) -> F32:
    if a.norm is None:
        raise InputError("attention with a norm of queries and keys does not say which")
    if a.qk_norm == "full":
        return w.norm(a.norm, name, y)
    return w.norm(a.norm, name, y.reshape(len(y), heads, a.head_dim), heads if a.qk_norm == "heads" else 0)


def _latent(a: Attention, latent: Latent, w: Weights, x: F32, positions: F32) -> tuple[F32, F32, F32]:
    """As :func:`_heads`, with keys and values from a latent vector."""
    n, width = len(x), a.heads * a.head_dim
    if latent.q_rank:
        low = w.linear("attention.q_a", latent.q_rank, x, bias=a.bias)
        q = w.linear("attention.q_b", width, w.norm(latent.norm, "attention.q_a_norm", low))
    else:
        q = w.linear("attention.q", width, x)
    q = q.reshape(n, a.heads, a.head_dim)
    both = w.linear("attention.kv_a", latent.kv_rank + latent.rope, x, bias=a.bias)
    common, key = both[:, : latent.kv_rank], both[:, None, latent.kv_rank :]
    common = w.norm(latent.norm, "attention.kv_a_norm", common)
    kv = w.linear("attention.kv_b", a.heads * (latent.nope + a.v_dim), common)
    kv = kv.reshape(n, a.heads, latent.nope + a.v_dim)
    turned = _rotated(q[..., latent.nope :], a.rope, positions)
    key = np.broadcast_to(_rotated(key, a.rope, positions), (n, a.heads, latent.rope))
    q = np.concatenate([q[..., : latent.nope], turned], axis=2)
    k = np.concatenate([kv[..., : latent.nope], key], axis=2)
    return q, k, kv[..., latent.nope :]


def _rotated(x: F32, rope: Rope | None, positions: F32) -> F32:
    """Return heads [n, h, c] with their first columns rotated by their positions."""
    if rope is None:
        return x
    freqs = np.array(rope.freqs, np.uint32).view(np.float32)
    angles = positions[:, None] * freqs
    cos, sin = (f(angles)[:, None] * np.float32(rope.scale) for f in (np.cos, np.sin))
    n = len(freqs)
    pairs = (slice(0, 2 * n, 2), slice(1, 2 * n, 2)) if rope.interleaved else (slice(0, n), slice(n, 2 * n))
    first, second = x[..., pairs[0]], x[..., pairs[1]]
    y = x.copy()
    y[..., pairs[0]] = first * cos - second * sin
    y[..., pairs[1]] = second * cos + first * sin
    return y
