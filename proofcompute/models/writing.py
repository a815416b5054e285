"""Converts between what a token prints and how it is written in a file and in the ``tokenizers`` library.

A vocabulary holds what its tokens print. There are three ways of writing:

- ``bytes``: a printable character for each byte (byte-level BPE, GPT-2);
- ``spaces``: U+2581 for a space (SentencePiece), and ``<0xNN>`` for a token of one byte;
- ``words``: a token that begins a word is written without the space that it prints, one that continues a word
  with ``##`` in front (WordPiece, BERT).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from proofcompute.errors import FormatError

__all__ = ["BYTES", "CONTINUES", "SPACES", "WORDS", "byte_alphabet", "byte_name", "printed", "written"]

BYTES: Final = "bytes"
SPACES: Final = "spaces"
WORDS: Final = "words"
CONTINUES: Final = "##"
"""What WordPiece writes in front of a token that continues a word."""
_SPACE: Final = "\u2581"


@cache
def byte_alphabet() -> str:
    """Return the printable character that byte-level BPE writes for each of the 256 bytes, in order.

    Bytes that are printable in Latin-1 stand for themselves; the others are written as U+0100 upwards
    (GPT-2).
    """
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in plain else next(spare)) for byte in range(256))


@cache
def _bytes_of_letters() -> Mapping[str, int]:
    return {letter: byte for byte, letter in enumerate(byte_alphabet())}


def byte_name(byte: int) -> str:
    """Return how a token of one byte is written beside SentencePiece's tokens."""
    return f"<0x{byte:02X}>"


def written(way: str, token: bytes) -> str:
    """Return how a normal token that prints ``token`` is written. Raises UnicodeDecodeError if it cannot."""
    if way == BYTES:
        letters = byte_alphabet()
        return "".join([letters[byte] for byte in token])
    text = token.decode()
    if way == SPACES:
        return text.replace(" ", _SPACE)
    return text[1:] if text.startswith(" ") else CONTINUES + text


def printed(way: str, name: str) -> bytes:
    """Invert :func:`written`. Raises FormatError for a name that no token has."""
    if way == BYTES:
        try:
            return bytes([_bytes_of_letters()[letter] for letter in name])
        except KeyError:
            raise FormatError("a character outside the byte-level alphabet") from None
    if way == SPACES:
        if " " in name:
            raise FormatError("a space, for which U+2581 is written")
        return name.replace(_SPACE, " ").encode()
    if name.startswith(CONTINUES):
        if name == CONTINUES or name[len(CONTINUES)] == " ":
            raise FormatError("no text behind ##, or a space")
        return name.removeprefix(CONTINUES).encode()
    return f" {name}".encode()
