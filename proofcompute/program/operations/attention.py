"""Define rotary positions, int8 keys and values, and causal attention (docs/spec/programs.md#attention)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import F32, Array, Span
from proofcompute.limits import MAX_CONTRACTION
from proofcompute.program.operations.base import Pointwise, f32_rows, from_bits, need
from proofcompute.program.source import Source
from proofcompute.program.types import Reads, Spec, WeightSpec

__all__ = ["Attention", "QuantiseHeads", "Rope"]


@dataclass(frozen=True)
class Rope(Pointwise):
    """Rotate every head by the row's position; the angle is f32(position) * frequency, rounded once."""

    heads: int
    freqs: tuple[int, ...]
    """Binary32 bit patterns of the frequencies, one for each rotated pair."""
    interleaved: int
    """1: pairs (2i, 2i+1); 0: pairs (i, i + r)."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: a float32 row of whole heads in, the same out."""
        width = f32_rows(ins, "rope")
        need(self.heads >= 1 and width % self.heads == 0, f"rope: {width} is not {self.heads} heads")
        need(1 <= len(self.freqs) <= width // self.heads // 2, "rope: more pairs than a head has")
        need(self.interleaved in (0, 1), "rope: interleaved is 0 or 1")
        need(
            all(0 <= from_bits(f, "rope frequency") <= 1 for f in self.freqs), "rope: frequency outside 0..1"
        )
        return (ins[0],)

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        cos, sin = k.rope_rows(self.freqs, spans)
        return (k.rope(ins[0], cos, sin, self.heads, bool(self.interleaved)),)


@dataclass(frozen=True)
class QuantiseHeads(Pointwise):
    """Quantise a row of heads to int8, one limb and one scale a head, as keys and values are committed."""

    heads: int

    settled = True
    """True, because a scale is max |x| / 127, which is finite and never -0."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: a float32 row of whole heads in; int8 [heads, dh] and float32 [heads] out."""
        width = f32_rows(ins, "quantise heads")
        need(
            self.heads >= 1 and width % self.heads == 0, f"quantise heads: {width} is not {self.heads} heads"
        )
        return (Spec("i8", (self.heads, width // self.heads)), Spec("f32", (self.heads,)))

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return k.quantise_heads(ins[0], self.heads)


@dataclass(frozen=True)
class Attention(Pointwise):
    """Compute causal attention of query rows over committed int8 keys and values.

    The inputs are q, keys, key scales, values and value scales. A verifier recomputes the products of
    activations, which costs about as much for one row as checking them would.
    """

    heads: int
    scale: int
    """Binary32 bit pattern of the factor on the scores."""
    window: int
    """The number of positions that a row may see, its own included; 0 for all."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: five inputs as above, a float32 row of heads out."""
        need(len(ins) == 5, "attention: needs q, keys, key scales, values, value scales")
        width = f32_rows(ins[:1], "attention")
        need(
            ins[1].dtype == "i8" and len(ins[1].shape) == 2 and ins[1] == ins[3], "attention: keys and values"
        )
        kv_heads, dh = ins[1].shape
        need(ins[2] == Spec("f32", (kv_heads,)) and ins[4] == ins[2], "attention: one scale a head")
        need(self.heads % kv_heads == 0 and width == self.heads * dh, "attention: heads do not fit")
        need(dh <= MAX_CONTRACTION, f"attention: heads of {dh}, at most {MAX_CONTRACTION} fit an accumulator")
        need(self.window >= 0, "attention: negative window")
        from_bits(self.scale, "attention scale")
        return (ins[0],)

    def reads(self) -> Sequence[Reads]:
        """Return that a row depends on its own query, and on all keys and values up to its own."""
        return (Reads.SAME, Reads.PREFIX, Reads.PREFIX, Reads.PREFIX, Reads.PREFIX)

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        q, keys, key_scales, values, value_scales = ins
        out, row = [], 0
        for i, s in enumerate(spans):
            n = s.b - s.a
            out.append(
                k.attention(
                    q[row : row + n],
                    keys[i],
                    key_scales[i],
                    values[i],
                    value_scales[i],
                    s.a,
                    from_bits(self.scale, "attention scale"),
                    self.window,
                )
            )
            row += n
        return (k.concatenate(out),)
