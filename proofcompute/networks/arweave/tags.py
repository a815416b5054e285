"""Write and read the tags of data items: an Avro array of pairs of text in one block (ANS-104, 1.3)."""

from __future__ import annotations

from typing import Final

from proofcompute.errors import EnvelopeError, InputError

__all__ = ["MAX_TAG_BYTES", "Tag", "decode", "encode"]

Tag = tuple[str, str]
"""A name and a value."""
MAX_TAG_BYTES: Final = 4096
"""Bytes of all tags of an item, as gateways limit them."""
MAX_TAGS: Final = 128
MAX_NAME: Final = 1024
MAX_VALUE: Final = 3072


def _long(value: int) -> bytes:
    """Return a number of 0 or more as Avro's long: zigzag, seven bits a byte, the least first."""
    left, out = value << 1, bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes(out) + bytes([left])


def encode(tags: tuple[Tag, ...]) -> bytes:
    """Return tags as bytes, none for no tags. Raises InputError for tags that no item may have."""
    if not tags:
        return b""
    if len(tags) > MAX_TAGS:
        raise InputError(f"an item has at most {MAX_TAGS} tags, not {len(tags)}")
    parts = [_long(len(tags))]
    for name, value in tags:
        for text, most in ((name, MAX_NAME), (value, MAX_VALUE)):
            try:
                data = text.encode()
            except UnicodeEncodeError:
                raise InputError("a tag has a lone surrogate") from None
            if not 0 < len(data) <= most:
                raise InputError(f"a tag's name has 1 to {MAX_NAME} bytes, its value 1 to {MAX_VALUE}")
            parts += [_long(len(data)), data]
    made = b"".join([*parts, b"\0"])
    if len(made) > MAX_TAG_BYTES:
        raise InputError(f"the tags take {len(made)} bytes, at most {MAX_TAG_BYTES} are allowed")
    return made


def decode(data: bytes, count: int) -> tuple[Tag, ...]:
    """Return ``count`` tags from their bytes, which the caller has limited.

    Raises EnvelopeError if they are not in the one form that :func:`encode` gives them.
    """
    found: list[Tag] = []
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 28:
                raise EnvelopeError("the tags end early, or have a length that no tag has")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value >> 1
            shift += 7

    def text() -> str:
        nonlocal at
        n = number()
        piece = data[at : at + n]
        at += n
        if len(piece) < n:
            raise EnvelopeError("the tags end early")
        try:
            return piece.decode()
        except UnicodeDecodeError:
            raise EnvelopeError("a tag is no text") from None

    if count > MAX_TAGS or (data and number() != count):
        raise EnvelopeError("the tags are not as many as the item says")
    for _ in range(count):
        name = text()
        found.append((name, text()))
    try:
        same = encode(tuple(found)) == data
    except InputError as e:
        raise EnvelopeError(str(e)) from e
    if not same:
        raise EnvelopeError("the tags are not in their one form")
    return tuple(found)
