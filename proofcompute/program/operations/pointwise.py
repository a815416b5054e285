"""Define operations on single rows: norms, activations, sums, slices (docs/spec/programs.md#operations)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import F32, Array, Span
from proofcompute.program.operations.base import Pointwise, f32_rows, from_bits, need, vector
from proofcompute.program.source import Source
from proofcompute.program.types import Reads, Spec, WeightSpec

__all__ = ["Add", "Gate", "Gelu", "LayerNorm", "Relu", "RmsNorm", "Split"]


@dataclass(frozen=True)
class RmsNorm(Pointwise):
    """Compute x / sqrt(tree(x*x) / n + eps) * w."""

    weight: str
    eps: int
    """Binary32 bit pattern."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: one float32 row in, the same out."""
        vector(weights, self.weight, f32_rows(ins, "rms norm"))
        need(bool(from_bits(self.eps, "rms norm eps") >= 0), "rms norm: eps is negative")
        return (ins[0],)

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.rms_norm(ins[0], src.weights.vector(self.weight), from_bits(self.eps, "eps")),)


@dataclass(frozen=True)
class LayerNorm(Pointwise):
    """Compute c / sqrt(tree(c*c) / n + eps) * w + b with c = x - tree(x) / n."""

    weight: str
    bias: str
    eps: int
    """Binary32 bit pattern."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: one float32 row in, the same out."""
        width = f32_rows(ins, "layer norm")
        vector(weights, self.weight, width)
        vector(weights, self.bias, width)
        need(bool(from_bits(self.eps, "layer norm eps") >= 0), "layer norm: eps is negative")
        return (ins[0],)

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        w, b = src.weights.vector(self.weight), src.weights.vector(self.bias)
        return (k.layer_norm(ins[0], w, b, from_bits(self.eps, "eps")),)


@dataclass(frozen=True)
class Gate(Pointwise):
    """Compute g / (1 + exp(-g)) * u, half as wide, from rows that hold g first and u second."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: a float32 row of even width in, half of it out."""
        width = f32_rows(ins, "gate")
        need(width % 2 == 0, "gate: odd width")
        return (Spec("f32", (width // 2,)),)

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.gate(ins[0]),)


@dataclass(frozen=True)
class Gelu(Pointwise):
    """Compute 0.5 x (1 + erf(x / sqrt 2))."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: one float32 row in, the same out."""
        f32_rows(ins, "gelu")
        return (ins[0],)

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.gelu(ins[0]),)


@dataclass(frozen=True)
class Relu(Pointwise):
    """Compute x where x > 0, else +0."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: one float32 row in, the same out."""
        f32_rows(ins, "relu")
        return (ins[0],)

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.relu(ins[0]),)


@dataclass(frozen=True)
class Add(Pointwise):
    """Compute x + y."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: two float32 rows of equal width in, one out."""
        f32_rows(ins, "add", 2)
        return (ins[0],)

    def reads(self) -> Sequence[Reads]:
        """Return that there are two inputs, read row by row."""
        return (Reads.SAME, Reads.SAME)

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.add(ins[0], ins[1]),)


@dataclass(frozen=True)
class Split(Pointwise):
    """Cut a row into consecutive pieces of the given widths."""

    widths: tuple[int, ...]

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: one float32 row in, one for each width out."""
        width = f32_rows(ins, "split")
        need(
            all(w > 0 for w in self.widths) and sum(self.widths) == width, f"split of {width}: {self.widths}"
        )
        return tuple(Spec("f32", (w,)) for w in self.widths)

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        x, a, parts = ins[0], 0, []
        for width in self.widths:
            parts.append(k.slice_columns(x, a, a + width))
            a += width
        return parts
