"""Carry out commands that work row by row; a row has several lines if an operation is done to parts of it.

Lines of all rows are counted one after the other, as they lie in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import helper, intrinsic
from proofcompute.arithmetic.backends.numba.kernels.linear import prepare_rows
from proofcompute.arithmetic.backends.numba.kernels.routing import mix_into, route_into
from proofcompute.arithmetic.backends.numba.kernels.row import (
    blocks,
    embed_into,
    embed_limbs_into,
    gate_into,
    heads_into,
    layer_norm_into,
    norm_into,
    quantise_heads_into,
    rope_into,
    settle_into,
)
from proofcompute.arithmetic.backends.numba.steps.layout import (
    ADD,
    COPY,
    GATE,
    GELU,
    HEADS,
    LAYER,
    LOOP,
    MIX,
    NORM,
    POSITION,
    PREPARE,
    QUANTISE,
    READ,
    RELU,
    ROPE,
    ROUTE,
    SETTLE,
    TAKE,
    WRITE,
    byte_row,
    bytes_at,
    carray,
    copy,
    float_row,
    floats_at,
    longs_at,
    shorts_at,
    words_at,
)
from proofcompute.arithmetic.backends.scalar.functions import gelu_of, relu_of

__all__ = ["line"]


@intrinsic
def _called(context: Any, code: Any, first: Any, last: Any, words: Any, row: Any) -> Any:
    """Call the entry for compiled code at an address (:mod:`..codegen.entry`)."""

    def emit(context: Any, b: Any, sig: Any, args: Any) -> Any:
        from llvmlite import ir

        long = ir.IntType(64)
        kind = ir.FunctionType(ir.IntType(8), [long, long, long.as_pointer(), long])
        words = b.inttoptr(args[3], long.as_pointer())
        good = b.call(b.inttoptr(args[0], kind.as_pointer()), [args[1], args[2], words, args[4]])
        return b.trunc(good, ir.IntType(1))

    return types.boolean(*[types.int64] * 5), emit


@helper
def _prepare(e: Any, i: Any) -> Any:
    x = carray(floats_at(e.x + 4 * i * e.width), (1, e.width))
    q = carray(shorts_at(e.q + 2 * i * e.d), (1, e.d))
    before, scale = float_row(e.before, 0, e.d), carray(floats_at(e.scale + 4 * i), (1,))
    return prepare_rows(x, e.mode, before, e.factor, e.limbs, q, scale)


@helper
def _heads(e: Any, t: Any) -> Any:
    pairs, keys = abs(e.pairs), e.heads * e.d
    rows = e.heads * e.limbs
    k = carray(bytes_at(e.k + t * rows * e.d), (rows, e.d))
    v = carray(bytes_at(e.v + t * rows * e.d), (rows, e.d))
    return heads_into(
        float_row(e.x, t, e.width),
        float_row(e.cos, t, pairs),
        float_row(e.sin, t, pairs),
        e.pairs < 0,
        e.limbs,
        np.empty(keys, np.float32),
        np.empty(e.d, np.int16),
        float_row(e.out, t, e.width - 2 * keys),
        k,
        float_row(e.ks, t, e.heads),
        v,
        float_row(e.vs, t, e.heads),
    )


@helper
def _rope(e: Any, t: Any) -> None:
    pairs = abs(e.pairs)
    cos, sin = float_row(e.cos, t, pairs), float_row(e.sin, t, pairs)
    x, out = float_row(e.x, t, e.width), float_row(e.out, t, e.width)
    rope_into(x, cos, sin, e.d, e.pairs < 0, e.start, out)


@helper
def _quantise_heads(e: Any, t: Any) -> Any:
    rows = e.heads * e.limbs
    q = carray(bytes_at(e.k + t * rows * e.d), (rows, e.d))
    scales = float_row(e.ks, t, 2 * e.heads if e.latent else e.heads)
    x = float_row(e.x, t, e.width)
    return quantise_heads_into(x, np.empty(e.d, np.int16), e.limbs, e.latent, q, scales)


@helper
def _embed(e: Any, t: Any) -> None:
    x, scale, out = byte_row(e.x, t, e.width), float_row(e.scale, t, 1)[0], float_row(e.out, t, e.width)
    if e.q:
        embed_limbs_into(x, byte_row(e.q, t, e.width), scale, out)
    else:
        embed_into(x, scale, out)


@helper
def _take(e: Any, i: Any) -> Any:
    number = carray(words_at(e.ids + 4 * i), (1,))[0]
    if number < 0 or number >= e.m:
        return False
    copy(e.out + i * e.width, e.x + i // e.count * e.d + number * e.width, e.width)
    return True


@helper
def _copy(e: Any, t: Any) -> None:
    places = carray(longs_at(e.ids), (e.m, 2))
    for j in range(e.m):
        copy(e.out + t * e.width + places[j, 1], e.x + t * e.d + places[j, 0], e.share)


@helper
def _loop(e: Any, i: Any) -> Any:
    t = i // e.count
    first = (i - t * e.count) * e.share
    return _called(e.code, first, min(first + e.share, e.m), e.ids, t)


@helper
def _normed(e: Any, i: Any) -> None:
    x, out = float_row(e.x, i, e.width), float_row(e.out, i, e.width)
    level, weight = np.empty(blocks(e.width), np.float32), float_row(e.before, 0, e.width)
    if e.kind == NORM:
        norm_into(x, weight, e.factor, level, out)
    else:
        layer_norm_into(x, weight, float_row(e.bias, 0, e.width), e.factor, level, out)


@helper
def _each(e: Any, i: Any) -> None:
    x, out = float_row(e.x, i, e.width), float_row(e.out, i, e.width)
    if e.kind == GELU:
        for c in range(x.size):
            out[c] = gelu_of(x[c])
    elif e.kind == RELU:
        for c in range(x.size):
            out[c] = relu_of(x[c])
    else:
        y = float_row(e.residual, i, e.width)
        for c in range(x.size):
            out[c] = x[c] + y[c]


@helper
def _route(e: Any, t: Any) -> Any:
    return route_into(
        float_row(e.x, t, e.width),
        float_row(e.bias, 0, e.width if e.bias else 0),
        e.mode,
        e.limbs,
        e.heads,
        e.pairs,
        e.latent,
        np.empty(e.width, np.float32),
        np.empty(e.width, np.float32),
        np.empty(blocks(e.width), np.float32),
        np.empty(e.width, np.int8),
        carray(words_at(e.ids + 4 * t * e.m), (e.m,)),
        float_row(e.out, t, e.m),
    )


@helper
def _mix(e: Any, t: Any) -> None:
    x = carray(floats_at(e.x + 4 * t * e.m * e.width), (e.m, e.width))
    level = np.empty((e.m, e.width), np.float32)
    mix_into(x, float_row(e.scale, t, e.m), level, float_row(e.out, t, e.width))


@helper
def line(e: Any, slots: Any, i: Any) -> Any:
    """Carry out line i of a command, if it is one that works row by row; return False for an error."""
    if e.kind == PREPARE:
        return _prepare(e, i)
    if e.kind == LOOP:
        return _loop(e, i)
    if e.kind == HEADS:
        return _heads(e, i)
    if e.kind == QUANTISE:
        return _quantise_heads(e, i)
    if e.kind == SETTLE:
        return settle_into(float_row(e.x, i, e.width), float_row(e.out, i, e.width))
    if e.kind == TAKE:
        return _take(e, i)
    if e.kind == ROUTE:
        return _route(e, i)
    if e.kind == READ:
        copy(e.out + i * e.width, slots[i, e.buffer] + slots[i, 0] * e.width, e.width)
    elif e.kind == WRITE:
        copy(slots[i, e.buffer] + slots[i, 0] * e.width, e.x + i * e.width, e.width)
    elif e.kind == COPY:
        _copy(e, i)
    elif e.kind == ROPE:
        _rope(e, i)
    elif e.kind in (NORM, LAYER):
        _normed(e, i)
    elif e.kind in (GELU, RELU, ADD):
        _each(e, i)
    elif e.kind == GATE:
        gate_into(float_row(e.x, i, e.width), float_row(e.out, i, e.width // 2))
    elif e.kind == MIX:
        _mix(e, i)
    elif e.kind == POSITION:
        carray(words_at(e.out + 4 * i), (1,))[0] = np.int32(slots[i, 0])
    else:
        _embed(e, i)
    return True
