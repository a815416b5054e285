"""Nodes that run other weights than those of the model that they claim to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import Array
from proofcompute.attacks.attack import Cheat, in_blocks, in_first, in_middle
from proofcompute.attacks.target import NotApplicable, Target
from proofcompute.models.card import Weight
from proofcompute.models.model import Model
from proofcompute.program.operations import Attention, LayerNorm, RmsNorm
from proofcompute.testing.altered import four_bits, reweighted, without_block
from proofcompute.testing.forging import Forgery

__all__ = ["WEIGHTS"]

Change = Callable[[Array], Array]


# -- other weights -----------------------------------------------------------------------------------------
def scaled(w: Matrix, change: Change) -> Matrix:
    """Return a matrix with ``change`` applied to its elements, which it gets as int16."""
    q = np.clip(change(w.q.astype(np.int16)), -128, 127)
    return Matrix(np.ascontiguousarray(q.astype(np.int8)), w.scale, w.bias)


def _matrix(pick: Callable[[Target], str], change: Change) -> Callable[[Target], Forgery]:
    def build(t: Target) -> Forgery:
        name = pick(t)
        return t.forge(runs=reweighted(t.model, lambda n, w: scaled(w, change) if n == name else w))

    return build


def _in_blocks(change: Callable[[Matrix, np.random.Generator], Matrix]) -> Callable[[Target], Forgery]:
    """Change every matrix that a block multiplies with."""

    def build(t: Target) -> Forgery:
        names = {name for block in t.blocks for name in t.products(block)} - t.tables
        rng = np.random.default_rng(1)
        return t.forge(runs=reweighted(t.model, lambda n, w: change(w, rng) if n in names else w))

    return build


def _tuned(w: Matrix, rng: np.random.Generator) -> Matrix:
    """Move one weight in a hundred by one."""
    return scaled(w, lambda q: q + (rng.random(q.shape) < 0.01))


def _pruned(w: Matrix, rng: np.random.Generator) -> Matrix:
    """Clear the smaller half of the weights."""
    size = np.abs(w.q[..., 0, :, :].astype(np.int16))
    keep = size > np.median(size)
    return Matrix(w.q * keep[..., np.newaxis, :, :], w.scale, w.bias)


def _bump(q: Array) -> Array:
    """The smallest change of a matrix: one weight by one."""
    q = q.copy()
    q[..., 0, 3, 5] += np.where(q[..., 0, 3, 5] < 127, 1, -1)
    return q


def _another_model(t: Target) -> Forgery:
    return t.forge(runs=Model(t.card, t.another_model.weights))


def _layer_of_another(t: Target) -> Forgery:
    mine, other = t.model.weights, t.another_model.weights
    layer = set(t.weights(t.middle)) - t.tables
    return t.forge(runs=Model(t.card, {n: (other if n in layer else mine)[n] for n in mine}))


def _two_layers_swapped(t: Target) -> Forgery:
    a, b = t.two_blocks
    names = dict(zip(t.weights(a), t.weights(b), strict=True))
    names |= {theirs: own for own, theirs in names.items()}
    weights = t.model.weights
    return t.forge(runs=Model(t.card, {n: weights[names.get(n, n)] for n in weights}))


def _head_zeroed(t: Target) -> Forgery:
    """The rows of the second query head are zero."""
    node = _attention(t)
    if node.op.latent or node.op.heads < 2:
        raise NotApplicable("no second head of queries of its own")
    columns = t.model.program.specs[node.inputs[0]].size // node.op.heads

    def clear(q: Array) -> Array:
        q = q.copy()
        q[..., columns : 2 * columns, :] = 0
        return q

    return _matrix(lambda t: t.products(t.first)[0], clear)(t)


def _attention(t: Target) -> Any:
    """Return the node of attention in the first block."""
    return next(n for n in t.model.program.segments[t.first].nodes if isinstance(n.op, Attention))


def _pruned_layers(t: Target) -> Forgery:
    """Every second block gives what it got: its rows are committed as if they had been computed."""
    if len(t.blocks) < 2:
        raise NotApplicable("one block only")
    entries = {t.exit(b): t.entry(b) for b in t.blocks[1::2]}
    held: dict[str, Array] = {}

    def write(name: str, first: int, rows: Array) -> Array:
        held[name] = rows = held[entries[name]].copy() if name in entries else rows
        return rows

    return t.forge(write_as=write)


def _without(pick: Callable[[Target], str]) -> Callable[[Target], Forgery]:
    return _matrix(pick, np.zeros_like)


def _inner(t: Target) -> str:
    """Return the last product but one of the middle block: the wide one of its feed-forward layer."""
    return t.products(t.middle)[-2:][0]


def _table(t: Target) -> str:
    return t.plans[t.embedding].tables[0][0]


def _row_of_table(t: Target) -> Forgery:
    """One token of the prompt has another embedding."""
    name, token = _table(t), t.prompt[3]

    def change(q: Array) -> Array:
        q = q.copy()
        q[..., token, :] = -q[..., token, :]
        return q

    return _matrix(lambda t: name, change)(t)


def _scale_of_table(t: Target) -> Forgery:
    name = _table(t)

    def doubled(n: str, w: Matrix) -> Matrix:
        return replace(w, scale=w.scale * np.float32(2)) if n == name else w

    return t.forge(runs=reweighted(t.model, doubled))


def _logit(t: Target) -> str:
    return t.products(t.head)[-1]


def _favoured_token(t: Target) -> Forgery:
    """The scale of one token's logit is multiplied, so that the answer changes."""
    name, answer = _logit(t), t.answer(t.honest())

    def favouring(token: int) -> Forgery:
        def change(n: str, w: Matrix) -> Matrix:
            if n != name:
                return w
            scale = w.scale.copy()
            scale[token] *= 64
            return replace(w, scale=scale)

        return t.forge(runs=reweighted(t.model, change))

    usable = t.ordinary[:: max(1, len(t.ordinary) // 8)]
    return t.effective(favouring(token) for token in (*answer[1:], *map(int, usable)))


def _constants(kind: tuple[type[Any], ...]) -> Callable[[Target], Forgery]:
    """The factors of the first norm of a block are all one."""

    def build(t: Target) -> Forgery:
        nodes = t.model.program.segments[t.first].nodes
        name = next((n.op.weight for n in nodes if isinstance(n.op, kind)), None)
        if name is None:
            raise NotApplicable("no norm of this kind")
        weights: dict[str, Weight] = {**t.model.weights, name: np.ones_like(t.model.constant(name))}
        return t.forge(runs=Model(t.card, weights))

    return build


def _table_or(step: int, pick: Callable[[Target], str]) -> Callable[[Target], int]:
    """Return the step of who opens its own weight: 7 if the weight is a table too, whose rows are proved."""
    return lambda t: 7 if pick(t) in t.tables else step


WEIGHTS: Final[Mapping[str, Cheat]] = {
    "another model of the same shape": Cheat(
        "serves another, perhaps cheaper model of the same shape", "another model", _another_model, own=7
    ),
    "one layer of another model": Cheat(
        "merges a layer of another model into this one", "another model", _layer_of_another, in_middle, 8
    ),
    "layers swapped": Cheat(
        "runs two layers in the place of each other", "another model", _two_layers_swapped, in_blocks, 8
    ),
    "fine-tuned weights": Cheat(
        "moves one weight of the blocks in a hundred by one", "fine-tune", _in_blocks(_tuned), in_blocks, 8
    ),
    "one weight off by one": Cheat(
        "changes one weight by the smallest step",
        "fine-tune",
        _matrix(lambda t: t.products(t.first)[:2][-1], _bump),
        in_first,
        8,
    ),
    "weights rounded to four bits": Cheat(
        "keeps a copy of four bits in memory, and serves that",
        "lower precision",
        lambda t: t.forge(runs=four_bits(t.model)),
        own=8,
    ),
    "one layer skipped": Cheat(
        "lets a layer add nothing to the residual stream, to save its work",
        "skipped layers",
        lambda t: t.forge(runs=without_block(t.model)),
        in_middle,
        8,
    ),
    "layers pruned": Cheat("skips every second layer", "skipped layers", _pruned_layers, in_blocks),
    "one matrix zeroed": Cheat("leaves a product out", "pruning", _without(_inner), in_middle, 8),
    "half of the weights pruned": Cheat(
        "clears the smaller half of the weights of the blocks", "pruning", _in_blocks(_pruned), in_blocks, 8
    ),
    "one head zeroed": Cheat("leaves a head of attention out", "pruning", _head_zeroed, in_first, 8),
    "factors of a norm dropped": Cheat(
        "takes ones for the factors of a norm", "norms", _constants((RmsNorm, LayerNorm)), in_first, 8
    ),
    "embedding of a token altered": Cheat(
        "has another embedding of one token", "another model", _row_of_table, own=7
    ),
    "embedding scaled": Cheat("doubles the scale of the embedding", "another model", _scale_of_table, own=7),
    "a logit favoured": Cheat(
        "multiplies the logit of one token, so that it is answered",
        "fine-tune",
        _favoured_token,
        own=_table_or(9, _logit),
    ),
}
"""Cheats that run other weights."""
