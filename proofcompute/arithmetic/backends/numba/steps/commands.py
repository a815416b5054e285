"""Represent the calls that decode a token as commands: data that compiled code carries out.

A command holds addresses and sizes. From one token to the next only ``later`` changes, the number of rows
after the recorded one: rows of a trace are read and written ``later * step`` bytes further on, and attention
sees ``later`` more positions. :mod:`.recording` fills commands in, and has checked everything that is not
checked here.

One thread *begins* a command, and its units are then shared out; most commands have none.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import function_of_numba, helper, intrinsic
from proofcompute.arithmetic.backends.numba.codegen.shapes import GROUP
from proofcompute.arithmetic.backends.numba.kernels.attention import FINITE, attend_unit, worst_scale
from proofcompute.arithmetic.backends.numba.kernels.linear import few_rows, one_row, prepare_rows
from proofcompute.arithmetic.backends.numba.kernels.row import embed_into, heads_into, settle_into

__all__ = [
    "ATTENTION",
    "COMMAND",
    "COMMANDS",
    "COPY",
    "EMBED",
    "HEADS",
    "LINEAR",
    "SETTLE",
    "TAKE",
    "begin",
    "unit",
]

COPY: Final = 0
"""Copy n bytes from x to out."""
TAKE: Final = 1
"""Copy the rows of x [m], of ``width`` bytes, that the n int32 numbers at ``ids`` select, to out."""
EMBED: Final = 2
"""Call ``embed`` on x int8 [n, width] and scale [n]."""
SETTLE: Final = 3
"""Call ``settle`` on x float32 [n]."""
HEADS: Final = 4
"""Call ``heads`` on x float32 [n, width], cos and sin [n, pairs]; it writes q [n, .], k, ks, v and vs."""
LINEAR: Final = 5
"""Call ``linear`` on x float32 [n, width] and w int8 [limbs, m, d]; a unit has ``share`` groups."""
ATTENTION: Final = 6
"""Call ``attention`` on x float32 [n, width], k int8 [first + n, heads, d] and so on, one unit a head."""

_NUMBERS: Final = (
    ("kind", "which of the above"),
    ("units", "how many units there are to share out"),
    ("n", "rows, or elements"),
    ("width", "of a row of x"),
    ("m", "output channels, or rows of a table"),
    ("d", "contraction length, or width of a head"),
    ("limbs", "of the weights"),
    ("row_limbs", "of the activations"),
    ("mode", "what happens to the rows before a product"),
    ("share", "groups of channels of a unit, or query rows of a block"),
    ("heads", "key-value heads"),
    ("pairs", "rotated pairs, negative if they are interleaved"),
    ("first", "position of the first row"),
    ("window", "of attention"),
)
_ADDRESSES: Final = (
    *("x", "x_step", "out", "out_step", "residual", "residual_step", "ids", "ids_step"),
    *("q", "scale", "w", "w_scale", "bias", "before", "cos", "sin", "k", "ks", "v", "vs"),
)
"""Addresses, 0 where there is none; ``_step`` is how many bytes an address moves for each row later."""

carray: Final = function_of_numba("carray")

COMMAND: Final = np.dtype(
    [
        *((name, np.int64) for name, _ in _NUMBERS),
        *((name, np.int64) for name in _ADDRESSES),
        ("factor", "f4"),
    ],
    align=True,
)
"""The dtype of a command; ``factor`` is the eps of a norm, or the scale of attention."""
COMMANDS: Final = types.read(COMMAND, 1)


def _pointer(element: Any) -> Any:
    @intrinsic
    def pointer(context: Any, address: Any) -> Any:
        def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
            return b.inttoptr(args[0], context.get_value_type(sig.return_type))

        return types.CPointer(element)(types.int64), code

    return pointer


_bytes, _shorts, _words, _floats = map(_pointer, (types.int8, types.int16, types.int32, types.float32))


@helper
def _begin_linear(e: Any, later: Any) -> Any:
    x = carray(_floats(e.x + later * e.x_step), (e.n, e.width))
    q = carray(_shorts(e.q), (e.n, e.d))
    before = carray(_floats(e.before), (e.d,))
    return prepare_rows(x, e.mode, before, e.factor, e.row_limbs, q, carray(_floats(e.scale), (e.n,)))


@helper
def _linear_unit(e: Any, later: Any, i: Any) -> None:
    q = carray(_shorts(e.q), (e.n + 1, e.d))
    scale, w = carray(_floats(e.scale), (e.n,)), carray(_bytes(e.w), (e.limbs, e.m, e.d))
    w_scale, bias = carray(_floats(e.w_scale), (e.m,)), carray(_floats(e.bias), (e.m if e.bias else 0,))
    residual = carray(_floats(e.residual + later * e.residual_step), (e.n if e.residual else 0, e.m))
    out = carray(_floats(e.out), (e.n, e.m))
    a, b = i * e.share, (i + 1) * e.share
    if e.n == 1:
        one_row(a * GROUP, min(b * GROUP, e.m), q, scale, w, w_scale, bias, residual, out)
    else:
        few_rows(a, b, q, scale, w, w_scale, bias, residual, out)


@helper
def _begin_attention(e: Any, later: Any) -> Any:
    first = e.first + later
    shape = (first + e.n, e.heads)
    start = max(0, first + 1 - e.window) if e.window else 0
    good = worst_scale(carray(_floats(e.ks), shape), start, shape[0]) == FINITE
    return good and worst_scale(carray(_floats(e.vs), shape), start, shape[0]) == FINITE


@helper
def _attention_unit(e: Any, later: Any, i: Any) -> Any:
    first = e.first + later
    t = first + e.n
    return attend_unit(
        i,
        carray(_floats(e.x), (e.n, e.width)),
        carray(_bytes(e.k), (t, e.heads, e.d)),
        carray(_floats(e.ks), (t, e.heads)),
        carray(_bytes(e.v), (t, e.heads, e.d)),
        carray(_floats(e.vs), (t, e.heads)),
        first,
        e.factor,
        e.window,
        e.share,
        carray(_floats(e.out), (e.n, e.width)),
    )


@helper
def _heads(e: Any) -> Any:
    pairs = abs(e.pairs)
    keys = e.heads * e.d
    turned = np.empty(keys, np.float32)
    scratch = np.empty(e.d, np.int16)
    x = carray(_floats(e.x), (e.n, e.width))
    cos, sin = carray(_floats(e.cos), (e.n, pairs)), carray(_floats(e.sin), (e.n, pairs))
    q = carray(_floats(e.out), (e.n, e.width - 2 * keys))
    k, v = carray(_bytes(e.k), (e.n, e.heads, e.d)), carray(_bytes(e.v), (e.n, e.heads, e.d))
    ks, vs = carray(_floats(e.ks), (e.n, e.heads)), carray(_floats(e.vs), (e.n, e.heads))
    for t in range(e.n):
        if not heads_into(x[t], cos[t], sin[t], e.pairs < 0, turned, scratch, q[t], k[t], ks[t], v[t], vs[t]):
            return False
    return True


@helper
def _take(e: Any, later: Any) -> Any:
    ids = carray(_words(e.ids + later * e.ids_step), (e.n,))
    for t in range(e.n):
        if ids[t] < 0 or ids[t] >= e.m:
            return False
        row = carray(_bytes(e.x + ids[t] * e.width), (e.width,))
        carray(_bytes(e.out + t * e.width), (e.width,))[:] = row
    return True


@helper
def begin(e: Any, later: Any) -> Any:
    """Do what precedes the units of a command, or all of one without units; return False for an error."""
    if e.kind == LINEAR:
        return _begin_linear(e, later)
    if e.kind == ATTENTION:
        return _begin_attention(e, later)
    if e.kind == HEADS:
        return _heads(e)
    if e.kind == SETTLE:
        x = carray(_floats(e.x + later * e.x_step), (e.n,))
        return settle_into(x, carray(_floats(e.out), (e.n,)))
    if e.kind == COPY:
        x = carray(_bytes(e.x + later * e.x_step), (e.n,))
        carray(_bytes(e.out + later * e.out_step), (e.n,))[:] = x
        return True
    if e.kind == TAKE:
        return _take(e, later)
    x = carray(_bytes(e.x), (e.n, e.width))
    scales, out = carray(_floats(e.scale), (e.n,)), carray(_floats(e.out), (e.n, e.width))
    for t in range(e.n):
        embed_into(x[t], scales[t], out[t])
    return True


@helper
def unit(e: Any, later: Any, i: Any) -> Any:
    """Carry out unit i of a command that has begun; return False for an error."""
    if e.kind == LINEAR:
        _linear_unit(e, later, i)
        return True
    return _attention_unit(e, later, i)
