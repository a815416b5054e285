"""Describes what primitive operations compute, for backends: fused expressions and views.

A program's primitive operations say these as attributes; a backend evaluates them. Types are named as in
:data:`ELEMENTS`. Shapes are those of one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

__all__ = ["ELEMENTS", "Expression", "Term", "View"]

ELEMENTS: Final[dict[str, np.dtype[Any]]] = {
    "f32": np.dtype("<f4"),
    "i8": np.dtype("i1"),
    "u8": np.dtype("u1"),
    "i32": np.dtype("<i4"),
    "i64": np.dtype("<i8"),
    "bool": np.dtype("?"),
}
"""The names of element types and their little-endian encodings; a bool is one byte, 0 or 1."""


@dataclass(frozen=True)
class Term:
    """One scalar function applied to inputs or earlier terms of an expression."""

    function: str
    """Name of the function."""
    args: tuple[int, ...]
    """What it is applied to: i < len(inputs) is input i, len(inputs) + j is term j."""
    dtype: str
    """Type of the result."""
    bits: int = 0
    """The bit pattern of a ``constant`` of that type, zero-extended; else 0."""


@dataclass(frozen=True)
class Expression:
    """A function of elements of several arrays: terms in order, of which the last is the result."""

    inputs: tuple[str, ...]
    """Types of the inputs."""
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class View:
    """A row read in another order, with a margin: transposed, sliced, flipped, padded, repeated, in windows.

    Element (i_0, i_1, ...) of the result is element ``offset + sum(i_j strides[j])`` of the flat row where
    ``low[j] <= i_j < high[j]`` for all j, and ``fill`` elsewhere.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """May be 0 or negative; in elements."""
    offset: int
    low: tuple[int, ...]
    high: tuple[int, ...]
    fill: int = 0
    """Bit pattern of the filling element, zero-extended."""
