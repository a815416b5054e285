"""Says where a GGUF file keeps each tensor of a network: names of llama.cpp, fused and stacked tensors.

Matrices are stored ``[out, in]`` (ggml writes the axes in reverse), experts ``[experts, out, in]``. Queries,
keys and values may be one tensor ``attn_qkv``, in this order; a gate and ``up`` may be one, ``ffn_up``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from proofcompute.importers.architecture import Arch, Moe, tensor_shapes
from proofcompute.importers.gguf_families import FAMILIES

__all__ = ["Heads", "Place", "Run", "places"]

_NAMES: Final[Mapping[str, str]] = {
    "embedding": "token_embd",
    "positions": "position_embd",
    "norm": "output_norm",
    "head": "output",
    "attention.norm": "attn_norm",
    "attention.post": "post_attention_norm",
    "attention.q": "attn_q",
    "attention.k": "attn_k",
    "attention.v": "attn_v",
    "attention.o": "attn_output",
    "attention.q_norm": "attn_q_norm",
    "attention.k_norm": "attn_k_norm",
    "attention.sinks": "attn_sinks",
    "attention.q_a": "attn_q_a",
    "attention.q_a_norm": "attn_q_a_norm",
    "attention.q_b": "attn_q_b",
    "attention.kv_a": "attn_kv_a_mqa",
    "attention.kv_a_norm": "attn_kv_a_norm",
    "attention.kv_b": "attn_kv_b",
    "ffn.post": "post_ffw_norm",
    "ffn.gate": "ffn_gate",
    "ffn.up": "ffn_up",
    "ffn.down": "ffn_down",
    "ffn.router": "ffn_gate_inp",
    "ffn.experts.gate": "ffn_gate_exps",
    "ffn.experts.up": "ffn_up_exps",
    "ffn.experts.down": "ffn_down_exps",
    "ffn.shared.gate": "ffn_gate_shexp",
    "ffn.shared.up": "ffn_up_shexp",
    "ffn.shared.down": "ffn_down_shexp",
    "ffn.shared.router": "ffn_gate_inp_shexp",
}


@dataclass(frozen=True)
class Run:
    """A tensor that is a run of the elements of a stored one."""

    tensor: str
    shape: tuple[int, ...]
    """Shape of the stored tensor."""
    first: int = 0
    """The position of the run's first element."""


@dataclass(frozen=True)
class Heads:
    """The matrix of latent keys and values, which is stored as two, head by head."""

    keys: Run
    """``[heads, kv_rank, nope]``: transposed."""
    values: Run
    """``[heads, v_dim, kv_rank]``."""


Place = Run | Heads


def places(arch: Arch, stored: Collection[str]) -> dict[str, Place]:
    """Return where each tensor of ``arch``, by canonical name, is in a file with the tensors ``stored``."""
    shapes = tensor_shapes(arch)
    return {name: _place(name, shape, shapes, arch, stored) for name, shape in shapes.items()}


def _place(
    name: str,
    shape: tuple[int, ...],
    shapes: Mapping[str, tuple[int, ...]],
    arch: Arch,
    stored: Collection[str],
) -> Place:
    base, bias = name.removesuffix(".bias"), name.endswith(".bias")
    suffix = ".bias" if bias else ".weight"
    if not base.startswith("layers."):
        return Run(_NAMES[base] + suffix, shape)
    _, layer, rest = base.split(".", 2)
    block, blk = arch.blocks[int(layer)], f"blk.{layer}."
    if rest in ("attention.q", "attention.k", "attention.v") and f"{blk}attn_qkv{suffix}" in stored:
        return _fused(f"{blk}attn_qkv{suffix}", base, ("q", "k", "v"), shapes, bias)
    if rest in ("ffn.gate", "ffn.up") and FAMILIES[arch.family].fused:
        return _fused(f"{blk}ffn_up{suffix}", base, ("gate", "up"), shapes, bias)
    a, latent = block.attention, block.attention.latent
    if rest == "attention.kv_b" and latent is not None and f"{blk}attn_kv_b.weight" not in stored:
        return Heads(
            Run(f"{blk}attn_k_b.weight", (a.heads, latent.kv_rank, latent.nope)),
            Run(f"{blk}attn_v_b.weight", (a.heads, a.v_dim, latent.kv_rank)),
        )
    if rest == "ffn.correction":
        return Run(f"{blk}exp_probs_b.bias", shape)
    if rest == "ffn.norm":
        return Run(f"{blk}{FAMILIES[arch.family].ffn_norm}{suffix}", shape)
    full = f"{blk}{_NAMES[rest]}{suffix}"
    if rest.startswith("ffn.experts.") and isinstance(block.ffn, Moe):
        experts = block.ffn.experts
        return Run(full, (experts, shape[0] // experts, *shape[1:]))
    if rest == "ffn.shared.router":
        return Run(full, shape[1:])
    if rest in ("attention.q_norm", "attention.k_norm") and a.qk_norm == "heads":
        return Run(full, (shape[0] // a.head_dim, a.head_dim))
    return Run(full, shape)


def _fused(
    tensor: str, name: str, parts: tuple[str, ...], shapes: Mapping[str, tuple[int, ...]], bias: bool
) -> Run:
    """Return the run of a part of a tensor that stacks the siblings ``parts`` of ``name``."""
    parent, _, own = name.rpartition(".")
    sizes = [shapes[f"{parent}.{part}" + (".bias" if bias else "")] for part in parts]
    before = sum(math.prod(shape) for shape in sizes[: parts.index(own)])
    return Run(tensor, (sum(shape[0] for shape in sizes), *sizes[0][1:]), before)
