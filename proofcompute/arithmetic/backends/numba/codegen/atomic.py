"""Emit atomic reads and writes of words that threads share: int64 elements of an array.

Reads acquire and writes release: a thread that loads a word sees all that was written before the word was
stored.
"""

from __future__ import annotations

import platform
from typing import Any, Final

from llvmlite import ir

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import intrinsic
from proofcompute.arithmetic.backends.numba.codegen.vector import insert, pointer

__all__ = ["add", "exchange", "load", "pause", "store"]

_ALIGN: Final = 8


def _word(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.gep(pointer(context, builder, sig.args[0], args[0]), [args[1]])


@intrinsic
def load(context: Any, words: Any, i: Any) -> Any:
    """Return words[i]."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.load_atomic(_word(context, b, sig, args), "acquire", _ALIGN)

    return types.int64(words, types.intp), code


@intrinsic
def store(context: Any, words: Any, i: Any, value: Any) -> Any:
    """Set words[i] = value."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        b.store_atomic(args[2], _word(context, b, sig, args), "release", _ALIGN)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.int64), code


@intrinsic
def add(context: Any, words: Any, i: Any, value: Any) -> Any:
    """Add value to words[i], and return the old value."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.atomic_rmw("add", _word(context, b, sig, args), args[2], "acq_rel")

    return types.int64(words, types.intp, types.int64), code


@intrinsic
def exchange(context: Any, words: Any, i: Any, expected: Any, value: Any) -> Any:
    """Set words[i] = value if words[i] is ``expected``, and return whether it was."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        word = _word(context, b, sig, args)
        return b.extract_value(b.cmpxchg(word, args[2], args[3], "acq_rel", "acquire"), 1)

    return types.boolean(words, types.intp, types.int64, types.int64), code


@intrinsic
def pause(context: Any) -> Any:
    """Pause for a moment between two polls of a word, so that the processor may save power."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        if platform.machine() == "x86_64":
            kind = ir.FunctionType(ir.VoidType(), [])
            b.call(insert(b.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), code
