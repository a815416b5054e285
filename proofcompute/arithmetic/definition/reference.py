"""Define every function of :class:`proofcompute.arithmetic.kernels.Kernels` in NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from proofcompute.arithmetic import contracts
from proofcompute.arithmetic.composed import Composed
from proofcompute.arithmetic.definition import attention as attending
from proofcompute.arithmetic.definition import bitpack, hints, lattice, products, routing, rows, sampler
from proofcompute.arithmetic.definition.elementwise import check_platform
from proofcompute.arithmetic.definition.groups import hashed_groups
from proofcompute.arithmetic.definition.memory import HostMemory
from proofcompute.arithmetic.definition.primitives import HostPrimitives
from proofcompute.arithmetic.grouped import by_matrix
from proofcompute.arithmetic.kernels import PLAIN, AttentionOptions, Matrix, Prologue, Routing, prepared
from proofcompute.arithmetic.lattice import F64
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32, I8, I16, I32, I64, U8, U32, U64, Array
from proofcompute.codes import circle, extension
from proofcompute.commitments import hashing
from proofcompute.freivalds import field
from proofcompute.freivalds.hint import CheckedHint, Hint, MadeHint, SummedHint, WeighedHint

__all__ = ["NumpyKernels"]


class NumpyKernels(HostPrimitives, HostMemory, Composed):
    """The definition of the canonical arithmetic; slow and obvious.

    Raises DeviceError on construction where this machine's binary32 is not the canonical one.
    """

    name: str = "numpy"

    def __init__(self) -> None:
        check_platform()

    # -- products ------------------------------------------------------------------------------------
    def quantise(self, x: F32, limbs: int, prologue: Prologue = None) -> tuple[I8, F32]:
        """Call :func:`proofcompute.arithmetic.definition.products.quantise` on the prepared rows."""
        contracts.quantise(x, limbs, prologue)
        return products.quantise(prepared(prologue, x, self), limbs)

    def product(self, q: I8, w: I8) -> I32:
        """Call :func:`proofcompute.arithmetic.definition.products.product`."""
        return products.product(q, w)

    def rescale(self, acc: I32, shifts: Sequence[int], sx: F32, sw: F32, bias: F32 | None) -> F32:
        """Call :func:`proofcompute.arithmetic.definition.products.rescale`."""
        return products.rescale(acc, shifts, sx, sw, bias)

    def linear(
        self, x: F32, w: Matrix, limbs: int, prologue: Prologue = None, residual: F32 | None = None
    ) -> F32:
        """Call :func:`.products.linear` on the prepared rows, then add the residual."""
        contracts.linear(x, w, limbs, prologue, residual)
        y = products.linear(prepared(prologue, x, self), w, limbs)
        return y if residual is None else rows.add(residual, y)

    def linear_with_hint(
        self,
        x: F32,
        w: Matrix,
        limbs: int,
        squares: Sequence[int],
        prologue: Prologue = None,
        residual: F32 | None = None,
        wanted: bool = True,
    ) -> MadeHint:
        """Call :func:`proofcompute.arithmetic.definition.hints.linear_with_hint`."""
        return hints.linear_with_hint(self, x, w, limbs, squares, prologue, residual, wanted)

    def experts(self, x: F32, w: Matrix, numbers: I32, limbs: int) -> F32:
        """Call ``linear`` for each matrix."""
        contracts.experts(x, w, numbers, limbs)
        return by_matrix(x, numbers, w.groups, self, lambda x, g: self.linear(x, w.group(g), limbs))

    # -- rows ----------------------------------------------------------------------------------------
    def embed(self, q: I8, s: F32) -> F32:
        """Call :func:`proofcompute.arithmetic.definition.rows.embed`."""
        return rows.embed(q, s)

    def rms_norm(self, x: F32, w: F32, eps: np.float32) -> F32:
        """Call :func:`proofcompute.arithmetic.definition.rows.rms_norm`."""
        return rows.rms_norm(x, w, eps)

    def layer_norm(self, x: F32, w: F32, b: F32, eps: np.float32) -> F32:
        """Call :func:`proofcompute.arithmetic.definition.rows.layer_norm`."""
        return rows.layer_norm(x, w, b, eps)

    def rope(self, x: F32, cos: F32, sin: F32, heads: int, interleaved: bool, start: int = 0) -> F32:
        """Call :func:`proofcompute.arithmetic.definition.rows.rope`."""
        return rows.rope(x, cos, sin, heads, interleaved, start)

    def quantise_heads(self, x: F32, heads: int, limbs: int = 1, latent: int = 0) -> tuple[I8, F32]:
        """Call :func:`proofcompute.arithmetic.definition.products.quantise_heads`."""
        return products.quantise_heads(x, heads, limbs, latent)

    def heads(
        self, x: F32, cos: F32, sin: F32, heads: int, kv_heads: int, interleaved: bool, limbs: int = 1
    ) -> tuple[F32, I8, F32, I8, F32]:
        """Apply ``rope`` and ``quantise_heads`` to the parts of each row."""
        _, dh = contracts.heads(x, cos, sin, heads, kv_heads, limbs)
        q, k, v = rows.parts(x, dh, heads, kv_heads)
        turned = rows.rope(k, cos, sin, kv_heads, interleaved)
        return (
            rows.rope(q, cos, sin, heads, interleaved),
            *products.quantise_heads(turned, kv_heads, limbs),
            *products.quantise_heads(v, kv_heads, limbs),
        )

    def attention(
        self,
        q: F32,
        kq: I8,
        ks: F32,
        vq: I8 | None,
        vs: F32 | None,
        first: int,
        scale: np.float32,
        window: int,
        options: AttentionOptions = PLAIN,
    ) -> F32:
        """Call :func:`proofcompute.arithmetic.definition.attention.attention`."""
        return attending.attention(q, kq, ks, vq, vs, first, scale, window, options)

    def gate(self, x: F32) -> F32:
        """Call :func:`proofcompute.arithmetic.definition.rows.gate`."""
        return rows.gate(x)

    def gelu(self, x: F32) -> F32:
        """Call :func:`proofcompute.arithmetic.definition.rows.gelu`."""
        return rows.gelu(x)

    def relu(self, x: F32) -> F32:
        """Call :func:`proofcompute.arithmetic.definition.rows.relu`."""
        return rows.relu(x)

    def add(self, x: F32, y: F32) -> F32:
        """Call :func:`proofcompute.arithmetic.definition.rows.add`."""
        return rows.add(x, y)

    def route(self, x: F32, how: Routing, correction: F32 | None) -> tuple[I32, F32]:
        """Call :func:`proofcompute.arithmetic.definition.routing.route`."""
        return routing.route(x, how, correction)

    def mix(self, x: F32, shares: F32) -> F32:
        """Call :func:`proofcompute.arithmetic.definition.routing.mix`."""
        return routing.mix(x, shares)

    def settle(self, x: F32) -> F32:
        """Call :func:`proofcompute.arithmetic.definition.rows.settle`."""
        return rows.settle(x)

    def sample(self, logits: F32, history: I32, first: int, how: Sampling, draws: U64) -> I32:
        """Call :func:`proofcompute.arithmetic.definition.sampler.sample`, row by row."""
        return sampler.sample_rows(sampler.sample, logits, history, first, how, draws)

    # -- commitments and checks ----------------------------------------------------------------------
    def hash_rows(self, suite: str, prefix: bytes, rows: U8) -> U8:
        """Call :func:`proofcompute.commitments.hashing.hash_rows`."""
        return hashing.hash_rows(suite, prefix, rows)

    def hash_groups(
        self,
        suite: str,
        prefix: bytes,
        tags: Sequence[bytes],
        groups: Sequence[Sequence[Array]],
        out: U8 | None = None,
        row: int = 0,
    ) -> U8:
        """Call :func:`proofcompute.arithmetic.definition.groups.hashed_groups`."""
        return hashed_groups(suite, prefix, tags, groups, out, row, self)

    def hash_trees(self, suite: str, prefix: bytes, leaves: U8, size: int) -> U8:
        """Call :func:`proofcompute.commitments.hashing.hash_trees`, level by level."""
        return hashing.hash_trees(suite, prefix, leaves, size, self.hash_rows)

    def hash_ranges(
        self, suite: str, prefix: bytes, size: int, ranges: Sequence[tuple[int, int]], leaves: U8, given: U8
    ) -> U8:
        """Call :func:`proofcompute.commitments.hashing.hash_ranges`, level by level."""
        return hashing.hash_ranges(suite, prefix, size, ranges, leaves, given, self.hash_rows)

    def factor(self, h: F64, least: float) -> tuple[F32, F64]:
        """Call :func:`proofcompute.arithmetic.definition.lattice.factor`."""
        return lattice.factor(h, least)

    def nearest_plane(self, steps: F32, mix: F32) -> I8:
        """Call :func:`proofcompute.arithmetic.definition.lattice.nearest_plane`."""
        return lattice.nearest_plane(steps, mix)

    def is_settled(self, x: F32) -> bool:
        """Call :func:`proofcompute.arithmetic.definition.rows.is_settled`."""
        return rows.is_settled(x)

    def project(self, y: I32 | I8, s: U32) -> U32:
        """Call :func:`proofcompute.freivalds.field.project31`."""
        return field.project31(y, s)

    def fold(self, w: I8, s: U32) -> U32:
        """Call :func:`proofcompute.freivalds.field.fold31`."""
        return field.fold31(w, s)

    def fold_parts(self, parts: Iterable[I8], s: U32) -> U32:
        """Call :func:`proofcompute.freivalds.field.fold_parts31`."""
        return field.fold_parts31(parts, s)

    def sum_hint(self, hint: WeighedHint) -> SummedHint:
        """Call :func:`proofcompute.arithmetic.definition.hints.sum_hint`."""
        return hints.sum_hint(self, bitpack.unpack, hint)

    def multiply_extension(self, x: U64, y: U64) -> U64:
        """Call :func:`proofcompute.codes.extension.multiply`."""
        return extension.multiply(x, y)

    def circle_words(self, rows: I8, bits: int, twiddles: U32) -> U32:
        """Call :func:`proofcompute.codes.circle.encode31`."""
        return circle.encode31(rows, bits, twiddles)

    def project61(self, y: I8 | I16 | I32 | I64, s: U64) -> U64:
        """Call :func:`proofcompute.freivalds.field.project61`."""
        return field.project61(y, s)

    def pack(self, values: I32, bits: int) -> bytes:
        """Call :func:`proofcompute.arithmetic.definition.bitpack.pack`."""
        return bitpack.pack(values, bits)

    def largest_square(self, q: I8) -> int:
        """Call :func:`proofcompute.arithmetic.definition.products.largest_square`."""
        return products.largest_square(q)

    def check_hint(self, hint: Hint) -> CheckedHint:
        """Call :func:`proofcompute.arithmetic.definition.hints.check_hint`."""
        return hints.check_hint(self, bitpack.unpack, hint)
