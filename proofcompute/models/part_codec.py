"""Checks the parts of a vocabulary, and encodes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from proofcompute.encoding import wire
from proofcompute.errors import FormatError, LimitError, UnsupportedError
from proofcompute.limits import MAX_NAME, MAX_TOKEN, MIB
from proofcompute.models.charsmap import check_charsmap
from proofcompute.models.text_parts import BEHAVIOURS, SCHEMES, Argument, Part
from proofcompute.models.word_rules import RULES

__all__ = ["MAX_CHARSMAP", "check_parts", "decode_parts", "encode_parts"]

MAX_PARTS: Final = 16
"""The most normalisers, or splitters, of a vocabulary."""
MAX_CHARSMAP: Final = 1 * MIB
"""The most bytes of a precompiled map of characters; published ones have 0.3 million."""


def check_parts(parts: tuple[Part, ...], table: Mapping[str, tuple[str, ...]], what: str) -> None:
    """Raise UnsupportedError for a part that ``table`` lacks, FormatError or LimitError for a wrong one."""
    if len(parts) > MAX_PARTS:
        raise LimitError(f"vocabulary: {len(parts)} {what}s, the limit is {MAX_PARTS}")
    for part in parts:
        kinds = table.get(part.name)
        if kinds is None:
            raise UnsupportedError(f"vocabulary: {what} {part.name!r}; known are {', '.join(table)}")
        if len(part.arguments) != len(kinds):
            raise FormatError(
                f"vocabulary: the {what} {part.name} has {len(part.arguments)} arguments, not {len(kinds)}"
            )
        for kind, value in zip(kinds, part.arguments, strict=True):
            _check_argument(kind, value, f"an argument of the {what} {part.name}")


def _check_argument(kind: str, value: Argument, what: str) -> None:
    if kind in ("flag", "accents"):
        wire.as_int(value, f"vocabulary: {what}", 0, 1 if kind == "flag" else 2)
    elif kind == "charsmap":
        check_charsmap(wire.as_bytes(value, f"vocabulary: {what}", max_size=MAX_CHARSMAP))
    else:
        text = wire.as_str(value, f"vocabulary: {what}", MAX_TOKEN)
        known = {"rule": tuple(RULES), "behaviour": BEHAVIOURS, "scheme": SCHEMES}.get(kind)
        if known is not None and text not in known:
            raise UnsupportedError(f"vocabulary: {what} is {text!r}; known are {', '.join(known)}")
        if kind == "text" and not text:
            raise FormatError(f"vocabulary: {what} is empty")


def encode_parts(parts: Iterable[Part]) -> list[wire.Encodable]:
    """Return parts as an array of arrays: the name, then the arguments."""
    return [[part.name, *part.arguments] for part in parts]


def decode_parts(value: object, what: str) -> tuple[Part, ...]:
    """Invert :func:`encode_parts`; the arguments are checked when the vocabulary is made."""
    parts = []
    for item in wire.as_list(value, f"vocabulary {what}s", max_n=MAX_PARTS):
        fields = wire.as_list(item, f"a {what} of the vocabulary", max_n=8)
        if not fields:
            raise FormatError(f"vocabulary: a {what} without a name")
        arguments = []
        for field in fields[1:]:
            if not isinstance(field, int | str | bytes):
                raise FormatError(f"vocabulary: an argument of a {what} is an array")
            arguments.append(field)
        name = wire.as_str(fields[0], f"the name of a {what}", MAX_NAME)
        parts.append(Part(name, tuple(arguments)))
    return tuple(parts)
