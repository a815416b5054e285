"""Describes transformers of every family, decoders and encoders: blocks of attention and feed-forward layers.

A reader of one format of checkpoints (:mod:`.gguf`, :mod:`.huggingface`) turns its configuration into an
:class:`Arch` and gives weights by canonical names. The compiler sees nothing else. Layers may differ, so an
``Arch`` holds a list of blocks.

These are the canonical names and shapes of weights, for width ``d``, ``v`` tokens, and in a block ``h`` heads
and ``g`` key/value heads of ``c`` columns (values of ``e``); matrices are ``[out, in]``, so ``y = W x``.
``L`` is ``layers.i``. A name followed by ``.bias`` is a vector [out], present where the description says so.

=============================================  ===========================================================
``embedding``                                  ``[v, d]``; absent in an encoder of pictures
``patches``                                    ``[d, channels, size, size]``, with a bias; of pictures
``cls``                                        ``[1, d]``, the first row of a picture
``positions``                                  ``[positions, d]``, learned positions
``types``                                      ``[types, d]``, token types of an encoder
``embedding.norm``                             ``[d]``, behind the embedding of an encoder
``L.attention.norm``, ``L.ffn.norm``           ``[d]``; in a ``parallel`` block "one" only the first
``L.attention.post``, ``L.ffn.post``           ``[d]``, with norms "post", "both" or "after"
``L.attention.q``                              ``[h c, d]``
``L.attention.k``                              ``[g c, d]``
``L.attention.v``                              ``[g e, d]``
``L.attention.o``                              ``[d, h e]``
``L.attention.q_norm``                         ``[c]`` (head), ``[h c]`` (heads and full)
``L.attention.k_norm``                         ``[c]`` (head), ``[g c]`` (heads and full)
``L.attention.sinks``                          ``[h]``
``L.attention.q_a``, ``.q_a_norm``, ``.q_b``   ``[r, d]``, ``[r]``, ``[h c, r]``: queries through a rank r
``L.attention.kv_a``                           ``[kv_rank + rope, d]``: the latent, then the rope key
``L.attention.kv_a_norm``                      ``[kv_rank]``
``L.attention.kv_b``                           ``[h (nope + e), kv_rank]``: per head the key, then the value
``L.ffn.gate``, ``L.ffn.up``                   ``[f, d]``; no ``gate`` in a plain layer
``L.ffn.down``                                 ``[d, f]``
``L.ffn.router``                               ``[experts, d]``
``L.ffn.correction``                           ``[experts]``, added to scores for the choice only
``L.ffn.experts.gate``, ``.up``                ``[experts f, d]``, expert by expert; ``.bias [experts f]``
``L.ffn.experts.down``                         ``[experts d, f]``, expert by expert; ``.bias [experts d]``
``L.ffn.shared.gate``, ``.up``, ``.down``      as those of a layer
``L.ffn.shared.router``                        ``[1, d]``, the gate of the shared expert
``norm``                                       ``[d]``; of an encoder only with a ``final_norm``
``head``                                       ``[v, d]``, absent if ``tied`` and in an encoder
=============================================  ===========================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "ACTIVATIONS",
    "Arch",
    "Attention",
    "Block",
    "Encoder",
    "Latent",
    "Mlp",
    "Moe",
    "Norm",
    "Patches",
    "Rope",
    "tensor_shapes",
]

ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu", "relu2")
"""Activations of feed-forward layers: gelu is the one with erf, relu2 the square of relu."""


@dataclass(frozen=True)
class Norm:
    """A norm over the last axis."""

    kind: str
    """``rms``: x / sqrt(mean x^2 + eps) * (w + offset); ``layer``: (x - mean) / sqrt(var + eps) * w + b."""
    eps: float
    """Added to the mean of squares; a binary32 value."""
    offset: float = 0.0
    """Added to the stored weight."""
    bias: bool = False
    """Whether there is a bias (``.bias``); ``layer`` only."""


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding (Su et al. 2021, arXiv:2104.09864) of queries and keys."""

    freqs: tuple[int, ...]
    """Binary32 bit patterns of the frequency of each rotated pair, in radians a position. The first
    ``2 len(freqs)`` columns of a head are rotated, the rest is kept (the last columns of a latent head)."""
    interleaved: bool
    """True: pair i is columns 2i and 2i + 1; False: columns i and i + len(freqs)."""
    scale: float = 1.0
    """Factor on cosines and sines (attention factor of YaRN and LongRoPE); a binary32 value."""


@dataclass(frozen=True)
class Latent:
    """Keys and values from a common latent vector (MLA; DeepSeek-V2, arXiv:2405.04434)."""

    q_rank: int
    """Rank of the queries' projection; 0 where it is one matrix."""
    kv_rank: int
    """Elements of the latent."""
    nope: int
    """Columns of a query or key head that are not rotated; they come first."""
    rope: int
    """Columns that are rotated; the key's are one for all heads."""
    norm: Norm
    """The norm of the latent, and of the queries' projection."""


