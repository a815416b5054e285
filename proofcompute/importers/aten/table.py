"""Collects the operators of ATen that can be lowered: importing their modules fills the table."""

from __future__ import annotations

from proofcompute.importers.aten import (
    attending,
    creating,
    elements,
    layers,
    looking,
    moving,
    pools,
    reductions,
    resizing,
    sequences,
)
from proofcompute.importers.aten.calls import OPERATORS, Lowering

__all__ = ["OPERATORS", "lowering_of"]

_ = (
    attending,
    creating,
    elements,
    layers,
    looking,
    moving,
    pools,
    reductions,
    resizing,
    sequences,
)  # they fill the table


def lowering_of(op: str) -> Lowering | None:
    """Return the lowering of an operator such as ``aten.add.Tensor``; None if there is none."""
    namespace, _, name = op.partition(".")
    if namespace != "aten":
        return None
    return OPERATORS.get(name) or OPERATORS.get(name.rpartition(".")[0])
