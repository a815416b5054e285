"""Writes a block of a decoder as a segment of a program."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.encoding.wire import f32_bits
from proofcompute.errors import UnsupportedError
from proofcompute.importers.architecture import Attention, Block, Mlp, Moe
from proofcompute.importers.compiling.activations import clipped
from proofcompute.importers.compiling.draft import Draft, Fold, Recipe
from proofcompute.importers.compiling.experts import Mixture
from proofcompute.importers.compiling.latent import LatentAttention
from proofcompute.importers.compiling.precision import Precision
from proofcompute.importers.compiling.products import Products
from proofcompute.program import operations as ops

__all__ = ["BlockDraft"]


@dataclass(frozen=True)
class BlockDraft:
    """One block that is being written; see :class:`~proofcompute.importers.architecture.Block`."""

    draft: Draft
    precision: Precision
    index: int
    block: Block

    def write(self, x: str) -> str:
        """Write the segment that takes ``x``, the residual stream, and return what it has become."""
        d, block, i = self.draft, self.block, self.index
        d.suffix = f".{i}"
        pre = block.norms in ("pre", "both")
        a = self._norm("attention.norm", x, "a") if pre else x
        o = self._attention(block.attention, a)
        y = d.add("attention.add", ops.Add(), x, self._post("attention.post", o), out="y")
        before, f = y, a
        if block.parallel != "one":
            before = x if block.parallel == "two" else y
            f = self._norm("ffn.norm", before, "f") if pre else before
        dn = self._ffn(block.ffn, f)
        out = d.node("ffn.add", ops.Add(), (y, self._post("ffn.post", dn)), f"x.{i + 1}")
        self._folds(pre)
        d.cut(f"block.{i}", {f"kv.{i}": self._committed, out: (out,)})
        d.suffix = ""
        return out

    # -- parts ---------------------------------------------------------------------------------------------
    def _attention(self, a: Attention, x: str) -> str:
        mix = self._mix(a, x) if a.latent is None else LatentAttention(self._products, a, a.latent).write(x)
        return self._products.linear("attention.o", mix, "o", "o", bias=a.o_bias, factor=self._last_factor)

    def _mix(self, a: Attention, x: str) -> str:
        d, i, limbs = self.draft, self.index, self.precision.kv_limbs
        q, k, v = a.heads * a.head_dim, a.kv_heads * a.head_dim, a.kv_heads * a.v_dim
        qkv = self._products.linear("attention.qkv", x, "qkv", "q", "k", "v", bias=a.bias)
        parts = (f"q0.{i}", f"k0.{i}", f"v0.{i}")
        d.node("attention.split", ops.Split((q, k, v)), (qkv,), *parts)
        queries = self._turned(a, "q", parts[0], a.heads, "q")
        keys = self._turned(a, "k", parts[1], a.kv_heads, "k1")
        values = parts[2]
        if a.clip:
            values = clipped(d, values, a.clip, "attention.clip_v")
        kv = self._committed
        d.node("attention.k", ops.QuantiseHeads(a.kv_heads, limbs), (keys,), *kv[:2])
        d.node("attention.v", ops.QuantiseHeads(a.kv_heads, limbs), (values,), *kv[2:])
        sinks = ""
        if a.sinks:
            sinks = d.constant(
                f"block.{i}.attention.sinks", (a.heads,), Recipe((f"layers.{i}.attention.sinks",))
            )
        cap = f32_bits(a.softcap) if a.softcap else 0
        mix = ops.Attention(a.heads, f32_bits(a.scale), a.window, limbs, cap, sinks)
        return d.node("attention.mix", mix, (queries, *kv), f"m.{i}")

    def _turned(self, a: Attention, kind: str, x: str, heads: int, out: str) -> str:
        """Normalise, clip and rotate queries or keys."""
        d = self.draft
        if a.qk_norm and a.norm is not None:
            x = self._head_norm(a, kind, x, heads)
        if a.clip:
            x = clipped(d, x, a.clip, f"attention.clip_{kind}")
        if a.rope is None:
            return x
        rope = ops.Rope(heads, a.rope.freqs, int(a.rope.interleaved), f32_bits(a.rope.scale))
        return d.add(f"attention.rope_{kind}", rope, x, out=out)

    def _head_norm(self, a: Attention, kind: str, x: str, heads: int) -> str:
        d, name = self.draft, f"attention.{kind}_norm"
        tensor = f"layers.{self.index}.{name}"
        if a.norm is None:
            raise UnsupportedError("a norm of queries without a kind is not supported")
        if a.qk_norm == "full":
            return d.norm(name, a.norm, x, tensor)
        apart = d.add(f"{name}.heads", ops.reshape((heads, a.head_dim)), x)
        if a.qk_norm == "head":
            normed = d.norm(name, a.norm, apart, tensor)
        else:
            normed = self._norm_of_heads(a, name, apart, heads)
        return d.add(f"{name}.row", ops.reshape((heads * a.head_dim,)), normed)

    def _norm_of_heads(self, a: Attention, name: str, x: str, heads: int) -> str:
        """Normalise each head, then multiply by weights that differ from head to head."""
        d = self.draft
        own, tensor = f"block.{self.index}.{name}", f"layers.{self.index}.{name}"
        if a.norm is None or a.norm.bias:
            raise UnsupportedError("a norm of heads with a bias is not supported")
        ones, eps = d.filled(1.0, a.head_dim), f32_bits(a.norm.eps)
        op: ops.RmsNorm | ops.LayerNorm = ops.RmsNorm(ones, eps)
        if a.norm.kind == "layer":
            op = ops.LayerNorm(ones, d.filled(0.0, a.head_dim), eps)
        plain = d.add(f"{name}.plain", op, x)
        factors = d.constant(own, (heads, a.head_dim), Recipe((tensor,), a.norm.offset))
        return d.add(name, ops.Map("mul"), plain, d.add(f"{name}.weight", ops.Constant(factors)))

    def _ffn(self, ffn: Mlp | Moe, x: str) -> str:
        if isinstance(ffn, Moe):
            return Mixture(self._products, ffn, self._last_factor).write(x)
        return self._products.mlp("ffn", ffn, x, self._last_factor)

    # -- weights -------------------------------------------------------------------------------------------
    @property
    def _products(self) -> Products:
        return Products(self.draft, self.precision, self.index)

    @property
    def _committed(self) -> tuple[str, ...]:
        """What a row commits for later rows' attention."""
        own = ("k", "k_scale") if self.block.attention.latent else ("k", "k_scale", "v", "v_scale")
        return tuple(f"{name}.{self.index}" for name in own)

    @property
    def _last_factor(self) -> float:
        """The factor of what is added to the residual stream, unless a norm after it takes it."""
        return self.block.residual if self.block.norms == "pre" else 1.0

    def _norm(self, name: str, x: str, out: str) -> str:
        return self.draft.norm(name, self.block.norm, x, f"layers.{self.index}.{name}", out=out)

    def _post(self, name: str, x: str) -> str:
        if self.block.norms == "pre":
            return x
        tensor = f"layers.{self.index}.{name}"
        return self.draft.norm(name, self.block.norm, x, tensor, factor=self.block.residual)

    # -- scales --------------------------------------------------------------------------------------------
    def _folds(self, pre: bool) -> None:
        """Note where scales can be folded in, exactly as :mod:`.calibration` explains."""
        block, layer = self.block, f"layers.{self.index}."
        a, ffn = block.attention, block.ffn
        (first, heads), (second, inner) = self._attention_reads, self._ffn_reads
        if pre and block.parallel == "one":
            self._fold((first, second), (*heads, *inner), f"{layer}attention.norm")
        elif pre:
            self._fold((first,), heads, f"{layer}attention.norm")
            self._fold((second,), inner, f"{layer}ffn.norm")
        name, last = ("ffn", ffn) if isinstance(ffn, Mlp) else ("ffn.shared", ffn.shared)
        if last is not None and last.gated and not last.limit:
            self._fold((self._own(f"{name}.down"),), (f"{layer}{name}.down",), f"{layer}{name}.up")
        if a.latent is not None:
            if a.latent.q_rank:
                q_b = f"{layer}attention.q_b"
                self._fold((self._own("attention.q_b"),), (q_b,), f"{layer}attention.q_a_norm")
        elif not a.clip:
            shared = a.heads, a.kv_heads
            self._fold((self._own("attention.o"),), (f"{layer}attention.o",), f"{layer}attention.v", shared)

    @property
    def _attention_reads(self) -> tuple[str, tuple[str, ...]]:
        """The first product of attention, and the tensors that are multiplied by its inputs."""
        a = self.block.attention
        product, parts = "attention.qkv", tuple("qkv")
        if a.latent is not None:
            product, parts = LatentAttention(self._products, a, a.latent).reads
        return self._own(product), self._products.tensors(product, parts)

    @property
    def _ffn_reads(self) -> tuple[str, tuple[str, ...]]:
        """The first product of the feed-forward layer, and the tensors that are multiplied by its inputs."""
        ffn = self.block.ffn
        if isinstance(ffn, Moe):
            product, parts = Mixture(self._products, ffn, 1.0).reads
        else:
            product, parts = ("ffn.gate_up", ("gate", "up")) if ffn.gated else ("ffn.up", ("up",))
        return self._own(product), self._products.tensors(product, parts)

    def _own(self, name: str) -> str:
        return self._products.own(name)

    def _fold(
        self,
        products: tuple[str, ...],
        matrices: tuple[str, ...],
        absorb: str,
        heads: tuple[int, int] | None = None,
    ) -> None:
        names = tuple(name for name in (absorb, f"{absorb}.bias") if name in self.draft.shapes)
        self.draft.folds.append(Fold(products, matrices, names, heads))
