"""Carry out products of lines with matrices of their own.

SORT numbers the lines of all rows and sorts them by their matrices: ``order`` [lines] holds their numbers,
those of one matrix in ascending order. ``begins`` holds how many matrices are used, and then where the lines
of each begin in ``order``, with the number of lines last. What several lines multiply by one matrix is copied
to ``sorted``, so that rows of one product lie one after the other; a single line stays where it is. So each
matrix that is used is read once, and no other is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen.definitions import helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import GROUP
from proofcompute.arithmetic.backends.numba.kernels.linear import few_lines, one_row
from proofcompute.arithmetic.backends.numba.steps.layout import (
    bytes_at,
    carray,
    copy,
    float_row,
    floats_at,
    shorts_at,
    words_at,
)

__all__ = ["experts", "sort"]


@helper
def sort(e: Any, rows: Any) -> Any:
    """Carry out SORT for all rows; return False for a number without a matrix."""
    n = rows * e.count
    numbers = carray(words_at(e.ids), (n,))
    order, begins = carray(words_at(e.order), (n,)), carray(words_at(e.begins), (n + 2,))
    at = np.zeros(e.groups + 1, np.int32)
    for i in range(n):
        if numbers[i] < 0 or numbers[i] >= e.groups:
            return False
        at[numbers[i] + 1] += 1
    used = 0
    for g in range(e.groups):
        if at[g + 1]:
            begins[1 + used] = at[g]
            used += 1
        at[g + 1] += at[g]
    begins[0] = used
    begins[1 + used] = n
    for i in range(n):
        order[at[numbers[i]]] = i
        at[numbers[i]] += 1
    for j in range(used):
        first = begins[1 + j]
        last = begins[2 + j]
        if last - first > 1:
            for i in range(first, last):
                line = order[i] // e.each
                copy(e.sorted + 2 * i * e.d, e.q + 2 * line * e.d, 2 * e.d)
    return True


@helper
def experts(e: Any, rows: Any, i: Any) -> None:
    """Carry out unit i of EXPERTS, of ``units`` for each matrix; there may be fewer matrices than lines."""
    n = rows * e.count
    begins = carray(words_at(e.begins), (n + 2,))
    j = i // e.units
    if j >= begins[0]:
        return
    first = begins[1 + j]
    lines = begins[2 + j] - first
    order = carray(words_at(e.order), (n,))
    g = np.int64(carray(words_at(e.ids), (n,))[order[first]])
    w = carray(bytes_at(e.w + g * e.limbs * e.m * e.d), (e.limbs, e.m, e.d))
    w_scale = float_row(e.w_scale, g, e.m)
    bias = float_row(e.bias, g if e.bias else 0, e.m if e.bias else 0)
    scale, out = float_row(e.scale, 0, n), carray(floats_at(e.out), (n, e.m))
    a = (i - j * e.units) * e.share
    b = a + e.share
    if lines == 1:
        line = np.int64(order[first])
        at = line // e.each
        q = carray(shorts_at(e.q + 2 * at * e.d), (1, e.d))
        nothing = carray(floats_at(e.out), (0, 0))
        to = out[line : line + 1]
        one_row(a * GROUP, min(b * GROUP, e.m), q, scale[at : at + 1], w, w_scale, bias, nothing, to)
    else:
        q = carray(shorts_at(e.sorted + 2 * first * e.d), (lines + 1, e.d))
        few_lines(a, b, q, order[first : first + lines], e.each, scale, w, w_scale, bias, out)
