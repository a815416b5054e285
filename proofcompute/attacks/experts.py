"""Nodes that cheat with mixtures of experts and with latent attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple

import numpy as np

from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arrays import Array, Span
from proofcompute.attacks.attack import Cheat
from proofcompute.attacks.target import NotApplicable, Target
from proofcompute.errors import Cell
from proofcompute.models.model import Model
from proofcompute.program.operations import Attention, Experts, Linear, Route
from proofcompute.program.source import Source
from proofcompute.program.types import Node
from proofcompute.testing.altered import reweighted, with_operations
from proofcompute.testing.forging import Forgery

__all__ = ["EDITED", "EXPERTS", "Mixture", "chosen", "mixture"]

EDITED: Final = 3
"""The row of which a latent is edited."""


class Mixture(NamedTuple):
    """The first mixture of experts of a program."""

    segment: int
    route: Node
    """The choice."""
    router: str
    """The weight that gives the scores."""
    experts: tuple[str, ...]
    """Weights of the experts, in the order of their products."""


def mixture(t: Target) -> Mixture:
    """Return the first mixture of experts. Raises NotApplicable if there is none."""
    for number, segment in enumerate(t.model.program.segments):
        for node in segment.nodes:
            if isinstance(node.op, Route):
                makers = {name: n for n in segment.nodes for name in n.outputs}
                router = makers[node.inputs[0]].op
                users = [
                    n.op.weight
                    for n in segment.nodes
                    if isinstance(n.op, Experts) and n.inputs[1] == node.outputs[0]
                ]
                if not isinstance(router, Linear) or not users:
                    raise NotApplicable("a mixture of another form")
                return Mixture(number, node, router.weight, tuple(users))
    raise NotApplicable("no mixture of experts")


@dataclass(frozen=True)
class _Seen(Experts):
    """Remembers what was chosen."""

    numbers: tuple[list[Array], ...] = ()

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        self.numbers[0].append(np.array(ins[1]))
        return super().run(ins, spans, src, k)


def chosen(t: Target) -> Array:
    """Return the experts that each row uses in the first mixture: [rows, k]."""
    mix, found = mixture(t), list[Array]()

    def watched(node: Node) -> Node:
        if not isinstance(node.op, Experts) or node.op.weight != mix.experts[-1]:
            return node
        return replace(node, op=_Seen(node.op.weight, node.op.limbs, (found,)))

    t.forge(runs=with_operations(t.model, watched))
    return np.concatenate(found)


def _used(t: Target) -> int:
    """Return the expert that the first row likes best."""
    return int(chosen(t)[0, 0])


@dataclass(frozen=True)
class _Second(Route):
    """Leaves the best expert out."""

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        more = Route(self.top_k + 1, *(getattr(self, f.name) for f in fields(Route)[1:]))
        return [x[:, 1:].copy() for x in more.run(ins, spans, src, k)]


@dataclass(frozen=True)
class _Fewer(Route):
    """Gives the last of the chosen experts no share, so that it need not be computed."""

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        numbers, shares = super().run(ins, spans, src, k)
        shares = shares.copy()
        shares[:, -1] = 0
        return numbers, shares


def _routed(make: type[Route]) -> Callable[[Target], Forgery]:
    def build(t: Target) -> Forgery:
        mix = mixture(t)
        op = mix.route.op
        if isinstance(op, Route) and make is _Second:
            spec = t.model.program.specs[mix.route.inputs[0]]
            if op.top_k + 1 > op.top_groups * (spec.size // op.groups):
                raise NotApplicable("every expert is chosen")

        def change(node: Node) -> Node:
            if node.outputs != mix.route.outputs:
                return node
            return replace(node, op=make(*(getattr(node.op, f.name) for f in fields(Route))))

        return t.forge(runs=with_operations(t.model, change))

    return build


def _with(
    pick: Callable[[Target], str], change: Callable[[Target, Array], Array]
) -> Callable[[Target], Forgery]:
    """Return a build in which one matrix has other elements."""

    def build(t: Target) -> Forgery:
        name = pick(t)

        def altered(n: str, w: Matrix) -> Matrix:
            return replace(w, q=np.ascontiguousarray(change(t, w.q.copy()))) if n == name else w

        return t.forge(runs=reweighted(t.model, altered))

    return build


def _no_correction(t: Target) -> Forgery:
    op = mixture(t).route.op
    name = op.correction if isinstance(op, Route) else ""
    if not name:
        raise NotApplicable("the choice has no correction")
    return t.forge(runs=Model(t.card, {**t.model.weights, name: np.zeros_like(t.model.constant(name))}))


def _one_weight(t: Target, q: Array) -> Array:
    q[_used(t), 0, 0, 0] ^= 1
    return q


def _no_expert(t: Target, q: Array) -> Array:
    q[_used(t)] = 0
    return q


def _swapped(t: Target, q: Array) -> Array:
    a, b = _used(t), (_used(t) + 1) % len(q)
    q[[a, b]] = q[[b, a]]
    return q


# -- latents -----------------------------------------------------------------------------------------------
def _latent(t: Target) -> tuple[int, int]:
    """Return a block with latent attention, the second if there are two, and the columns of a latent."""
    for block in (*t.blocks[1:], t.first):
        for node in t.model.program.segments[block].nodes:
            if isinstance(node.op, Attention) and node.op.latent:
                return block, node.op.latent
    raise NotApplicable("no latent attention")


def _expansion(t: Target) -> str:
    """Return the weight that expands latents to values: that of the last product before the output's."""
    block, _ = _latent(t)
    nodes = t.model.program.segments[block].nodes
    at = next(i for i, n in enumerate(nodes) if isinstance(n.op, Attention))
    return next(n.op.weight for n in nodes[at:] if isinstance(n.op, Experts))


