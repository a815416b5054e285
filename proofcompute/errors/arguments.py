"""Check the types of arguments where callers pass them in, so that a mistake is reported at its source.

Annotations help only those who run a type checker; arguments that come from another library or from JSON are
checked by nobody else. A value of the wrong type raises an InputError that says what to pass.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from proofcompute.errors import InputError

__all__ = ["StrPath", "given", "path_of"]

StrPath = str | os.PathLike[str]
"""A path as the functions of Python's standard library accept it."""

_T = TypeVar("_T")


def path_of(value: StrPath, what: str = "path") -> Path:
    """Return ``value`` as a path. Raises InputError if it is neither text nor os.PathLike."""
    if isinstance(value, str) or hasattr(value, "__fspath__"):
        text: object = os.fspath(value)
        if isinstance(text, str):
            return Path(text)
    raise InputError(f"the {what} must be text or a pathlib.Path, not {type(value).__name__}")


def given(value: object, kind: type[_T], what: str) -> _T:
    """Return ``value`` if it has type ``kind``; a bool does not count as an integer.

    Raises InputError, which names ``what``, otherwise.
    """
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise InputError(f"{what} must be {_NAMES.get(kind, kind.__name__)}, not {type(value).__name__}")


_NAMES: dict[type, str] = {
    int: "an integer",
    str: "text",
    bytes: "bytes",
    bool: "True or False",
    tuple: "a tuple",
}
