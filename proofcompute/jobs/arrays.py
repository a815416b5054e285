"""Checks the matrices that callers give, and converts them to the form that the package uses."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from proofcompute.arrays import Array
from proofcompute.errors import InputError, LimitError
from proofcompute.jobs.dlpack import host_array
from proofcompute.jobs.stacks import MAX_LEAD, Stacks
from proofcompute.limits import MAX_WIDTH

__all__ = [
    "DTYPES",
    "FACTORS",
    "FLOATS",
    "INTEGERS",
    "SHORT_CONTRACTION",
    "check_matrix",
    "flat",
    "matrix",
    "on_host",
    "result_dtype",
    "shapes",
]

INTEGERS: Final = ("int8", "int16", "int32")
"""Element types of the factors of an exact product, in any combination."""
FLOATS: Final = ("float32", "float64")
"""Element types of a product with a rounding bound; both factors and the product have the same."""
FACTORS: Final = (*INTEGERS, *FLOATS)
"""Element types of the factors of any product."""
DTYPES: Final[dict[str, np.dtype[Any]]] = {
    name: np.dtype(name).newbyteorder("<") for name in (*INTEGERS, "int64", *FLOATS)
}
"""Names of all element types and their little-endian encodings."""
SHORT_CONTRACTION: Final = (1 << 16) - 1
"""Longest contraction of int8 by int8 whose result is int32: 65535 * 128 * 128 is below 2^30."""


HALVES: Final = ("bfloat16", "float16")
"""Floats of 16 bits, whose sums are computed in float32."""


def rounded_to_half(c: Array) -> str:
    """Return the 16-bit type that holds every element of C [n, m], though C is wider; empty if none does."""
    with np.errstate(over="ignore"):  # an element that overflows differs, which the comparison finds
        narrow: Array = np.ascontiguousarray(c, np.float32)
        if not np.array_equal(narrow, c):
            return ""
        if not (narrow.view(np.uint32) & 0xFFFF).any():
            return "bfloat16"
        return "float16" if np.array_equal(narrow.astype(np.float16), narrow) else ""


def matrix(x: object, what: str, allowed: tuple[str, ...]) -> Array:
    """Return a matrix or a stack of matrices, C-contiguous in native byte order; without a copy if it is so.

    Raises InputError unless ``x`` is an array of NumPy, or one of another library on the host, with at least
    two axes and one of the ``allowed`` element types; LimitError if an axis, or all rows together, are more
    than MAX_WIDTH.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise InputError(f"{what} is a masked array; fill it first")
    found = host_array(x, what)
    check_matrix(found, what, allowed)
    return np.ascontiguousarray(found, dtype=found.dtype.newbyteorder("="))


def check_matrix(x: Array, what: str, allowed: tuple[str, ...]) -> None:
    """Raise as :func:`matrix` unless an array of whichever backend has a shape and type that are allowed."""
    if x.ndim < 2:
        raise InputError(f"{what} is an array of shape {list(x.shape)}; give one with rows and columns")
    if x.dtype.name in HALVES:
        raise InputError(
            f"{what} has elements of type {x.dtype}, of which no product is checked; widen A and B to "
            "float32, which changes no value, and claim the sums in float32, as they were before they were "
            "rounded to 16 bits"
        )
    if x.dtype.name not in allowed:
        raise InputError(f"{what} has elements of type {x.dtype}; give {' or '.join(allowed)}")
    if x.ndim > 2 + MAX_LEAD:
        raise LimitError(f"{what} of shape {list(x.shape)} has more than {MAX_LEAD} leading axes")
    if max(*x.shape, math.prod(x.shape[:-1])) > MAX_WIDTH:
        raise LimitError(f"{what} of shape {list(x.shape)} has an axis, or rows, longer than {MAX_WIDTH}")


def on_host(x: Any) -> bool:
    """Return whether an array of whichever backend is NumPy's, and not one on a device."""
    return isinstance(x, np.ndarray)


def flat(x: Array) -> Array:
    """Return all rows of a stack of matrices as one matrix, without a copy."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def shapes(a: Array, b: Array) -> tuple[Stacks, int, int, int]:
    """Return how A [.., n, d] and B [.., d, m] are paired, n, d and m.

    Raises InputError if they cannot be multiplied, LimitError for a product of too many rows.
    """
    (n, d), (rows, m) = a.shape[-2:], b.shape[-2:]
    if rows != d:
        raise InputError(
            f"A {list(a.shape)} and B {list(b.shape)} do not fit: A needs as many columns as B rows"
        )
    stacks = Stacks(tuple(map(int, a.shape[:-2])), tuple(map(int, b.shape[:-2])))
    if stacks.members * n > MAX_WIDTH:
        raise LimitError(f"a product of {stacks.members} times {n} rows; at most {MAX_WIDTH} together")
    return stacks, n, d, m


def result_dtype(a: str, b: str, d: int) -> str:
    """Return the element type of the product of types ``a`` and ``b`` over a contraction of length ``d``.

    int8 by int8 gives int32 up to SHORT_CONTRACTION, other integers int64, floats their own type. Raises
    InputError for a combination that is not supported.
    """
    if a in FLOATS or b in FLOATS:
        if a != b:
            raise InputError(f"the factors are {a} and {b}; convert them to the same type first")
        return a
    return "int32" if a == b == "int8" and d <= SHORT_CONTRACTION else "int64"
