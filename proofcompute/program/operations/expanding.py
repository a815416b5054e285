"""Write down the expansions of composites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from proofcompute.program.operations.mapping import Constant, Map
from proofcompute.program.types import Expansion, Node, Op

__all__ = ["Sketch"]


@final
class Sketch:
    """Collects the operations of one expansion; names of tensors are numbers."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []

    def __call__(self, op: Op, *ins: str) -> str:
        """Apply an operation with one output, and return the output's name."""
        return self.several(op, ins, 1)[0]

    def several(self, op: Op, ins: Sequence[str], outputs: int) -> tuple[str, ...]:
        """Apply an operation with several outputs, and return their names."""
        at = len(self._nodes)
        names = tuple(f"{at}.{i}" for i in range(outputs))
        self._nodes.append(Node(str(at), op, tuple(ins), names))
        return names

    def map(self, function: str, *ins: str) -> str:
        """Apply a scalar function."""
        return self(Map(function), *ins)

    def number(self, value: float | np.float32) -> str:
        """Make a float32 number."""
        return self(Map("constant", "f32", int(np.float32(value).view(np.uint32))))

    def weight(self, name: str) -> str:
        """Read a constant of the model."""
        return self(Constant(name))

    def end(self, *outputs: str) -> Expansion:
        """Return the expansion."""
        return Expansion(tuple(self._nodes), outputs)
