"""Compiles a graph of ATen operations into a model."""

from __future__ import annotations

from collections.abc import Sequence

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.importers.aten.graphs import AtenGraph, Ref
from proofcompute.importers.aten.rows import CONTEXT, lowered
from proofcompute.importers.lowering.finishing import finish
from proofcompute.importers.lowering.recipes import Recipe
from proofcompute.importers.lowering.values import Constant, RefusedError, Row
from proofcompute.models.model import Model
from proofcompute.version import __version__

__all__ = ["compile_graph", "output_names"]


def output_names(graph: AtenGraph) -> list[str]:
    """Return a name for each leaf of the results, which no input has."""
    base = "result"
    while any(name.startswith(base) for name, _ in graph.inputs):
        base += "_"
    count = len(graph.outputs)
    return [base] if count == 1 else [f"{base}{i}" for i in range(count)]


def compile_graph(
    graph: AtenGraph,
    kernels: Kernels,
    recipe: Recipe,
    *,
    whole: bool = False,
    context: int = CONTEXT,
) -> tuple[Model, Sequence[tuple[str, int]]]:
    """Compile a graph into a model whose rows are samples; return its products with weights too.

    With ``whole`` a row is the whole batch. Raises RefusedError naming the node that cannot be lowered and
    the reason, InputError if the recipe names a product that there is not, and LimitError if the program is
    larger than one may be.
    """
    g, leaves = lowered(graph, recipe.limbs, context=context, whole=whole)
    recipe.check(g.names())
    named = []
    for name, leaf, made in zip(output_names(graph), graph.outputs, leaves, strict=True):
        if not isinstance(leaf, Ref):
            continue  # None, or a number that Python gave
        if not isinstance(made, Constant | Row):
            raise RefusedError(f"{graph.name} gives {leaf.name[:80]!r}, which is no tensor")
        if not whole and made.shape[:1] != (1,):
            raise RefusedError(
                f"{graph.name} gives {leaf.name[:80]!r}, {list(made.shape)}, which has no axis of samples in "
                "front; give the whole batch as one row instead"
            )
        named.append((name, made, not whole))
    if not named:
        raise RefusedError(f"{graph.name} gives no tensor")
    manifest = {
        "importer": f"proofcompute {__version__}",
        "name": graph.name[:200],
        "precision": recipe.name,
        "recipe": recipe.text(),
    }
    return finish(g, named, kernels, context, manifest), g.products
