"""Families like Llama: RMS norms, rotary halves, gated feed-forward layers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

from proofcompute.importers.architecture import Arch, Block, Norm, Rope
from proofcompute.importers.huggingface.config import Config
from proofcompute.importers.huggingface.families.common import (
    LLAMA,
    LLAMA_BLOCK,
    LLAMA_MODEL,
    Family,
    Sizes,
    arch,
    attention,
    gated,
    rms,
    sizes,
    sliding,
    window,
)
from proofcompute.importers.huggingface.pieces import Names
from proofcompute.importers.huggingface.rope import read_rope
from proofcompute.importers.rope_scaling import binary32

__all__ = ["LLAMA_LIKE", "QWEN_SLIDING", "windowed"]

COMMON: Final[dict[str, Any]] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
QWEN_SLIDING: Final[dict[str, Any]] = {
    "use_sliding_window": False,
    "sliding_window": 4096,
}
QWEN: Final = (
    COMMON
    | QWEN_SLIDING
    | {
        "vocab_size": 151936,
        "intermediate_size": 22016,
        "num_key_value_heads": 32,
        "max_position_embeddings": 32768,
        "max_window_layers": 28,
    }
)


def llama(c: Config) -> Arch:
    """RMS norms before the layers, gated layers, optionally biases."""
    s, norm = sizes(c), rms(c)
    c.ignore("is_llama_config")
    c.no("rope_interleaved")
    rotary = read_rope(c, s.head_dim)
    bias = c.flag("attention_bias")
    block = Block(
        attention(s, rope=rotary.rope, bias=bias, o_bias=bias), gated(c, bias=c.flag("mlp_bias")), norm
    )
    return arch(c, "llama", s, [block] * s.layers, norm, rotary.context)


def mistral(c: Config) -> Arch:
    """As Llama without biases, optionally with one window for all layers."""
    s, norm = sizes(c), rms(c)
    rotary = read_rope(c, s.head_dim)
    mixer = attention(s, rope=rotary.rope, window=c.optional_integer("sliding_window"))
    return arch(c, "mistral", s, [Block(mixer, gated(c), norm)] * s.layers, norm, rotary.context)


def windowed(c: Config) -> int:
    """Return the size of windows where ``use_sliding_window`` says that there are some; else 0."""
    size = c.optional_integer("sliding_window")
    return size if c.flag("use_sliding_window") else 0


def qwen_windows(c: Config, s: Sizes) -> Sequence[int]:
    """Return the windows of Qwen2 and Qwen3, whose first layers have none."""
    size = windowed(c)
    first = c.optional_integer("max_window_layers", lo=0)
    return window(c, sliding(c, s.layers, lambda i: size > 0 and i >= first), size)


def qwen2(c: Config) -> Arch:
    """Biases of queries, keys and values; optionally windows from some layer on."""
    s, norm, mlp = sizes(c), rms(c), gated(c)
    rotary = read_rope(c, s.head_dim)
    blocks = [
        Block(attention(s, rope=rotary.rope, window=w, bias=True), mlp, norm) for w in qwen_windows(c, s)
    ]
    return arch(c, "qwen2", s, blocks, norm, rotary.context)


def qwen3(c: Config) -> Arch:
    """A norm of each query and key; windows as in Qwen2."""
    s, norm, mlp, bias = sizes(c), rms(c), gated(c), c.flag("attention_bias")
    rotary = read_rope(c, s.head_dim)
    options: dict[str, Any] = {"qk_norm": "head", "norm": norm, "bias": bias, "o_bias": bias}
    blocks = [
        Block(attention(s, rope=rotary.rope, window=w, **options), mlp, norm) for w in qwen_windows(c, s)
    ]
    return arch(c, "qwen3", s, blocks, norm, rotary.context)


def smollm3(c: Config) -> Arch:
    """Some layers have no rotation: every fourth, or those with a 0 in ``no_rope_layers``."""
    s, norm = sizes(c), rms(c)
    bias, mlp = c.flag("attention_bias"), gated(c, bias=c.flag("mlp_bias"))
    c.ignore("max_window_layers")  # layer_types and no_rope_layers say which layers have a window
    rotary = read_rope(c, s.head_dim, 2_000_000.0)
    interval = c.integer("no_rope_layer_interval")
    rotated = c.integers("no_rope_layers", s.layers)
    if rotated is None:
        rotated = [int((i + 1) % interval != 0) for i in range(s.layers)]
    size = windowed(c)
    kinds = sliding(c, s.layers, lambda i: size > 0 and not rotated[i])
    blocks = [
        Block(attention(s, rope=rotary.rope if turn else None, window=w, bias=bias, o_bias=bias), mlp, norm)
        for turn, w in zip(rotated, window(c, kinds, size), strict=True)
    ]
    return arch(c, "smollm3", s, blocks, norm, rotary.context)


def granite(c: Config) -> Arch:
    """As Llama, with factors on embeddings, residuals, scores and logits."""
    s, norm = sizes(c), rms(c)
    rotary = read_rope(c, s.head_dim)
    bias = c.flag("attention_bias")
    mixer = attention(s, rope=rotary.rope, scale=c.rounded("attention_multiplier"), bias=bias, o_bias=bias)
    mlp = gated(c, bias=c.flag("mlp_bias"))
    block = Block(mixer, mlp, norm, residual=c.rounded("residual_multiplier"))
    return arch(
        c,
        "granite",
        s,
        [block] * s.layers,
        norm,
        rotary.context,
        embed_scale=c.rounded("embedding_multiplier"),
        logit_scale=binary32(1 / Fraction(c.positive("logits_scaling"))),
    )


def _after(
    c: Config,
    family: str,
    s: Sizes,
    ropes: Sequence[Rope | None],
    windows: Sequence[int],
    context: int,
    norm: Norm,
    qk_norm: str,
    *,
    bias: bool = False,
) -> Arch:
    """Return a decoder whose norms stand after attention and feed-forward layer."""
    mlp = gated(c)
    options: dict[str, Any] = {"qk_norm": qk_norm, "norm": norm, "bias": bias, "o_bias": bias}
    blocks = [
        Block(attention(s, rope=rope, window=w, **options), mlp, norm, norms="post")
        for rope, w in zip(ropes, windows, strict=True)
    ]
    return arch(c, family, s, blocks, norm, context)


def olmo2(c: Config) -> Arch:
    """Norms after the layers, and over all queries and all keys."""
    s = sizes(c)
    rotary, n = read_rope(c, s.head_dim), s.layers
    bias = c.flag("attention_bias")
    return _after(c, "olmo2", s, [rotary.rope] * n, [0] * n, rotary.context, rms(c), "full", bias=bias)


def exaone4(c: Config) -> Arch:
    """Norms after the layers; where some layers have a window, the others have no rotation."""
    s = sizes(c)
    rotary, size = read_rope(c, s.head_dim), c.optional_integer("sliding_window")
    pattern = _pattern(c) if size else 0
    c.ignore("sliding_window_pattern")
    kinds = sliding(c, s.layers, lambda i: size > 0 and pattern > 0 and (i + 1) % pattern != 0)
    ropes = [rotary.rope if kind or not size else None for kind in kinds]
    windows = window(c, kinds, size)
    return _after(c, "exaone4", s, ropes, windows, rotary.context, rms(c), "head")


def _pattern(c: Config) -> int:
    """Return every how many layers one has no window; a text such as LLLG says the same."""
    key = "sliding_window_pattern"
    if c.is_text(key, "LLLG"):
        c.ignore(key)
        return 4
    return c.integer(key)


LLAMA_LIKE: Final = {
    "llama": Family(llama, LLAMA, COMMON | {"attention_bias": False, "mlp_bias": False}),
    "mistral": Family(
        mistral,
        LLAMA,
        COMMON
        | {
            "intermediate_size": 14336,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
        },
    ),
    "qwen2": Family(qwen2, LLAMA, QWEN),
    "qwen3": Family(qwen3, LLAMA, QWEN | {"head_dim": 128, "attention_bias": False}),
    "smollm3": Family(
        smollm3,
        LLAMA,
        COMMON
        | {
            "vocab_size": 128256,
            "hidden_size": 2048,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32768,
            "use_sliding_window": False,
            "no_rope_layer_interval": 4,
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": True,
        },
    ),
    "granite": Family(
        granite,
        LLAMA,
        COMMON
        | {
            "attention_bias": False,
            "mlp_bias": False,
            "embedding_multiplier": 1.0,
            "logits_scaling": 1.0,
            "residual_multiplier": 1.0,
            "attention_multiplier": 1.0,
        },
    ),
    "olmo2": Family(
        olmo2,
        Names(
            LLAMA_MODEL,
            {
                **LLAMA_BLOCK,
                "attention.post": "post_attention_layernorm",
                "ffn.post": "post_feedforward_layernorm",
            },
        ),
        COMMON | {"vocab_size": 50304, "rms_norm_eps": 1e-5, "attention_bias": False},
    ),
    "exaone4": Family(
        exaone4,
        Names(
            LLAMA_MODEL,
            {
                **LLAMA_BLOCK,
                "attention.post": "post_attention_layernorm",
                "ffn.post": "post_feedforward_layernorm",
            },
        ),
        COMMON
        | {
            "vocab_size": 102400,
            "intermediate_size": 16384,
            "num_key_value_heads": 32,
            "rms_norm_eps": 1e-5,
            "sliding_window": 4096,
            "sliding_window_pattern": 4,
        },
    ),
}
"""Families by ``model_type``."""