@dataclass(frozen=True)
class Attention:
    """Attention of one block."""

    heads: int
    kv_heads: int
    """Divides ``heads``; equals it in latent attention."""
    head_dim: int
    """Columns of a head of queries and keys; nope + rope in latent attention."""
    v_dim: int
    """Columns of a head of values."""
    scale: float
    """Factor on the scores; a binary32 value."""
    rope: Rope | None = None
    window: int = 0
    """Number of positions up to its own that a row may see; 0 for all."""
    ahead: int = 0
    """Number of later positions that a row may see; 0 in causal attention, MAX_ROWS for all."""
    softcap: float = 0.0
    """c in tanh(score / c) c; 0 for none."""
    qk_norm: str = ""
    """Norm of queries and keys before the rotation: ``head`` (over each head, one weight for all), ``heads``
    (over each head, a weight for each) or ``full`` (over the whole projection); empty for none."""
    norm: Norm | None = None
    """The kind of that norm."""
    sinks: bool = False
    """Whether each head has an extra logit in its softmax, which is dropped after it."""
    bias: bool = False
    """Whether queries, keys and values have biases."""
    o_bias: bool = False
    clip: float = 0.0
    """Queries, keys and values are clipped to -clip..clip after their norms; 0 for not."""
    latent: Latent | None = None


@dataclass(frozen=True)
class Mlp:
    """A feed-forward layer: down(act(gate x) * up x), or down(act(up x))."""

    width: int
    act: str
    """One of :data:`ACTIVATIONS`."""
    gated: bool = True
    bias: bool = False
    """Whether every matrix has a bias."""
    alpha: float = 0.0
    """With a limit: the gate is min(g, limit) * sigmoid(alpha * min(g, limit))."""
    limit: float = 0.0
    """Not 0: clipped gates, times (clip(u, -limit, limit) + 1), as in gpt-oss."""


@dataclass(frozen=True)
class Moe:
    """A mixture of experts: a router chooses ``top_k`` of them for every row."""

    experts: int
    top_k: int
    expert: Mlp
    score: str = "softmax"
    """``softmax`` or ``sigmoid``, of the router's logits."""
    when: str = "before"
    """Whether softmax is taken ``before`` the choice, over all experts, or ``after`` it, over the chosen."""
    normalise: bool = False
    """Whether the chosen scores are divided by their sum."""
    scaling: float = 1.0
    """Factor on the chosen scores."""
    shared: Mlp | None = None
    """An expert that every row uses."""
    shared_gate: bool = False
    """Whether the shared expert's output is multiplied by the sigmoid of a product with one row."""
    groups: int = 1
    """Groups into which the experts are divided."""
    top_groups: int = 1
    """Groups from which experts may be chosen."""
    group_score: str = "max"
    """What a group counts for: ``max`` of its scores, or ``top2``, the sum of the two largest."""
    correction: bool = False
    """Whether a vector is added to the scores for the choice only."""
    router_bias: bool = False


@dataclass(frozen=True)
class Block:
    """One block: attention and a feed-forward layer with norms and residuals."""

    attention: Attention
    ffn: Mlp | Moe
    norm: Norm
    norms: str = "pre"
    """``pre``: x + f(n x); ``post``: x + n(f x); ``both``: x + n'(f(n x));
    ``after``: n(x + f x); ``ffn``: pre, but attention has no norm."""
    parallel: str = ""
    """Empty: attention, then the feed-forward layer; ``one``: x + a(n x) + f(n x); ``two``: x + a(n x) +
    f(m x), with a norm for each."""
    residual: float = 1.0
    """Factor on what is added to the residual stream."""


@dataclass(frozen=True)
class Patches:
    """What an encoder of pictures reads: row 0 is the class token's, and each other row is a patch."""

    count: int
    """Patches of a picture."""
    channels: int
    size: int
    """Rows and columns of pixels of a patch."""


@dataclass(frozen=True)
class Encoder:
    """What an encoder has and a decoder has not."""

    embedding_norm: bool = False
    """Whether embedded tokens go through a norm, of the kind of :attr:`Arch.norm`."""
    types: int = 0
    """Token types, whose vectors are added to embedded tokens; with one there is no choice."""
    first_position: int = 0
    """The learned position of the first token."""
    final_norm: bool = False
    """Whether there is a norm behind the last block."""
    pool: str = ""
    """How rows become one: ``first``, ``last``, ``max`` or ``mean``; empty: there is an output for each."""
    normalise: bool = False
    """Whether the pooled row is divided by its length."""
    patches: Patches | None = None
    """Patches of pictures in the place of tokens; None for texts."""


@dataclass(frozen=True)
class Arch:
    """A decoder-only transformer, or an encoder."""

    family: str
    """The family's name, such as llama; it changes nothing."""
    width: int
    """Columns of the residual stream."""
    vocabulary: int
    """Number of tokens; 0 of an encoder of pictures."""
    context: int
    """The most positions that the model supports."""
    blocks: tuple[Block, ...]
    norm: Norm
    """The norm before the head; of an encoder see :class:`Encoder`."""
    tied: bool
    """Whether the embedding is also the head."""
    embed_scale: float = 1.0
    """Factor on embedded tokens; a binary32 value."""
    positions: int = 0
    """Number of learned positions, added to embedded tokens; 0 for none."""
    logit_scale: float = 1.0
    """Factor on the logits; a binary32 value."""
    final_softcap: float = 0.0
    """c in tanh(logit / c) c; 0 for none."""
    head_bias: bool = False
    encoder: Encoder | None = None
    """What makes it an encoder; None for a decoder."""


