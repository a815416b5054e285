"""Deterministic CBOR: the one encoding of every message (docs/spec/messages.md#encoding).

A value is an integer from -2^64 to 2^64 - 1, a byte string, a text string, or an array of values; nothing
else of RFC 8949 exists here. Encodings follow its core deterministic requirements (section 4.2.1): every
head in its shortest form, definite lengths. So a value has exactly one encoding, and ``encode(decode(x)) ==
x`` for every ``x`` that is accepted.

cbor2 writes, after a check of types and limits; the reader is ours, iterative, and compares every announced
length with what is left before it allocates anything. Arrays come back as tuples. Floats travel as the bit
pattern of binary32, an unsigned integer.

A *frame* is one byte string in a stream; a file or a connection is a sequence of frames.
"""

from __future__ import annotations

import io
import math
from collections import deque
from typing import Any, BinaryIO, Final, TypeAlias, cast

import numpy as np

from proofcompute.errors import FormatError, LimitError, StorageError
from proofcompute.limits import MAX_DEPTH, MAX_ITEMS, MIB

__all__ = [
    "ARRAY",
    "BYTES",
    "Encodable",
    "FrameReader",
    "Value",
    "as_bytes",
    "as_f32",
    "as_int",
    "as_list",
    "as_str",
    "check_head",
    "decode",
    "decode_first",
    "encode",
    "f32_bits",
    "f32_from_bits",
    "long_argument",
    "read_frame",
    "write_frame",
]

Value: TypeAlias = "int | bytes | str | tuple[Value, ...]"
"""What decoding gives."""
Encodable: TypeAlias = "int | bytes | str | list[Any] | tuple[Any, ...]"
"""What encoding takes; the elements of arrays are again Encodable."""

_UNSIGNED: Final = 0
_NEGATIVE: Final = 1
BYTES: Final = 2
_TEXT: Final = 3
ARRAY: Final = 4
_WORD: Final = 1 << 64
_SMALLEST: Final = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}
"""The least argument that needs the 1, 2, 4 or 8 bytes announced by additional information 24 to 27."""
_CHUNK: Final = MIB // 4
"""A frame's payload is read in pieces of this size, so memory follows what has really arrived."""


def encode(value: Encodable) -> bytes:
    """The encoding of ``value``.

    Raises FormatError for any other type (bool, None, float, dict, NumPy scalars, ...), an integer outside
    -2^64..2^64 - 1 or text with lone surrogates; LimitError beyond MAX_DEPTH or MAX_ITEMS.
    """
    import cbor2  # here, so that importing proofcompute stays fast

    _check(value)
    return cbor2.dumps(value, canonical=True)


def _check(value: object) -> None:
    """Refuse what ``decode`` would refuse; level by level, so a cycle ends at the depth limit."""
    items = 0
    level: list[object] = [value]
    for depth in range(MAX_DEPTH + 1):
        below: list[object] = []
        for v in level:
            kind = type(v)
            if kind is int:
                if not -_WORD <= cast(int, v) < _WORD:
                    raise FormatError("cannot encode an integer outside -2^64..2^64 - 1")
            elif kind is str:
                _utf8_size(cast(str, v), "cannot encode")
            elif isinstance(v, (list, tuple)):
                items += len(v)
                if items > MAX_ITEMS:
                    raise LimitError(f"cannot encode more than {MAX_ITEMS} array elements")
                if depth == MAX_DEPTH:
                    raise LimitError(f"cannot encode arrays nested more than {MAX_DEPTH} deep")
                below.extend(v)
            elif kind is not bytes:
                raise FormatError(f"cannot encode a value of type {kind.__name__}")
        level = below


def decode(data: bytes | bytearray | memoryview, *, limit: int, what: str) -> Value:
    """The value whose encoding is ``data``, all of it; arrays as tuples.

    ``limit`` is the greatest allowed size in bytes; ``what`` names the data in errors. Each byte string is
    copied once. Raises FormatError unless ``data`` is the one deterministic encoding of a value, and
    LimitError if it is larger than ``limit``, has more than MAX_ITEMS array elements, or nests arrays more
    than MAX_DEPTH deep.
    """
    size = memoryview(data).nbytes
    if size > limit:
        raise LimitError(f"{what}: {size} bytes, at most {limit} are allowed")
    value, end = decode_first(data, what=what)
    if end != size:
        raise FormatError(f"{what}: {size - end} bytes after the end")
    return value


