"""Turns the description of a decoder into a program: an embedding, a segment per block, a head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proofcompute.encoding.wire import f32_bits
from proofcompute.errors import UnsupportedError
from proofcompute.importers.architecture import Arch, Norm, tensor_shapes
from proofcompute.importers.compiling.blocks import BlockDraft
from proofcompute.importers.compiling.draft import Draft, Recipe
from proofcompute.importers.compiling.precision import Precision
from proofcompute.limits import MAX_CONTEXT
from proofcompute.program.operations import Embed, Linear, RmsNorm, Sample
from proofcompute.program.program import Program
from proofcompute.program.types import Spec, WeightSpec

__all__ = ["DecoderPlan", "decoder_program", "plan_decoder"]


@dataclass(frozen=True)
class DecoderPlan:
    """A program, and how its weights are made."""

    program: Program
    recipes: Mapping[str, Recipe]
    """Name of a weight -> the tensors of the checkpoint that it is made of."""


def decoder_program(arch: Arch, precision: Precision) -> Program:
    """Return the program of a decoder. Raises as :func:`plan_decoder`."""
    return plan_decoder(arch, precision).program


def plan_decoder(arch: Arch, precision: Precision) -> DecoderPlan:
    """Return the program of a decoder, and how its weights are made.

    Raises UnsupportedError, which names it, for a part that this version cannot express, and LimitError for
    a program beyond the limits.
    """
    _refuse(arch)
    draft = Draft(tensor_shapes(arch))
    table = draft.weight(WeightSpec("embedding", "matrix", (arch.vocabulary, arch.width)), "embedding")
    x = draft.node("embed", Embed(table), ("tokens",), "x.0")
    draft.cut("embedding", {x: (x,)})
    for i, block in enumerate(arch.blocks):
        x = BlockDraft(draft, precision, arch.width, i, block).write(x)
    _head(draft, arch, precision, x)
    program = Program(
        inputs=(("tokens", Spec("i32", ())),),
        outputs=("next",),
        feedback=True,
        context=min(arch.context, MAX_CONTEXT),
        weights=tuple(draft.weights),
        committed=tuple(draft.committed),
        segments=tuple(draft.segments),
    )
    return DecoderPlan(program, draft.recipes)


def _head(draft: Draft, arch: Arch, precision: Precision, x: str) -> None:
    norm = draft.weight(WeightSpec("norm", "constant", (arch.width,), "f32"), "norm")
    head = "embedding"
    if not arch.tied or precision.w_limbs == 2:  # a table has one limb
        spec = WeightSpec("head", "matrix", (arch.vocabulary, arch.width), limbs=precision.w_limbs)
        head = draft.weight(spec, "embedding" if arch.tied else "head")
    draft.node("norm", RmsNorm(norm, f32_bits(arch.norm.eps)), (x,), "final")
    draft.node("logits", Linear(head, precision.head_limbs), ("final",), "logits")
    draft.node("sample", Sample(), ("logits", "tokens"), "next")
    draft.cut("head", {})


def _refuse(arch: Arch) -> None:
    plain = Norm("rms", arch.norm.eps)
    for what, present in (
        ("a norm before the head other than a plain RMS norm", arch.norm != plain),
        ("a scaled embedding", arch.embed_scale != 1),
        ("learned positions", arch.positions),
        ("scaled logits", arch.logit_scale != 1),
        ("a cap of the logits", arch.final_softcap),
        ("a bias of the head", arch.head_bias),
    ):
        if present:
            raise UnsupportedError(f"a decoder with {what} is not supported")
