"""Multiplies rows by matrices of their own, matrix by matrix."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from proofcompute.arrays import F32, Array, Arrays
from proofcompute.errors import ExecutionError

__all__ = ["by_matrix", "check_numbers"]


def check_numbers(numbers: Array, groups: int) -> None:
    """Raise ExecutionError unless every number, on the host, is that of a matrix."""
    if numbers.size and not (0 <= int(numbers.min()) and int(numbers.max()) < groups):
        raise ExecutionError(f"a number is outside 0..{groups - 1}")


def by_matrix(x: F32, numbers: Array, groups: int, k: Arrays, product: Callable[[F32, int], F32]) -> F32:
    """Call ``product`` with the rows of each matrix that is chosen, in ascending order of the matrices.

    The rows of one matrix keep their order. Returns the products in the order of ``numbers`` [n, r], which
    are on the host: [n r, m]. Raises ExecutionError for a number without a matrix.
    """
    flat = numbers.reshape(-1)
    check_numbers(flat, groups)
    order = np.argsort(flat, kind="stable")
    each = flat.size // len(x)  # the products that share a row
    parts, at = [], 0
    for group, count in zip(*np.unique(flat, return_counts=True), strict=True):
        rows = (order[at : at + count] // each).astype(np.int32)
        at += int(count)
        parts.append(product(k.gather(x, k.array(rows)), int(group)))
    back = np.empty(flat.size, np.int32)
    back[order] = np.arange(flat.size, dtype=np.int32)
    return k.gather(k.concatenate(parts), k.array(back))
