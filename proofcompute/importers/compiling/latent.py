"""Writes latent attention (MLA; DeepSeek-V2, arXiv:2405.04434).

A row commits its latent and its rotated rope key, as one key that all heads share. What would expand latents
to keys and values of every head, ``kv_b``, is absorbed instead. For a head with the parts K and V of that
matrix, a latent c and a query q,

    q . (K c) = (K^T q) . c        and        sum_t p_t (V c_t) = V (sum_t p_t c_t),

so that queries are turned into the space of latents, and the mix of latents is turned into values. These are
products with a matrix for each head, with numbers that are constant.
"""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.encoding.wire import f32_bits
from proofcompute.errors import UnsupportedError
from proofcompute.importers.architecture import Attention, Latent
from proofcompute.importers.compiling.draft import Recipe
from proofcompute.importers.compiling.products import Products
from proofcompute.program import operations as ops

__all__ = ["LatentAttention"]


@dataclass(frozen=True)
class LatentAttention:
    """Latent attention that is being written; see :class:`~proofcompute.importers.architecture.Latent`."""

    products: Products
    attention: Attention
    latent: Latent

    def write(self, x: str) -> str:
        """Write the operations on ``x`` before the last product, and return the heads' values."""
        a, latent, p, d = self.attention, self.latent, self.products, self.products.draft
        if a.qk_norm or a.clip:
            raise UnsupportedError("latent attention with norms or limits of heads is not supported")
        q, low, key = self._projected(x)
        low = d.norm("attention.kv_a_norm", latent.norm, low, self._tensor("kv_a_norm"))
        if a.rope is not None:
            factor = f32_bits(a.rope.scale)
            turn = ops.Rope(1, a.rope.freqs, int(a.rope.interleaved), factor)
            key = d.add("attention.rope_k", turn, key)
            turn = ops.Rope(a.heads, a.rope.freqs, int(a.rope.interleaved), factor, latent.nope)
            q = d.add("attention.rope_q", turn, q)
        both = d.add("attention.key", ops.Concat(0, 2), low, key)
        k, k_scale = self.committed
        heads = ops.QuantiseHeads(1, p.precision.kv_limbs, latent.kv_rank)
        d.node("attention.k", heads, (both,), k, k_scale)
        numbers = d.add("attention.heads", ops.Constant(d.numbers(a.heads)))
        mix = ops.Attention(
            a.heads, f32_bits(a.scale), a.window, p.precision.kv_limbs, self._cap, self._sinks, latent.kv_rank
        )
        m = d.add("attention.mix", mix, self._query(q, numbers), k, k_scale)
        v = p.chosen("attention.values", m, numbers, "v", self._expanding(latent.nope, latent.nope + a.v_dim))
        return d.add("attention.values.flat", ops.reshape((a.heads * a.v_dim,)), v, out="m")

    @property
    def reads(self) -> tuple[str, tuple[str, ...]]:
        """The first product, and the checkpoint's matrices that are multiplied by its inputs."""
        first = "q_a" if self.latent.q_rank else "q"
        alone = not self.latent.q_rank and self.attention.bias  # then only the second product has a bias
        return "attention.q" if alone else f"attention.{first}_kv_a", (first, "kv_a")

    @property
    def committed(self) -> tuple[str, str]:
        """The tensors that a row commits."""
        return f"k.{self.products.index}", f"k_scale.{self.products.index}"

    def _projected(self, x: str) -> tuple[str, str, str]:
        """Add the queries of all heads, the latent before its norm, and the rope key before its rotation."""
        a, latent, p = self.attention, self.latent, self.products
        d, i = p.draft, p.index
        narrow, names = (latent.kv_rank, latent.rope), (f"q0.{i}", f"c0.{i}", f"k0.{i}")
        product, parts = self.reads
        if product == "attention.q":
            q = p.linear(product, x, "q0", "q")
            kv = p.linear("attention.kv_a", x, "kv0", "kv_a", bias=True)
            d.node("attention.split", ops.Split(narrow), (kv,), *names[1:])
            return q, names[1], names[2]
        y = p.linear(product, x, "qkv", *parts, bias=a.bias)
        rows = latent.q_rank or a.heads * a.head_dim
        d.node("attention.split", ops.Split((rows, *narrow)), (y,), *names)
        if not latent.q_rank:
            return names
        low = d.norm("attention.q_a_norm", latent.norm, names[0], self._tensor("q_a_norm"))
        return p.linear("attention.q_b", low, "q1", "q_b"), names[1], names[2]

    def _query(self, q: str, numbers: str) -> str:
        """Add the queries in the space of latents, each with its rotated part: [heads, kv_rank + rope]."""
        a, latent, d = self.attention, self.latent, self.products.draft
        strides = (a.head_dim, 1)
        plain = d.add("attention.nope", ops.View((a.heads, latent.nope), strides), q)
        turned = d.add("attention.rope", ops.View((a.heads, latent.rope), strides, latent.nope), q)
        recipe = self._expanding(0, latent.nope, transposed=True)
        absorbed = self.products.chosen("attention.keys", plain, numbers, "q2", recipe)
        return d.add("attention.query", ops.Concat(1, 2), absorbed, turned, out="q")

    def _expanding(self, a: int, b: int, *, transposed: bool = False) -> Recipe:
        """Return the matrices of rows a..b of each head."""
        return Recipe(
            (self._tensor("kv_b"),), groups=self.attention.heads, part=(a, b), transposed=transposed
        )

    @property
    def _cap(self) -> int:
        return f32_bits(self.attention.softcap) if self.attention.softcap else 0

    @property
    def _sinks(self) -> str:
        if not self.attention.sinks:
            return ""
        recipe = Recipe((self._tensor("sinks"),))
        return self.products.draft.constant(
            self.products.own("attention.sinks"), (self.attention.heads,), recipe
        )

    def _tensor(self, name: str) -> str:
        return f"layers.{self.products.index}.attention.{name}"
