"""Lay a command out: its kinds, its fields, and how compiled code reads the memory that it names."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import function_of_numba, helper, intrinsic

__all__ = [
    "ADD",
    "ATTENTION",
    "COMMAND",
    "COMMANDS",
    "COPY",
    "EMBED",
    "EXPERTS",
    "GATE",
    "GELU",
    "HEADS",
    "LAYER",
    "LOOP",
    "MIX",
    "NORM",
    "POSITION",
    "PREPARE",
    "PRODUCT",
    "QUANTISE",
    "READ",
    "RELU",
    "ROPE",
    "ROUTE",
    "SETTLE",
    "SLOTS",
    "SORT",
    "TAKE",
    "WRITE",
    "byte_row",
    "bytes_at",
    "carray",
    "copy",
    "float_row",
    "floats_at",
    "longs_at",
    "shorts_at",
    "words_at",
]

READ: Final = 0
"""Copy the row of ``buffer``, of ``width`` bytes, to out."""
WRITE: Final = 1
"""Copy x, of ``width`` bytes, to the row of ``buffer``."""
TAKE: Final = 2
"""Copy entries of x [m], of ``width`` bytes, to out, one a line; the int32 numbers at ``ids`` select them.
Rows of x are ``d`` bytes apart, or 0 for a table that is the same for all."""
EMBED: Final = 3
"""Call ``embed`` on x int8 [width] and scale; with q int8 [width], these are the low limbs."""
SETTLE: Final = 4
"""Call ``settle`` on lines of x float32 [width]."""
HEADS: Final = 5
"""Call ``heads`` on x float32 [width], cos and sin [pairs]; it writes out, k, ks, v and vs."""
PREPARE: Final = 6
"""Do what ``linear`` does to lines of x float32 [width] before the product: write q int16 [d] and scale."""
PRODUCT: Final = 7
"""Do what ``linear`` does with q int16 [d] and w int8 [limbs, m, d]; a unit has ``share`` groups."""
ATTENTION: Final = 8
"""Call ``attention`` on x float32 [width] and the buffers k, ks, v and vs, one unit a head."""
ROPE: Final = 9
"""Call ``rope`` on x float32 [width], of heads of d columns, cos and sin [pairs]."""
QUANTISE: Final = 10
"""Call ``quantise_heads`` on x float32 [width]; it writes k int8 [heads limbs, d] and ks."""
COPY: Final = 11
"""Copy parts of x, whose rows are ``d`` bytes apart, to parts of out, of rows of ``width`` bytes. A row has m
parts of ``share`` bytes; ``ids`` are their places in x and in out, int64 [m, 2]."""
LOOP: Final = 12
"""Call the loop at the address ``code`` with the words at ``ids``; a line has ``share`` of its m units."""
NORM: Final = 13
"""Call ``rms_norm`` on lines of x float32 [width]."""
LAYER: Final = 14
"""Call ``layer_norm`` on lines of x float32 [width]."""
GATE: Final = 15
"""Call ``gate`` on lines of x float32 [width]."""
GELU: Final = 16
"""Call ``gelu`` on lines of x float32 [width]."""
RELU: Final = 17
"""Call ``relu`` on lines of x float32 [width]."""
ADD: Final = 18
"""Call ``add`` on lines of x and residual float32 [width]."""
POSITION: Final = 19
"""Write the row's position, int32, to out."""
ROUTE: Final = 20
"""Call ``route`` on x float32 [width], with bias as correction, m = top_k, ``limbs`` = normalise, ``heads`` =
groups, ``pairs`` = top_groups, and ``latent`` = best; it writes ids int32 [m] and out."""
MIX: Final = 21
"""Call ``mix`` on x float32 [m, width] and scale float32 [m]."""
SORT: Final = 22
"""Order the numbers of matrices that ``ids`` int32 [count] hold for each row, out of ``groups``: write
``order``, ``begins`` (:mod:`.choosing`), and the lines of q int16 [d] that share a matrix to ``sorted``."""
EXPERTS: Final = 23
"""Do what ``experts`` does with the lines of q int16 [d], one for each number or one a row (``each``), and w
int8 [groups, limbs, m, d]; ``units`` units for each number have ``share`` groups of channels each."""

_NUMBERS: Final = (
    ("kind", "which of the above"),
    ("count", "lines of a row, one after the other in memory"),
    ("units", "units of a product, whatever the number of rows; of EXPERTS, for each number"),
    ("together", "least number of lines that are shared out as units; 0: never"),
    ("width", "of a line of x"),
    ("m", "output channels, rows of a table, parts, or units"),
    ("d", "contraction length, width of a head, or distance of rows"),
    ("limbs", "of the weights, of the activations that PREPARE makes, of keys and values, of queries"),
    ("key_limbs", "of keys that ATTENTION reads"),
    ("value_limbs", "of values that it reads"),
    ("columns", "of a row of values that it reads, of one head and limb"),
    ("latent", "columns of keys that are values, or 0"),
    ("start", "first column that is rotated"),
    ("mode", "what happens to the rows before a product; how a router scores"),
    ("share", "groups of channels of a unit, units of a line, or bytes of a part"),
    ("heads", "key-value heads"),
    ("pairs", "rotated pairs, negative if they are interleaved"),
    ("window", "of attention"),
    ("buffer", "column of the slots, from 1 on"),
    ("groups", "matrices of a weight"),
    ("each", "numbers of a line of q"),
    ("code", "address of a loop"),
)
_ADDRESSES: Final = (
    *("x", "out", "residual", "ids", "q", "scale", "w", "w_scale", "bias", "before", "cos", "sin"),
    *("k", "ks", "v", "vs", "sinks", "order", "begins", "sorted"),
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


bytes_at, shorts_at, words_at, longs_at, floats_at = map(
    _pointer, (types.int8, types.int16, types.int32, types.int64, types.float32)
)


@intrinsic
def copy(context: Any, to: Any, start: Any, count: Any) -> Any:
    """Copy ``count`` bytes between addresses; a loop over bytes takes ten times as long."""

    def code(context: Any, b: Any, sig: Any, args: Any) -> Any:
        from numba.core.cgutils import raw_memcpy, voidptr_t

        raw_memcpy(b, *(b.inttoptr(x, voidptr_t) for x in args[:2]), args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


@helper
def byte_row(address: Any, t: Any, width: Any) -> Any:
    """Return row t of rows int8 [., width]."""
    return carray(bytes_at(address + t * width), (width,))


@helper
def float_row(address: Any, t: Any, width: Any) -> Any:
    """Return row t of rows float32 [., width]."""
    return carray(floats_at(address + 4 * t * width), (width,))
