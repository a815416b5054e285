"""Define rotary positions, int8 keys and values, and attention (docs/spec/programs.md#attention)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proofcompute.arithmetic.contracts import LIMBS
from proofcompute.arithmetic.kernels import AttentionOptions, Kernels
from proofcompute.arrays import F32, Array, Span
from proofcompute.limits import MAX_CONTRACTION, MAX_PAIRS, MAX_ROWS
from proofcompute.program.operations.base import Pointwise, from_bits, need, vector
from proofcompute.program.source import Source
from proofcompute.program.types import Reads, Spec, WeightSpec

__all__ = ["Attention", "QuantiseHeads", "Rope"]


_ONE: Final = 0x3F800000
"""The bits of 1."""


def _heads(spec: Spec, heads: int, what: str) -> int:
    """Return the columns of a head. Raises FormatError unless a float32 row is [heads dh] or [heads, dh]."""
    shape = spec.shape
    need(spec.dtype == "f32" and len(shape) in (1, 2), f"{what}: needs a float32 row of heads")
    fits = heads >= 1 and (spec.size % heads == 0 if len(shape) == 1 else shape[0] == heads)
    need(fits, f"{what}: a row of {list(shape)} is not {heads} heads")
    return spec.size // heads


def _flat(x: F32, heads: int) -> F32:
    """Return rows of heads as [n, heads dh]."""
    return x if x.ndim == 2 else x.reshape(len(x), heads * x.shape[2])


def _latent(latent: int, dh: int, what: str) -> None:
    need(0 <= latent < dh, f"{what}: a head of {dh} has no {latent} columns with others behind them")


@dataclass(frozen=True)
class Rope(Pointwise):
    """Rotate every head by the row's position; the angle is f32(position) * frequency, rounded once."""

    heads: int
    freqs: tuple[int, ...]
    """Binary32 bit patterns of the frequencies, one for each rotated pair."""
    interleaved: int
    """1: pairs (2i, 2i+1); 0: pairs (i, i + r)."""
    scale: int = _ONE
    """Binary32 bit pattern of the factor on cosines and sines."""
    start: int = 0
    """The first column of a head that is rotated."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: a float32 row of whole heads in, the same out."""
        need(len(ins) == 1, "rope: needs one input")
        dh = _heads(ins[0], self.heads, "rope")
        need(len(self.freqs) >= 1, "rope: no pairs")
        need(self.start >= 0, "rope: negative start")
        need(self.start + 2 * len(self.freqs) <= dh, "rope: more pairs than a head has")
        need(len(self.freqs) <= MAX_PAIRS, f"rope: more than {MAX_PAIRS} pairs")
        need(self.interleaved in (0, 1), "rope: interleaved is 0 or 1")
        need(
            all(0 <= from_bits(f, "rope frequency") <= 1 for f in self.freqs), "rope: frequency outside 0..1"
        )
        from_bits(self.scale, "rope scale")
        return (ins[0],)

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        cos, sin = k.rope_rows(self.freqs, spans, from_bits(self.scale, "rope scale"))
        x = _flat(ins[0], self.heads)
        y = k.rope(x, cos, sin, self.heads, bool(self.interleaved), self.start)
        return (y.reshape(ins[0].shape),)


@dataclass(frozen=True)
class QuantiseHeads(Pointwise):
    """Quantise a row of heads to int8, one scale a head, as keys and values are committed.

    Two limbs are [heads, 2, dh], high first, so that what attention reads of a position lies together.
    """

    heads: int
    limbs: int = 1
    latent: int = 0
    """Not 0: the first ``latent`` columns of a head have one scale and the others another; see Attention."""

    settled = True
    """True, because a scale is max |x| / 127 or / 32639, which is finite and never -0."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: a float32 row of whole heads in; int8 [heads, dh] and float32 [heads] out.

        Two limbs give int8 [heads, 2, dh], and two scales float32 [heads, 2].
        """
        need(len(ins) == 1, "quantise heads: needs one input")
        dh = _heads(ins[0], self.heads, "quantise heads")
        need(self.limbs in LIMBS, "quantise heads: one or two limbs")
        _latent(self.latent, dh, "quantise heads")
        shape = (self.heads, dh) if self.limbs == 1 else (self.heads, 2, dh)
        return (Spec("i8", shape), Spec("f32", (self.heads, 2) if self.latent else (self.heads,)))

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return k.quantise_heads(_flat(ins[0], self.heads), self.heads, self.limbs, self.latent)


