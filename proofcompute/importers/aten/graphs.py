"""Defines a graph of ATen operations: what PyTorch's export gives, without PyTorch.

A graph is that of a batch of one, so all shapes are numbers. Arguments have the names that the operation's
schema gives them, with defaults filled in. Devices, layouts and memory formats are left out, since they say
nothing about values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proofcompute.arrays import Array

__all__ = ["AtenGraph", "Operation", "Ref", "TensorType", "refs"]


@dataclass(frozen=True)
class Ref:
    """The value that has a name in the graph."""

    name: str


@dataclass(frozen=True)
class TensorType:
    """Type and shape of a tensor."""

    dtype: str
    """A type of :data:`proofcompute.importers.lowering.values.STORED`."""
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """One node of a graph."""

    name: str
    op: str
    """The operator and its overload, as in ``aten.add.Tensor``; ``getitem`` picks one of several results."""
    arguments: Mapping[str, Any]
    """By the schema's names: :class:`Ref`, numbers, texts, types of elements by name, None, and lists."""
    results: tuple[TensorType | None, ...]
    """What the operation gives; None for a result that is no tensor."""
    several: bool
    """Whether it gives a tuple or a list."""
    path: str = ""
    """The submodule in whose forward pass it stands; empty for the module itself."""
    line: str = ""
    """File and line of the Python code, if known."""

    @property
    def label(self) -> str:
        """The node for people: its name, operator, submodule and line."""
        where = f" in {self.path}" if self.path else ""
        return f"{self.name[:80]!r} ({self.op[:60]}){where[:120]}" + (f" at {self.line}" if self.line else "")


@dataclass(frozen=True, eq=False)
class AtenGraph:
    """A module's forward pass for a batch of one, with its weights."""

    name: str
    inputs: tuple[tuple[str, TensorType], ...]
    constants: Mapping[str, tuple[Array, str]]
    """Weights, buffers and other tensors by the names of their placeholders, with their types."""
    weights: Mapping[str, str]
    """The module's own names of constants that are its parameters and buffers, by those of placeholders."""
    operations: tuple[Operation, ...]
    outputs: tuple[Any, ...]
    """Leaves of what the module returns: :class:`Ref`, or a constant."""


def refs(argument: Any) -> Iterator[str]:
    """Yield the names of all values that an argument holds."""
    if isinstance(argument, Ref):
        yield argument.name
    elif isinstance(argument, list | tuple):
        for one in argument:
            yield from refs(one)
    elif isinstance(argument, Mapping):
        for one in argument.values():
            yield from refs(one)
