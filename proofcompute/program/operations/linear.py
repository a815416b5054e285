"""Define the operations on weight matrices: products and table lookups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.primitives import TWO_LIMBS
from proofcompute.arrays import F32, Array, Span
from proofcompute.freivalds.product import Site
from proofcompute.program.operations.base import Pointwise, f32_axis, matrix, need
from proofcompute.program.operations.pointwise import matrices
from proofcompute.program.operations.through import Product
from proofcompute.program.source import LinearCall, Source
from proofcompute.program.types import Reads, Runs, Spec, Step, WeightSpec

__all__ = ["Embed", "Experts", "Linear", "shaped"]


@dataclass(frozen=True)
class Linear(Pointwise):
    """Multiply the last axis by a weight matrix: quantise, int8 products, back to float32, bias (rule 5).

    All other axes of the row are rows of the product, each with a scale of its own.
    """

    weight: str
    limbs: int
    """Limbs of the activations, 1 or 2."""

    products = True

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: float32 whose last axis is the contraction in, the output channels there out."""
        width = f32_axis(ins, "linear")
        need(self.limbs in (1, 2), f"linear: {self.limbs} limbs")
        w = matrix(weights, self.weight)
        need(len(w.shape) == 2, f"{self.weight}: has groups, of which a row must choose one")
        need(w.width == width, f"{self.weight}: contraction length {w.width}, but rows have {width}")
        return (Spec("f32", (*ins[0].shape[:-1], w.m)),)

    def weights(self) -> Sequence[str]:
        """Return the matrix."""
        return (self.weight,)

    def sites(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Site]:
        """Return the one product."""
        w = weights[self.weight]
        rows = math.prod(ins[0].shape[:-1])
        return (Site(self.weight, w.m, w.width, self.limbs, w.limbs, rows),)

    def lowered(self, ins: Sequence[Spec], outs: Sequence[Spec], steps: Sequence[Step]) -> Runs:
        """Return what reads rows of several axes through views, or the operation itself."""
        if len(outs[0].shape) == 1:
            return self
        return Product(self.weight, self.limbs, outs[0].shape)

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        y = src.products.linear(LinearCall(self.weight, matrices(ins[0]), self.limbs), k)
        return (shaped(y, ins[0].shape),)


def shaped(y: F32, like: Sequence[int]) -> F32:
    """Return a product [n rows, m] as [n, ..., m], with the axes of what was multiplied.

    A product of which only the hint is wanted has no rows, and stays as it is.
    """
    return y.reshape((*like[:-1], y.shape[-1])) if len(like) != 2 and len(y) else y


@dataclass(frozen=True)
class Experts(Pointwise):
    """Multiply rows by one of several matrices of a weight each, as numbers say.

    Every product row is checked against the matrix that its number names.
    """

    weight: str
    limbs: int
    """Limbs of the activations, 1 or 2."""

    products = True
    captured = False

    def reads(self) -> Sequence[Reads]:
        """Return that rows and numbers are read row by row."""
        return (Reads.SAME, Reads.SAME)

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: float32 [d], or [r, d] with a row for each number, and int32 [r] in; [r, m] out."""
        need(
            len(ins) == 2 and ins[1].dtype == "i32" and len(ins[1].shape) == 1, "experts: needs int32 numbers"
        )
        width = f32_axis(ins[:1], "experts")
        need(self.limbs in (1, 2), f"experts: {self.limbs} limbs")
        w = matrix(weights, self.weight)
        need(len(w.shape) == 3, f"{self.weight}: has no groups")
        need(w.width == width, f"{self.weight}: contraction length {w.width}, but rows have {width}")
        chosen = ins[1].shape[0]
        need(ins[0].shape in ((width,), (chosen, width)), "experts: one row, or one for each number")
        return (Spec("f32", (chosen, w.m)),)

    def weights(self) -> Sequence[str]:
        """Return the matrices."""
        return (self.weight,)

    def sites(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Site]:
        """Return the one product."""
        w = weights[self.weight]
        return (Site(self.weight, w.m, w.width, self.limbs, w.limbs, ins[1].shape[0], w.groups),)

    def scratch(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the bytes of a row for each product, and of products in the order of the matrices, twice."""
        chosen = ins[1].shape[0]
        return 4 * chosen * ins[0].shape[-1] + 2 * outs[0].nbytes

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class. Raises ExecutionError for a number without a matrix."""
        x, numbers = ins
        n, chosen = numbers.shape
        y = src.products.experts(LinearCall(self.weight, matrices(x), self.limbs), k.host(numbers), k)
        return (y.reshape((n, chosen, y.shape[-1])) if len(y) else y,)


@dataclass(frozen=True)
class Embed(Pointwise):
    """Look up rows of a weight matrix by public indices, as float32."""

    weight: str

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: an int32 index in, a float32 row out."""
        need(tuple(ins) == (Spec("i32", ()),), "embed: needs one int32 index a row")
        w = matrix(weights, self.weight)
        need(len(w.shape) == 2 and not w.bias, f"{self.weight}: a table has no groups and no bias")
        return (Spec("f32", (w.width,)),)

    def weights(self) -> Sequence[str]:
        """Return the table."""
        return (self.weight,)

    def table(self) -> str | None:
        """Return the matrix whose rows are looked up."""
        return self.weight

    def indices(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Mapping[int, int]:
        """Return that the input is an index below the number of rows of the matrix."""
        return {0: weights[self.weight].rows}

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        (high, *low), scale = src.weights.rows(self.weight, ins[0])
        if not low:
            return (k.embed(high, scale),)
        column = scale.reshape((len(scale), 1))
        return (k.evaluate(TWO_LIMBS, (high, *low, column), len(scale), tuple(high.shape[1:])),)
