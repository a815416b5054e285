"""Tensors of a program that is being built, with Python's operators."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import EllipsisType
from typing import Protocol, TypeAlias

from proofcompute.program.types import Spec

__all__ = ["Index", "Number", "Operand", "Tensor"]

Number: TypeAlias = int | float | bool
"""A Python number that stands for an element of the other operand's type."""
Index: TypeAlias = int | slice | EllipsisType | tuple[int | slice | EllipsisType, ...]
"""What may stand in brackets behind a tensor, as in NumPy; the rows of a program are not indexed."""


class _Builder(Protocol):
    def map(
        self, function: str, *xs: Tensor | Number, dtype: str = "", name: str | None = None
    ) -> Tensor: ...
    def slice(self, x: Tensor, index: Index, *, name: str | None = None) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of the program that is being built.

    ``+ - * / % & | ^ ~ << >> < <= > >=``, ``abs`` and brackets add the operation to the program, with Python
    numbers as elements of the other operand's type. ``==`` compares tensors as objects;
    ``map("eq", x, y)`` compares their elements.
    """

    name: str
    spec: Spec
    """Type and shape of one row."""
    builder: _Builder = field(repr=False)

    @property
    def dtype(self) -> str:
        """The type of the elements, such as ``f32``."""
        return self.spec.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self.spec.shape

    @property
    def width(self) -> int:
        """Number of elements of one row."""
        return self.spec.size

    def __add__(self, other: Operand) -> Tensor:
        return self.builder.map("add", self, other)

    def __radd__(self, other: Number) -> Tensor:
        return self.builder.map("add", other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return self.builder.map("sub", self, other)

    def __rsub__(self, other: Number) -> Tensor:
        return self.builder.map("sub", other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return self.builder.map("mul", self, other)

    def __rmul__(self, other: Number) -> Tensor:
        return self.builder.map("mul", other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return self.builder.map("div", self, other)

    def __rtruediv__(self, other: Number) -> Tensor:
        return self.builder.map("div", other, self)

    def __mod__(self, other: Operand) -> Tensor:
        return self.builder.map("rem", self, other)

    def __neg__(self) -> Tensor:
        return self.builder.map("neg", self)

    def __abs__(self) -> Tensor:
        return self.builder.map("abs", self)

    def __and__(self, other: Operand) -> Tensor:
        return self.builder.map("and", self, other)

    def __or__(self, other: Operand) -> Tensor:
        return self.builder.map("or", self, other)

    def __xor__(self, other: Operand) -> Tensor:
        return self.builder.map("xor", self, other)

    def __invert__(self) -> Tensor:
        return self.builder.map("not", self)

    def __lshift__(self, other: Operand) -> Tensor:
        return self.builder.map("shl", self, other)

    def __rshift__(self, other: Operand) -> Tensor:
        return self.builder.map("shr", self, other)

    def __lt__(self, other: Operand) -> Tensor:
        return self.builder.map("lt", self, other)

    def __le__(self, other: Operand) -> Tensor:
        return self.builder.map("le", self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return self.builder.map("lt", other, self)

    def __ge__(self, other: Operand) -> Tensor:
        return self.builder.map("le", other, self)

    def __getitem__(self, index: Index) -> Tensor:
        return self.builder.slice(self, index)

    def __bool__(self) -> bool:
        """Raise TypeError: a tensor has no truth value while a program is built."""
        raise TypeError(f"{self.name} has no value yet, so it cannot be a condition; use select")

    def __iter__(self) -> None:
        """Raise TypeError, so that Python does not try brackets with 0, 1, ..."""
        raise TypeError(f"{self.name} is not iterable")


Operand: TypeAlias = Tensor | Number
"""What an operator takes."""
