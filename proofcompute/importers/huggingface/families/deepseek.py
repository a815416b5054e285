"""DeepSeek-V2 and V3: keys and values from a latent vector, experts in groups, shared experts."""

from __future__ import annotations

from typing import Any, Final

from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.importers.architecture import Arch, Attention, Block, Latent, Mlp, Moe, Norm
from proofcompute.importers.huggingface.config import Config
from proofcompute.importers.huggingface.families.common import (
    LLAMA_MODEL,
    Family,
    Sizes,
    arch,
    gated,
    rms,
    sizes,
)
from proofcompute.importers.huggingface.families.mixtures import EXPERTS, choice
from proofcompute.importers.huggingface.pieces import Names, exact
from proofcompute.importers.huggingface.rope import Rotary, read_rope, score_factor
from proofcompute.importers.rope_scaling import binary32, inverse_root
from proofcompute.limits import MAX_WIDTH

__all__ = ["DEEPSEEKS"]


def _attention(c: Config, s: Sizes, *, interleaved: bool) -> tuple[Attention, Rotary]:
    if s.kv_heads != s.heads:
        raise UnsupportedError(f"{c.key('num_key_value_heads')} is {s.kv_heads}, not {s.heads}")
    nope, rope = c.integer("qk_nope_head_dim", hi=1 << 14), c.integer("qk_rope_head_dim", hi=1 << 14)
    c.must("head_dim", rope)
    c.must("qk_head_dim", nope + rope)
    rotary = read_rope(c, rope, interleaved=interleaved)
    bias = c.flag("attention_bias")
    latent = Latent(
        c.optional_integer("q_lora_rank", hi=MAX_WIDTH),
        c.integer("kv_lora_rank", hi=MAX_WIDTH),
        nope,
        rope,
        Norm("rms", binary32(1e-6)),  # not rms_norm_eps
    )
    mixer = Attention(
        s.heads,
        s.heads,
        nope + rope,
        c.integer("v_head_dim", hi=1 << 14),
        inverse_root(nope + rope, score_factor(c)),
        rope=rotary.rope,
        bias=bias,
        o_bias=bias,
        latent=latent,
    )
    return mixer, rotary


def _decoder(
    c: Config, family: str, s: Sizes, mixer: Attention, moe: Moe, context: int, *, bias: bool = False
) -> Arch:
    """Return a decoder whose first layers are dense."""
    norm, dense = rms(c), gated(c, bias=bias)
    first = c.optional_integer("first_k_dense_replace", lo=0)
    c.must("moe_layer_freq", 1)
    blocks = [Block(mixer, dense if i < first else moe, norm) for i in range(s.layers)]
    return arch(c, family, s, blocks, norm, context)


def _groups(c: Config, count: int, chosen: int, size: int) -> dict[str, Any]:
    """Return groups and how many are chosen; each has at least ``size`` experts."""
    groups, top = c.integer("n_group"), c.integer("topk_group")
    if count % groups or count // groups < size:
        raise FormatError(f"{c.key('n_group')} is {groups}, for {count} experts")
    if top > groups or chosen > top * (count // groups):
        raise FormatError(f"{c.key('topk_group')} is {top}, of {groups} groups, for {chosen} experts")
    return {"groups": groups, "top_groups": top}


def deepseek_v2(c: Config) -> Arch:
    """Softmax; optionally the experts of the groups with the best expert."""
    s = sizes(c, head_dim=False)
    mixer, rotary = _attention(c, s, interleaved=True)
    bias = c.flag("mlp_bias")
    c.must("scoring_func", "softmax")
    c.no("norm_topk_prob")  # transformers ignores it, the first implementation did not
    count, chosen = choice(c, "n_routed_experts", "num_experts")
    c.must("topk_method", "greedy", "group_limited_greedy")
    grouped = c.text("topk_method") == "group_limited_greedy"
    groups = _groups(c, count, chosen, 1) if grouped else {}
    c.ignore("n_group", "topk_group")
    moe = Moe(
        count,
        chosen,
        gated(c, width="moe_intermediate_size"),
        scaling=c.rounded("routed_scaling_factor"),
        shared=_shared(c, bias=bias),
        **groups,
    )
    return _decoder(c, "deepseek_v2", s, mixer, moe, rotary.context, bias=bias)


def deepseek_v3(c: Config) -> Arch:
    """Sigmoid; groups by the sum of their two best scores, with a correction for the choice only."""
    s = sizes(c, head_dim=False)
    mixer, rotary = _attention(c, s, interleaved=c.flag("rope_interleave"))
    c.must("scoring_func", "sigmoid")
    c.must("topk_method", "noaux_tc")
    c.ignore("num_nextn_predict_layers", "num_mtp_layers")  # layers that guess further tokens
    count, chosen = choice(c, "n_routed_experts", "num_local_experts", "num_experts")
    moe = Moe(
        count,
        chosen,
        gated(c, width="moe_intermediate_size"),
        score="sigmoid",
        normalise=c.flag("norm_topk_prob"),
        scaling=c.rounded("routed_scaling_factor"),
        shared=_shared(c),
        correction=True,
        group_score="top2",
        **_groups(c, count, chosen, 2),
    )
    return _decoder(c, "deepseek_v3", s, mixer, moe, rotary.context)


def _shared(c: Config, *, bias: bool = False) -> Mlp:
    """Return the shared experts, which are stored as one that is as wide as all of them."""
    count = c.integer("n_shared_experts", hi=1 << 10)
    one = gated(c, width="moe_intermediate_size", bias=bias)
    return Mlp(count * one.width, one.act, bias=bias)


COMMON: Final[dict[str, Any]] = {
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}
NAMES: Final = Names(
    LLAMA_MODEL,
    {
        **EXPERTS,
        "attention.q_a": "self_attn.q_a_proj",
        "attention.q_a_norm": "self_attn.q_a_layernorm",
        "attention.q_b": "self_attn.q_b_proj",
        "attention.kv_a": "self_attn.kv_a_proj_with_mqa",
        "attention.kv_a_norm": "self_attn.kv_a_layernorm",
        "attention.kv_b": "self_attn.kv_b_proj",
        "ffn.correction": exact("mlp.gate.e_score_correction_bias"),
        **{f"ffn.shared.{x}": f"mlp.shared_experts.{x}_proj" for x in ("gate", "up", "down")},
    },
)

DEEPSEEKS: Final = {
    "deepseek_v2": Family(
        deepseek_v2,
        NAMES,
        COMMON
        | {
            "vocab_size": 102400,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "max_position_embeddings": 2048,
            "mlp_bias": False,
            "first_k_dense_replace": 0,
            "n_routed_experts": 64,
            "n_shared_experts": 2,
            "routed_scaling_factor": 1.0,
            "topk_method": "greedy",
            "moe_intermediate_size": 1407,
        },
    ),
    "deepseek_v3": Family(
        deepseek_v3,
        NAMES,
        COMMON
        | {
            "vocab_size": 129280,
            "hidden_size": 7168,
            "intermediate_size": 18432,
            "moe_intermediate_size": 2048,
            "num_hidden_layers": 61,
            "num_attention_heads": 128,
            "num_key_value_heads": 128,
            "n_shared_experts": 1,
            "n_routed_experts": 256,
            "routed_scaling_factor": 2.5,
            "n_group": 8,
            "topk_group": 4,
            "num_experts_per_tok": 8,
            "first_k_dense_replace": 3,
            "norm_topk_prob": True,
            "max_position_embeddings": 4096,
            "rope_interleave": True,
        },
        ignores_further_layers=True,
    ),
}
"""Families by ``model_type``."""
