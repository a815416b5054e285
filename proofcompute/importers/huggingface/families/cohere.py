"""Cohere's Command models: parallel blocks, layer norms without bias, pairs rotated in place."""

from __future__ import annotations

from typing import Final

from proofcompute.importers.architecture import Arch, Block
from proofcompute.importers.huggingface.config import Config
from proofcompute.importers.huggingface.families.common import (
    LLAMA,
    LLAMA_BLOCK,
    LLAMA_MODEL,
    Family,
    arch,
    attention,
    gated,
    layer,
    sizes,
    sliding,
    window,
)
from proofcompute.importers.huggingface.pieces import Names, by_head
from proofcompute.importers.huggingface.rope import read_rope

__all__ = ["COHERES"]

DEFAULTS: Final = {
    "vocab_size": 256000,
    "hidden_size": 8192,
    "intermediate_size": 22528,
    "logit_scale": 0.0625,
    "num_hidden_layers": 40,
    "num_attention_heads": 64,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "layer_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "attention_bias": False,
}


def cohere(c: Config) -> Arch:
    """Optionally with a norm for each head, each with a weight of its own."""
    s, norm, bias = sizes(c), layer(c, bias=False), c.flag("attention_bias")
    c.ignore("model_max_length")  # the tokenizer's
    rotary = read_rope(c, s.head_dim, 500_000.0, interleaved=True)
    normed = c.flag("use_qk_norm")
    mixer = attention(
        s,
        rope=rotary.rope,
        bias=bias,
        o_bias=bias,
        qk_norm="heads" if normed else "",
        norm=norm if normed else None,
    )
    block = Block(mixer, gated(c), norm, parallel="one")
    scale = c.rounded("logit_scale")
    return arch(c, "cohere", s, [block] * s.layers, norm, rotary.context, logit_scale=scale)


def cohere2(c: Config) -> Arch:
    """Layers with a window are rotated; every fourth layer has neither."""
    s, norm, bias, mlp = sizes(c), layer(c, bias=False), c.flag("attention_bias"), gated(c)
    for key, value in (
        ("order_of_interleaved_layers", "local_attn_first"),
        ("position_embedding_type", "rope_gptj"),
        ("use_embedding_sharing", True),
        ("use_gated_activation", True),
        ("use_parallel_block", True),
        ("use_parallel_embedding", False),
        ("use_qk_norm", False),
    ):
        c.must(key, value)
    c.ignore("model_max_length")  # the tokenizer's
    c.must("rotary_pct", 1, 1.0)
    pattern = c.integer("sliding_window_pattern")
    c.must("layer_switch", pattern)
    c.must("_sliding_window_pattern", pattern)
    rotary = read_rope(c, s.head_dim, interleaved=True)
    kinds = sliding(c, s.layers, lambda i: (i + 1) % pattern != 0)
    windows = window(c, kinds, c.optional_integer("sliding_window"))
    blocks = [
        Block(
            attention(s, rope=rotary.rope if w else None, window=w, bias=bias, o_bias=bias),
            mlp,
            norm,
            parallel="one",
        )
        for w in windows
    ]
    scale = c.rounded("logit_scale")
    return arch(c, "cohere2", s, blocks, norm, rotary.context, logit_scale=scale)


COHERES: Final = {
    "cohere": Family(
        cohere,
        Names(
            LLAMA_MODEL,
            {
                **LLAMA_BLOCK,
                "attention.q_norm": by_head("self_attn.q_norm"),
                "attention.k_norm": by_head("self_attn.k_norm"),
            },
        ),
        DEFAULTS | {"use_qk_norm": False},
    ),
    "cohere2": Family(cohere2, LLAMA, DEFAULTS | {"sliding_window": 4096, "sliding_window_pattern": 4}),
}
"""Families by ``model_type``."""
