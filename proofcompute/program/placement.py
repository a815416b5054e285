"""Assign segments to backends, which decides where weights and committed tensors are.

A backend of one device runs all segments. A backend of several devices gives consecutive segments to each of
them, so that only the rows that cross a border between devices are copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arrays import Array
from proofcompute.program.program import Program
from proofcompute.program.source import PlacedWeights
from proofcompute.program.types import Segment

__all__ = ["Placement", "weight_names"]


def weight_names(segment: Segment) -> set[str]:
    """Return the weights that a segment's operations name."""
    return {name for node in segment.nodes for name in node.op.weights()}


class Placement:
    """A program and its weights on a backend.

    Of a program that several nodes run, ``segments`` are those of this one: only their weights are placed.
    """

    def __init__(
        self,
        program: Program,
        weights: Mapping[str, Matrix | Array],
        kernels: Kernels,
        segments: range | None = None,
    ) -> None:
        self.program = program
        mine = range(len(program.segments)) if segments is None else segments
        names = [weight_names(s) if i in mine else set() for i, s in enumerate(program.segments)]
        sizes = [sum(program.weight[n].nbytes for n in ns) for ns in names]
        self.kernels: list[Kernels] = list(kernels.partition(sizes))
        """The backend of each segment."""
        needed: dict[Kernels, set[str]] = {}
        for k, ns in zip(self.kernels, names, strict=True):
            needed.setdefault(k, set()).update(ns)
        placed = {k: PlacedWeights({n: weights[n] for n in sorted(ns)}, k) for k, ns in needed.items()}
        self.weights = [placed[k] for k in self.kernels]
        """The weights of each segment, on its backend."""

    @cached_property
    def homes(self) -> dict[str, Kernels]:
        """The backend of each committed tensor and public output; public inputs are the first segment's."""
        homes = {name: self.kernels[0] for name, _ in self.program.inputs}
        for plan, k in zip(self.program.plans, self.kernels, strict=True):
            homes |= dict.fromkeys((*plan.writes, *plan.emits), k)
        return homes
