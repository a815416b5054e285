"""Reduce windows of rows that are read where they lie: pools, and convolutions that are float32.

A result has *places* and, at each, consecutive channels. ``apart`` says where the elements of a window lie
beside its first one, in the order in which they are summed (:mod:`..codegen.trees` says how).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import emitted, helper
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.kernels.row import power_of_two
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.backends.scalar.functions import settled

__all__ = ["window_maxima", "window_sums"]

_i64, _i32, _f32 = types.int64, types.int32, types.float32
_ABSOLUTE: Final = np.int32(0x7FFFFFFF)
_INFINITE: Final = np.int32(0x7F800000)
_LEAST: Final = np.int32(-0x80000000)
_BRANCH: Final = 8
"""Elements that are added in registers."""
_SCRATCH: Final = 1 << 13
"""Elements of sums that are halved together."""

plain_1, plain_2, plain_3, plain_4, plain_5, plain_6, plain_7, plain_8 = (
    emitted("trees", "branch", n) for n in range(1, 9)
)
product_1, product_2, product_3, product_4, product_5, product_6, product_7, product_8 = (
    emitted("trees", "branch", n, weighted=True) for n in range(1, 9)
)
spread_1, spread_2, spread_3, spread_4, spread_5, spread_6, spread_7, spread_8 = (
    emitted("trees", "branch", n, weighted=True, spread=True) for n in range(1, 9)
)


@helper
def _plain(
    n: Any, x: Any, at: Any, apart: Any, w: Any, i: Any, step: Any, wide: Any, out: Any, to: Any
) -> None:
    """Sum a branch of n elements."""
    if n == 8:
        plain_8(x, at, apart, w, 0, apart, i, step, wide, out, to)
    elif n == 7:
        plain_7(x, at, apart, w, 0, apart, i, step, wide, out, to)
    elif n == 6:
        plain_6(x, at, apart, w, 0, apart, i, step, wide, out, to)
    elif n == 5:
        plain_5(x, at, apart, w, 0, apart, i, step, wide, out, to)
    elif n == 4:
        plain_4(x, at, apart, w, 0, apart, i, step, wide, out, to)
    elif n == 3:
        plain_3(x, at, apart, w, 0, apart, i, step, wide, out, to)
    elif n == 2:
        plain_2(x, at, apart, w, 0, apart, i, step, wide, out, to)
    else:
        plain_1(x, at, apart, w, 0, apart, i, step, wide, out, to)


@helper
def _product(
    n: Any, x: Any, at: Any, apart: Any, w: Any, first: Any, of: Any, i: Any, step: Any, wide: Any, out: Any,
    to: Any,
) -> None:  # fmt: skip
    """Sum a branch of n products."""
    if n == 8:
        product_8(x, at, apart, w, first, of, i, step, wide, out, to)
    elif n == 7:
        product_7(x, at, apart, w, first, of, i, step, wide, out, to)
    elif n == 6:
        product_6(x, at, apart, w, first, of, i, step, wide, out, to)
    elif n == 5:
        product_5(x, at, apart, w, first, of, i, step, wide, out, to)
    elif n == 4:
        product_4(x, at, apart, w, first, of, i, step, wide, out, to)
    elif n == 3:
        product_3(x, at, apart, w, first, of, i, step, wide, out, to)
    elif n == 2:
        product_2(x, at, apart, w, first, of, i, step, wide, out, to)
    else:
        product_1(x, at, apart, w, first, of, i, step, wide, out, to)


@helper
def _spread(
    n: Any, x: Any, at: Any, apart: Any, w: Any, first: Any, of: Any, i: Any, step: Any, wide: Any, out: Any,
    to: Any,
) -> None:  # fmt: skip
    """Sum a branch of n products of single elements of x."""
    if n == 8:
        spread_8(x, at, apart, w, first, of, i, step, wide, out, to)
    elif n == 7:
        spread_7(x, at, apart, w, first, of, i, step, wide, out, to)
    elif n == 6:
        spread_6(x, at, apart, w, first, of, i, step, wide, out, to)
    elif n == 5:
        spread_5(x, at, apart, w, first, of, i, step, wide, out, to)
    elif n == 4:
        spread_4(x, at, apart, w, first, of, i, step, wide, out, to)
    elif n == 3:
        spread_3(x, at, apart, w, first, of, i, step, wide, out, to)
    elif n == 2:
        spread_2(x, at, apart, w, first, of, i, step, wide, out, to)
    else:
        spread_1(x, at, apart, w, first, of, i, step, wide, out, to)


@kernel(
    types.void(
        _i64,
        _i64,
        read(_f32, 2),
        read(_i64, 1),
        read(_i64, 1),
        read(_f32, 1),
        read(_i64, 1),
        read(_i64, 1),
        _i64,
        write(_f32, 2),
    )
)
def window_sums(
    a: Any,
    b: Any,
    x: Any,
    places: Any,
    apart: Any,
    w: Any,
    beside: Any,
    weights: Any,
    spread: Any,
    out: Any,
) -> None:
    """Write the sums of places a..b, counted row after row, to out [n places, channels].

    A place begins at places[p] of a row of x [n, width], and at beside[p] of w, whose elements of a window
    lie ``weights`` apart; without weights nothing is multiplied. If ``spread``, channels have the same x.
    """
    count, d, m = places.size, apart.size, out.shape[1]
    width = power_of_two(d)
    groups = max(1, width // _BRANCH)
    strip = max(1, min(m, _SCRATCH // groups))
    sums = np.empty((groups, strip), np.float32)
    for u in range(a, b):
        row = u // count
        p = u - row * count
        at = row * x.shape[1] + places[p]
        for c in range(0, m, strip):
            wide = min(strip, m - c)
            for i in range(groups):
                n = (d - i + groups - 1) // groups
                to = i * strip
                if weights.size == 0:
                    _plain(n, x, at + c, apart, w, i, groups, wide, sums, to)
                elif spread:
                    _spread(n, x, at, apart, w, beside[p] + c, weights, i, groups, wide, sums, to)
                else:
                    _product(n, x, at + c, apart, w, beside[p] + c, weights, i, groups, wide, sums, to)
            left = groups
            while left > 1:
                left //= 2
                for i in range(left):
                    low, high = sums[i], sums[i + left]
                    for j in range(wide):
                        low[j] = low[j] + high[j]
            found, result = sums[0], out[u, c : c + wide]
            for j in range(wide):
                result[j] = settled(found[j])


@kernel(types.void(_i64, _i64, read(_i32, 2), read(_i64, 1), read(_i64, 1), _i64, write(_i32, 2)))
def window_maxima(a: Any, b: Any, x: Any, places: Any, apart: Any, turned: Any, out: Any) -> None:
    """Write the bits of the greatest elements of places a..b, or of the least ones if ``turned``.

    Bits are compared as :func:`.reducing.greatest` compares them.
    """
    count, m = places.size, out.shape[1]
    flip = _LEAST if turned else np.int32(0)
    for u in range(a, b):
        row = u // count
        at = places[u - row * count]
        to = out[u]
        to[:] = _LEAST
        for k in range(apart.size):
            start = at + apart[k]
            window = x[row, start : start + m]
            for j in range(to.size):
                bits = np.int32(window[j] ^ flip)
                rank = np.int32(bits ^ (np.int32(bits >> np.int32(31)) & _ABSOLUTE))
                rank = _ABSOLUTE if np.int32(bits & _ABSOLUTE) > _INFINITE else rank
                to[j] = rank if rank > to[j] else to[j]
        for j in range(to.size):
            rank = to[j]
            to[j] = np.int32(np.int32(rank ^ (np.int32(rank >> np.int32(31)) & _ABSOLUTE)) ^ flip)
