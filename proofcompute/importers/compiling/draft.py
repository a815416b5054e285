"""Collects a program while it is written: its weights, with what they are made of, and its segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proofcompute.program.types import Committed, Node, Op, Segment, WeightSpec

__all__ = ["Draft", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """How a weight of a program is made of a checkpoint's tensors."""

    tensors: tuple[str, ...]
    """Canonical names; matrices are stacked on top of each other, with their biases."""


@dataclass
class Draft:
    """A program that is being written; nodes go to the segment that :meth:`cut` ends."""

    shapes: Mapping[str, tuple[int, ...]]
    """Canonical name -> shape of the checkpoint's tensors."""
    weights: list[WeightSpec] = field(default_factory=list)
    recipes: dict[str, Recipe] = field(default_factory=dict)
    committed: list[Committed] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    _nodes: list[Node] = field(default_factory=list)

    def weight(self, spec: WeightSpec, *tensors: str) -> str:
        """Add a weight, and return its name."""
        self.weights.append(spec)
        self.recipes[spec.name] = Recipe(tensors)
        return spec.name

    def node(self, name: str, op: Op, inputs: tuple[str, ...], *outputs: str) -> str:
        """Add an operation, and return its first output."""
        self._nodes.append(Node(name, op, inputs, outputs))
        return outputs[0]

    def cut(self, name: str, committed: Mapping[str, tuple[str, ...]]) -> None:
        """End a segment, whose tensors in ``committed``, by group, are committed."""
        self.segments.append(Segment(name, tuple(self._nodes)))
        self.committed += [Committed(group, tensors) for group, tensors in committed.items()]
        self._nodes.clear()
