"""Defines what a checkpoint is, whatever the format of its file.

A reader, such as :func:`proofcompute.importers.gguf.open_gguf`, describes the network as a :class:`Decoder`
and returns its weights by canonical names. The compiler sees nothing else.

These are the canonical names and shapes, for ``L`` layers, width ``d``, ``h`` heads and ``g`` key/value heads
of ``c`` columns each, feed-forward width ``f`` and ``v`` tokens; matrices are ``[out, in]``, so ``y = W x``:

======================================  ==================
``embedding``                           ``[v, d]``
``layers.i.attention.norm``             ``[d]``
``layers.i.attention.q``                ``[h c, d]``
``layers.i.attention.k``, ``.v``        ``[g c, d]``
``layers.i.attention.o``                ``[d, h c]``
``layers.i.attention.q.bias``           ``[h c]``, only with ``qkv_bias``; likewise ``.k``, ``.v``
``layers.i.ffn.norm``                   ``[d]``
``layers.i.ffn.gate``, ``.up``          ``[f, d]``
``layers.i.ffn.down``                   ``[d, f]``
``norm``                                ``[d]``
``head``                                ``[v, d]``, absent if ``tied``
======================================  ==================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arrays import F32
from proofcompute.errors import FormatError, InputError
from proofcompute.models.vocabulary import Vocabulary

__all__ = ["Checkpoint", "Decoder", "Rope", "tensor_shapes"]


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding (Su et al. 2021, arXiv:2104.09864) of queries and keys.

    Pair i of position t is rotated by the angle ``t * base ** (-2 i / dimensions) / factors[i]``.
    """

    base: float
    """The frequency base; a binary32 value."""
    dimensions: int
    """Number of leading columns of each head that are rotated; even."""
    interleaved: bool
    """True: pair i is columns 2i and 2i + 1; False: columns i and i + dimensions / 2."""
    factors: tuple[float, ...] | None = None
    """``dimensions / 2`` divisors of the frequencies, binary32 and positive; None means all are 1."""


@dataclass(frozen=True)
class Decoder:
    """A decoder-only transformer of the Llama kind: pre-norm, RMS norm, gated feed-forward."""

    layers: int
    """Number of blocks."""
    width: int
    """Columns of the residual stream."""
    heads: int
    """Query heads."""
    kv_heads: int
    """Key and value heads; divides ``heads``."""
    head_dim: int
    """Columns of one head."""
    ffn_width: int
    """Columns inside the feed-forward layer."""
    context: int
    """The most positions that the model supports."""
    vocabulary: int
    """Number of tokens."""
    eps: float
    """Added to the mean square in every norm; a binary32 value."""
    rope: Rope
    """Position embedding."""
    tied: bool
    """Whether the embedding is also the head."""
    qkv_bias: bool = False
    """Whether queries, keys and values have a bias."""
    norm: str = "rms"
    """Kind of norm; only "rms" is supported."""
    activation: str = "silu"
    """Activation function of the gate; only "silu" is supported."""
    window: int = 0
    """Number of positions that attention reaches back; 0, the only supported value, means all of them."""


def tensor_shapes(decoder: Decoder) -> dict[str, tuple[int, ...]]:
    """Return canonical name -> shape of every weight of ``decoder``, in the order of the computation."""
    d, f = decoder.width, decoder.ffn_width
    q, kv = decoder.heads * decoder.head_dim, decoder.kv_heads * decoder.head_dim
    shapes: dict[str, tuple[int, ...]] = {"embedding": (decoder.vocabulary, d)}
    for i in range(decoder.layers):
        attention, ffn = f"layers.{i}.attention", f"layers.{i}.ffn"
        shapes[f"{attention}.norm"] = (d,)
        for name, out in (("q", q), ("k", kv), ("v", kv)):
            shapes[f"{attention}.{name}"] = (out, d)
            if decoder.qkv_bias:
                shapes[f"{attention}.{name}.bias"] = (out,)
        shapes[f"{attention}.o"] = (d, q)
        shapes[f"{ffn}.norm"] = (d,)
        shapes[f"{ffn}.gate"] = (f, d)
        shapes[f"{ffn}.up"] = (f, d)
        shapes[f"{ffn}.down"] = (d, f)
    shapes["norm"] = (d,)
    if not decoder.tied:
        shapes["head"] = (decoder.vocabulary, d)
    return shapes


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """An opened checkpoint: the description, the vocabulary, and weights read on demand."""

    decoder: Decoder
    """The network."""
    vocabulary: Vocabulary
    """Its tokens."""
    chat_template: str | None
    """Jinja template that turns messages into a prompt; None if the file has none. Untrusted."""
    name: str
    """Name of the model in the file; may be empty. Untrusted."""
    licence: str
    """Licence stated in the file; may be empty. Untrusted."""
    digest: bytes
    """SHA-256 of the whole file, 32 bytes; for a split checkpoint, SHA-256 of its parts' digests."""
    read_rows: Callable[[str, int, int], F32]
    """The format's reader of rows a..b of a tensor; call :meth:`tensor` or :meth:`rows` instead."""
    notes: tuple[str, ...] = ()
    """Guesses and corrections that were made, in sentences for the user."""
    unused: tuple[str, ...] = ()
    """Metadata keys that change nothing and were not read. Untrusted."""

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Canonical name -> shape of every tensor."""
        return tensor_shapes(self.decoder)

    def tensor(self, name: str) -> F32:
        """Return a whole tensor, float32 and C-contiguous, with the shape in the table above.

        Raises:
            InputError: there is no such tensor.
            FormatError: a weight is NaN or infinite.
            MismatchError: the file has changed since it was opened.
            StorageError: the file cannot be read.
        """
        return self.rows(name, 0, self._shape(name)[0])

    def rows(self, name: str, a: int, b: int) -> F32:
        """Return rows a..b of a tensor, so that a large one need not be in memory at once.

        Raises as :meth:`tensor`; InputError also for rows that the tensor does not have, and DeviceError if
        this thread's floating-point mode is not that of IEEE 754, on which dequantising depends.
        """
        require_ieee()
        shape = self._shape(name)
        if not 0 <= a <= b <= shape[0]:
            raise InputError(f"{name}: rows {a}..{b} of {shape[0]}")
        found = self.read_rows(name, a, b)
        if found.shape != (b - a, *shape[1:]) or found.dtype != np.float32:
            raise FormatError(f"{name}: the reader gave {found.dtype} {found.shape} for rows {a}..{b}")
        if not np.isfinite(found).all():
            raise FormatError(f"{name}: a weight is NaN or infinite")
        return np.ascontiguousarray(found)

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self.shapes.get(name)
        if shape is None:
            raise InputError(f"the checkpoint has no tensor {name!r}")
        return shape
