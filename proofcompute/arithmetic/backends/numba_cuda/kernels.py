"""Defines CUDA kernels in Python. Elementwise ones run on any one-dimensional grid (grid-stride).

``project31`` and ``project61`` take one block of ``THREADS`` threads for each row and column, the folds one
thread for each output. Arrays are C-contiguous; shapes are checked by :mod:`.arrays`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import cuda, types

from proofcompute.arithmetic.backends.numba_cuda import rounding
from proofcompute.arithmetic.backends.scalar import field31, field61
from proofcompute.arithmetic.backends.scalar.functions import (
    FINITE_BITS,
    absolute_bits,
    dequantised,
    gated,
    gelu_of,
    normalised,
    relu_of,
    root_of_mean,
    settled,
)
from proofcompute.arithmetic.backends.scalar.rounded import plus, register, times

__all__ = ["BLOCKS", "KERNELS", "THREADS", "rounding"]

register()

THREADS: Final = 128 if not rounding.SIMULATED else 4
"""Threads of a block. The simulator runs each as a thread of the operating system."""
BLOCKS: Final = 1024 if not rounding.SIMULATED else 3
"""Most blocks of a grid-stride launch."""


def embed(q: Any, scales: Any, out: Any) -> None:
    """out [n, d] = int8 rows q [n, d] times their scales [n]."""
    d = q.shape[1]
    for e in range(cuda.grid(1), q.size, cuda.gridsize(1)):
        out[e // d, e % d] = dequantised(q[e // d, e % d], scales[e // d])


def gate(x: Any, out: Any) -> None:
    """out [n, f] = g / (1 + exp(-g)) * u of rows x [n, 2 f] that hold g and then u."""
    f = out.shape[1]
    for e in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        out[e // f, e % f] = gated(x[e // f, e % f], x[e // f, f + e % f])


def gelu(x: Any, out: Any) -> None:
    """out = (0.5 x) (1 + erf(x SQRT_HALF)); both flat."""
    for e in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        out[e] = gelu_of(x[e])


def relu(x: Any, out: Any) -> None:
    """out = x where x > 0, else +0; both flat."""
    for e in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        out[e] = relu_of(x[e])


def add(x: Any, y: Any, out: Any) -> None:
    """out = x + y; all flat."""
    for e in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        out[e] = plus(x[e], y[e])


def settle(x: Any, out: Any, status: Any) -> None:
    """out = x + 0, both flat; status[0] becomes 1 if an element is not finite."""
    for e in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        if absolute_bits(x[e]) >= FINITE_BITS:
            cuda.atomic.max(status, 0, np.int32(1))
        out[e] = settled(x[e])


def rms_norm(x: Any, w: Any, eps: Any, level: Any, out: Any) -> None:
    """out [n, d] = x / sqrt(tree(x*x) / n + eps) * w; a block for each row, scratch level [n, 2^j >= d]."""
    t, row, d = cuda.threadIdx.x, cuda.blockIdx.x, x.shape[1]
    width = level.shape[1]
    for i in range(t, width, THREADS):
        level[row, i] = times(x[row, i], x[row, i]) if i < d else np.float32(0)
    while width > 1:
        width //= 2
        cuda.syncthreads()
        for i in range(t, width, THREADS):
            level[row, i] = plus(level[row, i], level[row, i + width])
    cuda.syncthreads()
    size = root_of_mean(settled(level[row, 0]), d, eps)
    for i in range(t, d, THREADS):
        out[row, i] = normalised(x[row, i], size, w[i])


def project31(y: Any, s: Any, out: Any) -> None:
    """out [n, k] = y [n, m] of at most 32 bits times columns s [k, m] of residues, uint32."""
    sums = cuda.shared.array((2, THREADS), types.int64)
    t, row, column = cuda.threadIdx.x, cuda.blockIdx.x, cuda.blockIdx.y
    whole = np.int64(0)
    high = np.int64(0)
    for i in range(t, y.shape[1], THREADS):
        term = np.int64(y[row, i]) * np.int64(field31.balanced(s[column, i]))
        whole += term
        high += term >> np.int64(32)
    sums[0, t] = whole
    sums[1, t] = high
    half = THREADS // 2
    while half > 0:
        cuda.syncthreads()
        if t < half:
            sums[0, t] += sums[0, t + half]
            sums[1, t] += sums[1, t + half]
        half //= 2
    if t == 0:
        out[row, column] = np.uint32(field31.total(sums[0, 0], sums[1, 0]))


def project61(y: Any, s: Any, out: Any) -> None:
    """out [n, k] = y [n, m] of at most 64 bits times columns s [k, m] of residues, uint64."""
    sums = cuda.shared.array((2, THREADS), types.uint64)
    t, row, column = cuda.threadIdx.x, cuda.blockIdx.x, cuda.blockIdx.y
    low = np.uint64(0)
    high = np.uint64(0)
    for i in range(t, y.shape[1], THREADS):
        term = field61.multiply(field61.residue(y[row, i]), s[column, i])
        low += term & field61.LOW_WORD
        high += term >> np.uint64(32)
    sums[0, t] = low
    sums[1, t] = high
    half = THREADS // 2
    while half > 0:
        cuda.syncthreads()
        if t < half:
            sums[0, t] += sums[0, t + half]
            sums[1, t] += sums[1, t + half]
        half //= 2
    if t == 0:
        out[row, column] = field61.gather(sums[0, 0], sums[1, 0])


def fold31(w: Any, s: Any, out: Any) -> None:
    """out [k, d] = rows of w int8 [m, d], m <= 2^24, combined by residues s [k, m], uint32."""
    d = w.shape[1]
    for e in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        total = np.int64(0)
        for i in range(w.shape[0]):
            total += np.int64(w[i, e % d]) * np.int64(field31.balanced(s[e // d, i]))
        out[e // d, e % d] = np.uint32(field31.residue(total))


def fold61(w: Any, s: Any, out: Any) -> None:
    """out [k, d] = rows of w [m, d] of at most 64 bits combined by residues s [k, m], uint64."""
    d = w.shape[1]
    for e in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        total = np.uint64(0)
        for i in range(w.shape[0]):
            total = field61.add(total, field61.multiply(field61.residue(w[i, e % d]), s[e // d, i]))
        out[e // d, e % d] = total


_f32 = types.float32


def _array(element: Any, dimensions: int) -> Any:
    return types.Array(element, dimensions, "C")


_rows, _flat = _array(_f32, 2), _array(_f32, 1)
_SIGNED: Final = (types.int8, types.int16, types.int32, types.int64)
KERNELS: Final[dict[Any, list[tuple[Any, ...]]]] = {
    embed: [(_array(types.int8, 2), _flat, _rows)],
    gate: [(_rows, _rows)],
    gelu: [(_flat, _flat)],
    relu: [(_flat, _flat)],
    add: [(_flat, _flat, _flat)],
    settle: [(_flat, _flat, _array(types.int32, 1))],
    rms_norm: [(_rows, _flat, _f32, _rows, _rows)],
    project31: [(_array(e, 2), _array(types.uint32, 2), _array(types.uint32, 2)) for e in _SIGNED[:3]],
    project61: [(_array(e, 2), _array(types.uint64, 2), _array(types.uint64, 2)) for e in _SIGNED],
    fold31: [(_array(types.int8, 2), _array(types.uint32, 2), _array(types.uint32, 2))],
    fold61: [(_array(e, 2), _array(types.uint64, 2), _array(types.uint64, 2)) for e in _SIGNED],
}
"""Every kernel, uncompiled, with the argument types that it is called with."""
