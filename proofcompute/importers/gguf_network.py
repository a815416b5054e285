"""Describes the network of a GGUF file, from its metadata, the names of its tensors, and its family.

The keys are those of the GGUF specification and of llama.cpp. Whatever key of the architecture is not read
here must have a value that changes nothing (:mod:`.gguf_metadata`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.importers import rope_scaling
from proofcompute.importers.architecture import Arch, Attention, Block, Latent, Moe, Rope
from proofcompute.importers.gguf_families import FAMILIES
from proofcompute.importers.gguf_feeding import read_ffns
from proofcompute.importers.gguf_fields import Fields
from proofcompute.importers.gguf_metadata import refuse_others
from proofcompute.importers.gguf_reader import Header, Reader
from proofcompute.importers.gguf_rope import Ropes, read_ropes
from proofcompute.limits import MAX_CONTEXT, MAX_SEGMENTS, MAX_VOCABULARY, MAX_WIDTH

__all__ = ["read_network"]


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
    reader = Reader(header, fields, family, width, layers, heads, kv_heads)
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
    mixture = any(isinstance(block.ffn, Moe) for block in blocks)
    for key, note in family.unsaid.items():
        if not fields.has(key) and (mixture or not key.startswith("expert_")):
            notes.append(f"{note} ({fields.key(key)})")
    return arch


def _blocks(
    r: Reader, supported: int, context: int | None, notes: list[str]
) -> tuple[tuple[Block, ...], int]:
    """Return the blocks, and for how many positions they are meant."""
    whole, ropes = _attention(r, supported, context, notes)
    windows = _windows(r)
    norm, placed = r.norm("blk.0.attn_norm"), _placement(r)
    if r.family.norms == "post":
        norm = r.norm("blk.0.post_attention_norm")
    ffns = read_ffns(r)
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


def _placement(r: Reader) -> str:
    kind = r.family.parallel
    if kind == "key":
        return "two" if r.fields.flag("use_parallel_residual", default=True) else ""
    if kind == "seen":
        r.fields.flag("use_parallel_residual", default=False)  # llama.cpp goes by the tensor
        return "" if r.has("ffn_norm.weight") else "one"
    return kind


def _attention(
    r: Reader, supported: int, context: int | None, notes: list[str]
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


def _latent(r: Reader) -> Latent:
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


def _scale(r: Reader, columns: int, ropes: Ropes | None) -> float:
    if r.family.scales and (given := r.fields.number("attention.scale", 0.0)):
        return given
    by = r.width // r.heads if r.family.scale_of == r.layers else columns
    magnitude = Decimal(1) if ropes is None else ropes.magnitude
    return rope_scaling.inverse_root(by, magnitude * magnitude)


def _windows(r: Reader) -> Sequence[int]:
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


def _rotates(r: Reader, windows: Sequence[int]) -> Sequence[bool]:
    kind = r.family.rope
    if kind == "windowed" and any(windows):
        return tuple(bool(window) for window in windows)
    if kind == "three":
        return tuple((i + 1) % 4 != 0 for i in range(r.layers))
    if kind == "key":
        return (r.fields.flag("rope.scaling.finetuned", default=True),) * r.layers
    return (kind != "none",) * r.layers


def _embed_scale(r: Reader) -> float:
    if r.family.root_embedding:
        return rope_scaling.root(r.width)
    return (r.fields.number("embedding_scale", 1.0) or 1.0) if r.family.scales else 1.0


def _logit_scale(r: Reader) -> float:
    if not r.family.logits:
        return 1.0
    scale = r.fields.number("logit_scale", 1.0) or 1.0
    return float(np.float32(1) / np.float32(scale)) if r.family.inverse_logits else scale
