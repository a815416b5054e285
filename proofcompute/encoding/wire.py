"""Encode and decode messages as deterministic CBOR (docs/spec/messages.md#encoding).

A value is an integer from -2^64 to 2^64 - 1, a byte string, a text string, or an array of values; nothing
else of RFC 8949 exists here. Encodings follow its core deterministic requirements (section 4.2.1): every
head in its shortest form, definite lengths. So a value has exactly one encoding, and ``encode(decode(x)) ==
x`` for every ``x`` that is accepted.

cbor2 writes, after a check of types and limits. The reader here is iterative and compares every announced
length with what is left before it allocates anything. It returns arrays as tuples. Floats travel as the bit
pattern of binary32, an unsigned integer.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast

import numpy as np

from proofcompute.errors import FormatError, LimitError
from proofcompute.limits import MAX_DEPTH, MAX_ITEMS

__all__ = [
    "ARRAY",
    "BYTES",
    "SMALLEST",
    "Encodable",
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
    "head",
    "long_argument",
    "pieces",
]

Value: TypeAlias = "int | bytes | str | tuple[Value, ...]"
"""A decoded value."""
Encodable: TypeAlias = "int | bytes | str | list[Any] | tuple[Any, ...]"
"""A value that can be encoded; the elements of arrays are again Encodable."""
Nested: TypeAlias = "bytes | memoryview | list[Any] | tuple[Any, ...]"
"""Byte strings and arrays of them; the elements of arrays are again Nested."""

_SMALL: Final = 4096
"""Bytes below which copying a byte string costs less than keeping it apart."""
_UNSIGNED: Final = 0
_NEGATIVE: Final = 1
BYTES: Final = 2
_TEXT: Final = 3
ARRAY: Final = 4
_WORD: Final = 1 << 64
SMALLEST: Final = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}
"""The least argument that needs the 1, 2, 4 or 8 bytes announced by additional information 24 to 27."""


def encode(value: Encodable) -> bytes:
    """Return the encoding of ``value``.

    Raises FormatError for any other type (bool, None, float, dict, NumPy scalars, ...), an integer outside
    -2^64..2^64 - 1 or text with lone surrogates, LimitError beyond MAX_DEPTH or MAX_ITEMS.
    """
    import cbor2  # imported here, so that importing proofcompute stays fast

    _check(value)
    return cbor2.dumps(value, canonical=True)


def pieces(value: Nested) -> list[bytes | memoryview]:
    """Return the encoding of nested arrays of byte strings in pieces, without copying longer byte strings."""
    found: list[bytes | memoryview] = []
    small = bytearray()
    rest: list[Nested] = [value]
    while rest:
        v = rest.pop()
        if isinstance(v, (list, tuple)):
            small += head(ARRAY, len(v))
            rest += reversed(v)
            continue
        small += head(BYTES, len(v))
        if len(v) < _SMALL:
            small += v
        else:
            found += (bytes(small), v)
            small = bytearray()
    return [*found, bytes(small)] if small else found


@lru_cache(maxsize=1 << 10)  # an opening has thousands of digests, and few other lengths
def head(major: int, n: int) -> bytes:
    """Return the shortest head of a CBOR item of a major type with argument n, 0..2^64 - 1."""
    if n < min(SMALLEST):
        return bytes([major << 5 | n])
    extra = next(i for i in range(4) if n < 1 << (8 << i))
    return bytes([major << 5 | min(SMALLEST) + extra]) + n.to_bytes(1 << extra, "big")


def _check(value: object) -> None:
    """Refuse what ``decode`` would refuse. It goes level by level, so a cycle ends at the depth limit."""
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
    """Return the value whose encoding is all of ``data``, with arrays as tuples.

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
    """Return the value whose encoding ``data`` begins with, and where that ends. Raises as :func:`decode`."""
    view = memoryview(data).cast("B")
    size = len(view)
    at = 0
    items = 0
    done: list[Value] = []  # elements read so far of the innermost open array
    missing = 1  # elements that this array still needs; the whole is treated as an array of one
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
        if head < 24:  # a small unsigned integer, by far the most frequent item
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
        elif argument > size - at:  # every element of an array takes at least one byte
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
    """Return the argument of a head whose additional information is 24 or more, and where it ends."""
    if announced > 27:
        raise FormatError(f"{what}: indefinite or reserved length")
    end = at + (1 << (announced - 24))
    if end > len(view):
        raise FormatError(f"{what}: ends inside a head")
    argument = int.from_bytes(view[at:end], "big")
    if argument < SMALLEST[announced]:
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


