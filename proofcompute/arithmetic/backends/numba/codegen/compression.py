"""Emit one compression of SHA-256 on sixteen messages (FIPS 180-4, 6.2.2), as LLVM IR on vectors.

Sixteen vectors are loaded, one from each message, transposed so that a vector holds one word of all sixteen,
and the 64 rounds run on vectors. The constants are computed, not copied: the first 32 fraction bits of the
cube roots of primes.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import intrinsic
from proofcompute.arithmetic.backends.numba.codegen.shapes import LANES
from proofcompute.arithmetic.backends.numba.codegen.vector import (
    BYTE,
    LONG,
    WORD,
    half,
    insert,
    load,
    offset,
    pointer,
    prefetch,
    store,
    transpose,
    vector,
)
from proofcompute.commitments.hashing import DIGEST

__all__ = ["ahead", "compress", "copy", "finish"]

_BLOCK: Final = 64
_WORDS: Final = 16


def _primes(n: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < n:
        if all(candidate % p for p in found):
            found.append(candidate)
        candidate += 1
    return found


def _cube_root(n: int) -> int:
    low, high = 0, 1 << (n.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= n else (low, middle - 1)
    return low


_ROUND: Final = [_cube_root(p << 96) & 0xFFFFFFFF for p in _primes(64)]


def _rotate(b: Any, x: Any, right: int) -> Any:
    name = f"llvm.fshr.v{LANES}i32"
    function = insert(b.module, ir.FunctionType(x.type, [x.type] * 3), name)
    return b.call(function, [x, x, ir.Constant(x.type, [WORD(right)] * LANES)])


def _shift(b: Any, x: Any, right: int) -> Any:
    return b.lshr(x, ir.Constant(x.type, [WORD(right)] * LANES))


def _exclusive(b: Any, *values: Any) -> Any:
    result = values[0]
    for value in values[1:]:
        result = b.xor(result, value)
    return result


def _sum(b: Any, *values: Any) -> Any:
    result = values[0]
    for value in values[1:]:
        result = b.add(result, value)
    return result


def _schedule(b: Any, w: list[Any], i: int) -> Any:
    """Return word i of the message schedule, FIPS 180-4, 6.2.2; w holds the sixteen words before it."""
    x, y = w[(i - 15) % _WORDS], w[(i - 2) % _WORDS]
    small0 = _exclusive(b, _rotate(b, x, 7), _rotate(b, x, 18), _shift(b, x, 3))
    small1 = _exclusive(b, _rotate(b, y, 17), _rotate(b, y, 19), _shift(b, y, 10))
    return _sum(b, w[i % _WORDS], small0, w[(i - 7) % _WORDS], small1)


def _rounds(b: Any, state: list[Any], w: list[Any]) -> list[Any]:
    a, bb, c, d, e, f, g, h = state
    for i in range(64):
        if i >= _WORDS:
            w[i % _WORDS] = _schedule(b, w, i)
        big1 = _exclusive(b, _rotate(b, e, 6), _rotate(b, e, 11), _rotate(b, e, 25))
        choice = b.xor(g, b.and_(e, b.xor(f, g)))
        constant = ir.Constant(e.type, [WORD(_ROUND[i])] * LANES)
        t1 = _sum(b, h, b.add(constant, w[i % _WORDS]), choice, big1)
        big0 = _exclusive(b, _rotate(b, a, 2), _rotate(b, a, 13), _rotate(b, a, 22))
        majority = b.or_(b.and_(a, bb), b.and_(c, b.or_(a, bb)))
        a, bb, c, d, e, f, g, h = _sum(b, t1, big0, majority), a, bb, c, b.add(d, t1), e, f, g
    return [b.add(old, new) for old, new in zip(state, (a, bb, c, d, e, f, g, h), strict=True)]


def _swap_bytes(b: Any, x: Any) -> Any:
    name = f"llvm.bswap.v{LANES}i32"
    function = insert(b.module, ir.FunctionType(x.type, [x.type]), name)
    return b.call(function, [x])


@intrinsic
def compress(context: Any, state: Any, data: Any, first: Any, stride: Any) -> Any:
    """Compress the blocks data[first + lane stride : ... + 64], uint8 flat, into state uint32 [8, LANES]."""
    signature = types.void(state, data, types.intp, types.intp)

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        state, data = (pointer(context, b, sig.args[i], args[i]) for i in (0, 1))
        kind = vector(WORD, LANES)
        rows = [
            b.bitcast(load(b, data, offset(b, args[2], args[3], r), BYTE, _BLOCK), kind) for r in range(LANES)
        ]
        words = [_swap_bytes(b, x) for x in transpose(b, rows)]
        places = [ir.Constant(ir.IntType(64), i * LANES) for i in range(8)]
        before = [load(b, state, place, WORD, LANES) for place in places]
        for place, value in zip(places, _rounds(b, before, words), strict=True):
            store(b, value, state, place, WORD)
        return context.get_dummy_value()

    return signature, code


@intrinsic
def ahead(context: Any, data: Any, first: Any, stride: Any) -> Any:
    """Prefetch the cache lines of data[first + lane stride], uint8 flat, which may lie outside of it.

    Sixteen streams are more than processors follow by themselves, and a compression is too long for the next
    one's loads to begin before its end.
    """
    signature = types.void(data, types.intp, types.intp)

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        data = pointer(context, b, sig.args[0], args[0])
        for r in range(LANES):
            prefetch(b, data, offset(b, args[1], args[2], r))
        return context.get_dummy_value()

    return signature, code


@intrinsic
def copy(context: Any, source: Any, first: Any, target: Any, to: Any, count: Any) -> Any:
    """Set target[to : to + count] = source[first : first + count], uint8 flat."""
    signature = types.void(source, types.intp, target, types.intp, types.intp)

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        source, target = (pointer(context, b, sig.args[i], args[i]) for i in (0, 2))
        from numba.core import cgutils

        cgutils.raw_memcpy(b, b.gep(target, [args[3]]), b.gep(source, [args[1]]), args[4], 1)
        return context.get_dummy_value()

    return signature, code


@intrinsic
def finish(context: Any, state: Any, out: Any, first: Any) -> Any:
    """Write each lane's digest in state uint32 [8, LANES] to out[first + 32 lane : ... + 32], uint8 flat."""
    signature = types.void(state, out, types.intp)

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        state, out = (pointer(context, b, sig.args[i], args[i]) for i in (0, 1))
        words = [_swap_bytes(b, load(b, state, LONG(i * LANES), WORD, LANES)) for i in range(8)]
        for lane, row in enumerate(transpose(b, words + words)):
            digest = b.bitcast(half(b, row), vector(BYTE, DIGEST))
            store(b, digest, out, offset(b, args[2], lane * DIGEST), BYTE)
        return context.get_dummy_value()

    return signature, code
