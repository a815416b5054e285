"""Launches quantised products: ``quantise.cu``, ``product.cu``, ``rescale.cu``, ``linear_*.cu``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.cuda.array import DeviceArray
from proofcompute.arithmetic.backends.cuda.device import Buffer
from proofcompute.arithmetic.backends.cuda.launcher import Given, Launcher, i32, i64
from proofcompute.arithmetic.backends.cuda.routes import Routes
from proofcompute.arithmetic.kernels import GatePrologue, Matrix, NormPrologue, Prologue
from proofcompute.errors import LimitError, NonFiniteError
from proofcompute.freivalds.product import product_sets
from proofcompute.limits import MAX_WIDTH

__all__ = ["FEW_ROWS", "linear", "multiply", "quantise", "rescale", "rows_fit"]

_TILE: Final = 64
_GRID_Y: Final = 65535
_WARPS: Final = 8
"""Output channels of a block of ``linear_few``."""
FEW_ROWS: Final = 4
"""Most rows of a product that reads the matrix channel by channel."""
_TENSOR_CORES: Final = 80
"""Compute capability (times 10) from which ``linear_mma`` runs."""


def rows_fit(n: int) -> None:
    """Raise LimitError for more rows than a grid of tiles has."""
    if n > _TILE * _GRID_Y:
        raise LimitError(f"a product of {n} rows; at most {_TILE * _GRID_Y}")


def _quantised(on: Launcher, n: int, d: int, limbs: int) -> tuple[DeviceArray, DeviceArray, Buffer]:
    """Return memory for quantised rows and their scales, and a status word."""
    if d > MAX_WIDTH:
        raise LimitError(f"a row of {d} elements; at most {MAX_WIDTH}")
    status = on.fault((1, NonFiniteError, "an input of the quantiser must be finite"))
    return on.new(np.int8, limbs, n, d), on.new(np.float32, n), status


def quantise(on: Launcher, x: DeviceArray, limbs: int) -> tuple[DeviceArray, DeviceArray]:
    """Quantise rows [n, d] to int8 [limbs, n, d] and scales [n]."""
    n, d = x.shape
    q, scale, status = _quantised(on, n, d, limbs)
    on.blocks("quantise_rows", (n,), x, i64(n), i32(d), i32(limbs), q, scale, status)
    return q, scale


def quantise_normed(
    on: Launcher, x: DeviceArray, weight: DeviceArray, eps: np.float32, limbs: int
) -> tuple[DeviceArray, DeviceArray]:
    """Return :func:`quantise` of the rows after an RMS norm."""
    n, d = x.shape
    q, scale, status = _quantised(on, n, d, limbs)
    sizes = (i64(n), i32(d), i32(limbs))
    on.blocks("quantise_normed", (n,), x, weight, np.float32(eps), *sizes, q, scale, status)
    return q, scale


def quantise_gated(on: Launcher, x: DeviceArray, limbs: int) -> tuple[DeviceArray, DeviceArray]:
    """Return :func:`quantise` of the rows [n, 2 d] after the gate."""
    n, d = x.shape[0], x.shape[1] // 2
    q, scale, status = _quantised(on, n, d, limbs)
    on.blocks("quantise_gated", (n,), x, i64(n), i32(d), i32(limbs), q, scale, status)
    return q, scale


def quantise_prepared(
    on: Launcher, x: DeviceArray, limbs: int, prologue: Prologue
) -> tuple[DeviceArray, DeviceArray]:
    """Return :func:`quantise` of the rows after ``prologue``."""
    if isinstance(prologue, NormPrologue):
        return quantise_normed(on, x, on.array(prologue.weight), prologue.eps, limbs)
    return quantise_gated(on, x, limbs) if isinstance(prologue, GatePrologue) else quantise(on, x, limbs)


def multiply(
    on: Launcher, q: Buffer, ldq: int, w: Buffer, ldw: int, n: int, m: int, d: int, acc: Buffer
) -> None:
    """Return int8 rows [n, d], ldq bytes apart, times rows [m, d]: int32 [n, m]."""
    grid = (-(-m // _TILE), -(-n // _TILE))
    on.blocks("product_dp4a", grid, q, i64(ldq), w, i64(ldw), i32(n), i32(m), i32(d), acc)


def rescale(
    on: Launcher,
    acc: DeviceArray,
    shifts: Sequence[int],
    sx: DeviceArray,
    sw: DeviceArray,
    bias: DeviceArray | None,
) -> DeviceArray:
    """Convert accumulator sets [sets, n, m] to float32 [n, m]."""
    _, n, m = acc.shape
    out = on.new(np.float32, n, m)
    amounts = on.constant(np.array(shifts, dtype=np.int32))
    on.over("rescale", n * m, acc, amounts, i32(len(shifts)), i64(n), i64(m), sx, sw, bias, out)
    return out


def linear(
    on: Launcher, routes: Routes, x: Given, w: Matrix, limbs: int, prologue: Prologue, residual: Given | None
) -> DeviceArray:
    """Rows times a matrix on the device, with what stands before and after: float32 [n, m]."""
    x = on.array(x)
    w_limbs, m, d = w.q.shape
    n = len(x)
    q, sx = quantise_prepared(on, x, limbs, prologue)
    rest = None if residual is None else on.array(residual)
    weights: Any = w.q
    scales: Any = w.scale
    bias: Any = w.bias

    def at_once(name: str, *grid: int) -> DeviceArray:
        out = on.new(np.float32, n, m)
        sizes = (i32(n), i32(m), i32(d), i32(limbs), i32(w_limbs))
        on.blocks(name, grid, q, sx, weights, scales, bias, rest, *sizes, out)
        return out

    def in_sets(product: Callable[..., None]) -> DeviceArray:
        sets = product_sets(d, limbs, w_limbs)
        acc = on.new(np.int32, len(sets), n, m)
        for i, (start, stop, xl, wl, _) in enumerate(sets):
            left = q.buffer.part(xl * n * d + start, max(n * d - start, 0)) if n else q.buffer
            right = weights.buffer.part(wl * m * d + start, max(m * d - start, 0)) if m else weights.buffer
            into = acc.buffer.part(4 * i * n * m, 4 * n * m)
            product(left, d, right, d, n, m, stop - start, into)
        y = rescale(on, acc, [shift for *_, shift in sets], sx, scales, bias)
        if rest is None:
            return y
        out = on.new(np.float32, n, m)
        on.over("add", n * m, rest, y, i64(n * m), out)
        return out

    def kernel() -> DeviceArray:
        if n <= FEW_ROWS:
            return at_once("linear_few", -(-m // _WARPS) if n else 0)
        if on.device.capability >= _TENSOR_CORES:
            return at_once("linear_mma", -(-m // _TILE), -(-n // _TILE))
        return in_sets(partial(multiply, on))

    def library() -> DeviceArray:
        return in_sets(on.gemm)

    fits = routes.library_fits(n, m, d, q, weights)
    return routes.run((n, m, d, limbs, w_limbs), kernel, library, fits=fits)  # type: ignore[no-any-return]
