"""Runs a decoder in ordinary float32 with NumPy: what a compiled model is compared with.

It is written for reading, after :mod:`.architecture`, and is not canonical: sums are NumPy's. One block's
weights are in memory at a time, and of a mixture one expert's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np

from proofcompute.arithmetic.definition import erf
from proofcompute.arrays import F32, I64, Array
from proofcompute.errors import InputError
from proofcompute.importers.architecture import Arch, Block, Latent, Mlp, Moe, Norm, Rope

__all__ = ["FloatModel", "Product", "Rows"]

Rows = Callable[[str, int, int], F32]
"""Returns rows a..b of a weight by its canonical name, such as :meth:`.Checkpoint.rows`."""
Product = Callable[[str, int, int, F32], F32]
"""Returns x W^T for rows a..b of the weight W of a name and inputs x [n, d], without bias: [n, b - a]."""

ROWS_AT_ONCE: Final = 4096
"""Rows of the head that are in memory together."""


class FloatModel:
    """A decoder in float32.

    ``product`` computes every product with a matrix; wrap :meth:`multiply` to see the inputs, or to compute
    with other weights. The embedding of tokens is no product.
    """

    def __init__(self, arch: Arch, rows: Rows, product: Product | None = None) -> None:
        self.arch = arch
        self._rows = rows
        self._product = product or self.multiply

    def multiply(self, name: str, a: int, b: int, x: F32) -> F32:
        """Return x W^T for rows a..b of the weight ``name``: the usual :data:`Product`."""
        return x @ self._rows(name, a, b).T

    def logits(self, tokens: Sequence[int] | I64) -> F32:
        """Return the logits after each token of a text: [t, v]. Raises InputError for tokens out of range."""
        (hidden,) = self.hidden([tokens])
        return self.head(hidden)

    def hidden(self, texts: Sequence[Sequence[int] | I64]) -> list[F32]:
        """Return what the head is applied to, [t, d] for each text. Each block is read once for all texts."""
        states = [self._embed(np.asarray(tokens, np.int64)) for tokens in texts]
        for i, block in enumerate(self.arch.blocks):
            run = _Block(block, f"layers.{i}.", self._cached(), self._product)
            states = [run(x) for x in states]
        norm = _Norm(self.arch.norm, "norm", self._cached())
        return [norm(x) for x in states]

    def head(self, hidden: F32) -> F32:
        """Return logits [n, v] for rows of :meth:`hidden`."""
        arch = self.arch
        name = "embedding" if arch.tied else "head"
        parts = [
            self._product(name, a, min(a + ROWS_AT_ONCE, arch.vocabulary), hidden)
            for a in range(0, arch.vocabulary, ROWS_AT_ONCE)
        ]
        logits: F32 = np.concatenate(parts, axis=1)
        if arch.head_bias:
            logits = logits + self._rows("head.bias", 0, arch.vocabulary)
        logits = logits * np.float32(arch.logit_scale)
        return _capped(logits, arch.final_softcap)

    def _embed(self, tokens: I64) -> F32:
        arch = self.arch
        longest = arch.positions or len(tokens)
        if (
            tokens.ndim != 1
            or not ((tokens >= 0) & (tokens < arch.vocabulary)).all()
            or len(tokens) > longest
        ):
            raise InputError(f"{len(tokens)} tokens of a vocabulary of {arch.vocabulary}: out of range")
        x = np.zeros((len(tokens), arch.width), np.float32)
        for token in np.unique(tokens):
            x[tokens == token] = self._rows("embedding", int(token), int(token) + 1)
        x *= np.float32(arch.embed_scale)
        if arch.positions:
            x += self._rows("positions", 0, len(tokens))
        return x

    def _cached(self) -> Vector:
        """Return a reader of vectors that remembers them."""
        known: dict[tuple[str, int], F32] = {}

        def vector(name: str, n: int, first: int = 0) -> F32:
            if (name, first) not in known:
                known[name, first] = self._rows(name, first, first + n)
            return known[name, first]

        return vector


class Vector(Protocol):
    """Returns ``n`` elements of a vector, from ``first`` on."""

    def __call__(self, name: str, n: int, first: int = 0) -> F32: ...


class _Norm:
    """A norm over the last axis."""

    def __init__(self, norm: Norm, name: str, vector: Vector) -> None:
        self._norm, self._name, self._vector = norm, name, vector

    def __call__(self, x: F32, heads: int = 0) -> F32:
        """Apply the norm; ``heads`` is the number of heads that each have weights of their own, or 0."""
        n = x.shape[-1]
        shape = (heads, n) if heads else (n,)
        size = n * (heads or 1)
        if self._norm.kind == "layer":
            x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(self._norm.eps))
        x = x * (self._vector(self._name, size) + np.float32(self._norm.offset)).reshape(shape)
        if self._norm.bias:
            x = x + self._vector(f"{self._name}.bias", size).reshape(shape)
        return x


class _Block:
    """One block of a decoder."""

    def __init__(self, block: Block, prefix: str, vector: Vector, product: Product) -> None:
        self._block, self._prefix, self._vector, self._product = block, prefix, vector, product

    def __call__(self, x: F32) -> F32:
        block, r = self._block, np.float32(self._block.residual)
        before = self._normed("attention.norm", x)
        a = self._normed("attention.post", self._attend(before)) * r
        if block.parallel:
            second = before if block.parallel == "one" else self._normed("ffn.norm", x)
            both: F32 = x + a + self._feed(second) * r
            return both
        x = x + a
        y: F32 = x + self._normed("ffn.post", self._feed(self._normed("ffn.norm", x))) * r
        return y

    def _normed(self, which: str, x: F32) -> F32:
        """Apply one of the block's norms, if it has it."""
        places = {"pre": ("norm",), "post": ("post",), "both": ("norm", "post")}[self._block.norms]
        if which.rsplit(".", 1)[1] not in places:
            return x
        return _Norm(self._block.norm, self._prefix + which, self._vector)(x)

    def _linear(self, name: str, rows: int, x: F32, *, bias: bool = False, first: int = 0) -> F32:
        """Return W x + b for rows first..first + rows of a matrix."""
        y = self._product(self._prefix + name, first, first + rows, x)
        if not bias:
            return y
        return y + self._vector(f"{self._prefix}{name}.bias", rows, first)

    # -- attention -----------------------------------------------------------------------------------------
    def _attend(self, x: F32) -> F32:
        a = self._block.attention
        q, k, v = self._latent(x, a.latent) if a.latent is not None else self._heads(x)
        mixed = np.empty((len(x), a.heads, a.v_dim), np.float32)
        sinks = self._vector(f"{self._prefix}attention.sinks", a.heads) if a.sinks else None
        row, column = np.arange(len(x))[:, None], np.arange(len(x))[None, :]
        hidden = column > row
        if a.window:
            hidden |= column <= row - a.window
        for head in range(a.heads):
            g = head * a.kv_heads // a.heads
            scores = _capped((q[:, head] @ k[:, g].T) * np.float32(a.scale), a.softcap)
            scores[hidden] = -np.inf
            mixed[:, head] = _softmax(scores, None if sinks is None else sinks[head]) @ v[:, g]
        return self._linear("attention.o", x.shape[1], mixed.reshape(len(x), -1), bias=a.o_bias)

    def _heads(self, x: F32) -> tuple[F32, F32, F32]:
        """Return queries [t, h, c], keys [t, g, c] and values [t, g, e]."""
        a = self._block.attention
        found = []
        for name, heads, columns in (
            ("q", a.heads, a.head_dim),
            ("k", a.kv_heads, a.head_dim),
            ("v", a.kv_heads, a.v_dim),
        ):
            y = self._linear(f"attention.{name}", heads * columns, x, bias=a.bias)
            if a.qk_norm and name != "v":
                y = self._head_norm(name, y, heads)
            if a.clip:
                y = np.clip(y, -np.float32(a.clip), np.float32(a.clip))
            y = y.reshape(len(x), heads, columns)
            found.append(_rotated(y, a.rope) if name != "v" else y)
        return found[0], found[1], found[2]

    def _head_norm(self, name: str, y: F32, heads: int) -> F32:
        a = self._block.attention
        if a.norm is None:
            raise InputError("attention with a norm of queries and keys does not say which")
        norm = _Norm(a.norm, f"{self._prefix}attention.{name}_norm", self._vector)
        if a.qk_norm == "full":
            return norm(y)
        return norm(y.reshape(len(y), heads, -1), heads if a.qk_norm == "heads" else 0)

    def _latent(self, x: F32, latent: Latent) -> tuple[F32, F32, F32]:
        """As :meth:`_heads`, with keys and values from a latent vector."""
        a, t = self._block.attention, len(x)
        rank, width = latent.q_rank, a.heads * a.head_dim
        if rank:
            low = self._linear("attention.q_a", rank, x, bias=a.bias)
            low = _Norm(latent.norm, f"{self._prefix}attention.q_a_norm", self._vector)(low)
            q = self._linear("attention.q_b", width, low)
        else:
            q = self._linear("attention.q", width, x)
        q = q.reshape(t, a.heads, a.head_dim)
        both = self._linear("attention.kv_a", latent.kv_rank + latent.rope, x, bias=a.bias)
        common, key = both[:, : latent.kv_rank], both[:, None, latent.kv_rank :]
        common = _Norm(latent.norm, f"{self._prefix}attention.kv_a_norm", self._vector)(common)
        kv = self._linear("attention.kv_b", a.heads * (latent.nope + a.v_dim), common)
        kv = kv.reshape(t, a.heads, latent.nope + a.v_dim)
        key = np.broadcast_to(_rotated(key, a.rope), (t, a.heads, latent.rope))
        q = np.concatenate([q[..., : latent.nope], _rotated(q[..., latent.nope :], a.rope)], axis=2)
        k = np.concatenate([kv[..., : latent.nope], key], axis=2)
        return q, k, kv[..., latent.nope :]

    # -- feed-forward --------------------------------------------------------------------------------------
    def _feed(self, x: F32) -> F32:
        ffn = self._block.ffn
        return self._mixture(ffn, x) if isinstance(ffn, Moe) else self._mlp("ffn", ffn, x)

    def _mlp(self, name: str, m: Mlp, x: F32, expert: int = 0) -> F32:
        up = self._linear(f"{name}.up", m.width, x, bias=m.bias, first=expert * m.width)
        if m.gated:
            gate = self._linear(f"{name}.gate", m.width, x, bias=m.bias, first=expert * m.width)
            if m.limit:
                limit = np.float32(m.limit)
                gate = np.minimum(gate, limit)
                up = (
                    gate * _sigmoid(np.float32(m.alpha) * gate) * (np.clip(up, -limit, limit) + np.float32(1))
                )
            else:
                up = _activated(gate, m.act) * up
        else:
            up = _activated(up, m.act)
        return self._linear(f"{name}.down", x.shape[1], up, bias=m.bias, first=expert * x.shape[1])

    def _mixture(self, moe: Moe, x: F32) -> F32:
        chosen, weights = self._routed(moe, x)
        y = np.zeros_like(x)
        for expert in np.unique(chosen):
            row, place = np.nonzero(chosen == expert)
            out = self._mlp("ffn.experts", moe.expert, x[row], int(expert))
            y[row] += out * weights[row, place, None]  # a row has an expert at most once
        if moe.shared is not None:
            shared = self._mlp("ffn.shared", moe.shared, x)
            if moe.shared_gate:
                shared = shared * _sigmoid(self._linear("ffn.shared.router", 1, x))
            y = y + shared
        return y

    def _routed(self, moe: Moe, x: F32) -> tuple[I64, F32]:
        """Return which experts each row uses, and their weights: [t, top_k] each."""
        scores = self._linear("ffn.router", moe.experts, x, bias=moe.router_bias)
        if moe.score == "sigmoid":
            scores = _sigmoid(scores)
        elif moe.when == "before":
            scores = _softmax(scores)
        choice = scores
        if moe.correction:
            choice = choice + self._vector(f"{self._prefix}ffn.correction", moe.experts)
        if moe.top_groups < moe.groups:
            choice = np.where(_best_groups(moe, choice), choice, -np.inf)
        chosen = _largest(choice, moe.top_k)
        weights: F32 = np.take_along_axis(scores, chosen, axis=1)
        if moe.score == "softmax" and moe.when == "after":
            weights = _softmax(weights)
        if moe.normalise:
            weights = weights / weights.sum(axis=1, keepdims=True)
        return chosen, weights * np.float32(moe.scaling)


