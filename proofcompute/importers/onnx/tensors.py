"""Reads tensors of ONNX files into constants: types, sizes, data in the file or beside it."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from onnx import TensorProto

from proofcompute.arrays import Array
from proofcompute.errors import FormatError, LimitError, StorageError, UnsupportedError
from proofcompute.importers.lowering.values import Constant, constant

__all__ = ["DTYPES", "External", "dtype_of", "tensor_of"]

DTYPES: Final[dict[int, str]] = {
    TensorProto.FLOAT: "f32",
    TensorProto.DOUBLE: "f64",
    TensorProto.FLOAT16: "f16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "i8",
    TensorProto.UINT8: "u8",
    TensorProto.INT16: "i16",
    TensorProto.UINT16: "u16",
    TensorProto.INT32: "i32",
    TensorProto.UINT32: "u32",
    TensorProto.INT64: "i64",
    TensorProto.UINT64: "u64",
    TensorProto.INT4: "i4",
    TensorProto.UINT4: "u4",
    TensorProto.INT2: "i2",
    TensorProto.UINT2: "u2",
    TensorProto.BOOL: "bool",
}
"""Element types of ONNX by number, and their names here."""

_RAW: Final = {
    "f32": "<f4",
    "f64": "<f8",
    "f16": "<f2",
    "bf16": "<u2",
    "i8": "i1",
    "u8": "u1",
    "i16": "<i2",
    "u16": "<u2",
    "i32": "<i4",
    "u32": "<u4",
    "i64": "<i8",
    "u64": "<u8",
    "bool": "?",
}
_BITS: Final = {"i4": 4, "u4": 4, "i2": 2, "u2": 2}
_MAX_ELEMENTS: Final = 1 << 31
"""Elements of one tensor; the file's size limits what it can hold anyway."""

External = Callable[[str, int, int], bytes]
"""Reads bytes of a file beside the model: its name, the offset and the length."""


def dtype_of(number: int) -> str:
    """Return the name of an element type of ONNX. Raises UnsupportedError for one that is not computed."""
    if number not in DTYPES:
        known = TensorProto.DataType.Name(number) if number in TensorProto.DataType.values() else number
        raise UnsupportedError(f"tensors of {known} are not supported")
    return DTYPES[number]


def _dims(proto: Any) -> tuple[int, ...]:
    dims = tuple(int(n) for n in proto.dims)
    if len(dims) > 64 or any(n < 0 for n in dims):
        raise FormatError(f"tensor {proto.name[:80]!r} has shape {list(dims[:9])}")
    count = 1
    for n in dims:
        count *= n
        if count > _MAX_ELEMENTS:
            raise LimitError(f"tensor {proto.name[:80]!r} has more than {_MAX_ELEMENTS} elements")
    return dims


def tensor_of(proto: Any, external: External | None = None) -> Constant:
    """Return a tensor of a file.

    Raises FormatError if its data do not have the size of its shape, LimitError if it is too large, and
    UnsupportedError for other element types. ``external`` reads data that the file keeps elsewhere.
    """
    dims, name = _dims(proto), proto.name[:80]
    dtype = dtype_of(proto.data_type)
    if proto.HasField("segment"):
        raise UnsupportedError(f"tensor {name!r} is a segment of another")
    count = math.prod(dims)
    if proto.data_location == TensorProto.EXTERNAL:
        raw = _beside(proto, dtype, count, external)
    elif proto.HasField("raw_data"):
        raw = proto.raw_data
    else:
        return constant(_listed(proto, dtype, count).reshape(dims), dtype)
    if len(raw) != _nbytes(dtype, count):
        raise FormatError(f"tensor {name!r} has {len(raw)} bytes, where {_nbytes(dtype, count)} belong")
    return constant(_unpacked(raw, dtype, count).reshape(dims), dtype)


