"""Emit the inner loops of products of bytes, as LLVM IR on vectors (:mod:`.vector`).

The instruction ``vpdpbusd`` multiplies uint8 with int8 and adds four products to each int32 lane, which
wraps. So the elements of rows are stored plus 128, and their sums begin at minus 128 times the sum of a
channel's weights. The result is right modulo 2^32, hence right where the sum fits int32.
"""

from __future__ import annotations

from typing import Any, Final

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import intrinsic
from proofcompute.arithmetic.backends.numba.codegen.shapes import LANES, TILE_COLUMNS
from proofcompute.arithmetic.backends.numba.codegen.vector import (
    BYTE,
    LONG,
    WORD,
    load,
    loop,
    multiply_add_bytes,
    offset,
    pointer,
    splat,
    store,
    transpose,
    vector,
)

__all__ = ["quads_of", "transpose_quads"]

_LINE: Final = 4 * LANES
_VECTORS: Final = TILE_COLUMNS // LANES


def quads_of(rows: int) -> Any:
    """Return the intrinsic below for so many rows."""

    @intrinsic
    def quads(context: Any, q: Any, at: Any, stride: Any, panel: Any, count: Any, out: Any, to: Any) -> Any:
        """Compute, for r < rows and c < C = TILE_COLUMNS, over i < count and e < 4, modulo 2^32::

            out[to + r C + c] += sum of q[at + r stride + 4i + e] * panel[(i C + c) 4 + e]

        q is uint8, panel int8, out int32, and indices count elements of the flat arrays.
        """
        signature = types.void(q, types.intp, types.intp, panel, types.intp, out, types.intp)

        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            q, panel, out = (pointer(context, b, sig.args[i], args[i]) for i in (0, 3, 5))
            at, stride, count, to = (args[i] for i in (1, 2, 4, 6))
            places = [offset(b, to, i * LANES) for i in range(rows * _VECTORS)]

            def body(i: Any, sums: list[Any]) -> list[Any]:
                start = b.mul(i, LONG(4 * TILE_COLUMNS))
                w = [load(b, panel, offset(b, start, v * _LINE), BYTE, _LINE) for v in range(_VECTORS)]
                column = offset(b, at, i, 4)
                after = []
                for r in range(rows):
                    four = b.bitcast(load(b, q, offset(b, column, stride, r), BYTE, 4), WORD)
                    x = b.bitcast(splat(b, four, LANES), vector(BYTE, _LINE))
                    after += [multiply_add_bytes(b, sums[r * _VECTORS + v], x, w[v]) for v in range(_VECTORS)]
                return after

            known = [load(b, out, place, WORD, LANES) for place in places]
            for lanes, place in zip(loop(b, count, known, body, unrolled=False), places, strict=True):
                store(b, lanes, out, place, WORD)
            return context.get_dummy_value()

        return signature, code

    return quads


@intrinsic
def transpose_quads(context: Any, w: Any, first: Any, stride: Any, panel: Any, to: Any) -> Any:
    """Transpose 16 rows of 64 columns of w into one half of the rows of a panel.

    Sets panel[to + (i C + c) 4 + e] = w[first + c stride + 4i + e] for c < 16, 4i + e < 64, C = TILE_COLUMNS;
    w and panel are int8, both flat.
    """
    signature = types.void(w, types.intp, types.intp, panel, types.intp)

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        w, panel = (pointer(context, b, sig.args[i], args[i]) for i in (0, 3))
        first, stride, to = (args[i] for i in (1, 2, 4))
        rows = [load(b, w, offset(b, first, stride, c), BYTE, _LINE) for c in range(LANES)]
        for i, row in enumerate(transpose(b, [b.bitcast(row, vector(WORD, LANES)) for row in rows])):
            store(b, b.bitcast(row, vector(BYTE, _LINE)), panel, offset(b, to, i * 4 * TILE_COLUMNS), BYTE)
        return context.get_dummy_value()

    return signature, code