# -- typed elements --------------------------------------------------------------------------------------
def check_head(top: tuple[Value, ...], kind: str, version: int) -> None:
    """Raise FormatError unless a message begins with its kind and this version of it."""
    if top[0] != kind:
        raise FormatError(f"this is not a {kind}")
    found = as_int(top[1], f"{kind}: version", 0, 2**32 - 1)
    if found != version:
        raise FormatError(f"{kind}: version {found} is not {version}")


def as_int(value: object, what: str, lo: int, hi: int) -> int:
    """Return ``value``. Raises FormatError unless it is an integer with lo <= value <= hi."""
    if type(value) is not int:
        raise FormatError(f"{what}: expected an integer, found {_kind(value)}")
    if not lo <= value <= hi:
        raise FormatError(f"{what}: {value} is outside {lo}..{hi}")
    return value


def as_bytes(value: object, what: str, size: int | None = None, max_size: int | None = None) -> bytes:
    """Return ``value``. Raises FormatError unless it is a byte string, of exactly ``size`` bytes if given.

    Raises LimitError for more than ``max_size`` bytes (if given).
    """
    if type(value) is not bytes:
        raise FormatError(f"{what}: expected a byte string, found {_kind(value)}")
    if size is not None and len(value) != size:
        raise FormatError(f"{what}: expected {size} bytes, found {len(value)}")
    if max_size is not None and len(value) > max_size:
        raise LimitError(f"{what}: {len(value)} bytes, at most {max_size} are allowed")
    return value


def as_str(value: object, what: str, max_bytes: int) -> str:
    """Return ``value``. Raises FormatError unless it is text, LimitError above ``max_bytes`` of UTF-8."""
    if type(value) is not str:
        raise FormatError(f"{what}: expected text, found {_kind(value)}")
    if len(value) > max_bytes or _utf8_size(value, what) > max_bytes:
        raise LimitError(f"{what}: text of more than {max_bytes} bytes")
    return value


def as_list(value: object, what: str, n: int | None = None, max_n: int | None = None) -> tuple[Value, ...]:
    """Return ``value``. Raises FormatError unless it is an array, of exactly ``n`` elements if given.

    Raises LimitError for more than ``max_n`` elements (if given). Arrays are tuples, as ``decode`` returns
    them.
    """
    if type(value) is not tuple:
        raise FormatError(f"{what}: expected an array, found {_kind(value)}")
    if n is not None and len(value) != n:
        raise FormatError(f"{what}: expected {n} elements, found {len(value)}")
    if max_n is not None and len(value) > max_n:
        raise LimitError(f"{what}: {len(value)} elements, at most {max_n} are allowed")
    return cast("tuple[Value, ...]", value)


def as_f32(value: object, what: str) -> np.float32:
    """Return the binary32 number with the bit pattern ``value``. Raises FormatError unless it is finite."""
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
    """Return the bit pattern of ``x`` as binary32, 0..2^32 - 1; a Python float is rounded to nearest even."""
    with np.errstate(over="ignore"):  # a number beyond the range becomes an infinity, which readers refuse
        return int(np.float32(x).view(np.uint32))


def f32_from_bits(bits: int) -> np.float32:
    """Return the binary32 number with this bit pattern. Raises FormatError outside 0..2^32 - 1."""
    if type(bits) is not int or not 0 <= bits <= 0xFFFFFFFF:
        raise FormatError("the bit pattern of a binary32 number lies in 0..2^32 - 1")
    return np.uint32(bits).view(np.float32)
