"""Compares the arguments of a builder's methods with their annotations, in one place for all methods.

A builder's methods compute with their arguments before an operation sees them; a wrong type would end in
whatever error that happens to raise. So each call is compared with the method's annotations first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from types import EllipsisType, NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from proofcompute.errors import InputError

__all__ = ["checked"]

_C = TypeVar("_C", bound=type)
_SHOWN = 60
"""The most letters of a wrong value in a message."""


def checked(cls: _C) -> _C:
    """Make the public methods of a class, also inherited ones, raise InputError for wrong types of arguments.

    The message names the method and the argument. A bool is no int and no float, an int is a float, and a
    list may stand for a tuple. A call with too few, too many or unknown arguments is a TypeError, as ever.
    """
    for name in dir(cls):
        found = inspect.getattr_static(cls, name)
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(found, staticmethod):
            setattr(cls, name, staticmethod(_checking(found.__func__)))
        elif inspect.isfunction(found):
            setattr(cls, name, _checking(found))
    return cls


def _checking(function: Callable[..., Any]) -> Callable[..., Any]:
    signature, hints = inspect.signature(function), get_type_hints(function)
    several = [p.name for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL]

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name not in hints:
                continue
            for each in value if name in several else (value,):
                if not _fits(each, hints[name]):
                    shown = repr(each)
                    raise InputError(
                        f"{function.__name__}: {name} is a {type(each).__name__}, not {_said(hints[name])}: "
                        f"{shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'}"
                    )
        return function(*args, **kwargs)

    return call


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return False
        kinds = inner[:1] * len(value) if inner[-1] is ... else inner
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    if origin is Sequence:
        sequence = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return sequence and all(_fits(each, inner[0]) for each in value)
    if origin is Callable:
        return callable(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float | np.floating) and not isinstance(value, bool)
    kind = origin or hint
    if getattr(kind, "_is_protocol", False):
        members = [name for name in vars(kind) if not name.startswith("_")]
        return not isinstance(value, type) and all(hasattr(value, name) for name in members)
    return isinstance(value, kind)


def _said(hint: Any) -> str:
    """Return how a message names a type."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_said, inner)))
    if origin is Sequence:
        return f"a list of {_said(inner[0])}"
    if origin is tuple:
        return f"a tuple of {_said(inner[0])}"
    names = {np.ndarray: "a NumPy array", NoneType: "None", EllipsisType: "...", Callable: "a function"}
    return names.get(origin or hint) or str((origin or hint).__name__)
