"""Scans a GGUF file's header within limits; no value of the file is used before it has been checked.

The format is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3,
little-endian. A header consists of the magic, a version, two counts, metadata (key, type, value) and tensor
descriptions. The tensors' bytes follow, each tensor at a multiple of ``general.alignment`` from the first
aligned position after the header.

Every count and length is compared with a limit and with the rest of the file before anything is allocated or
looped over, so time and memory are linear in the size of the header: at most :data:`MAX_HEADER` bytes and
:data:`MAX_ELEMENTS` array elements. Measured with ``tracemalloc``, memory stays under 64 times the header's
size plus 1 MiB (the worst case is an int32 in an array: 4 bytes in the file, 40 in memory).

The reader of the ``gguf`` package is not used, because it is made for trusted files.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final, TypeAlias

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from proofcompute.errors import FormatError, LimitError, StorageError, UnsupportedError
from proofcompute.limits import MAX_NAME, MAX_WEIGHTS, MIB

__all__ = ["GgufHeader", "GgufTensor", "Value", "scan", "scan_stream"]

MAX_HEADER: Final = 64 * MIB
"""The most bytes of a header; that of a model with 256,000 tokens takes 15 MiB."""
MAX_KEYS: Final = 1 << 12
"""The most metadata entries."""
MAX_ELEMENTS: Final = 1 << 22
"""The most elements of all metadata arrays together, nested arrays included."""
MAX_STRING: Final = 4 * MIB
"""The most bytes of one metadata string."""
MAX_NESTING: Final = 4
"""The greatest depth of arrays within arrays."""
MAX_DIMENSIONS: Final = 4
"""The most axes of a tensor, as in ggml."""
DEFAULT_ALIGNMENT: Final = 32

Value: TypeAlias = "bool | int | float | str | tuple[Value, ...]"
"""The value of a metadata entry; a binary32 value becomes the equal Python float."""

_SCALARS: Final[Mapping[int, str]] = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_BOOL: Final = 7
_STRING: Final = 8
_ARRAY: Final = 9
_LEAST_SIZE: Final[Mapping[int, int]] = {
    **{kind: struct.calcsize(code) for kind, code in _SCALARS.items()},
    _BOOL: 1,
    _STRING: 8,
    _ARRAY: 12,
}
"""Value type -> the fewest bytes that one value takes."""
_LEAST_KEY: Final = 8 + 1 + 4 + 1
_LEAST_TENSOR: Final = 8 + 1 + 4 + 8 + 4 + 8


@dataclass(frozen=True)
class GgufTensor:
    """Position and storage type of one tensor."""

    name: str
    """Its name in the file."""
    shape: tuple[int, ...]
    """Slowest axis first (a matrix is ``[out, in]``), the reverse of the file's order."""
    type: str
    """ggml's name of the storage type, such as "F32" or "Q4_1"."""
    offset: int
    """First byte, from the beginning of the file."""
    nbytes: int
    """Size in bytes."""


@dataclass(frozen=True)
class GgufHeader:
    """The contents of a GGUF file's header."""

    version: int
    """Version of the format, 2 or 3."""
    metadata: Mapping[str, Value]
    """Key -> value, in the file's order."""
    tensors: Mapping[str, GgufTensor]
    """Name -> tensor, in the file's order."""
    data_start: int
    """Offset at which the tensors' bytes begin."""