def decode_first(data: bytes | bytearray | memoryview, *, what: str) -> tuple[Value, int]:
    """The value whose encoding ``data`` begins with, and where it ends; otherwise as :func:`decode`."""
    view = memoryview(data).cast("B")
    size = len(view)
    at = 0
    items = 0
    done: list[Value] = []  # elements read so far of the innermost open array
    missing = 1  # elements that it still needs; the whole is treated as an array of one
    open_arrays: list[tuple[list[Value], int]] = []
    while True:
        if missing == 0:
            if not open_arrays:
                break
            closed = tuple(done)
            done, missing = open_arrays.pop()
            done.append(closed)
            continue
        missing -= 1
        if at >= size:
            raise FormatError(f"{what}: ends inside an item")
        head = view[at]
        at += 1
        if head < 24:  # by far the most frequent: a small unsigned integer
            done.append(head)
            continue
        major, argument = head >> 5, head & 31
        if major > ARRAY:
            raise FormatError(f"{what}: CBOR major type {major} is not used here")
        if argument >= 24:
            argument, at = long_argument(view, at, argument, what)
        if major == _UNSIGNED:
            done.append(argument)
        elif major == _NEGATIVE:
            done.append(-1 - argument)
        elif argument > size - at:  # of an array: every element takes at least one byte
            raise FormatError(f"{what}: announces more than the data holds")
        elif major == ARRAY:
            items += argument
            if items > MAX_ITEMS:
                raise LimitError(f"{what}: more than {MAX_ITEMS} array elements")
            if len(open_arrays) == MAX_DEPTH:
                raise LimitError(f"{what}: arrays nested more than {MAX_DEPTH} deep")
            open_arrays.append((done, missing))
            done, missing = [], argument
        else:
            end = at + argument
            part = view[at:end]
            done.append(_text(part, what) if major == _TEXT else bytes(part))
            at = end
    return done[0], at


def long_argument(view: memoryview, at: int, announced: int, what: str) -> tuple[int, int]:
    """The argument of a head whose additional information is 24 or more, and where it ends."""
    if announced > 27:
        raise FormatError(f"{what}: indefinite or reserved length")
    end = at + (1 << (announced - 24))
    if end > len(view):
        raise FormatError(f"{what}: ends inside a head")
    argument = int.from_bytes(view[at:end], "big")
    if argument < _SMALLEST[announced]:
        raise FormatError(f"{what}: a head is not in its shortest form")
    return argument, end


