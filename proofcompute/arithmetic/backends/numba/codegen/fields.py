"""Where the fields lie that compiled entries read of Python's and NumPy's objects.

They are those of ``PyArrayObject_fields`` and the first of ``PyArray_Descr`` in NumPy's public headers.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Fields"]


class Fields:
    """Where things are in an object of Python, in bytes from its start."""

    HEAD: Final = object.__basicsize__
    TYPE: Final = HEAD - 8
    """Of any object: its type."""
    DATA: Final = HEAD
    """Of an array: the address of its first element."""
    DIMENSIONS: Final = HEAD + 8
    """How many it has, 32 bits."""
    SHAPE: Final = HEAD + 16
    """The address of its dimensions."""
    DTYPE: Final = HEAD + 40
    FLAGS: Final = HEAD + 48
    """32 bits, of which a kernel asks for those below."""
    KIND: Final = HEAD + 8
    """Of a dtype: the letter of :attr:`numpy.dtype.kind`."""
    ORDER: Final = HEAD + 10
    """The letter of the byte order: '=', '|' or '<' where it is that of a little-endian machine."""
    SIZE: Final = HEAD + 24
    """Bytes of an element."""
    CONTIGUOUS: Final = 0x1
    ALIGNED: Final = 0x100
    WRITEABLE: Final = 0x400
