"""Describes the network of a GGUF file, from its metadata, the names of its tensors, and its family.

The keys are those of the GGUF specification and of llama.cpp. Whatever key of the architecture is not read
here must have a value that changes nothing (:mod:`.gguf_metadata`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from proofcompute.errors import FormatError, LimitError, UnsupportedError
from proofcompute.importers import rope_scaling
from proofcompute.importers.architecture import Arch, Attention, Block, Latent, Mlp, Moe, Norm, Rope
from proofcompute.importers.gguf_families import FAMILIES, Experts, Family
from proofcompute.importers.gguf_fields import Fields
from proofcompute.importers.gguf_metadata import refuse_others
from proofcompute.importers.gguf_rope import Divisors, Ropes, read_ropes
from proofcompute.importers.gguf_scan import GgufTensor, Value
from proofcompute.limits import MAX_CONTEXT, MAX_SEGMENTS, MAX_VOCABULARY, MAX_WIDTH

__all__ = ["Header", "read_network"]


@dataclass(frozen=True)
class Header:
    """What a file says about its network."""

    architecture: str
    metadata: Mapping[str, Value]
    tensors: Mapping[str, GgufTensor]
    """Name -> tensor."""
    divisors: Divisors
    """The reader of tensors that divide rotary frequencies."""


@dataclass(frozen=True)
class _Reader:
    """A file that is being read."""

    header: Header
    fields: Fields
    family: Family
    width: int
    layers: int
    heads: int
    kv_heads: int

    def has(self, name: str, layer: int = 0) -> bool:
        """Return whether a layer has a tensor."""
        return f"blk.{layer}.{name}" in self.header.tensors

    def norm(self, tensor: str) -> Norm:
        """Return the kind of a norm with the tensor's name, whole."""
        layer = self.family.norm == "layer"
        eps = "attention.layer_norm_epsilon" if layer else "attention.layer_norm_rms_epsilon"
        bias = layer and f"{tensor}.bias" in self.header.tensors
        return Norm(self.family.norm, self.fields.positive(eps), bias=bias)


def read_network(header: Header, tokens: int, context: int | None, notes: list[str]) -> Arch:
    """Return the network of a file whose vocabulary has ``tokens`` tokens.

    ``context`` is how many positions the caller wants; None for as many as the model supports. Raises
    FormatError, LimitError or UnsupportedError, which name the key.
    """
    architecture, metadata = header.architecture, header.metadata
    fields, family = Fields(metadata, f"{architecture}."), FAMILIES[architecture]
    width = fields.integer("embedding_length", 1, MAX_WIDTH)
    heads = fields.integer("attention.head_count", 1, MAX_WIDTH)
    kv_heads = fields.integer("attention.head_count_kv", 1, MAX_WIDTH, heads)
    if heads % kv_heads:
        raise FormatError(f"{heads} heads cannot share {kv_heads} key/value heads evenly")
    if fields.integer("vocab_size", 1, MAX_VOCABULARY, tokens) != tokens:
        raise FormatError(f"{architecture}.vocab_size disagrees with the {tokens} tokens of the tokenizer")
    layers = fields.integer("block_count", 1, MAX_SEGMENTS)
    # each layer has tensors of its own, so the size of the file bounds what is built next
    if layers > len(header.tensors):
        raise FormatError(f"{layers} layers, but only {len(header.tensors)} tensors")
    reader = _Reader(header, fields, family, width, layers, heads, kv_heads)
    supported = fields.integer("context_length", 1, MAX_CONTEXT)
    blocks, positions = _blocks(reader, supported, context, notes)
    arch = Arch(
        family=architecture,
        width=width,
        vocabulary=tokens,
        context=positions,
        blocks=blocks,
        norm=reader.norm("output_norm"),
        tied="output.weight" not in header.tensors,
        embed_scale=_embed_scale(reader),
        positions=supported if family.positions else 0,
        logit_scale=_logit_scale(reader),
        final_softcap=0.0
        if family.final_softcap < 0
        else fields.number("final_logit_softcapping", family.final_softcap),
        head_bias="output.bias" in header.tensors,
    )
    refuse_others(metadata, f"{architecture}.", fields.unread(), "the arithmetic")
    return arch


def _blocks(
    r: _Reader, supported: int, context: int | None, notes: list[str]
) -> tuple[tuple[Block, ...], int]:
    """Return the blocks, and for how many positions they are meant."""
    whole, ropes = _attention(r, supported, context, notes)
    windows = _windows(r)
    norm, placed = r.norm("blk.0.attn_norm"), _placement(r)
    if r.family.norms == "post":
        norm = r.norm("blk.0.post_attention_norm")
    ffns = _ffns(r)
    residual = (r.fields.number("residual_scale", 1.0) or 1.0) if r.family.scales else 1.0
    rotates = _rotates(r, windows)
    blocks: list[Block] = []
    for window, ffn, turned in zip(windows, ffns, rotates, strict=True):
        rope: Rope | None = None
        if ropes is not None and turned:
            rope = ropes.local if window else ropes.full
        block = Block(
            replace(whole, rope=rope, window=window),
            ffn,
            norm,
            norms=r.family.norms,
            parallel=placed,
            residual=residual,
        )
        blocks.append(blocks[-1] if blocks and blocks[-1] == block else block)
    return tuple(blocks), supported if ropes is None else min(supported, ropes.context)


def _placement(r: _Reader) -> str:
    kind = r.family.parallel
    if kind == "key":
        return "two" if r.fields.flag("use_parallel_residual", default=True) else ""
    if kind == "seen":
        r.fields.flag("use_parallel_residual", default=False)  # llama.cpp goes by the tensor
        return "" if r.has("ffn_norm.weight") else "one"
    return kind


