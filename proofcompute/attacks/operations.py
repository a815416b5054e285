"""Operations that cheats run in the place of those of the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array, Span
from proofcompute.program.operations import Gate, RmsNorm, Rope
from proofcompute.program.source import Source
from proofcompute.program.types import Spec, WeightSpec

__all__ = ["Identity", "NarrowGate", "OffsetRope", "Unscaled"]


@dataclass(frozen=True)
class OffsetRope(Rope):
    """Rotates row t as if it were row t + 1."""

    @staticmethod
    def of(op: Rope) -> OffsetRope:
        """Return this rotation with the attributes of another."""
        return OffsetRope(op.heads, op.freqs, op.interleaved, op.scale, op.start)

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return super().run(ins, [Span(s.trace, s.a + 1, s.b + 1) for s in spans], src, k)


@dataclass(frozen=True)
class NarrowGate(Gate):
    """Computes max(g, 0) * u, where a gate computes g / (1 + exp(-g)) * u."""

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        half = ins[0].shape[-1] // 2
        g, u = ins[0][..., :half], ins[0][..., half:]
        return (np.ascontiguousarray(np.maximum(g, np.float32(0)) * u + np.float32(0)),)


@dataclass(frozen=True)
class _Norm(RmsNorm):
    """A norm of which a prover says that it was computed."""

    eps: int = 0

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: float32 in, the same out."""
        return (ins[0],)


@dataclass(frozen=True)
class Unscaled(_Norm):
    """Multiplies rows by the factors, whatever their mean square is."""

    bias: str = ""

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        y = ins[0] * src.weights.constant(self.weight) * np.float32(0.5)
        return (np.ascontiguousarray(y + np.float32(0)),)


@dataclass(frozen=True)
class Identity(_Norm):
    """Gives rows as they are."""

    bias: str = ""

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (np.ascontiguousarray(ins[0]),)
