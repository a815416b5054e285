"""Reads NumPy's files of arrays (.npy) without NumPy's reader, which evaluates the header and may unpickle.

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
_MAX_DIGITS: Final = 16
_KEY: Final = r"['\"](?P<key>descr|fortran_order|shape)['\"]"
_VALUE: Final = r"(?P<value>'[^'\\]*'|\"[^\"\\]*\"|True|False|\([0-9, ]*\)|\[.*\])"
_ENTRY: Final = re.compile(rf"\s*{_KEY}\s*:\s*{_VALUE}\s*(?:,|$)", re.DOTALL)
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
    if len(header) != length:
        raise FormatError(f"{name} is cut off in its header")
    fields = _fields(header.decode("latin-1").strip(), name)
    axes, descr, order = fields["shape"], fields["descr"][1:-1], fields["fortran_order"]
    if order not in ("True", "False") or not axes.startswith("("):
        raise FormatError(f"{name} has a header that is none of an .npy file")
    digits = [number.strip() for number in axes[1:-1].split(",")]
    digits = digits[:-1] if digits[-1] == "" else digits
    if len(digits) > MAX_RANK + 1 or not all(n.isdigit() and len(n) <= _MAX_DIGITS for n in digits):
        raise LimitError(f"{name} has the shape {axes[:80]}, which no array has that is read")
    if descr.startswith(("|O", "O")):
        raise UnsupportedError(f"{name} holds pickled Python objects, which are never read")
    if not _NUMBERS.fullmatch(descr):
        raise UnsupportedError(
            f"{name} holds elements of type {descr[:40]!r}, which are no numbers that are read"
        )
    shape = tuple(map(int, digits))
    if math.prod(shape) > _MAX_ELEMENTS:
        raise LimitError(f"{name} has the shape {list(shape)}, which is more than {_MAX_ELEMENTS} elements")
    return NpyHeader(np.dtype(descr), shape, order == "True", len(_MAGIC) + 2 + size + length)


def _fields(header: str, name: object) -> dict[str, str]:
    """Return the values of a header as they are written."""
    fields: dict[str, str] = {}
    inside, at = header[1:-1].rstrip(), 0
    while (found := _ENTRY.match(inside, at)) is not None and found["key"] not in fields:
        fields[found["key"]], at = found["value"], found.end()
    if header[:1] != "{" or header[-1:] != "}" or at != len(inside) or len(fields) != 3:
        raise FormatError(f"{name} has a header that is none of an .npy file")
    return fields


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
