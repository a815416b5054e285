"""GLM-4: half of each head rotated in pairs, fused gate and up; the second kind with norms on both sides."""

from __future__ import annotations

from typing import Final

from proofcompute.importers.architecture import Arch, Block
from proofcompute.importers.huggingface.config import Config
from proofcompute.importers.huggingface.families.common import (
    LLAMA_BLOCK,
    LLAMA_MODEL,
    Family,
    arch,
    attention,
    gated,
    rms,
    sizes,
)
from proofcompute.importers.huggingface.pieces import Names, fused
from proofcompute.importers.huggingface.rope import read_rope

__all__ = ["GLMS"]

DEFAULTS: Final = {
    "vocab_size": 151552,
    "hidden_size": 4096,
    "intermediate_size": 13696,
    "num_hidden_layers": 40,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1.5625e-07,
    "tie_word_embeddings": False,
    "attention_bias": True,
}
BLOCK: Final = {**LLAMA_BLOCK, **{f"ffn.{x}": fused("mlp.gate_up_proj", x) for x in ("gate", "up")}}


def _glm(c: Config, family: str, norms: str) -> Arch:
    s, norm = sizes(c), rms(c)
    rotary = read_rope(c, s.head_dim, partial=0.5, interleaved=True)
    mixer = attention(s, rope=rotary.rope, bias=c.flag("attention_bias"))
    block = Block(mixer, gated(c), norm, norms=norms)
    return arch(c, family, s, [block] * s.layers, norm, rotary.context)


def glm(c: Config) -> Arch:
    """The pairs that are rotated are neighbours; half of the columns are."""
    return _glm(c, "glm", "pre")


def glm4(c: Config) -> Arch:
    """As GLM, with norms after the layers too."""
    return _glm(c, "glm4", "both")


GLMS: Final = {
    "glm": Family(glm, Names(LLAMA_MODEL, BLOCK), DEFAULTS),
    "glm4": Family(
        glm4,
        Names(
            LLAMA_MODEL,
            {**BLOCK, "attention.post": "post_self_attn_layernorm", "ffn.post": "post_mlp_layernorm"},
        ),
        DEFAULTS,
    ),
}
"""Families by ``model_type``."""
