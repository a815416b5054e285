"""Reads ``config.json`` with types and remembers which keys were read, so that none is skipped silently."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from proofcompute.errors import FormatError, LimitError, UnsupportedError
from proofcompute.importers.huggingface.harmless import HARMLESS, NEUTRAL
from proofcompute.importers.rope_scaling import binary32

__all__ = ["Config"]

_GREATEST: Final = 1e30
"""No number of a configuration is larger; binary32 ends at 3e38."""


class Config:
    """An object of a configuration file, over the defaults of its family.

    As in the classes of ``transformers``, a missing key has its default, and a value of None stays None. A
    key that is needed and missing or None, or a wrong type, is a FormatError that names the key.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        defaults: Mapping[str, Any] | None = None,
        *,
        name: str = "config.json",
        prefix: str = "",
        context: int | None = None,
        inner: bool = False,
    ) -> None:
        self._values = values
        self._defaults = defaults or {}
        self._name = name
        self._prefix = prefix
        self._inner = (
            inner  # of an object within a configuration, whose keys are not those of the lists above
        )
        self._read: set[str] = set()
        self.context = context
        """How many positions the caller wants; None for as many as the model supports."""
        self.notes: list[str] = []
        """Sentences for the user about guesses and choices that were made."""
        self.unused: list[str] = []
        """Keys that change nothing and were not read, once the configuration is finished."""

    def __contains__(self, key: str) -> bool:
        """Return whether the key exists and is not None; this does not count as reading it."""
        return self._values.get(key) is not None

    def key(self, key: str) -> str:
        """Return how messages name ``key``."""
        return f"{self._name}: {self._prefix}{key}"

    def finish(self) -> None:
        """Raise UnsupportedError, with its name, for a key that was not read and may change the result.

        A key with the value None says nothing.
        """
        for key, value in self._values.items():
            if key in self._read:
                continue
            listed = key in HARMLESS or (key in NEUTRAL and value in NEUTRAL[key])
            if value is not None and (self._inner or not listed):
                raise UnsupportedError(f"{self.key(key)} is not supported; its value is {_short(value)}")
            self.unused.append(f"{self._prefix}{key}")

    def integer(self, key: str, lo: int = 1, hi: int = 1 << 31) -> int:
        """Return an integer; FormatError below ``lo``, LimitError above ``hi``."""
        found = self._needed(key)
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        if type(found) is not int:
            raise FormatError(f"{self.key(key)} is {_short(found)}, not an integer")
        if found < lo:
            raise FormatError(f"{self.key(key)} is {found}, less than {lo}")
        if found > hi:
            raise LimitError(f"{self.key(key)} is {found}, the limit is {hi}")
        return found

    def optional_integer(self, key: str, lo: int = 1, hi: int = 1 << 31) -> int:
        """Return an integer; 0 for None."""
        return 0 if self._value(key) is None else self.integer(key, lo, hi)

    def number(self, key: str) -> float:
        """Return a finite number."""
        found = self._needed(key)
        if type(found) not in (int, float):
            raise FormatError(f"{self.key(key)} is {_short(found)}, not a number")
        if abs(found) > _GREATEST or not math.isfinite(found):
            raise FormatError(f"{self.key(key)} is {_short(found)}, beyond {_GREATEST}")
        return float(found)

    def positive(self, key: str) -> float:
        """Return a number between 1e-30 and 1e30, unrounded."""
        found = self.number(key)
        if found < 1 / _GREATEST:
            raise FormatError(f"{self.key(key)} is {found}, not a positive number")
        return found

    def optional_positive(self, key: str) -> float:
        """Return a positive number; 0 for None."""
        return 0.0 if self._value(key) is None else self.positive(key)

    def rounded(self, key: str) -> float:
        """Return a positive number, rounded to binary32."""
        return binary32(self.positive(key))

    def optional_rounded(self, key: str) -> float:
        """Return a positive number, rounded to binary32; 0 for None."""
        return binary32(self.optional_positive(key))

    def flag(self, key: str) -> bool:
        """Return a bool; None is False."""
        found = self._value(key)
        if found is None:
            return False
        if type(found) is not bool:
            raise FormatError(f"{self.key(key)} is {_short(found)}, not true or false")
        return found

    def is_text(self, key: str, text: str) -> bool:
        """Return whether the value is this string; this does not count as reading it."""
        return bool(self._values.get(key) == text)

    def text(self, key: str) -> str:
        """Return a string."""
        found = self._needed(key)
        if not isinstance(found, str):
            raise FormatError(f"{self.key(key)} is {_short(found)}, not text")
        return found

    def items(self, key: str, length: int | None = None) -> Sequence[Any] | None:
        """Return a list, of ``length`` elements if that is given; None if it is missing."""
        found = self._value(key)
        if found is None:
            return None
        if not isinstance(found, list):
            raise FormatError(f"{self.key(key)} is {_short(found)}, not a list")
        if length is not None and len(found) != length:
            raise FormatError(f"{self.key(key)} has {len(found)} elements, expected {length}")
        return found

    def integers(self, key: str, length: int | None = None) -> Sequence[int] | None:
        """Return a list of integers; None if it is missing."""
        found = self.items(key, length)
        if found is not None and not all(type(v) is int for v in found):
            raise FormatError(f"{self.key(key)} has an element that is not an integer")
        return found

    def numbers(self, key: str, length: int | None = None) -> Sequence[float] | None:
        """Return a list of positive finite numbers; None if it is missing."""
        found = self.items(key, length)
        if found is not None and not all(
            type(v) in (int, float) and 1 / _GREATEST <= v <= _GREATEST for v in found
        ):
            raise FormatError(f"{self.key(key)} has an element that is not a positive number")
        return found

    def section(self, key: str, defaults: Mapping[str, Any] | None = None, *, inner: bool = True) -> Config:
        """Return a nested object; an empty one if it is missing. The caller finishes it.

        ``inner`` is False for one that is itself a configuration of a model.
        """
        found = self._value(key)
        if found is None:
            found = {}
        if not isinstance(found, dict):
            raise FormatError(f"{self.key(key)} is {_short(found)}, not an object")
        return Config(
            found,
            defaults,
            name=self._name,
            prefix=f"{self._prefix}{key}.",
            context=self.context,
            inner=inner,
        )

    def must(self, key: str, *values: object) -> None:
        """Raise UnsupportedError unless the key is missing, None or one of ``values``."""
        found = self._value(key)
        if found is not None and not any(found == v and type(found) is type(v) for v in values):
            raise UnsupportedError(f"{self.key(key)} is {_short(found)}, which is not supported")

    def no(self, key: str) -> None:
        """Raise UnsupportedError unless the key is missing or its value None or False."""
        if self.flag(key):
            raise UnsupportedError(f"{self.key(key)} is True, which is not supported")

    def ignore(self, *keys: str) -> None:
        """Count keys as read that change nothing in this family."""
        self._read.update(keys)

    def keys(self) -> Sequence[str]:
        """Return all keys."""
        return tuple(self._values)

    def _value(self, key: str) -> Any:
        self._read.add(key)
        return self._values[key] if key in self._values else self._defaults.get(key)

    def _needed(self, key: str) -> Any:
        found = self._value(key)
        if found is None:
            raise FormatError(f"{self.key(key)} is missing")
        return found


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "\u2026"