def scan(path: str | os.PathLike[str]) -> GgufHeader:
    """Scan the header of the file at ``path``.

    Raises:
        FormatError: it is not a well-formed GGUF file.
        LimitError: it exceeds one of this module's limits.
        UnsupportedError: it has another version or byte order, or a tensor of an unknown type.
        StorageError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return scan_stream(file, os.fstat(file.fileno()).st_size, Path(path).name)
    except OSError as e:
        raise StorageError(f"cannot read {path}: {e.strerror or e}") from e


def scan_stream(file: BinaryIO, size: int, what: str) -> GgufHeader:
    """Scan a file of ``size`` bytes from its start; ``what`` names it in errors. Raises as :func:`scan`."""
    reader = _Reader(file, size, what)
    version = _read_version(reader)
    tensor_count, key_count = reader.scalar(10), reader.scalar(10)
    metadata = _read_metadata(reader, reader.count(key_count, MAX_KEYS, _LEAST_KEY, "metadata entries"))
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise reader.wrong(f"general.alignment is {alignment!r}, not a power of two")
    count = reader.count(tensor_count, MAX_WEIGHTS, _LEAST_TENSOR, "tensors")
    relative = [_read_tensor(reader, alignment) for _ in range(count)]
    start = -(-reader.at // alignment) * alignment
    tensors: dict[str, GgufTensor] = {}
    for t in relative:
        if t.name in tensors:
            raise reader.wrong(f"tensor {t.name!r} occurs twice")
        if start + t.offset + t.nbytes > size:
            raise reader.wrong(f"tensor {t.name!r} ends after the file's {size} bytes")
        tensors[t.name] = GgufTensor(t.name, t.shape, t.type, start + t.offset, t.nbytes)
    _check_overlaps(reader, tensors)
    return GgufHeader(version, MappingProxyType(metadata), MappingProxyType(tensors), start)


class _Reader:
    """Reads a header from front to back, and checks every length against the bytes that are left."""

    def __init__(self, file: BinaryIO, size: int, what: str) -> None:
        self._file = file
        self._end = min(size, MAX_HEADER)
        self._truncated = size <= MAX_HEADER
        self._what = what
        self._elements = 0
        self.at = 0

    def wrong(self, text: str) -> FormatError:
        return FormatError(f"{self._what}: {text}")

    def too_much(self, text: str) -> LimitError:
        return LimitError(f"{self._what}: {text}")

    def need(self, n: int, text: str) -> None:
        """Raise unless ``n`` more bytes are left."""
        if n > self._end - self.at:
            if self._truncated:
                raise self.wrong(f"ends inside its header ({text})")
            raise self.too_much(f"the header is larger than {MAX_HEADER} bytes ({text})")

    def take(self, n: int, text: str) -> bytes:
        self.need(n, text)
        data = self._file.read(n)
        if len(data) != n:  # the file has shrunk since it was opened
            raise self.wrong(f"ends inside its header ({text})")
        self.at += n
        return data

    def count(self, n: int, limit: int, least: int, text: str) -> int:
        """Return ``n``; raise if so many items, of ``least`` bytes or more, exceed ``limit`` or the rest."""
        if n > limit:
            raise self.too_much(f"{n} {text}, the limit is {limit}")
        self.need(n * least, text)
        return n

    def scalar(self, kind: int) -> int:
        found: int = struct.unpack(_SCALARS[kind], self.take(_LEAST_SIZE[kind], "a number"))[0]
        return found

    def string(self, limit: int, text: str) -> str:
        n = int.from_bytes(self.take(8, text), "little")
        if n > limit:
            raise self.too_much(f"{text} of {n} bytes, the limit is {limit}")
        try:
            return self.take(n, text).decode("utf-8")
        except UnicodeDecodeError:
            raise self.wrong(f"{text} is not valid UTF-8") from None

    def elements(self, n: int, least: int) -> int:
        """Return ``n``; raise if ``n`` more array elements exceed the limit or the bytes left."""
        self._elements += self.count(n, MAX_ELEMENTS - self._elements, least, "array elements")
        return n


def _read_version(reader: _Reader) -> int:
    if reader.take(4, "the magic") != b"GGUF":
        raise reader.wrong("not a GGUF file")
    version = reader.scalar(4)
    if version in (2, 3):
        return version
    if version & 0xFFFF == 0:
        raise UnsupportedError("big-endian GGUF files are not supported")
    raise UnsupportedError(f"GGUF version {version} is not supported, only 2 and 3 are")


def _read_metadata(reader: _Reader, count: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for _ in range(count):
        key = reader.string(MAX_NAME, "a metadata key")
        if not key:
            raise reader.wrong("a metadata key is empty")
        if key in metadata:
            raise reader.wrong(f"metadata key {key!r} occurs twice")
        metadata[key] = _read_value(reader, reader.scalar(4), key, 0)
    return metadata


def _read_value(reader: _Reader, kind: int, key: str, depth: int) -> Value:
    if kind == _STRING:
        return reader.string(MAX_STRING, f"a string of {key!r}")
    if kind == _ARRAY:
        if depth == MAX_NESTING:
            raise reader.too_much(f"{key!r} nests arrays more than {MAX_NESTING} deep")
        return _read_array(reader, key, depth + 1)
    if kind != _BOOL and kind not in _SCALARS:
        raise reader.wrong(f"{key!r} has the unknown value type {kind}")
    return _read_numbers(reader, kind, 1, key)[0]


def _read_array(reader: _Reader, key: str, depth: int) -> tuple[Value, ...]:
    kind, announced = reader.scalar(4), reader.scalar(10)
    if kind not in _LEAST_SIZE:
        raise reader.wrong(f"{key!r} is an array of the unknown value type {kind}")
    n = reader.elements(announced, _LEAST_SIZE[kind])
    if kind == _STRING:
        text = f"a string of {key!r}"
        return tuple(reader.string(MAX_STRING, text) for _ in range(n))
    if kind == _ARRAY:
        return tuple(_read_value(reader, kind, key, depth) for _ in range(n))
    return _read_numbers(reader, kind, n, key)


def _read_numbers(reader: _Reader, kind: int, n: int, key: str) -> tuple[Value, ...]:
    data = reader.take(n * _LEAST_SIZE[kind], f"the value of {key!r}")
    if kind != _BOOL:
        return struct.unpack(f"<{n}{_SCALARS[kind][1]}", data)
    if data.strip(b"\x00\x01"):
        raise reader.wrong(f"{key!r} holds a bool that is neither 0 nor 1")
    return tuple(byte == 1 for byte in data)


def _read_tensor(reader: _Reader, alignment: int) -> GgufTensor:
    """Read one tensor description; its offset is still relative to the first tensor's bytes."""
    name = reader.string(MAX_NAME, "a tensor name")
    if not name:
        raise reader.wrong("a tensor name is empty")
    axes = reader.scalar(4)
    if not 1 <= axes <= MAX_DIMENSIONS:
        raise reader.wrong(f"tensor {name!r} has {axes} axes, 1 to {MAX_DIMENSIONS} are possible")
    shape = tuple(reader.scalar(10) for _ in range(axes))[::-1]
    if 0 in shape:
        raise reader.wrong(f"tensor {name!r} is empty")
    number, offset = reader.scalar(4), reader.scalar(10)
    try:
        kind = GGMLQuantizationType(number)
    except ValueError:
        raise UnsupportedError(f"tensor {name!r} has the unknown ggml type {number}") from None
    block, block_bytes = GGML_QUANT_SIZES[kind]
    if shape[-1] % block:
        raise reader.wrong(f"tensor {name!r}: rows of {shape[-1]}, but {kind.name} stores blocks of {block}")
    if offset % alignment:
        raise reader.wrong(f"tensor {name!r} lies at {offset}, not a multiple of {alignment}")
    return GgufTensor(name, shape, kind.name, offset, math.prod(shape) // block * block_bytes)


def _check_overlaps(reader: _Reader, tensors: Mapping[str, GgufTensor]) -> None:
    end, last = 0, ""
    for t in sorted(tensors.values(), key=lambda t: t.offset):
        if t.offset < end:
            raise reader.wrong(f"tensors {last!r} and {t.name!r} overlap")
        end, last = t.offset + t.nbytes, t.name
