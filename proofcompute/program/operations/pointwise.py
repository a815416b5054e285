"""Define composites over the last axis of a row that every backend has: norms, activations, sums
(docs/spec/programs.md#operations).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.primitives import Expression, Term
from proofcompute.arrays import F32, Array, Span
from proofcompute.program.operations.base import Pointwise, f32_axis, from_bits, need, vector
from proofcompute.program.operations.elementwise import Elementwise
from proofcompute.program.operations.expanding import Sketch
from proofcompute.program.operations.moving import View, contiguous, reshape
from proofcompute.program.operations.reducing import Reduce
from proofcompute.program.source import Source
from proofcompute.program.types import Expansion, Reads, Runs, Spec, Step, WeightSpec

__all__ = ["Add", "Gate", "Gelu", "LayerNorm", "Relu", "RmsNorm", "matrices"]

_SQRT_HALF = np.uint32(0x3F3504F3).view(np.float32)
"""1 / sqrt 2 as the definition has it."""


def matrices(x: Array) -> Array:
    """Return rows [n, ..., d] as [n ..., d], the form that backends take."""
    return x if len(x.shape) == 2 else x.reshape((-1, x.shape[-1]))


def _mean(s: Sketch, x: str, shape: tuple[int, ...]) -> str:
    """Return the mean over the last axis, which stays as one of length 1."""
    total = s(Reduce("sum", (len(shape) - 1,)), x)
    return s(reshape((*shape[:-1], 1)), s.map("div", total, s.number(shape[-1])))


def _normed(s: Sketch, x: str, shape: tuple[int, ...], eps: int) -> str:
    """Return x / sqrt(mean of squares + eps)."""
    square = _mean(s, s.map("mul", x, x), shape)
    return s.map("div", x, s.map("sqrt", s.map("add", square, s.number(from_bits(eps, "eps")))))


@dataclass(frozen=True)
class RmsNorm(Pointwise):
    """Compute x / sqrt(tree(x*x) / n + eps) * w over the last axis."""

    weight: str
    eps: int
    """Binary32 bit pattern."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: float32 in, the same out."""
        vector(weights, self.weight, f32_axis(ins, "rms norm"))
        need(bool(from_bits(self.eps, "rms norm eps") >= 0), "rms norm: eps is negative")
        return (ins[0],)

    def weights(self) -> Sequence[str]:
        """Return the factors."""
        return (self.weight,)

    def expand(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Expansion | None:
        """Return the definition."""
        s = Sketch()
        return s.end(s.map("mul", _normed(s, "in.0", ins[0].shape, self.eps), s.weight(self.weight)))

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        x = matrices(ins[0])
        y = k.rms_norm(x, src.weights.constant(self.weight), from_bits(self.eps, "eps"))
        return (y.reshape(ins[0].shape),)


@dataclass(frozen=True)
class LayerNorm(Pointwise):
    """Compute c / sqrt(tree(c*c) / n + eps) * w + b with c = x - tree(x) / n, over the last axis."""

    weight: str
    bias: str
    eps: int
    """Binary32 bit pattern."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: float32 in, the same out."""
        width = f32_axis(ins, "layer norm")
        vector(weights, self.weight, width)
        vector(weights, self.bias, width)
        need(bool(from_bits(self.eps, "layer norm eps") >= 0), "layer norm: eps is negative")
        return (ins[0],)

    def weights(self) -> Sequence[str]:
        """Return factors and summands."""
        return (self.weight, self.bias)

    def expand(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Expansion | None:
        """Return the definition."""
        s, shape = Sketch(), ins[0].shape
        centred = s.map("sub", "in.0", _mean(s, "in.0", shape))
        scaled = s.map("mul", _normed(s, centred, shape, self.eps), s.weight(self.weight))
        return s.end(s.map("add", scaled, s.weight(self.bias)))

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        w, b = src.weights.constant(self.weight), src.weights.constant(self.bias)
        y = k.layer_norm(matrices(ins[0]), w, b, from_bits(self.eps, "eps"))
        return (y.reshape(ins[0].shape),)


@dataclass(frozen=True)
class Gate(Pointwise):
    """Compute g / (1 + exp(-g)) * u, half as wide, where the last axis holds g first and u second."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: float32 with an even last axis in, half of it out."""
        width = f32_axis(ins, "gate")
        need(width % 2 == 0, "gate: odd width")
        return (Spec("f32", (*ins[0].shape[:-1], width // 2)),)

    def expand(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Expansion | None:
        """Return the definition."""
        s, shape = Sketch(), ins[0].shape
        half = (*shape[:-1], shape[-1] // 2)
        g, u = (s(View(half, contiguous(shape), at), "in.0") for at in (0, half[-1]))
        sigmoid = s.map("add", s.number(1), s.map("exp", s.map("neg", g)))
        return s.end(s.map("mul", s.map("div", g, sigmoid), u))

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        *rest, width = ins[0].shape
        return (k.gate(matrices(ins[0])).reshape((*rest, width // 2)),)


@dataclass(frozen=True)
class Gelu(Pointwise):
    """Compute (0.5 x) (1 + erf(x / sqrt 2))."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: float32 in, the same out."""
        f32_axis(ins, "gelu")
        return (ins[0],)

    def expand(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Expansion | None:
        """Return the definition."""
        s = Sketch()
        erf = s.map("erf", s.map("mul", "in.0", s.number(_SQRT_HALF)))
        return s.end(s.map("mul", s.map("mul", s.number(0.5), "in.0"), s.map("add", s.number(1), erf)))

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.gelu(matrices(ins[0])).reshape(ins[0].shape),)


_RELU = Expression(
    ("f32",),
    (Term("constant", (), "f32"), Term("lt", (1, 0), "bool"), Term("select", (2, 0, 1), "f32")),
)


@dataclass(frozen=True)
class Relu(Pointwise):
    """Compute x where x > 0, else +0."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: float32 in, the same out."""
        f32_axis(ins, "relu")
        return (ins[0],)

    def expand(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Expansion | None:
        """Return the definition."""
        s = Sketch()
        zero = s.number(0)
        return s.end(s.map("select", s.map("lt", zero, "in.0"), "in.0", zero))

    def lowered(self, ins: Sequence[Spec], outs: Sequence[Spec], steps: Sequence[Step]) -> Runs:
        """Return an expression that joins others for rows of several axes, or the operation itself."""
        return self if len(ins[0].shape) == 1 else Elementwise(_RELU, ins[0].shape)

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.relu(matrices(ins[0])).reshape(ins[0].shape),)


@dataclass(frozen=True)
class Add(Pointwise):
    """Compute x + y of one shape."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: two float32 inputs of one shape in, one out."""
        need(len(ins) == 2 and ins[0] == ins[1], "add: needs two inputs of one type")
        f32_axis(ins[:1], "add")
        return (ins[0],)

    def reads(self) -> Sequence[Reads]:
        """Return that there are two inputs, read row by row."""
        return (Reads.SAME, Reads.SAME)

    def expand(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Expansion | None:
        """Return the definition."""
        s = Sketch()
        return s.end(s.map("add", "in.0", "in.1"))

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.add(ins[0], ins[1]),)
