"""Phi 1 to 4: parallel blocks with layer norms, and fused matrices with RMS norms."""

from __future__ import annotations

from typing import Final

from proofcompute.importers.architecture import Arch, Block
from proofcompute.importers.huggingface.config import Config
from proofcompute.importers.huggingface.families.common import (
    LLAMA_BLOCK,
    LLAMA_MODEL,
    QKVO,
    Family,
    arch,
    attention,
    gated,
    layer,
    plain,
    rms,
    sizes,
)
from proofcompute.importers.huggingface.pieces import Names, fused
from proofcompute.importers.huggingface.rope import read_rope

__all__ = ["FUSED_BLOCK", "PHIS"]

FUSED_BLOCK: Final = {
    **LLAMA_BLOCK,
    **{f"attention.{x}": fused("self_attn.qkv_proj", x) for x in "qkv"},
    **{f"ffn.{x}": fused("mlp.gate_up_proj", x) for x in ("gate", "up")},
}
"""Names of a block like Llama's, with fused q, k and v, and fused gate and up."""


def phi(c: Config) -> Arch:
    """One norm for attention and feed-forward layer, which run in parallel; biases everywhere."""
    s, norm = sizes(c), layer(c)
    rotary = read_rope(c, s.head_dim, partial=0.5)
    mixer = attention(s, rope=rotary.rope, bias=True, o_bias=True)
    if c.flag("qk_layernorm"):
        mixer = attention(s, rope=rotary.rope, bias=True, o_bias=True, qk_norm="head", norm=norm)
    block = Block(mixer, plain(c), norm, parallel="one")
    return arch(c, "phi", s, [block] * s.layers, norm, rotary.context, head_bias=True)


def phi3(c: Config) -> Arch:
    """Queries, keys and values in one tensor, gate and up in another; optionally a window."""
    s, norm = sizes(c), rms(c)
    c.no("attention_bias")
    c.no("mlp_bias")
    c.no("lm_head_bias")
    c.must("interpolate_factor", 1)
    c.must("full_attn_mod", 1)
    rotary = read_rope(c, s.head_dim, partial=1.0)
    mixer = attention(s, rope=rotary.rope, window=c.optional_integer("sliding_window"))
    return arch(c, "phi3", s, [Block(mixer, gated(c), norm)] * s.layers, norm, rotary.context)


PHIS: Final = {
    "phi": Family(
        phi,
        Names(
            {"embedding": "model.embed_tokens", "norm": "model.final_layernorm", "head": "lm_head"},
            {
                **QKVO,
                "attention.o": "self_attn.dense",
                "attention.norm": "input_layernorm",
                "attention.q_norm": "self_attn.q_layernorm",
                "attention.k_norm": "self_attn.k_layernorm",
                "ffn.up": "mlp.fc1",
                "ffn.down": "mlp.fc2",
            },
        ),
        {
            "vocab_size": 51200,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 24,
            "num_attention_heads": 32,
            "hidden_act": "gelu_new",
            "max_position_embeddings": 2048,
            "layer_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "qk_layernorm": False,
        },
    ),
    "phi3": Family(
        phi3,
        Names(LLAMA_MODEL, FUSED_BLOCK),
        {
            "vocab_size": 32064,
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "hidden_act": "silu",
            "max_position_embeddings": 4096,
            "original_max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
        },
    ),
}
"""Families by ``model_type``."""