def _attention(
    r: _Reader, supported: int, context: int | None, notes: list[str]
) -> tuple[Attention, Ropes | None]:
    """Return the attention of all blocks, without rope and window, and the ropes."""
    f = r.fields
    if not f.has("attention.key_length") and r.width % r.heads:
        raise FormatError(f"a width of {r.width} cannot be cut into {r.heads} heads")
    columns = f.integer("attention.key_length", 1, MAX_WIDTH, r.width // r.heads)
    values = f.integer("attention.value_length", 1, MAX_WIDTH, columns)
    latent = _latent(r) if r.family.latent else None
    if latent is not None:
        rotated = latent.rope
        columns = latent.nope + latent.rope
        values = f.integer("attention.value_length_mla", 1, MAX_WIDTH)
    elif values != columns:
        raise UnsupportedError("keys and values of different lengths are not supported")
    else:
        rotated = columns
    ropes = None
    if r.family.rope != "none":
        ropes = read_ropes(f, r.family, rotated, supported, r.header.divisors, context, notes)
    whole = Attention(
        heads=r.heads,
        kv_heads=r.heads if latent is not None else r.kv_heads,
        head_dim=columns,
        v_dim=values,
        scale=_scale(r, columns, ropes),
        softcap=f.number("attn_logit_softcapping", r.family.softcap) if r.family.softcap else 0.0,
        sinks=r.family.sinks,
        bias=r.has("attn_q.bias") or r.has("attn_qkv.bias") or r.has("attn_kv_a_mqa.bias"),
        o_bias=r.has("attn_output.bias"),
        latent=latent,
    )
    kind = r.family.qk_norm
    if kind and (kind != "heads" or r.has("attn_q_norm.weight")):
        whole = replace(whole, qk_norm=kind, norm=replace(r.norm("blk.0.attn_q_norm"), bias=False))
    return whole, ropes


def _latent(r: _Reader) -> Latent:
    f = r.fields
    rope = f.integer("rope.dimension_count", 2, MAX_WIDTH)
    columns = f.integer("attention.key_length_mla", rope + 1, MAX_WIDTH)
    return Latent(
        q_rank=f.integer("attention.q_lora_rank", 0, MAX_WIDTH, 0),
        kv_rank=f.integer("attention.kv_lora_rank", 1, MAX_WIDTH),
        nope=columns - rope,
        rope=rope,
        norm=r.norm("blk.0.attn_kv_a_norm"),
    )


def _scale(r: _Reader, columns: int, ropes: Ropes | None) -> float:
    if r.family.scales and (given := r.fields.number("attention.scale", 0.0)):
        return given
    by = r.width // r.heads if r.family.scale_of == r.layers else columns
    magnitude = Decimal(1) if ropes is None else ropes.magnitude
    return rope_scaling.inverse_root(by, magnitude * magnitude)


def _windows(r: _Reader) -> Sequence[int]:
    """Return the window of each layer; 0 for none."""
    if not r.family.window:
        return (0,) * r.layers
    default = None if r.family.default_window < 0 else r.family.default_window
    window = r.fields.integer("attention.sliding_window", 0, MAX_CONTEXT, default)
    key = "attention.sliding_window_pattern"
    if r.fields.is_array(key):
        pattern = r.fields.array(key, bool)
        if len(pattern) < r.layers:
            raise FormatError(f"{r.fields.key(key)} has {len(pattern)} elements for {r.layers} layers")
    elif r.family.window == "all":
        pattern = (True,) * r.layers
    else:
        every = r.fields.integer(key, 0, MAX_SEGMENTS, int(r.family.window))
        pattern = tuple(every == 0 or i % every < every - 1 for i in range(r.layers))
    return tuple(window if windowed else 0 for windowed in pattern[: r.layers])


def _rotates(r: _Reader, windows: Sequence[int]) -> Sequence[bool]:
    kind = r.family.rope
    if kind == "windowed" and any(windows):
        return tuple(bool(window) for window in windows)
    if kind == "three":
        return tuple((i + 1) % 4 != 0 for i in range(r.layers))
    if kind == "key":
        return (r.fields.flag("rope.scaling.finetuned", default=True),) * r.layers
    return (kind != "none",) * r.layers


def _ffns(r: _Reader) -> Sequence[Mlp | Moe]:
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


def _moe(r: _Reader, what: Experts, experts: int, width: int) -> Moe:
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
    expert = Mlp(each, r.family.act, bias=r.has("ffn_up_exps.bias", last), alpha=rope_scaling.binary32(what.alpha), limit=what.limit)
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


def _shared(r: _Reader, each: int, width: int, layer: int) -> Mlp | None:
    count = r.fields.integer("expert_shared_count", 0, MAX_WIDTH, 0)
    total = r.fields.integer("expert_shared_feed_forward_length", 0, MAX_WIDTH, 0)
    if not (count or total or r.has("ffn_up_shexp.weight", layer)):
        return None
    total = total or (each * count if count else width)
    if not 1 <= total <= MAX_WIDTH:
        raise LimitError(f"a shared expert of width {total}")
    return Mlp(total, r.family.act)


def _embed_scale(r: _Reader) -> float:
    if r.family.root_embedding:
        return rope_scaling.root(r.width)
    return (r.fields.number("embedding_scale", 1.0) or 1.0) if r.family.scales else 1.0


def _logit_scale(r: _Reader) -> float:
    if not r.family.logits:
        return 1.0
    scale = r.fields.number("logit_scale", 1.0) or 1.0
    return float(np.float32(1) / np.float32(scale)) if r.family.inverse_logits else scale
