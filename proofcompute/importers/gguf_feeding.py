"""Describes the feed-forward layers of a GGUF file, dense and of experts."""

from __future__ import annotations

from collections.abc import Sequence

from proofcompute.errors import FormatError, LimitError, UnsupportedError
from proofcompute.importers import rope_scaling
from proofcompute.importers.architecture import Mlp, Moe
from proofcompute.importers.gguf_families import Experts
from proofcompute.importers.gguf_fields import Fields
from proofcompute.importers.gguf_reader import Reader
from proofcompute.limits import MAX_SEGMENTS, MAX_WIDTH

__all__ = ["read_ffns"]


def read_ffns(r: Reader) -> Sequence[Mlp | Moe]:
    """Return the feed-forward layer of each block. Raises as :func:`.gguf_network.read_network`."""
    f, family = r.fields, r.family
    what = family.experts
    experts = f.integer("expert_count", 0, MAX_WIDTH, 0) if what is not None else 0
    has_width = f.has("feed_forward_length") or not experts
    width = f.integer("feed_forward_length", 1, MAX_WIDTH) if has_width else 0
    dense = Mlp(width, family.act, family.gated, bias=r.has("ffn_up.bias"))
    if what is None or not experts:
        return (dense,) * r.layers
    leading = f.integer("leading_dense_block_count", 0, MAX_SEGMENTS, 0)
    if leading and not width:
        f.integer("feed_forward_length", 1, MAX_WIDTH)  # says that it is missing
    moe = _moe(r, what, experts, width)
    return tuple(dense if i < leading else moe for i in range(r.layers))


def _moe(r: Reader, what: Experts, experts: int, width: int) -> Moe:
    f = r.fields
    top_k = f.integer("expert_used_count", 1, experts)
    each = f.integer("expert_feed_forward_length", 0, MAX_WIDTH, 0) or width
    if not each:
        raise FormatError(f"metadata key {f.key('expert_feed_forward_length')} is missing")
    last = r.layers - 1
    score = ("softmax", "softmax", "sigmoid")[_gating(f)]
    groups = f.integer("expert_group_count", 0, experts, 1) or 1
    if experts % groups:
        raise FormatError(f"{experts} experts cannot be divided into {groups} groups")
    correction = r.has("exp_probs_b.bias", last)
    expert = Mlp(
        each,
        r.family.act,
        bias=r.has("ffn_up_exps.bias", last),
        alpha=rope_scaling.binary32(what.alpha),
        limit=what.limit,
    )
    return Moe(
        experts=experts,
        top_k=top_k,
        expert=expert,
        score=score,
        when=what.when,
        normalise=f.flag("expert_weights_norm", default=what.normalise),
        scaling=f.number("expert_weights_scale", 1.0) or 1.0,
        shared=_shared(r, each, width, last),
        shared_gate=what.shared_gate,
        groups=groups,
        top_groups=f.integer("expert_group_used_count", 0, groups, 1) or 1,
        group_score="top2" if correction else "max",
        correction=correction,
        router_bias=r.has("ffn_gate_inp.bias", last),
    )


def _gating(f: Fields) -> int:
    kind = f.integer("expert_gating_func", 0, MAX_WIDTH, 0)
    if kind > 2:
        raise UnsupportedError(f"{f.key('expert_gating_func')} is {kind}; supported are 1 and 2")
    return kind


def _shared(r: Reader, each: int, width: int, layer: int) -> Mlp | None:
    count = r.fields.integer("expert_shared_count", 0, MAX_WIDTH, 0)
    total = r.fields.integer("expert_shared_feed_forward_length", 0, MAX_WIDTH, 0)
    if not (count or total or r.has("ffn_up_shexp.weight", layer)):
        return None
    total = total or (each * count if count else width)
    if not 1 <= total <= MAX_WIDTH:
        raise LimitError(f"a shared expert of width {total}")
    return Mlp(total, r.family.act)
