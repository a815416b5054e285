"""Describes what primitive operations compute, for backends: fused expressions and views.

A program's primitive operations say these as attributes; a backend evaluates them. Types are named as in
:data:`ELEMENTS`. Shapes are those of one row. docs/spec/primitives.md says what each function gives;
:func:`infer` is its table of types.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from proofcompute.errors import FormatError, LimitError
from proofcompute.limits import MAX_RANK, MAX_WIDTH

__all__ = [
    "ARITY",
    "CUMULATIONS",
    "ELEMENTS",
    "HOWS",
    "MAX_INPUTS",
    "MAX_TERMS",
    "REDUCTIONS",
    "TWO_LIMBS",
    "Expression",
    "Term",
    "View",
    "check_bits",
    "check_expression",
    "check_view",
    "infer",
    "infer_put",
    "infer_reduce",
]

ELEMENTS: Final[dict[str, np.dtype[Any]]] = {
    "f32": np.dtype("<f4"),
    "i8": np.dtype("i1"),
    "u8": np.dtype("u1"),
    "i32": np.dtype("<i4"),
    "i64": np.dtype("<i8"),
    "bool": np.dtype("?"),
}
"""The names of element types and their little-endian encodings; a bool is one byte, 0 or 1."""

MAX_STRIDE: Final = MAX_WIDTH
"""Elements of a row between neighbours along an axis of a view."""
MAX_TERMS: Final = 256
"""Terms of one expression."""
MAX_INPUTS: Final = 32
"""Inputs of one expression."""

_INTEGERS: Final = ("i8", "u8", "i32", "i64")
_NUMBERS: Final = ("f32", *_INTEGERS)
_BITWISE: Final = (*_INTEGERS, "bool")
_ALL: Final = (*_NUMBERS, "bool")
_F32: Final = ("f32",)

_SAME: Final[dict[str, tuple[int, tuple[str, ...]]]] = {
    "add": (2, _NUMBERS),
    "sub": (2, _NUMBERS),
    "mul": (2, _NUMBERS),
    "div": (2, _NUMBERS),
    "rem": (2, _NUMBERS),
    "neg": (1, _NUMBERS),
    "abs": (1, _NUMBERS),
    "min": (2, _NUMBERS),
    "max": (2, _NUMBERS),
    "sqrt": (1, _F32),
    "floor": (1, _F32),
    "rint": (1, _F32),
    "exp": (1, _F32),
    "log": (1, _F32),
    "sin": (1, _F32),
    "cos": (1, _F32),
    "tanh": (1, _F32),
    "erf": (1, _F32),
    "atan": (1, _F32),
    "pow": (2, _F32),
    "and": (2, _BITWISE),
    "or": (2, _BITWISE),
    "xor": (2, _BITWISE),
    "not": (1, _BITWISE),
    "shl": (2, _INTEGERS),
    "shr": (2, _INTEGERS),
}
"""Functions of arguments of one type, which is the result's: how many, and which types."""
_COMPARISONS: Final[dict[str, tuple[str, ...]]] = {"lt": _NUMBERS, "le": _NUMBERS, "eq": _ALL}
"""Functions of two arguments of one type, which give a bool."""
_BITCASTS: Final = {("f32", "i32"), ("i32", "f32"), ("i8", "u8"), ("u8", "i8")}

ARITY: Final[dict[str, int]] = {
    "constant": 0,
    "cast": 1,
    "bitcast": 1,
    "select": 3,
    **{name: count for name, (count, _) in _SAME.items()},
    **dict.fromkeys(_COMPARISONS, 2),
}
"""Every scalar function, and how many arguments it takes."""

REDUCTIONS: Final[dict[str, tuple[str, ...]]] = {
    "sum": _NUMBERS,
    "prod": _NUMBERS,
    "max": _ALL,
    "min": _ALL,
    "argmax": _ALL,
}
"""The kinds of ``reduce``, and of which types."""
CUMULATIONS: Final[dict[str, tuple[str, ...]]] = {"sum": _NUMBERS, "prod": _NUMBERS}
"""The kinds of ``cumulate``, and of which types."""
HOWS: Final[dict[str, tuple[str, ...]]] = {
    "none": _ALL,
    "add": _NUMBERS,
    "mul": _NUMBERS,
    "max": _NUMBERS,
    "min": _NUMBERS,
}
"""What ``put`` does with an element that is there already, and of which types."""


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


TWO_LIMBS: Final = Expression(
    ("i8", "i8", "f32"),
    (
        Term("constant", (), "i32", 256),
        Term("cast", (0,), "i32"),
        Term("cast", (1,), "i32"),
        Term("mul", (3, 4), "i32"),
        Term("add", (6, 5), "i32"),
        Term("cast", (7,), "f32"),
        Term("mul", (8, 2), "f32"),
    ),
)
"""f32(256 high + low) * scale; the integer is exact."""


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