def _edited(tensor: int, at: Callable[[int], int]) -> Callable[[Target], Forgery]:
    """Return a build in which one element of one committed row is another; all later follows from it."""

    def build(t: Target) -> Forgery:
        block, latent = _latent(t)
        wanted = t.kept(block)[tensor]

        def edit(name: str, first: int, rows: Array) -> Array:
            if name == wanted and first <= EDITED < first + len(rows):
                row = rows[EDITED - first].reshape(-1)
                row[at(latent)] += 1 if row[at(latent)] < 127 else -1
            return rows

        return t.forge(write_as=edit)

    return build


def _in_mixture(t: Target, cell: Cell) -> bool:
    return cell.segment == mixture(t).segment


def _in_latent(t: Target, cell: Cell) -> bool:
    return cell.segment == _latent(t)[0]


EXPERTS: Final[Mapping[str, Cheat]] = {
    "another expert chosen": Cheat(
        "uses the experts after the best one", "experts", _routed(_Second), _in_mixture, 8
    ),
    "fewer experts": Cheat("leaves the last chosen expert out", "experts", _routed(_Fewer), _in_mixture),
    "router altered": Cheat(
        "chooses by other scores",
        "experts",
        _with(lambda t: mixture(t).router, lambda t, q: np.negative(np.maximum(q, -127))),
        _in_mixture,
        8,
    ),
    "correction of a router dropped": Cheat(
        "leaves the correction of scores out of the choice", "experts", _no_correction, _in_mixture, 8
    ),
    "one weight of an expert altered": Cheat(
        "flips the last bit of one weight of one expert",
        "experts",
        _with(lambda t: mixture(t).experts[-1], _one_weight),
        _in_mixture,
        8,
    ),
    "an expert pruned": Cheat(
        "has no memory for one expert, which gives nothing",
        "pruning",
        _with(lambda t: mixture(t).experts[-1], _no_expert),
        _in_mixture,
        8,
    ),
    "two experts swapped": Cheat(
        "runs two experts in the place of each other",
        "experts",
        _with(lambda t: mixture(t).experts[0], _swapped),
        _in_mixture,
        8,
    ),
    "expansion of latents altered": Cheat(
        "expands latents by other values",
        "another model",
        _with(_expansion, lambda t, q: q[::-1]),
        _in_latent,
        8,
    ),
    "latent altered": Cheat(
        "alters one element of a latent, and goes on from it",
        "rows moved",
        _edited(0, lambda n: 0),
        _in_latent,
    ),
    "rope key altered": Cheat(
        "alters one element of a key that is rotated, and goes on from it",
        "rows moved",
        _edited(0, lambda n: n),
        _in_latent,
    ),
    "scale of a rope key altered": Cheat(
        "alters the scale of a key that is rotated, and goes on from it",
        "rows moved",
        _edited(1, lambda n: 1),
        _in_latent,
    ),
}
"""Cheats with experts and latents, for models that have them."""
