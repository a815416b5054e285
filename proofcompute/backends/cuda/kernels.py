"""The CUDA backend: checks shapes, moves arrays, and launches kernels in order.

Every kernel's contract stands in the header of its ``.cu`` file; what must hold there is checked here. Arrays
are NumPy arrays and travel to the device and back in each call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

import numpy as np

from proofcompute import hashing
from proofcompute.backends.cuda import attending, checks, sampling
from proofcompute.backends.cuda.device import Buffer, Device
from proofcompute.backends.cuda.launcher import Launcher, i32, i64
from proofcompute.errors import InputError, LimitError, NonFiniteError
from proofcompute.kernels import (
    F32,
    I8,
    I16,
    I32,
    I64,
    U8,
    U32,
    U64,
    Array,
    Before,
    Matrix,
    Sampling,
    prepared,
    product_sets,
)
from proofcompute.limits import MAX_CONTRACTION, MAX_WIDTH, MIB
from proofcompute.numerics.rows import parts

__all__ = ["CudaKernels"]

_TILE: Final = 64
_GRID_Y: Final = 65535
_TENSOR_CORES: Final = 80
"""Compute capability (times 10) from which ``linear_mma`` runs."""


def _need(condition: bool, what: str, *arrays: Array) -> None:
    if not condition:
        raise InputError(
            f"{what} of shapes {', '.join(str(list(a.shape)) for a in arrays)} do not fit together"
        )


def _finite(good: bool, what: str) -> None:
    if not good:
        raise NonFiniteError(f"{what} must be finite")


def _width(x: Array) -> None:
    if x.shape[-1] > MAX_WIDTH:
        raise LimitError(f"a row of {x.shape[-1]} elements; at most {MAX_WIDTH}")


@final
class CudaKernels:
    """Canonical arithmetic on a CUDA device, byte for byte :class:`proofcompute.numerics.NumpyKernels`.

    Raises the same errors, and DeviceError where the device fails. ``scratch`` bounds, in bytes, the scores
    that attention keeps at a time (more where a single row needs more).
    """

    name: str = "cuda"

    def __init__(self, device: Device, scratch: int = 256 * MIB) -> None:
        self._on = Launcher(device)
        self._tensor_cores = device.capability >= _TENSOR_CORES
        self._scratch = scratch

    # -- products ------------------------------------------------------------------------------------
    def _quantised(self, x: F32, limbs: int) -> tuple[Buffer, Buffer]:
        n, d = x.shape
        if limbs not in (1, 2):
            raise InputError(f"a row has one or two limbs, not {limbs}")
        _width(x)
        on = self._on
        q, scale, status = on.new(np.int8, limbs, n, d), on.new(np.float32, n), on.status()
        on.blocks("quantise_rows", (n,), on.put(x), i64(n), i32(d), i32(limbs), q, scale, status)
        _finite(not on.bits(status), "an input of the quantiser")
        return q, scale

    def quantise(self, x: F32, limbs: int) -> tuple[I8, F32]:
        q, scale = self._quantised(x, limbs)
        return self._on.get(q, np.int8, limbs, *x.shape), self._on.get(scale, np.float32, len(x))

    def _multiply(
        self, q: Buffer, ldq: int, w: Buffer, ldw: int, n: int, m: int, d: int, acc: Buffer
    ) -> None:
        grid = (-(-m // _TILE), -(-n // _TILE))
        self._on.blocks("product_dp4a", grid, q, i64(ldq), w, i64(ldw), i32(n), i32(m), i32(d), acc)

    def product(self, q: I8, w: I8) -> I32:
        (n, d), m = q.shape, len(w)
        _need(w.shape == (m, d), "factors", q, w)
        if d > MAX_CONTRACTION:
            raise LimitError(f"a contraction of {d} in one accumulator; at most {MAX_CONTRACTION}")
        _rows(n)
        on = self._on
        acc = on.new(np.int32, n, m)
        self._multiply(on.put(q), d, on.put(w), d, n, m, d, acc)
        return on.get(acc, np.int32, n, m)  # type: ignore[no-any-return]

    def rescale(self, acc: I32, shifts: Sequence[int], sx: F32, sw: F32, bias: F32 | None) -> F32:
        sets, n, m = acc.shape
        _need(
            len(shifts) == sets and sx.shape == (n,) and sw.shape == (m,),
            "accumulators and scales",
            acc,
            sx,
            sw,
        )
        if bias is not None:
            _need(bias.shape == (m,), "accumulators and bias", acc, bias)
        on = self._on
        out = on.new(np.float32, n, m)
        self._rescaled(on.put(acc), shifts, n, m, on.put(sx), on.put(sw), on.put_or_null(bias), out)
        return on.get(out, np.float32, n, m)  # type: ignore[no-any-return]

    def _rescaled(
        self,
        acc: Buffer,
        shifts: Sequence[int],
        n: int,
        m: int,
        sx: Buffer,
        sw: Buffer,
        bias: Buffer | None,
        out: Buffer,
    ) -> None:
        on = self._on
        amounts = on.put(np.array(shifts, dtype=np.int32))
        on.over("rescale", n * m, acc, amounts, i32(len(shifts)), i64(n), i64(m), sx, sw, bias, out)

    def linear(
        self, x: F32, w: Matrix, limbs: int, before: Before = None, residual: F32 | None = None
    ) -> F32:
        y = self._linear(prepared(before, x, self), w, limbs)
        return y if residual is None else self.add(residual, y)

    def _linear(self, x: F32, w: Matrix, limbs: int) -> F32:
        n, d = x.shape
        w_limbs, m, width = w.q.shape
        _need(width == d and w.scale.shape == (m,), "rows, weights and scales", x, w.q, w.scale)
        if w.bias is not None:
            _need(w.bias.shape == (m,), "weights and bias", w.q, w.bias)
        _rows(n)
        q, sx = self._quantised(x, limbs)
        on = self._on
        out = on.new(np.float32, n, m)
        weights, sw, bias = on.put(w.q), on.put(w.scale), on.put_or_null(w.bias)
        if self._tensor_cores:
            grid = (-(-m // _TILE), -(-n // _TILE))
            sizes = (i32(n), i32(m), i32(d), i32(limbs), i32(w_limbs))
            on.blocks("linear_mma", grid, q, sx, weights, sw, bias, *sizes, out)
        else:
            sets = product_sets(d, limbs, w_limbs)
            acc = on.new(np.int32, len(sets), n, m)
            for i, (start, stop, xl, wl, _) in enumerate(sets):
                left = q.part(xl * n * d + start, max(n * d - start, 0)) if n else q
                right = weights.part(wl * m * d + start, max(m * d - start, 0)) if m else weights
                self._multiply(left, d, right, d, n, m, stop - start, acc.part(4 * i * n * m, 4 * n * m))
            self._rescaled(acc, [shift for *_, shift in sets], n, m, sx, sw, bias, out)
        return on.get(out, np.float32, n, m)  # type: ignore[no-any-return]

    # -- rows ----------------------------------------------------------------------------------------
    def embed(self, q: I8, s: F32) -> F32:
        _need(s.shape == q.shape[:1], "rows and scales", q, s)
        on, (n, d) = self._on, q.shape
        out = on.new(np.float32, n, d)
        on.over("embed", n * d, on.put(q), on.put(s), i64(n), i64(d), out)
        return on.get(out, np.float32, n, d)  # type: ignore[no-any-return]

    def rms_norm(self, x: F32, w: F32, eps: np.float32) -> F32:
        _need(w.shape == x.shape[1:], "rows and weights", x, w)
        _width(x)
        on, (n, d) = self._on, x.shape
        out = on.new(np.float32, n, d)
        on.blocks("rms_norm", (n,), on.put(x), on.put(w), i32(d), np.float32(eps), out)
        return on.get(out, np.float32, n, d)  # type: ignore[no-any-return]

    def layer_norm(self, x: F32, w: F32, b: F32, eps: np.float32) -> F32:
        _need(w.shape == x.shape[1:] and b.shape == w.shape, "rows, weights and bias", x, w, b)
        _width(x)
        on, (n, d) = self._on, x.shape
        out = on.new(np.float32, n, d)
        on.blocks("layer_norm", (n,), on.put(x), on.put(w), on.put(b), i32(d), np.float32(eps), out)
        return on.get(out, np.float32, n, d)  # type: ignore[no-any-return]

    def rope(self, x: F32, cos: F32, sin: F32, heads: int, interleaved: bool) -> F32:
        n, width = x.shape
        dh = _head(width, heads)
        _need(cos.shape == sin.shape and len(cos) == n, "rows and tables", x, cos, sin)
        r = cos.shape[1]
        if 2 * r > dh:
            raise InputError(f"a rotation of {2 * r} elements does not fit a head of {dh}")
        on = self._on
        out = on.new(np.float32, n, width)
        sizes = (i64(n), i32(heads), i32(dh), i32(r), i32(bool(interleaved)))
        on.over("rope", n * width, on.put(x), on.put(cos), on.put(sin), *sizes, out)
        return on.get(out, np.float32, n, width)  # type: ignore[no-any-return]

    def quantise_heads(self, x: F32, heads: int) -> tuple[I8, F32]:
        n, width = x.shape
        dh = _head(width, heads)
        q, scale = self._quantised(x.reshape(n * heads, dh), 1)
        return self._on.get(q, np.int8, n, heads, dh), self._on.get(scale, np.float32, n, heads)

    def heads(
        self, x: F32, cos: F32, sin: F32, heads: int, kv_heads: int, interleaved: bool
    ) -> tuple[F32, I8, F32, I8, F32]:
        q, k, v = map(np.ascontiguousarray, parts(x, heads, kv_heads))
        turned = self.rope(k, cos, sin, kv_heads, interleaved)
        queries = self.rope(q, cos, sin, heads, interleaved)
        return queries, *self.quantise_heads(turned, kv_heads), *self.quantise_heads(v, kv_heads)

    def attention(
        self, q: F32, kq: I8, ks: F32, vq: I8, vs: F32, first: int, scale: np.float32, window: int
    ) -> F32:
        (n, width), (have, kv_heads, dh) = q.shape, kq.shape
        if first < 0 or window < 0 or have < first + n or dh == 0 or kv_heads == 0 or width % (kv_heads * dh):
            raise InputError(f"attention of q {list(q.shape)} from row {first} over keys {list(kq.shape)}")
        _need(
            vq.shape == kq.shape and ks.shape == (have, kv_heads) == vs.shape,
            "keys and values",
            kq,
            ks,
            vq,
            vs,
        )
        if dh > MAX_CONTRACTION or width // dh > _GRID_Y or first + n > MAX_WIDTH:
            raise LimitError(f"attention of {width // dh} heads of {dh} over {first + n} positions")
        if n == 0 or width == 0:
            return np.zeros((n, width), dtype=np.float32)
        t = first + n
        start = max(0, t - n + 1 - window) if window else 0
        attending.check_scales(self._on, ks[start:t], "a key's scale")
        attending.check_scales(self._on, vs[start:t], "a value's scale")
        queries = self._quantised(q.reshape(-1, dh), 1)
        return attending.attend(
            self._on,
            queries,
            (n, width // dh),
            kq[:t],
            ks[:t],
            vq[:t],
            vs[:t],
            first,
            scale,
            window,
            self._scratch,
        )

    def gate(self, x: F32) -> F32:
        on, (n, width) = self._on, x.shape
        _need(width % 2 == 0, "halves", x)
        out = on.new(np.float32, n, width // 2)
        on.over("gate", n * width // 2, on.put(x), i64(n), i64(width // 2), out)
        return on.get(out, np.float32, n, width // 2)  # type: ignore[no-any-return]

    def _elementwise(self, kernel: str, *inputs: F32) -> F32:
        on, x = self._on, inputs[0]
        out = on.new(np.float32, x.size)
        on.over(kernel, x.size, *map(on.put, inputs), i64(x.size), out)
        return on.get(out, np.float32, *x.shape)  # type: ignore[no-any-return]

    def gelu(self, x: F32) -> F32:
        return self._elementwise("gelu", x)

    def relu(self, x: F32) -> F32:
        return self._elementwise("relu", x)

    def add(self, x: F32, y: F32) -> F32:
        _need(x.shape == y.shape, "summands", x, y)
        return self._elementwise("add", x, y)

    def settle(self, x: F32) -> F32:
        on = self._on
        out, status = on.new(np.float32, x.size), on.status()
        on.over("settle", x.size, on.put(x), i64(x.size), out, status)
        _finite(not on.bits(status), "a committed value")
        return on.get(out, np.float32, *x.shape)  # type: ignore[no-any-return]

    def sample(self, logits: F32, history: I64, how: Sampling, draw: int) -> int:
        return sampling.sample(self._on, logits, history, how, draw)

    # -- commitments and checks ----------------------------------------------------------------------
    def hash_rows(self, suite: str, prefix: bytes, rows: U8) -> U8:
        if suite not in hashing.SUITES or rows.ndim != 2 or rows.dtype != np.uint8:
            return hashing.hash_rows(suite, prefix, rows)  # raises
        return checks.hash_rows(self._on, suite, prefix, rows)

    def project(self, y: I32 | I8, s: U32) -> U32:
        return checks.project31(self._on, y, s)

    def fold(self, w: I8, s: U32) -> U32:
        return checks.fold31(self._on, w, s)

    def project61(self, y: I8 | I16 | I32 | I64, s: U64) -> U64:
        return checks.project61(self._on, y, s)

    def pack(self, values: I32, bits: int) -> bytes:
        return checks.pack(self._on, values, bits)

    def unpack(self, data: bytes | memoryview, bits: int, count: int) -> I32:
        return checks.unpack(self._on, data, bits, count)


def _rows(n: int) -> None:
    if n > _TILE * _GRID_Y:
        raise LimitError(f"a product of {n} rows; at most {_TILE * _GRID_Y}")


def _head(width: int, heads: int) -> int:
    if heads < 1 or width % heads:
        raise InputError(f"a row of {width} does not divide into {heads} heads")
    return width // heads
