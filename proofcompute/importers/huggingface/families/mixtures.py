"""Mixtures of experts: Mixtral, Qwen2-MoE, Qwen3-MoE, OLMoE, gpt-oss."""

from __future__ import annotations

from typing import Any, Final

from proofcompute.errors import FormatError
from proofcompute.importers.architecture import Arch, Attention, Block, Mlp, Moe
from proofcompute.importers.huggingface.config import Config
from proofcompute.importers.huggingface.families.common import (
    LLAMA_BLOCK,
    LLAMA_MODEL,
    Family,
    activation,
    arch,
    attention,
    gated,
    rms,
    sizes,
    sliding,
    window,
)
from proofcompute.importers.huggingface.families.llama import QWEN_SLIDING, windowed
from proofcompute.importers.huggingface.pieces import (
    Names,
    exact,
    experts,
    interleaved_experts,
    transposed_experts,
)
from proofcompute.importers.huggingface.rope import read_rope
from proofcompute.limits import MAX_WIDTH

__all__ = ["EXPERTS", "MIXTURES", "choice"]

MAX_EXPERTS: Final = 1 << 12
"""The most experts of a layer."""

EXPERTS: Final = {
    **LLAMA_BLOCK,
    "ffn.router": "mlp.gate",
    **{f"ffn.experts.{x}": experts("mlp.experts.{}." + f"{x}_proj") for x in ("gate", "up", "down")},
}
"""Names of a block whose experts are stored one by one, as in Qwen's and DeepSeek's models."""


def choice(c: Config, *keys: str) -> tuple[int, int]:
    """Return the number of experts, at one of ``keys``, and how many of them are chosen."""
    given = [key for key in keys if key in c] or [keys[0]]
    count = c.integer(given[0], hi=MAX_EXPERTS)
    for key in keys:
        c.must(key, count)
    chosen = c.integer("num_experts_per_tok")
    if chosen > count:
        raise FormatError(f"{c.key('num_experts_per_tok')} is {chosen}, but there are {count} experts")
    return count, chosen


def mixtral(c: Config) -> Arch:
    """Softmax over all experts, the chosen ones' scores divided by their sum."""
    s, norm = sizes(c), rms(c)
    rotary = read_rope(c, s.head_dim, 1_000_000.0)
    moe = Moe(*choice(c, "num_local_experts", "num_experts"), gated(c), normalise=True)
    mixer = attention(s, rope=rotary.rope, window=c.optional_integer("sliding_window"))
    return arch(c, "mixtral", s, [Block(mixer, moe, norm)] * s.layers, norm, rotary.context)


def _qwen(c: Config, family: str, mixers: list[Attention], moe: Moe, context: int) -> Arch:
    """Return a decoder with dense layers where the configuration says so."""
    s, norm, dense = sizes(c), rms(c), gated(c)
    step, only = c.integer("decoder_sparse_step"), c.integers("mlp_only_layers") or ()
    blocks = [
        Block(mixer, dense if i in only or (i + 1) % step else moe, norm) for i, mixer in enumerate(mixers)
    ]
    return arch(c, family, s, blocks, norm, context)


def qwen2_moe(c: Config) -> Arch:
    """With a shared expert behind a sigmoid."""
    s = sizes(c)
    rotary = read_rope(c, s.head_dim)
    size, last = windowed(c), c.optional_integer("max_window_layers", lo=0)
    kinds = sliding(c, s.layers, lambda i: size > 0 and i % 2 == 0 and i < last)
    mixers = [
        attention(s, rope=rotary.rope, window=w, bias=c.flag("qkv_bias")) for w in window(c, kinds, size)
    ]
    moe = Moe(
        *choice(c, "num_experts", "num_local_experts"),
        gated(c, width="moe_intermediate_size"),
        normalise=c.flag("norm_topk_prob"),
        shared=gated(c, width="shared_expert_intermediate_size"),
        shared_gate=True,
    )
    return _qwen(c, "qwen2_moe", mixers, moe, rotary.context)


def qwen3_moe(c: Config) -> Arch:
    """With norms of queries and keys, and without a shared expert."""
    s, norm, bias = sizes(c), rms(c), c.flag("attention_bias")
    rotary = read_rope(c, s.head_dim)
    c.ignore("max_window_layers")  # all layers have the window, or none
    size = windowed(c)
    mixer = attention(s, rope=rotary.rope, window=size, qk_norm="head", norm=norm, bias=bias, o_bias=bias)
    moe = Moe(
        *choice(c, "num_experts", "num_local_experts"),
        gated(c, width="moe_intermediate_size"),
        normalise=c.flag("norm_topk_prob"),
    )
    return _qwen(c, "qwen3_moe", [mixer] * s.layers, moe, rotary.context)


