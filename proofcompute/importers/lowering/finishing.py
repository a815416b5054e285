"""Makes a model of the values that a graph was lowered to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.importers.lowering.cutting import cut_program
from proofcompute.importers.lowering.graph import Graph, Limbs
from proofcompute.importers.lowering.recipes import Recipe
from proofcompute.importers.lowering.values import RefusedError, Row, Value
from proofcompute.models.model import Model

__all__ = ["finish", "uniform"]


def uniform(precision: str) -> Limbs:
    """Return the limbs of a precision that is the same for every product. Raises InputError for no such."""
    return Recipe.uniform(precision).limbs


def finish(
    g: Graph,
    outputs: Sequence[tuple[str, Value, bool]],
    kernels: Kernels,
    context: int,
    manifest: Mapping[str, str],
) -> Model:
    """Return the model whose outputs are values by name, cut into segments.

    Each output says whether its first axis, of length 1, is the batch and is left out of the rows. Raises
    RefusedError if an output does not depend on an input, FormatError or LimitError if no program holds it.
    """
    b = g.builder
    for name, value, batch in outputs:
        if not isinstance(value, Row):
            raise RefusedError(f"output {name[:80]!r} is the same whatever the inputs are")
        shape = value.shape[1:] if batch else value.shape
        b.output(b.reshape(g.tensor(g.reshape(value, shape)), shape, name=name))
    parts = b.parts()
    program = cut_program(parts.inputs, parts.nodes, parts.outputs, parts.specs, context)
    weights = {w.name: parts.weights[w.name] for w in program.weights}
    return Model.build(program, weights, kernels.hash_rows, manifest=dict(manifest))
