"""A small family of models with random weights, of which each attack applies to one at least."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.attacks.target import Target, suitable
from proofcompute.importers import rope_scaling
from proofcompute.importers.architecture import Arch, Attention, Block, Latent, Mlp, Moe, Norm, Rope
from proofcompute.models.model import Model
from proofcompute.testing.models import TINY, random_chat_model

__all__ = ["BUILTIN", "builtin"]

_NORM: Final = Norm("rms", TINY.arch.norm.eps)
_VOCABULARY: Final = TINY.vocabulary


def _arch(blocks: tuple[Block, ...]) -> Arch:
    return Arch(
        family="built in",
        width=32,
        vocabulary=_VOCABULARY,
        context=96,
        blocks=blocks,
        norm=_NORM,
        tied=False,
    )


def _attending() -> Arch:
    """Attention with a window, a cap, sinks and a scaled rotation."""
    attention = Attention(
        heads=4,
        kv_heads=2,
        head_dim=8,
        v_dim=8,
        scale=rope_scaling.inverse_root(8),
        rope=Rope(rope_scaling.plain(10_000.0, 8), interleaved=False, scale=1.25),
        window=5,
        softcap=0.75,
        sinks=True,
        bias=True,
    )
    return _arch(tuple(Block(replace(attention, window=w), Mlp(48, "silu"), _NORM) for w in (5, 0)))


def _mixture() -> Arch:
    """Latent attention, and experts in groups whose scores are corrected, after a dense layer."""
    latent = Latent(q_rank=0, kv_rank=16, nope=8, rope=8, norm=_NORM)
    attention = Attention(
        heads=4,
        kv_heads=4,
        head_dim=16,
        v_dim=8,
        scale=rope_scaling.inverse_root(16),
        rope=Rope(rope_scaling.plain(10_000.0, 8), interleaved=True),
        latent=latent,
    )
    moe = Moe(
        experts=8,
        top_k=2,
        expert=Mlp(24, "silu"),
        score="sigmoid",
        normalise=True,
        shared=Mlp(24, "silu"),
        groups=4,
        top_groups=2,
        group_score="top2",
        correction=True,
    )
    return _arch((Block(attention, Mlp(48, "silu"), _NORM), Block(attention, moe, _NORM)))


def _made(arch: Arch, precision: str) -> Callable[[Kernels], Model]:
    return lambda kernels: random_chat_model(kernels, 0, precision, arch)


BUILTIN: Final[Mapping[str, Callable[[Kernels], Model]]] = {
    "plain": _made(TINY.arch, "w8a16"),
    "attending": _made(_attending(), "w16a16"),
    "mixture": _made(_mixture(), "w8a16"),
}
"""The models by name: one of the Llama kind, one with every option of attention, one with experts."""


def builtin(name: str, kernels: Kernels, seed: int = 0) -> Target:
    """Return a model of the family as a target."""
    return suitable(BUILTIN[name](kernels), kernels, seed)
