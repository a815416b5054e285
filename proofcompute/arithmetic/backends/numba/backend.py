"""Run the CPU backend: allocate results, and choose a kernel and the number of threads.

Compiled code does not check bounds, so every shape is checked (:mod:`proofcompute.arithmetic.contracts`)
before it runs. A module of kernels is imported, and so compiled or loaded from the cache, when one of its
functions is first called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, final

import numpy as np

from proofcompute.arithmetic import contracts
from proofcompute.arithmetic.backends.numba.arguments import (
    NO_BIAS,
    NO_RESIDUAL,
    finite,
    in_limbs,
    preparation,
    rows_of_limbs,
    up,
)
from proofcompute.arithmetic.backends.numba.checks import CpuChecks
from proofcompute.arithmetic.backends.numba.codegen.target import target
from proofcompute.arithmetic.backends.numba.modules import Module
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.runtime.cache import require_code
from proofcompute.arithmetic.backends.numba.steps.repeating import recorded
from proofcompute.arithmetic.definition.elementwise import check_platform
from proofcompute.arithmetic.definition.sampler import sample_rows
from proofcompute.arithmetic.grouped import by_matrix, check_numbers
from proofcompute.arithmetic.kernels import PLAIN, AttentionOptions, Matrix, Prologue, Routing
from proofcompute.arithmetic.lattice import F64
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32, I8, I32, U64, Array, Batch, Span
from proofcompute.errors import DeviceError, ExecutionError

__all__ = ["NumbaKernels"]

# Measured on two Sapphire Rapids cores; none of these changes a result.
_SPLIT_PRODUCTS: Final = 4_000_000
"""Least products of a part for which a thread of the pool pays."""
_SPLIT_ELEMENTS: Final = 50_000
"""Least elements of a part of a row-wise operation for which a thread pays."""
_BLOCK_ROWS: Final = 960
"""Rows multiplied at a time, a multiple of every tile's rows; it bounds the scratch memory."""
_UNIT_ROWS: Final = 192
"""Query rows times heads in one unit of attention."""


