"""Runs a decoder or an encoder in ordinary float32 with NumPy: what a compiled model is compared with.

It is written for reading, after :mod:`proofcompute.importers.architecture`, and is not canonical: sums are
NumPy's. All texts go through a block together, so each weight is read once; one weight is in memory at a
time, and of a mixture one expert's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from proofcompute.arrays import F32, I64
from proofcompute.errors import InputError
from proofcompute.importers.architecture import Arch, Block, Encoder
from proofcompute.importers.float_model.attention import attend
from proofcompute.importers.float_model.feeding import feed
from proofcompute.importers.float_model.weights import Product, Rows, Weights, capped

__all__ = ["FloatModel", "Product", "Rows"]

ROWS_AT_ONCE: Final = 4096
"""Rows of the head that are in memory together."""


class FloatModel:
    """A decoder or an encoder in float32.

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

    def hidden(
        self, texts: Sequence[Sequence[int] | I64], types: Sequence[Sequence[int]] | None = None
    ) -> list[F32]:
        """Return what the head is applied to, [t, d] for each text; of an encoder the last hidden states.

        ``types`` are token types, all 0 if they are not given.

        Raises InputError for tokens out of range, and for a text longer than the model's learned positions.
        """
        encoder = self.arch.encoder
        patches = encoder is not None and encoder.patches is not None
        tokens: list[Any] = [np.asarray(text, np.float32 if patches else np.int64) for text in texts]
        bounds = np.cumsum([0, *(len(text) for text in tokens)])
        spans = [slice(int(a), int(b)) for a, b in pairwise(bounds)]
        if not spans:
            return []
        x = np.concatenate([self._patches(text) if patches else self._embed(text) for text in tokens])
        if self.arch.encoder is not None:
            x = self._typed(self.arch.encoder, x, types)
        for i, block in enumerate(self.arch.blocks):
            x = _through(block, Weights(f"layers.{i}.", self._rows, self._product), x, spans)
        if self.arch.encoder is None or self.arch.encoder.final_norm:
            x = Weights("", self._rows, self._product).norm(self.arch.norm, "norm", x)
        return [x[span] for span in spans]

    def _patches(self, patches: F32) -> F32:
        """Return rows of patches [n, channels, size, size]; what the first holds is not looked at."""
        weight = self._rows("patches", 0, self.arch.width)
        x: F32 = patches.reshape(len(patches), -1) @ weight.reshape(len(weight), -1).T
        x += self._rows("patches.bias", 0, self.arch.width)
        x[:1] = self._rows("cls", 0, 1)
        x += self._rows("positions", 0, len(x))
        return x

    def _typed(self, encoder: Encoder, x: F32, types: Sequence[Sequence[int]] | None) -> F32:
        """Add the vectors of token types, and normalise."""
        if encoder.types:
            table = self._rows("types", 0, encoder.types)
            x = x + table[np.concatenate([np.asarray(t, np.int64) for t in types]) if types else 0]
        if encoder.embedding_norm:
            x = Weights("", self._rows, self._product).norm(self.arch.norm, "embedding.norm", x)
        return x

    def embeddings(
        self, texts: Sequence[Sequence[int] | I64], types: Sequence[Sequence[int]] | None = None
    ) -> list[F32]:
        """Return what an encoder gives for each text: [1, d] if it pools, else [t, d]. Raises as hidden."""
        encoder, found = self.arch.encoder, self.hidden(texts, types)
        if encoder is None:
            raise InputError("only an encoder has embeddings")
        if not encoder.pool:
            return found
        pools = {"first": lambda x: x[:1], "last": lambda x: x[-1:]}
        pools |= {"max": lambda x: x.max(0, keepdims=True), "mean": lambda x: x.mean(0, keepdims=True)}
        pooled: list[F32] = [pools[encoder.pool](x) for x in found]
        if not encoder.normalise:
            return pooled
        return [x / np.maximum(np.linalg.norm(x), np.float32(1e-12)) for x in pooled]

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
        return capped(logits, arch.final_softcap)

    def _embed(self, tokens: I64) -> F32:
        arch, n = self.arch, tokens.size
        if tokens.ndim != 1 or (n and not 0 <= tokens.min() <= tokens.max() < arch.vocabulary):
            raise InputError(f"a text is a row of tokens from 0 to {arch.vocabulary - 1}")
        first = 0 if arch.encoder is None else arch.encoder.first_position
        if arch.positions and first + n > arch.positions:
            raise InputError(f"a text of {n} tokens; the model has {arch.positions - first} positions")
        x = np.zeros((n, arch.width), np.float32)
        for token in np.unique(tokens):
            x[tokens == token] = self._rows("embedding", int(token), int(token) + 1)
        x *= np.float32(arch.embed_scale)
        if arch.positions:
            x += self._rows("positions", first, first + n)
        return x


def _through(block: Block, w: Weights, x: F32, spans: Sequence[slice]) -> F32:
    """Return rows of all texts after a block."""
    pre, post = block.norms in ("pre", "both"), block.norms in ("post", "both")
    if block.norms in ("after", "ffn"):
        return _encoded(block, w, x, spans)
    r = np.float32(block.residual)

    def normed(there: bool, name: str, rows: F32) -> F32:
        return w.norm(block.norm, name, rows) if there else rows

    before = normed(pre, "attention.norm", x)
    a = normed(post, "attention.post", attend(block.attention, w, before, spans)) * r
    if block.parallel:
        second = before if block.parallel == "one" else normed(pre, "ffn.norm", x)
        both: F32 = x + a + feed(block.ffn, w, second) * r
        return both
    x = x + a
    y: F32 = x + normed(post, "ffn.post", feed(block.ffn, w, normed(pre, "ffn.norm", x))) * r
    return y


def _encoded(block: Block, w: Weights, x: F32, spans: Sequence[slice]) -> F32:
    """Return rows of all texts after a block whose norms are those of encoders only."""
    if block.norms == "after":
        x = w.norm(block.norm, "attention.post", x + attend(block.attention, w, x, spans))
        return w.norm(block.norm, "ffn.post", x + feed(block.ffn, w, x))
    x = x + attend(block.attention, w, x, spans)
    y: F32 = x + feed(block.ffn, w, w.norm(block.norm, "ffn.norm", x))
    return y
