"""Implements the backend: checks arguments, and launches kernels in order.

The header of each ``.cu`` file states its kernels' contracts. This module checks that they are met: shapes by
:mod:`proofcompute.arithmetic.contracts`, and limits that only a device has. Methods are written for arrays on
the device, and take NumPy arrays too (:func:`placed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final, final

import numpy as np

from proofcompute.arithmetic import contracts
from proofcompute.arithmetic.backends.cuda import attending, checks, coding, committing, products, sampling
from proofcompute.arithmetic.backends.cuda.array import DeviceArray
from proofcompute.arithmetic.backends.cuda.device import Device
from proofcompute.arithmetic.backends.cuda.launcher import Given, Launcher, i32, i64
from proofcompute.arithmetic.backends.cuda.memory import DeviceMemory
from proofcompute.arithmetic.backends.cuda.placing import placed
from proofcompute.arithmetic.backends.cuda.primitives import DevicePrimitives
from proofcompute.arithmetic.backends.cuda.routes import Routes
from proofcompute.arithmetic.definition import hints, lattice
from proofcompute.arithmetic.definition.products import largest_square
from proofcompute.arithmetic.definition.rows import is_settled
from proofcompute.arithmetic.grouped import by_matrix
from proofcompute.arithmetic.kernels import PLAIN, AttentionOptions, Matrix, Prologue
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import I8, I32, U8, U32
from proofcompute.commitments import hashing
from proofcompute.commitments.hasher import check_groups
from proofcompute.errors import LimitError, NonFiniteError
from proofcompute.freivalds.field import fold_parts31
from proofcompute.freivalds.hint import CheckedHint, Hint, MadeHint, SummedHint, WeighedHint
from proofcompute.limits import MAX_WIDTH, MIB

__all__ = ["CudaKernels"]

_GRID_Y: Final = 65535


def _width(x: Given) -> None:
    if x.shape[-1] > MAX_WIDTH:
        raise LimitError(f"a row of {x.shape[-1]} elements; at most {MAX_WIDTH}")


@final
class CudaKernels(DevicePrimitives, DeviceMemory):
    """Canonical arithmetic on a CUDA device, byte for byte
    :class:`proofcompute.arithmetic.definition.NumpyKernels`.

    Raises the same errors, and DeviceError if the device fails. ``scratch`` bounds, in bytes, the scores
    that attention keeps at a time (more if a single row needs more). ``products`` is one of
    :data:`proofcompute.arithmetic.backends.cuda.routes.ROUTES`. One thread at a time may use it.
    """

    name: str = "cuda"

    def __init__(self, device: Device, scratch: int = 256 * MIB, products: str = "measure") -> None:
        super().__init__(Launcher(device))
        self.device = device
        self._scratch = scratch
        self.routes = Routes(self._on, products)

    # -- products ------------------------------------------------------------------------------------
    @placed
    def quantise(self, x: Given, limbs: int, prologue: Prologue = None) -> Any:
        contracts.quantise(x, limbs, prologue)
        return products.quantise_prepared(self._on, self._on.array(x), limbs, prologue)

    @placed
    def product(self, q: Given, w: Given) -> Any:
        n, m, d = contracts.product(q, w)
        products.rows_fit(n)
        on = self._on
        acc = on.new(np.int32, n, m)
        products.multiply(on, on.array(q).buffer, d, on.array(w).buffer, d, n, m, d, acc.buffer)
        return acc

    @placed
    def rescale(self, acc: Given, shifts: Sequence[int], sx: Given, sw: Given, bias: Given | None) -> Any:
        contracts.rescale(acc, shifts, sx, sw, bias)
        on = self._on
        bias = None if bias is None else on.array(bias)
        return products.rescale(on, on.array(acc), shifts, on.array(sx), on.array(sw), bias)

    @placed
    def linear(
        self, x: Given, w: Matrix, limbs: int, prologue: Prologue = None, residual: Given | None = None
    ) -> Any:
        n, _, _ = contracts.linear(x, w, limbs, prologue, residual)
        products.rows_fit(n)
        return products.linear(self._on, self.routes, x, self.weight(w), limbs, prologue, residual)

    def experts(self, x: Any, w: Matrix, numbers: I32, limbs: int) -> Any:
        contracts.experts(x, w, numbers, limbs)
        return by_matrix(x, numbers, w.groups, self, lambda x, g: self.linear(x, w.group(g), limbs))

    # -- rows ----------------------------------------------------------------------------------------
    @placed
    def embed(self, q: Given, s: Given) -> Any:
        on, (n, d) = self._on, contracts.embed(q, s)
        out = on.new(np.float32, n, d)
        on.over("embed", n * d, on.array(q), on.array(s), i64(n), i64(d), out)
        return out

    @placed
    def rms_norm(self, x: Given, w: Given, eps: np.float32) -> Any:
        on, (n, d) = self._on, contracts.rms_norm(x, w)
        _width(x)
        out = on.new(np.float32, n, d)
        on.blocks("rms_norm", (n,), on.array(x), on.array(w), i32(d), np.float32(eps), out)
        return out

    @placed
    def layer_norm(self, x: Given, w: Given, b: Given, eps: np.float32) -> Any:
        on, (n, d) = self._on, contracts.layer_norm(x, w, b)
        _width(x)
        out = on.new(np.float32, n, d)
        rows = on.array(x), on.array(w), on.array(b)
        on.blocks("layer_norm", (n,), *rows, i32(d), np.float32(eps), out)
        return out

    @placed
    def rope(self, x: Given, cos: Given, sin: Given, heads: int, interleaved: bool, start: int = 0) -> Any:
        n, dh = contracts.rope(x, cos, sin, heads, start)
        on, r, width = self._on, cos.shape[1], heads * dh
        out = on.new(np.float32, n, width)
        sizes = (i64(n), i32(heads), i32(dh), i32(r), i32(bool(interleaved)), i32(start))
        on.over("rope", n * width, on.array(x), on.array(cos), on.array(sin), *sizes, out)
        return out

    @placed
    def quantise_heads(self, x: Given, heads: int, limbs: int = 1, latent: int = 0) -> Any:
        _, dh = contracts.quantise_heads(x, heads, limbs, latent)
        return attending.quantise_heads(self._on, self._on.array(x), heads, dh, limbs, latent)

    @placed
    def heads(
        self,
        x: Given,
        cos: Given,
        sin: Given,
        heads: int,
        kv_heads: int,
        interleaved: bool,
        limbs: int = 1,
    ) -> Any:
        n, dh = contracts.heads(x, cos, sin, heads, kv_heads, limbs)
        on, r = self._on, cos.shape[1]
        queries, shape = on.new(np.float32, n, heads * dh), attending.limb_shape(n, kv_heads, limbs, dh)
        keys, key_scales = on.new(np.int8, *shape), on.new(np.float32, n, kv_heads)
        values, value_scales = on.new(np.int8, *shape), on.new(np.float32, n, kv_heads)
        status = on.fault((1, NonFiniteError, "an input of the quantiser must be finite"))
        sizes = (i32(heads), i32(kv_heads), i32(dh), i32(r), i32(bool(interleaved)), i32(limbs))
        rows = (on.array(x), on.array(cos), on.array(sin))
        made = (queries, keys, key_scales, values, value_scales)
        on.blocks("heads", (n * (heads + 2 * kv_heads),), *rows, *sizes, *made, status)
        return made

    @placed
    def attention(
        self,
        q: Given,
        kq: Given,
        ks: Given,
        vq: Given | None,
        vs: Given | None,
        first: int,
        scale: np.float32,
        window: int,
        options: AttentionOptions = PLAIN,
    ) -> Any:
        size = contracts.attention(q, kq, ks, vq, vs, first, window, options)
        if size.heads > _GRID_Y or first + size.n > MAX_WIDTH:
            raise LimitError(
                f"attention of {size.heads} heads of {size.width} over {first + size.n} positions"
            )
        on = self._on
        if size.n == 0 or size.heads == 0:
            return on.new(np.float32, size.n, size.heads * size.columns)
        keys = on.array(kq), on.array(ks)
        values = None if vq is None or vs is None else (on.array(vq), on.array(vs))
        how = attending.How(first, scale, window, options)
        return attending.attend(on, on.array(q), keys, values, size, how, self._scratch)

    @placed
    def gate(self, x: Given) -> Any:
        on, (n, f) = self._on, contracts.gate(x)
        out = on.new(np.float32, n, f)
        on.over("gate", n * f, on.array(x), i64(n), i64(f), out)
        return out

    def _elementwise(self, kernel: str, *inputs: Given) -> DeviceArray:
        on, x = self._on, inputs[0]
        out = on.new(np.float32, *x.shape)
        on.over(kernel, x.size, *map(on.array, inputs), i64(x.size), out)
        return out

    @placed
    def gelu(self, x: Given) -> Any:
        return self._elementwise("gelu", x)

    @placed
    def relu(self, x: Given) -> Any:
        return self._elementwise("relu", x)

    @placed
    def add(self, x: Given, y: Given) -> Any:
        contracts.add(x, y)
        return self._elementwise("add", x, y)

    @placed
    def settle(self, x: Given) -> Any:
        on = self._on
        out = on.new(np.float32, *x.shape)
        status = on.fault((1, NonFiniteError, "a committed value must be finite"))
        on.over("settle", x.size, on.array(x), i64(x.size), out, status)
        return out

    @placed
    def sample(self, logits: Given, history: Given, first: int, how: Sampling, draws: Given) -> Any:
        contracts.sample(logits, history, first, draws)
        on = self._on
        return sampling.sample(on, on.array(logits), on.array(history), first, how, on.array(draws))

    # -- commitments and checks ----------------------------------------------------------------------
    @placed
    def hash_rows(self, suite: str, prefix: bytes, rows: Given) -> Any:
        hashing.check_rows(suite, rows)
        return committing.hash_rows(self._on, suite, prefix, self._on.array(rows))

    @placed
    def hash_groups(
        self,
        suite: str,
        prefix: bytes,
        tags: Sequence[bytes],
        groups: Sequence[Sequence[Given]],
        out: Any = None,
        row: int = 0,
    ) -> Any:
        check_groups(suite, tags, groups, out, row)
        digests = committing.hash_groups(
            self._on, suite, prefix, tags, groups, out if isinstance(out, DeviceArray) else None, row
        )
        if isinstance(out, np.ndarray):
            out[:, row : row + digests.shape[1]] = self.host(digests)
            return out
        return digests

    @placed
    def hash_trees(self, suite: str, prefix: bytes, leaves: Given, size: int) -> Any:
        hashing.check_leaves(suite, leaves, size)
        return committing.hash_trees(self._on, suite, prefix, self._on.array(leaves), size)

    def hash_ranges(
        self,
        suite: str,
        prefix: bytes,
        size: int,
        ranges: Sequence[tuple[int, int]],
        leaves: Given,
        given: Given,
    ) -> U8:
        known, others = self.host(leaves), self.host(given)
        return hashing.hash_ranges(suite, prefix, size, ranges, known, others, self.hash_rows)

    def is_settled(self, x: Given) -> bool:
        return is_settled(self.host(x))  # rows that arrived in a message

    @placed
    def project(self, y: Given, s: Given) -> Any:
        return checks.project31(self._on, y, s)

    @placed
    def fold(self, w: Given, s: Given) -> Any:
        return checks.fold31(self._on, w, s)

    def fold_parts(self, parts: Iterable[I8], s: U32) -> U32:
        return fold_parts31(parts, s, lambda part, some: self.host(self.fold(part, some)))

    def sum_hint(self, hint: WeighedHint) -> SummedHint:
        return coding.sum_hint(self, self._on, hint)

    @placed
    def multiply_extension(self, x: Given, y: Given) -> Any:
        return coding.multiply(self._on, x, y)

    def factor(self, h: Given, least: float) -> tuple[Any, Any]:
        return lattice.factor(self.host(h), least)  # where time matters, the CPU's backend is asked

    def nearest_plane(self, steps: Given, mix: Given) -> Any:
        return lattice.nearest_plane(self.host(steps), self.host(mix))

    @placed
    def circle_words(self, rows: Given, bits: int, twiddles: Given) -> Any:
        return coding.circle_words(self._on, rows, bits, twiddles)

    @placed
    def project61(self, y: Given, s: Given) -> Any:
        return checks.project61(self._on, y, s)

    def pack(self, values: Given, bits: int) -> bytes:
        return checks.pack(self._on, values, bits)

    def largest_square(self, q: Given) -> int:
        return largest_square(self.host(q))  # the rows of a cell, or a weight matrix once

    def linear_with_hint(
        self,
        x: Given,
        w: Matrix,
        limbs: int,
        squares: Sequence[int],
        prologue: Prologue = None,
        residual: Given | None = None,
        wanted: bool = True,
    ) -> MadeHint:
        return hints.linear_with_hint(self, x, self.weight(w), limbs, squares, prologue, residual, wanted)

    def check_hint(self, hint: Hint) -> CheckedHint:
        unpack = partial(checks.unpack, self._on)
        return hints.check_hint(self, unpack, hint)
