"""Reads the JSON files of a folder within limits: size, depth, number of values, no key twice.

Python's parser recurses, so depth is counted first, over the bytes; it also takes NaN and infinities, which
are not JSON and are refused here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from proofcompute.errors import FormatError, LimitError

__all__ = ["parse_object"]

MAX_JSON_DEPTH: Final = 32
"""Nesting depth of arrays and objects."""
_TOKENS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]|,', re.DOTALL)
"""Strings, brackets and commas. It tries no byte twice, so its time is linear even if a string has no end."""


def parse_object(data: bytes, name: str, limit: int, values: int) -> Mapping[str, Any]:
    """Return the JSON object that ``data`` holds.

    Args:
        data: the file's bytes.
        name: the file's name, for messages.
        limit: the most bytes.
        values: the most values and keys.

    Raises:
        LimitError: the file is too long, too deep or has too many values.
        FormatError: it is not UTF-8, not JSON, no object, or has a key twice.
    """
    if len(data) > limit:
        raise LimitError(f"{name} has more than {limit} bytes")
    depth = deepest = count = 0
    for token in _TOKENS.finditer(data):
        first = data[token.start()]
        if first in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in b"]}":
            depth -= 1
        elif first == ord(","):
            count += 1
    if deepest > MAX_JSON_DEPTH:
        raise LimitError(f"{name} is nested {deepest} deep, the limit is {MAX_JSON_DEPTH}")
    if count > values:
        raise LimitError(f"{name} has more than {values} values")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [k for k, _ in pairs]
            twice = next(k for k in keys if keys.count(k) > 1)
            raise FormatError(f"{name}: the key {twice!r} occurs twice")
        return found

    def refuse(text: str) -> NoReturn:
        raise FormatError(f"{name}: {text} is not JSON")

    try:
        parsed = json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
    except UnicodeDecodeError as e:
        raise FormatError(f"{name} is not UTF-8: {e.reason} at byte {e.start}") from e
    except (json.JSONDecodeError, RecursionError) as e:
        raise FormatError(f"{name} is not JSON: {e}") from e
    except ValueError as e:  # an integer of more than 4,300 digits
        raise FormatError(f"{name}: a number is too long") from e
    if not isinstance(parsed, dict):
        raise FormatError(f"{name} is not a JSON object")
    return parsed
