"""Define operations on single elements, and their inputs besides tensors (docs/spec/primitives.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.primitives import ARITY, Expression, Term, check_bits, infer
from proofcompute.arithmetic.shapes import name_of
from proofcompute.arrays import Array, Span
from proofcompute.program.operations.base import Pointwise, constant, need
from proofcompute.program.operations.elementwise import Elementwise
from proofcompute.program.source import Source
from proofcompute.program.types import Reads, Runs, Spec, Step, WeightSpec

__all__ = ["Constant", "Map", "Position", "broadcast_shape"]

_TYPED = ("bitcast", "cast", "constant")
"""Functions whose result has a type that is chosen."""


def broadcast_shape(shapes: Sequence[tuple[int, ...]], what: str) -> tuple[int, ...]:
    """Return the shape to which row shapes broadcast, as in NumPy. Raises FormatError if there is none."""
    rank = max(map(len, shapes), default=0)
    out = []
    for axis in range(rank):
        sizes = {s[axis - rank + len(s)] for s in shapes if axis >= rank - len(s)} - {1}
        need(len(sizes) <= 1, f"{what}: shapes {', '.join(map(str, shapes))} do not broadcast")
        out.append(sizes.pop() if sizes else 1)
    return tuple(out)


@dataclass(frozen=True)
class Map(Pointwise):
    """Apply a scalar function to the elements of its inputs, whose row shapes broadcast as in NumPy."""

    function: str
    """A name in :data:`proofcompute.arithmetic.primitives.ARITY`."""
    dtype: str = ""
    """The result's type, for ``cast``, ``bitcast`` and ``constant``; else empty."""
    bits: int = 0
    """The bit pattern of a ``constant`` of that type, zero-extended; else 0."""

    broadcasts = True

    def reads(self) -> Sequence[Reads]:
        """Return that every input is read row by row."""
        return (Reads.SAME,) * ARITY.get(self.function, 0)

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types by the function's rule."""
        need((self.function in _TYPED) == bool(self.dtype), f"{self.function}: type {self.dtype!r}")
        dtype = infer(self.function, [s.dtype for s in ins], self.dtype)
        if self.function == "constant":
            check_bits(self.bits, dtype)
        need(self.function == "constant" or self.bits == 0, f"{self.function}: takes no bits")
        return (Spec(dtype, broadcast_shape([s.shape for s in ins], self.function)),)

    def lowered(self, ins: Sequence[Spec], outs: Sequence[Spec], steps: Sequence[Step]) -> Runs:
        """Return the expression of this one function."""
        (out,) = outs
        term = Term(self.function, tuple(range(len(ins))), out.dtype, self.bits)
        return Elementwise(Expression(tuple(s.dtype for s in ins), (term,)), out.shape)

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation on arrays whose types say what its inputs are."""
        specs = [Spec(name_of(x), tuple(x.shape[1:])) for x in ins]
        return self.lowered(specs, self.infer(specs, {}), ()).run(ins, spans, src, k)


@dataclass(frozen=True)
class Constant(Pointwise):
    """Read a constant of the model; it is the same for every row."""

    weight: str

    broadcasts = True

    def weights(self) -> Sequence[str]:
        """Return the constant."""
        return (self.weight,)

    def reads(self) -> Sequence[Reads]:
        """Return that there is no input."""
        return ()

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: those of the constant."""
        w = constant(weights, self.weight)
        return (Spec(w.dtype, w.shape),)

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        value = src.weights.constant(self.weight)
        return (value.reshape((1, *value.shape)),)


@dataclass(frozen=True)
class Position(Pointwise):
    """Return the number of each row, from 0, as int32."""

    captured = False

    def reads(self) -> Sequence[Reads]:
        """Return that there is no input."""
        return ()

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: an int32 number a row."""
        return (Spec("i32", ()),)

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.positions(spans),)
