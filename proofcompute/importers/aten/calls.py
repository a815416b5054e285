"""Defines what the lowering of an ATen operator is given, and the table of operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from proofcompute.importers.aten.graphs import TensorType
from proofcompute.importers.lowering.graph import Graph, Operand
from proofcompute.importers.lowering.values import Constant, RefusedError, Row, Value, constant, is_float

__all__ = ["OPERATORS", "Call", "Lowering", "axis_of", "common", "operator"]

Lowering: TypeAlias = "Callable[[Call], Value | Sequence[Value | None]]"
"""Lowers one operation: returns its result, or all of them; None for one that cannot be lowered."""

_WIDTHS: Final = {"bool": 0, "u8": 1, "i8": 2, "u16": 3, "i16": 4, "u32": 5, "i32": 6, "u64": 7, "i64": 8}


@dataclass(frozen=True, eq=False)
class Call:
    """An operation of a graph with the values that it reads."""

    g: Graph
    op: str
    arguments: Mapping[str, Any]
    """By the schema's names, with values in place of references."""
    results: tuple[TensorType | None, ...]

    # -- results -------------------------------------------------------------------------------------
    @property
    def result(self) -> TensorType:
        """Type and shape of the only, or first, result."""
        found = self.results[0] if self.results else None
        if found is None:
            raise RefusedError("its result is no tensor")
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first result."""
        return self.result.shape

    @property
    def dtype(self) -> str:
        """The type of the first result."""
        return self.result.dtype

    # -- arguments -----------------------------------------------------------------------------------
    def get(self, name: str) -> Any:
        """Return an argument, None if it has not been given."""
        return self.arguments.get(name)

    def has(self, name: str) -> bool:
        """Return whether an argument is given."""
        return self.get(name) is not None

    def value(self, name: str = "self") -> Value:
        """Return an argument that is a tensor; a number becomes a constant."""
        found = self.get(name)
        if isinstance(found, Constant | Row):
            return found
        if isinstance(found, bool | int | float):
            kind = "bool" if isinstance(found, bool) else "i64" if isinstance(found, int) else "f32"
            return constant(found, kind)
        raise RefusedError(f"argument {name} is {'missing' if found is None else 'no tensor'}")

    def maybe(self, name: str) -> Value | None:
        """Return an argument that is a tensor, or None if it is left out."""
        return self.value(name) if self.has(name) else None

    def operand(self, name: str) -> Operand:
        """Return an argument that is a tensor or a number."""
        found = self.get(name)
        return found if isinstance(found, bool | int | float) else self.value(name)

    def values(self, name: str) -> list[Value]:
        """Return an argument that is a list of tensors."""
        found = self.get(name)
        if not isinstance(found, list | tuple) or not all(isinstance(v, Constant | Row) for v in found):
            raise RefusedError(f"argument {name} is no list of tensors")
        return list(found)

    def whole(self, name: str, default: int | None = None) -> int:
        """Return an argument that is an integer."""
        found = self.get(name)
        found = default if found is None else found
        if isinstance(found, Constant) and found.array.size == 1:
            found = int(found.array.reshape(())[()])
        if not isinstance(found, int):
            raise RefusedError(f"argument {name} is no known integer")
        return found

    def wholes(self, name: str, count: int = 0) -> list[int]:
        """Return an argument that is a list of integers; one for all axes is repeated ``count`` times."""
        found = self.get(name)
        if isinstance(found, int):
            found = [found]
        if not isinstance(found, list | tuple) or not all(isinstance(n, int) for n in found):
            raise RefusedError(f"argument {name} is no known list of integers")
        return list(found) * count if count > 1 and len(found) == 1 else list(found)

    def real(self, name: str, default: float | None = None) -> float:
        """Return an argument that is a number."""
        found = self.get(name)
        found = default if found is None else found
        if not isinstance(found, int | float):
            raise RefusedError(f"argument {name} is no known number")
        return float(found)

    def flag(self, name: str) -> bool:
        """Return an argument that is a truth value; False if it is left out."""
        found = self.get(name)
        if found is not None and not isinstance(found, bool):
            raise RefusedError(f"argument {name} is no truth value")
        return bool(found)

    def text(self, name: str, default: str = "") -> str:
        """Return an argument that is a text."""
        found = self.get(name)
        found = default if found is None else found
        if not isinstance(found, str):
            raise RefusedError(f"argument {name} is no text")
        return found

    def axis(self, rank: int, name: str = "dim", default: int | None = None) -> int:
        """Return an argument that is an axis, counted from 0."""
        return axis_of(self.whole(name, default), rank)

    def axes(self, rank: int, name: str = "dim") -> list[int]:
        """Return an argument that names axes, counted from 0; left out or empty it means all."""
        if not self.has(name) or self.get(name) == []:
            return list(range(rank))
        return [axis_of(a, rank) for a in self.wholes(name)]


def axis_of(axis: int, rank: int) -> int:
    """Return an axis counted from 0; a number has one axis here, as in PyTorch."""
    if not -max(rank, 1) <= axis < max(rank, 1):
        raise RefusedError(f"a tensor with {rank} axes has no axis {axis}")
    return axis % max(rank, 1)


def common(*xs: Operand) -> str:
    """Return the type in which PyTorch computes with tensors and numbers of several types."""
    values = [x for x in xs if isinstance(x, Constant | Row)]
    floats = [x.dtype for x in values if is_float(x.dtype)]
    if floats:
        return floats[0]
    if any(isinstance(x, float) for x in xs):
        return "f32"
    widest = max((x.dtype for x in values), key=lambda d: _WIDTHS[d])
    numbers = any(isinstance(x, int) and not isinstance(x, bool) for x in xs)
    return "i64" if widest == "bool" and numbers else widest


OPERATORS: Final[dict[str, Lowering]] = {}
"""The lowering of each operator, by name and overload without ``aten.``, or by name alone for all of them."""


def operator(*names: str) -> Callable[[Lowering], Lowering]:
    """Register the lowering of operators."""

    def register(lowering: Lowering) -> Lowering:
        for name in names:
            OPERATORS[name] = lowering
        return lowering

    return register
