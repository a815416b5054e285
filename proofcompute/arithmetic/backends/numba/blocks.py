"""Float rows by whole blocks, as LLVM IR on vectors (see :mod:`.vector`).

A row that is not a multiple of BLOCK long has room for one, and something harmless behind its end. Loops over
it then end with no elements left to do one by one, which would take as long as some blocks.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from proofcompute.arithmetic.backends.numba import signatures as types
from proofcompute.arithmetic.backends.numba.cache import intrinsic
from proofcompute.arithmetic.backends.numba.shapes import BLOCK, LANES
from proofcompute.arithmetic.backends.numba.vector import (
    FLOAT,
    LONG,
    WORD,
    greater,
    load,
    loop,
    offset,
    pointer,
    reduced,
    splat,
    store,
    vector,
)

__all__ = ["end_block", "largest", "sum_of_block"]


@intrinsic
def largest(context: Any, x: Any) -> Any:
    """The largest element of x float32 [m], m a multiple of BLOCK, none of them NaN; of -0 and 0 either."""
    signature = types.float32(x)

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        x = context.make_array(sig.args[0])(context, b, args[0])
        kind = vector(FLOAT, LANES)

        def body(i: Any, known: list[Any]) -> list[Any]:
            at = b.mul(i, LONG(BLOCK))
            places = [offset(b, at, v * LANES) for v in range(BLOCK // LANES)]
            found = [b.bitcast(load(b, x.data, place, WORD, LANES), kind) for place in places]
            return [greater(b, new, old) for new, old in zip(found, known, strict=True)]

        start = ir.Constant(kind, [FLOAT(float("-inf"))] * LANES)
        blocks = b.udiv(x.nitems, LONG(BLOCK))
        return reduced(b, greater, loop(b, blocks, [start] * (BLOCK // LANES), body))

    return signature, code


@intrinsic
def end_block(context: Any, x: Any, n: Any, value: Any) -> Any:
    """x[i] = value for n <= i < m, m the multiple of BLOCK above m - BLOCK < n <= m; x float32 [m].

    By whole vectors, which a loop that reads them next need not wait for.
    """
    signature = types.void(x, types.intp, types.float32)

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        x = pointer(context, b, sig.args[0], args[0])
        n = args[1]
        first = b.mul(b.sdiv(b.sub(n, LONG(1)), LONG(BLOCK)), LONG(BLOCK))
        inside = splat(b, b.trunc(b.sub(n, first), WORD), LANES)
        fill = splat(b, b.bitcast(args[2], WORD), LANES)
        for v in range(0, BLOCK, LANES):
            place = offset(b, first, v)
            lanes = ir.Constant(vector(WORD, LANES), [WORD(v + i) for i in range(LANES)])
            kept = b.icmp_signed("<", lanes, inside)
            store(b, b.select(kept, load(b, x, place, WORD, LANES), fill), x, place, WORD)
        return context.get_dummy_value()

    return signature, code


@intrinsic
def sum_of_block(context: Any, level: Any) -> Any:
    """The halving-tree sum of the first BLOCK elements of a float32 array."""
    signature = types.float32(level)

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        level = pointer(context, b, sig.args[0], args[0])
        kind = vector(FLOAT, LANES)
        lanes = [b.bitcast(load(b, level, LONG(i), WORD, LANES), kind) for i in range(0, BLOCK, LANES)]
        return reduced(b, lambda b, low, high: b.fadd(low, high), lanes)

    return signature, code