@dataclass(frozen=True)
class Attention(Pointwise):
    """Compute attention of query rows over committed int8 keys and values; it is causal without ``ahead``.

    The inputs are q, keys, key scales, values and value scales. A verifier recomputes the products of
    activations, which costs about as much for one row as checking them would.

    With ``latent``, values are the first columns of the keys, and inputs are q, keys and key scales. So
    latent attention (MLA; DeepSeek-V2, arXiv:2405.04434) commits one latent and one rope key a row: heads
    share one key [latent, rope key]; a query is [q times the key part of the matrix that expands latents,
    rope query]; and the result, a mix of latents for each head, is multiplied by its value part.
    """

    heads: int
    scale: int
    """Binary32 bit pattern of the factor on the scores."""
    window: int
    """The number of positions up to its own that a row may see; 0 for all."""
    limbs: int = 1
    """Limbs of the quantised queries; those of keys and values are seen in their types."""
    softcap: int = 0
    """Binary32 bit pattern of c > 0 in tanh(score / c) * c; 0 for none."""
    sinks: str = ""
    """Name of a weight vector [heads]: a logit of each head that is in its softmax and has no value; may be
    empty."""
    latent: int = 0
    """Not 0: the columns of a key that are its value too; they have a scale of their own."""
    ahead: int = 0
    """The number of later positions that a row may see besides; MAX_ROWS for all, 0 in causal attention."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: inputs as above, a float32 row of heads out, of as many axes as q."""
        inputs = "three" if self.latent else "five"
        need(len(ins) == (3 if self.latent else 5), f"attention: needs {inputs} inputs")
        dh = _heads(ins[0], self.heads, "attention")
        kv_heads, columns = self._keys(ins[1], "keys")
        need(self.heads % kv_heads == 0 and columns == dh, "attention: heads do not fit")
        need(dh <= MAX_CONTRACTION, f"attention: heads of {dh}, at most {MAX_CONTRACTION} fit an accumulator")
        _latent(self.latent, dh, "attention")
        if self.latent:
            need(ins[2] == Spec("f32", (kv_heads, 2)), "attention: two scales a head of keys")
            columns = self.latent
        else:
            values, columns = self._keys(ins[3], "values")
            need(values == kv_heads, "attention: keys and values")
            need(ins[2] == Spec("f32", (kv_heads,)) and ins[4] == ins[2], "attention: one scale a head")
        need(self.window >= 0, "attention: negative window")
        need(0 <= self.ahead <= MAX_ROWS, f"attention: at most {MAX_ROWS} later positions")
        need(self.limbs in LIMBS, "attention: one or two limbs")
        from_bits(self.scale, "attention scale")
        cap = from_bits(self.softcap, "attention softcap")
        need(bool(cap > 0) or self.softcap == 0, "attention: softcap is positive, or 0 for none")
        if self.sinks:
            vector(weights, self.sinks, self.heads)
        shape = (self.heads * columns,) if len(ins[0].shape) == 1 else (self.heads, columns)
        return (Spec("f32", shape),)

    @staticmethod
    def _keys(spec: Spec, what: str) -> tuple[int, int]:
        """Return heads and columns of keys or values, [hk, d] or [hk, 2, d]."""
        shape = spec.shape
        fits = spec.dtype == "i8" and (len(shape) == 2 or (len(shape) == 3 and shape[1] == 2))
        need(fits, f"attention: {what} are int8 heads of one or two limbs")
        return shape[0], shape[-1]

    def each_position(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the products of a position with all queries, and with all weights of the mix."""
        limbs = ins[1].shape[1] if len(ins[1].shape) == 3 else 1
        return limbs * (self.limbs * ins[0].size + outs[0].size)

    def weights(self) -> Sequence[str]:
        """Return the sinks, if there are any."""
        return (self.sinks,) if self.sinks else ()

    def reads(self) -> Sequence[Reads]:
        """Return that a row depends on its own query, and on keys and values up to its own or on all."""
        many = Reads.ALL if self.ahead else Reads.PREFIX
        return (Reads.SAME, *[many] * (2 if self.latent else 4))

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        q, keys, key_scales = ins[:3]
        values, value_scales = ([None] * len(spans),) * 2 if self.latent else ins[3:]
        sinks = src.weights.constant(self.sinks) if self.sinks else None
        cap = from_bits(self.softcap, "attention softcap")
        options = AttentionOptions(self.limbs, cap, sinks, self.latent, self.ahead)
        scale = from_bits(self.scale, "attention scale")
        queries = _flat(q, self.heads)
        out, row = [], 0
        for i, s in enumerate(spans):
            n = s.b - s.a
            given = (keys[i], key_scales[i], values[i], value_scales[i])
            mine = queries[row : row + n]
            out.append(k.attention(mine, *given, s.a, scale, self.window, options))
            row += n
        y = k.concatenate(out)
        return (y if q.ndim == 2 else y.reshape(len(y), self.heads, y.shape[1] // self.heads),)
