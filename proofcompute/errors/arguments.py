"""What callers of the library give: checked where it comes in, so that a mistake is named there.

Annotations are for type checkers; whoever comes from another library, or from JSON, runs without one. A value
of a type that nothing can be made of is an InputError that says what to give.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from proofcompute.errors import InputError

__all__ = ["StrPath", "given", "path_of"]

StrPath = str | os.PathLike[str]
"""A path, as every function of Python's own takes it."""

_T = TypeVar("_T")


def path_of(value: StrPath, what: str = "path") -> Path:
    """A path; InputError if ``value`` is neither text nor os.PathLike."""
    if isinstance(value, str) or hasattr(value, "__fspath__"):
        text: object = os.fspath(value)
        if isinstance(text, str):
            return Path(text)
    raise InputError(f"the {what} must be text or a pathlib.Path, not {type(value).__name__}")


def given(value: object, kind: type[_T], what: str) -> _T:
    """``value``, if it is of this type; InputError naming ``what`` otherwise. A bool is no integer here."""
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
