"""Emit the inner loops of Freivalds projections: sums of products over rows, in registers.

A loop takes a few rows at a time, for one column or two: rows share what is loaded of the columns, which do
not fit in the first level of the cache. Reading the rows takes most of the time, so rows are prefetched some
time before they are needed.

*Wide* (:func:`dot`): products of a row's element and a canonical residue s < 2^31, both extended to 64 bits.
For int32 elements |y s| < 2^62, and a sum of two is an int64; of such terms T and H are kept
(:mod:`proofcompute.arithmetic.backends.scalar.field31`). For int8 elements |y s| < 2^38, and 2^24 of them fit
an int64.

*In halves* (:func:`dot_bytes`, :func:`combine`): int8 elements times the two signed 16-bit halves of a
balanced residue, two products of at most 2^22 to a lane of 32 bits at once.

*Weighed* (:func:`weigh`): int32 elements times balanced residues, products of 64 bits that go to sums which
lie in memory.
"""

from __future__ import annotations

from typing import Any, Final

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import intrinsic
from proofcompute.arithmetic.backends.numba.codegen.shapes import CHUNK, COMBINED_PAIRS, LANES, STEP, STRIP
from proofcompute.arithmetic.backends.numba.codegen.vector import (
    BYTE,
    ELEMENTS,
    LONG,
    SHORT,
    WORD,
    constant,
    interleave,
    larger,
    load,
    loop,
    multiply_add,
    offset,
    pointer,
    prefetch,
    splat,
    store,
    total,
    vector,
)

__all__ = ["combine", "dot", "dot_bytes", "weigh"]

_HALF: Final = LANES // 2
_LINE: Final = 64
_AHEAD: Final = 1 << 13
"""Bytes by which each row is prefetched in advance."""


