"""What the families of decoders share: sizes, norms, windows, activations, the commonest names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.importers.architecture import Arch, Attention, Block, Mlp, Norm
from proofcompute.importers.huggingface.config import Config
from proofcompute.importers.huggingface.pieces import Names, Rule
from proofcompute.importers.rope_scaling import inverse_root
from proofcompute.limits import MAX_SEGMENTS, MAX_VOCABULARY, MAX_WIDTH

__all__ = [
    "LLAMA",
    "LLAMA_BLOCK",
    "LLAMA_MODEL",
    "MLP",
    "QKVO",
    "Family",
    "Sizes",
    "activation",
    "arch",
    "attention",
    "gated",
    "layer",
    "plain",
    "rms",
    "sizes",
    "sliding",
    "window",
]


@dataclass(frozen=True)
class Family:
    """Everything that this reader knows about one ``model_type``."""

    read: Callable[[Config], Arch]
    """Reads the configuration. It must read every key that can change the result."""
    names: Names
    """Where the tensors are."""
    defaults: Mapping[str, Any]
    """Values of missing keys, as in the configuration class of transformers 5.24."""
    ignored: tuple[str, ...] = ()
    """Regular expressions of stored names that are not part of the decoder, and that transformers ignores."""
    aliases: tuple[tuple[str, str], ...] = ()
    """Regular expressions of other stored names, each with what to replace it by."""
    ignores_further_layers: bool = False
    """Whether tensors of layers after the last one are ignored, as those that guess further tokens."""
    rounds_embed_scale: bool = False
    """Whether the factor on embeddings is rounded to the type in which they are stored."""
    spellings: Mapping[str, str] = field(default_factory=dict)
    """Usual keys of sizes -> this family's, for messages."""
    section: str = ""
    """The key of the object that describes the decoder, in a file that describes more."""
    outer: tuple[str, ...] = ()
    """Keys beside that object that change nothing."""


@dataclass(frozen=True)
class Sizes:
    """Sizes that nearly all configurations state with the same keys."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int

    @property
    def scale(self) -> float:
        """The usual factor on scores, 1 / sqrt(head_dim)."""
        return inverse_root(self.head_dim)


def sizes(c: Config, *, head_dim: bool = True) -> Sizes:
    """Read the sizes; ``head_dim`` says whether the family reads a key of that name."""
    width, heads = c.integer("hidden_size", hi=MAX_WIDTH), c.integer("num_attention_heads", hi=1 << 14)
    kv_heads = c.optional_integer("num_key_value_heads") or heads
    if heads % kv_heads:
        raise FormatError(f"{c.key('num_key_value_heads')} is {kv_heads}, but there are {heads} heads")
    columns = c.optional_integer("head_dim", hi=1 << 14) if head_dim else 0
    if not columns and width % heads:
        raise FormatError(f"{c.key('hidden_size')} is {width}, which {heads} heads do not divide")
    return Sizes(
        width,
        c.integer("num_hidden_layers", hi=MAX_SEGMENTS),
        heads,
        kv_heads,
        columns or width // heads,
        c.integer("vocab_size", hi=MAX_VOCABULARY),
    )


def rms(c: Config, offset: float = 0.0) -> Norm:
    """Return the RMS norm whose epsilon is ``rms_norm_eps``."""
    return Norm("rms", c.rounded("rms_norm_eps"), offset)


def layer(c: Config, key: str = "layer_norm_eps", *, bias: bool = True) -> Norm:
    """Return the layer norm whose epsilon is at ``key``."""
    return Norm("layer", c.rounded(key), bias=bias)


_ACTIVATIONS: Final = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
}


def activation(c: Config, key: str = "hidden_act") -> str:
    """Return the activation that the text at ``key`` names."""
    found = c.text(key)
    if found not in _ACTIVATIONS:
        raise UnsupportedError(f"{c.key(key)} is {found!r}; supported are {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[found]


def gated(c: Config, *, width: str = "intermediate_size", bias: bool = False, act: str = "hidden_act") -> Mlp:
    """Return a gated feed-forward layer as wide as the integer at the key ``width``."""
    return Mlp(c.integer(width, hi=MAX_WIDTH), activation(c, act), bias=bias)


def plain(c: Config, *, bias: bool = True) -> Mlp:
    """Return a feed-forward layer without a gate."""
    width = c.integer("intermediate_size", hi=MAX_WIDTH)
    return Mlp(width, activation(c), gated=False, bias=bias)


def sliding(c: Config, layers: int, usual: Callable[[int], bool]) -> Sequence[bool]:
    """Return for each layer whether its attention has a window: as ``layer_types`` says, or as ``usual``."""
    kinds = c.items("layer_types", layers)
    if kinds is None:
        return [usual(i) for i in range(layers)]
    known = {"sliding_attention": True, "full_attention": False, "attention": False}
    for kind in kinds:
        if not isinstance(kind, str) or kind not in known:
            raise UnsupportedError(f"{c.key('layer_types')} has {kind!r}; supported are {', '.join(known)}")
    return [known[kind] for kind in kinds]


def window(c: Config, which: Sequence[bool], size: int) -> Sequence[int]:
    """Return the window of each layer, ``size`` where ``which`` says so; 0 for none."""
    if any(which) and not size:
        raise FormatError(f"{c.key('sliding_window')} is missing, but layer_types asks for it")
    return [size if yes else 0 for yes in which]


def attention(s: Sizes, **options: Any) -> Attention:
    """Return plain attention with these sizes; ``options`` are fields of :class:`Attention`."""
    return Attention(s.heads, s.kv_heads, s.head_dim, s.head_dim, options.pop("scale", s.scale), **options)


def arch(
    c: Config, family: str, s: Sizes, blocks: Sequence[Block], norm: Norm, context: int, **options: Any
) -> Arch:
    """Return the decoder; ``options`` are fields of :class:`Arch`."""
    return Arch(
        family,
        s.width,
        s.vocabulary,
        context if c.context is None else min(context, c.context),
        tuple(blocks),
        norm,
        c.flag("tie_word_embeddings"),
        **options,
    )


LLAMA_MODEL: Final[Mapping[str, Rule]] = {
    "embedding": "model.embed_tokens",
    "norm": "model.norm",
    "head": "lm_head",
}
QKVO: Final[Mapping[str, Rule]] = {f"attention.{x}": f"self_attn.{x}_proj" for x in "qkvo"}
MLP: Final[Mapping[str, Rule]] = {f"ffn.{x}": f"mlp.{x}_proj" for x in ("gate", "up", "down")}
LLAMA_BLOCK: Final[Mapping[str, Rule]] = {
    "attention.norm": "input_layernorm",
    "ffn.norm": "post_attention_layernorm",
    "attention.q_norm": "self_attn.q_norm",
    "attention.k_norm": "self_attn.k_norm",
    **QKVO,
    **MLP,
}
LLAMA: Final = Names(LLAMA_MODEL, LLAMA_BLOCK)
"""The commonest names, those of Llama; norms of queries and keys as in Qwen3."""
