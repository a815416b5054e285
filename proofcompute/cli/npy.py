"""Reads a NumPy array from a file without NumPy's own reader, which evaluates the header and may unpickle.

A file begins with a mark, two bytes of version and the length of a header: a Python dictionary of ``descr``
(the type), ``fortran_order`` and ``shape``
(https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). The header is matched, not
evaluated; type and shape are compared with what the model takes before the numbers are read.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from proofcompute.arithmetic.primitives import ELEMENTS
from proofcompute.arrays import Array
from proofcompute.errors import FormatError, InputError, LimitError, UnsupportedError
from proofcompute.limits import KIB, MAX_RANK, MAX_REQUEST
from proofcompute.program.types import Spec
from proofcompute.protocol.requests import check_rows

__all__ = ["read_npy"]

_MAGIC: Final = b"\x93NUMPY"
_MAX_HEADER: Final = 4 * KIB
"""Bytes of a header; NumPy writes 118."""
_MAX_DIGITS: Final = 12
_KEY: Final = r"['\"](?P<key>descr|fortran_order|shape)['\"]"
_VALUE: Final = r"(?P<value>'[^'\\]*'|\"[^\"\\]*\"|True|False|\([0-9, ]*\)|\[.*\])"
_ENTRY: Final = re.compile(rf"\s*{_KEY}\s*:\s*{_VALUE}\s*(?:,|$)", re.DOTALL)
_TYPES: Final = {
    f"{order}{d.kind}{d.itemsize}": np.dtype(f"{order}{d.kind}{d.itemsize}")
    for d in ELEMENTS.values()
    for order in ("<>=" if d.itemsize > 1 else "<>=|")
}


def read_npy(path: Path, spec: Spec, what: str) -> Array:
    """Return the array in a file, [*shape] or [n, *shape], of the type that an input of a model has.

    Raises InputError if the file cannot be read or has another type or shape, FormatError if it is no such
    file or is cut off, UnsupportedError if it holds Python objects, LimitError if it is too large.
    """
    try:
        with path.open("rb") as stream:
            dtype, shape, fortran = _header(stream, path, spec)
            check_rows(spec, dtype, shape, what)
            count = math.prod(shape)
            size = count * dtype.itemsize
            if size > MAX_REQUEST:
                raise LimitError(f"{path} holds {size} bytes of numbers, more than {MAX_REQUEST}")
            data = stream.read(size + 1)
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from e
    if len(data) != size:
        state = "is cut off" if len(data) < size else "goes on after its numbers"
        raise FormatError(f"{path} {state}: its header states {size} bytes of numbers")
    return np.frombuffer(data, dtype, count).reshape(shape, order="F" if fortran else "C")


def _header(stream: BinaryIO, path: Path, spec: Spec) -> tuple[np.dtype[np.generic], tuple[int, ...], bool]:
    """Read the header: the type, the shape, and whether the first axis is the fastest."""
    start = stream.read(len(_MAGIC) + 2)
    if start[: len(_MAGIC)] != _MAGIC or len(start) != len(_MAGIC) + 2:
        raise FormatError(f"{path} is no NumPy array: it does not begin as an .npy file does")
    if start[-2:] not in (b"\1\0", b"\2\0"):
        raise UnsupportedError(f"{path} has version {start[-2]}.{start[-1]} of the .npy format")
    length = int.from_bytes(stream.read(2 if start[-2] == 1 else 4), "little")
    if length > _MAX_HEADER:
        raise LimitError(f"{path} has a header of {length} bytes, more than {_MAX_HEADER}")
    header = stream.read(length)
    if len(header) != length:
        raise FormatError(f"{path} is cut off in its header")
    fields = _fields(header.decode("latin-1").strip(), path)
    shape = fields["shape"]
    if fields["fortran_order"] not in ("True", "False") or not shape.startswith("("):
        raise FormatError(f"{path} has a header that is none of an .npy file")
    digits = [number.strip() for number in shape[1:-1].split(",")]
    digits = digits[:-1] if digits[-1] == "" else digits
    if len(digits) > MAX_RANK + 1 or not all(n.isdigit() and len(n) <= _MAX_DIGITS for n in digits):
        raise FormatError(f"{path} has the shape {shape[:80]}, which no input of a model has")
    descr = fields["descr"][1:-1]
    if descr.startswith(("|O", "O")):
        raise UnsupportedError(f"{path} holds pickled Python objects, which are never read")
    if descr not in _TYPES:
        raise InputError(
            f"{path} holds elements of type {descr[:40]!r}, where the model takes {spec.numpy.name}: convert "
            f"them first, as by .astype({spec.numpy.name!r})"
        )
    return _TYPES[descr], tuple(map(int, digits)), fields["fortran_order"] == "True"


def _fields(header: str, path: Path) -> dict[str, str]:
    """Return the values of a header as they are written."""
    fields: dict[str, str] = {}
    inside, at = header[1:-1].rstrip(), 0
    while (found := _ENTRY.match(inside, at)) is not None and found["key"] not in fields:
        fields[found["key"]], at = found["value"], found.end()
    if header[:1] != "{" or header[-1:] != "}" or at != len(inside) or len(fields) != 3:
        raise FormatError(f"{path} has a header that is none of an .npy file")
    return fields
