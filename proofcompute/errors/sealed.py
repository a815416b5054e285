"""Keeping secrets out of errors.

A traceback keeps the frames of all functions that an error passed through, and with them their locals. Crash
reports, test runners and pretty printers show those to people, send them to services and write them to logs.
So an error must not pass through a frame that holds a part of a key: a function that works with secrets is
:func:`sealed`. What it raises is raised again one frame further out, with nothing of what lies inside.
Objects that hold secrets leave them out of their ``repr``, since they stand in the frames of callers.

Lost is where inside a sealed function something went wrong; its own error says so only in its text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import ParamSpec, TypeVar

__all__ = ["Secret", "sealed"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Secret:
    """Bytes that no ``repr`` shows."""

    value: bytes = field(repr=False)


def sealed(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorator: no error that leaves the function leads to its frame, its arguments, or frames inside."""

    @wraps(function)
    def call(*arguments: _P.args, **named: _P.kwargs) -> _T:
        found, error = _outcome(function, *arguments, **named)
        del arguments, named
        if error is not None:
            raise error
        return found[0]

    return call


def _outcome(
    function: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs
) -> tuple[tuple[_T, ...], BaseException | None]:
    """What a function returned, or what it raised, without tracebacks."""
    try:
        return (function(*arguments, **named),), None
    except BaseException as e:  # noqa: BLE001 - whoever called raises it again, an interrupt too
        _strip(e)
        return (), e


def _strip(error: BaseException) -> None:
    """Take the tracebacks away from an error and from those behind it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        e = waiting.pop()
        if e is None or id(e) in seen:
            continue
        seen.add(id(e))
        e.__traceback__ = None
        waiting += [e.__cause__, e.__context__]
        if isinstance(e, BaseExceptionGroup):
            waiting += e.exceptions
