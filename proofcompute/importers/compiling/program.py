"""Turns the description of a decoder into a program: an embedding, a segment per block, a head.

Constant factors cost no operation: those of embeddings and residuals go into the scales of matrices, those of
logits into the norm before the head, or into the head. If the embedding is the head too, what scales embedded
tokens is taken back by that norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proofcompute.importers.architecture import Arch, tensor_shapes
from proofcompute.importers.compiling.activations import capped
from proofcompute.importers.compiling.blocks import BlockDraft
from proofcompute.importers.compiling.draft import Draft, Fold, Recipe
from proofcompute.importers.compiling.precision import NEAREST, Precision
from proofcompute.limits import MAX_CONTEXT
from proofcompute.program import operations as ops
from proofcompute.program.program import Program
from proofcompute.program.types import Spec

__all__ = ["DecoderPlan", "decoder_program", "plan_decoder"]


@dataclass(frozen=True)
class DecoderPlan:
    """A program, and how its weights are made."""

    program: Program
    recipes: Mapping[str, Recipe]
    """Name of a weight -> what it is made of."""
    folds: tuple[Fold, ...]
    """Where scales can be folded in, in the order of the computation."""


def decoder_program(arch: Arch, precision: Precision) -> Program:
    """Return the program of a decoder. Raises as :func:`plan_decoder`."""
    return plan_decoder(arch, precision).program


def plan_decoder(arch: Arch, precision: Precision) -> DecoderPlan:
    """Return the program of a decoder, and how its weights are made.

    Raises UnsupportedError, which names it, for a part that this version cannot express, and LimitError for
    a program beyond the limits.
    """
    draft = Draft(tensor_shapes(arch), precision.exact)
    x = _embedding(draft, arch, precision)
    for i, block in enumerate(arch.blocks):
        x = BlockDraft(draft, precision, i, block).write(x)
    _head(draft, arch, precision, x)
    context = min(arch.context, MAX_CONTEXT, *((arch.positions,) if arch.positions else ()))
    program = Program(
        inputs=(("tokens", Spec("i32", ())),),
        outputs=("next",),
        feedback=True,
        context=context,
        weights=tuple(draft.weights.values()),
        committed=tuple(draft.committed),
        segments=tuple(draft.segments),
    )
    return DecoderPlan(program, draft.recipes, tuple(draft.folds))


def _embedding(draft: Draft, arch: Arch, precision: Precision) -> str:
    recipe = Recipe(("embedding",), factor=arch.embed_scale)
    table = draft.matrix("embedding", recipe, precision.w_limbs)
    if not arch.positions:
        x = draft.node("embed", ops.Embed(table), ("tokens",), "x.0")
    else:
        tokens = draft.add("embed", ops.Embed(table), "tokens")
        positions = draft.constant("positions", (arch.positions, arch.width), Recipe(("positions",)))
        every = draft.add("positions.all", ops.Constant(positions))
        own = draft.add("positions", ops.Take(), every, draft.add("positions.row", ops.Position()))
        x = draft.node("embed.add", ops.Add(), (tokens, own), "x.0")
    draft.cut("embedding", {x: (x,)})
    return x


def _head(draft: Draft, arch: Arch, precision: Precision, x: str) -> None:
    nearest = precision.rounding == NEAREST
    same = nearest and precision.limbs("head") == precision.limbs("embedding")
    shared = arch.tied and not arch.head_bias and same
    factor = arch.logit_scale / arch.embed_scale if shared else 1.0
    final = draft.norm("norm", arch.norm, x, "norm", factor=factor, out="final")
    head = "embedding"
    if not shared:
        tensor = "embedding" if arch.tied else "head"
        recipe = Recipe((tensor,), factor=arch.logit_scale, own="" if nearest else "head")
        head = draft.matrix("head", recipe, precision.w_limbs, bias=arch.head_bias)
        if not nearest:
            absorb = tuple(name for name in ("norm", "norm.bias") if name in draft.shapes)
            draft.folds.append(Fold(("head",), (tensor,), absorb, own="head"))
    logits = draft.add("logits", ops.Linear(head, precision.head_limbs), final)
    if arch.final_softcap:
        logits = capped(draft, logits, arch.final_softcap, "logits")
    draft.node("sample", ops.Sample(), (logits, "tokens"), "next")
    draft.cut("head", {})
