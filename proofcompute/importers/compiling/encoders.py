"""Turns the description of an encoder into a program: an embedding, a segment per block, a pooled row.

Attention reads the keys and values of all rows, so they are made in the segment before the one that uses
them: a segment ends with what the next block's attention reads. Queries are made where they are used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from proofcompute.encoding.wire import f32_bits
from proofcompute.errors import UnsupportedError
from proofcompute.importers.architecture import Arch, Block, Encoder, Mlp, Rope, tensor_shapes
from proofcompute.importers.compiling.draft import Draft, Recipe
from proofcompute.importers.compiling.precision import Precision
from proofcompute.importers.compiling.products import Products
from proofcompute.importers.compiling.program import DecoderPlan
from proofcompute.limits import MAX_CONTEXT
from proofcompute.program import operations as ops
from proofcompute.program.program import Program
from proofcompute.program.types import Spec

__all__ = ["PATCHES", "TYPES", "plan_encoder"]

PATCHES = "patches"
"""The input of an encoder of pictures: patches [channels, size, size] behind a row that is not looked at."""
TYPES = "types"
"""The input of token types, where a model has several."""
_LEAST_LENGTH = 1e-12
"""A shorter vector is not made longer than 1, as in ``torch.nn.functional.normalize``."""


def plan_encoder(arch: Arch, encoder: Encoder, precision: Precision) -> DecoderPlan:
    """Return the program of an encoder, and how its weights are made.

    Its output is ``embedding``: one row if rows are pooled, else one for each. Raises UnsupportedError, which
    names it, for a part that this version cannot express, and LimitError for a program beyond the limits.
    """
    draft = Draft(tensor_shapes(arch), precision.exact)
    last = len(arch.blocks) - 1
    x = _embedding(draft, arch, encoder, precision)
    for i, block in enumerate(arch.blocks):
        writer = _Block(draft, precision, i, block)
        kv = writer.keys(x)
        draft.cut("embedding" if i == 0 else f"block.{i - 1}", {f"kv.{i}": kv, x: (x,)})
        x = writer.write(x, kv)
    draft.suffix = ""
    if encoder.final_norm:
        x = draft.norm("norm", arch.norm, x, "norm", out="final")
    if encoder.pool:
        draft.cut(f"block.{last}", {x: (x,)})
        _pooled(draft, encoder, x, arch.width)
        draft.cut("pool", {})
    else:
        _output(draft, x, arch.width)
        draft.cut(f"block.{last}", {})
    program = Program(
        inputs=_inputs(encoder),
        outputs=("embedding",),
        feedback=False,
        context=min(arch.context, MAX_CONTEXT),
        weights=tuple(draft.weights.values()),
        committed=tuple(draft.committed),
        segments=tuple(draft.segments),
        pooled=bool(encoder.pool),
    )
    return DecoderPlan(program, draft.recipes, ())


def _inputs(encoder: Encoder) -> tuple[tuple[str, Spec], ...]:
    token, patches = Spec("i32", ()), encoder.patches
    if patches is not None:
        return ((PATCHES, Spec("f32", (patches.channels, patches.size, patches.size))),)
    return (("tokens", token), *(((TYPES, token),) if encoder.types > 1 else ()))


def _of_patches(draft: Draft, width: int, precision: Precision) -> str:
    """Write the products of patches, and the class token in the place of the first."""
    whole = math.prod(draft.shapes["patches"][1:])
    weight = draft.matrix("patches", Recipe(("patches",)), precision.w_limbs, bias=True)
    row = draft.add("patches.row", ops.reshape((whole,)), PATCHES)
    x = draft.add("patches.product", ops.Linear(weight, precision.x_limbs), row)
    token = draft.constant("cls", (1, width), Recipe(("cls",)))
    cls = draft.add("cls.row", ops.reshape((width,)), draft.add("cls.all", ops.Constant(token)))
    zero = draft.add("cls.zero", ops.Map("constant", "i32", 0))
    first = draft.add("cls.here", ops.Map("eq"), draft.add("cls.number", ops.Position()), zero)
    return draft.add("cls.placed", ops.Map("select"), first, cls, x)


def _embedding(draft: Draft, arch: Arch, encoder: Encoder, precision: Precision) -> str:
    if encoder.patches is not None:
        return _located(draft, arch, encoder, _of_patches(draft, arch.width, precision))
    table = draft.matrix("embedding", Recipe(("embedding",), factor=arch.embed_scale), precision.w_limbs)
    x = draft.add("embed", ops.Embed(table), "tokens")
    if encoder.types > 1:
        types = draft.matrix("types", Recipe(("types",)), precision.w_limbs)
        x = draft.add("types.add", ops.Add(), x, draft.add("embed.types", ops.Embed(types), TYPES))
    elif encoder.types:
        kind = draft.constant("types", (1, arch.width), Recipe(("types",)))
        row = draft.add("types.row", ops.reshape((arch.width,)), draft.add("types.all", ops.Constant(kind)))
        x = draft.add("types.add", ops.Map("add"), x, row)
    x = _located(draft, arch, encoder, x)
    return (
        draft.norm("embedding.norm", arch.norm, x, "embedding.norm", out="x") if encoder.embedding_norm else x
    )


def _located(draft: Draft, arch: Arch, encoder: Encoder, x: str) -> str:
    """Add the learned position of each row."""
    if arch.positions:
        positions = draft.constant("positions", (arch.positions, arch.width), Recipe(("positions",)))
        row = draft.add("positions.row", ops.Position())
        if encoder.first_position:
            first = draft.add("positions.first", ops.Map("constant", "i32", encoder.first_position))
            row = draft.add("positions.at", ops.Map("add"), row, first)
        every = draft.add("positions.all", ops.Constant(positions))
        x = draft.add("embed.add", ops.Add(), x, draft.add("positions.own", ops.Take(), every, row))
    return x


def _pooled(draft: Draft, encoder: Encoder, x: str, width: int) -> None:
    pooled = draft.add("pooled", ops.PoolRows(encoder.pool), x)
    if not encoder.normalise:
        _output(draft, pooled, width)
        return
    squares = draft.add("squares", ops.Map("mul"), pooled, pooled)
    length = draft.add("length", ops.Map("sqrt"), draft.add("sum", ops.Reduce("sum", (0,)), squares))
    least = draft.add("length.least", ops.Map("max"), length, draft.number("least", _LEAST_LENGTH))
    draft.node("normalised", ops.Map("div"), (pooled, least), "embedding")


def _output(draft: Draft, x: str, width: int) -> None:
    """Give the output its name."""
    draft.node("embedding", ops.reshape((width,)), (x,), "embedding")


@dataclass(frozen=True)
class _Block:
    """One block that is being written, in two segments."""

    draft: Draft
    precision: Precision
    index: int
    block: Block

    def keys(self, x: str) -> tuple[str, ...]:
        """Write what attention reads of all rows, at the end of the segment that makes ``x``."""
        d, a, i = self.draft, self.block.attention, self.index
        if a.latent is not None or a.qk_norm or a.clip or a.sinks or a.kv_heads != a.heads:
            raise UnsupportedError("attention of this kind is not supported in an encoder")
        d.suffix = f".{i}"
        kv = self._products.linear("attention.kv", self._before(x, "n0"), "kv", "k", "v", bias=a.bias)
        widths = (a.kv_heads * a.head_dim, a.kv_heads * a.v_dim)
        d.node("attention.split", ops.Split(widths), (kv,), f"k0.{i}", f"v0.{i}")
        names = tuple(f"{name}.{i}" for name in ("k", "k_scale", "v", "v_scale"))
        limbs = self.precision.kv_limbs
        turned = self._turned(a.rope, f"k0.{i}", "k", a.kv_heads)
        d.node("attention.k", ops.QuantiseHeads(a.kv_heads, limbs), (turned,), *names[:2])
        d.node("attention.v", ops.QuantiseHeads(a.kv_heads, limbs), (f"v0.{i}",), *names[2:])
        return names

    def write(self, x: str, kv: tuple[str, ...]) -> str:
        """Write the rest of the block, and return what has become of ``x``."""
        d, a, block = self.draft, self.block.attention, self.block
        if block.parallel or block.residual != 1 or not isinstance(block.ffn, Mlp):
            raise UnsupportedError("a block of this kind is not supported in an encoder")
        d.suffix = f".{self.index}"
        q = self._products.linear("attention.q", self._before(x, "n1"), "q0", "q", bias=a.bias)
        q = self._turned(a.rope, q, "q", a.heads)
        cap = f32_bits(a.softcap) if a.softcap else 0
        mix = ops.Attention(a.heads, f32_bits(a.scale), a.window, self.precision.kv_limbs, cap, ahead=a.ahead)
        m = d.node("attention.mix", mix, (q, *kv), f"m.{self.index}")
        o = self._products.linear("attention.o", m, "o", "o", bias=a.o_bias)
        y = self._after("attention.post", d.add("attention.add", ops.Add(), x, o, out="y"), "y1")
        f = self._norm("ffn.norm", y, "f") if block.norms in ("pre", "ffn") else y
        dn = self._products.mlp("ffn", block.ffn, f, 1.0)
        return self._after("ffn.post", d.add("ffn.add", ops.Add(), y, dn, out="z"), "x")

    @property
    def _products(self) -> Products:
        return Products(self.draft, self.precision, self.index)

    def _before(self, x: str, out: str) -> str:
        """Return ``x`` as attention reads it."""
        return self._norm("attention.norm", x, out) if self.block.norms == "pre" else x

    def _after(self, name: str, x: str, out: str) -> str:
        return self._norm(name, x, out) if self.block.norms == "after" else x

    def _norm(self, name: str, x: str, out: str) -> str:
        tensor = f"layers.{self.index}.{name}"
        return self.draft.norm(name, self.block.norm, x, tensor, out=out)

    def _turned(self, rope: Rope | None, x: str, kind: str, heads: int) -> str:
        if rope is None:
            return x
        turn = ops.Rope(heads, rope.freqs, int(rope.interleaved), f32_bits(rope.scale))
        return self.draft.add(f"attention.rope_{kind}", turn, x, out=f"{kind}1")
