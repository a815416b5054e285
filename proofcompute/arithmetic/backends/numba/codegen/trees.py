"""Emit the lowest levels of the halving tree over windows, as LLVM IR on vectors (:mod:`.vector`).

The tree of d elements, with W the least power of two that is at least d, adds element i + W / 2 to element i
for all i < W / 2 where there is one, then does the same with what is left. So what has become of element i
when ``step`` are left is a tree of the elements i, i + step, i + 2 step, ..., whose shape depends on their
number alone (:func:`order`). A *branch* adds up to eight of them in registers.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import intrinsic
from proofcompute.arithmetic.backends.numba.codegen.shapes import LANES
from proofcompute.arithmetic.backends.numba.codegen.vector import (
    LONG,
    WORD,
    load,
    loop,
    offset,
    pointer,
    splat,
    store,
    vector,
)

__all__ = ["branch"]

_FLOAT: Final = ir.FloatType()


def _tree(b: Any, leaves: list[Any]) -> Any:
    """Return the sum of leaves by the halving tree; zeros up to a power of two are left out."""
    width = 1
    while width < len(leaves):
        width *= 2
    while width > 1:
        width //= 2
        sums = [b.fadd(x, y) for x, y in zip(leaves, leaves[width:], strict=False)]
        leaves = sums + leaves[len(sums) : width]
    return leaves[0]


def branch(count: int, *, weighted: bool = False, spread: bool = False) -> Any:
    """Return the intrinsic below for so many elements; ``spread``: all lanes have the same element of x."""

    @intrinsic
    def branch(
        context: Any,
        x: Any,
        at: Any,
        apart: Any,
        w: Any,
        first: Any,
        weights: Any,
        i: Any,
        step: Any,
        length: Any,
        out: Any,
        to: Any,
    ) -> Any:
        """Set out[to + c] for c < length to the tree of x[at + apart[j] + c], for j = i, i + step, ...

        If weighted, each is multiplied by w[first + weights[j] + c]; if spread, c is left out in x. All flat.
        """
        index = types.intp
        signature = types.void(x, index, apart, w, index, weights, index, index, index, out, index)

        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            x, apart, w, weights, out = (pointer(context, b, sig.args[k], args[k]) for k in (0, 2, 3, 5, 9))
            at, first, i, step, length, to = (args[k] for k in (1, 4, 6, 7, 8, 10))

            def place(base: Any, table: Any, j: int) -> Any:
                return b.add(base, b.extract_element(load(b, table, offset(b, i, step, j), LONG, 1), LONG(0)))

            def floats(base: Any, at: Any, lanes: int) -> Any:
                return b.bitcast(load(b, base, at, WORD, lanes), vector(_FLOAT, lanes))

            places = [place(at, apart, j) for j in range(count)]
            factors = [place(first, weights, j) for j in range(count)] if weighted else []

            def part(start: Any, many: Any, lanes: int, given: list[Any]) -> None:
                def body(k: Any, state: list[Any]) -> list[Any]:
                    c = b.add(start, b.mul(k, LONG(lanes)))
                    leaves = given or [floats(x, b.add(p, c), lanes) for p in places]
                    if weighted:
                        found = [floats(w, b.add(p, c), lanes) for p in factors]
                        leaves = [b.fmul(u, v) for u, v in zip(leaves, found, strict=True)]
                    store(b, b.bitcast(_tree(b, leaves), vector(WORD, lanes)), out, b.add(to, c), WORD)
                    return []

                loop(b, many, [], body)

            whole = b.udiv(length, LONG(LANES))
            done = b.mul(whole, LONG(LANES))
            ones = [floats(x, p, 1) for p in places] if spread else []
            same = [splat(b, b.extract_element(one, LONG(0)), LANES) for one in ones]
            part(LONG(0), whole, LANES, same)
            part(done, b.sub(length, done), 1, ones)
            return context.get_dummy_value()

        return signature, code

    return branch