def _utf8_size(text: str, what: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise FormatError(f"{what}: text with lone surrogates") from None


def _text(view: memoryview, what: str) -> str:
    try:
        return str(view, "utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"{what}: text is not valid UTF-8") from None


# -- frames ----------------------------------------------------------------------------------------------
def write_frame(stream: BinaryIO, payload: bytes | bytearray | memoryview) -> None:
    """Write ``payload`` as one byte string, without copying it.

    StorageError if the stream takes only a part, as an unbuffered one may; its own errors pass through.
    """
    for part in (_frame_head(memoryview(payload).nbytes), payload):
        if stream.write(part) != memoryview(part).nbytes:
            raise StorageError("the stream took only a part of a frame; it must be buffered")


def _frame_head(n: int) -> bytes:
    if n < 24:
        return bytes([BYTES << 5 | n])
    extra = next(i for i in range(4) if n < 1 << (8 << i))
    return bytes([BYTES << 5 | 24 + extra]) + n.to_bytes(1 << extra, "big")


class FrameReader:
    """Reads the frames of a stream into ``kept`` buffers in turn, each as large as the longest it has held.

    A buffer grows as bytes arrive, not as they are announced. A stream that lies in memory is not copied.
    """

    def __init__(self, stream: BinaryIO, kept: int = 1) -> None:
        self._stream = stream
        self._buffers = deque(np.empty(0, np.uint8) for _ in range(kept))
        self.count = 0
        """Bytes read so far."""

    def read(self, *, limit: int, what: str) -> memoryview | None:
        """:func:`read_frame`; the payload is a view, which holds until ``kept`` more frames were read."""
        size = self._head(limit, what)
        if size is None:
            return None
        if type(self._stream) is io.BytesIO:
            return self._held(size, what)
        buffer, done = self._buffers[0], 0
        while done < size:
            if done == len(buffer):
                larger = np.empty(min(size, max(_CHUNK, 2 * done)), np.uint8)
                larger[:done] = buffer
                self._buffers[0] = buffer = larger
            found = self._into(buffer.data[done:size])
            if not found:
                raise FormatError(f"{what}: the stream ends inside a frame")
            done += found
        self._buffers.rotate(-1)
        return buffer.data[:size].toreadonly()

    def ended(self) -> bool:
        """Whether nothing is left of the stream; reads a byte if there is one."""
        return not self._some(1)

    def _held(self, size: int, what: str) -> memoryview:
        """The next bytes of a stream in memory, where they are."""
        at = self._stream.tell()
        # Shared with the stream, which copies before it changes; getbuffer() would keep it from being closed.
        payload = memoryview(cast(io.BytesIO, self._stream).getvalue())[at : at + size]
        self._stream.seek(at + len(payload))
        self.count += len(payload)
        if len(payload) < size:
            raise FormatError(f"{what}: the stream ends inside a frame")
        return payload

    def _into(self, target: memoryview) -> int:
        """Read some bytes, and say how many."""
        read_into = getattr(self._stream, "readinto", None)
        if read_into is None:  # a stream that has only what BinaryIO asks for
            data = self._some(min(len(target), _CHUNK))
            target[: len(data)] = data
            return len(data)
        found = int(read_into(target) or 0)
        self.count += found
        return found

    def _some(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.count += len(data)
        return data

    def _head(self, limit: int, what: str) -> int | None:
        first = self._some(1)
        if not first:
            return None
        major, size = first[0] >> 5, first[0] & 31
        if major != BYTES:
            raise FormatError(f"{what}: a frame is a byte string, not CBOR major type {major}")
        if size >= 24:
            if size > 27:
                raise FormatError(f"{what}: indefinite or reserved length")
            least = _SMALLEST[size]
            argument = b""
            while len(argument) < 1 << (size - 24):
                part = self._some((1 << (size - 24)) - len(argument))
                if not part:
                    raise FormatError(f"{what}: the stream ends inside a frame")
                argument += part
            size = int.from_bytes(argument, "big")
            if size < least:
                raise FormatError(f"{what}: a head is not in its shortest form")
        if size > limit:
            raise LimitError(f"{what}: a frame of {size} bytes, at most {limit} are allowed")
        return size


def read_frame(stream: BinaryIO, *, limit: int, what: str) -> bytes | None:
    """The payload of the next frame, or None if the stream ended cleanly before it.

    ``limit`` is the greatest allowed payload in bytes, compared with the announced length before anything
    is read. Raises LimitError above it; FormatError for anything but the shortest head of a byte string, or
    if the stream ends inside the frame. Errors of the stream pass through.
    """
    found = FrameReader(stream).read(limit=limit, what=what)
    return None if found is None else bytes(found)


# -- typed elements --------------------------------------------------------------------------------------
def check_head(top: tuple[Value, ...], kind: str, version: int) -> None:
    """FormatError unless a message begins with its kind and this version of it."""
    if top[0] != kind:
        raise FormatError(f"this is not a {kind}")
    found = as_int(top[1], f"{kind}: version", 0, 2**32 - 1)
    if found != version:
        raise FormatError(f"{kind}: version {found} is not {version}")


def as_int(value: object, what: str, lo: int, hi: int) -> int:
    """``value`` if it is an integer with lo <= value <= hi (both inclusive); else FormatError."""
    if type(value) is not int:
        raise FormatError(f"{what}: expected an integer, found {_kind(value)}")
    if not lo <= value <= hi:
        raise FormatError(f"{what}: {value} is outside {lo}..{hi}")
    return value


def as_bytes(value: object, what: str, size: int | None = None, max_size: int | None = None) -> bytes:
    """``value`` if it is a byte string of exactly ``size`` bytes (if given), else FormatError.

    More than ``max_size`` bytes (if given) is a LimitError.
    """
    if type(value) is not bytes:
        raise FormatError(f"{what}: expected a byte string, found {_kind(value)}")
    if size is not None and len(value) != size:
        raise FormatError(f"{what}: expected {size} bytes, found {len(value)}")
    if max_size is not None and len(value) > max_size:
        raise LimitError(f"{what}: {len(value)} bytes, at most {max_size} are allowed")
    return value


def as_str(value: object, what: str, max_bytes: int) -> str:
    """``value`` if it is text, else FormatError; above ``max_bytes`` bytes of UTF-8 a LimitError."""
    if type(value) is not str:
        raise FormatError(f"{what}: expected text, found {_kind(value)}")
    if len(value) > max_bytes or _utf8_size(value, what) > max_bytes:
        raise LimitError(f"{what}: text of more than {max_bytes} bytes")
    return value


def as_list(value: object, what: str, n: int | None = None, max_n: int | None = None) -> tuple[Value, ...]:
    """``value`` if it is an array of exactly ``n`` elements (if given), else FormatError.

    More than ``max_n`` elements (if given) is a LimitError. Arrays are tuples, as ``decode`` returns them.
    """
    if type(value) is not tuple:
        raise FormatError(f"{what}: expected an array, found {_kind(value)}")
    if n is not None and len(value) != n:
        raise FormatError(f"{what}: expected {n} elements, found {len(value)}")
    if max_n is not None and len(value) > max_n:
        raise LimitError(f"{what}: {len(value)} elements, at most {max_n} are allowed")
    return cast("tuple[Value, ...]", value)


def as_f32(value: object, what: str) -> np.float32:
    """The finite binary32 number with the bit pattern ``value``; anything else is a FormatError."""
    x = f32_from_bits(as_int(value, what, 0, 0xFFFFFFFF))
    if not math.isfinite(x):
        raise FormatError(f"{what}: not a finite number")
    return x


def _kind(value: object) -> str:
    names = {
        int: "an integer",
        bytes: "a byte string",
        str: "text",
        tuple: "an array",
    }
    return names.get(type(value), type(value).__name__)


# -- floats ----------------------------------------------------------------------------------------------
def f32_bits(x: float | np.float32) -> int:
    """The bit pattern of ``x`` as binary32, 0..2^32 - 1; a Python float is rounded to nearest even."""
    with np.errstate(over="ignore"):  # beyond the range it becomes an infinity, which readers refuse
        return int(np.float32(x).view(np.uint32))


def f32_from_bits(bits: int) -> np.float32:
    """The binary32 number with this bit pattern; FormatError outside 0..2^32 - 1."""
    if type(bits) is not int or not 0 <= bits <= 0xFFFFFFFF:
        raise FormatError("the bit pattern of a binary32 number lies in 0..2^32 - 1")
    return np.uint32(bits).view(np.float32)
