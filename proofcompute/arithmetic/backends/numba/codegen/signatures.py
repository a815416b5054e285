"""Describe the types of kernels without Numba, which takes a third of a second to import.

Numba's own types are made only when a kernel is compiled, hence never if its machine code is in the cache.
The names are those of ``numba.types``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "ArrayType",
    "CPointer",
    "Parameter",
    "Scalar",
    "Signature",
    "boolean",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "intp",
    "read",
    "real",
    "uint8",
    "uint32",
    "uint64",
    "void",
    "write",
]


def real(value: Any) -> Any:
    """Return Numba's own type or signature for one of this module or of Numba."""
    return value.numba() if isinstance(value, (Scalar, CPointer, ArrayType, Signature)) else value


class Signature(NamedTuple):
    """The signature of a kernel or an intrinsic: ``returns(parameter, ...)``."""

    returns: Any
    parameters: tuple[Any, ...]

    def numba(self) -> Any:
        """Return Numba's signature."""
        return real(self.returns)(*map(real, self.parameters))


class _Type:
    def __call__(self, *parameters: Any) -> Signature:
        return Signature(self, parameters)


@dataclass(frozen=True)
class Scalar(_Type):
    """A number, a truth value, or nothing."""

    name: str

    def numba(self) -> Any:
        """Return Numba's type."""
        from numba import types

        return getattr(types, self.name)


@dataclass(frozen=True)
class CPointer(_Type):
    """The address of elements."""

    element: Scalar

    def numba(self) -> Any:
        """Return Numba's type."""
        from numba import types

        return types.CPointer(real(self.element))


@dataclass(frozen=True)
class ArrayType(_Type):
    """A C-contiguous array."""

    dtype: np.dtype[Any]
    dimensions: int
    written: bool
    """Whether the kernel writes it; else it may lie in read-only memory."""

    def numba(self) -> Any:
        """Return Numba's type."""
        from numba import from_dtype, types

        return types.Array(from_dtype(self.dtype), self.dimensions, "C", readonly=not self.written)


Parameter = Scalar | ArrayType
"""The type of a kernel's parameter."""

boolean: Final = Scalar("boolean")
float32: Final = Scalar("float32")
float64: Final = Scalar("float64")
int8: Final = Scalar("int8")
int16: Final = Scalar("int16")
int32: Final = Scalar("int32")
int64: Final = Scalar("int64")
intp: Final = Scalar("intp")
uint8: Final = Scalar("uint8")
uint32: Final = Scalar("uint32")
uint64: Final = Scalar("uint64")
void: Final = Scalar("void")


def _array(element: Scalar | npt.DTypeLike, dimensions: int, written: bool) -> ArrayType:
    return ArrayType(np.dtype(element.name if isinstance(element, Scalar) else element), dimensions, written)


def read(element: Scalar | npt.DTypeLike, dimensions: int) -> ArrayType:
    """Return the type of a C-contiguous array that a kernel only reads; it may lie in read-only memory."""
    return _array(element, dimensions, written=False)


def write(element: Scalar | npt.DTypeLike, dimensions: int) -> ArrayType:
    """Return the type of a C-contiguous array that a kernel writes."""
    return _array(element, dimensions, written=True)