def tensor_shapes(arch: Arch) -> dict[str, tuple[int, ...]]:
    """Return canonical name -> shape of every weight of ``arch``, in the order of the computation."""
    shapes: dict[str, tuple[int, ...]] = {}
    patches = None if arch.encoder is None else arch.encoder.patches
    if patches is None:
        shapes["embedding"] = (arch.vocabulary, arch.width)
    else:
        shapes["patches"] = (arch.width, patches.channels, patches.size, patches.size)
        shapes |= {"patches.bias": (arch.width,), "cls": (1, arch.width)}
    if arch.positions:
        shapes["positions"] = (arch.positions, arch.width)
    encoder = arch.encoder
    if encoder is not None and encoder.types:
        shapes["types"] = (encoder.types, arch.width)
    if encoder is not None and encoder.embedding_norm:
        shapes |= dict(_norm("embedding.norm", arch.norm, arch.width))
    for i, block in enumerate(arch.blocks):
        for name, shape in _block(block, arch.width):
            shapes[f"layers.{i}.{name}"] = shape
    if encoder is None or encoder.final_norm:
        shapes |= dict(_norm("norm", arch.norm, arch.width))
    if not arch.tied and encoder is None:
        shapes["head"] = (arch.vocabulary, arch.width)
    if arch.head_bias:
        shapes["head.bias"] = (arch.vocabulary,)
    return shapes


Shapes = Iterator[tuple[str, tuple[int, ...]]]


def _norm(name: str, norm: Norm, width: int) -> Shapes:
    yield name, (width,)
    if norm.bias:
        yield f"{name}.bias", (width,)


def _matrix(name: str, rows: int, width: int, bias: bool) -> Shapes:
    yield name, (rows, width)
    if bias:
        yield f"{name}.bias", (rows,)


def _block(block: Block, d: int) -> Shapes:
    pre, post = block.norms in ("pre", "both", "ffn"), block.norms in ("post", "both", "after")
    if pre and block.norms != "ffn":
        yield from _norm("attention.norm", block.norm, d)
    yield from _attention(block.attention, d)
    if post:
        yield from _norm("attention.post", block.norm, d)
    if pre and block.parallel != "one":
        yield from _norm("ffn.norm", block.norm, d)
    if isinstance(block.ffn, Moe):
        yield from _moe(block.ffn, d)
    else:
        yield from _mlp("ffn", block.ffn, d)
    if post:
        yield from _norm("ffn.post", block.norm, d)


def _attention(a: Attention, d: int) -> Shapes:
    q, k, v = a.heads * a.head_dim, a.kv_heads * a.head_dim, a.kv_heads * a.v_dim
    if a.latent is None:
        for name, rows in (("q", q), ("k", k), ("v", v)):
            yield from _matrix(f"attention.{name}", rows, d, a.bias)
    else:
        latent = a.latent
        if latent.q_rank:
            yield from _matrix("attention.q_a", latent.q_rank, d, a.bias)
            yield from _norm("attention.q_a_norm", latent.norm, latent.q_rank)
            yield "attention.q_b", (q, latent.q_rank)
        else:
            yield "attention.q", (q, d)
        yield from _matrix("attention.kv_a", latent.kv_rank + latent.rope, d, a.bias)
        yield from _norm("attention.kv_a_norm", latent.norm, latent.kv_rank)
        yield "attention.kv_b", (a.heads * (latent.nope + a.v_dim), latent.kv_rank)
    if a.qk_norm and a.norm is not None:
        each = a.qk_norm == "head"
        yield from _norm("attention.q_norm", a.norm, a.head_dim if each else q)
        yield from _norm("attention.k_norm", a.norm, a.head_dim if each else k)
    if a.sinks:
        yield "attention.sinks", (a.heads,)
    yield from _matrix("attention.o", d, a.heads * a.v_dim, a.o_bias)


def _mlp(name: str, m: Mlp, d: int, experts: int = 1) -> Shapes:
    if m.gated:
        yield from _matrix(f"{name}.gate", experts * m.width, d, m.bias)
    yield from _matrix(f"{name}.up", experts * m.width, d, m.bias)
    yield from _matrix(f"{name}.down", experts * d, m.width, m.bias)


def _moe(moe: Moe, d: int) -> Shapes:
    yield from _matrix("ffn.router", moe.experts, d, moe.router_bias)
    if moe.correction:
        yield "ffn.correction", (moe.experts,)
    yield from _mlp("ffn.experts", moe.expert, d, moe.experts)
    if moe.shared is not None:
        yield from _mlp("ffn.shared", moe.shared, d)
        if moe.shared_gate:
            yield "ffn.shared.router", (1, d)
