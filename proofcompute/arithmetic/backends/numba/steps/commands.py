"""Represent the calls that decode a token as commands: data that compiled code carries out.

A command holds addresses and sizes, for one row of one request or more rows of several. Its results and
operands are rows that lie one after the other, in memory of the recorded step. How many there are is said
when commands are carried out, and so is whose they are: a table of *slots* has a line for each row, with the
row's position in its request's trace and the address that position 0 has in each buffer of the request. READ
and WRITE copy rows out of buffers and into them, and ATTENTION reads the rows before them there.
:mod:`.recording` fills commands in, and has checked everything that is not checked here.

A command is carried out row by row by one thread, or its *units* are shared out: groups of channels of a
product, a request's heads of attention, or single rows if there are several and they take long.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import function_of_numba, helper, intrinsic
from proofcompute.arithmetic.backends.numba.codegen.shapes import GROUP
from proofcompute.arithmetic.backends.numba.kernels.attention import FINITE, attend_unit, worst_scale
from proofcompute.arithmetic.backends.numba.kernels.linear import few_rows, one_row, prepare_rows
from proofcompute.arithmetic.backends.numba.kernels.row import (
    embed_into,
    embed_limbs_into,
    heads_into,
    quantise_heads_into,
    rope_into,
    settle_into,
)

__all__ = [
    "ATTENTION",
    "COMMAND",
    "COMMANDS",
    "EMBED",
    "HEADS",
    "PREPARE",
    "PRODUCT",
    "QUANTISE",
    "READ",
    "ROPE",
    "SETTLE",
    "SLICE",
    "SLOTS",
    "TAKE",
    "WRITE",
    "row",
    "unit",
    "units",
]

READ: Final = 0
"""Copy the row of ``buffer``, of ``width`` bytes, to out."""
WRITE: Final = 1
"""Copy x, of ``width`` bytes, to the row of ``buffer``."""
TAKE: Final = 2
"""Copy the row of x [m], of ``width`` bytes, that the int32 number at ``ids`` selects, to out."""
EMBED: Final = 3
"""Call ``embed`` on x int8 [width] and scale; with q int8 [width], these are the low limbs."""
SETTLE: Final = 4
"""Call ``settle`` on x float32 [width]."""
HEADS: Final = 5
"""Call ``heads`` on x float32 [width], cos and sin [pairs]; it writes out, k, ks, v and vs."""
PREPARE: Final = 6
"""Do what ``linear`` does to x float32 [width] before the product: write q int16 [d] and scale."""
PRODUCT: Final = 7
"""Do what ``linear`` does with q int16 [d] and w int8 [limbs, m, d]; a unit has ``share`` groups."""
ATTENTION: Final = 8
"""Call ``attention`` on x float32 [width] and the buffers k, ks, v and vs, one unit a head."""
ROPE: Final = 9
"""Call ``rope`` on x float32 [width], of heads of d columns, cos and sin [pairs]."""
QUANTISE: Final = 10
"""Call ``quantise_heads`` on x float32 [width]; it writes k int8 [heads limbs, d] and ks."""
SLICE: Final = 11
"""Copy ``width`` bytes from byte ``start`` on of rows of x, of d bytes, to out."""

_NUMBERS: Final = (
    ("kind", "which of the above"),
    ("units", "units of a product, whatever the number of rows"),
    ("together", "least number of rows that are shared out as units; 0: never"),
    ("width", "of a row of x"),
    ("m", "output channels, or rows of a table"),
    ("d", "contraction length, or width of a head"),
    ("limbs", "of the weights, of the activations that PREPARE makes, of keys and values, of queries"),
    ("key_limbs", "of keys that ATTENTION reads"),
    ("value_limbs", "of values that it reads"),
    ("columns", "of a row of values that it reads, of one head and limb"),
    ("latent", "columns of keys that are values, or 0"),
    ("start", "first column that is rotated, first byte of a slice"),
    ("mode", "what happens to the rows before a product"),
    ("share", "groups of channels of a unit"),
    ("heads", "key-value heads"),
    ("pairs", "rotated pairs, negative if they are interleaved"),
    ("window", "of attention"),
    ("buffer", "column of the slots, from 1 on"),
)
_ADDRESSES: Final = (
    *("x", "out", "residual", "ids", "q", "scale", "w", "w_scale", "bias", "before", "cos", "sin"),
    *("k", "ks", "v", "vs", "sinks"),
)
"""Addresses, 0 where there is none; those of keys and values are columns of the slots for ATTENTION."""

carray: Final = function_of_numba("carray")

COMMAND: Final = np.dtype(
    [
        *((name, np.int64) for name, _ in _NUMBERS),
        *((name, np.int64) for name in _ADDRESSES),
        ("factor", "f4"),
        ("cap", "f4"),
    ],
    align=True,
)
"""The dtype of a command; ``factor`` is the eps of a norm or the scale of attention, whose cap is ``cap``."""
COMMANDS: Final = types.read(COMMAND, 1)
SLOTS: Final = types.read(types.int64, 2)
"""The type of slots: for each row its position, and the address of position 0 in each buffer."""


def _pointer(element: Any) -> Any:
    @intrinsic
    def pointer(context: Any, address: Any) -> Any:
        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            return b.inttoptr(args[0], context.get_value_type(sig.return_type))

        return types.CPointer(element)(types.int64), code

    return pointer


_bytes, _shorts, _words, _floats = map(_pointer, (types.int8, types.int16, types.int32, types.float32))


@intrinsic
def _copy(context: Any, to: Any, start: Any, count: Any) -> Any:
    """Copy ``count`` bytes between addresses; a loop over bytes takes ten times as long."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        from numba.core.cgutils import raw_memcpy, voidptr_t

        raw_memcpy(b, *(b.inttoptr(x, voidptr_t) for x in args[:2]), args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


@helper
def _byte_row(address: Any, t: Any, width: Any) -> Any:
    return carray(_bytes(address + t * width), (width,))


@helper
def _float_row(address: Any, t: Any, width: Any) -> Any:
    return carray(_floats(address + 4 * t * width), (width,))


@helper
def _prepare(e: Any, t: Any) -> Any:
    x = carray(_floats(e.x + 4 * t * e.width), (1, e.width))
    q = carray(_shorts(e.q + 2 * t * e.d), (1, e.d))
    before, scale = _float_row(e.before, 0, e.d), carray(_floats(e.scale + 4 * t), (1,))
    return prepare_rows(x, e.mode, before, e.factor, e.limbs, q, scale)


@helper
def _product(e: Any, rows: Any, i: Any) -> None:
    q = carray(_shorts(e.q), (rows + 1, e.d))
    scale, w = _float_row(e.scale, 0, rows), carray(_bytes(e.w), (e.limbs, e.m, e.d))
    w_scale, bias = _float_row(e.w_scale, 0, e.m), carray(_floats(e.bias), (e.m if e.bias else 0,))
    residual = carray(_floats(e.residual), (rows if e.residual else 0, e.m))
    out = carray(_floats(e.out), (rows, e.m))
    a, b = i * e.share, (i + 1) * e.share
    if rows == 1:
        one_row(a * GROUP, min(b * GROUP, e.m), q, scale, w, w_scale, bias, residual, out)
    else:
        few_rows(a, min(b, (e.m + GROUP - 1) // GROUP), q, scale, w, w_scale, bias, residual, out)


@helper
def _attend(e: Any, slots: Any, t: Any, head: Any) -> Any:
    """Compute a key-value head of row t; the first head also checks the scales of all heads."""
    first = slots[t, 0]
    heads = e.width // e.d
    shape = (first + 1, 2 * e.heads if e.latent else e.heads)
    ks, vs = carray(_floats(slots[t, e.ks]), shape), carray(_floats(slots[t, e.vs]), shape)
    if head == 0:
        start = max(0, first + 1 - e.window) if e.window else 0
        if worst_scale(ks, start, first + 1) != FINITE or worst_scale(vs, start, first + 1) != FINITE:
            return False
    k = carray(_bytes(slots[t, e.k]), (first + 1, e.heads * e.key_limbs, e.d))
    v = carray(_bytes(slots[t, e.v]), (first + 1, e.heads * e.value_limbs, e.columns))
    q = carray(_floats(e.x + 4 * t * e.width), (1, e.width))
    made = heads * (e.latent if e.latent else e.columns)
    out = carray(_floats(e.out + 4 * t * made), (1, made))
    return attend_unit(
        head,
        q,
        k,
        ks,
        v,
        vs,
        _float_row(e.sinks, 0, heads if e.sinks else 0),
        first,
        e.factor,
        e.window,
        0,
        e.cap,
        e.limbs,
        e.key_limbs,
        e.value_limbs,
        e.latent,
        1,
        out,
    )


@helper
def _heads(e: Any, t: Any) -> Any:
    pairs, keys = abs(e.pairs), e.heads * e.d
    rows = e.heads * e.limbs
    k = carray(_bytes(e.k + t * rows * e.d), (rows, e.d))
    v = carray(_bytes(e.v + t * rows * e.d), (rows, e.d))
    return heads_into(
        _float_row(e.x, t, e.width),
        _float_row(e.cos, t, pairs),
        _float_row(e.sin, t, pairs),
        e.pairs < 0,
        e.limbs,
        np.empty(keys, np.float32),
        np.empty(e.d, np.int16),
        _float_row(e.out, t, e.width - 2 * keys),
        k,
        _float_row(e.ks, t, e.heads),
        v,
        _float_row(e.vs, t, e.heads),
    )


@helper
def _rope(e: Any, t: Any) -> Any:
    pairs = abs(e.pairs)
    cos, sin = _float_row(e.cos, t, pairs), _float_row(e.sin, t, pairs)
    x, out = _float_row(e.x, t, e.width), _float_row(e.out, t, e.width)
    rope_into(x, cos, sin, e.d, e.pairs < 0, e.start, out)
    return True


@helper
def _quantise_heads(e: Any, t: Any) -> Any:
    rows = e.heads * e.limbs
    q = carray(_bytes(e.k + t * rows * e.d), (rows, e.d))
    scales = _float_row(e.ks, t, 2 * e.heads if e.latent else e.heads)
    x = _float_row(e.x, t, e.width)
    return quantise_heads_into(x, np.empty(e.d, np.int16), e.limbs, e.latent, q, scales)


@helper
def _embed(e: Any, t: Any) -> None:
    x, scale, out = _byte_row(e.x, t, e.width), _float_row(e.scale, t, 1)[0], _float_row(e.out, t, e.width)
    if e.q:
        embed_limbs_into(x, _byte_row(e.q, t, e.width), scale, out)
    else:
        embed_into(x, scale, out)


@helper
def row(e: Any, slots: Any, t: Any) -> Any:
    """Carry out a command for row t, if it is one that works row by row; return False for an error."""
    if e.kind == PREPARE:
        return _prepare(e, t)
    if e.kind == HEADS:
        return _heads(e, t)
    if e.kind == ROPE:
        return _rope(e, t)
    if e.kind == QUANTISE:
        return _quantise_heads(e, t)
    if e.kind == SETTLE:
        return settle_into(_float_row(e.x, t, e.width), _float_row(e.out, t, e.width))
    if e.kind == READ:
        _copy(e.out + t * e.width, slots[t, e.buffer] + slots[t, 0] * e.width, e.width)
    elif e.kind == SLICE:
        _copy(e.out + t * e.width, e.x + t * e.d + e.start, e.width)
    elif e.kind == WRITE:
        _copy(slots[t, e.buffer] + slots[t, 0] * e.width, e.x + t * e.width, e.width)
    elif e.kind == TAKE:
        number = carray(_words(e.ids + 4 * t), (1,))[0]
        if number < 0 or number >= e.m:
            return False
        _copy(e.out + t * e.width, e.x + number * e.width, e.width)
    else:
        _embed(e, t)
    return True


@helper
def units(e: Any, rows: Any) -> Any:
    """Return how many units of a command are shared out; 0 if it is carried out row by row."""
    if e.kind == PRODUCT:
        return e.units
    if e.kind == ATTENTION:
        return rows * e.heads
    return rows if e.together and rows >= e.together else 0


@helper
def unit(e: Any, slots: Any, rows: Any, i: Any) -> Any:
    """Carry out unit i of a command; return False for an error."""
    if e.kind == PRODUCT:
        _product(e, rows, i)
        return True
    if e.kind == ATTENTION:
        return _attend(e, slots, i // e.heads, i % e.heads)
    return row(e, slots, i)
