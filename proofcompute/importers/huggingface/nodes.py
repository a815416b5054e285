"""Reads objects of a JSON file field by field: what was not read is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from proofcompute.errors import FormatError, UnsupportedError

__all__ = ["Node", "require_text"]

_KINDS: Final = {str: "text", int: "an integer", bool: "true or false", list: "an array", dict: "an object"}


def require_text(text: str, what: str) -> None:
    """Raise FormatError for a text with lone surrogates, which JSON can write and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FormatError(f"{what} has lone surrogates") from None


class Node:
    """An object of a file, with the path that errors name. Methods raise FormatError for a wrong value."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise FormatError(f"{path} is not an object")
        self.path: Final = path
        """File and field."""
        self._fields: Mapping[str, Any] = value
        self._read: set[str] = set()

    def has(self, key: str) -> bool:
        """Return whether there is a field that is not null; this does not count as reading it."""
        return self._fields.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text; null is as if it were not there."""
        found: str = self._get(key, str, default)
        require_text(found, f"{self.path}.{key}")
        return found

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """Return true or false; null is as if it were not there."""
        return bool(self._get(key, bool, default))

    def integer(self, key: str, lo: int, hi: int, default: int | None = None) -> int:
        """Return an integer within bounds."""
        found = int(self._get(key, int, default))
        if not lo <= found <= hi:
            raise FormatError(f"{self.path}.{key} is {str(found)[:40]}, not within {lo} to {hi}")
        return found

    def array(self, key: str) -> list[Any]:
        """Return an array as it is."""
        return list(self._get(key, list, None))

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Return an object as it is."""
        found: Mapping[str, Any] = self._get(key, dict, None)
        return found

    def child(self, key: str) -> Node | None:
        """Return an object; None if it is null or not there."""
        self._read.add(key)
        return Node(self._fields[key], f"{self.path}.{key}") if self.has(key) else None

    def children(self, key: str) -> list[Node]:
        """Return an array of objects."""
        return [Node(value, f"{self.path}.{key}[{i}]") for i, value in enumerate(self.array(key))]

    def kind(self) -> str:
        """Return the field ``type``."""
        return self.text("type")

    def ignore(self, *keys: str) -> None:
        """Say that fields change nothing."""
        self._read.update(keys)

    def end(self) -> None:
        """Raise UnsupportedError if there is a field that nothing has read."""
        for key in self._fields:
            if key not in self._read:
                raise UnsupportedError(f"{self.path}.{key[:80]} is unknown and could change a text's tokens")

    def refuse(self, what: str) -> UnsupportedError:
        """Return the error for an object that is understood and not supported."""
        return UnsupportedError(f"{self.path}: {what} is not supported")

    def _get(self, key: str, kind: type, default: object) -> Any:
        self._read.add(key)
        found = self._fields.get(key)
        if found is None:
            found = default
        if found is None:
            raise FormatError(f"{self.path}.{key} is missing")
        if type(found) is not kind:
            raise FormatError(f"{self.path}.{key} is not {_KINDS[kind]}")
        return found
