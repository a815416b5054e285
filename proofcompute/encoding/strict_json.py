"""Read JSON strictly, in time and memory that are linear in its size (docs/spec/openai.md#json).

Python's reader accepts more than RFC 8259, and what it accepts can be dear: it recurses, keeps the last of
two equal keys, turns ``1e400`` into an infinity, and makes an integer of a million digits. Two programs that
read one body must not find two different requests in it, so all of this is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from itertools import accumulate
from typing import Final, NoReturn, TypeAlias

from proofcompute.errors import FormatError, InputError, LimitError
from proofcompute.errors.arguments import given

__all__ = ["MAX_INTEGER", "MIN_INTEGER", "Json", "read_json"]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""A value of JSON."""

MIN_INTEGER: Final = -(1 << 63)
"""The least integer that JSON may contain."""
MAX_INTEGER: Final = (1 << 63) - 1
"""The greatest integer that JSON may contain."""
_MAX_DEPTH: Final = 32
"""Arrays and objects inside one another; a usual body has four."""
_MAX_VALUES: Final = 1 << 20
"""Commas, objects and arrays of one text together, so that memory is at most about 200 bytes for each."""
_MAX_NUMBER: Final = 64
"""Characters of one number; the shortest form of any binary64 has at most 24."""

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NOT_BRACKETS: Final = bytes(b for b in range(256) if b not in b"[]{}")
_STEP: Final = {b: 1 if b in b"[{" else -1 for b in b"[]{}"}
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def read_json(data: bytes, limit: int) -> dict[str, Json]:
    """Return the object that ``data`` encodes as JSON in UTF-8.

    Raises:
        LimitError: it has more than ``limit`` bytes, nests deeper than 32, has more than 2^20 values, or a
            number of more than 64 characters.
        FormatError: it is not JSON of RFC 8259 in UTF-8; it has NaN or an infinity, a number beyond binary64,
            an integer outside of 64 bits, a lone surrogate or a key twice; or its top level is no object.
    """
    if len(given(data, bytes, "JSON")) > limit:
        raise LimitError(f"the JSON text has {len(data)} bytes, the limit is {limit}")
    _check_shape(data)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError("the JSON text is not UTF-8") from None
    try:
        found: Json = _DECODER.decode(text)
    except InputError:
        raise
    except ValueError as e:  # JSONDecodeError
        raise FormatError(f"not JSON: {e}") from None
    if not isinstance(found, dict):
        raise FormatError("the JSON text is not an object")
    if _SURROGATE.search(data):
        _check_surrogates(found)
    return found


def _check_shape(data: bytes) -> None:
    """Check depth and number of values without parsing; strings are where the parser finds them too."""
    bare = _STRING.sub(b"", data) if b'"' in data else data
    brackets = bare.translate(None, _NOT_BRACKETS)
    if bare.count(b",") + len(brackets) // 2 > _MAX_VALUES:
        raise LimitError(f"the JSON text has more than {_MAX_VALUES} values")
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > _MAX_DEPTH:
        raise LimitError(f"the JSON text nests deeper than {_MAX_DEPTH}")


def _check_surrogates(value: Json) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()  # the depth is bounded
    except UnicodeEncodeError:
        raise FormatError("the JSON text has a lone surrogate") from None


def _object(pairs: Iterable[tuple[str, Json]]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for key, value in pairs:
        if key in found:
            raise FormatError(f"the JSON text has the key {key[:64]!r} twice in one object")
        found[key] = value
    return found


def _integer(text: str) -> int:
    _check_length(text)
    value = int(text)
    if not MIN_INTEGER <= value <= MAX_INTEGER:
        raise FormatError(f"the JSON text has the integer {text}, which is outside of 64 bits")
    return value


def _number(text: str) -> float:
    _check_length(text)
    value = float(text)
    if not math.isfinite(value):
        raise FormatError(f"the JSON text has the number {text}, which is beyond binary64")
    return value


def _check_length(text: str) -> None:
    if len(text) > _MAX_NUMBER:
        raise LimitError(f"the JSON text has a number of {len(text)} characters")


def _constant(text: str) -> NoReturn:
    raise FormatError(f"{text} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant
)