def infer(function: str, dtypes: Sequence[str], to: str = "") -> str:
    """Return the type of a scalar function's result.

    ``dtypes`` are the types of its arguments. ``to`` is the type that a ``constant``, ``cast`` or ``bitcast``
    gives; for other functions it is empty or the type that they give anyway. Raises FormatError if there is
    no such function, or none of these types.
    """
    wrong = FormatError(
        f"no function {function!r} of {', '.join(dtypes) or 'nothing'} gives {to or 'a type'}"
    )
    if ARITY.get(function) != len(dtypes) or not all(d in ELEMENTS for d in (*dtypes, to or "f32")):
        raise wrong
    if function in ("constant", "cast", "bitcast"):
        if not to or (function == "bitcast" and (dtypes[0], to) not in _BITCASTS):
            raise wrong
        return to
    if function == "select":
        fits, found = dtypes[0] == "bool" and dtypes[1] == dtypes[2], dtypes[1]
    elif function in _COMPARISONS:
        fits, found = dtypes[0] == dtypes[1] and dtypes[0] in _COMPARISONS[function], "bool"
    else:
        fits, found = len(set(dtypes)) == 1 and dtypes[0] in _SAME[function][1], dtypes[0]
    if not fits or to not in ("", found):
        raise wrong
    return found


def infer_reduce(kind: str, dtype: str) -> str:
    """Return the type of a reduction. Raises FormatError if there is none of that type."""
    if dtype not in REDUCTIONS.get(kind, ()):
        raise FormatError(f"no reduction {kind!r} of {dtype}")
    return "i32" if kind == "argmax" else dtype


def infer_put(how: str, dtype: str) -> None:
    """Raise FormatError unless elements of that type can be put in this way."""
    if dtype not in HOWS.get(how, ()):
        raise FormatError(f"{dtype} cannot be put by {how!r}")


def check_bits(bits: int, dtype: str) -> None:
    """Raise FormatError unless ``bits`` is the zero-extended pattern of an element of that type."""
    if not 0 <= bits < (2 if dtype == "bool" else 1 << 8 * ELEMENTS[dtype].itemsize):
        raise FormatError(f"{bits} is no bit pattern of {dtype}")


def check_expression(e: Expression) -> str:
    """Return the type of an expression's result.

    Raises LimitError if it is too large, FormatError if a term is not one of the functions, applied to what
    stands before it.
    """
    if len(e.inputs) > MAX_INPUTS or len(e.terms) > MAX_TERMS:
        raise LimitError(f"an expression has at most {MAX_INPUTS} inputs and {MAX_TERMS} terms")
    if not e.terms or not all(dtype in ELEMENTS for dtype in e.inputs):
        raise FormatError("an expression has a term, and inputs of known types")
    dtypes = list(e.inputs)
    for term in e.terms:
        if not all(0 <= i < len(dtypes) for i in term.args):
            raise FormatError(f"a term of {term.function!r} names what does not stand before it")
        if not term.dtype:
            raise FormatError(f"a term of {term.function!r} has no type")
        dtypes.append(infer(term.function, [dtypes[i] for i in term.args], term.dtype))
        if term.function == "constant":
            check_bits(term.bits, term.dtype)
        elif term.bits:
            raise FormatError(f"a term of {term.function!r} has bits, as only a constant has")
    return dtypes[-1]


def check_view(view: View, dtype: str, elements: int) -> None:
    """Check a view of rows of so many elements of a type: it has one form, and reads inside the row.

    Raises LimitError if its result is too large, FormatError if it is not well formed.
    """
    rank = len(view.shape)
    if rank > MAX_RANK or any(size < 0 for size in view.shape) or math.prod(view.shape) > MAX_WIDTH:
        raise LimitError(f"a row has at most {MAX_RANK} axes and {MAX_WIDTH} elements")
    if not len(view.strides) == len(view.low) == len(view.high) == rank:
        raise FormatError("a view has a stride, and a first and last index, for each axis")
    axes = list(zip(view.shape, view.strides, view.low, view.high, strict=True))
    if not all(0 <= low <= high <= size for size, _, low, high in axes):
        raise FormatError("a view's margins are inside its shape")
    # What no element is read at is not bounded below, and must fit the integers of backends too.
    if not all(abs(n) <= MAX_STRIDE for n in view.strides) or abs(view.offset) > MAX_RANK * MAX_STRIDE**2:
        raise FormatError(f"a view's strides are at most {MAX_STRIDE}, and its offset a sum of such steps")
    check_bits(view.fill, dtype)
    if all(low < high for _, _, low, high in axes):
        ends = [(stride * low, stride * (high - 1)) for _, stride, low, high in axes]
        first = view.offset + sum(map(min, ends))
        last = view.offset + sum(map(max, ends))
        if not 0 <= first <= last < elements:
            raise FormatError(f"a view reads elements {first}..{last} of a row of {elements}")
