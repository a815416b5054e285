"""Define reductions over axes of a row (docs/spec/primitives.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.primitives import CUMULATIONS, infer_reduce
from proofcompute.arrays import Array, Span
from proofcompute.program.operations.base import Pointwise, need
from proofcompute.program.operations.through import Reduction
from proofcompute.program.source import Source
from proofcompute.program.types import Runs, Spec, Step, WeightSpec

__all__ = ["Cumulate", "Order", "Reduce"]


@dataclass(frozen=True)
class Reduce(Pointwise):
    """Combine the elements along some axes of a row, in the logical order of the axes as they are named."""

    kind: str
    """``sum`` (a halving tree for float32; integers wrap), ``prod``, ``max``, ``min`` or ``argmax``."""
    axes: tuple[int, ...]
    """Axes of the row, from 0; they are removed."""

    broadcasts = True

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: numbers in; the same without the axes out, int32 for ``argmax``."""
        need(len(ins) == 1, "reduce: needs one input")
        dtype = infer_reduce(self.kind, ins[0].dtype)
        rank, axes = len(ins[0].shape), self.axes
        need(
            len(axes) >= 1 and len(set(axes)) == len(axes) and all(0 <= a < rank for a in axes),
            f"reduce: axes {axes} of a row with {rank}",
        )
        shape = tuple(n for i, n in enumerate(ins[0].shape) if i not in axes)
        return (Spec(dtype, shape),)

    def work(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the elements; those that are combined one after the other count for the time that takes."""
        quick = self.kind == "sum" or (self.kind != "prod" and ins[0].dtype == "f32")
        return ins[0].size << (0 if quick else 11)

    def scratch(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the bytes of the elements in their order."""
        return ins[0].nbytes

    def lowered(self, ins: Sequence[Spec], outs: Sequence[Spec], steps: Sequence[Step]) -> Runs:
        """Return what reduces expressions of floats, or the operation itself."""
        if ins[0].dtype != "f32" or self.kind not in ("sum", "max", "min"):
            return self
        return Reduction.of(self.kind, self.axes, ins[0].shape)

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.reduce(self.kind, ins[0], self.axes),)


@dataclass(frozen=True)
class Cumulate(Pointwise):
    """Combine each element with all before it along one axis, from left to right."""

    kind: str
    """``sum`` or ``prod``."""
    axis: int

    broadcasts = True

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: numbers in, the same out."""
        need(len(ins) == 1, "cumulate: needs one input")
        need(ins[0].dtype in CUMULATIONS.get(self.kind, ()), f"cumulate: no {self.kind!r} of {ins[0].dtype}")
        need(0 <= self.axis < len(ins[0].shape), f"cumulate: no axis {self.axis}")
        return (ins[0],)

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.cumulate(self.kind, ins[0], self.axis),)


@dataclass(frozen=True)
class Order(Pointwise):
    """Return the stable ascending order of the elements along one axis, as int32 numbers; -0 equals +0."""

    axis: int

    broadcasts = True

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: numbers in, int32 of the same shape out."""
        need(len(ins) == 1, "order: needs one input")
        need(0 <= self.axis < len(ins[0].shape), f"order: no axis {self.axis}")
        return (Spec("i32", ins[0].shape),)

    def work(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the elements times the comparisons of each."""
        return outs[0].size * outs[0].shape[self.axis].bit_length()

    def scratch(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the bytes of positions of 64 bits."""
        return 8 * ins[0].size

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.order(ins[0], self.axis),)
