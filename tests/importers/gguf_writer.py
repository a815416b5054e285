"""A small GGUF writer that can also write what no honest writer would: every number can be overridden."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", U64: "Q", I64: "q", F64: "d"}


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


@dataclass
class Typed:
    """A metadata value with an explicit type; of an array, ``of`` types the elements."""

    kind: int
    value: Any
    of: int = U32

    def pack(self) -> bytes:
        if self.kind == STRING:
            return text(self.value)
        if self.kind == BOOL:
            return bytes([int(self.value)])
        if self.kind == ARRAY:
            items = b"".join(
                v.pack() if isinstance(v, Typed) else Typed(self.of, v).pack() for v in self.value
            )
            return struct.pack("<IQ", self.of, len(self.value)) + items
        return struct.pack("<" + _CODES[self.kind], self.value)


def typed(value: Any) -> Typed:
    """The usual type of a Python value."""
    if isinstance(value, Typed):
        return value
    if isinstance(value, list):
        return Typed(ARRAY, value, typed(value[0]).kind if value else STRING)
    kinds = {bool: BOOL, int: U32, float: F32, str: STRING, bytes: STRING}
    return Typed(kinds[type(value)], value)


@dataclass
class Stored:
    """A tensor as the file describes it; ``shape`` is slowest axis first."""

    name: str | bytes
    shape: Sequence[int]
    data: bytes
    type: int = 0
    offset: int | None = None
    axes: int | None = None


@dataclass
class GgufFile:
    metadata: dict[Any, Any] | list[tuple[Any, Any]] = field(default_factory=dict)
    tensors: list[Stored] = field(default_factory=list)
    magic: bytes = b"GGUF"
    version: int = 3
    alignment: int = 32
    key_count: int | None = None
    tensor_count: int | None = None

    def header(self) -> bytes:
        entries = list(self.metadata.items()) if isinstance(self.metadata, dict) else self.metadata
        parts = [
            self.magic,
            struct.pack("<I", self.version),
            struct.pack("<Q", len(self.tensors) if self.tensor_count is None else self.tensor_count),
            struct.pack("<Q", len(entries) if self.key_count is None else self.key_count),
        ]
        for key, value in entries:
            v = typed(value)
            parts += [text(key), struct.pack("<I", v.kind), v.pack()]
        at = 0
        for t in self.tensors:
            offset = at if t.offset is None else t.offset
            axes = len(t.shape) if t.axes is None else t.axes
            parts += [text(t.name), struct.pack("<I", axes)]
            parts += [struct.pack("<Q", n) for n in reversed(t.shape)]
            parts += [struct.pack("<IQ", t.type, offset)]
            at += self._padded(len(t.data))
        return b"".join(parts)

    def build(self) -> bytes:
        header = self.header()
        parts = [header, bytes(self._padded(len(header)) - len(header))]
        for t in self.tensors:
            parts += [t.data, bytes(self._padded(len(t.data)) - len(t.data))]
        return b"".join(parts)

    def _padded(self, n: int) -> int:
        return -(-n // self.alignment) * self.alignment
