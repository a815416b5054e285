"""Defines what the lowering of an ONNX operator is given, and the table of operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from proofcompute.arrays import Array
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.values import Constant, RefusedError, Row, Value

__all__ = ["OPERATORS", "Call", "Given", "Listed", "Lowering", "operator"]


@dataclass(frozen=True, eq=False)
class Listed:
    """A sequence of values, whose length is known when the program is made."""

    items: tuple[Value, ...]


Given: TypeAlias = Value | Listed | None
"""What a node reads or gives; None for an optional input that is left out, and for an empty optional."""

Lowering: TypeAlias = "Callable[[Call], Given | Sequence[Given]]"
"""Lowers one node: returns its output, or all of them."""


@dataclass(frozen=True, eq=False)
class Call:
    """A node of an ONNX graph with the values that it reads."""

    g: Graph
    op: str
    opset: int
    """The version of the operator's domain."""
    inputs: tuple[Given, ...]
    attributes: Mapping[str, Any]
    """Numbers, bytes, lists of them, constants, or graphs."""
    outputs: tuple[str, ...]
    """Names of the outputs; empty for one that nobody reads."""
    run_graph: Callable[[Any, Sequence[Given]], list[Given]]
    """Runs a graph that is an attribute on values, and returns its outputs."""

    def has(self, i: int) -> bool:
        """Return whether input i is given."""
        return i < len(self.inputs) and self.inputs[i] is not None

    def value(self, i: int) -> Value:
        """Return input i. Raises RefusedError if it is left out, or a sequence."""
        found = self.inputs[i] if i < len(self.inputs) else None
        if not isinstance(found, Constant | Row):
            raise RefusedError(f"input {i} is {'left out' if found is None else 'a sequence'}")
        return found

    def maybe(self, i: int) -> Value | None:
        """Return input i, or None if it is left out."""
        return self.value(i) if self.has(i) else None

    def listed(self, i: int) -> Listed:
        """Return input i, a sequence."""
        found = self.inputs[i] if i < len(self.inputs) else None
        if not isinstance(found, Listed):
            raise RefusedError(f"input {i} is no sequence")
        return found

    def known(self, i: int) -> Array:
        """Return the elements of input i, which must be a constant."""
        return self.g.known(self.value(i), f"input {i}")

    def numbers(self, i: int) -> list[int]:
        """Return the integers of input i, which must be a constant."""
        return [int(n) for n in self.known(i).reshape(-1)]

    def number(self, i: int) -> int:
        """Return the one integer of input i, which must be a constant."""
        found = self.numbers(i)
        if len(found) != 1:
            raise RefusedError(f"input {i} has {len(found)} elements, not one")
        return found[0]

    def whole(self, name: str, default: int | None = None) -> int:
        """Return an attribute that is an integer."""
        found = self.attributes.get(name, default)
        if not isinstance(found, int):
            raise RefusedError(f"attribute {name} is {'missing' if found is None else 'no integer'}")
        return found

    def real(self, name: str, default: float | None = None) -> float:
        """Return an attribute that is a float."""
        found = self.attributes.get(name, default)
        if not isinstance(found, float | int):
            raise RefusedError(f"attribute {name} is {'missing' if found is None else 'no number'}")
        return float(np.float32(found))

    def text(self, name: str, default: str = "") -> str:
        """Return an attribute that is a text."""
        found = self.attributes.get(name, default)
        if isinstance(found, bytes):
            return found.decode("utf-8", "replace")
        if not isinstance(found, str):
            raise RefusedError(f"attribute {name} is no text")
        return found

    def wholes(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        """Return an attribute that is a list of integers."""
        found = self.attributes.get(name, default)
        if found is None or isinstance(found, bytes | str) or not isinstance(found, Sequence):
            raise RefusedError(f"attribute {name} is {'missing' if found is None else 'no list'}")
        if not all(isinstance(n, int) for n in found):
            raise RefusedError(f"attribute {name} is no list of integers")
        return [int(n) for n in found]

    def axes(self, rank: int, i: int = 1, name: str = "axes") -> list[int] | None:
        """Return axes that an input or an attribute says, from 0 on; None if neither does."""
        if self.has(i):
            found = self.numbers(i)
        elif name in self.attributes:
            found = self.wholes(name)
        else:
            return None
        return [axis_of(a, rank) for a in found]

    def wants(self, i: int) -> bool:
        """Return whether output i is read by anybody."""
        return i < len(self.outputs) and self.outputs[i] != ""


def axis_of(axis: int, rank: int) -> int:
    """Return an axis counted from 0. Raises RefusedError if there is none."""
    if not -rank <= axis < rank:
        raise RefusedError(f"a value with {rank} axes has no axis {axis}")
    return axis % rank


OPERATORS: Final[dict[tuple[str, str], Lowering]] = {}
"""The lowering of each operator, by domain and name."""


def operator(*names: str, domain: str = "") -> Callable[[Lowering], Lowering]:
    """Register the lowering of operators."""

    def register(lowering: Lowering) -> Lowering:
        for name in names:
            OPERATORS[domain, name] = lowering
        return lowering

    return register
