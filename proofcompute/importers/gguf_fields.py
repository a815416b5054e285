"""Reads GGUF metadata with types; errors name the key, and keys that were never read can be listed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from proofcompute.errors import FormatError, LimitError
from proofcompute.importers.gguf_scan import Value

__all__ = ["Fields"]

T = TypeVar("T", str, int, float, bool)
_NAMES = {str: "text", int: "an integer", float: "a float", bool: "a bool", tuple: "an array"}


class Fields:
    """The metadata entries whose keys begin with ``prefix``; every method takes the rest of the key.

    A ``default`` of None makes the key mandatory. All methods raise FormatError if the key is missing or its
    value has another type.
    """

    def __init__(self, metadata: Mapping[str, Value], prefix: str) -> None:
        self._metadata = metadata
        self._prefix = prefix
        self._read: set[str] = set()

    def unread(self) -> list[str]:
        """Return the keys with the prefix that no method has read."""
        return [k for k in self._metadata if k.startswith(self._prefix) and k not in self._read]

    def key(self, key: str) -> str:
        """Return the whole key, as messages name it."""
        return self._prefix + key

    def has(self, key: str) -> bool:
        """Return whether the key exists; this does not count as reading it."""
        return self._prefix + key in self._metadata

    def is_array(self, key: str) -> bool:
        """Return whether the key exists and is an array; this does not count as reading it."""
        return type(self._metadata.get(self._prefix + key)) is tuple

    def text(self, key: str, default: str | None = None, *, limit: int = 1 << 10) -> str:
        """Return a string; LimitError if it has more than ``limit`` characters."""
        found = self._get(key, str, default)
        if len(found) > limit:
            raise LimitError(f"{self._prefix}{key} has {len(found)} characters, the limit is {limit}")
        return found

    def description(self, key: str, *, limit: int = 1 << 10) -> str:
        """Return a string for people, cut to ``limit`` characters; empty if the key is missing."""
        found = self._get(key, str, "")
        return found if len(found) <= limit else found[: limit - 1] + "\u2026"

    def integer(self, key: str, lo: int, hi: int, default: int | None = None) -> int:
        """Return an integer; FormatError if it is below ``lo``, LimitError if it is above ``hi``."""
        found = self._get(key, int, default)
        if found < lo:
            raise FormatError(f"{self._prefix}{key} is {found}, less than {lo}")
        if found > hi:
            raise LimitError(f"{self._prefix}{key} is {found}, the limit is {hi}")
        return found

    def number(self, key: str, default: float) -> float:
        """Return a number rounded to binary32; FormatError unless that is finite and not negative."""
        found = self._get(key, float, default)
        return 0.0 if found == 0 else self.positive(key, default)

    def positive(self, key: str, default: float | None = None) -> float:
        """Return a number rounded to binary32; FormatError unless that is positive and finite."""
        found = self._get(key, float, default)
        with np.errstate(over="ignore"):
            rounded = float(np.float32(found))
        if not 0 < rounded < float("inf"):
            raise FormatError(f"{self._prefix}{key} is {found}, not positive and finite in binary32")
        return rounded

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a bool."""
        return self._get(key, bool, default)

    def array(self, key: str, kind: type[T], default: tuple[T, ...] | None = None) -> tuple[T, ...]:
        """Return an array; FormatError unless all elements are of the type ``kind``."""
        self._read.add(self._prefix + key)
        found = self._metadata.get(self._prefix + key, default)
        if found is None:
            raise FormatError(f"metadata key {self._prefix}{key} is missing")
        if type(found) is not tuple:
            raise FormatError(f"{self._prefix}{key} is {_kind(found)}, not an array")
        if not all(type(v) is kind for v in found):
            raise FormatError(f"{self._prefix}{key} has an element that is not {_NAMES[kind]}")
        elements: tuple[T, ...] = found  # type: ignore[assignment]  # every element was just checked
        return elements

    def _get(self, key: str, kind: type[T], default: T | None) -> T:
        self._read.add(self._prefix + key)
        found = self._metadata.get(self._prefix + key, default)
        if found is None:
            raise FormatError(f"metadata key {self._prefix}{key} is missing")
        if type(found) is not kind:
            raise FormatError(f"{self._prefix}{key} is {_kind(found)}, not {_NAMES[kind]}")
        value: T = found
        return value


def _kind(value: Value) -> str:
    return _NAMES[type(value)]
