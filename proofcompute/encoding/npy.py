"""Reads NumPy's files of arrays (.npy) where they lie, without NumPy's reader, which evaluates the header.

A file begins with a mark, two bytes of version and the length of a header: a Python dictionary of ``descr``
(the element type), ``fortran_order`` and ``shape``
(https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). The header is matched and not
evaluated, nothing is unpickled, and the size of the file must be the one that the header states.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np

from proofcompute.encoding.files import require_plain
from proofcompute.errors import FormatError, InputError, LimitError, UnsupportedError
from proofcompute.limits import KIB, MAX_RANK

__all__ = ["NpyHeader", "map_npy", "npy_header"]

_MAGIC: Final = b"\x93NUMPY"
_MAX_HEADER: Final = 4 * KIB
"""Bytes of a header; NumPy writes 118 for all arrays of numbers."""
_MAX_ELEMENTS: Final = 1 << 48
_HEADER: Final = re.compile(
    rb"\{\s*'descr'\s*:\s*'([^'\\]{1,64})'\s*,\s*'fortran_order'\s*:\s*(True|False)\s*,"
    rb"\s*'shape'\s*:\s*\(([0-9]{0,16}(?:,\s*[0-9]{1,16})*),?\s*\)\s*,?\s*\}\s*"
)
_NUMBERS: Final = re.compile(r"[<>|=](b1|[iu][1248]|f[248])")


@dataclass(frozen=True)
class NpyHeader:
    """The header of a file."""

    dtype: np.dtype[Any]
    """Element type, in the file's byte order."""
    shape: tuple[int, ...]
    fortran: bool
    """Whether the first axis is the fastest."""
    offset: int
    """Where the numbers begin."""

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def npy_header(stream: BinaryIO, name: object) -> NpyHeader:
    """Read a header from the beginning of a stream; ``name`` stands for it in errors.

    Raises FormatError if it is none, UnsupportedError for another version or elements that are no numbers,
    LimitError for a header, a number of axes or an array that is too large.
    """
    start = stream.read(len(_MAGIC) + 2)
    if start[: len(_MAGIC)] != _MAGIC or len(start) != len(_MAGIC) + 2:
        raise FormatError(f"{name} is no array of NumPy: it does not begin as an .npy file does")
    major, minor = start[-2:]
    if (major, minor) not in ((1, 0), (2, 0)):
        raise UnsupportedError(f"{name} has version {major}.{minor} of the .npy format; 1.0 and 2.0 are read")
    size = 2 if major == 1 else 4
    length = int.from_bytes(stream.read(size), "little")
    if length > _MAX_HEADER:
        raise LimitError(f"{name} has a header of {length} bytes, more than {_MAX_HEADER}")
    header = stream.read(length)
    found = _HEADER.fullmatch(header) if len(header) == length else None
    if found is None:
        raise FormatError(f"{name} has a header that is none of an .npy file of plain numbers")
    descr, order, axes = (part.decode("ascii", "replace") for part in found.groups())
    if not _NUMBERS.fullmatch(descr):
        raise UnsupportedError(f"{name} holds elements of type {descr!r}, which are no numbers that are read")
    shape = tuple(int(n) for n in axes.replace(",", " ").split())
    if len(shape) > MAX_RANK or math.prod(shape) > _MAX_ELEMENTS:
        raise LimitError(f"{name} has the shape {list(shape)}, which is too large")
    return NpyHeader(np.dtype(descr), shape, order == "True", len(_MAGIC) + 2 + size + length)


def map_npy(path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the array in a file, read-only, whose numbers are read from the disk when they are used.

    Raises InputError if the file cannot be read or is no plain file, FormatError if it is cut off or goes on
    after its numbers; otherwise as :func:`npy_header`.
    """
    require_plain(path, "array")
    try:
        with path.open("rb") as stream:
            header = npy_header(stream, path)
            size = os.fstat(stream.fileno()).st_size - header.offset
            if size != header.nbytes:
                raise FormatError(f"{path} holds {size} bytes of numbers; its header states {header.nbytes}")
            order: Literal["F", "C"] = "F" if header.fortran else "C"
            if not size:
                return np.empty(header.shape, header.dtype, order)  # nothing can be mapped
            return np.memmap(path, header.dtype, "r", header.offset, header.shape, order)
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from e
