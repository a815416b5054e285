"""Unpacking integers of 1 to 32 bits in kernels (numerics.bitpack defines it), 8 or 16 at a time.

So many values of b bits take b or 2 b bytes, so all groups of a run begin at the same bit of a byte. A group
is read as 32-bit words; a value lies in two of them, side by side.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir

from proofcompute.arithmetic.backends.numba import signatures as types
from proofcompute.arithmetic.backends.numba.cache import helper, intrinsic
from proofcompute.arithmetic.backends.numba.vector import (
    BYTE,
    LONG,
    PERMUTES,
    WORD,
    constant,
    funnel,
    load,
    loop,
    permute,
    pointer,
    prefetch,
    splat,
    store,
    vector,
)

__all__ = ["ask", "byte", "unpack", "unpacker"]

_LINE: Final = 64
"""Bytes of a cache line."""
_WORD: Final = 8
"""Bytes that one value is taken from: 32 bits and a shift of up to 7."""


@intrinsic
def _word(context: Any, address: Any, at: Any) -> Any:
    """The 8 bytes from byte ``at`` after an address, as uint64; of any alignment."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        start = b.inttoptr(args[0], ir.PointerType(BYTE))
        place = b.bitcast(b.gep(start, [args[1]]), ir.PointerType(LONG))
        return b.load(place, align=1)

    return types.uint64(types.uint64, types.int64), code


@intrinsic
def byte(context: Any, address: Any, at: Any) -> Any:
    """The byte ``at`` after an address, as uint64."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        start = b.inttoptr(args[0], ir.PointerType(BYTE))
        return b.zext(b.load(b.gep(start, [args[1]]), align=1), LONG)

    return types.uint64(types.uint64, types.int64), code


@intrinsic
def _ask(context: Any, address: Any, at: Any) -> Any:
    """Ask for the cache line of the byte ``at`` after an address."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        prefetch(b, b.inttoptr(args[0], ir.PointerType(BYTE)), args[1])
        return context.get_dummy_value()

    return types.void(types.uint64, types.int64), code


@helper
def ask(address: Any, bits: Any, first: Any, count: Any) -> None:
    """Ask for values first..first+count of packed integers."""
    for at in range(first * bits >> 3, (first + count) * bits >> 3, _LINE):
        _ask(address, at)


def _groups(lanes: int) -> Any:
    @intrinsic
    def groups(context: Any, address: Any, at: Any, shift: Any, bits: Any, count: Any, out: Any) -> Any:
        """``count`` groups into ``out``, from bit ``shift`` < 8 of byte ``at`` on; each reads 4 ``lanes``."""

        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            start = b.inttoptr(args[0], ir.PointerType(BYTE))
            at, shift, bits, count = args[1:5]
            to = pointer(context, b, sig.args[5], args[5])
            numbers = ir.Constant(vector(WORD, lanes), [WORD(i) for i in range(lanes)])
            wide = splat(b, b.trunc(bits, WORD), lanes)
            position = b.add(b.mul(numbers, wide), splat(b, b.trunc(shift, WORD), lanes))
            low = b.lshr(position, constant(WORD, lanes, 5))
            high = b.add(low, constant(WORD, lanes, 1))  # one too far only where nothing of it is wanted
            amount = b.and_(position, constant(WORD, lanes, 31))
            left = b.sub(constant(WORD, lanes, 32), wide)
            size = b.mul(bits, LONG(lanes // 8))

            def body(i: Any, state: list[Any]) -> list[Any]:
                data = b.bitcast(load(b, start, b.add(at, b.mul(i, size)), BYTE, 4 * lanes), low.type)
                above, below = permute(b, data, high), permute(b, data, low)
                value = b.ashr(b.shl(funnel(b, above, below, amount), left), left)
                store(b, value, to, b.mul(i, LONG(lanes)), WORD)
                return []

            loop(b, count, [], body)
            return context.get_dummy_value()

        return types.void(address, at, shift, bits, count, out), code

    return groups


def unpacker(lanes: int) -> Any:
    """The function that unpacks, by groups of so many values; 0: without the instruction for that."""
    groups, permutes = _groups(lanes), lanes > 0

    @helper
    def unpack(address: Any, size: Any, bits: Any, first: Any, count: Any, out: Any) -> None:
        """Values first..first+count of packed integers into out; ``size`` bytes are at the address."""
        left = np.uint64(64 - bits)
        position = first * bits
        done = 0
        if permutes:
            # groups whose bytes are all there
            inside = 1 + (size - (position >> 3) - 4 * lanes) // (lanes // 8 * bits)
            whole = max(0, min(count // lanes, inside))
            groups(address, position >> 3, position & 7, bits, whole, out)
            done = whole * lanes
        last = (size - _WORD) * 8 // bits + 1 if size >= _WORD else 0  # values whose word lies inside
        whole = min(count, max(done, last - first))
        for i in range(done, whole):
            place = position + i * bits
            word = _word(address, place >> 3) >> np.uint64(place & 7)
            out[i] = np.int32(np.int64(word << left) >> np.int64(left))
        for i in range(whole, count):
            place = position + i * bits
            word = np.uint64(0)
            for j in range(min(_WORD, size - (place >> 3))):
                word |= byte(address, (place >> 3) + j) << np.uint64(8 * j)
            word >>= np.uint64(place & 7)
            out[i] = np.int32(np.int64(word << left) >> np.int64(left))

    return unpack


unpack: Final = unpacker(PERMUTES)