def _nbytes(dtype: str, count: int) -> int:
    if dtype in _BITS:
        return -(-count * _BITS[dtype] // 8)
    return count * np.dtype(_RAW[dtype]).itemsize


def _unpacked(raw: bytes, dtype: str, count: int) -> Array:
    if dtype in _BITS:
        return _nibbles(np.frombuffer(raw, np.uint8), dtype, count)
    found: Array = np.frombuffer(raw, "u1" if dtype == "bool" else _RAW[dtype])
    if dtype == "bool":
        return np.not_equal(found, 0)
    if dtype == "bf16":
        return _widened(found)
    return found


def _widened(bits: Array) -> Array:
    found: Array = (bits.astype(np.uint32) << 16).view(np.float32)
    return found


def _nibbles(packed: Array, dtype: str, count: int) -> Array:
    bits = _BITS[dtype]
    parts = [(packed >> (bits * i)) & ((1 << bits) - 1) for i in range(8 // bits)]
    found = np.stack(parts, 1).reshape(-1)[:count].astype(np.int16)
    if dtype.startswith("i"):
        found = np.where(found >= 1 << (bits - 1), found - (1 << bits), found)
    return found


_FIELDS: Final = {
    "f32": "float_data",
    "f64": "double_data",
    "i64": "int64_data",
    "u32": "uint64_data",
    "u64": "uint64_data",
}


def _listed(proto: Any, dtype: str, count: int) -> Array:
    """Return the elements of a tensor whose data are a list of numbers."""
    values = getattr(proto, _FIELDS.get(dtype, "int32_data"))
    stored = len(values)
    wanted = -(-count * _BITS[dtype] // 8) if dtype in _BITS else count
    if stored != wanted:
        raise FormatError(f"tensor {proto.name[:80]!r} has {stored} numbers, where {wanted} belong")
    if dtype in ("f16", "bf16"):
        bits = (np.array(values, np.int64) & 0xFFFF).astype(np.uint16)
        return _widened(bits) if dtype == "bf16" else bits.view(np.float16)
    if dtype in _BITS:
        return _nibbles((np.array(values, np.int64) & 0xFF).astype(np.uint8), dtype, count)
    kind = np.dtype(_RAW[dtype])
    if kind.kind == "f":
        return np.array(values, kind)
    whole = np.array(values, np.uint64 if dtype in ("u32", "u64") else np.int64)
    return whole != 0 if dtype == "bool" else whole.astype(kind)


def _beside(proto: Any, dtype: str, count: int, external: External | None) -> bytes:
    """Return the data of a tensor that lie in another file."""
    if external is None:
        raise UnsupportedError(f"tensor {proto.name[:80]!r} lies in another file, which is not read here")
    said = {entry.key: entry.value for entry in proto.external_data}
    try:
        offset = int(said.get("offset") or 0)
        length = int(said.get("length") or _nbytes(dtype, count))
    except ValueError:
        raise FormatError(f"tensor {proto.name[:80]!r} has an offset or length that is no number") from None
    if length != _nbytes(dtype, count) or offset < 0:
        raise FormatError(f"tensor {proto.name[:80]!r}: {length} bytes from {offset} on do not fit its shape")
    return external(said.get("location", ""), offset, length)


def beside(folder: Path) -> External:
    """Return what reads external data from files of a folder, and from nowhere else.

    A location is a relative path without ``..``; neither it nor a folder on the way may be a symbolic link.
    """

    def read(location: str, offset: int, length: int) -> bytes:
        parts = location.split("/")
        if not location or "\x00" in location or "\\" in location:
            raise FormatError(f"external data in {location[:80]!r}")
        if any(p in ("", ".", "..") for p in parts):
            raise FormatError(f"external data in {location[:80]!r}, which is not inside the model's folder")
        path = folder
        try:
            for part in parts:
                path = path / part
                if stat.S_ISLNK(os.lstat(path).st_mode):
                    raise FormatError(f"external data in {location[:80]!r}, which is a symbolic link")
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    raise FormatError(f"external data in {location[:80]!r}, which is not a file")
                if offset + length > found.st_size:
                    raise FormatError(
                        f"external data in {location[:80]!r} end before {offset + length} bytes"
                    )
                file.seek(offset)
                data = file.read(length)
        except OSError as e:
            raise StorageError(f"cannot read {path}: {e.strerror or e}") from e
        if len(data) != length:
            raise FormatError(f"external data in {location[:80]!r} became shorter")
        return data

    return read


def shape_text(shape: Sequence[int | str]) -> str:
    """Return a shape for people."""
    return "x".join(str(n) for n in shape) or "a number"
