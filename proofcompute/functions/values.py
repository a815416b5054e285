"""Defines the values that a function of arrays is traced with.

A traced value stands for an array whose axis 0 is the row, or for one that is the same for all rows. The
graph is lowered for one row, so axis 0 of an array with rows has length 1 there; what the function sees as
that length is :class:`Rows`, which fits shapes and nothing else, since a program knows no number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, TypeAlias, final

import numpy as np

from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.values import RefusedError, Value, constant

__all__ = [
    "NAMES",
    "NUMPY",
    "ROWS",
    "Operand",
    "Rows",
    "Traced",
    "agreeing",
    "as_traced",
    "cast",
    "inner_axes",
    "of_one_type",
    "together",
    "type_name",
]

NUMPY: Final[dict[str, np.dtype[Any]]] = {
    "f32": np.dtype(np.float32),
    "bool": np.dtype(np.bool_),
    **{f"{k[0]}{8 * n}": np.dtype(f"{k}{n}") for k in ("i", "u") for n in (1, 2, 4, 8)},
}
"""Types of arrays as NumPy names them."""

NAMES: Final = {dtype: name for name, dtype in NUMPY.items()}


def type_name(dtype: Any) -> str:
    """Return the type in which elements of a NumPy type are computed; all floats are computed in float32.

    Raises RefusedError for other types, such as complex numbers.
    """
    found = np.dtype(dtype).newbyteorder("=")
    if found in (np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.float16)):
        return "f32"
    if found not in NAMES:
        raise RefusedError(f"elements of type {found}")
    return NAMES[found]


@final
class Rows:
    """The number of rows, which may be part of a shape as its first length."""

    def __repr__(self) -> str:
        return "rows"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Rows):
            return True
        return self.refuse()

    __hash__ = object.__hash__

    def refuse(self, *_: object) -> NoReturn:
        """Raise RefusedError, as every operation does."""
        raise RefusedError(
            "the number of rows is not known when the function is traced; it may only stand first in a shape"
        )


for _name in (
    "add radd sub rsub mul rmul neg floordiv rfloordiv truediv rtruediv mod rmod pow rpow lt le gt ge bool "
    "int float index"
).split():
    setattr(Rows, f"__{_name}__", Rows.refuse)


ROWS: Final = Rows()
"""The only one."""

Length: TypeAlias = int | Rows


@final
class Traced:
    """An array of the traced function.

    Args:
        graph: what the function is lowered to.
        value: its value for one row; with ``rows`` its first axis, of length 1, is that of the rows.
        rows: whether axis 0 is the row; otherwise the array is the same for all rows.
        call: applies a function of the table by name.
    """

    __array_priority__ = 1000.0

    def __init__(self, graph: Graph, value: Value, call: Callable[..., Any], *, rows: bool) -> None:
        self.graph = graph
        self.value = value
        self.call = call
        self.rows = rows

    # -- what NumPy asks -----------------------------------------------------------------------------
    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Apply a function of elements, as NumPy's protocol asks for."""
        if method != "__call__":
            raise RefusedError(f"numpy.{ufunc.__name__}.{method}")
        return self.call(ufunc.__name__, *inputs, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Apply a function of arrays, as NumPy's protocol asks for."""
        return self.call(function.__name__, *args, **kwargs)

    def like(self, value: Value, *, rows: bool | None = None) -> Traced:
        """Return another value of the same trace."""
        return Traced(self.graph, value, self.call, rows=self.rows if rows is None else rows)

    # -- what the function may ask -------------------------------------------------------------------
    @property
    def shape(self) -> tuple[Any, ...]:
        """The shape, in which the number of rows is :data:`ROWS`."""
        own = self.value.shape
        return (ROWS, *own[1:]) if self.rows else own

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.value.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of elements."""
        return NUMPY[self.value.dtype]

    @property
    def T(self) -> Any:
        """The array with its axes reversed."""
        return self.call("transpose", self)

    def __getitem__(self, index: Any) -> Any:
        return self.call("getitem", self, index)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in _METHODS:
            raise RefusedError(f"an array's {name}")

        def method(*args: Any, **kwargs: Any) -> Any:
            return self.call(name, self, *args, **kwargs)

        return method

    # -- what it may not -----------------------------------------------------------------------------
    def _depends(self, *_: object, **__: object) -> NoReturn:
        raise RefusedError(
            "what the function does depends on numbers in an array (a branch, a conversion to a Python "
            "number, or a function outside of NumPy); use where, or functions of arrays"
        )

    def __len__(self) -> int:
        if self.rows or not self.value.shape:
            raise RefusedError("the length of an array with rows, which no program knows")
        return self.value.shape[0]

    def _changes(self, *_: object) -> NoReturn:
        raise RefusedError("an array is changed in place; make a new one, as y = y + 1 does")

    __hash__ = object.__hash__


_METHODS: Final = frozenset(
    "all any argmax argmin astype clip copy cumprod cumsum dot max mean min prod repeat reshape round "
    "squeeze std sum swapaxes take transpose var".split()
)
"""Functions that are methods of arrays too."""

Operand: TypeAlias = Traced | bool | int | float
"""An array, or a Python number, which takes the type of what it meets."""

_OPERATORS: Final = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift",
}  # fmt: skip
_COMPARISONS: Final = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
    "eq": "equal", "ne": "not_equal",
}  # fmt: skip
_SIGNS: Final = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}


def _operator(name: str, *, swapped: bool = False) -> Callable[..., Any]:
    def one(self: Traced) -> Any:
        return self.call(name, self)

    def two(self: Traced, other: Any) -> Any:
        return self.call(name, other, self) if swapped else self.call(name, self, other)

    return one if name in _SIGNS.values() else two


for _name in "bool int float complex index iter array contains".split():
    setattr(Traced, f"__{_name}__", Traced._depends)
for _name in ("setitem", "delitem", *(f"i{short}" for short in _OPERATORS)):
    setattr(Traced, f"__{_name}__", Traced._changes)
for _short, _name in _OPERATORS.items():
    setattr(Traced, f"__{_short}__", _operator(_name))
    setattr(Traced, f"__r{_short}__", _operator(_name, swapped=True))
for _short, _name in (*_COMPARISONS.items(), *_SIGNS.items()):
    setattr(Traced, f"__{_short}__", _operator(_name))


def as_traced(near: Traced, x: Any) -> Traced:
    """Return an operand as a traced array. Raises RefusedError for an array that is not named in weights."""
    if isinstance(x, Traced):
        return x
    if isinstance(x, bool | int | float | np.generic | list | tuple) or (
        isinstance(x, np.ndarray) and x.ndim == 0
    ):
        found = np.asarray(x)
        return near.like(constant(found, type_name(found.dtype)), rows=False)
    if isinstance(x, Rows):
        x.refuse()
    if hasattr(x, "shape"):
        raise RefusedError(
            f"an array of shape {list(x.shape)} is not named in weights; name it there, or make it "
            "with NumPy inside of the function"
        )
    raise RefusedError(f"a {type(x).__name__}, which is no array")


def cast(x: Traced, dtype: str) -> Traced:
    """Return an array in a type that holds all its numbers."""
    return x.like(x.graph.cast(x.value, dtype))


def together(near: Traced, *xs: Any) -> tuple[list[Traced], bool]:
    """Return operands of one operation in one type, as NumPy promotes them, and whether they have rows."""
    kinds = [x if type(x) in (bool, int, float) else NUMPY[as_traced(near, x).value.dtype] for x in xs]
    dtype = type_name(np.result_type(*kinds))
    found = []
    for x in xs:
        if type(x) in (bool, int, float):
            found.append(near.like(constant(np.asarray(x), dtype), rows=False))
        else:
            found.append(cast(as_traced(near, x), dtype))
    return found, agreeing(*found)


def of_one_type(t: Traced, xs: Sequence[Operand]) -> list[Traced]:
    """Return arrays in the type to which NumPy promotes them."""
    found = [as_traced(t, x) for x in xs]
    if not found:
        raise RefusedError("no arrays are given")
    dtype = type_name(np.result_type(*(NUMPY[x.value.dtype] for x in found)))
    return [cast(x, dtype) for x in found]


def agreeing(*xs: Traced) -> bool:
    """Return whether a result has rows. Raises RefusedError if rows would not be axis 0 of the result."""
    if not any(x.rows for x in xs):
        return False
    rank = max(x.ndim for x in xs)
    for x in xs:
        if x.rows and x.ndim != rank:
            raise RefusedError(
                f"an array with rows and {x.ndim} axes meets one with {rank}: its rows would become axis "
                f"{rank - x.ndim}; give it axes of length 1 behind the rows"
            )
        if not x.rows and x.ndim == rank and x.value.shape[0] != 1:
            raise RefusedError(
                f"an array of shape {list(x.value.shape)} has {x.value.shape[0]} entries along the axis of "
                "rows, of which there may be any number"
            )
    return True


def inner_axes(x: Traced, axis: int | Sequence[int] | None, what: str) -> tuple[int, ...]:
    """Return axes counted from 0. Raises RefusedError if one is that of the rows."""
    if axis is None:
        if x.rows:
            raise RefusedError(f"{what} over all axes mixes rows; give axes from 1 on")
        return tuple(range(x.ndim))
    named = []
    for a in (axis,) if isinstance(axis, int | np.integer) else tuple(axis):
        if isinstance(a, bool) or not -x.ndim <= int(a) < x.ndim:
            raise RefusedError(f"an array with {x.ndim} axes has no axis {a}")
        named.append(int(a) % x.ndim)
    if x.rows and 0 in named:
        raise RefusedError(f"{what} along axis 0 mixes rows; axes from 1 on belong to a row")
    return tuple(named)