@final
class NumbaKernels(CpuChecks):
    """Canonical arithmetic on the CPU, equal byte for byte to
    :class:`proofcompute.arithmetic.definition.NumpyKernels`.

    It raises the same errors. Construction raises DeviceError if this machine's binary32 is not the canonical
    one, if there are neither kernels for it nor a compiler, or if the compiler is switched off or told to use
    features that this processor lacks.
    """

    name: str = "numba"

    def __init__(self) -> None:
        super().__init__()
        check_platform()
        if sys.byteorder != "little":
            raise DeviceError("compiled kernels need a little-endian processor; use --device numpy")
        require_code()
        target()

    _products = Module("products")
    _linear = Module("linear")
    _rows = Module("rows")
    _attention = Module("attention")
    _routing = Module("routing")
    _lattice = Module("lattice")

    # -- products ------------------------------------------------------------------------------------
    def _quantised(self, x: F32, limbs: int, q: Array, prologue: Prologue) -> F32:
        """Quantise the prepared rows into q int16 [>= n, >= d], and return their scales [n]."""
        n, width = x.shape
        scales = np.empty(n, dtype=np.float32)
        least = _SPLIT_ELEMENTS // max(1, width)
        how = preparation(self._linear, prologue)
        good = threads.split(self._linear.quantise_rows, n, least, x, *how, limbs, q, scales)
        finite(good, "an input of the quantiser")
        return scales

    def quantise(self, x: F32, limbs: int, prologue: Prologue = None) -> tuple[I8, F32]:
        """Quantise rows [n, d], after ``prologue``, to int8 limbs [limbs, n, d] and scales [n]."""
        n, d = contracts.quantise(x, limbs, prologue)
        q = np.empty((limbs, n, d), dtype=np.int8)
        scales = np.empty(n, dtype=np.float32)
        least = _SPLIT_ELEMENTS // max(1, x.shape[1])
        how = preparation(self._linear, prologue)
        good = threads.split(self._linear.limbs_of_rows, n, least, x, *how, q, scales)
        finite(good, "an input of the quantiser")
        return q, scales

    def product(self, q: I8, w: I8) -> I32:
        """Multiply q [n, d] by the rows of w [m, d]: int32 [n, m]."""
        n, m, d = contracts.product(q, w)
        p = self._products
        wide = np.zeros((up(n, 12), up(d, 2)), dtype=np.int16)
        p.widen(0, n, q, wide)
        out = np.empty((n, m), dtype=np.int32)
        w = w.reshape(1, m, d)
        if n == 1:
            threads.split(p.product_one, m, _SPLIT_PRODUCTS // max(1, d), wide, w, out)
        elif n <= p.PATCHED_ROWS:
            self._groups(p.product_few, n, w, wide, w, out)
        else:
            for a in range(0, n, _BLOCK_ROWS):
                part = out[a : a + _BLOCK_ROWS]
                self._panels(p.product_panels, len(part), w, wide[a : a + _BLOCK_ROWS], w, part)
        return out

    def _groups(self, function: Callable[..., Any], n: int, w: I8, *arguments: Any) -> None:
        limbs, m, d = w.shape
        channels = self._products.GROUP
        least = _SPLIT_PRODUCTS // max(1, channels * d * n * limbs)
        threads.split(function, -(-m // channels), least, *arguments)

    def _panels(self, function: Callable[..., Any], n: int, w: I8, *arguments: Any) -> None:
        _, m, d = w.shape
        columns = self._products.TILE_COLUMNS
        least = _SPLIT_PRODUCTS // max(1, columns * d * n)
        threads.split(function, -(-m // columns), least, *arguments)

    def rescale(self, acc: I32, shifts: Sequence[int], sx: F32, sw: F32, bias: F32 | None) -> F32:
        """Rescale accumulator sets [sets, n, m] to float32 [n, m]."""
        sets, n, m = contracts.rescale(acc, shifts, sx, sw, bias)
        bias = NO_BIAS if bias is None else bias
        out = np.empty((n, m), dtype=np.float32)
        amounts = np.array(shifts, dtype=np.int64)
        least = _SPLIT_ELEMENTS // max(1, sets * m)
        threads.split(self._products.rescale, n, least, acc, amounts, sx, sw, bias, out)
        return out

    @recorded
    def linear(
        self, x: F32, w: Matrix, limbs: int, prologue: Prologue = None, residual: F32 | None = None
    ) -> F32:
        """Fuse ``prologue``, quantise, the product for every set, rescale, and residual + y."""
        n, m, d = contracts.linear(x, w, limbs, prologue, residual)
        bias = NO_BIAS if w.bias is None else w.bias
        residual = NO_RESIDUAL if residual is None else residual
        out = np.empty((n, m), dtype=np.float32)
        k = self._linear
        q = np.zeros((up(n, 12), up(d, 2)), dtype=np.int16)
        sx = self._quantised(x, limbs, q, prologue)
        if n == 1:
            least = _SPLIT_PRODUCTS // max(1, d * len(w.q))
            threads.split(k.linear_one, m, least, q, sx, w.q, w.scale, bias, residual, out)
            return out
        if n <= self._products.PATCHED_ROWS:
            self._groups(k.linear_few, n, w.q, q, sx, w.q, w.scale, bias, residual, out)
            return out
        for a in range(0, n, _BLOCK_ROWS):
            b = min(a + _BLOCK_ROWS, n)
            rows = (q[a : a + _BLOCK_ROWS], sx[a:b], w.q, w.scale, bias, residual[a:b], out[a:b])
            self._panels(k.linear_panels, b - a, w.q, *rows)
        return out

    @recorded
    def experts(self, x: F32, w: Matrix, numbers: I32, limbs: int) -> F32:
        """Multiply each row by a matrix of its own; those of one row of numbers at once."""
        n, r, m, d = contracts.experts(x, w, numbers, limbs)
        if n != 1 or r == 0:
            return by_matrix(x, numbers, w.groups, self, lambda x, g: self.linear(x, w.group(g), limbs))
        check_numbers(numbers, w.groups)
        q = np.zeros((up(len(x), 12), up(d, 2)), dtype=np.int16)
        sx = self._quantised(x, limbs, q, None)
        out = np.empty((r, m), dtype=np.float32)
        bias = NO_RESIDUAL if w.bias is None else w.bias
        least = _SPLIT_PRODUCTS // max(1, d * w.q.shape[1])
        arguments = (q, sx, numbers.reshape(-1), r // len(x), w.q, w.scale, bias, out)
        threads.split(self._linear.experts_one, r * m, least, *arguments)
        return out

    # -- rows ----------------------------------------------------------------------------------------
    @recorded
    def embed(self, q: I8, s: F32) -> F32:
        """Multiply table rows q [n, d] int8 by their scales s [n]: float32 [n, d]."""
        n, d = contracts.embed(q, s)
        out = np.empty((n, d), dtype=np.float32)
        threads.split(self._rows.embed, n, _SPLIT_ELEMENTS // max(1, d), q, s, out)
        return out

    @recorded
    def rms_norm(self, x: F32, w: F32, eps: np.float32) -> F32:
        """Return x / sqrt(tree(x*x) / n + eps) * w for rows [n, d] and w [d]."""
        n, d = contracts.rms_norm(x, w)
        out = np.empty((n, d), dtype=np.float32)
        threads.split(self._rows.rms_norm, n, _SPLIT_ELEMENTS // max(1, d), x, w, np.float32(eps), out)
        return out

    @recorded
    def layer_norm(self, x: F32, w: F32, b: F32, eps: np.float32) -> F32:
        """Return c / sqrt(tree(c*c) / n + eps) * w + b, where c = x - tree(x) / n."""
        n, d = contracts.layer_norm(x, w, b)
        out = np.empty((n, d), dtype=np.float32)
        least = _SPLIT_ELEMENTS // max(1, d)
        threads.split(self._rows.layer_norm, n, least, x, w, b, np.float32(eps), out)
        return out

    @recorded
    def rope(self, x: F32, cos: F32, sin: F32, heads: int, interleaved: bool, start: int = 0) -> F32:
        """Rotate each head of rows [n, heads * dh] by tables [n, r], start + 2 r <= dh; copy the rest."""
        n, dh = contracts.rope(x, cos, sin, heads, start)
        out = np.empty((n, heads * dh), dtype=np.float32)
        least = _SPLIT_ELEMENTS // max(1, heads * dh)
        threads.split(self._rows.rope, n, least, x, cos, sin, heads, bool(interleaved), start, out)
        return out

    @recorded
    def quantise_heads(self, x: F32, heads: int, limbs: int = 1, latent: int = 0) -> tuple[I8, F32]:
        """Quantise rows [n, heads * dh] to int8 [n, heads, dh] or [n, heads, 2, dh] and scales."""
        n, dh = contracts.quantise_heads(x, heads, limbs, latent)
        q = np.empty((n, heads * limbs, dh), dtype=np.int8)
        scales = np.empty((n, heads * (2 if latent else 1)), dtype=np.float32)
        least = _SPLIT_ELEMENTS // max(1, heads * dh)
        good = threads.split(self._rows.quantise_heads, n, least, x, limbs, latent, q, scales)
        finite(good, "an input of the quantiser")
        return in_limbs(q, heads, limbs), scales.reshape(n, heads, 2) if latent else scales

    @recorded
    def heads(
        self, x: F32, cos: F32, sin: F32, heads: int, kv_heads: int, interleaved: bool, limbs: int = 1
    ) -> tuple[F32, I8, F32, I8, F32]:
        """Convert rows of queries, keys and values side by side to what attention reads, in one pass."""
        n, dh = contracts.heads(x, cos, sin, heads, kv_heads, limbs)
        q = np.empty((n, heads * dh), dtype=np.float32)
        kq, vq = (np.empty((n, kv_heads * limbs, dh), dtype=np.int8) for _ in range(2))
        ks, vs = (np.empty((n, kv_heads), dtype=np.float32) for _ in range(2))
        least = _SPLIT_ELEMENTS // max(1, x.shape[1])
        out = (q, kq, ks, vq, vs)
        good = threads.split(self._rows.heads, n, least, x, cos, sin, bool(interleaved), limbs, *out)
        finite(good, "an input of the quantiser")
        return q, in_limbs(kq, kv_heads, limbs), ks, in_limbs(vq, kv_heads, limbs), vs

    @recorded
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
        """Return attention of rows first..first+n over t >= first + n rows."""
        size = contracts.attention(q, kq, ks, vq, vs, first, window, options)
        n, heads, kv_heads, dh, columns, key_limbs, value_limbs = size
        out = np.empty((n, heads * columns), dtype=np.float32)
        if n == 0 or heads == 0:
            return out
        k = self._attention
        t = min(first + n + options.ahead, len(kq))
        start = max(0, first + 1 - window) if window else 0
        sinks = NO_BIAS
        if options.sinks is not None:
            sinks = options.sinks
            finite(bool(np.isfinite(sinks).all()), "a sink of attention")
        keys, key_scales = rows_of_limbs(kq), ks.reshape(len(ks), -1)
        checked = [(key_scales, "a key's scale")]
        if vq is None or vs is None:
            values, value_scales = keys, key_scales
        else:
            values, value_scales = rows_of_limbs(vq), vs
            checked.append((vs, "a value's scale"))
        for scales, what in checked:
            state = k.check_scales(scales, start, t)
            if state != k.FINITE:
                finite(state != k.NOT_FINITE, what)
                raise ExecutionError(f"{what} must not be negative")
        group = heads // kv_heads
        block = up(_UNIT_ROWS, group) // group
        units = -(-n // block) * kv_heads
        where = (first, np.float32(scale), window, options.ahead, np.float32(options.softcap))
        limbs = (options.limbs, key_limbs, value_limbs, options.latent)
        arguments = (q, keys, key_scales, values, value_scales, sinks, *where, *limbs, block, out)
        products = n * t * heads * (dh * key_limbs + columns * value_limbs**2)
        good = threads.split(k.attend, units, _SPLIT_PRODUCTS * units // products, *arguments)
        finite(good, "a query or an attention score")
        return out

    @recorded
    def gate(self, x: F32) -> F32:
        """Return g / (1 + exp(-g)) * u [n, f] for rows [n, 2 f], g first and u second."""
        n, f = contracts.gate(x)
        out = np.empty((n, f), dtype=np.float32)
        threads.split(self._rows.gate, n, _SPLIT_ELEMENTS // max(1, 2 * f), x, out)
        return out

    @recorded
    def route(self, x: F32, how: Routing, correction: F32 | None) -> tuple[I32, F32]:
        """Return the experts [n, top_k] that rows of logits [n, e] choose, and their shares."""
        n, e = contracts.route(x, how, correction)
        numbers = np.empty((n, how.top_k), dtype=np.int32)
        shares = np.empty((n, how.top_k), dtype=np.float32)
        own = NO_BIAS if correction is None else correction
        score = ("softmax", "sigmoid", "chosen").index(how.score)
        options = (score, int(how.normalise), how.groups, how.top_groups, how.best)
        least = _SPLIT_ELEMENTS // (e * how.top_k)
        good = threads.split(self._routing.route, n, least, x, own, *options, numbers, shares)
        finite(good, "a score")
        return numbers, shares

    @recorded
    def mix(self, x: F32, shares: F32) -> F32:
        """Return sums of x [n, k, d] weighted by shares [n, k]."""
        n, k, d = contracts.mix(x, shares)
        out = np.empty((n, d), dtype=np.float32)
        threads.split(self._routing.mix, n, _SPLIT_ELEMENTS // max(1, k * d), x, shares, out)
        return out

    def _each(self, function: Callable[..., Any], *inputs: F32) -> tuple[F32, bool]:
        """Apply a kernel of one element of each input to arrays of any one shape; also return its verdict."""
        shape = inputs[0].shape
        out = np.empty(shape, dtype=np.float32)
        if len(shape) == 2:
            least = _SPLIT_ELEMENTS // (shape[1] or 1)
            return out, threads.split(function, shape[0], least, *inputs, out)
        return out, function(0, 1, *(v.reshape(1, -1) for v in (*inputs, out))) is not False

    @recorded
    def gelu(self, x: F32) -> F32:
        """Return (0.5 x) (1 + erf(x / sqrt 2)), of the same shape."""
        return self._each(self._rows.gelu, x)[0]

    @recorded
    def relu(self, x: F32) -> F32:
        """Return x where x > 0, else +0, of the same shape."""
        return self._each(self._rows.relu, x)[0]

    @recorded
    def add(self, x: F32, y: F32) -> F32:
        """Return x + y for equal shapes."""
        contracts.add(x, y)
        return self._each(self._rows.add, x, y)[0]

    @recorded
    def settle(self, x: F32) -> F32:
        """Return x + (+0.0); raise NonFiniteError if any element is not finite."""
        out, good = self._each(self._rows.settle, x)
        finite(good, "a committed value")
        return out

    @recorded
    def sample(self, logits: F32, history: I32, first: int, how: Sampling, draws: U64) -> I32:
        """Return the next tokens int32 [n] of rows first..first+n, from logits [n, v]."""
        from proofcompute.arithmetic.backends.numba.kernels import sampler

        return sample_rows(sampler.sample, logits, history, first, how, draws)

    def factor(self, h: F64, least: float) -> tuple[F32, F64]:
        """Factor a symmetric matrix [d, d] as M^T P M."""
        return self._lattice.factor(h, least)  # type: ignore[no-any-return]

    def nearest_plane(self, steps: F32, mix: F32) -> I8:
        """Round columns of numbers [d, n], one row after another."""
        return self._lattice.nearest_plane(steps, mix)  # type: ignore[no-any-return]

    def step(
        self,
        capture: object,
        spans: Sequence[Span],
        f: Callable[[Sequence[Span]], I32 | None],
        batch: Batch | None = None,
    ) -> I32 | None:
        return self.steps.run(spans, f, batch, self.sample)
