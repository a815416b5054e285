"""Represent the calls that decode a token as commands: data that compiled code carries out.

A command (:mod:`.layout`) holds addresses and sizes, for one row of one request or more rows of several. Its
results and operands are rows that lie one after the other, in memory of the recorded step. How many there are
is said when commands are carried out, and so is whose they are: a table of *slots* has a line for each row,
with the row's position in its request's trace and the address that position 0 has in each buffer of the
request. READ and WRITE copy rows out of buffers and into them; ATTENTION reads the rows before them there.
:mod:`.recording` fills commands in, and has checked everything that is not checked here.

A command is carried out line by line (:mod:`.lines`) by one thread, or its *units* are shared out: groups of
channels of a product, a request's heads of attention, or single lines if there are several and they take
long. What depends on values, such as the matrices that a row chooses, is read when it is carried out.
"""

from __future__ import annotations

from typing import Any

from proofcompute.arithmetic.backends.numba.codegen.definitions import helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import GROUP
from proofcompute.arithmetic.backends.numba.kernels.attention import FINITE, attend_unit, worst_scale
from proofcompute.arithmetic.backends.numba.kernels.linear import few_rows, one_row
from proofcompute.arithmetic.backends.numba.steps.choosing import experts, sort
from proofcompute.arithmetic.backends.numba.steps.layout import (
    ATTENTION,
    EXPERTS,
    PRODUCT,
    SORT,
    bytes_at,
    carray,
    float_row,
    floats_at,
    shorts_at,
)
from proofcompute.arithmetic.backends.numba.steps.lines import line

__all__ = ["lines", "unit", "units"]


@helper
def _product(e: Any, rows: Any, i: Any) -> None:
    q = carray(shorts_at(e.q), (rows + 1, e.d))
    scale, w = float_row(e.scale, 0, rows), carray(bytes_at(e.w), (e.limbs, e.m, e.d))
    w_scale, bias = float_row(e.w_scale, 0, e.m), carray(floats_at(e.bias), (e.m if e.bias else 0,))
    residual = carray(floats_at(e.residual), (rows if e.residual else 0, e.m))
    out = carray(floats_at(e.out), (rows, e.m))
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
    ks, vs = carray(floats_at(slots[t, e.ks]), shape), carray(floats_at(slots[t, e.vs]), shape)
    if head == 0:
        start = max(0, first + 1 - e.window) if e.window else 0
        if worst_scale(ks, start, first + 1) != FINITE or worst_scale(vs, start, first + 1) != FINITE:
            return False
    k = carray(bytes_at(slots[t, e.k]), (first + 1, e.heads * e.key_limbs, e.d))
    v = carray(bytes_at(slots[t, e.v]), (first + 1, e.heads * e.value_limbs, e.columns))
    q = carray(floats_at(e.x + 4 * t * e.width), (1, e.width))
    made = heads * (e.latent if e.latent else e.columns)
    out = carray(floats_at(e.out + 4 * t * made), (1, made))
    return attend_unit(
        head,
        q,
        k,
        ks,
        v,
        vs,
        float_row(e.sinks, 0, heads if e.sinks else 0),
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
def lines(e: Any, slots: Any, rows: Any) -> Any:
    """Carry out a command that is not shared out; return False for an error."""
    for i in range(rows * e.count):
        if not line(e, slots, i):
            return False
    return True


@helper
def units(e: Any, rows: Any) -> Any:
    """Return how many units of a command are shared out; 0 if it is carried out line by line."""
    if e.kind == PRODUCT:
        return e.units
    if e.kind == ATTENTION:
        return rows * e.heads
    if e.kind == EXPERTS:
        return rows * e.count * e.units
    if e.kind == SORT:
        return 1
    return rows * e.count if e.together and rows * e.count >= e.together else 0


@helper
def unit(e: Any, slots: Any, rows: Any, i: Any) -> Any:
    """Carry out unit i of a command; return False for an error."""
    if e.kind == PRODUCT:
        _product(e, rows, i)
        return True
    if e.kind == ATTENTION:
        return _attend(e, slots, i // e.heads, i % e.heads)
    if e.kind == EXPERTS:
        experts(e, rows, i)
        return True
    if e.kind == SORT:
        return sort(e, rows)
    return line(e, slots, i)
