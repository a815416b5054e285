"""Emit products of a few rows with weights as they lie in memory, for 2 to some 64 rows.

A *patch* is the product of R rows with C channels of weights. Each step loads and widens a few elements of
the C channels once and multiplies them by all R rows, whose elements lie in a near cache; the R C sums stay
in registers until all columns are done. Nothing is copied to panels, which would cost as much as reading the
weights several times.

*No int32 lane overflows.* A lane adds two products of a row's element (at most 32639 in absolute value) and a
weight (at most 128) per step. Of the V lanes of a sum, V / 2 are added as int32, and the last two as int64.
With K columns a lane takes K / 2V steps, so that an int32 adds K / 4 times two products: for K = 1024, these
are 256 * 2 * 32639 * 128 = 2139029504 < 2^31 at most. The caller accumulates in int64.
"""

from __future__ import annotations

from typing import Any, Final

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import intrinsic
from proofcompute.arithmetic.backends.numba.codegen.shapes import PATCH_LANES
from proofcompute.arithmetic.backends.numba.codegen.vector import (
    BYTE,
    LONG,
    SHORT,
    WORD,
    constant,
    fold,
    load,
    loop,
    multiply_add,
    offset,
    pointer,
    prefetch,
    store,
    vector,
)

__all__ = ["patch"]

_LINE: Final = 64
_STEP: Final = 2 * PATCH_LANES
_PAIRS: Final = PATCH_LANES // 2
"""Sums of two lanes in a vector."""


def patch(rows: int, channels: int) -> Any:
    """Return the intrinsic below for this many rows and channels."""

    @intrinsic
    def patch(
        context: Any,
        q: Any,
        at: Any,
        stride: Any,
        w: Any,
        first: Any,
        apart: Any,
        steps: Any,
        ahead: Any,
        out: Any,
        to: Any,
    ) -> Any:
        """Add the sum of q[at + r stride + i] * w[first + c apart + i] over i to out[to + c rows + r].

        i goes over ``steps`` times 2 PATCH_LANES columns, at most PATCH_COLUMNS. q is int16, w int8, out
        int64, and all are flat; out has room for PATCH_LANES / 2 more elements. Bytes of w that lie ``ahead``
        are prefetched, each once if the channels are whole and lie one after the other.
        """
        index = types.intp
        signature = types.void(q, index, index, w, index, index, index, index, out, index)

        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            q, w, out = (pointer(context, b, sig.args[i], args[i]) for i in (0, 3, 8))
            at, stride, first, apart, steps, ahead, to = (args[i] for i in (1, 2, 4, 5, 6, 7, 9))
            places = [offset(b, at, stride, r) for r in range(rows)]
            starts = [offset(b, first, apart, c) for c in range(channels)]
            later = b.add(first, ahead)

            def body(i: Any, sums: list[Any]) -> list[Any]:
                for line in range(0, channels * _STEP, _LINE):
                    prefetch(b, w, offset(b, offset(b, later, i, channels * _STEP), LONG(line)))
                step = b.mul(i, LONG(_STEP))
                wide = vector(SHORT, _STEP)
                weights = [b.sext(load(b, w, b.add(s, step), BYTE, _STEP), wide) for s in starts]
                after = list(sums)
                for r, place in enumerate(places):
                    x = load(b, q, b.add(place, step), SHORT, _STEP)
                    for c, weight in enumerate(weights):
                        k = c * rows + r
                        after[k] = multiply_add(b, sums[k], x, weight)
                return after

            zero = constant(WORD, PATCH_LANES, 0)
            found = loop(b, steps, [zero] * (rows * channels), body)
            found += [zero] * (-len(found) % _PAIRS)
            group = PATCH_LANES
            while group > 2:
                found = [fold(b, found[i], found[i + 1], group) for i in range(0, len(found), 2)]
                group //= 2
            half = constant(LONG, _PAIRS, 32)
            for i, lanes in enumerate(found):
                both = b.bitcast(lanes, vector(LONG, _PAIRS))
                pair = b.add(b.ashr(b.shl(both, half), half), b.ashr(both, half))
                place = offset(b, to, LONG(i * _PAIRS))
                store(b, b.add(load(b, out, place, LONG, _PAIRS), pair), out, place, LONG)
            return context.get_dummy_value()

        return signature, code

    return patch
