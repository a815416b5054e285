"""Gemma 1 to 3: norms with 1 + w, scaled embeddings, windows, caps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from proofcompute.errors import UnsupportedError
from proofcompute.importers.architecture import Arch, Block, Mlp
from proofcompute.importers.huggingface.config import Config
from proofcompute.importers.huggingface.families.common import (
    LLAMA,
    LLAMA_BLOCK,
    LLAMA_MODEL,
    Family,
    arch,
    attention,
    gated,
    rms,
    sizes,
    sliding,
    window,
)
from proofcompute.importers.huggingface.pieces import Names
from proofcompute.importers.huggingface.rope import Rotary, read_rope
from proofcompute.importers.rope_scaling import inverse_root, root
from proofcompute.limits import MAX_WIDTH

__all__ = ["GEMMAS"]

COMMON: Final[dict[str, Any]] = {
    "vocab_size": 256000,
    "head_dim": 256,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "attention_bias": False,
}
GEMMA2: Final = COMMON | {
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
}
GEMMA2_BLOCK: Final = {
    **LLAMA_BLOCK,
    "attention.post": "post_attention_layernorm",
    "ffn.norm": "pre_feedforward_layernorm",
    "ffn.post": "post_feedforward_layernorm",
}


def gemma(c: Config) -> Arch:
    """Embeddings times the square root of the width; norms whose weights are counted from 1."""
    s, norm, bias = sizes(c), rms(c, 1.0), c.flag("attention_bias")
    c.no("use_bidirectional_attention")
    rotary = read_rope(c, s.head_dim)
    # the first files say gelu and mean the tanh approximation; some say so with a second key
    c.must("hidden_act", "gelu", "gelu_pytorch_tanh")
    c.must("hidden_activation", "gelu", "gelu_pytorch_tanh")
    mlp = Mlp(c.integer("intermediate_size", hi=MAX_WIDTH), "gelu_tanh")
    block = Block(attention(s, rope=rotary.rope, bias=bias, o_bias=bias), mlp, norm)
    return arch(c, "gemma", s, [block] * s.layers, norm, rotary.context, embed_scale=root(s.width))


def _second(
    c: Config,
    family: str,
    ropes: tuple[Rotary, Rotary],
    pattern: int,
    *,
    qk_norm: str = "",
    softcap: float = 0.0,
) -> Arch:
    """Return Gemma 2 or 3; ``ropes`` are those of layers with and without a window."""
    s, norm, bias = sizes(c), rms(c, 1.0), c.flag("attention_bias")
    c.no("use_bidirectional_attention")
    c.ignore("hidden_act")  # left from a conversion; the model reads hidden_activation
    mlp = gated(c, act="hidden_activation")
    size = c.optional_integer("sliding_window")
    c.must("sliding_window_size", size)
    kinds = sliding(c, s.layers, lambda i: (i + 1) % pattern != 0)
    options: dict[str, Any] = {
        "scale": inverse_root(c.positive("query_pre_attn_scalar")),
        "softcap": softcap,
        "bias": bias,
        "o_bias": bias,
        "qk_norm": qk_norm,
        "norm": norm if qk_norm else None,
    }
    blocks = [
        Block(attention(s, rope=ropes[not kind].rope, window=w, **options), mlp, norm, norms="both")
        for kind, w in zip(kinds, window(c, kinds, size), strict=True)
    ]
    context = max(ropes[not kind].context for kind in kinds)
    cap = c.optional_rounded("final_logit_softcapping")
    return arch(c, family, s, blocks, norm, context, embed_scale=root(s.width), final_softcap=cap)


def gemma2(c: Config) -> Arch:
    """Norms before and after the layers, caps of scores and logits, a window in every other layer."""
    rotary = read_rope(c, sizes(c).head_dim)
    return _second(c, "gemma2", (rotary, rotary), 2, softcap=c.optional_rounded("attn_logit_softcapping"))


def gemma3(c: Config) -> Arch:
    """Layers with a window have a base of their own."""
    pattern = c.integer("sliding_window_pattern")
    c.must("_sliding_window_pattern", pattern)
    c.must("attn_logit_softcapping")  # transformers reads a cap and does not apply it
    return _second(c, "gemma3", _two_ropes(c), pattern, qk_norm="head")


def _two_ropes(c: Config) -> tuple[Rotary, Rotary]:
    columns = sizes(c).head_dim
    parameters = c.section("rope_parameters")
    if not parameters.keys():
        local = Config({"rope_theta": c.positive("rope_local_base_freq")}, prefix="rope_local_base_freq: ")
        return read_rope(c, columns, kind=local), read_rope(c, columns, 1_000_000.0)
    if "rope_scaling" in c:
        raise UnsupportedError(f"{c.key('rope_scaling')} and rope_parameters are both given")
    c.ignore("rope_theta", "rope_local_base_freq", "rope_scaling")
    found = []
    for key, theta in (("sliding_attention", 10_000.0), ("full_attention", 1_000_000.0)):
        inner = parameters.section(key, {"rope_theta": theta})
        found.append(read_rope(c, columns, kind=inner))
    parameters.finish()
    return found[0], found[1]


GEMMAS: Final[dict[str, Family]] = {
    "gemma": Family(
        gemma,
        LLAMA,
        COMMON
        | {
            "hidden_size": 3072,
            "intermediate_size": 24576,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
        },
        rounds_embed_scale=True,
    ),
    "gemma2": Family(gemma2, Names(LLAMA_MODEL, GEMMA2_BLOCK), GEMMA2, rounds_embed_scale=True),
    "gemma3_text": Family(
        gemma3,
        Names(LLAMA_MODEL, GEMMA2_BLOCK),
        GEMMA2
        | {
            "vocab_size": 262208,
            "max_position_embeddings": 131072,
            "final_logit_softcapping": None,
            "attn_logit_softcapping": None,
            "sliding_window_pattern": 6,
            "rope_local_base_freq": 10_000.0,
        },
        rounds_embed_scale=True,
    ),
}
GEMMAS["gemma3"] = replace(  # the decoder of a model that also sees images, which are not supported
    GEMMAS["gemma3_text"],
    section="text_config",
    outer=(
        "boi_token_index",
        "eoi_token_index",
        "image_token_index",
        "mm_tokens_per_image",
        "vision_config",
    ),
    aliases=((r"^language_model\.(?=model\.|lm_head\.)", ""), (r"^model\.language_model\.", "model.")),
    ignored=(r"(model\.)?(vision_tower|multi_modal_projector)\..*",),
)
"""Families by ``model_type``."""
