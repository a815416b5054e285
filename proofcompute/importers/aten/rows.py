"""Lowers a graph for one row of a request, or evaluates it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from proofcompute.arrays import Array
from proofcompute.importers.aten.graphs import AtenGraph
from proofcompute.importers.aten.running import Products, run
from proofcompute.importers.lowering.graph import Graph, Limbs, Study
from proofcompute.importers.lowering.values import STORED, RefusedError, constant
from proofcompute.models.builder import ProgramBuilder

__all__ = ["CONTEXT", "evaluate", "lowered"]

CONTEXT: Final = 1 << 12
"""Most rows of one request, where nothing else is said."""


def lowered(
    graph: AtenGraph,
    limbs: Limbs,
    *,
    context: int = CONTEXT,
    device: str = "auto",
    whole: bool = False,
    products: dict[str, Products] | None = None,
) -> tuple[Graph, list[Any]]:
    """Lower a graph for one row: return the program that is built, and the leaves of the outputs.

    A row is one sample; with ``whole`` it is the whole batch. ``products`` is as for :func:`.run`. Raises
    RefusedError naming the node that cannot be lowered, or an input without an axis of samples.
    """
    b = ProgramBuilder(context=context, device=device)
    g = Graph(b, limbs)
    given = {}
    for name, kind in graph.inputs:
        if not whole and kind.shape[:1] != (1,):
            raise RefusedError(
                f"argument {name!r} is {list(kind.shape)}, and has no axis of samples in front"
            )
        row = b.input(name, kind.shape if whole else kind.shape[1:], STORED[kind.dtype])
        given[name] = g.reshape(g.row(row, kind.dtype, frozenset({name})), kind.shape)
    return g, run(graph, g, given, products)


def evaluate(graph: AtenGraph, given: Mapping[str, Array], study: Study | None = None) -> list[Any]:
    """Return the leaves of the outputs for inputs [1, ...], computed in floats; tensors are arrays."""
    g = Graph(ProgramBuilder(device="numpy"), quick=True)
    g.study = study
    types = dict(graph.inputs)
    values = run(graph, g, {name: constant(x, types[name].dtype) for name, x in given.items()})
    return [v.array if hasattr(v, "array") else v for v in values]
