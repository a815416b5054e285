"""What a checkpoint is, whatever file it came from.

A reader (:func:`proofcompute.importers.gguf.open_gguf`, later safetensors) describes the network as a
:class:`Decoder` and hands out its weights by canonical names; what compiles a program sees nothing else.

Canonical names and shapes, for ``L`` layers, width ``d``, ``h`` heads and ``g`` key/value heads of ``c``
columns each, feed-forward width ``f`` and ``v`` tokens; matrices are ``[out, in]``, so ``y = W x``:

======================================  ==================
``embedding``                           ``[v, d]``
``layers.i.attention.norm``             ``[d]``
``layers.i.attention.q``                ``[h c, d]``
``layers.i.attention.k``, ``.v``        ``[g c, d]``
``layers.i.attention.o``                ``[d, h c]``
``layers.i.attention.q.bias``           ``[h c]``, with ``qkv_bias`` only; likewise ``.k``, ``.v``
``layers.i.ffn.norm``                   ``[d]``
``layers.i.ffn.gate``, ``.up``          ``[f, d]``
``layers.i.ffn.down``                   ``[d, f]``
``norm``                                ``[d]``
``head``                                ``[v, d]``, absent where ``tied``
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

    Pair i of position t turns by the angle ``t * base ** (-2 i / dimensions) / factors[i]``.
    """

    base: float
    """The frequency base; a binary32 value."""
    dimensions: int
    """Leading columns of each head that are rotated; even."""
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
    """Positions that the model was made for."""
    vocabulary: int
    """Number of tokens."""
    eps: float
    """Added to the mean square in every norm; a binary32 value."""
    rope: Rope
    """Position embedding."""
    tied: bool
    """The embedding is also the head."""
    qkv_bias: bool = False
    """Queries, keys and values have a bias."""
    norm: str = "rms"
    """Kind of norm; only "rms" exists."""
    activation: str = "silu"
    """What the gate goes through; only "silu" exists."""
    window: int = 0
    """Attention reaches this many positions back; 0 means all of them, the only value today."""


def tensor_shapes(decoder: Decoder) -> dict[str, tuple[int, ...]]:
    """Canonical name -> shape of every weight of ``decoder``, in the order of the computation."""
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
    """Jinja text that turns messages into a prompt; None where the file has none. Untrusted."""
    name: str
    """What the file calls the model; may be empty. Untrusted."""
    licence: str
    """What the file says about its licence; may be empty. Untrusted."""
    digest: bytes
    """SHA-256 of the whole file; of a checkpoint in parts, SHA-256 of their digests."""
    read_rows: Callable[[str, int, int], F32]
    """Rows a..b of a tensor that exists; the format's reader. Use :meth:`tensor` and :meth:`rows`."""
    notes: tuple[str, ...] = ()
    """What was guessed or corrected, in sentences for whoever imports it."""
    unused: tuple[str, ...] = ()
    """Metadata keys that change nothing and were not read. Untrusted."""

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Canonical name -> shape of every tensor that :meth:`tensor` gives."""
        return tensor_shapes(self.decoder)

    def tensor(self, name: str) -> F32:
        """The whole tensor, float32 and C-contiguous, shaped as in the table above.

        Raises:
            InputError: no such tensor.
            FormatError: a weight is NaN or infinite.
            MismatchError: the file has changed since it was opened.
            StorageError: the file cannot be read.
        """
        return self.rows(name, 0, self._shape(name)[0])

    def rows(self, name: str, a: int, b: int) -> F32:
        """Rows ``a`` to ``b`` (exclusive) of a tensor, so that a large one need not be in memory at once.

        Raises as :meth:`tensor`, InputError for rows that the tensor does not have, and DeviceError where
        this thread's floats are not those of IEEE 754, as dequantising takes arithmetic.
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
