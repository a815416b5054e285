"""Models that compute something else than the model they are made from: what cheaters run in its place.

:func:`reweighted` keeps the model id and changes weights; :func:`with_operations` keeps the weights and
changes what the program does, so its id is another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from proofcompute.arithmetic.kernels import Matrix
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.program.operations import Add, Attention, Linear
from proofcompute.program.types import Node

__all__ = ["four_bits", "one_limb", "reweighted", "short_context", "with_operations", "without_block"]


def reweighted(model: Model, change: Callable[[str, Matrix], Matrix]) -> Model:
    """Return the model with ``change(name, matrix)`` in place of each matrix, under the same id."""
    weights = {n: change(n, w) if isinstance(w, Matrix) else w for n, w in model.weights.items()}
    return Model(model.card, weights)


def with_operations(model: Model, change: Callable[[Node], Node]) -> Model:
    """Return a model of the same weights in which ``change`` was applied to every operation."""
    card = model.card
    segments = tuple(replace(s, nodes=tuple(map(change, s.nodes))) for s in card.program.segments)
    program = replace(card.program, segments=segments)
    return Model(ModelCard(program, card.tokenizer, card.template, card.roots), model.weights)


def four_bits(model: Model) -> Model:
    """Return the model with weights of four bits; tables stay true, as their rows are opened and proved."""
    tables = {weight for plan in model.program.plans for weight, _ in plan.tables}

    def rounded(name: str, w: Matrix) -> Matrix:
        if name in tables:
            return w
        high = np.clip((w.q[:1].astype(np.int16) + 8) >> 4 << 4, -128, 112).astype(np.int8)
        return replace(w, q=np.concatenate([high, np.zeros_like(w.q[1:])]))

    return reweighted(model, rounded)


def one_limb(model: Model) -> Model:
    """Return the model with one limb of activations in every product of a weight."""

    def coarse(node: Node) -> Node:
        return replace(node, op=replace(node.op, limbs=1)) if isinstance(node.op, Linear) else node

    return with_operations(model, coarse)


def short_context(model: Model, window: int) -> Model:
    """Return the model with attention over the last ``window`` positions only."""

    def short(node: Node) -> Node:
        return replace(node, op=replace(node.op, window=window)) if isinstance(node.op, Attention) else node

    return with_operations(model, short)


def without_block(model: Model) -> Model:
    """Return the model with a middle block that adds nothing to its residual stream."""
    blocks = [s for s in model.program.segments if any(isinstance(n.op, Attention) for n in s.nodes)]
    nodes = blocks[len(blocks) // 2].nodes
    added = {name for n in nodes if isinstance(n.op, Add) for name in n.inputs}
    ends = {n.op.weight for n in nodes if isinstance(n.op, Linear) and added.intersection(n.outputs)}

    def emptied(name: str, w: Matrix) -> Matrix:
        if name not in ends:
            return w
        bias = None if w.bias is None else np.zeros_like(w.bias)
        return Matrix(np.zeros_like(w.q), w.scale, bias)

    return reweighted(model, emptied)
