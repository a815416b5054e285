"""Traces a function of arrays: a copy of it, whose NumPy is another, is called once with traced arrays.

Nothing of NumPy or CuPy is changed. The copy has the function's code, and globals and closure cells in which
the modules ``numpy`` and ``cupy``, by whatever names, are a namespace of the functions that can be traced,
and the weights are constants. Functions of the same module that it calls are copied in the same way.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, Final, final

import numpy as np

from proofcompute.arrays import Array
from proofcompute.errors import InputError
from proofcompute.functions.arrays import ARRAYS
from proofcompute.functions.elementwise import ELEMENTWISE
from proofcompute.functions.values import Traced, type_name
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.values import Constant, RefusedError, Value, constant

__all__ = ["copied", "names_read", "traced"]

_TABLE: Final = {**ELEMENTWISE, **ARRAYS}
_LIBRARIES: Final = ("numpy", "cupy")
_VALUES: Final = ("pi", "e", "inf", "nan", "newaxis", "euler_gamma")
_OWN: Final = str(Path(__file__).resolve().parents[1])
_NUMPY: Final = str(Path(np.__file__).resolve().parent)


def _call(near: Traced, name: str, *args: Any, **kwargs: Any) -> Any:
    """Apply a function by name to arrays, traced ones among them or not."""
    if name not in _TABLE:
        raise RefusedError(f"{name}, which is none of the functions that can be traced")
    if name in ELEMENTWISE and all(isinstance(x, bool | int | float) for x in (*args, *kwargs.values())):
        return getattr(np, name)(*args, **kwargs).item()
    function = _TABLE[name]
    try:
        inspect.signature(function).bind(near, *args, **kwargs)
    except TypeError as e:
        raise RefusedError(f"{name} with these arguments: {e}") from e
    return function(near, *args, **kwargs)


@final
class Function:
    """Stands for a function of NumPy or CuPy while a function is traced."""

    def __init__(self, near: Traced, name: str) -> None:
        self._near = near
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _call(self._near, self._name, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        raise RefusedError(f"numpy.{self._name}.{name}, which is none of the functions that can be traced")


@final
class Namespace:
    """Stands for NumPy and CuPy while a function is traced."""

    def __init__(self, near: Traced) -> None:
        self._near = near

    def __getattr__(self, name: str) -> Any:
        if name in _TABLE and name != "getitem":
            return Function(self._near, name)
        if name in _VALUES:
            return getattr(np, name)
        found = getattr(np, name, None)
        if isinstance(found, type) and issubclass(found, np.generic):
            return found
        raise RefusedError(f"numpy.{name}, which is none of the functions that can be traced")


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)


def names_read(function: FunctionType) -> set[str]:
    """Return the names of free variables that a function and functions of its module that it calls read."""
    found: set[str] = set()
    waiting, seen = [function], set()
    while waiting:
        one = waiting.pop()
        seen.add(one)
        names = {n for code in _codes(one.__code__) for n in (*code.co_names, *code.co_freevars)}
        found |= names
        near = [one.__globals__.get(n) for n in names]
        near += [cell.cell_contents for cell in one.__closure__ or () if _is_set(cell)]
        waiting += [f for f in near if isinstance(f, FunctionType) and _copies(f, function) and f not in seen]
    return found


def _is_set(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _copies(helper: FunctionType, function: FunctionType) -> bool:
    return helper.__globals__ is function.__globals__


def copied(function: FunctionType, weights: Mapping[str, Any], namespace: Namespace | None) -> FunctionType:
    """Return a copy of a function with other weights and, unless it is None, another NumPy and CuPy."""
    space: dict[str, Any] = {}
    made: dict[FunctionType, FunctionType] = {}

    def other(name: str, value: Any) -> Any:
        if name in weights:
            return weights[name]
        if namespace is not None and isinstance(value, ModuleType) and value.__name__ in _LIBRARIES:
            return namespace
        if isinstance(value, FunctionType) and _copies(value, function):
            return copy(value)
        return value

    def copy(f: FunctionType) -> FunctionType:
        if f not in made:
            cells = tuple(CellType() for _ in f.__closure__ or ())
            made[f] = types.FunctionType(f.__code__, space, f.__name__, f.__defaults__, cells or None)
            made[f].__kwdefaults__ = f.__kwdefaults__
            for name, old, new in zip(f.__code__.co_freevars, f.__closure__ or (), cells, strict=True):
                if _is_set(old):
                    new.cell_contents = other(name, old.cell_contents)
                elif name in weights:
                    new.cell_contents = weights[name]
        return made[f]

    space.update({name: other(name, value) for name, value in function.__globals__.items()})
    space.update({name: w for name, w in weights.items() if name not in function.__code__.co_freevars})
    return copy(function)


def _place(error: BaseException, function: FunctionType) -> str:
    """Return file and line of the innermost frame of an error that is not the package's, nor NumPy's."""
    code = function.__code__
    found = f"{code.co_filename}:{code.co_firstlineno}"
    frame = error.__traceback__
    while frame is not None:
        name = frame.tb_frame.f_code.co_filename
        if not name.startswith((_OWN, _NUMPY, "<frozen")):
            found = f"{name}:{frame.tb_lineno}"
        frame = frame.tb_next
    return found


def traced(
    function: FunctionType, weights: Mapping[str, Array], g: Graph, inputs: Mapping[str, Value]
) -> list[Traced]:
    """Return the outputs of a function for inputs of one row, [1, ...] each, by the names of its arguments.

    Raises InputError naming file and line where the function does what a program of rows cannot.
    """
    origin: Traced

    def call(name: str, *args: Any, **kwargs: Any) -> Any:
        return _call(origin, name, *args, **kwargs)

    origin = Traced(g, Constant(np.zeros((), np.float32), "f32"), call, rows=False)
    try:
        known = {n: origin.like(constant(w, type_name(w.dtype))) for n, w in weights.items()}
        given = {n: origin.like(v, rows=True) for n, v in inputs.items()}
        result = copied(function, known, Namespace(origin))(**given)
    except RefusedError as e:
        raise InputError(f"{_place(e, function)}: {function.__name__} cannot be proved: {e}") from e
    except (InputError, TypeError, ValueError, AttributeError, IndexError, KeyError) as e:
        reason = f"{type(e).__name__}: {e}"
        raise InputError(f"{_place(e, function)}: {function.__name__} cannot be traced: {reason}") from e
    outputs = list(result) if isinstance(result, tuple | list) else [result]
    where = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}: {function.__name__}"
    if not outputs or not all(isinstance(x, Traced) for x in outputs):
        raise InputError(f"{where} gives something else than an array or a tuple of arrays")
    if not all(x.rows for x in outputs):
        raise InputError(f"{where} gives an array that has no rows: it is the same whatever the inputs are")
    return outputs
