"""Emit loads of any alignment for :mod:`..kernels.unpacking`, as LLVM IR on vectors (:mod:`.vector`)."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import intrinsic
from proofcompute.arithmetic.backends.numba.codegen.vector import (
    BYTE,
    LONG,
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

__all__ = ["ask", "byte", "groups_of", "word"]


@intrinsic
def word(context: Any, address: Any, at: Any) -> Any:
    """Return the 8 bytes from byte ``at`` after an address, of any alignment, as uint64."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        start = b.inttoptr(args[0], ir.PointerType(BYTE))
        place = b.bitcast(b.gep(start, [args[1]]), ir.PointerType(LONG))
        return b.load(place, align=1)

    return types.uint64(types.uint64, types.int64), code


@intrinsic
def byte(context: Any, address: Any, at: Any) -> Any:
    """Return the byte ``at`` after an address, as uint64."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        start = b.inttoptr(args[0], ir.PointerType(BYTE))
        return b.zext(b.load(b.gep(start, [args[1]]), align=1), LONG)

    return types.uint64(types.uint64, types.int64), code


@intrinsic
def ask(context: Any, address: Any, at: Any) -> Any:
    """Prefetch the cache line of the byte ``at`` after an address."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        prefetch(b, b.inttoptr(args[0], ir.PointerType(BYTE)), args[1])
        return context.get_dummy_value()

    return types.void(types.uint64, types.int64), code


def groups_of(lanes: int) -> Any:
    """Return the intrinsic below for groups of ``lanes`` values."""

    @intrinsic
    def groups(context: Any, address: Any, at: Any, shift: Any, bits: Any, count: Any, out: Any) -> Any:
        """Unpack ``count`` groups from bit ``shift`` < 8 of byte ``at`` on; each reads 4 ``lanes`` bytes."""

        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            start = b.inttoptr(args[0], ir.PointerType(BYTE))
            at, shift, bits, count = args[1:5]
            to = pointer(context, b, sig.args[5], args[5])
            numbers = ir.Constant(vector(WORD, lanes), [WORD(i) for i in range(lanes)])
            wide = splat(b, b.trunc(bits, WORD), lanes)
            position = b.add(b.mul(numbers, wide), splat(b, b.trunc(shift, WORD), lanes))
            low = b.lshr(position, constant(WORD, lanes, 5))
            high = b.add(low, constant(WORD, lanes, 1))  # beyond the data only if no bit of it is used
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
