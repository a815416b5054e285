"""Emit the inner loops of every int8 product, as LLVM IR on vectors (:mod:`.vector`).

Activations are int16 with |q| <= 32639: two limbs of a value combined (256 hi + lo, which gives
256 acc_hi + acc_lo exactly), or one limb widened. Weights are int8 and are widened to int16 in registers.

*No int32 lane overflows.* A lane adds two products per step, each at most 32639 * 128 in absolute value.
256 steps stay within 256 * 2 * 32639 * 128 = 2139029504 < 2^31, whether they go into one lane or into several
that are summed. So :func:`dot` takes at most 256 * 32 columns and :func:`tile` 256 pairs of columns at a
time, and the caller accumulates in int64.
"""

from __future__ import annotations

from typing import Any, Final

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import intrinsic
from proofcompute.arithmetic.backends.numba.codegen.shapes import (
    LANES,
    SMALL_ROWS,
    STEP,
    TILE_COLUMNS,
    TILE_ROWS,
)
from proofcompute.arithmetic.backends.numba.codegen.vector import (
    BYTE,
    LONG,
    SHORT,
    WORD,
    constant,
    load,
    loop,
    multiply_add,
    offset,
    pointer,
    splat,
    store,
    total,
    transpose,
    vector,
)

__all__ = ["dot", "small_tile", "tile", "transpose_block"]

_CHAINS: Final = 4
"""Independent sums in :func:`dot`, since an addition to one sum has a latency of several cycles."""
_VECTORS: Final = TILE_COLUMNS // LANES
_ZERO: Final = constant(WORD, LANES, 0)


@intrinsic
def dot(context: Any, q: Any, at: Any, w: Any, first: Any, steps: Any) -> Any:
    """Return the sum of q[at + i] * w[first + i] over i < 32 steps, as int64.

    q is int16, w int8, indices count elements of the flat arrays, and steps <= TILE_PAIRS. Rows of a matrix
    are taken one after the other: processors prefetch a single sequential stream best, measured at twice the
    speed of four rows at a time.
    """
    signature = types.int64(q, types.intp, w, types.intp, types.intp)

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        q, w = (pointer(context, b, sig.args[i], args[i]) for i in (0, 2))
        at, first, steps = (args[i] for i in (1, 3, 4))

        def add(sums: Any, step: Any) -> Any:
            x = load(b, q, offset(b, at, step, STEP), SHORT, STEP)
            row = load(b, w, offset(b, first, step, STEP), BYTE, STEP)
            return multiply_add(b, sums, x, b.sext(row, x.type))

        def several(i: Any, sums: list[Any]) -> list[Any]:
            start = b.mul(i, LONG(_CHAINS))
            return [add(chain, b.add(start, LONG(c))) for c, chain in enumerate(sums)]

        whole = b.udiv(steps, LONG(_CHAINS))
        sums = loop(b, whole, [_ZERO] * _CHAINS, several)
        done = b.mul(whole, LONG(_CHAINS))
        rest = loop(b, b.sub(steps, done), sums[:1], lambda i, s: [add(s[0], b.add(done, i))])
        for chain in sums[1:]:
            rest = [b.add(rest[0], chain)]
        return total(b, rest[0])

    return signature, code


def _tile(rows: int) -> Any:
    @intrinsic
    def tile(context: Any, q: Any, at: Any, stride: Any, panel: Any, pairs: Any, out: Any, to: Any) -> Any:
        signature = types.void(q, types.intp, types.intp, panel, types.intp, out, types.intp)

        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            q, panel, out = (pointer(context, b, sig.args[i], args[i]) for i in (0, 3, 5))
            at, stride, pairs, to = (args[i] for i in (1, 2, 4, 6))

            def body(i: Any, sums: list[Any]) -> list[Any]:
                start = b.mul(i, LONG(2 * TILE_COLUMNS))
                w = [load(b, panel, offset(b, start, v * STEP), SHORT, STEP) for v in range(_VECTORS)]
                column = offset(b, at, i, 2)
                after = []
                for r in range(rows):
                    pair = b.bitcast(load(b, q, offset(b, column, stride, r), SHORT, 2), WORD)
                    x = b.bitcast(splat(b, pair, LANES), vector(SHORT, STEP))
                    after += [multiply_add(b, sums[r * _VECTORS + v], w[v], x) for v in range(_VECTORS)]
                return after

            for i, lanes in enumerate(loop(b, pairs, [_ZERO] * (rows * _VECTORS), body)):
                place = offset(b, to, i * LANES)
                known = load(b, out, place, LONG, LANES)
                store(b, b.add(known, b.sext(lanes, known.type)), out, place, LONG)
            return context.get_dummy_value()

        return signature, code

    return tile


tile = _tile(TILE_ROWS)
"""``tile(q, at, stride, panel, pairs, out, to)`` computes, for r < TILE_ROWS and c < C = TILE_COLUMNS::

    out[to + r C + c] += sum over i < pairs, e < 2 of q[at + r stride + 2i + e] * panel[(i C + c) 2 + e]

q and panel are int16, out is int64, indices count elements of the flat arrays, and pairs <= TILE_PAIRS."""
small_tile = _tile(SMALL_ROWS)
"""The same as :data:`tile` for r < SMALL_ROWS."""


@intrinsic
def transpose_block(context: Any, w: Any, first: Any, stride: Any, panel: Any, to: Any) -> Any:
    """Transpose 16 rows of 32 columns of w into one half of the rows of a panel.

    Sets panel[to + (i C + c) 2 + e] = w[first + c stride + 2i + e] for c < 16, 2i + e < 32, C = TILE_COLUMNS;
    w is int8, panel int16, both flat.
    """
    signature = types.void(w, types.intp, types.intp, panel, types.intp)

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        w, panel = (pointer(context, b, sig.args[i], args[i]) for i in (0, 3))
        first, stride, to = (args[i] for i in (1, 2, 4))
        rows = [load(b, w, offset(b, first, stride, c), BYTE, STEP) for c in range(LANES)]
        for i, row in enumerate(transpose(b, [b.bitcast(row, vector(SHORT, LANES)) for row in rows])):
            wide = b.sext(b.bitcast(row, vector(BYTE, STEP)), vector(SHORT, STEP))
            store(b, wide, panel, offset(b, to, i * 2 * TILE_COLUMNS), SHORT)
        return context.get_dummy_value()

    return signature, code
