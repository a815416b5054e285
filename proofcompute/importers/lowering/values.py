"""Define the values of a graph that is lowered: constants, and rows of the program that is being built.

An element type of a graph, such as ``f16``, is computed in one of the types that programs have
(:data:`STORED`). Integers that are narrower than what holds them are wrapped behind every operation that may
leave their range.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from proofcompute.arithmetic.primitives import ELEMENTS
from proofcompute.arrays import Array
from proofcompute.errors import UnsupportedError
from proofcompute.models.building.tensor import Tensor

__all__ = [
    "FLOATS",
    "NARROW",
    "STORED",
    "Constant",
    "RefusedError",
    "Row",
    "Value",
    "constant",
    "is_float",
    "is_integer",
    "limits_of",
]

STORED: Final[dict[str, str]] = {
    "f32": "f32",
    "f64": "f32",
    "f16": "f32",
    "bf16": "f32",
    "i8": "i8",
    "u8": "u8",
    "i16": "i32",
    "u16": "i32",
    "i32": "i32",
    "u32": "i64",
    "i64": "i64",
    "u64": "i64",
    "i4": "i8",
    "u4": "u8",
    "i2": "i8",
    "u2": "u8",
    "bool": "bool",
}
"""Element types of graphs, and the types in which programs compute them."""

NARROW: Final[dict[str, tuple[int, int]]] = {
    "i16": (-(1 << 15), (1 << 15) - 1),
    "u16": (0, (1 << 16) - 1),
    "u32": (0, (1 << 32) - 1),
    "i4": (-8, 7),
    "u4": (0, 15),
    "i2": (-2, 1),
    "u2": (0, 3),
}
"""Integers that are held in a wider type: the least and the greatest."""

FLOATS: Final = ("f32", "f64", "f16", "bf16")


class RefusedError(UnsupportedError):
    """A node of a graph cannot become part of a program; the text names the node and the reason."""

    node = ""
    """The node, if it is known."""

    def __init__(self, reason: str, inputs: Iterable[str] = ()) -> None:
        super().__init__(reason)
        self.inputs = frozenset(inputs)
        """Inputs of the graph whose values would have to be constants."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A value that is the same for every row and known when the program is made."""

    array: Array
    """Elements of the type that holds them."""
    dtype: str
    """A type of :data:`STORED`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        return self.array.shape


@dataclass(frozen=True, eq=False)
class Row:
    """A tensor of the program, with its axes in any order."""

    base: Tensor
    """The tensor as the program holds it."""
    order: tuple[int, ...]
    """For each axis of the value, the axis of ``base`` that it is."""
    dtype: str
    """A type of :data:`STORED`."""
    inputs: frozenset[str]
    """The inputs of the graph on which it depends."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value: that of the tensor, in the value's order of axes."""
        return tuple(self.base.shape[a] for a in self.order)


Value: TypeAlias = Constant | Row
"""What a node of a graph reads and gives."""


def constant(values: Array | Sequence[int] | float, dtype: str) -> Constant:
    """Return a constant of a type of graphs. Numbers must be in the type's range."""
    array = np.asarray(values).astype(ELEMENTS[STORED[dtype]], copy=False)
    return Constant(array, dtype)


def is_float(dtype: str) -> bool:
    """Return whether a type of graphs is one of floats."""
    return dtype in FLOATS


def is_integer(dtype: str) -> bool:
    """Return whether a type of graphs is one of integers."""
    return dtype not in FLOATS and dtype != "bool"


def limits_of(dtype: str) -> tuple[float, float]:
    """Return the least and the greatest number of a type."""
    if dtype in NARROW:
        return NARROW[dtype]
    if is_float(dtype):
        greatest = {"f16": 65504.0, "bf16": 3.3895313892515355e38}.get(dtype, float(np.finfo(np.float32).max))
        return -greatest, greatest
    if dtype == "bool":
        return 0, 1
    info = np.iinfo(ELEMENTS[STORED[dtype]])
    return int(info.min), int(info.max)


def elements(shape: Sequence[int]) -> int:
    """Return the number of elements of a shape."""
    return math.prod(shape)
