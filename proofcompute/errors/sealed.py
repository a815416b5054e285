"""Keep secrets out of errors.

A traceback keeps the frames of all functions that an error passed through, together with their local
variables. Crash reports, test runners and pretty printers show these to people, send them to services and
write them to logs. So an error must never pass through a frame that holds part of a key: functions that work
with secrets are :func:`sealed`. Their errors are raised again one frame further out, without the frames
inside. Objects that hold secrets leave them out of their ``repr``, because they appear in callers' frames.

The price is that a traceback does not show where inside a sealed function an error arose; only the error's
own text can say so.
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
    """Bytes that do not appear in any ``repr``."""

    value: bytes = field(repr=False)


def sealed(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate a function so that its errors give no access to its frame, its arguments or inner frames."""

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
    """Call a function and return its result, or the error it raised without its tracebacks."""
    try:
        return (function(*arguments, **named),), None
    except BaseException as e:  # noqa: BLE001 - the caller raises it again, even an interrupt
        _strip(e)
        return (), e


def _strip(error: BaseException) -> None:
    """Remove the tracebacks of an error and of all errors that it refers to."""
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
