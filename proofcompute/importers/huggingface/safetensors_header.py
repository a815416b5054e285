"""Parses the header of a safetensors file within limits; no value is used before it has been checked.

The format is that of https://github.com/huggingface/safetensors: the length of the header as a little-endian
u64, the header, a JSON object, then the tensors' bytes. Each entry states an element type, a shape, and where
its bytes begin and end after the header. Entries must cover these bytes exactly, without gap or overlap.

The package ``safetensors`` allows headers of 100 MB and maps the file into memory, so bytes may change under
it. This reader allows less, and reads through :mod:`proofcompute.importers.hashed_file`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from proofcompute.errors import FormatError, LimitError, UnsupportedError
from proofcompute.importers.huggingface.json_file import parse_object
from proofcompute.limits import MAX_NAME, MIB

__all__ = ["SIZES", "StoredTensor", "read_header"]

MAX_HEADER: Final = 16 * MIB
"""The most bytes of a header; one entry takes about 150."""
MAX_FILE_TENSORS: Final = 1 << 17
"""The most tensors of one file."""
MAX_AXES: Final = 8
MAX_AXIS: Final = 1 << 40
SIZES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
}
"""Bytes of an element by its type."""


@dataclass(frozen=True)
class StoredTensor:
    """An entry of a header."""

    name: str
    dtype: str
    """One of :data:`SIZES`."""
    shape: tuple[int, ...]
    offset: int
    """Where its bytes begin in the file."""


def read_header(stream: BinaryIO, size: int, name: str) -> tuple[StoredTensor, ...]:
    """Return the tensors of the file of ``size`` bytes that ``stream`` begins, in the order of their bytes.

    Raises FormatError, LimitError and UnsupportedError, which name the file and, where it is one's, the
    tensor.
    """
    prefix = stream.read(8)
    if len(prefix) < 8:
        raise FormatError(f"{name} has {len(prefix)} bytes and is no safetensors file")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER:
        raise LimitError(f"{name}: the header has {length} bytes, the limit is {MAX_HEADER}")
    if length > size - 8:
        raise FormatError(f"{name} is cut off: the header has {length} bytes, the file {size}")
    entries = parse_object(stream.read(length), f"{name}: the header", MAX_HEADER, 8 * MAX_FILE_TENSORS)
    if len(entries) > MAX_FILE_TENSORS:
        raise LimitError(f"{name} has {len(entries)} tensors, the limit is {MAX_FILE_TENSORS}")
    start, found = 8 + length, []
    for key, entry in entries.items():
        if key != "__metadata__":
            found.append(_entry(f"{name}: tensor {key!r}", key, entry, size - start))
    found.sort(key=lambda pair: pair[1:])
    end = 0
    for tensor, first, last in found:
        if first != end:
            raise FormatError(f"{name}: tensor {tensor.name!r} begins at byte {first}, expected {end}")
        end = last
    if end != size - start:
        raise FormatError(f"{name} has {size - start} bytes of tensors, but the header describes {end}")
    return tuple(
        StoredTensor(tensor.name, tensor.dtype, tensor.shape, start + first) for tensor, first, _ in found
    )


def _entry(what: str, name: str, entry: Any, room: int) -> tuple[StoredTensor, int, int]:
    """Return a checked entry, and where its bytes begin and end among those of the tensors."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"{what} is not described by dtype, shape and data_offsets")
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME or not re.fullmatch(r"[!-~]+", name):
        raise FormatError(f"{what}: a name is 1 to {MAX_NAME} printable ASCII characters")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in SIZES:
        raise UnsupportedError(f"{what} has the type {str(dtype)[:40]!r}, which is not supported")
    if not _naturals(shape, MAX_AXIS) or len(shape) > MAX_AXES:
        raise FormatError(f"{what} has no valid shape")
    if not _naturals(offsets, 1 << 62) or len(offsets) != 2:
        raise FormatError(f"{what} has no valid offsets")
    first, last = offsets
    if not first <= last <= room:
        raise FormatError(
            f"{what} has the bytes {first}..{last} of {room}: out of range, or the file is cut off"
        )
    if last - first != math.prod(shape) * SIZES[dtype]:
        raise FormatError(
            f"{what} has {last - first} bytes, which is not {dtype} of the shape {tuple(shape)}"
        )
    return StoredTensor(name, dtype, tuple(shape), 0), first, last


def _naturals(values: Any, most: int) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v <= most for v in values)
