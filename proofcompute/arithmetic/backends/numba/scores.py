"""Scores of attention: products of query rows and keys, brought back to float where they are summed up.

A row of q is one limb, so that its products with dh elements of a key fit int32 whatever dh is. Where
``QUADS``, a lane takes four of them in a step. That instruction wants one factor unsigned: q + 128, which
adds 128 times the sum of the key to the result, and so sums begin at minus that.
"""

from __future__ import annotations

from typing import Any, Final

from proofcompute.arithmetic.backends.numba import signatures as types
from proofcompute.arithmetic.backends.numba.cache import intrinsic
from proofcompute.arithmetic.backends.numba.shapes import LANES, SMALL_ROWS, TILE_COLUMNS, TILE_ROWS
from proofcompute.arithmetic.backends.numba.vector import (
    BYTE,
    FLOAT,
    SHORT,
    WORD,
    constant,
    load,
    loop,
    multiply_add,
    multiply_add_bytes,
    offset,
    pointer,
    splat,
    store,
    vector,
)

__all__ = ["offsets_of_panel", "score_tile", "small_score_tile"]

_VECTORS: Final = TILE_COLUMNS // LANES
_ZERO: Final = constant(WORD, LANES, 0)
_ALL_128: Final = -0x7F7F7F80
"""Four unsigned bytes of 128."""


@intrinsic
def offsets_of_panel(context: Any, panel: Any, first: Any, steps: Any, out: Any, to: Any) -> Any:
    """out[to + c] = -128 times the sum of panel[first + (i C + c) 4 + e] over i < steps and e < 4.

    c < C = TILE_COLUMNS, panel int8 and out int32, flat. For a panel of int16 zeros.
    """
    signature = types.void(panel, types.intp, types.intp, out, types.intp)
    quads = panel.dtype == types.real(types.int8)

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        panel, out = (pointer(context, b, sig.args[i], args[i]) for i in (0, 3))
        first, steps, to = (args[i] for i in (1, 2, 4))
        factor = constant(WORD, LANES, _ALL_128)

        def body(i: Any, sums: list[Any]) -> list[Any]:
            start = offset(b, first, i, 4 * TILE_COLUMNS)
            words = [
                b.bitcast(load(b, panel, offset(b, start, v * 4 * LANES), BYTE, 4 * LANES), _ZERO.type)
                for v in range(_VECTORS)
            ]
            return [multiply_add_bytes(b, known, factor, x) for known, x in zip(sums, words, strict=True)]

        sums = [_ZERO] * _VECTORS
        for v, lanes in enumerate(loop(b, steps, sums, body) if quads else sums):
            store(b, b.sub(_ZERO, lanes), out, offset(b, to, v * LANES), WORD)
        return context.get_dummy_value()

    return signature, code


def _score_tile(rows: int) -> Any:
    @intrinsic
    def tile(
        context: Any,
        q: Any,
        at: Any,
        stride: Any,
        panel: Any,
        first: Any,
        steps: Any,
        offsets: Any,
        sq: Any,
        row: Any,
        s: Any,
        column: Any,
        scale: Any,
        out: Any,
        to: Any,
        width: Any,
    ) -> Any:
        i = types.intp
        signature = types.void(q, i, i, panel, i, i, offsets, sq, i, s, i, types.float32, out, i, i)
        quads = panel.dtype == types.real(types.int8)
        element, part = (BYTE, 4) if quads else (SHORT, 2)
        lanes = vector(FLOAT, LANES)

        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            arrays = (pointer(context, b, sig.args[i], args[i]) for i in (0, 3, 6, 7, 9, 12))
            q, panel, offsets, sq, s, out = arrays
            at, stride, first, steps, row, column, scale, to, width = (
                args[i] for i in (1, 2, 4, 5, 8, 10, 11, 13, 14)
            )

            def body(i: Any, sums: list[Any]) -> list[Any]:
                start = offset(b, first, i, part * TILE_COLUMNS)
                size = part * LANES
                w = [load(b, panel, offset(b, start, v * size), element, size) for v in range(_VECTORS)]
                place = offset(b, at, i, part)
                after = []
                for r in range(rows):
                    word = b.bitcast(load(b, q, offset(b, place, stride, r), element, part), WORD)
                    x = splat(b, word, LANES)
                    for known, y in zip(sums[r * _VECTORS : (r + 1) * _VECTORS], w, strict=True):
                        if quads:
                            after.append(multiply_add_bytes(b, known, x, b.bitcast(y, x.type)))
                        else:
                            after.append(multiply_add(b, known, y, b.bitcast(x, y.type)))
                return after

            places = [offset(b, column, v * LANES) for v in range(_VECTORS)]
            start = [load(b, offsets, place, WORD, LANES) for place in places]
            sums = loop(b, steps, start * rows, body)
            keys = [b.bitcast(load(b, s, place, WORD, LANES), lanes) for place in places]
            scales = splat(b, scale, LANES)
            for r in range(rows):
                word = load(b, sq, offset(b, row, r), WORD, 1)
                factor = b.bitcast(splat(b, b.extract_element(word, WORD(0)), LANES), lanes)
                for v in range(_VECTORS):
                    x = b.sitofp(sums[r * _VECTORS + v], lanes)
                    y = b.fmul(b.fmul(x, b.fmul(factor, keys[v])), scales)
                    place = offset(b, offset(b, to, v * LANES), width, r)
                    store(b, b.bitcast(y, _ZERO.type), out, place, WORD)
            return context.get_dummy_value()

        return signature, code

    return tile


score_tile = _score_tile(TILE_ROWS)
"""``score_tile(q, at, stride, panel, first, steps, offsets, sq, row, s, column, scale, out, to, width)``, for
r < TILE_ROWS and c < C = TILE_COLUMNS::

    out[to + r width + c] = (f32(acc) * (sq[row + r] * s[column + c])) * scale
    acc = offsets[column + c] + sum over i < steps, e < P of
          q[at + r stride + P i + e] * panel[first + (i C + c) P + e]

q and panel int16, and P is 2; or q uint8, panel int8, and P is 4, only where ``QUADS``. offsets int32, the
others float32; all flat. acc fits int32; what is added up to it may wrap."""
small_score_tile = _score_tile(SMALL_ROWS)
"""The same for r < SMALL_ROWS."""
