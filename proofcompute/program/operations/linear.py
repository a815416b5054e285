"""Define the operations on weight matrices: products and table lookups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import F32, Array, Span
from proofcompute.freivalds.product import Site
from proofcompute.program.operations.base import Pointwise, f32_rows, matrix, need
from proofcompute.program.source import LinearCall, Source
from proofcompute.program.types import Spec, WeightSpec

__all__ = ["Embed", "Linear"]


@dataclass(frozen=True)
class Linear(Pointwise):
    """Multiply rows by a weight matrix: quantise, int8 products, back to float32, bias (rule 5)."""

    weight: str
    limbs: int
    """Limbs of the activations, 1 or 2."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: a float32 row of the contraction length in, one of the output channels out."""
        width = f32_rows(ins, "linear")
        need(self.limbs in (1, 2), f"linear: {self.limbs} limbs")
        w = matrix(weights, self.weight)
        need(w.width == width, f"{self.weight}: contraction length {w.width}, but rows have {width}")
        return (Spec("f32", (w.rows,)),)

    def sites(self, weights: Mapping[str, WeightSpec]) -> Sequence[Site]:
        """Return the one product."""
        w = weights[self.weight]
        return (Site(self.weight, w.rows, w.width, self.limbs, w.limbs),)

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (src.products.linear(LinearCall(self.weight, ins[0], self.limbs), k),)


@dataclass(frozen=True)
class Embed(Pointwise):
    """Look up rows of a one-limb weight matrix by public indices, as float32."""

    weight: str

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: an int32 index in, a float32 row out."""
        need(tuple(ins) == (Spec("i32", ()),), "embed: needs one int32 index a row")
        w = matrix(weights, self.weight)
        need(w.limbs == 1 and not w.bias, f"{self.weight}: a table has one limb and no bias")
        return (Spec("f32", (w.width,)),)

    def table(self) -> str | None:
        """Return the matrix whose rows are looked up."""
        return self.weight

    def indices(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Mapping[int, int]:
        """Return that the input is an index below the number of rows of the matrix."""
        return {0: weights[self.weight].rows}

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.embed(*src.weights.rows(self.weight, ins[0])),)
