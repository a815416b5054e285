"""Define the product of two activations (docs/spec/primitives.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array, Span
from proofcompute.limits import MAX_CONTRACTION
from proofcompute.program.operations.base import Pointwise, need
from proofcompute.program.operations.mapping import broadcast_shape
from proofcompute.program.source import Source
from proofcompute.program.types import Reads, Spec, WeightSpec

__all__ = ["Contract"]

_INTEGERS = ("i8", "u8", "i32")


@dataclass(frozen=True)
class Contract(Pointwise):
    """Multiply matrices [..., n, d] and [..., d, m] of one row, which a verifier computes again."""

    limbs: int
    """Limbs to which float32 rows and columns are quantised; 0 for integers, whose product is int64."""

    broadcasts = True

    def reads(self) -> Sequence[Reads]:
        """Return that both inputs are read row by row."""
        return (Reads.SAME, Reads.SAME)

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: two stacks of matrices that fit in, one out."""
        need(self.limbs in (0, 1, 2), f"contract: {self.limbs} limbs")
        need(len(ins) == 2 and min(len(s.shape) for s in ins) >= 2, "contract: needs two stacks of matrices")
        kinds = _INTEGERS if self.limbs == 0 else ("f32",)
        need(all(s.dtype in kinds for s in ins), f"contract: {self.limbs} limbs of other types than {kinds}")
        (*first, n, d), (*second, e, m) = ins[0].shape, ins[1].shape
        need(d == e, f"contract: lengths {d} and {e} differ")
        need(d <= MAX_CONTRACTION, f"contract: a length of {d}, more than {MAX_CONTRACTION}")
        batch = broadcast_shape([tuple(first), tuple(second)], "contract")
        return (Spec("f32" if self.limbs else "i64", (*batch, n, m)),)

    def work(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the number of multiplications, and what beginning with each pair of matrices costs."""
        *batch, _, _ = outs[0].shape
        return outs[0].size * ins[0].shape[-1] * max(1, self.limbs) ** 2 + (math.prod(batch) << 14)

    def scratch(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the bytes of integers of 64 bits, and of sums in both types."""
        return 8 * sum(s.size for s in ins) + 16 * outs[0].size

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.contract(ins[0], ins[1], self.limbs),)