def _best_groups(moe: Moe, choice: F32) -> Array:
    """Return which experts belong to the chosen groups: bool [t, experts]."""
    grouped = choice.reshape(len(choice), moe.groups, -1)
    best = np.sort(grouped, axis=2)[..., ::-1]
    value = best[..., 0] if moe.group_score == "max" else best[..., 0] + best[..., 1]
    allowed = np.zeros((len(choice), moe.groups), np.bool_)
    np.put_along_axis(allowed, _largest(value, moe.top_groups), np.True_, axis=1)
    return np.repeat(allowed, moe.experts // moe.groups, axis=1)


def _largest(x: F32, k: int) -> I64:
    """Return the positions of the k largest elements of each row; of equal ones the first."""
    order: I64 = np.argsort(-x, axis=1, kind="stable")[:, :k]
    return order


def _rotated(x: F32, rope: Rope | None) -> F32:
    """Return heads [t, h, c] with their first columns rotated by their positions."""
    if rope is None:
        return x
    freqs = np.array(rope.freqs, np.uint32).view(np.float32)
    angles = np.arange(len(x), dtype=np.float32)[:, None] * freqs
    cos, sin = (f(angles)[:, None] * np.float32(rope.scale) for f in (np.cos, np.sin))
    n = len(freqs)
    pairs = (slice(0, 2 * n, 2), slice(1, 2 * n, 2)) if rope.interleaved else (slice(0, n), slice(n, 2 * n))
    first, second = x[..., pairs[0]], x[..., pairs[1]]
    y = x.copy()
    y[..., pairs[0]] = first * cos - second * sin
    y[..., pairs[1]] = second * cos + first * sin
    return y


def _softmax(x: F32, sink: np.float32 | None = None) -> F32:
    """Return the softmax of each row; ``sink`` is one more logit, whose share is dropped."""
    most = x.max(axis=-1, keepdims=True)
    if sink is not None:
        most = np.maximum(most, sink)
    e = np.exp(x - most)
    total = e.sum(axis=-1, keepdims=True)
    if sink is not None:
        total = total + np.exp(sink - most)
    result: F32 = e / total
    return result


def _sigmoid(x: F32) -> F32:
    e: F32 = np.exp(-np.abs(x))
    result: F32 = np.where(x >= 0, np.ones_like(x), e) / (np.float32(1) + e)
    return result


def _capped(x: F32, cap: float) -> F32:
    capped: F32 = np.tanh(x / np.float32(cap)) * np.float32(cap) if cap else x
    return capped


def _activated(x: F32, kind: str) -> F32:
    half, one = np.float32(0.5), np.float32(1)
    if kind == "silu":
        return x * _sigmoid(x)
    if kind == "gelu":
        return half * x * (one + erf(x * np.float32(0.5**0.5)))
    if kind == "gelu_tanh":
        inner: F32 = np.float32((2 / np.pi) ** 0.5) * (x + np.float32(0.044715) * x * x * x)
        bent: F32 = np.tanh(inner)
        return half * x * (one + bent)
    positive: F32 = np.maximum(x, np.float32(0))
    return positive if kind == "relu" else positive * positive