def _ahead(b: Any, at: Any, i: Any, m: Any, rows: int, size: int) -> Any:
    """Return the element to prefetch in step i, further on in the first row or in the next group of rows."""
    then = b.add(b.mul(i, LONG(STEP)), LONG(_AHEAD // size))
    if rows > 1:
        then = b.add(then, b.select(b.icmp_signed(">=", then, m), b.mul(m, LONG(rows - 1)), LONG(0)))
    return b.add(at, then)


def _ask(b: Any, y: Any, then: Any, m: Any, row: int, size: int) -> None:
    for line in range(0, size * STEP, _LINE):
        prefetch(b, y, offset(b, LONG(line), offset(b, then, m, row), size))


def _longs(b: Any, base: Any, index: Any, element: Any, spread: bool) -> list[Any]:
    """Load STEP elements of at most 32 bits as four vectors of int64.

    They are in order, or, if ``spread``, the even and then the odd elements of each half; ``spread`` needs
    elements of 32 bits.
    """
    if not spread:
        groups = (load(b, base, offset(b, index, j), element, _HALF) for j in range(0, STEP, _HALF))
        return [b.sext(x, vector(LONG, _HALF)) for x in groups]
    shift = constant(LONG, _HALF, 32)
    both = [
        b.bitcast(load(b, base, offset(b, index, j), WORD, LANES), vector(LONG, _HALF)) for j in (0, LANES)
    ]
    return [x for pair in both for x in (b.ashr(b.shl(pair, shift), shift), b.ashr(pair, shift))]


def dot(name: str, columns: int, rows: int, *, near: bool = False, small: bool = False) -> Any:
    """Return the intrinsic below for "int8" or "int32" elements, one column or two, and ``rows`` rows.

    Rows that are ``near``, in a cache, are not prefetched. If int32 elements are so ``small`` that all
    products of a call sum to an int64, T alone suffices, as it does for int8.
    """
    element = ELEMENTS[name]
    words = element is WORD
    size = element.width // 8
    kept = 2 if words and not small else 1

    @intrinsic
    def dot(
        context: Any, y: Any, at: Any, m: Any, s: Any, first: Any, steps: Any, out: Any, seen: Any
    ) -> Any:
        """Set out[r * columns + c] = (T, H) of y[at + r m + i] * s[first + c m + i], i < 32 steps; flat.

        seen uint32 [LANES] becomes the larger of itself and the elements of s, lane by lane.
        """
        index = types.intp
        signature = types.void(y, index, index, s, index, index, out, seen)

        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            y, s, out, seen = (pointer(context, b, sig.args[i], args[i]) for i in (0, 3, 6, 7))
            at, m, first, steps = (args[i] for i in (1, 2, 4, 5))
            shift = constant(LONG, _HALF, 32)

            def body(i: Any, state: list[Any]) -> list[Any]:
                most, *sums = state
                then = _ahead(b, at, i, m, rows, size)
                place = offset(b, first, i, STEP)
                factors = []
                for c in range(columns):
                    column = offset(b, place, m, c)
                    _ask(b, s, b.add(column, LONG(_AHEAD // 4)), m, 0, 4)
                    factors.append(_longs(b, s, column, WORD, words))
                    for j in (0, LANES):
                        most = larger(b, most, load(b, s, offset(b, column, j), WORD, LANES))
                after = []
                for r in range(rows):
                    if not near:
                        _ask(b, y, then, m, r, size)
                    values = _longs(b, y, offset(b, offset(b, at, i, STEP), m, r), element, words)
                    for c in range(columns):
                        w, x, u, v = (b.mul(p, q) for p, q in zip(values, factors[c], strict=True))
                        known = sums[kept * (r * columns + c)]
                        after.append(b.add(known, b.add(b.add(w, x), b.add(u, v))))
                        if kept == 2:
                            high = [b.ashr(b.add(p, q), shift) for p, q in ((w, x), (u, v))]
                            after.append(b.add(sums[2 * (r * columns + c) + 1], b.add(*high)))
                return [most, *after]

            zero = constant(LONG, _HALF, 0)
            start = [load(b, seen, LONG(0), WORD, LANES), *[zero] * (kept * columns * rows)]
            most, *sums = loop(b, steps, start, body)
            store(b, most, seen, LONG(0), WORD)
            for i in range(columns * rows):
                t = total(b, sums[kept * i])
                h = total(b, sums[2 * i + 1]) if kept == 2 else b.ashr(t, LONG(32))
                for j, x in enumerate((t, h)):
                    store(b, b.bitcast(x, vector(LONG, 1)), out, LONG(2 * i + j), LONG)
            return context.get_dummy_value()

        return signature, code

    return dot


def dot_bytes(columns: int, rows: int) -> Any:
    """Return the intrinsic below for one column or two, and ``rows`` rows."""

    @intrinsic
    def dot(context: Any, y: Any, at: Any, m: Any, s: Any, first: Any, steps: Any, out: Any) -> Any:
        """Add the sums of y[at + r m + i] * s[first + (2 c + h) m + i], i < 32 steps, to out; all flat.

        The sum for r, c and h goes to out[r * columns + c, h]. y is int8, s int16, out int64; steps <= DEEP.
        """
        index = types.intp
        signature = types.void(y, index, index, s, index, index, out)

        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            y, s, out = (pointer(context, b, sig.args[i], args[i]) for i in (0, 3, 6))
            at, m, first, steps = (args[i] for i in (1, 2, 4, 5))

            def body(i: Any, sums: list[Any]) -> list[Any]:
                then = _ahead(b, at, i, m, rows, 1)
                place = offset(b, first, i, STEP)
                halves = [load(b, s, offset(b, place, m, c), SHORT, STEP) for c in range(2 * columns)]
                after = []
                for r in range(rows):
                    _ask(b, y, then, m, r, 1)
                    x = _shorts(b, y, offset(b, offset(b, at, i, STEP), m, r))
                    known = sums[2 * columns * r : 2 * columns * (r + 1)]
                    after += [
                        multiply_add(b, lanes, x, half) for lanes, half in zip(known, halves, strict=True)
                    ]
                return after

            zero = constant(WORD, LANES, 0)
            for i, lanes in enumerate(loop(b, steps, [zero] * (2 * columns * rows), body)):
                known = load(b, out, LONG(i), LONG, 1)
                store(b, b.add(known, b.bitcast(total(b, lanes), known.type)), out, LONG(i), LONG)
            return context.get_dummy_value()

        return signature, code

    return dot


def combine(columns: int) -> Any:
    """Return the intrinsic below for one column or two."""

    @intrinsic
    def combine(
        context: Any, w: Any, at: Any, d: Any, pairs: Any, s: Any, first: Any, m: Any, out: Any, to: Any
    ) -> Any:
        """Add the sum of w[at + j d + i] * s[first + n m + j] over j < 2 pairs to out[to + n CHUNK + i].

        Here n < 2 columns and i < STRIP. All flat: w int8, s int16, out int32, which wraps; DEEP pairs fit.
        """
        index = types.intp
        signature = types.void(w, index, index, index, s, index, index, out, index)

        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            w, s, out = (pointer(context, b, sig.args[i], args[i]) for i in (0, 4, 7))
            at, d, pairs, first, m, to = (args[i] for i in (1, 2, 3, 5, 6, 8))
            ahead = b.mul(d, LONG(2 * COMBINED_PAIRS))

            def body(j: Any, sums: list[Any]) -> list[Any]:
                rows = []
                for e in range(2):
                    place = offset(b, at, b.mul(offset(b, LONG(e), j, 2), d))
                    prefetch(b, w, b.add(place, ahead))
                    rows.append([_shorts(b, w, offset(b, place, i)) for i in range(0, STRIP, STEP)])
                both = [x for pair in zip(*rows, strict=True) for x in interleave(b, *pair)]
                after = []
                for n in range(2 * columns):
                    factors = load(b, s, offset(b, offset(b, first, j, 2), m, n), SHORT, 2)
                    x = b.bitcast(splat(b, b.bitcast(factors, WORD), LANES), vector(SHORT, STEP))
                    known = sums[n * len(both) : (n + 1) * len(both)]
                    after += [multiply_add(b, lanes, y, x) for lanes, y in zip(known, both, strict=True)]
                return after

            places = [
                offset(b, to, n * CHUNK + i) for n in range(2 * columns) for i in range(0, STRIP, LANES)
            ]
            start = [load(b, out, place, WORD, LANES) for place in places]
            for lanes, place in zip(loop(b, pairs, start, body), places, strict=True):
                store(b, lanes, out, place, WORD)
            return context.get_dummy_value()

        return signature, code

    return combine


def weigh(columns: int, rows: int) -> Any:
    """Return the intrinsic below for these numbers of columns and rows."""

    @intrinsic
    def weigh(context: Any, y: Any, width: Any, s: Any, first: Any, n: Any, steps: Any, out: Any) -> Any:
        """Add the sum of y[r width + i] * s[first + c n + r] over r < rows to out[c width + place of i].

        Here i < 16 steps. All flat: y int32, s int32, out int64, which wraps. In each 16 places of out the
        even elements come first, and then the odd ones.
        """
        index = types.intp
        signature = types.void(y, index, s, index, index, index, out)

        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            y, s, out = (pointer(context, b, sig.args[i], args[i]) for i in (0, 2, 6))
            width, first, n, steps = (args[i] for i in (1, 3, 4, 5))
            shift = constant(LONG, _HALF, 32)

            def halves(x: Any) -> tuple[Any, Any]:
                x = b.bitcast(x, vector(LONG, _HALF))
                return b.ashr(b.shl(x, shift), shift), b.ashr(x, shift)

            def body(i: Any, state: list[Any]) -> list[Any]:
                at = b.mul(i, LONG(LANES))
                places = [b.add(offset(b, at, width, c), LONG(j)) for c in range(columns) for j in (0, _HALF)]
                sums = [load(b, out, place, LONG, _HALF) for place in places]
                for r in range(rows):
                    values = halves(load(b, y, offset(b, at, width, r), WORD, LANES))
                    for c in range(columns):
                        one = load(b, s, offset(b, offset(b, first, n, c), r), WORD, 1)
                        factor, _ = halves(splat(b, b.bitcast(one, WORD), LANES))
                        for j, x in enumerate(values):
                            sums[2 * c + j] = b.add(sums[2 * c + j], b.mul(x, factor))
                for place, x in zip(places, sums, strict=True):
                    store(b, x, out, place, LONG)
                return []

            loop(b, steps, [], body)
            return context.get_dummy_value()

        return signature, code

    return weigh


def _shorts(b: Any, base: Any, index: Any) -> Any:
    return b.sext(load(b, base, index, BYTE, STEP), vector(SHORT, STEP))
