"""Writes a block of a decoder as a segment of a program."""

from __future__ import annotations

from dataclasses import dataclass, replace

from proofcompute.encoding.wire import f32_bits
from proofcompute.errors import UnsupportedError
from proofcompute.importers.architecture import Attention, Block, Mlp, Norm
from proofcompute.importers.compiling.draft import Draft
from proofcompute.importers.compiling.precision import Precision
from proofcompute.program import operations as ops
from proofcompute.program.types import Op, WeightSpec

__all__ = ["BlockDraft"]


@dataclass(frozen=True)
class BlockDraft:
    """One block that is being written."""

    draft: Draft
    precision: Precision
    width: int
    """Columns of the residual stream."""
    index: int
    block: Block

    def write(self, x: str) -> str:
        """Write the segment that takes ``x``, the residual stream, and return what it has become."""
        ffn = _expressed(self.block)
        i, out = self.index, f"x.{self.index + 1}"
        a = self._norm("attention.norm", x, "a")
        m = self._attention(self.block.attention, a)
        o = self._linear("attention.o", m, "o", self.block.attention.o_bias, "o")
        y = self._node("attention.add", ops.Add(), (x, o), f"y.{i}")
        f = self._norm("ffn.norm", y, "f")
        gu = self._linear("ffn.gate_up", f, "gu", ffn.bias, "gate", "up")
        g = self._node("ffn.gate", ops.Gate(), (gu,), f"g.{i}")
        dn = self._linear("ffn.down", g, "dn", ffn.bias, "down")
        self._node("ffn.add", ops.Add(), (y, dn), out)
        kv = tuple(f"{name}.{i}" for name in ("k", "k_scale", "v", "v_scale"))
        self.draft.cut(f"block.{i}", {f"kv.{i}": kv, out: (out,)})
        return out

    def _attention(self, a: Attention, x: str) -> str:
        i, q, k, v = self.index, a.heads * a.head_dim, a.kv_heads * a.head_dim, a.kv_heads * a.v_dim
        qkv = self._linear("attention.qkv", x, "qkv", a.bias, "q", "k", "v")
        parts = (f"q0.{i}", f"k0.{i}", f"v0.{i}")
        self._node("attention.split", ops.Split((q, k, v)), (qkv,), *parts)
        queries, keys, values = parts
        if a.rope is not None:
            freqs, turn = a.rope.freqs, int(a.rope.interleaved)
            queries = self._node("attention.rope_q", ops.Rope(a.heads, freqs, turn), (queries,), f"q.{i}")
            keys = self._node("attention.rope_k", ops.Rope(a.kv_heads, freqs, turn), (keys,), f"k1.{i}")
        kv = (f"k.{i}", f"k_scale.{i}", f"v.{i}", f"v_scale.{i}")
        self._node("attention.k", ops.QuantiseHeads(a.kv_heads), (keys,), *kv[:2])
        self._node("attention.v", ops.QuantiseHeads(a.kv_heads), (values,), *kv[2:])
        mix = ops.Attention(a.heads, f32_bits(a.scale), a.window)
        return self._node("attention.mix", mix, (queries, *kv), f"m.{i}")

    def _norm(self, name: str, x: str, out: str) -> str:
        weight = self.draft.weight(
            WeightSpec(f"block.{self.index}.{name}", "constant", (self.width,), "f32"),
            f"layers.{self.index}.{name}",
        )
        op = ops.RmsNorm(weight, f32_bits(self.block.norm.eps))
        return self._node(name, op, (x,), f"{out}.{self.index}")

    def _linear(self, name: str, x: str, out: str, bias: bool, *parts: str) -> str:
        """Multiply by matrices of the checkpoint, stacked."""
        where = name.partition(".")[0]
        tensors = tuple(f"layers.{self.index}.{where}.{part}" for part in parts)
        shapes = [self.draft.shapes[t] for t in tensors]
        weight = self.draft.weight(
            WeightSpec(
                f"block.{self.index}.{name}",
                "matrix",
                (sum(rows for rows, _ in shapes), shapes[0][1]),
                limbs=self.precision.w_limbs,
                bias=bias,
            ),
            *tensors,
        )
        return self._node(name, ops.Linear(weight, self.precision.x_limbs), (x,), f"{out}.{self.index}")

    def _node(self, name: str, op: Op, inputs: tuple[str, ...], *outputs: str) -> str:
        return self.draft.node(name, op, inputs, *outputs)


def _expressed(block: Block) -> Mlp:
    """Return the feed-forward layer; raise UnsupportedError for a block with parts that are not expressed."""
    a, ffn = block.attention, block.ffn
    plain = Attention(
        a.heads, a.kv_heads, a.head_dim, a.head_dim, a.scale, a.rope, a.window, bias=a.bias, o_bias=a.o_bias
    )
    if not isinstance(ffn, Mlp):
        raise UnsupportedError("a mixture of experts is not supported")
    for what, present in (
        ("a norm other than a plain RMS norm", block.norm != Norm("rms", block.norm.eps)),
        (f"norms {block.norms!r}", block.norms != "pre"),
        ("a parallel block", block.parallel),
        ("a scaled residual", block.residual != 1),
        ("such an attention", a != plain or (a.rope is not None and a.rope.scale != 1)),
        ("a feed-forward layer other than gated SiLU", replace(ffn, bias=False) != Mlp(ffn.width, "silu")),
    ):
        if present:
            raise UnsupportedError(f"a decoder with {what} is not supported")
    return ffn
