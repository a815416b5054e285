"""Reads an input of a model from a file of NumPy (:mod:`proofcompute.encoding.npy`)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from proofcompute.arithmetic.primitives import ELEMENTS
from proofcompute.arrays import Array
from proofcompute.encoding.npy import npy_header
from proofcompute.errors import FormatError, InputError, LimitError
from proofcompute.limits import MAX_REQUEST
from proofcompute.program.types import Spec
from proofcompute.protocol.requests import check_rows

__all__ = ["read_npy"]

_TYPES: Final = {d.newbyteorder("=") for d in ELEMENTS.values()}


def read_npy(path: Path, spec: Spec, what: str) -> Array:
    """Return the array in a file, [*shape] or [n, *shape], of the type that an input of a model has.

    Type and shape are compared with what the model takes before the numbers are read. Raises InputError if
    the file cannot be read or has another type or shape, FormatError if it is no such file or is cut off,
    UnsupportedError if it holds Python objects or no numbers, LimitError if it is too large.
    """
    try:
        with path.open("rb") as stream:
            header = npy_header(stream, path)
            if header.dtype.newbyteorder("=") not in _TYPES:
                wanted = spec.numpy.name
                raise InputError(
                    f"{path} holds elements of type {header.dtype.str!r}, where the model takes {wanted}: "
                    f"convert them first, as by .astype({wanted!r})"
                )
            check_rows(spec, header.dtype, header.shape, what)
            size = header.nbytes
            if size > MAX_REQUEST:
                raise LimitError(f"{path} holds {size} bytes of numbers, more than {MAX_REQUEST}")
            data = stream.read(size + 1)
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from e
    if len(data) != size:
        state = "is cut off" if len(data) < size else "goes on after its numbers"
        raise FormatError(f"{path} {state}: its header states {size} bytes of numbers")
    return np.frombuffer(data, header.dtype).reshape(header.shape, order="F" if header.fortran else "C")
