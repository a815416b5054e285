"""Give the offsets of the fields that compiled entries read from Python's and NumPy's objects.

The fields are those of ``PyArrayObject_fields`` and the first of ``PyArray_Descr`` in NumPy's public headers.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Fields"]


class Fields:
    """Offsets of fields in bytes from the start of a Python object, and the flags of an array."""

    HEAD: Final = object.__basicsize__
    TYPE: Final = HEAD - 8
    """The type, in any object."""
    DATA: Final = HEAD
    """The address of the first element, in an array."""
    DIMENSIONS: Final = HEAD + 8
    """The number of dimensions of an array, 32 bits."""
    SHAPE: Final = HEAD + 16
    """The address of the sizes of an array's dimensions."""
    DTYPE: Final = HEAD + 40
    FLAGS: Final = HEAD + 48
    """The flags of an array, 32 bits; kernels test those below."""
    KIND: Final = HEAD + 8
    """The letter of :attr:`numpy.dtype.kind`, in a dtype."""
    ORDER: Final = HEAD + 10
    """The letter of a dtype's byte order: '=', '|' or '<' for that of a little-endian machine."""
    SIZE: Final = HEAD + 24
    """Bytes of an element, in a dtype."""
    CONTIGUOUS: Final = 0x1
    ALIGNED: Final = 0x100
    WRITEABLE: Final = 0x400
