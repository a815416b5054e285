"""Chooses the precision of each product of an exported graph by evaluating it (extra ``torch``)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import torch

from proofcompute.arrays import Array
from proofcompute.importers.aten.evaluating import Evaluation
from proofcompute.importers.aten.exporting import Exported
from proofcompute.importers.aten.graphs import AtenGraph, Ref, refs
from proofcompute.importers.aten.rows import lowered
from proofcompute.importers.aten.running import Products
from proofcompute.importers.lowering.finishing import uniform
from proofcompute.importers.lowering.graph import Study
from proofcompute.importers.lowering.precision import TARGET, centred, choose

__all__ = ["chosen_limbs"]

_SHIFTED: Final = frozenset({"softmax", "_softmax", "log_softmax", "_log_softmax"})
"""Operators that hide errors, and take no notice of what is added to all their numbers."""
_BEHIND: Final = _SHIFTED | {"sigmoid"}
"""Operators that hide errors: in front of one that gives a result, errors are measured."""
_BACK: Final = 6
"""Operations from a result backwards among which such an operator is looked for."""


def chosen_limbs(
    exported: Exported,
    samples: Sequence[Mapping[str, torch.Tensor]],
    *,
    whole: bool = False,
    target: float = TARGET,
) -> dict[str, tuple[int, int]]:
    """Return the limbs of activations and weights of each product, chosen for samples [1, ...].

    What counts is the sample with the largest error.
    """
    graph = exported.graph
    products: dict[str, Products] = {}
    g, _ = lowered(graph, uniform("w16a16"), whole=whole, products=products)
    wanted = _watched(graph)

    def run(one: Evaluation, study: Study) -> Iterator[Array]:
        values = one.run(study, [name for name, _ in wanted])
        for value, (_, axis) in zip(values, wanted, strict=True):
            x = value.detach().double().cpu().numpy()
            yield x if axis is None else centred(x, (axis,))

    each = [partial(run, Evaluation(exported, products, one)) for one in samples]
    inner = _inner(graph, products, {name for name, _ in g.products})
    return choose(each, [*g.products, *inner], target)


def _inner(
    graph: AtenGraph, products: Mapping[str, Products], known: Collection[str]
) -> Iterator[tuple[str, int]]:
    """Yield the names of products of two activations, and about how many multiplications each makes."""
    shapes = {name: kind.shape for name, kind in graph.inputs}
    for operation in graph.operations:
        if operation.results and operation.results[0] is not None:
            shapes[operation.name] = operation.results[0].shape
        found = products.get(operation.name)
        if found is None:
            continue
        sizes = [shapes[name] for name in refs(operation.arguments) if name in shapes]
        # [.., n, d] by [.., d, m], or by [.., m, d] where these are queries and keys
        count = math.prod(sizes[0]) * max(sizes[1][-2:]) if len(sizes) > 1 and sizes[1] else 1
        yield from ((name, count) for name in found.names if name not in known)


def _watched(graph: AtenGraph) -> list[tuple[str, int | None]]:
    """Return results that are floats, and what stands in front of what hides errors in them.

    With each comes over which axis it is shifted without notice; None: over none.
    """
    maker = {o.name: o for o in graph.operations}
    found: list[tuple[str, int | None]] = []
    for leaf in graph.outputs:
        if not isinstance(leaf, Ref) or leaf.name not in maker:
            continue
        kind = maker[leaf.name].results[0] if maker[leaf.name].results else None
        if kind is None or not kind.dtype.startswith(("f", "bf")):
            continue
        found.append((leaf.name, None))
        name = leaf.name
        for _ in range(_BACK):
            operation = maker.get(name)
            before = next(iter(refs(operation.arguments)), "") if operation is not None else ""
            if operation is None or before not in maker:
                break
            name = before
            op = operation.op.partition(".")[2].partition(".")[0]
            if op in _BEHIND:
                axis = operation.arguments.get("dim") if op in _SHIFTED else None
                found.append((before, axis if isinstance(axis, int) else None))
                break
    return found
