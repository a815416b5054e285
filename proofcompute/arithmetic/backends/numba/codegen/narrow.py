"""Emit the inner loops of hints, whose sums fit 32 bits, as LLVM IR on vectors (:mod:`.vector`).

A set of a hint is below 2^30 in absolute value (:mod:`proofcompute.freivalds.sets`), so that its sums may be
int32 numbers all along: where one wraps on the way, the whole is right all the same, modulo 2^32.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import intrinsic
from proofcompute.arithmetic.backends.numba.codegen.shapes import LANES, STEP, TILE_COLUMNS
from proofcompute.arithmetic.backends.numba.codegen.vector import (
    LONG,
    SHORT,
    WORD,
    constant,
    load,
    loop,
    multiply_add,
    offset,
    permute,
    pointer,
    splat,
    store,
    vector,
)

__all__ = ["pack_units", "tile_of"]

_VECTORS: Final = TILE_COLUMNS // LANES
_WORDS: Final = 16
"""Lanes of the vectors that pack."""
_TERMS: Final = 3
"""The most values of 16 to 32 bits of which a word has bits."""


def tile_of(rows: int) -> Any:
    """Return the intrinsic below for so many rows."""

    @intrinsic
    def tile(context: Any, q: Any, at: Any, stride: Any, panel: Any, pairs: Any, out: Any, to: Any) -> Any:
        """Compute, for r < rows and c < C = TILE_COLUMNS, over i < pairs and e < 2, modulo 2^32::

            out[to + r C + c] += sum of q[at + r stride + 2i + e] * panel[(i C + c) 2 + e]

        q and panel are int16, out is int32, and indices count elements of the flat arrays.
        """
        signature = types.void(q, types.intp, types.intp, panel, types.intp, out, types.intp)

        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            q, panel, out = (pointer(context, b, sig.args[i], args[i]) for i in (0, 3, 5))
            at, stride, pairs, to = (args[i] for i in (1, 2, 4, 6))
            places = [offset(b, to, i * LANES) for i in range(rows * _VECTORS)]

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

            known = [load(b, out, place, WORD, LANES) for place in places]
            for lanes, place in zip(loop(b, pairs, known, body), places, strict=True):
                store(b, lanes, out, place, WORD)
            return context.get_dummy_value()

        return signature, code

    return tile


@intrinsic
def pack_units(context: Any, values: Any, at: Any, bits: Any, count: Any, words: Any, to: Any) -> Any:
    """Pack ``count`` units of 32 values from values[at] on into words[to] on, with 16 <= bits <= 32.

    A unit becomes ``bits`` words, but 32 are written. Word w begins in value i = 32 w // bits, at its bit o =
    32 w - i bits, and has bits of the values i, i + 1 and i + 2: from bit 0, bits - o and 2 bits - o on.
    """
    signature = types.void(values, types.intp, types.int64, types.intp, words, types.intp)

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        source, target = (pointer(context, b, sig.args[i], args[i]) for i in (0, 4))
        at, bits, count, to = (args[i] for i in (1, 2, 3, 5))
        kind = vector(WORD, _WORDS)
        wide = splat(b, b.trunc(bits, WORD), _WORDS)
        mask = splat(b, b.trunc(b.sub(b.shl(LONG(1), bits), LONG(1)), WORD), _WORDS)
        full, none = constant(WORD, _WORDS, 32), constant(WORD, _WORDS, 0)
        pieces = []
        for first in (0, _WORDS):
            begin = ir.Constant(kind, [WORD(32 * (first + i)) for i in range(_WORDS)])
            value = b.udiv(begin, wide)
            shift = b.sub(begin, b.mul(value, wide))
            terms = []
            for j in range(_TERMS):
                index = b.add(value, constant(WORD, _WORDS, j))
                amount = shift if j == 0 else b.sub(b.mul(wide, constant(WORD, _WORDS, j)), shift)
                inside = b.icmp_unsigned("<", amount, full)
                terms.append((index, b.select(inside, amount, none), b.select(inside, mask, none)))
            pieces.append(terms)
        low = [[b.icmp_unsigned("<", i, constant(WORD, _WORDS, _WORDS)) for i, *_ in t] for t in pieces]

        def body(i: Any, state: list[Any]) -> list[Any]:
            place = offset(b, at, i, 2 * _WORDS)
            halves = [load(b, source, offset(b, place, h), WORD, _WORDS) for h in (0, _WORDS)]
            start = b.add(to, b.mul(i, bits))
            for terms, first, here in zip(pieces, (0, _WORDS), low, strict=True):
                word = none
                for j, (index, amount, keep) in enumerate(terms):
                    x = b.select(here[j], permute(b, halves[0], index), permute(b, halves[1], index))
                    x = b.and_(x, keep)
                    word = b.or_(word, b.lshr(x, amount) if j == 0 else b.shl(x, amount))
                store(b, word, target, offset(b, start, first), WORD)
            return []

        loop(b, count, [], body)
        return context.get_dummy_value()

    return signature, code