def olmoe(c: Config) -> Arch:
    """Norms over all queries and all keys, which may be clipped."""
    s, norm, bias = sizes(c), rms(c), c.flag("attention_bias")
    rotary = read_rope(c, s.head_dim)
    clip = c.optional_rounded("clip_qkv")
    mixer = attention(s, rope=rotary.rope, qk_norm="full", norm=norm, bias=bias, o_bias=bias, clip=clip)
    count, chosen = choice(c, "num_experts", "num_local_experts")
    moe = Moe(count, chosen, gated(c), normalise=c.flag("norm_topk_prob"))
    return arch(c, "olmoe", s, [Block(mixer, moe, norm)] * s.layers, norm, rotary.context)


def gpt_oss(c: Config) -> Arch:
    """Sinks, biases everywhere, clipped gates, softmax over the chosen experts only."""
    s, norm, bias = sizes(c), rms(c), c.flag("attention_bias")
    rotary = read_rope(c, s.head_dim, 150_000.0)
    c.ignore("initial_context_length")  # the model reads that of rope_scaling
    count, chosen = choice(c, "num_local_experts", "num_experts")
    c.must("experts_per_token", chosen)
    expert = Mlp(
        c.integer("intermediate_size", hi=MAX_WIDTH),
        activation(c),
        bias=True,
        alpha=c.rounded("swiglu_alpha"),
        limit=c.rounded("swiglu_limit"),
    )
    c.must("hidden_act", "silu")
    moe = Moe(count, chosen, expert, when="after", router_bias=True)
    kinds = sliding(c, s.layers, lambda i: i % 2 == 0)
    blocks = [
        Block(attention(s, rope=rotary.rope, window=w, sinks=True, bias=bias, o_bias=bias), moe, norm)
        for w in window(c, kinds, c.optional_integer("sliding_window"))
    ]
    return arch(c, "gpt_oss", s, blocks, norm, rotary.context)


COMMON: Final[dict[str, Any]] = {
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
QWEN: Final = (
    COMMON
    | QWEN_SLIDING
    | {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "num_hidden_layers": 24,
        "max_position_embeddings": 32768,
        "decoder_sparse_step": 1,
        "norm_topk_prob": False,
    }
)
SHARED: Final = {f"ffn.shared.{x}": f"mlp.shared_expert.{x}_proj" for x in ("gate", "up", "down")}

MIXTURES: Final = {
    "mixtral": Family(
        mixtral,
        Names(
            LLAMA_MODEL,
            {
                **EXPERTS,
                "ffn.experts.gate": experts("mlp.experts.{}.w1"),
                "ffn.experts.up": experts("mlp.experts.{}.w3"),
                "ffn.experts.down": experts("mlp.experts.{}.w2"),
            },
        ),
        COMMON
        | {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "num_experts_per_tok": 2,
            "num_local_experts": 8,
        },
        aliases=((r"\.block_sparse_moe\.", ".mlp."),),
    ),
    "qwen2_moe": Family(
        qwen2_moe,
        Names(LLAMA_MODEL, {**EXPERTS, **SHARED, "ffn.shared.router": "mlp.shared_expert_gate"}),
        QWEN
        | {
            "intermediate_size": 5632,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
            "num_experts_per_tok": 4,
            "num_experts": 60,
            "max_window_layers": 28,
            "qkv_bias": True,
        },
    ),
    "qwen3_moe": Family(
        qwen3_moe,
        Names(LLAMA_MODEL, EXPERTS),
        QWEN
        | {
            "intermediate_size": 6144,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "moe_intermediate_size": 768,
            "num_experts_per_tok": 8,
            "num_experts": 128,
            "attention_bias": False,
        },
    ),
    "olmoe": Family(
        olmoe,
        Names(LLAMA_MODEL, EXPERTS),
        COMMON
        | {
            "vocab_size": 50304,
            "hidden_size": 2048,
            "intermediate_size": 2048,
            "num_hidden_layers": 16,
            "num_attention_heads": 16,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "num_experts_per_tok": 8,
            "num_experts": 64,
            "norm_topk_prob": False,
            "attention_bias": False,
        },
    ),
    "gpt_oss": Family(
        gpt_oss,
        Names(
            LLAMA_MODEL,
            {
                **LLAMA_BLOCK,
                "attention.sinks": exact("self_attn.sinks"),
                "ffn.router": "mlp.router",
                **{
                    f"ffn.experts.{x}": interleaved_experts("mlp.experts.gate_up_proj", x)
                    for x in ("gate", "up")
                },
                "ffn.experts.down": transposed_experts("mlp.experts.down_proj"),
            },
        ),
        COMMON
        | {
            "num_hidden_layers": 36,
            "num_local_experts": 128,
            "vocab_size": 201088,
            "hidden_size": 2880,
            "intermediate_size": 2880,
            "head_dim": 64,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "sliding_window": 128,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "num_experts_per_tok": 4,
            "swiglu_alpha": 1.702,
            "swiglu_limit": 7.0,
            "attention_bias": True,
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 32.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
                "original_max_position_embeddings": 4096,
            },
        },
    ),
}
"""Families by ``model_type``."""
