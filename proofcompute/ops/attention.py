"""Rotary positions, int8 keys and values, causal attention (design, section 3, rule 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from proofcompute.kernels import F32, Array, Kernels
from proofcompute.numerics import rope_table
from proofcompute.ops.base import Pointwise, f32_rows, from_bits, need
from proofcompute.program import Rows, Span, Spec, WeightSpec
from proofcompute.source import Source

__all__ = ["Attention", "QuantiseHeads", "Rope", "rotary_rows"]

_BLOCK = 512
"""Positions in one cached piece of a rotary table."""


@lru_cache(maxsize=64)
def _table(freqs: tuple[int, ...], block: int) -> tuple[F32, F32]:
    """Cosines and sines of positions block*512.. for frequencies given as bit patterns, [512, r] each."""
    positions = np.arange(block * _BLOCK, (block + 1) * _BLOCK, dtype=np.int64)
    return rope_table(positions, np.array(freqs, np.uint32).view(np.float32))


@lru_cache(maxsize=8)  # every layer of a step asks for the same rows
def rotary_rows(freqs: tuple[int, ...], spans: tuple[Span, ...]) -> tuple[F32, F32]:
    """Cosines and sines of the positions of all spans, one after the other."""
    cos: list[F32] = []
    sin: list[F32] = []
    for _, first, last in spans:
        for block in range(first // _BLOCK, (last - 1) // _BLOCK + 1):
            whole_cos, whole_sin = _table(freqs, block)
            a, b = max(first - block * _BLOCK, 0), min(last - block * _BLOCK, _BLOCK)
            cos.append(whole_cos[a:b])
            sin.append(whole_sin[a:b])
    return np.concatenate(cos), np.concatenate(sin)


@dataclass(frozen=True)
class Rope(Pointwise):
    """Rotate every head by the row's position; the angle is f32(position) * frequency, rounded once."""

    heads: int
    freqs: tuple[int, ...]
    """Binary32 bit patterns of the frequencies, one for each rotated pair."""
    interleaved: int
    """1: pairs (2i, 2i+1); 0: pairs (i, i + r)."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """A float32 row of whole heads in, the same out."""
        width = f32_rows(ins, "rope")
        need(self.heads >= 1 and width % self.heads == 0, f"rope: {width} is not {self.heads} heads")
        need(1 <= len(self.freqs) <= width // self.heads // 2, "rope: more pairs than a head has")
        need(self.interleaved in (0, 1), "rope: interleaved is 0 or 1")
        need(
            all(0 <= from_bits(f, "rope frequency") <= 1 for f in self.freqs), "rope: frequency outside 0..1"
        )
        return (ins[0],)

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """See the class."""
        cos, sin = rotary_rows(self.freqs, tuple(spans))
        return (k.rope(ins[0], cos, sin, self.heads, bool(self.interleaved)),)


@dataclass(frozen=True)
class QuantiseHeads(Pointwise):
    """A row of heads to int8, one limb and one scale for each head: what is committed of keys and values."""

    heads: int

    settled = True
    """A scale is |x| / 127: finite, and never -0."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """A float32 row of whole heads in; int8 [heads, dh] and float32 [heads] out."""
        width = f32_rows(ins, "quantise heads")
        need(
            self.heads >= 1 and width % self.heads == 0, f"quantise heads: {width} is not {self.heads} heads"
        )
        return (Spec("i8", (self.heads, width // self.heads)), Spec("f32", (self.heads,)))

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """See the class."""
        return k.quantise_heads(ins[0], self.heads)


@dataclass(frozen=True)
class Attention(Pointwise):
    """Causal attention of query rows over committed int8 keys and values.

    Inputs: q, keys, key scales, values, value scales. The products of activations in here are recomputed
    by a verifier: for one row they cost about as much as checking them would.
    """

    heads: int
    scale: int
    """Binary32 bit pattern of the factor c on the scores."""
    window: int
    """Positions that a row may see, its own included; 0 for all."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Five inputs as above; a float32 row of heads out."""
        need(len(ins) == 5, "attention: needs q, keys, key scales, values, value scales")
        width = f32_rows(ins[:1], "attention")
        need(
            ins[1].dtype == "i8" and len(ins[1].shape) == 2 and ins[1] == ins[3], "attention: keys and values"
        )
        kv_heads, dh = ins[1].shape
        need(ins[2] == Spec("f32", (kv_heads,)) and ins[4] == ins[2], "attention: one scale a head")
        need(self.heads % kv_heads == 0 and width == self.heads * dh, "attention: heads do not fit")
        need(self.window >= 0, "attention: negative window")
        from_bits(self.scale, "attention scale")
        return (ins[0],)

    def reads(self) -> Sequence[Rows]:
        """Own query; all rows up to the own one of keys and values."""
        return (Rows.SAME, Rows.PREFIX, Rows.PREFIX, Rows.PREFIX, Rows.PREFIX)

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """See the class."""
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
        return (out[0] if len(out) == 1 else np.concatenate(out),)
